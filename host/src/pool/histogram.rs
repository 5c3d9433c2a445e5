//! `histogram`: windows in which an instance is ready, from how long the function was idle between calls in the past.
//!
//! The hybrid histogram policy (Shahrad et al., "Serverless in the Wild: Characterizing and Optimizing the Serverless
//! Workload at a Large Cloud Provider", USENIX ATC 2020, section 4.2), for each function:
//!
//! ```text
//!   end of a call          pre-warm window            keep-alive window
//!        |------------------------|===============================|
//!              no instance                 one is ready                 no instance
//! ```
//!
//! * Idle times are counted in bins of a minute, up to four hours. The pre-warm window ends with the lower edge of the bin
//!   that holds the 5th percentile, less a margin of 10%; the keep-alive window with the upper edge of the bin of the 99th,
//!   and the margin more. A pre-warm window of 0 means that the instance stays.
//! * *Low confidence:* where the counts of the bins are too even to say anything (coefficient of variation below 2), an
//!   instance stays for the four hours.
//! * *Out of bounds:* where most idle times are longer than four hours, the next one is forecast from the last ones,
//!   with a margin of 15% to either side. The paper fits an ARIMA model of an order that it searches for; here it is
//!   ARIMA(0,1,1) with a fixed weight, which is exponential smoothing.
//!
//! The paper's unit is an application that is loaded or not. Here a function may have several instances: while one of its
//! calls runs, others that have ended wait as long as both windows together; once none runs, one instance is ready in the
//! keep-alive window. A function is idle while none of its calls runs. Where memory is short, the function that was used
//! longest ago gives way, also to an instance that is made ahead of a foreseen call.

use super::checks::Checks;
use super::policy::{Policy, Run};
use super::recency::Recency;
use super::warm::Stock;
use std::collections::VecDeque;

/// Settings of [`Hybrid`]; the defaults are the paper's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HybridOptions {
    pub bin_ns: u64,
    /// How many bins there are: the range.
    pub bins: u32,
    /// Percentiles that the windows begin and end with.
    pub head_percent: u32,
    pub tail_percent: u32,
    /// By how much the windows are widened.
    pub margin_percent: u32,
    /// The coefficient of variation of the counts, in hundredths, from which on they say something.
    pub variation_percent_min: u32,
    /// By how much the window around a forecast is widened to either side.
    pub forecast_margin_percent: u32,
}

impl Default for HybridOptions {
    fn default() -> HybridOptions {
        HybridOptions {
            bin_ns: 60_000_000_000,
            bins: 240,
            head_percent: 5,
            tail_percent: 99,
            margin_percent: 10,
            variation_percent_min: 200,
            forecast_margin_percent: 15,
        }
    }
}

/// Weight of the newest idle time in the forecast.
const FORECAST_WEIGHT: f64 = 0.3;

/// The two windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// From the end of a call until an instance is made ready; 0 if it stays.
    pub prewarm_ns: u64,
    /// From then until it is given up.
    pub keep_ns: u64,
}

/// How long a function was idle between calls.
#[derive(Clone, Debug, Default)]
pub struct IdleTimes {
    /// Counts by bin; none are allocated for a function that was never idle.
    counts: Vec<u16>,
    total: u32,
    /// The sum of the squares of the counts.
    squares: u64,
    /// How many were longer than the range.
    beyond: u32,
    /// The forecast of the next one; 0 without any.
    forecast_ns: f64,
}

impl IdleTimes {
    /// Counts one.
    pub fn record(&mut self, options: &HybridOptions, idle_ns: u64) {
        if self.forecast_ns == 0.0 {
            self.forecast_ns = idle_ns as f64;
        } else {
            self.forecast_ns += (idle_ns as f64 - self.forecast_ns) * FORECAST_WEIGHT;
        }
        let bin = idle_ns / options.bin_ns;
        if bin >= u64::from(options.bins) {
            self.beyond = self.beyond.saturating_add(1);
            return;
        }
        if self.counts.is_empty() {
            self.counts = vec![0; options.bins as usize];
        }
        if self.counts[bin as usize] == u16::MAX {
            self.halve();
        }
        let count = &mut self.counts[bin as usize];
        self.squares += 2 * u64::from(*count) + 1;
        *count += 1;
        self.total += 1;
    }

