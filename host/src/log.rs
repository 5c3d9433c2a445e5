//! The server's log: one line for every invocation, what guests say on standard error, and what the server has to say.
//!
//! Lines go to standard error. They are gathered and written when the loop has a moment, and never for longer than the
//! other side takes them: when whoever reads the log is too slow, lines are dropped and counted, and serving
//! goes on.
//!
//! Invariant: a line of the log is one line. Text that came from outside is quoted, with control characters
//! escaped, so that nobody can forge a line or speak to the terminal.
#![forbid(unsafe_code)]

use crate::http::date::civil_from_days;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// An invocation that has ended.
#[derive(Clone, Debug, Serialize)]
pub struct Access<'a> {
    pub function: &'a str,
    pub version: &'a str,
    pub method: &'a str,
    pub target: &'a str,
    /// What the client was told; 499 when it was gone before that.
    pub status: u16,
    /// Warm, cold or disk-cold; nothing when the invocation never started.
    pub start: Option<&'a str>,
    pub cpu_us: u64,
    pub wall_us: u64,
    pub peak_memory_bytes: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Why an invocation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// A word: `trap`, `cpu_limit`, `timeout`, ...
    pub kind: &'static str,
    pub message: String,
    /// Innermost function first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
}

/// Gathered lines beyond this are dropped.
const BUFFER_BYTES_MAX: usize = 1 << 20;
/// A pipe with room at all takes so much without blocking: PIPE_BUF, see pipe(7).
const PIPE_WRITE_BYTES: usize = 4096;
/// Writes in one turn of the loop.
const WRITES_MAX: usize = 64;

/// The log.
#[derive(Debug)]
pub struct Log {
    format: Format,
    least: Level,
    output: Option<Output>,
    buffer: Vec<u8>,
    dropped_lines: u64,
    unix_ms: u64,
}

#[derive(Debug)]
struct Output {
    fd: OwnedFd,
    /// Writing to a regular file does not wait for anybody.
    is_file: bool,
}

impl Log {
    /// A log to standard error.
    pub fn to_stderr(format: Format, least: Level) -> std::io::Result<Log> {
        let fd = std::io::stderr().as_fd().try_clone_to_owned()?;
        let is_file = FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::RegularFile;
        Ok(Log {
            output: Some(Output { fd, is_file }),
            ..Log::to_memory(format, least)
        })
    }

    /// A log that is only gathered.
    pub fn to_memory(format: Format, least: Level) -> Log {
        Log {
            format,
            least,
            output: None,
            buffer: Vec::new(),
            dropped_lines: 0,
            unix_ms: 0,
        }
    }

    /// The time that the next lines carry, in milliseconds since 1970.
    pub fn set_time(&mut self, unix_ms: u64) {
        self.unix_ms = unix_ms;
    }

