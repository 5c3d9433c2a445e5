//! Stores: instances that share memories, tables, globals, functions, tags and objects.
//!
//! A [`Store`] owns its instances, which live as long as it: what one shares with another must not go away before the other. Whoever
//! works with an instance of a store borrows the store, for what a call in one changes may be another's.
//!
//! Imports are matched as the specification says, section "External Types: Matching", by the types that memories and tables
//! have by then.

use super::call::Progress;
use super::engine::Engine;
use super::host_function::Imports;
use super::instance::{Inner, Instance, Limits};
use super::instantiate::InstantiateError;
use super::links::{FoundFunction, Links, Place, StoreState};
use super::module::{Callable, LinkError, Linked, Module, ResolvedImport, Unresolved};
use super::store_types::value_in_store;
use super::trap::{Reason, Trap};
use crate::compile::info::{
    ExportKind, GlobalType, Import, ImportKind, Limits as TypeLimits, ValueType,
};
use crate::layout::StoreFunction;
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;

/// Why there is no instance in a store.
#[derive(Debug)]
pub enum StoreError {
    Link(LinkError),
    Instantiate(InstantiateError),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Link(error) => error.fmt(f),
            StoreError::Instantiate(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {}

/// An instance of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstanceId {
    store: u64,
    index: usize,
}

/// Something that an instance of a store exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    instance: InstanceId,
    kind: ExportKind,
}

/// What instances of a store import, by module and name: exports of others, and functions of the host.
#[derive(Clone, Default)]
pub struct StoreImports {
    pub host: Imports,
    exports: HashMap<(String, String), Export>,
}

impl StoreImports {
    pub fn new() -> StoreImports {
        StoreImports::default()
    }

    /// Defines one import. It goes before a function of the host of the same name.
    pub fn define(&mut self, module: &str, name: &str, export: Export) -> &mut StoreImports {
        self.exports
            .insert((module.to_owned(), name.to_owned()), export);
        self
    }

    /// Defines everything that an instance exports, under this module name, in the place of all that was.
    pub fn define_instance(
        &mut self,
        module: &str,
        store: &Store,
        instance: InstanceId,
    ) -> &mut StoreImports {
        self.exports.retain(|(other, _), _| other != module);
        for export in &store.instance(instance).linked().module().info().exports {
            let kind = export.kind;
            self.define(module, &export.name, Export { instance, kind });
        }
        self
    }
}

/// Instances that are linked with each other.
///
/// Their modules are compiled with [`CompileOptions::linkable`](crate::compile::CompileOptions::linkable).
///
/// An exception that leaves a function of one instance can be caught in any other that imports its tag. Objects are on a heap that all have
/// together, of 4 GiB at most; what an instance lengthens it by counts in its [`Limits::memory_bytes`]. External references from the host are
/// below 2^62.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use dormouse::compile::{CompileOptions, compile};
/// use dormouse::{Engine, EngineOptions, Limits, Module, Store, StoreImports};
///
/// let engine = Engine::new(&EngineOptions::default())?;
/// let options = CompileOptions { linkable: true, ..CompileOptions::default() };
/// let module = |text: &str| -> Result<Module, Box<dyn std::error::Error>> {
///     Ok(Module::from_artifact(&engine, &compile(&wat::parse_str(text)?, &options)?)?)
/// };
/// let library = module(
///     r#"(module (memory (export "memory") 1)
///          (func (export "put") (param i32 i32) (i32.store (local.get 0) (local.get 1))))"#,
/// )?;
/// let program = module(
///     r#"(module (import "library" "memory" (memory 1))
///          (import "library" "put" (func $put (param i32 i32)))
///          (func (export "run") (result i32)
///            (call $put (i32.const 8) (i32.const 42)) (i32.load (i32.const 8))))"#,
/// )?;
///
/// let mut store = Store::new(&engine)?;
/// let mut imports = StoreImports::new();
/// let library = store.instantiate(&library, &imports, Limits::default(), Box::new(()))?;
/// imports.define_instance("library", &store, library);
/// let program = store.instantiate(&program, &imports, Limits::default(), Box::new(()))?;
/// let run = store.function(program, "run").expect("it is exported");
/// assert_eq!(store.call(program, run, &[])?, [42]);
/// assert_eq!(store.memory(library)[8], 42);
/// # Ok(())
/// # }
/// ```
pub struct Store {
    // Their fibers go first; no instance looks at another when it goes.
    instances: Vec<Instance>,
    engine: Engine,
    pub(crate) state: Rc<StoreState>,
}

