//! The head of a request: request line, header fields, and what they say of the body and the connection.
//!
//! httparse finds the tokens; this module decides whether they make a request. Everything borrows from the input.

use super::refusal::Refusal;
use super::{HEAD_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX};
use std::mem::MaybeUninit;

/// Room for the header fields of one head; made on the stack, not initialised.
pub type HeaderStorage<'b> = [MaybeUninit<httparse::Header<'b>>; HEADERS_MAX];

/// Room for [`parse`].
pub const fn header_storage<'b>() -> HeaderStorage<'b> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

/// The protocol version of a request. Higher minor versions of 1 are read as 1.1 (RFC 9112 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    Http11,
}

/// How the length of a request body is known (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Exactly so many bytes; 0 for a request without a body.
    Length(u64),
    Chunked,
}

/// What a request is about (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'b> {
    /// Absolute path and query, from the origin form or the absolute form.
    Resource {
        path: &'b str,
        query: Option<&'b str>,
    },
    /// `OPTIONS *`: the server itself.
    Server,
}

/// A complete, well-formed request head.
#[derive(Debug)]
pub struct Head<'h, 'b> {
    pub method: &'b str,
    /// The target as it was sent.
    pub raw_target: &'b str,
    pub target: Target<'b>,
    /// Host and port of the target: of an absolute-form target, else of the Host field (RFC 9112 section 3.2.2).
    pub host: Option<&'b str>,
    pub version: Version,
    pub headers: &'h [httparse::Header<'b>],
    pub framing: Framing,
    /// Whether the client wants to go on with this connection.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// How many bytes of the input were the head.
    pub bytes: usize,
}

impl<'b> Head<'_, 'b> {
    /// The value of the first field of this name.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name))
            .map(|h| h.value)
    }
}

/// Whether `bytes` can end a head that was still incomplete when only `seen` bytes of it were there.
///
/// Lets a connection that is fed byte by byte be parsed once and not at every byte.
pub fn may_complete(bytes: &[u8], seen: usize) -> bool {
    let from = seen.saturating_sub(3);
    bytes.len() > HEAD_BYTES_MAX
        || bytes.len() >= 2 * seen
        || bytes[from..]
            .windows(2)
            .any(|pair| pair == b"\n\r" || pair == b"\n\n")
}

/// Parses the head at the start of `bytes`. `Ok(None)`: it is not complete yet.
pub fn parse<'h, 'b>(
    bytes: &'b [u8],
    storage: &'h mut HeaderStorage<'b>,
) -> Result<Option<Head<'h, 'b>>, Refusal> {
    let mut request = httparse::Request::new(&mut []);
    let head_bytes = match request.parse_with_uninit_headers(bytes, storage) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) => return incomplete(bytes).map(|()| None),
        Err(error) => return Err(refusal_of(error, bytes)),
    };
    if head_bytes > HEAD_BYTES_MAX {
        return Err(Refusal::HeadTooLarge);
    }
    check_line_ends(&bytes[..head_bytes])?;
    let (Some(method), Some(raw_target), Some(minor)) =
        (request.method, request.path, request.version)
    else {
        return Err(Refusal::Malformed("the request line is incomplete"));
    };
    if raw_target.len() > TARGET_BYTES_MAX {
        return Err(Refusal::TargetTooLong);
    }
    let version = if minor == 0 {
        Version::Http10
    } else {
        Version::Http11
    };
    let headers: &'h [httparse::Header<'b>] = request.headers;
    let fields = Fields::read(headers, version)?;
    let (target, authority) = parse_target(method, raw_target)?;
    Ok(Some(Head {
        method,
        raw_target,
        target,
        host: authority.or(fields.host),
        version,
        headers,
        framing: fields.framing(version)?,
        keep_alive: match version {
            Version::Http11 => !fields.close,
            Version::Http10 => fields.keep_alive && !fields.close,
        },
        // RFC 9110 section 10.1.1: an expectation in an HTTP/1.0 request is ignored.
        expects_continue: fields.expects_continue && version == Version::Http11,
        bytes: head_bytes,
    }))
}

