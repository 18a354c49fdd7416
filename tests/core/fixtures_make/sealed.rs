//! Results that a boundary sealed: those that are believed, and those that are not, whose messages are judged anew.

use super::case::{Case, case};
use super::stamps::*;
use data_encoding::BASE64URL_NOPAD;
use mailstamp::boundary::seal;
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::header::fold;
use mailstamp::message::parse::Message;
use mailstamp::stamp::token::Purpose;
use mailstamp::time::UnixTime;
use mailstamp::verdict::reason::Reason;

const HOST: &str = "mx.x.example";
const PAID: &str =
    "first-class; reason=paid; vendor=stamps.example; key=2026q4; serial=sealed; value=1; action=deliver";

pub fn cases() -> Vec<Case> {
    [believed(), judged_anew()].concat()
}

/// The configuration of a host that trusts the boundary, with these lines above.
fn config(more: &str) -> String {
    let key = key(BOUNDARY).public();
    format!("addresses = [\"alice@x.example\"]\n{more}\n[trusted_boundaries]\n\"{HOST}\" = \"{key}\"")
        .replace("\n\n", "\n")
}

/// The field for these recipients of the message, sealed an hour ago.
fn field(result: &str, recipients: &[&str], message: &str) -> String {
    sealed_by(HOST, BOUNDARY, NOW.plus(-60 * MINUTE), result, recipients, message)
}

fn sealed_by(host: &str, seed: u8, time: UnixTime, result: &str, recipients: &[&str], message: &str) -> String {
    let recipients: Vec<String> = recipients.iter().map(|it| (*it).to_owned()).collect();
    let fingerprint = Fingerprint::of_broken(&Message::parse(message.as_bytes()));
    fold("Digital-Stamp-Class", &seal::write(result, host, &recipients, time, &fingerprint, &key(seed)), "\n")
}

const ALICE: [&str; 1] = ["alice@x.example"];

fn believed() -> Vec<Case> {
    let sealed = |detail, shows, message: String| case(Reason::Paid, detail, shows, message).config(&config(""));
    let letter = letter("1");
    let plain = field(PAID, &ALICE, &letter);
    let long = letter.clone() + &"x".repeat(2_100) + "\n";
    let broken = format!("{letter}{}\n {}\n {}\n", "x".repeat(998), "x".repeat(997), "x".repeat(105));
    let with_both = field(&PAID.replace("serial=sealed", "serial=of-bob"), &["bob@x.example"], &letter) + &plain;
    vec![
        sealed("sealed", "A boundary spent the stamp, stripped it, and sealed the result.", format!("{plain}{letter}")),
        sealed(
            "sealed-folded-anew",
            "White space of the field does not count.",
            format!(
                "DIGITAL-stamp-class:{}\n{letter}",
                plain[20..].trim_end().replace("\n ", "\r\n\t \t").replace("; ", ";")
            ),
        ),
        sealed(
            "sealed-for-two",
            "The seal names another recipient, too, and a rule with blanks.",
            field(&PAID.replace("; vendor", "; rule=a b; vendor"), &["bob@x.example", "alice@x.example"], &letter)
                + &letter,
        ),
        sealed(
            "sealed-field-of-another",
            "The other recipient of the message has a field of their own.",
            with_both + &letter,
        ),
        sealed("sealed-long-line", "A long line, not broken yet.", field(PAID, &ALICE, &long) + &long),
        sealed(
            "sealed-long-line-broken",
            "The same message, after Postfix broke the line on its way.",
            field(PAID, &ALICE, &long) + &broken,
        ),
        sealed(
            "sealed-last-second",
            "The seal is thirty days old.",
            sealed_by(HOST, BOUNDARY, NOW.plus(-30 * DAY), PAID, &ALICE, &letter) + &letter,
        ),
        case(
            Reason::BelowPrice,
            "sealed",
            "The boundary found too low a value.",
            field(&PAID.replace("first-class; reason=paid", "underpaid; reason=below-price"), &ALICE, &letter)
                + &letter,
        )
        .config(&config("")),
        case(Reason::BelowPrice, "sealed-price", "The user asks more than the boundary.", format!("{plain}{letter}"))
            .config(&config("price = 2")),
        case(
            Reason::ByRecipient,
            "sealed",
            "The user revoked the stamp that the boundary accepted.",
            format!("{plain}{letter}"),
        )
        .config(&config(""))
        .row(standing_row("sealed", &format!("{{\"revoked\":{}}}", NOW.plus(-DAY).0))),
    ]
}

fn judged_anew() -> Vec<Case> {
    let anew = |detail, shows, message: String| case(Reason::NoStamp, detail, shows, message).config(&config(""));
    let letter = letter("1");
    let plain = field(PAID, &ALICE, &letter);
    let other_letter = super::stamps::letter("2");
    let signature = BASE64URL_NOPAD.encode(key(BOUNDARY).sign(b"", &[], Purpose::Seal).signature());
    vec![
        anew("seal-of-another-message", "The seal is that of another message.", format!("{plain}{other_letter}")),
        anew(
            "seal-for-another",
            "The seal names another recipient.",
            field(PAID, &["bob@x.example"], &letter) + &letter,
        ),
        anew(
            "seal-of-a-stranger",
            "Another key sealed it under the name of the boundary.",
            sealed_by(HOST, STRANGER, NOW, PAID, &ALICE, &letter) + &letter,
        ),
        anew(
            "seal-of-another-host",
            "The host is not trusted, though the key is.",
            sealed_by("mx.y.example", BOUNDARY, NOW, PAID, &ALICE, &letter) + &letter,
        ),
        anew("seal-cut", "The last character of the seal is missing.", {
            format!("{}\n{letter}", &plain.trim_end()[..plain.trim_end().len() - 1])
        }),
        anew("seal-changed", "A value was changed after it was sealed.", plain.replace("value=1", "value=2") + &letter),
        anew("seal-of-nothing", "The signature is that of another text.", {
            format!(
                "Digital-Stamp-Class: {PAID}; host={HOST}; for=alice@x.example; t={}; seal={signature}\n{letter}",
                NOW.0
            )
        }),
        anew(
            "seal-too-old",
            "The seal is thirty days old, and longer than clocks may differ.",
            sealed_by(HOST, BOUNDARY, NOW.plus(-30 * DAY - 5 * MINUTE - 1), PAID, &ALICE, &letter) + &letter,
        ),
        anew(
            "seal-to-come",
            "It was sealed later than clocks may differ.",
            sealed_by(HOST, BOUNDARY, NOW.plus(5 * MINUTE + 1), PAID, &ALICE, &letter) + &letter,
        ),
        anew("seal-too-often", "The same message came 21 times before.", format!("{plain}{letter}"))
            .config(&config("used_log.max_redeliveries = 20"))
            .after_times("first-class/paid_sealed.eml", NOW.plus(-MINUTE), 21)
            .dry_run("first-class paid"),
        anew(
            "seal-without-log",
            "The boundary does not know whether the stamp was used.",
            field(&PAID.replace("; action", "; reuse=not-checked; action"), &ALICE, &letter) + &letter,
        ),
        anew("seal-of-another-class", "A class that a boundary does not decide for others.", {
            field("invalid; reason=forged; action=deliver", &ALICE, &letter) + &letter
        }),
        anew("seal-untrusted", "The user trusts no boundary.", format!("{plain}{letter}"))
            .config("addresses = [\"alice@x.example\"]"),
    ]
}
