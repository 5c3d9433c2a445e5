//! The collector of the object heap: mark and sweep, without moving anything.
//!
//! What refers to an object is found in globals, tables, kept elements, the exception on its way, other objects, and on the stack
//! of the call in progress. In all but the last it is known which words are references. The stack is looked at
//! conservatively: whatever compiled code will use again is there, or in a register that callees preserve, as the reference it
//! was or as an address computed from it, and any word that could be one counts. For that reason an address within an object
//! keeps it, and for that reason objects do not move. The entry of a built-in that may collect saves such registers; the host's
//! frames are not looked at, since they are full of what earlier calls left.
//!
//! ```text
//!   survey: where objects begin --> mark: from the roots, through the objects --> sweep: the others become free runs
//! ```
//!
//! * Marks are beside the heap, not in it: until the sweep begins nothing of the instance has changed, and the sweep leaves a heap
//!   that can be walked after each step. So a collection can be suspended anywhere, and need not be resumed.
//! * What it works with belongs to the instance, not to the stack, which may be given up in between.
//! * Its own memory is bounded: a thirtieth of the heap and a list of [`PENDING_MAX`] objects. When that is full, objects are marked
//!   without being looked through, and the heap is walked for those once more.

use super::fiber::yield_if_preempted;
use super::heap::{Heap, RUN_BYTES_MIN};
use super::instance::Inner;
use super::signals;
use crate::compile::info::{
    CompositeType, ModuleInfo, SegmentMode, StorageType, ValueType, struct_layout,
};
use crate::layout::{
    ARRAY_ELEMENTS_OFFSET, ARRAY_LENGTH_OFFSET, EXCEPTION_KIND, EXTERNALIZED, FIRST_OBJECT,
    FREE_KIND, HEAP_START, OBJECT_HEADER_BYTES, PAGE_BYTES, object_header,
};

/// A collection is due when so many bytes were taken for objects since the last, or as many as it left alive if that is more.
const ALLOCATED_BYTES_MIN: u64 = 1 << 20;

/// The most objects that wait to be looked through.
const PENDING_MAX: usize = 1 << 18;

/// How many objects or words are looked at between two looks at the time slice.
const STEPS: usize = 1 << 14;

const PAGE: u64 = PAGE_BYTES as u64;

/// Where objects of one type have references to objects.
#[derive(Debug)]
enum Shape {
    None,
    /// At these offsets.
    Fields(Vec<u32>),
    Elements,
}

/// The shapes of a module's objects.
#[derive(Debug)]
pub(crate) struct Shapes {
    /// By signature id.
    types: Vec<Shape>,
    /// By tag.
    exceptions: Vec<Shape>,
}

impl Shapes {
    pub fn new(info: &ModuleInfo) -> Shapes {
        let fields = |offsets: Vec<u32>| match offsets.is_empty() {
            true => Shape::None,
            false => Shape::Fields(offsets),
        };
        let count = info.signature_ids.iter().max().map_or(0, |id| id + 1);
        let mut types: Vec<Shape> = (0..count).map(|_| Shape::None).collect();
        for (ty, id) in info.types.iter().zip(&info.signature_ids) {
            types[*id as usize] = match &ty.composite {
                CompositeType::Function(_) => Shape::None,
                CompositeType::Struct(all) => {
                    let places = all.iter().zip(struct_layout(all).0);
                    let objects = places.filter(|(field, _)| field.storage.is_object());
                    fields(objects.map(|(_, offset)| offset).collect())
                }
                CompositeType::Array(element) if element.storage.is_object() => Shape::Elements,
                CompositeType::Array(_) => Shape::None,
            };
        }
        let exception = |tag: usize| {
            let mut at = OBJECT_HEADER_BYTES as u32;
            let mut offsets = Vec::new();
            for ty in info.tag_values(tag as u32) {
                if is_object(*ty) {
                    offsets.push(at);
                }
                at += ty.words() as u32 * 8;
            }
            fields(offsets)
        };
        Shapes {
            types,
            exceptions: (0..info.tags.len()).map(exception).collect(),
        }
    }

    fn of(&self, kind: u32) -> &Shape {
        let shape = match kind & EXCEPTION_KIND {
            0 => self.types.get(kind as usize),
            _ => self.exceptions.get((kind & !EXCEPTION_KIND) as usize),
        };
        shape.expect("an object of a type of the module")
    }
}

