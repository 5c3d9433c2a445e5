//! What a function costs: the figures that `dormouse bench --record` writes and `dormouse simulate --profile` reads.
//!
//! Durations are in microseconds, sizes in bytes, as everywhere in JSON.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What half, 95 and 99 of a hundred samples did not exceed, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

impl Quantiles {
    /// # Panics
    /// When there are no samples.
    pub fn of(mut samples: Vec<Duration>) -> Quantiles {
        samples.sort_unstable();
        let at = |hundredths: usize| {
            let rank = (samples.len() * hundredths).div_ceil(100).max(1);
            microseconds(samples[rank - 1])
        };
        Quantiles {
            p50: at(50),
            p95: at(95),
            p99: at(99),
        }
    }

    /// The same everywhere.
    pub const fn constant(us: f64) -> Quantiles {
        Quantiles {
            p50: us,
            p95: us,
            p99: us,
        }
    }

    /// The value that this part of the samples did not exceed: linear between what is known, constant beyond.
    pub fn at(&self, part: f64) -> f64 {
        let between = |from: f64, to: f64, low: f64, high: f64| {
            low + (high - low) * ((part - from) / (to - from)).clamp(0.0, 1.0)
        };
        if part <= 0.95 {
            between(0.50, 0.95, self.p50, self.p95)
        } else {
            between(0.95, 0.99, self.p95, self.p99)
        }
    }
}

pub fn microseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1000.0
}

/// One function, as measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    /// Making an instance from its image.
    pub restore_us: Quantiles,
    /// How much longer the first call in it takes than one in an instance that was reset.
    pub first_call_us: f64,
    /// How much longer the first call of a function takes, whose files are opened for it; not recorded, for it depends on
    /// the disk.
    #[serde(default)]
    pub open_us: f64,
    /// Handing a request to an instance that waits.
    pub warm_us: f64,
    /// A call in an instance that was reset.
    pub run_us: Quantiles,
    /// What a reset instance holds.
    pub held_bytes: u64,
    pub image_bytes: u64,
}

/// A file of profiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Profiles {
    profiles: Vec<Profile>,
}

/// Why a file of profiles cannot be used.
#[derive(Debug)]
pub enum ProfileError {
    Read(PathBuf, io::Error),
    Write(PathBuf, io::Error),
    Malformed(PathBuf, serde_json::Error),
    Empty(PathBuf),
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProfileError::Read(path, error) => {
                write!(f, "{}: cannot be read: {error}", path.display())?;
                f.write_str("; `dormouse bench --record FILE` makes such a file, and there are the profiles dormouse and container")
            }
            ProfileError::Write(path, error) => {
                write!(f, "{}: cannot be written: {error}", path.display())
            }
            ProfileError::Malformed(path, error) => write!(
                f,
                "{}: not a file of `dormouse bench --record`: {error}",
                path.display()
            ),
            ProfileError::Empty(path) => write!(f, "{}: there is no profile in it", path.display()),
        }
    }
}

impl std::error::Error for ProfileError {}

/// Reads the profiles of a file.
pub fn read(path: &Path) -> Result<Vec<Profile>, ProfileError> {
    let text = std::fs::read(path).map_err(|error| ProfileError::Read(path.to_owned(), error))?;
    let Profiles { profiles } = serde_json::from_slice(&text)
        .map_err(|error| ProfileError::Malformed(path.to_owned(), error))?;
    if profiles.is_empty() {
        return Err(ProfileError::Empty(path.to_owned()));
    }
    Ok(profiles)
}

/// Adds a profile to a file, in place of an earlier one of the same name.
pub fn record(path: &Path, profile: Profile) -> Result<(), ProfileError> {
    let mut profiles = match read(path) {
        Ok(profiles) => profiles,
        Err(ProfileError::Read(_, error)) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    profiles.retain(|other| other.name != profile.name);
    profiles.push(profile);
    let mut text =
        serde_json::to_string_pretty(&Profiles { profiles }).expect("numbers and names make JSON");
    text.push('\n');
    std::fs::write(path, text).map_err(|error| ProfileError::Write(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_that_so_many_do_not_exceed() {
        let samples = |count: u64| (1..=count).rev().map(Duration::from_micros).collect();
        let of = |count| {
            let quantiles = Quantiles::of(samples(count));
            [quantiles.p50, quantiles.p95, quantiles.p99]
        };
        assert_eq!(of(1), [1.0, 1.0, 1.0]);
        assert_eq!(of(2), [1.0, 2.0, 2.0]);
        assert_eq!(of(100), [50.0, 95.0, 99.0]);
        assert_eq!(of(1000), [500.0, 950.0, 990.0]);
    }

    #[test]
    fn between_the_quantiles_lies_a_line() {
        let quantiles = Quantiles {
            p50: 10.0,
            p95: 100.0,
            p99: 500.0,
        };
        for (part, value) in [
            (0.0, 10.0),
            (0.5, 10.0),
            (0.725, 55.0),
            (0.95, 100.0),
            (0.97, 300.0),
            (0.99, 500.0),
            (1.0, 500.0),
        ] {
            assert!((quantiles.at(part) - value).abs() < 1e-6, "{part}");
        }
    }

    #[test]
    fn a_record_replaces_the_one_of_its_name_and_spoils_no_other_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profiles.json");
        let profile = |name: &str, held_bytes| Profile {
            name: name.into(),
            restore_us: Quantiles::constant(7.5),
            first_call_us: 1.0,
            open_us: 0.0,
            warm_us: 0.25,
            run_us: Quantiles::constant(3.0),
            held_bytes,
            image_bytes: 4096,
        };
        for (name, held_bytes) in [("a", 1), ("b", 2), ("a", 3)] {
            record(&path, profile(name, held_bytes)).unwrap();
        }
        assert_eq!(read(&path).unwrap(), [profile("b", 2), profile("a", 3)]);
        std::fs::write(&path, "a diary").unwrap();
        let error = record(&path, profile("a", 1)).unwrap_err();
        assert!(error.to_string().contains("bench --record"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"a diary");
    }
}
