//! Times at which something is due.
//!
//! A timer is not taken back: what it names is looked up when it fires, and then may turn out to be gone or not due yet. So
//! setting one costs a push to a heap and forgetting one costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Timers for things named by `T`.
#[derive(Clone, Debug)]
pub struct Timers<T> {
    heap: BinaryHeap<Reverse<(u64, T)>>,
}

impl<T: Ord> Default for Timers<T> {
    fn default() -> Timers<T> {
        Timers {
            heap: BinaryHeap::new(),
        }
    }
}

impl<T: Ord> Timers<T> {
    pub fn set(&mut self, due_ns: u64, what: T) {
        self.heap.push(Reverse((due_ns, what)));
    }

    /// When the next one is due, at the latest.
    pub fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((due_ns, _))| *due_ns)
    }

    /// Takes one that is due, the earliest first.
    pub fn take_due(&mut self, now_ns: u64) -> Option<T> {
        if self.next_ns()? > now_ns {
            return None;
        }
        let Reverse((_, what)) = self.heap.pop()?;
        if self.heap.is_empty() {
            self.heap.shrink_to(64);
        }
        Some(what)
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_not_before_they_are_due() {
        let mut timers = Timers::default();
        for (due_ns, name) in [(30, "c"), (10, "a"), (20, "b")] {
            timers.set(due_ns, name);
        }
        assert_eq!(timers.next_ns(), Some(10));
        assert_eq!(timers.take_due(9), None);
        assert_eq!(timers.take_due(20), Some("a"));
        assert_eq!(timers.take_due(20), Some("b"));
        assert_eq!(timers.take_due(20), None);
        assert_eq!(timers.len(), 1);
    }
}
