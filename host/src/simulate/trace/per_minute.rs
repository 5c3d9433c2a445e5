//! Azure Functions 2019: for each function, its calls in each minute of a day; in two more files, percentiles of its run
//! times and of its application's memory.
//!
//! The data set and what is in it: Shahrad et al., "Serverless in the Wild", USENIX ATC 2020. Within its minute a call is at
//! a random moment, evenly distributed; its run time is drawn from the percentiles, linear in between.
//!
//! The file has a line for each function and is needed minute by minute, so it is read at once: eight bytes for each
//! minute in which a function was called.

use super::Call;
use super::csv::{Reader, TraceError};
use crate::simulate::random::Random;
use std::collections::HashMap;
use std::time::Duration;

const MINUTE_NS: u64 = 60_000_000_000;

/// More calls of one function in a minute are taken for a mistake.
const CALLS_PER_MINUTE_MAX: u32 = 10_000_000;

/// Bytes in a megabyte of the trace.
const MEGABYTE: f64 = 1_000_000.0;

/// Run times by percentile, in milliseconds.
type Percentiles = Vec<(f64, f64)>;

/// A day of counts.
pub struct PerMinute {
    /// By minute: functions and how often they were called.
    minutes: Vec<Vec<(u32, u32)>>,
    runs: Vec<Option<Percentiles>>,
    memory_bytes: Vec<Option<u64>>,
    random: Random,
    begin_ns: u64,
    minute: usize,
    /// The calls of the minute, the next one last.
    calls: Vec<Call>,
}

/// The columns that name a function or an application.
struct Key(Vec<usize>);

impl Key {
    fn new(reader: &Reader, names: &[&str]) -> Result<Key, TraceError> {
        let columns = names.iter().map(|name| reader.required_column(name));
        Ok(Key(columns.collect::<Result<_, _>>()?))
    }

    fn of(&self, reader: &Reader) -> String {
        let parts: Vec<&str> = self.0.iter().map(|column| reader.field(*column)).collect();
        parts.join(",")
    }
}

const FUNCTION: [&str; 3] = ["HashOwner", "HashApp", "HashFunction"];
const APPLICATION: [&str; 2] = ["HashOwner", "HashApp"];

impl PerMinute {
    pub fn read(
        mut counts: Reader,
        runs: Option<Reader>,
        memory: Option<Reader>,
        begin: Duration,
        seed: u64,
    ) -> Result<PerMinute, TraceError> {
        let run_times = runs.map(read_runs).transpose()?.unwrap_or_default();
        let memories = memory.map(read_memory).transpose()?.unwrap_or_default();
        let minute_columns: Vec<usize> = (0..counts.header().len())
            .filter(|column| {
                let name = &counts.header()[*column];
                let number = name.strip_prefix("minute_").unwrap_or(name);
                number.parse::<u32>().is_ok()
            })
            .collect();
        if minute_columns.is_empty() {
            return Err(counts.error_in_file("it has no columns of minutes"));
        }
        let function_key = Key::new(&counts, &FUNCTION)?;
        let application_key = Key::new(&counts, &APPLICATION)?;
        let mut minutes = vec![Vec::new(); minute_columns.len()];
        let (mut runs, mut memory_bytes) = (Vec::new(), Vec::new());
        while counts.next_line()? {
            let function = runs.len() as u32;
            for (minute, column) in minute_columns.iter().enumerate() {
                match counts.count(*column)? {
                    0 => {}
                    count if count <= CALLS_PER_MINUTE_MAX => {
                        minutes[minute].push((function, count));
                    }
                    count => {
                        let what = format!("{count} calls in a minute are taken for a mistake");
                        return Err(counts.error(Some(*column), what));
                    }
                }
            }
            runs.push(run_times.get(&function_key.of(&counts)).cloned());
            memory_bytes.push(memories.get(&application_key.of(&counts)).copied());
        }
        let begin_ns = begin.as_nanos() as u64;
        Ok(PerMinute {
            minutes,
            runs,
            memory_bytes,
            random: Random::new(seed),
            begin_ns,
            minute: (begin_ns / MINUTE_NS) as usize,
            calls: Vec::new(),
        })
    }

    pub fn next_call(&mut self) -> Option<Call> {
        loop {
            if let Some(call) = self.calls.pop() {
                return Some(call);
            }
            if self.minute >= self.minutes.len() {
                return None;
            }
            self.expand();
            self.minute += 1;
        }
    }

    /// Draws the calls of the minute.
    fn expand(&mut self) {
        let begin_ns = self.minute as u64 * MINUTE_NS;
        for (function, count) in std::mem::take(&mut self.minutes[self.minute]) {
            for _ in 0..count {
                let at_ns = begin_ns + self.random.below(MINUTE_NS);
                let part = self.random.part();
                if at_ns < self.begin_ns {
                    continue;
                }
                let percentiles = self.runs[function as usize].as_ref();
                self.calls.push(Call {
                    at_ns: at_ns - self.begin_ns,
                    run_ns: percentiles.map(|percentiles| draw(percentiles, part)),
                    function,
                });
            }
        }
        self.calls
            .sort_unstable_by_key(|call| std::cmp::Reverse((call.at_ns, call.function)));
    }

    pub fn memory_bytes(&self, function: u32) -> Option<u64> {
        self.memory_bytes[function as usize]
    }

    pub fn functions(&self) -> u32 {
        self.runs.len() as u32
    }
}

/// The run time that this part of the calls does not exceed.
fn draw(percentiles: &Percentiles, part: f64) -> u64 {
    let percent = part * 100.0;
    let above = percentiles.partition_point(|(known, _)| *known <= percent);
    let ms = match (
        above.checked_sub(1).map(|i| percentiles[i]),
        percentiles.get(above).copied(),
    ) {
        (Some((low, low_ms)), Some((high, high_ms))) => {
            low_ms + (high_ms - low_ms) * (percent - low) / (high - low)
        }
        (Some((_, ms)), None) | (None, Some((_, ms))) => ms,
        (None, None) => 0.0,
    };
    (ms * 1e6) as u64
}

fn read_runs(mut reader: Reader) -> Result<HashMap<String, Percentiles>, TraceError> {
    let key = Key::new(&reader, &FUNCTION)?;
    let percentiles: Vec<(usize, f64)> = reader
        .header()
        .iter()
        .enumerate()
        .filter_map(|(column, name)| {
            let percent = name.strip_prefix("percentile_Average_")?.parse().ok()?;
            Some((column, percent))
        })
        .collect();
    if !percentiles.is_sorted_by(|a, b| a.1 < b.1) {
        return Err(reader.error_in_file("its percentiles are not in ascending order"));
    }
    let mut found = HashMap::new();
    while reader.next_line()? {
        let mut of = Percentiles::new();
        for (column, percent) in &percentiles {
            of.push((*percent, reader.number(*column, "milliseconds")?));
        }
        found.insert(key.of(&reader), of);
    }
    Ok(found)
}

fn read_memory(mut reader: Reader) -> Result<HashMap<String, u64>, TraceError> {
    let key = Key::new(&reader, &APPLICATION)?;
    let column = reader.required_column("AverageAllocatedMb")?;
    let mut found = HashMap::new();
    while reader.next_line()? {
        let bytes = reader.number(column, "megabytes")? * MEGABYTE;
        found.insert(key.of(&reader), bytes as u64);
    }
    Ok(found)
}
