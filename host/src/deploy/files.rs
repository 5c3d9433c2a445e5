//! Deploying the files that `dormouse serve` is started with, before it serves.
//!
//! A file is deployed under its stem and only when it is not deployed already. It keeps the configuration of the function it
//! replaces, so that a restart does not undo what an administrator configured.

use super::{Change, DeployError, Deployments, Turn};
use crate::store::{FunctionName, Store};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a file was not deployed.
#[derive(Debug)]
pub enum FileError {
    Read(io::Error),
    /// Nothing in the directory has the suffix .wasm or .wat.
    NoModules,
    Name(String),
    /// Another file would be deployed under the same name.
    Twice {
        name: FunctionName,
        other: PathBuf,
    },
    Deploy(DeployError),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Read(error) => write!(f, "cannot be read: {error}"),
            FileError::NoModules => f.write_str("holds no .wasm or .wat files"),
            FileError::Name(error) => write!(
                f,
                "{error}; rename the file, or deploy it with `dormouse deploy NAME FILE`"
            ),
            FileError::Twice { name, other } => {
                write!(
                    f,
                    "{} is to be deployed as {name} too; rename one of them",
                    other.display()
                )
            }
            FileError::Deploy(error) => write!(f, "{error}"),
        }
    }
}

/// A file that was not deployed, with the reason.
pub type Failed = (PathBuf, FileError);

/// Finds the modules that are meant: files as they are, and in directories all with the suffix .wasm or .wat. The list
/// is by name of function.
pub fn find(paths: &[PathBuf]) -> Result<BTreeMap<FunctionName, PathBuf>, Vec<Failed>> {
    let mut files = Vec::new();
    let mut failed = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        match modules_of(path) {
            Ok(modules) if modules.is_empty() => failed.push((path.clone(), FileError::NoModules)),
            Ok(modules) => files.extend(modules),
            Err(error) => failed.push((path.clone(), FileError::Read(error))),
        }
    }
    let mut found: BTreeMap<FunctionName, PathBuf> = BTreeMap::new();
    for file in files {
        let stem = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match FunctionName::try_from(stem) {
            Err(error) => failed.push((file, FileError::Name(error.to_string()))),
            Ok(name) => match found.get(&name) {
                Some(other) if *other == file => {}
                Some(other) => {
                    let other = other.clone();
                    failed.push((file, FileError::Twice { name, other }));
                }
                None => drop(found.insert(name, file)),
            },
        }
    }
    if failed.is_empty() {
        Ok(found)
    } else {
        Err(failed)
    }
}

fn modules_of(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut modules = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_module = path
            .extension()
            .is_some_and(|suffix| suffix == "wasm" || suffix == "wat");
        if is_module && path.is_file() {
            modules.push(path);
        }
    }
    modules.sort();
    Ok(modules)
}

/// How far [`deploy`] is, for a line of progress.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    pub done: usize,
    pub total: usize,
    pub name: &'a FunctionName,
    pub change: Option<Change>,
}

/// Deploys the files and waits for all of them. Every file that failed is in the error; the others are deployed.
pub fn deploy(
    store: &mut Store,
    deployments: &mut Deployments,
    files: &BTreeMap<FunctionName, PathBuf>,
    mut progress: impl FnMut(Step<'_>),
) -> Result<(), Vec<Failed>> {
    let mut failed = Vec::new();
    let mut pending = HashMap::new();
    for (name, file) in files {
        let submitted = fs::read(file).map_err(FileError::Read).and_then(|module| {
            let config = store
                .function(name.as_str())
                .map(|function| function.current().config.clone());
            let config = config.unwrap_or_default();
            deployments
                .submit_unless_kept(store, name.clone(), config, &module)
                .map_err(FileError::Deploy)
        });
        match submitted {
            Ok(Some(id)) => drop(pending.insert(id, file)),
            Ok(None) => {}
            Err(error) => failed.push((file.clone(), error)),
        }
    }
    let total = pending.len();
    while !pending.is_empty() {
        for finished in next_turn(store, deployments).finished {
            let Some(file) = pending.remove(&finished.id) else {
                continue;
            };
            let change = finished
                .result
                .as_ref()
                .ok()
                .map(|deployed| deployed.change);
            progress(Step {
                done: total - pending.len(),
                total,
                name: &finished.name,
                change,
            });
            if let Err(error) = finished.result {
                failed.push((file.clone(), FileError::Deploy(error)));
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed)
    }
}

/// Waits until a deployment can go on and lets it.
pub fn next_turn(store: &mut Store, deployments: &mut Deployments) -> Turn {
    let turn = deployments.poll(store, Instant::now());
    if !turn.finished.is_empty() || deployments.is_empty() {
        return turn;
    }
    let timeout = deployments.next_deadline().map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    let fds: Vec<BorrowedFd<'_>> = deployments.fds().collect();
    let mut watched: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    // Interrupted or not, the deployments are looked at again.
    let _ = poll(&mut watched, timeout.as_ref());
    deployments.poll(store, Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_give_their_modules_and_files_are_taken_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["b.wasm", "a.wat", "readme.md", "c.bin"] {
            fs::write(at(name), b"").unwrap();
        }
        fs::create_dir(at("sub.wasm")).unwrap();
        let found = find(&[directory.path().to_owned(), at("c.bin"), at("a.wat")]).unwrap();
        let names: Vec<_> = found.keys().map(FunctionName::as_str).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn all_bad_files_are_told_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["a.wasm", "a.wat", "Bad Name.wasm"] {
            fs::write(at(name), b"").unwrap();
        }
        let empty = tempfile::tempdir().unwrap();
        let failed = find(&[directory.path().to_owned(), empty.path().to_owned()]).unwrap_err();
        assert_eq!(failed.len(), 3);
        let text: Vec<_> = failed
            .iter()
            .map(|(path, error)| format!("{}: {error}", path.display()))
            .collect();
        assert!(text.iter().any(|line| line.contains("Bad Name")));
        assert!(
            text.iter()
                .any(|line| line.contains("a.wasm is to be deployed as a too"))
        );
        assert!(text.iter().any(|line| line.contains("holds no")));
    }
}
