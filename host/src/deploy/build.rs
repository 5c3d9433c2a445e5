//! From a module to the files of a version: compile, instantiate, initialise, capture.
//!
//! It runs in the compile worker, and in `dormouse bench` for a user's own function. Nothing here knows the store.

use super::error::{Failure, FailureKind};
use super::limits::INIT_CPU_TIME;
use crate::interface::{Context, InitPolicy, imports};
use crate::store::{ARTIFACT_FILE, BASE_FILE, FunctionConfig, IMAGE_FILE, Kind, STACK_BYTES_MAX};
use dormouse::compile::artifact::{COMPILER, FORMAT_VERSION};
use dormouse::compile::info::{ExportKind, FunctionType, ModuleInfo, ValueType};
use dormouse::compile::{CompileError, CompileOptions, compile};
use dormouse::{
    Engine, EngineOptions, Image, ImageReport, Instance, InstantiateError, Limits, Linked, Module,
    Reason, Trap,
};
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// What became of a module.
#[derive(Clone, Debug)]
pub struct Built {
    pub kind: Kind,
    pub artifact_bytes: u64,
    pub image_bytes: u64,
    pub image_pages: u64,
    pub compile: Duration,
    pub init: Duration,
}

/// Names the compiler, as far as artifacts depend on it. A version of another compiler is built again.
pub fn compiler() -> String {
    format!("{COMPILER} format {FORMAT_VERSION}")
}

/// The exports that initialise a module before its image is captured, besides `_initialize`; the second is the name that the
/// Wizer tool uses.
const INIT_EXPORTS: [&str; 2] = ["dormouse_init", "wizer-initialize"];

/// The limits of a function's instances while they serve.
pub fn serving_limits(config: &FunctionConfig) -> Limits {
    Limits {
        memory_bytes: config.memory_bytes,
        table_elements: config.table_elements,
        stack_bytes: config.stack_bytes,
        cpu_time: Some(config.cpu),
    }
}

/// Compiles a binary module, initialises an instance of it and writes both files into a directory.
///
/// What another version of the very same module has, in a directory of its own, is linked to and not made again: its artifact, and
/// an image as the base of the new one.
pub fn build(
    module: &[u8],
    config: &FunctionConfig,
    directory: &Path,
    sibling: Option<&Path>,
) -> Result<Built, Failure> {
    let options = EngineOptions {
        slots_max: 1,
        stack_bytes: STACK_BYTES_MAX,
        ..EngineOptions::default()
    };
    let engine = Engine::new(&options).map_err(|error| internal(&error))?;
    let begin = Instant::now();
    let artifact = directory.join(ARTIFACT_FILE);
    let kept = sibling.and_then(|sibling| link_artifact(&engine, sibling, &artifact));
    let module = match kept {
        Some(kept) => kept,
        None => compile_to(&engine, module, &artifact)?,
    };
    let compile = begin.elapsed();
    let artifact_bytes = fs::metadata(&artifact)
        .map_err(|error| Failure::io("cannot read the artifact", &error))?
        .len();

    let begin = Instant::now();
    let kind = kind_of(module.info())?;
    let linked = module
        .link(&imports())
        .map_err(|error| Failure::new(FailureKind::MissingImport, error))?;
    let mut instance = initialise(&linked, config)?;
    let report = capture(&mut instance, directory, sibling)?;
    Ok(Built {
        kind,
        artifact_bytes,
        image_bytes: report.file_bytes,
        image_pages: report.pages,
        compile,
        init: begin.elapsed(),
    })
}

fn internal(error: &dyn fmt::Display) -> Failure {
    Failure::new(FailureKind::Internal, error)
}

fn compile_to(engine: &Engine, module: &[u8], artifact: &Path) -> Result<Module, Failure> {
    let bytes = compile(module, &CompileOptions::default()).map_err(refused)?;
    let mut file = create(artifact)?;
    file.write_all(&bytes)
        .map_err(|error| Failure::io("cannot write the artifact", &error))?;
    drop(bytes);
    Module::load(engine, &file).map_err(|error| internal(&error))
}

/// Takes the artifact of another version; `None` when it cannot be linked to, is damaged, or is for another processor.
fn link_artifact(engine: &Engine, sibling: &Path, artifact: &Path) -> Option<Module> {
    fs::hard_link(sibling.join(ARTIFACT_FILE), artifact).ok()?;
    let file = File::open(artifact).ok();
    let module = file.and_then(|file| Module::load(engine, &file).ok());
    if module.is_none() {
        let _ = fs::remove_file(artifact);
    }
    module
}

