//! The engine of Dormouse: WebAssembly bytes in, isolated instances out.
//!
//! It knows no sockets, no HTTP and no disk layout; the host hands it functions to import.

pub mod compile;
pub mod layout;
