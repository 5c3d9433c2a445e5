//! The environment variables of a command, from its request (RFC 3875, section 4.1).

use crate::interface::Request;

/// The path with percent-encoding undone, as PATH_INFO has it. `%00` stays as it is, for no variable can hold a NUL, and
/// so does a `%` that begins no encoding.
pub fn decoded_path(path: &str) -> Vec<u8> {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let byte = match bytes[index..] {
            [b'%', high, low, ..] => hexadecimal(high)
                .zip(hexadecimal(low))
                .map(|(high, low)| high << 4 | low)
                .filter(|&byte| byte != 0),
            _ => None,
        };
        match byte {
            Some(byte) => {
                decoded.push(byte);
                index += 3;
            }
            None => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    decoded
}

fn hexadecimal(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

/// Headers that belong to the connection, not to the request (RFC 9110, section 7.6.1), that have variables of their own, or
/// that would be mistaken for something else: `Proxy` would become HTTP_PROXY, which HTTP clients in a
/// command take for the address of a proxy.
const HEADERS_LEFT_OUT: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "keep-alive",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Calls `put` with the name and value of every variable of the request.
///
/// A header becomes a variable only if its name consists of letters, digits and `-`: with `_` allowed, a client could
/// send `X_User` and have it taken for `X-User`. Fields of the same name are joined, as RFC 9110, section 5.3 allows.
pub fn environment(request: &Request, mut put: impl FnMut(&[u8], &[u8])) {
    put(b"GATEWAY_INTERFACE", b"CGI/1.1");
    put(
        b"SERVER_SOFTWARE",
        concat!("dormouse/", env!("CARGO_PKG_VERSION")).as_bytes(),
    );
    put(b"SERVER_PROTOCOL", b"HTTP/1.1");
    let local_address = request.local.ip().to_string();
    put(
        b"SERVER_NAME",
        server_name(request).unwrap_or(local_address.as_bytes()),
    );
    put(b"SERVER_PORT", request.local.port().to_string().as_bytes());
    put(b"REMOTE_ADDR", request.remote.ip().to_string().as_bytes());
    put(b"REMOTE_PORT", request.remote.port().to_string().as_bytes());
    put(b"REQUEST_METHOD", request.method.as_bytes());
    put(b"REQUEST_URI", request.raw_target.as_bytes());
    put(b"SCRIPT_NAME", format!("/{}", request.function).as_bytes());
    put(b"PATH_INFO", &decoded_path(&request.path));
    put(b"QUERY_STRING", request.query.as_bytes());
    put(b"REQUEST_ID", request.id.0.as_bytes());
    // Set if and only if there is a body (RFC 3875, section 4.1.2).
    if let Some(length) = request.content_length.filter(|length| *length > 0) {
        put(b"CONTENT_LENGTH", length.to_string().as_bytes());
    }
    if let Some(content_type) = request.header("content-type") {
        put(b"CONTENT_TYPE", content_type);
    }
    for (index, (name, _)) in request.headers.iter().enumerate() {
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let left_out = HEADERS_LEFT_OUT
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other));
        let repeated = request.headers[..index]
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name));
        if !plain || left_out || repeated {
            continue;
        }
        let mut variable = Vec::with_capacity(5 + name.len());
        variable.extend_from_slice(b"HTTP_");
        variable.extend(name.bytes().map(|byte| match byte {
            b'-' => b'_',
            letter => letter.to_ascii_uppercase(),
        }));
        let mut values = request.headers[index..]
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice());
        let first = values.next().expect("the header itself is among them");
        match values.next() {
            None => put(&variable, first),
            Some(second) => {
                // Cookies are joined the way they are written within one field (RFC 9113, section 8.2.3).
                let comma: &[u8] = if name.eq_ignore_ascii_case("cookie") {
                    b"; "
                } else {
                    b", "
                };
                let mut joined = first.to_vec();
                for value in std::iter::once(second).chain(values) {
                    joined.extend_from_slice(comma);
                    joined.extend_from_slice(value);
                }
                put(&variable, &joined);
            }
        }
    }
}

/// The host the client asked for, without its port.
fn server_name(request: &Request) -> Option<&[u8]> {
    let host = request.header("host").filter(|host| !host.is_empty())?;
    match host.iter().rposition(|&byte| byte == b':') {
        // The colons of an IPv6 address stand in brackets.
        Some(colon) if host[colon..].iter().all(|&byte| byte != b']') => Some(&host[..colon]),
        _ => Some(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::tests::request;
    use std::collections::BTreeMap;

    fn variables(request: &Request) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        environment(request, |name, value| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            let value = String::from_utf8_lossy(value).into_owned();
            assert!(
                variables.insert(name, value).is_none(),
                "a variable is set once"
            );
        });
        variables
    }

    #[test]
    fn request_becomes_the_variables_of_rfc_3875() {
        let mut request = request("POST", "/a%20b/%2e", "x=1&y=%20");
        request.content_length = Some(12);
        request.headers = vec![
            ("Host".into(), b"example.org:8080".to_vec()),
            ("content-type".into(), b"text/plain".to_vec()),
            ("Content-Length".into(), b"12".to_vec()),
            ("X-Thing".into(), b"one".to_vec()),
            ("Cookie".into(), b"a=1".to_vec()),
            ("x-thing".into(), b"two".to_vec()),
            ("cookie".into(), b"b=2".to_vec()),
            ("Connection".into(), b"close".to_vec()),
        ];
        let variables = variables(&request);
        for (name, value) in [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REQUEST_METHOD", "POST"),
            ("SCRIPT_NAME", "/web"),
            ("PATH_INFO", "/a b/."),
            ("QUERY_STRING", "x=1&y=%20"),
            ("CONTENT_LENGTH", "12"),
            ("CONTENT_TYPE", "text/plain"),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "8080"),
            ("REMOTE_ADDR", "192.0.2.7"),
            ("HTTP_HOST", "example.org:8080"),
            ("HTTP_X_THING", "one, two"),
            ("HTTP_COOKIE", "a=1; b=2"),
        ] {
            assert_eq!(
                variables.get(name).map(String::as_str),
                Some(value),
                "{name}"
            );
        }
        assert!(!variables.contains_key("HTTP_CONTENT_TYPE"));
        assert!(!variables.contains_key("HTTP_CONTENT_LENGTH"));
        assert!(!variables.contains_key("HTTP_CONNECTION"));
    }

    #[test]
    fn proxy_header_and_underscores_do_not_reach_the_environment() {
        let mut request = request("GET", "", "");
        request.headers = vec![
            ("Proxy".into(), b"evil:3128".to_vec()),
            ("X_Forwarded_For".into(), b"forged".to_vec()),
        ];
        let variables = variables(&request);
        assert!(!variables.keys().any(|name| name.starts_with("HTTP_")));
        assert_eq!(variables["SERVER_NAME"], "127.0.0.1");
        assert_eq!(variables["PATH_INFO"], "");
    }

    #[test]
    fn odd_percent_encodings_stay_as_they_are() {
        assert_eq!(decoded_path("/%00%zz%4"), b"/%00%zz%4");
        assert_eq!(decoded_path("/%C3%A9%25"), b"/\xc3\xa9%");
    }

    #[test]
    fn ipv6_hosts_keep_their_brackets() {
        let mut request = request("GET", "", "");
        for (host, name) in [("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a", "a")] {
            request.headers = vec![("host".into(), host.as_bytes().to_vec())];
            assert_eq!(variables(&request)["SERVER_NAME"], name);
        }
    }
}
