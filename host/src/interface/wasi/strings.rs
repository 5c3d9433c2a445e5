//! Arguments and environment: `args_*` and `environ_*`.

use super::errno::Errno;
use super::memory::Memory;
use super::{Answer, State};
use crate::interface::{Context, Origin};

/// Strings as a guest gets them: one after another, each ended by a NUL.
#[derive(Debug, Default)]
pub struct Strings {
    bytes: Vec<u8>,
    /// Where each begins.
    starts: Vec<u32>,
}

impl Strings {
    /// Adds the pieces as one string. With a NUL in it, it could not be told from a shorter one and is left out.
    fn push(&mut self, pieces: &[&[u8]]) {
        if pieces.iter().any(|piece| piece.contains(&0)) {
            return;
        }
        self.starts.push(self.bytes.len() as u32);
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
        self.bytes.push(0);
    }

    fn of_arguments(context: &Context) -> Strings {
        let mut strings = Strings::default();
        match &context.origin {
            Origin::Command { arguments, .. } => {
                arguments
                    .iter()
                    .for_each(|argument| strings.push(&[argument]));
            }
            Origin::Call { request, .. } => strings.push(&[request.function.as_bytes()]),
        }
        strings
    }

    fn of_environment(context: &Context) -> Strings {
        let mut strings = Strings::default();
        context.environment(|name, value| strings.push(&[name, b"=", value]));
        strings
    }

    fn store_sizes(&self, memory: &mut Memory<'_>, count: u32, bytes: u32) -> Result<(), Errno> {
        memory.store_u32(count, self.starts.len() as u32)?;
        memory.store_u32(bytes, self.bytes.len() as u32)
    }

    fn store(&self, memory: &mut Memory<'_>, pointers: u32, buffer: u32) -> Result<(), Errno> {
        memory.store(buffer, &self.bytes)?;
        for (index, start) in self.starts.iter().enumerate() {
            let pointer = memory.array_element(pointers, index as u32, 4)?;
            // Within the buffer just stored, so within 32 bits.
            memory.store_u32(pointer, buffer + start)?;
        }
        Ok(())
    }
}

pub fn args_sizes_get(
    context: &mut Context,
    memory: &mut Memory<'_>,
    count: u32,
    bytes: u32,
) -> Answer {
    Ok(Strings::of_arguments(context).store_sizes(memory, count, bytes)?)
}

pub fn args_get(
    context: &mut Context,
    memory: &mut Memory<'_>,
    pointers: u32,
    buffer: u32,
) -> Answer {
    Ok(Strings::of_arguments(context).store(memory, pointers, buffer)?)
}

/// The strings are kept for the `environ_get` that follows.
pub fn environ_sizes_get(
    context: &mut Context,
    memory: &mut Memory<'_>,
    count: u32,
    bytes: u32,
) -> Answer {
    let strings = Box::new(Strings::of_environment(context));
    strings.store_sizes(memory, count, bytes)?;
    let State { environment, .. } = &mut context.wasi;
    *environment = Some(strings);
    Ok(())
}

pub fn environ_get(
    context: &mut Context,
    memory: &mut Memory<'_>,
    pointers: u32,
    buffer: u32,
) -> Answer {
    let strings = match context.wasi.environment.take() {
        Some(strings) => *strings,
        None => Strings::of_environment(context),
    };
    Ok(strings.store(memory, pointers, buffer)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::Stdio;

    fn context() -> Context {
        let arguments = vec![b"prog".to_vec(), b"nul\0".to_vec(), b"".to_vec()];
        let environment = vec![("A".into(), "1".into()), ("B".into(), "\0".into())];
        Context::command(arguments, environment, Stdio::Buffered)
    }

    #[test]
    fn strings_are_stored_with_pointers_to_them() {
        let (mut context, mut bytes) = (context(), vec![0xaa; 64]);
        let mut memory = Memory::new(&mut bytes);
        args_sizes_get(&mut context, &mut memory, 0, 4).unwrap();
        assert_eq!((memory.load_u32(0), memory.load_u32(4)), (Ok(2), Ok(6)));
        args_get(&mut context, &mut memory, 8, 32).unwrap();
        assert_eq!((memory.load_u32(8), memory.load_u32(12)), (Ok(32), Ok(37)));
        assert_eq!(memory.slice(32, 6), Ok(&b"prog\0\0"[..]));
        environ_sizes_get(&mut context, &mut memory, 0, 4).unwrap();
        assert_eq!((memory.load_u32(0), memory.load_u32(4)), (Ok(1), Ok(4)));
        for _ in 0..2 {
            environ_get(&mut context, &mut memory, 8, 33).unwrap();
            assert_eq!(memory.slice(33, 4), Ok(&b"A=1\0"[..]));
        }
    }

    #[test]
    fn pointers_beyond_memory_are_faults() {
        let (mut context, mut bytes) = (context(), vec![0; 64]);
        let mut memory = Memory::new(&mut bytes);
        for (first, second) in [(61, 0), (0, 61), (u32::MAX, 0), (0, u32::MAX - 1)] {
            assert!(args_sizes_get(&mut context, &mut memory, first, second).is_err());
            assert!(args_get(&mut context, &mut memory, first, second).is_err());
            assert!(environ_sizes_get(&mut context, &mut memory, first, second).is_err());
            assert!(environ_get(&mut context, &mut memory, first, second).is_err());
        }
    }
}
