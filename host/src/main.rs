#![forbid(unsafe_code)]
#![allow(dead_code, unused_imports)]

mod arena;
mod gateway;
mod http;
mod scheduler;

fn main() {}