fn is_object(ty: ValueType) -> bool {
    StorageType::Value(ty).is_object()
}

/// A bit for every eight bytes of a heap.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn clear(&mut self, heap: Heap) {
        self.0.clear();
        self.0.resize(heap.length().div_ceil(512) as usize, 0);
    }

    fn set(&mut self, at: u64) {
        self.0[(at / 512) as usize] |= 1 << (at / 8 % 64);
    }

    fn has(&self, at: u64) -> bool {
        self.0[(at / 512) as usize] & 1 << (at / 8 % 64) != 0
    }

    /// The last that is set between `first` and `at`, both included.
    fn last(&self, first: u64, at: u64) -> Option<u64> {
        let mut word = at / 512;
        let mut bits = self.0[word as usize] & u64::MAX >> (63 - at / 8 % 64);
        loop {
            if bits != 0 {
                let found = word * 512 + u64::from(63 - bits.leading_zeros()) * 8;
                return (found >= first).then_some(found);
            }
            if word * 512 <= first {
                return None;
            }
            word -= 1;
            bits = self.0[word as usize];
        }
    }
}

/// What is known of an instance's heap between collections, and what a collection works with.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    /// Bytes taken for objects since the last collection.
    allocated_bytes: u64,
    collected: bool,
    /// Bytes of the objects that the last collection left.
    live_bytes: u64,
    /// Where objects begin.
    starts: Bits,
    marks: Bits,
    /// For each page, the object that its first byte lies in; 0 if that is none's.
    crossing: Vec<u32>,
    /// Objects that are marked and not looked through.
    pending: Vec<u32>,
    /// There are others.
    overflowed: bool,
    /// What is left of the array that is being looked through.
    elements: (u64, u64),
    /// Where the walk over the heap is, in the survey, when pending objects overflowed, and in the sweep.
    position: u64,
    /// The sweep: where free bytes begin that were not noted yet, the first and the last free run.
    free_from: Option<u64>,
    first_free: u64,
    last_free: u64,
}

impl Collector {
    pub fn allocated(&mut self, bytes: u64) {
        self.allocated_bytes += bytes;
    }

    /// Whether it is time for a collection of a heap of this length. Before the first, all that was there from the start counts as
    /// alive: a restored instance does not look through its image for one short call.
    pub fn is_due(&self, heap_bytes: u64) -> bool {
        let live_bytes = match self.collected {
            true => self.live_bytes,
            false => heap_bytes.saturating_sub(self.allocated_bytes),
        };
        self.allocated_bytes >= live_bytes.max(ALLOCATED_BYTES_MIN)
    }

    fn begin(&mut self, heap: Heap) {
        self.starts.clear(heap);
        self.marks.clear(heap);
        self.crossing.clear();
        self.crossing
            .resize(heap.length().div_ceil(PAGE) as usize, 0);
        self.pending.clear();
        self.overflowed = false;
        self.elements = (0, 0);
        self.position = FIRST_OBJECT;
    }

    /// Gives back what only a collection needs.
    fn end(&mut self) {
        *self = Collector {
            collected: true,
            live_bytes: self.live_bytes,
            ..Collector::default()
        };
    }

    /// Notes where objects begin, some at a time; answers whether there are more.
    fn survey(&mut self, heap: Heap) -> bool {
        for _ in 0..STEPS {
            let at = self.position;
            if at >= heap.length() {
                return false;
            }
            let end = at + heap.bytes_at(at);
            if heap.read(at) as u32 != FREE_KIND {
                self.starts.set(at);
                let pages = at.div_ceil(PAGE) as usize..end.div_ceil(PAGE) as usize;
                self.crossing[pages].fill(at as u32);
            }
            self.position = end;
        }
        true
    }

    /// Marks the object that an offset lies in, if it lies in one.
    fn mark_within(&mut self, heap: Heap, shapes: &Shapes, offset: u64) {
        if offset < FIRST_OBJECT || offset >= heap.length() {
            return;
        }
        let page = offset / PAGE * PAGE;
        let start = self.starts.last(page, offset).or_else(|| {
            let crossing = u64::from(self.crossing[(offset / PAGE) as usize]);
            (crossing != 0).then_some(crossing)
        });
        if let Some(start) = start
            && offset - start < heap.bytes_at(start)
        {
            self.mark(heap, shapes, start);
        }
    }

