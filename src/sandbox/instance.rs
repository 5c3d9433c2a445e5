//! An instance: a slot with a module's state in it, and the call it is executing.
//!
//! An instance is *idle*, *begun* (a call has a fiber, running or suspended) or *spent* (a call has ended and the state
//! is what the guest left). Idle and spent differ only by what the owner knows: a spent instance may be
//! called again, which is how reactors keep state, or reset to its image.

use super::atomic::AtomicWait;
use super::collector::Collector;
use super::engine::Engine;
use super::fiber::{self, Fiber, FiberYielder};
use super::links::Links;
use super::module::{Linked, Module};
use super::origin::{Origin, Settled};
use super::os::{self, Access};
use super::signals::Fault;
use super::slots::Slot;
use super::trap::{Limit, Reason, TrapKind};
use crate::compile::info::{ConstantInstruction, ExportKind, SegmentMode};
use crate::layout::{MemoryLayout, PAGE_BYTES, TABLE_ENTRY_BYTES, header};
use std::any::Any;
use std::io;
use std::ptr::{NonNull, null};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What a host that asked for what is gone is told.
const UNREADABLE: &str = "the image of a trimmed instance can be read";

/// What an instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory, all memories together, and the object heap; in a store, as much of its heap as the instance lengthened it by.
    pub memory_bytes: u64,
    /// Elements of each table.
    pub table_elements: u64,
    /// Native stack of a call; the engine's stacks may hold less.
    pub stack_bytes: usize,
    /// Time on the processor, for each call.
    pub cpu_time: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: 4 << 30,
            table_elements: 1 << 20,
            stack_bytes: 1 << 20,
            cpu_time: None,
        }
    }
}

/// Where a suspended guest is, for a backtrace.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// In compiled code.
    Code { pc: usize, frame: usize },
    /// In the host, called by the stub of this frame.
    HostCall { frame: usize },
}

/// The part of an instance that compiled code, host functions and signal handlers reach by pointer.
pub(crate) struct Inner {
    pub slot: Slot,
    /// The address all offsets of the layout count from.
    vmctx: *mut u8,
    pub linked: Linked,
    /// Present in instances of a store.
    pub links: Option<Box<Links>>,
    pub limits: Limits,
    data: Box<dyn Any>,
    pub values: Vec<u64>,
    pub yielder: *const FiberYielder,
    /// The lowest value that the stack pointer of the call in progress may take in guest code.
    pub stack_limit: usize,
    /// Where the stack of the call in progress, while it is suspended, begins to hold what compiled code will use again: registers
    /// first. 0 while there is none.
    pub suspended_at: usize,
    pub preempt_pending: AtomicBool,
    pub resumed_at_ns: u64,
    pub cpu_ns: u64,
    pub stop: Option<Reason>,
    pub atomic_wait: Option<AtomicWait>,
    pub fault: Option<Fault>,
    pub place: Place,
    pub(super) peak_memory_bytes: u64,
    pub refused: Option<Limit>,
    /// Of its own object heap; a store has another.
    pub(super) collector: Collector,
    /// A page could not be read from the image file, so others may be unreadable too.
    pub image_lost: bool,
}

/// An isolated instance of a module.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use dormouse::compile::{CompileOptions, compile};
/// # use dormouse::{Engine, EngineOptions, Image, Imports, Instance, Limits, Module};
/// let engine = Engine::new(&EngineOptions::default())?;
/// let wasm = wat::parse_str(
///     r#"(module (memory (export "memory") 1)
///         (func (export "upper") (param i32) (i32.store8 (local.get 0)
///             (i32.and (i32.load8_u (local.get 0)) (i32.const 0xdf)))))"#,
/// )?;
/// let module = Module::from_artifact(&engine, &compile(&wasm, &CompileOptions::default())?)?;
/// let linked = module.link(&Imports::new())?;
/// let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
/// let mut instance = Instance::new(&linked, limits, Box::new(()))?;
///
/// instance.memory()[..5].copy_from_slice(b"mouse");
/// module.typed::<(u32,), ()>("upper")?.call(&mut instance, (0,))?;
/// assert_eq!(&instance.memory()[..5], b"Mouse");
/// # Ok(())
/// # }
/// ```
pub struct Instance {
    // Before `inner`, which its frames refer to.
    pub(super) fiber: Option<Fiber>,
    pub(super) result_words: usize,
    pub(crate) inner: NonNull<Inner>,
    pub(crate) origin: Option<Rc<Origin>>,
    /// It was restored before it was known which pages calls write, so its first reset makes it anew.
    pub(crate) unprepared: bool,
    pub(crate) resets: u32,
    /// Which pages are private, if that is known.
    pub(crate) settled: Option<Box<Settled>>,
    /// Pages are mapped one by one, for the image's working set.
    pub(crate) recording: Option<super::ExactFaults>,
    /// What the instance held after its last restore, reset or trim.
    pub(crate) held_bytes: u64,
    /// The header page was given up while the instance was idle, with memory 0 of this length.
    dropped_header: Option<u64>,
}