    /// Says something of the server itself.
    pub fn server(&mut self, level: Level, message: &str) {
        if level < self.least {
            return;
        }
        #[derive(Serialize)]
        struct Entry<'a> {
            level: Level,
            message: &'a str,
        }
        self.line("server", &Entry { level, message }, |line| {
            line.push(' ');
            line.push_str(level.as_str());
            line.push(' ');
            escaped(message, line);
        });
    }

    /// Says what a guest wrote to its standard error.
    pub fn guest(&mut self, function: &str, id: &str, text: &str) {
        #[derive(Serialize)]
        struct Entry<'a> {
            function: &'a str,
            id: &'a str,
            text: &'a str,
        }
        self.line("guest", &Entry { function, id, text }, |line| {
            field("function", function, line);
            field("id", id, line);
            line.push_str(" | ");
            escaped(text, line);
        });
    }

    /// Says what became of an invocation.
    pub fn access(&mut self, access: &Access<'_>) {
        self.line("call", access, |line| {
            field("function", access.function, line);
            field("version", access.version, line);
            field("method", access.method, line);
            field("target", access.target, line);
            number("status", access.status.into(), line);
            field("start", access.start.unwrap_or("none"), line);
            number("cpu_us", access.cpu_us, line);
            number("wall_us", access.wall_us, line);
            number("peak_memory_bytes", access.peak_memory_bytes, line);
            number("bytes_in", access.bytes_in, line);
            number("bytes_out", access.bytes_out, line);
            field("id", access.id, line);
            if let Some(error) = &access.error {
                field("error", error.kind, line);
                field("message", &error.message, line);
                if !error.backtrace.is_empty() {
                    field("backtrace", &error.backtrace.join(" < "), line);
                }
            }
        });
    }

    fn line<T: Serialize>(
        &mut self,
        event: &'static str,
        entry: &T,
        text: impl FnOnce(&mut String),
    ) {
        if self.buffer.len() >= BUFFER_BYTES_MAX {
            self.dropped_lines += 1;
            return;
        }
        let mut line = String::with_capacity(256);
        match self.format {
            Format::Text => {
                timestamp(self.unix_ms, &mut line);
                line.push(' ');
                line.push_str(event);
                text(&mut line);
                self.buffer.extend_from_slice(line.as_bytes());
            }
            Format::Json => {
                #[derive(Serialize)]
                struct Line<'a, T> {
                    time: &'a str,
                    event: &'a str,
                    #[serde(flatten)]
                    entry: &'a T,
                }
                timestamp(self.unix_ms, &mut line);
                let whole = Line {
                    time: &line,
                    event,
                    entry,
                };
                serde_json::to_writer(&mut self.buffer, &whole)
                    .expect("plain data goes to memory as JSON");
            }
        }
        self.buffer.push(b'\n');
    }

    /// Whether lines wait to be written.
    pub fn is_pending(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Writes as much as the reader takes now.
    pub fn flush(&mut self) {
        let Some(output) = &mut self.output else {
            return;
        };
        let mut written = 0;
        for _ in 0..WRITES_MAX {
            if written == self.buffer.len() || !(output.is_file || output.takes_bytes()) {
                break;
            }
            let most = if output.is_file {
                usize::MAX
            } else {
                PIPE_WRITE_BYTES
            };
            let rest = &self.buffer[written..];
            match rustix::io::write(&output.fd, &rest[..rest.len().min(most)]) {
                Ok(bytes) => written += bytes,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => break,
                Err(_) => {
                    // Nobody reads the log any more, or the disk is full. Serving is more important.
                    written = self.buffer.len();
                    break;
                }
            }
        }
        self.buffer.drain(..written);
        if self.dropped_lines > 0 && self.buffer.is_empty() {
            let dropped = std::mem::take(&mut self.dropped_lines);
            self.server(
                Level::Warn,
                &format!("{dropped} lines of the log were dropped: its reader is too slow"),
            );
        }
    }

    /// Writes everything, waiting for the reader if need be: for the end of the process.
    pub fn finish(&mut self) {
        if let Some(output) = self.output.take() {
            let mut file = std::fs::File::from(output.fd);
            // There is nobody left to tell.
            let _ = file.write_all(&self.buffer);
            self.buffer.clear();
        }
    }

    /// The lines gathered so far.
    pub fn gathered(&self) -> &[u8] {
        &self.buffer
    }
}

impl Output {
    fn takes_bytes(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // An error or a hang-up counts as ready: the write then says what is wrong.
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

/// Makes ids for requests: unique, and not to be guessed by those who were not told one of this server's.
#[derive(Debug)]
pub struct RequestIds {
    prefix: [u8; 8],
    next: u64,
}

impl RequestIds {
    pub fn new() -> Result<RequestIds, rustix::io::Errno> {
        let mut prefix = [0; 8];
        rustix::rand::getrandom(&mut prefix, rustix::rand::GetRandomFlags::empty())?;
        Ok(RequestIds { prefix, next: 0 })
    }

    pub fn next_id(&mut self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let number = self.next;
        self.next += 1;
        let mut id = String::with_capacity(25);
        for byte in self.prefix {
            id.push(DIGITS[usize::from(byte >> 4)].into());
            id.push(DIGITS[usize::from(byte & 15)].into());
        }
        id.push('-');
        let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            id.push(DIGITS[(number >> (4 * digit) & 15) as usize].into());
        }
        id
    }
}

/// RFC 3339, in UTC, to the millisecond.
fn timestamp(unix_ms: u64, line: &mut String) {
    let seconds = unix_ms / 1000;
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let milliseconds = unix_ms % 1000;
    write!(
        line,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z"
    )
    .expect("a String takes all text");
}

fn number(name: &str, value: u64, line: &mut String) {
    write!(line, " {name}={value}").expect("a String takes all text");
}

/// Adds ` name=value`, the value in quotes where it would not be clear otherwise.
fn field(name: &str, value: &str, line: &mut String) {
    line.push(' ');
    line.push_str(name);
    line.push('=');
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    if !value.is_empty() && value.bytes().all(plain) {
        line.push_str(value);
        return;
    }
    line.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => {
                line.push('\\');
                line.push(character);
            }
            _ => push_escaped(character, line),
        }
    }
    line.push('"');
}

