//! Blind signatures of Cashu on secp256k1 (NUT-00), and the proofs that a mint used its published key (NUT-12).
//!
//! Secrets and blinding factors are derived, not drawn: after a crash the same ones are derived again, and the mint
//! returns its signatures once more (NUT-09).

use crate::accounting::hash::Hash;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use k256::elliptic_curve::ops::Reduce;
use k256::elliptic_curve::sec1::{FromSec1Point, ToSec1Point};
use k256::{FieldBytes, ProjectivePoint, Scalar};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Separates hashes to the curve from other uses of SHA-256 (NUT-00).
const TO_CURVE: &[u8] = b"Secp256k1_HashToCurve_Cashu_";
/// Separates the derivation from other uses of the key.
const DERIVE: &[u8] = b"mailstamp cashu output 1\0";
/// Most attempts to hash to the curve. Each fails in one of two cases.
const ATTEMPTS: u32 = 65_536;

/// Point on the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point(ProjectivePoint);

/// Proof of equal discrete logarithms (NUT-12): the challenge and the response, in hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Dleq<'a> {
    pub challenge: &'a str,
    pub response: &'a str,
}

/// Secret for which a mint signs, and how it is hidden from the mint.
pub struct Output {
    /// The secret, a text of 64 hexadecimal digits.
    pub secret: Zeroizing<String>,
    factor: Scalar,
    /// What the mint sees.
    pub blinded: Point,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Output")
    }
}

impl Point {
    /// Parses a compressed point of 66 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().filter(|bytes| bytes.len() == 33)?;
        ProjectivePoint::from_sec1_bytes(&bytes).ok().map(Self)
    }

    /// Returns the 66 hexadecimal digits of the compressed point.
    #[must_use]
    pub fn hex(&self) -> String {
        HEXLOWER.encode(self.0.to_sec1_point(true).as_bytes())
    }

    /// Returns the 33 bytes of the compressed point.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.to_sec1_point(true).as_bytes().to_vec()
    }

    /// Returns the point of a message; `None` for one of 2^65536 messages.
    #[must_use]
    pub fn of(message: &[u8]) -> Option<Self> {
        let hash = Sha256::new().chain_update(TO_CURVE).chain_update(message).finalize();
        (0..ATTEMPTS).find_map(|counter| {
            let hash = Sha256::new().chain_update(hash).chain_update(counter.to_le_bytes()).finalize();
            let bytes: Vec<u8> = [2].into_iter().chain(hash).collect();
            ProjectivePoint::from_sec1_bytes(&bytes).ok().map(Self)
        })
    }

    fn uncompressed(&self) -> String {
        HEXLOWER.encode(self.0.to_sec1_point(false).as_bytes())
    }
}

impl Output {
    /// Derives an output of a purchase: for a token, by the hash of its secrets, under a keyset, by its place.
    #[must_use]
    pub fn derive(key: &[u8; 32], purchase: &Hash, token: &Hash, keyset: &str, place: usize) -> Option<Self> {
        let derive = |kind: u8| -> Option<Zeroizing<[u8; 32]>> {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
            mac.update(DERIVE);
            mac.update(&purchase.0);
            mac.update(&token.0);
            mac.update(&(place as u64).to_be_bytes());
            mac.update(&[kind]);
            mac.update(keyset.as_bytes());
            Some(Zeroizing::new(mac.finalize().into_bytes().into()))
        };
        let secret = Zeroizing::new(HEXLOWER.encode(&*derive(0)?));
        Self::new(secret, &*derive(1)?)
    }

    fn new(secret: Zeroizing<String>, factor: &[u8; 32]) -> Option<Self> {
        let factor = <Scalar as Reduce<FieldBytes>>::reduce(&FieldBytes::from(*factor));
        let blinded = Point(Point::of(secret.as_bytes())?.0 + ProjectivePoint::GENERATOR * factor);
        Some(Self { secret, factor, blinded })
    }

    /// Verifies the mint's signature and returns it without the blinding; `None` if the key did not make it.
    #[must_use]
    pub fn unblind(&self, signature: Point, key: Point, proof: Dleq<'_>) -> Option<Point> {
        proof.verify(self.blinded, signature, key).then(|| Point(signature.0 - key.0 * self.factor))
    }
}

