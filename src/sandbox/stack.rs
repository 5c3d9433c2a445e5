//! Pooled native stacks for fibers.
//!
//! ```text
//!   limit                                                                   base
//!   | guard page | host reserve                 | guest's part              |
//!   +------------+------------------------------+---------------------------+
//!                                               ^ stack limit in the header
//! ```
//!
//! Compiled code stays above the stack limit; what lies below is for a signal frame and for the host function the
//! guest called last.

use super::os::{self, Access, Reservation};
use crate::layout::PAGE_BYTES;
use corosensei::stack::{Stack, StackPointer};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

/// Bytes below the guest's stack limit: for signal frames (about 3.5 KiB with AVX-512, up to 11 KiB with AMX) and host
/// functions.
pub const HOST_RESERVE_BYTES: usize = 256 << 10;

/// The most stack for a guest. More is never needed, and sums with it do not overflow.
const GUEST_BYTES_MAX: usize = 1 << 30;

/// Free stacks that are kept for the next call.
const FREE_MAX: usize = 64;

/// Stacks of one size.
#[derive(Debug)]
pub struct StackPool {
    free: RefCell<Vec<FiberStack>>,
    guest_bytes: usize,
}

/// A stack with its guard page.
#[derive(Debug)]
pub struct FiberStack {
    memory: Reservation,
}

impl StackPool {
    pub fn new(guest_bytes: usize) -> Rc<StackPool> {
        Rc::new(StackPool {
            free: RefCell::default(),
            guest_bytes: guest_bytes
                .min(GUEST_BYTES_MAX)
                .next_multiple_of(PAGE_BYTES),
        })
    }

    /// The most stack a guest can be given.
    pub fn guest_bytes(&self) -> usize {
        self.guest_bytes
    }

    pub fn take(&self) -> io::Result<FiberStack> {
        if let Some(stack) = self.free.borrow_mut().pop() {
            return Ok(stack);
        }
        let memory = Reservation::new(
            PAGE_BYTES + HOST_RESERVE_BYTES + self.guest_bytes,
            PAGE_BYTES,
        )?;
        // SAFETY: all but the lowest page of a reservation of ours, not referred to yet.
        unsafe {
            os::protect(
                memory.base().add(PAGE_BYTES),
                memory.bytes() - PAGE_BYTES,
                Access::ReadWrite,
            )?;
        }
        Ok(FiberStack { memory })
    }

    pub fn give_back(&self, stack: FiberStack) {
        let mut free = self.free.borrow_mut();
        if free.len() < FREE_MAX {
            free.push(stack);
        }
    }
}

/// What is cleared of a stack: as deep as most calls go, with a signal's frame.
const CLEARED_BYTES: usize = 16 << 10;

impl FiberStack {
    /// Clears what earlier calls left where the next one has its first frames: a collector that is conservative about words in them
    /// would keep what those calls referred to.
    pub fn clear(&mut self) {
        // SAFETY: the top of the stack, which is longer, accessible, and in use by nobody while it is not a fiber's.
        unsafe {
            let top = self.memory.base().add(self.memory.bytes());
            std::ptr::write_bytes(top.sub(CLEARED_BYTES), 0, CLEARED_BYTES);
        }
    }
}

// SAFETY: the lowest page of the reservation is never made accessible, the rest is, and it is larger than the minimum. Both ends are
// page aligned.
unsafe impl Stack for FiberStack {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.memory.base() as usize + self.memory.bytes())
            .expect("an address in a mapping is not 0")
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.memory.base() as usize).expect("a mapping is never at address 0")
    }
}
