//! Slots of address space, one per instance.
//!
//! Slots are cut from large reservations (*blocks*), taken as they are needed and kept until the engine ends. A slot is
//! [`SLOT_BYTES`] long and starts on a 2 MiB boundary. Which part of it may be accessed is a matter of its instance; a free slot
//! is wholly inaccessible, so that free neighbours and their guards are one mapping to the kernel.

use super::os::{self, Access, Reservation};
use crate::layout::{HEADER_BYTES, SLOT_BYTES};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

/// Slots reserved at a time.
const BLOCK_SLOTS: usize = 512;

/// All slots of an engine.
#[derive(Debug)]
pub struct Slots {
    state: RefCell<State>,
    slots_max: usize,
}

#[derive(Debug, Default)]
struct State {
    blocks: Vec<Reservation>,
    /// Vmctx addresses of free slots; the most recently freed is taken first, its page tables are still there.
    free: Vec<usize>,
    /// Slots that could not be made inaccessible when they were freed, with their extents.
    unclean: Vec<(usize, usize)>,
    /// Slots of the last block that were never used.
    untouched: usize,
    taken: usize,
}

/// Why there is no slot.
#[derive(Debug)]
pub enum SlotError {
    /// As many slots as the engine may have are in use.
    AllTaken,
    System(io::Error),
}

/// A slot in use. Freed on drop.
#[derive(Debug)]
pub struct Slot {
    slots: Rc<Slots>,
    vmctx: *mut u8,
    /// Bytes from the slot's start that may hold mappings other than the reservation.
    extent: usize,
}

impl Slots {
    pub fn new(slots_max: usize) -> Slots {
        Slots {
            state: RefCell::default(),
            slots_max,
        }
    }

    /// Takes a free slot.
    pub fn take(self: &Rc<Slots>) -> Result<Slot, SlotError> {
        let mut state = self.state.borrow_mut();
        if state.taken >= self.slots_max {
            return Err(SlotError::AllTaken);
        }
        let vmctx = match (state.free.pop(), state.unclean.last().copied()) {
            (Some(vmctx), _) => vmctx,
            (None, Some((vmctx, extent))) => {
                // Before a slot that was never used: what failed then fails again or is made good now, so that a process at its
                // limit of mappings does not use up its address space too.
                clear(vmctx, extent).map_err(SlotError::System)?;
                state.unclean.pop();
                vmctx
            }
            (None, None) => {
                if state.untouched == 0 {
                    let block = Reservation::new(BLOCK_SLOTS * SLOT_BYTES as usize, 2 << 20)
                        .map_err(SlotError::System)?;
                    state.blocks.push(block);
                    state.untouched = BLOCK_SLOTS;
                }
                let block = state
                    .blocks
                    .last()
                    .expect("a block was just made sure of")
                    .base() as usize;
                let index = BLOCK_SLOTS - state.untouched;
                state.untouched -= 1;
                block + index * SLOT_BYTES as usize + HEADER_BYTES
            }
        };
        state.taken += 1;
        Ok(Slot {
            slots: self.clone(),
            vmctx: vmctx as *mut u8,
            extent: 0,
        })
    }

    /// Slots in use.
    pub fn taken(&self) -> usize {
        self.state.borrow().taken
    }
}

impl Slot {
    /// The address all offsets of the layout count from.
    pub fn vmctx(&self) -> *mut u8 {
        self.vmctx
    }

    /// Where the slot, and with it the header page, begins.
    pub fn start(&self) -> *mut u8 {
        self.vmctx.wrapping_sub(HEADER_BYTES)
    }

    /// Bytes from the slot's start that may be accessible.
    pub fn extent(&self) -> usize {
        self.extent
    }

    /// Notes that mappings reach so far from the slot's start.
    pub fn extend_to(&mut self, bytes: usize) {
        debug_assert!(bytes <= SLOT_BYTES as usize);
        self.extent = self.extent.max(bytes);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state.borrow_mut();
        state.taken -= 1;
        let vmctx = self.vmctx as usize;
        match clear(vmctx, self.extent) {
            Ok(()) => state.free.push(vmctx),
            // The kernel could not split a mapping: the slot stays as it is and is not used until that is made good.
            Err(_) => state.unclean.push((vmctx, self.extent)),
        }
    }
}

/// Makes a slot that no instance holds any more inaccessible, as far as it may not be.
fn clear(vmctx: usize, extent: usize) -> io::Result<()> {
    if extent == 0 {
        return Ok(());
    }
    // SAFETY: both callers have a slot of one of our blocks that no instance holds, and mappings other than the
    // reservation reach no further than its extent.
    unsafe { os::map_anonymous((vmctx - HEADER_BYTES) as *mut u8, extent, Access::None) }
}
