//! Each policy against sequences that were worked out by hand from its definition.

use super::greedy_dual::GreedyDual;
use super::histogram::{Hybrid, HybridOptions, IdleTimes, Windows};
use super::*;
use std::time::Duration;

const MINUTE: u64 = 60_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// A pool whose instances are numbers, and whose runs take no time unless told otherwise.
struct Bench<P: Policy> {
    pool: Pool<u32, P>,
    made: u32,
    given_up: Vec<u32>,
}

impl<P: Policy> Bench<P> {
    fn new(budget_bytes: u64, policy: P) -> Bench<P> {
        let limits = Limits {
            budget_bytes,
            instances_max: usize::MAX,
        };
        Bench {
            pool: Pool::new(limits, policy),
            made: 0,
            given_up: Vec::new(),
        }
    }

    /// A request; the instance, and whether it was warm.
    fn start(&mut self, id: FunctionId, restore_ns: u64, now_ns: u64) -> (u32, bool) {
        match self.pool.request(id, now_ns) {
            Start::Warm(instance) => (instance, true),
            Start::Cold => {
                self.pool.restored(id, restore_ns);
                self.made += 1;
                (self.made, false)
            }
        }
    }

    fn end(&mut self, id: FunctionId, instance: u32, held_bytes: u64, now_ns: u64) -> Release {
        let finished = Finished {
            instance,
            held_bytes,
            run_ns: 1,
        };
        self.pool.release(id, finished, &mut self.given_up, now_ns)
    }

    /// A call that ends at once; whether it was warm.
    fn call(&mut self, id: FunctionId, now_ns: u64) -> bool {
        let (instance, warm) = self.start(id, 1000, now_ns);
        self.end(id, instance, 4096, now_ns);
        warm
    }

    /// What a caller does when something is due: gives up and makes ahead.
    fn keep_house(&mut self, now_ns: u64) {
        while self.pool.trim(now_ns).is_some() {}
        while let Some(id) = self.pool.short(now_ns) {
            self.made += 1;
            self.pool
                .add(id, self.made, 4096, &mut self.given_up, now_ns);
        }
    }

    /// Lets time pass, up to a moment, as a caller with a timer would.
    fn pass_to(&mut self, now_ns: u64) {
        while let Some(next_ns) = self.pool.next_ns().filter(|next_ns| *next_ns < now_ns) {
            self.keep_house(next_ns);
        }
        self.keep_house(now_ns);
    }
}

#[test]
fn predicted_has_one_ready_beside_those_that_run() {
    let mut bench = Bench::new(u64::MAX, Chosen::new(&PolicyOptions::default()));
    let id = bench.pool.register();
    bench.start(id, 1, 0);
    bench.keep_house(0);
    assert_eq!(
        bench.pool.waiting(),
        0,
        "a lone run of a new function says nothing"
    );
    bench.start(id, 1, 1);
    bench.keep_house(1);
    assert_eq!(bench.pool.waiting(), 1, "another may follow");
    for now_ns in 2..20 {
        assert!(bench.start(id, 1, now_ns).1, "the one made ahead");
        bench.keep_house(now_ns);
        assert_eq!(bench.pool.waiting(), 1);
    }
}

#[test]
fn a_refused_request_says_nothing_of_how_long_runs_take() {
    let mut pool: Pool<u32> = Pool::new(
        Limits {
            budget_bytes: u64::MAX,
            instances_max: usize::MAX,
        },
        Chosen::new(&PolicyOptions::default()),
    );
    let id = pool.register();
    // Ten requests a second, each of a second, beside as many that get no instance: ten run at a time.
    let mut given_up = Vec::new();
    for tenth in 0..600 {
        let now_ns = tenth * SECOND / 10;
        for _ in 0..2 {
            pool.request(id, now_ns);
        }
        pool.discard(id, None, now_ns);
        if tenth >= 10 {
            let finished = Finished {
                instance: 0,
                held_bytes: 4096,
                run_ns: SECOND,
            };
            pool.release(id, finished, &mut given_up, now_ns);
        }
    }
    let target = pool.target(id, 60 * SECOND);
    assert!(target >= 15, "{target}");
}

#[test]
fn an_instance_that_no_pool_could_keep_is_known_before_its_reset() {
    let mut bench = Bench::new(4096, Chosen::new(&PolicyOptions::default()));
    let old = bench.pool.register();
    assert!(!bench.pool.refuses(old));
    let new = bench.pool.replace(old, &mut bench.given_up, 0);
    assert!(bench.pool.refuses(old) && !bench.pool.refuses(new));
    let mut none = Bench::new(0, Chosen::new(&PolicyOptions::default()));
    let id = none.pool.register();
    assert!(none.pool.refuses(id));
}

