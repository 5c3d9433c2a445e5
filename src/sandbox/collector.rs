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

use super::heap::{Heap, RUN_BYTES_MIN};
use super::instance::Inner;
use super::signals;
use super::store_heap::{pause, with_shapes};
use crate::compile::info::{
    CompositeType, HeapType, ModuleInfo, ReferenceType, SegmentMode, StorageType, ValueType,
    struct_layout,
};
use crate::layout::{
    ARRAY_ELEMENTS_OFFSET, ARRAY_KIND, ARRAY_LENGTH_OFFSET, EXCEPTION_KIND, EXTERNALIZED,
    FIRST_OBJECT, FREE_KIND, HEAP_START, I31_BIT, INTERNALIZED, OBJECT_HEADER_BYTES, PAGE_BYTES,
    object_header,
};

/// A collection is due when so many bytes were taken for objects since the last, or as many as it left alive if that is more.
const ALLOCATED_BYTES_MIN: u64 = 1 << 20;

/// The most objects that wait to be looked through.
const PENDING_MAX: usize = 1 << 18;

/// How many objects or words are looked at between two looks at the time slice.
const STEPS: usize = 1 << 14;

const PAGE: u64 = PAGE_BYTES as u64;

/// The type of what is kept of element segments: a reference of some kind.
const ANYREF: ValueType = ValueType::Reference(ReferenceType {
    nullable: true,
    heap: HeapType::Any,
});

/// Where objects of one type have references to objects.
#[derive(Debug, Default)]
enum Shape {
    #[default]
    None,
    /// At these offsets.
    Fields(Vec<u32>),
    Elements,
}

impl Shape {
    fn of_fields(offsets: Vec<u32>) -> Shape {
        match offsets.is_empty() {
            true => Shape::None,
            false => Shape::Fields(offsets),
        }
    }
}

/// The shapes of the objects of a module, or of all modules of a store.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    /// By signature id.
    types: Vec<Shape>,
    /// By tag.
    exceptions: Vec<Shape>,
}

impl Shapes {
    pub fn new(info: &ModuleInfo) -> Shapes {
        let mut shapes = Shapes::default();
        shapes.add_types(info, &info.signature_ids);
        for tag in 0..info.tags.len() as u32 {
            shapes.add_tag(info.tag_values(tag));
        }
        shapes
    }

    /// Adds the types of a module, under these ids.
    pub fn add_types(&mut self, info: &ModuleInfo, ids: &[u32]) {
        let count = ids.iter().max().map_or(0, |id| *id as usize + 1);
        let count = count.max(self.types.len());
        self.types.resize_with(count, Shape::default);
        for (ty, id) in info.types.iter().zip(ids) {
            self.types[*id as usize] = match &ty.composite {
                CompositeType::Function(_) => Shape::None,
                CompositeType::Struct(all) => {
                    let places = all.iter().zip(struct_layout(all).0);
                    let objects = places.filter(|(field, _)| field.storage.is_object());
                    Shape::of_fields(objects.map(|(_, offset)| offset).collect())
                }
                CompositeType::Array(element) if element.storage.is_object() => Shape::Elements,
                CompositeType::Array(_) => Shape::None,
            };
        }
    }

    /// Adds the next tag.
    pub fn add_tag(&mut self, values: &[ValueType]) {
        let mut at = OBJECT_HEADER_BYTES as u32;
        let mut offsets = Vec::new();
        for ty in values {
            if is_object(*ty) {
                offsets.push(at);
            }
            at += ty.words() as u32 * 8;
        }
        self.exceptions.push(Shape::of_fields(offsets));
    }

