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

/// Memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct MemoryUse {
    /// Its proportional share of resident memory (`Pss`), and what is swapped out of it.
    pub resident_bytes: u64,
    /// Page tables (`VmPTE`).
    pub page_table_bytes: u64,
    /// Resident memory with all that is shared (`Rss`).
    pub rss_bytes: u64,
}

/// What was added to a process's memory, per instance.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    pub resident_bytes: f64,
    pub page_table_bytes: f64,
    pub rss_bytes: f64,
}

impl MemoryUse {
    pub fn of_this_process() -> Result<MemoryUse> {
        MemoryUse::of("self")
    }

    /// Of any process, by its id.
    pub fn of(process: &str) -> Result<MemoryUse> {
        let rollup = format!("/proc/{process}/smaps_rollup");
        let status = format!("/proc/{process}/status");
        Ok(MemoryUse {
            resident_bytes: field(&rollup, "Pss:")? + field(&rollup, "SwapPss:")?,
            page_table_bytes: field(&status, "VmPTE:")?,
            rss_bytes: field(&rollup, "Rss:")?,
        })
    }

    /// What was added since, per instance.
    pub fn since(&self, before: &MemoryUse, instances: usize) -> Growth {
        let each = |now: u64, then: u64| (now as f64 - then as f64) / instances as f64;
        Growth {
            resident_bytes: each(self.resident_bytes, before.resident_bytes),
            page_table_bytes: each(self.page_table_bytes, before.page_table_bytes),
            rss_bytes: each(self.rss_bytes, before.rss_bytes),
        }
    }
}

/// A field of a file of lines such as `Pss:  12 kB`, in bytes.
pub fn field(path: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let kib: u64 = number
        .and_then(|n| n.parse().ok())
        .with_context(|| format!("no {name} in {path}"))?;
    Ok(kib * 1024)
}

/// Time that the threads of a process have been on a processor.
pub fn processor_time(process: u32) -> Result<Duration> {
    let tasks = format!("/proc/{process}/task");
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split(' ').next().context("schedstat is empty")?;
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
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