    /// Marks what a reference refers to, if that is an object.
    fn mark_reference(&mut self, heap: Heap, shapes: &Shapes, reference: u64) {
        let offset = reference & !EXTERNALIZED;
        if offset < heap.length()
            && offset >= FIRST_OBJECT
            && offset.is_multiple_of(8)
            && self.starts.has(offset)
        {
            self.mark(heap, shapes, offset);
        }
    }

    /// Marks what a word of the stack could stand for: a reference, also its low half alone, or an address that was computed
    /// from it, of which any part may have been added first.
    fn mark_word(&mut self, heap: Heap, shapes: &Shapes, vmctx: u64, word: u64) {
        let candidates = [
            u64::from(word as u32),
            word.wrapping_sub(vmctx),
            word.wrapping_sub(HEAP_START),
            word.wrapping_sub(vmctx).wrapping_sub(HEAP_START),
        ];
        for offset in candidates {
            self.mark_within(heap, shapes, offset);
        }
    }

    fn mark(&mut self, heap: Heap, shapes: &Shapes, object: u64) {
        if self.marks.has(object) {
            return;
        }
        self.marks.set(object);
        if let Shape::None = shapes.of(heap.read(object) as u32) {
            return;
        }
        if self.pending.len() < PENDING_MAX {
            self.pending.push(object as u32);
        } else {
            self.overflowed = true;
        }
    }

    /// Looks through marked objects, some at a time; answers whether there are more.
    fn trace(&mut self, heap: Heap, shapes: &Shapes) -> bool {
        for _ in 0..STEPS {
            let (element, end) = self.elements;
            if element < end {
                self.elements.0 += 8;
                self.mark_reference(heap, shapes, heap.read(element));
            } else if let Some(object) = self.pending.pop() {
                self.look_through(heap, shapes, object.into());
            } else if self.position < heap.length() {
                let at = self.position;
                self.position += heap.bytes_at(at);
                if self.starts.has(at) && self.marks.has(at) {
                    self.look_through(heap, shapes, at);
                }
            } else if self.overflowed {
                self.overflowed = false;
                self.position = FIRST_OBJECT;
            } else {
                return false;
            }
        }
        true
    }

    fn look_through(&mut self, heap: Heap, shapes: &Shapes, object: u64) {
        match shapes.of(heap.read(object) as u32) {
            Shape::None => {}
            Shape::Fields(offsets) => {
                for offset in offsets {
                    let field = heap.read(object + u64::from(*offset));
                    self.mark_reference(heap, shapes, field);
                }
            }
            Shape::Elements => {
                let length = u64::from(heap.read(object + ARRAY_LENGTH_OFFSET) as u32);
                let first = object + ARRAY_ELEMENTS_OFFSET;
                self.elements = (first, first + length * 8);
            }
        }
    }

    fn begin_sweep(&mut self) {
        self.position = FIRST_OBJECT;
        self.live_bytes = 0;
        self.free_from = None;
        (self.first_free, self.last_free) = (0, 0);
    }

    /// Makes free runs of what is not marked, some at a time; answers whether there is more.
    fn sweep(&mut self, heap: Heap) -> bool {
        for _ in 0..STEPS {
            let at = self.position;
            if at >= heap.length() {
                self.note_free(heap, at);
                return false;
            }
            let bytes = heap.bytes_at(at);
            if self.starts.has(at) && self.marks.has(at) {
                self.note_free(heap, at);
                self.live_bytes += bytes;
            } else {
                self.free_from.get_or_insert(at);
            }
            self.position = at + bytes;
        }
        true
    }

    /// Notes the free bytes that end here, if there are any.
    fn note_free(&mut self, heap: Heap, end: u64) {
        let Some(start) = self.free_from.take() else {
            return;
        };
        heap.write(start, object_header(FREE_KIND, (end - start) as u32));
        if end - start < RUN_BYTES_MIN {
            return;
        }
        heap.write(start + 8, 0);
        match self.last_free {
            0 => self.first_free = start,
            last => heap.write(last + 8, start),
        }
        self.last_free = start;
    }
}

