//! Built-in functions that compiled code calls: growing, copying, filling, initialising.
//!
//! Each checks its bounds in 64-bit arithmetic before it touches anything, as the specification wants: a range out of bounds
//! traps and changes nothing. Long copies are done in parts, so that a guest cannot hold the thread past its slice.

use super::array;
use super::atomic;
use super::collector::{Saved, saving_registers};
use super::exception;
use super::fiber::{contain, inner_of, yield_if_preempted};
use super::heap;
use super::instance::Inner;
use super::trap::{Reason, TrapKind};
use crate::layout::Builtin;

/// Bytes copied between two looks at the time slice.
pub(super) const PART_BYTES: usize = 1 << 20;

/// -1, of which an i32 is the low half: what growing returns when it fails.
const FAILED: u64 = u64::MAX;

/// The built-ins' addresses in the order of [`Builtin`].
pub struct Table([*const (); Builtin::ALL.len()]);

// SAFETY: addresses of functions, constant for the life of the process.
unsafe impl Sync for Table {}

impl Table {
    pub fn as_ptr(&self) -> *const *const () {
        self.0.as_ptr()
    }
}

pub static TABLE: Table = Table([
    memory_grow as *const (),
    memory_copy as *const (),
    memory_fill as *const (),
    memory_init as *const (),
    table_grow as *const (),
    table_fill as *const (),
    table_copy as *const (),
    table_init as *const (),
    object_allocate as *const (),
    array::allocate as *const (),
    array::replicate as *const (),
    array::copy as *const (),
    array::new_data as *const (),
    array::new_elements as *const (),
    array::init_data as *const (),
    array::init_elements as *const (),
    exception::throw as *const (),
    exception::exception_reference as *const (),
    atomic::wait32 as *const (),
    atomic::wait64 as *const (),
    atomic::notify as *const (),
    is_subtype as *const (),
]);

/// The start of a range that lies within `length`, as the trap wants it otherwise.
pub(super) fn check(start: u64, count: u64, length: u64, kind: TrapKind) -> Result<usize, Reason> {
    match start.checked_add(count) {
        Some(end) if end <= length => Ok(start as usize),
        _ => Err(Reason::Trap(kind)),
    }
}

unsafe extern "C" fn memory_grow(vmctx: *mut u8, memory: u64, delta: u64) -> u64 {
    // SAFETY: called by a stub of compiled code with its vmctx (the argument of every built-in here), so the instance is live, this
    // is its fiber, and its owner waits in `resume`.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let previous = (*inner).memory_grow(memory as usize, delta);
            Ok(previous.unwrap_or(FAILED))
        })
    }
}

/// Does `work` on parts of `bytes`, low addresses first or last, looking at the time slice in between.
///
/// # Safety
/// On the fiber of `inner`; `work` holds nothing that needs dropping.
pub(super) unsafe fn in_parts(
    inner: *mut Inner,
    bytes: usize,
    backwards: bool,
    mut work: impl FnMut(usize, usize),
) {
    let mut done = 0;
    while done < bytes {
        let part = PART_BYTES.min(bytes - done);
        work(if backwards { bytes - done - part } else { done }, part);
        done += part;
        if done < bytes {
            // SAFETY: forwarded; no memory shrinks while a call is in progress, whoever else works with it meanwhile.
            unsafe { yield_if_preempted(inner) };
        }
    }
}

unsafe extern "C" fn memory_copy(
    vmctx: *mut u8,
    destination_memory: u64,
    source_memory: u64,
    destination: u64,
    source: u64,
    bytes: u64,
) -> u64 {
    // SAFETY: see `memory_grow`. Both ranges are checked against the lengths of their memories, `copy` allows them to overlap, and
    // parts are taken from the end that is not overwritten. Two imported memories may be one.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let (from, to) = (source_memory as usize, destination_memory as usize);
            let length = (*inner).memory_length(from);
            let source = check(source, bytes, length, TrapKind::MemoryOutOfBounds)?;
            let length = (*inner).memory_length(to);
            let destination = check(destination, bytes, length, TrapKind::MemoryOutOfBounds)?;
            let source = (*inner).memory_base(from).add(source);
            let destination = (*inner).memory_base(to).add(destination);
            in_parts(inner, bytes as usize, destination > source, |at, part| {
                std::ptr::copy(source.add(at), destination.add(at), part);
            });
            Ok(0)
        })
    }
}

