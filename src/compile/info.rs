//! What is known of a module after compilation: its types, imports, exports and initialisers, as the sandbox needs them.
//!
//! The words are those of the WebAssembly specification, section "Structure". Index spaces count imports first.

pub use super::types::*;

use crate::layout::{
    EXCEPTION_KIND, InstanceLayout, OBJECT_HEADER_BYTES, WASM_PAGE_BYTES, object_header,
};
use serde::{Deserialize, Serialize};

/// The limits of a memory (in wasm pages) or a table (in elements).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub minimum: u64,
    pub maximum: Option<u64>,
}

/// The type of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryType {
    pub limits: Limits,
    /// Whether indexes into it are 64 bits wide.
    pub index64: bool,
    /// The binary logarithm of its page size.
    pub page_bytes_log2: u8,
    /// Whether guests may wait at it.
    pub shared: bool,
}

impl MemoryType {
    pub const fn page_bytes(&self) -> u64 {
        1 << self.page_bytes_log2
    }

    /// The length it starts with; `u64::MAX` stands for more.
    pub const fn minimum_bytes(&self) -> u64 {
        self.limits.minimum.saturating_mul(self.page_bytes())
    }

    /// The most pages it may have, by its type and by the width of its indexes.
    pub fn pages_max(&self) -> u64 {
        let addressable = match (self.index64, self.page_bytes()) {
            (true, 1) => u64::MAX,
            (true, page_bytes) => u64::MAX / page_bytes + 1,
            (false, 1) => u32::MAX.into(),
            (false, page_bytes) => (1 << 32) / page_bytes,
        };
        self.limits
            .maximum
            .map_or(addressable, |pages| pages.min(addressable))
    }

    /// The most bytes it may have; `u64::MAX` stands for more.
    pub fn maximum_bytes(&self) -> u64 {
        self.pages_max().saturating_mul(self.page_bytes())
    }
}

/// The type of a global.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalType {
    pub value: ValueType,
    pub mutable: bool,
}

/// The type of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableType {
    pub element: ReferenceType,
    pub limits: Limits,
    /// Whether indexes into it are 64 bits wide.
    pub index64: bool,
}

/// What exceptions of one kind have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Index into [`ModuleInfo::types`]: the parameters are the values of an exception.
    pub type_index: u32,
    /// From the name section or an export.
    pub name: Option<String>,
}

/// An instruction of a constant expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConstantInstruction {
    /// A number: the low 64 bits of its representation.
    Const(u64),
    V128([u8; 16]),
    RefNull,
    RefFunc(u32),
    GlobalGet(u32),
    I32Add,
    I32Sub,
    I32Mul,
    I64Add,
    I64Sub,
    I64Mul,
    RefI31,
    /// What makes an object names its type.
    StructNew(u32),
    StructNewDefault(u32),
    ArrayNew(u32),
    ArrayNewDefault(u32),
    ArrayNewFixed(u32, u32),
    AnyConvertExtern,
    ExternConvertAny,
}

impl ConstantInstruction {
    /// Whether it makes an object: such a value is made once and kept.
    pub fn allocates(&self) -> bool {
        matches!(
            self,
            ConstantInstruction::StructNew(_)
                | ConstantInstruction::StructNewDefault(_)
                | ConstantInstruction::ArrayNew(_)
                | ConstantInstruction::ArrayNewDefault(_)
                | ConstantInstruction::ArrayNewFixed(..)
        )
    }
}

/// A constant expression, in stack order.
pub type ConstantExpression = Vec<ConstantInstruction>;

/// When a data or element segment is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SegmentMode {
    /// At instantiation, into this memory or table at this offset.
    Active {
        target: u32,
        offset: ConstantExpression,
    },
    Passive,
    Declared,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSegment {
    pub mode: SegmentMode,
    /// Where its bytes lie in the artifact's data section.
    pub start: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElementSegment {
    pub mode: SegmentMode,
    pub elements: Vec<ConstantExpression>,
}

/// What an import or export is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportKind {
    Function { type_index: u32 },
    Table(TableType),
    Memory(MemoryType),
    Global(GlobalType),
    Tag { type_index: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    pub module: String,
    pub name: String,
    pub kind: ImportKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExportKind {
    Function(u32),
    Table(u32),
    Memory(u32),
    Global(u32),
    Tag(u32),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    pub name: String,
    pub kind: ExportKind,
}

/// A function's place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionInfo {
    /// Index into [`ModuleInfo::types`].
    pub type_index: u32,
    /// Where its code begins, from the start of the text; for an import, its stub.
    pub code_offset: u32,
    pub code_bytes: u32,
}

/// Everything the sandbox needs to know of a compiled module, besides its machine code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleInfo {
    pub types: Vec<DefinedType>,
    /// The signature id of each type: equal for equal types, never 0. The subtypes of a type have ids that follow its own
    /// without a gap.
    pub signature_ids: Vec<u32>,
    /// How many ids, from its own on, are those of subtypes of each type; a type is its own subtype.
    pub subtype_ids: Vec<u32>,
    /// Ids of function types come first, then those of structs, which begin here, then those of arrays.
    pub first_struct_id: u32,
    pub first_array_id: u32,
    pub imports: Vec<Import>,
    pub exports: Vec<Export>,
    pub functions: Vec<FunctionInfo>,
    pub imported_functions: u32,
    pub tables: Vec<TableType>,
    /// Initial element of each table that has one, for tables defined here.
    pub table_initializers: Vec<Option<ConstantExpression>>,
    pub memories: Vec<MemoryType>,
    pub globals: Vec<GlobalType>,
    /// Initial value of each global defined here, in order after the imported ones.
    pub global_initializers: Vec<ConstantExpression>,
    pub imported_globals: u32,
    pub imported_tables: u32,
    pub imported_memories: u32,
    pub imported_tags: u32,
    pub tags: Vec<Tag>,
    pub elements: Vec<ElementSegment>,
    pub data: Vec<DataSegment>,
    pub start: Option<u32>,
    /// Entry trampolines, `(type index, code offset)`: `extern "C" fn(vmctx, code: *const u8, values: *mut u64)`
    /// calls the function at `code`, of that type, with its parameters taken from `values` and its results put
    /// there. One for each type of an exported function and of the start function.
    pub trampolines: Vec<(u32, u32)>,
    pub layout: InstanceLayout,
}

