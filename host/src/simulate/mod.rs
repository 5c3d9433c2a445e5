//! `dormouse simulate`: a trace of calls, replayed through the pool that serves requests, under any policies and budgets.
//!
//! ```text
//!   trace (a file, or made up) ---> batch of calls ---> replay: policy 1, budget 1  ---> table, JSON, pictures
//!                                          |----------> replay: policy 1, budget 2
//!                                          +----------> ...
//! ```
//!
//! The trace is read once and as a stream. Every replay sees the same calls; what is drawn at random depends on the seed alone.
//!
//! What is taken from where: the moment and the function of a call from the trace; its run time from the trace where it has
//! one, else from the profile; the time of a restore from the profile; the memory of an instance from the profile, or from
//! the trace where asked for (there it is that of a whole application in a container). Functions take the profiles in turn.
//!
//! `live/` does the same calls for real, beside the simulation.

pub mod latency;
mod live;
mod plot;
pub mod random;
pub mod replay;
mod report;
pub mod trace;

#[cfg(test)]
mod tests;

use crate::options::SimulateOptions;
use crate::pool::Limits;
use crate::profile::{Profile, ProfileError, Quantiles, read};
use crate::server::WARM_INSTANCES_MAX;
use replay::{Outcome, Replay};
use serde::Serialize;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use trace::{Call, Generator, Trace, TraceError};

/// Calls that are handed to the replays at a time.
const BATCH: usize = 1 << 16;

const NS_PER_SECOND: f64 = 1e9;