fn escaped(text: &str, line: &mut String) {
    for character in text.chars() {
        push_escaped(character, line);
    }
}

fn push_escaped(character: char, line: &mut String) {
    // Besides control characters, those that change the direction or the line of what follows.
    let layout = matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if (character.is_control() && character != '\t') || layout {
        line.extend(character.escape_default());
    } else {
        line.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access<'a>() -> Access<'a> {
        Access {
            function: "hello",
            version: "ab12",
            method: "GET",
            target: "/hello/x?y=1",
            status: 200,
            start: Some("warm"),
            cpu_us: 3,
            wall_us: 20,
            peak_memory_bytes: 65_536,
            bytes_in: 0,
            bytes_out: 13,
            id: "00-1",
            error: None,
        }
    }

    fn lines(format: Format, write: impl FnOnce(&mut Log)) -> String {
        let mut log = Log::to_memory(format, Level::Info);
        log.set_time(784_111_777_042);
        write(&mut log);
        String::from_utf8(log.gathered().to_vec()).unwrap()
    }

    #[test]
    fn a_call_is_one_line_of_text() {
        assert_eq!(
            lines(Format::Text, |log| log.access(&access())),
            "1994-11-06T08:49:37.042Z call function=hello version=ab12 method=GET target=\"/hello/x?y=1\" status=200 \
             start=warm cpu_us=3 wall_us=20 peak_memory_bytes=65536 bytes_in=0 bytes_out=13 id=00-1\n"
        );
    }

    #[test]
    fn a_failed_call_carries_its_backtrace_in_either_format() {
        let error = Failure {
            kind: "trap",
            message: "unreachable executed".into(),
            backtrace: vec![
                "inner (function 2) at 0x1f".into(),
                "handle (function 1)".into(),
            ],
        };
        let failed = Access {
            status: 500,
            error: Some(error),
            ..access()
        };
        let text = lines(Format::Text, |log| log.access(&failed));
        assert!(
            text.ends_with(
                "error=trap message=\"unreachable executed\" \
                 backtrace=\"inner (function 2) at 0x1f < handle (function 1)\"\n"
            ),
            "{text}"
        );
        let json = lines(Format::Json, |log| log.access(&failed));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["time"], "1994-11-06T08:49:37.042Z");
        assert_eq!(value["event"], "call");
        assert_eq!(value["status"], 500);
        assert_eq!(value["error"]["backtrace"][1], "handle (function 1)");
    }

    #[test]
    fn nobody_forges_a_line() {
        let evil = "a\n1994 call status=200 \u{1b}[31m\u{202e}\"\\";
        for format in [Format::Text, Format::Json] {
            let written = lines(format, |log| {
                log.guest(evil, evil, evil);
                log.server(Level::Error, evil);
                log.access(&Access {
                    target: evil,
                    id: evil,
                    ..access()
                });
            });
            assert_eq!(written.lines().count(), 3, "{written}");
            assert!(!written.contains('\u{1b}'), "{written}");
        }
    }

    #[test]
    fn lines_below_the_level_are_not_written() {
        assert_eq!(lines(Format::Text, |log| log.server(Level::Debug, "x")), "");
    }

    #[test]
    fn a_log_that_nobody_reads_is_bounded() {
        let mut log = Log::to_memory(Format::Text, Level::Info);
        for _ in 0..20_000 {
            log.access(&access());
        }
        assert!(log.gathered().len() < BUFFER_BYTES_MAX + 1024);
        assert!(log.dropped_lines > 0);
    }

    #[test]
    fn a_reader_that_is_too_slow_does_not_block_the_server() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut log = Log::to_memory(Format::Text, Level::Info);
        log.output = Some(Output {
            fd: writer.into(),
            is_file: false,
        });
        for _ in 0..20_000 {
            log.access(&access());
            log.flush();
        }
        assert!(
            log.dropped_lines > 0,
            "the pipe is full and the rest dropped"
        );
        drop(reader);
        log.flush();
        assert!(
            log.gathered().is_empty() || log.dropped_lines == 0,
            "a closed pipe frees the memory"
        );
    }

    #[test]
    fn request_ids_are_unique() {
        let mut ids = RequestIds::new().unwrap();
        let mut all: Vec<_> = (0..1000).map(|_| ids.next_id()).collect();
        assert!(all[0].ends_with("-0") && all[255].ends_with("-ff") && all[256].ends_with("-100"));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1000);
        assert_ne!(RequestIds::new().unwrap().prefix, ids.prefix);
    }
}
