//! The figures of a simulation, for people and for machines.

use super::Report;
use super::replay::Outcome;
use crate::units::{format_duration, format_size};
use std::fmt::Write;
use std::time::Duration;

impl Report {
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("numbers and names make JSON");
        text.push('\n');
        text
    }

    pub fn to_table(&self) -> String {
        self.table().expect("a String takes all text")
    }

    fn table(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let trace = &self.trace;
        writeln!(
            text,
            "{} calls of {} functions in {}",
            trace.calls,
            trace.functions_called,
            format_duration(Duration::from_secs_f64(trace.seconds))
        )?;
        for profile in &self.profiles {
            writeln!(
                text,
                "{}: restored in {}, holds {}",
                profile.name,
                time(profile.restore_us.p50),
                format_size(profile.held_bytes)
            )?;
        }
        writeln!(
            text,
            "\n{:<16} {:>9} {:>18}  {:^23}  {:^29}  {:^21} {:>9}",
            "", "", "", "start", "response", "memory", "instances"
        )?;
        writeln!(
            text,
            "{:<16} {:>9} {:>18}  {:>7} {:>7} {:>7}  {:>9} {:>9} {:>9}  {:>10} {:>10} {:>9}",
            "policy",
            "budget",
            "cold starts",
            "p50",
            "p95",
            "p99",
            "p50",
            "p95",
            "p99",
            "mean",
            "peak",
            "waiting"
        )?;
        for run in &self.runs {
            row(&mut text, run)?;
        }
        Ok(text)
    }
}

fn row(text: &mut String, run: &Outcome) -> std::fmt::Result {
    let cold = format!("{} {:>7.3}%", run.cold, run.cold_rate * 100.0);
    let [start, response] =
        [run.start_us, run.response_us].map(|of| [of.p50, of.p95, of.p99].map(time));
    writeln!(
        text,
        "{:<16} {:>9} {cold:>18}  {:>7} {:>7} {:>7}  {:>9} {:>9} {:>9}  {:>10} {:>10} {:>9.0}",
        run.policy,
        format_size(run.budget_bytes),
        start[0],
        start[1],
        start[2],
        response[0],
        response[1],
        response[2],
        format_size(run.held_bytes_mean),
        format_size(run.held_bytes_peak),
        run.waiting_mean
    )
}

fn time(us: f64) -> String {
    format_duration(Duration::from_nanos((us * 1000.0) as u64))
}
