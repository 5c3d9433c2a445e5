//! A virtual machine that is as small as QEMU makes them (`-M microvm`, KVM), with `programs/answer.c` as its first process.
//!
//! It is asked over its serial port: a network would need drivers, whose loading would be most of the start.

use super::baseline::Running;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const QEMU: &str = "qemu-system-x86_64";

/// A machine that has not answered by then does not run here.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a machine is made of.
pub struct Plan {
    kernel: PathBuf,
    initrd: PathBuf,
}

/// A machine that runs, until it is dropped.
pub struct Machine {
    pub process: Running,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Plan {
    /// `Err` says what is missing, for the table.
    pub fn new(folder: &Path, answerer: &Path, kernel: Option<&Path>) -> Result<Plan, String> {
        if !Path::new("/dev/kvm").exists() {
            return Err("there is no /dev/kvm".to_owned());
        }
        if Command::new(QEMU).arg("--version").output().is_err() {
            return Err("QEMU is not installed (apt-get install qemu-system-x86)".to_owned());
        }
        let kernel = kernel
            .map(Path::to_owned)
            .or_else(newest_kernel)
            .ok_or("there is no kernel in /boot; name one with --vm-kernel")?;
        let initrd = folder.join("initrd");
        let archive = std::fs::read(answerer).map(|init| initial_files(&init));
        archive
            .and_then(|archive| std::fs::write(&initrd, archive))
            .map_err(|error| error.to_string())?;
        Ok(Plan { kernel, initrd })
    }

    /// Starts a machine and returns when it is ready to answer.
    pub fn start(&self) -> Result<Machine> {
        let mut child = Command::new(QEMU)
            .args([
                "-M",
                "microvm",
                "-enable-kvm",
                "-cpu",
                "host,-arch-capabilities",
            ])
            .args(["-m", "128M", "-nodefaults", "-no-user-config", "-nographic"])
            .args([
                "-serial",
                "stdio",
                "-append",
                "quiet console=null panic=-1 reboot=t",
            ])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initrd)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start QEMU")?;
        let input = child.stdin.take().context("the serial port is piped")?;
        let output = child.stdout.take().context("the serial port is piped")?;
        let process = Running(child);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut machine = Machine {
            process,
            input,
            lines,
        };
        while !machine.line()?.contains("ready") {}
        Ok(machine)
    }
}

impl Machine {
    fn line(&mut self) -> Result<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(_) => bail!(
                "the machine said nothing for {} s: its kernel does not come up on this host's KVM",
                PATIENCE.as_secs()
            ),
        }
    }

    /// A request and its response.
    pub fn ask(&mut self) -> Result<()> {
        self.input.write_all(b"GET\n")?;
        self.input.flush()?;
        while !self.line()?.contains("Hello") {}
        Ok(())
    }
}

fn newest_kernel() -> Option<PathBuf> {
    let entries = std::fs::read_dir("/boot").ok()?;
    let kernels = entries.filter_map(|entry| Some(entry.ok()?.path()));
    kernels
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
        })
        .max()
}

/// A file system for the start (cpio(5), the new ASCII format): the program, and the device for its console.
fn initial_files(init: &[u8]) -> Vec<u8> {
    const DIRECTORY: u32 = 0o040_755;
    const DEVICE: u32 = 0o020_600;
    const PROGRAM: u32 = 0o100_755;
    let mut archive = Vec::new();
    let mut add = |name: &str, mode: u32, contents: &[u8], device: (u32, u32)| {
        let inode = archive.len() as u32 + 1;
        let fields = [
            inode,
            mode,
            0,
            0,
            1,
            0,
            contents.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        archive.extend_from_slice(b"070701");
        for field in fields {
            archive.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(contents);
        archive.resize(archive.len().next_multiple_of(4), 0);
    };
    add("dev", DIRECTORY, b"", (0, 0));
    add("dev/console", DEVICE, b"", (5, 1));
    add("init", PROGRAM, init, (0, 0));
    add("TRAILER!!!", 0, b"", (0, 0));
    archive
}
