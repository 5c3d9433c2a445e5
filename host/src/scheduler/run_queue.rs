//! The run queue: short invocations first, long ones never starved.
//!
//! An invocation belongs to a level by the processor time it has used; within a level the order is first in, first
//! out. A level is served before every level below it, except that each level is owed a share of the processor
//! while it has work (stride scheduling: Waldspurger and Weihl, "Stride Scheduling: Deterministic Proportional-Share Resource
//! Management", MIT 1995): each advances a virtual time by what it used divided by its weight, and the level
//! whose virtual time is least runs. A level that had nothing to do starts at the present, and owes and is owed nothing.
//!
//! So a newcomer waits for the slice that is running and for newcomers before it; and however many
//! newcomers there are, a long invocation gets its share.

use std::collections::VecDeque;

/// Used time at which an invocation leaves a level for the next, in nanoseconds. The first is less than a time slice, so that
/// whoever is preempted leaves the first level.
const LEVEL_ENDS_NS: [u64; 3] = [500_000, 8_000_000, 100_000_000];

/// Shares of the processor while all levels have work.
const LEVEL_WEIGHTS: [u64; 4] = [27, 9, 3, 1];

const LEVELS: usize = LEVEL_WEIGHTS.len();
const _: () = assert!(LEVEL_ENDS_NS.len() + 1 == LEVELS);

/// Invocations that can run, named by `T`.
#[derive(Clone, Debug)]
pub struct RunQueue<T> {
    levels: [Level<T>; LEVELS],
    /// The virtual time at which the last one was taken.
    now: u64,
}

#[derive(Clone, Debug)]
struct Level<T> {
    waiting: VecDeque<T>,
    /// Virtual time, advanced by what its invocations used times [`SCALE`] divided by the weight.
    pass: u64,
    /// The level has an invocation out, running.
    running: bool,
}

/// Keeps the division by a weight exact enough for slices of microseconds.
const SCALE: u64 = 27;

/// What [`RunQueue::take`] gave out and [`RunQueue::charge`] wants back.
#[derive(Debug)]
#[must_use = "the time it runs must be charged"]
pub struct Turn {
    level: usize,
}

impl<T> Default for RunQueue<T> {
    fn default() -> RunQueue<T> {
        RunQueue {
            levels: std::array::from_fn(|_| Level {
                waiting: VecDeque::new(),
                pass: 0,
                running: false,
            }),
            now: 0,
        }
    }
}

fn level_of(used_ns: u64) -> usize {
    LEVEL_ENDS_NS
        .iter()
        .position(|end_ns| used_ns < *end_ns)
        .unwrap_or(LEVELS - 1)
}

impl<T> RunQueue<T> {
    /// Adds an invocation that has used so much processor time.
    pub fn push(&mut self, invocation: T, used_ns: u64) {
        let now = self.now;
        let level = &mut self.levels[level_of(used_ns)];
        if level.waiting.is_empty() && !level.running {
            level.pass = level.pass.max(now);
        }
        level.waiting.push_back(invocation);
    }

    /// Takes the invocation that is to run next.
    pub fn take(&mut self) -> Option<(T, Turn)> {
        let (index, level) = self
            .levels
            .iter_mut()
            .enumerate()
            .filter(|(_, level)| !level.waiting.is_empty())
            .min_by_key(|(index, level)| (level.pass, *index))?;
        let invocation = level.waiting.pop_front()?;
        level.running = true;
        self.now = self.now.max(level.pass);
        Some((invocation, Turn { level: index }))
    }

    /// Says for how long the invocation ran that a turn was given to. It may be pushed again after that.
    pub fn charge(&mut self, turn: Turn, ran_ns: u64) {
        let level = &mut self.levels[turn.level];
        level.running = false;
        level.pass = level
            .pass
            .saturating_add(ran_ns.saturating_mul(SCALE) / LEVEL_WEIGHTS[turn.level]);
    }

    /// Whether one that has used little is waiting: it is worth a look at the sockets only after it.
    pub fn has_short(&self) -> bool {
        !self.levels[0].waiting.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.levels.iter().all(|level| level.waiting.is_empty())
    }

    pub fn len(&self) -> usize {
        self.levels.iter().map(|level| level.waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE_NS: u64 = 1_000_000;
    const HELLO_NS: u64 = 5_000;

    #[test]
    fn first_in_first_out_within_a_level() {
        let mut queue = RunQueue::default();
        for name in ["a", "b", "c"] {
            queue.push(name, 0);
        }
        let mut order = Vec::new();
        while let Some((name, turn)) = queue.take() {
            queue.charge(turn, HELLO_NS);
            order.push(name);
        }
        assert_eq!(order, ["a", "b", "c"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_newcomer_runs_before_every_spinner() {
        let mut queue = RunQueue::default();
        for spinner in 0..50 {
            queue.push(spinner, 1_000_000_000);
        }
        for round in 0..1000 {
            queue.push(100 + round, 0);
            let (taken, turn) = queue.take().unwrap();
            assert_eq!(taken, 100 + round, "after {round} rounds");
            queue.charge(turn, HELLO_NS);
            // Then a spinner has a slice.
            let (spinner, turn) = queue.take().unwrap();
            assert!(spinner < 50);
            queue.charge(turn, SLICE_NS);
            queue.push(spinner, 1_000_000_000);
        }
    }

    #[test]
    fn newcomers_without_end_do_not_starve_a_spinner() {
        let mut queue = RunQueue::default();
        queue.push(u32::MAX, 1_000_000_000);
        queue.push(0, 0);
        let (mut hellos_ns, mut spinner_ns) = (0, 0);
        for next in 1..1_000_000 {
            let (taken, turn) = queue.take().unwrap();
            if taken == u32::MAX {
                spinner_ns += SLICE_NS;
                queue.charge(turn, SLICE_NS);
                queue.push(u32::MAX, 1_000_000_000);
            } else {
                hellos_ns += HELLO_NS;
                queue.charge(turn, HELLO_NS);
                queue.push(next, 0);
            }
        }
        let share = hellos_ns / spinner_ns;
        assert!(
            (20..=30).contains(&share),
            "newcomers had {share} times the spinner's time"
        );
    }

    #[test]
    fn idle_time_gives_no_credit() {
        let mut queue = RunQueue::default();
        // The first level has run alone for long when a spinner comes.
        for _ in 0..10_000 {
            queue.push("hello", 0);
            let (_, turn) = queue.take().unwrap();
            queue.charge(turn, HELLO_NS);
        }
        queue.push("spinner", 1_000_000_000);
        queue.push("hello", 0);
        let mut slices_before_hello = 0;
        loop {
            let (name, turn) = queue.take().unwrap();
            if name == "hello" {
                break;
            }
            slices_before_hello += 1;
            queue.charge(turn, SLICE_NS);
            queue.push("spinner", 1_000_000_000);
        }
        assert!(slices_before_hello <= 1, "{slices_before_hello} slices");
    }

    #[test]
    fn spinners_share_among_themselves() {
        let mut queue = RunQueue::default();
        for spinner in 0..3 {
            queue.push(spinner, 1_000_000_000);
        }
        let mut slices = [0; 3];
        for _ in 0..300 {
            let (spinner, turn) = queue.take().unwrap();
            slices[spinner] += 1;
            queue.charge(turn, SLICE_NS);
            queue.push(spinner, 1_000_000_000);
        }
        assert_eq!(slices, [100; 3]);
    }
}
