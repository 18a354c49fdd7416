//! What a received message changes in the record of its sender: the contact, the keys, the sealed stamps. All in one
//! step, so that the first message of a correspondent costs one write, however much it brings.

use super::announcement::Announcement;
use super::key_ring::{Evidence, IgnoredReason, Learned, Sighting};
use super::record::{PeerRecord, Sealed};
use crate::message::address::Address;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;

/// What is known of a received message.
#[derive(Clone, Debug)]
pub struct Received<'a> {
    pub now: UnixTime,
    /// The only author.
    pub from: &'a Address,
    pub evidence: Evidence,
    /// Whether a program sent it, or it has the null sender.
    pub is_automatic: bool,
    /// Whether it makes a contact: it is first-class, granted, or was let through by a rule that asked for
    /// authentication.
    pub is_welcome: bool,
    /// Whether it answers a message of the user to this address.
    pub is_answer: bool,
    /// The names of the messages that it answers, as [`super::record::message_name`] makes them.
    pub answers: Vec<String>,
    /// The announcement, if its signatures hold.
    pub announcement: Option<&'a Announcement>,
    /// The sealed stamps, as [`super::record::sealed_texts`] finds them.
    pub sealed: Vec<String>,
    /// The holder's key of a stamp of the user's that the message validly used.
    pub used: Option<PublicKey>,
}

/// Returns the record after this message, unless it stays as it is, and what its announcement did.
#[must_use]
pub fn receive(record: &PeerRecord, message: &Received<'_>) -> (Option<PeerRecord>, Option<Learned>) {
    let Received { now, from, evidence, is_automatic, .. } = *message;
    if is_automatic || record.ended.is_some() {
        return (
            None,
            message.announcement.map(|_| Learned::Ignored(IgnoredReason::Automatic)).filter(|_| is_automatic),
        );
    }
    let mut after = record.clone();
    if message.is_welcome && after.contact.is_none() {
        after.contact = Some(now);
    }
    if let Some(ring) = message.used.and_then(|key| after.ring.confirm(&key, now)) {
        after.ring = ring;
    }
    let is_contact = after.contact.is_some();
    let learned = message.announcement.map(|seen| {
        let (ring, learned) =
            after.ring.learn(seen, &Sighting { now, from: Some(from), is_contact, is_automatic, evidence });
        after.ring = ring.unwrap_or_else(|| after.ring.clone());
        learned
    });
    let is_private = after.private.iter().any(|name| message.answers.contains(name));
    let sealed = message.sealed.iter().cloned();
    let sealed = sealed.map(|text| Sealed { text, is_answer: message.is_answer, is_private, evidence, at: now });
    if let Some(mut with) = after.with_sealed(sealed.collect()) {
        // Others may have read the first answer, and learned from it which message was answered.
        if evidence >= Evidence::Aligned {
            with.private.retain(|name| !message.answers.contains(name));
        }
        after = with;
    }
    ((after != *record).then_some(PeerRecord { used: Some(now), ..after }), learned)
}

#[cfg(test)]
mod tests {
    use super::super::announcement::tests::{address, announce, secret};
    use super::super::key_ring::KeyState;
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);
    const A: &str = "a@x.example";

    fn receive(record: &PeerRecord, change: impl FnOnce(&mut Received<'_>)) -> (Option<PeerRecord>, Option<Learned>) {
        let (from, seen) = (address(A), announce(A, &[1], None));
        let mut message = Received {
            now: NOW,
            from: &from,
            evidence: Evidence::Aligned,
            is_automatic: false,
            is_welcome: true,
            is_answer: false,
            answers: Vec::new(),
            announcement: Some(&seen),
            sealed: vec!["AAAA".to_owned()],
            used: None,
        };
        change(&mut message);
        super::receive(record, &message)
    }

    #[test]
    fn a_first_message_makes_contact_and_brings_key_and_stamp_at_once() {
        let (after, learned) = receive(&PeerRecord::default(), |_| {});
        let after = after.unwrap();
        assert_eq!((after.contact, after.used, learned), (Some(NOW), Some(NOW), Some(Learned::New)));
        assert_eq!((after.ring.keys().len(), after.sealed.len()), (1, 1));
        // The same once more writes nothing, also later.
        assert_eq!(receive(&after, |message| message.now = NOW.plus(999)), (None, Some(Learned::Unchanged)));
        // The first use of a stamp shows whose key it is.
        let (used, _) = receive(&after, |message| message.used = Some(secret(1).public()));
        assert_eq!(used.unwrap().ring.keys()[0].state, KeyState::Known);
        let (used, _) = receive(&after, |message| message.used = Some(secret(2).public()));
        assert_eq!(used, None);
    }

    #[test]
    fn a_stranger_teaches_nothing() {
        let (after, learned) = receive(&PeerRecord::default(), |message| message.is_welcome = false);
        assert_eq!((after, learned), (None, Some(Learned::Ignored(IgnoredReason::NoContact))));
        let (after, learned) = receive(&PeerRecord::default(), |message| message.evidence = Evidence::None);
        let after = after.unwrap();
        assert_eq!((after.ring.keys().len(), learned), (0, Some(Learned::Ignored(IgnoredReason::Unproven))));
        // A sealed stamp counts later, when its signature is known to be the sender's.
        assert_eq!((after.contact, after.sealed.len()), (Some(NOW), 1));
    }

    #[test]
    fn automatic_mail_changes_nothing() {
        let (after, learned) = receive(&PeerRecord::default(), |message| message.is_automatic = true);
        assert_eq!((after, learned), (None, Some(Learned::Ignored(IgnoredReason::Automatic))));
        let none = receive(&PeerRecord::default(), |message| {
            (message.is_automatic, message.announcement) = (true, None);
        });
        assert_eq!(none, (None, None));
    }

    #[test]
    fn an_ended_correspondent_is_not_learned_again() {
        let ended = receive(&PeerRecord::default(), |_| {}).0.unwrap().end(NOW);
        assert_eq!(receive(&ended, |_| {}), (None, None));
    }
}
