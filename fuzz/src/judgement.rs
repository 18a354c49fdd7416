//! The whole judgement, with one vendor's key and a log in memory. The input is a message; or, before a NUL, the claims
//! of a stamp that the vendor signs and the fuzzer could not, which are then put on the message behind it.
//!
//! No stamp is accepted without the vendor's signature, for another recipient, outside its window, below the price, or
//! without its holder's proof; none for two messages; and a message that was accepted is accepted again.

use super::{FOOTER, HOLDER_KEY, MAILBOXES, NOW, PRICE, VENDOR, VENDOR_KEY, judge};
use mailstamp::message::edit::Edit;
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::parse::Message;
use mailstamp::stamp::affix::affix;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::extract::{Place, STAMPS, locate};
use mailstamp::stamp::holder_proof::Proof;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::token::{Purpose, Token};
use mailstamp::store::memory::Memory;
use mailstamp::verdict::class::Class;
use mailstamp::verdict::facts::Policy;
use mailstamp::verdict::finding::Verdict;
use mailstamp::verdict::reason::Reason;

/// Checks one input.
pub fn run(input: &[u8]) {
    if !input.contains(&0) {
        return received(input);
    }
    let (claims, message) = super::two(input);
    let token = VENDOR_KEY.sign(claims, FOOTER, Purpose::Stamp);
    let message = Message::parse(message);
    let nonce = Serial::from_random([9; 16]);
    let proof = Proof::sign(&token, &Fingerprint::of(&message), &nonce, NOW, &HOLDER_KEY);
    let Some(mut edit) = affix(&message, Place::Header, token.as_str()) else { return };
    edit.insert_top(mailstamp::message::header::fold("Digital-Stamp-Use", proof.as_str(), message.newline()));
    received(&edit.to_vec());
}

fn received(raw: &[u8]) {
    let message = Message::parse(raw);
    let log = Memory::new();
    let Some(verdict) = judge(&message, &log) else { return };
    assert!(verdict.findings.len() <= STAMPS);
    if verdict.class() != Class::FirstClass {
        return;
    }
    deserved(&message, &verdict);
    let again = judge(&message, &log).expect("a message that was judged");
    assert_eq!((again.class(), again.reason), (Class::FirstClass, Reason::Again));
    assert_eq!(spoke(&again), spoke(&verdict));

    // The same stamps on another message: an earlier Date is another fingerprint.
    let mut edit = Edit::new(&message);
    edit.insert_top("Date: 1\n".to_owned());
    let other = edit.to_vec();
    let other = Message::parse(&other);
    if Fingerprint::of(&other) != Fingerprint::of(&message)
        && !signed_twice(&message, spoke(&verdict).1)
        && let Some(second) = judge(&other, &log)
        && second.class() == Class::FirstClass
    {
        assert_ne!(spoke(&second), spoke(&verdict));
    }
}

/// Vendor and serial of the stamp that was accepted.
fn spoke(verdict: &Verdict) -> (Option<&str>, Option<&Serial>) {
    let stamp = verdict.stamp().expect("a stamp that was accepted");
    (stamp.vendor.as_deref(), stamp.serial.as_ref())
}

/// Whether stamps of this serial end at different times: the vendor's mistake, which makes two stamps of them.
fn signed_twice(message: &Message<'_>, serial: Option<&Serial>) -> bool {
    let stamps = tokens(message).filter_map(|token| Stamp::read(token.payload()).ok());
    let mut ends: Vec<_> = stamps.filter(|stamp| Some(&stamp.serial) == serial).map(|stamp| stamp.expires).collect();
    ends.dedup();
    ends.len() > 1
}

/// The stamps on a message, as far as they have the form of one.
fn tokens(message: &Message<'_>) -> impl Iterator<Item = Token> {
    locate(message).stamps.into_iter().filter_map(|found| Token::parse(&found.token).ok())
}

/// A token in the message is the vendor's, and says what the mailbox asks for.
fn deserved(message: &Message<'_>, verdict: &Verdict) {
    let (vendor, serial) = spoke(verdict);
    assert_eq!(vendor, Some(VENDOR));
    let skew = Policy::default().skew;
    let deserves = |token: Token| {
        // Not verified but signed again: Ed25519 has one signature for a message.
        if VENDOR_KEY.sign(token.payload(), token.footer(), Purpose::Stamp) != token {
            return false;
        }
        let Ok(stamp) = Stamp::read(token.payload()) else { return false };
        let held = stamp.holder.is_none_or(|holder| holder == HOLDER_KEY.public());
        Some(&stamp.serial) == serial
            && stamp.audience.overlaps(&MAILBOXES[0].pattern)
            && stamp.value >= PRICE
            && stamp.expires.is_some_and(|end| NOW <= end.plus(skew))
            && [stamp.issued, stamp.not_before].into_iter().flatten().all(|start| start <= NOW.plus(skew))
            && (!stamp.many || stamp.holder.is_some())
            && held
    };
    assert!(tokens(message).any(deserves));
}
