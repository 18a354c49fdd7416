//! Token: the form of a stamp on the wire. It is PASETO version 4, public (paseto.io, "Version 4"): `v4.public.`, then
//! payload and signature in base64url, then, after another dot, the footer. This module has no cryptography and does
//! not read the payload. The content of a token is untrusted until its signature holds.

use super::strict_json;
use crate::message::address::{Address, canonical_domain};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use std::fmt;

/// The longest stamp, in characters.
pub const TOKEN_MAX: usize = 8 * 1024;

/// The longest payload of a stamp, in bytes.
pub const PAYLOAD_MAX: usize = 2 * 1024;

/// The longest footer, in bytes.
pub const FOOTER_MAX: usize = 1024;

/// The header of every token here; it fixes the algorithm.
pub(super) const HEADER: &str = "v4.public.";

/// The length of an Ed25519 signature, in bytes.
const SIGNATURE_LEN: usize = 64;

/// The purpose of a signature.
/// It goes into the signature as PASETO's implicit assertion and is not sent, so a token for one purpose does not hold
/// for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A stamp, signed by its vendor or, for a correspondent's own stamp, by the correspondent.
    Stamp,
    /// One use of a stamp, signed by its holder.
    Use,
    /// A list of vendors and their keys.
    Directory,
    /// An order for stamps or credits.
    Order,
    Receipt,
    /// A result that a boundary passes on to the hosts behind it.
    Seal,
    /// A correspondent's own keys.
    Announcement,
    /// The key that follows another one of a correspondent.
    Succession,
    /// A payment from one mail server to another, signed by the payer's meter (mailstamp-emstamp(5)).
    Meter,
    /// A request to an agency, signed by the meter of an account.
    MeterRequest,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Self; 10] = [
        Self::Stamp,
        Self::Use,
        Self::Directory,
        Self::Order,
        Self::Receipt,
        Self::Seal,
        Self::Announcement,
        Self::Succession,
        Self::Meter,
        Self::MeterRequest,
    ];

    /// The implicit assertion.
    #[must_use]
    pub fn assertion(self) -> &'static [u8] {
        match self {
            Self::Stamp => b"digital-stamp",
            Self::Use => b"digital-stamp-use",
            Self::Directory => b"digital-stamp-directory",
            Self::Order => b"digital-stamp-order",
            Self::Receipt => b"digital-stamp-receipt",
            Self::Seal => b"digital-stamp-seal",
            Self::Announcement => b"digital-stamp-key",
            Self::Succession => b"digital-stamp-key-next",
            Self::Meter => b"digital-stamp-meter",
            Self::MeterRequest => b"digital-stamp-meter-request",
        }
    }
}

/// A text is not a token that can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A PASETO token of an unknown version or kind.
    #[error("a token of a version that this program does not know")]
    UnknownVersion,
    #[error("the token is too long")]
    TooLong,
    #[error("not a well-formed token: {0}")]
    Malformed(&'static str),
}

/// A well-formed token, with the exact characters that were received.
/// Its content is untrusted before a key verifies it ([`PublicKey::verify`](super::signing::PublicKey::verify)).
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    payload: Vec<u8>,
    signature: [u8; SIGNATURE_LEN],
    footer: Vec<u8>,
}

