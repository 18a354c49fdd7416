//! Tests of stamps that an address issued: the user's own, and those of a mailing list.

use super::examine::{Step, examine, status_name, traces};
use super::facts::{Envelope, Facts, KeyDirectory, KeyFact, KeyStatus, Mailbox, Policy, VendorKey};
use super::owner::Owner;
use super::reason::Reason;
use super::spend::{SpendRequest, SpendResult};
use crate::message::address::{Address, Pattern};
use crate::message::fingerprint::{Fingerprint, KnownMessage};
use crate::message::parse::Message;
use crate::message::post;
use crate::stamp::audience::Audience;
use crate::stamp::claims::Stamp;
use crate::stamp::holder_proof::Proof;
use crate::stamp::issue::issue;
use crate::stamp::serial::Serial;
use crate::stamp::signing::SecretKey;
use crate::stamp::token::{Issuer, Token};
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime(1_800_000_000);
const DAY: i64 = 86_400;
const ME: &str = "me@x.example";
const OTHER: &str = "other@x.example";
const LIST: &str = "l@lists.example";

/// The keys of the user's own address, and of a list that the user pinned.
struct Keys;

impl KeyDirectory for Keys {
    fn key(&self, issuer: &Issuer) -> KeyFact {
        let seed = match issuer.vendor() {
            ME => 5,
            LIST => 6,
            _ => return KeyFact::UnknownVendor,
        };
        let status = match issuer.key_id() {
            "stolen" => KeyStatus::Revoked { since: NOW.plus(-DAY) },
            _ => KeyStatus::VerifyOnly,
        };
        KeyFact::Known(Box::new(VendorKey { key: secret(seed).public(), status, not_before: None, not_after: None }))
    }

    fn revoked(&self, _: &str, _: &Serial) -> bool {
        unreachable!("no vendor is asked about an address")
    }

    fn is_list(&self, address: &str) -> bool {
        address == LIST
    }
}

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_random(&[seed; 32])
}

fn holder() -> SecretKey {
    secret(2)
}

fn claims(audience: &str) -> Stamp {
    let audience = Audience::Plain(Address::parse(audience).unwrap());
    let stamp = Stamp::new(Serial::new("standing").unwrap(), audience, NOW.plus(90 * DAY));
    let sender = Address::parse("a@y.example").ok();
    Stamp { many: true, holder: Some(holder().public()), sender, value: 0, ..stamp }
}

fn signed(issuer: &str, kid: &str, seed: u8, claims: &Stamp) -> Token {
    issue(claims, &Issuer::new(issuer, kid).unwrap(), &secret(seed)).unwrap()
}

fn own() -> Token {
    signed(ME, "k", 5, &claims(ME))
}

fn of_list() -> Token {
    signed(LIST, "k", 6, &claims(LIST))
}

const HEADER: &str = "Date: Fri, 15 Jan 2027 08:00:00 +0000\nMessage-ID: <1@y.example>\nFrom: a@y.example\n";

fn fingerprint(text: &str) -> Fingerprint {
    Fingerprint::of(&Message::parse(text.as_bytes()))
}

/// A message with the stamp, and with the proof that `sign` makes of it.
fn used(stamp: &Token, sign: impl Fn(&Token, &str) -> Token) -> String {
    let text = format!("Digital-Stamp: {}\n{HEADER}\nhello\n", stamp.as_str());
    format!("Digital-Stamp-Use: {}\n{text}", sign(stamp, &text).as_str())
}

fn nonce() -> Serial {
    Serial::new("nonce").unwrap()
}

fn for_message(stamp: &Token, text: &str) -> Token {
    Proof::sign(stamp, &fingerprint(text), &nonce(), NOW, &holder())
}

fn for_post(stamp: &Token, text: &str) -> Token {
    let post = post::hash(&Message::parse(text.as_bytes())).unwrap();
    Proof::sign_post(stamp, &post, &nonce(), NOW, &holder())
}

fn mailbox(address: &str) -> Mailbox {
    Mailbox { pattern: Pattern::parse(address).unwrap(), price: 3, owner: Some(address.to_owned()) }
}

/// Judges the message at `now` for this recipient, with a log that knows nothing. Returns the reason and the requests.
fn judge_at(now: UnixTime, text: &str, recipient: Option<&str>) -> (Reason, Vec<SpendRequest>) {
    let mailboxes = [mailbox(ME), mailbox(OTHER)];
    let facts = Facts { now, mailboxes: &mailboxes, policy: &Policy::default(), keys: &Keys };
    let recipient = recipient.map(|address| Address::parse(address).unwrap());
    let envelope = Envelope { recipient, ..Envelope::default() };
    let mut step = examine(&Message::parse(text.as_bytes()), &envelope, &facts);
    let mut asked = Vec::new();
    loop {
        match step {
            Step::Done(verdict) => return (verdict.reason, asked),
            Step::Spend(mut claim) => {
                if claim.correspondent().is_some() {
                    claim.allow_uses(50);
                }
                asked.push(claim.request().clone());
                step = claim.settle(SpendResult::Fresh);
            }
        }
    }
}

