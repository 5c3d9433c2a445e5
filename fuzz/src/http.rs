//! HTTP requests: whatever the bytes, nothing panics, what is read is bounded, and how the bytes are split into reads changes
//! nothing of what they say.
//!
//! Inputs are the raw bytes of a connection, or requests put together from the pieces that matter to the protocol, a few bytes of
//! which are then changed.

use crate::modules::step;
use crate::random::Random;
use crate::{Canary, Finding, Outcome, Verdict, finding};
use arbitrary::Unstructured;
use dormouse_host::gateway::{Connection, READ_BYTES, Received, Shared, Timeouts, Transport};
use dormouse_host::http::{BodyDecoder, Framing, HEAD_BYTES_MAX, Refusal, TRAILER_BYTES_MAX, head};
use std::io::{self, ErrorKind, IoSlice};

const BODY_BYTES_MAX: u64 = 100_000;
/// What may be read and not told of: a read, with a head before it or what frames a body.
const UNTOLD_BYTES_MAX: usize = 2 * READ_BYTES + HEAD_BYTES_MAX + TRAILER_BYTES_MAX;

pub fn check(u: &mut Unstructured<'_>, random: &mut Random, canary: Canary) -> Outcome {
    let bytes = match random.chance(3) {
        true => u.bytes(u.len()).expect("what is left").to_vec(),
        false => requests(u, random),
    };
    if bytes.is_empty() {
        return Ok(Verdict::NoCase);
    }
    let checked = heads(&bytes, random)?
        + bodies(&bytes, random, canary)?
        + connections(&bytes, random, canary)?;
    Ok(Verdict::Checked(checked))
}

/// Requests, one after the other, of pieces that a parser has to tell apart.
fn requests(u: &mut Unstructured<'_>, random: &mut Random) -> Vec<u8> {
    const METHODS: [&str; 8] = [
        "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "get",
    ];
    const TARGETS: [&str; 9] = [
        "/",
        "/f/a?b=c",
        "*",
        "http://h/f",
        "https://h:1?q",
        "/%41%zz",
        "/a#b",
        "//",
        "HTTP://h",
    ];
    const VERSIONS: [&str; 6] = [
        "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0",
    ];
    const FIELDS: [&str; 20] = [
        "Host: h",
        "Host: h",
        "Host: h",
        "Host: h:80",
        "Host: a b",
        "Connection: close",
        "Connection: keep-alive, x",
        "Expect: 100-continue",
        "Expect: x",
        "Content-Length: 5",
        "Content-Length: 0005",
        "Content-Length: +5",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: \u{b}chunked",
        "X: y",
        "X : y",
        " folded",
    ];
    const ENDS: [&str; 12] = [
        "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r",
        "\r\r\n",
    ];
    const BODIES: [&str; 9] = [
        "hello",
        "5\r\nhello\r\n0\r\n\r\n",
        "0\r\n\r\n",
        "1;a=b\r\nx\r\n0\r\nT: v\r\n\r\n",
        "5\r\nhelloX",
        "fffff\r\n",
        "1\r\na\r\n2\r\nbc\r\n00\r\n\r\n",
        "-1\r\n",
        "",
    ];
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(4) {
        step(u, random);
        let mut line = |text: &str, random: &mut Random| {
            bytes.extend(text.as_bytes());
            let end = if random.chance(6) {
                random.pick(&ENDS)
            } else {
                "\r\n"
            };
            bytes.extend(end.as_bytes());
        };
        let target = random.pick(&TARGETS).to_string();
        let long = if random.chance(40) {
            "a".repeat(random.below(9000) as usize)
        } else {
            String::new()
        };
        let (method, version) = (random.pick(&METHODS), random.pick(&VERSIONS));
        line(&format!("{method} {target}{long} {version}"), random);
        if !random.chance(5) {
            line("Host: h", random);
        }
        for _ in 0..random.below(4) {
            let field = *random.pick(&FIELDS);
            line(field, random);
        }
        if random.chance(30) {
            for _ in 0..random.below(120) {
                line(
                    "Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                    random,
                );
            }
        }
        let framing = random.below(4);
        match framing {
            0 => line("Content-Length: 5", random),
            1 => line("Transfer-Encoding: chunked", random),
            2 if random.chance(5) => line("Content-Length: 90000", random),
            _ => {}
        }
        line("", random);
        match (framing, random.chance(3)) {
            (0, false) => bytes.extend(b"hello"),
            (1, false) => {
                for _ in 0..random.below(4) {
                    let length = random_length(random);
                    let chunk = random.bytes(length);
                    bytes.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                    if !chunk.is_empty() {
                        bytes.extend(chunk);
                        bytes.extend(b"\r\n");
                    }
                }
                bytes.extend(b"0\r\n\r\n");
            }
            (2, false) => bytes.extend(random.bytes(90_000)),
            (_, true) => bytes.extend(random.pick(&BODIES).as_bytes()),
            _ => {}
        }
    }
    // The input's own bytes, each at a place of its own.
    while u.len() >= 3 && !bytes.is_empty() {
        let (place, byte) = u.arbitrary::<(u16, u8)>().unwrap_or_default();
        let at = usize::from(place) % bytes.len();
        match byte & 3 {
            0 => bytes[at] = byte >> 2,
            1 => bytes.insert(at, byte >> 1),
            2 => drop(bytes.remove(at)),
            _ => bytes[at] ^= 1 << (byte >> 5),
        }
        if random.chance(3) {
            break;
        }
    }
    bytes
}

