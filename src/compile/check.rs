//! What must hold of a [`ModuleInfo`] read from a file, so that whoever uses it can index without asking again.

use super::info::*;
use crate::layout::{
    EXCEPTION_BYTES_MAX, HEAP_RESERVED_BYTES, HEAP_START, InstanceLayout, MEMORY_RESERVED_BYTES,
    PAGE_BYTES, STATE_BYTES_MAX, TABLE_ENTRY_BYTES, header,
};

type Check = Result<(), &'static str>;

fn ensure(holds: bool, what: &'static str) -> Check {
    if holds { Ok(()) } else { Err(what) }
}

/// Checks every index, range and count against the others and against the text and data of the artifact.
pub(super) fn module_info(info: &ModuleInfo, text_bytes: u64, data_bytes: u64) -> Check {
    types(info)?;
    functions(info, text_bytes)?;
    imports(info)?;
    layout(info)?;

    for export in &info.exports {
        let exists = match export.kind {
            ExportKind::Function(index) => is_index(index, &info.functions),
            ExportKind::Table(index) => is_index(index, &info.tables),
            ExportKind::Memory(index) => is_index(index, &info.memories),
            ExportKind::Global(index) => is_index(index, &info.globals),
            ExportKind::Tag(index) => is_index(index, &info.tags),
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
                is_index(*target, &info.memories),
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

fn types(info: &ModuleInfo) -> Check {
    ensure(
        info.signature_ids.len() == info.types.len() && info.subtype_ids.len() == info.types.len(),
        "types without signature ids",
    )?;
    ensure(!info.signature_ids.contains(&0), "a signature id of 0")?;
    let value = |ty: &ValueType| match ty {
        ValueType::Reference(ty) => reference(info, *ty),
        _ => Ok(()),
    };
    let field = |ty: &FieldType| match &ty.storage {
        StorageType::Value(ty) => value(ty),
        StorageType::I8 | StorageType::I16 => Ok(()),
    };
    for (index, ty) in info.types.iter().enumerate() {
        ensure(
            (ty.group as usize) <= index
                && ty
                    .supertype
                    .is_none_or(|supertype| (supertype as usize) < index),
            "a type before what it is made of",
        )?;
        match &ty.composite {
            CompositeType::Function(ty) => {
                ty.parameters
                    .iter()
                    .chain(&ty.results)
                    .try_for_each(value)?;
            }
            CompositeType::Struct(fields) => fields.iter().try_for_each(field)?,
            CompositeType::Array(element) => field(element)?,
        }
    }
    info.globals.iter().try_for_each(|ty| value(&ty.value))?;
    info.tables
        .iter()
        .try_for_each(|ty| reference(info, ty.element))
}

fn composite(info: &ModuleInfo, index: u32) -> Option<&CompositeType> {
    info.types.get(index as usize).map(|ty| &ty.composite)
}

/// The number of operands of an instruction that makes an array, if there is such a type and somewhere to put it.
fn array(info: &ModuleInfo, index: u32, operands: u32) -> Result<u32, &'static str> {
    match composite(info, index) {
        Some(CompositeType::Array(_)) => Ok(operands),
        _ => Err("an array of no type"),
    }
}

fn reference(info: &ModuleInfo, ty: ReferenceType) -> Check {
    match ty.heap {
        HeapType::Concrete(index) => ensure(is_index(index, &info.types), "a reference to no type"),
        _ => Ok(()),
    }
}

/// Whether there is a function type of this index.
fn is_signature(info: &ModuleInfo, index: u32) -> bool {
    let ty = info.types.get(index as usize);
    ty.is_some_and(|ty| matches!(ty.composite, CompositeType::Function(_)))
}

fn functions(info: &ModuleInfo, text_bytes: u64) -> Check {
    for function in &info.functions {
        ensure(
            is_signature(info, function.type_index),
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
        ensure(is_signature(info, *ty), "a trampoline of no type")?;
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
    let (mut functions, mut tables, mut memories, mut globals, mut tags) = (0, 0, 0, 0, 0);
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
            ImportKind::Tag { .. } => tags += 1,
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
        memories <= info.memories.len() && memories == info.imported_memories as usize,
        "a memory imported but not there",
    )?;
    ensure(
        tables == info.imported_tables as usize,
        "a table imported but not there",
    )?;
    ensure(
        tags <= info.tags.len() && tags == info.imported_tags as usize,
        "a tag imported but not there",
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
    let state_bytes = u64::from(layout.state_bytes);
    ensure(
        (1..=STATE_BYTES_MAX).contains(&state_bytes)
            && state_bytes.is_multiple_of(PAGE_BYTES as u64)
            && layout.padding_bytes < PAGE_BYTES as u32,
        "a state of no whole pages",
    )?;
    memories(info)?;
    heap(info)?;
    elements(info)?;
    exceptions(info)?;
    links(info)?;
    ensure(
        layout.globals.len() == info.globals.len(),
        "globals without a place",
    )?;
    for (offset, global) in layout.globals.iter().zip(&info.globals) {
        let bytes = global.value.words() as u64 * 8;
        ensure(
            is_in_state(layout, *offset, bytes, bytes),
            "a misplaced global",
        )?;
    }
    ensure(
        layout.tables.len() == info.tables.len(),
        "tables without a place",
    )?;
    for (index, (place, table)) in layout.tables.iter().zip(&info.tables).enumerate() {
        let is_imported = index < info.imported_tables as usize;
        let bytes = u64::from(place.capacity) * TABLE_ENTRY_BYTES;
        ensure(
            is_in_state(layout, place.length_offset, 8, 8)
                && is_in_state(layout, place.entries_offset, bytes, 8)
                && (is_imported || table.limits.minimum <= place.capacity.into()),
            "a misplaced table",
        )?;
    }
    ensure(
        is_in_state(layout, layout.data_flags, info.data.len() as u64, 1)
            && is_in_state(layout, layout.element_flags, info.elements.len() as u64, 1),
        "misplaced segment flags",
    )
}

/// Whether so many bytes lie in the state, not in the header or its padding, so aligned.
fn is_in_state(layout: &InstanceLayout, offset: i32, bytes: u64, align: u64) -> bool {
    let start = i64::from(layout.state_bytes) + i64::from(offset);
    u64::try_from(start).is_ok_and(|start| {
        fits(
            start,
            bytes,
            u64::from(layout.state_bytes) - header::BYTES as u64,
        ) && start >= layout.padding_bytes.into()
            && start.is_multiple_of(align)
    })
}

/// Checks that every memory has room of its own in the reservation and a word for its length.
fn memories(info: &ModuleInfo) -> Check {
    let layout = &info.layout;
    ensure(
        layout.memories.len() == info.memories.len(),
        "memories without a place",
    )?;
    let mut start = 0;
    for (index, (place, memory)) in layout.memories.iter().zip(&info.memories).enumerate() {
        let length_in_place = match index {
            0 => place.length_offset == header::MEMORY_LENGTH,
            _ => is_in_state(layout, place.length_offset, 8, 8),
        };
        ensure(length_in_place, "a memory without a length")?;
        ensure(
            memory.page_bytes_log2 == 0 || memory.page_bytes_log2 == 16,
            "a memory with pages of no known size",
        )?;
        let is_imported = index < info.imported_memories as usize;
        ensure(
            (is_imported || memory.minimum_bytes() <= place.reserved_bytes)
                && (index > 0 || place.start == 0)
                && place.start >= start
                && place.start.is_multiple_of(PAGE_BYTES as u64)
                && fits(place.start, place.reserved_bytes, MEMORY_RESERVED_BYTES),
            "a misplaced memory",
        )?;
        start = place.start + place.reserved_bytes;
    }
    ensure(
        !info.guards_memory() || layout.memories[0].reserved_bytes == MEMORY_RESERVED_BYTES,
        "a misplaced memory",
    )
}

/// Checks that the object heap is where all are, and that its words are in the state.
fn heap(info: &ModuleInfo) -> Check {
    let objects = info
        .types
        .iter()
        .any(|ty| !matches!(ty.composite, CompositeType::Function(_)));
    let Some(heap) = &info.layout.heap else {
        return ensure(!objects || info.is_linkable(), "objects without a heap");
    };
    ensure(!info.is_linkable(), "a heap that is not the store's")?;
    let in_state = |offset| is_in_state(&info.layout, offset, 8, 8);
    ensure(
        in_state(heap.memory.length_offset)
            && in_state(heap.next_offset)
            && in_state(heap.limit_offset)
            && in_state(heap.free_offset)
            && heap.memory.start == HEAP_START
            && heap.memory.reserved_bytes == HEAP_RESERVED_BYTES,
        "a misplaced object heap",
    )
}

/// Checks that the elements kept in the state have room there, in a module without objects too: what is written and read
/// there goes by the place alone.
fn elements(info: &ModuleInfo) -> Check {
    ensure(
        info.layout.elements.len() == info.elements.len(),
        "elements without a place",
    )?;
    for (place, segment) in info.layout.elements.iter().zip(&info.elements) {
        let bytes = segment.elements.len() as u64 * TABLE_ENTRY_BYTES;
        let in_place = place.is_none_or(|at| is_in_state(&info.layout, at, bytes, 8));
        ensure(in_place, "misplaced elements")?;
    }
    Ok(())
}

/// Checks that what is imported, other than functions, is by a linkable module, and that its link words are in the state.
fn links(info: &ModuleInfo) -> Check {
    let shared =
        info.imported_tables + info.imported_memories + info.imported_globals + info.imported_tags;
    let Some(links) = &info.layout.links else {
        return ensure(shared == 0, "imports that are not linked");
    };
    for (offset, count, words) in [
        (links.memories, info.imported_memories, 2),
        (links.tables, info.imported_tables, 2),
        (links.globals, info.imported_globals, 1),
        (links.functions, info.imported_functions, 2),
        (links.types, info.types.len() as u32, 1),
        (links.references, info.functions.len() as u32, 1),
        (links.tags, info.tags.len() as u32, 1),
        (links.store, 1, 1),
    ] {
        ensure(
            is_in_state(&info.layout, offset, u64::from(count) * words * 8, 8)
                && offset >= links.memories
                && i64::from(offset) + i64::from(count) * words as i64 * 8 <= links.end.into(),
            "misplaced link words",
        )?;
    }
    ensure(
        is_in_state(&info.layout, links.end, 0, 8),
        "misplaced link words",
    )
}

/// Checks that there is room for an exception of every tag.
fn exceptions(info: &ModuleInfo) -> Check {
    ensure(
        info.layout.exception.is_none() || !info.is_linkable(),
        "a misplaced exception",
    )?;
    for (index, tag) in info.tags.iter().enumerate() {
        ensure(is_signature(info, tag.type_index), "a tag of no type")?;
        let bytes = info.exception_header(index as u32) >> 32;
        let in_place = match info.is_linkable() {
            true => bytes <= EXCEPTION_BYTES_MAX,
            false => {
                let place = info.layout.exception;
                place.is_some_and(|offset| is_in_state(&info.layout, offset, bytes, 8))
            }
        };
        ensure(in_place, "a misplaced exception")?;
    }
    Ok(())
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
            ConstantInstruction::RefI31
            | ConstantInstruction::AnyConvertExtern
            | ConstantInstruction::ExternConvertAny => 1,
            ConstantInstruction::StructNew(index) => match composite(info, *index) {
                Some(CompositeType::Struct(fields)) => fields.len() as u32,
                _ => return Err("a struct of no type"),
            },
            ConstantInstruction::StructNewDefault(index) => match composite(info, *index) {
                Some(CompositeType::Struct(_)) => 0,
                _ => return Err("a struct of no type"),
            },
            ConstantInstruction::ArrayNew(index) => array(info, *index, 2)?,
            ConstantInstruction::ArrayNewDefault(index) => array(info, *index, 1)?,
            ConstantInstruction::ArrayNewFixed(index, count) => array(info, *index, *count)?,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{InstanceLayout, LinkRequest, ObjectRequest};

    /// A linkable module that imports a tag with so many values, and has another.
    fn with_tags(values: usize) -> ModuleInfo {
        let ty = FunctionType {
            parameters: vec![ValueType::V128; values],
            results: Vec::new(),
        };
        let tag = Tag {
            type_index: 0,
            name: None,
        };
        let links = LinkRequest {
            types: 1,
            tags: 2,
            ..LinkRequest::default()
        };
        let objects = ObjectRequest::default();
        ModuleInfo {
            types: vec![DefinedType {
                composite: CompositeType::Function(ty),
                is_final: true,
                supertype: None,
                group: 0,
            }],
            signature_ids: vec![1],
            subtype_ids: vec![1],
            imports: vec![Import {
                module: String::new(),
                name: String::new(),
                kind: ImportKind::Tag { type_index: 0 },
            }],
            imported_tags: 1,
            tags: vec![tag; 2],
            layout: InstanceLayout::new([], [], 0, 0, &[], objects, Some(links)).unwrap(),
            ..ModuleInfo::default()
        }
    }

    #[test]
    fn linked_tags_have_their_words_and_their_exceptions_fit_the_place_for_them() {
        let check = |forge: &dyn Fn(&mut ModuleInfo)| {
            let mut info = with_tags(1000);
            forge(&mut info);
            module_info(&info, 0, 0)
        };
        let links = |info: &mut ModuleInfo, forge: &dyn Fn(&mut crate::layout::LinkLayout)| {
            forge(info.layout.links.as_mut().unwrap());
        };
        assert_eq!(check(&|_| {}), Ok(()));
        let too_long = module_info(&with_tags(1001), 0, 0);
        assert_eq!(too_long, Err("a misplaced exception"));
        let misplaced = Err("misplaced link words");
        let words = [
            check(&|info| links(info, &|links| links.tags = links.end - 8)),
            check(&|info| links(info, &|links| links.tags += 4)),
            check(&|info| links(info, &|links| links.tags = 0x1000_0000)),
            check(&|info| info.tags.extend_from_within(..)),
        ];
        assert_eq!(words, [misplaced; 4]);
        assert_eq!(
            check(&|info| info.imported_tags = 2),
            Err("a tag imported but not there")
        );
        let mut alone = with_tags(1);
        let place = alone.layout.links.take().map(|links| links.memories);
        alone.layout.exception = place;
        assert_eq!(
            module_info(&alone, 0, 0),
            Err("imports that are not linked")
        );
        assert_eq!(
            check(&|info| info.layout.exception = Some(-8)),
            Err("a misplaced exception")
        );
        let objects = ObjectRequest {
            heap: true,
            ..ObjectRequest::default()
        };
        let heap = InstanceLayout::new([], [], 0, 0, &[], objects, None).unwrap();
        assert_eq!(
            check(&|info| info.layout.heap = heap.heap),
            Err("a heap that is not the store's")
        );
    }

    #[test]
    fn elements_are_in_the_state_also_without_objects() {
        let segment = ElementSegment {
            mode: SegmentMode::Passive,
            elements: vec![vec![ConstantInstruction::RefNull]],
        };
        let objects = ObjectRequest {
            elements: vec![None],
            ..ObjectRequest::default()
        };
        let mut info = ModuleInfo {
            elements: vec![segment],
            layout: InstanceLayout::new([], [], 0, 1, &[], objects, None).unwrap(),
            ..ModuleInfo::default()
        };
        let check = |info: &ModuleInfo| module_info(info, 0, 0);
        assert_eq!(check(&info), Ok(()));
        info.layout.elements = vec![Some(0)];
        assert_eq!(check(&info), Err("misplaced elements"));
        info.layout.elements = vec![Some(-84)];
        assert_eq!(check(&info), Err("misplaced elements"));
        info.layout.elements = vec![Some(-8192)];
        assert_eq!(check(&info), Err("misplaced elements"));
        // In the header.
        info.layout.elements = vec![Some(-72)];
        assert_eq!(check(&info), Err("misplaced elements"));
        info.layout.elements = Vec::new();
        assert_eq!(check(&info), Err("elements without a place"));
    }
}
