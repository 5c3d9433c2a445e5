//! Validation and everything of a module except its function bodies.
//!
//! Sections are validated as they are read, before anything is taken from them; function bodies are handed on with the
//! validator each needs, so that they can be validated and translated in one pass, in parallel.

use super::CompileOptions;
use super::error::CompileError;
use super::features;
use super::info::*;
use super::type_section::Types;
use crate::layout::{InstanceLayout, LinkRequest, MemoryRequest, ObjectRequest, WASM_PAGE_BYTES};
use std::borrow::Cow;
use wasmparser::{
    Catch, ConstExpr, DataKind, ElementItems, ElementKind, ExternalKind, FuncToValidate,
    FunctionBody, KnownCustom, Name, Operator, Parser, Payload, TableInit, TypeRef, ValidPayload,
    Validator, ValidatorResources,
};

/// The most bytes a module may have: offsets into it are 32 bits wide in the artifact.
pub const WASM_BYTES_MAX: usize = 1 << 30;

/// A function body with the validator it has to pass.
pub(super) struct Body<'a> {
    pub validator: FuncToValidate<ValidatorResources>,
    pub body: FunctionBody<'a>,
}

/// A module whose sections are valid; its bodies are still to be validated.
pub(super) struct Module<'a> {
    /// Everything but code offsets.
    pub info: ModuleInfo,
    pub bodies: Vec<Body<'a>>,
    /// Names of functions by their index: from the name section, an export or an import.
    pub names: Vec<Option<Cow<'a, str>>>,
    /// The bytes of data segments, in order.
    pub data: Vec<&'a [u8]>,
}

/// Reads a module. Validation errors of sections are explained, those of bodies are left to their validators.
pub(super) fn parse<'a>(
    wasm: &'a [u8],
    options: &CompileOptions,
) -> Result<Module<'a>, CompileError> {
    if wasm.len() > WASM_BYTES_MAX {
        return Err(CompileError::TooLarge {
            what: "the module",
            bytes: wasm.len() as u64,
            limit: WASM_BYTES_MAX as u64,
        });
    }
    let mut reader = ModuleReader {
        module: Module {
            info: ModuleInfo::default(),
            bodies: Vec::new(),
            names: Vec::new(),
            data: Vec::new(),
        },
        types: Types::default(),
        data_bytes: 0,
        import_error: None,
    };
    reader
        .read(wasm)
        .map_err(|error| features::explain(wasm, &error))?;
    let refused = reader.import_error.filter(|_| !options.linkable);
    if let Some(error) = refused {
        // A module that is not valid is called that, whatever else keeps it from being compiled.
        return match Validator::new_with_features(features::SUPPORTED).validate_all(wasm) {
            Ok(_) => Err(error),
            Err(invalid) => Err(features::explain(wasm, &invalid)),
        };
    }
    let mut module = reader.module;
    module.names.resize(module.info.functions.len(), None);
    module.name_by_exports_and_imports();
    module.lay_out(options)?;
    Ok(module)
}

struct ModuleReader<'a> {
    module: Module<'a>,
    types: Types,
    data_bytes: u64,
    /// The first import that is not a function. Reported once the module is known to be valid.
    import_error: Option<CompileError>,
}

impl<'a> ModuleReader<'a> {
    fn read(&mut self, wasm: &'a [u8]) -> wasmparser::Result<()> {
        let mut validator = Validator::new_with_features(features::SUPPORTED);
        let mut parser = Parser::new(0);
        parser.set_features(features::SUPPORTED);
        for payload in parser.parse_all(wasm) {
            let payload = payload?;
            if let ValidPayload::Func(validator, body) = validator.payload(&payload)? {
                self.module.bodies.push(Body { validator, body });
            }
            match payload {
                Payload::TypeSection(section) => {
                    let validated = validator.types(0).expect("within a module");
                    self.types = Types::read(section, validated)?;
                }
                payload => self.payload(payload)?,
            }
        }
        let (info, types) = (&mut self.module.info, std::mem::take(&mut self.types));
        info.types = types.defined;
        info.signature_ids = types.signature_ids;
        info.subtype_ids = types.subtype_ids;
        info.first_struct_id = types.first_struct_id;
        info.first_array_id = types.first_array_id;
        Ok(())
    }

