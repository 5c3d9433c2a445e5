//! `compute`: how fast compiled code is, how fast it is compiled, and how fast a process with it starts.
//!
//! Every program is one C source, compiled by one clang natively and to wasm; the wasm is compiled ahead by each engine. A
//! round runs every peer once, each in a process of its own on one core, and the time on the processor counts. All peers
//! must print the same checksum.

mod build;
mod engines;
mod process;
mod programs;
mod report;
mod wasi;

pub use engines::{Peer, compile, execute};
pub use process::start;

use crate::report::Spread;
use anyhow::{Context, Result, bail, ensure};
use build::{Builder, Built, up_to_date};
use engines::Taken;
use programs::{LARGEST, PROGRAMS, Program};
use report::{Compilation, Report, Row};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(clap::Args)]
pub struct Options {
    /// Programs to run, or `compile-time` or `process-start`; all of it by default.
    names: Vec<String>,
    /// Rounds; in each, every peer runs every program once.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A small fraction of the work, to see that everything runs.
    #[arg(long)]
    quick: bool,
    /// The peers to measure.
    #[arg(long, value_enum, value_delimiter = ',',
          default_values_t = [Peer::Native, Peer::Wasmtime, Peer::Dormouse, Peer::DormouseSliced])]
    peers: Vec<Peer>,
    /// More flags for the native compiler, as -march=native; it makes code for any x86-64 otherwise.
    #[arg(long, allow_hyphen_values = true)]
    native_flag: Vec<String>,
    /// The dormouse binary; by default the release build of this repository.
    #[arg(long)]
    dormouse: Option<PathBuf>,
    /// Wasmtime's command line.
    #[arg(long, default_value = "wasmtime")]
    wasmtime: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

const COMPILE_TIME: &str = "compile-time";
const PROCESS_START: &str = "process-start";

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }
}

pub fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "there must be something to measure");
    let known = |name: &String| {
        [COMPILE_TIME, PROCESS_START].contains(&name.as_str())
            || PROGRAMS.iter().any(|program| program.name == name)
    };
    if let Some(unknown) = options.names.iter().find(|name| !known(name)) {
        let names: Vec<&str> = PROGRAMS.iter().map(|program| program.name).collect();
        bail!(
            "there is no program {unknown}; there are {}, {COMPILE_TIME} and {PROCESS_START}",
            names.join(", ")
        );
    }
    let mut report = Report {
        programs: Vec::new(),
        geometric_means: Vec::new(),
        compilations: Vec::new(),
        starts: Vec::new(),
    };
    let builder = Builder::new(&options.native_flag)?;
    let wanted: Vec<&Program> = PROGRAMS
        .iter()
        .filter(|program| options.wants(program.name))
        .collect();
    let built = wanted
        .iter()
        .map(|program| builder.build(program))
        .collect::<Result<Vec<_>>>()?;
    for (program, built) in wanted.iter().zip(&built) {
        let row = run_program(
            program,
            built,
            &options.peers,
            options.rounds,
            options.quick,
        )?;
        report.programs.push(row);
    }
    report.fill_in_means();
    if options.wants(COMPILE_TIME) {
        report.compilations = compilations(&builder, options)?;
    }
    if options.wants(PROCESS_START) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let dormouse = options
            .dormouse
            .clone()
            .unwrap_or_else(|| root.join("target/x86_64-unknown-linux-gnu/release/dormouse"));
        ensure!(
            dormouse.exists(),
            "{} does not exist: cargo build --release, or name the binary with --dormouse",
            dormouse.display()
        );
        let wasmtime = process::find(&options.wasmtime).with_context(|| {
            format!(
                "{} is not installed: cargo install wasmtime-cli@48.0.8, or name it with --wasmtime",
                options.wasmtime.display()
            )
        })?;
        report.starts = process::measure(&dormouse, &wasmtime, options.rounds)?;
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

