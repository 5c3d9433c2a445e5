//! Linked instances: a module, and two instances of another that imports from it, do in a store what they do on Wasmtime.
//!
//! Compared after every instantiation and every call in any of the three: how it ended, and everything that each instance has and
//! exports, by its image where there is one. Now and then an instance is restored from its image into the store, to be found as
//! that one is.

use crate::modules::step;
use crate::peers::describe;
use crate::peers::of_wasmtime::{Added, Guests};
use crate::random::Random;
use crate::values::{End, MemoryState, State, Value};
use crate::{Canary, Finding, Outcome, Verdict, finding, guest, operators, pairs};
use arbitrary::Unstructured;
use dormouse::compile::info::{Export, ExportKind};
use dormouse::{
    Callable, Engine, Image, ImageError, InstanceId, Module, Store, StoreError, StoreImports,
};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Loops and calls in a module, over all calls.
const FUEL: u32 = 1500;
const CALLS: usize = 12;
/// Instances that are restored beside the three.
const RESTORED_MAX: usize = 3;

thread_local! {
    static ENGINE: Engine = guest::engine(Duration::from_millis(1), 256);
    static FILE: File = guest::image_file();
}

/// A call that was made, and how it ended.
struct Called {
    name: String,
    arguments: Vec<Value>,
    results: usize,
    end: End,
}

/// Instances in a store of Dormouse's, each with the functions it exports.
struct Own {
    store: Store,
    imports: StoreImports,
    instances: Vec<(InstanceId, Vec<(String, Callable)>)>,
    restored: usize,
}

pub fn check(u: &mut Unstructured<'_>, random: &mut Random, canary: Canary) -> Outcome {
    let (exporter, importer) = if random.chance(2) {
        step(u, random);
        operators::generate_pair(random)
    } else {
        match pairs::generate(u, "a", FUEL) {
            Ok(pair) => pair,
            Err(_) => return Ok(Verdict::NoCase),
        }
    };
    let mut modules = Vec::new();
    for wasm in [&exporter, &importer] {
        let Some(artifact) = guest::linkable_artifact(wasm)? else {
            return Ok(Verdict::NoCase);
        };
        modules.push(ENGINE.with(|engine| guest::load(engine, &artifact))?);
    }
    let mut own = Own::new();
    let mut peer = Guests::default();
    let mut checked = 0;
    // The second importer has tags of its own, and the same memories, tables and globals of the exporter's.
    for (name, wasm, module) in [
        ("a", &exporter, &modules[0]),
        ("b", &importer, &modules[1]),
        ("c", &importer, &modules[1]),
    ] {
        let ended = own.add(name, module)?;
        match (ended, peer.add(name, wasm)) {
            (None, Added::Instance) => {}
            (Some(end), _) if end.is_own_limit() => return Ok(Verdict::Checked(checked)),
            (_, Added::Ended(end)) if end.is_own_limit() => return Ok(Verdict::Checked(checked)),
            (Some(end), Added::Ended(other)) if end.agrees(&other) => {
                // What imports it has nothing to import from.
                if name == "a" {
                    return Ok(Verdict::Checked(1));
                }
            }
            (_, Added::Refused(error)) => {
                return Err(finding!(
                    "Wasmtime refuses a module that Dormouse takes: {error}"
                ));
            }
            (ended, Added::Ended(other)) => {
                return Err(finding!(
                    "instantiation of {name:?}: Dormouse {ended:?}, Wasmtime {other:?}"
                ));
            }
            (ended, Added::Instance) => {
                return Err(finding!(
                    "instantiation of {name:?}: Dormouse {ended:?}, Wasmtime has an instance"
                ));
            }
        }
        own.compare(&format!("instantiation of {name:?}"), &mut peer)?;
        checked += 1;
    }
    let mut exhausted = 0;
    for _ in 0..CALLS {
        step(u, random);
        if random.chance(8) {
            own.restore(random)?;
        }
        let instance = random.below(own.instances.len() as u64) as usize;
        let Some(mut called) = own.call(instance, random)? else {
            continue;
        };
        if canary.is_present() {
            err(&mut own, &mut called.end);
        }
        let Called {
            name,
            arguments,
            results,
            end,
        } = called;
        let other = peer.call_in(instance, &name, &arguments, results);
        if end.is_own_limit() || other.is_own_limit() {
            return Ok(Verdict::Checked(checked));
        }
        let described = format!("{} in instance {instance}", describe(&name, &arguments));
        if !end.agrees(&other) {
            return Err(finding!(
                "{described}: Dormouse {end:x?}, Wasmtime {other:x?}"
            ));
        }
        own.compare(&described, &mut peer)?;
        checked += 1;
        exhausted = match end {
            End::Trapped(class) if class == "unreachable" => exhausted + 1,
            _ => 0,
        };
        if exhausted == 4 {
            break;
        }
    }
    Ok(Verdict::Checked(checked))
}

impl Own {
    fn new() -> Own {
        Own {
            store: ENGINE.with(Store::new).expect("address space"),
            imports: StoreImports::new(),
            instances: Vec::new(),
            restored: 0,
        }
    }

