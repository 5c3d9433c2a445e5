//! When to look again at which function: a queue of times, one for each function.
//!
//! Invariant: of the entries of a function one counts, the earliest; the others are passed over when they come up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The time of a function that is not to be looked at.
const NEVER: u64 = u64::MAX;

/// When there are more entries than so many for each function, those that no longer count are taken out.
const ENTRIES_PER_FUNCTION: usize = 4;

/// Times at which functions are looked at.
#[derive(Debug, Default)]
pub struct Checks {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// The entry that counts, by function.
    at_ns: Vec<u64>,
}

impl Checks {
    /// Has a function looked at, at this time or earlier.
    pub fn set(&mut self, function: u32, at_ns: u64) {
        let index = function as usize;
        if index >= self.at_ns.len() {
            self.at_ns.resize(index + 1, NEVER);
        }
        // Looking at it too early is harmless: the next time is set then.
        if at_ns < self.at_ns[index] {
            self.at_ns[index] = at_ns;
            self.heap.push(Reverse((at_ns, function)));
            if self.heap.len() > ENTRIES_PER_FUNCTION * self.at_ns.len() {
                let at = &self.at_ns;
                self.heap
                    .retain(|Reverse((at_ns, function))| at[*function as usize] == *at_ns);
            }
        }
    }

    /// A function whose time has come. It stays due until [`Checks::done`].
    pub fn due(&mut self, now_ns: u64) -> Option<u32> {
        while let Some(&Reverse((at_ns, function))) = self.heap.peek() {
            if at_ns > now_ns {
                return None;
            }
            if self.at_ns[function as usize] == at_ns {
                return Some(function);
            }
            self.heap.pop();
        }
        None
    }

    /// The function that [`Checks::due`] named has been looked at.
    pub fn done(&mut self, function: u32) {
        self.at_ns[function as usize] = NEVER;
        self.heap.pop();
    }

    /// The earliest time, or a little before.
    pub fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_ns, _))| *at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_time_of_a_function_counts_and_comes_up_once() {
        let mut checks = Checks::default();
        for (function, at_ns) in [(0, 50), (1, 20), (0, 30), (0, 40), (2, 60)] {
            checks.set(function, at_ns);
        }
        assert_eq!((checks.due(19), checks.next_ns()), (None, Some(20)));
        for (now_ns, function) in [(20, 1), (30, 0), (70, 2)] {
            assert_eq!(checks.due(now_ns), Some(function));
            assert_eq!(checks.due(now_ns), Some(function));
            checks.done(function);
            assert_eq!(checks.due(now_ns), None);
        }
        assert_eq!(checks.next_ns(), None);
    }
}