    fn of(&self, kind: u32) -> &Shape {
        let shape = match kind & EXCEPTION_KIND {
            0 => self.types.get((kind & !ARRAY_KIND) as usize),
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
    fn mark_word(&mut self, heap: Heap, shapes: &Shapes, word: u64) {
        // Where the vmctx is if the heap is the instance's own; that of a store is added as a whole.
        let vmctx = (heap.base() as u64).wrapping_sub(HEAP_START);
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

/// Whether a word of such a type refers to an object, and is not null, a number or an external reference.
fn refers_to_object(ty: ValueType, word: u64) -> bool {
    let ValueType::Reference(ty) = ty else {
        return false;
    };
    let marked = ty.heap != HeapType::Extern || word & EXTERNALIZED != 0;
    let reference = word & !EXTERNALIZED;
    is_object(ValueType::Reference(ty))
        && marked
        && (FIRST_OBJECT..1 << 32).contains(&reference)
        && reference & (I31_BIT | INTERNALIZED) == 0
}

impl Inner {
    /// Does something with every word of the state that may refer to an object, given its type: what the instance imports is
    /// another's.
    fn for_object_words(&mut self, mut act: impl FnMut(ValueType, u64)) {
        let module = self.linked.module().clone();
        let info = &module.shared.info;
        let globals = info.globals.iter().zip(&info.layout.globals);
        for (global, offset) in globals.skip(info.imported_globals as usize) {
            if is_object(global.value) {
                act(global.value, *self.word(*offset));
            }
        }
        let tables = info.tables.iter().enumerate();
        for (index, table) in tables.skip(info.imported_tables as usize) {
            let element = ValueType::Reference(table.element);
            if is_object(element) {
                for entry in self.own_table(index) {
                    act(element, *entry);
                }
            }
        }
        for (index, segment) in info.elements.iter().enumerate() {
            if let (SegmentMode::Passive, Some(place)) =
                (&segment.mode, info.layout.elements[index])
            {
                for element in 0..self.element_count(index) as i32 {
                    act(ANYREF, *self.word(place + element * 8));
                }
            }
        }
    }

    /// Whether the state refers to an object, which is on the heap of a store.
    pub(crate) fn refers_to_objects(&mut self) -> bool {
        let mut refers = false;
        self.for_object_words(|ty, word| refers |= refers_to_object(ty, word));
        refers
    }

    /// Marks what the instance itself refers to.
    fn mark_state(&mut self, heap: Heap, shapes: &Shapes) {
        let mut collector = std::mem::take(self.collector_mut());
        self.for_object_words(|_, word| collector.mark_reference(heap, shapes, word));
        if let Some(links) = &self.links {
            for word in links.exception() {
                collector.mark_reference(heap, shapes, *word);
            }
        }
        let module = self.linked.module().clone();
        let info = module.info();
        if let Some(place) = info.layout.exception {
            let tags = 0..info.tags.len() as u32;
            let bytes = tags.map(|tag| (info.exception_header(tag) >> 32) as u32);
            for offset in (0..bytes.max().unwrap_or(0)).step_by(8) {
                collector.mark_reference(heap, shapes, *self.word(place + offset as i32));
            }
        }
        *self.collector_mut() = collector;
    }
}

impl Collector {
    /// Marks what the compiled code of a call may refer to: from where registers were saved when it called a built-in, or when it
    /// was suspended, to the base of its stack.
    fn mark_stack(
        &mut self,
        heap: Heap,
        shapes: &Shapes,
        stack: std::ops::Range<usize>,
        first: usize,
    ) {
        assert!(
            stack.contains(&first) && first.is_multiple_of(8),
            "on the stack of the call"
        );
        for address in (first..stack.end).step_by(8) {
            // SAFETY: on the call's own stack, which is mapped; no frame from there on changes while a collection is in this step.
            let word = unsafe { (address as *const u64).read() };
            self.mark_word(heap, shapes, word);
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

/// Frees the objects that nothing refers to. Gives up the thread meanwhile if it is patient; then it ends early, and answers `false`, if
/// another call had a turn with the heap.
///
/// # Safety
/// As for [`allocate`](super::heap::allocate).
pub(super) unsafe fn collect(inner: *mut Inner, saved: Saved, patient: bool) -> bool {
    // SAFETY: the caller's promise. No reference into `inner` is live across a suspension, nothing that needs dropping is on the stack,
    // and the heap has not changed when `pause` says so.
    unsafe {
        (*inner).retire_run();
        let heap = (*inner).heap();
        (*inner).collector_mut().begin(heap);
        while (*inner).collector_mut().survey(heap) {
            if patient && !pause(inner) {
                return false;
            }
        }
        with_shapes(inner, |shapes| {
            // The call in progress is not always one that was begun in this instance.
            let call = signals::running_instance();
            let stack = (*call).frames_range();
            (*inner)
                .collector_mut()
                .mark_stack(heap, shapes, stack, saved.0 as usize);
            for other in (*inner).sharing_heap() {
                (*other).mark_state(heap, shapes);
                let first = (*other).suspended_at;
                if first != 0 {
                    let stack = (*other).frames_range();
                    (*inner)
                        .collector_mut()
                        .mark_stack(heap, shapes, stack, first);
                }
            }
        });
        while with_shapes(inner, |shapes| (*inner).collector_mut().trace(heap, shapes)) {
            if patient && !pause(inner) {
                return false;
            }
        }
        (*inner).set_first_free(0);
        (*inner).collector_mut().begin_sweep();
        loop {
            let more = (*inner).collector_mut().sweep(heap);
            let first = (*inner).collector_mut().first_free;
            (*inner).set_first_free(first);
            if !more {
                break;
            }
            if patient && !pause(inner) {
                return false;
            }
        }
        (*inner).collector_mut().end();
        true
    }
}