fn random_length(random: &mut Random) -> usize {
    match random.below(6) {
        0 => random.below(40_000) as usize,
        _ => random.below(20) as usize,
    }
}

/// A head, once found complete, is the same whatever follows it, and never longer than what is there.
fn heads(bytes: &[u8], random: &mut Random) -> Result<usize, Finding> {
    let parse = |bytes: &[u8]| {
        let mut storage = head::header_storage();
        head::parse(bytes, &mut storage)
            .map(|parsed| parsed.map(|head| (format!("{head:?}"), head.bytes)))
    };
    let whole = parse(bytes);
    if let Ok(Some((described, length))) = &whole {
        if *length > bytes.len() || *length > HEAD_BYTES_MAX {
            return Err(finding!("a head of {length} bytes in {}", bytes.len()));
        }
        let alone = parse(&bytes[..*length]);
        if alone != Ok(Some((described.clone(), *length))) {
            return Err(finding!(
                "a head alone is {alone:?}, with more after it {described}"
            ));
        }
        for _ in 0..8 {
            let cut = random.below(*length as u64) as usize;
            // What is cut off is incomplete; that it will be refused may be seen by then.
            if let Ok(Some(head)) = parse(&bytes[..cut]) {
                return Err(finding!(
                    "{cut} of {length} bytes of a head are taken for one: {head:?}"
                ));
            }
        }
    }
    Ok(1)
}

type Decoded = (Vec<u8>, usize, bool, Option<Refusal>);

/// A body is the same in pieces of every size.
fn bodies(bytes: &[u8], random: &mut Random, canary: Canary) -> Result<usize, Finding> {
    for framing in [Framing::Chunked, Framing::Length(random.below(300))] {
        let limit = if random.chance(2) {
            BODY_BYTES_MAX
        } else {
            random.below(40)
        };
        let whole = body(bytes, framing, limit, || usize::MAX)?;
        let mut pieces = random.clone();
        let (sizes, missing) = (1 + random.below(40), usize::from(canary.is_present()));
        let split = body(&bytes[missing..], framing, limit, || {
            1 + pieces.below(sizes) as usize
        })?;
        if whole != split {
            return Err(finding!(
                "a body is {whole:?} at once and {split:?} in pieces"
            ));
        }
    }
    Ok(2)
}

fn body(
    bytes: &[u8],
    framing: Framing,
    limit: u64,
    mut piece: impl FnMut() -> usize,
) -> Result<Decoded, Finding> {
    let mut decoder = match BodyDecoder::new(framing, limit) {
        Ok(decoder) => decoder,
        Err(refusal) => return Ok((Vec::new(), 0, false, Some(refusal))),
    };
    let (mut body, mut at) = (Vec::new(), 0);
    while at < bytes.len() && !decoder.is_done() {
        let end = at.saturating_add(piece()).min(bytes.len());
        while at < end && !decoder.is_done() {
            let input = &bytes[at..end];
            match decoder.decode(input) {
                Err(refusal) => return Ok((body, 0, false, Some(refusal))),
                Ok(decoded) => {
                    let within =
                        decoded.body.end <= decoded.consumed && decoded.consumed <= input.len();
                    if decoded.consumed == 0 || !within {
                        return Err(finding!(
                            "of {} bytes a decoder says {decoded:?}",
                            input.len()
                        ));
                    }
                    body.extend_from_slice(&input[decoded.body]);
                    at += decoded.consumed;
                }
            }
        }
    }
    if body.len() as u64 > limit {
        return Err(finding!(
            "a body of {} bytes, {limit} are allowed",
            body.len()
        ));
    }
    Ok((body, at, decoder.is_done(), None))
}

/// A socket that gives what it was fed, and takes everything.
#[derive(Debug, Default)]
struct Script {
    incoming: Vec<u8>,
    at: usize,
    read_max: usize,
    ended: bool,
    outgoing: Vec<u8>,
}

