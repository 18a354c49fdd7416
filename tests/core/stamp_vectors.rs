//! Stamps against the tokens of others: PASETO's official vectors and a second implementation as an oracle; and against
//! everything that a forger might change in one. (Wycheproof's signatures are with `stamp/signing.rs`, stamps issued by
//! a library in another language in `tests/programs/pyseto.rs`.)

use mailstamp::message::address::Address;
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::issue;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::{PublicKey, SecretKey};
use mailstamp::stamp::token::{Issuer, Purpose, Token, TokenError};
use mailstamp::time::UnixTime;
use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey};
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use proptest::prelude::*;
use serde_json::Value;

fn key() -> SecretKey {
    SecretKey::from_random(&[42; 32])
}

fn stamp() -> Token {
    let audience = Audience::Plain(Address::parse("joe@example.org").unwrap());
    let stamp = Stamp::new(Serial::from_random([5; 16]), audience, UnixTime(1_795_262_400));
    issue::issue(&stamp, &Issuer::new("stamps.example", "2026q4").unwrap(), &key()).unwrap()
}

/// Whether a recipient who knows the key would take these bytes for a stamp.
fn accepted(bytes: &[u8]) -> bool {
    let Ok(token) = std::str::from_utf8(bytes).map_err(drop).and_then(|text| Token::parse(text).map_err(drop)) else {
        return false;
    };
    let named = token.issuer();
    key().public().verify(&token, Purpose::Stamp) && named.is_ok() && Stamp::read(token.payload()).is_ok()
}

fn vectors(of: &str) -> Vec<Value> {
    let file = include_str!("../../fixtures/vectors/paseto_v4_public.json");
    let all: Value = serde_json::from_str(file).unwrap();
    let tests = all["tests"].as_array().unwrap();
    tests.iter().filter(|test| test["name"].as_str().unwrap().starts_with(of)).cloned().collect()
}

fn hex<const N: usize>(text: &Value) -> [u8; N] {
    data_encoding::HEXLOWER.decode(text.as_str().unwrap().as_bytes()).unwrap().try_into().unwrap()
}

#[test]
fn the_official_vectors_hold() {
    let vectors = vectors("4-S-");
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let token = Token::parse(text("token")).unwrap();
        let public = PublicKey::from_bytes(&hex(&vector["public-key"])).unwrap();
        let assertion = text("implicit-assertion").as_bytes();
        assert!(public.verify_under(&token, assertion), "{}", text("name"));
        assert_eq!(token.payload(), text("payload").as_bytes());
        assert_eq!(token.footer(), text("footer").as_bytes());
        assert!(!public.verify_under(&token, b"another assertion"));
        assert!(!public.verify(&token, Purpose::Stamp));

        // Ed25519 signs without random numbers, so that we must arrive at the same characters.
        let secret = SecretKey::from_random(&hex(&Value::from(&text("secret-key")[..64])));
        assert_eq!(secret.public(), public);
        assert_eq!(secret.sign_under(token.payload(), token.footer(), assertion).as_str(), text("token"));
    }
}

#[test]
fn the_official_failures_fail() {
    let keys: Vec<PublicKey> =
        vectors("4-S-").iter().map(|v| PublicKey::from_bytes(&hex(&v["public-key"])).unwrap()).collect();
    let vectors = vectors("4-F-");
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        assert_eq!(vector["expect-fail"], true);
        match Token::parse(vector["token"].as_str().unwrap()) {
            Ok(token) => {
                let assertion = vector["implicit-assertion"].as_str().unwrap().as_bytes();
                assert!(keys.iter().all(|key| !key.verify_under(&token, assertion)), "{}", vector["name"]);
            }
            // An encrypted token where a signed one is expected.
            Err(error) => assert_eq!(error, TokenError::UnknownVersion, "{}", vector["name"]),
        }
    }
}

// BC16
#[test]
fn every_flipped_bit_is_noticed() {
    let stamp = stamp();
    assert!(accepted(stamp.as_str().as_bytes()));
    for position in 0..stamp.as_str().len() {
        for bit in 0..8 {
            let mut bytes = stamp.as_str().as_bytes().to_vec();
            bytes[position] ^= 1 << bit;
            assert!(!accepted(&bytes), "bit {bit} of character {position}");
        }
    }
}

