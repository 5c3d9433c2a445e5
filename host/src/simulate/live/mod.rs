//! `dormouse simulate --live`: the trace for real, against a running server, beside what the simulation predicts.
//!
//! For each function of the trace a guest is deployed that waits as long as the trace's call ran (`guests/src/pause.wat`).
//! Before the trace is replayed, some calls of a function of their own measure what the simulation cannot know: the way
//! of a request to a waiting instance and back, what waiting takes longer than it was asked to, the first call of a
//! function, and what an instance holds. Policy and budget are the server's. So the prediction uses nothing of what it predicts.

mod client;
mod server;

use super::latency::Summary;
use super::replay::{Outcome, Replay};
use super::trace::Call;
use super::{SimulateError, Source, TraceSummary};
use crate::options::{LiveOptions, SimulateOptions};
use crate::pool::Limits;
use crate::profile::{Profile, Quantiles};
use crate::server::WARM_INSTANCES_MAX;
use client::{Client, ClientError, Measured, Planned};
use serde::Serialize;
use server::{Server, Starts};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

/// What functions are called on the server: this and their number.
const PREFIX: &str = "replay-";
/// Functions that are called to measure.
const PROBE: &str = "probe-";
const PROBES: u32 = 8;
/// Calls of each kind that measure, and the time between them.
const PROBE_CALLS: u64 = 100;
const PROBE_GAP_NS: u64 = 10_000_000;
/// How long those wait that measure waiting.
const PROBE_RUN_US: u64 = 4_000;
/// Instances are reset after the answer.
const RESET_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// Why there is nothing to compare.
#[derive(Debug)]
pub enum LiveError {
    Url(String),
    Silent(String, String),
    Refused(String, u16, String),
    NotDormouse(String, String),
    Client(ClientError),
    Probe(String),
}

impl fmt::Display for LiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LiveError::Url(url) => write!(f, "{url}: write it as http://127.0.0.1:8080"),
            LiveError::Silent(url, error) => {
                write!(
                    f,
                    "{url} does not answer: {error}; is `dormouse serve` running there?"
                )
            }
            LiveError::Refused(url, status, text) => write!(f, "{url} answered {status}: {text}"),
            LiveError::NotDormouse(url, name) => {
                write!(
                    f,
                    "{url}/metrics does not tell {name}: is this a Dormouse admin API?"
                )
            }
            LiveError::Client(error) => error.fmt(f),
            LiveError::Probe(what) => write!(f, "the first calls failed: {what}"),
        }
    }
}

impl std::error::Error for LiveError {}

impl From<ClientError> for LiveError {
    fn from(error: ClientError) -> LiveError {
        LiveError::Client(error)
    }
}

/// What was predicted and what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct LiveReport {
    pub trace: TraceSummary,
    pub profile: Profile,
    pub predicted: Outcome,
    pub measured: LiveOutcome,
}

/// What came of the calls.
#[derive(Clone, Debug, Serialize)]
pub struct LiveOutcome {
    pub url: String,
    pub calls: u64,
    pub failed: u64,
    pub failure: Option<String>,
    pub warm: u64,
    pub cold: u64,
    pub cold_rate: f64,
    /// From the moment a call was due to the end of its answer.
    pub response_us: Summary,
    /// How much later than due calls were sent: when it is much, the client was the bottleneck.
    pub late_us: Summary,
}

/// What the calls ahead of the trace found.
struct Probed {
    profile: Profile,
    /// What waiting takes longer than asked for.
    excess_ns: u64,
}

