//! What a policy is, and which there are.
//!
//! A [`Policy`] only advises. [`super::warm::Pool`] keeps the accounts and the budget, and tells the policy what happens;
//! it asks four questions: how many, who is over, who gives way, who is short.
//!
//! Invariants: an answer takes at most logarithmic time in the number of functions, spread over the events that lead to
//! it; the state is a few dozen bytes a function, and half a KiB with a histogram.

use super::fixed::Fixed;
use super::greedy_dual::GreedyDual;
use super::histogram::{Hybrid, HybridOptions};
use super::keepalive::KeepAlive;
use super::predicted::{Predictive, PredictiveOptions};
use super::warm::Stock;
use crate::units::parse_duration;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How a run ended, as far as the pool goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How long it occupied an instance; nothing of a request that got none.
    pub run_ns: Option<u64>,
    /// What the instance holds after its reset; nothing of one that was not reset.
    pub held_bytes: Option<u64>,
}

/// What decides over a pool. Functions are small dense numbers.
pub trait Policy {
    /// A function takes this number; whatever was known of an earlier one is forgotten.
    fn on_register(&mut self, function: u32);
    /// A request for the function arrives.
    fn on_request(&mut self, function: u32, now_ns: u64);
    /// An instance of the function was restored in this time.
    fn on_restore(&mut self, _function: u32, _restore_ns: u64) {}
    /// A run ends.
    fn on_finish(&mut self, function: u32, run: Run, now_ns: u64);
    /// The function's instances, after an event changed their number.
    fn on_stock(&mut self, function: u32, stock: Stock, now_ns: u64);
    /// A waiting instance of the function is about to give way, as [`Policy::victim`] said.
    fn on_evict(&mut self, _function: u32) {}

    /// How many instances of the function may wait.
    fn target(&self, function: u32, now_ns: u64) -> u32;
    /// The function whose waiting instance is worth least.
    fn victim(&mut self) -> Option<u32>;
    /// A function that has more instances waiting than it may. It is asked again until there is none, which takes note of
    /// all that has become due.
    fn over(&mut self, now_ns: u64) -> Option<u32>;
    /// A function that should have another instance before it is asked for. Each is named once until its stock changes.
    fn short(&mut self, _now_ns: u64) -> Option<u32> {
        None
    }
    /// Whether an instance made ahead of need may take the place of one that waits.
    fn displaces(&self) -> bool {
        false
    }
    /// When the next thing is due, for [`Policy::over`] to take note of.
    fn next_ns(&self) -> Option<u64> {
        None
    }
}

/// Which policy, and its settings. Written `NAME` or `NAME:SETTING`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyOptions {
    Predicted(PredictiveOptions),
    /// So many instances for each function.
    Fixed(u32),
    /// So long for each instance.
    KeepAlive(Duration),
    Histogram(HybridOptions),
    GreedyDual,
}

/// Instances of each function under `fixed`, unless told otherwise.
const FIXED_INSTANCES: u32 = 1;

/// How long an instance waits under `keepalive`, unless told otherwise: what clouds are commonly found to do (Shahrad et
/// al., "Serverless in the Wild", USENIX ATC 2020, section 2).
const KEEP_ALIVE: Duration = Duration::from_secs(600);

impl PolicyOptions {
    /// The name without the setting.
    pub fn name(&self) -> &'static str {
        match self {
            PolicyOptions::Predicted(_) => "predicted",
            PolicyOptions::Fixed(_) => "fixed",
            PolicyOptions::KeepAlive(_) => "keepalive",
            PolicyOptions::Histogram(_) => "histogram",
            PolicyOptions::GreedyDual => "greedy-dual",
        }
    }
}

impl Default for PolicyOptions {
    fn default() -> PolicyOptions {
        PolicyOptions::Predicted(PredictiveOptions::default())
    }
}

impl FromStr for PolicyOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<PolicyOptions, String> {
        let (name, setting) = match text.split_once(':') {
            Some((name, setting)) => (name, Some(setting)),
            None => (text, None),
        };
        let options = match (name, setting) {
            ("predicted", None) => PolicyOptions::default(),
            ("fixed", None) => PolicyOptions::Fixed(FIXED_INSTANCES),
            ("fixed", Some(count)) => match count.parse() {
                Ok(count) if count > 0 => PolicyOptions::Fixed(count),
                _ => {
                    return Err(format!(
                        "\"{count}\" is no number of instances; write fixed:4"
                    ));
                }
            },
            ("keepalive", None) => PolicyOptions::KeepAlive(KEEP_ALIVE),
            ("keepalive", Some(time)) => match parse_duration(time)? {
                Duration::ZERO => return Err("instances must be kept for some time".into()),
                time => PolicyOptions::KeepAlive(time),
            },
            ("histogram", None) => PolicyOptions::Histogram(HybridOptions::default()),
            ("greedy-dual", None) => PolicyOptions::GreedyDual,
            _ => {
                return Err(format!(
                    "there is no policy \"{text}\"; there are predicted, fixed[:INSTANCES], keepalive[:DURATION], \
                     histogram and greedy-dual"
                ));
            }
        };
        Ok(options)
    }
}

