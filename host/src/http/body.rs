//! Request bodies: an incremental decoder for both framings (RFC 9112 sections 6 and 7).
//!
//! The decoder holds no bytes: it says which part of its input is body and how much of the input it is done with.

use super::head::Framing;
use super::refusal::Refusal;
use super::{
    CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX, is_field_byte,
    is_token_byte,
};
use std::ops::Range;

/// What a step of decoding found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are dealt with, the body bytes in `body` included.
    pub consumed: usize,
    /// The part of the input that is body; may be empty.
    pub body: Range<usize>,
}

/// Decodes one request's body.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    /// Body bytes that may still come.
    allowance: u64,
    limit_bytes: u64,
    extension_bytes: usize,
}

/// Chunked bodies go Size -> (Extension ->) SizeEnd -> Data -> DataCr -> DataEnd -> Size, and after the chunk of size 0
/// SizeEnd -> Trailer -> Done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of a body of known length are missing.
    Length(u64),
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
        bytes: usize,
    },
    SizeEnd {
        size: u64,
    },
    Data(u64),
    DataCr,
    DataEnd,
    Trailer(Trailer, usize),
    Done,
}

/// Where in the trailer section the decoder is. Trailer fields are checked for form and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trailer {
    LineStart,
    Name,
    Value,
    LineEnd,
    End,
}

impl BodyDecoder {
    /// A decoder for a body framed like this; more than `limit_bytes` of it are refused.
    pub fn new(framing: Framing, limit_bytes: u64) -> Result<BodyDecoder, Refusal> {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) if length > limit_bytes => {
                return Err(Refusal::BodyTooLarge { limit_bytes });
            }
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        Ok(BodyDecoder {
            state,
            allowance: limit_bytes,
            limit_bytes,
            extension_bytes: 0,
        })
    }

    /// Whether the whole body was seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Looks at the next bytes of the connection, up to the end of one piece of body. Nothing is consumed once the
    /// body is done; otherwise a non-empty input always is, in part at least.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, Refusal> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                State::Done => break,
                State::Length(missing) => {
                    let bytes = take(missing, input.len() - at);
                    let left = missing - bytes as u64;
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Length(left)
                    };
                    return Ok(Decoded {
                        consumed: at + bytes,
                        body: at..at + bytes,
                    });
                }
                State::Data(missing) => {
                    let bytes = take(missing, input.len() - at);
                    let left = missing - bytes as u64;
                    self.state = if left == 0 {
                        State::DataCr
                    } else {
                        State::Data(left)
                    };
                    return Ok(Decoded {
                        consumed: at + bytes,
                        body: at..at + bytes,
                    });
                }
                _ => {
                    self.framing_byte(input[at])?;
                    at += 1;
                }
            }
        }
        Ok(Decoded {
            consumed: at,
            body: at..at,
        })
    }

    fn framing_byte(&mut self, byte: u8) -> Result<(), Refusal> {
        let malformed = |what| Err(Refusal::MalformedChunk(what));
        self.state = match self.state {
            State::Size { size, digits } => match (byte, digits) {
                (b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F', 0..=15) => State::Size {
                    size: size << 4 | u64::from(hex_digit(byte)),
                    digits: digits + 1,
                },
                (b';', 1..) => State::Extension { size, bytes: 0 },
                (b'\r', 1..) => State::SizeEnd { size },
                _ => return malformed("a chunk's size is not a hexadecimal number"),
            },
            State::Extension { size, bytes } => match byte {
                b'\r' => State::SizeEnd { size },
                _ if !is_field_byte(byte) => {
                    return malformed("a chunk extension holds a control byte");
                }
                _ => {
                    self.extension_bytes += 1;
                    if bytes >= CHUNK_LINE_BYTES_MAX
                        || self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX
                    {
                        return malformed("the chunk extensions are too long");
                    }
                    State::Extension {
                        size,
                        bytes: bytes + 1,
                    }
                }
            },
            State::SizeEnd { size } => match (byte, size) {
                (b'\n', 0) => State::Trailer(Trailer::LineStart, 0),
                (b'\n', _) => {
                    let Some(allowance) = self.allowance.checked_sub(size) else {
                        return Err(Refusal::BodyTooLarge {
                            limit_bytes: self.limit_bytes,
                        });
                    };
                    self.allowance = allowance;
                    State::Data(size)
                }
                _ => return malformed("a chunk's size does not end in CR LF"),
            },
            State::DataCr if byte == b'\r' => State::DataEnd,
            State::DataEnd if byte == b'\n' => State::Size { size: 0, digits: 0 },
            State::DataCr | State::DataEnd => {
                return malformed("a chunk is not followed by CR LF");
            }
            State::Trailer(place, bytes) => {
                if bytes >= TRAILER_BYTES_MAX {
                    return malformed("the trailer section is too long");
                }
                match trailer_byte(place, byte) {
                    Some(Trailer::End) if place == Trailer::End => State::Done,
                    Some(next) => State::Trailer(next, bytes + 1),
                    None => return malformed("a trailer field is malformed"),
                }
            }
            State::Length(_) | State::Data(_) | State::Done => {
                unreachable!("decode() handles body bytes and the end itself")
            }
        };
        Ok(())
    }
}

