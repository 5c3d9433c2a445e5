//! Names of functions: what may stand in a URL, in a file name and in a log line without quoting.

use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// The name of a function: `[a-z0-9][a-z0-9._-]{0,62}`.
///
/// A value of this type can neither climb out of a directory nor break a line of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName(String);

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// A text that cannot name a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidName(String);

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} cannot name a function; a name has at most {NAME_BYTES_MAX} of a-z, 0-9, '.', '_' and '-' and begins with a letter or digit",
            self.0
        )
    }
}

impl std::error::Error for InvalidName {}

impl FunctionName {
    /// Whether the text is a name.
    pub fn is_valid(text: &str) -> bool {
        let bytes = text.as_bytes();
        let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        bytes.len() <= NAME_BYTES_MAX
            && bytes.first().is_some_and(alphanumeric)
            && bytes
                .iter()
                .all(|b| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-'))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FunctionName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<FunctionName, InvalidName> {
        FunctionName::try_from(text.to_owned())
    }
}

impl TryFrom<String> for FunctionName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<FunctionName, InvalidName> {
        if FunctionName::is_valid(&text) {
            Ok(FunctionName(text))
        } else {
            Err(InvalidName(text))
        }
    }
}

impl From<FunctionName> for String {
    fn from(name: FunctionName) -> String {
        name.0
    }
}

impl Borrow<str> for FunctionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for FunctionName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "0", "hello-world", "v1.2_x", &"a".repeat(63)] {
            assert!(good.parse::<FunctionName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "-a",
            "_a",
            ".a",
            "A",
            "a/b",
            "a b",
            "a\n",
            "a\0",
            "ä",
            "../x",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_name_in_json_is_refused() {
        assert!(serde_json::from_str::<FunctionName>("\"../etc\"").is_err());
        assert!(serde_json::from_str::<FunctionName>("\"ok\"").is_ok());
    }
}
