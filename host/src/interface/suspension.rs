//! How a host function waits without holding up the thread.
//!
//! A host function is written as a step: it looks at the context and guest memory and either answers or says what it
//! waits for. It is then called again when the guest is resumed. Nothing that needs dropping may be held across a
//! suspension, for a guest that is stopped meanwhile never returns from it: a step's captures are plain numbers.

use super::{Context, Wait};
use dormouse::{Caller, Stop};

/// Why a step does not answer. `E` is an answer of another kind, such as an error number.
#[derive(Debug)]
pub enum Halt<E> {
    Error(E),
    Wait(Wait),
    Stop(Stop),
}

impl<E> From<E> for Halt<E> {
    fn from(error: E) -> Halt<E> {
        Halt::Error(error)
    }
}

/// Repeats a step until it answers or the guest is to stop.
pub fn complete<T, E>(
    caller: &mut Caller<'_>,
    mut step: impl FnMut(&mut Context, &mut [u8]) -> Result<T, Halt<E>>,
) -> Result<Result<T, E>, Stop> {
    loop {
        let (context, memory) = caller.data_and_memory::<Context>();
        match step(context, memory) {
            Ok(answer) => return Ok(Ok(answer)),
            Err(Halt::Error(error)) => return Ok(Err(error)),
            Err(Halt::Stop(stop)) => return Err(stop),
            Err(Halt::Wait(wait)) => {
                context.wait = Some(wait);
                caller.suspend();
                caller.data::<Context>().wait = None;
            }
        }
    }
}
