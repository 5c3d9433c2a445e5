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

/// Runs a target's body and panics at a finding, which is how libFuzzer is told.
pub fn demand(check: fn(&[u8], Canary) -> Outcome, data: &[u8]) {
    if let Err(finding) = check(data, Canary::Absent) {
        panic!("{finding}");
    }
}
