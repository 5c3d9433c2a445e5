//! Where invocations get their instances, and where the instances go afterwards.
//!
//! A warm instance comes from the pool. If there is none, one that was just used is reset first: putting back the
//! few pages it wrote costs less than a restore, and its pages are still in the processor's caches. Otherwise the image
//! is restored.

use super::Server;
use super::services::Service;
use crate::arena::Key;
use crate::interface::Context;
use crate::log::Level;
use crate::metrics::StartKind;
use crate::pool::{Finished, FunctionId, Start};
use dormouse::{Callable, Image, Instance, Limits, RestoreError};

/// Warm instances given up for one that cannot be restored for lack of room.
const RECLAIMS_MAX: u32 = 16;

/// Housework done between two looks at the sockets.
const CHORES_MAX: usize = 8;

/// An instance whose call has ended.
pub(super) struct Used {
    pub instance: Instance,
    pub pool_id: FunctionId,
    /// When its call began.
    pub started_ns: u64,
}

/// Why an invocation gets no instance now.
#[derive(Debug)]
pub(super) enum StartError {
    /// The function's code, or what its calls need of the image, is not in memory yet.
    NotReady,
    /// There are too many instances, or no memory for another.
    Exhausted(String),
    Failed(String),
}

type Acquired = Result<(Instance, Callable), (StartError, Box<Context>)>;

impl Server {
    /// An instance for a call of this service, with the context in it.
    pub(super) fn acquire(
        &mut self,
        service_key: Key,
        context: Box<Context>,
    ) -> (Acquired, StartKind) {
        let Some(service) = self.services.get(service_key) else {
            unreachable!("a service with invocations stays");
        };
        let pool_id = service.pool_id;
        self.reset_used();
        if self.pool.stock(pool_id).waiting == 0
            && let Err(error) = self.make_ready(service_key)
        {
            return (Err((error, context)), StartKind::DiskCold);
        }
        self.services.touch(service_key);
        let Some(loaded) = self
            .services
            .get_mut(service_key)
            .and_then(Service::loaded_mut)
        else {
            unreachable!("what is ready, or has an instance waiting, is loaded");
        };
        let entry = loaded.entry;
        if let Start::Warm(mut instance) = self.pool.request(pool_id, self.now_ns) {
            instance.replace_data(context);
            return (Ok((instance, entry)), StartKind::Warm);
        }
        let recorded = loaded.is_to_be_recorded();
        let (image, limits) = (loaded.image.clone(), loaded.limits);
        let start = StartKind::Cold;
        let began_ns = self.epoch.elapsed().as_nanos() as u64;
        match self.restore(&image, limits, recorded) {
            Ok(mut instance) => {
                let restore_ns = self.epoch.elapsed().as_nanos() as u64 - began_ns;
                self.pool.restored(pool_id, restore_ns);
                instance.replace_data(context);
                (Ok((instance, entry)), start)
            }
            Err(error) => {
                self.pool.discard(pool_id, None, self.now_ns);
                (Err((error, context)), start)
            }
        }
    }

    /// Restores an image, at the expense of a warm instance of another function if need be.
    fn restore(
        &mut self,
        image: &Image,
        limits: Limits,
        recorded: bool,
    ) -> Result<Instance, StartError> {
        // One that was given up leaves a slot whose mappings the image replaces. With many calls a turn, slots would otherwise be
        // unmapped one by one afterwards, and mapped anew.
        if let Some(instance) = self.given_up.pop() {
            let_go(instance);
        }
        for attempt in 0.. {
            let restored = match recorded {
                true => image.restore_recorded(limits, Box::new(())),
                false => image.restore(limits, Box::new(())),
            };
            let lacking = match restored {
                Ok(instance) => return Ok(instance),
                Err(RestoreError::Limit(limit)) => {
                    return Err(StartError::Failed(limit.to_string()));
                }
                Err(error) => error,
            };
            self.given_up.clear();
            if attempt == RECLAIMS_MAX || self.pool.reclaim(self.now_ns).is_none() {
                return Err(StartError::Exhausted(lacking.to_string()));
            }
        }
        unreachable!("the attempts are bounded")
    }

    /// Resets the instances whose calls have ended, and hands them to the pool.
    pub(super) fn reset_used(&mut self) {
        while let Some(used) = self.used.pop() {
            let Used {
                mut instance,
                pool_id,
                started_ns,
            } = used;
            let run_ns = self.now_ns.saturating_sub(started_ns);
            if instance.is_recording() {
                self.record_pages(pool_id, &mut instance);
            }
            // To be reset only to be dropped would be in vain.
            if self.pool.refuses(pool_id) {
                self.pool.discard(pool_id, Some(run_ns), self.now_ns);
                self.given_up.push(instance);
                continue;
            }
            match instance.reset(Box::new(())) {
                Ok(_) => {
                    let held_bytes = instance.held_bytes();
                    let finished = Finished {
                        instance,
                        held_bytes,
                        run_ns,
                    };
                    self.pool
                        .release(pool_id, finished, &mut self.given_up, self.now_ns);
                }
                Err(error) => {
                    let message =
                        format!("an instance is dropped, for it cannot be reset: {error}");
                    self.log.server(Level::Error, &message);
                    self.pool.discard(pool_id, Some(run_ns), self.now_ns);
                }
            }
        }
    }

    /// Drops what was given up, trims the pool, and prepares instances that are likely to be needed: a little at a time.
    /// Notes whether there may be more to do.
    pub(super) fn keep_house(&mut self) {
        let mut dropped = 0;
        while dropped < CHORES_MAX
            && let Some(instance) = self.drop_next()
        {
            let_go(instance);
            dropped += 1;
        }
        let mut prepared = 0;
        while prepared < CHORES_MAX && self.run_queue.is_empty() && self.prepare_one() {
            prepared += 1;
        }
        // What was prepared may have displaced others.
        self.housework =
            dropped == CHORES_MAX || prepared == CHORES_MAX || !self.given_up.is_empty();
    }

    /// An instance that is to be dropped.
    fn drop_next(&mut self) -> Option<Instance> {
        self.given_up.pop().or_else(|| self.pool.trim(self.now_ns))
    }

    /// Restores an instance ahead of need. Whether there was one to restore.
    fn prepare_one(&mut self) -> bool {
        let Some(pool_id) = self.pool.short(self.now_ns) else {
            return false;
        };
        let Some(key) = self.services.key_of(pool_id) else {
            return true;
        };
        // One that sleeps is left asleep; one that has to be read from disk first is named again when it is called.
        let is_open =
            |server: &Server| server.services.get(key).and_then(Service::loaded).is_some();
        if !is_open(self) || self.make_ready(key).is_err() {
            return true;
        }
        let Some(loaded) = self.services.get(key).and_then(Service::loaded) else {
            return true;
        };
        if let Ok(instance) = loaded.image.restore(loaded.limits, Box::new(())) {
            let held_bytes = instance.held_bytes();
            self.pool.add(
                pool_id,
                instance,
                held_bytes,
                &mut self.given_up,
                self.now_ns,
            );
        }
        true
    }
}

/// Drops an instance, whose slot is to keep the mapping for the next restore of the image.
fn let_go(mut instance: Instance) {
    // What cannot be trimmed is dropped all the same.
    let _ = instance.trim();
}
