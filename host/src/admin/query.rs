//! Query strings as `application/x-www-form-urlencoded` (WHATWG URL Standard, section 5.1).

/// The pairs of a query in order. The error says what cannot be decoded.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

/// Encodes pairs as a query.
pub fn encode(pairs: &[(String, String)]) -> String {
    let parts: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
        .collect();
    parts.join("&")
}

fn decode(text: &str) -> Result<String, String> {
    let bad = || format!("the query has {text:?}, which is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
                let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
                (high * 16 + low) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_round_trip() {
        let list = [
            ("memory", "64MiB"),
            ("env.A", "a=b&c d+ü%\n"),
            ("empty", ""),
        ];
        let list: Vec<_> = list
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        assert_eq!(pairs(&encode(&list)), Ok(list));
        assert_eq!(pairs(""), Ok(Vec::new()));
        assert_eq!(
            pairs("a&b=1+2").unwrap(),
            [("a".into(), "".into()), ("b".into(), "1 2".into())]
        );
    }

    #[test]
    fn bad_encodings_are_refused() {
        for query in ["a=%", "a=%4", "a=%zz", "a=%ff", "%80=1"] {
            assert!(pairs(query).is_err(), "{query}");
        }
    }
}
