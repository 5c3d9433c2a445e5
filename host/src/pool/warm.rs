//! The instances that wait, and the accounts of what they hold.
//!
//! A [`Pool`] is told of every request and of every instance that comes back. It hands out waiting instances, the most
//! recently used first, keeps those that come back as far as the policy and the budget allow, and gives up the others.
//!
//! Invariants, after every call and whatever the policy answers:
//! * the bytes that the waiting instances hold together, as measured, are at most the budget, and they are at most so many;
//! * every instance that came in has gone out again exactly once, or waits.
//!
//! What is given up is pushed to a list of the caller's, which drops it when there is time. One call gives up at most
//! [`GIVEN_UP_MAX`] instances for another, so that none takes long.

use super::policy::{Chosen, Policy, Run};
use std::collections::VecDeque;

/// The most waiting instances that one call gives up to make room.
pub const GIVEN_UP_MAX: usize = 16;

/// A function that has a place in a pool, in one of its versions.
///
/// An id that is no longer valid is harmless: nothing waits for it, and what comes back for it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FunctionId {
    index: u32,
    generation: u32,
}

impl FunctionId {
    /// The function's number: small, dense, and another's after the function was removed.
    pub fn index(self) -> u32 {
        self.index
    }
}

/// The number of instances a function has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// Reset, and waiting for a request.
    pub waiting: u32,
    /// Serving a request, or not yet back from it.
    pub running: u32,
    /// Since when the instance waits that has waited longest; without meaning if none does.
    pub oldest_ns: u64,
}

/// What all waiting instances together are bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes they may hold.
    pub budget_bytes: u64,
    /// How many there may be: each takes a slot of address space.
    pub instances_max: usize,
}

/// How a request starts.
#[derive(Debug, PartialEq, Eq)]
pub enum Start<I> {
    /// In an instance that was waiting.
    Warm(I),
    /// In one that the caller restores.
    Cold,
}

/// What became of an instance that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// It waits.
    Keep,
    /// It was given up.
    Drop,
}

/// An instance that is reset after a run.
#[derive(Debug)]
pub struct Finished<I> {
    pub instance: I,
    /// What it holds now: private pages and page tables, as measured.
    pub held_bytes: u64,
    /// How long the request occupied it, from its start to the end of the reset.
    pub run_ns: u64,
}

#[derive(Debug)]
struct Waiting<I> {
    instance: I,
    held_bytes: u64,
    since_ns: u64,
}

#[derive(Debug)]
struct Function<I> {
    /// The most recently used last.
    waiting: VecDeque<Waiting<I>>,
    /// Bytes they hold.
    held_bytes: u64,
    running: u32,
    generation: u32,
    /// Whether the number is in use.
    registered: bool,
}

const _: () = assert!(size_of::<Function<u64>>() <= 56);

/// The waiting instances of all functions.
#[derive(Debug)]
pub struct Pool<I, P = Chosen> {
    limits: Limits,
    policy: P,
    functions: Vec<Function<I>>,
    /// Numbers of functions that were removed.
    free: Vec<u32>,
    waiting: usize,
    held_bytes: u64,
}

impl<I, P: Policy> Pool<I, P> {
    pub fn new(limits: Limits, policy: P) -> Pool<I, P> {
        Pool {
            limits,
            policy,
            functions: Vec::new(),
            free: Vec::new(),
            waiting: 0,
            held_bytes: 0,
        }
    }

    /// Gives a function a place. Nothing is known of it.
    pub fn register(&mut self) -> FunctionId {
        let index = match self.free.pop() {
            Some(index) => {
                let function = &mut self.functions[index as usize];
                function.generation = function.generation.wrapping_add(1);
                function.registered = true;
                index
            }
            None => {
                let index = u32::try_from(self.functions.len()).expect("fewer than 2^32 functions");
                self.functions.push(Function {
                    waiting: VecDeque::new(),
                    held_bytes: 0,
                    running: 0,
                    generation: 0,
                    registered: true,
                });
                index
            }
        };
        self.policy.on_register(index);
        FunctionId {
            index,
            generation: self.functions[index as usize].generation,
        }
    }

    /// Gives up a function and all its waiting instances. Those that run are given up when they come back.
    pub fn remove(&mut self, id: FunctionId, given_up: &mut Vec<I>, now_ns: u64) {
        if self.get(id).is_some() {
            self.drain(id.index, given_up, now_ns);
            self.functions[id.index as usize].registered = false;
            self.free.push(id.index);
        }
    }

    /// Replaces a function's version: the instances of the old one are given up, what is known of the load stays.
    ///
    /// The old id is no longer valid; of one that was not valid before, the new id is as of [`Pool::register`].
    pub fn replace(&mut self, id: FunctionId, given_up: &mut Vec<I>, now_ns: u64) -> FunctionId {
        if self.get(id).is_none() {
            return self.register();
        }
        let function = &mut self.functions[id.index as usize];
        function.generation = function.generation.wrapping_add(1);
        let generation = function.generation;
        self.drain(id.index, given_up, now_ns);
        FunctionId {
            index: id.index,
            generation,
        }
    }

