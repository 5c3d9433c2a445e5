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
//! Invariants: one request at a time; nothing of the next is looked at before the response of this one is
//! written. Once a request was refused, nothing more is read as a request.

use super::outbox::Outbox;
use super::shared::Shared;
use super::transport::Transport;
use super::{BYTES_PER_SECOND_MIN, COPY_BYTES_MAX, LINGER_BYTES_MAX};
use crate::http::response::{self, BodyEnd};
use crate::http::{self, BodyDecoder, Head, Refusal, Response, ResponseError, Version, head};
use std::io::{ErrorKind, IoSlice};
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
enum State {
    Head,
    Exchange(Exchange),
    Lingering { dropped_bytes: u64 },
    Closed,
}

/// A request and its response.
#[derive(Debug)]
struct Exchange {
    decoder: BodyDecoder,
    /// The end of the body was reported, or the request was refused: nothing more is read.
    received: bool,
    version: Version,
    keep_alive: bool,
    head_only: bool,
    reply: Reply,
}

/// How far the response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
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
struct Pace {
    since_ns: u64,
    last_ns: u64,
    bytes: u64,
}

impl Pace {
    fn new(now_ns: u64) -> Pace {
        Pace {
            since_ns: now_ns,
            last_ns: now_ns,
            bytes: 0,
        }
    }

    fn moved(&mut self, bytes: usize, now_ns: u64) {
        self.bytes += bytes as u64;
        self.last_ns = now_ns;
    }

    fn is_too_slow(&self, stall: Duration, now_ns: u64) -> bool {
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
    transport: T,
    state: State,
    /// The socket may have bytes, or an end, to read.
    readable: bool,
    /// The end was reported, which is not reported again: it is read to, now or later.
    ended: bool,
    /// Bytes read and not dealt with yet; `input[dealt_with..]` is what counts.
    input: Vec<u8>,
    dealt_with: usize,
    /// How much of the input was there when it was last found to be an incomplete head.
    seen: usize,
    outbox: Outbox,
    /// Since when the head, or the next request, is waited for.
    waiting_since_ns: u64,
    /// Runs while body bytes are asked for.
    body_pace: Option<Pace>,
    write_pace: Pace,
    body_bytes_max: u64,
}

enum Read {
    Bytes(usize),
    Blocked,
    End,
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

