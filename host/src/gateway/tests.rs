//! A scripted socket drives connections through whole exchanges, in pieces of every size.

use super::*;
use crate::http::Refusal;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};

/// A socket that gives what it was fed and takes only as much as it is told to.
#[derive(Debug, Default)]
struct Script {
    incoming: VecDeque<u8>,
    /// Most bytes one read gives.
    read_max: usize,
    ended: bool,
    outgoing: Vec<u8>,
    /// Bytes it still takes.
    takes: usize,
    broken: bool,
    writes: usize,
    shut: bool,
    reset: bool,
}

impl Transport for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return if self.ended {
                Ok(0)
            } else {
                Err(ErrorKind::WouldBlock.into())
            };
        }
        let bytes = self.incoming.len().min(buffer.len()).min(self.read_max);
        for place in &mut buffer[..bytes] {
            *place = self.incoming.pop_front().unwrap();
        }
        Ok(bytes)
    }

    fn write(&mut self, segments: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writes += 1;
        if self.broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if self.takes == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut total = 0;
        for segment in segments {
            let bytes = segment.len().min(self.takes);
            self.outgoing.extend_from_slice(&segment[..bytes]);
            self.takes -= bytes;
            total += bytes;
        }
        Ok(total)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shut = true;
        Ok(())
    }

    fn reset_on_close(&mut self) -> io::Result<()> {
        self.reset = true;
        Ok(())
    }
}

/// What a connection said, in the order it said it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Head(String),
    Body(Vec<u8>),
    End,
    Refused(u16),
    Closed,
}

struct Fixture {
    shared: Shared,
    connection: Connection<Script>,
}

impl Fixture {
    fn new() -> Fixture {
        let script = Script {
            read_max: usize::MAX,
            takes: usize::MAX,
            ..Script::default()
        };
        Fixture {
            shared: Shared::new(Timeouts::default(), 0),
            connection: Connection::new(script, 1 << 20, 0),
        }
    }

    fn script(&mut self) -> &mut Script {
        self.connection.transport_mut()
    }

    fn feed(&mut self, bytes: impl AsRef<[u8]>) {
        self.script().incoming.extend(bytes.as_ref());
        self.connection.set_readable(false);
    }

    fn end(&mut self) {
        self.script().ended = true;
        self.connection.set_readable(true);
    }

    /// All that the connection has to say now; pieces of a body are joined.
    fn said(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        loop {
            let received = self.connection.receive(&mut self.shared, |head| {
                format!("{} {}", head.method, head.raw_target)
            });
            match received {
                Received::Nothing => {
                    // A short read is not asked again until the socket is reported; the script has more in store.
                    let more = !self.script().incoming.is_empty();
                    if more && !self.connection.has_more() && self.script().read_max != usize::MAX {
                        self.connection.set_readable(false);
                        if self.connection.has_more() {
                            continue;
                        }
                    }
                    return said;
                }
                Received::Head(head) => said.push(Said::Head(head)),
                Received::Body(bytes) => match said.last_mut() {
                    Some(Said::Body(body)) => body.extend_from_slice(bytes),
                    _ => said.push(Said::Body(bytes.to_vec())),
                },
                Received::BodyEnd => said.push(Said::End),
                Received::Refused(refusal) => said.push(Said::Refused(refusal.status())),
                Received::Closed => {
                    said.push(Said::Closed);
                    return said;
                }
            }
        }
    }

    fn respond(&mut self, body: &str) {
        self.connection
            .respond(&mut self.shared, 200, &[], "id", body.as_bytes().to_vec())
            .unwrap();
    }

    /// What was written since the last time.
    fn wrote(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.script().outgoing)).unwrap()
    }

    fn expiry_after(&mut self, seconds: u64) -> Option<Expiry> {
        self.shared.now_ns += seconds * 1_000_000_000;
        self.connection.expiry(&self.shared)
    }
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

fn head(text: &str) -> Said {
    Said::Head(text.to_owned())
}

