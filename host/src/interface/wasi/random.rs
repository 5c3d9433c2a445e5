//! Randomness: `random_get`.
//!
//! Every byte comes from the kernel at the moment it is asked for. There is no generator of our own whose state could be
//! captured in an image or shared between instances.

use super::Answer;
use super::memory::Memory;
use crate::interface::stdio::retried;
use crate::interface::suspension::Halt;
use crate::interface::{Context, Wait};
use dormouse::Stop;
use rustix::rand::{GetRandomFlags, getrandom};

/// So much is drawn at once, in about 0.1 ms; then others have their turn.
const CHUNK_BYTES: u32 = 64 << 10;

/// Fills the buffer; `done` is how much of it has been filled.
pub fn random_get(
    context: &mut Context,
    memory: &mut Memory<'_>,
    buffer: u32,
    bytes: u32,
    done: &mut u32,
) -> Answer {
    if let Some(message) = context.refused_while_initialising("randomness (random_get)") {
        return Err(Halt::Stop(Stop::error(message)));
    }
    let chunk = (bytes - *done).min(CHUNK_BYTES) as usize;
    let into = &mut memory.slice_mut(buffer, bytes)?[*done as usize..][..chunk];
    let mut filled = 0;
    while filled < chunk {
        filled += retried(|| getrandom(&mut into[filled..], GetRandomFlags::empty()))?;
    }
    *done += chunk as u32;
    if *done < bytes {
        Err(Halt::Wait(Wait::Yield))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::tests::call;
    use crate::interface::{InitPolicy, Kind};

    #[test]
    fn every_byte_is_drawn_and_long_requests_give_way() {
        let mut bytes = vec![0; 3 * CHUNK_BYTES as usize + 7];
        let length = bytes.len() as u32 - 7;
        let mut memory = Memory::new(&mut bytes);
        let (mut context, mut done, mut turns) = (call(Kind::Command), 0, 0);
        while random_get(&mut context, &mut memory, 3, length, &mut done).is_err() {
            turns += 1;
        }
        assert_eq!(turns, 2);
        assert!(
            bytes[..3]
                .iter()
                .chain(&bytes[bytes.len() - 4..])
                .all(|&byte| byte == 0)
        );
        for window in bytes[3..bytes.len() - 4].chunks(64) {
            assert!(window.iter().any(|&byte| byte != 0));
        }
    }

    #[test]
    fn bad_buffers_are_faults_before_anything_is_drawn() {
        let mut bytes = vec![0; 64];
        let mut memory = Memory::new(&mut bytes);
        for (buffer, length) in [(1, 64), (u32::MAX, 1), (65, 0), (0, u32::MAX)] {
            let result = random_get(
                &mut call(Kind::Command),
                &mut memory,
                buffer,
                length,
                &mut 0,
            );
            assert!(matches!(
                result,
                Err(Halt::Error(super::super::Errno::Fault))
            ));
        }
        assert_eq!(bytes, [0; 64]);
    }

    #[test]
    fn randomness_cannot_be_frozen_into_an_image() {
        let mut bytes = vec![0; 8];
        let mut memory = Memory::new(&mut bytes);
        let mut context = Context::initialising(Vec::new(), InitPolicy::Refuse);
        let result = random_get(&mut context, &mut memory, 0, 8, &mut 0);
        assert!(matches!(result, Err(Halt::Stop(Stop::Error(_)))));
        let mut context = Context::initialising(Vec::new(), InitPolicy::Allow);
        assert!(random_get(&mut context, &mut memory, 0, 8, &mut 0).is_ok());
    }
}
