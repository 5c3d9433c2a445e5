//! The functions a server knows, on disk and in memory.
//!
//! * A change that was answered survives `kill -9` and power failure at any instant; one that was not leaves the old
//!   state or the new one (`change.rs`).
//! * Opening reads one small file for each function and writes nothing unless there is something to sweep.
//! * A damaged manifest is reported and leaves the other functions alone.
//!
//! Artifacts and images are verified by the engine when it opens them. What does not match this binary or processor
//! is built again from `module.wasm`, which is always kept.

pub mod change;
mod config;
mod disk;
mod error;
mod manifest;
mod name;
mod paths;
#[cfg(test)]
mod tests;

pub use crate::interface::Kind;
pub use config::{FunctionConfig, MEMORY_BYTES_MAX, SETTINGS, STACK_BYTES_MAX, TABLE_ELEMENTS_MAX};
pub use disk::{Disk, OsDisk};
pub use error::StoreError;
pub use manifest::{Function, VERSIONS_KEPT, Version, module_id, version_id};
pub use name::{FunctionName, InvalidName, NAME_BYTES_MAX};
pub use paths::{ARTIFACT_FILE, BASE_FILE, IMAGE_FILE, MODULE_FILE, Paths, WORKING_SET_FILE};

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, io, thread};

/// How long opening waits for the lock: the workers of a server that was just killed hold it until they are dead too.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The functions of one data directory. There is one `Store` for a directory at a time.
pub struct Store {
    paths: Paths,
    disk: Box<dyn Disk>,
    functions: BTreeMap<FunctionName, Function>,
    /// Which functions have versions of a module, by its id.
    modules: BTreeSet<(String, String)>,
    damaged: BTreeMap<FunctionName, StoreError>,
    lock: File,
}

impl Store {
    /// Opens the data directory and creates it when there is none.
    pub fn open(directory: &Path) -> Result<Store, StoreError> {
        Store::open_on(directory, Box::new(OsDisk))
    }

    /// Opens the data directory by way of other file operations.
    pub fn open_on(directory: &Path, disk: Box<dyn Disk>) -> Result<Store, StoreError> {
        let paths = Paths::new(directory);
        fs::create_dir_all(directory).map_err(StoreError::io(
            "cannot create the data directory",
            directory,
        ))?;
        let lock = lock(&paths)?;
        for path in [paths.functions(), paths.all_versions(), paths.staging()] {
            if !path.is_dir() {
                disk.create_dir(&path)
                    .map_err(StoreError::io("cannot create", &path))?;
                disk.sync_dir(directory)
                    .map_err(StoreError::io("cannot write to disk", directory))?;
            }
        }
        sweep_staging(&paths, &*disk)?;
        let mut store = Store {
            paths,
            disk,
            functions: BTreeMap::new(),
            modules: BTreeSet::new(),
            damaged: BTreeMap::new(),
            lock,
        };
        for file_name in change::list(&store.paths.functions())? {
            if let Some(name) = file_name.to_str().and_then(Paths::function_of) {
                store.reload(&name);
            }
        }
        Ok(store)
    }

    /// Where `serve` keeps its data unless told otherwise: `$DORMOUSE_DATA`, else `$XDG_DATA_HOME/dormouse`, else
    /// `~/.local/share/dormouse` (XDG Base Directory Specification).
    pub fn default_directory() -> Result<PathBuf, StoreError> {
        let variable = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        variable("DORMOUSE_DATA")
            .or_else(|| {
                variable("XDG_DATA_HOME")
                    .filter(|path| path.is_absolute())
                    .map(|path| path.join("dormouse"))
            })
            .or_else(|| variable("HOME").map(|path| path.join(".local/share/dormouse")))
            .ok_or(StoreError::NoDirectory)
    }

    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The lock on the directory, for a child process that must not be outlived by it.
    pub fn lock(&self) -> &File {
        &self.lock
    }

    /// All functions, by name.
    pub fn functions(&self) -> impl ExactSizeIterator<Item = &Function> {
        self.functions.values()
    }

