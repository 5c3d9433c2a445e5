//! The Common Gateway Interface, version 1.1 (RFC 3875), between a request and a command.
//!
//! Neither part does I/O: a request becomes environment variables, bytes of standard output become a response's head.

mod environment;
mod response;

pub use environment::{decoded_path, environment};
pub use response::{CgiError, Head, HeadParser, Step, header_field_error};
