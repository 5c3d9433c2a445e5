//! Sending: from responses to bytes on the wire.

use super::COPY_BYTES_MAX;
use super::connection::{Connection, Exchange, Pace, Reply, State};
use super::shared::Shared;
use super::transport::Transport;
use crate::http::response::{self, BodyEnd};
use crate::http::{self, Response, ResponseError, Version};
use std::io::{ErrorKind, IoSlice};

impl<T: Transport> Connection<T> {
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
