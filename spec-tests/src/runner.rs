//! Runs files, several at a time, and holds what came of them against what is expected.

use crate::execution::{Execution, Outcome, Script};
use crate::expectations::{Expectations, FileExpectations};
use crate::instances::{Instances, Mode};
use crate::report::{Counts, FileReport};
use crate::suite::TestFile;
use dormouse::{Engine, EngineOptions};
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use wast::Wast;
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};

/// Runs files on so many threads and hands out the report of each, in order; the total is returned.
///
/// A file whose text was run before under another name is not run again.
pub fn run(
    files: &[TestFile],
    expectations: &Expectations,
    threads: usize,
    mut report: impl FnMut(&FileReport),
) -> Counts {
    let mut first = HashMap::new();
    let same: Vec<Option<usize>> = files
        .iter()
        .enumerate()
        .map(|(index, file)| {
            Some(*first.entry(&file.text).or_insert(index)).filter(|of| *of != index)
        })
        .collect();
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut total = Counts::default();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let sender = sender.clone();
            let (next, same) = (&next, &same);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(index) else { break };
                    let done = match same[index] {
                        Some(of) => FileReport {
                            name: file.name.clone(),
                            note: Some(format!("the same text as {}", files[of].name)),
                            ..FileReport::default()
                        },
                        None => run_file(file, &expectations.of(&file.name)),
                    };
                    if sender.send((index, done)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut due = 0;
        for (index, done) in receiver {
            waiting.insert(index, done);
            while let Some(done) = waiting.remove(&due) {
                total += done.counts;
                report(&done);
                due += 1;
            }
        }
    });
    let run: Vec<&str> = files
        .iter()
        .zip(&same)
        .filter(|(_, same)| same.is_none())
        .map(|(file, _)| file.name.as_str())
        .collect();
    let failures: Vec<String> = expectations.unused(&run).collect();
    if !failures.is_empty() {
        let counts = Counts {
            failed: failures.len(),
            ..Counts::default()
        };
        total += counts;
        report(&FileReport {
            name: "expected failures".to_owned(),
            counts,
            failures,
            ..FileReport::default()
        });
    }
    total
}

/// Runs one file. A defect that makes the engine panic is a failure of the file and of no other.
fn run_file(file: &TestFile, expected: &FileExpectations<'_>) -> FileReport {
    let outcomes =
        catch_unwind(AssertUnwindSafe(|| execute(file, expected))).unwrap_or_else(|panic| {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(format!("the engine panics: {message}"))
        });
    let mut report = FileReport {
        name: file.name.clone(),
        note: expected.whole().map(str::to_owned),
        ..FileReport::default()
    };
    let (outcomes, counts) =
        outcomes.unwrap_or_else(|message| (vec![(1, Outcome::Failed(message))], Counts::default()));
    report.counts = counts;
    judge(&mut report, &outcomes, expected);
    report
}

/// Runs a file in every mode: the line of each directive and the worst that came of it.
fn execute(
    file: &TestFile,
    expected: &FileExpectations<'_>,
) -> Result<(Vec<(usize, Outcome)>, Counts), String> {
    let mut lexer = Lexer::new(&file.text);
    // The suite has names on purpose that look like others.
    lexer.allow_confusing_unicode(true);
    let unparsable = |mut error: wast::Error| {
        error.set_text(&file.text);
        format!("cannot be parsed: {error}")
    };
    let buffer = ParseBuffer::new_with_lexer(lexer).map_err(unparsable)?;
    let wast: Wast<'_> = parser::parse(&buffer).map_err(unparsable)?;
    let script = Script::new(wast, &file.text);
    let engine = Engine::new(&EngineOptions::default()).map_err(|error| error.to_string())?;
    let mut instances = Instances::new(engine);
    let mut worst: Vec<(usize, Outcome)> =
        script.lines().map(|line| (line, Outcome::Silent)).collect();
    for mode in Mode::ALL {
        if !mode.links() && script.needs_links() {
            break;
        }
        let outcomes =
            Execution::new(&script, &mut instances, mode, expected.whole().is_none()).run();
        for ((_, worst), outcome) in worst.iter_mut().zip(outcomes) {
            *worst = match (&*worst, outcome) {
                (Outcome::Failed(_) | Outcome::Untried, _) => continue,
                (_, Outcome::Failed(message)) => Outcome::Failed(format!("{message} ({mode})")),
                (_, Outcome::Untried) => Outcome::Untried,
                (Outcome::Silent, outcome) => outcome,
                (Outcome::Passed, _) => continue,
            };
        }
    }
    Ok((worst, instances.counts))
}

/// Counts outcomes and tells expected failures from others.
fn judge(report: &mut FileReport, outcomes: &[(usize, Outcome)], expected: &FileExpectations<'_>) {
    let (mut passed, mut not_passed) = (Vec::new(), Vec::new());
    // Whether the last failure of a module was expected: what cannot be tried without an instance follows it.
    let mut excused = true;
    for (line, outcome) in outcomes {
        match outcome {
            Outcome::Silent => {}
            Outcome::Passed => {
                report.counts.passed += 1;
                passed.push(*line);
            }
            Outcome::Untried => {
                not_passed.push(*line);
                if excused {
                    report.counts.skipped += 1;
                } else {
                    report.counts.failed += 1;
                }
            }
            Outcome::Failed(message) => {
                not_passed.push(*line);
                let failure = format!("{}:{line}: {message}", report.name);
                excused = expected.covers(*line);
                if excused {
                    report.counts.skipped += 1;
                    report.expected.push(failure);
                } else {
                    report.counts.failed += 1;
                    report.failures.push(failure);
                }
            }
        }
    }
    let violations = expected.violations(&not_passed, &passed);
    report.counts.failed += violations.len();
    report.failures.extend(violations);
}
