//! Changes to the data directory, each atomic and durable when it returns.
//!
//! The manifest's rename is the one instant at which a change happens. Everything a manifest names is complete and
//! synced before; everything it no longer names is deleted after. Whatever a crash leaves behind is therefore a
//! file that no manifest names, and is swept later.
//!
//! The functions here keep nothing in memory: a compile worker commits its version itself, so that the server's
//! loop does not wait for the disk. The server sees to it that a function is changed by one at a time.

use super::disk::Disk;
use super::error::StoreError;
use super::manifest::{Function, Version};
use super::name::FunctionName;
use super::paths::{ARTIFACT_FILE, IMAGE_FILE, MODULE_FILE, Paths};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io, process};

/// How a new build enters a function's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It becomes the current version.
    Current,
    /// It takes the place of the build with its id, current or not.
    SameId,
}

/// Reads a function's manifest.
pub fn read(paths: &Paths, name: &FunctionName) -> Result<Function, StoreError> {
    let path = paths.manifest(name);
    let bytes = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::NoFunction {
            name: name.to_string(),
        },
        _ => StoreError::io("cannot read", &path)(error),
    })?;
    Function::decode(name, &bytes).map_err(|cause| StoreError::Damaged { path, cause })
}

/// A fresh path in the staging directory; two calls never give the same one.
pub fn staging_path(paths: &Paths) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    paths.staging().join(format!("{}-{number}", process::id()))
}

/// Makes the version whose files lie in the directory `staged` part of its function.
///
/// The version's build number is chosen here, so that it is in nobody's way. Answers with the version as recorded.
pub fn commit(
    paths: &Paths,
    disk: &dyn Disk,
    staged: &Path,
    mut version: Version,
    place: Place,
) -> Result<Version, StoreError> {
    let function = match read(paths, &version.name) {
        Ok(function) => Some(function),
        // Deploying again is the way out of a damaged manifest.
        Err(StoreError::NoFunction { .. } | StoreError::Damaged { .. }) => None,
        Err(error) => return Err(error),
    };
    let same_id = function
        .as_ref()
        .and_then(|function| function.version(&version.id));
    version.build = same_id.map_or(0, |same| same.build + 1);

    let mark = Mark::set(paths, disk, &version.name)?;
    let directory = paths.version(&version);
    let moved = move_in(paths, disk, staged, &version);
    let recorded = moved.and_then(|()| {
        let function = match function {
            Some(mut function) if place == Place::SameId && same_id_in(&function, &version) => {
                function.replace(version.clone());
                function
            }
            Some(mut function) => {
                function.make_current(version.clone());
                function
            }
            None => Function::new(version.clone()),
        };
        write_manifest(paths, disk, &function)
    });
    if let Err(error) = recorded {
        // The old manifest may be what a power failure leaves, even if the new one is in its place already.
        // So nothing it names is deleted now; what is too much goes at the next start.
        let named =
            read(paths, &version.name).is_ok_and(|function| function.versions().contains(&version));
        if !named {
            let _ = discard(paths, disk, &directory);
        }
        return Err(error);
    }
    // The change is made. What cannot be deleted now is deleted at the next start, for the mark stays.
    if sweep(paths, disk, &version.name).is_ok() {
        mark.clear(disk);
    }
    Ok(version)
}

fn same_id_in(function: &Function, version: &Version) -> bool {
    function.version(&version.id).is_some()
}

/// Syncs a version's files and moves them to their place.
fn move_in(
    paths: &Paths,
    disk: &dyn Disk,
    staged: &Path,
    version: &Version,
) -> Result<(), StoreError> {
    let sync_dir = |path: &Path| {
        disk.sync_dir(path)
            .map_err(StoreError::io("cannot write to disk", path))
    };
    // A base was synced as the image of another version.
    for file in [MODULE_FILE, ARTIFACT_FILE, IMAGE_FILE] {
        let path = staged.join(file);
        disk.sync_file(&path)
            .map_err(StoreError::io("cannot write to disk", &path))?;
    }
    sync_dir(staged)?;
    let versions = paths.versions(&version.name);
    disk.create_dir(&versions)
        .map_err(StoreError::io("cannot create", &versions))?;
    sync_dir(&paths.all_versions())?;
    let directory = paths.version(version);
    if directory.exists() {
        // A deployment that did not live to record its version left this.
        discard(paths, disk, &directory)?;
    }
    disk.rename(staged, &directory)
        .map_err(StoreError::io("cannot move the version to", &directory))?;
    sync_dir(&versions)
}

/// A file in the staging directory that says a function's versions are being changed, so that only such functions
/// need to be looked through at the next start.
struct Mark(PathBuf);

