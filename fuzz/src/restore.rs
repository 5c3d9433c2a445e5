//! Freezing, restoring and resetting: any sequence of calls gives the same on a fresh, a restored and a reset instance.
//!
//! What an instance may be found to be is fixed first, on fresh instances: after so many initialising calls a state, which is frozen,
//! and from there a few *sessions*, each a sequence of calls with its results and the state it ends in. Then instances are
//! restored, called, reset, trimmed, dropped and restored again in an order that the input gives, several at a time, with
//! instances of another module in the same slots between them. Wherever a session is run, every result and the state at its
//! end, byte for byte, have to be those of the fresh instance.

use crate::modules::{choose, mill, scribbler, step};
use crate::peers::describe;
use crate::random::Random;
use crate::values::{End, Value};
use crate::{Canary, Finding, Outcome, Verdict, finding, guest};
use arbitrary::Unstructured;
use dormouse::{Callable, Image, Instance, Linked};
use std::cell::RefCell;
use std::fs::File;
use std::time::Duration;

const FUEL: u32 = 3000;
const LIVE_MAX: usize = 3;
/// Resets in a row that make an instance give up all its pages once (see `src/snapshot/reset.rs`), and some more.
const MANY_RESETS: usize = 270;

/// A call that is made in every run alike.
struct Call {
    name: String,
    callable: Callable,
    arguments: Vec<Value>,
}

/// Calls in order, what each gives and what is left at the end, on a fresh instance.
struct Session {
    calls: Vec<(Call, End)>,
    left: Vec<u8>,
}

struct Case {
    linked: Linked,
    initialising: Vec<Call>,
    sessions: Vec<Session>,
    /// What instances are restored from.
    image: RefCell<Image>,
    image_file: File,
    /// The same, as bytes.
    frozen: Vec<u8>,
    scratch: File,
}

/// An instance and where it is in its session.
struct Live {
    instance: Instance,
    session: usize,
    next: usize,
    /// How it came to be as it is.
    history: &'static str,
}

pub fn check(u: &mut Unstructured<'_>, random: &mut Random, canary: Canary) -> Outcome {
    let Ok(wasm) = choose(u, FUEL, scribbler()) else {
        return Ok(Verdict::NoCase);
    };
    let Some(artifact) = guest::artifact(&wasm)? else {
        return Ok(Verdict::NoCase);
    };
    let keep_resident_pages = *random.pick(&[0, 1, 4, 32, 256]);
    let engine = guest::engine(Duration::ZERO, keep_resident_pages);
    let linked = guest::link(&engine, &artifact)?;
    let Some(case) = Case::new(linked, random)? else {
        return Ok(Verdict::NoCase);
    };
    let visitor = guest::link(&engine, mill_artifact())?;
    case.run(&visitor, u, random, canary)
}

fn mill_artifact() -> &'static [u8] {
    use std::sync::OnceLock;
    static ARTIFACT: OnceLock<Vec<u8>> = OnceLock::new();
    ARTIFACT.get_or_init(|| {
        let artifact = guest::artifact(mill()).expect("it compiles");
        artifact.expect("it is small")
    })
}

/// Calls of a few of the exports: what they change, and what others see of it, is more likely to meet than among all.
fn calls(
    linked: &Linked,
    functions: &[(String, Callable)],
    count: usize,
    random: &mut Random,
) -> Vec<Call> {
    let call = |_| {
        let (name, callable) = random.pick(functions).clone();
        let ty = linked.module().function_type(callable);
        Some(Call {
            arguments: Value::arguments(ty, random)?,
            name,
            callable,
        })
    };
    if functions.is_empty() {
        Vec::new()
    } else {
        (0..count).filter_map(call).collect()
    }
}

