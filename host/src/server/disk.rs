//! What waits for the disk, on threads of its own: the loop has other clients.
//!
//! Jobs go out through a channel and their results come back through another, with a waker for the loop's poll. A job knows
//! nothing of the server but the key of the service it is for, which may be gone when it is done.

use crate::arena::Key;
use crate::store::{StoreError, VersionFiles};
use dormouse::{CheckedArtifact, CheckedImage, Gathering, ImageError, LoadError, Prefetch};
use mio::Waker;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// Jobs under way at a time: disks like more than one request, and one slow file should not hold up the others.
const THREADS: usize = 4;

/// Something to be done.
#[derive(Debug)]
pub(super) enum Job {
    /// Read and verify the files of a service's version.
    Check { service: Key, files: VersionFiles },
    /// Read what a service's calls need.
    Prefetch { service: Key, prefetch: Prefetch },
    /// Keep a note beside an image, and have the file system lay in one piece what it says that calls need.
    Note {
        files: VersionFiles,
        note: Vec<u8>,
        gathering: Gathering,
    },
}

/// What became of a job.
#[derive(Debug)]
pub(super) enum Done {
    Checked {
        service: Key,
        result: Result<Box<Checked>, CheckError>,
    },
    Prefetched {
        service: Key,
    },
    /// What a note is for could not be done, for this reason. Nothing depends on it.
    NotKept(String),
}

/// The files of a version, ready to be opened.
#[derive(Debug)]
pub(super) struct Checked {
    pub artifact: CheckedArtifact,
    pub image: CheckedImage,
}

/// Why files are of no use.
#[derive(Debug)]
pub(super) enum CheckError {
    /// They do not match this binary or processor, or are damaged: they can be made again.
    Mismatch(String),
    Failed(String),
}

impl From<StoreError> for CheckError {
    fn from(error: StoreError) -> CheckError {
        CheckError::Failed(error.to_string())
    }
}

impl From<LoadError> for CheckError {
    fn from(error: LoadError) -> CheckError {
        match error {
            LoadError::Artifact(error) => CheckError::Mismatch(error.to_string()),
            error => CheckError::Failed(error.to_string()),
        }
    }
}

impl From<ImageError> for CheckError {
    fn from(error: ImageError) -> CheckError {
        match error {
            ImageError::Io(_) | ImageError::InCall => CheckError::Failed(error.to_string()),
            error => CheckError::Mismatch(error.to_string()),
        }
    }
}

/// The threads.
pub(super) struct DiskThreads {
    jobs: Sender<Job>,
    done: Receiver<Done>,
}

impl DiskThreads {
    /// Starts them. They end with the value.
    pub fn start(waker: Waker) -> io::Result<DiskThreads> {
        let (jobs, queue) = channel();
        let (results, done) = channel();
        let (queue, waker) = (Arc::new(Mutex::new(queue)), Arc::new(waker));
        for _ in 0..THREADS {
            let (queue, results, waker) = (queue.clone(), results.clone(), waker.clone());
            thread::Builder::new()
                .name("disk".to_owned())
                .spawn(move || work(&queue, &results, &waker))?;
        }
        Ok(DiskThreads { jobs, done })
    }

    pub fn submit(&self, job: Job) {
        // The threads live as long as this does.
        let _ = self.jobs.send(job);
    }

    /// A job that is done.
    pub fn take_done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

fn work(queue: &Mutex<Receiver<Job>>, results: &Sender<Done>, waker: &Waker) {
    loop {
        let job = queue.lock().map(|queue| queue.recv());
        let Ok(Ok(job)) = job else {
            return;
        };
        let done = match job {
            Job::Check { service, files } => Done::Checked {
                service,
                result: check(&files),
            },
            Job::Prefetch { service, prefetch } => {
                // What cannot be read is the guest's error when it comes to it.
                let _ = prefetch.run();
                Done::Prefetched { service }
            }
            Job::Note {
                files,
                note,
                gathering,
            } => match keep(&files, &note, &gathering) {
                Ok(()) => continue,
                Err(message) => Done::NotKept(message),
            },
        };
        if results.send(done).is_err() {
            return;
        }
        // Without a wake-up the loop finds the result in its next turn.
        let _ = waker.wake();
    }
}

fn check(files: &VersionFiles) -> Result<Box<Checked>, CheckError> {
    let artifact = CheckedArtifact::check(files.artifact()?)?;
    let note = std::fs::read(files.working_set_path()).unwrap_or_default();
    let (image, _) = CheckedImage::check_noted(files.image()?, files.base()?, &note)?;
    Ok(Box::new(Checked { artifact, image }))
}

/// Replaces a note, and has what it speaks of laid in one piece.
fn keep(files: &VersionFiles, note: &[u8], gathering: &Gathering) -> Result<(), String> {
    let path = files.working_set_path();
    unless_removed(replace(&path, note)).map_err(|error| {
        let path = path.display();
        format!("what a function's calls need of its image is not kept: {path}: {error}")
    })?;
    unless_removed(gather(files, gathering)).map_err(|error| {
        let path = path.display();
        format!(
            "what a function's calls need of its image stays scattered on the disk: {path}: {error}"
        )
    })
}

/// A version may be removed at any time.
fn unless_removed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn gather(files: &VersionFiles, gathering: &Gathering) -> io::Result<()> {
    let open = |path: PathBuf| File::options().read(true).write(true).open(path);
    let base = match open(files.base_path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        base => Some(base?),
    };
    let image = open(files.image_path())?;
    gathering.run(&image, base.as_ref(), || unnamed(files.directory()))?;
    Ok(())
}

/// Replaces a note. One that is lost in a power failure is made again, so nothing is synced.
fn replace(path: &Path, note: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, note)?;
    std::fs::rename(&new, path)
}

/// A file without a name in the file system of a directory, for reading and writing.
fn unnamed(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(file))
}