/// The next place in the trailer section; `End` after `End` is the end of the body.
fn trailer_byte(place: Trailer, byte: u8) -> Option<Trailer> {
    match (place, byte) {
        (Trailer::LineStart, b'\r') => Some(Trailer::End),
        (Trailer::LineStart, _) if is_token_byte(byte) => Some(Trailer::Name),
        (Trailer::Name, b':') => Some(Trailer::Value),
        (Trailer::Name, _) if is_token_byte(byte) => Some(Trailer::Name),
        (Trailer::Value, b'\r') => Some(Trailer::LineEnd),
        (Trailer::Value, _) if is_field_byte(byte) => Some(Trailer::Value),
        (Trailer::LineEnd, b'\n') => Some(Trailer::LineStart),
        (Trailer::End, b'\n') => Some(Trailer::End),
        _ => None,
    }
}

fn take(missing: u64, available: usize) -> usize {
    usize::try_from(missing)
        .unwrap_or(usize::MAX)
        .min(available)
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `input` given in pieces of `piece` bytes: the body, and how many bytes belonged to it on the wire.
    fn decode(
        framing: Framing,
        limit: u64,
        input: &[u8],
        piece: usize,
    ) -> Result<(Vec<u8>, usize, bool), Refusal> {
        let mut decoder = BodyDecoder::new(framing, limit)?;
        let mut body = Vec::new();
        let mut consumed = 0;
        'pieces: for piece in input.chunks(piece) {
            let mut rest = piece;
            while !rest.is_empty() {
                if decoder.is_done() {
                    break 'pieces;
                }
                let decoded = decoder.decode(rest)?;
                assert!(decoded.consumed > 0, "no progress");
                body.extend_from_slice(&rest[decoded.body.clone()]);
                consumed += decoded.consumed;
                rest = &rest[decoded.consumed..];
            }
        }
        Ok((body, consumed, decoder.is_done()))
    }

    fn chunked(input: &[u8]) -> Result<(Vec<u8>, usize, bool), Refusal> {
        let whole = decode(Framing::Chunked, 1 << 20, input, usize::MAX);
        for piece in 1..8 {
            assert_eq!(
                decode(Framing::Chunked, 1 << 20, input, piece),
                whole,
                "in pieces of {piece}"
            );
        }
        whole
    }

    #[test]
    fn a_length_ends_exactly_there() {
        let all = decode(Framing::Length(5), 10, b"helloGET /", 3).unwrap();
        assert_eq!(all, (b"hello".to_vec(), 5, true));
        assert!(!decode(Framing::Length(5), 10, b"hell", 4).unwrap().2);
        assert_eq!(
            decode(Framing::Length(0), 10, b"GET", 4).unwrap(),
            (vec![], 0, true)
        );
        let refused = decode(Framing::Length(11), 10, b"", 1);
        assert_eq!(refused, Err(Refusal::BodyTooLarge { limit_bytes: 10 }));
    }

    #[test]
    fn chunks_are_joined_and_what_follows_is_left() {
        let input = b"5\r\nhello\r\n1;a=\"b\"\r\n \r\n0005\r\nworld\r\n0\r\n\r\nGET / HTTP/1.1";
        let (body, consumed, done) = chunked(input).unwrap();
        assert_eq!(body, b"hello world");
        assert!(done);
        assert_eq!(&input[consumed..], b"GET / HTTP/1.1");
    }

    #[test]
    fn trailers_are_skipped() {
        let input = b"1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n";
        let (body, consumed, done) = chunked(input).unwrap();
        assert_eq!((body, consumed, done), (b"x".to_vec(), input.len(), true));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for input in [
            &b"\r\n"[..],
            b";a\r\n",
            b"x\r\n",
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-5\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\rhello",
            b"5\r\nhelloX",
            b"5\r\nhello\n",
            b"5\r\nhello\rX",
            b"5;a\nb\r\nhello\r\n",
            b"5;a\0\r\nhello\r\n",
            b"10000000000000005\r\nhello\r\n",
            b"0\r\n\n",
            b"0\r\n X: y\r\n\r\n",
            b"0\r\nX : y\r\n\r\n",
            b"0\r\nX\r\n\r\n",
            b"0\r\nX: a\nY: b\r\n\r\n",
            b"0\r\nX: a\rb\r\n\r\n",
            b"0\r\n\rX",
        ] {
            let result = chunked(input);
            assert!(
                matches!(result, Err(Refusal::MalformedChunk(_))),
                "{:?} gave {result:?}",
                String::from_utf8_lossy(input)
            );
        }
    }

    #[test]
    fn a_chunk_size_that_overflows_the_limit_is_refused_before_its_data() {
        let refused = Err(Refusal::BodyTooLarge { limit_bytes: 8 });
        assert_eq!(decode(Framing::Chunked, 8, b"9\r\n", 1), refused);
        assert_eq!(
            decode(Framing::Chunked, 8, b"ffffffffffffffff\r\n", 1),
            refused
        );
        assert_eq!(
            decode(Framing::Chunked, 8, b"8\r\n12345678\r\n1\r\n", 1),
            refused
        );
    }

    #[test]
    fn endless_extensions_and_trailers_are_refused() {
        let mut input = b"5;".to_vec();
        input.resize(CHUNK_LINE_BYTES_MAX + 10, b'a');
        assert!(decode(Framing::Chunked, 8, &input, 100).is_err());
        let line = [&b"1;"[..], &[b'a'; 200], b"\r\nx\r\n"].concat();
        assert!(decode(Framing::Chunked, 1 << 20, &line.repeat(100), 100).is_err());
        let input = [
            &b"0\r\n"[..],
            &b"A: b\r\n".repeat(TRAILER_BYTES_MAX / 6 + 1),
        ]
        .concat();
        assert!(decode(Framing::Chunked, 8, &input, 100).is_err());
    }
}
