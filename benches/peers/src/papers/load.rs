//! Clients over loopback: one that asks and waits, and one that sends at a rate whatever comes back.

use anyhow::{Context, Result, bail, ensure};
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Nothing that is measured takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request's bytes.
pub fn request(method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The status and the length of a response that is in the buffer as a whole, with its head.
fn response(buffer: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&buffer[..head]).context("the head of a response is text")?;
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    let status: u16 = status.with_context(|| format!("no status in {text:?}"))?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.with_context(|| format!("no length in {text:?}"))?;
    let total = head + 4 + length;
    Ok((buffer.len() >= total).then_some((status, total)))
}

/// A connection that stays, and waits for each answer.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Connects to a server that is about to listen, as soon as it does.
    pub fn connect_soon(address: SocketAddr) -> Result<Client> {
        let begun = Instant::now();
        loop {
            match Client::connect(address) {
                Ok(client) => return Ok(client),
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_micros(100)),
            }
        }
    }

    /// The body of a response, which has to be a 200.
    pub fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        let mut chunk = [0; 16 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("the server has closed the connection"),
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                // The timer by which an engine in this process preempts its guests.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            if let Some((status, total)) = response(&self.buffer)? {
                ensure!(
                    status / 100 == 2,
                    "the server answered {}",
                    String::from_utf8_lossy(&self.buffer)
                );
                let head = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
                return Ok(self.buffer[head.map_or(0, |head| head + 4)..total].to_vec());
            }
        }
    }

    /// How long it takes from the request to the response.
    pub fn time(&mut self, request: &[u8]) -> Result<Duration> {
        let begin = Instant::now();
        self.ask(request)?;
        Ok(begin.elapsed())
    }
}

/// Durations in microseconds, sorted.
pub struct Latencies(Vec<f64>);

impl Latencies {
    pub fn new(mut us: Vec<f64>) -> Latencies {
        us.sort_by(f64::total_cmp);
        Latencies(us)
    }

    pub fn of(times: Vec<Duration>) -> Latencies {
        Latencies::new(times.iter().map(|time| time.as_secs_f64() * 1e6).collect())
    }

    /// What so many hundredths do not exceed.
    pub fn at(&self, hundredths: f64) -> f64 {
        let rank = (self.0.len() as f64 * hundredths / 100.0).ceil() as usize;
        self.0.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    }

    pub fn median(&self) -> f64 {
        self.at(50.0)
    }
}

/// What came of a rate.
pub struct Served {
    pub done: usize,
    pub done_per_second: f64,
    /// From when each request was due, not from when it could be sent.
    pub latencies: Latencies,
    /// Requests were not answered as fast as they came.
    pub saturated: bool,
}

struct Connection {
    stream: mio::net::TcpStream,
    due: Instant,
    buffer: Vec<u8>,
}

/// When the next request comes: exponentially distributed gaps, the same in every run.
struct Arrivals {
    state: u64,
    mean_s: f64,
}

impl Arrivals {
    fn gap(&mut self) -> Duration {
        // Knuth's MMIX generator.
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let part = ((self.state >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        Duration::from_secs_f64(-part.ln() * self.mean_s)
    }
}

/// Sends requests at times that are set ahead, for so long, over so many connections. A request that finds all of them
/// waiting is sent later and its latency counts from when it was due, so that a server that stalls does not thereby spare
/// itself requests (no coordinated omission).
pub fn open_loop(
    address: SocketAddr,
    request: &[u8],
    per_second: f64,
    lasting: Duration,
    connections: usize,
) -> Result<Served> {
    let mut poll = Poll::new()?;
    let mut idle = Vec::with_capacity(connections);
    let mut all = Vec::with_capacity(connections);
    let begin = Instant::now();
    for number in 0..connections {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(number), Interest::READABLE)?;
        all.push(Connection {
            stream,
            due: begin,
            buffer: Vec::with_capacity(1024),
        });
        idle.push(number);
    }
    let mut events = Events::with_capacity(connections);
    let mut arrivals = Arrivals {
        state: 1,
        mean_s: 1.0 / per_second,
    };
    let begin = Instant::now();
    let end = begin + lasting;
    let mut due = begin + arrivals.gap();
    let mut us = Vec::new();
    let mut saturated = false;
    loop {
        let now = Instant::now();
        while due <= now && due < end {
            let Some(number) = idle.pop() else {
                // A second behind: it will not catch up.
                saturated |= now - due > Duration::from_secs(1);
                break;
            };
            let connection = &mut all[number];
            connection.due = due;
            let written = connection.stream.write(request)?;
            ensure!(written == request.len(), "a small request goes out as one");
            due += arrivals.gap();
        }
        if saturated || (due >= end && idle.len() == connections) {
            break;
        }
        ensure!(now < end + PATIENCE, "the server does not answer any more");
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            let number = event.token().0;
            if finished(&mut all[number])? {
                us.push(all[number].due.elapsed().as_secs_f64() * 1e6);
                all[number].buffer.clear();
                idle.push(number);
            }
        }
    }
    let taken = begin.elapsed().max(lasting);
    Ok(Served {
        done: us.len(),
        done_per_second: us.len() as f64 / taken.as_secs_f64(),
        latencies: Latencies::new(us),
        saturated,
    })
}

/// Reads what there is. Whether it is the whole response.
fn finished(connection: &mut Connection) -> Result<bool> {
    let mut chunk = [0; 4096];
    loop {
        match connection.stream.read(&mut chunk) {
            Ok(0) => bail!("the server has closed a connection"),
            Ok(read) => connection.buffer.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    match response(&connection.buffer)? {
        None => Ok(false),
        Some((200, _)) => Ok(true),
        Some((status, _)) => bail!("the server answered {status} under load"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_whole_when_its_last_byte_is_there() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        for end in 0..bytes.len() {
            assert_eq!(response(&bytes[..end]).unwrap(), None);
        }
        assert_eq!(response(bytes).unwrap(), Some((200, bytes.len())));
    }

    #[test]
    fn quantiles_are_values_that_so_many_do_not_exceed() {
        let latencies = Latencies::new((1..=200).rev().map(f64::from).collect());
        assert_eq!([latencies.at(50.0), latencies.at(99.0)], [100.0, 198.0]);
        assert_eq!(latencies.at(100.0), 200.0);
    }

    /// A server that stalls once for long: all that came meanwhile must show it.
    #[test]
    fn a_stall_counts_for_all_requests_that_were_due_in_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut chunk = [0; 4096];
            for answered in 0.. {
                if stream.read(&mut chunk).unwrap_or(0) == 0 {
                    return;
                }
                if answered == 10 {
                    std::thread::sleep(Duration::from_millis(300));
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let request = request("GET", "/", b"");
        let lasting = Duration::from_secs(1);
        let served = open_loop(address, &request, 100.0, lasting, 1).unwrap();
        // Some thirty of a hundred were due in the stall, so a fifth at least waited for a tenth of a second and more.
        assert!(served.latencies.at(80.0) > 100_000.0);
    }
}
