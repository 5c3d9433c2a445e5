//! The functions that are served, each in one version.
//!
//! A service comes into being with the first request for its function, and its files are opened with the first
//! invocation, so that a server starts at once however many functions there are. A function that is deployed again gets
//! another service; the old one ends with its last invocation.
//!
//! An open function takes a descriptor or two and a few mappings, of which a process has only so many: when those that are open
//! take more than [`OpenLimits`] says, the one whose last call is longest ago goes back to sleep.
//! Invariant: `opened` has exactly the services whose code is loaded, by the index of their keys.

use super::Server;
use crate::arena::{Arena, Key};
use crate::interface;
use crate::metrics::MetricsId;
use crate::pool::FunctionId;
use crate::pool::recency::Recency;
use crate::scheduler::Admission;
use crate::store::{Kind, Version};
use dormouse::{Callable, Engine, Image, Limits, Linked};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

/// A function in one version.
pub(super) struct Service {
    pub version: Version,
    pub kind: interface::Kind,
    pub environment: Rc<[(String, String)]>,
    pub pool_id: FunctionId,
    pub metrics_id: MetricsId,
    pub admission: Admission<Key>,
    pub code: Code,
    /// Invocations that start when the code is there, or what they need of the image.
    pub waiting: Vec<Key>,
    /// Another version has its name now, or nobody.
    pub retired: bool,
}

/// The machine code and image of a service.
pub(super) enum Code {
    /// On disk.
    Asleep,
    /// Being read from disk.
    Opening,
    Loaded(Loaded),
    /// Being compiled again for this binary and processor.
    Rebuilding,
    /// It cannot be compiled any more, for this reason.
    Broken(String),
}

pub(super) struct Loaded {
    pub image: Image,
    pub entry: Callable,
    pub limits: Limits,
    /// What calls need of the image is being read from disk.
    pub reading: bool,
    /// When it was last seen to be in memory.
    pub seen_ns: u64,
    /// Instances restored so far.
    pub restored: u32,
}

impl Loaded {
    /// An instance is about to be restored; whether to record what its call touches.
    pub fn is_to_be_recorded(&mut self) -> bool {
        self.restored = self.restored.wrapping_add(1);
        self.image.calls_recorded() < FIRST_RECORDS || self.restored.is_multiple_of(RECORD_EVERY)
    }
}

/// Of the files a process may open, functions may hold one part in so many.
const FILES_PART: u64 = 4;

/// Calls that are recorded before the working set counts as known, and how seldom calls are afterwards.
const FIRST_RECORDS: usize = 2;
const RECORD_EVERY: u32 = 256;

/// Busy functions that are passed over in the search for one that can go to sleep.
const BUSY_PASSED_MAX: usize = 64;

/// What all open functions may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenLimits {
    pub mappings: usize,
    pub files: usize,
}

impl OpenLimits {
    /// In a process that may open so many files.
    pub fn new(engine: &Engine, files_max: u64) -> OpenLimits {
        OpenLimits {
            mappings: engine.image_mappings_max(),
            files: usize::try_from(files_max / FILES_PART).unwrap_or(usize::MAX),
        }
    }
}

/// All services.
pub(super) struct Services {
    services: Arena<Service>,
    by_name: HashMap<String, Key>,
    by_pool_id: HashMap<FunctionId, Key>,
    opened: Recency,
    open: usize,
    /// What they take.
    taken: OpenLimits,
    limits: OpenLimits,
    /// The code of open services, by its checksum, with how many have it: versions of one module share it.
    linked: HashMap<[u8; 32], (Linked, usize)>,
}

impl Service {
    pub fn loaded(&self) -> Option<&Loaded> {
        match &self.code {
            Code::Loaded(loaded) => Some(loaded),
            Code::Asleep | Code::Opening | Code::Rebuilding | Code::Broken(_) => None,
        }
    }

    pub fn loaded_mut(&mut self) -> Option<&mut Loaded> {
        match &mut self.code {
            Code::Loaded(loaded) => Some(loaded),
            Code::Asleep | Code::Opening | Code::Rebuilding | Code::Broken(_) => None,
        }
    }
}

/// What tells the code of a service from others'.
fn checksum(loaded: &Loaded) -> [u8; 32] {
    loaded.image.linked().module().checksum()
}

impl Services {
    pub fn new(limits: OpenLimits) -> Services {
        Services {
            services: Arena::default(),
            by_name: HashMap::new(),
            by_pool_id: HashMap::new(),
            opened: Recency::default(),
            open: 0,
            taken: OpenLimits {
                mappings: 0,
                files: 0,
            },
            limits,
            linked: HashMap::new(),
        }
    }