    /// Gives up all waiting instances of a function. What is known of its load stays.
    pub fn sleep(&mut self, id: FunctionId, given_up: &mut Vec<I>, now_ns: u64) {
        if self.get(id).is_some() {
            self.give_up_waiting(id.index, given_up);
            self.tell_stock(id.index, now_ns);
        }
    }

    /// A request arrives and needs an instance.
    pub fn request(&mut self, id: FunctionId, now_ns: u64) -> Start<I> {
        if self.get(id).is_none() {
            return Start::Cold;
        }
        self.policy.on_request(id.index, now_ns);
        let taken = self.functions[id.index as usize].waiting.pop_back();
        self.functions[id.index as usize].running += 1;
        let start = match taken {
            Some(waiting) => {
                self.subtract(id.index, waiting.held_bytes);
                Start::Warm(waiting.instance)
            }
            None => Start::Cold,
        };
        self.tell_stock(id.index, now_ns);
        start
    }

    /// An instance comes back from a request, reset. Whatever is given up, itself or others, is pushed to `given_up`.
    pub fn release(
        &mut self,
        id: FunctionId,
        finished: Finished<I>,
        given_up: &mut Vec<I>,
        now_ns: u64,
    ) -> Release {
        let Finished {
            instance,
            held_bytes,
            run_ns,
        } = finished;
        let run = Run {
            run_ns: Some(run_ns),
            held_bytes: Some(held_bytes),
        };
        if !self.end_run(id, run, now_ns) {
            given_up.push(instance);
            return Release::Drop;
        }
        self.put(
            id.index,
            Waiting {
                instance,
                held_bytes,
                since_ns: now_ns,
            },
            given_up,
            now_ns,
        )
    }

    /// Whether an instance that comes back would be given up, however little it holds and whatever the policy says.
    ///
    /// It need not be reset then, and goes by [`Pool::discard`].
    pub fn refuses(&self, id: FunctionId) -> bool {
        self.get(id).is_none() || self.limits.budget_bytes == 0 || self.limits.instances_max == 0
    }

    /// A request ends without an instance to keep: it was refused one, or its instance, which it had for so long, is not to be kept or
    /// cannot be reset.
    pub fn discard(&mut self, id: FunctionId, run_ns: Option<u64>, now_ns: u64) {
        let run = Run {
            run_ns,
            held_bytes: None,
        };
        if self.end_run(id, run, now_ns) {
            self.tell_stock(id.index, now_ns);
        }
    }

    /// An instance of the function was restored, which took so long.
    pub fn restored(&mut self, id: FunctionId, restore_ns: u64) {
        if self.get(id).is_some() {
            self.policy.on_restore(id.index, restore_ns);
        }
    }

    /// A function that should have another instance ready, made ahead of its next request.
    ///
    /// The caller restores one and hands it to [`Pool::add`], when it has nothing better to do; a function is named once
    /// until something happens to it. None is named while the pool is full, for what waits was used, and the next one may
    /// not be; unless the policy knows better ([`Policy::displaces`]).
    pub fn short(&mut self, now_ns: u64) -> Option<FunctionId> {
        let full = self.waiting >= self.limits.instances_max
            || self.held_bytes >= self.limits.budget_bytes;
        if full && !self.policy.displaces() {
            return None;
        }
        loop {
            let index = self.policy.short(now_ns)?;
            let function = &self.functions[index as usize];
            if function.registered {
                return Some(FunctionId {
                    index,
                    generation: function.generation,
                });
            }
        }
    }

    /// An instance was made ahead of need. It displaces another only where the policy says so.
    pub fn add(
        &mut self,
        id: FunctionId,
        instance: I,
        held_bytes: u64,
        given_up: &mut Vec<I>,
        now_ns: u64,
    ) -> Release {
        let has_room = self.fits(held_bytes) || self.policy.displaces();
        if self.get(id).is_none() || !has_room {
            given_up.push(instance);
            return Release::Drop;
        }
        self.put(
            id.index,
            Waiting {
                instance,
                held_bytes,
                since_ns: now_ns,
            },
            given_up,
            now_ns,
        )
    }

    /// Gives up an instance that its function may no longer keep; `None` when there is no such one.
    ///
    /// To be called again and again while there is time.
    pub fn trim(&mut self, now_ns: u64) -> Option<I> {
        let index = self.policy.over(now_ns)?;
        Some(self.give_up(index, now_ns))
    }

    /// Gives up the waiting instance that is worth least, for its memory or its slot is needed.
    pub fn reclaim(&mut self, now_ns: u64) -> Option<I> {
        let index = self.policy.victim()?;
        self.policy.on_evict(index);
        Some(self.give_up(index, now_ns))
    }

