//! Tokens, keys and serials as texts: what is read is written the same way again, one token has one spelling, and no
//! signature holds but the one that the key makes.

use super::VENDOR_KEY;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::{PublicKey, SecretKey};
use mailstamp::stamp::token::{FOOTER_MAX, Issuer, PAYLOAD_MAX, Purpose, Token};

/// Checks one input.
pub fn run(input: &[u8]) {
    // Whatever is signed comes back as it was, and holds for its purpose only.
    let (payload, footer) = super::two(input);
    let signed = VENDOR_KEY.sign(payload, footer, Purpose::Stamp);
    let fits = payload.len() <= PAYLOAD_MAX && footer.len() <= FOOTER_MAX;
    match Token::parse(signed.as_str()) {
        Ok(token) => {
            assert!(fits && token == signed);
            assert!(VENDOR_KEY.public().verify(&token, Purpose::Stamp));
            assert!(!VENDOR_KEY.public().verify(&token, Purpose::Use));
        }
        Err(_) => assert!(!fits),
    }

    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(token) = Token::parse(text) {
        assert_eq!(token.as_str(), text);
        assert!(token.payload().len() <= PAYLOAD_MAX && token.footer().len() <= FOOTER_MAX);
        // Ed25519 makes one signature for one message, and the strict equation takes no other.
        let ours = VENDOR_KEY.sign(token.payload(), token.footer(), Purpose::Stamp);
        assert_eq!(VENDOR_KEY.public().verify(&token, Purpose::Stamp), ours == token);
        if let Ok(issuer) = token.issuer() {
            assert_eq!(Issuer::new(issuer.vendor(), issuer.key_id()).as_ref(), Ok(&issuer));
            let again = VENDOR_KEY.sign(b"{}", &issuer.footer(), Purpose::Stamp);
            assert_eq!(again.issuer(), Ok(issuer));
        }
    }
    if let Ok(key) = PublicKey::parse(text) {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(key) = SecretKey::parse(text) {
        assert_eq!(*key.to_paserk(), text);
    }
    if let Ok(serial) = Serial::new(text) {
        assert_eq!(serial.as_str(), text);
    }
}
