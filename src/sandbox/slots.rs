//! Slots of address space, one per instance.
//!
//! Slots are cut from large reservations (*blocks*), taken as they are needed and kept until the engine ends. A slot is
//! [`SLOT_BYTES`] long and starts on a 2 MiB boundary. Which part of it may be accessed is a matter of its instance; a free slot
//! is wholly inaccessible, so that free neighbours and their guards are one mapping to the kernel, except for a few that
//! were freed last (`UNCLEARED_MAX`).

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
    /// Free slots; the most recently freed is taken first, its page tables are still there.
    free: Vec<FreeSlot>,
    /// How many of these still have their last instance's mappings.
    uncleared: usize,
    /// Slots of the last block that were never used.
    untouched: usize,
    taken: usize,
}

#[derive(Clone, Copy, Debug)]
struct FreeSlot {
    vmctx: usize,
    /// Bytes from the slot's start that hold mappings of its last instance; 0 when they were cleared.
    extent: usize,
}

/// Free slots whose mappings are left for the next instance to replace: clearing and mapping are one step then. Few and small, since
/// what they hold in memory is held for nobody.
const UNCLEARED_MAX: usize = 8;
const UNCLEARED_EXTENT_MAX: usize = 4 << 20;

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

    /// Takes a free slot. It may still hold its last instance's mappings, as far as its extent says: whoever takes it maps
    /// over them or clears them, see [`Slot::clear_from`].
    pub fn take(self: &Rc<Slots>) -> Result<Slot, SlotError> {
        let mut state = self.state.borrow_mut();
        if state.taken >= self.slots_max {
            return Err(SlotError::AllTaken);
        }
        let free = match state.free.pop() {
            Some(free) => {
                state.uncleared -= usize::from(free.extent > 0);
                free
            }
            None => {
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
                let vmctx = block + index * SLOT_BYTES as usize + HEADER_BYTES;
                FreeSlot { vmctx, extent: 0 }
            }
        };
        state.taken += 1;
        Ok(Slot {
            slots: self.clone(),
            vmctx: free.vmctx as *mut u8,
            extent: free.extent,
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

    /// Notes that mappings reach so far from the slot's start.
    pub fn extend_to(&mut self, bytes: usize) {
        debug_assert!(bytes <= SLOT_BYTES as usize);
        self.extent = self.extent.max(bytes);
    }
}

impl Slot {
    /// Makes what lies from so many bytes after the slot's start inaccessible and gives its memory up.
    ///
    /// For a slot without an instance: just taken, or being given back.
    pub fn clear_from(&mut self, bytes: usize) -> io::Result<()> {
        if self.extent > bytes {
            // SAFETY: the range is this slot's, within one of our blocks, and its last instance is gone.
            unsafe {
                let from = self.start().add(bytes);
                os::map_anonymous(from, self.extent - bytes, Access::None)?;
            }
            self.extent = bytes;
        }
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let keeps = self.extent <= UNCLEARED_EXTENT_MAX
            && self.slots.state.borrow().uncleared < UNCLEARED_MAX;
        if !keeps {
            // At the process's limit of mappings this can fail; then it is for the slot's next instance to make good.
            let _ = self.clear_from(0);
        }
        let mut state = self.slots.state.borrow_mut();
        state.taken -= 1;
        state.uncleared += usize::from(self.extent > 0);
        state.free.push(FreeSlot {
            vmctx: self.vmctx as usize,
            extent: self.extent,
        });
    }
}
