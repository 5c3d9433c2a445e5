//! What the lists of an artifact say of a place in its text, read in place.

use super::{SECTIONS, STACK_ALIGNMENT, Section};
use crate::compile::native::NO_WASM_OFFSET;
use crate::compile::trap::TrapKind;
use std::ops::Range;

/// A place where compiled code traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    pub kind: TrapKind,
    /// Offset in the module of the instruction, or of the function's body for a trap before its first; none in stubs.
    pub wasm_offset: Option<u32>,
}

/// Where a call goes on when an exception comes out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handler {
    pub code_offset: u32,
    /// Bytes from the stack pointer that it expects up to the frame pointer.
    pub frame_bytes: u32,
}

/// Where the parts of one artifact lie. A holder of mapped bytes keeps this beside them; every method takes those bytes.
///
/// Methods allocate nothing and take no lock: they may be called in a signal handler. Bytes other than those the
/// index was made from give wrong answers or none, but no panic.
#[derive(Clone, Copy, Debug)]
pub struct ArtifactIndex {
    pub(super) sections: [(u64, u64); SECTIONS],
    pub(super) text_bytes: u64,
}

impl ArtifactIndex {
    /// Where the text lies in the file: page aligned at its start, whole pages.
    pub fn text_range(&self) -> Range<usize> {
        let (start, length) = self.sections[Section::Text as usize];
        start as usize..(start + length) as usize
    }

    /// Bytes of text, padding included.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes as usize
    }

    pub(super) fn bytes<'a>(&self, section: Section, file: &'a [u8]) -> &'a [u8] {
        let (start, length) = self.sections[section as usize];
        file.get(start as usize..(start + length) as usize)
            .unwrap_or(&[])
    }

    pub(super) fn numbers<'a>(&self, section: Section, file: &'a [u8]) -> Numbers<'a> {
        Numbers(self.bytes(section, file).as_chunks().0)
    }

    /// The text itself.
    pub fn text<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        self.bytes(Section::Text, file)
    }

    /// The bytes of all data segments; [`super::info::DataSegment`] says which are whose.
    pub fn data<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        self.bytes(Section::Data, file)
    }

    /// What a fault or trap instruction at this code offset means, if it is one of compiled code's.
    pub fn trap_at(&self, file: &[u8], code_offset: u32) -> Option<Trap> {
        let index = self.numbers(Section::TrapCode, file).find(code_offset)?;
        let kind = TrapKind::from_number(*self.bytes(Section::TrapKind, file).get(index)?)?;
        let wasm_offset = self.numbers(Section::TrapWasm, file).known(index);
        Some(Trap { kind, wasm_offset })
    }

    /// Offset in the module of the instruction that traps at this code offset, or whose call returns to it.
    ///
    /// Both can be: a call may be followed by an instruction that traps. A backtrace asks for return addresses only, so
    /// calls go first; for the place of a trap use [`ArtifactIndex::trap_at`].
    pub fn wasm_offset_at(&self, file: &[u8], code_offset: u32) -> Option<u32> {
        if let Some(index) = self.numbers(Section::CallCode, file).find(code_offset) {
            return self.numbers(Section::CallWasm, file).known(index);
        }
        let index = self.numbers(Section::TrapCode, file).find(code_offset)?;
        self.numbers(Section::TrapWasm, file).known(index)
    }

    /// The handler of the call that returns to this code offset, if it has one.
    pub fn handler_at(&self, file: &[u8], return_offset: u32) -> Option<Handler> {
        let index = self
            .numbers(Section::HandlerReturn, file)
            .find(return_offset)?;
        Some(Handler {
            code_offset: self.numbers(Section::HandlerCode, file).get(index)?,
            frame_bytes: self.numbers(Section::HandlerFrame, file).get(index)?,
        })
    }

    /// Whether a handler begins in the same function's code as the call returns to, and the frame is whole.
    pub(super) fn handlers_are_in_place(&self, file: &[u8]) -> bool {
        let numbers = |section| self.numbers(section, file).0.iter();
        let [returns, codes, frames] = [
            Section::HandlerReturn,
            Section::HandlerCode,
            Section::HandlerFrame,
        ]
        .map(|section| numbers(section).map(|number| u32::from_le_bytes(*number)));
        returns.zip(codes).zip(frames).all(|((at, code), frame)| {
            let function = self.function_at(file, at.wrapping_sub(1));
            function.is_some()
                && function == self.function_at(file, code)
                && frame.is_multiple_of(STACK_ALIGNMENT)
        })
    }

    /// The function whose code, or whose stub if it is imported, contains this offset. None for entry trampolines and
    /// stubs of built-ins.
    pub fn function_at(&self, file: &[u8], code_offset: u32) -> Option<u32> {
        let starts = self.numbers(Section::FunctionCode, file);
        let index = starts
            .0
            .partition_point(|start| u32::from_le_bytes(*start) <= code_offset);
        let index = index.checked_sub(1)?;
        let start = starts.get(index)?;
        let bytes = self.numbers(Section::FunctionBytes, file).get(index)?;
        (code_offset - start < bytes).then_some(index as u32)
    }

    /// The name of a function: from the name section, else an export, else `module.name` of an import.
    pub fn function_name<'a>(&self, file: &'a [u8], function: u32) -> Option<&'a str> {
        let starts = self.numbers(Section::NameStart, file);
        let start = starts.get(function as usize)? as usize;
        let end = starts.get(function as usize + 1)? as usize;
        let name = self.bytes(Section::Names, file).get(start..end)?;
        std::str::from_utf8(name)
            .ok()
            .filter(|name| !name.is_empty())
    }
}

/// An array of little-endian numbers, at any alignment.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a>(pub(super) &'a [[u8; 4]]);

impl Numbers<'_> {
    pub(super) fn get(&self, index: usize) -> Option<u32> {
        self.0.get(index).map(|number| u32::from_le_bytes(*number))
    }

    /// A wasm offset, unless it is the mark for none.
    pub(super) fn known(&self, index: usize) -> Option<u32> {
        self.get(index).filter(|offset| *offset != NO_WASM_OFFSET)
    }

    /// Index of a number in an ascending array.
    pub(super) fn find(&self, number: u32) -> Option<usize> {
        self.0
            .binary_search_by_key(&number, |number| u32::from_le_bytes(*number))
            .ok()
    }

    pub(super) fn is_ascending(&self) -> bool {
        self.0
            .is_sorted_by_key(|number| u32::from_le_bytes(*number))
    }
}