impl Case {
    /// `None` when there is no instance, or nothing of it can be called.
    fn new(linked: Linked, random: &mut Random) -> Result<Option<Case>, Finding> {
        let initialising_calls = random.below(5) as usize;
        let mut functions = guest::functions(linked.module());
        if !random.chance(3) {
            let few = 2 + random.below(5) as usize;
            while functions.len() > few {
                functions.swap_remove(random.below(functions.len() as u64) as usize);
            }
        }
        let initialising = calls(&linked, &functions, initialising_calls, random);
        let scratch = guest::image_file();
        let Some(mut first) = initialised(&linked, &initialising)? else {
            return Ok(None);
        };
        let image_file = guest::image_file();
        let frozen = guest::frozen(&mut first, &image_file)?;
        let image = guest::open(&linked, &image_file)?;
        let mut sessions = Vec::new();
        for _ in 0..1 + random.below(3) {
            let count = 1 + random.below(10) as usize;
            let Some(mut instance) = initialised(&linked, &initialising)? else {
                return Err(finding!(
                    "the same module is instantiated once and not again"
                ));
            };
            let mut session = Session {
                calls: Vec::new(),
                left: Vec::new(),
            };
            for call in calls(&linked, &functions, count, random) {
                let end = guest::call(&mut instance, call.callable, &call.arguments)?;
                session.calls.push((call, end));
            }
            if session.calls.is_empty() {
                return Ok(None);
            }
            session.left = guest::frozen(&mut instance, &scratch)?;
            sessions.push(session);
        }
        Ok(Some(Case {
            linked,
            initialising,
            sessions,
            image: image.into(),
            image_file,
            frozen,
            scratch,
        }))
    }

    fn run(
        &self,
        visitor: &Linked,
        u: &mut Unstructured<'_>,
        random: &mut Random,
        canary: Canary,
    ) -> Outcome {
        let mut live: Vec<Live> = Vec::new();
        let mut checked = 0;
        for _ in 0..20 + random.below(60) {
            step(u, random);
            if live.len() < LIVE_MAX && random.chance(3) {
                live.push(self.restore(random)?);
                continue;
            }
            if live.is_empty() {
                continue;
            }
            let index = random.below(live.len() as u64) as usize;
            let has_room = live.len() < LIVE_MAX;
            let one = &mut live[index];
            let session = &self.sessions[one.session];
            if one.next < session.calls.len() && !random.chance(12) {
                self.step(one)?;
                checked += 1;
                continue;
            }
            match random.below(10) {
                0 => drop(live.swap_remove(index)),
                1 => {
                    drop(live.swap_remove(index));
                    self.visit(visitor, random)?;
                }
                2 if random.chance(40) => {
                    // Sessions of one instance after each other, as of one that is always busy.
                    for _ in 0..MANY_RESETS {
                        self.reset(one, random, canary)?;
                        while one.next < self.sessions[one.session].calls.len() {
                            self.step(one)?;
                        }
                    }
                }
                3 => {
                    // A second image, of an instance that is as the first says.
                    self.reset(one, random, canary)?;
                    let again = guest::frozen(&mut one.instance, &self.scratch)?;
                    let info = self.linked.module().info();
                    let difference = guest::frozen_difference(info, &again, &self.frozen);
                    same(difference, one.history)?;
                    checked += 1;
                }
                4 => {
                    self.reset(one, random, canary)?;
                    one.instance
                        .trim()
                        .map_err(|error| finding!("an instance is not trimmed: {error}"))?;
                    one.history = "a trimmed instance";
                }
                5 if has_room => {
                    // What a fresh instance finds in a slot that others had.
                    let Some(mut fresh) = initialised(&self.linked, &self.initialising)? else {
                        return Err(finding!(
                            "the same module is instantiated once and not again"
                        ));
                    };
                    let found = guest::frozen(&mut fresh, &self.scratch)?;
                    let info = self.linked.module().info();
                    let difference = guest::lived_difference(info, &found, &self.frozen);
                    same(difference, "a fresh instance")?;
                    checked += 1;
                }
                _ => self.reset(one, random, canary)?,
            }
        }
        Ok(Verdict::Checked(checked))
    }

