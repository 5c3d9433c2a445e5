//! Differential execution: a module of wasm-smith's must do on Dormouse what it does on Wasmtime and on Wasmi.
//!
//! Compared after instantiation and after every call: results bit for bit (the modules make every NaN the canonical one), the
//! kind of trap, and everything exported, which is all memories, globals and tables.

use crate::modules::{Purpose, generate, step};
use crate::peers::{Peer, Started, describe, of_wasmi, of_wasmtime};
use crate::random::Random;
use crate::values::{End, State, Value};
use crate::{Canary, Finding, Outcome, Verdict, finding, guest, operators};
use arbitrary::Unstructured;
use dormouse::{Engine, Instance};
use std::fs::File;
use std::time::Duration;

/// Loops and calls of one module, over all calls.
const FUEL: u32 = 1500;
const CALLS: usize = 12;

thread_local! {
    static ENGINE: Engine = guest::engine(Duration::from_millis(1), 256);
    static FILE: File = guest::image_file();
}

pub fn check(u: &mut Unstructured<'_>, random: &mut Random, canary: Canary) -> Outcome {
    let wasm = if random.chance(2) {
        step(u, random);
        operators::generate(random)
    } else {
        match generate(u, Purpose::Differential, FUEL) {
            Ok(wasm) => wasm,
            Err(_) => return Ok(Verdict::NoCase),
        }
    };
    compare(&wasm, u, random, canary)
}

/// Runs a module on all engines; calls and arguments are the input's.
pub(crate) fn compare(
    wasm: &[u8],
    u: &mut Unstructured<'_>,
    random: &mut Random,
    canary: Canary,
) -> Outcome {
    let Some(artifact) = guest::artifact(wasm)? else {
        return Ok(Verdict::NoCase);
    };
    let linked = ENGINE.with(|engine| guest::link(engine, &artifact))?;
    let own = guest::fresh(&linked)?;
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    for (name, started) in [
        ("Wasmtime", of_wasmtime::start(wasm)),
        ("Wasmi", of_wasmi::start(wasm)),
    ] {
        match (&own, started) {
            (Ok(_), Started::Instance(peer)) => peers.push(peer),
            (Err(end), Started::Ended(other)) if end.agrees(&other) => {}
            (Err(end), _) if end.is_own_limit() => return Ok(Verdict::NoCase),
            (_, Started::Ended(end)) if end.is_own_limit() => return Ok(Verdict::NoCase),
            (own, Started::Ended(end)) => {
                let own = own.as_ref().err();
                return Err(finding!(
                    "instantiation: {name} ends with {end:?}, Dormouse with {own:?}"
                ));
            }
            (Err(end), Started::Instance(_)) => {
                return Err(finding!(
                    "instantiation: Dormouse ends with {end:?}, {name} does not"
                ));
            }
            // An engine may lack a proposal; not the one whose proposals ours are measured by.
            (_, Started::Refused(error)) if name == "Wasmtime" => {
                return Err(finding!(
                    "{name} refuses a module that Dormouse takes: {error}"
                ));
            }
            (_, Started::Refused(_)) => {}
        }
    }
    let Ok(mut own) = own else {
        return Ok(Verdict::Checked(1));
    };
    // As instances are in production: from an image.
    if random.chance(2) {
        own = guest::freeze(&mut own)?
            .restore(guest::limits(), Box::new(()))
            .map_err(|error| finding!("an image is not restored: {error}"))?;
    }
    let exports: Vec<String> = own
        .linked()
        .module()
        .info()
        .exports
        .iter()
        .map(|export| export.name.clone())
        .collect();
    let mut checked = 1;
    compare_states("instantiation", &mut own, &mut peers, &exports)?;
    let functions = guest::functions(own.linked().module());
    if functions.is_empty() {
        return Ok(Verdict::Checked(checked));
    }
    let mut exhausted = 0;
    for _ in 0..CALLS {
        step(u, random);
        let (name, callable) = random.pick(&functions);
        let ty = own.linked().module().function_type(*callable).clone();
        let Some(arguments) = Value::arguments(&ty, random) else {
            continue;
        };
        let mut end = guest::call(&mut own, *callable, &arguments)?;
        if canary.is_present() {
            err(&mut own, &mut end);
        }
        for peer in &mut peers {
            let other = peer.call(name, &arguments, ty.results.len());
            if end.is_own_limit() || other.is_own_limit() {
                return Ok(Verdict::Checked(checked));
            }
            if !end.agrees(&other) {
                return Err(finding!(
                    "{}: Dormouse {end:x?}, {} {other:x?}",
                    describe(name, &arguments),
                    peer.name()
                ));
            }
        }
        compare_states(&describe(name, &arguments), &mut own, &mut peers, &exports)?;
        checked += 1;
        // Its fuel is most likely used up, and so will be that of every other call.
        exhausted = match end {
            End::Trapped(class) if class == "unreachable" => exhausted + 1,
            _ => 0,
        };
        if exhausted == 3 {
            break;
        }
    }
    Ok(Verdict::Checked(checked))
}

fn compare_states(
    after: &str,
    own: &mut Instance,
    peers: &mut [Box<dyn Peer>],
    exports: &[String],
) -> Result<(), Finding> {
    let seen: State = FILE.with(|file| guest::observe(own, file))?;
    for peer in peers {
        let other = peer.observe(exports);
        if let Some(difference) = seen.difference(&other) {
            return Err(finding!(
                "after {after}: {difference}, on Dormouse and on {}",
                peer.name()
            ));
        }
    }
    Ok(())
}

/// The canary's error: a bit of memory, or of a result, is another.
fn err(own: &mut Instance, end: &mut End) {
    if let Some(byte) = own.memory().last_mut() {
        *byte ^= 0x10;
    } else if let End::Returned(values) = end {
        for value in values {
            match value {
                Value::I32(value) => *value ^= 1,
                Value::I64(value) => *value ^= 1 << 63,
                _ => {}
            }
        }
    }
}
