//! The figures of a function, for people and for machines.

use crate::interface::Kind;
use crate::units::{format_duration, format_size};
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;

/// What half, 95 and 99 of a hundred samples did not exceed, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

impl Quantiles {
    /// # Panics
    /// When there are no samples.
    pub fn of(mut samples: Vec<Duration>) -> Quantiles {
        samples.sort_unstable();
        let at = |hundredths: usize| {
            let rank = (samples.len() * hundredths).div_ceil(100).max(1);
            microseconds(samples[rank - 1])
        };
        Quantiles {
            p50: at(50),
            p95: at(95),
            p99: at(99),
        }
    }
}

pub fn microseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1000.0
}

/// Everything that was measured. Durations are in microseconds, sizes in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub kind: Kind,
    pub calls: u32,
    /// Absent when the file is an artifact already.
    pub wasm_bytes: Option<u64>,
    pub compile_us: Option<f64>,
    pub artifact_bytes: u64,
    /// Instantiating, initialising and capturing the image.
    pub init_us: f64,
    pub image_bytes: u64,
    /// Pages of the image that are not zero.
    pub image_pages: u64,
    /// Linear memory of a fresh instance.
    pub memory_bytes: u64,
    pub response_status: u16,
    pub response_body_bytes: u64,
    /// A call in an instance that was reset.
    pub warm_call_us: Quantiles,
    /// Putting the instance back after that.
    pub reset_us: Quantiles,
    /// Making an instance from the image, which is in the page cache.
    pub restore_us: Quantiles,
    /// The first call in it.
    pub cold_call_us: Quantiles,
    /// Reading the image from disk, verifying it, restoring and the first call. Absent where there is no disk.
    pub disk_cold_us: Option<Quantiles>,
    /// Pages a call writes, in the median.
    pub written_pages: u64,
    /// What a reset instance holds alone, with page tables, on average.
    pub idle_bytes: u64,
    /// The same after its pages were given up.
    pub idle_trimmed_bytes: u64,
}

impl Report {
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("numbers and names make JSON");
        text.push('\n');
        text
    }

    pub fn to_table(&self, name: &str) -> String {
        self.table(name).expect("a String takes all text")
    }

    fn table(&self, name: &str) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let kind = match self.kind {
            Kind::Command => "command",
            Kind::Reactor => "reactor",
        };
        writeln!(
            text,
            "{name} ({kind}), {} calls for each figure\n",
            self.calls
        )?;
        if let (Some(compile), Some(wasm_bytes)) = (self.compile_us, self.wasm_bytes) {
            let wasm = format_size(wasm_bytes);
            let artifact = format_size(self.artifact_bytes);
            writeln!(
                text,
                "  compile             {:>10}   {wasm} of wasm, {artifact} of artifact",
                time(compile)
            )?;
        }
        let image = format_size(self.image_bytes);
        let memory = format_size(self.memory_bytes);
        writeln!(
            text,
            "  initialise          {:>10}   {image} of image, {} pages of it not zero; {memory} of memory",
            time(self.init_us),
            self.image_pages
        )?;
        let body = format_size(self.response_body_bytes);
        writeln!(
            text,
            "  response            {:>10}   {body} of body\n",
            self.response_status
        )?;
        writeln!(
            text,
            "                      {:>10} {:>10} {:>10}",
            "p50", "p95", "p99"
        )?;
        let mut row = |name: &str, quantiles: &Quantiles| {
            let [p50, p95, p99] = [quantiles.p50, quantiles.p95, quantiles.p99].map(time);
            writeln!(text, "  {name:<20}{p50:>10} {p95:>10} {p99:>10}")
        };
        row("warm call", &self.warm_call_us)?;
        row("reset after it", &self.reset_us)?;
        row("cold: restore", &self.restore_us)?;
        row("cold: first call", &self.cold_call_us)?;
        match &self.disk_cold_us {
            Some(quantiles) => row("disk-cold call", quantiles)?,
            None => text.push_str(
                "  disk-cold call       not measured: temporary files are in memory here\n",
            ),
        }
        let idle = format_size(self.idle_bytes);
        let trimmed = format_size(self.idle_trimmed_bytes);
        writeln!(
            text,
            "\n  pages written by a call    {}",
            self.written_pages
        )?;
        writeln!(
            text,
            "  memory of an idle instance {idle} warm, {trimmed} trimmed"
        )?;
        Ok(text)
    }
}

fn time(microseconds: f64) -> String {
    format_duration(Duration::from_nanos((microseconds * 1000.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_that_so_many_do_not_exceed() {
        let samples = |count: u64| (1..=count).rev().map(Duration::from_micros).collect();
        let of = |count| {
            let quantiles = Quantiles::of(samples(count));
            [quantiles.p50, quantiles.p95, quantiles.p99]
        };
        assert_eq!(of(1), [1.0, 1.0, 1.0]);
        assert_eq!(of(2), [1.0, 2.0, 2.0]);
        assert_eq!(of(100), [50.0, 95.0, 99.0]);
        assert_eq!(of(1000), [500.0, 950.0, 990.0]);
    }
}