/// Replays the trace live, and simulates the same.
pub fn run(options: &SimulateOptions, live: &LiveOptions) -> Result<LiveReport, SimulateError> {
    let mut source = Source::open(options)?;
    let mut calls = Vec::new();
    while let Some(call) = source.next_call()? {
        calls.push(call);
    }
    let trace = source.summary(options);
    let called: Vec<u32> = source.functions_called().collect();

    let address = address(&live.url)?;
    let mut server = Server::new(&live.admin);
    let pool = server.pool()?;
    let mut client = Client::new(address).map_err(LiveError::from)?;
    let probed = probe(
        &mut server,
        &mut client,
        &super::profiles(&options.profiles)?,
    )?;
    crate::run::with_progress("deploying", || {
        called
            .iter()
            .try_for_each(|function| server.deploy(&format!("{PREFIX}{function}")))
    })?;

    let run_us = |call: &Call| call.run_ns.unwrap_or(0) / 1000;
    let planned: Vec<Planned> = calls
        .iter()
        .map(|call| Planned {
            at_ns: call.at_ns,
            function: call.function,
            run_us: run_us(call),
        })
        .collect();
    let measured = crate::run::with_progress("replaying", || {
        client.run(&planned, |function| format!("{PREFIX}{function}"))
    })
    .map_err(LiveError::from)?;
    let starts = server.starts(PREFIX)?;

    let limits = Limits {
        budget_bytes: pool.budget_bytes,
        instances_max: WARM_INSTANCES_MAX,
    };
    let profiles = vec![probed.profile.clone()];
    let mut replay = Replay::new(pool.policy, limits, profiles, options.seed);
    for call in &calls {
        let run_ns = match run_us(call) {
            0 => 0,
            us => us * 1000 + probed.excess_ns,
        };
        let call = Call {
            run_ns: Some(run_ns),
            ..*call
        };
        replay.call(call, |_| None);
    }
    replay.pass_to(source.end_ns());
    Ok(LiveReport {
        trace,
        profile: probed.profile,
        predicted: replay.outcome(),
        measured: outcome(&live.url, measured, starts),
    })
}

fn outcome(url: &str, measured: Measured, starts: Starts) -> LiveOutcome {
    LiveOutcome {
        url: url.to_owned(),
        calls: measured.answered + measured.failed,
        failed: measured.failed,
        failure: measured.failure,
        warm: starts.warm,
        cold: starts.cold,
        cold_rate: starts.cold as f64 / (starts.warm + starts.cold).max(1) as f64,
        response_us: measured.response.summary(),
        late_us: measured.late.summary(),
    }
}

/// The address of an `http://` URL.
fn address(url: &str) -> Result<SocketAddr, LiveError> {
    let wrong = || LiveError::Url(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let authority = rest.split('/').next().unwrap_or_default();
    let named = match authority.contains(':') {
        true => authority.to_owned(),
        false => format!("{authority}:80"),
    };
    let mut addresses = named.to_socket_addrs().map_err(|_| wrong())?;
    addresses.next().ok_or_else(wrong)
}

/// Measures what calls cost that do nothing, that wait, and that are the first of their function.
fn probe(
    server: &mut Server,
    client: &mut Client,
    profiles: &[Profile],
) -> Result<Probed, LiveError> {
    for number in 0..PROBES {
        server.deploy(&format!("{PROBE}{number}"))?;
    }
    let mut calls = |count: u64, run_us: u64, function: fn(u64) -> u32| {
        let planned: Vec<Planned> = (0..count)
            .map(|number| Planned {
                at_ns: number * PROBE_GAP_NS,
                function: function(number),
                run_us,
            })
            .collect();
        let measured = client.run(&planned, |function| format!("{PROBE}{function}"))?;
        match measured.failure {
            Some(what) => Err(LiveError::Probe(what)),
            None => Ok(measured.response.summary()),
        }
    };
    let first = calls(u64::from(PROBES), 0, |number| number as u32)?;
    let warm = calls(PROBE_CALLS, 0, |_| 0)?;
    let waits = calls(PROBE_CALLS, PROBE_RUN_US, |_| 0)?;
    std::thread::sleep(RESET_PAUSE);
    let pool = server.pool()?;
    let held_bytes = pool.held_bytes / pool.waiting.max(1);
    let restored = &profiles[0];
    let excess_us = waits.p50 - warm.p50 - PROBE_RUN_US as f64;
    Ok(Probed {
        profile: Profile {
            name: "pause, on the server".into(),
            restore_us: restored.restore_us,
            first_call_us: restored.first_call_us + warm.p50,
            open_us: (first.p50 - warm.p50 - restored.restore_us.p50).max(0.0),
            warm_us: warm.p50,
            run_us: Quantiles::constant(0.0),
            held_bytes,
            image_bytes: 0,
        },
        excess_ns: (excess_us.max(0.0) * 1000.0) as u64,
    })
}
