//! Preemption at any instruction changes no result.
//!
//! The same calls are run on an instance that is never suspended and on two that a short time slice suspends wherever they
//! are, and that take turns on the thread, so that each finds its registers, its signal mask and its stack used by the other.

use crate::modules::{choose, mill};
use crate::peers::describe;
use crate::random::Random;
use crate::values::{End, Value};
use crate::{Canary, Finding, Outcome, Verdict, finding, guest};
use arbitrary::Unstructured;
use dormouse::{Callable, Instance, Linked, Reason};
use std::fs::File;
use std::time::Duration;

/// Enough for milliseconds of an endless loop.
const FUEL: u32 = 1_000_000;
const CALLS: u64 = 6;
/// The least time slice an engine has, and the most that is of use here.
const TICK_US: (u64, u64) = (50, 250);

/// A call of an export, and how it ends when nothing interrupts it.
type Call = (String, Callable, Vec<Value>, End);

pub fn check(u: &mut Unstructured<'_>, random: &mut Random, canary: Canary) -> Outcome {
    let Ok(wasm) = choose(u, FUEL, mill()) else {
        return Ok(Verdict::NoCase);
    };
    let Some(artifact) = guest::artifact(&wasm)? else {
        return Ok(Verdict::NoCase);
    };
    let scratch = guest::image_file();
    let mut calls: Vec<Call> = Vec::new();
    let left = {
        let engine = guest::engine(Duration::ZERO, 256);
        let linked = guest::link(&engine, &artifact)?;
        let Ok(mut instance) = guest::fresh(&linked)? else {
            return Ok(Verdict::NoCase);
        };
        let functions = guest::functions(linked.module());
        if functions.is_empty() {
            return Ok(Verdict::NoCase);
        }
        for _ in 0..1 + random.below(CALLS) {
            let (name, callable) = random.pick(&functions).clone();
            let ty = linked.module().function_type(callable).clone();
            let Some(arguments) = Value::arguments(&ty, random) else {
                continue;
            };
            instance
                .begin(callable, &guest::words(&arguments))
                .map_err(|error| finding!("a call does not begin: {error}"))?;
            let progress = instance.resume();
            let Some(end) = guest::end_of_slice(&instance, callable, progress)? else {
                return Err(finding!("a preemption without a time slice"));
            };
            calls.push((name, callable, arguments, end));
        }
        guest::frozen(&mut instance, &scratch)?
    };

    let tick = TICK_US.0 + random.below(TICK_US.1 - TICK_US.0);
    let engine = guest::engine(Duration::from_micros(tick), 256);
    let linked = guest::link(&engine, &artifact)?;
    let mut pair = Vec::new();
    for _ in 0..2 {
        match guest::fresh(&linked)? {
            Ok(instance) => pair.push(Turn { instance, call: 0 }),
            Err(end) => return Err(finding!("the start function ended by preemption: {end:?}")),
        }
    }
    let mut preemptions = 0;
    while !pair.is_empty() {
        let mut index = 0;
        while index < pair.len() {
            let turn = &mut pair[index];
            let Some((name, callable, arguments, expected)) = calls.get(turn.call) else {
                let seen = guest::frozen(&mut turn.instance, &scratch)?;
                if let Some(difference) =
                    guest::lived_difference(linked.module().info(), &seen, &left)
                {
                    return Err(finding!("with preemption, then without: {difference}"));
                }
                pair.swap_remove(index);
                continue;
            };
            match turn.resume(*callable, arguments)? {
                None => {
                    preemptions += 1;
                    if canary.is_present() {
                        err(&mut turn.instance);
                    }
                }
                Some(end) if end == *expected => turn.call += 1,
                Some(end) => {
                    return Err(finding!(
                        "{}: {end:x?} with {preemptions} preemptions, {expected:x?} without",
                        describe(name, arguments)
                    ));
                }
            }
            index += 1;
        }
    }
    interrupt(&linked, &calls, &scratch, canary)?;
    Ok(Verdict::Checked(preemptions))
}

/// A call that was stopped in the middle leaves nothing: its instance, reset, does what a fresh one does.
fn interrupt(
    linked: &Linked,
    calls: &[Call],
    scratch: &File,
    canary: Canary,
) -> Result<(), Finding> {
    let Ok(mut first) = guest::fresh(linked)? else {
        return Err(finding!(
            "the same module is instantiated once and not again"
        ));
    };
    let image = guest::freeze(&mut first)?;
    let frozen = guest::frozen(&mut first, scratch)?;
    let mut instance = image
        .restore(guest::limits(), Box::new(()))
        .map_err(|error| finding!("an image is not restored: {error}"))?;
    for (name, callable, arguments, _) in calls {
        let mut turn = Turn { instance, call: 0 };
        let ended = turn.resume(*callable, arguments)?.is_some();
        instance = turn.instance;
        if !ended {
            instance.stop(Reason::Exit(0));
        }
        if !canary.is_present() {
            instance
                .reset(Box::new(()))
                .map_err(|error| finding!("an instance is not reset: {error}"))?;
        }
        let seen = guest::frozen(&mut instance, scratch)?;
        let info = linked.module().info();
        if let Some(difference) = guest::frozen_difference(info, &seen, &frozen) {
            return Err(finding!(
                "{} and then reset, and a fresh one: {difference}",
                describe(name, arguments)
            ));
        }
    }
    for (name, callable, arguments, expected) in calls {
        let end = guest::call(&mut instance, *callable, arguments)?;
        if end != *expected {
            return Err(finding!(
                "{} after calls that were stopped: {end:x?}, {expected:x?} in a fresh instance",
                describe(name, arguments)
            ));
        }
    }
    Ok(())
}

struct Turn {
    instance: Instance,
    call: usize,
}

impl Turn {
    /// Begins the call or goes on with it for a time slice.
    fn resume(&mut self, callable: Callable, arguments: &[Value]) -> Result<Option<End>, Finding> {
        if !self.instance.in_call() {
            self.instance
                .begin(callable, &guest::words(arguments))
                .map_err(|error| finding!("a call does not begin: {error}"))?;
        }
        let progress = self.instance.resume();
        guest::end_of_slice(&self.instance, callable, progress)
    }
}

/// The canary's error: bytes of memory are others after a preemption.
fn err(instance: &mut Instance) {
    for byte in instance.memory() {
        *byte ^= 1;
    }
}