// BC16
#[test]
fn a_stamp_cut_or_lengthened_anywhere_is_noticed() {
    let stamp = stamp();
    let text = stamp.as_str();
    for end in 0..text.len() {
        assert!(!accepted(&text.as_bytes()[..end]), "cut at {end}");
        for more in ["A", ".", "=", "AAAA"] {
            let mut longer = text.to_owned();
            longer.insert_str(end, more);
            assert!(!accepted(longer.as_bytes()), "{more} at {end}");
        }
    }
}

// BC16
#[test]
fn another_key_purpose_or_algorithm_does_not_hold() {
    let stamp = stamp();
    assert!(!SecretKey::from_random(&[43; 32]).public().verify(&stamp, Purpose::Stamp));
    for purpose in Purpose::ALL.into_iter().filter(|purpose| *purpose != Purpose::Stamp) {
        assert!(!key().public().verify(&stamp, purpose));
        let other = key().sign(stamp.payload(), stamp.footer(), purpose);
        assert!(!accepted(other.as_str().as_bytes()), "{purpose:?}");
    }
    // BP2b: a method that is not known here is "cannot check", not "invalid".
    for version in ["v3.public.", "v5.public.", "v4.local."] {
        let swapped = stamp.as_str().replacen("v4.public.", version, 1);
        assert_eq!(Token::parse(&swapped), Err(TokenError::UnknownVersion));
    }
}

// BP2c, threat 2: the vendor stands there in clear text, and cannot be exchanged.
#[test]
fn the_footer_of_another_vendor_does_not_hold() {
    let stamp = stamp();
    let (body, _) = stamp.as_str().rsplit_once('.').unwrap();
    for (vendor, key_id) in [("other.example", "2026q4"), ("stamps.example", "2026q3")] {
        let footer = Issuer::new(vendor, key_id).unwrap().footer();
        let forged = format!("{body}.{}", data_encoding::BASE64URL_NOPAD.encode(&footer));
        assert_eq!(Token::parse(&forged).unwrap().issuer().unwrap().vendor(), vendor);
        assert!(!accepted(forged.as_bytes()));
    }
    assert!(!accepted(body.as_bytes()));
}

fn oracle_keys(seed: &[u8; 32]) -> (AsymmetricSecretKey<V4>, AsymmetricPublicKey<V4>) {
    let public = SecretKey::from_random(seed).public().to_bytes();
    let secret = [*seed, public].concat();
    (AsymmetricSecretKey::from(&secret).unwrap(), AsymmetricPublicKey::from(&public).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn another_implementation_signs_the_same_token(
        seed: [u8; 32], payload in "\\PC{1,200}", footer in "\\PC{0,50}", assertion in "\\PC{0,20}",
    ) {
        let (theirs, _) = oracle_keys(&seed);
        let ours = SecretKey::from_random(&seed);
        let token = PublicToken::sign(&theirs, payload.as_bytes(), Some(footer.as_bytes()), Some(assertion.as_bytes())).unwrap();
        let signed = ours.sign_under(payload.as_bytes(), footer.as_bytes(), assertion.as_bytes());
        prop_assert_eq!(signed.as_str(), &token);
        let read = Token::parse(&token).unwrap();
        prop_assert!(ours.public().verify_under(&read, assertion.as_bytes()));
        let other = assertion + "x";
        prop_assert!(!ours.public().verify_under(&read, other.as_bytes()));
    }

    #[test]
    fn another_implementation_accepts_ours_and_what_it_accepts_we_accept(
        seed: [u8; 32], payload in "\\PC{1,100}", footer in "\\PC{0,20}", changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..64), 0..3),
    ) {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let (_, theirs) = oracle_keys(&seed);
        let ours = SecretKey::from_random(&seed);
        let made = ours.sign(payload.as_bytes(), footer.as_bytes(), Purpose::Stamp);
        let mut text = made.as_str().as_bytes().to_vec();
        for (position, letter) in changes {
            let position = position.index(text.len());
            text[position] = ALPHABET[usize::from(letter)];
        }
        let text = String::from_utf8(text).unwrap();
        let holds_there = UntrustedToken::try_from(text.as_str())
            .and_then(|token| PublicToken::verify(&theirs, &token, None, Some(Purpose::Stamp.assertion())))
            .is_ok();
        let holds_here = Token::parse(&text).is_ok_and(|token| ours.public().verify(&token, Purpose::Stamp));
        prop_assert_eq!(holds_here, holds_there);
        prop_assert_eq!(holds_here, text == made.as_str());
    }
}
