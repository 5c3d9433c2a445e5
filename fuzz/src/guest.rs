//! Dormouse as the targets see it: modules compiled and loaded, calls with values, and everything an instance's state consists of.

use crate::modules::{MEMORY_BYTES_MAX, TABLE_ELEMENTS_MAX};
use crate::values::{End, MemoryState, State, Value};
use crate::{Finding, finding};
use dormouse::compile::info::{Export, ExportKind, ModuleInfo, ValueType};
use dormouse::compile::{CompileError, CompileOptions, compile};
use dormouse::layout::PAGE_BYTES;
use dormouse::{
    Callable, CheckedImage, Engine, EngineOptions, Image, Imports, Instance, InstantiateError,
    Limits, Linked, Module, Progress, Reason, Trap,
};
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Compiles a module; `None` when it is larger than a documented limit.
pub fn artifact(wasm: &[u8]) -> Result<Option<Vec<u8>>, Finding> {
    artifact_with(wasm, &CompileOptions::default())
}

/// The same, to be linked with other modules.
pub fn linkable_artifact(wasm: &[u8]) -> Result<Option<Vec<u8>>, Finding> {
    let options = CompileOptions {
        linkable: true,
        ..CompileOptions::default()
    };
    artifact_with(wasm, &options)
}

fn artifact_with(wasm: &[u8], options: &CompileOptions) -> Result<Option<Vec<u8>>, Finding> {
    let options = CompileOptions {
        threads: NonZeroUsize::MIN,
        ..options.clone()
    };
    match compile(wasm, &options) {
        Ok(artifact) => Ok(Some(artifact)),
        Err(
            CompileError::TooLarge { .. }
            | CompileError::StateTooLarge { .. }
            | CompileError::TableTooLarge { .. }
            | CompileError::MemoriesTooLarge { .. },
        ) => Ok(None),
        Err(error) => Err(finding!(
            "a valid module of supported features is refused: {error}"
        )),
    }
}

/// An engine that suspends guests after this time; zero for never.
pub fn engine(tick: Duration, keep_resident_pages: usize) -> Engine {
    Engine::new(&EngineOptions {
        slots_max: 16,
        keep_resident_pages,
        tick,
        ..EngineOptions::default()
    })
    .expect("this machine runs Dormouse")
}

pub fn load(engine: &Engine, artifact: &[u8]) -> Result<Module, Finding> {
    Module::from_artifact(engine, artifact)
        .map_err(|error| finding!("an artifact just made is refused: {error}"))
}

/// Loads an artifact and links it without imports.
pub fn link(engine: &Engine, artifact: &[u8]) -> Result<Linked, Finding> {
    load(engine, artifact)?
        .link(&Imports::new())
        .map_err(|error| finding!("a module without imports is not linked: {error}"))
}

pub const fn limits() -> Limits {
    Limits {
        memory_bytes: MEMORY_BYTES_MAX,
        table_elements: TABLE_ELEMENTS_MAX,
        stack_bytes: 1 << 20,
        cpu_time: None,
    }
}

/// A fresh instance whose start function has run, or how its instantiation ended.
pub fn fresh(linked: &Linked) -> Result<Result<Instance, End>, Finding> {
    let mut instance = match Instance::new(linked, limits(), Box::new(())) {
        Ok(instance) => instance,
        Err(error) => return end_of_instantiation(error).map(Err),
    };
    if let Some(start) = linked.module().start_function() {
        match end(&mut instance, start, Vec::new())? {
            End::Returned(_) => {}
            end => return Ok(Err(end)),
        }
    }
    Ok(Ok(instance))
}

/// The end of an instantiation in comparable terms.
pub fn end_of_instantiation(error: InstantiateError) -> Result<End, Finding> {
    match error {
        InstantiateError::Trap(kind) => Ok(End::of_trap(&kind.to_string())),
        InstantiateError::Limit(limit) => Ok(End::Limited(limit.to_string())),
        error => Err(finding!("no instance: {error}")),
    }
}

/// A call to its end.
fn end(instance: &mut Instance, callable: Callable, words: Vec<u64>) -> Result<End, Finding> {
    let result = instance.call(callable, &words);
    end_of(instance, callable, result)
}

