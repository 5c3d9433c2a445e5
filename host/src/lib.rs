#![forbid(unsafe_code)]

pub mod pool;
