//! A peer's process, which runs batches on demand, and its other end.
//!
//! The measuring process writes `INDEX OPERATIONS` on a line and reads the nanoseconds they took. The first line that
//! comes back lists what can be asked for, as JSON.

use crate::workload::Set;
use crate::{dormouse_peer, system, wasmtime_peer};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    Dormouse,
    /// Without the timer that preempts guests.
    DormouseUnpreempted,
    Wasmtime,
    /// With checks of the epoch in every loop, its way to preempt.
    WasmtimeEpoch,
}

impl Peer {
    pub fn name(self) -> String {
        format!("{self:?}")
            .chars()
            .flat_map(|c| {
                c.is_uppercase()
                    .then_some('-')
                    .into_iter()
                    .chain(c.to_lowercase())
            })
            .collect::<String>()
            .trim_start_matches('-')
            .to_owned()
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The slot held the same module before.
    Warm,
    /// The slot held another module.
    Cold,
    /// One iteration of a tight loop.
    Loop,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    pub workload: String,
    pub kind: Kind,
    /// The peer's settings, where several are tried.
    pub setting: String,
}

/// Something a peer can be asked to repeat.
pub struct Contender {
    pub description: Description,
    /// Performs so many operations and says how long they took.
    pub run: Box<dyn FnMut(u64) -> Result<Duration>>,
}

/// The worker's side.
pub fn serve(peer: Peer, set: Set) -> Result<()> {
    system::pin(system::MEASURED_CORE)?;
    let mut contenders = match peer {
        Peer::Dormouse => dormouse_peer::contenders(true, set)?,
        Peer::DormouseUnpreempted => dormouse_peer::contenders(false, set)?,
        Peer::Wasmtime => wasmtime_peer::contenders(set)?,
        Peer::WasmtimeEpoch => wasmtime_peer::epoch_contenders()?,
    };
    let list: Vec<&Description> = contenders
        .iter()
        .map(|contender| &contender.description)
        .collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&list)?)?;
    for line in std::io::stdin().lines() {
        let line = line?;
        let (index, operations) = line.split_once(' ').context("expected INDEX OPERATIONS")?;
        let contender = contenders
            .get_mut(index.parse::<usize>()?)
            .context("no such contender")?;
        let taken = (contender.run)(operations.parse()?)
            .with_context(|| format!("{} {:?}", peer.name(), contender.description))?;
        writeln!(out, "{}", taken.as_nanos())?;
        out.flush()?;
    }
    Ok(())
}

/// The measuring process's side. The worker ends with it.
pub struct Worker {
    pub peer: Peer,
    pub descriptions: Vec<Description>,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    pub fn start(peer: Peer, set: Set) -> Result<Worker> {
        let set = match set {
            Set::Start => "start",
            Set::Restore => "restore",
        };
        let mut child = Command::new(std::env::current_exe()?)
            .args(["worker", &peer.name(), set])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().expect("the standard input is piped");
        let stdout = child.stdout.take().expect("the standard output is piped");
        let mut worker = Worker {
            peer,
            descriptions: Vec::new(),
            child,
            stdin,
            stdout: BufReader::new(stdout),
        };
        worker.descriptions = serde_json::from_str(&worker.line()?)?;
        Ok(worker)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!(
                "the worker of {} has ended; its messages are above",
                self.peer.name()
            );
        }
        Ok(line.trim_end().to_owned())
    }

    /// The nanoseconds that each of so many operations took on average.
    pub fn run(&mut self, index: usize, operations: u64) -> Result<f64> {
        writeln!(self.stdin, "{index} {operations}")?;
        let taken_ns: u64 = self.line()?.parse()?;
        Ok(taken_ns as f64 / operations as f64)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Nothing is lost with it, and an error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
