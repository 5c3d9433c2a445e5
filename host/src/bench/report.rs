//! The figures of a function, for people and for machines.

use crate::interface::Kind;
use crate::profile::{Profile, Quantiles};
use crate::units::{format_duration, format_size};
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;

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
    /// Handing a request to an instance that was reset.
    pub warm_start_us: Quantiles,
    /// A call in it.
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
    /// What a simulation needs of it.
    pub fn profile(&self, name: &str) -> Profile {
        Profile {
            name: name.to_owned(),
            restore_us: self.restore_us,
            first_call_us: (self.cold_call_us.p50 - self.warm_call_us.p50).max(0.0),
            open_us: 0.0,
            warm_us: self.warm_start_us.p50,
            run_us: self.warm_call_us,
            held_bytes: self.idle_bytes,
            image_bytes: self.image_bytes,
        }
    }

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
        row("warm start", &self.warm_start_us)?;
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