fn reason(text: &str) -> Reason {
    judge_at(NOW, text, Some(ME)).0
}

#[test]
fn the_users_own_gift_is_accepted_whatever_the_price() {
    let text = used(&own(), for_message);
    let (peer, asked) = judge_at(NOW, &text, Some(ME));
    assert_eq!(peer, Reason::Peer);
    let names: Vec<(&str, &str)> = asked.iter().map(|ask| (&*ask.vendor, ask.serial.as_str())).collect();
    assert_eq!(names, [(ME, "standing"), ("me@x.example#standing", "nonce")]);
    assert_eq!(asked[1].expires, Some(NOW.plus(14 * DAY)));
    // It came through a forwarder, and rested there.
    assert_eq!(judge_at(NOW.plus(13 * DAY), &text, None).0, Reason::Peer);
    assert_eq!(judge_at(NOW.plus(14 * DAY + 1), &text, Some(ME)).0, Reason::BadHolderProof);
    assert_eq!(judge_at(NOW, &text, Some(OTHER)).0, Reason::NotForMe);
}

#[test]
fn a_gift_may_last_longer_than_a_vendors_stamp() {
    let text = used(&own(), for_message);
    let mailboxes = [Mailbox { pattern: Pattern::parse(ME).unwrap(), price: 3, owner: None }];
    let policy = Policy { max_window: DAY, ..Policy::default() };
    let facts = Facts { now: NOW, mailboxes: &mailboxes, policy: &policy, keys: &Keys };
    let step = examine(&Message::parse(text.as_bytes()), &Envelope::default(), &facts);
    let Step::Spend(claim) = step else { panic!("{step:?}") };
    assert_eq!(claim.request().serial.as_str(), "standing");
    assert!(matches!(claim.settle(SpendResult::Fresh), Step::Spend(_)));
}

#[test]
fn no_other_key_signs_in_the_users_name() {
    let with = |stamp: &Token| reason(&used(stamp, for_message));
    assert_eq!(with(&signed(ME, "k", 7, &claims(ME))), Reason::Forged);
    assert_eq!(with(&signed(ME, "stolen", 5, &claims(ME))), Reason::KeyRevoked);
    assert_eq!(with(&signed("b@y.example", "k", 5, &claims(ME))), Reason::UnknownVendor);
    // The list's key speaks for the list alone, and the user's for one address.
    assert_eq!(with(&signed(LIST, "k", 5, &claims(LIST))), Reason::Forged);
    assert_eq!(with(&signed(LIST, "k", 6, &claims(ME))), Reason::NotForMe);
    assert_eq!(with(&signed(ME, "k", 5, &claims(OTHER))), Reason::NotForMe);
    let hashed = Audience::hashed(&Address::parse(ME).unwrap(), [1; 16]);
    assert_eq!(with(&signed(ME, "k", 5, &Stamp { audience: hashed, ..claims(ME) })), Reason::NotForMe);
}

#[test]
fn an_address_issues_stamps_for_one_holder_only() {
    for claims in [
        Stamp { many: false, ..claims(ME) },
        Stamp { holder: None, ..claims(ME) },
        Stamp { many: false, holder: None, ..claims(ME) },
        Stamp { sender: None, ..claims(ME) },
    ] {
        assert_eq!(reason(&used(&signed(ME, "k", 5, &claims), for_message)), Reason::Malformed);
    }
}

#[test]
fn a_captured_use_fits_no_other_message() {
    let text = used(&own(), for_message);
    assert_eq!(reason(&text.replace("hello", "buy")), Reason::BadHolderProof);
    assert_eq!(reason(&text.replace("From: a@", "From: eve@")), Reason::BadHolderProof);
    // A use that is bound to Date and Message-ID alone is for lists.
    assert_eq!(reason(&used(&own(), for_post)), Reason::BadHolderProof);
}

#[test]
fn a_post_to_a_pinned_list_is_accepted_as_the_list_changed_it() {
    let text = used(&of_list(), for_post);
    for sent in [
        text.clone(),
        text.replace("hello\n", "hello\n-- \nfooter\n"),
        text.replace(
            "From: a@y.example",
            "From: a via l <l@lists.example>\nSubject: [l] x\nList-Id: <l.lists.example>",
        ),
    ] {
        let (peer, asked) = judge_at(NOW, &sent, Some(ME));
        assert_eq!(peer, Reason::Peer, "{sent}");
        // What is remembered is the message as it came, so that no other body comes again under this use.
        assert_eq!(asked[1].message, KnownMessage::of(&Message::parse(sent.as_bytes())));
        let other = judge_at(NOW, &sent, Some(OTHER)).1;
        // Each subscriber has a row of their own, also in one log.
        assert_ne!(asked[1].vendor, other[1].vendor);
        assert_eq!(judge_at(NOW, &sent, None).0, Reason::Peer);
        assert_eq!(judge_at(NOW, &sent, Some("you@z.example")).0, Reason::NotForMe);
    }
    assert_eq!(reason(&text.replace("<1@y.example>", "<2@y.example>")), Reason::BadHolderProof);
    assert_eq!(reason(&text.replace("08:00", "08:01")), Reason::BadHolderProof);
    // A direct copy, for which the holder signed the whole message.
    assert_eq!(reason(&used(&of_list(), for_message)), Reason::Peer);
}

