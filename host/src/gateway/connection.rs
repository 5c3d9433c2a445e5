//! One client: what it sent, what it is owed, and how the connection ends.
//!
//! ```text
//!            head complete or refused              response ended and written
//!   Head ------------------------------> Exchange ----------------------------+
//!    ^                                      |                                 |
//!    |  keep-alive                          | gone, stalled, aborted          | last one
//!    +--------------------------------------+---------------------------------+--> Lingering --> Closed
//! ```
//!
//! This file has the state and its bounds in time; `receiving.rs` and `sending.rs` move it on.
//!
//! Invariants: one request at a time; nothing of the next is looked at before the response of this one is
//! written. Once a request was refused, nothing more is read as a request.

use super::BYTES_PER_SECOND_MIN;
use super::outbox::Outbox;
use super::shared::Shared;
use super::transport::Transport;
use crate::http::{BodyDecoder, Refusal, Version};
use std::time::Duration;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a, R> {
    /// Nothing that can be dealt with now.
    Nothing,
    /// A request. Its body follows.
    Head(R),
    /// A piece of the body, never empty.
    Body(&'a [u8]),
    /// The body is complete. Said once for every request.
    BodyEnd,
    /// The client is owed a refusal and then the end of the connection. If a head was received before, this
    /// concerns the rest of that request.
    Refused(Refusal),
    /// The connection is over.
    Closed,
}

/// Whose patience ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The client is to be told, by this refusal.
    Refuse(Refusal),
    /// The connection is to be closed without a word.
    Close,
    /// The client does not take the response: the connection is to be reset.
    Abort,
}

/// The connection's state machine; the drawing above says which steps are legal.
#[derive(Debug)]
pub(super) enum State {
    Head,
    Exchange(Exchange),
    Lingering { dropped_bytes: u64 },
    Closed,
}

/// A request and its response.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) decoder: BodyDecoder,
    /// The end of the body was reported, or the request was refused: nothing more is read.
    pub(super) received: bool,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
    pub(super) head_only: bool,
    pub(super) reply: Reply,
}

/// How far the response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Awaited,
    /// The head is out, the body comes in pieces.
    Streaming {
        chunked: bool,
    },
    /// Nothing will be added to the outbox.
    Ended,
}

/// Measures a client against the stall time and the least rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    since_ns: u64,
    last_ns: u64,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(now_ns: u64) -> Pace {
        Pace {
            since_ns: now_ns,
            last_ns: now_ns,
            bytes: 0,
        }
    }

    pub(super) fn moved(&mut self, bytes: usize, now_ns: u64) {
        self.bytes += bytes as u64;
        self.last_ns = now_ns;
    }

    pub(super) fn is_too_slow(&self, stall: Duration, now_ns: u64) -> bool {
        let stall_ns = stall.as_nanos() as u64;
        let earned_ns = self
            .bytes
            .saturating_mul(1_000_000_000 / BYTES_PER_SECOND_MIN);
        now_ns.saturating_sub(self.last_ns) > stall_ns
            || now_ns.saturating_sub(self.since_ns) > stall_ns.saturating_add(earned_ns)
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct Connection<T> {
    pub(super) transport: T,
    pub(super) state: State,
    /// The socket may have bytes, or an end, to read.
    pub(super) readable: bool,
    /// The end was reported, which is not reported again: it is read to, now or later.
    pub(super) ended: bool,
    /// Bytes read and not dealt with yet; `input[dealt_with..]` is what counts.
    pub(super) input: Vec<u8>,
    pub(super) dealt_with: usize,
    /// How much of the input was there when it was last found to be an incomplete head.
    pub(super) seen: usize,
    pub(super) outbox: Outbox,
    /// Since when the head, or the next request, is waited for.
    pub(super) waiting_since_ns: u64,
    /// Runs while body bytes are asked for.
    pub(super) body_pace: Option<Pace>,
    pub(super) write_pace: Pace,
    pub(super) body_bytes_max: u64,
}

impl<T: Transport> Connection<T> {
    /// A connection that was just accepted. Request bodies of more than `body_bytes_max` are refused.
    pub fn new(transport: T, body_bytes_max: u64, now_ns: u64) -> Connection<T> {
        Connection {
            transport,
            state: State::Head,
            readable: true,
            ended: false,
            input: Vec::new(),
            dealt_with: 0,
            seen: 0,
            outbox: Outbox::default(),
            waiting_since_ns: now_ns,
            body_pace: None,
            write_pace: Pace::new(now_ns),
            body_bytes_max,
        }
    }

    pub fn transport(&self) -> &T {
        &self.transport
    }

    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// The socket was reported readable. `ended`: the client sends nothing after what is there.
    pub fn set_readable(&mut self, ended: bool) {
        self.readable = true;
        self.ended |= ended;
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// No request is in progress.
    pub fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// Whether [`Connection::receive`] may have something to say when nothing new was reported of the socket.
    pub fn has_more(&self) -> bool {
        match &self.state {
            State::Head => self.readable || (self.seen == 0 && self.input_left() > 0),
            State::Exchange(exchange) => {
                !exchange.received
                    && (self.readable || self.input_left() > 0 || exchange.decoder.is_done())
            }
            State::Lingering { .. } => self.readable,
            State::Closed => false,
        }
    }

    /// Bytes of the response that the client has not taken yet.
    pub fn unsent_bytes(&self) -> usize {
        self.outbox.len()
    }

    /// What is overdue, if anything. To be asked now and then; a second more or less does not matter.
    pub fn expiry(&self, shared: &Shared) -> Option<Expiry> {
        let now_ns = shared.now_ns;
        let timeouts = &shared.timeouts;
        let waited = Duration::from_nanos(now_ns.saturating_sub(self.waiting_since_ns));
        match &self.state {
            State::Head if self.input_left() == 0 => {
                (waited > timeouts.idle).then_some(Expiry::Close)
            }
            State::Head => (waited > timeouts.head).then_some(Expiry::Refuse(Refusal::HeadTimeout)),
            State::Exchange(_) if !self.outbox.is_empty() => self
                .write_pace
                .is_too_slow(timeouts.write_stall, now_ns)
                .then_some(Expiry::Abort),
            State::Exchange(exchange) if exchange.reply == Reply::Awaited => self
                .body_pace
                .is_some_and(|pace| pace.is_too_slow(timeouts.body_stall, now_ns))
                .then_some(Expiry::Refuse(Refusal::BodyTimeout)),
            State::Exchange(_) => self
                .body_pace
                .is_some_and(|pace| pace.is_too_slow(timeouts.body_stall, now_ns))
                .then_some(Expiry::Abort),
            State::Lingering { .. } => (waited > timeouts.linger).then_some(Expiry::Close),
            State::Closed => None,
        }
    }

    /// Ends the connection at once. The socket is closed when the connection is dropped.
    pub fn close(&mut self, shared: &mut Shared) {
        self.state = State::Closed;
        self.readable = false;
        self.outbox = Outbox::default();
        shared.give_buffer(std::mem::take(&mut self.input));
        self.dealt_with = 0;
    }

    pub(super) fn input_left(&self) -> usize {
        self.input.len() - self.dealt_with
    }
}
