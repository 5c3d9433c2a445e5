//! What isolates functions elsewhere: a process, a container, a virtual machine. All run `programs/answer.c`, linked
//! statically, which is as little as can be run: what is measured is the isolation.

use super::Setting;
use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Compiles the program into a folder.
pub fn answerer(setting: &Setting, folder: &Path) -> Result<PathBuf> {
    let source = setting.root.join("benches/peers/programs/answer.c");
    let binary = folder.join("answer");
    let output = Command::new("cc")
        .args(["-O2", "-static", "-s", "-o"])
        .arg(&binary)
        .arg(&source)
        .output()
        .context("cc is not installed: apt-get install gcc libc6-dev")?;
    ensure!(
        output.status.success(),
        "{} does not compile: {}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(binary)
}

/// A process that is killed when it is not needed any more.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Container runtimes, the one that starts fastest first. crun does not run where cgroups are mounted in both versions.
const RUNTIMES: [&str; 2] = ["crun", "runc"];

/// A root directory with the program in it, and what a container of it is to be.
pub struct Bundle {
    runtime: &'static str,
    folder: PathBuf,
    bundles: AtomicU32,
}

impl Bundle {
    /// `Err` says what is missing, for the table.
    pub fn new(folder: &Path, answerer: &Path) -> Result<Bundle, String> {
        let make = || -> Result<()> {
            let root = folder.join("rootfs");
            for folder in ["proc", "dev"] {
                std::fs::create_dir_all(root.join(folder))?;
            }
            std::fs::copy(answerer, root.join("answer"))?;
            std::fs::write(root.join("data"), "Hello from Dormouse!\n")?;
            Ok(())
        };
        make().map_err(|error| error.to_string())?;
        let mut bundle = Bundle {
            runtime: RUNTIMES[0],
            folder: folder.to_owned(),
            bundles: AtomicU32::new(0),
        };
        let mut failures = Vec::new();
        for runtime in RUNTIMES {
            bundle.runtime = runtime;
            match bundle.nop() {
                Ok(()) => return Ok(bundle),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        Err(failures.join("; "))
    }

    /// How it is called in tables.
    pub fn name(&self) -> String {
        format!("container ({})", self.runtime)
    }

    /// A command that runs the program with these arguments in a container of its own: namespaces for processes, mounts, IPC
    /// and names; the network is the host's, so that setting one up does not count.
    fn command(&self, arguments: &[&str]) -> Result<(Command, String)> {
        let number = self.bundles.fetch_add(1, Ordering::Relaxed);
        let id = format!("dormouse-papers-{}-{number}", std::process::id());
        let bundle = self.folder.join(arguments.join("-").replace('/', "-"));
        if !bundle.exists() {
            std::fs::create_dir_all(&bundle)?;
            let mut all = vec!["/answer"];
            all.extend(arguments);
            let namespaces =
                ["pid", "mount", "ipc", "uts"].map(|kind| serde_json::json!({"type": kind}));
            // A /dev of its own, since the runtime makes files there, of several containers at a time.
            let mounts = serde_json::json!([
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}
            ]);
            let config = serde_json::json!({
                "ociVersion": "1.0.2",
                "process": {
                    "user": {"uid": 0, "gid": 0}, "args": all, "env": [], "cwd": "/",
                    "noNewPrivileges": true
                },
                "root": {"path": self.folder.join("rootfs"), "readonly": true},
                "mounts": mounts,
                "linux": {"namespaces": namespaces}
            });
            std::fs::write(bundle.join("config.json"), config.to_string())?;
        }
        let mut command = Command::new(self.runtime);
        command
            .args(["run", "--bundle"])
            .arg(&bundle)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Ok((command, id))
    }

    /// Runs the program to its end in a container.
    pub fn run(&self, arguments: &[&str]) -> Result<()> {
        let (mut command, id) = self.command(arguments)?;
        let output = command
            .arg(&id)
            .output()
            .with_context(|| format!("{} is not installed", self.runtime))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{} run ended with {}: {}",
            self.runtime,
            output.status,
            said.trim()
        );
        Ok(())
    }

    pub fn nop(&self) -> Result<()> {
        self.run(&["nop"])
    }

    /// Starts a server in a container that stays.
    pub fn serve(&self, address: SocketAddr) -> Result<Container> {
        let pid_file = self.folder.join(format!("{}.pid", address.port()));
        let (mut command, id) = self.command(&[&address.port().to_string()])?;
        let status = command
            .args(["--detach", "--pid-file"])
            .arg(&pid_file)
            .arg(&id)
            // A pipe would be the container's as well, and not end before it.
            .stderr(Stdio::null())
            .status()?;
        let pid = std::fs::read_to_string(&pid_file).unwrap_or_default();
        let pid = pid.trim().to_owned();
        let runtime = self.runtime;
        let container = Container { runtime, id, pid };
        ensure!(status.success(), "{runtime} run ended with {status}");
        Ok(container)
    }
}

/// A container that is removed when it is not needed any more.
pub struct Container {
    runtime: &'static str,
    id: String,
    /// Of its first process.
    pub pid: String,
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new(self.runtime)
            .args(["delete", "--force", &self.id])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// The processor time of this process's children that have ended.
pub fn children_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let us = |time: nix::sys::time::TimeVal| (time.tv_sec() * 1_000_000 + time.tv_usec()) as u64;
    Ok(Duration::from_micros(
        us(usage.user_time()) + us(usage.system_time()),
    ))
}

/// Cycles of the processor in a microsecond.
pub fn megahertz() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with("cpu MHz"));
    let value = line.and_then(|line| line.split(':').nth(1)?.trim().parse().ok());
    value.context("/proc/cpuinfo does not say how fast the processor is")
}