impl ModuleInfo {
    /// The export of this name.
    pub fn export(&self, name: &str) -> Option<ExportKind> {
        self.exports
            .iter()
            .find(|export| export.name == name)
            .map(|export| export.kind)
    }

    /// Whether the guard pages around linear memory 0 stand for bounds checks. Otherwise every access is checked.
    pub fn guards_memory(&self) -> bool {
        self.imported_memories == 0
            && matches!(self.memories[..], [memory] if !memory.index64 && memory.page_bytes() == WASM_PAGE_BYTES)
    }

    /// Whether it was compiled to share what it imports and exports with other instances of a store.
    pub fn is_linkable(&self) -> bool {
        self.layout.links.is_some()
    }

    /// Whether there can be objects: on a heap of the instance's own, or its store's.
    pub fn has_heap(&self) -> bool {
        self.layout.heap.is_some() || self.is_linkable()
    }

    /// Whether the type of this index is one of arrays.
    pub fn is_array(&self, type_index: u32) -> bool {
        matches!(
            self.types[type_index as usize].composite,
            CompositeType::Array(_)
        )
    }

    /// How many memories follow the state without a gap: memory 0, if there is one.
    pub fn adjoining_memories(&self) -> usize {
        self.memories.len().min(1)
    }

    /// The memory that the host reads and writes on behalf of the guest: the one exported as `memory`, which is what
    /// WASI asks for, otherwise memory 0.
    pub fn host_memory(&self) -> Option<u32> {
        match self.export("memory") {
            Some(ExportKind::Memory(memory)) => Some(memory),
            _ => (!self.memories.is_empty()).then_some(0),
        }
    }

    /// The types of the values that exceptions with a tag carry.
    pub fn tag_values(&self, tag: u32) -> &[ValueType] {
        let type_index = self.tags[tag as usize].type_index;
        &self.signature(type_index).parameters
    }

    /// The header of exceptions with a tag: as an object, and on their way to a handler. In a store, which has its own names for tags,
    /// it is [`exception_header`].
    pub fn exception_header(&self, tag: u32) -> u64 {
        exception_header(tag, self.tag_values(tag))
    }

    /// The type of a function by its index.
    pub fn function_type(&self, function: u32) -> &FunctionType {
        self.signature(self.functions[function as usize].type_index)
    }

    /// The function type of this index.
    ///
    /// # Panics
    /// When it is a type of structs or arrays.
    pub fn signature(&self, type_index: u32) -> &FunctionType {
        match &self.types[type_index as usize].composite {
            CompositeType::Function(ty) => ty,
            other => panic!("type {type_index} is no function's: {other:?}"),
        }
    }

    /// Whether a type is that of references to functions.
    pub fn refers_to_functions(&self, ty: ValueType) -> bool {
        let ValueType::Reference(ty) = ty else {
            return false;
        };
        match ty.heap {
            HeapType::Func | HeapType::NoFunc => true,
            HeapType::Concrete(index) => {
                let composite = &self.types[index as usize].composite;
                matches!(composite, CompositeType::Function(_))
            }
            _ => false,
        }
    }

    /// The fields of the struct type of this index.
    ///
    /// # Panics
    /// When it is a type of functions or arrays.
    pub fn struct_fields(&self, type_index: u32) -> &[FieldType] {
        match &self.types[type_index as usize].composite {
            CompositeType::Struct(fields) => fields,
            other => panic!("type {type_index} is no struct's: {other:?}"),
        }
    }

    /// How elements of the array type of this index are stored.
    ///
    /// # Panics
    /// When it is a type of functions or structs.
    pub fn array_storage(&self, type_index: u32) -> StorageType {
        match &self.types[type_index as usize].composite {
            CompositeType::Array(element) => element.storage,
            other => panic!("type {type_index} is no array's: {other:?}"),
        }
    }

    /// Whether a signature id is that of a type or of a subtype of it.
    pub fn is_subtype_id(&self, signature_id: u32, of: u32) -> bool {
        let first = self.signature_ids[of as usize];
        signature_id.wrapping_sub(first) < self.subtype_ids[of as usize]
    }
}

/// The header of exceptions that carry values of these types, given what their tag is called.
pub fn exception_header(tag: u32, values: &[ValueType]) -> u64 {
    let bytes: u32 = values.iter().map(|ty| ty.words() as u32 * 8).sum();
    object_header(EXCEPTION_KIND | tag, OBJECT_HEADER_BYTES as u32 + bytes)
}
