//! The link: the machine code of all functions in one text.
//!
//! ```text
//!   text:  | import stubs | functions | entry trampolines | built-in stubs |     in the order of their indices
//! ```

use super::error::CompileError;
use super::info::ModuleInfo;
use super::native::name;
use super::sites::{CallSite, HandlerSite, TrapSite};
use crate::layout::Builtin;
use cranelift_codegen::ir::UserExternalName;
use std::collections::{BTreeMap, HashMap};

/// The most bytes of text: displacements within it are signed 32-bit numbers.
pub const TEXT_BYTES_MAX: u64 = i32::MAX as u64 & !0xfff;

/// What fills the gaps of the text: a breakpoint, so that a stray jump stops there.
pub(super) const FILLER: u8 = 0xcc;

/// The linked machine code of a module.
pub(super) struct Text {
    pub bytes: Vec<u8>,
    /// Sorted by code offset.
    pub traps: Vec<TrapSite>,
    /// Sorted by code offset.
    pub calls: Vec<CallSite>,
    /// Sorted by return offset.
    pub handlers: Vec<HandlerSite>,
}

/// One function of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Import(u32),
    /// The body of this index, which counts defined functions only.
    Body(u32),
    Trampoline(u32),
    Builtin(Builtin),
}

/// What a displacement in machine code refers to.
pub(super) struct Relocation {
    pub offset: u32,
    pub target: UserExternalName,
    pub addend: i64,
}

/// The machine code of one function, its offsets relative to its beginning.
pub(super) struct MachineCode {
    pub bytes: Vec<u8>,
    pub alignment: u32,
    pub relocations: Vec<Relocation>,
    pub traps: Vec<TrapSite>,
    pub calls: Vec<CallSite>,
    pub handlers: Vec<HandlerSite>,
}

/// Places all code in one text, resolves what its functions say of each other, and notes where everything went.
pub(super) fn link(
    info: &mut ModuleInfo,
    trampolines: &BTreeMap<u32, u32>,
    units: &[Unit],
    codes: Vec<MachineCode>,
) -> Result<Text, CompileError> {
    let mut starts = Vec::with_capacity(codes.len());
    let mut end: u64 = 0;
    for code in &codes {
        let start = end.next_multiple_of(code.alignment.into());
        starts.push(start as u32);
        end = start + code.bytes.len() as u64;
        if end > TEXT_BYTES_MAX {
            return Err(CompileError::TooLarge {
                what: "machine code",
                bytes: end,
                limit: TEXT_BYTES_MAX,
            });
        }
    }
    let mut places = HashMap::new();
    for (unit, (code, start)) in units.iter().zip(codes.iter().zip(&starts)) {
        let name = match *unit {
            Unit::Import(index) => name::function_name(index),
            Unit::Body(index) => name::function_name(info.imported_functions + index),
            Unit::Trampoline(ty) => UserExternalName::new(name::TRAMPOLINE, ty),
            Unit::Builtin(builtin) => name::builtin_name(builtin),
        };
        if name.namespace == name::FUNCTION {
            let function = &mut info.functions[name.index as usize];
            function.code_offset = *start;
            function.code_bytes = code.bytes.len() as u32;
        }
        places.insert(name, *start);
    }
    places.insert(name::text_base(), 0);
    info.trampolines = trampolines
        .iter()
        .map(|(ty, shared)| {
            (
                *ty,
                places[&UserExternalName::new(name::TRAMPOLINE, *shared)],
            )
        })
        .collect();

    let mut text = Text {
        bytes: vec![FILLER; end as usize],
        traps: Vec::new(),
        calls: Vec::new(),
        handlers: Vec::new(),
    };
    for (code, start) in codes.into_iter().zip(starts) {
        let at = start as usize;
        let bytes = &mut text.bytes[at..at + code.bytes.len()];
        bytes.copy_from_slice(&code.bytes);
        for relocation in &code.relocations {
            let target = i64::from(places[&relocation.target]);
            let field = relocation.offset as usize;
            let displacement = target + relocation.addend - i64::from(start) - field as i64;
            let displacement = i32::try_from(displacement).expect("the text is below 2 GiB");
            bytes[field..field + 4].copy_from_slice(&displacement.to_le_bytes());
        }
        text.traps
            .extend(code.traps.into_iter().map(|trap| TrapSite {
                code_offset: start + trap.code_offset,
                ..trap
            }));
        text.calls
            .extend(code.calls.into_iter().map(|call| CallSite {
                return_offset: start + call.return_offset,
                ..call
            }));
        text.handlers
            .extend(code.handlers.into_iter().map(|site| HandlerSite {
                return_offset: start + site.return_offset,
                handler_offset: start + site.handler_offset,
                ..site
            }));
    }
    text.traps.sort_by_key(|trap| trap.code_offset);
    text.calls.sort_by_key(|call| call.return_offset);
    text.handlers.sort_by_key(|site| site.return_offset);
    Ok(text)
}