/// What an instance of a store is made of, once its imports are found.
pub(crate) struct Found {
    pub linked: Linked,
    links: Links,
    functions: Vec<FoundFunction>,
}

impl Found {
    /// Current lengths of the memories, in bytes, and of the tables that are imported.
    pub fn lengths(&self) -> (Vec<u64>, Vec<u64>) {
        let memories = self.links.memories.iter();
        let tables = self.links.tables.iter();
        (
            memories
                .map(|place| {
                    of_owner(*place, |inner, index| ((), inner.own_memory_length(index))).2
                })
                .collect(),
            tables
                .map(|place| {
                    let length =
                        |inner: &mut Inner, index| ((), inner.own_table(index).len() as u64);
                    of_owner(*place, length).2
                })
                .collect(),
        )
    }
}

impl Store {
    /// # Errors
    /// When there is no address space for the functions that references refer to.
    pub fn new(engine: &Engine) -> io::Result<Store> {
        Ok(Store {
            instances: Vec::new(),
            engine: engine.clone(),
            state: Rc::new(StoreState::new()?),
        })
    }

    /// Makes an instance: links its imports, and gives its globals, tables and memories their initial values. The start function,
    /// if there is one, is for the caller to run ([`Module::start_function`]).
    ///
    /// # Errors
    /// What does not match, and what does not fit. When an active segment does not fit, those before it were applied, also to
    /// what others share, and functions that are in shared tables by then can be called.
    ///
    /// # Panics
    /// When the module was loaded for another engine, or an import is an export of another store.
    pub fn instantiate(
        &mut self,
        module: &Module,
        imports: &StoreImports,
        limits: Limits,
        data: Box<dyn Any>,
    ) -> Result<InstanceId, StoreError> {
        let found = self.find(module, imports).map_err(StoreError::Link)?;
        let failed = StoreError::Instantiate;
        let instance = Instance::allocate(&found.linked, limits, data).map_err(failed)?;
        let id = self
            .add(instance, found)
            .map_err(|error| failed(InstantiateError::System(error)))?;
        let initialised = self.inner_mut(id).initialise();
        initialised.map_err(|reason| failed(reason.into()))?;
        Ok(id)
    }

    /// Takes in an instance that was made of what was found, and links it.
    pub(crate) fn add(&mut self, mut instance: Instance, found: Found) -> io::Result<InstanceId> {
        let functions = instance.linked().module().info().functions.len();
        self.state.reserve_functions(functions)?;
        self.state.heap.take_turn();
        let pointer = instance.inner;
        instance.inner_mut().link(found.links, &found.functions);
        self.state.add_member(pointer);
        self.instances.push(instance);
        Ok(InstanceId {
            store: self.state.id,
            index: self.instances.len() - 1,
        })
    }

    fn index(&self, id: InstanceId) -> usize {
        assert_eq!(id.store, self.state.id, "an instance of this store");
        id.index
    }

    /// An instance, to look at.
    ///
    /// # Panics
    /// As all that take an [`InstanceId`], when it is another store's.
    pub fn instance(&self, id: InstanceId) -> &Instance {
        &self.instances[self.index(id)]
    }

    pub(crate) fn instance_mut(&mut self, id: InstanceId) -> &mut Instance {
        let index = self.index(id);
        &mut self.instances[index]
    }

    fn inner_mut(&mut self, id: InstanceId) -> &mut Inner {
        self.instance_mut(id).inner_mut()
    }

