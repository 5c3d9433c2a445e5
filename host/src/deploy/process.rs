//! A compile worker as the server sees it: a child process with a pipe.
//!
//! The pipe's end is the child's end: nobody else holds its writing side. Dropping a running worker kills it.

use super::error::{Crash, DeployError};
use super::job::{Answer, JobDirectory};
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How much of a worker's last words goes into an error.
const LOG_BYTES_MAX: usize = 2000;

/// A child process at work.
pub struct WorkerProcess {
    child: Child,
    stdout: ChildStdout,
    answer: Vec<u8>,
    directory: PathBuf,
    deadline: Instant,
    wall_time: Duration,
    killed: bool,
}

impl WorkerProcess {
    /// Starts the program on a job's directory. The child holds the store's lock as its stdin, so that a server that is
    /// restarted does not open the store before the last worker is gone.
    pub fn start(
        program: &Path,
        directory: &Path,
        lock: &File,
        now: Instant,
        wall_time: Duration,
    ) -> io::Result<WorkerProcess> {
        let log = File::create(JobDirectory(directory).log())?;
        let mut child = Command::new(program)
            .arg0("dormouse")
            .arg(super::worker::SUBCOMMAND)
            .arg(directory)
            .env_clear()
            // Ctrl-C at the server's terminal is for the server, which finishes what runs.
            .process_group(0)
            .stdin(Stdio::from(lock.try_clone()?))
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log))
            .spawn()?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let process = WorkerProcess {
            child,
            stdout,
            answer: Vec::new(),
            directory: directory.to_owned(),
            deadline: now + wall_time,
            wall_time,
            killed: false,
        };
        let flags = rustix::fs::fcntl_getfl(&process.stdout)?;
        rustix::fs::fcntl_setfl(&process.stdout, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(process)
    }

    /// When the worker will be killed; nothing when it has been.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.killed).then_some(self.deadline)
    }

    /// Reads what there is, and kills the worker when its time is up. Its answer, or what became of it, once it has ended.
    pub fn poll(&mut self, now: Instant) -> Option<Result<Answer, DeployError>> {
        if !self.killed && now >= self.deadline {
            self.kill();
        }
        loop {
            let mut buffer = [0; 4096];
            match self.stdout.read(&mut buffer) {
                Ok(0) => return Some(self.end()),
                Ok(count) if self.answer.len() + count <= ANSWER_BYTES_MAX => {
                    self.answer.extend_from_slice(&buffer[..count]);
                }
                // No worker says so much; what it says is not believed.
                Ok(_) => self.kill(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.kill();
                    return Some(Err(DeployError::Worker(error)));
                }
            }
        }
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        self.killed = true;
    }

    /// The worker has closed its pipe: it has ended, or is about to.
    fn end(&mut self) -> Result<Answer, DeployError> {
        let status = self.child.wait().map_err(DeployError::Worker)?;
        let answer = serde_json::from_slice(&self.answer).ok();
        if let Some(answer) = answer.filter(|_| status.success()) {
            return Ok(answer);
        }
        if self.killed {
            return Err(DeployError::TimedOut {
                limit: self.wall_time,
            });
        }
        let log = self.last_words();
        Err(DeployError::Crashed {
            crash: crash(status, &log),
            log,
        })
    }

    /// The end of what the worker wrote to its stderr, in one line.
    fn last_words(&self) -> String {
        let log = fs::read(JobDirectory(&self.directory).log()).unwrap_or_default();
        let end = &log[log.len().saturating_sub(LOG_BYTES_MAX)..];
        let text = String::from_utf8_lossy(end);
        let lines: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        lines.join("; ")
    }
}

/// What becomes readable when there is something to do.
impl AsFd for WorkerProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// How a worker without an answer came to its end.
fn crash(status: ExitStatus, log: &str) -> Crash {
    let is = |signal: Signal| status.signal() == Some(signal.as_raw());
    if is(Signal::XCPU) {
        return Crash::CpuTime;
    }
    // Before it aborts for want of memory, Rust says so. A kill that was not the server's is the kernel's, when memory
    // has run out.
    if is(Signal::ABORT) && log.contains("memory allocation of") || is(Signal::KILL) {
        return Crash::OutOfMemory;
    }
    match status.signal() {
        Some(signal) => Crash::Signal(signal),
        None => Crash::Exit(status.code().unwrap_or(-1)),
    }
}
