//! Tests of whole judgements: messages with real stamps, and every answer of a used log. The single reasons have their
//! fixtures; these tests cover several stamps and several requests.

use super::class::Class;
use super::examine::{Claim, Step, examine, traces};
use super::facts::{Envelope, Facts, KeyDirectory, KeyFact, KeyStatus, Mailbox, Policy, VendorKey};
use super::finding::Verdict;
use super::reason::Reason;
use super::spend::{SpendResult, Terms};
use crate::grant::GrantKind;
use crate::message::address::{Address, Pattern};
use crate::message::fingerprint::Fingerprint;
use crate::message::parse::Message;
use crate::stamp::audience::Audience;
use crate::stamp::claims::Stamp;
use crate::stamp::holder_proof::Proof;
use crate::stamp::issue::issue;
use crate::stamp::serial::Serial;
use crate::stamp::signing::SecretKey;
use crate::stamp::token::{Issuer, Token};
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime(1_800_000_000);
const HOUR: i64 = 3600;
const ME: &str = "me@x.example";
const FIRST_SEEN: UnixTime = UnixTime(NOW.0 - HOUR);

struct Keys;

impl KeyDirectory for Keys {
    fn key(&self, issuer: &Issuer) -> KeyFact {
        let key = vendor_key().public();
        let known = VendorKey { key, status: KeyStatus::Active, not_before: None, not_after: None };
        if issuer.vendor() == "v.example" { KeyFact::Known(Box::new(known)) } else { KeyFact::UnknownVendor }
    }

    fn revoked(&self, _: &str, serial: &Serial) -> bool {
        serial.as_str() == "revoked"
    }
}

fn vendor_key() -> SecretKey {
    SecretKey::from_random(&[1; 32])
}

fn claims(to: &str) -> Stamp {
    let audience = Audience::Plain(Address::parse(to).unwrap());
    Stamp::new(Serial::new("none").unwrap(), audience, NOW.plus(HOUR))
}

fn stamp(serial: &str, claims: Stamp) -> Token {
    let issuer = Issuer::new("v.example", "a").unwrap();
    issue(&Stamp { serial: Serial::new(serial).unwrap(), ..claims }, &issuer, &vendor_key()).unwrap()
}

fn good(serial: &str) -> Token {
    stamp(serial, claims(ME))
}

fn not_mine(serial: &str) -> Token {
    stamp(serial, claims("you@x.example"))
}

fn message(stamps: &[&Token]) -> String {
    let fields: String = stamps.iter().map(|stamp| format!("Digital-Stamp: {}\n", stamp.as_str())).collect();
    format!("{fields}Message-ID: <1@x>\nTo: {ME}\n\nhello\n")
}

/// Judges `text` when the log answers `answers` of (serial, terms).
/// Returns the verdict and the serials asked for.
fn judge(text: &str, answers: impl Fn(&str, Terms) -> SpendResult) -> (Verdict, Vec<String>) {
    let mailboxes = [Mailbox { pattern: Pattern::parse(ME).unwrap(), price: 1, owner: None }];
    let policy = Policy::default();
    let facts = Facts { now: NOW, mailboxes: &mailboxes, policy: &policy, keys: &Keys };
    let mut step = examine(&Message::parse(text.as_bytes()), &Envelope::default(), &facts);
    let mut asked = Vec::new();
    loop {
        match step {
            Step::Done(verdict) => return (verdict, asked),
            Step::Spend(claim) => {
                let answer = answer(&claim, &answers);
                asked.push(claim.request().serial.to_string());
                step = claim.settle(answer);
            }
        }
    }
}

fn answer(claim: &Claim, answers: &impl Fn(&str, Terms) -> SpendResult) -> SpendResult {
    answers(claim.request().serial.as_str(), claim.request().terms)
}

fn reasons(verdict: &Verdict) -> Vec<Option<Reason>> {
    verdict.findings.iter().map(|finding| finding.reason).collect()
}

const DOUBLE: SpendResult = SpendResult::DoubleSpend { first_seen: FIRST_SEEN };
const AGAIN: SpendResult = SpendResult::Redelivery { first_seen: FIRST_SEEN, times: 1 };