    /// An export of an instance.
    pub fn export(&self, id: InstanceId, name: &str) -> Option<Export> {
        let info = self.instance(id).linked().module().info();
        let kind = info.export(name)?;
        Some(Export { instance: id, kind })
    }

    /// The exported function of this name.
    pub fn function(&self, id: InstanceId, name: &str) -> Option<Callable> {
        self.instance(id).linked().module().function(name)
    }

    /// Begins a call in an instance; see [`Instance::begin`]. Calls may be in progress in several instances, one in each, besides
    /// those that came to it from others.
    pub fn begin(
        &mut self,
        id: InstanceId,
        callable: Callable,
        arguments: &[u64],
    ) -> io::Result<()> {
        self.instance_mut(id).begin(callable, arguments)
    }

    /// Runs the call that was begun in an instance; see [`Instance::resume`].
    pub fn resume(&mut self, id: InstanceId) -> Progress {
        self.instance_mut(id).resume()
    }

    /// Ends the call that was begun in an instance; see [`Instance::stop`].
    pub fn stop(&mut self, id: InstanceId, reason: Reason) -> Trap {
        self.instance_mut(id).stop(reason)
    }

    /// Begins a call and runs it to its end; see [`Instance::call`].
    pub fn call(
        &mut self,
        id: InstanceId,
        callable: Callable,
        arguments: &[u64],
    ) -> Result<Vec<u64>, Trap> {
        self.instance_mut(id).call(callable, arguments)
    }

    /// The memory that host functions called by an instance work in; see [`Instance::memory`].
    pub fn memory(&mut self, id: InstanceId) -> &mut [u8] {
        self.instance_mut(id).memory()
    }

    /// Grows an exported memory: the previous length in pages, or `None` when there is none or it may not.
    pub fn grow_memory(&mut self, id: InstanceId, name: &str, delta_pages: u64) -> Option<u64> {
        match self.export(id, name)?.kind {
            ExportKind::Memory(memory) => {
                self.inner_mut(id).memory_grow(memory as usize, delta_pages)
            }
            _ => None,
        }
    }

    /// The value of an exported global: its word, or the two of a v128.
    pub fn global(&mut self, id: InstanceId, name: &str) -> Option<Vec<u64>> {
        self.instance_mut(id).global(name)
    }

    /// Changes an exported global; answers whether there is one that can be changed.
    ///
    /// # Panics
    /// When the words are not those of a value of its type: see [`Instance::begin`].
    pub fn set_global(&mut self, id: InstanceId, name: &str, words: &[u64]) -> bool {
        let Some(ExportKind::Global(global)) = self.export(id, name).map(|of| of.kind) else {
            return false;
        };
        let inner = self.inner_mut(id);
        let ty = inner.linked.module().info().globals[global as usize];
        if !ty.mutable {
            return false;
        }
        assert_eq!(words.len(), ty.value.words(), "the words of its type");
        assert!(
            inner.are_references(&[ty.value], words),
            "a word for a reference is null, if its type allows, or one that the store gave out"
        );
        inner.global_mut(global as usize).copy_from_slice(words);
        true
    }

    /// What the store calls an exported tag: the same number for all instances that import it from each other, and another for every
    /// other tag. [`Exception::tag`](super::Exception::tag) is such a number.
    pub fn tag(&self, id: InstanceId, name: &str) -> Option<u32> {
        match self.export(id, name)?.kind {
            ExportKind::Tag(index) => Some(self.instance(id).shared_tag(index)),
            _ => None,
        }
    }

