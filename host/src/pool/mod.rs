//! The pool of warm instances: which functions keep how many, within one budget of memory.
//!
//! ```text
//!            request                         release
//!   asleep ----------> running  ------------------------> waiting (warm)
//!      ^    (cold)        ^                  |               |   |
//!      |                  |   request (warm) |               |   |
//!      |                  +------------------|---------------+   |
//!      +-------------------------------------+-------------------+
//!                                    not kept         trimmed
//! ```
//!
//! Everything here is pure: time and events come in, decisions go out. There is no clock, no I/O and no engine in it, so
//! that a simulation replays a day of traffic, with `()` for instances, through the very code that serves requests.
//!
//! * [`predictor`] estimates from a function's past how many instances it needs.
//! * [`policy`] says how many instances a function may keep, and which function gives up the next one: [`predicted`] by that
//!   estimate, [`fixed`], [`keepalive`], [`histogram`] and [`greedy_dual`] as their names say.
//! * [`recency`] and [`checks`] are what they have in common: an order of last use, and a queue of times.
//! * [`warm`] holds the instances, and holds to the budget whatever the policy says.
//!
//! Times are nanoseconds since an epoch of the caller's choosing, and never go back.

#![forbid(unsafe_code)]

pub mod checks;
pub mod fixed;
pub mod greedy_dual;
pub mod histogram;
pub mod keepalive;
pub mod policy;
pub mod predicted;
pub mod predictor;
pub mod recency;
pub mod warm;

#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod properties;

pub use policy::{Chosen, Policy, PolicyOptions, Run};
pub use predicted::{Predictive, PredictiveOptions};
pub use warm::{Finished, FunctionId, Limits, Pool, Release, Start, Stock};
