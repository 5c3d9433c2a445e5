//! Pairs of modules: one, and another that imports what it exports.

use crate::modules::{Purpose, configuration, finished};
use arbitrary::{Result, Unstructured};
use wasm_encoder::{EntityType, ImportSection, RawSection, SectionId};
use wasm_smith::{Config, Module};
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

/// Two modules of wasm-smith's, of which the second finds the exports of the first under this name and imports some of them.
pub fn generate(u: &mut Unstructured<'_>, name: &str, fuel: u32) -> Result<(Vec<u8>, Vec<u8>)> {
    let config = Config {
        // How far a memory without a maximum grows would be each engine's own.
        memory_max_size_required: true,
        // wasm-smith takes no imports of such memories.
        custom_page_sizes_enabled: false,
        ..configuration(u, Purpose::Differential)?
    };
    let exporter = finished(Module::new(config.clone(), u)?, fuel)?;
    let importer = Config {
        available_imports: Some(imports_of_exports(&exporter, name)),
        // With room for some of its own.
        max_imports: 100,
        max_funcs: 30,
        max_globals: 30,
        max_types: 60,
        max_tables: 6,
        max_tags: 10,
        max_memories: config.max_memories + 1,
        ..config
    };
    let importer = finished(Module::new(importer, u)?, fuel)?;
    Ok((exporter, importer))
}

/// A module that imports all that another one exports, which has no imports, and that has the same types.
fn imports_of_exports(wasm: &[u8], name: &str) -> Vec<u8> {
    let mut module = wasm_encoder::Module::new();
    let mut imports = ImportSection::new();
    let (mut functions, mut tables, mut memories) = (Vec::new(), Vec::new(), Vec::new());
    let (mut globals, mut tags) = (Vec::new(), Vec::new());
    const VALID: &str = "a module of wasm-smith's is valid";
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.expect(VALID) {
            Payload::TypeSection(section) => {
                let data = &wasm[section.range()];
                let id = SectionId::Type.into();
                module.section(&RawSection { id, data });
            }
            Payload::FunctionSection(section) => {
                functions.extend(
                    section
                        .into_iter()
                        .map(|ty| TypeRef::Func(ty.expect(VALID))),
                );
            }
            Payload::TableSection(section) => {
                let types = section.into_iter().map(|table| table.expect(VALID).ty);
                tables.extend(types.map(TypeRef::Table));
            }
            Payload::MemorySection(section) => {
                memories.extend(
                    section
                        .into_iter()
                        .map(|ty| TypeRef::Memory(ty.expect(VALID))),
                );
            }
            Payload::GlobalSection(section) => {
                let types = section.into_iter().map(|global| global.expect(VALID).ty);
                globals.extend(types.map(TypeRef::Global));
            }
            Payload::TagSection(section) => {
                tags.extend(section.into_iter().map(|ty| TypeRef::Tag(ty.expect(VALID))));
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.expect(VALID);
                    let space = match export.kind {
                        ExternalKind::Func | ExternalKind::FuncExact => &functions,
                        ExternalKind::Table => &tables,
                        ExternalKind::Memory => &memories,
                        ExternalKind::Global => &globals,
                        ExternalKind::Tag => &tags,
                    };
                    let ty = EntityType::try_from(space[export.index as usize]).expect(VALID);
                    imports.import(name, export.name, ty);
                }
            }
            _ => {}
        }
    }
    module.section(&imports);
    module.finish()
}
