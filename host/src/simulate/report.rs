//! The figures of a simulation, for people and for machines.

use super::Report;
use super::latency::Summary;
use super::live::LiveReport;
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

impl LiveReport {
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("numbers and names make JSON");
        text.push('\n');
        text
    }

    pub fn to_table(&self) -> String {
        self.table().expect("a String takes all text")
    }

    fn table(&self) -> Result<String, std::fmt::Error> {
        let (predicted, measured) = (&self.predicted, &self.measured);
        let mut text = format!(
            "{} calls of {} functions in {} at {}, under {} with {}\n\n",
            self.trace.calls,
            self.trace.functions_called,
            format_duration(Duration::from_secs_f64(self.trace.seconds)),
            measured.url,
            predicted.policy,
            format_size(predicted.budget_bytes)
        );
        writeln!(
            text,
            "{:<12} {:>18} {:>12} {:>12} {:>12}",
            "", "cold starts", "p50", "p95", "p99"
        )?;
        let mut line = |name: &str, cold: u64, rate: f64, response: &Summary| {
            let cold = format!("{cold} {:>7.3}%", rate * 100.0);
            let [p50, p95, p99] = [response.p50, response.p95, response.p99].map(time);
            writeln!(text, "{name:<12} {cold:>18} {p50:>12} {p95:>12} {p99:>12}")
        };
        line(
            "predicted",
            predicted.cold,
            predicted.cold_rate,
            &predicted.response_us,
        )?;
        line(
            "measured",
            measured.cold,
            measured.cold_rate,
            &measured.response_us,
        )?;
        let percent = |predicted: f64, measured: f64| match predicted == measured {
            true => "0.0%".to_owned(),
            false => format!("{:+.1}%", (measured / predicted - 1.0) * 100.0),
        };
        let response = |of: fn(&Summary) -> f64| {
            percent(of(&predicted.response_us), of(&measured.response_us))
        };
        writeln!(
            text,
            "{:<12} {:>18} {:>12} {:>12} {:>12}",
            "difference",
            percent(predicted.cold_rate, measured.cold_rate),
            response(|of| of.p50),
            response(|of| of.p95),
            response(|of| of.p99)
        )?;
        writeln!(
            text,
            "\ncalls were sent late by {} (p50), {} (p99)",
            time(measured.late_us.p50),
            time(measured.late_us.p99)
        )?;
        if let Some(failure) = &measured.failure {
            writeln!(
                text,
                "{} calls failed; the first: {failure}",
                measured.failed
            )?;
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