#[test]
fn predicted_lets_go_of_the_last_instance_after_a_day_without_a_call() {
    let mut bench = Bench::new(u64::MAX, Chosen::new(&PolicyOptions::default()));
    let id = bench.pool.register();
    bench.call(id, 0);
    bench.pass_to(24 * 60 * MINUTE - 1);
    assert_eq!(bench.pool.waiting(), 1);
    bench.pass_to(24 * 60 * MINUTE);
    assert_eq!((bench.pool.waiting(), bench.pool.next_ns()), (0, None));
}

#[test]
fn fixed_makes_what_is_missing_and_keeps_no_more() {
    let mut bench = Bench::new(u64::MAX, Chosen::new(&PolicyOptions::Fixed(2)));
    let id = bench.pool.register();
    bench.keep_house(0);
    assert_eq!(bench.pool.waiting(), 0, "it was never called");
    let first = bench.start(id, 1, 1);
    bench.keep_house(1);
    assert_eq!(bench.pool.waiting(), 1, "one runs, one is made");
    let second = bench.start(id, 1, 2);
    let third = bench.start(id, 1, 3);
    assert_eq!((first.1, second.1, third.1), (false, true, false));
    assert_eq!(bench.end(id, first.0, 4096, 4), Release::Keep);
    assert_eq!(bench.end(id, second.0, 4096, 4), Release::Keep);
    assert_eq!(bench.end(id, third.0, 4096, 4), Release::Drop);
    bench.pass_to(1000 * MINUTE);
    assert_eq!(bench.pool.waiting(), 2);
}

#[test]
fn keepalive_ends_for_each_instance_that_long_after_its_last_call() {
    let options = PolicyOptions::KeepAlive(Duration::from_secs(600));
    let mut bench = Bench::new(u64::MAX, Chosen::new(&options));
    let id = bench.pool.register();
    let one = bench.start(id, 1, 0);
    let two = bench.start(id, 1, 0);
    bench.end(id, one.0, 4096, MINUTE);
    bench.end(id, two.0, 4096, 2 * MINUTE);
    assert_eq!(bench.pool.next_ns(), Some(11 * MINUTE));
    // The one that came last is taken first, so the other's time runs on.
    assert_eq!(bench.start(id, 1, 5 * MINUTE), (two.0, true));
    bench.end(id, two.0, 4096, 5 * MINUTE);
    bench.pass_to(11 * MINUTE - 1);
    assert_eq!(bench.pool.waiting(), 2);
    bench.pass_to(11 * MINUTE);
    assert_eq!(bench.pool.waiting(), 1);
    assert_eq!(bench.pool.next_ns(), Some(15 * MINUTE));
    bench.pass_to(15 * MINUTE);
    assert_eq!((bench.pool.waiting(), bench.pool.next_ns()), (0, None));
    assert!(!bench.call(id, 16 * MINUTE));
}

#[test]
fn windows_are_the_percentiles_of_the_idle_times_with_their_margins() {
    let options = HybridOptions::default();
    let mut times = IdleTimes::default();
    // 5 of 100 in bin 10, 93 in bin 20, 2 in bin 30: the 5th percentile is in bin 10, the 99th in bin 30.
    for (bin, count) in [(10, 5), (20, 93), (30, 2)] {
        for _ in 0..count {
            times.record(&options, bin * MINUTE + SECOND);
        }
    }
    // Mean 100 / 240 a bin, mean square (25 + 8649 + 4) / 240.
    let (mean, square): (f64, f64) = (100.0 / 240.0, 8678.0 / 240.0);
    let expected = (square - mean * mean).sqrt() / mean;
    assert!((times.variation() - expected).abs() < 1e-9);
    assert_eq!(
        times.windows(&options),
        Windows {
            prewarm_ns: 9 * MINUTE,
            // (30 + 1) minutes and a tenth, less the pre-warm window.
            keep_ns: 341 * MINUTE / 10 - 9 * MINUTE,
        }
    );
}

#[test]
fn even_counts_say_nothing_and_an_instance_stays_for_the_whole_range() {
    let options = HybridOptions::default();
    let stays = Windows {
        prewarm_ns: 0,
        keep_ns: 240 * MINUTE,
    };
    let mut times = IdleTimes::default();
    assert_eq!(times.windows(&options), stays, "nothing is known");
    for bin in 0..240 {
        times.record(&options, bin * MINUTE);
    }
    assert!(times.variation() < 1e-9);
    assert_eq!(times.windows(&options), stays);
}

#[test]
fn idle_times_beyond_the_range_are_forecast() {
    let options = HybridOptions::default();
    let mut times = IdleTimes::default();
    times.record(&options, 300 * MINUTE);
    times.record(&options, 300 * MINUTE);
    times.record(&options, 60 * MINUTE);
    // 300, and three tenths of the way to 60: 228. Of that 85%, and 30%.
    assert_eq!(
        times.windows(&options),
        Windows {
            prewarm_ns: 228 * MINUTE / 100 * 85,
            keep_ns: 228 * MINUTE / 100 * 30,
        }
    );
    times.record(&options, 60 * MINUTE);
    assert_eq!(
        times.windows(&options).prewarm_ns,
        54 * MINUTE,
        "half of them are within the range again"
    );
}

