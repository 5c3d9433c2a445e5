//! Distributions of durations over many millions of samples, to four parts in a thousand.

use serde::Serialize;

/// Buckets in each power of two; below it there is one for every nanosecond.
const STEPS: u64 = 256;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Counts of durations in nanoseconds, in buckets that are 1/256 of their value wide.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    counts: Vec<u64>,
    total: u64,
    sum_ns: u128,
    max_ns: u64,
}

/// A distribution in figures, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    pub mean: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

fn bucket(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let shift = ns.ilog2() - STEP_BITS;
    ((u64::from(shift) + 1) * STEPS + ((ns >> shift) - STEPS)) as usize
}

/// The middle of a bucket.
fn middle(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket as f64;
    }
    let shift = bucket / STEPS - 1;
    let width = (1u64 << shift) as f64;
    (STEPS + bucket % STEPS) as f64 * width + (width - 1.0) / 2.0
}

impl Latency {
    pub fn record(&mut self, ns: u64) {
        let bucket = bucket(ns);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.sum_ns += u128::from(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    pub fn summary(&self) -> Summary {
        if self.total == 0 {
            return Summary::default();
        }
        let at = |hundredths: u64| {
            let rank = (self.total * hundredths).div_ceil(100);
            let mut seen = 0;
            let holds = |count: &u64| {
                seen += count;
                seen >= rank
            };
            let bucket = self.counts.iter().position(holds).unwrap_or(0);
            middle(bucket).min(self.max_ns as f64) / 1000.0
        };
        Summary {
            mean: self.sum_ns as f64 / self.total as f64 / 1000.0,
            p50: at(50),
            p95: at(95),
            p99: at(99),
            max: self.max_ns as f64 / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_four_parts_in_a_thousand() {
        for scale in [1u64, 1_000, 10_000_000] {
            let mut latency = Latency::default();
            for value in (1..=1000).rev() {
                latency.record(value * scale);
            }
            let summary = latency.summary();
            for (found, expected) in [
                (summary.p50, 500),
                (summary.p95, 950),
                (summary.p99, 990),
                (summary.max, 1000),
            ] {
                let expected = (expected * scale) as f64 / 1000.0;
                assert!((found / expected - 1.0).abs() < 0.004, "{found} {expected}");
            }
        }
        assert_eq!(Latency::default().summary(), Summary::default());
        let mut largest = Latency::default();
        largest.record(u64::MAX);
        assert!(largest.summary().p50 > 1e16);
    }
}