#[test]
fn a_request_and_its_response_take_one_read_and_one_write() {
    let mut f = Fixture::new();
    f.feed(GET);
    assert_eq!(f.said(), [head("GET /a"), Said::End]);
    f.respond("hello");
    assert_eq!(f.script().writes, 1);
    assert!(f.wrote().ends_with("Content-Length: 5\r\n\r\nhello"));
    assert!(f.connection.is_between_requests() && !f.connection.has_more());
    f.feed(GET);
    assert_eq!(f.said(), [head("GET /a"), Said::End]);
}

#[test]
fn any_split_of_the_input_gives_the_same_requests() {
    let text = format!(
        "{GET}POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\
         POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n{GET}"
    );
    for read_max in [1, 2, 3, 7, 26, 27, 28, 50, usize::MAX] {
        let mut f = Fixture::new();
        f.script().read_max = read_max;
        f.feed(&text);
        for expect in [
            vec![head("GET /a"), Said::End],
            vec![head("POST /b"), Said::Body(b"hello".to_vec()), Said::End],
            vec![head("POST /c"), Said::Body(b"abcde".to_vec()), Said::End],
            vec![head("GET /a"), Said::End],
        ] {
            f.connection.set_readable(false);
            assert_eq!(f.said(), expect, "in pieces of {read_max}");
            assert_eq!(
                f.said(),
                [],
                "the next request waits for the response of this one"
            );
            f.respond("x");
        }
        assert_eq!(f.wrote().matches("200 OK").count(), 4);
    }
}

#[test]
fn a_malformed_request_is_answered_and_the_connection_ends() {
    let mut f = Fixture::new();
    f.feed("GET / HTTP/1.1\r\nHost : h\r\n\r\n");
    assert_eq!(f.said(), [Said::Refused(400)]);
    f.respond("no");
    assert!(f.wrote().contains("Connection: close\r\n"));
    assert!(
        f.script().shut,
        "our side is shut so that the client sees the answer"
    );
    f.feed(GET);
    assert_eq!(f.said(), [], "what a refused client sends is dropped");
    f.end();
    assert_eq!(f.said(), [Said::Closed]);
}

#[test]
fn a_body_that_turns_out_malformed_ends_the_exchange() {
    let mut f = Fixture::new();
    f.feed("POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n");
    assert_eq!(
        f.said(),
        [
            head("POST /b"),
            Said::Body(b"abc".to_vec()),
            Said::Refused(400)
        ]
    );
    f.respond("no");
    assert!(f.wrote().contains("Connection: close\r\n"));
    assert!(!f.connection.is_between_requests());
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let mut f = Fixture::new();
    f.feed("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n");
    assert_eq!(f.said(), [Said::Refused(413)]);
    let mut f = Fixture::new();
    f.feed("POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n");
    assert_eq!(f.said(), [head("POST /b"), Said::Refused(413)]);
}

#[test]
fn a_response_before_the_end_of_the_body_closes() {
    let mut f = Fixture::new();
    f.feed("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe");
    assert_eq!(f.said(), [head("POST /b"), Said::Body(b"he".to_vec())]);
    f.respond("enough");
    assert!(f.wrote().contains("Connection: close\r\n"));
    f.feed(format!("llo{GET}"));
    assert_eq!(
        f.said(),
        [],
        "the rest of the body is never taken for a request"
    );
}