impl Inner {
    pub fn vmctx(&self) -> *mut u8 {
        self.vmctx
    }

    /// The address of what has this offset in the layout.
    pub fn at(&self, offset: i32) -> *mut u8 {
        self.vmctx.wrapping_offset(offset as isize)
    }

    pub fn engine(&self) -> &Engine {
        &self.linked.module().shared.engine
    }

    /// Time on the processor of the call in progress, while it runs.
    pub fn cpu_time_in_call(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns + (os::monotonic_ns() - self.resumed_at_ns))
    }

    /// Where the frames of the call in progress may lie: two words can be read at any of these addresses.
    pub fn frames_range(&self) -> std::ops::Range<usize> {
        let limit = self.stack_limit;
        let guest_bytes = self
            .limits
            .stack_bytes
            .min(self.engine().shared.stacks.guest_bytes());
        limit - super::stack::HOST_RESERVE_BYTES..limit + guest_bytes - 16
    }

    /// Whether an address lies in this instance's slot.
    pub fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.slot.start() as usize) < self.slot.bytes()
    }

    pub fn data_mut(&mut self) -> &mut (dyn Any + 'static) {
        &mut *self.data
    }

    pub fn read_header(&self, offset: i32) -> u64 {
        // SAFETY: header words are the last of the state, which is accessible while the instance lives.
        unsafe { self.at(offset).cast::<u64>().read() }
    }

    pub fn write_header(&mut self, offset: i32, value: u64) {
        // SAFETY: as in `read_header`.
        unsafe { self.at(offset).cast::<u64>().write(value) }
    }

    /// A word of the instance's state, by an offset of its layout.
    pub fn word(&mut self, offset: i32) -> &mut u64 {
        // SAFETY: offsets of the layout are aligned and lie in the accessible state; words are only ever reached through
        // the instance, which is borrowed.
        unsafe { &mut *self.at(offset).cast::<u64>() }
    }

    /// As [`Inner::word`], to look at.
    pub fn read_word(&self, offset: i32) -> u64 {
        // SAFETY: as in `word`.
        unsafe { self.at(offset).cast::<u64>().read() }
    }

    /// Where a memory lies; the object heap has the index after the last.
    pub(super) fn memory_layout(&self, memory: usize) -> MemoryLayout {
        let layout = &self.linked.module().shared.info.layout;
        *layout.regions().nth(memory).expect("a memory or the heap")
    }

    /// Current length of a linear memory of this instance's own, or of the object heap; 0 for an imported memory.
    pub fn own_memory_length(&self, memory: usize) -> u64 {
        let layout = self.memory_layout(memory);
        // SAFETY: the word lies in the header or elsewhere in the state, by the layout, which is checked when the artifact is read;
        // all of it is accessible while the instance lives.
        let word = unsafe { self.at(layout.length_offset).cast::<u64>().read() };
        word.min(layout.reserved_bytes)
    }

    /// Notes the length of a memory, which is accessible so far.
    pub(crate) fn note_memory_length(&mut self, memory: usize, bytes: u64) {
        let layout = self.memory_layout(memory);
        debug_assert!(bytes <= layout.reserved_bytes);
        // SAFETY: as in `memory_length`.
        unsafe { self.at(layout.length_offset).cast::<u64>().write(bytes) };
    }

    /// Current length of all linear memories of its own and of the object heap together; of a store's heap, what it lengthened.
    pub fn memory_bytes(&self) -> u64 {
        let regions = self.linked.module().shared.info.layout.regions().count();
        let own: u64 = (0..regions)
            .map(|memory| self.own_memory_length(memory))
            .sum();
        own + self.links.as_ref().map_or(0, |links| links.heap_bytes)
    }

    pub fn own_memory_base(&self, memory: usize) -> *mut u8 {
        let start = self.memory_layout(memory).start;
        self.vmctx().wrapping_add(start as usize)
    }

    pub fn memory_mut(&mut self, memory: usize) -> &mut [u8] {
        let (base, bytes) = (self.memory_base(memory), self.memory_length(memory));
        // SAFETY: a memory is accessible up to its current length, and is only reached through the instance, which is
        // borrowed; the guest does not run meanwhile.
        unsafe { std::slice::from_raw_parts_mut(base, bytes as usize) }
    }

    /// The memory the host works in, empty for a module without one.
    pub fn host_memory_mut(&mut self) -> &mut [u8] {
        match self.linked.module().shared.host_memory {
            Some(memory) => self.memory_mut(memory as usize),
            None => &mut [],
        }
    }

    /// The entries of a table of this instance's own.
    pub fn own_table(&mut self, index: usize) -> &mut [u64] {
        let layout = self.linked.module().shared.info.layout.tables[index];
        let length = (*self.word(layout.length_offset)).min(layout.capacity.into()) as usize;
        // SAFETY: the layout has room for `capacity` entries there, in the accessible state.
        unsafe { std::slice::from_raw_parts_mut(self.at(layout.entries_offset).cast(), length) }
    }

    /// The bytes of a data segment, none if it was dropped.
    pub fn data_segment(&mut self, index: usize) -> &[u8] {
        let flag = self.linked.module().shared.info.layout.data_flags + index as i32;
        // SAFETY: the flags lie in the accessible state, one byte a segment.
        let dropped = unsafe { self.at(flag).read() } != 0;
        if dropped {
            &[]
        } else {
            self.linked.module().data_segment(index)
        }
    }

    fn segment_dropped(&self, flag: i32) -> bool {
        // SAFETY: as in `data_segment`.
        unsafe { self.at(flag).read() != 0 }
    }

    /// Marks a segment as dropped, given its flag's offset.
    pub fn drop_segment(&mut self, flag: i32) {
        // SAFETY: as in `data_segment`.
        unsafe { self.at(flag).write(1) }
    }

    /// memory.grow, of a memory of this instance's own: the previous length in pages, or `None` when it may not.
    pub fn own_memory_grow(&mut self, memory: usize, delta_pages: u64) -> Option<u64> {
        let ty = self.linked.module().shared.info.memories[memory];
        let old_bytes = self.own_memory_length(memory);
        let old_pages = old_bytes / ty.page_bytes();
        let new_pages = old_pages.checked_add(delta_pages)?;
        if new_pages > ty.pages_max() {
            return None;
        }
        let new_bytes = new_pages.saturating_mul(ty.page_bytes());
        let others_bytes = self.memory_bytes() - old_bytes;
        let reserved_bytes = self.memory_layout(memory).reserved_bytes;
        let limit_bytes = self.limits.memory_bytes.min(others_bytes + reserved_bytes);
        let wanted_bytes = others_bytes.saturating_add(new_bytes);
        if wanted_bytes > limit_bytes {
            self.refused = Some(Limit::Memory {
                limit_bytes,
                wanted_bytes,
            });
            return None;
        }
        self.set_memory_length(memory, new_bytes).ok()?;
        Some(old_pages)
    }

    /// Lengthens a memory to `bytes`, which its reservation has room for; the new part reads as zero.
    pub(super) fn set_memory_length(&mut self, memory: usize, bytes: u64) -> std::io::Result<()> {
        debug_assert!(bytes <= self.memory_layout(memory).reserved_bytes);
        let base = self.own_memory_base(memory);
        let accessible = (self.own_memory_length(memory) as usize).next_multiple_of(PAGE_BYTES);
        let wanted = (bytes as usize).next_multiple_of(PAGE_BYTES);
        if wanted > accessible {
            let start = base as usize - self.slot.start() as usize;
            self.slot.extend_to(start + wanted);
            // SAFETY: the memory's reservation is whole pages and no other's, `wanted` lies within it, and beyond its
            // current length it is inaccessible and unused.
            unsafe {
                os::protect(base.add(accessible), wanted - accessible, Access::ReadWrite)?;
            }
        }
        if bytes > self.own_memory_length(memory) {
            self.note_memory_length(memory, bytes);
            self.peak_memory_bytes = self.peak_memory_bytes.max(self.memory_bytes());
        }
        Ok(())
    }

    /// table.grow, of a table of this instance's own: the previous length, or `None` when it may not.
    pub fn own_table_grow(&mut self, index: usize, delta: u64, entry: u64) -> Option<u64> {
        let layout = self.linked.module().shared.info.layout.tables[index];
        let ty = self.linked.module().shared.info.tables[index];
        let old = self.own_table(index).len() as u64;
        let new = old.checked_add(delta)?;
        let addressable = if ty.index64 {
            u64::MAX
        } else {
            u32::MAX.into()
        };
        if new > ty.limits.maximum.unwrap_or(addressable) {
            return None;
        }
        let limit_elements = self.limits.table_elements.min(layout.capacity.into());
        if new > limit_elements {
            self.refused = Some(Limit::Table {
                limit_elements,
                wanted_elements: new,
            });
            return None;
        }
        *self.word(layout.length_offset) = new;
        self.own_table(index)[old as usize..].fill(entry);
        Some(old)
    }

    /// table.init, and the application of active element segments.
    pub fn table_init(
        &mut self,
        table: usize,
        segment: usize,
        destination: u64,
        source: u64,
        count: u64,
    ) -> Result<(), Reason> {
        let within =
            |start: u64, length: u64| start.checked_add(count).is_some_and(|end| end <= length);
        let length = self.table(table).len() as u64;
        if !within(source, self.element_count(segment)) || !within(destination, length) {
            return Err(Reason::Trap(TrapKind::TableOutOfBounds));
        }
        let module = self.linked.module().clone();
        for offset in 0..count {
            let entry = self.element(&module, segment, (source + offset) as usize)?;
            self.table(table)[(destination + offset) as usize] = entry;
        }
        Ok(())
    }

    /// How many elements a segment has, none if it was dropped.
    pub fn element_count(&self, segment: usize) -> u64 {
        let info = &self.linked.module().shared.info;
        match &info.elements[segment] {
            // A declared segment counts as dropped from the start.
            declared if declared.mode == SegmentMode::Declared => 0,
            _ if self.segment_dropped(info.layout.element_flags + segment as i32) => 0,
            segment => segment.elements.len() as u64,
        }
    }

    /// The value of an element of a segment, given the instance's own module.
    pub fn element(
        &mut self,
        module: &Module,
        segment: usize,
        index: usize,
    ) -> Result<u64, Reason> {
        let info = &module.shared.info;
        if let Some(place) = info.layout.elements[segment] {
            return Ok(*self.word(place + index as i32 * TABLE_ENTRY_BYTES as i32));
        }
        match info.elements[segment].elements[index][..] {
            // What nearly every element is: a guest can ask for many at once, and the thread waits.
            [ConstantInstruction::RefFunc(function)] => Ok(self.reference(function)),
            ref expression => Ok(self.evaluate(expression)?[0]),
        }
    }
}

