//! What the admin API shows of a function, and where it looks.

use crate::metrics::{FunctionMetrics, Gauges, Metrics, Outcome, Quantiles, StartKind};
use crate::store::{Function, FunctionConfig, Kind, Store, Version};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The server as the admin API sees it.
pub trait ServerView {
    fn store(&self) -> &Store;
    fn metrics(&self) -> &Metrics;
    fn gauges(&self) -> Gauges;
    /// Time since the server started.
    fn now(&self) -> Duration;
    /// Reset instances of the function that wait for a call.
    fn warm_instances(&self, function: &str) -> u64;
    /// Whether a deployment of the function runs or waits.
    fn is_being_deployed(&self, function: &str) -> bool;
    /// Whether the server finishes what runs and takes nothing more.
    fn is_draining(&self) -> bool;
}

/// A function in the answer to `GET /v1/functions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionSummary {
    pub name: String,
    pub version: String,
    pub kind: Kind,
    pub wasm_bytes: u64,
    pub image_bytes: u64,
    pub image_pages: u64,
    pub warm_instances: u64,
    pub calls: u64,
    pub created_unix_ms: u64,
}

/// The calls of a function since the server started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallStatistics {
    pub calls: u64,
    pub warm_starts: u64,
    pub cold_starts: u64,
    pub disk_cold_starts: u64,
    pub answered: u64,
    pub failed: u64,
    pub limited: u64,
    pub abandoned: u64,
    pub refused: u64,
    pub cpu_us: u64,
    /// Quantiles of recent calls' wall-clock time; absent when there were none.
    pub latency_us: Option<Quantiles>,
}

/// The answer to `GET /v1/functions/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionDetails {
    pub name: String,
    /// The id of the current version.
    pub version: String,
    pub kind: Kind,
    pub config: FunctionConfig,
    pub warm_instances: u64,
    pub statistics: CallStatistics,
    /// The current version first.
    pub versions: Vec<Version>,
}

/// A function that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedFunction {
    pub name: String,
    pub reason: String,
}

/// The answer to `GET /v1/functions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionList {
    pub functions: Vec<FunctionSummary>,
    /// Functions whose manifests cannot be read; empty in good times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedFunction>,
}

/// The answer to a deployment or a rollback: what is current now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSummary {
    pub name: String,
    pub version: String,
    /// created, updated, unchanged or rebuilt.
    pub change: String,
    pub kind: Kind,
    pub wasm_bytes: u64,
    pub artifact_bytes: u64,
    pub image_bytes: u64,
    pub image_pages: u64,
    pub compile_us: u64,
    pub init_us: u64,
    pub config: FunctionConfig,
}

impl VersionSummary {
    pub(super) fn new(version: &Version, change: &str) -> VersionSummary {
        VersionSummary {
            name: version.name.to_string(),
            version: version.id.clone(),
            change: change.to_owned(),
            kind: version.kind,
            wasm_bytes: version.wasm_bytes,
            artifact_bytes: version.artifact_bytes,
            image_bytes: version.image_bytes,
            image_pages: version.image_pages,
            compile_us: version.compile_us,
            init_us: version.init_us,
            config: version.config.clone(),
        }
    }
}

/// All functions.
pub fn list(view: &dyn ServerView) -> FunctionList {
    let summary = |function: &Function| {
        let version = function.current();
        let name = version.name.as_str();
        FunctionSummary {
            name: name.to_owned(),
            version: version.id.clone(),
            kind: version.kind,
            wasm_bytes: version.wasm_bytes,
            image_bytes: version.image_bytes,
            image_pages: version.image_pages,
            warm_instances: view.warm_instances(name),
            calls: view
                .metrics()
                .function(name)
                .map_or(0, |metrics| metrics.counters.calls()),
            created_unix_ms: version.created_unix_ms,
        }
    };
    let damaged = view.store().damaged();
    FunctionList {
        functions: view.store().functions().map(summary).collect(),
        damaged: damaged
            .map(|(name, error)| DamagedFunction {
                name: name.to_string(),
                reason: error.to_string(),
            })
            .collect(),
    }
}

/// One function.
pub fn details(view: &dyn ServerView, function: &Function) -> FunctionDetails {
    let current = function.current();
    let name = current.name.as_str();
    let metrics = view.metrics().function(name);
    FunctionDetails {
        name: name.to_owned(),
        version: current.id.clone(),
        kind: current.kind,
        config: current.config.clone(),
        warm_instances: view.warm_instances(name),
        statistics: metrics
            .map(|metrics| statistics(metrics, view.now()))
            .unwrap_or_default(),
        versions: function.versions().to_vec(),
    }
}

fn statistics(metrics: &FunctionMetrics, now: Duration) -> CallStatistics {
    let counters = &metrics.counters;
    CallStatistics {
        calls: counters.calls(),
        warm_starts: counters.starts(StartKind::Warm),
        cold_starts: counters.starts(StartKind::Cold),
        disk_cold_starts: counters.starts(StartKind::DiskCold),
        answered: counters.outcomes(Outcome::Answered),
        failed: counters.outcomes(Outcome::Failed),
        limited: counters.outcomes(Outcome::Limited),
        abandoned: counters.outcomes(Outcome::Abandoned),
        refused: counters.refused,
        cpu_us: counters.cpu_us,
        latency_us: metrics.quantiles_us(now),
    }
}
