//! A trace played through the pool, with a simulated clock.
//!
//! The pool is the one that serves requests ([`crate::pool`]), with nothing for instances. Its caller does here what the
//! server does: a request takes a waiting instance or restores one, comes back when its run is over, and when something is due
//! instances are given up and made ahead. Differences to the server: there are always enough processors, and an
//! instance's restore takes the time that was measured alone.
//!
//! Invariant: time never goes back, and what is due before a call has happened before it.

use super::latency::{Latency, Summary};
use super::random::Random;
use super::trace::Call;
use crate::pool::{Chosen, Finished, FunctionId, Limits, PolicyOptions, Pool, Release, Start};
use crate::profile::Profile;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// When there are so many points of memory over time, every second one goes. An even number.
const SAMPLES_MAX: usize = 1000;
/// Their distance at first.
const SAMPLE_NS: u64 = 1_000_000_000;

const NS_PER_US: f64 = 1000.0;

/// What happens of itself at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A run ends that began then.
    End { began_ns: u64 },
    /// An instance that is made ahead is ready.
    Ready,
}

/// The state of the pool at a moment, and what happened since the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    pub at_s: u64,
    pub held_bytes: u64,
    pub waiting: u64,
    pub running: u64,
    pub calls: u64,
    pub cold: u64,
}

/// What became of a trace under one policy and budget.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub policy: String,
    pub budget_bytes: u64,
    pub calls: u64,
    pub warm: u64,
    pub cold: u64,
    pub cold_rate: f64,
    /// Instances made ahead of need.
    pub prewarmed: u64,
    /// Waiting instances that gave way to others.
    pub displaced: u64,
    /// Waiting instances that the policy let go of.
    pub expired: u64,
    /// Instances that were not kept when they came back.
    pub dropped: u64,
    /// From the request until the guest runs as a warm one would.
    pub start_us: Summary,
    /// The function's own run time.
    pub run_us: Summary,
    /// Both together.
    pub response_us: Summary,
    pub held_bytes_mean: u64,
    pub held_bytes_peak: u64,
    pub waiting_mean: f64,
    pub running_mean: f64,
    pub running_peak: u64,
    pub samples: Vec<Sample>,
}

/// What a function's instances cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    profile: u32,
    held_bytes: u64,
    id: FunctionId,
    called: bool,
}

/// One policy and budget.
pub struct Replay {
    policy: PolicyOptions,
    budget_bytes: u64,
    profiles: Vec<Profile>,
    pool: Pool<(), Chosen>,
    functions: Vec<Cost>,
    due: BinaryHeap<Reverse<(u64, Due, u32)>>,
    given_up: Vec<()>,
    random: Random,
    now_ns: u64,
    running: u64,
    running_peak: u64,
    held_peak: u64,
    /// Integrals over time.
    held_ns: f64,
    waiting_ns: f64,
    running_ns: f64,
    warm: u64,
    cold: u64,
    prewarmed: u64,
    displaced: u64,
    expired: u64,
    dropped: u64,
    start: Latency,
    run: Latency,
    response: Latency,
    samples: Vec<Sample>,
    sample_every_ns: u64,
    next_sample_ns: u64,
    /// Calls and cold starts when the last sample was taken.
    sampled: (u64, u64),
}

impl Replay {
    pub fn new(policy: PolicyOptions, limits: Limits, profiles: Vec<Profile>, seed: u64) -> Replay {
        assert!(!profiles.is_empty());
        Replay {
            policy,
            budget_bytes: limits.budget_bytes,
            profiles,
            pool: Pool::new(limits, Chosen::new(&policy)),
            functions: Vec::new(),
            due: BinaryHeap::new(),
            given_up: Vec::new(),
            random: Random::new(seed),
            now_ns: 0,
            running: 0,
            running_peak: 0,
            held_peak: 0,
            held_ns: 0.0,
            waiting_ns: 0.0,
            running_ns: 0.0,
            warm: 0,
            cold: 0,
            prewarmed: 0,
            displaced: 0,
            expired: 0,
            dropped: 0,
            start: Latency::default(),
            run: Latency::default(),
            response: Latency::default(),
            samples: Vec::new(),
            sample_every_ns: SAMPLE_NS,
            next_sample_ns: SAMPLE_NS,
            sampled: (0, 0),
        }
    }

    /// A call arrives. `memory_bytes`: what an instance of a function holds, where that is not the profile's to say.
    pub fn call(&mut self, call: Call, memory_bytes: impl Fn(u32) -> Option<u64>) {
        self.pass_to(call.at_ns);
        while self.functions.len() <= call.function as usize {
            let function = self.functions.len();
            let profile = function % self.profiles.len();
            let held_bytes = self.profiles[profile].held_bytes;
            self.functions.push(Cost {
                profile: profile as u32,
                held_bytes: memory_bytes(function as u32).unwrap_or(held_bytes),
                id: self.pool.register(),
                called: false,
            });
        }
        let Cost { profile, id, .. } = self.functions[call.function as usize];
        let profile = &self.profiles[profile as usize];
        let first = !std::mem::replace(&mut self.functions[call.function as usize].called, true);
        let run_ns = match call.run_ns {
            Some(run_ns) => run_ns,
            None => (profile.run_us.at(self.random.part()) * NS_PER_US) as u64,
        };
        let start_us = match self.pool.request(id, self.now_ns) {
            Start::Warm(()) => {
                self.warm += 1;
                profile.warm_us
            }
            Start::Cold => {
                self.cold += 1;
                let restore_us = profile.restore_us.at(self.random.part());
                self.pool.restored(id, (restore_us * NS_PER_US) as u64);
                let open_us = if first { profile.open_us } else { 0.0 };
                restore_us + profile.first_call_us + open_us
            }
        };
        let start_ns = (start_us * NS_PER_US) as u64;
        self.start.record(start_ns);
        self.run.record(run_ns);
        self.response.record(start_ns + run_ns);
        self.running += 1;
        self.running_peak = self.running_peak.max(self.running);
        let began_ns = self.now_ns;
        let end_ns = began_ns.saturating_add(start_ns + run_ns);
        self.due
            .push(Reverse((end_ns, Due::End { began_ns }, call.function)));
        self.keep_house();
    }

