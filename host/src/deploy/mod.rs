//! Deploying: a module becomes a version of a function.
//!
//! Compilation and initialisation happen in a child process with limits on memory and time, so that no module takes the
//! server down or holds it up. [`Deployments`] is the queue of such processes. It does no waiting: the event loop
//! watches the file descriptors it names, and calls [`Deployments::poll`] when one is ready or a deadline has come.
//!
//! Deployments of one function happen one after another, in the order in which they were submitted.

mod build;
mod error;
pub mod files;
mod job;
mod limits;
mod process;
#[cfg(test)]
mod tests;
pub mod worker;

pub use build::{Built, build, compiler, initialise, kind_of, refused, serving_limits};
pub use error::{Crash, DeployError, Failure, FailureKind};

use crate::store::{
    FunctionConfig, FunctionName, Store, StoreError, Version, change, module_id, version_id,
};
use job::{Job, JobDirectory};
use process::WorkerProcess;
use std::collections::VecDeque;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Whether a version was made by another compiler than this binary's, so that it must be built again before it is served. The
/// processor may still not be the one it was compiled for: opening the artifact tells.
pub fn needs_rebuild(version: &Version) -> bool {
    version.compiler != compiler()
}

/// Names a deployment from its submission to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeploymentId(u64);

/// What a deployment that succeeded has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    pub version: Version,
    pub change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The function is new.
    Created,
    /// The function has another current version.
    Updated,
    /// The very same was deployed already.
    Unchanged,
    /// The version was compiled again, for this binary and processor.
    Rebuilt,
}

/// A deployment that has ended.
#[derive(Debug)]
pub struct Finished {
    pub id: DeploymentId,
    pub name: FunctionName,
    pub result: Result<Deployed, DeployError>,
}

/// What happened in one call of [`Deployments::poll`].
#[derive(Debug, Default)]
pub struct Turn {
    pub finished: Vec<Finished>,
    /// File descriptors to watch for reading from now on. Each is closed when its deployment ends.
    pub started: Vec<(DeploymentId, RawFd)>,
}

struct Waiting {
    id: DeploymentId,
    directory: PathBuf,
    job: Job,
}

struct Running {
    id: DeploymentId,
    directory: PathBuf,
    name: FunctionName,
    rebuild: bool,
    existed: bool,
    process: WorkerProcess,
}

/// Deployments in progress and those that wait for their turn.
pub struct Deployments {
    /// The program that is run with the argument `compile-worker`.
    program: PathBuf,
    running_max: usize,
    wall_time: Duration,
    next_id: u64,
    waiting: VecDeque<Waiting>,
    running: Vec<Running>,
}

impl Deployments {
    /// A queue that runs this very program as its workers, one for each core.
    pub fn new() -> Deployments {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Deployments::with_program("/proc/self/exe".into(), cores)
    }

    /// A queue that runs another program as its workers, at most so many at a time.
    pub fn with_program(program: PathBuf, running_max: usize) -> Deployments {
        Deployments {
            program,
            running_max,
            wall_time: limits::WALL_TIME,
            next_id: 0,
            waiting: VecDeque::new(),
            running: Vec::new(),
        }
    }

    /// Takes a module, in binary or text, to be made the current version of a function.
    ///
    /// The module is kept on disk until its turn comes. Nothing is started here: call [`poll`](Self::poll) next.
    pub fn submit(
        &mut self,
        store: &Store,
        name: FunctionName,
        config: FunctionConfig,
        module: &[u8],
    ) -> Result<DeploymentId, DeployError> {
        let directory = change::staging_path(store.paths());
        let staged = JobDirectory(&directory);
        let written = fs::create_dir(&directory).and_then(|()| fs::write(staged.source(), module));
        if let Err(error) = written {
            let _ = fs::remove_dir_all(&directory);
            return Err(StoreError::io("cannot write", &directory)(error).into());
        }
        let job = Job {
            data: store.paths().root().to_owned(),
            server: std::process::id(),
            id: version_id(module, &config),
            module_id: module_id(module),
            name,
            config,
            source: staged.source(),
            rebuild: false,
            sibling: None,
        };
        Ok(self.enqueue(directory, job))
    }

    /// Has a version compiled again whose artifact or image does not match this binary or processor.
    pub fn submit_rebuild(
        &mut self,
        store: &Store,
        version: &Version,
    ) -> Result<DeploymentId, DeployError> {
        let directory = change::staging_path(store.paths());
        fs::create_dir(&directory).map_err(StoreError::io("cannot write", &directory))?;
        let job = Job {
            data: store.paths().root().to_owned(),
            server: std::process::id(),
            name: version.name.clone(),
            id: version.id.clone(),
            module_id: version.module_id.clone(),
            config: version.config.clone(),
            source: store.module_path(version),
            rebuild: true,
            sibling: None,
        };
        Ok(self.enqueue(directory, job))
    }

    /// The same, unless the very same is current already and nothing is about to change that: then it does nothing and costs
    /// no more than a hash.
    pub fn submit_unless_kept(
        &mut self,
        store: &Store,
        name: FunctionName,
        config: FunctionConfig,
        module: &[u8],
    ) -> Result<Option<DeploymentId>, DeployError> {
        let is_current = store.function(name.as_str()).is_some_and(|function| {
            let current = function.current();
            current.config == config
                && !needs_rebuild(current)
                && current.id == version_id(module, &config)
        });
        if is_current && !self.is_busy(name.as_str()) {
            return Ok(None);
        }
        self.submit(store, name, config, module).map(Some)
    }

