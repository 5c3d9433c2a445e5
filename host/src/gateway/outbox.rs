//! Bytes of a response that the socket has not taken yet.

use super::transport::Transport;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};

/// Segments gathered into one write.
const SEGMENTS_MAX: usize = 16;

/// What is still to be written, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    segments: VecDeque<Vec<u8>>,
    /// How much of the first segment is written.
    written: usize,
    bytes: usize,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Adds a segment, of which the first `written` bytes are written already.
    pub fn push(&mut self, segment: Vec<u8>, written: usize) {
        debug_assert!(
            written == 0 || self.segments.is_empty(),
            "only a first segment is begun"
        );
        if written < segment.len() {
            self.bytes += segment.len() - written;
            if self.segments.is_empty() {
                self.written = written;
            }
            self.segments.push_back(segment);
        }
    }

    /// Writes what the socket takes; says how much that was.
    pub fn write(&mut self, transport: &mut impl Transport) -> io::Result<usize> {
        let mut total = 0;
        while !self.is_empty() {
            let mut gathered = [IoSlice::new(&[]); SEGMENTS_MAX];
            let mut count = 0;
            for (place, segment) in gathered.iter_mut().zip(&self.segments) {
                let start = if count == 0 { self.written } else { 0 };
                *place = IoSlice::new(&segment[start..]);
                count += 1;
            }
            match transport.write(&gathered[..count]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    total += bytes;
                    self.advance(bytes);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn advance(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while let Some(first) = self.segments.front() {
            let left = first.len() - self.written;
            if bytes < left {
                self.written += bytes;
                return;
            }
            bytes -= left;
            self.written = 0;
            self.segments.pop_front();
        }
        // A connection that has nothing to write holds no memory for it.
        self.segments = VecDeque::new();
    }
}