impl Instance {
    /// Puts an instance into a slot.
    ///
    /// State and memories are accessible already. Of the lengths, that of memory 0 is noted here.
    pub(crate) fn in_slot(
        slot: Slot,
        linked: &Linked,
        limits: Limits,
        data: Box<dyn Any>,
        memories: &[u64],
        origin: Option<Rc<Origin>>,
    ) -> Instance {
        let state_bytes = linked.module().info().layout.state_bytes;
        let inner = Box::new(Inner {
            vmctx: slot.start().wrapping_add(state_bytes as usize),
            slot,
            linked: linked.clone(),
            links: None,
            limits,
            data,
            values: Vec::new(),
            yielder: null(),
            stack_limit: 0,
            suspended_at: 0,
            preempt_pending: AtomicBool::new(false),
            resumed_at_ns: 0,
            cpu_ns: 0,
            stop: None,
            atomic_wait: None,
            fault: None,
            place: Place::HostCall { frame: 0 },
            peak_memory_bytes: memories.iter().sum(),
            refused: None,
            collector: Collector::default(),
            image_lost: false,
        });
        let mut instance = Instance {
            fiber: None,
            result_words: 0,
            inner: NonNull::from(Box::leak(inner)),
            unprepared: origin
                .as_ref()
                .is_some_and(|origin| origin.written.borrow().is_empty()),
            origin,
            resets: 0,
            settled: None,
            recording: None,
            held_bytes: 0,
            dropped_header: None,
        };
        instance.write_header(memories.first().copied().unwrap_or(0));
        instance
    }

