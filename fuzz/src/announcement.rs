//! Announcements of a correspondent's keys: whatever comes is read or is none, and what is read was signed by the key
//! that it names, for that address. Also with the input as claims that such a key signed.

use super::HOLDER_KEY;
use mailstamp::message::parse::Message;
use mailstamp::peer::announcement::{Announcement, Found, find};
use mailstamp::peer::issuer;
use mailstamp::stamp::token::{Purpose, Token};

/// Checks one input.
pub fn run(input: &[u8]) {
    check(HOLDER_KEY.sign(input, &HOLDER_KEY.public().to_bytes(), Purpose::Announcement).as_str());
    if let Ok(text) = std::str::from_utf8(input) {
        check(text);
    }
    if let Found::One(text) = find(&Message::parse(input)) {
        check(&text);
    }
}

fn check(text: &str) {
    let Ok(read) = Announcement::parse(text) else { return };
    let token = Token::parse(text).expect("a token");
    assert!(read.keys.signing.verify(&token, Purpose::Announcement));
    assert_eq!(token.footer(), read.keys.signing.to_bytes());
    assert!(issuer(&read.address, &read.keys.signing).is_some());
    // The way ends at the announced key.
    assert!(read.steps.last().is_none_or(|step| step.to == read.keys.signing));
    assert!(read.steps.windows(2).all(|pair| pair[0].to == pair[1].from));
    assert_eq!(Announcement::parse(text), Ok(read));
}
