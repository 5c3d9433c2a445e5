//! Azure Functions 2021: a line for each call, `app,func,end_timestamp,duration`, in seconds.
//!
//! The data set: Zhang et al., "Faster and Cheaper Serverless Computing on Harvested Resources", SOSP 2021. Lines may be
//! in the order of starts or of ends, or nearly: as many as [`AHEAD_MAX`] are read ahead and put in order.

use super::Call;
use super::csv::{Reader, TraceError};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// Lines read ahead of the call that comes next.
const AHEAD_MAX: usize = 1 << 16;

/// A file of calls.
pub struct PerCall {
    reader: Reader,
    columns: Columns,
    functions: HashMap<String, u32>,
    /// Reused to look names up.
    name: String,
    begin_ns: u64,
    /// Start, run time, function, line.
    ahead: BinaryHeap<Reverse<(u64, u64, u32, u64)>>,
    ended: bool,
    last_ns: u64,
}

struct Columns {
    app: usize,
    func: usize,
    end: usize,
    duration: usize,
}

impl PerCall {
    pub fn new(reader: Reader, begin: Duration) -> Result<PerCall, TraceError> {
        Ok(PerCall {
            columns: Columns {
                app: reader.required_column("app")?,
                func: reader.required_column("func")?,
                end: reader.required_column("end_timestamp")?,
                duration: reader.required_column("duration")?,
            },
            reader,
            functions: HashMap::new(),
            name: String::new(),
            begin_ns: begin.as_nanos() as u64,
            ahead: BinaryHeap::new(),
            ended: false,
            last_ns: 0,
        })
    }

    pub fn next_call(&mut self) -> Result<Option<Call>, TraceError> {
        while !self.ended && self.ahead.len() < AHEAD_MAX {
            self.read_one()?;
        }
        let Some(Reverse((at_ns, run_ns, function, line))) = self.ahead.pop() else {
            return Ok(None);
        };
        if at_ns < self.last_ns {
            return Err(TraceError::Line {
                path: self.reader.path().to_owned(),
                line,
                column: None,
                what: format!(
                    "this call starts before others that stand more than {AHEAD_MAX} lines before it; sort the file by end_timestamp"
                ),
            });
        }
        self.last_ns = at_ns;
        Ok(Some(Call {
            at_ns,
            run_ns: Some(run_ns),
            function,
        }))
    }

    fn read_one(&mut self) -> Result<(), TraceError> {
        if !self.reader.next_line()? {
            self.ended = true;
            return Ok(());
        }
        let reader = &self.reader;
        let duration = reader.number(self.columns.duration, "seconds")?;
        let end = reader.number(self.columns.end, "seconds")?;
        // The first calls may have begun before the trace.
        let start_ns = ((end - duration).max(0.0) * 1e9) as u64;
        if start_ns < self.begin_ns {
            return Ok(());
        }
        self.name.clear();
        self.name.push_str(reader.field(self.columns.app));
        self.name.push('/');
        self.name.push_str(reader.field(self.columns.func));
        let function = match self.functions.get(&self.name) {
            Some(function) => *function,
            None => {
                let function = self.functions.len() as u32;
                self.functions.insert(self.name.clone(), function);
                function
            }
        };
        let run_ns = (duration * 1e9) as u64;
        self.ahead.push(Reverse((
            start_ns - self.begin_ns,
            run_ns,
            function,
            self.reader.line(),
        )));
        Ok(())
    }

    pub fn functions(&self) -> u32 {
        self.functions.len() as u32
    }
}
