//! What a compile worker may use, set by itself before it looks at the module.
//!
//! A module can make a compiler slow, hungry or crash; the limits see to it that only the worker suffers.
//! They are on real memory (`RLIMIT_DATA`), not on address space: an instance reserves gigabytes that it never touches.

use crate::store::FunctionConfig;
use rustix::process::{
    Resource, Rlimit, Signal, getppid, getrlimit, nice, set_parent_process_death_signal, setrlimit,
};
use std::io;
use std::time::Duration;

/// Memory the compiler itself may use, beside the function's own.
pub const COMPILER_MEMORY_BYTES: u64 = 2 << 30;
/// CPU time for compilation and initialisation together, over all threads.
pub const CPU_TIME: Duration = Duration::from_secs(200);
/// Wall-clock time for the same, kept by the server.
pub const WALL_TIME: Duration = Duration::from_secs(120);
/// CPU time for initialisation alone.
pub const INIT_CPU_TIME: Duration = Duration::from_secs(60);
/// Room in a file beside the function's memory: code, tables, headers.
const FILE_BYTES: u64 = 1 << 30;
/// How much worse a worker's scheduling priority is than the server's.
const NICENESS: i32 = 10;

/// Limits the current process to what a worker may use, and ties its life to the server's.
pub fn apply(config: &FunctionConfig, server: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The server may have died before the line above.
    if getppid().map(|pid| pid.as_raw_nonzero().get() as u32) != Some(server) {
        return Err(io::Error::other("the server is gone"));
    }
    limit(Resource::Core, 0, 0)?;
    // SIGXCPU at the first limit says why the worker died; the second is never reached.
    limit(Resource::Cpu, CPU_TIME.as_secs(), CPU_TIME.as_secs() + 1)?;
    let file_bytes = config.memory_bytes + FILE_BYTES;
    limit(Resource::Fsize, file_bytes, file_bytes)?;
    let memory_bytes = config.memory_bytes + COMPILER_MEMORY_BYTES;
    limit(Resource::Data, memory_bytes, memory_bytes)?;
    // Serving comes first.
    let _ = nice(NICENESS);
    Ok(())
}

/// Lowers a limit. One that is lower already, by the administrator's will, stays as it is.
fn limit(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let least = |value: u64, inherited: Option<u64>| {
        Some(inherited.map_or(value, |limit| limit.min(value)))
    };
    let inherited = getrlimit(resource);
    let limit = Rlimit {
        current: least(current, inherited.current),
        maximum: least(maximum, inherited.maximum),
    };
    setrlimit(resource, limit)?;
    Ok(())
}
