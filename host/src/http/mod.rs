//! HTTP/1.0 and 1.1 on the wire (RFC 9110, RFC 9112): bytes in, requests out; responses in, bytes out. No I/O.
//!
//! Requests are read strictly. Whatever two implementations could understand differently (two lengths, odd chunk sizes,
//! folded lines, a bare CR or LF) is refused and ends the connection, so that nothing in front of this server
//! can be made to disagree with it about where a request ends (request smuggling, RFC 9112 section 11.2).
#![forbid(unsafe_code)]

pub mod body;
pub mod date;
pub mod head;
pub mod refusal;
pub mod response;

pub use body::{BodyDecoder, Decoded};
pub use date::DateCache;
pub use head::{Framing, Head, HeaderStorage, Target, Version};
pub use refusal::Refusal;
pub use response::{Connection, Response, ResponseError};

/// The longest request target. RFC 9112 section 3 asks for at least 8,000 octets for the whole request line.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// The longest request head: request line and header fields.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The most header fields in a request.
pub const HEADERS_MAX: usize = 100;
/// The longest line with a chunk's size and extensions.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// All chunk extensions of one body together: they carry nothing, so much of them is an attack.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 16 * 1024;
/// The trailer section of a chunked body.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

const _: () = assert!(TARGET_BYTES_MAX + 1024 <= HEAD_BYTES_MAX);

/// Whether a byte may be part of a token (RFC 9110 section 5.6.2): a method or the name of a header field.
pub const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
}

/// Whether a byte may be part of a field value (RFC 9110 section 5.5).
pub const fn is_field_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=0x7e | 0x80..=0xff)
}
