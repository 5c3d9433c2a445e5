//! `greedy-dual`: instances wait until their memory is needed, and the one gives way that is worth least.
//!
//! Greedy-dual keep-alive (Fuerst and Sharma, "FaasCache: Keeping Serverless Computing Alive with Greedy-Dual Caching",
//! ASPLOS 2021, section 4.1). The worth of a function's instances is
//!
//! ```text
//!   priority = clock + frequency * cost / size
//! ```
//!
//! `frequency` counts the function's calls since it last had no instance; `cost` is the time that a restore takes, in
//! nanoseconds; `size` is what an instance holds, in bytes; `clock` is the value that the pool's clock had when the function
//! was last used. The pool's clock is the highest priority that has given way: what was used long ago falls behind, however often.
//!
//! Invariant: every function that has instances waiting has an entry in `heap` with its `key`, which is at most its
//! priority; other entries, and those of functions that have none waiting, are passed over.

use super::policy::{Policy, Run};
use super::warm::Stock;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Weight of the newest measurement of cost and size.
const NEWEST_WEIGHT: f64 = 0.25;

/// When there are more entries than so many for each function, those that no longer count are taken out.
const ENTRIES_PER_FUNCTION: usize = 4;

/// Worth by frequency, cost and size.
#[derive(Debug, Default)]
pub struct GreedyDual {
    clock: f64,
    functions: Vec<Function>,
    heap: BinaryHeap<Reverse<Entry>>,
}

#[derive(Clone, Copy, Debug)]
struct Function {
    clock: f64,
    /// The entry that counts; infinite where there is none.
    key: f64,
    cost_ns: f64,
    size_bytes: f64,
    frequency: u32,
    waiting: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: f64,
    function: u32,
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        let keys = self.key.total_cmp(&other.key);
        keys.then(self.function.cmp(&other.function))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

/// The mean so far and a new measurement, as a new mean.
fn smooth(mean: &mut f64, measured: f64) {
    if *mean == 0.0 {
        *mean = measured;
    } else {
        *mean += (measured - *mean) * NEWEST_WEIGHT;
    }
}

impl Function {
    const NEW: Function = Function {
        clock: 0.0,
        key: f64::INFINITY,
        cost_ns: 0.0,
        size_bytes: 0.0,
        frequency: 0,
        waiting: 0,
    };

    fn priority(&self) -> f64 {
        self.clock + f64::from(self.frequency) * self.cost_ns / self.size_bytes.max(1.0)
    }
}

impl GreedyDual {
    /// The worth of a function's instances.
    pub fn priority(&self, function: u32) -> f64 {
        self.functions[function as usize].priority()
    }

    /// The highest priority that has given way.
    pub fn clock(&self) -> f64 {
        self.clock
    }

    /// How long the queue is.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.heap.len()
    }

    fn enter(&mut self, function: u32) {
        let key = self.functions[function as usize].priority();
        self.functions[function as usize].key = key;
        self.heap.push(Reverse(Entry { key, function }));
        if self.heap.len() > ENTRIES_PER_FUNCTION * self.functions.len() {
            let functions = &self.functions;
            self.heap
                .retain(|Reverse(entry)| functions[entry.function as usize].key == entry.key);
        }
    }
}

impl Policy for GreedyDual {
    fn on_register(&mut self, function: u32) {
        let index = function as usize;
        if index >= self.functions.len() {
            self.functions.resize(index + 1, Function::NEW);
        }
        self.functions[index] = Function::NEW;
    }

    fn on_request(&mut self, function: u32, _now_ns: u64) {
        let function = &mut self.functions[function as usize];
        function.frequency = function.frequency.saturating_add(1);
        function.clock = self.clock;
    }

    fn on_restore(&mut self, function: u32, restore_ns: u64) {
        smooth(
            &mut self.functions[function as usize].cost_ns,
            restore_ns as f64,
        );
    }

    fn on_finish(&mut self, function: u32, run: Run, _now_ns: u64) {
        if let Some(held_bytes) = run.held_bytes {
            smooth(
                &mut self.functions[function as usize].size_bytes,
                held_bytes as f64,
            );
        }
    }

    fn on_stock(&mut self, number: u32, stock: Stock, _now_ns: u64) {
        let function = &mut self.functions[number as usize];
        if stock.waiting > function.waiting {
            // What had to give way for it has done so.
            function.clock = self.clock;
        }
        function.waiting = stock.waiting;
        if stock.waiting == 0 && stock.running == 0 {
            function.frequency = 0;
        }
        if stock.waiting > 0 && function.priority() < function.key {
            self.enter(number);
        }
    }

    fn on_evict(&mut self, function: u32) {
        self.clock = self.clock.max(self.priority(function));
    }

    fn target(&self, _function: u32, _now_ns: u64) -> u32 {
        u32::MAX
    }

    fn victim(&mut self) -> Option<u32> {
        while let Some(&Reverse(Entry { key, function })) = self.heap.peek() {
            let of = &mut self.functions[function as usize];
            let counts = of.key == key;
            if counts && of.waiting > 0 && of.priority() <= key {
                return Some(function);
            }
            self.heap.pop();
            if counts && of.waiting > 0 {
                // It has risen since.
                self.enter(function);
            } else if counts {
                of.key = f64::INFINITY;
            }
        }
        None
    }

    fn over(&mut self, _now_ns: u64) -> Option<u32> {
        None
    }
}
