//! Sealing: a stamp encrypted for one correspondent, by HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256),
//! HKDF-SHA256 and ChaCha20Poly1305. Only this file names the library.
//!
//! The sealed text is the encapsulated key (32 bytes) and the ciphertext, in base64url without padding. The `info` of
//! RFC 9180 is `digital-stamp-seal`, the issuer and the holder, with LF between, so that a sealed stamp cannot be
//! passed on as one from or for another address. Base mode authenticates no sender: all who know the key can seal. What
//! is opened is only a claim until the stamp in it verifies ([`super::offer`]).

use crate::message::address::Address;
use crate::stamp::token::{TOKEN_MAX, Token};
use data_encoding::BASE64URL_NOPAD;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use zeroize::{Zeroize, Zeroizing};

/// Length of an encapsulated key, in bytes.
const ENCAPSULATED: usize = 32;
/// Length of the authentication tag, in bytes.
const TAG: usize = 16;
/// Longest stamp that is sealed, in characters: one of an address of the longest kind fits.
const STAMP: usize = 2 * 1024;

/// Longest sealed text, in characters.
pub const SEALED_MAX: usize = 4 * 1024;

const _: () = assert!(STAMP < TOKEN_MAX && (ENCAPSULATED + STAMP + TAG) * 4 / 3 < SEALED_MAX);

/// An X25519 key to which stamps are sealed. Written in base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SealKey(pub [u8; 32]);

/// The secret half. It is wiped from memory when dropped, and is never shown.
pub struct SealSecret([u8; 32]);

/// Not 32 bytes in base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key to seal with (43 characters of base64url)")]
pub struct SealKeyError;

/// A stamp cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the stamp is too long to be sealed")]
    TooLong,
    /// A point of small order: the secret would be a constant.
    #[error("the correspondent's key is a weak one")]
    WeakKey,
}

/// A sealed stamp cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("not a sealed stamp")]
    Malformed,
    /// For another key, issuer or holder, or changed on its way.
    #[error("sealed for another key or between other addresses")]
    NotForKey,
    /// Sealed well, and no stamp.
    #[error("what was sealed is no stamp")]
    NoStamp,
}

/// Seals a stamp. `ephemeral` has to be random, and used once.
///
/// # Errors
/// [`SealError`]: nothing was sealed.
pub fn seal(
    stamp: &Token,
    issuer: &Address,
    holder: &Address,
    to: &SealKey,
    ephemeral: &[u8; 32],
) -> Result<String, SealError> {
    if stamp.as_str().len() > STAMP {
        return Err(SealError::TooLong);
    }
    let sealed = seal_bytes(stamp.as_str().as_bytes(), &info(issuer, holder), b"", to, ephemeral);
    sealed.map(|sealed| BASE64URL_NOPAD.encode(&sealed)).ok_or(SealError::WeakKey)
}

/// Opens a sealed stamp, of which white space was removed before.
///
/// # Errors
/// [`OpenError`]: there is no stamp for this key between these addresses.
pub fn open(text: &str, issuer: &Address, holder: &Address, secret: &SealSecret) -> Result<Token, OpenError> {
    if text.len() > SEALED_MAX {
        return Err(OpenError::Malformed);
    }
    let sealed = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| OpenError::Malformed)?;
    if sealed.len() <= ENCAPSULATED + TAG {
        return Err(OpenError::Malformed);
    }
    let opened = open_bytes(&sealed, &info(issuer, holder), b"", secret).ok_or(OpenError::NotForKey)?;
    let stamp = std::str::from_utf8(&opened).map_err(|_| OpenError::NoStamp)?;
    Token::parse(stamp).map_err(|_| OpenError::NoStamp)
}

/// Returns the `info` between two addresses.
fn info(issuer: &Address, holder: &Address) -> Vec<u8> {
    format!("digital-stamp-seal\n{}\n{}", issuer.canonical(), holder.canonical()).into_bytes()
}

fn seal_bytes(plain: &[u8], info: &[u8], aad: &[u8], to: &SealKey, ephemeral: &[u8; 32]) -> Option<Vec<u8>> {
    let to = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&to.0).ok()?;
    let mut drawn = Drawn::new(ephemeral);
    let (key, text) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &to,
        info,
        plain,
        aad,
        &mut drawn,
    )
    .ok()?;
    Some([&key.to_bytes()[..], &text].concat())
}