    /// Notes that the header page was given up; the next call writes it anew.
    pub(crate) fn drop_header(&mut self, memory_bytes: u64) {
        self.dropped_header = Some(memory_bytes);
    }

    /// Writes the header words that hold for the instance's whole life.
    pub(crate) fn write_header(&mut self, memory_bytes: u64) {
        self.dropped_header = None;
        self.inner_mut().slot.note_shown(None);
        let pointer = self.inner.as_ptr() as u64;
        let inner = self.inner_mut();
        inner.write_header(header::INSTANCE, pointer);
        inner.write_header(header::MEMORY_LENGTH, memory_bytes);
        inner.write_header(header::HOST_CALL, fiber::host_call as *const () as u64);
        inner.write_header(header::BUILTINS, super::builtins::TABLE.as_ptr() as u64);
        inner.write_store_header();
    }

    pub(crate) fn inner(&self) -> &Inner {
        // SAFETY: the instance owns it; while its fiber runs, `resume` has the instance borrowed exclusively and makes
        // no such reference.
        unsafe { self.inner.as_ref() }
    }

    pub(crate) fn inner_mut(&mut self) -> &mut Inner {
        // SAFETY: as in `inner`, and borrowed exclusively.
        unsafe { self.inner.as_mut() }
    }

    pub fn linked(&self) -> &Linked {
        &self.inner().linked
    }

