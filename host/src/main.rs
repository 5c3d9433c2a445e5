//! The `dormouse` binary; everything is in the library, so that tests and fuzzers reach it too.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    dormouse_host::cli::main()
}