    fn enqueue(&mut self, directory: PathBuf, job: Job) -> DeploymentId {
        let id = DeploymentId(self.next_id);
        self.next_id += 1;
        self.waiting.push_back(Waiting { id, directory, job });
        id
    }

    /// Whether a deployment of this function runs or waits; until it ends, nobody else may change the function.
    pub fn is_busy(&self, name: &str) -> bool {
        self.running
            .iter()
            .any(|running| running.name.as_str() == name)
            || self
                .waiting
                .iter()
                .any(|waiting| waiting.job.name.as_str() == name)
    }

    /// Deployments that run or wait.
    pub fn len(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file descriptors of all deployments that run.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.running.iter().map(|running| running.process.as_fd())
    }

    /// When [`poll`](Self::poll) is due even if no file descriptor is ready.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.running
            .iter()
            .filter_map(|running| running.process.deadline())
            .min()
    }

    /// Goes on with whatever can go on: ends deployments whose workers have answered, died or overrun their time, and
    /// starts others in their place.
    pub fn poll(&mut self, store: &mut Store, now: Instant) -> Turn {
        let mut turn = Turn::default();
        let mut index = 0;
        while index < self.running.len() {
            match self.running[index].process.poll(now) {
                None => index += 1,
                Some(answer) => {
                    let running = self.running.remove(index);
                    turn.finished.push(finish(running, answer, store));
                }
            }
        }
        self.start_waiting(store, now, &mut turn);
        turn
    }

    fn start_waiting(&mut self, store: &mut Store, now: Instant, turn: &mut Turn) {
        let mut index = 0;
        while index < self.waiting.len() && self.running.len() < self.running_max {
            let name = &self.waiting[index].job.name;
            let is_turn = !self.running.iter().any(|running| running.name == *name)
                && !self
                    .waiting
                    .iter()
                    .take(index)
                    .any(|earlier| earlier.job.name == *name);
            if !is_turn {
                index += 1;
                continue;
            }
            let mut waiting = self.waiting.remove(index).expect("the index is in range");
            if let Some(result) = settled(&waiting.job, store) {
                turn.finished.push(end(
                    waiting.id,
                    waiting.job.name,
                    &waiting.directory,
                    result,
                ));
                continue;
            }
            waiting.job.sibling = sibling(&waiting.job, store);
            match self.start(&waiting, store, now) {
                Ok(process) => {
                    turn.started.push((waiting.id, process.as_fd().as_raw_fd()));
                    self.running.push(Running {
                        id: waiting.id,
                        directory: waiting.directory,
                        rebuild: waiting.job.rebuild,
                        existed: store.function(waiting.job.name.as_str()).is_some(),
                        name: waiting.job.name,
                        process,
                    });
                }
                Err(error) => {
                    turn.finished.push(end(
                        waiting.id,
                        waiting.job.name,
                        &waiting.directory,
                        Err(error),
                    ));
                }
            }
        }
    }

    fn start(
        &self,
        waiting: &Waiting,
        store: &Store,
        now: Instant,
    ) -> Result<WorkerProcess, DeployError> {
        let staged = JobDirectory(&waiting.directory);
        let json = serde_json::to_vec(&waiting.job).expect("a job is plain data");
        fs::write(staged.job(), json).map_err(StoreError::io("cannot write", &staged.job()))?;
        WorkerProcess::start(
            &self.program,
            &waiting.directory,
            store.lock(),
            now,
            self.wall_time,
        )
        .map_err(DeployError::Worker)
    }
}

impl Default for Deployments {
    fn default() -> Deployments {
        Deployments::new()
    }
}

/// The result of a job that needs no compiler: what it asks for is kept already.
fn settled(job: &Job, store: &mut Store) -> Option<Result<Deployed, DeployError>> {
    let function = store.function(job.name.as_str())?;
    let kept = function.version(&job.id)?.clone();
    if job.rebuild || needs_rebuild(&kept) {
        return None;
    }
    if *function.current() == kept {
        return Some(Ok(Deployed {
            version: kept,
            change: Change::Unchanged,
        }));
    }
    let name = job.name.clone();
    Some(match store.rollback(&name, Some(&kept.id)) {
        Ok(version) => Ok(Deployed {
            version: version.clone(),
            change: Change::Updated,
        }),
        Err(error) => Err(error.into()),
    })
}

/// Where another version of the job's module lies. Files are only linked to, so it may be removed meanwhile.
fn sibling(job: &Job, store: &Store) -> Option<PathBuf> {
    let is_itself = |version: &Version| version.name == job.name && version.id == job.id;
    let sibling = store.sibling(&job.module_id, &compiler(), is_itself)?;
    Some(store.paths().version(sibling))
}

/// Turns a worker's end into a deployment's.
fn finish(
    running: Running,
    answer: Result<job::Answer, DeployError>,
    store: &mut Store,
) -> Finished {
    // Whatever the worker said or left unsaid, the disk knows what it has done.
    store.reload(&running.name);
    let change = match running {
        Running { rebuild: true, .. } => Change::Rebuilt,
        Running { existed: true, .. } => Change::Updated,
        _ => Change::Created,
    };
    let result = match answer {
        Ok(Ok(version)) => Ok(Deployed { version, change }),
        Ok(Err(failure)) => Err(DeployError::Refused(failure)),
        Err(error) => Err(error),
    };
    end(running.id, running.name, &running.directory, result)
}

fn end(
    id: DeploymentId,
    name: FunctionName,
    directory: &std::path::Path,
    result: Result<Deployed, DeployError>,
) -> Finished {
    // What cannot be removed is swept at the next start.
    let _ = fs::remove_dir_all(directory);
    Finished { id, name, result }
}
