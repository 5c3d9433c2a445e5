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
//! * [`policy`] says how many instances a function may keep, and which function gives up the next one.
//! * [`recency`] is the order of last use that the policy trims by.
//! * [`warm`] holds the instances, and holds to the budget whatever the policy says.
//!
//! Times are nanoseconds since an epoch of the caller's choosing, and never go back.

#![forbid(unsafe_code)]

pub mod policy;
pub mod predictor;
pub mod recency;
pub mod warm;

#[cfg(test)]
mod properties;

pub use policy::{Policy, Predictive, PredictiveOptions};
pub use warm::{Finished, FunctionId, Limits, Pool, Release, Start, Stock};