/// Writes the image: over another version's, or its base, if that saves something.
fn capture(
    instance: &mut Instance,
    directory: &Path,
    sibling: Option<&Path>,
) -> Result<ImageReport, Failure> {
    let file = create(&directory.join(IMAGE_FILE))?;
    let path = directory.join(BASE_FILE);
    let link = |sibling: &Path| {
        let bases = [BASE_FILE, IMAGE_FILE].map(|name| sibling.join(name));
        let linked = bases.iter().find(|base| fs::hard_link(base, &path).is_ok());
        linked.and_then(|_| File::open(&path).ok())
    };
    if let Some(base) = sibling.and_then(link) {
        // A base that is damaged is for its own version to find out.
        if let Ok(report) = Image::capture_over(instance, &file, &base)
            && report.has_base
        {
            return Ok(report);
        }
        fs::remove_file(&path)
            .map_err(|error| Failure::io("cannot remove a file of the version", &error))?;
    }
    Image::capture(instance, &file).map_err(|error| internal(&error))
}

fn create(path: &Path) -> Result<File, Failure> {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| Failure::io("cannot create a file of the version", &error))
}

/// Makes an instance and runs everything that runs before the first request.
pub fn initialise(linked: &Linked, config: &FunctionConfig) -> Result<Instance, Failure> {
    let policy = if config.init_entropy {
        InitPolicy::Allow
    } else {
        InitPolicy::Refuse
    };
    let environment = config
        .env
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let context = Context::initialising(environment, policy);
    let limits = Limits {
        cpu_time: Some(INIT_CPU_TIME),
        ..serving_limits(config)
    };
    let mut instance =
        Instance::new(linked, limits, Box::new(context)).map_err(not_instantiated)?;
    let module = linked.module();
    if let Some(start) = module.start_function() {
        instance
            .call(start, &[])
            .map_err(|trap| init_failed("the start function", trap, &mut instance))?;
    }
    let init = INIT_EXPORTS
        .into_iter()
        .find(|name| module.function(name).is_some());
    for name in ["_initialize"].into_iter().chain(init) {
        let Some(function) = module.function(name) else {
            continue;
        };
        let ty = module.function_type(function);
        if *ty != FunctionType::default() {
            return Err(Failure::new(
                FailureKind::NotAFunction,
                format_args!("the export {name} has type {ty}; it must take and return nothing"),
            ));
        }
        instance
            .call(function, &[])
            .map_err(|trap| init_failed(name, trap, &mut instance))?;
    }
    Ok(instance)
}

/// Tells how a function is called by what its module exports.
pub fn kind_of(info: &ModuleInfo) -> Result<Kind, Failure> {
    let wrong = |message: String| Err(Failure::new(FailureKind::NotAFunction, message));
    let expected = "a function exports either _start: () -> () (a WASI command) or handle: () -> (i32) (a reactor)";
    let start = FunctionType::default();
    let handle = FunctionType {
        parameters: Vec::new(),
        results: vec![ValueType::I32],
    };
    match (exported(info, "_start"), exported(info, "handle")) {
        (Some(_), Some(_)) => wrong(format!(
            "the module exports both _start and handle; {expected}"
        )),
        (None, None) => wrong(format!(
            "the module exports neither _start nor handle; {expected}"
        )),
        (Some(ty), None) if *ty != start => {
            wrong(format!("the export _start has type {ty}; {expected}"))
        }
        (None, Some(ty)) if *ty != handle => {
            wrong(format!("the export handle has type {ty}; {expected}"))
        }
        (Some(_), None) => Ok(Kind::Command),
        (None, Some(_)) => Ok(Kind::Reactor),
    }
}

fn exported<'a>(info: &'a ModuleInfo, name: &str) -> Option<&'a FunctionType> {
    match info.export(name)? {
        ExportKind::Function(function) => Some(info.function_type(function)),
        _ => None,
    }
}

/// A compiler's refusal in the terms of a deployment.
pub fn refused(error: CompileError) -> Failure {
    let kind = match &error {
        CompileError::UnsupportedCpu { .. } | CompileError::Codegen { .. } => FailureKind::Internal,
        CompileError::TableTooLarge { .. }
        | CompileError::MemoriesTooLarge { .. }
        | CompileError::StateTooLarge { .. }
        | CompileError::TooLarge { .. } => FailureKind::LimitExceeded,
        _ => FailureKind::InvalidModule,
    };
    Failure::new(kind, error)
}

fn not_instantiated(error: InstantiateError) -> Failure {
    let kind = match &error {
        InstantiateError::Limit(_) => FailureKind::LimitExceeded,
        InstantiateError::Trap(_) => FailureKind::InitFailed,
        _ => FailureKind::Internal,
    };
    Failure::new(kind, error)
}

/// The trap of an initialiser, with the limit behind it and what the guest said last.
fn init_failed(name: &str, trap: Trap, instance: &mut Instance) -> Failure {
    let limited = matches!(trap.reason, Reason::Limit(_));
    let kind = if limited {
        FailureKind::LimitExceeded
    } else {
        FailureKind::InitFailed
    };
    let mut message = format!("initialisation failed in {name}: {trap}");
    let context = instance.data_mut::<Context>();
    context.stderr.finish();
    for line in context.stderr.take_lines() {
        message.push_str("\n  it said: ");
        message.push_str(&line);
    }
    Failure { kind, message }
}
