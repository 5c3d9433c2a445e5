//! What a guest says on standard error, cut into lines that are safe to log.
//!
//! A guest must not be able to fill the log, to forge lines of it or to speak to the terminal that shows it:
//! lines are bounded, a call has a budget, bytes that are not UTF-8 are replaced and control characters escaped.

use std::fmt::Write;

/// The lines of one call.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    ready: Vec<String>,
    /// Bytes taken in so far, of [`Lines::CALL_BYTES_MAX`].
    taken_bytes: usize,
    dropped_bytes: u64,
}

impl Lines {
    /// A longer line is cut into several.
    pub const LINE_BYTES_MAX: usize = 4096;
    /// What one call may say; the rest is counted, not kept.
    pub const CALL_BYTES_MAX: usize = 64 << 10;

    /// Takes in bytes the guest wrote. Costs no more than the budget, however much it writes.
    pub fn push(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(Self::CALL_BYTES_MAX - self.taken_bytes);
        self.taken_bytes += kept;
        self.dropped_bytes += (bytes.len() - kept) as u64;
        for piece in bytes[..kept].split_inclusive(|&byte| byte == b'\n') {
            let (line, ended) = match piece.split_last() {
                Some((b'\n', line)) => (line, true),
                _ => (piece, false),
            };
            let mut rest = line;
            while self.partial.len() + rest.len() > Self::LINE_BYTES_MAX {
                let (head, tail) = rest.split_at(Self::LINE_BYTES_MAX - self.partial.len());
                self.partial.extend_from_slice(head);
                self.end_line();
                rest = tail;
            }
            self.partial.extend_from_slice(rest);
            if ended {
                self.end_line();
            }
        }
    }

    /// Takes the lines that are complete.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.ready)
    }

    /// The guest says no more: a last line without a line feed is complete too, and what was dropped is told.
    pub fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.end_line();
        }
        if self.dropped_bytes > 0 {
            let kept = Self::CALL_BYTES_MAX;
            let dropped = std::mem::take(&mut self.dropped_bytes);
            self.ready.push(format!(
                "({dropped} more bytes are not shown: a call may log {kept} bytes)"
            ));
        }
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.partial);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(&bytes);
        self.ready.push(printable(bytes));
    }
}

/// Bytes of a guest as text that can be shown: U+FFFD for what is not UTF-8, escapes for control characters and for
/// those that change the direction or the line of what follows.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        let layout = matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (character.is_control() && character != '\t') || layout {
            write!(line, "{}", character.escape_default()).expect("a String takes all text");
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_line_feeds_and_at_their_limit() {
        let mut lines = Lines::default();
        lines.push(b"one\ntw");
        lines.push(b"o\r\n\nlast");
        assert_eq!(lines.take_lines(), ["one", "two", ""]);
        lines.finish();
        assert_eq!(lines.take_lines(), ["last"]);
        lines.push(&vec![b'x'; Lines::LINE_BYTES_MAX + 1]);
        lines.finish();
        assert_eq!(
            lines
                .take_lines()
                .iter()
                .map(String::len)
                .collect::<Vec<_>>(),
            [4096, 1]
        );
    }

    #[test]
    fn terminal_escapes_and_forged_lines_are_defused() {
        let mut lines = Lines::default();
        lines.push(b"\x1b[31mred\rGET /forged 200\xff\0\n");
        assert_eq!(
            lines.take_lines(),
            ["\\u{1b}[31mred\\rGET /forged 200\u{fffd}\\u{0}"]
        );
    }

    #[test]
    fn a_flood_is_counted_and_not_kept() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.push(&[b'\n'; 1 << 16]);
        }
        lines.finish();
        let kept = lines.take_lines();
        assert_eq!(kept.len(), Lines::CALL_BYTES_MAX + 1);
        assert!(kept.last().unwrap().contains(&(99 << 16).to_string()));
    }
}
