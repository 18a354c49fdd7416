//! What a token says: claims of stamps and of proofs, as strict JSON. What is read can be written and is then read the
//! same; nothing is read that another JSON library would not read, or would read as something else.

use super::{VENDOR, VENDOR_KEY};
use mailstamp::stamp::claims::{Stamp, VALUE_MAX};
use mailstamp::stamp::holder_proof::Proof;
use mailstamp::stamp::issue;
use mailstamp::stamp::strict_json;
use mailstamp::stamp::token::{Issuer, PAYLOAD_MAX, Purpose};
use mailstamp::time::UnixTime;
use serde_json::Value;

/// Checks one input.
pub fn run(payload: &[u8]) {
    let object = strict_json::object(payload);
    if let Ok(object) = &object {
        let other: Value = serde_json::from_slice(payload).expect("JSON");
        assert_eq!(Some(object), other.as_object());
        let written = serde_json::to_vec(object).expect("an object");
        assert!(strict_json::object(&written).is_ok());
    }
    if let Ok(stamp) = Stamp::read(payload) {
        assert!(object.is_ok() && payload.len() <= PAYLOAD_MAX && stamp.value <= VALUE_MAX);
        let times = [stamp.issued, stamp.not_before, stamp.expires];
        for time in times.into_iter().flatten() {
            assert_eq!(UnixTime::from_rfc3339(&time.to_string()), Ok(time));
        }
        // What we would write for these claims says the same, unless it has no room: the claims of others can be
        // shorter.
        let written = stamp.payload();
        match Stamp::read(&written) {
            Ok(again) => assert_eq!(again, stamp),
            Err(_) => assert!(written.len() > PAYLOAD_MAX),
        }
        let issuer = Issuer::new(VENDOR, "2026q4").expect("an issuer");
        if let Ok(token) = issue::issue(&stamp, &issuer, &VENDOR_KEY) {
            assert!(VENDOR_KEY.public().verify(&token, Purpose::Stamp));
            assert_eq!(Stamp::read(token.payload()), Ok(stamp));
        }
    }
    if Proof::read(payload).is_ok() {
        assert!(object.is_ok() && payload.len() <= PAYLOAD_MAX);
    }
}
