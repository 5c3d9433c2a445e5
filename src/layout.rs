//! The one truth about an instance's address space, shared by the compiler, the sandbox and snapshots.
//!
//! An instance lives in one *slot* of address space. Compiled code receives one pointer, the *vmctx*,
//! and reaches everything from it by constant offsets:
//!
//! ```text
//!   slot start                 vmctx                          vmctx + G
//!   |                          |                              |
//!   v                          v                              v
//!   +--------------------------+---------+--------+-----------+----------------------+---------+
//!   | header (one page)        | globals | tables | segment   | linear memory 0      | guard   |
//!   |   ... words end at vmctx |         |        | flags     | 4 GiB reserved       |         |
//!   +--------------------------+---------+--------+-----------+----------------------+---------+
//!   -HEADER_BYTES              0                              G = memory_offset      G + 4 GiB
//!
//!   |<------------ the image file is mapped here: header page, then 0 .. end ------->|
//! ```
//!
//! * The header holds host pointers, limits and meters. It is written anew for every instance and is never
//!   taken from an image: the image file keeps its own description in the page the header covers.
//! * Everything from 0 upwards is position-independent, so that an image is mapped without fix-ups.
//! * `G` ([`InstanceLayout::memory_offset`]) is fixed per module and page aligned, so that a wasm load is one
//!   machine instruction: `[vmctx + index + (G + offset)]`.
//! * Memory beyond its current length is inaccessible; a fault there is a wasm trap. `index` is at most
//!   2^32 - 1, a static offset and the access size together at most [`GUARD_BYTES`]: such an access cannot leave
//!   the slot. Larger static offsets get an explicit check in compiled code.

use serde::{Deserialize, Serialize};

/// A page of the hardware, in bytes.
pub const PAGE_BYTES: usize = 4096;

/// A page of WebAssembly memory, in bytes.
pub const WASM_PAGE_BYTES: u64 = 65536;

/// The most pages a 32-bit memory can have.
pub const WASM_PAGES_MAX: u64 = 65536;

/// Bytes from the start of a slot to its vmctx.
pub const HEADER_BYTES: usize = PAGE_BYTES;

/// The most bytes globals, tables and flags of an instance may take together: the upper bound of `G`.
pub const STATE_BYTES_MAX: u64 = 16 << 20;

/// Bytes reserved for linear memory 0 in every slot.
pub const MEMORY_RESERVED_BYTES: u64 = 4 << 30;

/// Inaccessible bytes that follow the reservation of linear memory 0.
///
/// A static offset plus the size of an access up to this many bytes needs no check.
pub const GUARD_BYTES: u64 = 32 << 20;

/// The distance between two slots. A multiple of 2 MiB, so that the header, the globals and the start of memory of a
/// slot share one page of page-table entries.
pub const SLOT_BYTES: u64 = MEMORY_RESERVED_BYTES + GUARD_BYTES + STATE_BYTES_MAX + (16 << 20);

const _: () = {
    assert!(HEADER_BYTES.is_multiple_of(PAGE_BYTES));
    assert!(SLOT_BYTES.is_multiple_of(2 << 20));
    assert!(
        HEADER_BYTES as u64 + STATE_BYTES_MAX + MEMORY_RESERVED_BYTES + GUARD_BYTES <= SLOT_BYTES
    );
    // The displacement of a load is a signed 32-bit constant.
    assert!(STATE_BYTES_MAX + GUARD_BYTES < i32::MAX as u64);
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
    /// Bytes of header words in use, counted down from the vmctx.
    pub const BYTES: usize = 48;
}

/// Functions of the sandbox that compiled code calls, other than imports.
///
/// Each is `extern "C" fn(vmctx, a, b, c, d, e) -> u64` where all arguments are 64-bit words (unsigned 32-bit
/// operands zero-extended) and unused ones are absent from the end. A built-in that traps does not return.
/// Compiled code calls a stub in its own text, which notes its frame pointer in [`header::EXIT_FRAME`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Builtin {
    /// `(delta_pages) -> previous pages, or u32::MAX as an i32 -1`: memory.grow of memory 0.
    MemoryGrow,
    /// `(destination, source, bytes)`: memory.copy within memory 0.
    MemoryCopy,
    /// `(destination, value, bytes)`: memory.fill of memory 0.
    MemoryFill,
    /// `(segment, destination, source, bytes)`: memory.init of memory 0.
    MemoryInit,
    /// `(table, delta, entry) -> previous length, or u32::MAX`: table.grow.
    TableGrow,
    /// `(table, destination, entry, count)`: table.fill.
    TableFill,
    /// `(destination table, source table, destination, source, count)`: table.copy.
    TableCopy,
    /// `(table, segment, destination, source, count)`: table.init.
    TableInit,
}

