//! Response heads and chunk framing.
//!
//! What a function may set is checked here, whichever way it was set: nothing it writes can end a header field early,
//! begin another response, or speak about the connection, which is not its own.

use super::date::DateCache;
use super::head::Version;
use super::{is_field_byte, is_token_byte};
use std::fmt;

/// What the response says of the connection's future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It stays open, as both sides know without a word in HTTP/1.1.
    Persistent,
    /// It stays open, said aloud for an HTTP/1.0 client that asked for it.
    KeepAlive,
    Close,
}

impl Connection {
    /// What to tell a client of this version.
    pub fn for_client(version: Version, keep_alive: bool) -> Connection {
        match (version, keep_alive) {
            (_, false) => Connection::Close,
            (Version::Http11, true) => Connection::Persistent,
            (Version::Http10, true) => Connection::KeepAlive,
        }
    }
}

/// How the client finds the end of the response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// By its length. For a HEAD request: the length that a GET would have had.
    Length(u64),
    Chunked,
    /// By the end of the connection (HTTP/1.0).
    Close,
    /// There is none and its length is not said: 204 and 304, or a HEAD request whose answer's length is not known.
    NoBody,
}

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    pub status: u16,
    /// From the function. Fields that concern the connection or the framing are left out.
    pub headers: &'a [(String, Vec<u8>)],
    pub body: BodyEnd,
    pub connection: Connection,
    /// The value of X-Request-Id.
    pub request_id: &'a str,
}

/// A response a function must not give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// Not a final status code: 200 to 599.
    Status(u16),
    /// The name of a header field holds a byte that is not of a token.
    FieldName(String),
    /// The value of this header field holds a control byte, such as CR or LF.
    FieldValue(String),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseError::Status(status) => {
                write!(
                    f,
                    "the function answered with status {status}; it must be 200 to 599"
                )
            }
            ResponseError::FieldName(name) => write!(
                f,
                "the function set a header field with the invalid name {name:?}; letters, digits and - are valid"
            ),
            ResponseError::FieldValue(name) => write!(
                f,
                "the function set the header field {name} to a value with control characters"
            ),
        }
    }
}

impl std::error::Error for ResponseError {}

