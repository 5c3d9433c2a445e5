//! Arguments of host calls, and the memory they point to.

use super::caller::MEMORY_BYTES;
use super::calls::*;
use crate::random::Random;

/// Names that lead to files, to none, and out of the directory. Also headers, for calls that take those.
const NAMES: &[&[u8]] = &[
    b"a",
    b"dir",
    b"dir/b",
    b"./dir/../a",
    b"..",
    b"../out",
    b"/",
    b"/etc/passwd",
    b"",
    b".",
    b"link",
    b"link/x",
    b"loop",
    b"dir/",
    b"a/",
    b"new",
    b"dir/new",
    b"a\0b",
    b"\xff\xfe",
    b":path",
    b":method",
    b"host",
    b"Content-Type",
    b"X\r\nY",
    b"text/plain",
    b"dir/../../../../out",
];

/// Where names lie in memory, with their lengths.
pub type Paths = Vec<(u64, u64)>;

/// Fills memory with numbers, arrays of buffers and of subscriptions, and names.
pub fn furnish(memory: &mut [u8], random: &mut Random) -> Paths {
    for word in memory.chunks_exact_mut(8) {
        word.copy_from_slice(&random.number().to_le_bytes());
    }
    // Arrays of buffers, most of them in memory.
    for at in (0x1000..0x2000).step_by(8) {
        let address = match random.below(20) {
            0 => random.interesting() as u32,
            _ => random.below(MEMORY_BYTES) as u32,
        };
        let bytes = match random.below(20) {
            0 => random.interesting() as u32,
            _ => random.below(200) as u32,
        };
        memory[at..at + 4].copy_from_slice(&address.to_le_bytes());
        memory[at + 4..at + 8].copy_from_slice(&bytes.to_le_bytes());
    }
    // Subscriptions: clocks that have gone off or never do, and descriptors.
    for at in (0x3000..0x4000 - 48).step_by(48) {
        memory[at + 8] = random.below(4) as u8;
        memory[at + 16..at + 20].copy_from_slice(&(random.below(5) as u32).to_le_bytes());
        memory[at + 24..at + 32].copy_from_slice(&random.interesting().to_le_bytes());
        memory[at + 40..at + 42].copy_from_slice(&(random.below(3) as u16).to_le_bytes());
    }
    let mut at = 0x5000;
    NAMES
        .iter()
        .map(|name| {
            memory[at..at + name.len()].copy_from_slice(name);
            let place = (at as u64, name.len() as u64);
            at += name.len() + 3;
            place
        })
        .collect()
}

pub fn operands(call: &HostCall, paths: &Paths, random: &mut Random) -> Vec<u64> {
    let mut path = (0, 0);
    call.operands
        .iter()
        .map(|operand| {
            let wide = matches!(operand, Long | Extent);
            // Now and then anything at all.
            let value = if random.chance(12) {
                random.interesting()
            } else {
                match operand {
                    Descriptor => random.below(7),
                    Address => match random.below(6) {
                        0 => MEMORY_BYTES - random.below(70),
                        1 => 0x3000 + 48 * random.below(50),
                        2 => 0x1000 + 8 * random.below(300),
                        _ => random.below(MEMORY_BYTES),
                    },
                    Bytes => random.below(400),
                    Count => random.below(6),
                    Buffers => 0x1000 + 8 * random.below(500),
                    Path => {
                        path = *random.pick(paths);
                        path.0
                    }
                    PathBytes => path.1,
                    Flags => random.below(20),
                    Long => match random.below(3) {
                        0 => (1 << 30) - 1,
                        1 => 0,
                        _ => random.interesting(),
                    },
                    Extent => random.below(1 << 16),
                }
            };
            match operand {
                Extent => value % (1 << 20),
                _ if wide => value,
                _ => u64::from(value as u32),
            }
        })
        .collect()
}