impl Inner {
    /// Marks what the instance itself refers to.
    fn mark_state(&mut self, heap: Heap, shapes: &Shapes) {
        let module = self.linked.module().clone();
        let info = &module.shared.info;
        let mut collector = std::mem::take(&mut self.collector);
        for (global, offset) in info.globals.iter().zip(&info.layout.globals) {
            if is_object(global.value) {
                collector.mark_reference(heap, shapes, *self.word(*offset));
            }
        }
        for (index, table) in info.tables.iter().enumerate() {
            if is_object(ValueType::Reference(table.element)) {
                for entry in self.table(index) {
                    collector.mark_reference(heap, shapes, *entry);
                }
            }
        }
        for (index, segment) in info.elements.iter().enumerate() {
            if let (SegmentMode::Passive, Some(place)) =
                (&segment.mode, info.layout.elements[index])
            {
                for element in 0..self.element_count(index) as u32 {
                    let word = *self.word(place + element * 8);
                    collector.mark_reference(heap, shapes, word);
                }
            }
        }
        if let Some(place) = info.layout.exception {
            let tags = 0..info.tags.len() as u32;
            let bytes = tags.map(|tag| (info.exception_header(tag) >> 32) as u32);
            for offset in (0..bytes.max().unwrap_or(0)).step_by(8) {
                collector.mark_reference(heap, shapes, *self.word(place + offset));
            }
        }
        self.collector = collector;
    }

    /// Marks what the compiled code of the call in progress may refer to: from the registers that its last call of a built-in
    /// saved to the base of its stack.
    fn mark_stack(&mut self, heap: Heap, shapes: &Shapes, saved: Saved) {
        // SAFETY: a guest's call runs on this thread, being what called the built-in; the instance it was begun in is alive.
        let stack = unsafe { (*signals::running_instance()).frames_range() };
        let first = saved.0 as usize;
        assert!(
            stack.contains(&first) && first.is_multiple_of(8),
            "on the stack of the call"
        );
        let vmctx = self.vmctx() as u64;
        for address in (first..stack.end).step_by(8) {
            // SAFETY: on the call's own stack, which is mapped; no frame from there on changes while the call is in this built-in.
            let word = unsafe { (address as *const u64).read() };
            self.collector.mark_word(heap, shapes, vmctx, word);
        }
    }
}

/// Where a built-in's entry saved the registers of its caller: all else of the guest follows on the stack.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Saved(*const u64);

/// Defines the entry of a built-in that may collect. It saves the registers that callees preserve, which are the guest's, and passes
/// their place as the sixth argument.
macro_rules! saving_registers {
    ($entry:ident, $builtin:path) => {
        #[unsafe(naked)]
        pub unsafe extern "C" fn $entry() -> u64 {
            std::arch::naked_asm!(
                "push rbp",
                "push rbx",
                "push r12",
                "push r13",
                "push r14",
                "push r15",
                "mov r9, rsp",
                "sub rsp, 8",
                "call {builtin}",
                // The built-in has preserved them: nothing is to be restored.
                "add rsp, 56",
                "ret",
                builtin = sym $builtin,
            )
        }
    };
}
pub(super) use saving_registers;

/// Frees the objects that nothing refers to.
///
/// # Safety
/// As for [`allocate`](super::heap::allocate).
pub(super) unsafe fn collect(inner: *mut Inner, saved: Saved) {
    // SAFETY: the caller's promise. No reference into `inner` is live across a suspension, nothing that needs dropping is on the stack,
    // and the heap does not change while the guest is suspended in this built-in.
    unsafe {
        (*inner).retire_run();
        let heap = (*inner).heap();
        (*inner).collector.begin(heap);
        while (*inner).collector.survey(heap) {
            yield_if_preempted(inner);
        }
        {
            let module = (*inner).linked.module().clone();
            let shapes = module.shapes();
            (*inner).mark_state(heap, shapes);
            (*inner).mark_stack(heap, shapes, saved);
        }
        loop {
            let more = {
                let module = (*inner).linked.module().clone();
                (*inner).collector.trace(heap, module.shapes())
            };
            if !more {
                break;
            }
            yield_if_preempted(inner);
        }
        (*inner).set_first_free(0);
        (*inner).collector.begin_sweep();
        loop {
            let more = (*inner).collector.sweep(heap);
            let first = (*inner).collector.first_free;
            (*inner).set_first_free(first);
            if !more {
                break;
            }
            yield_if_preempted(inner);
        }
        (*inner).collector.end();
    }
}