    fn payload(&mut self, payload: Payload<'a>) -> wasmparser::Result<()> {
        let info = &mut self.module.info;
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports_with_offsets() {
                    let (offset, import) = import?;
                    self.import(offset, import);
                }
            }
            Payload::FunctionSection(functions) => {
                for type_index in functions {
                    info.functions.push(FunctionInfo {
                        type_index: type_index?,
                        code_offset: 0,
                        code_bytes: 0,
                    });
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    let table = table?;
                    info.tables.push(table_type(&self.types, table.ty));
                    info.table_initializers.push(match table.init {
                        TableInit::RefNull => None,
                        TableInit::Expr(expression) => Some(constant_expression(&expression)?),
                    });
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    info.memories.push(memory_type(memory?));
                }
            }
            Payload::TagSection(tags) => {
                for tag in tags {
                    info.tags.push(tag_of(tag?));
                }
            }
            Payload::GlobalSection(globals) => {
                for global in globals {
                    let global = global?;
                    info.globals.push(global_type(&self.types, global.ty));
                    info.global_initializers
                        .push(constant_expression(&global.init_expr)?);
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    let kind = match export.kind {
                        ExternalKind::Func => ExportKind::Function(export.index),
                        ExternalKind::Table => ExportKind::Table(export.index),
                        ExternalKind::Memory => ExportKind::Memory(export.index),
                        ExternalKind::Global => ExportKind::Global(export.index),
                        ExternalKind::Tag => ExportKind::Tag(export.index),
                        other => unreachable!("validated away: export of {other:?}"),
                    };
                    info.exports.push(Export {
                        name: export.name.to_string(),
                        kind,
                    });
                }
            }
            Payload::StartSection { func, .. } => info.start = Some(func),
            Payload::ElementSection(segments) => {
                for segment in segments {
                    let segment = segment?;
                    let mode = match segment.kind {
                        ElementKind::Passive => SegmentMode::Passive,
                        ElementKind::Declared => SegmentMode::Declared,
                        ElementKind::Active {
                            table_index,
                            offset_expr,
                        } => SegmentMode::Active {
                            target: table_index.unwrap_or(0),
                            offset: constant_expression(&offset_expr)?,
                        },
                    };
                    let elements = match segment.items {
                        ElementItems::Functions(functions) => functions
                            .into_iter()
                            .map(|function| Ok(vec![ConstantInstruction::RefFunc(function?)]))
                            .collect::<wasmparser::Result<_>>()?,
                        ElementItems::Expressions(_, expressions) => expressions
                            .into_iter()
                            .map(|expression| constant_expression(&expression?))
                            .collect::<wasmparser::Result<_>>()?,
                    };
                    info.elements.push(ElementSegment { mode, elements });
                }
            }
            Payload::DataSection(segments) => {
                for segment in segments {
                    let segment = segment?;
                    let mode = match segment.kind {
                        DataKind::Passive => SegmentMode::Passive,
                        DataKind::Active {
                            memory_index,
                            offset_expr,
                        } => SegmentMode::Active {
                            target: memory_index,
                            offset: constant_expression(&offset_expr)?,
                        },
                    };
                    let bytes = segment.data.len() as u64;
                    info.data.push(DataSegment {
                        mode,
                        start: self.data_bytes,
                        bytes,
                    });
                    self.module.data.push(segment.data);
                    self.data_bytes += bytes;
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    self.module.read_names(names);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, offset: usize, import: wasmparser::Import<'a>) {
        let info = &mut self.module.info;
        let (kind, unsupported) = match import.ty {
            TypeRef::Func(type_index) | TypeRef::FuncExact(type_index) => {
                info.functions.push(FunctionInfo {
                    type_index,
                    code_offset: 0,
                    code_bytes: 0,
                });
                info.imported_functions += 1;
                (ImportKind::Function { type_index }, None)
            }
            TypeRef::Table(ty) => {
                let ty = table_type(&self.types, ty);
                info.tables.push(ty);
                info.imported_tables += 1;
                (ImportKind::Table(ty), Some("table"))
            }
            TypeRef::Memory(ty) => {
                let ty = memory_type(ty);
                info.memories.push(ty);
                info.imported_memories += 1;
                (ImportKind::Memory(ty), Some("memory"))
            }
            TypeRef::Global(ty) => {
                let ty = global_type(&self.types, ty);
                info.globals.push(ty);
                info.imported_globals += 1;
                (ImportKind::Global(ty), Some("global"))
            }
            TypeRef::Tag(ty) => {
                let tag = tag_of(ty);
                let type_index = tag.type_index;
                info.tags.push(tag);
                info.imported_tags += 1;
                (ImportKind::Tag { type_index }, Some("tag"))
            }
        };
        if let Some(kind) = unsupported {
            let error = CompileError::UnsupportedImport {
                module: import.module.to_string(),
                name: import.name.to_string(),
                kind,
                offset,
            };
            self.import_error.get_or_insert(error);
        }
        info.imports.push(Import {
            module: import.module.to_string(),
            name: import.name.to_string(),
            kind,
        });
    }
}

impl<'a> Module<'a> {
    /// Takes function names from the name section. It is not part of what makes a module valid: what is wrong in it is
    /// passed over.
    fn read_names(&mut self, names: wasmparser::NameSectionReader<'a>) {
        self.names.resize(self.info.functions.len(), None);
        for subsection in names {
            match subsection {
                Ok(Name::Function(map)) => {
                    for naming in map.into_iter().map_while(Result::ok) {
                        self.name(naming.index, naming.name);
                    }
                }
                Ok(Name::Tag(map)) => {
                    for naming in map.into_iter().map_while(Result::ok) {
                        self.name_tag(naming.index, naming.name);
                    }
                }
                _ => {}
            }
        }
    }

