//! Why a deployment failed, in the words of the function's author.

use crate::store::StoreError;
use crate::units::format_duration;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::time::Duration;

/// What a worker refused a module for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Not valid WebAssembly, in binary or text.
    InvalidModule,
    /// It imports what is not offered.
    MissingImport,
    /// It exports neither or both of `_start` and `handle`, or one of the wrong type.
    NotAFunction,
    /// It needs more than its configuration allows.
    LimitExceeded,
    /// Its initialisation trapped or took too long.
    InitFailed,
    /// The disk is full.
    DiskFull,
    /// The server could not do its part.
    Internal,
}

impl FailureKind {
    /// The word for the kind in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::InvalidModule => "invalid-module",
            FailureKind::MissingImport => "missing-import",
            FailureKind::NotAFunction => "not-a-function",
            FailureKind::LimitExceeded => "limit-exceeded",
            FailureKind::InitFailed => "init-failed",
            FailureKind::DiskFull => "disk-full",
            FailureKind::Internal => "internal",
        }
    }
}

/// A worker's answer when it could not make a version of the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl fmt::Display) -> Failure {
        Failure {
            kind,
            message: message.to_string(),
        }
    }

    /// An I/O operation of the worker failed.
    pub fn io(what: &str, error: &io::Error) -> Failure {
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        let kind = if full {
            FailureKind::DiskFull
        } else {
            FailureKind::Internal
        };
        let way_out = if full { "; make room on that disk" } else { "" };
        Failure::new(kind, format_args!("{what}: {error}{way_out}"))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let kind = if error.is_full() {
            FailureKind::DiskFull
        } else {
            FailureKind::Internal
        };
        Failure::new(kind, error)
    }
}

/// How a worker ended that gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    Signal(i32),
    Exit(i32),
    /// It asked for more memory than it may have.
    OutOfMemory,
    /// It used up its CPU time.
    CpuTime,
}

#[derive(Debug)]
pub enum DeployError {
    /// The module cannot be served.
    Refused(Failure),
    /// The compiler crashed or exceeded its limits over the module. `log` is the end of what it said.
    Crashed { crash: Crash, log: String },
    /// The compiler or the initialisation took too long.
    TimedOut { limit: Duration },
    /// The store could not be read or changed.
    Store(StoreError),
    /// The worker process could not be started or waited for.
    Worker(io::Error),
}

impl DeployError {
    /// A word for the error in JSON.
    pub fn code(&self) -> &'static str {
        match self {
            DeployError::Refused(failure) => failure.kind.as_str(),
            DeployError::Crashed { .. } => "compiler-crashed",
            DeployError::TimedOut { .. } => "compiler-timed-out",
            DeployError::Store(error) if error.is_full() => "disk-full",
            DeployError::Store(_) | DeployError::Worker(_) => "internal",
        }
    }
}

impl From<StoreError> for DeployError {
    fn from(error: StoreError) -> DeployError {
        DeployError::Store(error)
    }
}

/// Names of the signals that end processes.
const SIGNALS: [(Signal, &str); 11] = [
    (Signal::ABORT, "SIGABRT"),
    (Signal::BUS, "SIGBUS"),
    (Signal::FPE, "SIGFPE"),
    (Signal::ILL, "SIGILL"),
    (Signal::KILL, "SIGKILL"),
    (Signal::SEGV, "SIGSEGV"),
    (Signal::SYS, "SIGSYS"),
    (Signal::TERM, "SIGTERM"),
    (Signal::TRAP, "SIGTRAP"),
    (Signal::XCPU, "SIGXCPU"),
    (Signal::XFSZ, "SIGXFSZ"),
];

/// The name of a signal by its number.
fn signal_name(number: i32) -> &'static str {
    let signal = SIGNALS.iter().find(|(signal, _)| signal.as_raw() == number);
    signal.map_or("a signal", |(_, name)| *name)
}

impl fmt::Display for DeployError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeployError::Refused(failure) => f.write_str(&failure.message),
            DeployError::Crashed { crash, log } => {
                match crash {
                    Crash::OutOfMemory => f.write_str(
                        "compiling or initialising the module takes more memory than is allowed",
                    )?,
                    Crash::CpuTime => f.write_str(
                        "compiling or initialising the module takes more CPU time than is allowed",
                    )?,
                    Crash::Signal(signal) => write!(
                        f,
                        "the compiler crashed over this module: {} (signal {signal})",
                        signal_name(*signal)
                    )?,
                    Crash::Exit(code) => write!(
                        f,
                        "the compiler failed over this module and ended with exit code {code}"
                    )?,
                }
                if !log.is_empty() {
                    write!(f, ": {log}")?;
                }
                Ok(())
            }
            DeployError::TimedOut { limit } => write!(
                f,
                "compiling and initialising the module took longer than {}",
                format_duration(*limit)
            ),
            DeployError::Store(error) => write!(f, "{error}"),
            DeployError::Worker(error) => write!(f, "the compile worker cannot be run: {error}"),
        }
    }
}

impl std::error::Error for DeployError {}
