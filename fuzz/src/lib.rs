//! The bodies of the fuzz targets, as plain functions from bytes to a verdict.
//!
//! libFuzzer calls them through `fuzz_targets/`; `cargo test` runs the same on seeded inputs and on the committed corpus. Every
//! target has a canary: an error it makes itself, of the kind it looks for, which it then has to find. A target whose canary
//! does not trip is a check that cannot fail.
#![forbid(unsafe_code)]

pub mod differential;
pub mod guest;
pub mod host_calls;
pub mod http;
pub mod layers;
pub mod linked;
pub mod loaders;
pub mod loops;
pub mod modules;
pub mod objects;
pub mod operators;
pub mod pairs;
pub mod peers;
pub mod preempt;
pub mod random;
pub mod restore;
pub mod turns;
pub mod values;
pub mod waiting;

#[cfg(test)]
mod seeded;

use arbitrary::Unstructured;
use random::Random;

/// Whether a target makes an error on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    Absent,
    Present,
}

impl Canary {
    pub fn is_present(self) -> bool {
        self == Canary::Present
    }
}

/// What an input came to, when nothing was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The input describes no case: it is too short, or what it describes is beyond a documented limit.
    NoCase,
    /// So many comparisons were made.
    Checked(usize),
}

/// What is wrong, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding(pub String);

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub type Outcome = Result<Verdict, Finding>;

/// A finding in words.
macro_rules! finding {
    ($($argument:tt)*) => { $crate::Finding(format!($($argument)*)) };
}
pub(crate) use finding;

/// A target's body: takes an input, and what its calls and arguments come from.
pub type Check = fn(&mut Unstructured<'_>, &mut Random, Canary) -> Outcome;

/// Runs a target's body on an input, whose first bytes are a seed.
pub fn run(check: Check, data: &[u8], canary: Canary) -> Outcome {
    let mut u = Unstructured::new(data);
    match u.arbitrary() {
        Ok(seed) => check(&mut u, &mut Random::new(seed), canary),
        Err(_) => Ok(Verdict::NoCase),
    }
}

/// Runs a target's body and panics at a finding, which is how libFuzzer is told.
pub fn demand(check: Check, data: &[u8]) {
    if let Err(finding) = run(check, data, Canary::Absent) {
        panic!("{finding}");
    }
}
