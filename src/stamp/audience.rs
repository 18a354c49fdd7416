//! Audience: the recipient of a stamp, as an address or as a salted hash of one. With the hash, a stamp in a header
//! field does not disclose a recipient that the message does not disclose.
//!
//! The hashed form is `~` salt `.` hash, both in base64url without padding (RFC 4648 section 5): the salt of 16 bytes
//! (22 characters), the hash of 32 bytes (43 characters). The hash is SHA-256 over the 16 bytes of the salt followed by
//! the UTF-8 bytes of the canonical address (see [`crate::message::address`]: local part unquoted, in NFC, ASCII
//! letters in lower case; `@`; domain as lower-case A-labels). An address that begins with `~` is not mistaken for it,
//! because it has an `@`.

use crate::message::address::{Address, AddressError, Pattern};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use std::fmt;

/// The recipient that a stamp names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    Plain(Address),
    /// The hash of the address.
    Hashed {
        /// The salt, which makes the hash different on every stamp.
        salt: [u8; 16],
        /// SHA-256 over salt and canonical address.
        digest: [u8; 32],
    },
}

/// Neither an address nor `~salt.hash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudienceError {
    /// Begins like a hashed one, but is not well formed.
    #[error("not of the form '~salt.hash'")]
    Hashed,
    /// Not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl Audience {
    /// Parses an audience from the claim `aud`.
    ///
    /// # Errors
    /// [`AudienceError`] when it is neither form.
    pub fn parse(text: &str) -> Result<Self, AudienceError> {
        match text.strip_prefix('~') {
            Some(hashed) if !text.contains('@') => parse_hashed(hashed).ok_or(AudienceError::Hashed),
            _ => Ok(Self::Plain(Address::parse(text)?)),
        }
    }

    /// Makes the hashed audience of `address`; the salt must be random.
    #[must_use]
    pub fn hashed(address: &Address, salt: [u8; 16]) -> Self {
        Self::Hashed { salt, digest: digest(&salt, address) }
    }

    /// Returns the recipient, unless it is hashed.
    #[must_use]
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Plain(address) => Some(address),
            Self::Hashed { .. } => None,
        }
    }

    /// Whether this address is the recipient.
    /// Local parts compare without case, as they are hashed.
    #[must_use]
    pub fn names(&self, address: &Address) -> bool {
        match self {
            Self::Plain(own) => own == address,
            Self::Hashed { salt, digest: named } => digest(salt, address) == *named,
        }
    }

    /// Whether an address of the pattern is the recipient.
    /// A hash is compared with an exact address only. For tags and wildcards, pass the envelope's recipient to
    /// [`names`](Self::names).
    #[must_use]
    pub fn overlaps(&self, pattern: &Pattern) -> bool {
        match self {
            Self::Plain(address) => pattern.matches(address),
            Self::Hashed { .. } => pattern.exact().is_some_and(|address| self.names(address)),
        }
    }
}

/// Formats the claim `aud`.
impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(address) => address.fmt(f),
            Self::Hashed { salt, digest } => {
                write!(f, "~{}.{}", BASE64URL_NOPAD.encode(salt), BASE64URL_NOPAD.encode(digest))
            }
        }
    }
}

fn digest(salt: &[u8; 16], address: &Address) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(address.canonical()).finalize().into()
}

fn parse_hashed(text: &str) -> Option<Audience> {
    let (salt, digest) = text.split_once('.')?;
    // The longest valid parts. Longer ones are not decoded.
    if salt.len() > 22 || digest.len() > 43 {
        return None;
    }
    let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
    Some(Audience::Hashed { salt: decode(salt)?.try_into().ok()?, digest: decode(digest)?.try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    // BP4d
    #[test]
    fn both_forms_name_one_mailbox_in_all_its_spellings() {
        let plain = Audience::parse("Joe@Bücher.example").unwrap();
        let hashed = Audience::hashed(&address("Joe@Bücher.example"), [5; 16]);
        for audience in [plain, Audience::parse(&hashed.to_string()).unwrap(), hashed] {
            for spelling in ["joe@xn--bcher-kva.example", "\"joe\"@BÜCHER.example.", "JOE@bücher.example"] {
                assert!(audience.names(&address(spelling)), "{audience} {spelling}");
            }
            for other in ["joe@bucher.example", "joe+x@bücher.example", "jo@bücher.example"] {
                assert!(!audience.names(&address(other)), "{audience} {other}");
            }
        }
    }

    // A vector made with Python:
    // base64.urlsafe_b64encode(hashlib.sha256(bytes(range(16)) + b"joe@example.org").digest())
    #[test]
    fn the_hash_is_the_one_of_the_manual() {
        let salt: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let text = Audience::hashed(&address("\"Joe\"@Example.ORG."), salt).to_string();
        assert_eq!(text, "~AAECAwQFBgcICQoLDA0ODw._PFnDs370ijuosk5ud-YaSvEucL6-6Y4kVhIQg_Phho");
    }

    #[test]
    fn a_hash_shows_nothing_and_differs_with_the_salt() {
        let (one, two) =
            (Audience::hashed(&address("joe@a.b"), [1; 16]), Audience::hashed(&address("joe@a.b"), [2; 16]));
        assert_ne!(one, two);
        assert!(!one.to_string().contains("joe"));
    }

    #[test]
    fn patterns_are_met_by_a_hash_only_when_exact() {
        let joe = address("joe+x@a.b");
        let pattern = |text: &str| Pattern::parse(text).unwrap();
        for (audience, wild) in [(Audience::Plain(joe.clone()), true), (Audience::hashed(&joe, [1; 16]), false)] {
            assert!(audience.overlaps(&pattern("Joe+X@a.b")));
            assert!(!audience.overlaps(&pattern("joe@a.b")));
            assert_eq!(audience.overlaps(&pattern("joe+*@a.b")), wild);
            assert_eq!(audience.overlaps(&pattern("*@a.b")), wild);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let good = Audience::hashed(&address("joe@a.b"), [1; 16]).to_string();
        for bad in [
            "",
            "~",
            "~.",
            "~AAAA.AAAA",
            &good[1..],
            &format!("{good}A"),
            &format!("{good}="),
            &good.replace('.', ""),
            &good.replace('.', ".."),
            &format!("~{good}"),
            "joe",
        ] {
            assert!(Audience::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Audience::parse("~x.y@a.b"), Ok(Audience::Plain(address("~x.y@a.b"))));
    }
}