impl Builtin {
    /// Every built-in with the number of its arguments after the vmctx and whether it returns a value.
    pub const ALL: [(Builtin, usize, bool); 8] = [
        (Builtin::MemoryGrow, 1, true),
        (Builtin::MemoryCopy, 3, false),
        (Builtin::MemoryFill, 3, false),
        (Builtin::MemoryInit, 4, false),
        (Builtin::TableGrow, 3, true),
        (Builtin::TableFill, 4, false),
        (Builtin::TableCopy, 5, false),
        (Builtin::TableInit, 5, false),
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

/// Where a table lies in an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLayout {
    /// Offset from the vmctx of the table's current length, a 64-bit word.
    pub length_offset: u32,
    /// Offset from the vmctx of its first entry.
    pub entries_offset: u32,
    /// Entries there is room for; the table cannot grow beyond.
    pub capacity: u32,
}

/// Where everything of one module's instances lies, as offsets from the vmctx.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceLayout {
    /// Of each global, imported ones included: 8 bytes, 16 for a v128.
    pub globals: Vec<u32>,
    /// Of each table, imported ones included.
    pub tables: Vec<TableLayout>,
    /// Of the flag bytes of data segments: 1 when dropped.
    pub data_flags: u32,
    /// Of the flag bytes of element segments: 1 when dropped.
    pub element_flags: u32,
    /// `G`: of linear memory 0, page aligned.
    pub memory_offset: u32,
}

/// An instance whose globals, tables and flags need more than [`STATE_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateTooLarge {
    pub bytes: u64,
}

impl InstanceLayout {
    /// Lays out globals of the given sizes (8 or 16 bytes), tables of the given capacities and the flags of so many
    /// data and element segments.
    pub fn new(
        global_bytes: impl IntoIterator<Item = u32>,
        table_capacities: impl IntoIterator<Item = u32>,
        data_segments: u32,
        element_segments: u32,
    ) -> Result<InstanceLayout, StateTooLarge> {
        let mut layout = InstanceLayout::default();
        let mut next: u64 = 0;
        let mut take = |bytes: u64, align: u64| -> Result<u32, StateTooLarge> {
            let at = next.next_multiple_of(align);
            next = at + bytes;
            if next > STATE_BYTES_MAX {
                return Err(StateTooLarge { bytes: next });
            }
            Ok(at as u32)
        };
        for bytes in global_bytes {
            debug_assert!(bytes == 8 || bytes == 16);
            layout.globals.push(take(bytes.into(), bytes.into())?);
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
        layout.memory_offset = take(0, PAGE_BYTES as u64)?;
        Ok(layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap_and_memory_is_page_aligned() {
        let layout = InstanceLayout::new([8, 16, 8], [3, 0, 1000], 5, 7).unwrap();
        assert_eq!(layout.globals, [0, 16, 32]);
        assert_eq!(layout.data_flags, 40);
        assert_eq!(layout.element_flags, 45);
        assert_eq!(layout.tables[0].length_offset, 56);
        assert_eq!(layout.tables[0].entries_offset, 64);
        assert_eq!(layout.tables[1].length_offset, 64 + 24);
        assert_eq!(layout.tables[2].entries_offset, 64 + 24 + 8 + 8);
        assert_eq!(layout.memory_offset as usize % PAGE_BYTES, 0);
        assert!(u64::from(layout.memory_offset) >= 104 + 8000);
    }

    #[test]
    fn state_too_large_is_refused() {
        assert!(InstanceLayout::new([], [u32::MAX], 0, 0).is_err());
        assert!(InstanceLayout::new([], [(STATE_BYTES_MAX / 8) as u32 - 1], 0, 0).is_ok());
        assert!(InstanceLayout::new([], [(STATE_BYTES_MAX / 8) as u32], 0, 0).is_err());
    }

    #[test]
    fn builtins_are_listed_in_order() {
        for (index, (builtin, arguments, _)) in Builtin::ALL.iter().enumerate() {
            assert_eq!(*builtin as usize, index);
            assert!(*arguments <= 5);
        }
    }
}
