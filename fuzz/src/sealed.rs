//! Sealed stamps: whatever comes is opened or refused. What was sealed comes back, for its key and addresses only. An
//! opened stamp is kept only if its issuer's known key signed it.

use super::{HOLDER_KEY, NOW};
use mailstamp::message::address::Address;
use mailstamp::message::parse::Message;
use mailstamp::peer::offer::{Giver, Holder, accept};
use mailstamp::peer::record::sealed_texts;
use mailstamp::peer::sealing::{SEALED_MAX, SealSecret, open, seal};
use mailstamp::stamp::signing::SecretKey;
use mailstamp::stamp::token::{Purpose, Token};
use std::sync::LazyLock;

static ALICE: LazyLock<Address> = LazyLock::new(|| Address::parse("alice@x.example").expect("an address"));
static BOB: LazyLock<Address> = LazyLock::new(|| Address::parse("bob@y.example").expect("an address"));
/// Alice's key, which Bob knows.
static OWN_KEY: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::from_random(&[7; 32]));

/// Checks one input.
pub fn run(input: &[u8]) {
    let secret = SealSecret::from_random(&[5; 32]);
    for text in sealed_texts(&Message::parse(input)) {
        assert!(text.len() <= SEALED_MAX);
        let _ = open(&text, &ALICE, &BOB, &secret);
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(stamp) = open(text, &ALICE, &BOB, &secret)
    {
        keep(&stamp);
    }
    let stamp = OWN_KEY.sign(input, br#"{"iss":"alice@x.example","kid":"x"}"#, Purpose::Stamp);
    keep(&stamp);
    if let Ok(sealed) = seal(&stamp, &ALICE, &BOB, &secret.public(), &[9; 32]) {
        let is_token = Token::parse(stamp.as_str()).is_ok();
        assert_eq!(open(&sealed, &ALICE, &BOB, &secret).ok(), is_token.then_some(stamp));
        assert!(open(&sealed, &BOB, &ALICE, &secret).is_err());
        assert!(open(&sealed, &ALICE, &BOB, &SealSecret::from_random(&[6; 32])).is_err());
    }
}

fn keep(stamp: &Token) {
    let (known, held_by) = ([OWN_KEY.public()], [HOLDER_KEY.public()]);
    let holder = Holder { address: &BOB, keys: &held_by };
    if let Ok(held) = accept(stamp, &Giver::list(&ALICE, &known), &holder, &[], NOW) {
        assert_eq!(OWN_KEY.sign(stamp.payload(), stamp.footer(), Purpose::Stamp), *stamp);
        assert_eq!((held.audience, held.holder), (ALICE.clone(), held_by[0]));
    }
}
