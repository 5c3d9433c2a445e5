//! The official WebAssembly test suite, run on the engine.
//!
//! A test file is a list of directives: modules, and assertions about calls of their exports. Each file is run three
//! times, and a directive passes when it does in all of them:
//!
//! 1. on instances made from scratch; an image of each is taken right after its instantiation;
//! 2. on instances restored from those images;
//! 3. on the same restored instances once more, after a reset.
//!
//! What is expected to fail is listed in `expected-failures.txt`, each with a reason. What is listed and passes is an
//! error: the list can only shrink.
#![forbid(unsafe_code)]

mod execution;
mod expectations;
mod instances;
mod report;
mod runner;
mod suite;
mod values;

pub use expectations::{Expectations, ExpectationsError};
pub use report::{Counts, FileReport};
pub use runner::run;
pub use suite::{TestFile, files_at, official};

/// The failures expected of the official suite.
pub const EXPECTED_FAILURES: &str = include_str!("../expected-failures.txt");