/// This program again, for one task in a process of its own; what it prints.
fn worker(arguments: &[&std::ffi::OsStr], threads: usize) -> Result<String> {
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .env("RAYON_NUM_THREADS", threads.to_string())
        .output()?;
    ensure!(
        output.status.success(),
        "{arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn compile_with(peer: Peer, threads: usize, module: &Path, output: &Path) -> Result<Taken> {
    let printed = worker(
        &[
            "compute-compile".as_ref(),
            peer.name().as_ref(),
            threads.to_string().as_ref(),
            module.as_os_str(),
            output.as_os_str(),
        ],
        threads,
    )?;
    Ok(serde_json::from_str(&printed)?)
}

/// What a peer runs: the executable, or the wasm compiled ahead.
fn compiled(peer: Peer, built: &Built) -> Result<PathBuf> {
    if peer == Peer::Native {
        return Ok(built.native.clone());
    }
    let output = built.wasm.with_extension(peer.name());
    let inputs = [built.wasm.clone(), std::env::current_exe()?];
    if !up_to_date(&output, inputs.iter())? {
        compile_with(peer, 2, &built.wasm, &output)?;
    }
    Ok(output)
}

/// The times of some programs, natively, on Wasmtime and on Dormouse.
pub fn rows(names: &[&str], rounds: usize, quick: bool) -> Result<Vec<Row>> {
    let peers = [Peer::Native, Peer::Wasmtime, Peer::Dormouse];
    let builder = Builder::new(&[])?;
    let mut rows = Vec::new();
    for name in names {
        let program = PROGRAMS.iter().find(|program| program.name == *name);
        let program = program.with_context(|| format!("there is no program {name}"))?;
        let built = builder.build(program)?;
        rows.push(run_program(program, &built, &peers, rounds, quick)?);
    }
    Ok(rows)
}

fn run_program(
    program: &Program,
    built: &Built,
    peers: &[Peer],
    rounds: usize,
    quick: bool,
) -> Result<Row> {
    let amount = if quick { program.quick } else { program.amount };
    let files = peers
        .iter()
        .map(|peer| compiled(*peer, built))
        .collect::<Result<Vec<_>>>()?;
    let mut samples = vec![Vec::new(); files.len()];
    let mut expected: Option<(Peer, String)> = None;
    for round in 0..rounds {
        // The order turns, so that nobody always follows the same one.
        for position in 0..files.len() {
            let turn = (position + round) % files.len();
            let peer = peers[turn];
            let printed = worker(
                &[
                    "compute-execute".as_ref(),
                    peer.name().as_ref(),
                    files[turn].as_os_str(),
                    amount.to_string().as_ref(),
                ],
                1,
            )?;
            let (sum, taken) = printed
                .trim_end()
                .rsplit_once('\n')
                .with_context(|| format!("{}: {} printed nothing", program.name, peer.name()))?;
            match &expected {
                None => expected = Some((peer, sum.to_owned())),
                Some((other, expected)) => ensure!(
                    sum == expected,
                    "{}: {} computed {sum}, {} {expected}",
                    program.name,
                    peer.name(),
                    other.name()
                ),
            }
            let taken: Taken = serde_json::from_str(taken)?;
            samples[turn].push(taken.processor_ns as f64 / 1e9);
        }
    }
    let seconds = peers.iter().copied().zip(samples).collect();
    let row = Row::new(program.name, amount, seconds);
    eprintln!("{}: {:?}", program.name, row.ratios);
    Ok(row)
}

fn compilations(builder: &Builder, options: &Options) -> Result<Vec<Compilation>> {
    let mut rows = Vec::new();
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("compiled");
    for program in PROGRAMS.iter().filter(|p| LARGEST.contains(&p.name)) {
        let wasm = builder.build(program)?.wasm;
        let wasm_bytes = wasm.metadata()?.len();
        for cores in [1, 2] {
            let peers: Vec<Peer> = options
                .peers
                .iter()
                .copied()
                .filter(|peer| ![Peer::Native, Peer::DormouseSliced].contains(peer))
                .collect();
            let mut taken: Vec<Vec<Taken>> = vec![Vec::new(); peers.len()];
            for round in 0..options.rounds {
                for position in 0..peers.len() {
                    let turn = (position + round) % peers.len();
                    taken[turn].push(compile_with(peers[turn], cores, &wasm, &output)?);
                }
            }
            for (peer, taken) in peers.iter().zip(taken) {
                let seconds = |ns: fn(&Taken) -> u64| {
                    Spread::of(taken.iter().map(|t| ns(t) as f64 / 1e9).collect())
                };
                let wall_s = seconds(|taken| taken.wall_ns);
                rows.push(Compilation {
                    module: program.name.to_owned(),
                    wasm_bytes,
                    cores,
                    peer: *peer,
                    wall_s,
                    processor_s: seconds(|taken| taken.processor_ns),
                    wall_s_per_megabyte: wall_s.median / (wasm_bytes as f64 / 1e6),
                    compiled_bytes: taken[0].bytes,
                });
            }
        }
    }
    Ok(rows)
}
