//! The metrics in the Prometheus text exposition format, version 0.0.4.
//!
//! Written by hand: the format is a page long, and counters that live in flat arrays need no registry. Function names
//! are valid label values as they are.

use super::{Counters, Metrics, Outcome, Quantiles, StartKind};
use std::fmt::Write;
use std::time::Duration;

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is measured at the moment of asking.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    pub functions: u64,
    /// Functions whose code and image are mapped.
    pub open_functions: u64,
    pub connections: u64,
    pub running: u64,
    pub queued: u64,
    pub warm_instances: u64,
    pub budget_bytes: u64,
    pub budget_used_bytes: u64,
    /// The pool's policy, as it is written on the command line.
    pub policy: String,
    pub deployments_in_progress: u64,
    /// Functions whose manifests cannot be read.
    pub damaged_functions: u64,
}

/// Upper bounds of the buckets of the server-wide histogram, as powers of two of a microsecond: 64 us to 67 s.
const BUCKET_EXPONENTS: std::ops::RangeInclusive<u32> = 6..=26;

/// Writes everything.
pub fn text(metrics: &Metrics, gauges: &Gauges, now: Duration) -> String {
    let mut out = String::new();
    write_gauges(&mut out, gauges, now);
    write_totals(&mut out, metrics);
    write_functions(&mut out, metrics, now);
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn write_gauges(out: &mut String, gauges: &Gauges, now: Duration) {
    let list = [
        ("functions", "Functions deployed", gauges.functions),
        (
            "open_functions",
            "Functions whose code and image are mapped",
            gauges.open_functions,
        ),
        (
            "connections",
            "Connections open on the public listener",
            gauges.connections,
        ),
        (
            "invocations_running",
            "Invocations in progress",
            gauges.running,
        ),
        (
            "invocations_queued",
            "Invocations waiting for a turn",
            gauges.queued,
        ),
        (
            "warm_instances",
            "Reset instances waiting for a call",
            gauges.warm_instances,
        ),
        (
            "budget_bytes",
            "Memory that warm instances may use",
            gauges.budget_bytes,
        ),
        (
            "budget_used_bytes",
            "Memory that warm instances use",
            gauges.budget_used_bytes,
        ),
        (
            "deployments_in_progress",
            "Deployments that run or wait",
            gauges.deployments_in_progress,
        ),
        (
            "damaged_functions",
            "Functions whose manifests cannot be read",
            gauges.damaged_functions,
        ),
    ];
    for (name, help, value) in list {
        let name = format!("dormouse_{name}");
        head(out, &name, "gauge", help);
        let _ = writeln!(out, "{name} {value}");
    }
    head(
        out,
        "dormouse_pool_policy",
        "gauge",
        "The policy of the pool of warm instances; always 1",
    );
    let _ = writeln!(
        out,
        "dormouse_pool_policy{{policy=\"{}\"}} 1",
        gauges.policy
    );
    head(
        out,
        "dormouse_uptime_seconds",
        "gauge",
        "Time since the server started",
    );
    let _ = writeln!(
        out,
        "dormouse_uptime_seconds {}",
        Seconds(now.as_micros() as u64)
    );
}

fn write_totals(out: &mut String, metrics: &Metrics) {
    head(
        out,
        "dormouse_deployments_total",
        "counter",
        "Deployments that ended",
    );
    for (result, count) in ["succeeded", "failed"].iter().zip(metrics.deployments) {
        let _ = writeln!(
            out,
            "dormouse_deployments_total{{result=\"{result}\"}} {count}"
        );
    }
    let name = "dormouse_call_duration_seconds";
    head(
        out,
        name,
        "histogram",
        "Wall-clock time of calls of all functions",
    );
    for exponent in BUCKET_EXPONENTS {
        let us = 1 << exponent;
        let _ = writeln!(
            out,
            "{name}_bucket{{le=\"{}\"}} {}",
            Seconds(us),
            metrics.wall.below(us)
        );
    }
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {}", metrics.wall.total());
    let _ = writeln!(out, "{name}_sum {}", Seconds(metrics.total.wall_us));
    let _ = writeln!(out, "{name}_count {}", metrics.wall.total());
}

type Value = fn(&Counters) -> u64;

fn write_functions(out: &mut String, metrics: &Metrics, now: Duration) {
    let functions = metrics.functions();
    let name = "dormouse_function_starts_total";
    head(
        out,
        name,
        "counter",
        "Calls of a function by how they got their instance",
    );
    for (function, of) in &functions {
        for start in StartKind::ALL {
            let (kind, count) = (start.as_str(), of.counters.starts(start));
            let _ = writeln!(
                out,
                "{name}{{function=\"{function}\",start=\"{kind}\"}} {count}"
            );
        }
    }
    let name = "dormouse_function_outcomes_total";
    head(
        out,
        name,
        "counter",
        "Calls of a function by how they ended",
    );
    for (function, of) in &functions {
        for outcome in Outcome::ALL {
            let (kind, count) = (outcome.as_str(), of.counters.outcomes(outcome));
            let _ = writeln!(
                out,
                "{name}{{function=\"{function}\",outcome=\"{kind}\"}} {count}"
            );
        }
    }
    let counters: [(&str, &str, Value); 3] = [
        (
            "refused_total",
            "Requests refused because the queue was full",
            |c| c.refused,
        ),
        ("received_bytes_total", "Bytes of request bodies", |c| {
            c.bytes_in
        }),
        ("sent_bytes_total", "Bytes of response bodies", |c| {
            c.bytes_out
        }),
    ];
    for (suffix, help, value) in counters {
        let name = format!("dormouse_function_{suffix}");
        head(out, &name, "counter", help);
        for (function, of) in &functions {
            let _ = writeln!(
                out,
                "{name}{{function=\"{function}\"}} {}",
                value(&of.counters)
            );
        }
    }
    let name = "dormouse_function_cpu_seconds_total";
    head(out, name, "counter", "CPU time of a function's calls");
    for (function, of) in &functions {
        let _ = writeln!(
            out,
            "{name}{{function=\"{function}\"}} {}",
            Seconds(of.counters.cpu_us)
        );
    }
    let name = "dormouse_function_duration_seconds";
    head(
        out,
        name,
        "summary",
        "Wall-clock time of a function's calls; quantiles are of the last five to ten minutes",
    );
    for (function, of) in &functions {
        if let Some(Quantiles { p50, p95, p99 }) = of.quantiles_us(now) {
            for (quantile, us) in [("0.5", p50), ("0.95", p95), ("0.99", p99)] {
                let _ = writeln!(
                    out,
                    "{name}{{function=\"{function}\",quantile=\"{quantile}\"}} {}",
                    Seconds(us)
                );
            }
        }
        let _ = writeln!(
            out,
            "{name}_sum{{function=\"{function}\"}} {}",
            Seconds(of.counters.wall_us)
        );
        let _ = writeln!(
            out,
            "{name}_count{{function=\"{function}\"}} {}",
            of.counters.calls()
        );
    }
}

/// Microseconds, written as seconds without rounding.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::call;
    use super::*;

    /// Checks every line against the grammar of the format and the rule that a metric's lines stand together.
    fn check_format(text: &str) {
        let mut current = String::new();
        let mut seen = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                current = rest.split(' ').next().unwrap().to_owned();
                assert!(seen.insert(current.clone()), "{current} comes twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert_eq!(rest.split(' ').next(), Some(&*current));
            } else {
                assert!(line.starts_with(&current), "{line:?} is not of {current}");
                let (labels, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert_eq!(labels.contains('{'), labels.ends_with('}'), "{line}");
            }
        }
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn the_text_is_well_formed_and_says_what_was_counted() {
        let mut metrics = Metrics::new();
        let id = metrics.id("hello.v1-x_y");
        for us in [100, 200, 3_000_000] {
            metrics.record(
                id,
                &call(StartKind::Warm, Outcome::Answered, us),
                Duration::ZERO,
            );
        }
        metrics.record(
            id,
            &call(StartKind::DiskCold, Outcome::Limited, 128),
            Duration::ZERO,
        );
        metrics.deployments = [1, 2];
        let text = text(
            &metrics,
            &Gauges {
                warm_instances: 9,
                ..Gauges::default()
            },
            Duration::from_millis(1500),
        );
        check_format(&text);
        for line in [
            "dormouse_warm_instances 9",
            "dormouse_uptime_seconds 1.500000",
            "dormouse_deployments_total{result=\"failed\"} 2",
            "dormouse_call_duration_seconds_bucket{le=\"0.000128\"} 1",
            "dormouse_call_duration_seconds_bucket{le=\"0.000256\"} 3",
            "dormouse_call_duration_seconds_bucket{le=\"+Inf\"} 4",
            "dormouse_call_duration_seconds_sum 3.000428",
            "dormouse_function_starts_total{function=\"hello.v1-x_y\",start=\"disk-cold\"} 1",
            "dormouse_function_outcomes_total{function=\"hello.v1-x_y\",outcome=\"limited\"} 1",
            "dormouse_function_duration_seconds_count{function=\"hello.v1-x_y\"} 4",
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line} is missing in\n{text}"
            );
        }
    }
}
