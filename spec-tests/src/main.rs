//! Runs the official test suite, or the files and folders that are named.

use spec_tests::{EXPECTED_FAILURES, Expectations, TestFile, files_at, official, run};
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: spec-tests [--expected] [PATH...]

Runs the official WebAssembly test suite, or the .wast files and folders named: on disk, or by their names in the suite
(wasm-v3/linking.wast, proposals/simd). Failures listed in expected-failures.txt are counted as skipped.

  --expected   print what fails as expected, too
";

fn main() -> ExitCode {
    match try_main() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("spec-tests: {message}");
            ExitCode::from(2)
        }
    }
}

fn try_main() -> Result<bool, String> {
    let mut paths = Vec::new();
    let mut print_expected = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(true);
            }
            "--expected" => print_expected = true,
            option if option.starts_with('-') => {
                return Err(format!("unknown option {option}\n{USAGE}"));
            }
            _ => paths.push(argument),
        }
    }
    let expectations = Expectations::parse(EXPECTED_FAILURES).map_err(|error| error.to_string())?;
    let suite = official();
    let (files, expectations) = if paths.is_empty() {
        (suite, expectations)
    } else {
        named(&paths, &suite, &expectations)?
    };
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let total = run(&files, &expectations, threads, |report| {
        if print_expected {
            for failure in &report.expected {
                println!("expected: {failure}");
            }
        }
        println!("{report}");
    });
    println!(
        "{} instances made, {} restored, {} reset",
        total.instances, total.restored, total.reset
    );
    println!("{total}");
    Ok(total.failed == 0)
}

/// The files a user names, and what is expected of those that are of the suite.
fn named(
    paths: &[String],
    suite: &[TestFile],
    expectations: &Expectations,
) -> Result<(Vec<TestFile>, Expectations), String> {
    let mut files = Vec::new();
    for path in paths {
        if Path::new(path).exists() {
            let found = files_at(Path::new(path)).map_err(|error| format!("{path}: {error}"))?;
            files.extend(found);
            continue;
        }
        let folder = format!("{}/", path.trim_end_matches('/'));
        let before = files.len();
        files.extend(
            suite
                .iter()
                .filter(|file| file.name == *path || file.name.starts_with(&folder))
                .cloned(),
        );
        if files.len() == before {
            return Err(format!("{path}: neither on disk nor in the suite"));
        }
    }
    let expectations = expectations.only(files.iter().map(|file| file.name.as_str()));
    Ok((files, expectations))
}
