//! What the command line asks of the server, of `dormouse run`, `bench` and `simulate`: plain data.
//!
//! It stands apart from the command line so that nothing depends upwards on `cli`.

use crate::pool::PolicyOptions;
use crate::simulate::trace::GeneratorOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// How `dormouse serve` serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// Where requests for functions arrive.
    pub listen: SocketAddr,
    /// Where the admin API listens.
    pub admin: SocketAddr,
    /// Memory for warm instances; a quarter of the machine's when not given.
    pub budget_bytes: Option<u64>,
    /// Which instances are kept warm.
    pub policy: PolicyOptions,
    pub log: LogFormat,
    /// How long invocations may still run after SIGTERM or SIGINT.
    pub drain: Duration,
}

/// A directory of the host that a guest may use, and the name it has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preopen {
    pub host: PathBuf,
    pub guest: String,
}

/// What `dormouse run` runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// A module (binary or text) or an artifact made by `dormouse compile`.
    pub file: PathBuf,
    /// The export to call with [`arguments`](Self::arguments) as its parameters, instead of running a command.
    pub invoke: Option<String>,
    /// Arguments after the file; a command sees the file as its argument 0.
    pub arguments: Vec<std::ffi::OsString>,
    pub environment: Vec<(String, String)>,
    pub preopens: Vec<Preopen>,
    /// The most linear memory; a gigabyte and more is usual for programs run by hand.
    pub memory_bytes: u64,
}

/// What `dormouse bench` measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchOptions {
    pub file: PathBuf,
    /// The body of the request each call gets.
    pub data: Vec<u8>,
    /// Calls measured for each figure.
    pub calls: u32,
    /// A file of profiles to add this function's to.
    pub record: Option<PathBuf>,
    /// JSON instead of a table.
    pub json: bool,
}

/// What `dormouse simulate` replays.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulateOptions {
    /// The files of a trace, or none and [`generate`](Self::generate).
    pub traces: Vec<PathBuf>,
    pub generate: Option<GeneratorOptions>,
    /// Where in the trace to begin, and how much of it to replay.
    pub begin: Duration,
    pub span: Option<Duration>,
    /// So many times as fast: moments and run times are divided by it.
    pub speed: f64,
    pub policies: Vec<PolicyOptions>,
    pub budgets: Vec<u64>,
    /// Files of `dormouse bench --record`, or names of what is built in.
    pub profiles: Vec<PathBuf>,
    /// What instances hold comes from the trace, where it says.
    pub trace_memory: bool,
    pub seed: u64,
    /// Write the trace to this file instead of replaying it.
    pub write: Option<PathBuf>,
    /// JSON instead of a table.
    pub json: bool,
    /// A file for pictures.
    pub plot: Option<PathBuf>,
    /// Make the calls for real, too.
    pub live: Option<LiveOptions>,
}

/// A server that a trace is replayed against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveOptions {
    /// Where it answers requests for functions.
    pub url: String,
    /// Its admin API.
    pub admin: String,
}
