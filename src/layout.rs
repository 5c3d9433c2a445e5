//! The one truth about an instance's address space, shared by the compiler, the sandbox and snapshots.
//!
//! An instance lives in one *slot* of address space. Compiled code receives one pointer, the *vmctx*,
//! and reaches everything from it by constant offsets:
//!
//! ```text
//!   slot start                                      vmctx
//!   |                                               |
//!   v                                               v
//!   +------------------------------------+----------+----------------------+---------+
//!   | tables, segment flags, ... globals | header   | linear memory 0      | guard   |
//!   |                                    |          | 4 GiB reserved       |         |
//!   +------------------------------------+----------+----------------------+---------+
//!   -state_bytes                                    0                      4 GiB
//!
//!   |<------------ the image file is mapped here, from its second page on ------->|
//! ```
//!
//! * What lies below the vmctx is the *state*, in whole pages. Its last words, the *header*, are host pointers, limits and meters. They
//!   are written anew for every instance and are zero in an image.
//! * Everything else is position-independent, so that an image is mapped without fix-ups.
//! * Memory begins at the vmctx, so that a wasm load is one machine instruction, `[vmctx + index + offset]`, and a short one: most
//!   static offsets take a byte or none. Header and globals are the nearest below, in reach of a byte too.
//! * Memory beyond its current length is inaccessible; a fault there is a wasm trap. `index` is at most
//!   2^32 - 1 and never negative, a static offset and the access size together at most [`GUARD_BYTES`]: such an access cannot leave
//!   the slot, and cannot reach the state. Larger static offsets get an explicit check in compiled code.
//! * That holds for a module with one memory, of 32-bit indexes and 64 KiB pages. Any other module's memories lie one
//!   after the other in the same 4 GiB, each in a share of its own ([`MemoryLayout`]), and every access of them is
//!   checked against the memory's length. Nothing of a share beyond its memory's length is accessible either.
//! * An instance of a module with objects has a *wide* slot, two slots in one. Its object heap is at a
//!   constant distance from the vmctx, so that linear memory is as it is without one. (Instances of a store have one heap
//!   together, elsewhere.)
//!
//! ```text
//!   slot start   vmctx                           vmctx + HEAP_START
//!   +------------+------------------+------------+-----------------------------+--------+
//!   | state      | linear memory 0  | guard      | object heap, 4 GiB reserved | guard  |
//!   +------------+------------------+------------+-----------------------------+--------+
//!   0                                                                          2 * SLOT_BYTES
//! ```

mod links;

pub use links::{LinkLayout, LinkRequest, StoreFunction};

use serde::{Deserialize, Serialize};

/// A page of the hardware, in bytes.
pub const PAGE_BYTES: usize = 4096;

/// A page of WebAssembly memory, in bytes.
pub const WASM_PAGE_BYTES: u64 = 65536;

/// The most pages a 32-bit memory can have.
pub const WASM_PAGES_MAX: u64 = 65536;

/// The most bytes globals, tables, flags and the header of an instance may take together.
pub const STATE_BYTES_MAX: u64 = 16 << 20;

/// Bytes reserved for linear memory 0 in every slot.
pub const MEMORY_RESERVED_BYTES: u64 = 4 << 30;

/// Inaccessible bytes that follow the reservation of linear memory 0.
///
/// A static offset plus the size of an access up to this many bytes needs no check.
pub const GUARD_BYTES: u64 = 32 << 20;

/// The distance between two slots. A multiple of 2 MiB, so that the state and the start of memory of a slot share one page of
/// page-table entries.
pub const SLOT_BYTES: u64 = STATE_BYTES_MAX + MEMORY_RESERVED_BYTES + GUARD_BYTES;

/// The length of a wide slot, which takes the place of two.
pub const WIDE_SLOT_BYTES: u64 = 2 * SLOT_BYTES;

/// Where the object heap begins in a wide slot, from the vmctx.
pub const HEAP_START: u64 = SLOT_BYTES;

/// Bytes reserved for the object heap: the offset of an object is a 32-bit number, and every such number lies in it.
pub const HEAP_RESERVED_BYTES: u64 = 1 << 32;

const _: () = {
    assert!(STATE_BYTES_MAX + HEAP_START + HEAP_RESERVED_BYTES + GUARD_BYTES <= WIDE_SLOT_BYTES);
    assert!(MEMORY_RESERVED_BYTES + GUARD_BYTES <= HEAP_START);
    assert!(SLOT_BYTES.is_multiple_of(2 << 20));
    // The displacement of a load is a signed 32-bit constant.
    assert!(GUARD_BYTES < i32::MAX as u64);
    assert!(STATE_BYTES_MAX < i32::MAX as u64);
    assert!(STATE_BYTES_MAX.is_multiple_of(PAGE_BYTES as u64));
};

