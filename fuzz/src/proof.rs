//! Tokens by which a holder signs the use of a stamp: whatever comes is read or refused. One that holds was signed by
//! the holder, and holds for its stamp, message and scope only.

use super::{FOOTER, HOLDER_KEY, VENDOR_KEY};
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::parse::Message;
use mailstamp::message::post;
use mailstamp::stamp::extract::without_white_space;
use mailstamp::stamp::holder_proof::{Proof, Scope};
use mailstamp::stamp::token::{Purpose, Token};

/// Checks one input.
pub fn run(input: &[u8]) {
    check(&HOLDER_KEY.sign(input, b"", Purpose::Use));
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(token) = Token::parse(text)
    {
        check(&token);
    }
    let message = Message::parse(input);
    let _ = post::hash(&message);
    for field in message.fields().filter(|field| field.name_is("Digital-Stamp-Use")) {
        if let Ok(token) = Token::parse(&without_white_space(&field.decoded())) {
            check(&token);
        }
    }
}

fn check(used: &Token) {
    let Ok(read) = Proof::read(used.payload()) else { return };
    let holder = HOLDER_KEY.public();
    let stamp = VENDOR_KEY.sign(b"{}", FOOTER, Purpose::Stamp);
    // It names another stamp than this one.
    assert!(Proof::verify(used, &stamp, &read.message, &holder).is_err());
    let again = match read.scope {
        Scope::Message => Proof::sign(&stamp, &read.message, &read.nonce, read.issued, &HOLDER_KEY),
        Scope::List => Proof::sign_post(&stamp, &read.message, &read.nonce, read.issued, &HOLDER_KEY),
    };
    let mut other = read.message;
    other.0[0] ^= 1;
    let holds = |message: &Fingerprint| {
        let (whole, post) =
            (Proof::verify(&again, &stamp, message, &holder), Proof::verify_post(&again, &stamp, message, &holder));
        assert!(whole.is_err() || post.is_err());
        whole.or(post)
    };
    let own = holds(&read.message).expect("it was signed now");
    assert_eq!((own.nonce, own.issued, own.scope), (read.nonce, read.issued, read.scope));
    assert!(holds(&other).is_err());
}