    fn restore(&self, random: &mut Random) -> Result<Live, Finding> {
        if random.chance(6) {
            self.reopen(random)?;
        }
        let image = self.image.borrow();
        let instance = match random.chance(4) {
            true => image.restore_recorded(guest::limits(), Box::new(())),
            false => image.restore(guest::limits(), Box::new(())),
        };
        let instance = instance.map_err(|error| finding!("an image is not restored: {error}"))?;
        Ok(Live {
            instance,
            session: random.below(self.sessions.len() as u64) as usize,
            next: 0,
            history: "a restored instance",
        })
    }

    /// Opens the image anew, by the note of its working set: the one there is, a damaged one, or none.
    fn reopen(&self, random: &mut Random) -> Result<(), Finding> {
        let mut note = self.image.borrow().working_set_note().unwrap_or_default();
        let damaged = !note.is_empty() && random.chance(3);
        if damaged {
            match random.chance(2) {
                true => note.truncate(random.below(note.len() as u64) as usize),
                false => *note.last_mut().expect("not empty") ^= 1 << random.below(8),
            }
        }
        let (image, of_use) = guest::open_noted(&self.linked, &self.image_file, None, &note)?;
        if damaged && of_use {
            return Err(finding!("a damaged note of a working set is believed"));
        }
        self.image.replace(image);
        Ok(())
    }

    fn reset(&self, one: &mut Live, random: &mut Random, canary: Canary) -> Result<(), Finding> {
        if one.instance.is_recording() && !random.chance(4) {
            self.image.borrow().record(&mut one.instance);
        }
        // The canary's error: an instance goes to the next request as the last one left it.
        if !canary.is_present() {
            one.instance
                .reset(Box::new(()))
                .map_err(|error| finding!("an instance is not reset: {error}"))?;
        }
        one.session = random.below(self.sessions.len() as u64) as usize;
        one.next = 0;
        one.history = "a reset instance";
        Ok(())
    }

    /// The next call of a session, and what is left after the last.
    fn step(&self, one: &mut Live) -> Result<(), Finding> {
        let session = &self.sessions[one.session];
        let (call, expected) = &session.calls[one.next];
        let end = guest::call(&mut one.instance, call.callable, &call.arguments)?;
        if end != *expected {
            return Err(finding!(
                "{} in {}: {end:x?}, in a fresh one {expected:x?}",
                describe(&call.name, &call.arguments),
                one.history
            ));
        }
        one.next += 1;
        // Looking at all of memory makes page faults, on whose number a reset relies: so not always.
        if one.next == session.calls.len() && one.session != 0 {
            let left = guest::frozen(&mut one.instance, &self.scratch)?;
            let info = self.linked.module().info();
            let difference = guest::lived_difference(info, &left, &session.left);
            same(difference, one.history)?;
        }
        Ok(())
    }

    /// Lets an instance of another module have a slot for a while.
    fn visit(&self, visitor: &Linked, random: &mut Random) -> Result<(), Finding> {
        let Some(mut instance) = initialised(visitor, &[])? else {
            return Err(finding!("the visitor is not instantiated"));
        };
        let stir = visitor
            .module()
            .function("stir")
            .expect("it has the export");
        let grow = visitor
            .module()
            .function("grow")
            .expect("it has the export");
        guest::call(&mut instance, grow, &[Value::I32(random.number() as u32)])?;
        guest::call(
            &mut instance,
            stir,
            &[Value::I64(random.number()), Value::I32(200)],
        )?;
        instance.memory().fill(0xa5);
        Ok(())
    }
}

fn same(difference: Option<String>, history: &str) -> Result<(), Finding> {
    match difference {
        None => Ok(()),
        Some(difference) => Err(finding!("{history}, then a fresh one: {difference}")),
    }
}

/// A fresh instance after the initialising calls, if the module has instances.
fn initialised(linked: &Linked, initialising: &[Call]) -> Result<Option<Instance>, Finding> {
    let Ok(mut instance) = guest::fresh(linked)? else {
        return Ok(None);
    };
    for call in initialising {
        guest::call(&mut instance, call.callable, &call.arguments)?;
    }
    Ok(Some(instance))
}