/// Words of the header, as byte offsets from the vmctx. All are 64 bits wide.
pub mod header {
    /// The lowest value the stack pointer may take in guest code.
    pub const STACK_LIMIT: i32 = -8;
    /// Current length of linear memory 0, in bytes.
    pub const MEMORY_LENGTH: i32 = -16;
    /// `extern "C" fn(vmctx: *mut u8, import: u32, values: *mut u64)`: the host's entry for calls of imports.
    ///
    /// `values` holds the parameters in order, one 64-bit word each (two for a v128), and takes the results the
    /// same way. Integers and floats narrower than 64 bits occupy the low bits; the upper bits of an i32 or f32
    /// parameter are zero, those of a result are ignored. The call does not return if the guest is stopped.
    pub const HOST_CALL: i32 = -24;
    /// Pointer to the table of built-in functions, indexed by [`super::Builtin`].
    pub const BUILTINS: i32 = -32;
    /// The host's pointer to the instance that occupies the slot; compiled code does not touch it.
    pub const INSTANCE: i32 = -40;
    /// The frame pointer of the stub through which the guest last left compiled code, where a backtrace begins.
    pub const EXIT_FRAME: i32 = -48;
    /// Address of the functions that references refer to, in an instance of a store ([`super::StoreFunction`]).
    pub const FUNCTIONS: i32 = -56;
    /// Address of the place for an exception on its way to a handler, in an instance of a store: the call's in progress, so that calls
    /// that are suspended keep theirs ([`super::EXCEPTION_BYTES_MAX`]).
    pub const EXCEPTION: i32 = -64;
    /// Address of the object heap, in an instance of a store.
    pub const HEAP: i32 = -72;
    /// Bytes of header words in use, counted down from the vmctx.
    pub const BYTES: usize = 72;
}

/// Functions of the sandbox that compiled code calls, other than imports.
///
/// Each is `extern "C" fn(vmctx, a, b, c, d, e) -> u64` where all arguments are 64-bit words (unsigned 32-bit
/// operands zero-extended) and unused ones are absent from the end. A built-in that traps does not return.
/// Compiled code calls a stub in its own text, which notes its frame pointer in [`header::EXIT_FRAME`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Builtin {
    /// `(memory, delta_pages) -> previous pages, or -1`: memory.grow.
    MemoryGrow,
    /// `(destination memory, source memory, destination, source, bytes)`: memory.copy.
    MemoryCopy,
    /// `(memory, destination, value, bytes)`: memory.fill.
    MemoryFill,
    /// `(memory, segment, destination, source, bytes)`: memory.init.
    MemoryInit,
    /// `(table, delta, entry) -> previous length, or -1`: table.grow.
    TableGrow,
    /// `(table, destination, entry, count)`: table.fill.
    TableFill,
    /// `(destination table, source table, destination, source, count)`: table.copy.
    TableCopy,
    /// `(table, segment, destination, source, count)`: table.init.
    TableInit,
    /// `(header) -> reference`: an object with this header ([`object_header`]), zero but for that.
    ObjectAllocate,
    /// `(kind | binary logarithm of an element's bytes << 32, length) -> reference`: an array of zeros.
    ArrayAllocate,
    /// `(array, index, count, logarithm)`: copies the element at an index to the `count - 1` that follow it.
    ArrayReplicate,
    /// `(destination, destination index, source, source index, count | logarithm << 32)`: array.copy.
    ArrayCopy,
    /// `(kind | logarithm << 32, segment, source, length) -> reference`: array.new_data.
    ArrayNewData,
    /// `(kind, segment, source, length) -> reference`: array.new_elem.
    ArrayNewElements,
    /// `(array, index, segment | logarithm << 32, source, count)`: array.init_data.
    ArrayInitData,
    /// `(array, index, segment, source, count)`: array.init_elem.
    ArrayInitElements,
    /// `(exception)`: goes on at the handler of the exception whose header is at this address. Does not return.
    Throw,
    /// `(exception) -> reference`: the object of the exception whose header is at this address, made if it is none yet.
    ExceptionReference,
    /// `(memory, index, offset, expected, timeout in ns) -> 0 notified, 1 not equal, 2 timed out`: memory.atomic.wait32.
    AtomicWait32,
    /// The same for memory.atomic.wait64.
    AtomicWait64,
    /// `(memory, index, offset, count) -> how many were notified`: memory.atomic.notify.
    AtomicNotify,
    /// `(signature id, signature id) -> 1 or 0`: whether the first, of a reference in a store, is that of a subtype of the second.
    IsSubtype,
}