impl Token {
    /// Parses a stamp, or a token of a stamp's size.
    /// White space must be removed before.
    ///
    /// # Errors
    /// [`TokenError`]: too long (8 KiB; of these, payload 2 KiB and footer 1 KiB, else malformed), of another version,
    /// or not well formed. Base64url is parsed strictly (no padding, no stray bits), so that a token has one spelling
    /// only.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let token = Self::parse_document(text, TOKEN_MAX)?;
        if token.payload.len() > PAYLOAD_MAX {
            return Err(TokenError::Malformed("its payload is too long for a stamp"));
        }
        Ok(token)
    }

    /// Parses a token of up to `longest` characters, as a signed directory may be; else like [`Token::parse`].
    pub fn parse_document(text: &str, longest: usize) -> Result<Self, TokenError> {
        if text.len() > longest {
            return Err(TokenError::TooLong);
        }
        let Some(rest) = text.strip_prefix(HEADER) else {
            return Err(if is_other_version(text) {
                TokenError::UnknownVersion
            } else {
                TokenError::Malformed("it does not begin with 'v4.public.'")
            });
        };
        let (body, footer) = match rest.split_once('.') {
            Some((_, "")) => return Err(TokenError::Malformed("it ends with a dot")),
            Some((body, footer)) => (body, footer),
            None => (rest, ""),
        };
        let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes());
        let mut payload = decode(body).map_err(|_| TokenError::Malformed("its body is not base64url"))?;
        let footer = decode(footer).map_err(|_| TokenError::Malformed("its footer is not base64url"))?;
        let (_, signature) =
            payload.split_last_chunk().ok_or(TokenError::Malformed("it is too short to hold a signature"))?;
        let signature = *signature;
        if footer.len() > FOOTER_MAX {
            return Err(TokenError::Malformed("its footer is too long"));
        }
        payload.truncate(payload.len() - SIGNATURE_LEN);
        Ok(Self { text: text.to_owned(), payload, signature, footer })
    }

    /// Assembles a token; `signature` is over exactly these parts.
    pub(super) fn assemble(payload: &[u8], footer: &[u8], signature: [u8; SIGNATURE_LEN]) -> Self {
        let body = [payload, &signature[..]].concat();
        let mut text = format!("{HEADER}{}", BASE64URL_NOPAD.encode(&body));
        if !footer.is_empty() {
            text.push('.');
            BASE64URL_NOPAD.encode_append(footer, &mut text);
        }
        Self { text, payload: payload.to_vec(), signature, footer: footer.to_vec() }
    }

    /// Returns the payload bytes that the signature covers.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns the footer; empty when there is none. The signature covers it too.
    #[must_use]
    pub fn footer(&self) -> &[u8] {
        &self.footer
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8; SIGNATURE_LEN] {
        &self.signature
    }

    /// Returns the token as received.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the claimed signer.
    /// It serves to choose a key, and is untrusted before the signature holds.
    ///
    /// # Errors
    /// [`TokenError::Malformed`] when the footer is not a JSON object without repeated names, whose members `iss` and
    /// `kid` make an [`Issuer`]. Other members are ignored.
    pub fn issuer(&self) -> Result<Issuer, TokenError> {
        let footer = strict_json::object(&self.footer)
            .map_err(|_| TokenError::Malformed("its footer is not a JSON object with each name once"))?;
        match (footer.get("iss"), footer.get("kid")) {
            (Some(Value::String(vendor)), Some(Value::String(key_id))) => Issuer::new(vendor, key_id)
                .map_err(|_| TokenError::Malformed("its footer names no possible vendor and key")),
            _ => Err(TokenError::Malformed("its footer does not name vendor and key")),
        }
    }
}

/// Hides the characters from logs: any reader of a token could use it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} characters)", self.text.len())
    }
}

/// The vendor that signed, and which of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Issuer {
    vendor: String,
    key_id: String,
}

/// Not the name of a vendor, or not the name of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// Not a domain in lower-case A-labels, nor a canonical address.
    #[error("not the name of a vendor: write a domain (IDN as xn--...) or a correspondent's address, in lower case")]
    Vendor,
    #[error("not the name of a key: write 1 to 64 letters, digits, '.', '_' or '-'")]
    KeyId,
}

impl Issuer {
    /// Names a vendor and one of its keys.
    ///
    /// # Errors
    /// [`IssuerError`] when the vendor is not named by a domain (lower-case A-labels, no trailing dot, no literal) or,
    /// for a correspondent, by an address in canonical form; or when the key's name does not fit. The name is not
    /// folded: one vendor has one name, compared byte by byte everywhere.
    pub fn new(vendor: &str, key_id: &str) -> Result<Self, IssuerError> {
        let canonical = match Address::parse(vendor) {
            Ok(address) => address.canonical() == vendor && address.to_string() == vendor,
            Err(_) => !vendor.starts_with('[') && canonical_domain(vendor).is_ok_and(|domain| domain == vendor),
        };
        if !canonical {
            return Err(IssuerError::Vendor);
        }
        let fits = (1..=64).contains(&key_id.len());
        if !fits || !key_id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return Err(IssuerError::KeyId);
        }
        Ok(Self { vendor: vendor.to_owned(), key_id: key_id.to_owned() })
    }

    /// Returns the vendor's domain, or the correspondent's address.
    #[must_use]
    pub fn vendor(&self) -> &str {
        &self.vendor
    }

    /// Whether it is a correspondent or a mailing list, and no vendor.
    #[must_use]
    pub fn is_address(&self) -> bool {
        self.vendor.contains('@')
    }

    /// Returns the name of the key, unique for its vendor.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Encodes the footer: `{"iss":"stamps.example","kid":"2026q4"}`.
    #[must_use]
    pub fn footer(&self) -> Vec<u8> {
        format!(r#"{{"iss":{},"kid":"{}"}}"#, Value::from(self.vendor.as_str()), self.key_id).into_bytes()
    }
}

