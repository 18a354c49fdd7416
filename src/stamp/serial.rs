//! Serial numbers of stamps: a vendor identifies its stamps by them, and the used log keeps them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A stamp's serial (`jti`): 1 to 64 characters of `[A-Za-z0-9_-]`, unique for its vendor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(String);

/// The text is not 1 to 64 characters of `[A-Za-z0-9_-]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a serial (1 to 64 letters, digits, '_' or '-')")]
pub struct SerialError;

impl Serial {
    /// Parses a serial.
    ///
    /// # Errors
    /// [`SerialError`] when it is empty, too long, or holds another character.
    pub fn new(text: impl Into<String>) -> Result<Self, SerialError> {
        let text = text.into();
        let fits = (1..=64).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            Ok(Self(text))
        } else {
            Err(SerialError)
        }
    }

    /// Makes a serial from 16 random bytes, as this program's vendor side issues it: 22 characters of base64url.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(data_encoding::BASE64URL_NOPAD.encode(&bytes))
    }

    /// Returns the serial as in the claim.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Serial {
    type Error = SerialError;

    fn try_from(text: String) -> Result<Self, SerialError> {
        Self::new(text)
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_and_the_length_are_held() {
        assert!(Serial::new("a").is_ok());
        assert!(Serial::new("A-z_09".repeat(10)).is_ok());
        assert_eq!(Serial::new(""), Err(SerialError));
        assert_eq!(Serial::new("a".repeat(65)), Err(SerialError));
        assert_eq!(Serial::new("a b"), Err(SerialError));
        assert_eq!(Serial::new("ä"), Err(SerialError));
        assert_eq!(Serial::from_random([255; 16]).as_str().len(), 22);
    }
}
