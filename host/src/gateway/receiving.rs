//! Receiving: from the socket to heads and bodies.

use super::LINGER_BYTES_MAX;
use super::connection::{Connection, Exchange, Pace, Received, Reply, State};
use super::shared::Shared;
use super::transport::Transport;
use crate::http::{self, BodyDecoder, Head, Refusal, Version, head};
use std::io::ErrorKind;

/// What reading once came to.
enum Read {
    Bytes(usize),
    Blocked,
    End,
}

impl<T: Transport> Connection<T> {
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

    pub(super) fn stop_receiving(&mut self) {
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

    /// Prepares the connection for the refusal of an [`Expiry`], which the caller then sends.
    pub fn expire(&mut self) {
        self.stop_receiving();
    }

    pub(super) fn drop_input(&mut self, shared: &mut Shared) {
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
    pub(super) fn deal_with(&mut self, bytes: usize, shared: &mut Shared) {
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
