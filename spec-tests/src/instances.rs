//! The instances of a test file, and how each run of the file comes by them.

use crate::report::Counts;
use dormouse::compile::info::{ImportKind, ModuleInfo};
use dormouse::compile::{CompileError, CompileOptions, compile};
use dormouse::{
    Caller, Engine, Image, ImageError, Imports, Instance, InstanceId, InstantiateError, Limits,
    Linked, Module, Reason, Store, StoreError, StoreImports, Trap,
};
use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;

/// How a run of the file comes by its instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From scratch, in a store with the other instances of the file.
    Linked,
    /// The same, restored in that store from an image that was taken right after, except where functions of the first instance are
    /// in a table of another.
    LinkedRestored,
    /// From scratch; an image of each is taken.
    Fresh,
    /// Restored from its image.
    Restored,
    /// The restored one again, after a reset.
    Reset,
}

impl Mode {
    /// The first is the one in which every file is run.
    pub const ALL: [Mode; 5] = [
        Mode::Linked,
        Mode::LinkedRestored,
        Mode::Fresh,
        Mode::Restored,
        Mode::Reset,
    ];

    /// Whether instances can import from each other.
    pub fn links(self) -> bool {
        matches!(self, Mode::Linked | Mode::LinkedRestored)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Linked => "in a store",
            Mode::LinkedRestored => "restored in a store",
            Mode::Fresh => "on a fresh instance",
            Mode::Restored => "on a restored instance",
            Mode::Reset => "on a reset instance",
        })
    }
}

/// Why there is no instance of a module.
#[derive(Debug)]
pub enum Refusal {
    Compile(CompileError),
    /// Imports cannot be resolved, with the engine's message.
    Link(String),
    /// An active segment or the start function trapped.
    Trap(String),
    /// Anything else, which no test expects.
    Other(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Compile(error) => write!(f, "the module is refused: {error}"),
            Refusal::Link(message) => f.write_str(message),
            Refusal::Trap(message) => write!(f, "instantiation traps: {message}"),
            Refusal::Other(message) => f.write_str(message),
        }
    }
}

/// Instances by the directive that makes them.
pub struct Instances {
    engine: Engine,
    imports: Imports,
    live: HashMap<usize, Instance>,
    images: HashMap<usize, Image>,
    /// The store of the file, or one for each instance if no instance of the file is for others to import from.
    stores: Vec<Store>,
    store_imports: StoreImports,
    /// Of each instance in a store, which store and which there.
    linked: HashMap<usize, (usize, InstanceId)>,
    one_store: bool,
    pub counts: Counts,
}

impl Instances {
    pub fn new(engine: Engine) -> Instances {
        Instances {
            engine,
            imports: spectest(),
            live: HashMap::new(),
            images: HashMap::new(),
            stores: Vec::new(),
            store_imports: StoreImports::new(),
            linked: HashMap::new(),
            one_store: false,
            counts: Counts::default(),
        }
    }

    /// Begins another run of the file; instances of the last are dropped, except when they are to be reset. `registers` says whether
    /// instances of the file are for others to import from.
    pub fn begin(&mut self, mode: Mode, registers: bool) {
        self.linked.clear();
        self.stores.clear();
        self.store_imports = StoreImports::new();
        self.store_imports.host = self.imports.clone();
        self.one_store = registers;
        if mode != Mode::Reset {
            self.live.clear();
        }
    }

