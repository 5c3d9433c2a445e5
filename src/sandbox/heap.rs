//! The object heap of an instance: where structs, arrays, and exceptions that are referred to live.
//!
//! ```text
//!   0         8                                   next          limit                       length
//!   +---------+--------+--------+--------+--------+--------------+--------+------+----------+ - - - (inaccessible)
//!   | nothing | header | values | header | values | zero         | object | free | object   |
//!   +---------+--------+--------+--------+--------+--------------+--------+------+----------+ - - -
//!             ^ a reference is the offset of a header             \________________________/
//!                                                                  also objects, and free runs
//! ```
//!
//! * Objects and free runs follow each other without gaps, each as long as its header says, so that the heap can be walked. The
//!   one gap is the current run, `next..limit`: objects are made there, one behind the other.
//! * What lies in the current run is zero, and so is a fresh object. Compiled code makes structs there by itself; a header at `next`
//!   that it has stored and not passed yet is the one other word.
//! * Objects do not move. `collector.rs` makes those that nothing refers to free runs, which become the current run in turn.
//! * Length, `next`, `limit` and the first free run are words of the state: a heap is frozen, restored and reset like memory,
//!   without fix-ups. Instances of a store have one heap together, and these words with it (`store_heap.rs`).
//! * The heap counts in [`Limits::memory_bytes`](super::Limits::memory_bytes) with its length.

use super::builtins::PART_BYTES;
use super::collector::{self, Saved};
use super::instance::Inner;
use super::store_heap::pause;
use super::trap::{Limit, Reason};
use crate::layout::{
    FIRST_OBJECT, FREE_KIND, HEAP_RESERVED_BYTES, HEAP_START, HeapLayout, OBJECT_HEADER_BYTES,
    PAGE_BYTES, object_header,
};
use std::io;

/// By how many bytes the heap grows at least, and at most beyond what is asked for.
const GROWTH_BYTES_MIN: u64 = 64 << 10;
const GROWTH_BYTES_MAX: u64 = 4 << 20;

/// How much of a free run becomes the current run at a time: it is cleared at once.
const RUN_BYTES_MAX: u64 = 256 << 10;

/// Free runs that are shorter are left to the next collection.
pub(super) const RUN_BYTES_MIN: u64 = 32;

/// How many free runs are looked at for one that is long enough, before the heap grows instead.
const RUNS_TRIED: usize = 32;

/// How many are looked at between two looks at the time slice.
const RUNS_PER_PART: usize = 1 << 14;

/// A place in the list of free runs: one of them, 0 at the end, and that before it.
#[derive(Clone, Copy)]
struct FreeRun {
    before: Option<u64>,
    run: u64,
}

/// What is known of a heap, besides its length.
#[derive(Clone, Copy)]
pub(super) enum Word {
    Next,
    Limit,
    FirstFree,
}

/// A heap as bytes: what is accessible of it, without its meaning.
#[derive(Clone, Copy)]
pub(super) struct Heap {
    base: *mut u8,
    length: u64,
}

impl Heap {
    pub fn base(self) -> *mut u8 {
        self.base
    }

    pub fn length(self) -> u64 {
        self.length
    }

    fn word_at(self, at: u64) -> *mut u64 {
        assert!(
            at.is_multiple_of(8) && at < self.length && self.length - at >= 8,
            "an address in the heap"
        );
        self.base.wrapping_add(at as usize).cast()
    }

    pub fn read(self, at: u64) -> u64 {
        // SAFETY: an aligned word within the heap's length, which is accessible as long as the instance whose heap this is is not
        // given up: a heap is made where it is used, on the instance's own fiber.
        unsafe { self.word_at(at).read() }
    }

    pub fn write(self, at: u64, word: u64) {
        // SAFETY: as in `read`; no reference to what is in a heap is ever made.
        unsafe { self.word_at(at).write(word) };
    }

    fn clear(self, at: u64, bytes: u64) {
        assert!(at <= self.length && bytes <= self.length - at);
        // SAFETY: within the heap's length; as in `write`.
        unsafe { std::ptr::write_bytes(self.base.add(at as usize), 0, bytes as usize) };
    }

    /// Bytes of the object or free run that begins here.
    pub fn bytes_at(self, at: u64) -> u64 {
        let bytes = self.read(at) >> 32;
        assert!(
            bytes >= OBJECT_HEADER_BYTES && bytes.is_multiple_of(8) && bytes <= self.length - at,
            "a heap that can be walked"
        );
        bytes
    }
}

impl Inner {
    fn heap_layout(&self) -> HeapLayout {
        let layout = &self.linked.module().shared.info.layout;
        layout
            .heap
            .expect("only code of a module with objects asks for one")
    }

    /// The index of the heap among what has a length.
    fn heap_index(&self) -> usize {
        self.linked.module().shared.info.memories.len()
    }