#[test]
fn only_one_of_two_good_stamps_is_spent() {
    let (verdict, asked) = judge(&message(&[&good("a"), &good("b")]), |_, _| SpendResult::Fresh);
    assert_eq!((verdict.reason, verdict.deciding_stamp), (Reason::Paid, Some(0)));
    assert_eq!(asked, ["a"]);
    assert_eq!(reasons(&verdict), [Some(Reason::Paid), None]);
}

#[test]
fn a_used_stamp_does_not_spoil_a_good_one_beside_it() {
    let text = message(&[&good("a"), &good("b")]);
    let (verdict, _) = judge(&text, |serial, _| if serial == "a" { DOUBLE } else { SpendResult::Fresh });
    assert_eq!((verdict.reason, verdict.deciding_stamp), (Reason::Paid, Some(1)));
    let (verdict, _) = judge(&text, |_, _| DOUBLE);
    assert_eq!((verdict.reason, verdict.deciding_stamp), (Reason::Used, Some(0)));
}

#[test]
fn a_granted_stamp_is_asked_about_first_and_spares_the_other() {
    let text = message(&[&good("a"), &not_mine("b")]);
    let granted =
        |serial: &str, _| if serial == "b" { SpendResult::Granted(GrantKind::Return) } else { SpendResult::Fresh };
    let (verdict, asked) = judge(&text, granted);
    assert_eq!((verdict.reason, verdict.deciding_stamp), (Reason::Return, Some(1)));
    assert_eq!(asked, ["b"]);
}

#[test]
fn a_flaw_is_outweighed_only_by_a_grant_or_by_the_same_message() {
    let late = stamp("a", Stamp { expires: Some(NOW.plus(-HOUR)), ..claims(ME) });
    let cheap = stamp("a", Stamp { value: 0, ..claims(ME) });
    let endless = stamp("a", Stamp { expires: None, ..claims(ME) });
    let early = stamp("a", Stamp { not_before: Some(NOW.plus(600)), ..claims(ME) });
    let long = stamp("a", Stamp { expires: Some(NOW.plus(401 * 24 * HOUR)), ..claims(ME) });
    for (stamp, flaw) in [
        (not_mine("a"), Reason::NotForMe),
        (late, Reason::Expired),
        (cheap, Reason::BelowPrice),
        (endless, Reason::NoWindow),
        (early, Reason::NotYetValid),
        (long, Reason::WindowTooLong),
    ] {
        let text = message(&[&stamp]);
        for (answer, expected) in [
            (SpendResult::Fresh, flaw),
            (DOUBLE, flaw),
            (AGAIN, Reason::Again),
            (SpendResult::Granted(GrantKind::MultiUse), Reason::MultiUse),
            (SpendResult::Revoked { since: FIRST_SEEN }, Reason::ByRecipient),
        ] {
            let (verdict, _) = judge(&text, |_, terms| {
                assert_eq!(terms, Terms::LookUp, "a flawed stamp must not be spent");
                answer
            });
            assert_eq!(verdict.reason, expected, "{flaw} with {answer:?}");
        }
    }
}

#[test]
fn what_needs_no_log_asks_none() {
    let forged = Token::parse(&good("a").as_str().replace("v4.public.e", "v4.public.f"));
    let (verdict, asked) = judge(&message(&[&forged.unwrap()]), |_, _| unreachable!());
    assert_eq!((verdict.reason, asked.len()), (Reason::Forged, 0));
    let (verdict, _) = judge(&message(&[&good("revoked")]), |_, _| unreachable!());
    assert_eq!(verdict.reason, Reason::ByVendor);
    let (verdict, _) = judge(&message(&[]), |_, _| unreachable!());
    assert_eq!((verdict.reason, verdict.class()), (Reason::NoStamp, Class::Unstamped));
}

