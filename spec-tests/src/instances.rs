//! The instances of a test file, and how each run of the file comes by them.

use crate::report::Counts;
use dormouse::compile::{CompileError, CompileOptions, compile};
use dormouse::{
    Caller, Engine, Image, Imports, Instance, InstantiateError, Limits, Linked, Module, Reason,
};
use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;

/// How a run of the file comes by its instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From scratch; an image of each is taken.
    Fresh,
    /// Restored from its image.
    Restored,
    /// The restored one again, after a reset.
    Reset,
}

impl Mode {
    pub const ALL: [Mode; 3] = [Mode::Fresh, Mode::Restored, Mode::Reset];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
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
    /// Imports cannot be resolved: of these modules, with the engine's message.
    Link {
        modules: Vec<String>,
        message: String,
    },
    /// An active segment or the start function trapped.
    Trap(String),
    /// Anything else, which no test expects.
    Other(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Compile(error) => write!(f, "the module is refused: {error}"),
            Refusal::Link { message, .. } => f.write_str(message),
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
    pub counts: Counts,
}

impl Instances {
    pub fn new(engine: Engine) -> Instances {
        Instances {
            engine,
            imports: spectest(),
            live: HashMap::new(),
            images: HashMap::new(),
            counts: Counts::default(),
        }
    }

    /// Begins another run of the file; instances of the last are dropped, except when they are to be reset.
    pub fn begin(&mut self, mode: Mode) {
        if mode != Mode::Reset {
            self.live.clear();
        }
    }

    /// Makes the instance of a directive in the way of this run.
    pub fn make(&mut self, directive: usize, wasm: &[u8], mode: Mode) -> Result<(), Refusal> {
        let other = |error: &dyn fmt::Display| Refusal::Other(error.to_string());
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

    pub fn get(&mut self, directive: usize) -> Option<&mut Instance> {
        self.live.get_mut(&directive)
    }

    /// Compiles and links a module.
    pub fn link(&self, wasm: &[u8]) -> Result<Linked, Refusal> {
        let artifact = compile_one(wasm).map_err(Refusal::Compile)?;
        let module = Module::from_artifact(&self.engine, &artifact)
            .map_err(|error| Refusal::Other(error.to_string()))?;
        module.link(&self.imports).map_err(|error| Refusal::Link {
            modules: error
                .problems
                .iter()
                .map(|problem| {
                    let import = problem.import.as_str();
                    import.split('.').next().unwrap_or(import).to_owned()
                })
                .collect(),
            message: error.to_string(),
        })
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
            instance
                .call(start, &[])
                .map_err(|trap| match trap.reason {
                    Reason::Trap(kind) => Refusal::Trap(kind.to_string()),
                    reason => Refusal::Other(reason.to_string()),
                })?;
        }
        Ok(instance)
    }
}

/// Compiles on this thread alone: files are run in parallel.
pub fn compile_one(wasm: &[u8]) -> Result<Vec<u8>, CompileError> {
    let options = CompileOptions {
        threads: NonZeroUsize::MIN,
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