    /// Makes room; what is old counts less then.
    fn halve(&mut self) {
        (self.total, self.squares) = (0, 0);
        for count in &mut self.counts {
            *count /= 2;
            self.total += u32::from(*count);
            self.squares += u64::from(*count).pow(2);
        }
        self.beyond /= 2;
    }

    /// Standard deviation of the bins' counts over their mean.
    pub fn variation(&self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        let bins = self.counts.len() as f64;
        let mean = f64::from(self.total) / bins;
        let variance = self.squares as f64 / bins - mean * mean;
        variance.max(0.0).sqrt() / mean
    }

    /// The bin that holds the percentile.
    fn bin_of(&self, percent: u32) -> u64 {
        let rank = (u64::from(self.total) * u64::from(percent)).div_ceil(100);
        let mut seen = 0;
        let holds = |count: &u16| {
            seen += u64::from(*count);
            seen >= rank.max(1)
        };
        self.counts.iter().position(holds).unwrap_or(0) as u64
    }

    /// The windows that follow from what was counted.
    pub fn windows(&self, options: &HybridOptions) -> Windows {
        if self.beyond > self.total {
            let part = |percent| (self.forecast_ns * f64::from(percent) / 100.0) as u64;
            return Windows {
                prewarm_ns: part(100 - options.forecast_margin_percent),
                keep_ns: part(2 * options.forecast_margin_percent),
            };
        }
        if self.variation() * 100.0 < f64::from(options.variation_percent_min) {
            return Windows {
                prewarm_ns: 0,
                keep_ns: options.bin_ns * u64::from(options.bins),
            };
        }
        let head_ns = self.bin_of(options.head_percent) * options.bin_ns;
        let tail_ns = (self.bin_of(options.tail_percent) + 1) * options.bin_ns;
        let margin = u64::from(options.margin_percent);
        let prewarm_ns = head_ns / 100 * (100 - margin);
        Windows {
            prewarm_ns,
            keep_ns: tail_ns / 100 * (100 + margin) - prewarm_ns,
        }
    }
}

/// Windows from idle times.
#[derive(Debug)]
pub struct Hybrid {
    options: HybridOptions,
    functions: Vec<Function>,
    /// Functions that have instances waiting.
    recency: Recency,
    checks: Checks,
    /// Functions whose pre-warm window has ended.
    short: VecDeque<u32>,
}

#[derive(Debug)]
struct Function {
    idle_times: IdleTimes,
    windows: Windows,
    /// When the last call ended; `None` before the first.
    ended_ns: Option<u64>,
    waiting: u32,
    running: u32,
    oldest_ns: u64,
    /// It was said in this idle time that an instance should be ready.
    named: bool,
}

impl Function {
    fn new(options: &HybridOptions) -> Function {
        let idle_times = IdleTimes::default();
        Function {
            windows: idle_times.windows(options),
            idle_times,
            ended_ns: None,
            waiting: 0,
            running: 0,
            oldest_ns: 0,
            named: false,
        }
    }

    /// The window in which one instance is ready, if none runs and the instance does not simply stay.
    fn ready_ns(&self) -> Option<(u64, u64)> {
        let Windows {
            prewarm_ns,
            keep_ns,
        } = self.windows;
        let ended_ns = self.ended_ns.filter(|_| self.running == 0)?;
        let begins_ns = ended_ns.saturating_add(prewarm_ns);
        (prewarm_ns > 0).then(|| (begins_ns, begins_ns.saturating_add(keep_ns)))
    }

    fn is_ready_time(&self, now_ns: u64) -> bool {
        self.ready_ns()
            .is_some_and(|(begins_ns, ends_ns)| (begins_ns..ends_ns).contains(&now_ns))
    }

    /// When the oldest waiting instance is given up, where instances stay.
    fn oldest_ends_ns(&self) -> Option<u64> {
        let window_ns = self.windows.prewarm_ns.saturating_add(self.windows.keep_ns);
        (self.waiting > 0 && self.ready_ns().is_none())
            .then(|| self.oldest_ns.saturating_add(window_ns))
    }