impl Dleq<'_> {
    /// Returns whether the key made the signature of a blinded message.
    fn verify(self, blinded: Point, signature: Point, key: Point) -> bool {
        let scalar = |text: &str| {
            let bytes: Option<[u8; 32]> = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok();
            bytes.map(|bytes| <Scalar as Reduce<FieldBytes>>::reduce(&FieldBytes::from(bytes)))
        };
        let (Some(challenge), Some(response)) = (scalar(self.challenge), scalar(self.response)) else { return false };
        let first = Point(ProjectivePoint::GENERATOR * response - key.0 * challenge);
        let second = Point(blinded.0 * response - signature.0 * challenge);
        let texts: String = [first, second, key, signature].iter().map(Point::uncompressed).collect();
        HEXLOWER.encode(&Sha256::digest(texts)) == self.challenge.to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> [u8; 32] {
        HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    fn point(hex: &str) -> Point {
        Point::parse(hex).unwrap()
    }

    // Vectors of cashubtc/nuts, tests/00-tests.md.
    #[test]
    fn messages_are_hashed_to_the_curve_as_nut_00_says() {
        for (last, hex) in [
            ("00", "024cce997d3b518f739663b757deaec95bcd9473c30a14ac2fd04023a739d1a725"),
            ("01", "022e7158e11c9506f1aa4248bf531298daa7febd6194f003edcd9b93ade6253acf"),
            ("02", "026cdbe15362df59cd1dd3c9c11de8aedac2106eca69236ecd9fbe117af897be4f"),
        ] {
            assert_eq!(Point::of(&bytes(&format!("{}{last}", "00".repeat(31)))).unwrap().hex(), hex);
        }
    }

    // Vectors of cashubtc/nuts, tests/00-tests.md: the secret is given as bytes, and is no text there.
    #[test]
    fn messages_are_blinded_as_nut_00_says() {
        let secret = bytes("d341ee4871f1f889041e63cf0d3823c713eea6aff01e80f1719f08f9e5be98f6");
        let factor = bytes("99fce58439fc37412ab3468b73db0569322588f62fb3a49182d67e23d877824a");
        let factor = <Scalar as Reduce<FieldBytes>>::reduce(&FieldBytes::from(factor));
        let blinded = Point(Point::of(&secret).unwrap().0 + ProjectivePoint::GENERATOR * factor);
        assert_eq!(blinded.hex(), "033b1a9737a40cc3fd9b6af4b723632b76a67a36782596304612a6c2bfb5197e6d");
    }

    // Vector of cashubtc/nuts, tests/12-tests.md.
    #[test]
    fn proofs_of_a_mint_are_verified_as_nut_12_says() {
        let key = point("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798");
        let blinded = point("02a9acc1e48c25eeeb9289b5031cc57da9fe72f3fe2861d264bdc074209b107ba2");
        let challenge = "9818e061ee51d5c8edc3342369a554998ff7b4381c8652d724cdf46429be73d9";
        let response = "9818e061ee51d5c8edc3342369a554998ff7b4381c8652d724cdf46429be73da";
        let proof = Dleq { challenge, response };
        assert!(proof.verify(blinded, blinded, key));
        assert!(!proof.verify(blinded, key, key));
        assert!(!proof.verify(blinded, blinded, blinded));
        assert!(!Dleq { response: challenge, ..proof }.verify(blinded, blinded, key));
        for wrong in ["", "00", &challenge[1..], "zz"] {
            assert!(!Dleq { challenge: wrong, response }.verify(blinded, blinded, key), "{wrong}");
        }
    }

    #[test]
    fn a_signature_is_unblinded_to_the_one_on_the_secret() {
        let (key, purchase, token) = ([7; 32], Hash::of(b"purchase"), Hash::of(b"token"));
        let output = Output::derive(&key, &purchase, &token, "00ad268c4d1f5826", 0).unwrap();
        // The mint: its key, its signature, and the proof of both with the nonce 5.
        let (private, nonce) = (Scalar::from(11_u32), Scalar::from(5_u32));
        let public = Point(ProjectivePoint::GENERATOR * private);
        let signature = Point(output.blinded.0 * private);
        let (first, second) = (Point(ProjectivePoint::GENERATOR * nonce), Point(output.blinded.0 * nonce));
        let texts: String = [first, second, public, signature].iter().map(Point::uncompressed).collect();
        let challenge = Sha256::digest(texts);
        let scalar = <Scalar as Reduce<FieldBytes>>::reduce(&FieldBytes::from(<[u8; 32]>::from(challenge)));
        let response = HEXLOWER.encode(&(nonce + scalar * private).to_bytes());
        let challenge = HEXLOWER.encode(&challenge);
        let proof = Dleq { challenge: &challenge, response: &response };
        let plain = output.unblind(signature, public, proof).unwrap();
        assert_eq!(plain, Point(Point::of(output.secret.as_bytes()).unwrap().0 * private));
        assert_eq!(output.unblind(public, public, proof), None);
    }

    #[test]
    fn outputs_differ_by_all_that_they_are_derived_from() {
        let hash = |text: &str| Hash::of(text.as_bytes());
        let of = |key: u8, purchase: &str, token: &str, keyset: &str, place| {
            let output = Output::derive(&[key; 32], &hash(purchase), &hash(token), keyset, place).unwrap();
            (output.secret.to_string(), output.blinded.hex())
        };
        let first = of(1, "a", "b", "00", 0);
        assert_eq!(of(1, "a", "b", "00", 0), first);
        let others = [of(2, "a", "b", "00", 0), of(1, "c", "b", "00", 0), of(1, "a", "c", "00", 0)];
        for other in others.into_iter().chain([of(1, "a", "b", "01", 0), of(1, "a", "b", "00", 1)]) {
            assert_ne!(other.0, first.0);
            assert_ne!(other.1, first.1);
        }
    }

    #[test]
    fn what_is_no_point_is_refused() {
        for wrong in
            ["", "02", "00", &"00".repeat(33), &"ff".repeat(33), &format!("02{}", "ff".repeat(32)), &"04".repeat(65)]
        {
            assert_eq!(Point::parse(wrong), None, "{wrong}");
        }
    }
}