/// Why there is no result.
#[derive(Debug)]
pub enum SimulateError {
    Trace(TraceError),
    Profile(ProfileError),
    Write(PathBuf, io::Error),
    Options(&'static str),
    Live(live::LiveError),
}

impl fmt::Display for SimulateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SimulateError::Trace(error) => error.fmt(f),
            SimulateError::Profile(error) => error.fmt(f),
            SimulateError::Write(path, error) => {
                write!(f, "{}: cannot be written: {error}", path.display())
            }
            SimulateError::Options(what) => f.write_str(what),
            SimulateError::Live(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SimulateError {}

impl From<TraceError> for SimulateError {
    fn from(error: TraceError) -> SimulateError {
        SimulateError::Trace(error)
    }
}

impl From<ProfileError> for SimulateError {
    fn from(error: ProfileError) -> SimulateError {
        SimulateError::Profile(error)
    }
}

impl From<live::LiveError> for SimulateError {
    fn from(error: live::LiveError) -> SimulateError {
        SimulateError::Live(error)
    }
}

/// What was replayed, and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub trace: TraceSummary,
    pub profiles: Vec<Profile>,
    /// The policies in the order given, each with the budgets in the order given.
    pub runs: Vec<Outcome>,
}

/// The part of the trace that was replayed.
#[derive(Clone, Debug, Serialize)]
pub struct TraceSummary {
    pub source: Vec<String>,
    pub begin_s: f64,
    pub seconds: f64,
    pub speed: f64,
    pub functions: u32,
    pub functions_called: u64,
    pub calls: u64,
}

/// Runs `dormouse simulate`.
pub fn simulate(options: &SimulateOptions) -> ExitCode {
    match run(options) {
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("dormouse: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &SimulateOptions) -> Result<String, SimulateError> {
    if let Some(path) = &options.write {
        let calls = write_trace(options, path)?;
        return Ok(format!("{}: {calls} calls\n", path.display()));
    }
    if let Some(live) = &options.live {
        let report = live::run(options, live)?;
        return Ok(match options.json {
            true => report.to_json(),
            false => report.to_table(),
        });
    }
    let report = replay(options)?;
    if let Some(path) = &options.plot {
        std::fs::write(path, plot::pictures(&report))
            .map_err(|error| SimulateError::Write(path.clone(), error))?;
    }
    Ok(match options.json {
        true => report.to_json(),
        false => report.to_table(),
    })
}

/// The calls that the options name, in their time.
pub struct Source {
    trace: Trace,
    /// How long, in the trace's own time.
    span_ns: u64,
    speed: f64,
    last_ns: u64,
    called: Vec<bool>,
    calls: u64,
}

impl Source {
    pub fn open(options: &SimulateOptions) -> Result<Source, SimulateError> {
        let trace = match (&options.generate, options.traces.as_slice()) {
            (Some(generator), []) => Trace::Generated(Generator::new(*generator)),
            (None, [_, ..]) => Trace::open(&options.traces, options.begin, options.seed)?,
            _ => {
                return Err(SimulateError::Options(
                    "name the files of a trace with --trace, or have one made with --generate",
                ));
            }
        };
        Ok(Source {
            trace,
            span_ns: options.span.map_or(u64::MAX, |span| span.as_nanos() as u64),
            speed: options.speed,
            last_ns: 0,
            called: Vec::new(),
            calls: 0,
        })
    }

    fn scaled(&self, ns: u64) -> u64 {
        match self.speed {
            1.0 => ns,
            speed => (ns as f64 / speed) as u64,
        }
    }

    /// The next call, at the speed asked for.
    pub fn next_call(&mut self) -> Result<Option<Call>, TraceError> {
        let Some(call) = self
            .trace
            .next_call()?
            .filter(|call| call.at_ns < self.span_ns)
        else {
            return Ok(None);
        };
        let index = call.function as usize;
        if index >= self.called.len() {
            self.called.resize(index + 1, false);
        }
        self.called[index] = true;
        self.calls += 1;
        let scaled = Call {
            at_ns: self.scaled(call.at_ns),
            run_ns: call.run_ns.map(|run_ns| self.scaled(run_ns)),
            function: call.function,
        };
        self.last_ns = scaled.at_ns;
        Ok(Some(scaled))
    }

    /// Fills a batch. Whether there may be more.
    fn fill(&mut self, batch: &mut Vec<Call>) -> Result<bool, TraceError> {
        batch.clear();
        while batch.len() < BATCH {
            match self.next_call()? {
                Some(call) => batch.push(call),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// When the replay ends: with the span asked for, otherwise with the last call.
    pub fn end_ns(&self) -> u64 {
        match self.span_ns {
            u64::MAX => self.last_ns,
            span_ns => self.scaled(span_ns),
        }
    }

    /// The functions of the calls so far.
    fn functions_called(&self) -> impl Iterator<Item = u32> {
        let called = self.called.iter().enumerate();
        called.filter_map(|(function, called)| called.then_some(function as u32))
    }

    fn summary(&self, options: &SimulateOptions) -> TraceSummary {
        let files = options.traces.iter().map(|path| {
            let name = path.file_name().unwrap_or(path.as_os_str());
            name.to_string_lossy().into_owned()
        });
        let source = match &options.generate {
            Some(generator) => vec![format!("{generator:?}")],
            None => files.collect(),
        };
        TraceSummary {
            source,
            begin_s: options.begin.as_secs_f64(),
            seconds: self.end_ns() as f64 / NS_PER_SECOND,
            speed: self.speed,
            functions: self.trace.functions(),
            functions_called: self.functions_called().count() as u64,
            calls: self.calls,
        }
    }
}

/// Replays the trace under every policy with every budget.
pub fn replay(options: &SimulateOptions) -> Result<Report, SimulateError> {
    let profiles = profiles(&options.profiles)?;
    let mut source = Source::open(options)?;
    let mut replays = Vec::new();
    for policy in &options.policies {
        for budget_bytes in &options.budgets {
            let limits = Limits {
                budget_bytes: *budget_bytes,
                instances_max: WARM_INSTANCES_MAX,
            };
            replays.push(Replay::new(*policy, limits, profiles.clone(), options.seed));
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let per_thread = replays.len().div_ceil(threads).max(1);
    let mut batch = Vec::with_capacity(BATCH);
    let mut memory: Vec<Option<u64>> = Vec::new();
    loop {
        let more = source.fill(&mut batch)?;
        if options.trace_memory {
            let known = memory.len() as u32;
            let found = known..source.trace.functions();
            memory.extend(found.map(|function| source.trace.memory_bytes(function)));
        }
        let play = |replays: &mut [Replay]| {
            for replay in replays {
                for call in &batch {
                    replay.call(*call, |function| memory.get(function as usize).copied()?);
                }
            }
        };
        std::thread::scope(|scope| {
            let mut chunks = replays.chunks_mut(per_thread);
            let own = chunks.next();
            for chunk in chunks {
                scope.spawn(|| play(chunk));
            }
            own.map(play);
        });
        if !more {
            break;
        }
    }
    let end_ns = source.end_ns();
    let runs = replays.iter_mut().map(|replay| {
        replay.pass_to(end_ns);
        replay.outcome()
    });
    let runs = runs.collect();
    Ok(Report {
        trace: source.summary(options),
        profiles,
        runs,
    })
}

/// Writes the calls in the format of 2021.
fn write_trace(options: &SimulateOptions, path: &Path) -> Result<u64, SimulateError> {
    let mut source = Source::open(options)?;
    let failed = |error| SimulateError::Write(path.to_owned(), error);
    let mut out = BufWriter::new(File::create(path).map_err(failed)?);
    writeln!(out, "app,func,end_timestamp,duration").map_err(failed)?;
    while let Some(call) = source.next_call()? {
        let run_ns = call.run_ns.unwrap_or(0);
        let end = Duration::from_nanos(call.at_ns + run_ns);
        let run = Duration::from_nanos(run_ns);
        writeln!(
            out,
            "a{0},f{0},{1}.{2:09},{3}.{4:09}",
            call.function,
            end.as_secs(),
            end.subsec_nanos(),
            run.as_secs(),
            run.subsec_nanos()
        )
        .map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    Ok(source.calls)
}

/// The profiles of these names or files.
fn profiles(names: &[PathBuf]) -> Result<Vec<Profile>, SimulateError> {
    let mut profiles = Vec::new();
    for name in names {
        match name.to_str() {
            Some("dormouse") => profiles.extend(measured()),
            Some("container") => profiles.push(container()),
            _ => profiles.extend(read(name)?),
        }
    }
    Ok(profiles)
}

/// A pool of containers, as in the warm-pool paper: 48 MB for each that waits, 450 ms to start one. What a request takes to
/// reach one that waits is not counted.
fn container() -> Profile {
    Profile {
        name: "container".into(),
        restore_us: Quantiles::constant(450_000.0),
        first_call_us: 0.0,
        open_us: 0.0,
        warm_us: 0.0,
        run_us: Quantiles::constant(1000.0),
        held_bytes: 48_000_000,
        image_bytes: 0,
    }
}

/// `guests/hello.wasm`, `json.wasm`, `text.wasm` and `thumbnail.wasm` as `dormouse bench --record` found them on a virtual
/// machine with two cores of an AMD EPYC (Zen 4), Linux 6.18: for whoever has not measured functions of his own.
fn measured() -> Vec<Profile> {
    let function = |name: &str, restore, first_call_us, run, held_bytes, image_bytes| {
        let quantiles = |[p50, p95, p99]: [f64; 3]| Quantiles { p50, p95, p99 };
        Profile {
            name: name.into(),
            restore_us: quantiles(restore),
            first_call_us,
            open_us: 0.0,
            warm_us: 0.2,
            run_us: quantiles(run),
            held_bytes,
            image_bytes,
        }
    };
    vec![
        function(
            "hello",
            [8.9, 9.2, 28.5],
            2.1,
            [0.1, 0.1, 0.1],
            12_288,
            73_728,
        ),
        function(
            "json",
            [22.5, 30.3, 67.0],
            3.2,
            [3.4, 3.5, 6.4],
            49_152,
            1_581_056,
        ),
        function(
            "text",
            [20.5, 43.9, 70.4],
            8.2,
            [101.0, 147.3, 180.0],
            40_960,
            1_253_376,
        ),
        function(
            "thumbnail",
            [153.0, 204.7, 300.0],
            20.0,
            [19_390.0, 37_333.0, 45_291.0],
            73_728,
            1_122_304,
        ),
    ]
}