/// Returns PASETO's pre-authentication encoding of the pieces.
/// It is their number and, before each piece, its length, as 64-bit little-endian numbers. No two lists of pieces give
/// the same bytes.
#[must_use]
pub fn pae(pieces: &[&[u8]]) -> Vec<u8> {
    // The specification keeps the topmost bit clear; no slice is that long.
    let number = |n: usize| (n as u64 & (u64::MAX >> 1)).to_le_bytes();
    let mut encoded = number(pieces.len()).to_vec();
    for piece in pieces {
        encoded.extend_from_slice(&number(piece.len()));
        encoded.extend_from_slice(piece);
    }
    encoded
}

/// Whether this is a token of the same family: `v`, a number, `public` or `local`, one or two parts in base64url.
fn is_other_version(text: &str) -> bool {
    let mut parts = text.split('.');
    let version = parts.next().and_then(|part| part.strip_prefix('v')).unwrap_or("");
    let kind = parts.next().unwrap_or("");
    let rest: Vec<&str> = parts.collect();
    (1..=3).contains(&version.len())
        && version.bytes().all(|b| b.is_ascii_digit())
        && matches!(kind, "public" | "local")
        && matches!(rest.len(), 1 | 2)
        && rest.iter().all(|part| !part.is_empty() && part.bytes().all(is_base64url))
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn malformed(text: &str) -> bool {
        matches!(Token::parse(text), Err(TokenError::Malformed(_)))
    }

    #[test]
    fn a_token_comes_apart_as_it_was_put_together() {
        for (payload, footer) in [(&b"{}"[..], &b""[..]), (b"", b"f"), (b"payload", b"{\"iss\":1}")] {
            let token = Token::assemble(payload, footer, [7; 64]);
            let read = Token::parse(token.as_str()).unwrap();
            assert_eq!(read, token);
            assert_eq!((read.payload(), read.footer(), read.signature()), (payload, footer, &[7; 64]));
        }
    }

    #[test]
    fn other_versions_are_told_from_garbage() {
        for text in ["v3.public.AAAA", "v4.local.AAAA.BBBB", "v5.public.AA", "v2.local.A-_", "v10.public.AAAA"] {
            assert_eq!(Token::parse(text), Err(TokenError::UnknownVersion), "{text}");
        }
        for text in [
            "",
            "v",
            "v4",
            "v4.public",
            "v4.public.",
            "v4.public.AAAA",
            "v4.secret.AAAA",
            "v5.public.",
            "v5.public.A!",
            "v5.public.A.B.C",
            "v5.public.A.",
            "vx.public.AAAA",
            "V4.public.AAAA",
            " v4.public.AAAA",
            "v1234.public.AA",
        ] {
            assert!(malformed(text), "{text}");
        }
    }

    #[test]
    fn there_is_one_spelling_of_a_token() {
        let text = Token::assemble(b"{}", b"footer!", [0; 64]).as_str().to_owned();
        assert!(Token::parse(&text).is_ok());
        for other in [
            format!("{text}."),
            format!("{text}="),
            format!("{text}.AAAA"),
            format!("{text}\n"),
            text.replace("v4", "V4"),
        ] {
            assert!(malformed(&other), "{other}");
        }
        // "IQ" ends in four unused bits: "IR" decodes to the same byte where bits are not checked.
        let (body, footer) = text.rsplit_once('.').unwrap();
        assert_eq!(footer, "Zm9vdGVyIQ");
        assert!(malformed(&format!("{body}.Zm9vdGVyIR")));
        let padded = Token::assemble(b"{}", b"", [0; 64]);
        assert!(malformed(&format!("{}==", padded.as_str())));
    }

    #[test]
    fn sizes_are_capped() {
        let token = |payload: usize, footer: usize| {
            Token::parse(Token::assemble(&vec![b' '; payload], &vec![b' '; footer], [0; 64]).as_str()).map(drop)
        };
        assert_eq!(token(PAYLOAD_MAX, FOOTER_MAX), Ok(()));
        assert!(matches!(token(PAYLOAD_MAX + 1, 0), Err(TokenError::Malformed(_))));
        assert!(matches!(token(1, FOOTER_MAX + 1), Err(TokenError::Malformed(_))));
        assert_eq!(token(TOKEN_MAX, 0), Err(TokenError::TooLong));
        let large = Token::assemble(&[b' '; 100_000], b"", [0; 64]);
        assert!(Token::parse_document(large.as_str(), 200_000).is_ok());
        assert_eq!(Token::parse_document(large.as_str(), 100_000), Err(TokenError::TooLong));
    }

    fn issuer(footer: &str) -> Result<Issuer, TokenError> {
        Token::assemble(b"{}", footer.as_bytes(), [0; 64]).issuer()
    }

    // BP2c: the vendor stands there in clear text.
    #[test]
    fn the_footer_names_vendor_and_key() {
        let ours = Issuer::new("stamps.example", "2026q4").unwrap();
        assert_eq!(ours.footer(), br#"{"iss":"stamps.example","kid":"2026q4"}"#);
        assert_eq!(issuer(r#"{"kid":"2026q4", "iss":"stamps.example", "x":[1]}"#), Ok(ours));
        let peer = Issuer::new("bob@example.org", "1").unwrap();
        assert_eq!(issuer(std::str::from_utf8(&peer.footer()).unwrap()), Ok(peer));
        let quoting = Issuer::new("\u{fc}@example.org", "1").unwrap();
        assert_eq!(issuer(std::str::from_utf8(&quoting.footer()).unwrap()), Ok(quoting));
    }

    #[test]
    fn footers_that_leave_a_doubt_are_refused() {
        let deep = format!(r#"{{"iss":"a.b","kid":"1","x":{}}}"#, "[".repeat(400) + &"]".repeat(400));
        for footer in [
            "",
            "{}",
            "iss",
            "[]",
            r#"{"iss":"a.b"}"#,
            r#"{"kid":"1"}"#,
            r#"{"iss":1,"kid":"1"}"#,
            r#"{"iss":"a.b","kid":1}"#,
            r#"{"iss":"a.b","kid":"1","iss":"c.d"}"#,
            r#"{"iss":"a.b","kid":"1","\u006bid":"2"}"#,
            r#"{"iss":"A.b","kid":"1"}"#,
            r#"{"iss":"a.b.","kid":"1"}"#,
            r#"{"iss":"","kid":"1"}"#,
            r#"{"iss":"a b","kid":"1"}"#,
            r#"{"iss":"[192.0.2.1]","kid":"1"}"#,
            r#"{"iss":"bücher.example","kid":"1"}"#,
            r#"{"iss":"Bob@a.b","kid":"1"}"#,
            r#"{"iss":"a.b/c","kid":"1"}"#,
            r#"{"iss":"\"b c\"@a.b","kid":"1"}"#,
            r#"{"iss":"a.b","kid":""}"#,
            r#"{"iss":"a.b","kid":"a/b"}"#,
            r#"{"iss":"a.b\u0000","kid":"1"}"#,
            &deep,
        ] {
            assert!(matches!(issuer(footer), Err(TokenError::Malformed(_))), "{footer}");
        }
        assert_eq!(Issuer::new("a.b", &"k".repeat(65)), Err(IssuerError::KeyId));
        assert!(Issuer::new("a.b", &"k".repeat(64)).is_ok());
    }

    // The examples of the specification.
    #[test]
    fn pae_is_that_of_the_specification() {
        assert_eq!(pae(&[]), [0; 8]);
        assert_eq!(pae(&[b""]), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(pae(&[b"test"]), *b"\x01\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0test");
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "(v[0-9]\\.(public|local)\\.)?[A-Za-z0-9_.=\\PC-]{0,200}") {
            if let Ok(token) = Token::parse(&text) {
                prop_assert_eq!(token.as_str(), &text);
                prop_assert_eq!(Token::assemble(token.payload(), token.footer(), *token.signature()), token.clone());
                let _ = token.issuer();
            }
        }
    }
}
