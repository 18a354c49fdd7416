//! Holder's proof of one use of a stamp (Baker's key-pair section: each time the stamp is attached, its holder signs).
//! The paper does not define the signed data. Here it is a nonce, the time, the hash of the stamp and the fingerprint
//! of the message, so that a captured copy fits no other message. The header field `Digital-Stamp-Use` carries the
//! proof, as a token under the holder's key. The used log keeps the nonces.
//!
//! Claims: `nonce` (a serial), `iat` (RFC 3339), `stamp` (SHA-256 over the characters of the stamp's token) and
//! `message` (the fingerprint), both of 32 bytes in base64url without padding. The footer is empty: the stamp names the
//! key. A mailing list adds a footer and rewrites From, which changes the fingerprint. So a use of a list's stamp may
//! have `scope` = `list`, and `message` is then the hash of the post ([`crate::message::post`]).

use super::claims::{ClaimError, Claims, ObjectWriter, TIME};
use super::serial::Serial;
use super::signing::{PublicKey, SecretKey};
use super::token::{Purpose, Token};
use crate::message::fingerprint::Fingerprint;
use crate::time::UnixTime;
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

/// The form of a hash.
pub(crate) const HASH: &str = "a hash in base64url (43 characters)";

/// The known claims.
const KNOWN: [&str; 5] = ["nonce", "iat", "stamp", "message", "scope"];

/// What a use is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole message.
    Message,
    /// Date and Message-ID of a post to a mailing list.
    List,
}

/// The claims of a use token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The nonce; the used log keeps it like a serial.
    pub nonce: Serial,
    /// When the holder signed.
    pub issued: UnixTime,
    /// SHA-256 over the stamp's characters.
    pub stamp: [u8; 32],
    /// What it is bound to.
    pub scope: Scope,
    /// The message that was signed for; with [`Scope::List`] the hash of the post.
    pub message: Fingerprint,
}

/// A proof does not hold for a stamp on a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not signed by the holder, or for another purpose.
    #[error("the holder's signature does not hold")]
    Signature,
    /// Signed, but with a footer. A proof has one spelling, without it.
    #[error("the proof has a footer")]
    Footer,
    #[error("the proof is not readable")]
    Claims(#[from] ClaimError),
    #[error("the proof is for another stamp")]
    OtherStamp,
    #[error("the proof is for another message")]
    OtherMessage,
    /// For a post where a message was wanted, or the reverse.
    #[error("the proof has another scope")]
    OtherScope,
}

impl Proof {
    /// Reads the claims of a use token without checking them, for display.
    ///
    /// # Errors
    /// [`ClaimError`]: the first fault found.
    pub fn read(payload: &[u8]) -> Result<Self, ClaimError> {
        let claims = Claims::read(payload)?;
        claims.all_critical_known(&KNOWN)?;
        Ok(Self {
            nonce: claims.required("nonce", "1 to 64 letters, digits, '_' or '-'", |s| Serial::new(s).ok())?,
            issued: claims.required("iat", TIME, |text| UnixTime::from_rfc3339(text).ok())?,
            stamp: claims.required("stamp", HASH, read_hash)?,
            scope: claims.get_text("scope", "'list'", read_scope)?.unwrap_or(Scope::Message),
            message: Fingerprint(claims.required("message", HASH, read_hash)?),
        })
    }

    /// Verifies a use token against its stamp, the message, and the holder's key from the stamp.
    /// The signature comes first, then the claims. The verdict judges its age, and the used log its nonce.
    ///
    /// # Errors
    /// [`ProofError`]: the first fault found.
    pub fn verify(used: &Token, stamp: &Token, message: &Fingerprint, holder: &PublicKey) -> Result<Self, ProofError> {
        Self::verify_in(Scope::Message, used, stamp, message, holder)
    }

    /// As [`verify`](Self::verify) for a post to a mailing list, of which `post` is the hash.
    /// Only the stamp of a list may be used so.
    ///
    /// # Errors
    /// [`ProofError`]: the first fault found.
    pub fn verify_post(
        used: &Token,
        stamp: &Token,
        post: &Fingerprint,
        holder: &PublicKey,
    ) -> Result<Self, ProofError> {
        Self::verify_in(Scope::List, used, stamp, post, holder)
    }

    fn verify_in(
        scope: Scope,
        used: &Token,
        stamp: &Token,
        message: &Fingerprint,
        holder: &PublicKey,
    ) -> Result<Self, ProofError> {
        if !holder.verify(used, Purpose::Use) {
            return Err(ProofError::Signature);
        }
        if !used.footer().is_empty() {
            return Err(ProofError::Footer);
        }
        let proof = Self::read(used.payload())?;
        if proof.stamp != hash(stamp) {
            return Err(ProofError::OtherStamp);
        }
        if proof.scope != scope {
            return Err(ProofError::OtherScope);
        }
        if proof.message != *message {
            return Err(ProofError::OtherMessage);
        }
        Ok(proof)
    }

    /// Signs one use. The nonce has to be random ([`Serial::from_random`]).
    #[must_use]
    pub fn sign(stamp: &Token, message: &Fingerprint, nonce: &Serial, now: UnixTime, holder: &SecretKey) -> Token {
        Self::sign_in(Scope::Message, stamp, message, nonce, now, holder)
    }

    /// Signs one use of a list's stamp, on the post of which `post` is the hash.
    #[must_use]
    pub fn sign_post(stamp: &Token, post: &Fingerprint, nonce: &Serial, now: UnixTime, holder: &SecretKey) -> Token {
        Self::sign_in(Scope::List, stamp, post, nonce, now, holder)
    }

