//! The response of a guest on its way to the client.
//!
//! A command's standard output begins with a header block (`cgi/response.rs`); a reactor names status and headers by
//! calls. Either way the head is *known* from the first byte of the body on and does not change after that. The body is
//! buffered here up to a window; a guest that is further ahead is suspended until the gateway has taken some.

use super::cgi::{CgiError, Head, HeadParser, Step, header_field_error};
use super::lines::printable;
use std::fmt;

/// Header fields in the order the guest gave them.
pub type Headers = [(String, Vec<u8>)];

/// What a guest answers.
#[derive(Debug)]
pub struct Output {
    state: State,
    head: Head,
    body: Vec<u8>,
    body_bytes: u64,
    /// While so many bytes of the body wait for the gateway, the guest is suspended when it writes more
    /// ([`Wait::OutputSpace`](super::Wait::OutputSpace)). The gateway may change it at any time.
    pub window_bytes: usize,
}

#[derive(Debug)]
enum State {
    /// A command's header block is being parsed.
    Block(Box<HeadParser>),
    /// A reactor may still name status and headers.
    Open,
    /// The head is known.
    Known,
}

/// A response the guest must not give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputError {
    Cgi(CgiError),
    Status(u32),
    Field { name: String, problem: &'static str },
    TooManyFields,
    HeadAlreadyKnown,
    CommandUsesCalls,
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutputError::Cgi(error) => error.fmt(f),
            OutputError::Status(code) => {
                write!(f, "set_status: {code} is not a status from 200 to 599")
            }
            OutputError::Field { name, problem } => {
                write!(f, "set_header: \"{name}\" cannot be a header: {problem}")
            }
            OutputError::TooManyFields => {
                write!(f, "set_header: more than {} headers", HeadParser::FIELDS_MAX)
            }
            OutputError::HeadAlreadyKnown => f.write_str(
                "set_status and set_header must be called before the first byte of the body is written",
            ),
            OutputError::CommandUsesCalls => f.write_str(
                "a command answers on standard output: status and headers belong in its header block",
            ),
        }
    }
}

impl std::error::Error for OutputError {}

impl From<CgiError> for OutputError {
    fn from(error: CgiError) -> OutputError {
        OutputError::Cgi(error)
    }
}

impl Output {
    /// What a guest may be ahead of the gateway, unless the gateway says otherwise.
    pub const WINDOW_BYTES: usize = 1 << 20;

    /// Of a command, which begins with a header block.
    pub fn of_command() -> Output {
        Output::new(State::Block(Box::default()))
    }

    /// Of a reactor, which names status and headers by calls.
    pub fn of_reactor() -> Output {
        Output::new(State::Open)
    }

    fn new(state: State) -> Output {
        Output {
            state,
            head: Head::default(),
            body: Vec::new(),
            body_bytes: 0,
            window_bytes: Self::WINDOW_BYTES,
        }
    }

    /// Bytes the guest may write before it has to wait.
    pub fn room(&self) -> usize {
        self.window_bytes.saturating_sub(self.body.len())
    }