fn open_bytes(sealed: &[u8], info: &[u8], aad: &[u8], secret: &SealSecret) -> Option<Zeroizing<Vec<u8>>> {
    let (key, text) = sealed.split_at_checked(ENCAPSULATED)?;
    let key = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(key).ok()?;
    let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret.key()?,
        &key,
        info,
        text,
        aad,
    );
    opened.ok().map(Zeroizing::new)
}

impl SealSecret {
    /// Makes the key from 32 random bytes (RFC 7748 section 5).
    /// The caller must wipe its copy.
    #[must_use]
    pub fn from_random(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// Parses the text form, for a key file.
    ///
    /// # Errors
    /// [`SealKeyError`] when it is none.
    pub fn parse(text: &str) -> Result<Self, SealKeyError> {
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| SealKeyError)?);
        Ok(Self(bytes.as_slice().try_into().map_err(|_| SealKeyError)?))
    }

    /// Returns the text form, for a key file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        // Allocated in full, since a string that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(BASE64URL_NOPAD.encode_len(self.0.len())));
        BASE64URL_NOPAD.encode_append(&self.0, &mut text);
        text
    }

    /// Returns the key to which others seal.
    #[must_use]
    pub fn public(&self) -> SealKey {
        let public = self.key().map(|key| X25519HkdfSha256::sk_to_pk(&key).to_bytes());
        SealKey(public.map(Into::into).unwrap_or_default())
    }

    fn key(&self) -> Option<<X25519HkdfSha256 as Kem>::PrivateKey> {
        <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&self.0).ok()
    }
}

impl Drop for SealSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SealSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealSecret(of {})", self.public())
    }
}

impl FromStr for SealKey {
    type Err = SealKeyError;

    fn from_str(text: &str) -> Result<Self, SealKeyError> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| SealKeyError)?;
        bytes.try_into().map(Self).map_err(|_| SealKeyError)
    }
}

impl fmt::Display for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({self})")
    }
}

text_form!(SealKey);

/// Random numbers that the caller drew. The library asks for 32 bytes, once. Further ones would be hashes over these,
/// so that no answer is ever a constant.
struct Drawn {
    seed: Zeroizing<[u8; 32]>,
    blocks: u64,
}

impl Drawn {
    fn new(seed: &[u8; 32]) -> Self {
        Self { seed: Zeroizing::new(*seed), blocks: 0 }
    }