    /// Reads and decodes. For body bytes to come the caller asks again; while it does not, the client is held back.
    pub fn receive<'a, R>(
        &'a mut self,
        shared: &'a mut Shared,
        mut read_head: impl FnMut(&Head<'_, '_>) -> R,
    ) -> Received<'a, R> {
        loop {
            match &self.state {
                State::Head => match self.receive_head(shared, &mut read_head) {
                    Some(received) => return received,
                    None => continue,
                },
                State::Exchange(exchange) if exchange.received => return Received::Nothing,
                State::Exchange(_) => break,
                State::Lingering { .. } => {
                    self.drop_input(shared);
                    return if self.is_closed() {
                        Received::Closed
                    } else {
                        Received::Nothing
                    };
                }
                State::Closed => return Received::Closed,
            }
        }
        self.receive_body(shared)
    }

    /// One step towards a head; `None` to try again.
    fn receive_head<'a, R>(
        &mut self,
        shared: &mut Shared,
        read_head: &mut impl FnMut(&Head<'_, '_>) -> R,
    ) -> Option<Received<'a, R>> {
        let body_bytes_max = self.body_bytes_max;
        let pending = &self.input[self.dealt_with..];
        if !pending.is_empty() && head::may_complete(pending, self.seen) {
            match begin(pending, body_bytes_max, read_head) {
                Ok(Some((value, exchange, bytes))) => {
                    self.deal_with(bytes, shared);
                    return Some(self.begin_exchange(value, exchange));
                }
                Ok(None) => self.seen = self.input_left(),
                Err(refusal) => return Some(self.refuse(refusal)),
            }
        }
        let bytes = match self.read(shared) {
            Read::Bytes(bytes) => bytes,
            Read::Blocked => return Some(Received::Nothing),
            Read::End => {
                self.close(shared);
                return Some(Received::Closed);
            }
        };
        if self.input_left() > 0 {
            self.keep(0..bytes, shared);
            return None;
        }
        match begin(&shared.read[..bytes], body_bytes_max, read_head) {
            Ok(Some((value, exchange, head_bytes))) => {
                self.keep(head_bytes..bytes, shared);
                Some(self.begin_exchange(value, exchange))
            }
            Ok(None) => {
                self.keep(0..bytes, shared);
                self.seen = bytes;
                self.waiting_since_ns = shared.now_ns;
                None
            }
            Err(refusal) => Some(self.refuse(refusal)),
        }
    }

    fn begin_exchange<'a, R>(&mut self, value: R, exchange: Exchange) -> Received<'a, R> {
        self.state = State::Exchange(exchange);
        self.seen = 0;
        Received::Head(value)
    }

    fn receive_body<'a, R>(&'a mut self, shared: &'a mut Shared) -> Received<'a, R> {
        loop {
            let State::Exchange(exchange) = &mut self.state else {
                unreachable!("a body belongs to an exchange");
            };
            if exchange.decoder.is_done() {
                exchange.received = true;
                self.body_pace = None;
                return Received::BodyEnd;
            }
            if self.dealt_with < self.input.len() {
                let start = self.dealt_with;
                match exchange.decoder.decode(&self.input[start..]) {
                    Ok(decoded) => {
                        // The buffer itself is given back at the next step, for the piece is still in it.
                        self.dealt_with += decoded.consumed;
                        if !decoded.body.is_empty() {
                            let body = start + decoded.body.start..start + decoded.body.end;
                            return Received::Body(&self.input[body]);
                        }
                        continue;
                    }
                    Err(refusal) => return self.refuse(refusal),
                }
            }
            self.deal_with(0, shared);
            let bytes = match self.read(shared) {
                Read::Bytes(bytes) => bytes,
                Read::Blocked => {
                    self.body_pace.get_or_insert(Pace::new(shared.now_ns));
                    return Received::Nothing;
                }
                Read::End => return self.refuse(Refusal::BodyIncomplete),
            };
            if let Some(pace) = &mut self.body_pace {
                pace.moved(bytes, shared.now_ns);
            }
            let State::Exchange(exchange) = &mut self.state else {
                unreachable!("reading does not end an exchange");
            };
            match exchange.decoder.decode(&shared.read[..bytes]) {
                Ok(decoded) => {
                    self.keep(decoded.consumed..bytes, shared);
                    if !decoded.body.is_empty() {
                        return Received::Body(&shared.read[decoded.body]);
                    }
                }
                Err(refusal) => return self.refuse(refusal),
            }
        }
    }

    /// The caller does not ask for more of the body for now: the client is not to blame for the time that passes.
    pub fn hold_body(&mut self) {
        self.body_pace = None;
    }

    /// Nothing of the connection is read as a request any more; the caller answers.
    fn refuse<R>(&mut self, refusal: Refusal) -> Received<'static, R> {
        self.stop_receiving();
        Received::Refused(refusal)
    }

    fn stop_receiving(&mut self) {
        self.body_pace = None;
        match &mut self.state {
            State::Exchange(exchange) => {
                exchange.received = true;
                exchange.keep_alive = false;
            }
            State::Head => {
                self.state = State::Exchange(Exchange {
                    decoder: BodyDecoder::new(http::Framing::Chunked, 0)
                        .expect("no length to refuse"),
                    received: true,
                    version: Version::Http11,
                    keep_alive: false,
                    head_only: false,
                    reply: Reply::Awaited,
                });
            }
            State::Lingering { .. } | State::Closed => {}
        }
    }

    /// Tells a client that waits for it to go on and send the body.
    pub fn send_continue(&mut self, shared: &mut Shared) {
        self.write_whole(shared, response::CONTINUE.to_vec(), Vec::new());
        self.body_pace = Some(Pace::new(shared.now_ns));
    }

    /// Sends a complete response. For a HEAD request, `length` stands in for the body, if there is one.
    pub fn respond(
        &mut self,
        shared: &mut Shared,
        status: u16,
        headers: &[(String, Vec<u8>)],
        request_id: &str,
        body: Vec<u8>,
    ) -> Result<(), ResponseError> {
        let Some(exchange) = self.awaited(shared) else {
            return Ok(());
        };
        // What is not received by now would have to be read off before the next request.
        exchange.keep_alive &= exchange.decoder.is_done();
        let no_body = exchange.head_only || response::is_bodiless(status);
        let end = match (response::is_bodiless(status), declared_length(headers)) {
            (true, _) => BodyEnd::NoBody,
            // The function may answer HEAD as it likes: with the body, whose length counts, or with the length alone.
            (false, Some(length)) if exchange.head_only && body.is_empty() => {
                BodyEnd::Length(length)
            }
            (false, _) => BodyEnd::Length(body.len() as u64),
        };
        encode_head(exchange, shared, status, headers, request_id, end)?;
        exchange.reply = Reply::Ended;
        let body = if no_body { Vec::new() } else { body };
        let head = std::mem::take(&mut shared.head);
        let head = self.write_whole(shared, head, body);
        shared.head = head;
        self.after_write(shared);
        Ok(())
    }

    /// Sends the head of a response whose body follows in pieces.
    pub fn begin_stream(
        &mut self,
        shared: &mut Shared,
        status: u16,
        headers: &[(String, Vec<u8>)],
        request_id: &str,
    ) -> Result<(), ResponseError> {
        let Some(exchange) = self.awaited(shared) else {
            return Ok(());
        };
        let chunked = exchange.version == Version::Http11;
        let end = if response::is_bodiless(status) || exchange.head_only {
            BodyEnd::NoBody
        } else if chunked {
            BodyEnd::Chunked
        } else {
            exchange.keep_alive = false;
            BodyEnd::Close
        };
        encode_head(exchange, shared, status, headers, request_id, end)?;
        if end == BodyEnd::NoBody {
            // The pieces that follow are not for sending.
            exchange.head_only = true;
        }
        exchange.reply = Reply::Streaming { chunked };
        let head = std::mem::take(&mut shared.head);
        let head = self.write_whole(shared, head, Vec::new());
        shared.head = head;
        Ok(())
    }

    /// Sends a piece of the body.
    pub fn stream(&mut self, shared: &mut Shared, mut piece: Vec<u8>) {
        let State::Exchange(exchange) = &self.state else {
            return;
        };
        let Reply::Streaming { chunked } = exchange.reply else {
            unreachable!("pieces follow the head of a streamed response");
        };
        if exchange.head_only || piece.is_empty() {
            return;
        }
        let mut head = Vec::new();
        if chunked {
            response::chunk_head(piece.len(), &mut head);
            piece.extend_from_slice(b"\r\n");
        }
        self.write_whole(shared, head, piece);
    }

    /// The streamed body is complete.
    pub fn end_stream(&mut self, shared: &mut Shared) {
        let State::Exchange(exchange) = &mut self.state else {
            return;
        };
        let Reply::Streaming { chunked } = exchange.reply else {
            unreachable!("only a streamed response is ended");
        };
        exchange.reply = Reply::Ended;
        if chunked && !exchange.head_only {
            self.write_whole(shared, response::LAST_CHUNK.to_vec(), Vec::new());
        }
        self.after_write(shared);
    }

    /// Ends the connection in a way that no client takes for the end of a response.
    pub fn abort(&mut self, shared: &mut Shared) {
        // A failure means that the connection is gone already.
        let _ = self.transport.reset_on_close();
        self.close(shared);
    }

    /// The socket takes bytes again.
    pub fn flush(&mut self, shared: &mut Shared) {
        if self.is_closed() || self.outbox.is_empty() {
            return;
        }
        match self.outbox.write(&mut self.transport) {
            Ok(0) => {}
            Ok(bytes) => self.write_pace.moved(bytes, shared.now_ns),
            Err(_) => return self.close(shared),
        }
        self.after_write(shared);
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

    /// Prepares the connection for the refusal of an [`Expiry`], which the caller then sends.
    pub fn expire(&mut self) {
        self.stop_receiving();
    }

    /// Ends the connection at once. The socket is closed when the connection is dropped.
    pub fn close(&mut self, shared: &mut Shared) {
        self.state = State::Closed;
        self.readable = false;
        self.outbox = Outbox::default();
        shared.give_buffer(std::mem::take(&mut self.input));
        self.dealt_with = 0;
    }

    /// The exchange, if its response is awaited; the shared head buffer is emptied for it.
    fn awaited(&mut self, shared: &mut Shared) -> Option<&mut Exchange> {
        shared.head.clear();
        match &mut self.state {
            State::Exchange(exchange) => {
                assert!(
                    exchange.reply == Reply::Awaited,
                    "a request is answered once"
                );
                exchange.keep_alive &= !shared.draining;
                Some(exchange)
            }
            State::Head => unreachable!("nothing was asked"),
            State::Lingering { .. } | State::Closed => None,
        }
    }

    /// Writes `head` and `body`, or keeps of them what the socket does not take. Gives the head's buffer back, emptied.
    fn write_whole(&mut self, shared: &mut Shared, mut head: Vec<u8>, body: Vec<u8>) -> Vec<u8> {
        if self.is_closed() {
            head.clear();
            return head;
        }
        let mut body = body;
        if body.len() <= COPY_BYTES_MAX {
            head.extend_from_slice(&body);
            body = Vec::new();
        }
        let mut written = 0;
        if self.outbox.is_empty() {
            self.write_pace = Pace::new(shared.now_ns);
            let both = [IoSlice::new(&head), IoSlice::new(&body)];
            let segments = if body.is_empty() {
                &both[..1]
            } else {
                &both[..]
            };
            written = loop {
                match self.transport.write(segments) {
                    Ok(bytes) => break bytes,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break 0,
                    Err(_) => {
                        self.close(shared);
                        head.clear();
                        return head;
                    }
                }
            };
        }
        if written < head.len() {
            self.outbox.push(head[written..].to_vec(), 0);
            self.outbox.push(body, 0);
        } else {
            self.outbox.push(body, written - head.len());
        }
        head.clear();
        head
    }

    /// Moves on when a response has ended and is written.
    fn after_write(&mut self, shared: &mut Shared) {
        let State::Exchange(exchange) = &self.state else {
            return;
        };
        if exchange.reply != Reply::Ended || !self.outbox.is_empty() {
            return;
        }
        let received_all = exchange.decoder.is_done() && !self.readable && self.input_left() == 0;
        self.waiting_since_ns = shared.now_ns;
        self.body_pace = None;
        // A streamed response may have begun, and ended, before the whole body was received.
        if exchange.keep_alive && exchange.decoder.is_done() {
            self.state = State::Head;
            self.seen = 0;
            self.deal_with(0, shared);
        } else if received_all || self.transport.shutdown_write().is_err() {
            self.close(shared);
        } else {
            self.state = State::Lingering {
                dropped_bytes: self.input_left() as u64,
            };
            shared.give_buffer(std::mem::take(&mut self.input));
            self.dealt_with = 0;
            self.drop_input(shared);
        }
    }

    fn drop_input(&mut self, shared: &mut Shared) {
        loop {
            let read = self.read(shared);
            let State::Lingering { dropped_bytes } = &mut self.state else {
                return;
            };
            match read {
                Read::Bytes(bytes) => {
                    *dropped_bytes += bytes as u64;
                    if *dropped_bytes > LINGER_BYTES_MAX {
                        return self.close(shared);
                    }
                }
                Read::Blocked => return,
                Read::End => return self.close(shared),
            }
        }
    }

    /// Reads once into the shared buffer.
    fn read(&mut self, shared: &mut Shared) -> Read {
        if !self.readable {
            return Read::Blocked;
        }
        loop {
            match self.transport.read(&mut shared.read) {
                Ok(0) => return Read::End,
                Ok(bytes) => {
                    // epoll(7): a stream socket that gave less than was asked for is drained, and what comes later, an
                    // end included, is reported again.
                    self.readable = self.ended || bytes == shared.read.len();
                    return Read::Bytes(bytes);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Read::Blocked;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Read::End,
            }
        }
    }

    fn input_left(&self) -> usize {
        self.input.len() - self.dealt_with
    }

    /// Keeps a part of the shared read buffer for later.
    fn keep(&mut self, range: std::ops::Range<usize>, shared: &mut Shared) {
        if range.is_empty() {
            return;
        }
        if self.input.capacity() == 0 {
            self.input = shared.take_buffer();
        }
        self.input.extend_from_slice(&shared.read[range]);
    }

    /// Drops bytes from the front of the input; gives the buffer back when nothing is left in it.
    fn deal_with(&mut self, bytes: usize, shared: &mut Shared) {
        self.dealt_with += bytes;
        if self.dealt_with == self.input.len() && self.input.capacity() > 0 {
            self.dealt_with = 0;
            shared.give_buffer(std::mem::take(&mut self.input));
        }
    }
}

/// Parses a head at the start of `bytes` and gives it to `read_head`.
fn begin<R>(
    bytes: &[u8],
    body_bytes_max: u64,
    read_head: &mut impl FnMut(&Head<'_, '_>) -> R,
) -> Result<Option<(R, Exchange, usize)>, Refusal> {
    let mut storage = head::header_storage();
    let Some(head) = head::parse(bytes, &mut storage)? else {
        return Ok(None);
    };
    let exchange = Exchange {
        decoder: BodyDecoder::new(head.framing, body_bytes_max)?,
        received: false,
        version: head.version,
        keep_alive: head.keep_alive,
        head_only: head.method == "HEAD",
        reply: Reply::Awaited,
    };
    Ok(Some((read_head(&head), exchange, head.bytes)))
}

fn encode_head(
    exchange: &Exchange,
    shared: &mut Shared,
    status: u16,
    headers: &[(String, Vec<u8>)],
    request_id: &str,
    body: BodyEnd,
) -> Result<(), ResponseError> {
    let connection = http::Connection::for_client(exchange.version, exchange.keep_alive);
    let response = Response {
        status,
        headers,
        body,
        connection,
        request_id,
    };
    response.encode(&shared.date, &mut shared.head)
}

/// The Content-Length a function gave, if it is one.
fn declared_length(headers: &[(String, Vec<u8>)]) -> Option<u64> {
    let (_, value) = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    if digits {
        std::str::from_utf8(value).ok()?.parse().ok()
    } else {
        None
    }
}