#[test]
fn each_subscriber_decides_about_a_lists_stamp_alone() {
    let text = used(&of_list(), for_post);
    let statuses: Vec<String> =
        [ME, OTHER].iter().map(|me| judge_at(NOW, &text, Some(me)).1[0].vendor.clone()).collect();
    let named = [ME, OTHER].map(|owner| Owner::named(owner).status_name(LIST));
    assert_eq!(statuses, named);
    assert_eq!(judge_at(NOW, &text, None).1[0].vendor, LIST);
    let mailboxes = [ME, OTHER].map(mailbox);
    let facts = Facts { now: NOW, mailboxes: &mailboxes, policy: &Policy::default(), keys: &Keys };
    let found = |text: &str| {
        let traces = traces(&Message::parse(text.as_bytes()), &facts);
        traces.into_iter().map(|it| (it.vendor, it.is_owner_known, it.stamp)).collect::<Vec<_>>()
    };
    // What is asked about a post later is what a delivery asked, for the owner to whom it was delivered.
    let [me, other] = named.clone();
    let list = LIST.to_owned();
    assert_eq!(found(&text), [(me.clone(), false, 0), (other.clone(), false, 0), (list.clone(), false, 0)]);
    let to_other = format!("Delivered-To: x@z.example\nDelivered-To: {OTHER}\nDelivered-To: {ME}\n{text}");
    assert_eq!(found(&to_other), [(other.clone(), true, 0), (list, false, 0)]);
    let name =
        |issuer: &str, text: &str, owner| status_name(issuer, Some(&Message::parse(text.as_bytes())), owner, &facts);
    assert_eq!(name(LIST, &to_other, None), Some(other));
    assert_eq!(name(LIST, &to_other, Some(Owner::named(ME))), Some(me));
    assert_eq!((name(LIST, &text, None), name(ME, &text, None)), (None, Some(ME.to_owned())));
}

#[test]
fn a_post_to_another_list_is_refused() {
    let other = signed("m@lists.example", "k", 6, &claims("m@lists.example"));
    assert_eq!(reason(&used(&other, for_post)), Reason::UnknownVendor);
    let in_its_name = signed(LIST, "k", 6, &claims("m@lists.example"));
    assert_eq!(reason(&used(&in_its_name, for_post)), Reason::NotForMe);
}

// A hands the stamp and the key to a spammer.
#[test]
fn uses_of_a_stamp_are_counted_by_day() {
    let cap = |now: UnixTime, text: &str| judge_at(now, text, Some(ME)).1.pop().unwrap().cap;
    let first = cap(NOW, &used(&own(), for_message)).unwrap();
    assert_eq!((first.most, first.until), (50, UnixTime((NOW.0 / DAY + 1) * DAY)));
    let other_text = used(&own(), for_message).replace("<1@", "<2@");
    assert_eq!(judge_at(NOW, &other_text, Some(ME)).0, Reason::BadHolderProof);
    let name = |seconds: i64| cap(NOW.plus(seconds), &used(&own(), for_message)).unwrap().name;
    assert_eq!(name(first.until.since(NOW) - 1), first.name);
    assert_ne!(name(first.until.since(NOW)), first.name);
    let second = signed(ME, "k", 5, &Stamp { serial: Serial::new("second").unwrap(), ..claims(ME) });
    assert_ne!(cap(NOW, &used(&second, for_message)).unwrap().name, first.name);
    // The posts of a list are many, and it is the list's owner who ends a member.
    assert_eq!(cap(NOW, &used(&of_list(), for_post)), None);
}

#[test]
fn a_use_beyond_the_limit_is_refused_and_without_a_limit_each_one() {
    let reason = |most: Option<u8>| {
        let mailboxes = [Mailbox { pattern: Pattern::parse(ME).unwrap(), price: 3, owner: None }];
        let facts = Facts { now: NOW, mailboxes: &mailboxes, policy: &Policy::default(), keys: &Keys };
        let text = used(&own(), for_message);
        let mut step = examine(&Message::parse(text.as_bytes()), &Envelope::default(), &facts);
        loop {
            match step {
                Step::Done(verdict) => return verdict.reason,
                Step::Spend(mut claim) => {
                    if let Some(most) = most {
                        claim.allow_uses(most);
                    }
                    let is_use = claim.request().cap.is_some();
                    assert_eq!(claim.correspondent().is_some(), is_use);
                    step = claim.settle(if is_use { SpendResult::TooOften } else { SpendResult::Fresh });
                }
            }
        }
    };
    assert_eq!(reason(Some(3)), Reason::TooOften);
    // The user ended the correspondence.
    assert_eq!(reason(Some(0)), Reason::ByRecipient);
    assert_eq!(reason(None), Reason::ByRecipient);
}
