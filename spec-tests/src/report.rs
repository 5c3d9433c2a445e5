//! What came of a file.

use std::fmt;
use std::ops::AddAssign;

/// Directives by what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    /// Failed as expected, or could not be tried because the module it needs did.
    pub skipped: usize,
    /// Instances made from scratch.
    pub instances: usize,
    /// Instances restored from an image.
    pub restored: usize,
    /// Instances reset to their image.
    pub reset: usize,
    /// Instances made from scratch in a store, and those restored there.
    pub linked: usize,
    pub relinked: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.instances += other.instances;
        self.restored += other.restored;
        self.reset += other.reset;
        self.linked += other.linked;
        self.relinked += other.relinked;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// What came of a file.
#[derive(Clone, Debug, Default)]
pub struct FileReport {
    pub name: String,
    pub counts: Counts,
    /// What failed unexpectedly, as `name:line: what`, and expectations that do not hold.
    pub failures: Vec<String>,
    /// What failed as expected, in the same form.
    pub expected: Vec<String>,
    /// Why the whole file is expected to fail, or which file has the same text.
    pub note: Option<String>,
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        write!(f, "{}: {}", self.name, self.counts)?;
        match &self.note {
            Some(note) => write!(f, " ({note})"),
            None => Ok(()),
        }
    }
}
