//! Distributions of durations in little memory.
//!
//! Buckets are log-linear: every power of two of microseconds is cut into [`STEPS`] equal parts, so that a bucket is at
//! most 1/8 of its value wide. Only the range of buckets that was ever hit is allocated: a function whose calls take
//! between 1 and 16 ms needs 128 bytes.

/// Buckets in each power of two.
const STEPS: u32 = 8;
/// The bits of [`STEPS`].
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Counts of durations in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// The bucket that `counts` begins with.
    first: u16,
    counts: Vec<u32>,
    total: u64,
}

/// The bucket a value falls into: values below [`STEPS`] have one each.
fn bucket(us: u64) -> u16 {
    if us < u64::from(STEPS) {
        return us as u16;
    }
    let exponent = us.ilog2() - STEP_BITS;
    let step = (us >> exponent) as u32 - STEPS;
    ((exponent + 1) * STEPS + step) as u16
}

/// The least value that falls into a bucket.
fn bucket_start(bucket: u16) -> u64 {
    let bucket = u32::from(bucket);
    if bucket < STEPS {
        return u64::from(bucket);
    }
    let exponent = bucket / STEPS - 1;
    u64::from(STEPS + bucket % STEPS) << exponent
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, us: u64) {
        let bucket = bucket(us);
        if self.counts.is_empty() {
            self.first = bucket;
        }
        if bucket < self.first {
            let more = usize::from(self.first - bucket);
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.first = bucket;
        }
        let index = usize::from(bucket - self.first);
        if index >= self.counts.len() {
            self.counts.reserve_exact(index + 1 - self.counts.len());
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] = self.counts[index].saturating_add(1);
        self.total += 1;
    }

    /// How many durations were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.counts.clear();
        self.total = 0;
    }

    /// Adds the counts of another one.
    pub fn merge(&mut self, other: &Histogram) {
        for (index, &count) in other.counts.iter().enumerate() {
            if count > 0 {
                self.record(bucket_start(other.first + index as u16));
                let at = usize::from(other.first + index as u16 - self.first);
                self.counts[at] = self.counts[at].saturating_add(count - 1);
                self.total += u64::from(count - 1);
            }
        }
    }

    /// The value that a share `q` (0 to 1) of the durations does not exceed, to within the width of its bucket, in
    /// microseconds. Nothing when none were counted.
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        if self.total == 0 {
            return None;
        }
        let rank = ((q * self.total as f64).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                let bucket = self.first + index as u16;
                let (start, end) = (bucket_start(bucket), bucket_start(bucket + 1));
                return Some(start + (end - start - 1) / 2);
            }
        }
        unreachable!("the counts add up to the total")
    }

    /// How many durations were less than `us`, exact where `us` begins a bucket, as powers of two do.
    pub fn below(&self, us: u64) -> u64 {
        let end = bucket(us);
        let end = usize::from(end.saturating_sub(self.first)).min(self.counts.len());
        self.counts[..end]
            .iter()
            .map(|&count| u64::from(count))
            .sum()
    }

    /// Bytes of memory the counts take.
    pub fn heap_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_all_values_in_order() {
        let mut last = 0;
        for us in (0..100_000).chain((17..63).map(|bits| (1 << bits) - 1)) {
            let bucket = bucket(us);
            assert!(
                bucket_start(bucket) <= us && us < bucket_start(bucket + 1),
                "{us}"
            );
            assert!(bucket >= last);
            last = bucket;
        }
        bucket(u64::MAX);
    }

    #[test]
    fn quantiles_are_within_an_eighth() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(0.5), None);
        // From the top down, so that the range grows downwards.
        for us in (1..=10_000).rev() {
            histogram.record(us);
        }
        for (q, exact) in [
            (0.0, 1.0),
            (0.5, 5_000.0),
            (0.95, 9_500.0),
            (0.99, 9_900.0),
            (1.0, 10_000.0),
        ] {
            let estimate = histogram.quantile_us(q).unwrap() as f64;
            assert!(
                (estimate - exact).abs() <= exact / 8.0,
                "{q}: {estimate} for {exact}"
            );
        }
        assert_eq!(histogram.below(1024), 1023);
        assert_eq!(histogram.below(1 << 40), 10_000);
        assert_eq!(histogram.below(0), 0);
    }

    #[test]
    fn merging_adds_counts() {
        let (mut a, mut b) = (Histogram::default(), Histogram::default());
        for us in [5, 5, 900] {
            a.record(us);
        }
        for us in [1, 5, 70_000, 70_000] {
            b.record(us);
        }
        a.merge(&b);
        assert_eq!(a.total(), 7);
        assert_eq!(a.below(8), 4);
        assert_eq!(a.below(1024), 5);
    }

    #[test]
    fn a_narrow_distribution_is_small() {
        let mut histogram = Histogram::default();
        for us in 1_000..16_000 {
            histogram.record(us);
        }
        assert!(histogram.heap_bytes() <= 160, "{}", histogram.heap_bytes());
    }
}
