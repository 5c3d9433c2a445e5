//! `predicted`, the default policy: as many instances as the function's recent load needs, and a little headroom.
//!
//! Invariants: at most one entry of either kind for each function in `checks`, and one in `short`.

use super::policy::{Policy, Run};
use super::predictor::Predictor;
use super::recency::Recency;
use super::warm::Stock;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Settings of [`Predictive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PredictiveOptions {
    /// The time over which arrivals are averaged.
    pub window_ns: u64,
    /// `h`: instances a function has beyond its predicted demand while it is in use.
    pub headroom: u32,
    /// How long after its last use a function keeps its headroom, and so its last instance.
    pub headroom_ns: u64,
}

impl Default for PredictiveOptions {
    fn default() -> PredictiveOptions {
        PredictiveOptions {
            // Long enough to see a function called every few seconds as one that is called, short enough to let go of a
            // burst within a minute.
            window_ns: 10_000_000_000,
            headroom: 1,
            // A day, for calls follow the day, and an idle instance holds a few pages: the budget trims earlier where memory
            // is short.
            headroom_ns: 86_400_000_000_000,
        }
    }
}

/// The default policy: a function keeps `k = ceil(lambda * tau) + h` instances, and the least recently used gives way.
///
/// `lambda` is the rate of arrivals, `tau` the time that a run takes, `h` the headroom, which a function loses when it has
/// not been used for long. Up to `k` instances may wait, whatever else of the function runs: one that exists costs nothing
/// to keep. An instance is made ahead of need while those that run and wait together are fewer than `k`, or fewer than those
/// that run, where several do, and `h`.
#[derive(Debug)]
pub struct Predictive {
    options: PredictiveOptions,
    functions: Vec<Function>,
    /// Functions that have instances waiting.
    recency: Recency,
    /// When to look again at functions whose target may have fallen: at most one entry of either kind for each function.
    checks: BinaryHeap<Reverse<(u64, u32, Check)>>,
    /// Functions that may be short of instances; each at most once, while it is `queued`.
    short: VecDeque<u32>,
}

/// Why a function is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Check {
    /// Its demand falls: at most one window from when the check was set, as shorter runs make it fall earlier.
    Demand,
    /// It loses its headroom, and nothing it has waiting is for its demand.
    Headroom,
}

#[derive(Clone, Copy, Debug, Default)]
struct Function {
    predictor: Predictor,
    waiting: u32,
    running: u32,
    /// Whether there is an entry of this kind in `checks`.
    demand_check: bool,
    headroom_check: bool,
    /// Whether the function is in `short`.
    queued: bool,
}

const _: () = assert!(size_of::<Function>() <= 40);

impl Predictive {
    pub fn new(options: PredictiveOptions) -> Predictive {
        assert!(options.window_ns > 0);
        Predictive {
            options,
            functions: Vec::new(),
            recency: Recency::default(),
            checks: BinaryHeap::new(),
            short: VecDeque::new(),
        }
    }

    /// The estimates of a function.
    pub fn predictor(&self, function: u32) -> &Predictor {
        &self.functions[function as usize].predictor
    }

    fn headroom_ends_ns(&self, function: &Function) -> u64 {
        function
            .predictor
            .used_ns()
            .saturating_add(self.options.headroom_ns)
    }

    /// Sees to it that the function is looked at when its target falls below what it has waiting.
    fn watch(&mut self, function: u32, now_ns: u64) {
        let copy = self.functions[function as usize];
        let headroom_ns = self.headroom_ends_ns(&copy);
        if copy.waiting == 0 || copy.demand_check {
            return;
        }
        if copy.waiting <= self.options.headroom && headroom_ns > now_ns {
            if !copy.headroom_check {
                // Uses in the meantime move the end on; the check then sets the next one.
                self.checks
                    .push(Reverse((headroom_ns, function, Check::Headroom)));
                self.functions[function as usize].headroom_check = true;
            }
            return;
        }
        let window_ns = self.options.window_ns;
        let mut next_ns = now_ns.saturating_add(window_ns);
        if let Some(falls_ns) = copy.predictor.demand_falls_ns(window_ns, now_ns) {
            next_ns = next_ns.min(falls_ns);
        }
        if headroom_ns > now_ns {
            next_ns = next_ns.min(headroom_ns);
        }
        self.checks
            .push(Reverse((next_ns, function, Check::Demand)));
        self.functions[function as usize].demand_check = true;
    }

    fn target_of(&self, function: &Function, now_ns: u64) -> u32 {
        function
            .predictor
            .demand(self.options.window_ns, now_ns)
            .saturating_add(self.headroom(function, now_ns))
    }

    fn headroom(&self, function: &Function, now_ns: u64) -> u32 {
        match now_ns < self.headroom_ends_ns(function) {
            true => self.options.headroom,
            false => 0,
        }
    }

    /// Whether an instance is to be made ahead. More may run than the average says: then one is ready beside those, too.
    /// A lone run of a function that is called rarely says nothing of the kind.
    fn is_short(&self, function: &Function, now_ns: u64) -> bool {
        let beyond = match function.running {
            0 | 1 => 0,
            running => running.saturating_add(self.headroom(function, now_ns)),
        };
        let needed = self.target_of(function, now_ns).max(beyond);
        function.waiting.saturating_add(function.running) < needed
    }
}

impl Policy for Predictive {
    fn on_register(&mut self, function: u32) {
        let index = function as usize;
        if index >= self.functions.len() {
            self.functions.resize(index + 1, Function::default());
        }
        // The entries of the heap and the queue stay, and with them the marks that there are some.
        let Function {
            demand_check,
            headroom_check,
            queued,
            ..
        } = self.functions[index];
        self.functions[index] = Function {
            demand_check,
            headroom_check,
            queued,
            ..Function::default()
        };
        self.recency.remove(function);
    }

    fn on_request(&mut self, function: u32, now_ns: u64) {
        self.functions[function as usize]
            .predictor
            .arrived(self.options.window_ns, now_ns);
        self.recency.refresh(function);
    }

    fn on_finish(&mut self, function: u32, run: Run, now_ns: u64) {
        if let Some(run_ns) = run.run_ns {
            self.functions[function as usize].predictor.finished(
                run_ns,
                self.options.window_ns,
                now_ns,
            );
        }
        self.recency.refresh(function);
    }

    fn on_stock(&mut self, function: u32, stock: Stock, now_ns: u64) {
        let index = function as usize;
        self.functions[index].waiting = stock.waiting;
        self.functions[index].running = stock.running;
        self.recency.hold(function, stock.waiting > 0);
        self.watch(function, now_ns);
        let copy = self.functions[index];
        if !copy.queued && self.is_short(&copy, now_ns) {
            self.short.push_back(function);
            self.functions[index].queued = true;
        }
    }

    fn target(&self, function: u32, now_ns: u64) -> u32 {
        self.target_of(&self.functions[function as usize], now_ns)
    }

    fn victim(&mut self) -> Option<u32> {
        self.recency.oldest()
    }

    fn over(&mut self, now_ns: u64) -> Option<u32> {
        while let Some(&Reverse((check_ns, function, check))) = self.checks.peek() {
            if check_ns > now_ns {
                break;
            }
            let copy = self.functions[function as usize];
            if copy.waiting > self.target_of(&copy, now_ns) {
                // The check stays due until nothing is over any more.
                return Some(function);
            }
            self.checks.pop();
            match check {
                Check::Demand => self.functions[function as usize].demand_check = false,
                Check::Headroom => self.functions[function as usize].headroom_check = false,
            }
            self.watch(function, now_ns);
        }
        None
    }

    fn short(&mut self, now_ns: u64) -> Option<u32> {
        while let Some(function) = self.short.pop_front() {
            let index = function as usize;
            self.functions[index].queued = false;
            if self.is_short(&self.functions[index], now_ns) {
                return Some(function);
            }
        }
        None
    }

    fn next_ns(&self) -> Option<u64> {
        self.checks
            .peek()
            .map(|Reverse((check_ns, _, _))| *check_ns)
    }
}
