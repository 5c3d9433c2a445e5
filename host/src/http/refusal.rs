//! Why a request is refused before any function sees it.

use std::fmt;

/// A request this server does not serve, in the client's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request line or a header field is malformed.
    Malformed(&'static str),
    /// The chunked framing of the body is malformed.
    MalformedChunk(&'static str),
    TargetTooLong,
    HeadTooLarge,
    TooManyHeaders,
    /// A transfer coding other than chunked.
    UnknownTransferCoding,
    /// CONNECT: this server is no proxy.
    MethodNotImplemented,
    VersionNotSupported,
    /// An expectation other than 100-continue.
    ExpectationFailed,
    BodyTooLarge {
        limit_bytes: u64,
    },
    HeadTimeout,
    BodyTimeout,
    /// The client closed its side before the body was complete.
    BodyIncomplete,
}

impl Refusal {
    /// The status code of the response.
    pub fn status(self) -> u16 {
        match self {
            Refusal::Malformed(_) | Refusal::MalformedChunk(_) | Refusal::BodyIncomplete => 400,
            Refusal::HeadTimeout | Refusal::BodyTimeout => 408,
            Refusal::BodyTooLarge { .. } => 413,
            Refusal::TargetTooLong => 414,
            Refusal::ExpectationFailed => 417,
            Refusal::HeadTooLarge | Refusal::TooManyHeaders => 431,
            Refusal::UnknownTransferCoding | Refusal::MethodNotImplemented => 501,
            Refusal::VersionNotSupported => 505,
        }
    }

    /// A word for machines.
    pub fn code(self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "malformed_request",
            Refusal::MalformedChunk(_) => "malformed_chunk",
            Refusal::TargetTooLong => "target_too_long",
            Refusal::HeadTooLarge => "head_too_large",
            Refusal::TooManyHeaders => "too_many_headers",
            Refusal::UnknownTransferCoding => "unknown_transfer_coding",
            Refusal::MethodNotImplemented => "method_not_implemented",
            Refusal::VersionNotSupported => "version_not_supported",
            Refusal::ExpectationFailed => "expectation_failed",
            Refusal::BodyTooLarge { .. } => "body_too_large",
            Refusal::HeadTimeout => "head_timeout",
            Refusal::BodyTimeout => "body_timeout",
            Refusal::BodyIncomplete => "body_incomplete",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Malformed(what) => write!(f, "malformed request: {what}"),
            Refusal::MalformedChunk(what) => write!(f, "malformed chunked body: {what}"),
            Refusal::TargetTooLong => {
                write!(
                    f,
                    "the request target is longer than {} bytes",
                    super::TARGET_BYTES_MAX
                )
            }
            Refusal::HeadTooLarge => {
                write!(
                    f,
                    "the request head is larger than {} bytes",
                    super::HEAD_BYTES_MAX
                )
            }
            Refusal::TooManyHeaders => {
                write!(
                    f,
                    "the request has more than {} header fields",
                    super::HEADERS_MAX
                )
            }
            Refusal::UnknownTransferCoding => {
                f.write_str("the only transfer coding understood here is chunked")
            }
            Refusal::MethodNotImplemented => {
                f.write_str("CONNECT is for proxies; this is a server")
            }
            Refusal::VersionNotSupported => f.write_str("this server speaks HTTP/1.0 and HTTP/1.1"),
            Refusal::ExpectationFailed => {
                f.write_str("the only expectation understood here is 100-continue")
            }
            Refusal::BodyTooLarge { limit_bytes } => {
                write!(f, "the request body is larger than {limit_bytes} bytes")
            }
            Refusal::HeadTimeout => f.write_str("the request head took too long to arrive"),
            Refusal::BodyTimeout => f.write_str("the request body took too long to arrive"),
            Refusal::BodyIncomplete => {
                f.write_str("the connection ended before the request body was complete")
            }
        }
    }
}

impl std::error::Error for Refusal {}
