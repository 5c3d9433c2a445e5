//! The host side of Dormouse: gateway, scheduler, pool, function store, deployment and command line.
//!
//! Dependencies point one way: `cli` -> `server` -> everything else; the rest know each other only through plain types.
#![forbid(unsafe_code)]

pub mod admin;
pub mod alarm;
pub mod arena;
pub mod bench;
pub mod cli;
pub mod deploy;
pub mod gateway;
pub mod http;
pub mod interface;
pub mod log;
pub mod metrics;
pub mod options;
pub mod pool;
pub mod profile;
pub mod run;
pub mod scheduler;
pub mod server;
pub mod simulate;
pub mod store;
pub mod units;
