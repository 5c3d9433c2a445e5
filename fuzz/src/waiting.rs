//! Waiting and notifying at shared memories: calls of several instances wait, are notified and are stopped, and do what a queue
//! of those that wait at each address says.
//!
//! All instances but the first import the first's memory and have one of their own; they wait by an instruction of theirs or by
//! a function of the first.

use crate::modules::step;
use crate::random::Random;
use crate::{Canary, Finding, Outcome, Verdict, finding, guest};
use arbitrary::Unstructured;
use dormouse::{Callable, Engine, InstanceId, Module, Progress, Reason, Store, StoreImports};
use std::time::Duration;

const FIRST: &str = r#"(module (memory (export "memory") 1 1 shared)
    (func (export "wait32") (param i32 i64 i64) (result i32)
        (memory.atomic.wait32 (local.get 0) (i32.wrap_i64 (local.get 1)) (local.get 2)))
    (func (export "wait64") (param i32 i64 i64) (result i32)
        (memory.atomic.wait64 (local.get 0) (local.get 1) (local.get 2))))"#;

const OTHER: &str = r#"(module
    (import "first" "memory" (memory $common 1 1 shared))
    (import "first" "wait32" (func $wait32 (param i32 i64 i64) (result i32)))
    (import "first" "wait64" (func $wait64 (param i32 i64 i64) (result i32)))
    (memory $own 1 1 shared)
    (func (export "call wait32") (param i32 i64 i64) (result i32)
        (call $wait32 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "call wait64") (param i32 i64 i64) (result i32)
        (call $wait64 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wait32") (param i32 i64 i64) (result i32)
        (memory.atomic.wait32 $common (local.get 0) (i32.wrap_i64 (local.get 1)) (local.get 2)))
    (func (export "wait64") (param i32 i64 i64) (result i32)
        (memory.atomic.wait64 $common (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wait at own") (param i32 i64 i64) (result i32)
        (memory.atomic.wait32 $own (local.get 0) (i32.wrap_i64 (local.get 1)) (local.get 2)))
    (func (export "store") (param i32 i64) (i64.atomic.store $common (local.get 0) (local.get 1)))
    (func (export "notify") (param i32 i32) (result i32)
        (memory.atomic.notify $common (local.get 0) (local.get 1)))
    (func (export "notify at own") (param i32 i32) (result i32)
        (memory.atomic.notify $own (local.get 0) (local.get 1))))"#;

const OTHERS: usize = 4;
/// Words of 64 bits that are used, from address 0 on.
const WORDS: usize = 2;
const NOTIFIED: u64 = 0;
const NOT_EQUAL: u64 = 1;
const TIMED_OUT: u64 = 2;
/// A timeout that is never over.
const AN_HOUR_NS: u64 = 3_600_000_000_000;

thread_local! {
    static ENGINE: Engine = guest::engine(Duration::ZERO, 256);
    static MODULES: [Module; 2] = [FIRST, OTHER].map(|text| {
        let wasm = wat::parse_str(text).expect("a valid module");
        let artifact = guest::linkable_artifact(&wasm).expect("it compiles");
        let artifact = artifact.expect("it is small");
        ENGINE.with(|engine| Module::from_artifact(engine, &artifact).expect("just made"))
    });
}

/// At which memory and address: the common one is memory 0, the others' own follow.
type Place = (usize, u64);

/// What a call that waits is to be found doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Waiting,
    Notified,
}

/// Instances, and what is to be true of them.
struct Agents {
    store: Store,
    ids: Vec<InstanceId>,
    states: [State; OTHERS],
    /// Who waits, in the order they came.
    queue: Vec<(Place, usize)>,
    words: [u64; WORDS],
}

pub fn check(u: &mut Unstructured<'_>, random: &mut Random, canary: Canary) -> Outcome {
    let mut agents = Agents::new()?;
    let mut checked = 0;
    for _ in 0..10 + random.below(60) {
        step(u, random);
        let agent = random.below(OTHERS as u64) as usize;
        match agents.states[agent] {
            State::Idle => match random.below(5) {
                0 | 1 => agents.wait(agent, random)?,
                2 => agents.store(agent, random)?,
                _ => agents.notify(agent, random, canary)?,
            },
            _ => agents.go_on(agent, random)?,
        }
        checked += 1;
    }
    Ok(Verdict::Checked(checked))
}

impl Agents {
    fn new() -> Result<Agents, Finding> {
        let mut store = ENGINE.with(Store::new).expect("address space");
        let mut imports = StoreImports::new();
        let add = |store: &mut Store, imports: &StoreImports, module: usize| {
            let module = MODULES.with(|modules| modules[module].clone());
            store
                .instantiate(&module, imports, guest::limits(), Box::new(()))
                .map_err(|error| finding!("no instance: {error}"))
        };
        let first = add(&mut store, &imports, 0)?;
        imports.define_instance("first", &store, first);
        let ids = (0..OTHERS).map(|_| add(&mut store, &imports, 1));
        let ids = ids.collect::<Result<_, _>>()?;
        Ok(Agents {
            store,
            ids,
            states: [State::Idle; OTHERS],
            queue: Vec::new(),
            words: [0; WORDS],
        })
    }

    fn function(&self, agent: usize, name: &str) -> Callable {
        let function = self.store.function(self.ids[agent], name);
        function.expect("it is exported")
    }

    /// A call that ends at once.
    fn call(&mut self, agent: usize, name: &str, arguments: &[u64]) -> Result<Vec<u64>, Finding> {
        let function = self.function(agent, name);
        self.store
            .call(self.ids[agent], function, arguments)
            .map_err(|trap| finding!("{name} {arguments:x?} ends with {trap}"))
    }

    fn store(&mut self, agent: usize, random: &mut Random) -> Result<(), Finding> {
        let word = random.below(WORDS as u64) as usize;
        let value = random.below(3) | random.below(2) << 32;
        self.words[word] = value;
        self.call(agent, "store", &[8 * word as u64, value])?;
        Ok(())
    }

    fn wait(&mut self, agent: usize, random: &mut Random) -> Result<(), Finding> {
        let names = [
            "wait32",
            "wait64",
            "call wait32",
            "call wait64",
            "wait at own",
        ];
        let name = *random.pick(&names);
        let wide = name.ends_with("64");
        let bytes = if wide { 8 } else { 4 };
        let address = bytes * random.below(8 * WORDS as u64 / bytes);
        let is_own = name == "wait at own";
        let word = self.words[address as usize / 8];
        let value = match (is_own, wide) {
            (true, _) => 0,
            (false, true) => word,
            (false, false) => word >> (8 * (address % 8)) & u64::from(u32::MAX),
        };
        let expected = match random.chance(4) {
            true => random.below(3),
            false => value,
        };
        let timeout = *random.pick(&[0, AN_HOUR_NS, u64::MAX, i64::MAX as u64]);
        let function = self.function(agent, name);
        let arguments = [address, expected, timeout];
        let described = format!("{name} {arguments:x?} by {agent}");
        self.store
            .begin(self.ids[agent], function, &arguments)
            .map_err(|error| finding!("{described} does not begin: {error}"))?;
        let progress = self.store.resume(self.ids[agent]);
        let at_once = match (expected == value, timeout) {
            (false, _) => Some(NOT_EQUAL),
            (true, 0) => Some(TIMED_OUT),
            (true, _) => None,
        };
        if let Some(result) = at_once {
            return is_returned(&described, progress, result);
        }
        if !matches!(progress, Progress::Blocked) {
            return Err(finding!("{described} does not wait: {progress:?}"));
        }
        let memory = if is_own { 1 + agent } else { 0 };
        self.queue.push(((memory, address), agent));
        self.states[agent] = State::Waiting;
        self.looks_right(agent, timeout == AN_HOUR_NS)
    }

    /// What the embedder is told of a wait.
    fn looks_right(&self, agent: usize, has_deadline: bool) -> Result<(), Finding> {
        let wait = self.store.instance(self.ids[agent]).atomic_wait();
        let notified = self.states[agent] == State::Notified;
        match wait {
            // The longest timeout may be as good as none.
            Some(wait)
                if wait.notified == notified && (wait.deadline.is_some() || !has_deadline) =>
            {
                Ok(())
            }
            wait => Err(finding!("{agent} is {:?}: {wait:?}", self.states[agent])),
        }
    }

    fn notify(&mut self, agent: usize, random: &mut Random, canary: Canary) -> Result<(), Finding> {
        let is_own = random.chance(6);
        let place = (
            if is_own { 1 + agent } else { 0 },
            4 * random.below(2 * WORDS as u64),
        );
        let count = *random.pick(&[0, 1, 1, 2, u32::MAX.into()]);
        let mut notified = 0;
        let states = &mut self.states;
        self.queue.retain(|(other, waiter)| {
            if *other != place || notified == count {
                return true;
            }
            notified += 1;
            states[*waiter] = State::Notified;
            false
        });
        // The canary's error: somebody who waits is forgotten.
        if canary.is_present() && notified > 0 {
            notified -= 1;
        }
        let name = if is_own { "notify at own" } else { "notify" };
        let result = self.call(agent, name, &[place.1, count])?;
        if result != [notified] {
            return Err(finding!(
                "{name} at {place:x?} of {count} notifies {result:?}, not {notified}"
            ));
        }
        (0..OTHERS)
            .filter(|agent| self.states[*agent] != State::Idle)
            .try_for_each(|agent| self.looks_right(agent, false))
    }

    /// Resumes a call that waits, or ends it.
    fn go_on(&mut self, agent: usize, random: &mut Random) -> Result<(), Finding> {
        let state = self.states[agent];
        if random.chance(6) {
            self.store.stop(self.ids[agent], Reason::Exit(0));
            self.queue.retain(|(_, waiter)| *waiter != agent);
            self.states[agent] = State::Idle;
            return Ok(());
        }
        let progress = self.store.resume(self.ids[agent]);
        match (state, progress) {
            (State::Waiting, Progress::Blocked) => Ok(()),
            (State::Notified, progress) => {
                self.states[agent] = State::Idle;
                is_returned("a wait", progress, NOTIFIED)
            }
            (state, progress) => Err(finding!("{agent} is {state:?}: {progress:?}")),
        }
    }
}

fn is_returned(what: &str, progress: Progress, result: u64) -> Result<(), Finding> {
    match progress {
        Progress::Returned(words) if words == [result] => Ok(()),
        progress => Err(finding!("{what}: {progress:?}, not {result}")),
    }
}
