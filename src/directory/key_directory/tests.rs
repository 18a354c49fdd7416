//! Tests of the key directory: which documents count, and what becomes of keys and meters.

use super::*;
use crate::directory::document::{KeyEntry, MeterEntry, Status};
use crate::stamp::signing::SecretKey;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_random(&[seed; 32])
}

fn key(kid: &str, seed: u8, status: Status) -> KeyEntry {
    let key = secret(seed).public().to_string();
    KeyEntry { kid: kid.into(), key, status, since: None, not_before: None, not_after: None }
}

fn entry(vendor: &str, keys: Vec<KeyEntry>) -> VendorEntry {
    VendorEntry { vendor: vendor.into(), keys, ..VendorEntry::default() }
}

fn signed(vendor: &str, seed: u8, version: u64, expires: &str, vendors: Vec<VendorEntry>) -> String {
    let edition = SignedDirectory {
        version,
        issued: "2026-01-01T00:00:00Z".into(),
        expires: expires.into(),
        previous: None,
        vendors,
    };
    let footer = format!(r#"{{"iss":"{vendor}","kid":"a"}}"#);
    let payload = serde_json::to_vec(&edition).unwrap();
    secret(seed).sign(&payload, footer.as_bytes(), Purpose::Directory).as_str().to_owned()
}

const FRESH: &str = "2099-01-01T00:00:00Z";
const PAST: &str = "2020-01-01T00:00:00Z";

/// Opens and adds signed directories, as `pinned.rs` does with those of the user's folder.
fn add_signed(directory: &mut Directory, tokens: &[&str]) -> Result<Vec<IgnoredReason>, DirectoryError> {
    let mut unheeded = Vec::new();
    let mut statements = Vec::new();
    for token in tokens {
        match directory.open(token, NOW)? {
            Ok(opened) => statements.push(opened.statement(Trust::Pinned)?),
            Err(why) => unheeded.push(why),
        }
    }
    let heard = directory.add_statement(&statements, &BTreeMap::new(), NOW);
    unheeded.extend(heard.into_iter().map(|(_, why)| why));
    Ok(unheeded)
}

fn fact(directory: &Directory, vendor: &str, kid: &str) -> KeyFact {
    directory.key(&Issuer::new(vendor, kid).unwrap())
}

fn pinned(entries: &[VendorEntry]) -> Directory {
    let mut directory = Directory::default();
    for entry in entries {
        directory.pin(entry).unwrap();
    }
    directory
}

/// A directory with these meters: name, seed of the key, limit, and seconds until the end.
fn metered(vendor: &str, meters: &[(&str, u8, u64, i64)]) -> VendorEntry {
    let meter = |(kid, seed, limit, after): &(&str, u8, u64, i64)| MeterEntry {
        kid: (*kid).to_owned(),
        key: secret(*seed).public().to_string(),
        limit: *limit,
        not_after: NOW.plus(*after).to_string(),
    };
    let meters = meters.iter().map(meter).collect();
    VendorEntry { meters, ..entry(vendor, vec![key("a", 1, Status::Active)]) }
}

fn meter(directory: &Directory, vendor: &str, kid: &str) -> MeterFact {
    directory.meter(&Issuer::new(vendor, kid).unwrap())
}

/// The agency `v.example`, trusted, and these statements about it.
fn agency(statements: &[(&str, Trust, u64, &str, VendorEntry)]) -> Directory {
    let any = VendorEntry { publishes: Publishes::Any, ..entry("w.example", vec![]) };
    let mut directory = pinned(&[entry("v.example", vec![key("a", 1, Status::Active)]), any]);
    let statement = |(publisher, weight, version, expires, entry): &(&str, Trust, u64, &str, VendorEntry)| Statement {
        publisher: (*publisher).to_owned(),
        version: *version,
        expires: time(expires).unwrap(),
        vendors: vec![entry.clone()],
        weight: *weight,
    };
    let statements: Vec<Statement> = statements.iter().map(statement).collect();
    directory.add_statement(&statements, &BTreeMap::new(), NOW);
    directory
}

#[test]
fn a_meter_is_no_key_and_a_key_no_meter() {
    let list = metered("v.example", &[("m1", 7, 100, 3_600)]);
    let directory = agency(&[("v.example", Trust::Fetched, 1, FRESH, list)]);
    let known = Meter { key: secret(7).public(), limit: 100, not_after: NOW.plus(3_600) };
    assert_eq!(meter(&directory, "v.example", "m1"), MeterFact::Known(Box::new(known.clone())));
    assert_eq!(fact(&directory, "v.example", "m1"), KeyFact::UnknownKey);
    assert_eq!(status(fact(&directory, "v.example", "a")), KeyStatus::Active);
    assert_eq!(meter(&directory, "v.example", "a"), MeterFact::Unlisted);
    assert_eq!(meter(&directory, "x.example", "m1"), MeterFact::UnknownAgency);
    assert_eq!(meter(&directory, "m1@v.example", "m1"), MeterFact::UnknownAgency);
    // The directories of signed files count, too.
    let mut directory = pinned(&[entry("v.example", vec![key("a", 1, Status::Active)])]);
    let token = signed("v.example", 1, 1, FRESH, vec![metered("v.example", &[("m1", 7, 100, 3_600)])]);
    add_signed(&mut directory, &[&token]).unwrap();
    assert_eq!(meter(&directory, "v.example", "m1"), MeterFact::Known(Box::new(known.clone())));
}

#[test]
fn a_meter_that_is_no_longer_listed_is_revoked() {
    let list = |meters: &[(&str, u8, u64, i64)]| metered("v.example", meters);
    let both = list(&[("m1", 7, 100, 3_600), ("m2", 8, 100, 3_600)]);
    let (old, new) = (
        ("v.example", Trust::Fetched, 1, FRESH, both.clone()),
        ("v.example", Trust::Fetched, 2, FRESH, list(&[("m2", 8, 100, 3_600)])),
    );
    let directory = agency(&[old, new.clone()]);
    assert_eq!(meter(&directory, "v.example", "m1"), MeterFact::Unlisted);
    assert!(matches!(meter(&directory, "v.example", "m2"), MeterFact::Known(_)));
    // Nothing else keeps it: no pinned document, no other publisher, no source that may only revoke.
    let other = ("w.example", Trust::Fetched, 9, FRESH, both.clone());
    let doubtful = ("v.example", Trust::RevokeOnly, 3, FRESH, both.clone());
    let mut directory = agency(&[new, other, doubtful]);
    directory.pin(&both).unwrap();
    assert_eq!(meter(&directory, "v.example", "m1"), MeterFact::Unlisted);
}

#[test]
fn meters_of_an_expired_directory_are_stale() {
    let list = || metered("v.example", &[("m1", 7, 100, 3_600)]);
    for weight in [Trust::Fetched, Trust::Pinned] {
        let directory = agency(&[("v.example", weight, 1, PAST, list())]);
        assert_eq!(meter(&directory, "v.example", "m1"), MeterFact::Stale, "{weight:?}");
    }
    let fetched = ("v.example", Trust::Fetched, 1, PAST, list());
    assert_eq!(meter(&agency(std::slice::from_ref(&fetched)), "v.example", "m2"), MeterFact::Stale);
    let placed = ("v.example", Trust::Pinned, 1, FRESH, list());
    assert_eq!(meter(&agency(&[fetched, placed]), "v.example", "m1"), MeterFact::Stale);
}

#[test]
fn of_two_descriptions_of_a_meter_the_stricter_counts() {
    let one = |seed, limit, after| {
        ("v.example", Trust::Fetched, 1, FRESH, metered("v.example", &[("m1", seed, limit, after)]))
    };
    let strict = Meter { key: secret(7).public(), limit: 50, not_after: NOW.plus(60) };
    for all in [[one(7, 50, 90), one(7, 80, 60)], [one(7, 80, 60), one(7, 50, 90)]] {
        assert_eq!(meter(&agency(&all), "v.example", "m1"), MeterFact::Known(Box::new(strict.clone())));
    }
    let three = [one(7, 50, 90), one(8, 50, 90), one(7, 50, 90)];
    assert_eq!(meter(&agency(&three), "v.example", "m1"), MeterFact::Conflict);
}

fn status(fact: KeyFact) -> KeyStatus {
    match fact {
        KeyFact::Known(key) => key.status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_named_vendors_and_listed_keys_are_known() {
    let directory = pinned(&[entry("v.example", vec![key("a", 1, Status::Active)])]);
    assert_eq!(status(fact(&directory, "v.example", "a")), KeyStatus::Active);
    assert_eq!(fact(&directory, "v.example", "b"), KeyFact::UnknownKey);
    assert_eq!(fact(&directory, "w.example", "a"), KeyFact::UnknownVendor);
}

#[test]
fn different_bytes_under_one_name_are_a_conflict_for_good() {
    let mut directory = pinned(&[entry("v.example", vec![key("a", 1, Status::Active)])]);
    directory.pin(&entry("v.example", vec![key("a", 2, Status::Active)])).unwrap();
    assert_eq!(fact(&directory, "v.example", "a"), KeyFact::Conflict);
    directory.pin(&entry("v.example", vec![key("a", 1, Status::Active)])).unwrap();
    assert_eq!(fact(&directory, "v.example", "a"), KeyFact::Conflict);
}

#[test]
fn the_stricter_status_counts() {
    for (one, other) in [(Status::Active, Status::Revoked), (Status::Revoked, Status::Active)] {
        let entries = [one, other].map(|status| entry("v.example", vec![key("a", 1, status)]));
        let revoked = KeyStatus::Revoked { since: UnixTime(i64::MIN) };
        assert_eq!(status(fact(&pinned(&entries), "v.example", "a")), revoked);
    }
    let entries = [Status::VerifyOnly, Status::Active].map(|s| entry("v.example", vec![key("a", 1, s)]));
    assert_eq!(status(fact(&pinned(&entries), "v.example", "a")), KeyStatus::VerifyOnly);
}

#[test]
fn a_signed_directory_adds_keys_of_its_publisher_only() {
    let mut directory = pinned(&[entry("v.example", vec![key("a", 1, Status::Active)]), entry("w.example", vec![])]);
    let lists = vec![
        entry("v.example", vec![key("b", 2, Status::Active)]),
        entry("w.example", vec![key("c", 3, Status::Active)]),
    ];
    let token = signed("v.example", 1, 1, FRESH, lists.clone());
    assert_eq!(add_signed(&mut directory, &[&token]).unwrap(), vec![]);
    assert_eq!(status(fact(&directory, "v.example", "b")), KeyStatus::Active);
    assert_eq!(fact(&directory, "w.example", "c"), KeyFact::UnknownKey);
    // A directory that may list others lists only vendors that the user named.
    let mut directory = pinned(&[
        VendorEntry { publishes: Publishes::Any, ..entry("v.example", vec![key("a", 1, Status::Active)]) },
        entry("w.example", vec![]),
    ]);
    let mut lists = lists;
    lists.push(entry("x.example", vec![key("d", 4, Status::Active)]));
    add_signed(&mut directory, &[&signed("v.example", 1, 1, FRESH, lists)]).unwrap();
    assert_eq!(status(fact(&directory, "w.example", "c")), KeyStatus::Active);
    assert_eq!(fact(&directory, "x.example", "d"), KeyFact::UnknownVendor);
}

#[test]
fn the_newest_edition_speaks_and_equal_ones_conflict() {
    let old = signed("v.example", 1, 1, FRESH, vec![entry("v.example", vec![key("b", 2, Status::Active)])]);
    let new = signed("v.example", 1, 2, FRESH, vec![entry("v.example", vec![key("b", 3, Status::Active)])]);
    let other = signed("v.example", 1, 2, FRESH, vec![entry("v.example", vec![key("b", 4, Status::Active)])]);
    let pin = entry("v.example", vec![key("a", 1, Status::Active)]);
    for tokens in [[old.as_str(), new.as_str()], [new.as_str(), old.as_str()]] {
        let mut directory = pinned(std::slice::from_ref(&pin));
        assert_eq!(add_signed(&mut directory, &tokens).unwrap(), [IgnoredReason::Superseded("v.example".into())]);
        let KeyFact::Known(known) = fact(&directory, "v.example", "b") else { panic!() };
        assert_eq!(known.key, secret(3).public());
    }
    let mut directory = pinned(&[pin]);
    add_signed(&mut directory, &[&new, &other]).unwrap();
    assert_eq!(fact(&directory, "v.example", "b"), KeyFact::Conflict);
}

#[test]
fn a_stale_directory_gives_no_keys_but_its_revocations_hold() {
    let mut lists = entry("v.example", vec![key("b", 2, Status::Active), key("c", 3, Status::Revoked)]);
    lists.revoked.insert("s1".into());
    let token = signed("v.example", 1, 1, PAST, vec![lists]);
    let mut directory = pinned(&[entry("v.example", vec![key("a", 1, Status::Active)])]);
    assert_eq!(add_signed(&mut directory, &[&token]).unwrap(), [IgnoredReason::Stale("v.example".into())]);
    assert_eq!(fact(&directory, "v.example", "b"), KeyFact::Stale);
    assert!(matches!(status(fact(&directory, "v.example", "c")), KeyStatus::Revoked { .. }));
    assert!(directory.revoked("v.example", &Serial::new("s1").unwrap()));
    assert!(!directory.revoked("w.example", &Serial::new("s1").unwrap()));
}

#[test]
fn who_can_sell_says_where() {
    let told = |at: &str, entry: VendorEntry| VendorEntry { buy: Some(format!("https://{at}/")), ..entry };
    let active = || vec![key("a", 1, Status::Active)];
    let mut ended = key("a", 1, Status::Active);
    ended.not_after = Some("2020-01-01T00:00:00Z".into());
    let mut directory = pinned(&[
        told("pinned", entry("v.example", active())),
        entry("w.example", active()),
        told("revoked", entry("x.example", vec![key("a", 1, Status::Revoked)])),
        told("ended", entry("y.example", vec![ended])),
        told("no-key", entry("z.example", vec![])),
    ]);
    for (vendor, expires) in [("v.example", FRESH), ("w.example", PAST)] {
        let token = signed(vendor, 1, 1, expires, vec![told("signed", entry(vendor, active()))]);
        add_signed(&mut directory, &[&token]).unwrap();
    }
    let sellers: Vec<_> = directory.vendors_for_sale(NOW).collect();
    assert_eq!(sellers, [("v.example", Some("https://pinned/")), ("w.example", None)]);
    let token = signed("w.example", 1, 2, FRESH, vec![told("signed", entry("w.example", active()))]);
    add_signed(&mut directory, &[&token]).unwrap();
    assert_eq!(directory.vendors_for_sale(NOW).nth(1), Some(("w.example", Some("https://signed/"))));
}

#[test]
fn a_directory_nobody_vouches_for_is_left_aside_and_a_forged_one_stops_everything() {
    let token = signed("w.example", 9, 1, FRESH, vec![]);
    let mut directory = pinned(&[entry("v.example", vec![key("a", 1, Status::Active)])]);
    assert_eq!(add_signed(&mut directory, &[&token]).unwrap(), [IgnoredReason::NotPinned("w.example".into())]);
    let forged = signed("v.example", 9, 1, FRESH, vec![]);
    let error = add_signed(&mut directory, &[&token, &forged]).unwrap_err();
    assert!(matches!(error, DirectoryError::Forged(_)));
}

fn said(weight: Trust, version: u64, expires: &str, keys: Vec<KeyEntry>) -> Statement {
    let vendors = vec![entry("v.example", keys)];
    Statement { publisher: "v.example".into(), version, expires: time(expires).unwrap(), vendors, weight }
}

fn heard(statements: &[Statement]) -> Directory {
    let mut directory = pinned(&[entry("v.example", vec![key("a", 1, Status::Active)])]);
    directory.add_statement(statements, &BTreeMap::new(), NOW);
    directory
}

#[test]
fn what_was_fetched_and_is_past_its_date_makes_pinned_keys_stale_too() {
    let old = said(Trust::Fetched, 1, PAST, vec![key("a", 1, Status::Active), key("r", 9, Status::Revoked)]);
    let directory = heard(std::slice::from_ref(&old));
    assert_eq!(fact(&directory, "v.example", "a"), KeyFact::Stale);
    assert!(matches!(status(fact(&directory, "v.example", "r")), KeyStatus::Revoked { .. }));
    // Another current source is enough.
    let new = said(Trust::Fetched, 1, FRESH, vec![key("a", 1, Status::Active)]);
    assert_eq!(status(fact(&heard(&[old.clone(), new]), "v.example", "a")), KeyStatus::Active);
    // An untrusted one is not enough, and a placed file is not affected by its own age.
    let doubtful = said(Trust::RevokeOnly, 1, FRESH, vec![key("a", 1, Status::Active)]);
    assert_eq!(fact(&heard(&[old, doubtful]), "v.example", "a"), KeyFact::Stale);
    let placed = said(Trust::Pinned, 1, PAST, vec![key("a", 1, Status::Active)]);
    assert_eq!(status(fact(&heard(&[placed]), "v.example", "a")), KeyStatus::Active);
}

#[test]
fn what_is_doubtful_takes_away_and_never_gives() {
    let doubtful = |keys| heard(&[said(Trust::RevokeOnly, 1, FRESH, keys)]);
    assert_eq!(fact(&doubtful(vec![key("b", 2, Status::Active)]), "v.example", "b"), KeyFact::UnknownKey);
    assert_eq!(fact(&doubtful(vec![key("a", 2, Status::Active)]), "v.example", "a"), KeyFact::Conflict);
    let revoked = doubtful(vec![key("a", 1, Status::Revoked)]);
    assert!(matches!(status(fact(&revoked, "v.example", "a")), KeyStatus::Revoked { .. }));
    // In any order: it comes after those that add keys.
    let given = said(Trust::Fetched, 1, FRESH, vec![key("b", 3, Status::Active)]);
    let directory = heard(&[said(Trust::RevokeOnly, 1, FRESH, vec![key("b", 2, Status::Active)]), given]);
    assert_eq!(fact(&directory, "v.example", "b"), KeyFact::Conflict);
}

#[test]
fn a_version_below_one_that_was_seen_is_not_heeded() {
    let mut directory = pinned(&[entry("v.example", vec![])]);
    let statements = [said(Trust::Pinned, 4, FRESH, vec![key("b", 2, Status::Active)])];
    let seen = BTreeMap::from([("v.example".to_owned(), 5)]);
    let unheeded = directory.add_statement(&statements, &seen, NOW);
    assert_eq!(unheeded, [(0, IgnoredReason::Superseded("v.example".into()))]);
    assert_eq!(fact(&directory, "v.example", "b"), KeyFact::UnknownKey);
}
