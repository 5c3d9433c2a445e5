//! The object heap of an instance: where exceptions that are referred to live.
//!
//! ```text
//!   0         8                                          next                     length
//!   +---------+--------+--------+-----+--------+---------+------------------------+ - - - (inaccessible)
//!   | nothing | header | values | ... | header | values  | zero                   |
//!   +---------+--------+--------+-----+--------+---------+------------------------+ - - -
//!             ^ a reference is the offset of a header
//! ```
//!
//! * Objects follow each other without gaps, each as long as its header says, so that the heap can be walked.
//! * What lies between `next` and the length is zero, and so is a fresh object.
//! * Length and `next` are words of the state: a heap is frozen, restored and reset like memory, without fix-ups.
//! * The heap counts in [`Limits::memory_bytes`](super::Limits::memory_bytes) with its length.

use super::instance::Inner;
use super::trap::{Limit, Reason};
use crate::layout::{FIRST_OBJECT, HEAP_START, HeapLayout, OBJECT_HEADER_BYTES, PAGE_BYTES};

/// By how many bytes the heap grows at least, and at most beyond what is asked for.
const GROWTH_BYTES_MIN: u64 = 64 << 10;
const GROWTH_BYTES_MAX: u64 = 4 << 20;

impl Inner {
    fn heap(&self) -> HeapLayout {
        let layout = &self.linked.module().shared.info.layout;
        layout
            .heap
            .expect("only code of a module with objects asks for one")
    }

    /// The index of the heap among what has a length.
    fn heap_index(&self) -> usize {
        self.linked.module().shared.info.memories.len()
    }

    /// Makes an object with this header, and answers the reference to it.
    ///
    /// # Errors
    /// The limit on memory, when the object does not fit.
    pub fn allocate_object(&mut self, header: u64) -> Result<u64, Reason> {
        let heap = self.heap();
        let bytes = header >> 32;
        assert!(bytes >= OBJECT_HEADER_BYTES && bytes.is_multiple_of(8));
        let at = (*self.word(heap.next_offset)).clamp(FIRST_OBJECT, heap.memory.reserved_bytes);
        let end = at + bytes;
        if end > self.heap_length() {
            self.grow_heap(end)?;
        }
        *self.word(heap.next_offset) = end;
        // SAFETY: `at..end` lies within the heap's length, and so is accessible; no reference into it is live.
        unsafe { self.object(at).write(header) };
        Ok(at)
    }

    /// Lengthens the heap to so many bytes at least.
    fn grow_heap(&mut self, end: u64) -> Result<(), Reason> {
        const PAGE: u64 = PAGE_BYTES as u64;
        let index = self.heap_index();
        let length = self.own_memory_length(index);
        let others_bytes = self.memory_bytes() - length;
        let room = self.limits.memory_bytes.saturating_sub(others_bytes);
        let room = room.min(self.heap().memory.reserved_bytes) / PAGE * PAGE;
        if end > room {
            return Err(Reason::Limit(Limit::Memory {
                limit_bytes: self.limits.memory_bytes,
                wanted_bytes: others_bytes + end,
            }));
        }
        let ahead = length.clamp(GROWTH_BYTES_MIN, GROWTH_BYTES_MAX);
        let wanted = (length + ahead).max(end.next_multiple_of(PAGE)).min(room);
        self.set_memory_length(index, wanted).map_err(|error| {
            Reason::Host(format!("the system has no memory for an object: {error}"))
        })
    }

    /// Where the heap begins, or would if the module had one.
    pub fn heap_base(&self) -> *mut u8 {
        self.vmctx().wrapping_add(HEAP_START as usize)
    }

    /// Bytes of the heap that are accessible.
    pub fn heap_length(&self) -> u64 {
        match self.linked.module().shared.info.layout.heap {
            Some(_) => self.own_memory_length(self.heap_index()),
            None => 0,
        }
    }

    /// The address of the object that a reference refers to. Whatever the reference, it lies in the heap's reservation.
    pub fn object(&self, reference: u64) -> *mut u64 {
        self.heap_base()
            .wrapping_add(reference as u32 as usize)
            .cast()
    }
}