    fn block(&mut self) -> [u8; 32] {
        let number = self.blocks;
        self.blocks += 1;
        match number {
            0 => *self.seed,
            number => Sha256::new().chain_update(*self.seed).chain_update(number.to_be_bytes()).finalize().into(),
        }
    }
}

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let [a, b, c, d, ..] = self.block();
        Ok(u32::from_be_bytes([a, b, c, d]))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let [a, b, c, d, e, f, g, h, ..] = self.block();
        Ok(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for part in bytes.chunks_mut(32) {
            part.iter_mut().zip(self.block()).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::signing::SecretKey;
    use crate::stamp::token::Purpose;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> [u8; 32] {
        HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn stamp() -> Token {
        SecretKey::from_random(&[2; 32]).sign(b"{\"jti\":\"1\"}", b"{}", Purpose::Stamp)
    }

    // RFC 9180 appendix A.2.1, sequence number 0.
    #[test]
    fn the_vector_of_the_rfc_comes_out() {
        let secret = SealSecret(bytes("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb"));
        let to = SealKey(bytes("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"));
        assert_eq!(secret.public(), to);
        let ephemeral = bytes("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b");
        let plain = b"Beauty is truth, truth beauty";
        let sealed = seal_bytes(plain, b"Ode on a Grecian Urn", b"Count-0", &to, &ephemeral).unwrap();
        assert_eq!(
            HEXLOWER.encode(&sealed),
            "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a\
             1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
        );
        let opened = open_bytes(&sealed, b"Ode on a Grecian Urn", b"Count-0", &secret).unwrap();
        assert_eq!(&opened[..], plain);
        assert_eq!(open_bytes(&sealed, b"Ode on a Grecian Urn", b"Count-1", &secret), None);
        assert_eq!(open_bytes(&sealed, b"Ode on a Grecian urn", b"Count-0", &secret), None);
    }

    // BK3, BK4
    #[test]
    fn only_the_holder_opens_a_sealed_stamp() {
        let (holder, stranger) = (SealSecret::from_random(&[7; 32]), SealSecret::from_random(&[8; 32]));
        let (a, b, c) = (address("a@x.example"), address("b@y.example"), address("c@z.example"));
        let sealed = seal(&stamp(), &b, &a, &holder.public(), &[9; 32]).unwrap();
        assert_eq!(open(&sealed, &b, &a, &holder), Ok(stamp()));
        assert_eq!(open(&sealed, &address("B@Y.example"), &a, &holder), Ok(stamp()));
        assert_eq!(open(&sealed, &b, &a, &stranger), Err(OpenError::NotForKey));
        for (issuer, of) in [(&c, &a), (&b, &c), (&a, &b)] {
            assert_eq!(open(&sealed, issuer, of, &holder), Err(OpenError::NotForKey));
        }
        assert_eq!(open("", &b, &a, &holder), Err(OpenError::Malformed));
        assert_eq!(open("####", &b, &a, &holder), Err(OpenError::Malformed));
        assert_eq!(open(&"A".repeat(64), &b, &a, &holder), Err(OpenError::Malformed));
        assert_eq!(open(&"A".repeat(SEALED_MAX + 4), &b, &a, &holder), Err(OpenError::Malformed));
        assert_eq!(open(&"A".repeat(SEALED_MAX), &b, &a, &holder), Err(OpenError::NotForKey));
        let no_stamp = seal_bytes(b"v4.public.x", &info(&b, &a), b"", &holder.public(), &[9; 32]).unwrap();
        assert_eq!(open(&BASE64URL_NOPAD.encode(&no_stamp), &b, &a, &holder), Err(OpenError::NoStamp));
        // Sealed twice, it looks unlike, and adds 64 characters' worth of bytes at most.
        assert_ne!(seal(&stamp(), &b, &a, &holder.public(), &[1; 32]).unwrap(), sealed);
        assert_eq!(sealed.len(), BASE64URL_NOPAD.encode_len(stamp().as_str().len() + ENCAPSULATED + TAG));
        let long = SecretKey::from_random(&[2; 32]).sign(&[b' '; STAMP], b"{}", Purpose::Stamp);
        assert_eq!(seal(&long, &b, &a, &holder.public(), &[9; 32]), Err(SealError::TooLong));
    }

    // The points of small order on the curve and its twist: 0, 1, the two of order 8, and p - 1, p, p + 1.
    #[test]
    fn nothing_is_sealed_to_a_weak_key() {
        let (a, b) = (address("a@x.example"), address("b@y.example"));
        for hex in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            assert_eq!(seal(&stamp(), &b, &a, &SealKey(bytes(hex)), &[9; 32]), Err(SealError::WeakKey), "{hex}");
        }
    }

    #[test]
    fn keys_are_written_and_read_and_a_secret_does_not_show() {
        let secret = SealSecret::from_random(&[7; 32]);
        assert_eq!(SealSecret::parse(&secret.to_text()).unwrap().public(), secret.public());
        assert_eq!(secret.public().to_string().parse(), Ok(secret.public()));
        assert!(!format!("{secret:?}").contains(&secret.to_text()[..]));
        for bad in ["", "AAAA", "#", &"A".repeat(44)] {
            assert_eq!(bad.parse::<SealKey>(), Err(SealKeyError));
            assert!(SealSecret::parse(bad).is_err());
        }
    }

    #[test]
    fn random_numbers_do_not_repeat() {
        let mut drawn = Drawn::new(&[3; 32]);
        let mut filled = [0; 80];
        drawn.try_fill_bytes(&mut filled).unwrap();
        assert_eq!(filled[..32], [3; 32]);
        assert_ne!(filled[32..64], filled[..32]);
        assert_ne!(filled[64..], filled[32..48]);
        assert_ne!(drawn.try_next_u64(), drawn.try_next_u64());
        assert_ne!(drawn.try_next_u32(), drawn.try_next_u32());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any change of any character leaves nothing to open.
        #[test]
        fn a_changed_character_opens_nothing(at in any::<proptest::sample::Index>(), to in "[A-Za-z0-9_-]") {
            let holder = SealSecret::from_random(&[7; 32]);
            let (a, b) = (address("a@x.example"), address("b@y.example"));
            let sealed = seal(&stamp(), &b, &a, &holder.public(), &[9; 32]).unwrap();
            let at = at.index(sealed.len());
            let mut changed = sealed.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(open(&changed, &b, &a, &holder).is_ok(), changed == sealed);
        }

        #[test]
        fn any_text_is_opened_without_panic(text in ".{0,200}") {
            let (a, b) = (address("a@x.example"), address("b@y.example"));
            prop_assert!(open(&text, &b, &a, &SealSecret::from_random(&[7; 32])).is_err());
        }
    }
}
