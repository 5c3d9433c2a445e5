//! Connections: from readable sockets to requests, from responses to bytes on the wire.
//!
//! A [`Connection`] does the reading and writing of one client and knows the protocol's state; what a request means is
//! the server's business. It never blocks, and it holds memory only for what cannot be dealt with at once:
//!
//! * Reading goes to a buffer shared by all connections. What is left there of an incomplete head or a
//!   pipelined request is copied to a buffer of the connection's own. An idle connection has none.
//! * A response is written from a shared buffer too; what the socket does not take is kept by the connection.
//! * Nothing is read from a client that is not asked for, so that TCP's window holds back a client that is
//!   faster than the guest.
//!
//! Polling is edge-triggered: a connection remembers that its socket has more to read, and is driven until it has not.
#![forbid(unsafe_code)]

pub mod connection;
pub mod listener;
pub mod outbox;
mod receiving;
mod sending;
pub mod shared;
pub mod transport;

#[cfg(test)]
mod tests;

pub use connection::{Connection, Expiry, Received};
pub use listener::{Accepted, Listener};
pub use shared::{Shared, Timeouts};
pub use transport::Transport;

/// Bytes read at a time, and the most that is copied into a connection's own buffer for one read.
pub const READ_BYTES: usize = 64 * 1024;

/// A body up to this size is copied behind its head, which is cheaper than gathering the two.
pub const COPY_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a refused request that are read and dropped so that the client gets to see the answer. A connection that is
/// closed with unread bytes is reset, and the reset may overtake the response (RFC 9112 section 9.6).
pub const LINGER_BYTES_MAX: u64 = 4 << 20;

/// A client must move this many bytes a second on average while it is waited for, beyond the stall times: those
/// who trickle to hold a connection are cut off, and slow phones are not.
pub const BYTES_PER_SECOND_MIN: u64 = 1024;

const _: () = assert!(READ_BYTES >= crate::http::HEAD_BYTES_MAX);
