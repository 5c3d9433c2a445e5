//! What the engine's tests share: modules from text, instances from modules, images in files of their own.

#![allow(dead_code)]

use dormouse::compile::{CompileOptions, compile};
use dormouse::{Engine, EngineOptions, Image, Imports, Instance, Limits, Linked, Module, Trap};
use std::fs::File;

/// An engine with the defaults.
pub fn engine() -> Engine {
    Engine::new(&EngineOptions::default()).unwrap()
}

/// Compiles and loads a module given as text.
pub fn module(engine: &Engine, wat: &str) -> Module {
    let wasm = wat::parse_str(wat).unwrap();
    let artifact = compile(&wasm, &CompileOptions::default()).unwrap();
    Module::from_artifact(engine, &artifact).unwrap()
}

/// The same, linked with these imports.
pub fn linked(engine: &Engine, wat: &str, imports: &Imports) -> Linked {
    module(engine, wat).link(imports).unwrap()
}

/// A fresh instance without imports.
pub fn instance(engine: &Engine, wat: &str) -> Instance {
    fresh(&linked(engine, wat, &Imports::new()))
}

/// A fresh instance of a linked module, its start function run.
pub fn fresh(linked: &Linked) -> Instance {
    let mut instance = Instance::new(linked, Limits::default(), Box::new(())).unwrap();
    if let Some(start) = linked.module().start_function() {
        instance.call(start, &[]).unwrap();
    }
    instance
}

/// Freezes an instance into an unlinked file and opens it.
pub fn freeze(instance: &mut Instance) -> Image {
    let file = image_file();
    Image::capture(instance, &file).unwrap();
    Image::open(&instance.linked().clone(), &file).unwrap()
}

/// An empty file that goes away by itself.
pub fn image_file() -> File {
    tempfile::tempfile().unwrap()
}

/// Restores an instance without data.
pub fn restore(image: &Image) -> Instance {
    image.restore(Limits::default(), Box::new(())).unwrap()
}

/// Calls an export with and for words.
pub fn call(instance: &mut Instance, name: &str, arguments: &[u64]) -> Result<Vec<u64>, Trap> {
    let function = instance.linked().module().function(name).unwrap();
    instance.call(function, arguments)
}