const MARK_PREFIX: &str = "changing.";

impl Mark {
    fn set(paths: &Paths, disk: &dyn Disk, name: &FunctionName) -> Result<Mark, StoreError> {
        let path = paths.staging().join(format!("{MARK_PREFIX}{name}"));
        disk.write(&path, &[])
            .and_then(|()| disk.sync_dir(&paths.staging()))
            .map_err(StoreError::io("cannot write", &path))?;
        Ok(Mark(path))
    }

    fn clear(self, disk: &dyn Disk) {
        let _ = disk.remove_file(&self.0);
    }
}

/// The function a file of the staging directory marks as being changed.
pub fn marked_function(file_name: &str) -> Option<FunctionName> {
    file_name.strip_prefix(MARK_PREFIX)?.parse().ok()
}

/// Deletes what lies in a function's directory of versions and is not named by its manifest.
///
/// Nothing is deleted while the manifest is damaged: it may yet be restored.
pub fn sweep(paths: &Paths, disk: &dyn Disk, name: &FunctionName) -> Result<(), StoreError> {
    let directory = paths.versions(name);
    let function = match read(paths, name) {
        Ok(function) => function,
        Err(StoreError::NoFunction { .. }) => return discard(paths, disk, &directory),
        Err(error) => return Err(error),
    };
    let kept: Vec<String> = function.versions().iter().map(Version::directory).collect();
    for entry in list(&directory)? {
        if !kept.iter().any(|kept| entry.to_str() == Some(kept)) {
            discard(paths, disk, &directory.join(entry))?;
        }
    }
    Ok(())
}

/// The names of a directory's entries.
pub fn list(directory: &Path) -> Result<Vec<OsString>, StoreError> {
    fs::read_dir(directory)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<_>>()
        })
        .map_err(StoreError::io("cannot read", directory))
}

/// Makes a kept version current: the given one, or the one that was current before.
pub fn rollback(
    paths: &Paths,
    disk: &dyn Disk,
    name: &FunctionName,
    id: Option<&str>,
) -> Result<Function, StoreError> {
    let mut function = read(paths, name)?;
    let version = match id {
        Some(id) => function.version(id),
        None => function.versions().get(1),
    };
    let Some(version) = version.cloned() else {
        return Err(StoreError::NoVersion {
            name: name.to_string(),
            wanted: id.map(str::to_owned),
            known: function
                .versions()
                .iter()
                .map(|version| version.id.clone())
                .collect(),
        });
    };
    if version != *function.current() {
        function.make_current(version);
        write_manifest(paths, disk, &function)?;
    }
    Ok(function)
}

/// Removes a function with all its versions.
pub fn remove(paths: &Paths, disk: &dyn Disk, name: &FunctionName) -> Result<(), StoreError> {
    let manifest = paths.manifest(name);
    if !manifest.exists() {
        return Err(StoreError::NoFunction {
            name: name.to_string(),
        });
    }
    // Where there is no room even for the mark, removing is the way to make some.
    let mark = Mark::set(paths, disk, name).ok();
    disk.remove_file(&manifest)
        .map_err(StoreError::io("cannot remove", &manifest))?;
    let functions = paths.functions();
    disk.sync_dir(&functions)
        .map_err(StoreError::io("cannot write to disk", &functions))?;
    let discarded = discard(paths, disk, &paths.versions(name));
    if let (Ok(()), Some(mark)) = (discarded, mark) {
        mark.clear(disk);
    }
    Ok(())
}

/// Deletes a directory that no manifest names, in such a way that its name is free at once.
pub fn discard(paths: &Paths, disk: &dyn Disk, directory: &Path) -> Result<(), StoreError> {
    let trash = staging_path(paths);
    match disk.rename(directory, &trash) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(StoreError::io("cannot remove", directory))?,
    }
    disk.remove_dir_all(&trash)
        .map_err(StoreError::io("cannot remove", &trash))
}

/// Switches a function to what is recorded here.
fn write_manifest(paths: &Paths, disk: &dyn Disk, function: &Function) -> Result<(), StoreError> {
    let path = paths.manifest(function.name());
    let staged = staging_path(paths);
    let written = disk
        .write(&staged, &function.encode())
        .and_then(|()| disk.sync_file(&staged))
        .and_then(|()| disk.rename(&staged, &path));
    if let Err(error) = written {
        let _ = disk.remove_file(&staged);
        return Err(StoreError::io("cannot write", &path)(error));
    }
    let functions = paths.functions();
    disk.sync_dir(&functions)
        .map_err(StoreError::io("cannot write to disk", &functions))
}
