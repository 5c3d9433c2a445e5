//! Who runs next, who waits for what, and who is refused: pure data structures with an injected clock.
//!
//! * [`run_queue`] orders the invocations that can run: those that have used little before those that have used much.
//! * [`admission`] bounds how many invocations of one function are in progress and how many wait.
//! * [`timers`] holds the times at which something is due.
//!
//! Times are nanoseconds since an epoch of the caller's choosing, and never go back.
#![forbid(unsafe_code)]

pub mod admission;
pub mod run_queue;
pub mod timers;

pub use admission::{Admission, Admit};
pub use run_queue::RunQueue;
pub use timers::Timers;
