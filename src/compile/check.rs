//! What must hold of a [`ModuleInfo`] read from a file, so that whoever uses it can index without asking again.

use super::info::*;
use crate::layout::{PAGE_BYTES, STATE_BYTES_MAX, TABLE_ENTRY_BYTES, WASM_PAGES_MAX};

type Check = Result<(), &'static str>;

fn ensure(holds: bool, what: &'static str) -> Check {
    if holds { Ok(()) } else { Err(what) }
}

/// Checks every index, range and count against the others and against the text and data of the artifact.
pub(super) fn module_info(info: &ModuleInfo, text_bytes: u64, data_bytes: u64) -> Check {
    ensure(
        info.signature_ids.len() == info.types.len(),
        "types without signature ids",
    )?;
    ensure(!info.signature_ids.contains(&0), "a signature id of 0")?;
    functions(info, text_bytes)?;
    imports(info)?;
    layout(info)?;

    ensure(
        info.memory
            .is_none_or(|memory| memory.minimum <= WASM_PAGES_MAX),
        "a memory beyond 4 GiB",
    )?;
    for export in &info.exports {
        let exists = match export.kind {
            ExportKind::Function(index) => is_index(index, &info.functions),
            ExportKind::Table(index) => is_index(index, &info.tables),
            ExportKind::Memory(index) => index == 0 && info.memory.is_some(),
            ExportKind::Global(index) => is_index(index, &info.globals),
        };
        ensure(exists, "an export of nothing")?;
        if let ExportKind::Function(index) = export.kind {
            has_trampoline(info, index)?;
        }
    }
    if let Some(start) = info.start {
        ensure(
            is_index(start, &info.functions),
            "a start function that does not exist",
        )?;
        has_trampoline(info, start)?;
    }
    for expression in info
        .global_initializers
        .iter()
        .chain(info.table_initializers.iter().flatten())
        .chain(info.elements.iter().flat_map(|segment| &segment.elements))
    {
        constant_expression(info, expression)?;
    }
    for segment in &info.elements {
        if let SegmentMode::Active { target, offset } = &segment.mode {
            ensure(
                is_index(*target, &info.tables),
                "elements of a table that does not exist",
            )?;
            constant_expression(info, offset)?;
        }
    }
    for segment in &info.data {
        if let SegmentMode::Active { target, offset } = &segment.mode {
            ensure(
                *target == 0 && info.memory.is_some(),
                "data of a memory that does not exist",
            )?;
            constant_expression(info, offset)?;
        }
        ensure(
            fits(segment.start, segment.bytes, data_bytes),
            "a data segment beyond the data",
        )?;
    }
    Ok(())
}

fn functions(info: &ModuleInfo, text_bytes: u64) -> Check {
    for function in &info.functions {
        ensure(
            is_index(function.type_index, &info.types),
            "a function of no type",
        )?;
        ensure(
            fits(
                function.code_offset.into(),
                function.code_bytes.into(),
                text_bytes,
            ),
            "a function beyond the text",
        )?;
    }
    for (ty, code_offset) in &info.trampolines {
        ensure(is_index(*ty, &info.types), "a trampoline of no type")?;
        ensure(
            u64::from(*code_offset) < text_bytes,
            "a trampoline beyond the text",
        )?;
    }
    Ok(())
}

fn has_trampoline(info: &ModuleInfo, function: u32) -> Check {
    let ty = info.functions[function as usize].type_index;
    // Trampolines are in the order of their types.
    let found = info
        .trampolines
        .binary_search_by_key(&ty, |(of, _)| *of)
        .is_ok();
    ensure(found, "a function that cannot be entered")
}

fn imports(info: &ModuleInfo) -> Check {
    let (mut functions, mut tables, mut memories, mut globals) = (0, 0, 0, 0);
    for import in &info.imports {
        match import.kind {
            ImportKind::Function { type_index } => {
                let matches = info
                    .functions
                    .get(functions as usize)
                    .is_some_and(|function| function.type_index == type_index);
                ensure(matches, "an imported function of another type")?;
                functions += 1;
            }
            ImportKind::Table(_) => tables += 1,
            ImportKind::Memory(_) => memories += 1,
            ImportKind::Global(_) => globals += 1,
        }
    }
    ensure(
        functions == info.imported_functions,
        "a wrong number of imported functions",
    )?;
    ensure(
        globals == info.imported_globals,
        "a wrong number of imported globals",
    )?;
    ensure(
        memories == 0 || info.memory.is_some(),
        "a memory imported but not there",
    )?;
    ensure(
        info.globals.len() == globals as usize + info.global_initializers.len(),
        "globals without initial values",
    )?;
    ensure(
        info.tables.len() == tables + info.table_initializers.len(),
        "tables without initial elements",
    )
}

fn layout(info: &ModuleInfo) -> Check {
    let layout = &info.layout;
    let end = u64::from(layout.memory_offset);
    ensure(
        end <= STATE_BYTES_MAX && end.is_multiple_of(PAGE_BYTES as u64),
        "a misplaced memory",
    )?;
    ensure(
        layout.globals.len() == info.globals.len(),
        "globals without a place",
    )?;
    for (offset, global) in layout.globals.iter().zip(&info.globals) {
        let bytes = global.value.words() as u64 * 8;
        ensure(
            fits((*offset).into(), bytes, end) && u64::from(*offset).is_multiple_of(bytes),
            "a misplaced global",
        )?;
    }
    ensure(
        layout.tables.len() == info.tables.len(),
        "tables without a place",
    )?;
    for (place, table) in layout.tables.iter().zip(&info.tables) {
        let bytes = u64::from(place.capacity) * TABLE_ENTRY_BYTES;
        ensure(
            fits(place.length_offset.into(), 8, end)
                && fits(place.entries_offset.into(), bytes, end)
                && place.length_offset.is_multiple_of(8)
                && place.entries_offset.is_multiple_of(8)
                && table.limits.minimum <= place.capacity.into(),
            "a misplaced table",
        )?;
    }
    ensure(
        fits(layout.data_flags.into(), info.data.len() as u64, end)
            && fits(layout.element_flags.into(), info.elements.len() as u64, end),
        "misplaced segment flags",
    )
}

/// Checks indices, and that the expression leaves one value on a stack it never takes too much from.
fn constant_expression(info: &ModuleInfo, expression: &ConstantExpression) -> Check {
    let mut height = 0u32;
    for instruction in expression {
        let takes = match instruction {
            ConstantInstruction::RefFunc(index) => {
                ensure(
                    is_index(*index, &info.functions),
                    "a reference to no function",
                )?;
                0
            }
            ConstantInstruction::GlobalGet(index) => {
                ensure(is_index(*index, &info.globals), "a reference to no global")?;
                0
            }
            ConstantInstruction::Const(_)
            | ConstantInstruction::V128(_)
            | ConstantInstruction::RefNull => 0,
            ConstantInstruction::I32Add
            | ConstantInstruction::I32Sub
            | ConstantInstruction::I32Mul
            | ConstantInstruction::I64Add
            | ConstantInstruction::I64Sub
            | ConstantInstruction::I64Mul => 2,
        };
        ensure(height >= takes, "a constant expression without operands")?;
        height = height - takes + 1;
    }
    ensure(height == 1, "a constant expression without a value")
}

fn is_index<T>(index: u32, list: &[T]) -> bool {
    (index as usize) < list.len()
}

fn fits(start: u64, bytes: u64, end: u64) -> bool {
    start.checked_add(bytes).is_some_and(|after| after <= end)
}
