//! The object heap of a store: one for all its instances, so that a reference is the same object to each.
//!
//! It is as `heap.rs` draws it, in a reservation of its own with a guard behind it; compiled code has its address from the header.
//!
//! * Calls of a store take turns, and what one is in the middle of must stand that another makes objects, stores references, or
//!   collects. So compiled code makes no object by itself here, and a built-in that gave up the thread with the heap in its hands
//!   looks whether another call had a turn, and begins anew without giving up the thread if so ([`pause`]).
//! * What other calls refer to counts: the collector looks through the stacks of all that are suspended, from the registers that were
//!   saved there on, and through the places for their exceptions.
//! * An instance is charged for what it lengthened the heap by, as if it were memory of its own.

use super::collector::{Collector, Shapes};
use super::fiber::yield_if_preempted;
use super::heap::Word;
use super::instance::Inner;
use super::os::{self, Access, Reservation};
use crate::compile::info::ModuleInfo;
use crate::layout::{ARRAY_KIND, GUARD_BYTES, HEAP_RESERVED_BYTES, PAGE_BYTES};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::io;

/// What a store has of its objects.
pub(crate) struct StoreHeap {
    memory: Reservation,
    length: Cell<u64>,
    words: [Cell<u64>; 3],
    collector: UnsafeCell<Collector>,
    /// By the store's names for types and tags.
    pub(super) shapes: RefCell<Shapes>,
    /// How often a call was resumed, or an instance made.
    turns: Cell<u64>,
}

impl StoreHeap {
    pub fn new() -> io::Result<StoreHeap> {
        Ok(StoreHeap {
            memory: Reservation::new((HEAP_RESERVED_BYTES + GUARD_BYTES) as usize, PAGE_BYTES)?,
            length: Cell::new(0),
            words: Default::default(),
            collector: UnsafeCell::default(),
            shapes: RefCell::default(),
            turns: Cell::new(0),
        })
    }

    pub fn base(&self) -> *mut u8 {
        self.memory.base()
    }

    pub fn length(&self) -> u64 {
        self.length.get()
    }

    pub(super) fn word(&self, word: Word) -> &Cell<u64> {
        &self.words[word as usize]
    }

    /// Whether an address lies in it. Safe in a signal handler.
    pub fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.memory.base() as usize) < self.memory.bytes()
    }

    /// Makes more of it accessible; what is new reads as zero.
    pub fn lengthen(&self, bytes: u64) -> io::Result<()> {
        let length = self.length.get();
        assert!(
            bytes >= length
                && bytes <= HEAP_RESERVED_BYTES
                && bytes.is_multiple_of(PAGE_BYTES as u64)
        );
        // SAFETY: a part of the heap's own reservation, in whole pages, inaccessible and unused so far.
        unsafe {
            let from = self.memory.base().add(length as usize);
            os::protect(from, (bytes - length) as usize, Access::ReadWrite)?;
        }
        self.length.set(bytes);
        Ok(())
    }

    /// Notes that somebody has a turn: whoever had the heap in hands must begin anew.
    pub fn take_turn(&self) {
        self.turns.set(self.turns.get() + 1);
    }
}

impl Inner {
    /// What the headers of objects of a type of the module say of their kind.
    pub(super) fn object_kind(&self, info: &ModuleInfo, ty: u32) -> u32 {
        match &self.links {
            Some(links) if info.is_array(ty) => links.types[ty as usize] | ARRAY_KIND,
            Some(links) => links.types[ty as usize],
            None => info.signature_ids[ty as usize],
        }
    }

    /// The collector of the heap, whosever it is.
    pub(super) fn collector_mut(&mut self) -> &mut Collector {
        match &self.links {
            // SAFETY: a store is used by one thread, built-ins run one at a time, and none holds the collector when it gives up the
            // thread or asks for it again: nobody else has it.
            Some(links) => unsafe { &mut *links.store.heap.collector.get() },
            None => &mut self.collector,
        }
    }

    /// All instances that have the heap.
    pub(super) fn sharing_heap(&self) -> Vec<*mut Inner> {
        let mut all = Vec::new();
        match &self.links {
            None => all.push(std::ptr::from_ref(self).cast_mut()),
            Some(links) => {
                links.store.find(|inner| {
                    all.push(inner);
                    None::<()>
                });
            }
        }
        all
    }

    fn turns(&self) -> u64 {
        let links = self.links.as_ref();
        links.map_or(0, |links| links.store.heap.turns.get())
    }
}

/// Does one step of a collection that needs to know the shapes of objects.
///
/// # Safety
/// The instance is alive, and no reference to it is live.
pub(super) unsafe fn with_shapes<T>(inner: *mut Inner, step: impl FnOnce(&Shapes) -> T) -> T {
    // SAFETY: the caller's promise; what is borrowed for the step is the store's, or the module's, and kept by a count of references.
    unsafe {
        let store = (*inner).links.as_ref().map(|links| links.store.clone());
        match store {
            Some(store) => step(&store.heap.shapes.borrow()),
            None => {
                let module = (*inner).linked.module().clone();
                step(module.shapes())
            }
        }
    }
}

/// Gives up the thread if the time slice ended; answers whether the heap is as it was, which only that of a store may not be.
///
/// # Safety
/// As for [`stop`](super::fiber::stop).
pub(super) unsafe fn pause(inner: *mut Inner) -> bool {
    // SAFETY: the caller's promise; no reference is live across the suspension.
    unsafe {
        let before = (*inner).turns();
        yield_if_preempted(inner);
        // One turn is that in which it goes on itself.
        (*inner).turns() <= before + 1
    }
}
