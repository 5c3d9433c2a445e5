//! The start of a process: a command that does nothing, compiled ahead, run by each engine's command line.

use crate::report::Spread;
use crate::system;
use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Starts in one batch.
const BATCH: u32 = 50;

/// What many starts took.
#[derive(Debug, Serialize, Deserialize)]
struct Starts {
    wall_ns: Vec<u64>,
    /// Time of the processor, for all together.
    processor_ns: u64,
    /// The most resident memory of any of them.
    resident_bytes: u64,
}

/// The start of a process by one of the peers.
#[derive(Debug, Serialize)]
pub struct Started {
    pub peer: &'static str,
    pub wall_us: Spread,
    pub processor_us: Spread,
    pub resident_bytes: u64,
    pub binary_bytes: u64,
}

/// The worker's side: starts the command so many times, one after the other.
pub fn start(times: u32, command: &[OsString]) -> Result<()> {
    system::pin(system::MEASURED_CORE)?;
    let mut wall_ns = Vec::new();
    for _ in 0..times {
        let begin = Instant::now();
        let status = Command::new(&command[0]).args(&command[1..]).status()?;
        wall_ns.push(begin.elapsed().as_nanos() as u64);
        ensure!(status.success(), "{command:?} ended with {status}");
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let ns = |time: nix::sys::time::TimeVal| (time.tv_sec() * 1_000_000 + time.tv_usec()) * 1000;
    let starts = Starts {
        wall_ns,
        processor_ns: (ns(usage.user_time()) + ns(usage.system_time())) as u64,
        resident_bytes: usage.max_rss() as u64 * 1024,
    };
    println!("{}", serde_json::to_string(&starts)?);
    Ok(())
}

/// Starts both in turns.
pub fn measure(dormouse: &Path, wasmtime: &Path, rounds: usize) -> Result<Vec<Started>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let nop = root.join("guests/commands/nop.wasm");
    let folder = tempfile::tempdir()?;
    let mut peers = Vec::new();
    for (peer, binary, before) in [
        ("dormouse", dormouse, &["run"][..]),
        ("wasmtime", wasmtime, &["run", "--allow-precompiled"]),
    ] {
        let compiled = folder.path().join(format!("nop.{peer}"));
        let output = Command::new(binary)
            .args(["compile".as_ref(), nop.as_os_str(), "-o".as_ref()])
            .arg(&compiled)
            .output()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        ensure!(
            output.status.success(),
            "{} does not compile: {}",
            binary.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        let mut command: Vec<OsString> = vec![binary.into()];
        command.extend(before.iter().map(OsString::from));
        command.push(compiled.into());
        peers.push((peer, binary, command, Vec::<Starts>::new()));
    }
    for _ in 0..rounds {
        for (_, _, command, batches) in &mut peers {
            let output = Command::new(std::env::current_exe()?)
                .args(["compute-start", &BATCH.to_string(), "--"])
                .args(&*command)
                .output()?;
            ensure!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            batches.push(serde_json::from_slice(&output.stdout)?);
        }
    }
    peers
        .into_iter()
        .map(|(peer, binary, _, batches)| {
            let all = batches.iter().flat_map(|batch| &batch.wall_ns);
            let each = f64::from(BATCH) * 1000.0;
            Ok(Started {
                peer,
                wall_us: Spread::of(all.map(|ns| *ns as f64 / 1000.0).collect()),
                processor_us: Spread::of(
                    batches
                        .iter()
                        .map(|batch| batch.processor_ns as f64 / each)
                        .collect(),
                ),
                resident_bytes: batches
                    .iter()
                    .map(|batch| batch.resident_bytes)
                    .max()
                    .unwrap_or(0),
                binary_bytes: binary.metadata()?.len(),
            })
        })
        .collect()
}

/// A program by its path, or from the folders of `PATH`.
pub fn find(binary: &Path) -> Option<PathBuf> {
    if binary.components().count() > 1 {
        return binary.exists().then(|| binary.to_owned());
    }
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(binary))
        .find(|path| path.exists())
}
