//! Holds idle instances and measures what each takes: resident memory and page tables, all of the process's growth.

use crate::start::IdleRow;
use crate::system::{self, MemoryUse};
use crate::worker::Peer;
use crate::workload::{WORKLOADS, Workload};
use crate::{dormouse_peer, wasmtime_peer};
use anyhow::{Context, Result, bail};

/// The workloads of which idle instances are held: a hello function writes no page of its memory, or one.
pub const HELD: usize = 2;

/// Prints a line of JSON for each state of the instances that is worth knowing.
pub fn measure(peer: Peer, workload: usize, instances: usize) -> Result<()> {
    system::pin(system::MEASURED_CORE)?;
    let workload = *WORKLOADS[..HELD]
        .get(workload)
        .context("no such workload")?;
    let scale = Scale {
        workload,
        instances,
        before: MemoryUse::of_this_process()?,
    };
    match peer {
        Peer::Dormouse => dormouse_peer::hold_idle(scale),
        Peer::Wasmtime => wasmtime_peer::hold_idle(scale),
        Peer::DormouseUnpreempted | Peer::WasmtimeEpoch => bail!("its instances are as the others"),
    }
}

/// Compares the process's memory with what it was before there were instances.
pub struct Scale {
    pub workload: Workload,
    pub instances: usize,
    before: MemoryUse,
}

impl Scale {
    /// Everything the engine needs once is there: what is added from now on is the instances'.
    pub fn zero(&mut self) -> Result<()> {
        self.before = MemoryUse::of_this_process()?;
        Ok(())
    }

    pub fn weigh(&self, state: &str) -> Result<()> {
        let now = MemoryUse::of_this_process()?;
        let grown = now.since(&self.before, self.instances);
        let row = IdleRow {
            workload: self.workload.name.to_owned(),
            state: state.to_owned(),
            resident_bytes: grown.resident_bytes,
            page_table_bytes: grown.page_table_bytes,
            rss_bytes: grown.rss_bytes,
        };
        println!("{}", serde_json::to_string(&row)?);
        Ok(())
    }
}