    fn target(&self, now_ns: u64) -> u32 {
        match self.ready_ns() {
            None => u32::MAX,
            Some(_) => u32::from(self.is_ready_time(now_ns)),
        }
    }

    fn is_over(&self, now_ns: u64) -> bool {
        self.waiting > self.target(now_ns)
            || self
                .oldest_ends_ns()
                .is_some_and(|ends_ns| ends_ns <= now_ns)
    }

    fn is_short(&self, now_ns: u64) -> bool {
        self.waiting == 0 && !self.named && self.is_ready_time(now_ns)
    }

    /// When something changes of itself.
    fn next_ns(&self, now_ns: u64) -> Option<u64> {
        if self.is_over(now_ns) || self.is_short(now_ns) {
            return Some(now_ns);
        }
        match self.ready_ns() {
            None => self.oldest_ends_ns(),
            Some((begins_ns, _)) if now_ns < begins_ns => Some(begins_ns),
            Some((_, ends_ns)) => (self.waiting > 0).then_some(ends_ns),
        }
    }
}

impl Hybrid {
    pub fn new(options: HybridOptions) -> Hybrid {
        assert!(options.bin_ns >= 100 && options.bins > 0);
        Hybrid {
            options,
            functions: Vec::new(),
            recency: Recency::default(),
            checks: Checks::default(),
            short: VecDeque::new(),
        }
    }

    /// The windows of a function as they are now.
    pub fn windows(&self, function: u32) -> Windows {
        self.functions[function as usize].windows
    }

    fn watch(&mut self, function: u32, now_ns: u64) {
        if let Some(next_ns) = self.functions[function as usize].next_ns(now_ns) {
            self.checks.set(function, next_ns);
        }
    }
}

impl Policy for Hybrid {
    fn on_register(&mut self, function: u32) {
        let index = function as usize;
        let new = Function::new(&self.options);
        if index < self.functions.len() {
            self.functions[index] = new;
        } else {
            // Functions are registered in the order of their numbers.
            debug_assert_eq!(index, self.functions.len());
            self.functions.push(new);
        }
        self.recency.remove(function);
    }

    fn on_request(&mut self, number: u32, now_ns: u64) {
        let function = &mut self.functions[number as usize];
        if let Some(ended_ns) = function.ended_ns.filter(|_| function.running == 0) {
            let idle_ns = now_ns.saturating_sub(ended_ns);
            function.idle_times.record(&self.options, idle_ns);
            function.windows = function.idle_times.windows(&self.options);
        }
        self.recency.refresh(number);
    }

    fn on_finish(&mut self, number: u32, _run: Run, now_ns: u64) {
        let function = &mut self.functions[number as usize];
        function.running = function.running.saturating_sub(1);
        function.ended_ns = Some(now_ns);
        function.named = false;
        self.recency.refresh(number);
    }

    fn on_stock(&mut self, number: u32, stock: Stock, now_ns: u64) {
        let function = &mut self.functions[number as usize];
        function.waiting = stock.waiting;
        function.running = stock.running;
        function.oldest_ns = stock.oldest_ns;
        self.recency.hold(number, stock.waiting > 0);
        self.watch(number, now_ns);
    }

    fn target(&self, function: u32, now_ns: u64) -> u32 {
        self.functions[function as usize].target(now_ns)
    }

    fn victim(&mut self) -> Option<u32> {
        self.recency.oldest()
    }

    fn over(&mut self, now_ns: u64) -> Option<u32> {
        while let Some(number) = self.checks.due(now_ns) {
            let function = &mut self.functions[number as usize];
            if function.is_over(now_ns) {
                // It stays due until nothing of it is over any more.
                return Some(number);
            }
            if function.is_short(now_ns) {
                function.named = true;
                self.short.push_back(number);
            }
            self.checks.done(number);
            self.watch(number, now_ns);
        }
        None
    }

    fn short(&mut self, now_ns: u64) -> Option<u32> {
        while let Some(number) = self.short.pop_front() {
            let function = &self.functions[number as usize];
            if function.waiting == 0 && function.is_ready_time(now_ns) {
                return Some(number);
            }
        }
        None
    }

    fn displaces(&self) -> bool {
        true
    }

    fn next_ns(&self) -> Option<u64> {
        self.checks.next_ns()
    }
}
