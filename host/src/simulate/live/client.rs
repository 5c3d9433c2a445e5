//! Calls at given moments, over HTTP: an open loop.
//!
//! A call is sent when its moment has come, however many are still under way, and its latency counts from that moment and
//! not from when it could be sent: a server (or this client) that falls behind shows in the figures of all that had to wait
//! for it ("coordinated omission", G. Tene, "How NOT to Measure Latency", 2013).
//!
//! One thread, which sleeps between the moments: one that did not would take a processor from the server.

use crate::alarm::Alarm;
use crate::simulate::latency::Latency;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// No connection has this number.
const ALARM: Token = Token(usize::MAX);
/// The largest head of a response.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 32;
/// So long after the last answer should have come, those that are missing are given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A call to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    pub at_ns: u64,
    pub function: u32,
    /// How long the guest is to wait.
    pub run_us: u64,
}

/// What came of it all.
#[derive(Debug, Default)]
pub struct Measured {
    /// From the moment a call should have been sent to the end of its answer.
    pub response: Latency,
    /// How much later calls were sent.
    pub late: Latency,
    pub answered: u64,
    /// Answers other than 200, and connections that broke.
    pub failed: u64,
    /// The first of them.
    pub failure: Option<String>,
}

/// Why the calls cannot be made.
#[derive(Debug)]
pub enum ClientError {
    System(io::Error),
    Connect(SocketAddr, io::Error),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::System(error) => write!(f, "the network cannot be used: {error}"),
            ClientError::Connect(address, error) => {
                write!(f, "{address} takes no connection: {error}")
            }
        }
    }
}

impl std::error::Error for ClientError {}

struct Connection {
    stream: TcpStream,
    /// What is still to be sent, and how much of it was.
    output: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    /// When the call under way should have been sent; `None` if there is none.
    scheduled_ns: Option<u64>,
}

/// What a connection has to say after an event.
enum Step {
    Waits,
    Answered(u16),
    Broken(String),
}

/// A client of one server.
pub struct Client {
    address: SocketAddr,
    poll: Poll,
    alarm: Alarm,
    connections: Vec<Option<Connection>>,
    /// Connections without a call, the one used last at the end.
    idle: Vec<usize>,
    free: Vec<usize>,
    under_way: u64,
}

impl Client {
    pub fn new(address: SocketAddr) -> Result<Client, ClientError> {
        let poll = Poll::new().map_err(ClientError::System)?;
        let alarm = Alarm::new(poll.registry(), ALARM).map_err(ClientError::System)?;
        Ok(Client {
            address,
            poll,
            alarm,
            connections: Vec::new(),
            idle: Vec::new(),
            free: Vec::new(),
            under_way: 0,
        })
    }

