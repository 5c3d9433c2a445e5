//! A store whose instances import from those before them, by name.

#![allow(dead_code)]

use crate::support::{engine, image_file};
use dormouse::compile::{CompileOptions, compile};
use dormouse::{
    Engine, Image, InstanceId, Limits, Module, Progress, Reason, RestoreError, Store, StoreError,
    StoreImports, Trap,
};

pub fn linkable(engine: &Engine, wat: &str) -> Module {
    let wasm = wat::parse_str(wat).unwrap();
    let options = CompileOptions {
        linkable: true,
        ..CompileOptions::default()
    };
    Module::from_artifact(engine, &compile(&wasm, &options).unwrap()).unwrap()
}

pub struct Linker {
    pub engine: Engine,
    pub store: Store,
    pub imports: StoreImports,
}

impl Linker {
    pub fn new() -> Linker {
        Linker::on(engine())
    }

    pub fn on(engine: Engine) -> Linker {
        Linker {
            store: Store::new(&engine).unwrap(),
            engine,
            imports: StoreImports::new(),
        }
    }

    pub fn try_add(&mut self, wat: &str) -> Result<InstanceId, StoreError> {
        self.try_add_limited(wat, Limits::default())
    }

    pub fn try_add_limited(&mut self, wat: &str, limits: Limits) -> Result<InstanceId, StoreError> {
        let module = linkable(&self.engine, wat);
        self.store
            .instantiate(&module, &self.imports, limits, Box::new(()))
    }

    pub fn add(&mut self, name: &str, wat: &str) -> InstanceId {
        let id = self.try_add(wat).unwrap();
        self.imports.define_instance(name, &self.store, id);
        id
    }

    pub fn call(
        &mut self,
        id: InstanceId,
        name: &str,
        arguments: &[u64],
    ) -> Result<Vec<u64>, Trap> {
        let function = self.store.function(id, name).unwrap();
        self.store.call(id, function, arguments)
    }

    pub fn one(&mut self, id: InstanceId, name: &str, arguments: &[u64]) -> u64 {
        self.call(id, name, arguments).unwrap()[0]
    }

    /// Resumes a call until it waits or ends.
    pub fn go_on(&mut self, id: InstanceId) -> Progress {
        loop {
            match self.store.resume(id) {
                Progress::Preempted => {}
                progress => return progress,
            }
        }
    }

    pub fn trap(&mut self, id: InstanceId, name: &str, arguments: &[u64]) -> Reason {
        self.call(id, name, arguments).unwrap_err().reason
    }
}

/// Freezes an instance, and opens the image.
pub fn freeze(linker: &mut Linker, id: InstanceId) -> Image {
    let file = image_file();
    let module = linker.store.instance(id).linked().module().clone();
    Image::capture_linked(&mut linker.store, id, &file).unwrap();
    Image::open_linked(&module, &file).unwrap()
}

pub fn restore(linker: &mut Linker, image: &Image) -> Result<InstanceId, RestoreError> {
    image.restore_linked(
        &mut linker.store,
        &linker.imports,
        Limits::default(),
        Box::new(()),
    )
}