    /// When [`Pool::trim`] and [`Pool::short`] may have something to say again, if nothing happens before.
    pub fn next_ns(&self) -> Option<u64> {
        self.policy.next_ns()
    }

    /// The number of instances of a function.
    pub fn stock(&self, id: FunctionId) -> Stock {
        self.get(id).map(Function::stock).unwrap_or_default()
    }

    /// Bytes held by the waiting instances of a function.
    pub fn function_held_bytes(&self, id: FunctionId) -> u64 {
        self.get(id).map_or(0, |function| function.held_bytes)
    }

    /// `k`: how many instances of a function may wait.
    pub fn target(&self, id: FunctionId, now_ns: u64) -> u32 {
        self.get(id)
            .map_or(0, |_| self.policy.target(id.index, now_ns))
    }

    /// Bytes held by all waiting instances.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// The number of all waiting instances.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub fn policy(&self) -> &P {
        &self.policy
    }

    fn get(&self, id: FunctionId) -> Option<&Function<I>> {
        let function = self.functions.get(id.index as usize)?;
        (function.registered && function.generation == id.generation).then_some(function)
    }

    fn fits(&self, held_bytes: u64) -> bool {
        self.waiting < self.limits.instances_max
            && self.held_bytes.saturating_add(held_bytes) <= self.limits.budget_bytes
    }

    /// Whether the run was one of a valid function.
    fn end_run(&mut self, id: FunctionId, run: Run, now_ns: u64) -> bool {
        if self.get(id).is_none() {
            return false;
        }
        let function = &mut self.functions[id.index as usize];
        assert!(
            function.running > 0,
            "an instance came back that no request had taken"
        );
        function.running -= 1;
        self.policy.on_finish(id.index, run, now_ns);
        true
    }

    /// Keeps an instance if the policy wants it and the others can make room for it.
    fn put(&mut self, index: u32, new: Waiting<I>, given_up: &mut Vec<I>, now_ns: u64) -> Release {
        let held_bytes = new.held_bytes;
        let wanted = self.functions[index as usize].stock().waiting
            < self.policy.target(index, now_ns)
            && held_bytes <= self.limits.budget_bytes
            && self.limits.instances_max > 0;
        if wanted {
            for _ in 0..GIVEN_UP_MAX {
                if self.fits(held_bytes) {
                    break;
                }
                match self.policy.victim() {
                    // It would displace its own like.
                    Some(victim) if victim == index => break,
                    Some(victim) => {
                        self.policy.on_evict(victim);
                        given_up.push(self.give_up(victim, now_ns));
                    }
                    None => break,
                }
            }
        }
        let release = if wanted && self.fits(held_bytes) {
            let function = &mut self.functions[index as usize];
            function.waiting.push_back(new);
            function.held_bytes += held_bytes;
            self.held_bytes += held_bytes;
            self.waiting += 1;
            Release::Keep
        } else {
            given_up.push(new.instance);
            Release::Drop
        };
        self.tell_stock(index, now_ns);
        release
    }

    /// Gives up the instance of a function that has waited longest.
    fn give_up(&mut self, index: u32, now_ns: u64) -> I {
        let function = &mut self.functions[index as usize];
        let waiting = function
            .waiting
            .pop_front()
            .expect("the policy names functions that have instances waiting");
        if function.waiting.is_empty() {
            // A function that sleeps holds no memory here.
            function.waiting = VecDeque::new();
        }
        self.subtract(index, waiting.held_bytes);
        self.tell_stock(index, now_ns);
        waiting.instance
    }

    fn drain(&mut self, index: u32, given_up: &mut Vec<I>, now_ns: u64) {
        self.functions[index as usize].running = 0;
        self.give_up_waiting(index, given_up);
        self.tell_stock(index, now_ns);
    }

    fn give_up_waiting(&mut self, index: u32, given_up: &mut Vec<I>) {
        let waiting = std::mem::take(&mut self.functions[index as usize].waiting);
        for Waiting {
            instance,
            held_bytes,
            ..
        } in waiting
        {
            self.subtract(index, held_bytes);
            given_up.push(instance);
        }
    }

    fn subtract(&mut self, index: u32, held_bytes: u64) {
        self.functions[index as usize].held_bytes -= held_bytes;
        self.held_bytes -= held_bytes;
        self.waiting -= 1;
    }

    fn tell_stock(&mut self, index: u32, now_ns: u64) {
        let stock = self.functions[index as usize].stock();
        self.policy.on_stock(index, stock, now_ns);
    }
}

impl<I> Function<I> {
    fn stock(&self) -> Stock {
        Stock {
            waiting: self.waiting.len() as u32,
            running: self.running,
            oldest_ns: self.waiting.front().map_or(0, |oldest| oldest.since_ns),
        }
    }
}
