//! What the server counts, by function and in total.
//!
//! Counting a call touches one function's counters and the totals: no clock is read, nothing is allocated after a function's
//! first calls. Quantiles are over the last five to ten minutes, so that they say how a function does now.

mod histogram;
mod prometheus;

pub use histogram::Histogram;
pub use prometheus::{CONTENT_TYPE, Gauges, text};

use std::collections::HashMap;
use std::time::Duration;

/// How an invocation got its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StartKind {
    /// A reset instance was waiting.
    Warm,
    /// It was restored from an image in the page cache.
    Cold,
    /// Its artifact and image had to be opened first.
    DiskCold,
}

impl StartKind {
    pub const ALL: [StartKind; 3] = [StartKind::Warm, StartKind::Cold, StartKind::DiskCold];

    pub fn as_str(self) -> &'static str {
        match self {
            StartKind::Warm => "warm",
            StartKind::Cold => "cold",
            StartKind::DiskCold => "disk-cold",
        }
    }
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The guest answered.
    Answered,
    /// A trap, an exit code other than 0, or another mistake of the guest's.
    Failed,
    /// A limit of CPU time, wall-clock time or memory.
    Limited,
    /// The client went away before the answer.
    Abandoned,
}

impl Outcome {
    pub const ALL: [Outcome; 4] = [
        Outcome::Answered,
        Outcome::Failed,
        Outcome::Limited,
        Outcome::Abandoned,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Failed => "failed",
            Outcome::Limited => "limited",
            Outcome::Abandoned => "abandoned",
        }
    }
}

/// What is counted of one invocation.
#[derive(Clone, Copy, Debug)]
pub struct Invocation {
    pub start: StartKind,
    pub outcome: Outcome,
    pub cpu: Duration,
    pub wall: Duration,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// How long a window of the quantiles lasts; they cover the running one and the one before.
const WINDOW: Duration = Duration::from_secs(300);

/// Counters of one function, or of all.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    starts: [u64; StartKind::ALL.len()],
    outcomes: [u64; Outcome::ALL.len()],
    pub cpu_us: u64,
    pub wall_us: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Requests refused because the queue was full.
    pub refused: u64,
}

impl Counters {
    pub fn calls(&self) -> u64 {
        self.starts.iter().sum()
    }

    pub fn starts(&self, kind: StartKind) -> u64 {
        self.starts[kind as usize]
    }

    pub fn outcomes(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    fn count(&mut self, invocation: &Invocation) {
        self.starts[invocation.start as usize] += 1;
        self.outcomes[invocation.outcome as usize] += 1;
        self.cpu_us += invocation.cpu.as_micros() as u64;
        self.wall_us += invocation.wall.as_micros() as u64;
        self.bytes_in += invocation.bytes_in;
        self.bytes_out += invocation.bytes_out;
    }
}

/// The counters of a function and how long its calls took lately.
#[derive(Debug, Default)]
pub struct FunctionMetrics {
    pub counters: Counters,
    window: [Histogram; 2],
    /// When the running window began.
    window_start: Duration,
}

/// Latency quantiles in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quantiles {
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
}

impl FunctionMetrics {
    /// Quantiles of the wall-clock time of recent calls; nothing when there were none.
    pub fn quantiles_us(&self, now: Duration) -> Option<Quantiles> {
        let age = now.saturating_sub(self.window_start);
        let mut recent = Histogram::default();
        if age < 2 * WINDOW {
            recent.merge(&self.window[0]);
        }
        if age < WINDOW {
            recent.merge(&self.window[1]);
        }
        Some(Quantiles {
            p50: recent.quantile_us(0.5)?,
            p95: recent.quantile_us(0.95)?,
            p99: recent.quantile_us(0.99)?,
        })
    }

    fn record(&mut self, invocation: &Invocation, now: Duration) {
        self.counters.count(invocation);
        let age = now.saturating_sub(self.window_start);
        if age >= WINDOW {
            self.window.swap(0, 1);
            self.window[0].clear();
            if age >= 2 * WINDOW {
                self.window[1].clear();
            }
            self.window_start = now;
        }
        self.window[0].record(invocation.wall.as_micros() as u64);
    }
}

/// A function's place in [`Metrics`], so that counting looks no name up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MetricsId(u32);

/// Everything that is counted. Times are since the server's start.
#[derive(Debug, Default)]
pub struct Metrics {
    ids: HashMap<Box<str>, MetricsId>,
    functions: Vec<FunctionMetrics>,
    /// Places of removed functions.
    free: Vec<MetricsId>,
    total: Counters,
    wall: Histogram,
    /// Deployments that succeeded and that failed.
    pub deployments: [u64; 2],
}

