//! What a function's past says about the instances it needs: its arrival rate, the time a run takes, and their product.
//!
//! By Little's law (J. D. C. Little, "A Proof for the Queuing Formula L = lambda W", 1961) a function that receives
//! `lambda` requests a second, each of which occupies an instance for `tau` seconds, occupies `lambda * tau` of them on
//! average. Both are estimated with exponentially falling weights, so that the estimate takes constant memory and follows a
//! load that changes.
//!
//! Invariants: the rate is finite and not negative, and falls with time when nothing arrives; it never needs a timer.

/// The weight of the newest run in the mean run time.
const RUN_WEIGHT: f32 = 1.0 / 8.0;

/// The number of instances in use on average below which the demand counts as none.
///
/// An exponential never reaches zero, and would round up to one instance for ever.
pub const DEMAND_NEGLIGIBLE: f64 = 0.01;

const NS_PER_SECOND: f64 = 1e9;

/// One function's estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Predictor {
    /// Arrivals a second, as of `used_ns`.
    rate: f64,
    /// When the function was last used: the last arrival or the last end of a run.
    used_ns: u64,
    /// Mean time that a run occupies an instance; 0 until one has ended.
    run_seconds: f32,
}

impl Predictor {
    /// Takes note of a request. The rate is an average over about `window_ns`.
    pub fn arrived(&mut self, window_ns: u64, now_ns: u64) {
        self.advance(window_ns, now_ns);
        self.rate += NS_PER_SECOND / window_ns as f64;
    }

    /// Takes note that an instance has ended a run that occupied it for so long.
    pub fn finished(&mut self, run_ns: u64, window_ns: u64, now_ns: u64) {
        self.advance(window_ns, now_ns);
        let run_seconds = (run_ns as f64 / NS_PER_SECOND) as f32;
        if self.run_seconds == 0.0 {
            self.run_seconds = run_seconds;
        } else {
            self.run_seconds += (run_seconds - self.run_seconds) * RUN_WEIGHT;
        }
    }

    fn advance(&mut self, window_ns: u64, now_ns: u64) {
        self.rate = self.rate(window_ns, now_ns);
        self.used_ns = self.used_ns.max(now_ns);
    }

    /// When the function was last used; 0 if it never was.
    pub fn used_ns(&self) -> u64 {
        self.used_ns
    }

    /// `lambda`: arrivals a second, as far as the past tells.
    pub fn rate(&self, window_ns: u64, now_ns: u64) -> f64 {
        let silent_ns = now_ns.saturating_sub(self.used_ns);
        self.rate * (-(silent_ns as f64) / window_ns as f64).exp()
    }

    /// `tau`: the mean time, in seconds, that a run occupies an instance.
    pub fn run_seconds(&self) -> f64 {
        f64::from(self.run_seconds)
    }

    /// `ceil(lambda * tau)`, and 0 where that product is negligible.
    pub fn demand(&self, window_ns: u64, now_ns: u64) -> u32 {
        let instances = self.rate(window_ns, now_ns) * self.run_seconds();
        // The conversion saturates.
        if instances < DEMAND_NEGLIGIBLE {
            0
        } else {
            instances.ceil() as u32
        }
    }

    /// The time at which the demand, if nothing arrives, falls below what it is now; `None` if it is 0.
    pub fn demand_falls_ns(&self, window_ns: u64, now_ns: u64) -> Option<u64> {
        let demand = self.demand(window_ns, now_ns);
        let next = match demand {
            0 => return None,
            1 => DEMAND_NEGLIGIBLE,
            _ => f64::from(demand - 1),
        };
        let instances = self.rate(window_ns, now_ns) * self.run_seconds();
        let wait_ns = (instances / next).ln().max(0.0) * window_ns as f64;
        // Rounding must not name a time just before the fall.
        Some(now_ns.saturating_add(wait_ns as u64).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_NS: u64 = 10_000_000_000;
    const MS: u64 = 1_000_000;

    /// `seconds` of requests at a steady rate, each taking `run_ns`.
    fn steady(per_second: u64, run_ns: u64, seconds: u64) -> (Predictor, u64) {
        let mut predictor = Predictor::default();
        let gap_ns = 1_000_000_000 / per_second;
        let mut now_ns = 0;
        for _ in 0..per_second * seconds {
            now_ns += gap_ns;
            predictor.arrived(WINDOW_NS, now_ns);
            predictor.finished(run_ns, WINDOW_NS, now_ns);
        }
        (predictor, now_ns)
    }

    #[test]
    fn a_steady_load_is_measured_at_any_rate() {
        for per_second in [1, 50, 20_000] {
            let (predictor, now_ns) = steady(per_second, 20 * MS, 100);
            let rate = predictor.rate(WINDOW_NS, now_ns);
            let expected = per_second as f64;
            assert!(
                (rate - expected).abs() < expected * 0.06 + 0.01,
                "{rate} for {expected}"
            );
            assert!((predictor.run_seconds() - 0.020).abs() < 1e-6);
        }
    }

    #[test]
    fn demand_is_the_concurrency_of_littles_law() {
        // 50 a second for 100 ms each: 5 at a time.
        let (predictor, now_ns) = steady(50, 100 * MS, 200);
        assert!((5..=6).contains(&predictor.demand(WINDOW_NS, now_ns)));
    }

    #[test]
    fn silence_takes_the_demand_to_zero_and_not_to_one() {
        let (predictor, now_ns) = steady(50, 100 * MS, 100);
        assert_eq!(predictor.demand(WINDOW_NS, now_ns + 20 * WINDOW_NS), 0);
        assert_eq!(
            predictor.demand_falls_ns(WINDOW_NS, now_ns + 20 * WINDOW_NS),
            None
        );
    }

    #[test]
    fn the_demand_falls_when_it_was_foretold_to() {
        let (predictor, mut now_ns) = steady(50, 100 * MS, 100);
        let mut demand = predictor.demand(WINDOW_NS, now_ns);
        let mut falls = 0;
        while let Some(next_ns) = predictor.demand_falls_ns(WINDOW_NS, now_ns) {
            assert!(next_ns > now_ns);
            assert_eq!(
                predictor.demand(WINDOW_NS, next_ns - 1000),
                demand,
                "too early"
            );
            now_ns = next_ns + 1000;
            let fallen = predictor.demand(WINDOW_NS, now_ns);
            assert!(fallen < demand, "still {fallen} after {falls} falls");
            demand = fallen;
            falls += 1;
        }
        assert_eq!(demand, 0);
        assert!(falls >= 5);
    }

    #[test]
    fn a_rare_short_function_demands_nothing() {
        let (predictor, now_ns) = steady(1, MS / 50, 100);
        assert_eq!(predictor.demand(WINDOW_NS, now_ns), 0);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_is_harmless() {
        let mut predictor = Predictor::default();
        for now_ns in [5, 5, 3, 0, 5] {
            predictor.arrived(WINDOW_NS, now_ns);
            predictor.finished(u64::MAX, WINDOW_NS, now_ns);
            assert!(predictor.rate(WINDOW_NS, now_ns).is_finite());
        }
        assert_eq!(predictor.used_ns(), 5);
        assert_eq!(predictor.demand(WINDOW_NS, 5), u32::MAX);
    }
}