    /// The embedder's data of this instance.
    ///
    /// # Panics
    /// When it is of another type.
    pub fn data_mut<T: 'static>(&mut self) -> &mut T {
        self.inner_mut()
            .data
            .downcast_mut()
            .expect("instance data of the type asked for")
    }

    /// Replaces the embedder's data and returns the old.
    pub fn replace_data(&mut self, data: Box<dyn Any>) -> Box<dyn Any> {
        std::mem::replace(&mut self.inner_mut().data, data)
    }

    /// Time on the processor of the call begun last.
    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.inner().cpu_ns)
    }

    /// The most linear memory, of all memories together, and object heap since the last reset.
    pub fn peak_memory_bytes(&self) -> u64 {
        self.inner().peak_memory_bytes
    }

    /// The linear memory exported as `memory`, otherwise memory 0, as long as it is now; empty for a module without one.
    ///
    /// # Panics
    /// When the instance was trimmed and its image cannot be read any more.
    pub fn memory(&mut self) -> &mut [u8] {
        self.wake().expect(UNREADABLE);
        self.inner_mut().host_memory_mut()
    }

    /// The value of an exported global: its word, or the two of a v128.
    ///
    /// # Panics
    /// When the instance was trimmed and its image cannot be read any more.
    pub fn global(&mut self, name: &str) -> Option<Vec<u64>> {
        self.wake().expect(UNREADABLE);
        let inner = self.inner_mut();
        let info = &inner.linked.module().shared.info;
        let ExportKind::Global(index) = info.export(name)? else {
            return None;
        };
        let words = info.globals[index as usize].value.words();
        Some(inner.global_mut(index as usize)[..words].to_vec())
    }

    /// A limit that the guest ran into and may not have noticed: growing failed, as the specification allows.
    pub fn refused_limit(&self) -> Option<&Limit> {
        self.inner().refused.as_ref()
    }

    /// Whether a call was begun and has not ended.
    pub fn in_call(&self) -> bool {
        self.fiber.is_some()
    }

    /// Forgets what was noted of calls so far.
    pub(crate) fn clear_call_record(&mut self, memory_bytes: u64) {
        let inner = self.inner_mut();
        inner.cpu_ns = 0;
        inner.peak_memory_bytes = memory_bytes;
        inner.refused = None;
        inner.collector = Collector::default();
        inner.values.clear();
    }

    /// Makes the header page good again if it was given up. Fails when it cannot be read from the image's file.
    pub(crate) fn wake(&mut self) -> io::Result<()> {
        if let (Some(memory_bytes), Some(origin)) = (self.dropped_header, &self.origin) {
            let header = origin.header_page as usize * PAGE_BYTES;
            os::make_private(self.inner().slot.start().wrapping_add(header))?;
            self.write_header(memory_bytes);
        }
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.fiber.is_some() {
            self.end_call();
        }
        // SAFETY: made by `Box::leak` in `in_slot` and freed once; the fiber, which pointed to it, is gone.
        drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
    }
}