    /// Makes the instance of a directive in the way of this run.
    pub fn make(&mut self, directive: usize, wasm: &[u8], mode: Mode) -> Result<(), Refusal> {
        let other = |error: &dyn fmt::Display| Refusal::Other(error.to_string());
        if mode.links() {
            let (mut store, mut id) = self.instantiate_linked(wasm)?;
            let module = self.stores[store].instance(id).linked().module().clone();
            let (restorable, alone) = restorable(module.info(), self.one_store);
            let file = tempfile::tempfile().map_err(|error| other(&error))?;
            match Image::capture_linked(&mut self.stores[store], id, &file) {
                Err(ImageError::HasObjects) => {}
                Err(error) => return Err(other(&error)),
                Ok(_) if mode == Mode::LinkedRestored && restorable => {
                    let image =
                        Image::open_linked(&module, &file).map_err(|error| other(&error))?;
                    if alone {
                        store = self.store()?;
                    }
                    let (into, imports) = (&mut self.stores[store], &self.store_imports);
                    id = image
                        .restore_linked(into, imports, limits(), Box::new(()))
                        .map_err(|error| other(&error))?;
                    self.counts.relinked += 1;
                }
                Ok(_) => {}
            }
            self.counts.linked += 1;
            self.linked.insert(directive, (store, id));
            return Ok(());
        }
        let image = self.images.get(&directive);
        match (mode, image) {
            (Mode::Restored, Some(image)) => {
                let instance = image
                    .restore(limits(), Box::new(()))
                    .map_err(|error| other(&error))?;
                self.live.insert(directive, instance);
                self.counts.restored += 1;
            }
            (Mode::Reset, Some(_)) => {
                let instance = self
                    .live
                    .get_mut(&directive)
                    .ok_or_else(|| other(&"the last run did not restore it"))?;
                instance
                    .reset(Box::new(()))
                    .map_err(|error| other(&error))?;
                self.counts.reset += 1;
            }
            // The first run, or it was refused there and will be again.
            _ => {
                let mut instance = self.instantiate(wasm)?;
                let file = tempfile::tempfile().map_err(|error| other(&error))?;
                Image::capture(&mut instance, &file).map_err(|error| other(&error))?;
                let linked = instance.linked().clone();
                let image = Image::open(&linked, &file).map_err(|error| other(&error))?;
                self.images.insert(directive, image);
                self.live.insert(directive, instance);
                self.counts.instances += 1;
            }
        }
        Ok(())
    }

    /// Calls an exported function of an instance that was made; `None` when there is none.
    pub fn call(
        &mut self,
        directive: usize,
        name: &str,
        arguments: &[u64],
    ) -> Option<Result<Vec<u64>, Trap>> {
        if let Some((store, id)) = self.linked.get(&directive) {
            let store = &mut self.stores[*store];
            let function = store.function(*id, name)?;
            return Some(store.call(*id, function, arguments));
        }
        let instance = self.live.get_mut(&directive)?;
        let function = instance.linked().module().function(name)?;
        Some(instance.call(function, arguments))
    }

    /// The words of an exported global.
    pub fn global(&mut self, directive: usize, name: &str) -> Option<Vec<u64>> {
        match self.linked.get(&directive) {
            Some((store, id)) => self.stores[*store].global(*id, name),
            None => self.live.get_mut(&directive)?.global(name),
        }
    }

    /// Whether a directive made an instance.
    pub fn has(&self, directive: usize) -> bool {
        self.linked.contains_key(&directive) || self.live.contains_key(&directive)
    }

    /// Lets other instances import what this one exports, under this name.
    pub fn register(&mut self, directive: usize, name: &str) {
        if let Some((store, id)) = self.linked.get(&directive) {
            self.store_imports
                .define_instance(name, &self.stores[*store], *id);
        }
    }

    /// Makes an instance in a store, from scratch, and runs its start function. Answers which store, and which instance there.
    pub fn instantiate_linked(&mut self, wasm: &[u8]) -> Result<(usize, InstanceId), Refusal> {
        let index = self.store()?;
        let module = self.load(wasm, true)?;
        let store = &mut self.stores[index];
        let id = store
            .instantiate(&module, &self.store_imports, limits(), Box::new(()))
            .map_err(|error| match error {
                StoreError::Link(error) => Refusal::Link(error.to_string()),
                StoreError::Instantiate(InstantiateError::Trap(kind)) => {
                    Refusal::Trap(kind.to_string())
                }
                error => Refusal::Other(error.to_string()),
            })?;
        if let Some(start) = module.start_function() {
            store.call(id, start, &[]).map_err(refused_by_start)?;
        }
        Ok((index, id))
    }

    /// The store of the file, or another one for an instance of its own.
    fn store(&mut self) -> Result<usize, Refusal> {
        let other = |error: &dyn fmt::Display| Refusal::Other(error.to_string());
        if self.stores.is_empty() || !self.one_store {
            let mut store = Store::new(&self.engine).map_err(|error| other(&error))?;
            let host = wat::parse_str(SPECTEST).map_err(|error| other(&error))?;
            let host = self.load(&host, true)?;
            let host = store
                .instantiate(&host, &self.store_imports, limits(), Box::new(()))
                .map_err(|error| other(&error))?;
            self.store_imports.define_instance("spectest", &store, host);
            self.stores.push(store);
        }
        Ok(self.stores.len() - 1)
    }

