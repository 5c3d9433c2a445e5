#![forbid(unsafe_code)]

#[allow(dead_code, unused_imports)]
mod pool;

fn main() {}