    /// Takes in bytes the guest wrote.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        match &mut self.state {
            State::Block(parser) => {
                if let Step::Done(head, body) = parser.push(bytes)? {
                    self.settle(head, body);
                }
            }
            State::Open if bytes.is_empty() => {}
            State::Open | State::Known => {
                self.state = State::Known;
                self.body.extend_from_slice(bytes);
                self.body_bytes += bytes.len() as u64;
            }
        }
        Ok(())
    }

    pub fn set_status(&mut self, code: u32) -> Result<(), OutputError> {
        self.head_open()?;
        match u16::try_from(code) {
            Ok(status @ 200..=599) => {
                self.head.status = status;
                Ok(())
            }
            _ => Err(OutputError::Status(code)),
        }
    }

    /// Adds a header; one of the same name is kept beside it.
    pub fn add_header(&mut self, name: &[u8], value: &[u8]) -> Result<(), OutputError> {
        self.head_open()?;
        let value = value.trim_ascii();
        if let Some(problem) = header_field_error(name, value) {
            return Err(OutputError::Field {
                name: printable(name),
                problem,
            });
        }
        if self.head.headers.len() == HeadParser::FIELDS_MAX {
            return Err(OutputError::TooManyFields);
        }
        self.head
            .headers
            .push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
        Ok(())
    }

    fn head_open(&self) -> Result<(), OutputError> {
        match self.state {
            State::Open => Ok(()),
            State::Known => Err(OutputError::HeadAlreadyKnown),
            State::Block(_) => Err(OutputError::CommandUsesCalls),
        }
    }

    /// The guest writes no more. The head is known after this, unless what was written of it is an error.
    pub fn finish(&mut self) -> Result<(), OutputError> {
        if let State::Block(parser) = &mut self.state {
            let (head, body) = parser.finish()?;
            self.settle(head, body);
        }
        self.state = State::Known;
        Ok(())
    }

    fn settle(&mut self, head: Head, body: Vec<u8>) {
        self.head = head;
        self.body_bytes = body.len() as u64;
        self.body = body;
        self.state = State::Known;
    }

    /// Status and headers, once they are known.
    pub fn head(&self) -> Option<(u16, &Headers)> {
        match self.state {
            State::Known => Some((self.head.status, &self.head.headers)),
            State::Open | State::Block(_) => None,
        }
    }

    /// Takes what there is of the body.
    pub fn take_body(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }

    /// Bytes of the body that wait to be taken.
    pub fn buffered(&self) -> usize {
        self.body.len()
    }

    /// Bytes of the body so far, taken ones included.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_of_a_reactor_is_known_with_the_first_byte() {
        let mut output = Output::of_reactor();
        output.set_status(404).unwrap();
        output.add_header(b"X-A", b" 1 ").unwrap();
        output.add_header(b"X-A", b"2").unwrap();
        output.write(b"").unwrap();
        assert_eq!(output.head(), None);
        output.write(b"gone").unwrap();
        let headers = [
            ("X-A".to_string(), b"1".to_vec()),
            ("X-A".to_string(), b"2".to_vec()),
        ];
        assert_eq!(output.head(), Some((404, &headers[..])));
        assert_eq!(output.set_status(200), Err(OutputError::HeadAlreadyKnown));
        assert_eq!(
            output.add_header(b"a", b"b"),
            Err(OutputError::HeadAlreadyKnown)
        );
        assert_eq!(output.take_body(), b"gone");
        assert_eq!((output.buffered(), output.body_bytes()), (0, 4));
    }

    #[test]
    fn headers_cannot_split_the_response() {
        let mut output = Output::of_reactor();
        assert!(output.add_header(b"X", b"a\r\nSet-Cookie: b").is_err());
        assert!(output.add_header(b"X\r\n", b"a").is_err());
        assert!(output.add_header(b"", b"a").is_err());
        assert!(output.add_header(b"X:", b"a").is_err());
        assert!(output.add_header(b"X", b"a\0").is_err());
        assert_eq!(output.set_status(100), Err(OutputError::Status(100)));
        assert_eq!(
            output.set_status(65536 + 200),
            Err(OutputError::Status(65736))
        );
    }

    #[test]
    fn command_without_output_is_an_empty_200() {
        let mut output = Output::of_command();
        assert_eq!(output.set_status(200), Err(OutputError::CommandUsesCalls));
        output.finish().unwrap();
        assert_eq!(output.head(), Some((200, &[][..])));
        assert_eq!(output.take_body(), b"");
    }

    #[test]
    fn room_is_what_is_left_of_the_window() {
        let mut output = Output::of_reactor();
        output.window_bytes = 4;
        output.write(b"abc").unwrap();
        assert_eq!(output.room(), 1);
        output.write(b"def").unwrap();
        assert_eq!(output.room(), 0);
        output.take_body();
        assert_eq!(output.room(), 4);
    }
}
