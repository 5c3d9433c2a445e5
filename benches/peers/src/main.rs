//! Side-by-side measurements of Dormouse and its peers: `start` (the cost of a fresh instance), `http` (a served function),
//! `compute` (the speed of compiled code, of the compiler, and of starting a process) and `papers` (the tables of papers about
//! such systems).
//!
//! Everything that is compared is measured in one run, on the same core, in turns, and compared by medians. Every peer
//! lives in a process of its own, so that neither the signal handlers nor the memory of one are in the other's way.

// One exception: Wasmtime trusts a precompiled file.
#![deny(unsafe_code)]

mod compute;
mod dormouse_peer;
mod http;
mod idle;
mod papers;
mod report;
mod start;
mod system;
mod wasmtime_peer;
mod worker;
mod workload;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Side-by-side measurements of Dormouse and its peers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Instantiate, call and reset: beside the wasmtime crate. Also idle memory, and the cost of preemption.
    Start(start::Options),
    /// A hello function over HTTP: beside hyper, and hyper with Wasmtime. Needs wrk.
    Http(http::Options),
    /// Programs natively, on Wasmtime and on Dormouse; compile time; the start of a process. Needs clang.
    Compute(compute::Options),
    /// The tables of the papers, with their numbers, ours, and baselines measured here.
    Papers(papers::Options),
    /// Compiles a module for the measuring process.
    #[command(hide = true)]
    ComputeCompile {
        peer: compute::Peer,
        threads: std::num::NonZeroUsize,
        module: std::path::PathBuf,
        output: std::path::PathBuf,
    },
    /// Runs a program for the measuring process.
    #[command(hide = true)]
    ComputeExecute {
        peer: compute::Peer,
        file: std::path::PathBuf,
        argument: String,
    },
    /// Starts a process again and again for the measuring process.
    #[command(hide = true)]
    ComputeStart {
        times: u32,
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Runs batches for the measuring process.
    #[command(hide = true)]
    Worker {
        peer: worker::Peer,
        set: workload::Set,
    },
    /// Holds idle instances and says what they take.
    #[command(hide = true)]
    Idle {
        peer: worker::Peer,
        workload: usize,
        instances: usize,
    },
    /// Serves hello with hyper, from a string or, given a guest, from a fresh Wasmtime instance per request.
    #[command(hide = true)]
    ServeHyper {
        port: u16,
        #[arg(long)]
        guest: Option<std::path::PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Start(options) => start::run(&options),
        Command::Http(options) => http::run(&options),
        Command::Compute(options) => compute::run(&options),
        Command::Papers(options) => papers::run(&options),
        Command::ComputeCompile {
            peer,
            threads,
            module,
            output,
        } => compute::compile(peer, threads, &module, &output),
        Command::ComputeExecute {
            peer,
            file,
            argument,
        } => compute::execute(peer, &file, &argument),
        Command::ComputeStart { times, command } => compute::start(times, &command),
        Command::Worker { peer, set } => worker::serve(peer, set),
        Command::Idle {
            peer,
            workload,
            instances,
        } => idle::measure(peer, workload, instances),
        Command::ServeHyper { port, guest } => http::hyper_server::serve(port, guest.as_deref()),
    }
}
