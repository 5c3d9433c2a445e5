//! What can go wrong with the store, in the words of whoever runs the server.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub enum StoreError {
    /// No environment variable says where data may be kept.
    NoDirectory,
    /// Another server uses the directory.
    Locked { directory: PathBuf },
    /// A file operation failed.
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// There is no function of this name.
    NoFunction { name: String },
    /// The function has no version of this id, or none before the current one.
    NoVersion {
        name: String,
        wanted: Option<String>,
        known: Vec<String>,
    },
    /// The manifest of a function cannot be read.
    Damaged { path: PathBuf, cause: String },
}

impl StoreError {
    /// Makes an error of a failed operation: `.map_err(StoreError::io("cannot write", path))`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io {
            action,
            path,
            source,
        }
    }

    /// Whether there is no room left, on the disk or in the quota.
    pub fn is_full(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        ))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::NoDirectory => f.write_str(
                "no data directory: HOME is not set; name one with --data DIR or the variable DORMOUSE_DATA",
            ),
            StoreError::Locked { directory } => write!(
                f,
                "{}: another dormouse server uses this data directory; stop it or choose another with --data DIR",
                directory.display()
            ),
            StoreError::Io { action, path, source } => {
                write!(f, "{}: {action}: {source}", path.display())?;
                if self.is_full() {
                    f.write_str("; make room on that disk")?;
                } else if source.kind() == io::ErrorKind::PermissionDenied {
                    f.write_str("; choose a directory this user may write with --data DIR")?;
                }
                Ok(())
            }
            StoreError::NoFunction { name } => write!(f, "there is no function {name}"),
            StoreError::NoVersion { name, wanted: Some(wanted), known } => {
                write!(f, "{name} has no version {wanted}; kept are {}", known.join(", "))
            }
            StoreError::NoVersion { name, wanted: None, .. } => {
                write!(f, "{name} has no earlier version to go back to")
            }
            StoreError::Damaged { path, cause } => {
                write!(f, "{}: the manifest is damaged ({cause}); deploy the function again", path.display())
            }
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
