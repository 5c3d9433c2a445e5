//! The store under faults: every file operation fails once, the process dies before every one, and the power fails there.

use super::change::{self, Place};
use super::manifest::tests::version;
use super::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// It fails once, as on a full disk; a write leaves half of its bytes.
    Fails,
    /// The process dies before it: nothing happens from there on.
    Dies,
    /// The same, and whatever was not synced is lost.
    PowerFails,
}

/// A change to an entry of a directory that was not synced.
enum Unsynced {
    Created(PathBuf),
    Renamed {
        from: PathBuf,
        to: PathBuf,
        overwritten: Option<Vec<u8>>,
    },
    Removed(PathBuf, Vec<u8>),
}

impl Unsynced {
    fn path(&self) -> &Path {
        match self {
            Unsynced::Created(path)
            | Unsynced::Renamed { to: path, .. }
            | Unsynced::Removed(path, _) => path,
        }
    }

    fn undo(self) {
        match self {
            Unsynced::Created(path) if path.is_dir() => drop(fs::remove_dir_all(path)),
            Unsynced::Created(path) => drop(fs::remove_file(path)),
            Unsynced::Removed(path, bytes) => fs::write(path, bytes).unwrap(),
            Unsynced::Renamed {
                from,
                to,
                overwritten,
            } => {
                let _ = fs::rename(&to, from);
                if let Some(bytes) = overwritten {
                    fs::write(to, bytes).unwrap();
                }
            }
        }
    }
}

/// Where a path leads after `from` was renamed `to`.
fn moved(path: &mut PathBuf, from: &Path, to: &Path) {
    if let Ok(rest) = path.strip_prefix(from) {
        *path = if rest.as_os_str().is_empty() {
            to.to_owned()
        } else {
            to.join(rest)
        };
    }
}

#[derive(Default)]
struct State {
    operations: Cell<u32>,
    fault: Cell<Option<(u32, Fault)>>,
    dead: Cell<bool>,
    unsynced_entries: RefCell<Vec<Unsynced>>,
    unsynced_files: RefCell<Vec<PathBuf>>,
}

/// The operating system's files with a fault at the n-th operation. On a power failure it keeps as little as POSIX
/// allows: entries of directories that were not synced go back, contents that were not synced are cut in half. It keeps the
/// books on syncing without troubling the disk.
#[derive(Clone, Default)]
struct FaultyDisk(Rc<State>);

impl FaultyDisk {
    fn at(operation: u32, fault: Fault) -> FaultyDisk {
        let disk = FaultyDisk::default();
        disk.0.fault.set(Some((operation, fault)));
        disk
    }

    /// Counts an operation. An error when it is not to happen; `before` is what half-happens when it fails.
    fn step(&self, before: impl FnOnce()) -> io::Result<()> {
        let state = &*self.0;
        if state.dead.get() {
            return Err(io::Error::other("the process is dead"));
        }
        let number = state.operations.get();
        state.operations.set(number + 1);
        match state.fault.get() {
            Some((at, fault)) if at == number => {
                before();
                match fault {
                    Fault::Fails => Err(io::ErrorKind::StorageFull.into()),
                    Fault::Dies => {
                        state.dead.set(true);
                        Err(io::Error::other("the process dies"))
                    }
                    Fault::PowerFails => {
                        self.lose_what_is_not_synced();
                        state.dead.set(true);
                        Err(io::Error::other("the power fails"))
                    }
                }
            }
            _ => Ok(()),
        }
    }

    fn lose_what_is_not_synced(&self) {
        for file in self.0.unsynced_files.take() {
            if let Ok(bytes) = fs::read(&file) {
                fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
            }
        }
        for entry in self.0.unsynced_entries.take().into_iter().rev() {
            entry.undo();
        }
    }

    fn changed(&self, entry: Unsynced) {
        self.0.unsynced_entries.borrow_mut().push(entry);
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.step(|| ())?;
        if !path.exists() {
            self.changed(Unsynced::Created(path.to_owned()));
        }
        OsDisk.create_dir(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(|| OsDisk.write(path, &bytes[..bytes.len() / 2]).unwrap())?;
        self.changed(Unsynced::Created(path.to_owned()));
        self.0.unsynced_files.borrow_mut().push(path.to_owned());
        OsDisk.write(path, bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.step(|| ())?;
        self.0
            .unsynced_files
            .borrow_mut()
            .retain(|file| file != path);
        File::open(path).map(drop)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step(|| ())?;
        self.0
            .unsynced_entries
            .borrow_mut()
            .retain(|entry| entry.path().parent() != Some(path));
        File::open(path).map(drop)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| ())?;
        let overwritten = to.is_file().then(|| fs::read(to).unwrap());
        OsDisk.rename(from, to)?;
        for entry in self.0.unsynced_entries.borrow_mut().iter_mut() {
            // What was created within a directory moves along with it.
            if let Unsynced::Created(path) = entry
                && path != from
            {
                moved(path, from, to);
            }
        }
        self.0
            .unsynced_files
            .borrow_mut()
            .iter_mut()
            .for_each(|file| moved(file, from, to));
        self.changed(Unsynced::Renamed {
            from: from.to_owned(),
            to: to.to_owned(),
            overwritten,
        });
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.step(|| ())?;
        self.changed(Unsynced::Removed(path.to_owned(), fs::read(path)?));
        OsDisk.remove_file(path)
    }

    /// What is deleted this way was moved to the staging directory first. A power failure may bring it back there; the
    /// harder case is that it stays deleted while the move is undone, which this models.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.step(|| ())?;
        OsDisk.remove_dir_all(path)
    }
}

