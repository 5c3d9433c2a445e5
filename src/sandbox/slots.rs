//! Slots of address space, one per instance.
//!
//! Slots are cut from large reservations (*blocks*), taken as they are needed and kept until the engine ends. A slot is
//! [`SLOT_BYTES`] long and starts on a 2 MiB boundary. Which part of it may be accessed is a matter of its instance; a free slot
//! is wholly inaccessible, so that free neighbours and their guards are one mapping to the kernel, except for a few that
//! were freed last (`UNCLEARED_MAX`).
//!
//! Wide slots, of twice the length, are cut from blocks of their own and take two *places*. Instances that make more mappings than
//! most take more, too: one for each memory after the first, which has mappings of its own.

use super::os::{self, Access, Reservation};
use crate::layout::{InstanceLayout, SLOT_BYTES, WIDE_SLOT_BYTES};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Places reserved at a time.
const BLOCK_SLOTS: usize = 512;

/// All slots of an engine.
#[derive(Debug)]
pub struct Slots {
    state: RefCell<State>,
    slots_max: usize,
    places_max: usize,
}

#[derive(Debug, Default)]
struct State {
    narrow: Pool,
    wide: Pool,
    /// How many free slots still have their last instance's mappings.
    uncleared: usize,
    /// Slots in use, and the places they take.
    taken: usize,
    places: usize,
}

/// The slots of one length.
#[derive(Debug, Default)]
struct Pool {
    blocks: Vec<Reservation>,
    /// Free slots; the most recently freed is taken first, its page tables are still there.
    free: Vec<FreeSlot>,
    /// Slots of the last block that were never used.
    untouched: usize,
}

