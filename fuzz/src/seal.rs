//! Sealed results in a header: whatever comes is read or is no seal, and what holds is what the boundary wrote for this
//! message. White space of the field changes nothing, and any other message has another seal.

use mailstamp::boundary::seal::{Seal, may_be_sealed, sealed_fields};
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::parse::Message;

/// Checks one input.
pub fn run(raw: &[u8]) {
    let message = Message::parse(raw);
    let key = super::BOUNDARY_KEY.public();
    let fingerprint = Fingerprint::of_broken(&message);
    for (start, seal) in sealed_fields(&message) {
        assert!(may_be_sealed(&message) && start < raw.len());
        let _ = seal.is_current(super::NOW, 300);
        let field = message.fields().find(|field| field.start() == start).expect("its field");
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let bare: Vec<u8> = field.value().iter().copied().filter(|byte| !blank(byte)).collect();
        assert_eq!(Seal::parse(&bare).as_ref(), Some(&seal));
        let mut other = fingerprint;
        other.0[0] ^= 1;
        assert!(!seal.holds(&key, &other) || !seal.holds(&key, &fingerprint));
    }
}