    /// Makes the calls, which are in the order of their moments; `name` is what functions are called there.
    pub fn run(
        &mut self,
        calls: &[Planned],
        name: impl Fn(u32) -> String,
    ) -> Result<Measured, ClientError> {
        let mut measured = Measured::default();
        let mut events = Events::with_capacity(1024);
        let epoch = Instant::now();
        let now_ns = || epoch.elapsed().as_nanos() as u64;
        let mut next = 0;
        let end_ns = |call: &Planned| call.at_ns.saturating_add(call.run_us.saturating_mul(1000));
        let last_ns = calls.iter().map(end_ns).max().unwrap_or(0);
        let patience_ns = last_ns.saturating_add(PATIENCE.as_nanos() as u64);
        while next < calls.len() || self.under_way > 0 {
            while let Some(call) = calls.get(next).filter(|call| call.at_ns <= now_ns()) {
                next += 1;
                measured.late.record(now_ns() - call.at_ns);
                self.send(call, &name(call.function), &mut measured)?;
            }
            let wait = match calls.get(next) {
                Some(call) => {
                    let left = Duration::from_nanos(call.at_ns.saturating_sub(now_ns()));
                    self.alarm.set(left).map_err(ClientError::System)?;
                    None
                }
                None => Some(PATIENCE),
            };
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ClientError::System(error)),
            }
            if now_ns() >= patience_ns {
                measured.fail(self.under_way, "no answer");
                self.under_way = 0;
                break;
            }
            for event in &events {
                self.on_event(event.token().0, now_ns(), &mut measured);
            }
        }
        Ok(measured)
    }

    fn send(
        &mut self,
        call: &Planned,
        name: &str,
        measured: &mut Measured,
    ) -> Result<(), ClientError> {
        let index = match self.idle.pop() {
            Some(index) => index,
            None => self.connect()?,
        };
        let Some(connection) = self.connections[index].as_mut() else {
            unreachable!("what is idle is connected");
        };
        connection.output.clear();
        connection.sent = 0;
        let _ = write!(
            connection.output,
            "GET /{name}?us={} HTTP/1.1\r\nHost: {}\r\n\r\n",
            call.run_us, self.address
        );
        connection.scheduled_ns = Some(call.at_ns);
        self.under_way += 1;
        if let Err(what) = connection.flush() {
            self.close(index, &what, measured);
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<usize, ClientError> {
        let failed = |error| ClientError::Connect(self.address, error);
        let mut stream = TcpStream::connect(self.address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let index = self.free.pop().unwrap_or(self.connections.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(index), interest)
            .map_err(failed)?;
        let connection = Connection {
            stream,
            output: Vec::new(),
            sent: 0,
            input: Vec::new(),
            scheduled_ns: None,
        };
        if index == self.connections.len() {
            self.connections.push(Some(connection));
        } else {
            self.connections[index] = Some(connection);
        }
        Ok(index)
    }

    fn on_event(&mut self, index: usize, now_ns: u64, measured: &mut Measured) {
        // Of a connection that was closed an event may still come.
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        match connection.step() {
            Step::Waits => {}
            Step::Answered(status) => {
                if let Some(scheduled_ns) = connection.scheduled_ns.take() {
                    measured.response.record(now_ns - scheduled_ns);
                    self.under_way -= 1;
                    self.idle.push(index);
                    match status {
                        200 => measured.answered += 1,
                        status => measured.fail(1, &format!("an answer with status {status}")),
                    }
                }
            }
            Step::Broken(what) => self.close(index, &what, measured),
        }
    }

    fn close(&mut self, index: usize, what: &str, measured: &mut Measured) {
        let Some(mut connection) = self.connections[index].take() else {
            return;
        };
        let _ = self.poll.registry().deregister(&mut connection.stream);
        self.idle.retain(|other| *other != index);
        self.free.push(index);
        if connection.scheduled_ns.is_some() {
            self.under_way -= 1;
            measured.fail(1, what);
        }
    }
}

impl Measured {
    fn fail(&mut self, count: u64, what: &str) {
        self.failed += count;
        self.failure.get_or_insert_with(|| what.to_owned());
    }
}

impl Connection {
    fn flush(&mut self) -> Result<(), String> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) => match error.kind() {
                    // It goes out when the connection can take it, or is there at all.
                    io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => return Ok(()),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error.to_string()),
                },
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Step {
        if let Ok(Some(error)) | Err(error) = self.stream.take_error() {
            return Step::Broken(error.to_string());
        }
        if let Err(what) = self.flush() {
            return Step::Broken(what);
        }
        let mut ended = false;
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(bytes) => self.input.extend_from_slice(&buffer[..bytes]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => break,
                    io::ErrorKind::Interrupted => {}
                    _ => return Step::Broken(error.to_string()),
                },
            }
        }
        match response(&self.input) {
            Ok(Some((status, bytes))) => {
                self.input.drain(..bytes);
                Step::Answered(status)
            }
            Ok(None) if ended => Step::Broken("the connection was closed".into()),
            Ok(None) => Step::Waits,
            Err(what) => Step::Broken(what),
        }
    }
}

/// The status and the length of the response that the bytes begin with, if all of it is there.
fn response(input: &[u8]) -> Result<Option<(u16, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let head_bytes = match head.parse(input) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("the answer's head does not end".into()),
        Err(error) => return Err(format!("an answer that is not HTTP: {error}")),
    };
    let length = head
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| {
            std::str::from_utf8(header.value)
                .ok()?
                .parse::<usize>()
                .ok()
        });
    let Some(length) = length else {
        return Err("an answer without a length".into());
    };
    let whole = head_bytes.saturating_add(length);
    Ok((input.len() >= whole).then_some((head.code.unwrap_or(0), whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_taken_when_they_are_whole() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP";
        for end in 0..whole.len() {
            let expected = (end >= 41).then_some((200, 41));
            assert_eq!(response(&whole[..end]), Ok(expected), "{end}");
        }
        assert!(response(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(response(b"SSH-2.0-OpenSSH\r\n").is_err());
    }

    #[test]
    fn a_server_that_stalls_is_late_for_all_that_had_to_wait() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Answers nobody until the fifth request is there, on whatever connections.
        let server = std::thread::spawn(move || {
            let mut streams: Vec<_> = (0..5).map(|_| listener.accept().unwrap().0).collect();
            for stream in &mut streams {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
            }
            for stream in &mut streams {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .unwrap();
            }
            streams
        });
        let calls: Vec<_> = (0..5)
            .map(|number| Planned {
                at_ns: number * 20_000_000,
                function: 0,
                run_us: 0,
            })
            .collect();
        let measured = Client::new(address)
            .unwrap()
            .run(&calls, |_| "f".into())
            .unwrap();
        assert_eq!((measured.answered, measured.failed), (5, 0));
        // The first waited for the last, which came 80 ms later.
        assert!(measured.response.summary().max >= 80_000.0);
        drop(server.join().unwrap());
    }

    #[test]
    fn what_breaks_is_counted_and_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let call = Planned {
            at_ns: 0,
            function: 0,
            run_us: 0,
        };
        let mut client = Client::new(address).unwrap();
        let measured = client.run(&[call], |_| "f".into()).unwrap();
        assert_eq!((measured.answered, measured.failed), (0, 1));
        assert!(measured.failure.is_some());
        server.join().unwrap();
    }
}
