//! The real binary over real sockets, as a user would meet it.

mod admin;
mod density;
mod durability;
mod functions;
mod harness;
mod hostile;
mod http;
mod layers;
mod pool;
mod signals;
mod tool;
