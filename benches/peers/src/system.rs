//! What the operating system tells of this process, and the core it runs on.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The core on which everything that is measured runs.
pub const MEASURED_CORE: usize = 0;

/// The core of whoever makes the load, where that is another process.
pub const LOAD_CORE: usize = 1;

/// Keeps this thread, and the processes it starts, on one core.
pub fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot pin this process to core {core}"))
}

/// Memory of this process.
#[derive(Clone, Copy, Debug)]
pub struct MemoryUse {
    /// Its proportional share of resident memory (`Pss`), and what is swapped out of it.
    pub resident_bytes: u64,
    /// Page tables (`VmPTE`).
    pub page_table_bytes: u64,
}

impl MemoryUse {
    pub fn of_this_process() -> Result<MemoryUse> {
        let rollup = "/proc/self/smaps_rollup";
        let status = "/proc/self/status";
        Ok(MemoryUse {
            resident_bytes: field(rollup, "Pss:")? + field(rollup, "SwapPss:")?,
            page_table_bytes: field(status, "VmPTE:")?,
        })
    }

    /// What was added since, per instance.
    pub fn since(&self, before: &MemoryUse, instances: usize) -> (f64, f64) {
        let each = |now: u64, then: u64| (now as f64 - then as f64) / instances as f64;
        (
            each(self.resident_bytes, before.resident_bytes),
            each(self.page_table_bytes, before.page_table_bytes),
        )
    }
}

/// A field of a file of lines such as `Pss:  12 kB`, in bytes.
fn field(path: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let kib: u64 = number
        .and_then(|n| n.parse().ok())
        .with_context(|| format!("no {name} in {path}"))?;
    Ok(kib * 1024)
}

/// Measures this thread's time on the processor, in which what others do on the machine does not count.
///
/// Nothing that is measured with it waits for anything.
pub struct Stopwatch(Duration);

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch(thread_time())
    }

    pub fn elapsed(&self) -> Duration {
        thread_time() - self.0
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