/// Stages a version as a worker does and commits it.
fn deploy(
    paths: &Paths,
    disk: &FaultyDisk,
    name: &str,
    module: &[u8],
    place: Place,
) -> Result<Version, StoreError> {
    let staged = change::staging_path(paths);
    let write = |path: &Path, bytes: &[u8]| {
        disk.write(path, bytes)
            .map_err(StoreError::io("cannot write", path))
    };
    disk.create_dir(&staged)
        .map_err(StoreError::io("cannot create", &staged))?;
    write(&staged.join(MODULE_FILE), module)?;
    write(
        &staged.join(ARTIFACT_FILE),
        &[b"artifact of ", module].concat(),
    )?;
    write(&staged.join(IMAGE_FILE), &[b"image of ", module].concat())?;
    change::commit(paths, disk, &staged, version(name, module), place)
}

/// Everything a reader can see of a store: for each function its versions' ids with their modules.
type Seen = BTreeMap<String, Vec<(String, Vec<u8>)>>;

/// Opens the store as the next process does, and checks that all files of all versions are whole.
fn see(directory: &Path) -> Seen {
    let store = Store::open(directory).unwrap();
    assert_eq!(store.damaged().count(), 0);
    let seen = store.functions().map(|function| {
        let versions = function.versions().iter().map(|version| {
            let at = store.paths().version(version);
            let module = fs::read(at.join(MODULE_FILE)).unwrap();
            assert_eq!(
                fs::read(at.join(ARTIFACT_FILE)).unwrap(),
                [b"artifact of ", &module[..]].concat()
            );
            assert_eq!(
                fs::read(at.join(IMAGE_FILE)).unwrap(),
                [b"image of ", &module[..]].concat()
            );
            (version.directory(), module)
        });
        (function.name().to_string(), versions.collect())
    });
    let seen = seen.collect();
    // Nothing is left over.
    assert_eq!(change::list(&store.paths().staging()).unwrap().len(), 0);
    for name in change::list(&store.paths().all_versions()).unwrap() {
        let function = store
            .function(name.to_str().unwrap())
            .expect("versions belong to a function");
        let entries = change::list(&store.paths().all_versions().join(name)).unwrap();
        assert_eq!(entries.len(), function.versions().len());
    }
    seen
}

type Step = fn(&Paths, &FaultyDisk) -> Result<(), StoreError>;

/// Runs `change` on a store that `prepare` has filled, with every fault at every operation, and checks that the next process finds the state
/// from before or after, the latter whenever the change was answered; and that the change can then be made again.
fn check_faults(prepare: Step, change: Step) {
    let run = |disk: &FaultyDisk, step: Step, directory: &Path| {
        let store = Store::open(directory).unwrap();
        step(store.paths(), disk)
    };
    let healthy = FaultyDisk::default();
    let directory = tempfile::tempdir().unwrap();
    run(&healthy, prepare, directory.path()).unwrap();
    let before = see(directory.path());
    let counting = FaultyDisk::default();
    run(&counting, change, directory.path()).unwrap();
    let after = see(directory.path());
    let operations = counting.0.operations.get();
    assert!(operations > 2);

    for fault in [Fault::Fails, Fault::Dies, Fault::PowerFails] {
        // The last round is that of a fault after the answer.
        for operation in 0..=operations {
            let directory = tempfile::tempdir().unwrap();
            run(&healthy, prepare, directory.path()).unwrap();
            let disk = FaultyDisk::at(operation, fault);
            let answer = run(&disk, change, directory.path());
            if fault == Fault::PowerFails && answer.is_ok() {
                disk.lose_what_is_not_synced();
            }
            let seen = see(directory.path());
            let context = format!("{fault:?} at operation {operation} of {operations}, {answer:?}");
            if answer.is_ok() {
                assert_eq!(seen, after, "{context}");
            } else {
                assert!(seen == before || seen == after, "{context}: {seen:?}");
            }
            if seen == before {
                run(&healthy, change, directory.path()).unwrap();
                assert_eq!(see(directory.path()), after, "again after {context}");
            }
        }
    }
}

#[test]
fn the_first_deployment_is_all_or_nothing() {
    check_faults(
        |_, _| Ok(()),
        |paths, disk| deploy(paths, disk, "f", b"one", Place::Current).map(drop),
    );
}