    /// The embedder's data of an instance; see [`Instance::data_mut`].
    pub fn data_mut<T: 'static>(&mut self, id: InstanceId) -> &mut T {
        self.instance_mut(id).data_mut()
    }

    /// Finds what a module imports.
    pub(crate) fn find(&self, module: &Module, imports: &StoreImports) -> Result<Found, LinkError> {
        assert!(
            Rc::ptr_eq(&module.shared.engine.shared, &self.engine.shared),
            "a module of the store's engine"
        );
        let info = module.info();
        let refused = |import: &str, problem: &str| LinkError {
            problems: vec![Unresolved {
                import: import.to_owned(),
                problem: problem.to_owned(),
            }],
        };
        if !info.is_linkable() {
            let problem = "is not compiled to be linked: compile it in linkable mode";
            return Err(refused("the module", problem));
        }
        let types = self.state.types.borrow_mut().ids(info);
        let mut links = Links::new(self.state.clone(), types);
        let (mut functions, mut resolved) = (Vec::new(), Vec::new());
        let mut problems = Vec::new();
        for import in &info.imports {
            let key = (import.module.clone(), import.name.clone());
            if let Some(export) = imports.exports.get(&key) {
                match self.matching(export, import, &links) {
                    Ok(Shared::Function(function, reference)) => {
                        functions.push(FoundFunction::Instance {
                            function,
                            reference,
                        });
                        resolved.push(ResolvedImport::of_instance());
                    }
                    Ok(Shared::Table(place)) => links.tables.push(place),
                    Ok(Shared::Memory(place)) => links.memories.push(place),
                    Ok(Shared::Global(place)) => links.globals.push(place),
                    Ok(Shared::Tag(tag)) => links.tags.push(tag),
                    Err(problem) => problems.push(unresolved(import, problem)),
                }
                continue;
            }
            let provided = imports.host.get(&import.module, &import.name);
            let problem = match (&import.kind, provided) {
                (ImportKind::Function { type_index }, Some((ty, function))) => {
                    let wanted = info.signature(*type_index);
                    if ty == wanted {
                        functions.push(FoundFunction::Host);
                        resolved.push(ResolvedImport::new(ty, function));
                        continue;
                    }
                    format!("incompatible import type: it is {ty}, imported as {wanted}")
                }
                (_, Some(_)) => "incompatible import type: it is a function".to_owned(),
                (_, None) => "unknown import: it is not provided".to_owned(),
            };
            problems.push(unresolved(import, problem));
        }
        if !problems.is_empty() {
            return Err(LinkError { problems });
        }
        Ok(Found {
            linked: Linked::new(module, resolved),
            links,
            functions,
        })
    }

    /// What an export stands for, if it is what is imported.
    fn matching(&self, export: &Export, import: &Import, links: &Links) -> Result<Shared, String> {
        let exporter = self.instance(export.instance);
        let types = self.state.types.borrow();
        let mismatch = |what: &str| Err(format!("incompatible import type: {what}"));
        let matches = match (export.kind, &import.kind) {
            (ExportKind::Function(index), ImportKind::Function { type_index }) => {
                let (function, reference) = exporter.shared_function(index);
                let wanted = links.types[*type_index as usize];
                if !types.is_subtype((reference >> 32) as u32, wanted) {
                    return mismatch("the function has another type");
                }
                return Ok(Shared::Function(function, reference));
            }
            (ExportKind::Table(index), ImportKind::Table(wanted)) => {
                let place = exporter.place(index, |links| &links.tables);
                let (ty, ids, length) = of_owner(place, |inner, index| {
                    let ty = inner.linked.module().info().tables[index];
                    (ty, inner.own_table(index).len() as u64)
                });
                let element = value_in_store(ValueType::Reference(ty.element), &ids);
                let wanted_element =
                    value_in_store(ValueType::Reference(wanted.element), &links.types);
                if element != wanted_element {
                    return mismatch("the table has elements of another type");
                }
                let fits = fits(length, ty.limits, wanted.limits);
                (fits && ty.index64 == wanted.index64)
                    .then_some(Shared::Table(place))
                    .ok_or("the table is smaller, may grow more, or has other indexes")
            }
            (ExportKind::Memory(index), ImportKind::Memory(wanted)) => {
                let place = exporter.place(index, |links| &links.memories);
                let (ty, _, length) = of_owner(place, |inner, index| {
                    let ty = inner.linked.module().info().memories[index];
                    (ty, inner.own_memory_length(index) / ty.page_bytes())
                });
                let same = ty.index64 == wanted.index64
                    && ty.shared == wanted.shared
                    && ty.page_bytes_log2 == wanted.page_bytes_log2;
                (same && fits(length, ty.limits, wanted.limits))
                    .then_some(Shared::Memory(place))
                    .ok_or("the memory is smaller, may grow more, or has other pages or indexes")
            }
            (ExportKind::Global(index), ImportKind::Global(wanted)) => {
                let place = exporter.place(index, |links| &links.globals);
                let (ty, ids, _): (GlobalType, _, _) = of_owner(place, |inner, index| {
                    (inner.linked.module().info().globals[index], 0)
                });
                let value = value_in_store(ty.value, &ids);
                let wanted_value = value_in_store(wanted.value, &links.types);
                let same_value = match wanted.mutable {
                    true => value == wanted_value,
                    false => types.is_value_subtype(value, wanted_value),
                };
                (same_value && ty.mutable == wanted.mutable)
                    .then_some(Shared::Global(place))
                    .ok_or("the global has another type, or is mutable where it must not be")
            }
            (ExportKind::Tag(index), ImportKind::Tag { type_index }) => {
                let tag = exporter.shared_tag(index);
                let wanted = links.types[*type_index as usize];
                let same = self.state.with_tag(tag, |tag| tag.type_id == wanted);
                same.unwrap_or(false)
                    .then_some(Shared::Tag(tag))
                    .ok_or("the tag has another type")
            }
            _ => Err("it is something else"),
        };
        matches.or_else(mismatch)
    }
}

