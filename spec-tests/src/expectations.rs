//! What is expected to fail, and why.
//!
//! One entry a line: `PATH REASON` or `PATH:LINES REASON`, where the path is a file or a folder of the suite and the lines
//! are numbers and ranges (`12,40-52`). `#` begins a comment.
//!
//! * With lines, every directive that begins on one of them must fail, and every line or range must have such a directive.
//! * Without, each file there must have at least one directive that fails.
//!
//! An entry that does not hold is itself a failure, so that what gets better leaves the list.

use std::fmt;
use std::ops::RangeInclusive;

/// The list of expected failures.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    path: String,
    /// None: wherever in the file.
    lines: Option<Vec<RangeInclusive<usize>>>,
    reason: String,
    /// Where it stands in the list.
    line: usize,
}

/// A line of the list that is not an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectationsError {
    pub line: usize,
    pub problem: &'static str,
}

impl fmt::Display for ExpectationsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected failures, line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for ExpectationsError {}

impl Expectations {
    /// Reads a list.
    pub fn parse(text: &str) -> Result<Expectations, ExpectationsError> {
        let mut entries = Vec::new();
        for (index, content) in text.lines().enumerate() {
            let line = index + 1;
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let fail = |problem| ExpectationsError { line, problem };
            let (place, reason) = content
                .split_once(char::is_whitespace)
                .ok_or(fail("an entry is `PATH[:LINES] REASON`"))?;
            let (path, lines) = match place.split_once(':') {
                Some((path, lines)) => (path, Some(parse_lines(lines).ok_or(fail("bad lines"))?)),
                None => (place, None),
            };
            entries.push(Entry {
                path: path.to_owned(),
                lines,
                reason: reason.trim().to_owned(),
                line,
            });
        }
        Ok(Expectations { entries })
    }

    /// The entries that speak of some of these files.
    pub fn only<'a>(&self, files: impl Iterator<Item = &'a str>) -> Expectations {
        let files: Vec<&str> = files.collect();
        let spoken_of = |entry: &&Entry| files.iter().any(|file| entry.covers(file));
        Expectations {
            entries: self.entries.iter().filter(spoken_of).cloned().collect(),
        }
    }

    /// The entries that speak of a file.
    pub(crate) fn of(&self, file: &str) -> FileExpectations<'_> {
        FileExpectations {
            entries: self
                .entries
                .iter()
                .filter(|entry| entry.covers(file))
                .collect(),
        }
    }

    /// Entries that speak of none of the files, described.
    pub(crate) fn unused<'a>(&'a self, files: &[&str]) -> impl Iterator<Item = String> + 'a {
        let unused: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| !files.iter().any(|file| entry.covers(file)))
            .collect();
        unused
            .into_iter()
            .map(|entry| format!("{entry}: no file that was run is of that name"))
    }
}

impl Entry {
    fn covers(&self, file: &str) -> bool {
        file.strip_prefix(self.path.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected failures, line {} ({})", self.line, self.path)
    }
}

fn parse_lines(text: &str) -> Option<Vec<RangeInclusive<usize>>> {
    text.split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = first.parse().ok()?..=last.parse().ok()?;
            (!range.is_empty()).then_some(range)
        })
        .collect()
}

/// The expected failures of one file.
pub(crate) struct FileExpectations<'a> {
    entries: Vec<&'a Entry>,
}

impl FileExpectations<'_> {
    /// Why the file as a whole is expected to fail somewhere.
    pub fn whole(&self) -> Option<&str> {
        self.entries
            .iter()
            .find(|entry| entry.lines.is_none())
            .map(|entry| entry.reason.as_str())
    }

    /// Whether a directive on this line may fail.
    pub fn covers(&self, line: usize) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.lines.is_none() || entry.names(line))
    }

    /// What does not hold, given the lines of the directives that did not pass and of those that did.
    pub fn violations(&self, not_passed: &[usize], passed: &[usize]) -> Vec<String> {
        let mut violations = Vec::new();
        for entry in &self.entries {
            let Some(ranges) = &entry.lines else {
                if not_passed.is_empty() {
                    violations.push(format!("{entry}: everything passes; take it off the list"));
                }
                continue;
            };
            for line in passed.iter().filter(|line| entry.names(**line)) {
                violations.push(format!("{entry}: line {line} passes; take it off the list"));
            }
            for range in ranges {
                if !not_passed
                    .iter()
                    .chain(passed)
                    .any(|line| range.contains(line))
                {
                    violations.push(format!(
                        "{entry}: no directive begins in {}-{}",
                        range.start(),
                        range.end()
                    ));
                }
            }
        }
        violations
    }
}

impl Entry {
    fn names(&self, line: usize) -> bool {
        self.lines
            .iter()
            .flatten()
            .any(|range| range.contains(&line))
    }
}