impl Response<'_> {
    /// Appends the head with its empty line to `out`; nothing when it is refused.
    pub fn encode(&self, date: &DateCache, out: &mut Vec<u8>) -> Result<(), ResponseError> {
        if !(200..=599).contains(&self.status) {
            return Err(ResponseError::Status(self.status));
        }
        for (name, value) in self.headers {
            if name.is_empty() || !name.bytes().all(is_token_byte) {
                return Err(ResponseError::FieldName(name.clone()));
            }
            if !value.iter().copied().all(is_field_byte) {
                return Err(ResponseError::FieldValue(name.clone()));
            }
        }
        status_line(self.status, out);
        let mut dated = false;
        for (name, value) in self.headers {
            if is_server_field(name) {
                continue;
            }
            dated |= name.eq_ignore_ascii_case("date");
            field(name.as_bytes(), value, out);
        }
        if !dated {
            field(b"Date", date.text(), out);
        }
        if !self.request_id.is_empty() {
            field(b"X-Request-Id", self.request_id.as_bytes(), out);
        }
        match self.body {
            BodyEnd::Length(length) => {
                out.extend_from_slice(b"Content-Length: ");
                decimal(length, out);
                out.extend_from_slice(b"\r\n");
            }
            BodyEnd::Chunked => field(b"Transfer-Encoding", b"chunked", out),
            BodyEnd::Close | BodyEnd::NoBody => {}
        }
        match self.connection {
            Connection::Persistent => {}
            Connection::KeepAlive => field(b"Connection", b"keep-alive", out),
            Connection::Close => field(b"Connection", b"close", out),
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// The interim response that a client with `Expect: 100-continue` waits for.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The chunk that ends a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The line that goes before a chunk of `bytes` bytes (not 0); CR LF goes after it.
pub fn chunk_head(bytes: usize, out: &mut Vec<u8>) {
    debug_assert!(bytes > 0, "an empty chunk would end the body");
    let digits = (usize::BITS - bytes.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[bytes >> (4 * digit) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a response with this status has no body whatever its fields say (RFC 9112 section 6.3).
pub const fn is_bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// Fields that are this server's to set: connection, framing (RFC 9110 section 7.6.1) and the request's id.
fn is_server_field(name: &str) -> bool {
    const FIELDS: [&str; 10] = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
        "http2-settings",
    ];
    FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name))
}

fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn status_line(status: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(status.into(), out);
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// The phrases of RFC 9110 section 15 and RFC 6585; empty for others, as RFC 9112 section 4 allows.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(response: Response<'_>) -> Result<String, ResponseError> {
        let mut out = Vec::new();
        let result = response.encode(&DateCache::new(0), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            result.is_ok() || text.is_empty(),
            "a refused response left {text:?} behind"
        );
        result.map(|()| text)
    }

    fn response(headers: &[(String, Vec<u8>)]) -> Response<'_> {
        Response {
            status: 200,
            headers,
            body: BodyEnd::Length(5),
            connection: Connection::Persistent,
            request_id: "r-1",
        }
    }

    fn headers(fields: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        fields
            .iter()
            .map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn a_head_has_status_fields_date_and_length() {
        let fields = headers(&[("Content-Type", "text/plain")]);
        assert_eq!(
            encode(response(&fields)).unwrap(),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             X-Request-Id: r-1\r\nContent-Length: 5\r\n\r\n"
        );
    }

    #[test]
    fn framing_and_connection_are_said_in_their_fields() {
        let end = |body, connection| {
            let text = encode(Response {
                body,
                connection,
                ..response(&[])
            })
            .unwrap();
            text.split_once("r-1\r\n").unwrap().1.to_owned()
        };
        assert_eq!(
            end(BodyEnd::Chunked, Connection::Persistent),
            "Transfer-Encoding: chunked\r\n\r\n"
        );
        assert_eq!(
            end(BodyEnd::Close, Connection::Close),
            "Connection: close\r\n\r\n"
        );
        assert_eq!(
            end(BodyEnd::NoBody, Connection::KeepAlive),
            "Connection: keep-alive\r\n\r\n"
        );
        assert_eq!(
            end(BodyEnd::Length(u64::MAX), Connection::Persistent),
            "Content-Length: 18446744073709551615\r\n\r\n"
        );
    }

    #[test]
    fn fields_of_the_connection_are_not_the_functions_to_set() {
        let fields = headers(&[
            ("transfer-encoding", "chunked"),
            ("Content-length", "9"),
            ("CONNECTION", "upgrade"),
            ("Upgrade", "h2c"),
            ("X-Request-ID", "forged"),
            ("Kept", "1"),
        ]);
        let text = encode(response(&fields)).unwrap();
        assert!(
            text.contains("Kept: 1\r\n") && text.contains("Content-Length: 5\r\n"),
            "{text}"
        );
        for absent in ["chunked", "upgrade", "h2c", "forged", ": 9\r\n"] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
    }

    #[test]
    fn a_date_of_the_function_is_kept() {
        let fields = headers(&[("date", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        let text = encode(response(&fields)).unwrap();
        assert_eq!(text.to_lowercase().matches("date:").count(), 1);
    }

    #[test]
    fn header_injection_is_refused() {
        for value in [
            "a\r\nSet-Cookie: x",
            "a\nb",
            "a\rb",
            "a\0b",
            "a\x7fb",
            "a\x1bb",
        ] {
            let fields = headers(&[("X", value)]);
            assert_eq!(
                encode(response(&fields)),
                Err(ResponseError::FieldValue("X".into())),
                "{value:?}"
            );
        }
        for name in ["", "a b", "a:", "a\r\nb", "\u{e9}"] {
            let fields = headers(&[(name, "x")]);
            assert_eq!(
                encode(response(&fields)),
                Err(ResponseError::FieldName(name.into()))
            );
        }
        // Dropped fields are checked too.
        assert!(encode(response(&headers(&[("Connection", "a\r\nb")]))).is_err());
    }

    #[test]
    fn only_final_status_codes_are_answers() {
        for status in [0, 99, 100, 101, 199, 600, 999, u16::MAX] {
            let result = encode(Response {
                status,
                ..response(&[])
            });
            assert_eq!(result, Err(ResponseError::Status(status)));
        }
        let text = encode(Response {
            status: 299,
            ..response(&[])
        })
        .unwrap();
        assert!(text.starts_with("HTTP/1.1 299 \r\n"));
    }

    #[test]
    fn chunk_heads_are_hexadecimal() {
        for bytes in [1, 9, 10, 15, 16, 255, 256, 65_536, usize::MAX] {
            let mut out = Vec::new();
            chunk_head(bytes, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{bytes:x}\r\n"));
        }
    }
}
