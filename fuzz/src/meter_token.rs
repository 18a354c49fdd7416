//! Meter tokens, in binary and in text: whatever comes is a token or none, and a token has one form of each kind. The
//! payload of a token is read as claims or refused, and what is read can be signed again.

use mailstamp::emstamp::token::{Payment, from_bytes, to_bytes};
use mailstamp::stamp::token::{Issuer, Purpose, Token};

/// Checks one input.
pub fn run(input: &[u8]) {
    if let Ok(token) = from_bytes(input) {
        assert_eq!(to_bytes(&token).as_deref(), Ok(input));
        check(&token);
    }
    let text = std::str::from_utf8(input).ok().map(|text| text.split(' ').next_back().unwrap_or_default());
    if let Some(token) = text.and_then(|text| Token::parse(text.trim_end()).ok()) {
        let bytes = to_bytes(&token).expect("no longer than a stamp");
        assert_eq!(from_bytes(&bytes).as_ref(), Ok(&token));
        check(&token);
    }
    if let Ok(payment) = Payment::read(input) {
        let license = Issuer::new("agency.example", "m7").expect("an issuer");
        let token = payment.sign(&license, &super::VENDOR_KEY).expect("claims that can be read");
        assert_eq!(Payment::read(token.payload()), Ok(payment));
    }
}

fn check(token: &Token) {
    // Input is never signed with this key.
    let is_signed = super::VENDOR_KEY.public().verify(token, Purpose::Meter);
    if let Ok(payment) = Payment::read(token.payload()) {
        assert!(payment.credits > 0);
        assert!(!is_signed || token.issuer().is_ok());
    }
}