    /// The version of every function that serves requests.
    pub fn versions(&self) -> impl ExactSizeIterator<Item = &Version> {
        self.functions.values().map(Function::current)
    }

    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.get(name)
    }

    /// Functions that cannot be served, each with the reason.
    pub fn damaged(&self) -> impl ExactSizeIterator<Item = (&FunctionName, &StoreError)> {
        self.damaged.iter()
    }

    /// Reads again what is on disk of this function, after a worker has changed it.
    pub fn reload(&mut self, name: &FunctionName) {
        let modules = |function: &Function| {
            let versions = function.versions().iter();
            versions
                .map(|version| (version.module_id.clone(), name.to_string()))
                .collect::<Vec<_>>()
        };
        for known in self.functions.remove(name).iter().flat_map(modules) {
            self.modules.remove(&known);
        }
        self.damaged.remove(name);
        match change::read(&self.paths, name) {
            Ok(function) => {
                self.modules.extend(modules(&function));
                self.functions.insert(name.clone(), function);
            }
            Err(StoreError::NoFunction { .. }) => {}
            Err(error) => {
                self.damaged.insert(name.clone(), error);
            }
        }
    }

    /// Another version of a module, from this compiler.
    pub fn sibling(
        &self,
        module_id: &str,
        compiler: &str,
        is_itself: impl Fn(&Version) -> bool,
    ) -> Option<&Version> {
        let first = (module_id.to_owned(), String::new());
        self.modules
            .range(first..)
            .take_while(|(id, _)| id == module_id && !id.is_empty())
            .filter_map(|(_, name)| self.functions.get(name.as_str()))
            .flat_map(Function::versions)
            .find(|version| {
                version.module_id == module_id
                    && version.compiler == compiler
                    && !is_itself(version)
            })
    }

    /// The files of a version that serve requests.
    pub fn files(&self, version: &Version) -> VersionFiles {
        VersionFiles {
            directory: self.paths.version(version),
        }
    }

    /// The module of a version, from which the other two can be made again.
    pub fn module_path(&self, version: &Version) -> PathBuf {
        self.paths.version(version).join(MODULE_FILE)
    }

    /// Makes an earlier version current: the given one, or the one that was current before.
    pub fn rollback(
        &mut self,
        name: &FunctionName,
        id: Option<&str>,
    ) -> Result<&Version, StoreError> {
        let result = change::rollback(&self.paths, &*self.disk, name, id);
        // On failure the disk has the old state or the new one; memory follows it.
        self.reload(name);
        result?;
        self.functions
            .get(name)
            .map(Function::current)
            .ok_or_else(|| StoreError::NoFunction {
                name: name.to_string(),
            })
    }

    /// Removes a function with all its versions. Files that are open stay usable until they are closed.
    pub fn remove(&mut self, name: &FunctionName) -> Result<(), StoreError> {
        let result = change::remove(&self.paths, &*self.disk, name);
        self.reload(name);
        result
    }
}

/// Where a version's files are, to be opened by any thread.
#[derive(Clone, Debug)]
pub struct VersionFiles {
    directory: PathBuf,
}

impl VersionFiles {
    /// The compiled code.
    pub fn artifact(&self) -> Result<File, StoreError> {
        self.open(ARTIFACT_FILE)
    }

    pub fn image(&self) -> Result<File, StoreError> {
        self.open(IMAGE_FILE)
    }

    pub fn image_path(&self) -> PathBuf {
        self.directory.join(IMAGE_FILE)
    }

    pub fn base_path(&self) -> PathBuf {
        self.directory.join(BASE_FILE)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The image that [`image`](Self::image) has the differences from; none when that one is whole.
    pub fn base(&self) -> Result<Option<File>, StoreError> {
        let path = self.base_path();
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("cannot open", &path)(error)),
        }
    }

    /// The note on what calls need of the image; there may be none.
    pub fn working_set_path(&self) -> PathBuf {
        self.directory.join(WORKING_SET_FILE)
    }

    fn open(&self, name: &str) -> Result<File, StoreError> {
        let path = self.directory.join(name);
        File::open(&path).map_err(StoreError::io("cannot open", &path))
    }
}

/// Takes the directory's lock.
fn lock(paths: &Paths) -> Result<File, StoreError> {
    let path = paths.lock();
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(StoreError::io("cannot open", &path))?;
    for attempt in 1.. {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => {
                return Err(StoreError::io("cannot lock", &path)(error));
            }
            Err(TryLockError::WouldBlock) if attempt < LOCK_ATTEMPTS => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    directory: paths.root().to_owned(),
                });
            }
        }
    }
    Ok(file)
}

/// Deletes what a process that died left unfinished. What cannot be deleted is in nobody's way; it is tried again at
/// the next start.
fn sweep_staging(paths: &Paths, disk: &dyn Disk) -> Result<(), StoreError> {
    let staging = paths.staging();
    let mut marks = Vec::new();
    for entry in change::list(&staging)? {
        let path = staging.join(&entry);
        if let Some(name) = entry.to_str().and_then(change::marked_function) {
            marks.push((name, path));
        } else if path.is_dir() {
            let _ = disk.remove_dir_all(&path);
        } else {
            let _ = disk.remove_file(&path);
        }
    }
    for (name, mark) in marks {
        if change::sweep(paths, disk, &name).is_ok() {
            let _ = disk.remove_file(&mark);
        }
    }
    Ok(())
}
