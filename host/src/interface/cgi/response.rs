//! The head of a response, from what a command writes (RFC 3875, section 6).
//!
//! A header block is lines that are header fields, each ended by LF or CRLF, and an empty line. Output that does not begin with
//! one is the body of a 200. A block that begins with a field of CGI itself (`Content-Type`, `Status`, `Location`) is
//! surely meant as one, so that whatever is wrong in it is an error; with any other first field, which may be text that
//! merely looks like a field, it is taken for the body instead.

use std::fmt;

/// Status and header fields of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Default for Head {
    fn default() -> Head {
        Head {
            status: 200,
            headers: Vec::new(),
        }
    }
}

/// What is wrong with a command's header block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgiError {
    /// This line (counted from 1) is not a header field.
    Field {
        line: usize,
        problem: &'static str,
    },
    /// A `Status` that is no status code a response can end with.
    Status(String),
    TooLarge,
    TooManyFields,
}

impl fmt::Display for CgiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CgiError::Field { line, problem } => {
                write!(
                    f,
                    "line {line} of the header block on standard output: {problem}"
                )
            }
            CgiError::Status(value) => write!(
                f,
                "the header block on standard output has \"Status: {value}\"; it must be a code from 200 to 599"
            ),
            CgiError::TooLarge => write!(
                f,
                "the header block on standard output is larger than {} bytes; end it with an empty line",
                HeadParser::BLOCK_BYTES_MAX
            ),
            CgiError::TooManyFields => write!(
                f,
                "the header block on standard output has more than {} fields",
                HeadParser::FIELDS_MAX
            ),
        }
    }
}

impl std::error::Error for CgiError {}

/// How far the parser is.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The head is not complete.
    More,
    /// The head, and the bytes after it, which begin the body.
    Done(Head, Vec<u8>),
}

/// Finds the header block at the beginning of a command's output, however it is cut into writes.
#[derive(Debug, Default)]
pub struct HeadParser {
    buffer: Vec<u8>,
    /// Where the line begins that is not complete yet.
    line_start: usize,
    /// No line feed lies between `line_start` and here.
    scanned: usize,
    line: usize,
    head: Head,
    status_given: bool,
    /// The first field is one of CGI's own.
    strict: bool,
}

impl HeadParser {
    pub const BLOCK_BYTES_MAX: usize = 64 << 10;
    pub const FIELDS_MAX: usize = 256;