#[test]
fn a_deployment_over_kept_versions_is_all_or_nothing() {
    fn prepare(paths: &Paths, disk: &FaultyDisk) -> Result<(), StoreError> {
        for module in [b"1", b"2", b"3"] {
            deploy(paths, disk, "f", module, Place::Current)?;
        }
        deploy(paths, disk, "g", b"other", Place::Current).map(drop)
    }
    check_faults(prepare, |paths, disk| {
        deploy(paths, disk, "f", b"4", Place::Current).map(drop)
    });
}

#[test]
fn building_again_is_all_or_nothing() {
    fn prepare(paths: &Paths, disk: &FaultyDisk) -> Result<(), StoreError> {
        deploy(paths, disk, "f", b"1", Place::Current)?;
        deploy(paths, disk, "f", b"2", Place::Current).map(drop)
    }
    check_faults(prepare, |paths, disk| {
        let rebuilt = deploy(paths, disk, "f", b"1", Place::SameId)?;
        assert_eq!(rebuilt.build, 1);
        Ok(())
    });
}

#[test]
fn a_removal_is_all_or_nothing() {
    fn prepare(paths: &Paths, disk: &FaultyDisk) -> Result<(), StoreError> {
        deploy(paths, disk, "f", b"1", Place::Current)?;
        deploy(paths, disk, "g", b"2", Place::Current).map(drop)
    }
    check_faults(prepare, |paths, disk| {
        change::remove(paths, disk, &"f".parse().unwrap())
    });
}

#[test]
fn a_rollback_is_all_or_nothing() {
    fn prepare(paths: &Paths, disk: &FaultyDisk) -> Result<(), StoreError> {
        for module in [b"1", b"2", b"3"] {
            deploy(paths, disk, "f", module, Place::Current)?;
        }
        Ok(())
    }
    check_faults(prepare, |paths, disk| {
        let id = version("f", b"1").id;
        change::rollback(paths, disk, &"f".parse().unwrap(), Some(&id)).map(drop)
    });
}

#[test]
fn a_disk_that_loses_answered_changes_is_noticed() {
    // The canary: were the manifest's directory not synced, the power failure model would show it.
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let disk = FaultyDisk::default();
    let path = store.paths().functions().join("f.manifest");
    disk.write(&path, b"whole").unwrap();
    disk.lose_what_is_not_synced();
    assert!(!path.exists());
    disk.write(&path, b"whole").unwrap();
    disk.sync_dir(path.parent().unwrap()).unwrap();
    disk.lose_what_is_not_synced();
    assert_eq!(fs::read(&path).unwrap(), b"wh");
}

#[test]
fn a_damaged_manifest_leaves_the_others_alone() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let paths = Paths::new(directory.path());
    drop(Store::open(directory.path()).unwrap());
    for name in ["a", "b", "c"] {
        deploy(&paths, &disk, name, b"1", Place::Current).unwrap();
    }
    let manifest = paths.manifest(&"b".parse().unwrap());
    let bytes = fs::read(&manifest).unwrap();
    fs::write(&manifest, &bytes[..bytes.len() - 10]).unwrap();
    let store = Store::open(directory.path()).unwrap();
    let names: Vec<_> = store
        .versions()
        .map(|version| version.name.as_str())
        .collect();
    assert_eq!(names, ["a", "c"]);
    let (name, error) = store.damaged().next().unwrap();
    assert_eq!(name.as_str(), "b");
    assert!(error.to_string().contains("b.manifest"), "{error}");
    drop(store);
    // Deploying it again is the way out.
    deploy(&paths, &disk, "b", b"2", Place::Current).unwrap();
    assert_eq!(see(directory.path()).len(), 3);
}

#[test]
fn two_servers_do_not_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let second = Store::open(directory.path()).map(drop);
    assert!(
        matches!(second, Err(StoreError::Locked { .. })),
        "{second:?}"
    );
    drop(store);
    Store::open(directory.path()).unwrap();
}

#[test]
fn rollback_and_removal_answer_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let name: FunctionName = "f".parse().unwrap();
    assert!(matches!(
        store.remove(&name),
        Err(StoreError::NoFunction { .. })
    ));
    assert!(matches!(
        store.rollback(&name, None),
        Err(StoreError::NoFunction { .. })
    ));
    let disk = FaultyDisk::default();
    let first = deploy(store.paths(), &disk, "f", b"1", Place::Current).unwrap();
    store.reload(&name);
    assert!(matches!(
        store.rollback(&name, None),
        Err(StoreError::NoVersion { .. })
    ));
    assert!(matches!(
        store.rollback(&name, Some("0123")),
        Err(StoreError::NoVersion { .. })
    ));
    deploy(store.paths(), &disk, "f", b"2", Place::Current).unwrap();
    store.reload(&name);
    assert_eq!(store.rollback(&name, None).unwrap().id, first.id);
    assert_eq!(store.function("f").unwrap().current().id, first.id);
    let mut image = store.files(&first).image().unwrap();
    store.remove(&name).unwrap();
    assert!(store.function("f").is_none());
    // An open file outlives its function.
    let mut text = String::new();
    io::Read::read_to_string(&mut image, &mut text).unwrap();
    assert_eq!(text, "image of 1");
}