    fn sign_in(
        scope: Scope,
        stamp: &Token,
        message: &Fingerprint,
        nonce: &Serial,
        now: UnixTime,
        holder: &SecretKey,
    ) -> Token {
        let mut object = ObjectWriter::new();
        object.get_text("nonce", nonce.as_str());
        object.get_text("iat", &now.to_string());
        object.get_text("stamp", &BASE64URL_NOPAD.encode(&hash(stamp)));
        if scope == Scope::List {
            object.get_text("scope", "list");
        }
        object.get_text("message", &BASE64URL_NOPAD.encode(&message.0));
        holder.sign(&object.finish(), b"", Purpose::Use)
    }
}

/// Returns the stamp's identity in a proof: the hash of its received characters, without white space and folding.
fn hash(stamp: &Token) -> [u8; 32] {
    Sha256::digest(stamp.as_str()).into()
}

/// Reads 32 bytes in base64url.
pub(crate) fn read_hash(text: &str) -> Option<[u8; 32]> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn read_scope(text: &str) -> Option<Scope> {
    (text == "list").then_some(Scope::List)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_795_262_400);
    const MESSAGE: Fingerprint = Fingerprint([7; 32]);

    fn holder() -> SecretKey {
        SecretKey::from_random(&[1; 32])
    }

    fn stamp(text: &str) -> Token {
        SecretKey::from_random(&[2; 32]).sign(text.as_bytes(), b"{}", Purpose::Stamp)
    }

    fn nonce() -> Serial {
        Serial::from_random([9; 16])
    }

    // BK6
    #[test]
    fn a_proof_holds_for_its_stamp_message_and_holder_only() {
        let used = Proof::sign(&stamp("one"), &MESSAGE, &nonce(), NOW, &holder());
        let used = Token::parse(used.as_str()).unwrap();
        let public = holder().public();
        let proof = Proof::verify(&used, &stamp("one"), &MESSAGE, &public).unwrap();
        assert_eq!((proof.nonce, proof.issued), (nonce(), NOW));
        assert_eq!(Proof::verify(&used, &stamp("two"), &MESSAGE, &public), Err(ProofError::OtherStamp));
        let other = Fingerprint([8; 32]);
        assert_eq!(Proof::verify(&used, &stamp("one"), &other, &public), Err(ProofError::OtherMessage));
        let stranger = SecretKey::from_random(&[3; 32]).public();
        assert_eq!(Proof::verify(&used, &stamp("one"), &MESSAGE, &stranger), Err(ProofError::Signature));
    }

    #[test]
    fn a_token_for_another_purpose_is_no_proof() {
        let used = Proof::sign(&stamp("one"), &MESSAGE, &nonce(), NOW, &holder());
        let public = holder().public();
        for purpose in Purpose::ALL.into_iter().filter(|purpose| *purpose != Purpose::Use) {
            let other = holder().sign(used.payload(), b"", purpose);
            assert_eq!(Proof::verify(&other, &stamp("one"), &MESSAGE, &public), Err(ProofError::Signature));
        }
        assert!(!public.verify(&used, Purpose::Stamp));
        let other = holder().sign(used.payload(), b"{}", Purpose::Use);
        assert_eq!(Proof::verify(&other, &stamp("one"), &MESSAGE, &public), Err(ProofError::Footer));
    }

    #[test]
    fn a_proof_of_a_post_is_none_of_a_message() {
        let public = holder().public();
        let of_message = Proof::sign(&stamp("one"), &MESSAGE, &nonce(), NOW, &holder());
        let of_post = Proof::sign_post(&stamp("one"), &MESSAGE, &nonce(), NOW, &holder());
        assert_eq!(Proof::verify_post(&of_post, &stamp("one"), &MESSAGE, &public).unwrap().scope, Scope::List);
        assert_eq!(Proof::verify(&of_message, &stamp("one"), &MESSAGE, &public).unwrap().scope, Scope::Message);
        assert_eq!(Proof::verify(&of_post, &stamp("one"), &MESSAGE, &public), Err(ProofError::OtherScope));
        assert_eq!(Proof::verify_post(&of_message, &stamp("one"), &MESSAGE, &public), Err(ProofError::OtherScope));
        let other = Fingerprint([8; 32]);
        assert_eq!(Proof::verify_post(&of_post, &stamp("one"), &other, &public), Err(ProofError::OtherMessage));
        let unknown = String::from_utf8(of_post.payload().to_vec()).unwrap().replace("\"list\"", "\"lists\"");
        assert!(matches!(Proof::read(unknown.as_bytes()), Err(ClaimError::Wrong { claim: "scope", .. })));
    }

    #[test]
    fn a_signed_proof_still_has_to_be_readable() {
        let public = holder().public();
        let hash = "A".repeat(43);
        let good = format!(r#"{{"nonce":"1","iat":"2026-11-21T12:00:00Z","stamp":"{hash}","message":"{hash}"}}"#);
        let proof = Proof::read(good.as_bytes()).unwrap();
        assert_eq!((proof.stamp, proof.message), ([0; 32], Fingerprint([0; 32])));
        for bad in [
            "{}".to_owned(),
            good.replace("2026", "26"),
            good.replacen(&hash, "AAAA", 1),
            good.replacen("\"1\"", "\"\"", 1),
            good.replacen("\"stamp\"", "\"message\"", 1),
            good.replacen('{', "{\"crit\":[\"x\"],", 1),
        ] {
            let used = holder().sign(bad.as_bytes(), b"", Purpose::Use);
            assert!(
                matches!(Proof::verify(&used, &stamp("one"), &MESSAGE, &public), Err(ProofError::Claims(_))),
                "{bad}"
            );
        }
    }
}