    /// Takes in bytes of output. After [`Step::Done`] or an error the parser is not to be used any more.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Step, CgiError> {
        self.buffer.extend_from_slice(bytes);
        loop {
            let Some(line_feed) = self.buffer[self.scanned..]
                .iter()
                .position(|&byte| byte == b'\n')
            else {
                self.scanned = self.buffer.len();
                if self.line == 0 && !may_begin_field(&self.buffer) {
                    return Ok(self.all_is_body());
                }
                if self.buffer.len() > Self::BLOCK_BYTES_MAX {
                    return self.wrong(CgiError::TooLarge);
                }
                return Ok(Step::More);
            };
            let end = self.scanned + line_feed;
            let (start, next) = (self.line_start, end + 1);
            if next > Self::BLOCK_BYTES_MAX {
                return self.wrong(CgiError::TooLarge);
            }
            self.line += 1;
            self.line_start = next;
            self.scanned = next;
            let line = &self.buffer[start..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                if self.line == 1 {
                    return Ok(self.all_is_body());
                }
                let body = self.buffer.split_off(next);
                return Ok(Step::Done(self.complete_head(), body));
            }
            if self.line == 1 {
                self.strict = begins_with_cgi_field(line);
            }
            let field = split_field(line);
            if let Err(error) = self.take_field(field.map(|(name, value)| (name, value.to_vec()))) {
                return self.wrong(error);
            }
        }
    }

    /// The output is complete: what has been said must do.
    pub fn finish(&mut self) -> Result<(Head, Vec<u8>), CgiError> {
        let at_line_start = self.line_start == self.buffer.len();
        match self.strict {
            false => match self.all_is_body() {
                Step::Done(head, body) => Ok((head, body)),
                Step::More => unreachable!("taking all for the body is a decision"),
            },
            true if at_line_start => Ok((self.complete_head(), Vec::new())),
            true => Err(CgiError::Field {
                line: self.line + 1,
                problem: "the output ends within it",
            }),
        }
    }

    fn take_field(
        &mut self,
        field: Result<(String, Vec<u8>), &'static str>,
    ) -> Result<(), CgiError> {
        let line = self.line;
        let (name, value) = field.map_err(|problem| CgiError::Field { line, problem })?;
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("status") {
            self.head.status = status(&value)
                .ok_or_else(|| CgiError::Status(super::super::lines::printable(&value)))?;
            self.status_given = true;
            return Ok(());
        }
        if self.head.headers.len() == Self::FIELDS_MAX {
            return Err(CgiError::TooManyFields);
        }
        self.head.headers.push((name, value));
        Ok(())
    }

    /// A `Location` alone means 302 (section 6.2.3). So does a local one, which a server may answer itself (section 6.2.2):
    /// the client then makes the request, and its own limits on redirections hold.
    fn complete_head(&mut self) -> Head {
        let mut head = std::mem::take(&mut self.head);
        let redirects = head
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("location"));
        if redirects && !self.status_given {
            head.status = 302;
        }
        head
    }

    fn wrong(&mut self, error: CgiError) -> Result<Step, CgiError> {
        if self.strict {
            Err(error)
        } else {
            Ok(self.all_is_body())
        }
    }

    fn all_is_body(&mut self) -> Step {
        Step::Done(Head::default(), std::mem::take(&mut self.buffer))
    }
}

/// Whether a header field can begin like this: only characters of a token before the first colon.
fn may_begin_field(bytes: &[u8]) -> bool {
    match bytes.iter().position(|&byte| !is_token_character(byte)) {
        None => true,
        Some(end) => end > 0 && (bytes[end] == b':' || &bytes[end..] == b"\r"),
    }
}

/// Whether a line is, or was meant to be, one of CGI's own fields (section 6.3).
fn begins_with_cgi_field(line: &[u8]) -> bool {
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    name.len() < line.len() && (is("content-type") || is("status") || is("location"))
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn split_field(line: &[u8]) -> Result<(String, &[u8]), &'static str> {
    let colon = line
        .iter()
        .position(|&byte| byte == b':')
        .ok_or("it has no colon, so it is not a header field")?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if let Some(problem) = header_field_error(name, value) {
        return Err(problem);
    }
    Ok((String::from_utf8_lossy(name).into_owned(), value))
}

/// What is wrong with a header field a guest wants to send, if anything (RFC 9110, sections 5.1 and 5.5).
pub fn header_field_error(name: &[u8], value: &[u8]) -> Option<&'static str> {
    if name.is_empty() || !name.iter().all(|&byte| is_token_character(byte)) {
        return Some(
            "the name of a header field consists of letters, digits and some of !#$%&'*+-.^_`|~",
        );
    }
    if value
        .iter()
        .any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
    {
        return Some("the value of a header field must not contain control characters");
    }
    None
}