    fn name_tag(&mut self, tag: u32, name: &str) {
        if let Some(tag) = self.info.tags.get_mut(tag as usize) {
            tag.name.get_or_insert_with(|| name.to_owned());
        }
    }

    fn name(&mut self, function: u32, name: impl Into<Cow<'a, str>>) {
        if let Some(slot) = self.names.get_mut(function as usize) {
            slot.get_or_insert(name.into());
        }
    }

    /// Names the functions and tags that the name section does not.
    fn name_by_exports_and_imports(&mut self) {
        for export in std::mem::take(&mut self.info.exports) {
            match export.kind {
                ExportKind::Function(function) => self.name(function, export.name.clone()),
                ExportKind::Tag(tag) => self.name_tag(tag, &export.name),
                _ => {}
            }
            self.info.exports.push(export);
        }
        let imports = self
            .info
            .imports
            .iter()
            .filter_map(|import| match import.kind {
                ImportKind::Function { .. } => Some(format!("{}.{}", import.module, import.name)),
                _ => None,
            });
        for (slot, name) in self.names.iter_mut().zip(imports) {
            slot.get_or_insert(Cow::Owned(name));
        }
    }

    /// Places globals, tables, flags and memory.
    fn lay_out(&mut self, options: &CompileOptions) -> Result<(), CompileError> {
        let grown = self.grown_tables(options.linkable);
        let mut capacities = Vec::new();
        for (index, table) in self.info.tables.iter().enumerate() {
            if index < self.info.imported_tables as usize {
                // It lies in another instance.
                capacities.push(0);
                continue;
            }
            let limit = u64::from(options.table_elements_max);
            let minimum = table.limits.minimum;
            if minimum > limit {
                return Err(CompileError::TableTooLarge {
                    table: index as u32,
                    minimum,
                    limit: options.table_elements_max,
                });
            }
            let maximum = table.limits.maximum.unwrap_or(u64::MAX);
            let capacity = if grown[index] {
                maximum.min(limit).max(minimum)
            } else {
                minimum
            };
            capacities.push(capacity as u32);
        }
        let global_bytes = self.info.globals.iter().map(|global| match global.value {
            ValueType::V128 => 16,
            _ => 8,
        });
        let memories: Vec<MemoryRequest> = self
            .info
            .memories
            .iter()
            .enumerate()
            .map(
                |(index, memory)| match index < self.info.imported_memories as usize {
                    // It lies in another instance.
                    true => MemoryRequest {
                        minimum_bytes: 0,
                        maximum_bytes: 0,
                    },
                    false => MemoryRequest {
                        minimum_bytes: memory.minimum_bytes(),
                        maximum_bytes: memory.maximum_bytes(),
                    },
                },
            )
            .collect();
        let links = options.linkable.then_some(LinkRequest {
            imported_memories: self.info.imported_memories,
            imported_tables: self.info.imported_tables,
            imported_globals: self.info.imported_globals,
            imported_functions: self.info.imported_functions,
            types: self.info.types.len() as u32,
            functions: self.info.functions.len() as u32,
            tags: self.info.tags.len() as u32,
        });
        self.info.layout = InstanceLayout::new(
            global_bytes,
            capacities,
            self.info.data.len() as u32,
            self.info.elements.len() as u32,
            &memories,
            self.objects(options.linkable),
            links,
        )?;
        Ok(())
    }