    /// Makes an instance, which has exports for others when it was made to its end; how it ended otherwise.
    fn add(&mut self, name: &str, module: &Module) -> Result<Option<End>, Finding> {
        let made = self
            .store
            .instantiate(module, &self.imports, guest::limits(), Box::new(()));
        let id = match made {
            Ok(id) => id,
            Err(StoreError::Instantiate(error)) => {
                return guest::end_of_instantiation(error).map(Some);
            }
            Err(error) => return Err(finding!("{name:?} is not linked: {error}")),
        };
        if let Some(start) = module.start_function() {
            let result = self.store.call(id, start, &[]);
            match guest::end_of(self.store.instance(id), start, result)? {
                End::Returned(_) => {}
                end => return Ok(Some(end)),
            }
        }
        self.imports.define_instance(name, &self.store, id);
        self.instances.push((id, guest::functions(module)));
        Ok(None)
    }

    /// Calls any function of an instance; `None` when there is nothing to call it with.
    fn call(&mut self, instance: usize, random: &mut Random) -> Result<Option<Called>, Finding> {
        let (id, functions) = &self.instances[instance];
        if functions.is_empty() {
            return Ok(None);
        }
        let (name, callable) = random.pick(functions).clone();
        let module = self.store.instance(*id).linked().module().clone();
        let ty = module.function_type(callable);
        let Some(arguments) = Value::arguments(ty, random) else {
            return Ok(None);
        };
        let result = self.store.call(*id, callable, &guest::words(&arguments));
        let end = guest::end_of(self.store.instance(*id), callable, result)?;
        Ok(Some(Called {
            name,
            arguments,
            results: ty.results.len(),
            end,
        }))
    }

    /// Compares everything that can be seen of every instance.
    fn compare(&mut self, after: &str, peer: &mut Guests) -> Result<(), Finding> {
        for instance in 0..self.instances.len() {
            let (names, seen) = self.observe(self.instances[instance].0)?;
            let other = peer.observe_in(instance, &names);
            if let Some(difference) = seen.difference(&other) {
                return Err(finding!(
                    "after {after}, instance {instance}, {names:?}: {difference}, on Dormouse and on Wasmtime"
                ));
            }
        }
        Ok(())
    }

    /// The instance's image, unless it refers to objects.
    fn frozen(&mut self, id: InstanceId, file: &File) -> Result<Option<Vec<u8>>, Finding> {
        let report = match Image::capture_linked(&mut self.store, id, file) {
            Ok(report) => report,
            Err(ImageError::HasObjects) => return Ok(None),
            Err(error) => return Err(finding!("no image: {error}")),
        };
        let mut bytes = vec![0; report.file_bytes as usize];
        file.read_exact_at(&mut bytes, 0)
            .map_err(|error| finding!("an image just made cannot be read: {error}"))?;
        Ok(Some(bytes))
    }

    /// What can be seen of an instance, and the names of the exports that show it.
    fn observe(&mut self, id: InstanceId) -> Result<(Vec<String>, State), Finding> {
        let image = FILE.with(|file| self.frozen(id, file))?;
        let module = self.store.instance(id).linked().module().clone();
        let info = module.info();
        let is_own = |export: &Export| match export.kind {
            ExportKind::Memory(memory) => memory >= info.imported_memories,
            ExportKind::Table(table) => table >= info.imported_tables,
            _ => false,
        };
        let own: Vec<&Export> = match image {
            Some(_) => info
                .exports
                .iter()
                .filter(|export| is_own(export))
                .collect(),
            None => Vec::new(),
        };
        let mut names: Vec<String> = own.iter().map(|export| export.name.clone()).collect();
        let mut seen = match &image {
            Some(image) => guest::decode_exports(info, own.into_iter(), image),
            None => State::default(),
        };
        for export in &info.exports {
            match export.kind {
                // Imported ones too.
                ExportKind::Global(global) => {
                    let words = self.store.global(id, &export.name).expect("it is exported");
                    let ty = info.globals[global as usize].value;
                    seen.globals.push(Value::from_words(ty, &words));
                }
                ExportKind::Memory(memory)
                    if info.host_memory() == Some(memory) && !names.contains(&export.name) =>
                {
                    let bytes = self.store.memory(id);
                    let state = MemoryState::new(bytes.len() as u64, bytes);
                    seen.memories.push(state);
                }
                _ => continue,
            }
            names.push(export.name.clone());
        }
        Ok((names, seen))
    }

    /// Restores an instance of the image of one of those there are, linked with the same, and looks whether it is as that one.
    fn restore(&mut self, random: &mut Random) -> Result<(), Finding> {
        let id = random.pick(&self.instances).0;
        let file = guest::image_file();
        if self.restored == RESTORED_MAX || self.frozen(id, &file)?.is_none() {
            return Ok(());
        }
        let module = self.store.instance(id).linked().module().clone();
        let image = Image::open_linked(&module, &file)
            .map_err(|error| finding!("an image just made is refused: {error}"))?;
        let limits = guest::limits();
        let restored = image
            .restore_linked(&mut self.store, &self.imports, limits, Box::new(()))
            .map_err(|error| finding!("an image just made is not restored: {error}"))?;
        self.restored += 1;
        let (_, before) = self.observe(id)?;
        let (_, after) = self.observe(restored)?;
        match before.difference(&after) {
            None => Ok(()),
            Some(difference) => Err(finding!(
                "an instance, and one restored from it: {difference}"
            )),
        }
    }
}

/// The canary's error: a bit of the exporter's memory is another, or of a result.
fn err(own: &mut Own, end: &mut End) {
    if let Some(byte) = own.store.memory(own.instances[0].0).last_mut() {
        *byte ^= 0x10;
    } else if let End::Returned(values) = end {
        for value in values {
            if let Value::I32(value) = value {
                *value ^= 1;
            }
        }
    }
}
