//! How a service's code and image come into memory, and leave it again.
//!
//! ```text
//!            call            checked               beyond what may be open
//!   Asleep --------> Opening --------> Loaded --------------------------------> Asleep
//!     ^                 |                 | ^ not in the page cache any more: read, in one go
//!     |                 | mismatch        +-+
//!     +--- Rebuilding <-+                          a rebuild that fails: Broken
//! ```
//!
//! All that waits for the disk is done by other threads (`disk.rs`); invocations wait in the service's list meanwhile.

use super::Server;
use super::calls::Stage;
use super::disk::{CheckError, Checked, Done, Job};
use super::endings::End;
use super::instances::StartError;
use super::services::{Code, Loaded, Service};
use crate::arena::Key;
use crate::log::Level;
use crate::pool::FunctionId;
use crate::store::{Kind, Version};
use dormouse::{
    CheckedArtifact, CheckedImage, Engine, Image, Imports, Instance, Limits, Linked, Module,
};

/// How long an image that was seen in memory is taken to be there: the kernel lets go of what was not used for long.
const SEEN_NS: u64 = 1_000_000_000;

impl Server {
    /// Sees to it that a service's code is there, and what its calls need of the image.
    ///
    /// # Errors
    /// [`StartError::NotReady`] while they are not; [`Server::when_ready`] is for those who wait.
    pub(super) fn make_ready(&mut self, key: Key) -> Result<(), StartError> {
        let Some(service) = self.services.get_mut(key) else {
            unreachable!("a service with invocations stays");
        };
        match &mut service.code {
            Code::Asleep => {
                let files = self.store.files(&service.version);
                self.services.set_code(key, Code::Opening);
                self.disk.submit(Job::Check {
                    service: key,
                    files,
                });
                Err(StartError::NotReady)
            }
            Code::Opening | Code::Rebuilding => Err(StartError::NotReady),
            Code::Broken(message) => Err(StartError::Failed(message.clone())),
            Code::Loaded(loaded) if loaded.reading => Err(StartError::NotReady),
            Code::Loaded(loaded) => {
                if self.now_ns.saturating_sub(loaded.seen_ns) < SEEN_NS {
                    return Ok(());
                }
                loaded.seen_ns = self.now_ns;
                match loaded.image.prefetch() {
                    Ok(Some(prefetch)) => {
                        loaded.reading = true;
                        self.disk.submit(Job::Prefetch {
                            service: key,
                            prefetch,
                        });
                        Err(StartError::NotReady)
                    }
                    // What cannot be found out ahead shows when the guest runs.
                    Ok(None) | Err(_) => Ok(()),
                }
            }
        }
    }

    /// Has an invocation woken when its service is ready.
    pub(super) fn when_ready(&mut self, service: Key, call: Key) {
        if let Some(service) = self.services.get_mut(service) {
            service.waiting.push(call);
        }
    }

    /// What the disk threads have done.
    pub(super) fn take_from_disk(&mut self) {
        while let Some(done) = self.disk.take_done() {
            match done {
                Done::Checked { service, result } => self.on_checked(service, result),
                Done::Prefetched { service } => {
                    let now_ns = self.now_ns;
                    if let Some(loaded) =
                        self.services.get_mut(service).and_then(Service::loaded_mut)
                    {
                        loaded.reading = false;
                        loaded.seen_ns = now_ns;
                    }
                    self.wake_waiting(service, None);
                }
                Done::NotKept(message) => self.log.server(Level::Warn, &message),
            }
        }
    }

    fn on_checked(&mut self, key: Key, result: Result<Box<Checked>, CheckError>) {
        let Some(service) = self.services.get(key) else {
            return;
        };
        let version = service.version.clone();
        let opened = result.and_then(|checked| {
            let linked = self.services.linked(checked.artifact.checksum());
            let linked = match linked {
                Some(linked) => linked.clone(),
                None => load(&self.engine, &self.imports, &checked.artifact)?,
            };
            open(&linked, &version, checked.image, self.now_ns)
        });
        match opened {
            Ok(loaded) => {
                self.services.set_code(key, Code::Loaded(loaded));
                self.put_to_sleep();
                self.wake_waiting(key, None);
            }
            Err(CheckError::Mismatch(cause)) if !service.retired => {
                let name = &version.name;
                let message = format!("the function {name} is compiled again: {cause}");
                self.log.server(Level::Warn, &message);
                self.rebuild(key, &version);
            }
            Err(CheckError::Mismatch(cause) | CheckError::Failed(cause)) => {
                // Another time it may work: nothing says that the files stay as they are.
                self.services.set_code(key, Code::Asleep);
                self.wake_waiting(key, Some(&cause));
            }
        }
    }