    /// What objects and exceptions need: exceptions that are referred to are objects. Bodies are only scanned when there is a tag.
    fn objects(&self, linkable: bool) -> ObjectRequest {
        let value_bytes = (0..self.info.tags.len() as u32).map(|tag| {
            let words = self.info.tag_values(tag).iter().map(|ty| ty.words() as u32);
            words.sum::<u32>() * 8
        });
        let exception_bytes = value_bytes.max();
        let refers = |operator: &Operator<'_>| {
            matches!(operator, Operator::TryTable { try_table }
            if try_table.catches.iter().any(|catch| {
                matches!(catch, Catch::OneRef { .. } | Catch::AllRef { .. })
            }))
        };
        let kept = |segment: &ElementSegment| {
            let mut instructions = segment.elements.iter().flatten();
            let kept = segment.mode == SegmentMode::Passive
                && instructions.any(ConstantInstruction::allocates);
            kept.then_some(segment.elements.len() as u32)
        };
        let objects = self.info.types.iter().any(|ty| match ty.composite {
            CompositeType::Function(_) => false,
            CompositeType::Struct(_) | CompositeType::Array(_) => true,
        });
        ObjectRequest {
            heap: !linkable && (objects || exception_bytes.is_some() && self.any_operator(refers)),
            exception_bytes: exception_bytes.filter(|_| !linkable),
            elements: self.info.elements.iter().map(kept).collect(),
        }
    }

