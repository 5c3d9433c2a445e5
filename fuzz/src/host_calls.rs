//! Every host call with arbitrary arguments: the host does not panic, writes guest memory only where the call is documented to, and
//! answers the same when asked the same.
//!
//! Two guests with the same memory and the same files make the same calls. After each, what changed of memory is held
//! against the ranges the call may write, and against the other guest's.

mod arguments;
mod caller;
mod calls;

use crate::modules::step;
use crate::random::Random;
use crate::{Canary, Finding, Outcome, Verdict, finding};
use arbitrary::Unstructured;
use arguments::{furnish, operands};
use caller::{Guest, MEMORY_BYTES, Setting};
use calls::{DORMOUSE, Look, PARTIAL, Strings, VARYING, WASI, has_errno, word};

const CALLS: u64 = 24;

pub fn check(u: &mut Unstructured<'_>, random: &mut Random, canary: Canary) -> Outcome {
    let settings = [
        Setting::Command,
        Setting::Reactor,
        Setting::Initialising,
        Setting::Program,
    ];
    let setting = *random.pick(&settings);
    let mut one = Guest::new(setting)?;
    let mut other = Guest::new(setting)?;
    let strings = count_strings(&mut one)?;
    count_strings(&mut other)?;
    let paths = furnish(one.instance.memory(), random);
    let furnished = one.instance.memory().to_vec();
    other.instance.memory().copy_from_slice(&furnished);
    let mut checked = 0;
    for _ in 0..1 + random.below(CALLS) {
        step(u, random);
        // Of a program, mostly those that do something with its files.
        let call = match random.below(8) {
            0 => random.pick(DORMOUSE),
            _ => random.pick(WASI),
        };
        let arguments = operands(call, &paths, random);
        let before = one.instance.memory().to_vec();
        let (end, code) = one.call(call.name, &arguments)?;
        let (other_end, _) = other.call(call.name, &arguments)?;
        // The canary's error: a byte beside what the call may write.
        if canary.is_present() {
            one.instance.memory()[MEMORY_BYTES as usize - 9] ^= 1;
        }
        let described = format!("{}{arguments:x?} of a {setting:?}", call.name);
        let failed = call.name != "call_header" && code.is_some_and(|code| code != 0);
        let look = Look {
            arguments: &arguments,
            memory: &before,
            strings,
        };
        let may_write = match failed && has_errno(call) && !PARTIAL.contains(&call.name) {
            true => Vec::new(),
            false => (call.writes)(&look),
        };
        let after = one.instance.memory();
        if after.len() != before.len() {
            return Err(finding!(
                "{described}: memory has {} bytes after it",
                after.len()
            ));
        }
        let allowed = |at: usize| may_write.iter().any(|range| range.contains(&(at as u64)));
        if let Some(at) = (0..before.len()).find(|at| before[*at] != after[*at] && !allowed(*at)) {
            return Err(finding!(
                "{described} ended with {end} and wrote {at:#x}, beside {may_write:x?}"
            ));
        }
        if VARYING.contains(&call.name) {
            let after = after.to_vec();
            other.instance.memory().copy_from_slice(&after);
        } else if end != other_end {
            return Err(finding!(
                "{described} ended with {end}, then with {other_end}"
            ));
        } else if *after != *other.instance.memory() {
            return Err(finding!("{described} wrote this to memory and then that"));
        }
        checked += 1;
    }
    Ok(Verdict::Checked(checked))
}

fn count_strings(guest: &mut Guest) -> Result<Strings, Finding> {
    let mut ask = |name: &str| -> Result<[u64; 2], Finding> {
        guest.call(name, &[0, 8])?;
        let memory = guest.instance.memory();
        Ok([word(memory, 0), word(memory, 8)])
    };
    Ok(Strings {
        arguments: ask("args_sizes_get")?,
        environment: ask("environ_sizes_get")?,
    })
}