#[test]
fn continue_is_sent_before_the_body() {
    let mut f = Fixture::new();
    f.feed("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(f.said(), [head("POST /b")]);
    f.connection.send_continue(&mut f.shared);
    assert_eq!(f.wrote(), "HTTP/1.1 100 Continue\r\n\r\n");
    f.feed("hi");
    assert_eq!(f.said(), [Said::Body(b"hi".to_vec()), Said::End]);
    f.respond("x");
    assert!(f.connection.is_between_requests());
}

#[test]
fn head_and_bodiless_statuses_have_no_body() {
    let mut f = Fixture::new();
    f.feed("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
    f.said();
    f.respond("hello");
    assert!(f.wrote().ends_with("Content-Length: 5\r\n\r\n"));
    f.feed("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
    f.said();
    let declared = [("content-length".to_owned(), b"77".to_vec())];
    f.connection
        .respond(&mut f.shared, 200, &declared, "", Vec::new())
        .unwrap();
    assert!(f.wrote().ends_with("Content-Length: 77\r\n\r\n"));
    f.feed(GET);
    f.said();
    f.connection
        .respond(&mut f.shared, 204, &[], "", b"dropped".to_vec())
        .unwrap();
    let wrote = f.wrote();
    assert!(
        !wrote.contains("Content-Length") && wrote.ends_with("\r\n\r\n"),
        "{wrote}"
    );
}

#[test]
fn http_1_0_closes_unless_asked_to_stay() {
    let mut f = Fixture::new();
    f.feed("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    f.said();
    f.respond("x");
    assert!(f.wrote().contains("Connection: keep-alive\r\n"));
    f.feed("GET /a HTTP/1.0\r\n\r\n");
    f.said();
    f.respond("x");
    assert!(f.wrote().contains("Connection: close\r\n"));
    assert!(f.connection.is_closed());
}

#[test]
fn streamed_bodies_are_chunked_or_end_with_the_connection() {
    for (version, body, closes) in [
        ("1.1", "5\r\nhello\r\n0\r\n\r\n", false),
        ("1.0", "hello", true),
    ] {
        let mut f = Fixture::new();
        f.feed(format!(
            "GET /a HTTP/{version}\r\nHost: h\r\nConnection: keep-alive\r\n\r\n"
        ));
        f.said();
        f.connection
            .begin_stream(&mut f.shared, 200, &[], "id")
            .unwrap();
        f.connection.stream(&mut f.shared, b"hello".to_vec());
        f.connection.stream(&mut f.shared, Vec::new());
        f.connection.end_stream(&mut f.shared);
        let wrote = f.wrote();
        assert_eq!(wrote.split_once("\r\n\r\n").unwrap().1, body, "{wrote}");
        assert_eq!(f.connection.is_closed(), closes);
    }
}

#[test]
fn a_stream_that_begins_before_the_body_ends_keeps_the_connection_if_all_is_received() {
    for (rest, stays) in [("llo", true), ("l", false)] {
        let mut f = Fixture::new();
        f.feed("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe");
        f.said();
        f.connection
            .begin_stream(&mut f.shared, 200, &[], "id")
            .unwrap();
        assert!(!f.wrote().contains("Connection: close"));
        f.feed(rest);
        f.said();
        f.connection.end_stream(&mut f.shared);
        assert_eq!(f.connection.is_between_requests(), stays);
        if stays {
            f.feed(GET);
            assert_eq!(f.said(), [head("GET /a"), Said::End]);
        } else {
            f.feed(format!("lo{GET}"));
            assert_eq!(f.said(), [], "what is left of the body is no request");
        }
    }
}

#[test]
fn a_client_that_takes_bytes_one_by_one_gets_them_in_order() {
    let body: Vec<u8> = (0..COPY_BYTES_MAX as u32 * 3)
        .map(|n| (n % 251) as u8)
        .collect();
    for takes in [0, 1, 100, COPY_BYTES_MAX] {
        let mut f = Fixture::new();
        f.feed(GET);
        f.said();
        f.script().takes = takes;
        f.connection
            .respond(&mut f.shared, 200, &[], "id", body.clone())
            .unwrap();
        assert_eq!(
            f.said(),
            [],
            "nothing more is read until the response is out"
        );
        while f.connection.unsent_bytes() > 0 {
            f.script().takes = 997;
            f.connection.flush(&mut f.shared);
        }
        let out = std::mem::take(&mut f.script().outgoing);
        let start = out.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert!(out[start..] == body, "taking {takes} bytes at first");
        assert!(f.connection.is_between_requests());
    }
}

#[test]
fn a_refused_header_leaves_the_request_unanswered() {
    let mut f = Fixture::new();
    f.feed(GET);
    f.said();
    let bad = [("X".to_owned(), b"a\r\nb".to_vec())];
    assert!(
        f.connection
            .respond(&mut f.shared, 200, &bad, "id", Vec::new())
            .is_err()
    );
    assert_eq!(f.wrote(), "");
    f.respond("instead");
    assert_eq!(f.wrote().matches("HTTP/1.1").count(), 1);
}

#[test]
fn an_idle_connection_holds_no_buffers() {
    let mut f = Fixture::new();
    for piece in [&GET[..10], &GET[10..]] {
        f.feed(piece);
        f.said();
    }
    f.respond("x");
    let debug = format!("{:?}", f.connection);
    assert!(debug.contains("input: []"), "{debug}");
    assert!(debug.contains("segments: []"), "{debug}");
}

#[test]
fn a_half_closed_client_is_still_answered() {
    let mut f = Fixture::new();
    f.feed(GET);
    f.end();
    assert_eq!(f.said(), [head("GET /a"), Said::End]);
    f.respond("x");
    assert!(f.wrote().contains("200 OK"));
    assert!(f.connection.has_more(), "the end is still to be read");
    assert_eq!(f.said(), [Said::Closed]);
}

#[test]
fn an_end_within_a_request_is_no_request() {
    let mut f = Fixture::new();
    f.feed(&GET[..GET.len() - 2]);
    f.end();
    assert_eq!(f.said(), [Said::Closed]);
    let mut f = Fixture::new();
    f.feed("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe");
    f.end();
    assert_eq!(
        f.said(),
        [
            head("POST /b"),
            Said::Body(b"he".to_vec()),
            Said::Refused(400)
        ]
    );
}

#[test]
fn slow_clients_run_out_of_time() {
    let mut f = Fixture::new();
    assert_eq!(f.expiry_after(60), None);
    assert_eq!(f.expiry_after(60), Some(Expiry::Close), "idle");

    let mut f = Fixture::new();
    f.feed("GET / HT");
    f.said();
    assert_eq!(f.expiry_after(9), None);
    f.feed("TP");
    f.said();
    assert_eq!(
        f.expiry_after(2),
        Some(Expiry::Refuse(Refusal::HeadTimeout)),
        "each byte buys no time"
    );
    f.connection.expire();
    f.connection
        .respond(&mut f.shared, 408, &[], "", Vec::new())
        .unwrap();
    assert!(f.wrote().contains("408 Request Timeout\r\n"));

    let mut f = Fixture::new();
    f.feed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 500\r\n\r\n");
    f.said();
    assert_eq!(
        f.expiry_after(21),
        Some(Expiry::Refuse(Refusal::BodyTimeout))
    );
    // Held back by us, the client has all the time.
    f.connection.hold_body();
    assert_eq!(f.expiry_after(1000), None);
    f.said();
    for _ in 0..2 {
        f.feed("x");
        f.said();
        assert_eq!(f.expiry_after(10), None);
    }
    f.feed("x");
    f.said();
    let drip = f.expiry_after(10);
    assert_eq!(
        drip,
        Some(Expiry::Refuse(Refusal::BodyTimeout)),
        "a drip is not progress"
    );
}

#[test]
fn a_client_that_does_not_take_the_response_is_reset() {
    let mut f = Fixture::new();
    f.feed(GET);
    f.said();
    f.script().takes = 10;
    f.respond("hello");
    assert_eq!(f.expiry_after(29), None);
    assert_eq!(f.expiry_after(2), Some(Expiry::Abort));
    f.connection.abort(&mut f.shared);
    assert!(f.script().reset && f.connection.is_closed());
}

#[test]
fn a_client_that_is_gone_ends_the_connection() {
    let mut f = Fixture::new();
    f.feed(GET);
    f.said();
    f.script().broken = true;
    f.respond("hello");
    assert!(f.connection.is_closed());
    // A response that was begun may go on without harm.
    let mut f = Fixture::new();
    f.feed(GET);
    f.said();
    f.connection
        .begin_stream(&mut f.shared, 200, &[], "id")
        .unwrap();
    f.script().broken = true;
    f.connection.stream(&mut f.shared, b"x".to_vec());
    f.connection.stream(&mut f.shared, b"x".to_vec());
    f.connection.end_stream(&mut f.shared);
    assert!(f.connection.is_closed());
}

#[test]
fn draining_ends_every_connection_with_its_response() {
    let mut f = Fixture::new();
    f.feed(GET);
    f.said();
    f.shared.draining = true;
    f.respond("x");
    assert!(f.wrote().contains("Connection: close\r\n"));
    assert!(f.connection.is_closed());
}