/// The end of a call in comparable terms.
pub fn end_of(
    instance: &Instance,
    callable: Callable,
    result: Result<Vec<u64>, Trap>,
) -> Result<End, Finding> {
    let module = instance.linked().module();
    Ok(match result {
        Ok(words) => End::Returned(Value::list(&module.function_type(callable).results, &words)),
        Err(trap) => match trap.reason {
            Reason::Trap(kind) => End::of_trap(&kind.to_string()),
            Reason::Limit(limit) => End::Limited(limit.to_string()),
            Reason::UncaughtException(exception) => {
                End::Thrown(Value::list(&exception.types, &exception.words))
            }
            reason => {
                return Err(finding!(
                    "a guest without imports ended by its host: {reason}"
                ));
            }
        },
    })
}

/// The end of a call that has no host to wait for, after a time slice; `None` when that was not enough.
pub fn end_of_slice(
    instance: &Instance,
    callable: Callable,
    progress: Progress,
) -> Result<Option<End>, Finding> {
    let result = match progress {
        Progress::Preempted => return Ok(None),
        Progress::Blocked => return Err(finding!("a guest without imports waits")),
        Progress::Returned(words) => Ok(words),
        Progress::Stopped(trap) => Err(trap),
    };
    end_of(instance, callable, result).map(Some)
}

/// Calls an export.
pub fn call(
    instance: &mut Instance,
    callable: Callable,
    arguments: &[Value],
) -> Result<End, Finding> {
    end(instance, callable, words(arguments))
}

pub fn words(arguments: &[Value]) -> Vec<u64> {
    arguments.iter().flat_map(|value| value.words()).collect()
}

/// The functions a module exports, with their names.
pub fn functions(module: &Module) -> Vec<(String, Callable)> {
    let exports = module.info().exports.iter();
    exports
        .filter_map(|export| match export.kind {
            ExportKind::Function(function) => Some((export.name.clone(), Callable { function })),
            _ => None,
        })
        .collect()
}

/// A file for an image, where the system has memory for one.
pub fn image_file() -> File {
    tempfile::tempfile_in("/dev/shm")
        .or_else(|_| tempfile::tempfile())
        .expect("a temporary file")
}

/// Freezes an instance.
pub fn freeze(instance: &mut Instance) -> Result<Image, Finding> {
    let file = image_file();
    Image::capture(instance, &file).map_err(|error| finding!("no image: {error}"))?;
    open(instance.linked(), &file)
}

pub fn open(linked: &Linked, file: &File) -> Result<Image, Finding> {
    Image::open(linked, file).map_err(|error| finding!("an image just made is refused: {error}"))
}

/// Opens an image by the note of its working set. Whether that was of use.
pub fn open_noted(
    linked: &Linked,
    file: &File,
    base: Option<&File>,
    note: &[u8],
) -> Result<(Image, bool), Finding> {
    let clone = |file: &File| file.try_clone().expect("a descriptor");
    let (checked, of_use) = CheckedImage::check_noted(clone(file), base.map(clone), note)
        .map_err(|error| finding!("an image is not checked: {error}"))?;
    let image = Image::open_checked(linked, checked)
        .map_err(|error| finding!("an image that was checked is refused: {error}"))?;
    Ok((image, of_use))
}

/// All of an instance's state: the image that it would be frozen to.
pub fn frozen(instance: &mut Instance, file: &File) -> Result<Vec<u8>, Finding> {
    let report = Image::capture(instance, file).map_err(|error| finding!("no image: {error}"))?;
    let mut bytes = vec![0; report.file_bytes as usize];
    file.read_exact_at(&mut bytes, 0)
        .map_err(|error| finding!("an image just made cannot be read: {error}"))?;
    Ok(bytes)
}

/// What a file holds.
pub fn contents(file: &File) -> Vec<u8> {
    let length = file.metadata().expect("an open file").len();
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0)
        .expect("a file of our own");
    bytes
}

/// As [`frozen_difference`], of instances that were called and need not have their objects at the same places: the collector is
/// conservative about the stack, where addresses are others each time and suspensions leave words of their own, so that it may keep
/// an object here that is freed there.
pub fn lived_difference(info: &ModuleInfo, one: &[u8], two: &[u8]) -> Option<String> {
    match info.layout.heap {
        Some(_) => decode(info, one).difference(&decode(info, two)),
        None => frozen_difference(info, one, two),
    }
}