/// Refuses an incomplete head that is already too large.
fn incomplete(bytes: &[u8]) -> Result<(), Refusal> {
    let start = bytes
        .iter()
        .position(|b| !matches!(b, b'\r' | b'\n'))
        .unwrap_or(bytes.len());
    let line = &bytes[start..];
    // A method and its space come before the target; 32 bytes are more than any method in use.
    let first_line_max = TARGET_BYTES_MAX + 32;
    if line.len() > first_line_max && !line[..first_line_max].contains(&b'\n') {
        return Err(Refusal::TargetTooLong);
    }
    if bytes.len() > HEAD_BYTES_MAX {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(())
}

fn refusal_of(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::HeaderName => Refusal::Malformed(
            "a header field's name is empty, holds a byte that no name may hold, or is followed by a space; folded lines are refused",
        ),
        httparse::Error::HeaderValue => {
            Refusal::Malformed("a header field's value holds a control byte")
        }
        httparse::Error::NewLine => Refusal::Malformed("a line does not end in CR LF"),
        httparse::Error::Status | httparse::Error::Token => {
            // A target too long for us can be malformed further on; its length is what the client should hear of.
            match incomplete(bytes) {
                Err(refusal) => refusal,
                Ok(()) => Refusal::Malformed("the request line is not METHOD TARGET HTTP/1.1"),
            }
        }
        httparse::Error::TooManyHeaders => Refusal::TooManyHeaders,
        httparse::Error::Version => {
            let line = bytes
                .split(|b| *b == b'\n')
                .find(|line| line.len() > 1)
                .unwrap_or(bytes);
            let version = line.rsplit(|b| *b == b' ').next().unwrap_or(line);
            match version.strip_prefix(b"HTTP/") {
                Some([b'0'..=b'9', ..]) => Refusal::VersionNotSupported,
                _ => Refusal::Malformed("the request line does not end in HTTP/1.1"),
            }
        }
    }
}

/// httparse takes a bare LF as the end of a line, as RFC 9112 section 2.2 allows; in front of another
/// implementation that does not, such a head would be understood in two ways.
fn check_line_ends(head: &[u8]) -> Result<(), Refusal> {
    let mut previous = b'\n';
    for &byte in head {
        if (byte == b'\n' && previous != b'\r') || (previous == b'\r' && byte != b'\n') {
            return Err(Refusal::Malformed("a line does not end in CR LF"));
        }
        previous = byte;
    }
    Ok(())
}

/// What the header fields say that matters to the protocol.
struct Fields<'b> {
    host: Option<&'b str>,
    content_length: Option<u64>,
    chunked: bool,
    keep_alive: bool,
    close: bool,
    expects_continue: bool,
}