    pub(super) fn heap(&self) -> Heap {
        Heap {
            base: self.heap_base(),
            length: self.heap_length(),
        }
    }

    fn heap_word_offset(&self, word: Word) -> i32 {
        let layout = self.heap_layout();
        match word {
            Word::Next => layout.next_offset,
            Word::Limit => layout.limit_offset,
            Word::FirstFree => layout.free_offset,
        }
    }

    fn heap_word(&self, word: Word) -> u64 {
        match &self.links {
            Some(links) => links.store.heap.word(word).get(),
            None => self.read_word(self.heap_word_offset(word)),
        }
    }

    fn set_heap_word(&mut self, word: Word, value: u64) {
        match &self.links {
            Some(links) => links.store.heap.word(word).set(value),
            None => *self.word(self.heap_word_offset(word)) = value,
        }
    }

    /// The current run.
    fn run(&self) -> (u64, u64) {
        let length = self.heap_length().max(FIRST_OBJECT);
        let limit = self.heap_word(Word::Limit).clamp(FIRST_OBJECT, length);
        let next = self.heap_word(Word::Next).clamp(FIRST_OBJECT, limit);
        (next, limit)
    }

    fn set_run(&mut self, next: u64, limit: u64) {
        self.set_heap_word(Word::Next, next);
        self.set_heap_word(Word::Limit, limit);
    }

    /// The first free run, 0 for none; each has the next in its second word.
    pub(super) fn set_first_free(&mut self, run: u64) {
        self.set_heap_word(Word::FirstFree, run);
    }

    /// Makes what is left of the current run a free one, so that the heap has no gap.
    pub(super) fn retire_run(&mut self) {
        let (next, limit) = self.run();
        if next < limit {
            let free = object_header(FREE_KIND, (limit - next) as u32);
            self.heap().write(next, free);
        }
        self.set_run(limit, limit);
    }

    /// Makes an object in the current run, if there is room.
    fn allocate_in_run(&mut self, header: u64) -> Option<u64> {
        let bytes = header >> 32;
        assert!(bytes >= OBJECT_HEADER_BYTES && bytes.is_multiple_of(8));
        let (next, limit) = self.run();
        if bytes > limit - next {
            return None;
        }
        self.set_run(next + bytes, limit);
        self.heap().write(next, header);
        Some(next)
    }

    /// Takes a free run of so many bytes at least off the list, looking at so many from a place in the list on, which goes on with them.
    fn take_free_run(&mut self, bytes: u64, at: &mut FreeRun, tried: usize) -> Option<(u64, u64)> {
        let heap = self.heap();
        for _ in 0..tried {
            let FreeRun { before, run } = *at;
            if run == 0 {
                return None;
            }
            let (length, after) = (heap.bytes_at(run), heap.read(run + 8));
            if length < bytes {
                *at = FreeRun {
                    before: Some(run),
                    run: after,
                };
                continue;
            }
            let mut taken = bytes.max(RUN_BYTES_MAX).min(length);
            if length - taken < RUN_BYTES_MIN {
                taken = length;
            }
            let mut rest = after;
            if taken < length {
                rest = run + taken;
                heap.write(rest, object_header(FREE_KIND, (length - taken) as u32));
                heap.write(rest + 8, after);
                heap.write(run, object_header(FREE_KIND, taken as u32));
            }
            match before {
                Some(before) => heap.write(before + 8, rest),
                None => self.set_first_free(rest),
            }
            return Some((run, taken));
        }
        None
    }

    /// Lengthens the heap so that an object of so many bytes fits the current run.
    fn grow_heap(&mut self, bytes: u64) -> Result<(), Reason> {
        const PAGE: u64 = PAGE_BYTES as u64;
        let length = self.heap_length();
        let taken = self.memory_bytes();
        let more = self.limits.memory_bytes.saturating_sub(taken);
        let room = (length + more).min(HEAP_RESERVED_BYTES) / PAGE * PAGE;
        // The current run goes on where it is the last.
        let (next, limit) = self.run();
        let start = if limit == length { next } else { length };
        let start = start.max(FIRST_OBJECT);
        let end = start + bytes;
        if end > room {
            return Err(Reason::Limit(Limit::Memory {
                limit_bytes: self.limits.memory_bytes,
                wanted_bytes: taken + end.saturating_sub(length),
            }));
        }
        let ahead = length.clamp(GROWTH_BYTES_MIN, GROWTH_BYTES_MAX);
        let wanted = (length + ahead).max(end.next_multiple_of(PAGE)).min(room);
        self.lengthen_heap(wanted).map_err(|error| {
            Reason::Host(format!("the system has no memory for an object: {error}"))
        })?;
        if start != next {
            self.retire_run();
        }
        self.collector_mut().allocated(wanted - length);
        self.set_run(start, wanted);
        Ok(())
    }