impl Transport for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = &self.incoming[self.at..];
        if left.is_empty() {
            return match self.ended {
                true => Ok(0),
                false => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let bytes = left.len().min(buffer.len()).min(self.read_max);
        buffer[..bytes].copy_from_slice(&left[..bytes]);
        self.at += bytes;
        Ok(bytes)
    }

    fn write(&mut self, segments: &[IoSlice<'_>]) -> io::Result<usize> {
        segments
            .iter()
            .for_each(|segment| self.outgoing.extend_from_slice(segment));
        Ok(segments.iter().map(|segment| segment.len()).sum())
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a connection says; pieces of a body are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Head(String),
    Body(Vec<u8>),
    End,
    Refused(Refusal),
    Closed,
}

/// A connection says the same however its bytes arrive.
fn connections(bytes: &[u8], random: &mut Random, canary: Canary) -> Result<usize, Finding> {
    let whole = converse(bytes, &mut || usize::MAX)?;
    for sizes in [2, 1 + random.below(200), 1 + random.below(5000)] {
        let missing = usize::from(canary.is_present());
        let mut split = random.clone();
        let pieces = converse(&bytes[missing..], &mut || 1 + split.below(sizes) as usize)?;
        if !agree(&whole, &pieces) {
            return Err(finding!(
                "at once a connection says {:?}, in pieces {:?}",
                shorten(&whole),
                shorten(&pieces)
            ));
        }
    }
    Ok(3)
}

/// Whether two conversations are about the same requests.
///
/// A head that is malformed is refused when it is looked at, which is when it may be complete. That the client closes before it is, or what
/// is found wrong first, depends on how much is there to be looked at: both end the connection without a request.
fn agree(one: &[Said], other: &[Said]) -> bool {
    let refused = |said: &Said| matches!(said, Said::Refused(_) | Said::Closed);
    let told = |conversation: &[Said]| {
        let end = conversation.iter().position(refused);
        end.unwrap_or(conversation.len())
    };
    let (first, second) = (told(one), told(other));
    one[..first] == other[..second] && one[first..].is_empty() == other[second..].is_empty()
}

fn shorten(conversation: &[Said]) -> String {
    let mut text = format!("{conversation:?}");
    if text.len() > 2000 {
        text.truncate(text.floor_char_boundary(2000));
        text.push_str("...");
    }
    text
}

fn converse(bytes: &[u8], piece: &mut dyn FnMut() -> usize) -> Result<Vec<Said>, Finding> {
    let mut shared = Shared::new(Timeouts::default(), 0);
    let script = Script {
        read_max: usize::MAX,
        ..Script::default()
    };
    let mut connection = Connection::new(script, BODY_BYTES_MAX, 0);
    let (mut said, mut at, mut told_at) = (Vec::new(), 0, 0);
    loop {
        if at < bytes.len() {
            let end = at.saturating_add(piece()).min(bytes.len());
            connection
                .transport_mut()
                .incoming
                .extend_from_slice(&bytes[at..end]);
            connection.set_readable(false);
            at = end;
        } else if connection.transport().ended {
            return Ok(said);
        } else {
            connection.transport_mut().ended = true;
            connection.set_readable(true);
        }
        // Every step reads, says something or ends the loop.
        for _ in 0..bytes.len() * 4 + 100 {
            let received = connection.receive(&mut shared, |head| {
                format!(
                    "{} {} {:?} {}",
                    head.method, head.raw_target, head.framing, head.keep_alive
                )
            });
            let mut answer = None;
            match received {
                Received::Nothing => {
                    if connection.has_more() {
                        continue;
                    }
                    break;
                }
                Received::Head(head) => said.push(Said::Head(head)),
                Received::Body(bytes) => match said.last_mut() {
                    Some(Said::Body(body)) => body.extend_from_slice(bytes),
                    _ => said.push(Said::Body(bytes.to_vec())),
                },
                Received::BodyEnd => {
                    said.push(Said::End);
                    answer = Some(200);
                }
                Received::Refused(refusal) => {
                    said.push(Said::Refused(refusal));
                    answer = Some(refusal.status());
                }
                Received::Closed => {
                    said.push(Said::Closed);
                    return Ok(said);
                }
            }
            let read = connection.transport().at;
            if read - told_at > UNTOLD_BYTES_MAX {
                return Err(finding!(
                    "{} bytes were read and nothing said",
                    read - told_at
                ));
            }
            told_at = read;
            if let Some(status) = answer {
                connection
                    .respond(&mut shared, status, &[], "id", b"body".to_vec())
                    .map_err(|error| finding!("a plain response is refused: {error:?}"))?;
            }
        }
    }
}
