//! Calls of a store that take turns on its thread, with one heap: each ends as it does alone, whatever the others make, throw and
//! leave for the collector in the meantime.
//!
//! Each of two instances has functions of objects and exceptions that return all they computed, called many times over, so that there
//! are collections; a third makes garbage. A time slice suspends them wherever they are, and the input says who goes on.

use crate::modules::step;
use crate::random::Random;
use crate::values::{End, Value};
use crate::{Canary, Finding, Outcome, Verdict, finding, guest, operators};
use arbitrary::Unstructured;
use dormouse::{Callable, Engine, InstanceId, Progress, Reason, Store, StoreImports};
use std::time::Duration;

const WORKERS: usize = 2;
const CALLS: u64 = 4;
/// Times that a call repeats its function.
const TIMES: u64 = 600;
/// Time slices, of which an engine can have no shorter ones than the first.
const TICKS_US: [u64; 3] = [50, 80, 200];

thread_local! {
    static ALONE: Engine = guest::engine(Duration::ZERO, 256);
    static BY_TURNS: [Engine; 3] =
        TICKS_US.map(|tick| guest::engine(Duration::from_micros(tick), 256));
}

/// A store with what the workers import, and the workers.
struct Workshop {
    store: Store,
    first: InstanceId,
    workers: Vec<InstanceId>,
}

/// What a worker is to do, and how each call ends.
type Work = Vec<(Vec<Value>, End)>;

pub fn check(u: &mut Unstructured<'_>, random: &mut Random, canary: Canary) -> Outcome {
    let mut artifacts = Vec::new();
    for worker in 0..=WORKERS {
        let wasm = match worker {
            0 => operators::throwing(),
            _ => {
                step(u, random);
                operators::generate_repeating(random)
            }
        };
        let Some(artifact) = guest::linkable_artifact(&wasm)? else {
            return Ok(Verdict::NoCase);
        };
        artifacts.push(artifact);
    }
    let mut works = Vec::new();
    for worker in 0..WORKERS {
        let mut alone = ALONE.with(|engine| Workshop::new(engine, &artifacts))?;
        let many = alone.function(worker);
        let id = alone.workers[worker];
        let ty = alone
            .store
            .instance(id)
            .linked()
            .module()
            .function_type(many)
            .clone();
        let mut work: Work = Vec::new();
        for _ in 0..1 + random.below(CALLS) {
            let mut arguments = Value::arguments(&ty, random).expect("numbers");
            *arguments.last_mut().expect("how many times") =
                Value::I32(1 + random.below(TIMES) as u32);
            let result = alone.store.call(id, many, &guest::words(&arguments));
            let end = guest::end_of(alone.store.instance(id), many, result)?;
            if end.is_own_limit() {
                return Ok(Verdict::NoCase);
            }
            work.push((arguments, end));
        }
        works.push(work);
    }
    BY_TURNS.with(|engines| {
        let mut workshop = Workshop::new(random.pick(engines), &artifacts)?;
        workshop.run(&works, u, random, canary)
    })
}

impl Workshop {
    fn new(engine: &Engine, artifacts: &[Vec<u8>]) -> Result<Workshop, Finding> {
        let mut store = Store::new(engine).expect("address space");
        let mut imports = StoreImports::new();
        let mut ids = Vec::new();
        for artifact in artifacts {
            let module = guest::load(engine, artifact)?;
            let id = store
                .instantiate(&module, &imports, guest::limits(), Box::new(()))
                .map_err(|error| finding!("no instance: {error}"))?;
            if ids.is_empty() {
                imports.define_instance("a", &store, id);
            }
            ids.push(id);
        }
        Ok(Workshop {
            store,
            first: ids[0],
            workers: ids.split_off(1),
        })
    }

    fn function(&self, worker: usize) -> Callable {
        let function = self.store.function(self.workers[worker], "many");
        function.expect("it is exported")
    }

    fn run(
        &mut self,
        works: &[Work],
        u: &mut Unstructured<'_>,
        random: &mut Random,
        canary: Canary,
    ) -> Outcome {
        let churn = self.store.function(self.first, "churn");
        let churn = churn.expect("it is exported");
        let mut done = [0; WORKERS];
        let mut checked = 0;
        while (0..WORKERS).any(|worker| done[worker] < works[worker].len()) {
            step(u, random);
            let worker = random.below(WORKERS as u64 + 1) as usize;
            if worker == WORKERS {
                if !self.store.instance(self.first).in_call() {
                    let times = 1 + random.below(3000);
                    let begins = self.store.begin(self.first, churn, &[times]);
                    begins.map_err(|error| finding!("a call does not begin: {error}"))?;
                }
                match self.store.resume(self.first) {
                    Progress::Preempted if random.chance(20) => {
                        self.store.stop(self.first, Reason::Exit(0));
                    }
                    Progress::Preempted | Progress::Returned(_) => {}
                    other => return Err(finding!("a call that makes garbage: {other:?}")),
                }
                continue;
            }
            let Some((arguments, expected)) = works[worker].get(done[worker]) else {
                continue;
            };
            let (id, many) = (self.workers[worker], self.function(worker));
            if !self.store.instance(id).in_call() {
                let mut words = guest::words(arguments);
                // The canary's error: one does a little more than it was asked to.
                if canary.is_present() {
                    words[0] ^= 1;
                }
                self.store
                    .begin(id, many, &words)
                    .map_err(|error| finding!("a call does not begin: {error}"))?;
            }
            let progress = self.store.resume(id);
            let instance = self.store.instance(id);
            let Some(end) = guest::end_of_slice(instance, many, progress)? else {
                continue;
            };
            if end.is_own_limit() {
                return Ok(Verdict::Checked(checked));
            }
            if end != *expected {
                return Err(finding!(
                    "call {} of worker {worker} with {arguments:x?}: {end:x?} by turns, {expected:x?} alone",
                    done[worker]
                ));
            }
            done[worker] += 1;
            checked += 1;
        }
        Ok(Verdict::Checked(checked))
    }
}