impl Builtin {
    /// Every built-in with the number of its arguments after the vmctx and whether it returns a value.
    pub const ALL: [(Builtin, usize, bool); 22] = [
        (Builtin::MemoryGrow, 2, true),
        (Builtin::MemoryCopy, 5, false),
        (Builtin::MemoryFill, 4, false),
        (Builtin::MemoryInit, 5, false),
        (Builtin::TableGrow, 3, true),
        (Builtin::TableFill, 4, false),
        (Builtin::TableCopy, 5, false),
        (Builtin::TableInit, 5, false),
        (Builtin::ObjectAllocate, 1, true),
        (Builtin::ArrayAllocate, 2, true),
        (Builtin::ArrayReplicate, 4, false),
        (Builtin::ArrayCopy, 5, false),
        (Builtin::ArrayNewData, 4, true),
        (Builtin::ArrayNewElements, 4, true),
        (Builtin::ArrayInitData, 5, false),
        (Builtin::ArrayInitElements, 5, false),
        (Builtin::Throw, 1, false),
        (Builtin::ExceptionReference, 1, true),
        (Builtin::AtomicWait32, 5, true),
        (Builtin::AtomicWait64, 5, true),
        (Builtin::AtomicNotify, 4, true),
        (Builtin::IsSubtype, 2, true),
    ];

    /// Where the built-in's pointer lies in the table at [`header::BUILTINS`], in bytes.
    pub const fn offset(self) -> i32 {
        self as i32 * 8
    }
}

/// Bytes of a table entry.
///
/// A function reference is `code offset | signature id << 32`: the offset of the function from the start of the
/// module's text, and the number of its type, where structurally equal types share one number and 0 is the null
/// reference. An external reference is a word of the host's, 0 for null.
pub const TABLE_ENTRY_BYTES: u64 = 8;

/// The null reference, of either kind.
pub const NULL_REFERENCE: u64 = 0;

/// Makes the 64-bit word of a function reference.
pub const fn function_reference(code_offset: u32, signature_id: u32) -> u64 {
    code_offset as u64 | (signature_id as u64) << 32
}

/// Bytes of the word that every object begins with.
pub const OBJECT_HEADER_BYTES: u64 = 8;

/// The offset of the first object from the start of the heap: 0 is the null reference.
pub const FIRST_OBJECT: u64 = 8;

/// What a header says of the kind of bytes that are no object's.
pub const FREE_KIND: u32 = 0;

/// Set in what an object's header says of its kind when it is an exception; the other bits are its tag's index.
pub const EXCEPTION_KIND: u32 = 1 << 31;

/// Set in what the header of an array of a linkable module says of its kind; the other bits are the store's id of its type.
pub const ARRAY_KIND: u32 = 1 << 30;

/// The most bytes an exception of a linkable module takes: as many values as a function has parameters at most, each of two words.
pub const EXCEPTION_BYTES_MAX: u64 = OBJECT_HEADER_BYTES + 1000 * 16;

/// Where an array has its length, a 32-bit number.
pub const ARRAY_LENGTH_OFFSET: u64 = OBJECT_HEADER_BYTES;

/// Where the elements of an array begin.
pub const ARRAY_ELEMENTS_OFFSET: u64 = 16;

/// Set in an external reference that an internal one was made into.
pub const EXTERNALIZED: u64 = 1 << 63;

/// Set in the numbers that are references by themselves (`ref.i31`), whose value is in the 31 bits above.
pub const I31_BIT: u64 = 1;

/// The two low bits of an internal reference that was an external one, whose word is in the bits above. They are clear in a
/// reference to an object.
pub const INTERNALIZED: u64 = 2;

/// The external reference that an internal one is made into.
pub const fn externalize(reference: u64) -> u64 {
    match reference & (I31_BIT | INTERNALIZED) {
        _ if reference == NULL_REFERENCE => NULL_REFERENCE,
        INTERNALIZED => reference >> 2,
        _ => reference | EXTERNALIZED,
    }
}

/// The internal reference that an external one is made into: the inverse of [`externalize`], for words below 2^62.
pub const fn internalize(word: u64) -> u64 {
    match word {
        NULL_REFERENCE => NULL_REFERENCE,
        word if word & EXTERNALIZED != 0 => word & !EXTERNALIZED,
        word => word << 2 | INTERNALIZED,
    }
}