impl fmt::Display for PolicyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match *self {
            PolicyOptions::Fixed(count) if count != FIXED_INSTANCES => write!(f, ":{count}"),
            PolicyOptions::KeepAlive(time) if time != KEEP_ALIVE => {
                let ns = time.as_nanos();
                let units = [
                    (60_000_000_000, "m"),
                    (1_000_000_000, "s"),
                    (1_000_000, "ms"),
                    (1, "ns"),
                ];
                let (unit_ns, unit) = units
                    .into_iter()
                    .find(|(unit_ns, _)| ns.is_multiple_of(*unit_ns))
                    .unwrap_or((1, "ns"));
                write!(f, ":{}{unit}", ns / unit_ns)
            }
            _ => Ok(()),
        }
    }
}

/// The policy that was chosen.
#[derive(Debug)]
pub enum Chosen {
    Predicted(Predictive),
    Fixed(Fixed),
    KeepAlive(KeepAlive),
    Histogram(Hybrid),
    GreedyDual(GreedyDual),
}

impl Chosen {
    pub fn new(options: &PolicyOptions) -> Chosen {
        match *options {
            PolicyOptions::Predicted(options) => Chosen::Predicted(Predictive::new(options)),
            PolicyOptions::Fixed(count) => Chosen::Fixed(Fixed::new(count)),
            PolicyOptions::KeepAlive(time) => {
                Chosen::KeepAlive(KeepAlive::new(time.as_nanos() as u64))
            }
            PolicyOptions::Histogram(options) => Chosen::Histogram(Hybrid::new(options)),
            PolicyOptions::GreedyDual => Chosen::GreedyDual(GreedyDual::default()),
        }
    }

    fn inner(&self) -> &dyn Policy {
        match self {
            Chosen::Predicted(policy) => policy,
            Chosen::Fixed(policy) => policy,
            Chosen::KeepAlive(policy) => policy,
            Chosen::Histogram(policy) => policy,
            Chosen::GreedyDual(policy) => policy,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Policy {
        match self {
            Chosen::Predicted(policy) => policy,
            Chosen::Fixed(policy) => policy,
            Chosen::KeepAlive(policy) => policy,
            Chosen::Histogram(policy) => policy,
            Chosen::GreedyDual(policy) => policy,
        }
    }
}

impl Policy for Chosen {
    fn on_register(&mut self, function: u32) {
        self.inner_mut().on_register(function);
    }

    fn on_request(&mut self, function: u32, now_ns: u64) {
        self.inner_mut().on_request(function, now_ns);
    }

    fn on_restore(&mut self, function: u32, restore_ns: u64) {
        self.inner_mut().on_restore(function, restore_ns);
    }

    fn on_finish(&mut self, function: u32, run: Run, now_ns: u64) {
        self.inner_mut().on_finish(function, run, now_ns);
    }

    fn on_stock(&mut self, function: u32, stock: Stock, now_ns: u64) {
        self.inner_mut().on_stock(function, stock, now_ns);
    }

    fn on_evict(&mut self, function: u32) {
        self.inner_mut().on_evict(function);
    }

    fn target(&self, function: u32, now_ns: u64) -> u32 {
        self.inner().target(function, now_ns)
    }

    fn victim(&mut self) -> Option<u32> {
        self.inner_mut().victim()
    }

    fn over(&mut self, now_ns: u64) -> Option<u32> {
        self.inner_mut().over(now_ns)
    }

    fn short(&mut self, now_ns: u64) -> Option<u32> {
        self.inner_mut().short(now_ns)
    }

    fn displaces(&self) -> bool {
        self.inner().displaces()
    }

    fn next_ns(&self) -> Option<u64> {
        self.inner().next_ns()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_written_as_it_is_read() {
        for text in [
            "predicted",
            "fixed",
            "fixed:4",
            "keepalive",
            "keepalive:90s",
            "keepalive:1500ms",
            "histogram",
            "greedy-dual",
        ] {
            let options: PolicyOptions = text.parse().unwrap();
            let again: PolicyOptions = options.to_string().parse().unwrap();
            assert_eq!(again, options, "{text}");
            assert!(text.starts_with(options.name()));
        }
        for text in [
            "",
            "lru",
            "fixed:0",
            "fixed:many",
            "keepalive:0s",
            "keepalive:10",
            "predicted:1",
            "greedy-dual:",
        ] {
            assert!(text.parse::<PolicyOptions>().is_err(), "{text}");
        }
    }
}
