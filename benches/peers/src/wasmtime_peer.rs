//! Wasmtime at its best: the pooling allocator, images mapped copy-on-write, no epochs and no fuel.
//!
//! Which way of resetting memory is best depends on the workload, so that several are measured and the best one counts.

use crate::idle::Scale;
use crate::system::Stopwatch;
use crate::worker::{Contender, Description, Kind};
use crate::workload::{self, Set, Workload};
use anyhow::{Result, ensure};
use std::time::Duration;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module, ModuleExport,
    OptLevel, PoolingAllocationConfig, Store,
};

/// How memory is put back after a call.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pagemap_scan: bool,
    keep_resident_bytes: usize,
}

/// The setting to use where one must do for all.
pub const SCAN_ALL: Setting = Setting {
    name: "PAGEMAP_SCAN, keep 4 MiB",
    pagemap_scan: true,
    keep_resident_bytes: 4 << 20,
};

pub const SETTINGS: [Setting; 5] = [
    SCAN_ALL,
    Setting {
        name: "PAGEMAP_SCAN, keep 64 KiB",
        pagemap_scan: true,
        keep_resident_bytes: 64 << 10,
    },
    Setting {
        name: "memset 64 KiB",
        pagemap_scan: false,
        keep_resident_bytes: 64 << 10,
    },
    Setting {
        name: "memset 4 KiB",
        pagemap_scan: false,
        keep_resident_bytes: 4 << 10,
    },
    Setting {
        name: "madvise",
        pagemap_scan: false,
        keep_resident_bytes: 0,
    },
];

/// An engine with room for so many instances of so much memory each.
pub fn engine(setting: Setting, instances: u32, memory_bytes: u64, epochs: bool) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(instances)
        .total_memories(instances)
        .total_tables(instances)
        .max_memories_per_module(1)
        .max_tables_per_module(1)
        .max_memory_size(memory_bytes as usize)
        // Any slot may be taken over from another module, so that few slots are in use.
        .max_unused_warm_slots(0)
        .pagemap_scan(if setting.pagemap_scan {
            Enabled::Yes
        } else {
            Enabled::No
        })
        .linear_memory_keep_resident(setting.keep_resident_bytes)
        .table_keep_resident(setting.keep_resident_bytes.min(64 << 10));
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_init_cow(true)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(epochs)
        .consume_fuel(false)
        .concurrency_support(false);
    Ok(Engine::new(&config)?)
}

/// A module ready to be instantiated, with the result that a fresh instance gives.
pub struct Ready {
    engine: Engine,
    instantiate: InstancePre<()>,
    run: ModuleExport,
    arguments: (i32, i32),
    expected: i32,
}

impl Ready {
    pub fn new(engine: &Engine, workload: Workload, seed: u32) -> Result<Ready> {
        let module = Module::new(engine, workload.wasm(seed))?;
        let run = module
            .get_export_index("run")
            .expect("the module exports run");
        let instantiate = Linker::new(engine).instantiate_pre(&module)?;
        let arguments = workload.arguments();
        let mut ready = Ready {
            engine: engine.clone(),
            instantiate,
            run,
            arguments,
            expected: 0,
        };
        ready.expected = ready.instantiate_and_call()?.1;
        Ok(ready)
    }

    pub fn instantiate(&self) -> Result<(Store<()>, wasmtime::Instance)> {
        let mut store = Store::new(&self.engine, ());
        let instance = self.instantiate.instantiate(&mut store)?;
        Ok((store, instance))
    }

    pub fn call(&self, store: &mut Store<()>, instance: &wasmtime::Instance) -> Result<i32> {
        let export = instance.get_module_export(&mut *store, &self.run);
        let function = export
            .and_then(|export| export.into_func())
            .expect("run is a function");
        Ok(function
            .typed::<(i32, i32), i32>(&*store)?
            .call(store, self.arguments)?)
    }

    pub fn instantiate_and_call(&self) -> Result<(Store<()>, i32)> {
        let (mut store, instance) = self.instantiate()?;
        let result = self.call(&mut store, &instance)?;
        Ok((store, result))
    }

    /// Instantiates, calls and, by dropping the store, resets.
    fn cycle(&self) -> Result<()> {
        let (_, result) = self.instantiate_and_call()?;
        ensure!(
            result == self.expected,
            "an instance was not fresh: {result}, not {}",
            self.expected
        );
        Ok(())
    }
}

pub fn contenders(set: Set) -> Result<Vec<Contender>> {
    let mut contenders = vec![loop_contender(false)?];
    // Its images are what the module's data segments say.
    let offered = Workload::of(set).iter().filter(|workload| !workload.filled);
    for workload in offered.copied() {
        for setting in SETTINGS {
            for (kind, modules) in [(Kind::Warm, 1), (Kind::Cold, 2)] {
                let engine = engine(setting, 1, workload.memory_bytes(), false)?;
                let ready = (0..modules)
                    .map(|seed| Ready::new(&engine, workload, seed))
                    .collect::<Result<Vec<_>>>()?;
                let run = move |operations| {
                    let begun = Stopwatch::start();
                    for operation in 0..operations {
                        ready[operation as usize % ready.len()].cycle()?;
                    }
                    Ok(begun.elapsed())
                };
                contenders.push(Contender {
                    description: Description {
                        workload: workload.name.to_owned(),
                        kind,
                        setting: setting.name.to_owned(),
                    },
                    run: Box::new(run),
                });
            }
        }
    }
    Ok(contenders)
}

pub fn epoch_contenders() -> Result<Vec<Contender>> {
    Ok(vec![loop_contender(true)?])
}

fn loop_contender(epochs: bool) -> Result<Contender> {
    let engine = engine(SCAN_ALL, 1, 1 << 16, epochs)?;
    let module = Module::new(&engine, workload::tight_loop())?;
    let mut store = Store::new(&engine, ());
    if epochs {
        store.set_epoch_deadline(u64::MAX / 2);
    }
    let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    let function = instance.get_typed_func::<i64, i64>(&mut store, "run")?;
    let run = move |operations: u64| -> Result<Duration> {
        let begun = Stopwatch::start();
        function.call(&mut store, operations as i64)?;
        Ok(begun.elapsed())
    };
    Ok(Contender {
        description: Description {
            workload: "tight loop".to_owned(),
            kind: Kind::Loop,
            setting: String::new(),
        },
        run: Box::new(run),
    })
}

/// Live instances before and after a call; and slots given back, which wait for the same module.
pub fn hold_idle(mut scale: Scale) -> Result<()> {
    let engine = engine(
        SCAN_ALL,
        scale.instances as u32,
        scale.workload.memory_bytes(),
        false,
    )?;
    let ready = Ready::new(&engine, scale.workload, 0)?;
    let mut instances = Vec::with_capacity(scale.instances);
    scale.zero()?;
    for _ in 0..scale.instances {
        instances.push(ready.instantiate()?);
    }
    scale.weigh("instantiated, not called")?;
    for (store, instance) in &mut instances {
        ready.call(store, instance)?;
    }
    scale.weigh("called once, not reset")?;
    drop(instances);
    scale.weigh("slot given back: reset, warm")
}