/// Makes the header of an object: its kind, and its length in bytes, a multiple of 8 that counts the header.
///
/// A reference to an object is its offset from the start of the heap.
pub const fn object_header(kind: u32, bytes: u32) -> u64 {
    kind as u64 | (bytes as u64) << 32
}

/// Where a table lies in an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLayout {
    /// Offset from the vmctx of the table's current length, a 64-bit word.
    pub length_offset: i32,
    /// Offset from the vmctx of its first entry.
    pub entries_offset: i32,
    /// Entries there is room for; the table cannot grow beyond.
    pub capacity: u32,
}

/// What a memory asks of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRequest {
    pub minimum_bytes: u64,
    /// What it may grow to, if there is room.
    pub maximum_bytes: u64,
}

/// Where a memory lies in an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryLayout {
    /// Offset from the vmctx of its current length in bytes, a 64-bit word: in the header for memory 0, in the state,
    /// and so in the image, for the others.
    pub length_offset: i32,
    /// Offset from the vmctx of its first byte, page aligned.
    pub start: u64,
    /// Bytes of address space that are its alone; it cannot grow beyond.
    pub reserved_bytes: u64,
}

/// What objects and exceptions ask of a layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectRequest {
    /// Whether there are objects at all.
    pub heap: bool,
    /// What the values of an exception take at most, in bytes; none when no exception can be thrown, or when exceptions on their way
    /// have their place elsewhere.
    pub exception_bytes: Option<u32>,
    /// Elements of each segment whose values are kept.
    pub elements: Vec<Option<u32>>,
}

/// Where the objects of an instance lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapLayout {
    /// Of the heap, as if it were one more memory.
    pub memory: MemoryLayout,
    /// Offset from the vmctx of the word that says where the next object goes, from the start of the heap.
    pub next_offset: i32,
    /// Of the word that says where the room for it ends.
    pub limit_offset: i32,
    /// Of the word that says where the first free run begins, 0 for none.
    pub free_offset: i32,
}

/// Where everything of one module's instances lies, as offsets from the vmctx: those of the state are negative.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceLayout {
    /// Of each global, imported ones included: 8 bytes, 16 for a v128.
    pub globals: Vec<i32>,
    /// Of each table, imported ones included.
    pub tables: Vec<TableLayout>,
    /// Of the flag bytes of data segments: 1 when dropped.
    pub data_flags: i32,
    /// Of the flag bytes of element segments: 1 when dropped.
    pub element_flags: i32,
    /// Length of the state with the header, in whole pages: it begins so far below the vmctx.
    pub state_bytes: u32,
    /// How many bytes of its first page nothing lies in.
    pub padding_bytes: u32,
    /// Of each memory, in ascending order without overlap.
    pub memories: Vec<MemoryLayout>,
    /// Of the values of each element segment that are made at instantiation, since they make objects, one word each.
    pub elements: Vec<Option<i32>>,
    /// Of the objects, if the module has any. Those of a linkable module are on its store's heap ([`header::HEAP`]).
    pub heap: Option<HeapLayout>,
    /// Of the exception on its way to a handler, if the module can throw: a header and values as in an object. In a linkable module
    /// it lies elsewhere ([`header::EXCEPTION`]).
    pub exception: Option<i32>,
    /// Of the link words, if the module is linkable.
    pub links: Option<LinkLayout>,
}

/// Why there is no layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// Globals, tables and flags need more than [`STATE_BYTES_MAX`].
    StateTooLarge { bytes: u64 },
    /// The memories together start with more than [`MEMORY_RESERVED_BYTES`].
    MemoriesTooLarge { bytes: u64 },
}

/// Divides the reservation among memories: each gets its minimum and an equal part of the rest, or less if its maximum
/// is less, which leaves more to the others.
fn shares(memories: &[MemoryRequest]) -> Result<Vec<u64>, LayoutError> {
    const PAGE: u64 = PAGE_BYTES as u64;
    let minimum_bytes = memories
        .iter()
        .fold(0u64, |sum, memory| sum.saturating_add(memory.minimum_bytes));
    if minimum_bytes > MEMORY_RESERVED_BYTES {
        return Err(LayoutError::MemoriesTooLarge {
            bytes: minimum_bytes,
        });
    }
    if memories.len() == 1 {
        return Ok(vec![MEMORY_RESERVED_BYTES]);
    }
    let minimum = |memory: &MemoryRequest| memory.minimum_bytes.next_multiple_of(PAGE);
    let wanted = |memory: &MemoryRequest| {
        let maximum = memory.maximum_bytes.min(MEMORY_RESERVED_BYTES);
        maximum
            .next_multiple_of(PAGE)
            .saturating_sub(minimum(memory))
    };
    let mut shares: Vec<u64> = memories.iter().map(minimum).collect();
    let whole_pages = shares.iter().sum();
    let mut room = MEMORY_RESERVED_BYTES
        .checked_sub(whole_pages)
        .ok_or(LayoutError::MemoriesTooLarge { bytes: whole_pages })?;
    let mut order: Vec<usize> = (0..memories.len()).collect();
    order.sort_by_key(|index| wanted(&memories[*index]));
    for (done, index) in order.iter().enumerate() {
        let equal = room / (memories.len() - done) as u64 / PAGE * PAGE;
        let more = wanted(&memories[*index]).min(equal);
        shares[*index] += more;
        room -= more;
    }
    Ok(shares)
}

