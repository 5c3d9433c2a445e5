#![forbid(unsafe_code)]
#![allow(dead_code)]

mod http;

fn main() {}
