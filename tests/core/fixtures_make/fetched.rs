//! Fetched directories of the user's vendor, and their effect on stamps under the vendor's pinned key and under others.

use super::case::{Case, case};
use super::stamps::*;
use mailstamp::directory::cache::{Accepted, Record, SourceState};
use mailstamp::directory::document::{Document, VendorEntry};
use mailstamp::time::UnixTime;
use mailstamp::verdict::reason::Reason;

pub fn cases() -> Vec<Case> {
    let ours = || with(&token("ours"), &letter("1"));
    let newer = || with(&issue_as("stamps.example", "2027q1", NEW_KEY, &stamp("newer")), &letter("1"));
    let entry = |keys: &[(&str, u8, &str)]| pinned_keys("stamps.example", keys, "");
    let both = entry(&[("2026q4", VENDOR, ""), ("2027q1", NEW_KEY, "")]);
    let stolen = entry(&[("2026q4", VENDOR, ",\"status\":\"revoked\""), ("2027q1", NEW_KEY, "")]);
    let other = entry(&[("2026q4", NEW_KEY, "")]);
    let tomorrow = NOW.plus(DAY);
    vec![
        case(Reason::Paid, "fetched", "A new key, from a fetched directory that the pinned one signed.", newer())
            .fetched(signed(tomorrow, &both)),
        case(Reason::KeyRevoked, "fetched", "The pinned key is revoked in a fetched directory.", ours())
            .fetched(signed(tomorrow, &stolen)),
        case(
            Reason::StaleDirectory,
            "pinned-key",
            "What was fetched is past its date: the pinned key may have been revoked since.",
            ours(),
        )
        .fetched(signed(NOW.plus(-1), &both)),
        case(Reason::StaleDirectory, "silence", "In date, but its source has been silent for too long.", ours())
            .fetched(silent(signed(tomorrow, &both))),
        case(Reason::KeyConflict, "unsigned-dns", "Unsigned DNS has another key under the pinned one's name.", ours())
            .fetched(listed(&other, false)),
        case(Reason::UnknownKey, "unsigned-dns", "Unsigned DNS gives no key.", newer()).fetched(listed(&both, false)),
        case(Reason::Paid, "dnssec", "DNSSEC does, if the user lets it.", newer()).fetched(listed(&both, true)),
        case(
            Reason::UnknownKey,
            "pin-gone",
            "A directory that rests on a key that the user no longer pins is not heeded.",
            newer(),
        )
        .vendor("stamps.example.json", entry(&[("2026q4", STRANGER, "")]))
        .fetched(signed(tomorrow, &both)),
    ]
}

/// One source of the user's vendor, from which this was accepted.
fn record(from: &str, accepted: Accepted) -> Record {
    let heard = SourceState {
        from: from.to_owned(),
        answered: Some(NOW.plus(-DAY).to_string()),
        accepted: Some(accepted),
        ..SourceState::default()
    };
    let root = Some(key(VENDOR).public());
    Record { publisher: "stamps.example".to_owned(), version: 1, root, sources: vec![heard] }
}

fn signed(expires: UnixTime, entries: &str) -> Record {
    let Document::Signed { directory, .. } = serde_json::from_str(&directory(expires, entries)).unwrap() else {
        unreachable!()
    };
    let accepted = Accepted::Signed { directory, signer: key(VENDOR).public() };
    record("https://stamps.example/.well-known/digital-stamp", accepted)
}

fn silent(mut record: Record) -> Record {
    record.sources[0].until = Some(NOW.plus(-1).to_string());
    record
}

fn listed(entry: &str, gives: bool) -> Record {
    let entry: VendorEntry = serde_json::from_str(entry).unwrap();
    record("dns", Accepted::Listed { version: 1, expires: NOW.plus(DAY).to_string(), entry, gives })
}
