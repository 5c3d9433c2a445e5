//! What all connections of a loop share: buffers, the clock and the settings.

use super::READ_BYTES;
use crate::http::DateCache;
use std::time::Duration;

/// How long a client is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// Between two pieces of a body.
    pub body_stall: Duration,
    /// Between two pieces of a response that the client takes.
    pub write_stall: Duration,
    /// Between a response and the next request.
    pub idle: Duration,
    /// For the client to close after a last response.
    pub linger: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            head: Duration::from_secs(10),
            body_stall: Duration::from_secs(20),
            write_stall: Duration::from_secs(30),
            // Longer than the idle time of most clients' pools, so that it is they who close and no request crosses it.
            idle: Duration::from_secs(75),
            linger: Duration::from_secs(2),
        }
    }
}

/// Buffers kept for connections that need one for a while.
const POOLED_BUFFERS_MAX: usize = 64;
/// A buffer that has grown beyond this is not kept.
const POOLED_BUFFER_BYTES_MAX: usize = 2 * READ_BYTES;

/// Shared by the connections of one loop.
#[derive(Debug)]
pub struct Shared {
    /// Where sockets are read to.
    pub(super) read: Box<[u8]>,
    /// Where response heads, with small bodies, are put together.
    pub(super) head: Vec<u8>,
    pool: Vec<Vec<u8>>,
    /// The time of this turn of the loop.
    pub now_ns: u64,
    pub date: DateCache,
    pub timeouts: Timeouts,
    /// The server is about to end: every response closes its connection.
    pub draining: bool,
}

impl Shared {
    pub fn new(timeouts: Timeouts, unix_seconds: u64) -> Shared {
        Shared {
            read: vec![0; READ_BYTES].into_boxed_slice(),
            head: Vec::with_capacity(READ_BYTES),
            pool: Vec::new(),
            now_ns: 0,
            date: DateCache::new(unix_seconds),
            timeouts,
            draining: false,
        }
    }

    /// An empty buffer.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        self.pool.pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub(super) fn give_buffer(&mut self, mut buffer: Vec<u8>) {
        let worth_keeping = (1..=POOLED_BUFFER_BYTES_MAX).contains(&buffer.capacity());
        if worth_keeping && self.pool.len() < POOLED_BUFFERS_MAX {
            buffer.clear();
            self.pool.push(buffer);
        }
    }
}
