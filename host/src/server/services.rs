//! The functions that are served, each in one version.
//!
//! A service comes into being with the first request for its function, and its files are opened with the first
//! invocation, so that a server starts at once however many functions there are. A function that is deployed again gets
//! another service; the old one ends with its last invocation.
//!
//! An open function takes a descriptor and a few mappings, of which a process has only so many: at most
//! [`functions_open_max`] are open, and the one whose last call is longest ago goes back to sleep for the next.
//! Invariant: `opened` has exactly the services whose code is loaded, by the index of their keys.

use super::Server;
use super::instances::StartError;
use crate::arena::{Arena, Key};
use crate::interface;
use crate::log::Level;
use crate::metrics::MetricsId;
use crate::pool::FunctionId;
use crate::pool::recency::Recency;
use crate::scheduler::Admission;
use crate::store::{Kind, Version};
use dormouse::{Callable, Engine, Image, ImageError, Limits, LoadError, Module};
use std::collections::HashMap;
use std::rc::Rc;

/// A function in one version.
pub(super) struct Service {
    pub version: Version,
    pub kind: interface::Kind,
    pub environment: Rc<[(String, String)]>,
    pub pool_id: FunctionId,
    pub metrics_id: MetricsId,
    pub admission: Admission<Key>,
    code: Code,
    /// Another version has its name now, or nobody.
    pub retired: bool,
}

/// The machine code and image of a service.
enum Code {
    /// On disk.
    Asleep,
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
}

/// Of the files a process may open, functions may hold one part in so many.
const FILES_PART: u64 = 4;

/// Busy functions that are passed over in the search for one that can go to sleep.
const BUSY_PASSED_MAX: usize = 64;

/// How many functions may be open at a time, in a process that may open so many files.
pub(super) fn functions_open_max(engine: &Engine, files_max: u64) -> usize {
    let by_files = usize::try_from(files_max / FILES_PART).unwrap_or(usize::MAX);
    engine.images_max().min(by_files).max(1)
}

/// All services.
pub(super) struct Services {
    services: Arena<Service>,
    by_name: HashMap<String, Key>,
    by_pool_id: HashMap<FunctionId, Key>,
    opened: Recency,
    open: usize,
    open_max: usize,
}

impl Service {
    pub fn loaded(&self) -> Option<&Loaded> {
        match &self.code {
            Code::Loaded(loaded) => Some(loaded),
            Code::Asleep | Code::Rebuilding | Code::Broken(_) => None,
        }
    }
}

impl Services {
    pub fn new(open_max: usize) -> Services {
        Services {
            services: Arena::default(),
            by_name: HashMap::new(),
            by_pool_id: HashMap::new(),
            opened: Recency::default(),
            open: 0,
            open_max,
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
    fn set_code(&mut self, key: Key, code: Code) {
        let Some(service) = self.services.get_mut(key) else {
            return;
        };
        let was_open = service.loaded().is_some();
        service.code = code;
        let is_open = service.loaded().is_some();
        match (was_open, is_open) {
            (false, true) => {
                self.open += 1;
                self.opened.touch(key.index() as u32);
            }
            (true, false) => {
                self.open -= 1;
                self.opened.remove(key.index() as u32);
            }
            _ => {}
        }
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
    fn beyond(&mut self) -> Option<Key> {
        if self.open <= self.open_max {
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

    /// Opens the files of a service.
    pub(super) fn load(&mut self, key: Key) -> Result<(), StartError> {
        let Some(service) = self.services.services.get_mut(key) else {
            unreachable!("a service with invocations stays");
        };
        match &service.code {
            Code::Rebuilding => return Err(StartError::Rebuilding),
            Code::Broken(message) => return Err(StartError::Failed(message.clone())),
            Code::Asleep | Code::Loaded(_) => {}
        }
        let (engine, imports, store) = (&self.engine, &self.imports, &self.store);
        match open(engine, imports, store, &service.version) {
            Ok(loaded) => {
                self.services.set_code(key, Code::Loaded(loaded));
                self.put_to_sleep();
                Ok(())
            }
            Err(OpenError::Mismatch(cause)) if !service.retired => {
                let name = &service.version.name;
                let message = format!("the function {name} is compiled again: {cause}");
                self.log.server(Level::Warn, &message);
                let version = service.version.clone();
                self.rebuild(key, &version)
            }
            Err(OpenError::Mismatch(cause) | OpenError::Failed(cause)) => {
                Err(StartError::Failed(cause))
            }
        }
    }

    /// A service was compiled again, or cannot be, for this reason.
    pub(super) fn rebuilt(&mut self, key: Key, result: Result<Version, String>) {
        let code = match result {
            Ok(version) => {
                if let Some(service) = self.services.get_mut(key) {
                    service.version = version;
                }
                Code::Asleep
            }
            Err(message) => Code::Broken(message),
        };
        self.services.set_code(key, code);
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

    fn rebuild(&mut self, key: Key, version: &Version) -> Result<(), StartError> {
        match self.deployments.submit_rebuild(&self.store, version) {
            Ok(id) => {
                self.deploying
                    .insert(id, super::administration::Waiting::Rebuild(key));
                self.services.set_code(key, Code::Rebuilding);
                Err(StartError::Rebuilding)
            }
            Err(error) => Err(StartError::Failed(error.to_string())),
        }
    }
}

enum OpenError {
    /// The files do not match this binary or processor, or are damaged: they can be made again.
    Mismatch(String),
    Failed(String),
}

fn open(
    engine: &Engine,
    imports: &dormouse::Imports,
    store: &crate::store::Store,
    version: &Version,
) -> Result<Loaded, OpenError> {
    let failed = |error: &dyn std::fmt::Display| OpenError::Failed(error.to_string());
    let artifact = store
        .artifact_file(version)
        .map_err(|error| failed(&error))?;
    let module = Module::load(engine, &artifact).map_err(|error| match error {
        LoadError::Artifact(error) => OpenError::Mismatch(error.to_string()),
        error => failed(&error),
    })?;
    let linked = module.link(imports).map_err(|error| failed(&error))?;
    let image = store.image_file(version).map_err(|error| failed(&error))?;
    let image = Image::open(&linked, &image).map_err(|error| match error {
        ImageError::Io(_) | ImageError::InCall => failed(&error),
        error => OpenError::Mismatch(error.to_string()),
    })?;
    let export = match version.kind {
        Kind::Command => "_start",
        Kind::Reactor => "handle",
    };
    let entry = linked
        .module()
        .function(export)
        .ok_or_else(|| OpenError::Failed(format!("the module does not export {export}")))?;
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
    })
}