    fn load(&self, wasm: &[u8], linkable: bool) -> Result<Module, Refusal> {
        let artifact = compile_one(wasm, linkable).map_err(Refusal::Compile)?;
        Module::from_artifact(&self.engine, &artifact)
            .map_err(|error| Refusal::Other(error.to_string()))
    }

    /// Compiles and links a module.
    pub fn link(&self, wasm: &[u8]) -> Result<Linked, Refusal> {
        self.load(wasm, false)?
            .link(&self.imports)
            .map_err(|error| Refusal::Link(error.to_string()))
    }

    /// Makes an instance from scratch and runs its start function.
    pub fn instantiate(&self, wasm: &[u8]) -> Result<Instance, Refusal> {
        let linked = self.link(wasm)?;
        let mut instance =
            Instance::new(&linked, limits(), Box::new(())).map_err(|error| match error {
                InstantiateError::Trap(kind) => Refusal::Trap(kind.to_string()),
                error => Refusal::Other(error.to_string()),
            })?;
        if let Some(start) = linked.module().start_function() {
            instance.call(start, &[]).map_err(refused_by_start)?;
        }
        Ok(instance)
    }
}

/// Whether an instance is the same when it is restored from its image, and whether it can be in a store of its own.
///
/// Not if its functions are in a table of another, which would then be those of the first.
fn restorable(info: &ModuleInfo, one_store: bool) -> (bool, bool) {
    let kinds = || info.imports.iter().map(|import| &import.kind);
    let to_table = kinds().any(|kind| matches!(kind, ImportKind::Table(_)));
    let only_functions = kinds().all(|kind| matches!(kind, ImportKind::Function { .. }));
    let alone = only_functions && !one_store;
    (!to_table, alone)
}

fn refused_by_start(trap: Trap) -> Refusal {
    match trap.reason {
        Reason::Trap(kind) => Refusal::Trap(kind.to_string()),
        reason => Refusal::Other(reason.to_string()),
    }
}

/// Compiles on this thread alone: files are run in parallel.
pub fn compile_one(wasm: &[u8], linkable: bool) -> Result<Vec<u8>, CompileError> {
    let options = CompileOptions {
        threads: NonZeroUsize::MIN,
        linkable,
        ..CompileOptions::default()
    };
    compile(wasm, &options)
}

fn limits() -> Limits {
    Limits {
        memory_bytes: 4 << 30,
        ..Limits::default()
    }
}

/// What the suite's host module has besides functions.
const SPECTEST: &str = r#"(module
    (global (export "global_i32") i32 (i32.const 666))
    (global (export "global_i64") i64 (i64.const 666))
    (global (export "global_f32") f32 (f32.const 666.6))
    (global (export "global_f64") f64 (f64.const 666.6))
    (table (export "table") 10 20 funcref)
    (table (export "table64") i64 10 20 funcref)
    (memory (export "memory") 1 2)
    (memory (export "shared_memory") 1 2 shared))"#;

/// The functions of the suite's host module.
fn spectest() -> Imports {
    let mut imports = Imports::new();
    imports
        .define("spectest", "print", |_: &mut Caller<'_>| Ok(()))
        .define("spectest", "print_i32", |_: &mut Caller<'_>, _: i32| Ok(()))
        .define("spectest", "print_i64", |_: &mut Caller<'_>, _: i64| Ok(()))
        .define("spectest", "print_f32", |_: &mut Caller<'_>, _: f32| Ok(()))
        .define("spectest", "print_f64", |_: &mut Caller<'_>, _: f64| Ok(()))
        .define(
            "spectest",
            "print_i32_f32",
            |_: &mut Caller<'_>, _: i32, _: f32| Ok(()),
        )
        .define(
            "spectest",
            "print_f64_f64",
            |_: &mut Caller<'_>, _: f64, _: f64| Ok(()),
        );
    imports
}