    /// A service is ready, or will not be, for this reason.
    pub(super) fn wake_waiting(&mut self, key: Key, failure: Option<&str>) {
        let Some(service) = self.services.get_mut(key) else {
            return;
        };
        for call in std::mem::take(&mut service.waiting) {
            let Some(invocation) = self.invocations.get(call) else {
                continue;
            };
            if invocation.stage != Stage::Blocked {
                continue;
            }
            match failure {
                None => self.wake(call),
                Some(message) => {
                    let (busy, message) = (false, message.to_owned());
                    self.end(call, End::NotStarted { busy, message });
                }
            }
        }
    }

    /// A service was compiled again, or cannot be, for this reason.
    pub(super) fn rebuilt(&mut self, key: Key, result: Result<Version, String>) {
        match result {
            Ok(version) => {
                if let Some(service) = self.services.get_mut(key) {
                    service.version = version;
                }
                self.services.set_code(key, Code::Asleep);
                self.wake_waiting(key, None);
            }
            Err(message) => {
                self.services.set_code(key, Code::Broken(message.clone()));
                self.wake_waiting(key, Some(&message));
            }
        }
    }

    /// Keeps what was recorded of a call beside the image.
    pub(super) fn record_pages(&mut self, pool_id: FunctionId, instance: &mut Instance) {
        let Some(service) = self.services.by_pool_id(pool_id) else {
            return;
        };
        let Some(loaded) = service.loaded() else {
            return;
        };
        if loaded.image.record(instance)
            && let Ok(note) = loaded.image.working_set_note()
        {
            self.disk.submit(Job::Note {
                files: self.store.files(&service.version),
                note,
                gathering: loaded.image.gathering(),
            });
        }
    }

    /// Closes what is open beyond what may be, with the warm instances of it.
    fn put_to_sleep(&mut self) {
        while let Some(key) = self.services.beyond() {
            if let Some(service) = self.services.get(key) {
                self.pool
                    .sleep(service.pool_id, &mut self.given_up, self.now_ns);
            }
            self.services.set_code(key, Code::Asleep);
            self.housework = true;
        }
    }

    fn rebuild(&mut self, key: Key, version: &Version) {
        match self.deployments.submit_rebuild(&self.store, version) {
            Ok(id) => {
                self.deploying
                    .insert(id, super::administration::Waiting::Rebuild(key));
                self.services.set_code(key, Code::Rebuilding);
            }
            Err(error) => {
                self.services.set_code(key, Code::Asleep);
                self.wake_waiting(key, Some(&error.to_string()));
            }
        }
    }
}

fn load(
    engine: &Engine,
    imports: &Imports,
    artifact: &CheckedArtifact,
) -> Result<Linked, CheckError> {
    let module = Module::load_checked(engine, artifact)?;
    module
        .link(imports)
        .map_err(|error| CheckError::Failed(error.to_string()))
}

fn open(
    linked: &Linked,
    version: &Version,
    image: CheckedImage,
    now_ns: u64,
) -> Result<Loaded, CheckError> {
    let image = Image::open_checked(linked, image)?;
    let export = match version.kind {
        Kind::Command => "_start",
        Kind::Reactor => "handle",
    };
    let entry = linked
        .module()
        .function(export)
        .ok_or_else(|| CheckError::Failed(format!("the module does not export {export}")))?;
    let config = &version.config;
    let limits = Limits {
        memory_bytes: config.memory_bytes,
        table_elements: config.table_elements,
        stack_bytes: config.stack_bytes,
        cpu_time: Some(config.cpu),
    };
    Ok(Loaded {
        image,
        entry,
        limits,
        reading: false,
        seen_ns: now_ns,
        restored: 0,
    })
}