impl InstanceLayout {
    /// Lays out globals of the given sizes (8 or 16 bytes), tables of the given capacities, the flags of so many
    /// data and element segments, memories, objects, and the link words of a linkable module.
    pub fn new(
        global_bytes: impl IntoIterator<Item = u32>,
        table_capacities: impl IntoIterator<Item = u32>,
        data_segments: u32,
        element_segments: u32,
        memories: &[MemoryRequest],
        objects: ObjectRequest,
        links: Option<LinkRequest>,
    ) -> Result<InstanceLayout, LayoutError> {
        let shares = shares(memories)?;
        let mut layout = InstanceLayout::default();
        // From the vmctx downwards, what is used most often first.
        let mut used = header::BYTES as u64;
        let mut take = |bytes: u64, align: u64| -> Result<i32, LayoutError> {
            used = (used + bytes).next_multiple_of(align);
            if used > STATE_BYTES_MAX {
                return Err(LayoutError::StateTooLarge { bytes: used });
            }
            Ok(-(used as i32))
        };
        for bytes in global_bytes {
            debug_assert!(bytes == 8 || bytes == 16);
            layout.globals.push(take(bytes.into(), bytes.into())?);
        }
        let mut length_offsets = vec![header::MEMORY_LENGTH];
        for _ in 1..memories.len() {
            length_offsets.push(take(8, 8)?);
        }
        if objects.heap {
            let memory = MemoryLayout {
                length_offset: take(8, 8)?,
                start: HEAP_START,
                reserved_bytes: HEAP_RESERVED_BYTES,
            };
            layout.heap = Some(HeapLayout {
                memory,
                next_offset: take(8, 8)?,
                limit_offset: take(8, 8)?,
                free_offset: take(8, 8)?,
            });
        }
        if let Some(bytes) = objects.exception_bytes {
            layout.exception = Some(take(OBJECT_HEADER_BYTES + u64::from(bytes), 8)?);
        }
        for count in objects.elements {
            let place = count.map(|count| take(u64::from(count) * TABLE_ENTRY_BYTES, 8));
            layout.elements.push(place.transpose()?);
        }
        if let Some(count) = links {
            layout.links = Some(LinkLayout::new(count, &mut take)?);
        }
        layout.data_flags = take(data_segments.into(), 1)?;
        layout.element_flags = take(element_segments.into(), 1)?;
        for capacity in table_capacities {
            let length_offset = take(8, 8)?;
            let entries_offset = take(u64::from(capacity) * TABLE_ENTRY_BYTES, 8)?;
            layout.tables.push(TableLayout {
                length_offset,
                entries_offset,
                capacity,
            });
        }
        let used = take(0, 1)?.unsigned_abs();
        layout.state_bytes = take(0, PAGE_BYTES as u64)?.unsigned_abs();
        layout.padding_bytes = layout.state_bytes - used;
        let mut start = 0;
        for (reserved_bytes, length_offset) in shares.into_iter().zip(length_offsets) {
            layout.memories.push(MemoryLayout {
                length_offset,
                start,
                reserved_bytes,
            });
            start += reserved_bytes;
        }
        Ok(layout)
    }

    /// How far from the start of the state, which is that of the slot, something of this offset lies.
    pub fn from_start(&self, offset: i32) -> usize {
        (i64::from(self.state_bytes) + i64::from(offset)) as usize
    }

    /// Whether instances need a wide slot.
    pub fn is_wide(&self) -> bool {
        self.heap.is_some()
    }

    /// Everything that has a length of its own: the memories in order, then the object heap.
    pub fn regions(&self) -> impl Iterator<Item = &MemoryLayout> {
        self.memories
            .iter()
            .chain(self.heap.iter().map(|heap| &heap.memory))
    }
}

#[cfg(test)]
mod tests;