unsafe extern "C" fn memory_fill(
    vmctx: *mut u8,
    memory: u64,
    destination: u64,
    value: u64,
    bytes: u64,
) -> u64 {
    // SAFETY: see `memory_grow`; the range is checked.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let length = (*inner).memory_length(memory as usize);
            let destination = check(destination, bytes, length, TrapKind::MemoryOutOfBounds)?;
            let memory = (*inner).memory_base(memory as usize);
            in_parts(inner, bytes as usize, false, |at, part| {
                std::ptr::write_bytes(memory.add(destination + at), value as u8, part);
            });
            Ok(0)
        })
    }
}

unsafe extern "C" fn memory_init(
    vmctx: *mut u8,
    memory: u64,
    segment: u64,
    destination: u64,
    source: u64,
    bytes: u64,
) -> u64 {
    // SAFETY: see `memory_grow`; both ranges are checked, and a module's data lies outside its instances.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let data = (*inner).data_segment(segment as usize);
            let (data, data_bytes) = (data.as_ptr(), data.len() as u64);
            let source = check(source, bytes, data_bytes, TrapKind::MemoryOutOfBounds)?;
            let length = (*inner).memory_length(memory as usize);
            let destination = check(destination, bytes, length, TrapKind::MemoryOutOfBounds)?;
            let memory = (*inner).memory_base(memory as usize);
            in_parts(inner, bytes as usize, false, |at, part| {
                std::ptr::copy_nonoverlapping(
                    data.add(source + at),
                    memory.add(destination + at),
                    part,
                );
            });
            Ok(0)
        })
    }
}

unsafe extern "C" fn table_grow(vmctx: *mut u8, table: u64, delta: u64, entry: u64) -> u64 {
    // SAFETY: see `memory_grow`.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            Ok((*inner)
                .table_grow(table as usize, delta, entry)
                .unwrap_or(FAILED))
        })
    }
}

unsafe extern "C" fn table_fill(
    vmctx: *mut u8,
    table: u64,
    destination: u64,
    entry: u64,
    count: u64,
) -> u64 {
    // SAFETY: see `memory_grow`; no other slice of the table's entries is live.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let entries = (*inner).table(table as usize);
            let length = entries.len() as u64;
            let start = check(destination, count, length, TrapKind::TableOutOfBounds)?;
            entries[start..start + count as usize].fill(entry);
            Ok(0)
        })
    }
}

unsafe extern "C" fn table_copy(
    vmctx: *mut u8,
    destination_table: u64,
    source_table: u64,
    destination: u64,
    source: u64,
    count: u64,
) -> u64 {
    // SAFETY: see `memory_grow`; both ranges are checked, and `copy` allows them to overlap.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let length = (*inner).table(source_table as usize).len() as u64;
            let source = check(source, count, length, TrapKind::TableOutOfBounds)?;
            let length = (*inner).table(destination_table as usize).len() as u64;
            let destination = check(destination, count, length, TrapKind::TableOutOfBounds)?;
            let from = (*inner).table(source_table as usize).as_ptr();
            let to = (*inner).table(destination_table as usize).as_mut_ptr();
            std::ptr::copy(from.add(source), to.add(destination), count as usize);
            Ok(0)
        })
    }
}

unsafe extern "C" fn table_init(
    vmctx: *mut u8,
    table: u64,
    segment: u64,
    destination: u64,
    source: u64,
    count: u64,
) -> u64 {
    // SAFETY: see `memory_grow`.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            (*inner).table_init(table as usize, segment as usize, destination, source, count)?;
            Ok(0)
        })
    }
}

saving_registers!(object_allocate, object_allocate_saved);

unsafe extern "C" fn object_allocate_saved(
    vmctx: *mut u8,
    header: u64,
    _: u64,
    _: u64,
    _: u64,
    saved: Saved,
) -> u64 {
    // SAFETY: see `memory_grow`.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || heap::allocate(inner, header, saved))
    }
}

unsafe extern "C" fn is_subtype(vmctx: *mut u8, id: u64, of: u64) -> u64 {
    // SAFETY: see `memory_grow`.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            Ok((*inner).is_subtype(id as u32, of as u32).into())
        })
    }
}
