//! Dormouse as it comes: default options, guests preempted every time slice.

use crate::idle::Scale;
use crate::system::Stopwatch;
use crate::worker::{Contender, Description, Kind};
use crate::workload::{self, Set, Workload};
use anyhow::{Context, Result, anyhow, ensure};
use dormouse::compile::{CompileOptions, compile};
use dormouse::{Callable, Engine, EngineOptions, Image, Imports, Instance, Limits, Linked, Module};
use std::time::Duration;

/// A frozen module, with the result that a fresh instance gives.
struct Ready {
    image: Image,
    run: Callable,
    arguments: [u64; 2],
    expected: Vec<u64>,
}

fn engine(preempted: bool) -> Result<Engine> {
    let mut options = EngineOptions::default();
    if !preempted {
        options.tick = Duration::ZERO;
    }
    Ok(Engine::new(&options)?)
}

fn linked(engine: &Engine, wasm: &[u8]) -> Result<Linked> {
    let artifact = compile(wasm, &CompileOptions::default())?;
    Ok(Module::from_artifact(engine, &artifact)?.link(&Imports::new())?)
}

impl Ready {
    fn new(engine: &Engine, workload: Workload, seed: u32) -> Result<Ready> {
        let linked = linked(engine, &workload.wasm(seed))?;
        let run = linked
            .module()
            .function("run")
            .context("the module exports run")?;
        let mut instance = Instance::new(&linked, Limits::default(), Box::new(()))?;
        if workload.filled {
            let fill = linked.module().function("fill");
            instance
                .call(fill.context("the module exports fill")?, &[])
                .map_err(|trap| anyhow!("the memory was not filled: {trap}"))?;
        }
        let file = tempfile::tempfile()?;
        Image::capture(&mut instance, &file)?;
        let image = Image::open(&linked, &file)?;
        let (pages, stride) = workload.arguments();
        let arguments = [u64::from(pages as u32), u64::from(stride as u32)];
        let mut ready = Ready {
            image,
            run,
            arguments,
            expected: Vec::new(),
        };
        let mut instance = ready.restore()?;
        ready.expected = ready.call(&mut instance)?;
        instance.reset(Box::new(()))?;
        Ok(ready)
    }

    fn restore(&self) -> Result<Instance> {
        Ok(self.image.restore(Limits::default(), Box::new(()))?)
    }

    fn call(&self, instance: &mut Instance) -> Result<Vec<u64>> {
        instance
            .call(self.run, &self.arguments)
            .map_err(|trap| anyhow!("the guest was stopped: {trap}"))
    }

    fn checked_call(&self, instance: &mut Instance) -> Result<()> {
        let results = self.call(instance)?;
        ensure!(
            results == self.expected,
            "an instance was not fresh: {results:?}, not {:?}",
            self.expected
        );
        Ok(())
    }
}

pub fn contenders(preempted: bool, set: Set) -> Result<Vec<Contender>> {
    let engine = engine(preempted)?;
    let mut contenders = vec![loop_contender(&engine)?];
    if preempted {
        for workload in Workload::of(set) {
            if !workload.filled {
                contenders.push(warm(&engine, *workload)?);
            }
            contenders.push(cold(&engine, *workload)?);
        }
    }
    Ok(contenders)
}

fn describe(workload: &str, kind: Kind) -> Description {
    Description {
        workload: workload.to_owned(),
        kind,
        setting: String::new(),
    }
}

/// An instance that waits is called, and reset afterwards.
fn warm(engine: &Engine, workload: Workload) -> Result<Contender> {
    let ready = Ready::new(engine, workload, 0)?;
    let mut instance = ready.restore()?;
    let run = move |operations| {
        let stopwatch = Stopwatch::start();
        for _ in 0..operations {
            ready.checked_call(&mut instance)?;
            instance.reset(Box::new(()))?;
        }
        Ok(stopwatch.elapsed())
    };
    Ok(Contender {
        description: describe(workload.name, Kind::Warm),
        run: Box::new(run),
    })
}

/// An instance of each of two modules in turn is restored into the slot that the other left.
fn cold(engine: &Engine, workload: Workload) -> Result<Contender> {
    // An image of up to a gigabyte follows itself: mapping it again is the same, and writing another one takes long.
    let modules = if workload.filled { 1 } else { 2 };
    let ready = (0..modules)
        .map(|seed| Ready::new(engine, workload, seed))
        .collect::<Result<Vec<_>>>()?;
    let run = move |operations| {
        let stopwatch = Stopwatch::start();
        for operation in 0..operations {
            let ready = &ready[operation as usize % ready.len()];
            ready.checked_call(&mut ready.restore()?)?;
        }
        Ok(stopwatch.elapsed())
    };
    Ok(Contender {
        description: describe(workload.name, Kind::Cold),
        run: Box::new(run),
    })
}

fn loop_contender(engine: &Engine) -> Result<Contender> {
    let linked = linked(engine, &workload::tight_loop())?;
    let function = linked
        .module()
        .function("run")
        .context("the module exports run")?;
    let mut instance = Instance::new(&linked, Limits::default(), Box::new(()))?;
    let run = move |operations| {
        let stopwatch = Stopwatch::start();
        instance
            .call(function, &[operations])
            .map_err(|trap| anyhow!("the loop was stopped: {trap}"))?;
        Ok(stopwatch.elapsed())
    };
    Ok(Contender {
        description: describe("tight loop", Kind::Loop),
        run: Box::new(run),
    })
}

/// Instances that were restored; that have served a call and been reset; and that gave up what they held.
pub fn hold_idle(mut scale: Scale) -> Result<()> {
    let engine = engine(true)?;
    let ready = Ready::new(&engine, scale.workload, 0)?;
    let mut instances = Vec::with_capacity(scale.instances);
    scale.zero()?;
    for _ in 0..scale.instances {
        instances.push(ready.restore()?);
    }
    scale.weigh("restored, not called")?;
    for instance in &mut instances {
        ready.checked_call(instance)?;
        instance.reset(Box::new(()))?;
    }
    scale.weigh("called once and reset: warm")?;
    for instance in &mut instances {
        instance.trim()?;
    }
    scale.weigh("trimmed")
}
