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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let decoded = |query| pairs(query).unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(decoded(""), []);
        assert_eq!(decoded("a&b=1+2&"), [pair("a", ""), pair("b", "1 2")]);
        assert_eq!(
            decoded("env.A=a%3Db%26c=d%2B%C3%bc%25%0a"),
            [pair("env.A", "a=b&c=d+ü%\n")]
        );
    }

    #[test]
    fn bad_encodings_are_refused() {
        for query in ["a=%", "a=%4", "a=%zz", "a=%ff", "%80=1"] {
            assert!(pairs(query).is_err(), "{query}");
        }
    }
}