    /// Everything that is due up to a moment.
    pub fn pass_to(&mut self, until_ns: u64) {
        loop {
            let event_ns = self.due.peek().map(|Reverse((at_ns, _, _))| *at_ns);
            let house_ns = self.pool.next_ns();
            let next_ns = event_ns
                .unwrap_or(u64::MAX)
                .min(house_ns.unwrap_or(u64::MAX));
            if next_ns > until_ns {
                break;
            }
            self.advance(next_ns);
            if event_ns == Some(next_ns)
                && let Some(Reverse((_, due, function))) = self.due.pop()
            {
                self.happen(due, function);
            }
            self.keep_house();
        }
        self.advance(until_ns);
    }

    fn happen(&mut self, due: Due, function: u32) {
        let Cost { held_bytes, id, .. } = self.functions[function as usize];
        let release = match due {
            Due::End { began_ns } => {
                self.running -= 1;
                let finished = Finished {
                    instance: (),
                    held_bytes,
                    run_ns: self.now_ns - began_ns,
                };
                self.pool
                    .release(id, finished, &mut self.given_up, self.now_ns)
            }
            Due::Ready => self
                .pool
                .add(id, (), held_bytes, &mut self.given_up, self.now_ns),
        };
        let dropped = u64::from(release == Release::Drop);
        self.dropped += dropped;
        self.displaced += self.given_up.len() as u64 - dropped;
        self.given_up.clear();
    }

    fn keep_house(&mut self) {
        while self.pool.trim(self.now_ns).is_some() {
            self.expired += 1;
        }
        while let Some(id) = self.pool.short(self.now_ns) {
            // Functions are registered in the order of their numbers and stay.
            let function = id.index();
            let cost = self.functions[function as usize];
            let profile = &self.profiles[cost.profile as usize];
            // A server makes it when it has seen to the call that showed the need.
            let ready_us = profile.warm_us + profile.restore_us.p50;
            self.prewarmed += 1;
            self.due.push(Reverse((
                self.now_ns.saturating_add((ready_us * NS_PER_US) as u64),
                Due::Ready,
                function,
            )));
        }
        self.held_peak = self.held_peak.max(self.pool.held_bytes());
    }

    fn advance(&mut self, to_ns: u64) {
        while self.next_sample_ns <= to_ns {
            self.integrate(self.next_sample_ns);
            self.sample();
        }
        self.integrate(to_ns);
    }

    fn integrate(&mut self, to_ns: u64) {
        let passed_ns = (to_ns - self.now_ns) as f64;
        self.held_ns += self.pool.held_bytes() as f64 * passed_ns;
        self.waiting_ns += self.pool.waiting() as f64 * passed_ns;
        self.running_ns += self.running as f64 * passed_ns;
        self.now_ns = to_ns;
    }

    fn sample(&mut self) {
        let calls = self.warm + self.cold;
        self.samples.push(Sample {
            at_s: self.now_ns / 1_000_000_000,
            held_bytes: self.pool.held_bytes(),
            waiting: self.pool.waiting() as u64,
            running: self.running,
            calls: calls - self.sampled.0,
            cold: self.cold - self.sampled.1,
        });
        self.sampled = (calls, self.cold);
        if self.samples.len() >= SAMPLES_MAX {
            // Of two neighbours the later stays, with the counts of both.
            self.samples = self
                .samples
                .chunks_exact(2)
                .map(|pair| Sample {
                    calls: pair[0].calls + pair[1].calls,
                    cold: pair[0].cold + pair[1].cold,
                    ..pair[1]
                })
                .collect();
            self.sample_every_ns *= 2;
        }
        let last_ns = self.samples.last().map_or(0, |last| last.at_s) * 1_000_000_000;
        self.next_sample_ns = last_ns + self.sample_every_ns;
    }

    /// What became of it.
    pub fn outcome(&self) -> Outcome {
        let calls = self.warm + self.cold;
        let span_ns = (self.now_ns as f64).max(1.0);
        Outcome {
            policy: self.policy.to_string(),
            budget_bytes: self.budget_bytes,
            calls,
            warm: self.warm,
            cold: self.cold,
            cold_rate: self.cold as f64 / calls.max(1) as f64,
            prewarmed: self.prewarmed,
            displaced: self.displaced,
            expired: self.expired,
            dropped: self.dropped,
            start_us: self.start.summary(),
            run_us: self.run.summary(),
            response_us: self.response.summary(),
            held_bytes_mean: (self.held_ns / span_ns) as u64,
            held_bytes_peak: self.held_peak,
            waiting_mean: self.waiting_ns / span_ns,
            running_mean: self.running_ns / span_ns,
            running_peak: self.running_peak,
            samples: self.samples.clone(),
        }
    }
}