fn status(value: &[u8]) -> Option<u16> {
    let (code, rest) = value.split_at_checked(3)?;
    if !(rest.is_empty() || rest[0] == b' ') || !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    (200..=599).contains(&code).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    /// Parses the output in one piece and cut everywhere, which must not make a difference.
    fn check(output: &[u8], status: u16, fields: Fields<'_>, body: &[u8]) {
        let headers = fields
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        let expected = (
            Head {
                status,
                headers: headers.collect(),
            },
            body.to_vec(),
        );
        for cut in 0..=output.len() {
            let mut parser = HeadParser::default();
            let mut done = None;
            for piece in [&output[..cut], &output[cut..]] {
                match &mut done {
                    Some((_, body)) => Vec::extend_from_slice(body, piece),
                    None => {
                        if let Step::Done(head, body) = parser.push(piece).unwrap() {
                            done = Some((head, body));
                        }
                    }
                }
            }
            let done = done.unwrap_or_else(|| parser.finish().unwrap());
            assert_eq!(done, expected, "cut at {cut}");
        }
    }

    #[test]
    fn header_blocks_with_either_line_ending() {
        check(
            b"Content-Type: text/plain\n\nhello\n",
            200,
            &[("Content-Type", "text/plain")],
            b"hello\n",
        );
        check(
            b"Status: 404 Not Found\r\nX-A:1\r\nX-A:  2 \r\n\r\n\r\nbody",
            404,
            &[("X-A", "1"), ("X-A", "2")],
            b"\r\nbody",
        );
        check(b"Status: 204\n\n", 204, &[], b"");
        check(b"Status: 201\n", 201, &[], b"");
    }

    #[test]
    fn location_redirects() {
        check(b"Location: /there\n\n", 302, &[("Location", "/there")], b"");
        check(
            b"Location: https://example.org/\nStatus: 301\n\nmoved",
            301,
            &[("Location", "https://example.org/")],
            b"moved",
        );
    }

    #[test]
    fn output_without_a_header_block_is_the_body() {
        for body in [
            &b""[..],
            b"hello",
            b"hello\nworld\n",
            b"\nContent-Type: text/plain\n\n",
            b"<html>: yes</html>\n\n",
            b"Note: this is text\nthat goes on\n\nand on",
            b"Note: this is text",
            b": no name\n\n",
            b"\r\n\r\n",
            b"a b: c\n\n",
        ] {
            check(body, 200, &[], body);
        }
        let long = vec![b'x'; HeadParser::BLOCK_BYTES_MAX + 1];
        assert_eq!(
            HeadParser::default().push(&long),
            Ok(Step::Done(Head::default(), long))
        );
    }

    #[test]
    fn plain_text_is_recognised_before_its_first_line_ends() {
        let mut parser = HeadParser::default();
        assert_eq!(
            parser.push(b"<html"),
            Ok(Step::Done(Head::default(), b"<html".to_vec()))
        );
    }

    #[test]
    fn broken_header_blocks_are_errors() {
        let error = |output: &[u8]| {
            let mut parser = HeadParser::default();
            parser
                .push(output)
                .and_then(|_| parser.finish())
                .unwrap_err()
        };
        assert_eq!(error(b"Status: 99\n\n"), CgiError::Status("99".into()));
        assert_eq!(
            error(b"Status: 100 Continue\n\n"),
            CgiError::Status("100 Continue".into())
        );
        assert_eq!(error(b"Status: 2000\n\n"), CgiError::Status("2000".into()));
        assert_eq!(
            error(b"Status: \x1b[1m\n\n"),
            CgiError::Field {
                line: 1,
                problem: header_field_error(b"a", b"\x1b").unwrap()
            }
        );
        assert!(matches!(
            error(b"Content-Type: text/html\noops\n\n"),
            CgiError::Field { line: 2, .. }
        ));
        assert!(matches!(
            error(b"Content-Type: a\nX: b\rSet-Cookie: c\n\n"),
            CgiError::Field { line: 2, .. }
        ));
        assert!(matches!(
            error(b"Content-Type: a\n folded\n\n"),
            CgiError::Field { line: 2, .. }
        ));
        assert!(matches!(
            error(b"Content-Type: a\nX: cut"),
            CgiError::Field { line: 2, .. }
        ));
        let mut many = b"Status: 200\n".to_vec();
        many.extend(b"X: 1\n".repeat(HeadParser::FIELDS_MAX + 1));
        assert_eq!(error(&many), CgiError::TooManyFields);
        let mut large = b"Status: 200\nX: ".to_vec();
        large.resize(HeadParser::BLOCK_BYTES_MAX + 1, b'x');
        assert_eq!(error(&large), CgiError::TooLarge);
    }
}