#[test]
fn a_standing_stamp_is_looked_up_by_its_serial_and_spent_by_its_nonce() {
    let holder = SecretKey::from_random(&[2; 32]);
    let standing = stamp("standing", Stamp { many: true, holder: Some(holder.public()), ..claims(ME) });
    let text = message(&[&standing]);
    let fingerprint = Fingerprint::of(&Message::parse(text.as_bytes()));
    let proof = Proof::sign(&standing, &fingerprint, &Serial::new("nonce").unwrap(), NOW, &holder);
    let proven = format!("Digital-Stamp-Use: {}\n{text}", proof.as_str());

    let (verdict, asked) = judge(&proven, |_, _| SpendResult::Fresh);
    assert_eq!(verdict.reason, Reason::Peer);
    assert_eq!(asked, ["standing", "nonce"]);
    let (verdict, _) = judge(&proven, |serial, _| if serial == "nonce" { DOUBLE } else { SpendResult::Fresh });
    assert_eq!(verdict.reason, Reason::Used);
    let revoked = SpendResult::Revoked { since: FIRST_SEEN };
    let (verdict, asked) = judge(&proven, |_, _| revoked);
    assert_eq!((verdict.reason, asked.len()), (Reason::ByRecipient, 1));

    // BK6: a captured use is worth nothing on another message, and a missing use is no use.
    let (verdict, _) = judge(&proven.replace("hello", "buy"), |_, _| unreachable!());
    assert_eq!(verdict.reason, Reason::BadHolderProof);
    let (verdict, _) = judge(&text, |_, _| unreachable!());
    assert_eq!(verdict.reason, Reason::NoHolderProof);
    let old = Proof::sign(&standing, &fingerprint, &Serial::new("old").unwrap(), NOW.plus(-6 * 24 * HOUR), &holder);
    let (verdict, _) = judge(&format!("Digital-Stamp-Use: {}\n{text}", old.as_str()), |_, _| unreachable!());
    assert_eq!(verdict.reason, Reason::BadHolderProof);
}

/// Moving an old message to Junk means its stamp, whatever has ended meanwhile.
#[test]
fn what_was_asked_about_a_message_is_known_long_after() {
    let holder = SecretKey::from_random(&[9; 32]);
    let standing = stamp("standing", Stamp { many: true, holder: Some(holder.public()), ..claims(ME) });
    let bare = message(&[&standing]);
    let fingerprint = Fingerprint::of(&Message::parse(bare.as_bytes()));
    let proof = Proof::sign(&standing, &fingerprint, &Serial::new("nonce").unwrap(), NOW, &holder);
    let text = format!("Digital-Stamp-Use: {}\n{bare}", proof.as_str());
    let traced = |text: &str, now| {
        let facts = Facts { now, mailboxes: &[], policy: &Policy::default(), keys: &Keys };
        let traces = traces(&Message::parse(text.as_bytes()), &facts);
        traces.into_iter().flat_map(|it| it.asked).map(|it| it.serial.to_string()).collect::<Vec<_>>()
    };
    for days in [0, 30] {
        assert_eq!(traced(&text, NOW.plus(days * 24 * HOUR)), ["standing", "nonce"]);
        assert_eq!(traced(&bare, NOW.plus(days * 24 * HOUR)), [""; 0], "no delivery asked about it");
        assert_eq!(traced(&message(&[&good("a")]), NOW.plus(days * 24 * HOUR)), ["a"]);
    }
}

#[test]
fn a_stamp_for_many_uses_needs_a_holder() {
    let anyone = stamp("a", Stamp { many: true, ..claims(ME) });
    let (verdict, _) = judge(&message(&[&anyone]), |_, _| unreachable!());
    assert_eq!(verdict.reason, Reason::Malformed);
}

#[test]
fn whatever_the_log_answers_nothing_is_first_class_without_its_word() {
    // Promise 4: an acceptance needs a fresh serial under Spend, the same message, or a grant.
    let text = message(&[&not_mine("a"), &good("b"), &good("c")]);
    let granted = SpendResult::Granted(GrantKind::Return);
    let answers = [
        SpendResult::Fresh,
        DOUBLE,
        AGAIN,
        granted,
        SpendResult::Revoked { since: NOW },
        SpendResult::Ended,
        SpendResult::OtherOwner,
    ];
    for a in answers {
        for b in answers {
            for c in answers {
                let of = |serial: &str| match serial {
                    "a" => a,
                    "b" => b,
                    _ => c,
                };
                let (verdict, asked) = judge(&text, |serial, _| of(serial));
                let accepting = asked.iter().any(|serial| match of(serial) {
                    SpendResult::Fresh => serial != "a",
                    SpendResult::Redelivery { .. } | SpendResult::Granted(_) => true,
                    SpendResult::DoubleSpend { .. }
                    | SpendResult::OtherOwner
                    | SpendResult::Revoked { .. }
                    | SpendResult::TooOften
                    | SpendResult::Ended => false,
                });
                assert_eq!(verdict.class() == Class::FirstClass, accepting, "{a:?} {b:?} {c:?}");
            }
        }
    }
}