    pub fn get(&self, key: Key) -> Option<&Service> {
        self.services.get(key)
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut Service> {
        self.services.get_mut(key)
    }

    pub fn by_name(&self, name: &str) -> Option<&Service> {
        self.services.get(*self.by_name.get(name)?)
    }

    pub fn key_of(&self, id: FunctionId) -> Option<Key> {
        self.by_pool_id.get(&id).copied()
    }

    pub fn by_pool_id(&self, id: FunctionId) -> Option<&Service> {
        self.services.get(*self.by_pool_id.get(&id)?)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Service> {
        self.services
            .keys()
            .filter_map(|key| self.services.get(key))
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open
    }

    /// The one way that code comes and goes.
    pub fn set_code(&mut self, key: Key, code: Code) {
        let Some(service) = self.services.get_mut(key) else {
            return;
        };
        let old = std::mem::replace(&mut service.code, code);
        if let Code::Loaded(old) = old {
            self.open -= 1;
            self.taken.mappings -= old.image.mappings();
            self.taken.files -= old.image.files();
            self.opened.remove(key.index() as u32);
            if let Entry::Occupied(mut entry) = self.linked.entry(checksum(&old)) {
                entry.get_mut().1 -= 1;
                if entry.get().1 == 0 {
                    entry.remove();
                }
            }
        }
        if let Some(new) = self.services.get(key).and_then(Service::loaded) {
            self.open += 1;
            self.taken.mappings += new.image.mappings();
            self.taken.files += new.image.files();
            self.opened.touch(key.index() as u32);
            let shared = || (new.image.linked().clone(), 0);
            self.linked.entry(checksum(new)).or_insert_with(shared).1 += 1;
        }
    }

    /// The code of an open service that has this checksum.
    pub fn linked(&self, checksum: [u8; 32]) -> Option<&Linked> {
        self.linked.get(&checksum).map(|(linked, _)| linked)
    }

    /// A call of an open service begins.
    pub fn touch(&mut self, key: Key) {
        debug_assert!(
            self.services
                .get(key)
                .is_some_and(|service| service.loaded().is_some())
        );
        self.opened.touch(key.index() as u32);
    }

    /// An open service beyond those that may be: the one without invocations whose last call is longest ago.
    pub fn beyond(&mut self) -> Option<Key> {
        let within =
            self.taken.mappings <= self.limits.mappings && self.taken.files <= self.limits.files;
        // One there must be, and the limits may be very low.
        if within || self.open <= 1 {
            return None;
        }
        for _ in 0..BUSY_PASSED_MAX {
            let oldest = self.opened.oldest()?;
            let key = self.services.key_at(oldest as usize)?;
            if self.services.get(key)?.admission.is_idle() {
                return Some(key);
            }
            // One that is busy is in use now.
            self.opened.touch(oldest);
        }
        None
    }

    fn remove(&mut self, key: Key) {
        self.set_code(key, Code::Asleep);
        self.services.remove(key);
    }
}

impl Server {
    /// The service of a function that is deployed.
    pub(super) fn find_service(&mut self, name: &str) -> Option<Key> {
        if let Some(key) = self.services.by_name.get(name) {
            return Some(*key);
        }
        let version = self.store.function(name)?.current().clone();
        let pool_id = self.pool.register();
        Some(self.add_service(version, pool_id))
    }

    fn add_service(&mut self, version: Version, pool_id: FunctionId) -> Key {
        let name = version.name.as_str().to_owned();
        let environment = version
            .config
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let key = self.services.services.insert(Service {
            kind: match version.kind {
                Kind::Command => interface::Kind::Command,
                Kind::Reactor => interface::Kind::Reactor,
            },
            environment,
            pool_id,
            metrics_id: self.metrics.id(&name),
            admission: Admission::default(),
            code: Code::Asleep,
            waiting: Vec::new(),
            retired: false,
            version,
        });
        self.services.by_pool_id.insert(pool_id, key);
        self.services.by_name.insert(name, key);
        key
    }

    /// The store has another current version of the function, or none. What runs goes on in the version it began in.
    pub(super) fn replace_service(&mut self, name: &str) {
        let Some(old_key) = self.services.by_name.remove(name) else {
            return;
        };
        let Some(old) = self.services.get_mut(old_key) else {
            return;
        };
        old.retired = true;
        let old_pool_id = old.pool_id;
        match self
            .store
            .function(name)
            .map(|function| function.current().clone())
        {
            Some(version) => {
                let pool_id = self
                    .pool
                    .replace(old_pool_id, &mut self.given_up, self.now_ns);
                self.services.by_pool_id.remove(&old_pool_id);
                self.add_service(version, pool_id);
            }
            None => {
                self.pool
                    .remove(old_pool_id, &mut self.given_up, self.now_ns);
                self.services.by_pool_id.remove(&old_pool_id);
                self.metrics.remove(name);
            }
        }
        self.retire(old_key);
    }

    /// Forgets a service that has no name and nothing to do.
    pub(super) fn retire(&mut self, key: Key) {
        let Some(service) = self.services.get(key) else {
            return;
        };
        if service.retired && service.admission.is_idle() {
            self.services.remove(key);
        }
    }
}