    fn lengthen_heap(&mut self, bytes: u64) -> io::Result<()> {
        let Some(links) = &mut self.links else {
            return self.set_memory_length(self.heap_index(), bytes);
        };
        let length = links.store.heap.length();
        links.store.heap.lengthen(bytes)?;
        links.heap_bytes += bytes - length;
        self.peak_memory_bytes = self.peak_memory_bytes.max(self.memory_bytes());
        Ok(())
    }

    /// Makes an object with this header, and answers the reference to it. Nothing is freed for it: for where a reference may be on
    /// no stack.
    ///
    /// # Errors
    /// The limit on memory, when the object does not fit.
    pub fn allocate_object(&mut self, header: u64) -> Result<u64, Reason> {
        if let Some(object) = self.allocate_in_run(header) {
            return Ok(object);
        }
        self.grow_heap(header >> 32)?;
        let object = self.allocate_in_run(header);
        Ok(object.expect("the heap was lengthened by so much"))
    }

    /// Where the heap begins, or would if the module had one.
    pub fn heap_base(&self) -> *mut u8 {
        match &self.links {
            Some(links) => links.store.heap.base(),
            None => self.vmctx().wrapping_add(HEAP_START as usize),
        }
    }

    /// Bytes of the heap that are accessible.
    pub fn heap_length(&self) -> u64 {
        match (&self.links, self.linked.module().info().layout.heap) {
            (Some(links), _) => links.store.heap.length(),
            (None, Some(_)) => self.own_memory_length(self.heap_index()),
            (None, None) => 0,
        }
    }

    /// The address of the object that a reference refers to. Whatever the reference, it lies in the heap's reservation.
    pub fn object(&self, reference: u64) -> *mut u64 {
        self.heap_base()
            .wrapping_add(reference as u32 as usize)
            .cast()
    }
}

/// As [`Inner::allocate_object`], for a built-in: objects that nothing refers to are freed first when it is time.
///
/// # Safety
/// On the fiber of `inner`, called by a stub of compiled code; every reference that the guest will use again is in the instance, or
/// on the stack from `saved` on. Nothing on the host's part of the stack needs dropping.
pub(super) unsafe fn allocate(inner: *mut Inner, header: u64, saved: Saved) -> Result<u64, Reason> {
    // SAFETY: the caller's promise; no reference into `inner` is live across a suspension.
    unsafe {
        if let Some(object) = (*inner).allocate_in_run(header) {
            return Ok(object);
        }
        let length = (*inner).heap_length();
        let mut wanted = (*inner).collector_mut().is_due(length);
        let (mut collected, mut patient) = (false, true);
        loop {
            if wanted && !collected {
                collected = collector::collect(inner, saved, patient);
                if !collected {
                    patient = false;
                    continue;
                }
            }
            let tried = if collected { usize::MAX } else { RUNS_TRIED };
            match begin_free_run(inner, header >> 32, tried, patient) {
                Some(true) => break,
                Some(false) => {}
                None => {
                    (collected, patient) = (false, false);
                    continue;
                }
            }
            match (*inner).grow_heap(header >> 32) {
                Ok(()) => break,
                Err(limit) if collected => return Err(limit),
                Err(_) => wanted = true,
            }
        }
        let object = (*inner).allocate_in_run(header);
        Ok(object.expect("the current run has room"))
    }
}

/// Makes a free run of so many bytes at least the current one, if there is one. `None` if another call had a turn meanwhile, for which
/// one that is patient gives up the thread: then all is to be looked at again.
///
/// # Safety
/// As for [`allocate`].
unsafe fn begin_free_run(
    inner: *mut Inner,
    bytes: u64,
    tried: usize,
    patient: bool,
) -> Option<bool> {
    // SAFETY: the caller's promise. While the guest is suspended here, the run is a free one that is in no list: at most a collection
    // by another call makes it another's, and then it is not touched any more.
    unsafe {
        let mut at = FreeRun {
            before: None,
            run: (*inner).heap_word(Word::FirstFree),
        };
        let mut left = tried;
        let (run, taken) = loop {
            let part = left.min(RUNS_PER_PART);
            if let Some(found) = (*inner).take_free_run(bytes, &mut at, part) {
                break found;
            }
            left -= part;
            if at.run == 0 || left == 0 {
                return Some(false);
            }
            // The list is as it was when `pause` says so.
            if patient && !pause(inner) {
                return None;
            }
        };
        (*inner).collector_mut().allocated(taken);
        let mut done = OBJECT_HEADER_BYTES;
        while done < taken {
            let part = (taken - done).min(PART_BYTES as u64);
            (*inner).heap().clear(run + done, part);
            done += part;
            if done < taken && patient && !pause(inner) {
                return None;
            }
        }
        (*inner).retire_run();
        (*inner).heap().write(run, 0);
        (*inner).set_run(run, run + taken);
        Some(true)
    }
}
