//! `fixed`: every function that was called keeps the same number of instances, made ahead where some are missing.
//!
//! Where memory is short, the function that was used longest ago gives way.

use super::policy::{Policy, Run};
use super::recency::Recency;
use super::warm::Stock;
use std::collections::VecDeque;

/// So many instances for each function.
#[derive(Debug)]
pub struct Fixed {
    count: u32,
    functions: Vec<Function>,
    /// Functions that have instances waiting.
    recency: Recency,
    /// Functions that may be short of instances; each at most once, while it is `queued`.
    short: VecDeque<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Function {
    instances: u32,
    called: bool,
    queued: bool,
}

impl Fixed {
    pub fn new(count: u32) -> Fixed {
        Fixed {
            count,
            functions: Vec::new(),
            recency: Recency::default(),
            short: VecDeque::new(),
        }
    }

    fn is_short(&self, function: u32) -> bool {
        let function = self.functions[function as usize];
        function.called && function.instances < self.count
    }
}

impl Policy for Fixed {
    fn on_register(&mut self, function: u32) {
        let index = function as usize;
        if index >= self.functions.len() {
            self.functions.resize(index + 1, Function::default());
        }
        // An entry of the queue stays, and with it the mark that there is one.
        let queued = self.functions[index].queued;
        self.functions[index] = Function {
            queued,
            ..Function::default()
        };
        self.recency.remove(function);
    }

    fn on_request(&mut self, function: u32, _now_ns: u64) {
        self.functions[function as usize].called = true;
        self.recency.refresh(function);
    }

    fn on_finish(&mut self, function: u32, _run: Run, _now_ns: u64) {
        self.recency.refresh(function);
    }

    fn on_stock(&mut self, function: u32, stock: Stock, _now_ns: u64) {
        self.recency.hold(function, stock.waiting > 0);
        let index = function as usize;
        self.functions[index].instances = stock.waiting.saturating_add(stock.running);
        if !self.functions[index].queued && self.is_short(function) {
            self.functions[index].queued = true;
            self.short.push_back(function);
        }
    }

    fn target(&self, _function: u32, _now_ns: u64) -> u32 {
        self.count
    }

    fn victim(&mut self) -> Option<u32> {
        self.recency.oldest()
    }

    fn over(&mut self, _now_ns: u64) -> Option<u32> {
        None
    }

    fn short(&mut self, _now_ns: u64) -> Option<u32> {
        while let Some(function) = self.short.pop_front() {
            self.functions[function as usize].queued = false;
            if self.is_short(function) {
                return Some(function);
            }
        }
        None
    }
}