impl<'b> Fields<'b> {
    fn read(headers: &[httparse::Header<'b>], version: Version) -> Result<Fields<'b>, Refusal> {
        let mut fields = Fields {
            host: None,
            content_length: None,
            chunked: false,
            keep_alive: false,
            close: false,
            expects_continue: false,
        };
        let mut codings = Vec::new();
        for header in headers {
            // Lengths first: most fields are none of these and cost one comparison.
            match header.name.len() {
                4 if header.name.eq_ignore_ascii_case("host") => {
                    if fields.host.is_some() {
                        return Err(Refusal::Malformed("there is more than one Host field"));
                    }
                    fields.host = Some(host(header.value)?);
                }
                6 if header.name.eq_ignore_ascii_case("expect") => {
                    if !header.value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(Refusal::ExpectationFailed);
                    }
                    fields.expects_continue = true;
                }
                10 if header.name.eq_ignore_ascii_case("connection") => {
                    for option in list(header.value) {
                        fields.close |= option.eq_ignore_ascii_case(b"close");
                        fields.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                14 if header.name.eq_ignore_ascii_case("content-length") => {
                    // RFC 9110 section 8.6 lets a recipient refuse every repeated length, equal ones too.
                    if fields.content_length.is_some() {
                        return Err(Refusal::Malformed("there is more than one Content-Length"));
                    }
                    fields.content_length = Some(content_length(header.value)?);
                }
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    codings.push(header.value);
                }
                _ => {}
            }
        }
        if !codings.is_empty() {
            chunked_only(&codings)?;
            fields.chunked = true;
        }
        if fields.host.is_none() && version == Version::Http11 {
            return Err(Refusal::Malformed(
                "an HTTP/1.1 request must have a Host field",
            ));
        }
        Ok(fields)
    }

    fn framing(&self, version: Version) -> Result<Framing, Refusal> {
        match (self.chunked, self.content_length) {
            (true, Some(_)) => Err(Refusal::Malformed(
                "there are both a Transfer-Encoding and a Content-Length",
            )),
            // RFC 9112 section 6.1: transfer codings in HTTP/1.0 are faulty framing.
            (true, None) if version == Version::Http10 => {
                Err(Refusal::Malformed("HTTP/1.0 has no Transfer-Encoding"))
            }
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// The elements of a comma-separated list, without those that are empty.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    // Digits and nothing else: no sign, no space, no list; 18 digits cannot overflow.
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Malformed("the Content-Length is not a number"));
    }
    Ok(value
        .iter()
        .fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// Succeeds when the transfer codings are `chunked` and nothing else.
fn chunked_only(values: &[&[u8]]) -> Result<(), Refusal> {
    let mut chunked = false;
    for value in values {
        // An element with anything but a plain "chunked" in it, vertical tabs and parameters included, is unknown.
        for coding in value.split(|b| *b == b',') {
            let coding = coding.trim_ascii();
            if chunked {
                return Err(Refusal::Malformed(
                    "chunked is not the last transfer coding",
                ));
            }
            if coding.is_empty() {
                return Err(Refusal::Malformed("a transfer coding is empty"));
            }
            if !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::UnknownTransferCoding);
            }
            chunked = true;
        }
    }
    Ok(())
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2); may be empty.
fn host(value: &[u8]) -> Result<&str, Refusal> {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    match std::str::from_utf8(value) {
        Ok(text) if value.iter().all(valid) => Ok(text),
        _ => Err(Refusal::Malformed(
            "the Host field is not a host name or address",
        )),
    }
}

/// Splits a target into path and query and finds the authority of an absolute form.
fn parse_target<'b>(method: &str, raw: &'b str) -> Result<(Target<'b>, Option<&'b str>), Refusal> {
    if method == "CONNECT" {
        return Err(Refusal::MethodNotImplemented);
    }
    if !raw.bytes().all(|byte| matches!(byte, b'!'..=b'~')) {
        return Err(Refusal::Malformed(
            "the request target holds a byte that must be percent-encoded",
        ));
    }
    if raw.contains('#') {
        return Err(Refusal::Malformed("the request target holds a fragment"));
    }
    if raw == "*" {
        return match method {
            "OPTIONS" => Ok((Target::Server, None)),
            _ => Err(Refusal::Malformed("the target * is for OPTIONS only")),
        };
    }
    if raw.starts_with('/') {
        return Ok((resource(raw), None));
    }
    // The absolute form must be understood although only proxies are sent it (RFC 9112 section 3.2.2).
    let rest = strip_scheme(raw, "http://").or_else(|| strip_scheme(raw, "https://"));
    let Some(rest) = rest else {
        return Err(Refusal::Malformed(
            "the request target is neither a path nor an http URI",
        ));
    };
    let authority_bytes = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_bytes);
    if authority.is_empty() {
        return Err(Refusal::Malformed("the request target has no host"));
    }
    host(authority.as_bytes())?;
    let target = match path.strip_prefix('?') {
        Some(query) => Target::Resource {
            path: "/",
            query: Some(query),
        },
        None if path.is_empty() => Target::Resource {
            path: "/",
            query: None,
        },
        None => resource(path),
    };
    Ok((target, Some(authority)))
}

fn strip_scheme<'b>(raw: &'b str, scheme: &str) -> Option<&'b str> {
    let (start, rest) = raw.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn resource(raw: &str) -> Target<'_> {
    match raw.split_once('?') {
        Some((path, query)) => Target::Resource {
            path,
            query: Some(query),
        },
        None => Target::Resource {
            path: raw,
            query: None,
        },
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