    /// Whether an operator of some body is such. An invalid body is reported when it is translated.
    fn any_operator(&self, is_such: impl Fn(&Operator<'_>) -> bool) -> bool {
        self.bodies.iter().any(|body| {
            let operators = body.body.get_operators_reader().into_iter().flatten();
            operators
                .map_while(Result::ok)
                .any(|operator| is_such(&operator))
        })
    }

    /// Which tables may grow: those with room above their minimum that some `table.grow` names. Bodies are only
    /// scanned when there is such a table. Those that a linkable module exports may be grown by others.
    fn grown_tables(&self, linkable: bool) -> Vec<bool> {
        let mut grown = vec![false; self.info.tables.len()];
        let growable = |table: &TableType| table.limits.maximum != Some(table.limits.minimum);
        if !self.info.tables.iter().any(growable) {
            return grown;
        }
        let exports = self.info.exports.iter().filter(|_| linkable);
        for export in exports {
            if let ExportKind::Table(table) = export.kind {
                grown[table as usize] = growable(&self.info.tables[table as usize]);
            }
        }
        for body in &self.bodies {
            let Ok(mut operators) = body.body.get_operators_reader() else {
                continue;
            };
            while !operators.eof() {
                // An invalid body is reported when it is translated.
                let Ok(operator) = operators.read() else {
                    break;
                };
                if let Operator::TableGrow { table } = operator
                    && let Some(flag) = grown.get_mut(table as usize)
                {
                    *flag = growable(&self.info.tables[table as usize]);
                }
            }
        }
        grown
    }
}

fn tag_of(ty: wasmparser::TagType) -> Tag {
    Tag {
        type_index: ty.func_type_idx,
        name: None,
    }
}

fn table_type(types: &Types, ty: wasmparser::TableType) -> TableType {
    TableType {
        element: types.reference(ty.element_type),
        limits: Limits {
            minimum: ty.initial,
            maximum: ty.maximum,
        },
        index64: ty.table64,
    }
}

fn memory_type(ty: wasmparser::MemoryType) -> MemoryType {
    MemoryType {
        limits: Limits {
            minimum: ty.initial,
            maximum: ty.maximum,
        },
        index64: ty.memory64,
        page_bytes_log2: ty
            .page_size_log2
            .unwrap_or(WASM_PAGE_BYTES.trailing_zeros()) as u8,
        shared: ty.shared,
    }
}

fn global_type(types: &Types, ty: wasmparser::GlobalType) -> GlobalType {
    GlobalType {
        value: types.value(ty.content_type),
        mutable: ty.mutable,
    }
}

/// A validated constant expression, without its `end`.
fn constant_expression(expression: &ConstExpr<'_>) -> wasmparser::Result<ConstantExpression> {
    let mut instructions = Vec::new();
    for operator in expression.get_operators_reader() {
        instructions.push(match operator? {
            Operator::I32Const { value } => ConstantInstruction::Const(value as u32 as u64),
            Operator::I64Const { value } => ConstantInstruction::Const(value as u64),
            Operator::F32Const { value } => ConstantInstruction::Const(value.bits().into()),
            Operator::F64Const { value } => ConstantInstruction::Const(value.bits()),
            Operator::V128Const { value } => ConstantInstruction::V128(*value.bytes()),
            Operator::RefNull { .. } => ConstantInstruction::RefNull,
            Operator::RefFunc { function_index } => ConstantInstruction::RefFunc(function_index),
            Operator::GlobalGet { global_index } => ConstantInstruction::GlobalGet(global_index),
            Operator::I32Add => ConstantInstruction::I32Add,
            Operator::I32Sub => ConstantInstruction::I32Sub,
            Operator::I32Mul => ConstantInstruction::I32Mul,
            Operator::I64Add => ConstantInstruction::I64Add,
            Operator::I64Sub => ConstantInstruction::I64Sub,
            Operator::I64Mul => ConstantInstruction::I64Mul,
            Operator::RefI31 => ConstantInstruction::RefI31,
            Operator::StructNew { struct_type_index } => {
                ConstantInstruction::StructNew(struct_type_index)
            }
            Operator::StructNewDefault { struct_type_index } => {
                ConstantInstruction::StructNewDefault(struct_type_index)
            }
            Operator::ArrayNew { array_type_index } => {
                ConstantInstruction::ArrayNew(array_type_index)
            }
            Operator::ArrayNewDefault { array_type_index } => {
                ConstantInstruction::ArrayNewDefault(array_type_index)
            }
            Operator::ArrayNewFixed {
                array_type_index,
                array_size,
            } => ConstantInstruction::ArrayNewFixed(array_type_index, array_size),
            Operator::AnyConvertExtern => ConstantInstruction::AnyConvertExtern,
            Operator::ExternConvertAny => ConstantInstruction::ExternConvertAny,
            Operator::End => break,
            other => unreachable!("validated away: {other:?} in a constant expression"),
        });
    }
    Ok(instructions)
}
