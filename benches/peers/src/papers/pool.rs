//! The warm-pool paper's Table III and its figure: how many calls find no warm instance, by the policy that keeps them and by
//! the memory they may take. `dormouse simulate` replays six hours of calls through the pool that serves requests, once with
//! instances as ours are measured and once as containers.

use super::Setting;
use super::table::{Figure, Findings, Origin, Series, Table, Unit, axis, column};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::process::Command;

const POLICIES: &str = "predicted,keepalive,fixed";
const BUDGETS: [&str; 5] = ["1GiB", "2GiB", "3GiB", "4GiB", "8GiB"];

/// The budget at which policies are compared.
const EQUAL_BYTES: u64 = 4 << 30;

/// Calls of a thousand functions as they are published to come, when no trace is given.
const GENERATED: &str = "functions=1000,rate=150,span=6h,seed=1";

/// What instances are like, as `simulate` names it.
const PROFILES: [(&str, &str); 2] = [
    ("dormouse", "Dormouse"),
    ("container", "containers of 48 MB"),
];

#[derive(Deserialize)]
struct Simulated {
    trace: Trace,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Trace {
    source: Vec<String>,
    seconds: f64,
    functions: u64,
    calls: u64,
}

#[derive(Deserialize)]
struct Run {
    policy: String,
    budget_bytes: u64,
    cold_rate: f64,
    start_us: Quantiles,
    held_bytes_mean: f64,
}

#[derive(Deserialize)]
struct Quantiles {
    p50: f64,
    p95: f64,
    p99: f64,
}

fn simulate(setting: &Setting, profile: &str) -> Result<Simulated> {
    let mut command = Command::new(&setting.dormouse);
    command.args(["simulate", "--json", "--policy", POLICIES]);
    command.args(["--budget", &BUDGETS.join(","), "--profile", profile]);
    match &setting.trace[..] {
        [] => command.args(["--generate", GENERATED]),
        files => command.arg("--trace").args(files),
    };
    command.args(["--for", if setting.quick { "10m" } else { "6h" }]);
    let output = command.output().context("cannot start dormouse")?;
    ensure!(
        output.status.success(),
        "dormouse simulate ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("dormouse simulate printed other JSON")
}

pub fn run(setting: &Setting) -> Result<Findings> {
    let mut table = Table::new(
        "warm-pool-table-3",
        "Warm-pool paper, Table III: calls that found no warm instance, at 4 GiB",
        vec![
            column("cold", Unit::Percent),
            column("start, median", Unit::Microseconds),
            column("start, 95 %", Unit::Microseconds),
            column("start, 99 %", Unit::Microseconds),
            column("memory held", Unit::Bytes),
        ],
    );
    table.row(
        "Dormouse",
        Origin::Target,
        vec![Some(0.2), None, Some(1000.0), None, None],
    );
    let mut sweep = Table::new(
        "warm-pool-sweep",
        "The same by the budget",
        BUDGETS.map(|budget| column(budget, Unit::Percent)).into(),
    );
    let mut series = Vec::new();
    for (profile, name) in PROFILES {
        let found = simulate(setting, profile)?;
        if profile == PROFILES[0].0 {
            let Trace {
                source,
                seconds,
                functions,
                calls,
            } = &found.trace;
            let source: Vec<&str> = source
                .iter()
                .map(|file| file.rsplit('/').next().unwrap_or(file))
                .collect();
            table.note(format!(
                "{calls} calls of {functions} functions in {:.1} hours ({})",
                seconds / 3600.0,
                source.join(", ")
            ));
        }
        for policy in POLICIES.split(',') {
            let name = format!("{name}, {policy}");
            let of_policy = || found.runs.iter().filter(|run| run.policy == policy);
            let equal = of_policy().find(|run| run.budget_bytes == EQUAL_BYTES);
            let equal = equal.context("the budget was simulated")?;
            table.measured(
                &name,
                &[
                    equal.cold_rate * 100.0,
                    equal.start_us.p50,
                    equal.start_us.p95,
                    equal.start_us.p99,
                    equal.held_bytes_mean,
                ],
            );
            let rates = of_policy().map(|run| Some(run.cold_rate * 100.0)).collect();
            sweep.row(&name, Origin::Measured, rates);
            let point = |run: &Run| ((run.budget_bytes >> 30) as f64, run.cold_rate * 100.0);
            series.push(Series {
                name,
                points: of_policy().map(point).collect(),
            });
        }
    }
    table.note("start: from the request until the guest runs, which is what a call takes beyond its own run time");
    table.note("the budget is for instances that wait, with every policy alike");
    let figure = Figure {
        name: "warm-pool-sweep",
        title: "Calls that found no warm instance, by the budget".to_owned(),
        x: axis("GiB for warm instances", false),
        y: axis("% of calls", true),
        series,
    };
    Ok(Findings {
        tables: vec![table, sweep],
        figures: vec![figure],
    })
}