/// What an import is linked with.
enum Shared {
    Function(StoreFunction, u64),
    Table(Place),
    Memory(Place),
    Global(Place),
    Tag(u32),
}

fn unresolved(import: &Import, problem: String) -> Unresolved {
    Unresolved {
        import: format!("{}.{}", import.module, import.name),
        problem,
    }
}

/// Whether limits match those of an import, given the length that what has them has by now.
fn fits(length: u64, limits: TypeLimits, wanted: TypeLimits) -> bool {
    let bounded = |wanted: u64| limits.maximum.is_some_and(|maximum| maximum <= wanted);
    length >= wanted.minimum && wanted.maximum.is_none_or(bounded)
}

/// Asks the instance that has something itself of it: a type and a length; and what the store calls its types.
fn of_owner<T>(
    (owner, index): Place,
    ask: impl FnOnce(&mut Inner, usize) -> (T, u64),
) -> (T, Vec<u32>, u64) {
    // SAFETY: the owner is an instance of a store that is borrowed, alive; no call runs, and no reference to it is live.
    let owner = unsafe { &mut *owner.as_ptr() };
    let (ty, length) = ask(owner, index);
    let links = owner.links.as_ref().expect("an instance of a store");
    (ty, links.types.clone(), length)
}

impl Instance {
    /// Where something that this instance has or imports is: `index` counts imports, which are the first.
    fn place(&self, index: u32, imported: impl Fn(&Links) -> &Vec<Place>) -> Place {
        let links = self.inner().links.as_ref().expect("an instance of a store");
        let index = index as usize;
        let own: (NonNull<Inner>, usize) = (self.inner, index);
        imported(links).get(index).copied().unwrap_or(own)
    }

    /// What the store calls a tag.
    fn shared_tag(&self, index: u32) -> u32 {
        let links = self.inner().links.as_ref();
        links.expect("an instance of a store").tags[index as usize]
    }

    /// A function, and the reference to it.
    fn shared_function(&self, index: u32) -> (StoreFunction, u64) {
        let inner = self.inner();
        let links = inner.links.as_ref().expect("an instance of a store");
        let own = StoreFunction {
            code: inner.linked.module().code_of(index),
            vmctx: inner.vmctx() as usize,
        };
        let function = links.functions.get(index as usize).copied().unwrap_or(own);
        (function, links.references[index as usize])
    }
}
