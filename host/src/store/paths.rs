//! Where everything lies in the data directory.
//!
//! ```text
//!   DATA/
//!     lock                      held by the server, and by its compile workers until they end
//!     functions/NAME.manifest   one function: its versions, the current one first; replaced by rename
//!     versions/NAME/ID/         module.wasm, artifact, image, and base if the image has what differs from another alone:
//!                               never changed once they are here, and the same file for versions of the same module;
//!                               working-set: a note on the image, replaced as calls change, and not missed when lost
//!     staging/                  what is being written or deleted; emptied at start
//! ```
//!
//! All of it is on one file system, so that renames between these directories are atomic.

use super::manifest::Version;
use super::name::FunctionName;
use std::path::{Path, PathBuf};

/// The files of a version.
pub const MODULE_FILE: &str = "module.wasm";
pub const ARTIFACT_FILE: &str = "artifact";
pub const IMAGE_FILE: &str = "image";
pub const BASE_FILE: &str = "base";
pub const WORKING_SET_FILE: &str = "working-set";

const MANIFEST_SUFFIX: &str = ".manifest";

/// The paths below a data directory.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    pub fn new(root: impl Into<PathBuf>) -> Paths {
        Paths { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub fn functions(&self) -> PathBuf {
        self.root.join("functions")
    }

    pub fn manifest(&self, name: &FunctionName) -> PathBuf {
        self.functions().join(format!("{name}{MANIFEST_SUFFIX}"))
    }

    /// The function whose manifest has this file name.
    pub fn function_of(file_name: &str) -> Option<FunctionName> {
        file_name.strip_suffix(MANIFEST_SUFFIX)?.parse().ok()
    }

    /// Directories of all functions' versions.
    pub fn all_versions(&self) -> PathBuf {
        self.root.join("versions")
    }

    /// Directories of a function's versions.
    pub fn versions(&self, name: &FunctionName) -> PathBuf {
        self.all_versions().join(name.as_str())
    }

    /// The directory of one version.
    pub fn version(&self, version: &Version) -> PathBuf {
        self.versions(&version.name).join(version.directory())
    }

    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }
}
