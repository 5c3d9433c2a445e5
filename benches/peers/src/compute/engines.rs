//! Compiling and running a program with an engine, or running it natively: the worker's side. Each happens in a process of
//! its own.

use super::wasi;
use crate::system::{self, Stopwatch};
use anyhow::{Context, Result, anyhow, bail, ensure};
use dormouse::compile::CompileOptions;
use dormouse::{EngineOptions, Limits, Reason};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    Native,
    Wasmtime,
    /// With what it offers to make code faster and leaves off: inlining of functions, and tables that are filled at once.
    WasmtimeTuned,
    /// As `dormouse run` runs it: until it ends, as the others.
    Dormouse,
    /// In the time slices of a server.
    DormouseSliced,
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::Native => "native",
            Peer::Wasmtime => "wasmtime",
            Peer::WasmtimeTuned => "wasmtime-tuned",
            Peer::Dormouse => "dormouse",
            Peer::DormouseSliced => "dormouse-sliced",
        }
    }
}

/// What a run or a compilation took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Taken {
    pub processor_ns: u64,
    pub wall_ns: u64,
    /// Bytes of the compiled file.
    pub bytes: u64,
}

/// A program's `proc_exit`.
#[derive(Debug)]
pub struct Ended(pub i32);

impl std::error::Error for Ended {}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the program ended with code {}", self.0)
    }
}

/// Native stack for a program, as `ulimit -s` is by default.
const STACK_BYTES: usize = 8 << 20;

fn wasmtime_engine(peer: Peer) -> Result<wasmtime::Engine> {
    let mut config = wasmtime::Config::new();
    if peer == Peer::WasmtimeTuned {
        config.compiler_inlining(wasmtime::Inlining::Yes);
        config.table_lazy_init(false);
    }
    Ok(wasmtime::Engine::new(&config)?)
}

/// Compiles a module to a file and prints what it took.
pub fn compile(peer: Peer, threads: NonZeroUsize, module: &Path, output: &Path) -> Result<()> {
    if threads.get() == 1 {
        system::pin(system::MEASURED_CORE)?;
    }
    let wasm = std::fs::read(module)?;
    let begin = Instant::now();
    let compiled = match peer {
        Peer::Native => bail!("a native program needs no compilation here"),
        // The number of its threads comes from the environment (RAYON_NUM_THREADS).
        Peer::Wasmtime | Peer::WasmtimeTuned => wasmtime_engine(peer)?.precompile_module(&wasm)?,
        Peer::Dormouse | Peer::DormouseSliced => {
            let options = CompileOptions {
                threads,
                ..CompileOptions::default()
            };
            dormouse::compile::compile(&wasm, &options)?
        }
    };
    let wall = begin.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    std::fs::write(output, &compiled)?;
    print(&Taken {
        processor_ns: nanoseconds(usage.user_time()) + nanoseconds(usage.system_time()),
        wall_ns: wall.as_nanos() as u64,
        bytes: compiled.len() as u64,
    })
}

fn nanoseconds(time: nix::sys::time::TimeVal) -> u64 {
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_usec() as u64 * 1000
}

fn print(taken: &Taken) -> Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string(taken)?)?;
    Ok(())
}

/// Runs a program; its output comes first, then what it took.
pub fn execute(peer: Peer, file: &Path, argument: &str) -> Result<()> {
    system::pin(system::MEASURED_CORE)?;
    let begin = Instant::now();
    let processor = match peer {
        Peer::Native => execute_native(file, argument)?,
        Peer::Wasmtime | Peer::WasmtimeTuned => execute_wasmtime(peer, file, argument)?,
        Peer::Dormouse => execute_dormouse(file, argument, Duration::ZERO)?,
        Peer::DormouseSliced => execute_dormouse(file, argument, EngineOptions::default().tick)?,
    };
    print(&Taken {
        processor_ns: processor.as_nanos() as u64,
        wall_ns: begin.elapsed().as_nanos() as u64,
        bytes: 0,
    })
}

fn execute_native(file: &Path, argument: &str) -> Result<Duration> {
    let status = Command::new(file).arg(argument).status()?;
    ensure!(status.success(), "{} ended with {status}", file.display());
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok(Duration::from_nanos(
        nanoseconds(usage.user_time()) + nanoseconds(usage.system_time()),
    ))
}

/// A function that runs the whole program, and its arguments as a command's.
fn arguments(argument: &str) -> Vec<String> {
    vec!["program".to_owned(), argument.to_owned()]
}

#[allow(unsafe_code)]
fn precompiled(engine: &wasmtime::Engine, file: &Path) -> Result<wasmtime::Module> {
    // SAFETY: the measuring process had Wasmtime of this very version make the file, in its own folder, a moment ago.
    Ok(unsafe { wasmtime::Module::deserialize_file(engine, file) }?)
}

fn execute_wasmtime(peer: Peer, file: &Path, argument: &str) -> Result<Duration> {
    let engine = wasmtime_engine(peer)?;
    let module = precompiled(&engine, file)?;
    let mut linker = wasmtime::Linker::new(&engine);
    wasi::define(&mut linker)?;
    linker.define_unknown_imports_as_traps(&module)?;
    let state = wasi::State {
        arguments: arguments(argument),
    };
    let mut store = wasmtime::Store::new(&engine, state);
    let instance = linker.instantiate(&mut store, &module)?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    let stopwatch = Stopwatch::start();
    let result = start.call(&mut store, ());
    let taken = stopwatch.elapsed();
    match result {
        Ok(()) => Ok(taken),
        Err(error) => match error.downcast_ref::<Ended>() {
            Some(Ended(0)) => Ok(taken),
            _ => Err(error.into()),
        },
    }
}

fn execute_dormouse(file: &Path, argument: &str, tick: Duration) -> Result<Duration> {
    use dormouse_host::interface::{Context as Guest, Stdio, drive, imports};
    let engine = dormouse::Engine::new(&EngineOptions {
        stack_bytes: STACK_BYTES,
        tick,
        ..EngineOptions::default()
    })?;
    let module = dormouse::Module::load(&engine, &std::fs::File::open(file)?)?;
    let linked = module.link(&imports())?;
    let arguments = arguments(argument)
        .into_iter()
        .map(String::into_bytes)
        .collect();
    let guest = Guest::command(arguments, Vec::new(), Stdio::Process);
    let limits = Limits {
        stack_bytes: STACK_BYTES,
        ..Limits::default()
    };
    let mut instance = dormouse::Instance::new(&linked, limits, Box::new(guest))?;
    let start = module
        .function("_start")
        .context("the program has a _start")?;
    let stopwatch = Stopwatch::start();
    let result = drive(&mut instance, start, &[])?;
    let taken = stopwatch.elapsed();
    match result {
        Ok(_) => Ok(taken),
        Err(trap) if matches!(trap.reason, Reason::Exit(0)) => Ok(taken),
        Err(trap) => Err(anyhow!("the program was stopped: {trap}")),
    }
}