impl Pool {
    fn take(&mut self, bytes: usize, wanted: Option<OriginId>) -> io::Result<FreeSlot> {
        let looked_at = self.free.len().saturating_sub(LOOKED_AT_MAX);
        let found = wanted.and_then(|_| {
            let mut recent = self.free[looked_at..].iter();
            recent.rposition(|free| free.shows == wanted)
        });
        if let Some(found) = found {
            return Ok(self.free.remove(looked_at + found));
        }
        if let Some(free) = self.free.pop() {
            return Ok(free);
        }
        let block_bytes = BLOCK_SLOTS * SLOT_BYTES as usize;
        if self.untouched == 0 {
            self.blocks.push(Reservation::new(block_bytes, 2 << 20)?);
            self.untouched = block_bytes / bytes;
        }
        let block = self.blocks.last().expect("a block was just made sure of");
        let start = block.base() as usize + block_bytes - self.untouched * bytes;
        self.untouched -= 1;
        Ok(FreeSlot {
            start,
            extent: 0,
            shows: None,
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct FreeSlot {
    start: usize,
    /// Bytes from the slot's start that hold mappings of its last instance; 0 when they were cleared.
    extent: usize,
    /// See [`Slot::note_shown`].
    shows: Option<OriginId>,
}

/// Names what instances are restored from, in this process and for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OriginId(u64);

impl OriginId {
    pub fn new() -> OriginId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        OriginId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Free slots whose mappings are left for the next instance to replace: clearing and mapping are one step then. Few and small, since
/// what they hold in memory is held for nobody.
const UNCLEARED_MAX: usize = 8;
const UNCLEARED_EXTENT_MAX: usize = 4 << 20;
/// How many of the slots that were freed last are looked at for one that shows what is wanted.
const LOOKED_AT_MAX: usize = 2 * UNCLEARED_MAX;

/// The most mappings an instance makes, for each length of a slot and for each memory after the first: its image, the memory beyond
/// that, and what separates it from the next.
pub const SLOT_MAPPINGS: usize = 3;

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
    start: *mut u8,
    wide: bool,
    /// How many instances of the plainest kind it counts for.
    places: usize,
    /// Bytes from the slot's start that may hold mappings other than the reservation.
    extent: usize,
    shows: Option<OriginId>,
}

/// The length of a slot, in those of the plainest.
fn lengths(wide: bool) -> usize {
    1 + usize::from(wide)
}

impl Slots {
    /// So many slots at most, in so many places.
    pub fn new(slots_max: usize, places_max: usize) -> Slots {
        Slots {
            state: RefCell::default(),
            slots_max,
            places_max,
        }
    }

    /// Takes a free slot, for an instance that makes so many mappings beyond what its layout stands for. It may still hold its last
    /// instance's mappings, as far as its extent says: whoever takes it maps over them or clears them, see [`Slot::clear_from`], or finds
    /// them to be what is wanted, see [`Slot::take_shown`].
    pub fn take(
        self: &Rc<Slots>,
        layout: &InstanceLayout,
        further_mappings: usize,
        wanted: Option<OriginId>,
    ) -> Result<Slot, SlotError> {
        let mut state = self.state.borrow_mut();
        let wide = layout.is_wide();
        let further_memories = layout.memories.len().saturating_sub(1);
        let places = lengths(wide) + further_memories + further_mappings.div_ceil(SLOT_MAPPINGS);
        if state.taken >= self.slots_max || state.places + places > self.places_max {
            return Err(SlotError::AllTaken);
        }
        let free = match wide {
            true => state.wide.take(WIDE_SLOT_BYTES as usize, wanted),
            false => state.narrow.take(SLOT_BYTES as usize, wanted),
        }
        .map_err(SlotError::System)?;
        state.uncleared -= usize::from(free.extent > 0);
        state.taken += 1;
        state.places += places;
        Ok(Slot {
            slots: self.clone(),
            start: free.start as *mut u8,
            wide,
            places,
            extent: free.extent,
            shows: free.shows,
        })
    }

    /// Slots in use.
    pub fn taken(&self) -> usize {
        self.state.borrow().taken
    }
}

impl Slot {
    /// Where it begins, and with it the state.
    pub fn start(&self) -> *mut u8 {
        self.start
    }

    /// Its length.
    pub fn bytes(&self) -> usize {
        SLOT_BYTES as usize * lengths(self.wide)
    }

    /// Notes what the slot shows, if it is just that: mapped as a restore maps it, without a private page, and inaccessible elsewhere.
    /// Whoever writes to it, or changes a mapping, notes that it is `None`.
    pub fn note_shown(&mut self, shows: Option<OriginId>) {
        self.shows = shows;
    }

    /// What was noted last. It does not hold any more.
    pub fn take_shown(&mut self) -> Option<OriginId> {
        self.shows.take()
    }

    /// Notes that mappings reach so far from the slot's start.
    pub fn extend_to(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.bytes());
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
            self.shows = None;
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
        state.places -= self.places;
        state.uncleared += usize::from(self.extent > 0);
        let pool = match self.wide {
            true => &mut state.wide,
            false => &mut state.narrow,
        };
        pool.free.push(FreeSlot {
            start: self.start as usize,
            extent: self.extent,
            shows: self.shows,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{MemoryRequest, ObjectRequest};

    #[test]
    fn what_makes_more_mappings_takes_more_places() {
        let layout = |memories: usize, heap: bool| {
            let memories = vec![
                MemoryRequest {
                    minimum_bytes: 0,
                    maximum_bytes: 0,
                };
                memories
            ];
            let objects = ObjectRequest {
                heap,
                ..ObjectRequest::default()
            };
            InstanceLayout::new([], [], 0, 0, &memories, objects, None).unwrap()
        };
        let slots = Rc::new(Slots::new(100, 100));
        let within = |memories: usize, heap: bool, further_mappings: usize| {
            let layout = layout(memories, heap);
            let taken = std::iter::from_fn(|| slots.take(&layout, further_mappings, None).ok());
            taken.collect::<Vec<_>>().len()
        };
        assert_eq!((within(0, false, 0), within(1, false, 0)), (100, 100));
        assert_eq!((within(2, false, 0), within(100, false, 0)), (50, 1));
        assert_eq!((within(1, true, 0), within(10, true, 0)), (50, 9));
        assert_eq!((within(1, false, 3), within(2, false, 16)), (50, 12));
    }
}