impl Metrics {
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// The place of a function, made when it has none.
    pub fn id(&mut self, function: &str) -> MetricsId {
        if let Some(id) = self.ids.get(function) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.functions.push(FunctionMetrics::default());
            MetricsId(self.functions.len() as u32 - 1)
        });
        self.ids.insert(function.into(), id);
        id
    }

    /// Counts an invocation that has ended.
    pub fn record(&mut self, id: MetricsId, invocation: &Invocation, now: Duration) {
        self.total.count(invocation);
        self.wall.record(invocation.wall.as_micros() as u64);
        self.functions[id.0 as usize].record(invocation, now);
    }

    /// Counts a request that was refused because the function's queue was full.
    pub fn record_refused(&mut self, id: MetricsId) {
        self.total.refused += 1;
        self.functions[id.0 as usize].counters.refused += 1;
    }

    /// What was counted of a function, if anything was.
    pub fn function(&self, function: &str) -> Option<&FunctionMetrics> {
        self.ids
            .get(function)
            .map(|id| &self.functions[id.0 as usize])
    }

    /// All functions of which anything was counted, by name.
    pub fn functions(&self) -> Vec<(&str, &FunctionMetrics)> {
        let mut functions: Vec<_> = self
            .ids
            .iter()
            .map(|(name, id)| (&**name, &self.functions[id.0 as usize]))
            .collect();
        functions.sort_unstable_by_key(|(name, _)| *name);
        functions
    }

    /// Forgets a function that was removed. Its calls stay in the totals.
    ///
    /// The caller uses the function's id no more; whatever still runs of it takes a new one from [`id`](Self::id).
    pub fn remove(&mut self, function: &str) {
        if let Some(id) = self.ids.remove(function) {
            self.functions[id.0 as usize] = FunctionMetrics::default();
            self.free.push(id);
        }
    }

    /// Counters over all functions since the start.
    pub fn total(&self) -> &Counters {
        &self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn call(start: StartKind, outcome: Outcome, wall_us: u64) -> Invocation {
        Invocation {
            start,
            outcome,
            cpu: Duration::from_micros(7),
            wall: Duration::from_micros(wall_us),
            bytes_in: 10,
            bytes_out: 20,
        }
    }

    #[test]
    fn calls_are_counted_by_function_and_in_total() {
        let mut metrics = Metrics::new();
        let (a, b) = (metrics.id("a"), metrics.id("b"));
        assert_eq!(metrics.id("a"), a);
        let now = Duration::ZERO;
        metrics.record(a, &call(StartKind::Cold, Outcome::Answered, 100), now);
        metrics.record(a, &call(StartKind::Warm, Outcome::Failed, 200), now);
        metrics.record(b, &call(StartKind::Warm, Outcome::Answered, 300), now);
        metrics.record_refused(b);
        let counters = &metrics.function("a").unwrap().counters;
        assert_eq!(
            (
                counters.calls(),
                counters.starts(StartKind::Cold),
                counters.outcomes(Outcome::Failed)
            ),
            (2, 1, 1)
        );
        assert_eq!(metrics.total().calls(), 3);
        assert_eq!(metrics.total().refused, 1);
        assert_eq!(metrics.total().bytes_out, 60);
    }

    #[test]
    fn a_removed_function_leaves_nothing_to_its_successor() {
        let mut metrics = Metrics::new();
        let a = metrics.id("a");
        metrics.record(
            a,
            &call(StartKind::Cold, Outcome::Answered, 100),
            Duration::ZERO,
        );
        metrics.remove("a");
        assert!(metrics.function("a").is_none());
        metrics.id("b");
        assert_eq!(metrics.function("b").unwrap().counters.calls(), 0);
        assert_eq!(
            metrics.function("b").unwrap().quantiles_us(Duration::ZERO),
            None
        );
    }

    #[test]
    fn quantiles_forget_old_calls() {
        let mut metrics = Metrics::new();
        let id = metrics.id("f");
        for _ in 0..100 {
            metrics.record(
                id,
                &call(StartKind::Warm, Outcome::Answered, 1_000_000),
                Duration::ZERO,
            );
        }
        let slow = metrics.function("f").unwrap().quantiles_us(WINDOW).unwrap();
        assert!(slow.p50 > 900_000);
        assert_eq!(
            metrics.function("f").unwrap().quantiles_us(2 * WINDOW),
            None
        );
        for n in 1..4 {
            metrics.record(
                id,
                &call(StartKind::Warm, Outcome::Answered, 1_000),
                n * WINDOW,
            );
        }
        let quick = metrics
            .function("f")
            .unwrap()
            .quantiles_us(3 * WINDOW)
            .unwrap();
        assert!(quick.p99 < 1_200, "{quick:?}");
    }
}
