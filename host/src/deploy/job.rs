//! What the server asks of a compile worker, and what the worker answers.
//!
//! ```text
//!   staging/JOB/
//!     job.json      the request
//!     source        the module as it was sent
//!     version/      module.wasm, artifact, image, perhaps base: what becomes the version's directory
//!     worker.log    the worker's stderr
//! ```
//!
//! The answer is one JSON value on the worker's stdout. The worker commits the version itself, so that the server's
//! loop never waits for the disk; an answer that is a version has been committed.

use super::error::Failure;
use crate::store::change::Place;
use crate::store::{FunctionConfig, FunctionName, Version};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The worker's request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    pub data: PathBuf,
    /// The server's process id: the worker does not outlive it.
    pub server: u32,
    pub name: FunctionName,
    pub id: String,
    pub module_id: String,
    pub config: FunctionConfig,
    /// The module, as binary or text.
    pub source: PathBuf,
    /// Whether an existing version is built again, rather than a new one made current.
    pub rebuild: bool,
    /// The directory of another version of the module, from this compiler: what it has in common with the new one is not made
    /// again, and stored once.
    pub sibling: Option<PathBuf>,
}

impl Job {
    pub fn place(&self) -> Place {
        if self.rebuild {
            Place::SameId
        } else {
            Place::Current
        }
    }
}

/// The worker's answer.
pub type Answer = Result<Version, Failure>;

/// The paths of a job's directory.
pub struct JobDirectory<'a>(pub &'a Path);

impl JobDirectory<'_> {
    pub fn job(&self) -> PathBuf {
        self.0.join("job.json")
    }

    pub fn source(&self) -> PathBuf {
        self.0.join("source")
    }

    pub fn version(&self) -> PathBuf {
        self.0.join("version")
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("worker.log")
    }
}
