//! Where compiled code lives: one reservation for the whole process, mapped read-execute from artifacts.
//!
//! That it is one range is what makes "is this program counter in guest code" a pair of compares in a signal handler.
//! Code never lies on a writable page.

use super::os::{self, Access, Reservation};
use crate::layout::PAGE_BYTES;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

/// Address space for code.
const RESERVED_BYTES: usize = 64 << 30;

/// The bounds of the reservation, for the signal handler; both 0 before there is one.
static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

static SPACE: OnceLock<Mutex<CodeSpace>> = OnceLock::new();

struct CodeSpace {
    reservation: Reservation,
    /// Free ranges by start, as offsets; neighbours are merged.
    free: BTreeMap<usize, usize>,
}

// SAFETY: the reservation is address space of the process, tied to no thread; it lives in a static and is never unmapped.
unsafe impl Send for CodeSpace {}

/// Whether an address lies in guest code. Safe in a signal handler.
pub fn contains(address: usize) -> bool {
    address >= START.load(Ordering::Relaxed) && address < END.load(Ordering::Relaxed)
}

fn space() -> io::Result<&'static Mutex<CodeSpace>> {
    if let Some(space) = SPACE.get() {
        return Ok(space);
    }
    let reservation = Reservation::new(RESERVED_BYTES, PAGE_BYTES)?;
    Ok(SPACE.get_or_init(|| {
        let start = reservation.base() as usize;
        START.store(start, Ordering::Relaxed);
        END.store(start + RESERVED_BYTES, Ordering::Relaxed);
        Mutex::new(CodeSpace {
            reservation,
            free: BTreeMap::from([(0, RESERVED_BYTES)]),
        })
    }))
}

/// A module's text, mapped. Unmapped on drop.
#[derive(Debug)]
pub struct Text {
    base: usize,
    bytes: usize,
}

impl Text {
    /// Maps `bytes` of text that begin at a page boundary of the file.
    pub fn map(file: &File, offset: u64, bytes: usize) -> io::Result<Text> {
        let mapped = bytes.next_multiple_of(PAGE_BYTES);
        if mapped == 0 {
            return Ok(Text { base: 0, bytes: 0 });
        }
        let mut space = space()?
            .lock()
            .expect("nothing panics while it holds the lock");
        let Some((&start, &length)) = space.free.iter().find(|(_, length)| **length >= mapped)
        else {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "the address space for compiled code is used up",
            ));
        };
        let base = space.reservation.base() as usize + start;
        // SAFETY: the range is free in our reservation, so nothing refers to it.
        unsafe { os::map_file(base as *mut u8, mapped, file, offset, Access::ReadExecute)? };
        space.free.remove(&start);
        if length > mapped {
            space.free.insert(start + mapped, length - mapped);
        }
        Ok(Text { base, bytes })
    }

    pub fn base(&self) -> usize {
        self.base
    }

    /// The offset of an address from the start of this text, if it lies in it.
    pub fn offset_of(&self, address: usize) -> Option<u32> {
        let offset = address.wrapping_sub(self.base);
        if offset < self.bytes {
            u32::try_from(offset).ok()
        } else {
            None
        }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let mapped = self.bytes.next_multiple_of(PAGE_BYTES);
        if mapped == 0 {
            return;
        }
        let Some(space) = SPACE.get() else { return };
        let mut space = space
            .lock()
            .expect("nothing panics while it holds the lock");
        // SAFETY: the range is this text's; its module is gone, and with it every instance that ran it.
        if unsafe { os::map_anonymous(self.base as *mut u8, mapped, Access::None) }.is_err() {
            // The kernel could not split a mapping: the range stays as it is and is never used again.
            return;
        }
        let mut start = self.base - space.reservation.base() as usize;
        let mut length = mapped;
        if let Some(next) = space.free.remove(&(start + length)) {
            length += next;
        }
        if let Some((&before, &before_length)) = space.free.range(..start).next_back()
            && before + before_length == start
        {
            space.free.remove(&before);
            start = before;
            length += before_length;
        }
        space.free.insert(start, length);
    }
}