#[test]
fn a_histogram_that_overflows_forgets_half_of_the_past() {
    let options = HybridOptions::default();
    let mut times = IdleTimes::default();
    for _ in 0..200_000 {
        times.record(&options, 3 * MINUTE);
    }
    times.record(&options, 9 * MINUTE);
    assert!((times.variation() - 239f64.sqrt()).abs() < 0.01);
    assert_eq!(times.windows(&options).prewarm_ns, 3 * MINUTE / 10 * 9);
}

#[test]
fn a_function_that_is_called_by_the_clock_sleeps_and_is_ready_in_time() {
    let mut bench = Bench::new(u64::MAX, Hybrid::new(HybridOptions::default()));
    let id = bench.pool.register();
    let mut now_ns = 0;
    let mut warm = Vec::new();
    for _ in 0..10 {
        bench.pass_to(now_ns);
        warm.push(bench.call(id, now_ns));
        now_ns += 30 * MINUTE;
    }
    // Every call but the first is warm: at first because the instance stays.
    assert_eq!(warm.iter().filter(|warm| !**warm).count(), 1);
    // 27 minutes without an instance, then one until 34.1.
    let called_ns = now_ns - 30 * MINUTE;
    for (minutes, waiting) in [(1, 0), (26, 0), (27, 1), (34, 1), (35, 0), (400, 0)] {
        bench.pass_to(called_ns + minutes * MINUTE);
        assert_eq!(
            bench.pool.waiting(),
            waiting,
            "{minutes} minutes after the call"
        );
    }
}

#[test]
fn an_instance_for_a_foreseen_call_displaces_another() {
    let mut bench = Bench::new(4096, Hybrid::new(HybridOptions::default()));
    let (id, other) = (bench.pool.register(), bench.pool.register());
    for call in 0..5 {
        bench.pass_to(call * 30 * MINUTE);
        bench.call(id, call * 30 * MINUTE);
    }
    bench.call(other, 140 * MINUTE);
    assert_eq!(bench.pool.stock(other).waiting, 1);
    bench.pass_to(149 * MINUTE);
    assert_eq!(bench.pool.stock(other).waiting, 0);
    assert!(bench.call(id, 150 * MINUTE));
}

#[test]
fn greedy_dual_gives_up_what_is_worth_least_for_its_size() {
    let mut bench = Bench::new(10_000, GreedyDual::default());
    let ids: Vec<FunctionId> = (0..4).map(|_| bench.pool.register()).collect();
    let mut call = |function: usize, restore_ns, held_bytes, now_ns| {
        let (instance, warm) = bench.start(ids[function], restore_ns, now_ns);
        bench.end(ids[function], instance, held_bytes, now_ns);
        let policy = bench.pool.policy();
        let waits: Vec<bool> = ids
            .iter()
            .map(|id| bench.pool.stock(*id).waiting > 0)
            .collect();
        (
            warm,
            waits,
            policy.priority(function as u32),
            policy.clock(),
        )
    };
    // frequency * cost / size: 1 * 8000 / 4000 = 2.
    assert_eq!(
        call(0, 8000, 4000, 1),
        (false, vec![true, false, false, false], 2.0, 0.0)
    );
    // 1 * 3000 / 3000 = 1, and twice that when called again.
    assert_eq!(call(1, 3000, 3000, 2).2, 1.0);
    assert_eq!(
        call(1, 3000, 3000, 3),
        (true, vec![true, true, false, false], 2.0, 0.0)
    );
    assert_eq!(call(1, 3000, 3000, 4).2, 3.0);
    // 6000 bytes do not fit beside 7000: of 2 and 3 the 2 gives way, and the clock is 2 from then on: 2 + 1 * 6000 / 6000.
    assert_eq!(
        call(2, 6000, 6000, 5),
        (false, vec![false, true, true, false], 3.0, 2.0)
    );
    // Called again at clock 2: 2 + 2 = 4; the other one is still at 0 + 3 and gives way for 5000 bytes, but that
    // is not enough, and the next does, too: 4 is the clock then. 4 + 1 * 500 / 5000.
    assert_eq!(call(2, 6000, 6000, 6).2, 4.0);
    assert_eq!(
        call(3, 500, 5000, 7),
        (false, vec![false, false, false, true], 4.1, 4.0)
    );
    // The first begins at frequency 1 again: 4 + 2.
    assert_eq!(call(0, 8000, 4000, 8).2, 6.0);
}

#[test]
fn greedy_dual_keeps_its_books_short_without_pressure() {
    let mut bench = Bench::new(u64::MAX, GreedyDual::default());
    let id = bench.pool.register();
    for now_ns in 0..10_000 {
        bench.call(id, now_ns);
    }
    assert!(bench.pool.policy().entries() <= 4);
}
