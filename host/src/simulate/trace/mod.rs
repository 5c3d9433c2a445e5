//! Invocation traces, read as a stream in the order of time.
//!
//! * [`per_minute`]: Azure Functions 2019, counts a minute with distributions of run time and memory;
//! * [`per_call`]: Azure Functions 2021, a line for each call;
//! * [`generator`]: made up, with the shape that was published of such traces.
//!
//! Invariant: the times that a source gives never go back, and what it holds in memory does not grow with the number of calls.

mod csv;
pub mod generator;
mod per_call;
mod per_minute;

#[cfg(test)]
mod tests;

pub use csv::TraceError;
pub use generator::{Generator, GeneratorOptions};

use csv::Reader;
use per_call::PerCall;
use per_minute::PerMinute;
use std::path::PathBuf;
use std::time::Duration;

/// A call of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Since the beginning of the trace.
    pub at_ns: u64,
    /// How long it runs, where the trace says.
    pub run_ns: Option<u64>,
    pub function: u32,
}

/// Where calls come from.
pub enum Trace {
    PerMinute(PerMinute),
    PerCall(PerCall),
    Generated(Generator),
}

impl Trace {
    /// Opens the files of a trace, which are told apart by their headers. What the trace leaves open, such as the moment of
    /// a call within its minute, is drawn from the seed.
    pub fn open(paths: &[PathBuf], begin: Duration, seed: u64) -> Result<Trace, TraceError> {
        let (mut calls, mut counts, mut runs, mut memory) = (None, None, None, None);
        for path in paths {
            let reader = Reader::open(path)?;
            let has = |name: &str| reader.column(name).is_some();
            let place = if has("end_timestamp") && has("duration") {
                &mut calls
            } else if has("percentile_Average_50") {
                &mut runs
            } else if has("AverageAllocatedMb") {
                &mut memory
            } else if has("HashFunction") {
                &mut counts
            } else {
                return Err(reader.error_in_file(
                    "its first line is that of no known format: Azure Functions 2019 (HashOwner,HashApp,HashFunction,...) \
                     or 2021 (app,func,end_timestamp,duration)",
                ));
            };
            if place.is_some() {
                return Err(reader.error_in_file("there is another file of this kind"));
            }
            *place = Some(reader);
        }
        match (calls, counts) {
            (Some(calls), None) if runs.is_none() && memory.is_none() => {
                Ok(Trace::PerCall(PerCall::new(calls, begin)?))
            }
            (None, Some(counts)) => Ok(Trace::PerMinute(PerMinute::read(
                counts, runs, memory, begin, seed,
            )?)),
            (None, None) if runs.is_some() || memory.is_some() => Err(TraceError::Files(
                "of the files of 2019, that with the counts for each minute is missing".into(),
            )),
            _ => Err(TraceError::Files(
                "a trace of 2021 is one file, and goes with no other".into(),
            )),
        }
    }

    /// The next call.
    pub fn next_call(&mut self) -> Result<Option<Call>, TraceError> {
        match self {
            Trace::PerMinute(trace) => Ok(trace.next_call()),
            Trace::PerCall(trace) => trace.next_call(),
            Trace::Generated(trace) => Ok(trace.next_call()),
        }
    }

    /// What an instance of the function holds according to the trace.
    pub fn memory_bytes(&self, function: u32) -> Option<u64> {
        match self {
            Trace::PerMinute(trace) => trace.memory_bytes(function),
            Trace::PerCall(_) => None,
            Trace::Generated(trace) => Some(trace.memory_bytes(function)),
        }
    }

    /// How many functions have been met so far.
    pub fn functions(&self) -> u32 {
        match self {
            Trace::PerMinute(trace) => trace.functions(),
            Trace::PerCall(trace) => trace.functions(),
            Trace::Generated(trace) => trace.functions(),
        }
    }
}
