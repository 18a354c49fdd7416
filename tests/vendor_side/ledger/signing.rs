//! The vendor's signatures: nothing is booked without one, and published directories stay small enough for readers.

use super::{NOW, Shop, handed, open, orders, refused, terms, texts};
use mailstamp::accounting::event::KeyState;
use mailstamp::directory::publish::Changes;
use mailstamp::ledger::handle::Ledger;
use mailstamp::ledger::ops;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::serial::Serial;
use mailstamp::time::UnixTime;
use std::fs;

#[test]
fn nothing_is_booked_that_cannot_be_signed() {
    let shop = Shop::new();
    let account = shop.account("alice", 10);
    shop.ledger.own(account.number, "far.example", NOW).unwrap();
    let sold = shop.ledger.issue(account.number, &orders(2), None, NOW).unwrap();
    let (file, away) = (shop.path().join("keys/key-a.json"), shop.path().join("away"));
    fs::rename(&file, &away).unwrap();
    // Another process, which has not read the key yet.
    let folder = shop.path();
    let Shop { folder: kept, ledger } = shop;
    drop(ledger);
    let shop = Shop { folder: kept, ledger: open(&folder) };
    let before = shop.ledger.run(ops::Entries { after: 0, most: 100 }, NOW).unwrap().len();
    assert!(shop.ledger.issue(account.number, &orders(1), None, NOW).is_err());
    assert!(shop.ledger.pay_out(account.number, 1, "t1", NOW).is_err());
    assert!(shop.ledger.deposit(account.number, &handed(&texts(&sold)), NOW).is_err());
    assert_eq!(
        (shop.ledger.run(ops::Entries { after: 0, most: 100 }, NOW).unwrap().len(), shop.has(&account)),
        (before, 8)
    );
    fs::rename(&away, &file).unwrap();
    shop.ledger.issue(account.number, &orders(1), None, NOW).unwrap();
    // No key at all: neither are receipts given, nor is anything paid out.
    shop.ledger.set_key_state("a", KeyState::Revoked { since: None }, NOW).unwrap();
    assert_eq!(refused(shop.ledger.pay_out(account.number, 1, "t1", NOW)).code(), "signing-key");
    assert_eq!(shop.has(&account), 7);
    shop.sound();
}

#[test]
fn a_key_that_was_left_by_another_vendor_is_not_taken_for_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let found = |vendor: &str| {
        let founding =
            mailstamp::ledger::handle::LedgerParams { vendor: vendor.into(), kid: "a".into(), terms: terms() };
        Ledger::create(&path, &founding, NOW)
    };
    drop(found("stamps.exmaple").unwrap());
    // As after an init that was killed.
    fs::rename(path.join("ledger.redb"), path.join("ledger.redb.new")).unwrap();
    let error = refused(found("stamps.example")).to_string();
    assert!(error.contains("holds a key of stamps.exmaple"), "{error}");
    assert!(!path.join("ledger.redb").exists());
    fs::remove_file(path.join("keys/key-a.json")).unwrap();
    // Nor is the key of its log.
    let error = found("stamps.example").unwrap_err().to_string();
    assert!(error.contains("log-key.txt: the key belongs to \"stamps.exmaple/"), "{error}");
    fs::remove_file(path.join("keys/log-key.txt")).unwrap();
    found("stamps.example").unwrap();
}

#[test]
fn customers_cannot_make_the_directory_longer_than_readers_take() {
    let shop = Shop::new();
    let account = shop.account("alice", 10);
    let made: Vec<Serial> = (0..24_999).map(|number| Serial::new(format!("{number:0>22}")).unwrap()).collect();
    shop.ledger.run(ops::Revoke { serials: made.clone(), customer: false }, NOW).unwrap();
    let sold = shop.ledger.issue(account.number, &orders(3), None, NOW).unwrap();
    let serial = |at: usize| Stamp::read(sold.stamps[at].payload()).unwrap().serial;
    let revoke = |at, now| shop.ledger.run(ops::Revoke { serials: vec![serial(at)], customer: true }, now);
    assert_eq!(revoke(0, NOW).unwrap(), 1);
    assert_eq!(refused(revoke(1, NOW)).code(), "revoked-full");
    // The vendor still can, and what there is can be published.
    assert_eq!(shop.ledger.run(ops::Revoke { serials: vec![serial(2)], customer: false }, NOW).unwrap(), 1);
    shop.ledger.edition(None, &Changes::default(), NOW, NOW.plus(1)).unwrap();
    // When stamps have ended there is room again.
    let later = NOW.plus(61 * 86_400);
    assert_eq!(revoke(1, later).unwrap(), 1);
    shop.sound();
}

#[test]
fn editions_grow_though_the_clock_goes_back() {
    let shop = Shop::new();
    let version =
        |at: UnixTime| shop.ledger.edition(None, &Changes::default(), at, at.plus(1)).unwrap().content.version;
    let first = version(NOW);
    assert_eq!(first, u64::try_from(NOW.0).unwrap());
    assert_eq!((version(NOW), version(NOW.plus(-3_600))), (first + 1, first + 2));
}

#[test]
fn two_editions_never_continue_the_same_one() {
    let shop = Shop::new();
    let ends = NOW.plus(1_000);
    let make = || shop.ledger.edition(None, &Changes::default(), NOW, ends).unwrap();
    let first = make();
    let booked = shop.ledger.last_edition().unwrap().unwrap();
    assert_eq!((booked.version, &booked.document), (first.content.version, &first.document));
    let last = make().content.version;
    let book = |last| shop.ledger.run(ops::BookEdition { last, edition: booked.clone() }, NOW);
    for late in [None, Some(booked.version), Some(last + 1)] {
        assert_eq!(refused(book(late)).code(), "edition-moved");
    }
    book(Some(last)).unwrap();
    // Without changes the last one still holds, until it is too old or ends too early.
    let current = |now: UnixTime, ends| {
        let found = shop.ledger.current_edition(None, &Changes::default(), now, ends, 60).unwrap();
        found.map(|(booked, issued)| (booked.version, issued))
    };
    let whole = Some((booked.version, NOW));
    assert_eq!([current(NOW, ends), current(NOW.plus(59), ends.plus(59))], [whole, whole]);
    assert_eq!([current(NOW.plus(60), ends), current(NOW, ends.plus(60))], [None, None]);
    shop.ledger.run(ops::Revoke { serials: vec![Serial::new("0".repeat(22)).unwrap()], customer: false }, NOW).unwrap();
    assert_eq!(current(NOW, ends), None);
    shop.sound();
}
