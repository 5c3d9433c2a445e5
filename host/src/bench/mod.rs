//! `dormouse bench`: what a user's own function costs here, part by part.
//!
//! The parts are those a request meets in the server: a *warm* call finds an instance that was reset, a *cold* one restores
//! it from its image, a *disk-cold* one reads the image from disk first. The calls go through the engine and the host
//! interface but not through sockets.

mod measure;
mod report;
mod scratch;

pub use measure::BenchError;
pub use report::Report;

use crate::options::BenchOptions;
use crate::profile;
use std::io::Write;
use std::process::ExitCode;

/// Measures a function and prints the report; what goes wrong is told on standard error.
pub fn bench(options: &BenchOptions) -> ExitCode {
    let report = match measure::measure(options) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("dormouse: {}: {error}", options.file.display());
            return ExitCode::FAILURE;
        }
    };
    if let Some(path) = &options.record {
        let name = options.file.file_stem().unwrap_or_default();
        let profile = report.profile(&name.to_string_lossy());
        if let Err(error) = profile::record(path, profile) {
            eprintln!("dormouse: {error}");
            return ExitCode::FAILURE;
        }
    }
    let text = match options.json {
        true => report.to_json(),
        false => report.to_table(&options.file.display().to_string()),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
