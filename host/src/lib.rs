//! The host side of Dormouse: gateway, scheduler, pool, function store, deployment and command line.
//!
//! Dependencies point one way: `cli` -> `server` -> everything else; the rest know each other only through plain types.
#![forbid(unsafe_code)]

pub mod arena;
pub mod gateway;
pub mod http;
pub mod interface;
pub mod log;
pub mod pool;
pub mod scheduler;