/// Where two frozen states of one module differ, for a person to read.
pub fn frozen_difference(info: &ModuleInfo, one: &[u8], two: &[u8]) -> Option<String> {
    if one == two {
        return None;
    }
    let (seen, other) = (decode(info, one), decode(info, two));
    if let Some(difference) = seen.difference(&other) {
        return Some(difference);
    }
    if one.len() != two.len() {
        return Some(format!("images of {} and {} bytes", one.len(), two.len()));
    }
    // The checksum differs with anything.
    let at = (PAGE_BYTES..one.len()).find(|at| one[*at] != two[*at]);
    Some(match at {
        Some(at) => format!(
            "state at {:#x} is {:#04x} and {:#04x}",
            at - PAGE_BYTES,
            one[at],
            two[at]
        ),
        None => "the descriptions of two images with the same contents differ".to_owned(),
    })
}

/// What the exports show, read from an image.
pub fn decode(info: &ModuleInfo, image: &[u8]) -> State {
    decode_exports(info, info.exports.iter(), image)
}

/// What some of the exports show, which are the instance's own; the format is drawn in `src/snapshot/image.rs`. Shared memories are
/// left out, for other engines do not show theirs: functions of the modules that have them do.
pub fn decode_exports<'a>(
    info: &ModuleInfo,
    exports: impl Iterator<Item = &'a Export>,
    image: &[u8],
) -> State {
    let number = |at: usize| {
        let bytes = image
            .get(at..at + 8)
            .expect("the image has its whole state");
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    };
    let state = |offset: i32| PAGE_BYTES + info.layout.from_start(offset);
    let mut contents = Vec::new();
    let mut start = state(0);
    for memory in 0..info.memories.len() {
        let (bytes, kept) = (
            number(112 + 16 * memory),
            number(120 + 16 * memory) as usize,
        );
        // A memory's last page may be shorter than the hardware's.
        let kept_of_it = kept.min(bytes as usize);
        contents.push(MemoryState::new(bytes, &image[start..start + kept_of_it]));
        start += kept;
    }
    let mut seen = State::default();
    for export in exports {
        match export.kind {
            ExportKind::Memory(memory) if info.memories[memory as usize].shared => {}
            ExportKind::Memory(memory) => seen.memories.push(contents[memory as usize].clone()),
            ExportKind::Global(global) => {
                let at = state(info.layout.globals[global as usize]);
                let ty = info.globals[global as usize].value;
                let high = if ty == ValueType::V128 {
                    number(at + 8)
                } else {
                    0
                };
                seen.globals
                    .push(Value::from_words(ty, &[number(at), high]));
            }
            ExportKind::Table(table) => {
                let layout = info.layout.tables[table as usize];
                let ty = ValueType::Reference(info.tables[table as usize].element);
                let length = number(state(layout.length_offset)) as usize;
                let entry = |index| number(state(layout.entries_offset) + 8 * index);
                let entries = (0..length).map(|index| Value::from_words(ty, &[entry(index), 0]));
                seen.tables.push(entries.collect());
            }
            ExportKind::Function(_) | ExportKind::Tag(_) => {}
        }
    }
    seen
}

/// What the exports show of an instance; by its image, and that the instance says the same where it can be asked.
pub fn observe(instance: &mut Instance, file: &File) -> Result<State, Finding> {
    let image = frozen(instance, file)?;
    let module = instance.linked().module().clone();
    let info = module.info();
    let seen = decode(info, &image);
    let mut globals = seen.globals.iter();
    for export in &info.exports {
        if let ExportKind::Global(global) = export.kind {
            let words = instance.global(&export.name).unwrap_or_default();
            let asked = Value::list(&[info.globals[global as usize].value], &words);
            if asked.first() != globals.next() {
                return Err(finding!(
                    "global {global} is {asked:?}, and another in the image"
                ));
            }
        }
    }
    if let Some(memory) = info.host_memory() {
        let position = info.exports.iter().filter_map(|export| match export.kind {
            ExportKind::Memory(memory) if !info.memories[memory as usize].shared => Some(memory),
            _ => None,
        });
        if let Some(position) = position.into_iter().position(|other| other == memory) {
            let bytes = instance.memory();
            if MemoryState::new(bytes.len() as u64, bytes) != seen.memories[position] {
                return Err(finding!("memory {memory} is another in the image"));
            }
        }
    }
    Ok(seen)
}

/// A multiple of the page size, as everything in an image is.
pub const PAGE: usize = PAGE_BYTES;
