//! `keepalive`: an instance waits for a fixed time after its last call, and is then given up.
//!
//! Where memory is short, the function that was used longest ago gives way. Since waiting instances are taken in the order
//! of last use, the one that has waited longest is always the next to be given up.

use super::checks::Checks;
use super::policy::{Policy, Run};
use super::recency::Recency;
use super::warm::Stock;

/// So long for each instance.
#[derive(Debug)]
pub struct KeepAlive {
    keep_ns: u64,
    functions: Vec<Function>,
    /// Functions that have instances waiting.
    recency: Recency,
    checks: Checks,
}

#[derive(Clone, Copy, Debug, Default)]
struct Function {
    waiting: u32,
    oldest_ns: u64,
}

impl KeepAlive {
    pub fn new(keep_ns: u64) -> KeepAlive {
        assert!(keep_ns > 0);
        KeepAlive {
            keep_ns,
            functions: Vec::new(),
            recency: Recency::default(),
            checks: Checks::default(),
        }
    }

    /// When the oldest of the function's waiting instances is given up.
    fn ends_ns(&self, function: u32) -> Option<u64> {
        let function = self.functions[function as usize];
        (function.waiting > 0).then(|| function.oldest_ns.saturating_add(self.keep_ns))
    }
}

impl Policy for KeepAlive {
    fn on_register(&mut self, function: u32) {
        let index = function as usize;
        if index >= self.functions.len() {
            self.functions.resize(index + 1, Function::default());
        }
        self.functions[index] = Function::default();
        self.recency.remove(function);
    }

    fn on_request(&mut self, function: u32, _now_ns: u64) {
        self.recency.refresh(function);
    }

    fn on_finish(&mut self, function: u32, _run: Run, _now_ns: u64) {
        self.recency.refresh(function);
    }

    fn on_stock(&mut self, function: u32, stock: Stock, _now_ns: u64) {
        self.recency.hold(function, stock.waiting > 0);
        self.functions[function as usize] = Function {
            waiting: stock.waiting,
            oldest_ns: stock.oldest_ns,
        };
        if let Some(ends_ns) = self.ends_ns(function) {
            self.checks.set(function, ends_ns);
        }
    }

    fn target(&self, _function: u32, _now_ns: u64) -> u32 {
        u32::MAX
    }

    fn victim(&mut self) -> Option<u32> {
        self.recency.oldest()
    }

    fn over(&mut self, now_ns: u64) -> Option<u32> {
        while let Some(function) = self.checks.due(now_ns) {
            let ends_ns = self.ends_ns(function);
            if ends_ns.is_some_and(|ends_ns| ends_ns <= now_ns) {
                // It stays due until nothing of it is over any more.
                return Some(function);
            }
            self.checks.done(function);
            if let Some(ends_ns) = ends_ns {
                self.checks.set(function, ends_ns);
            }
        }
        None
    }

    fn next_ns(&self) -> Option<u64> {
        self.checks.next_ns()
    }
}
