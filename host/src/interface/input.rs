//! The body of a request on its way from the client to the guest.
//!
//! The gateway pushes what the client sent and stops reading from the client while the guest is behind
//! ([`Input::wants_more`]); the guest takes bytes out and is suspended while there are none. A chunk is kept as the gateway gave
//! it and freed when the guest has read it, so that a body is never held twice. An empty input owns no memory.

use std::collections::VecDeque;

/// Bytes that wait for a guest, and what is known of their end.
#[derive(Debug, Default)]
pub struct Input {
    chunks: VecDeque<Vec<u8>>,
    /// How much of the first chunk the guest has read.
    offset: usize,
    buffered: usize,
    end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// More may come.
    #[default]
    Open,
    /// The body is complete.
    Complete,
    /// The client went away or broke the protocol: the rest of the body will never come.
    BrokenOff,
}

/// What a guest gets that asks for input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes, at least one unless it asked for none.
    Bytes(usize),
    /// None now; more may come.
    Empty,
    End,
    BrokenOff,
}

impl Input {
    /// While fewer bytes than this wait for the guest, the gateway reads on from the client.
    pub const WINDOW_BYTES: usize = 64 << 10;

    /// Pieces shorter than this are joined, so that a body sent byte by byte does not take an allocation for each.
    const JOINED_BYTES: usize = 4 << 10;

    /// Adds bytes of the body.
    pub fn push(&mut self, bytes: impl Into<Vec<u8>>) {
        debug_assert_eq!(self.end, End::Open, "no body goes on after its end");
        let bytes = bytes.into();
        self.buffered += bytes.len();
        match self.chunks.back_mut() {
            _ if bytes.is_empty() => {}
            Some(last) if last.len().max(bytes.len()) < Self::JOINED_BYTES => {
                last.extend_from_slice(&bytes);
            }
            _ => self.chunks.push_back(bytes),
        }
    }

    /// The body is complete.
    pub fn end(&mut self) {
        if self.end == End::Open {
            self.end = End::Complete;
        }
    }

    /// The rest of the body will never come. What has arrived can still be read; the guest then sees an error, not the end.
    pub fn error(&mut self) {
        if self.end == End::Open {
            self.end = End::BrokenOff;
        }
    }

    /// Bytes the guest has not read yet.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    pub fn wants_more(&self) -> bool {
        self.end == End::Open && self.buffered < Self::WINDOW_BYTES
    }

    /// Whether a read would be answered at once.
    pub fn ready(&self) -> bool {
        self.buffered > 0 || self.end != End::Open
    }

    /// Copies out as many bytes as there are and fit.
    pub fn read(&mut self, into: &mut [u8]) -> Read {
        if self.buffered == 0 && !into.is_empty() {
            return match self.end {
                End::Open => Read::Empty,
                End::Complete => Read::End,
                End::BrokenOff => Read::BrokenOff,
            };
        }
        let mut copied = 0;
        while copied < into.len() {
            let Some(chunk) = self.chunks.front() else {
                break;
            };
            let rest = &chunk[self.offset..];
            let bytes = rest.len().min(into.len() - copied);
            into[copied..copied + bytes].copy_from_slice(&rest[..bytes]);
            copied += bytes;
            if bytes == rest.len() {
                self.chunks.pop_front();
                self.offset = 0;
            } else {
                self.offset += bytes;
            }
        }
        self.buffered -= copied;
        Read::Bytes(copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cross_chunks_and_end_once_all_is_read() {
        let mut input = Input::default();
        let mut buffer = [0; 4];
        assert_eq!(input.read(&mut buffer), Read::Empty);
        input.push(*b"abc");
        input.push(*b"");
        input.push(*b"defg");
        input.end();
        assert_eq!(input.read(&mut []), Read::Bytes(0));
        assert_eq!(input.read(&mut buffer), Read::Bytes(4));
        assert_eq!(&buffer, b"abcd");
        assert_eq!(input.buffered(), 3);
        assert_eq!(input.read(&mut buffer), Read::Bytes(3));
        assert_eq!(&buffer[..3], b"efg");
        assert_eq!(input.read(&mut buffer), Read::End);
        assert!(!input.wants_more());
    }

    #[test]
    fn a_body_sent_byte_by_byte_takes_few_chunks() {
        let mut input = Input::default();
        for index in 0..20_000u32 {
            input.push([index as u8]);
        }
        input.push(vec![7; Input::JOINED_BYTES]);
        assert!(input.chunks.len() <= 7, "{}", input.chunks.len());
        let mut byte = [0];
        for index in 0..20_000u32 {
            assert_eq!(input.read(&mut byte), Read::Bytes(1));
            assert_eq!(byte[0], index as u8);
        }
        assert_eq!(input.buffered(), Input::JOINED_BYTES);
    }

    #[test]
    fn a_body_broken_off_never_looks_complete() {
        let mut input = Input::default();
        input.push(*b"half");
        input.error();
        input.end();
        let mut buffer = [0; 8];
        assert_eq!(input.read(&mut buffer), Read::Bytes(4));
        assert_eq!(input.read(&mut buffer), Read::BrokenOff);
    }

    #[test]
    fn window_closes_while_the_guest_is_behind() {
        let mut input = Input::default();
        assert!(input.wants_more());
        input.push(vec![0; Input::WINDOW_BYTES]);
        assert!(!input.wants_more());
        input.read(&mut [0]);
        assert!(input.wants_more());
    }
}
