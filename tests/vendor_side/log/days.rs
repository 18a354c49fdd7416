//! Which leaves the log has, when, and in which order.

use super::{DAY, VENDOR, checkpoint, day, deposit, in_python, leaves, on, public, publish, sell, serial, shop, sound};
use crate::ledger::chain::edit;
use crate::ledger::meters::{clear, license};
use crate::ledger::{Shop, WAIT, open};
use crate::support::meters::Meter;
use mailstamp::accounting::event::Event;
use mailstamp::accounting::meter::payment_hash;
use mailstamp::ledger::handle::Ledger;
use mailstamp::ledger::ops;
use mailstamp::transparency::leaf::{self, Leaf, LeafKind};
use redb::{ReadableTable, TableDefinition};
use std::collections::BTreeSet;
use std::fs;

const ENTRY: TableDefinition<u64, &[u8]> = TableDefinition::new("entry");
const LOGGED: TableDefinition<u64, u64> = TableDefinition::new("logged");

#[test]
fn a_day_is_logged_after_it_has_ended_in_an_order_that_says_nothing() {
    let shop = shop();
    let first = publish(&shop, on(0));
    assert_eq!((first.size, first.appended), (0, 0));
    let stamps = sell(&shop, 20, on(0));
    deposit(&shop, &stamps[3..6], on(0).plus(5));
    assert_eq!(shop.ledger.run(ops::Revoke { serials: vec![serial(&stamps[7])], customer: false }, on(0)).unwrap(), 1);
    let foreign = mailstamp::stamp::serial::Serial::from_random([7; 16]);
    shop.ledger.run(ops::Revoke { serials: vec![foreign.clone()], customer: false }, on(0)).unwrap();
    // The last second of the day is of the day.
    let midnight = mailstamp::time::UnixTime((on(0).0 / DAY + 1) * DAY);
    sell(&shop, 1, midnight.plus(-1));
    assert_eq!(publish(&shop, midnight.plus(-1)).size, 0);
    sell(&shop, 1, midnight);
    let log = publish(&shop, midnight);
    assert_eq!((log.size, log.appended), (26, 26));
    let found = leaves(&public(&shop), &log.entry);
    assert!(found.iter().all(|leaf| leaf.day == day(0)));
    assert!(found.windows(2).all(|two| two[0].to_bytes() < two[1].to_bytes()));
    let has = |kind, serial: &str, value| {
        found.contains(&Leaf { kind, subject: leaf::stamp(VENDOR, serial), value, day: day(0) })
    };
    for (number, stamp) in stamps.iter().enumerate() {
        let serial = serial(stamp);
        assert!(has(LeafKind::Issued, serial.as_str(), 1), "{number}");
        assert_eq!(has(LeafKind::Deposited, serial.as_str(), 1), (3..6).contains(&number), "{number}");
        assert_eq!(has(LeafKind::Revoked, serial.as_str(), 1), number == 7, "{number}");
    }
    assert!(has(LeafKind::Revoked, foreign.as_str(), 0));
    sound(&shop);
    // Nothing new: no entry, and the same files.
    let head = shop.ledger.summary().unwrap().head;
    assert_eq!(publish(&shop, midnight.plus(60)).entry, log.entry);
    assert_eq!(shop.ledger.summary().unwrap().head, head);
    assert_eq!(in_python(&public(&shop), &log.entry.vkey), "26 issued=21 deposited=3 revoked=2\n");
}

#[test]
fn values_of_mixed_sales_and_tokens_of_meters_are_logged() {
    let shop = shop();
    let orders: Vec<_> = (1..=9)
        .map(|value| mailstamp::accounting::order::Order { value, ..crate::ledger::order("joe@far.example") })
        .collect();
    let stamps = crate::ledger::texts(&shop.ledger.issue(1, &orders, None, on(0)).unwrap());
    deposit(&shop, &stamps[2..5], on(0));
    let meter = Meter::new(1);
    license(&shop.ledger, 1, &meter, 500, on(0)).unwrap();
    let payee = Meter::new(2);
    license(&shop.ledger, 2, &payee, 3, on(0)).unwrap();
    let token = meter.pay("joe", "joe@far.example", 1, 40, on(0).plus(60));
    clear(&shop.ledger, 2, &payee, &[token], on(0)).unwrap();
    let log = publish(&shop, on(1));
    let found = leaves(&public(&shop), &log.entry);
    let value =
        |kind, subject| found.iter().find(|leaf| (leaf.kind, leaf.subject) == (kind, subject)).map(|it| it.value);
    for (number, stamp) in (1..).zip(&stamps) {
        let subject = leaf::stamp(VENDOR, serial(stamp).as_str());
        assert_eq!(value(LeafKind::Issued, subject), Some(number));
        assert_eq!(value(LeafKind::Deposited, subject), (3..6).contains(&number).then_some(number));
    }
    assert_eq!(value(LeafKind::Licensed, leaf::license(VENDOR, meter.kid())), Some(500));
    let entries = shop.ledger.run(ops::Entries { after: 0, most: 1_000 }, on(1)).unwrap();
    let payment = entries.iter().find_map(|entry| match &entry.event {
        Event::Cleared { each, .. } => each.first().map(|(_, _, payment)| *payment),
        _ => None,
    });
    assert_eq!(value(LeafKind::Cleared, leaf::payment(VENDOR, &payment.unwrap().to_string())), Some(40));
    assert_ne!(payment, Some(payment_hash(0, "", &[0; 32])));
    sound(&shop);
}

#[test]
fn many_days_make_one_tree_and_each_earlier_tree_is_its_beginning() {
    let shop = shop();
    let mut roots = Vec::new();
    for number in 0..6 {
        sell(&shop, 150, on(number));
        let stamps = sell(&shop, 10, on(number));
        deposit(&shop, &stamps, on(number));
        // One day is missed.
        if number != 3 {
            roots.push(checkpoint(&publish(&shop, on(number + 1)).entry));
        }
    }
    let last = shop.ledger.log_entry(&public(&shop)).unwrap().unwrap();
    let found = leaves(&public(&shop), &last);
    assert_eq!(found.len(), 6 * 170);
    assert!(found.windows(2).all(|two| (two[0].day, two[0].to_bytes()) < (two[1].day, two[1].to_bytes())));
    let folder = mailstamp::ledger::public_log::files::LogFolder::below(&public(&shop));
    let newest = checkpoint(&last);
    let mut log = mailstamp::transparency::reader::VerifiedLog::open(&folder, newest.size, &newest.root).unwrap();
    for older in roots {
        assert_eq!(log.root_at(older.size).unwrap(), older.root);
    }
    assert_eq!(in_python(&public(&shop), &last.vkey), "1020 issued=960 deposited=60\n");
    sound(&shop);
    // Another folder gets the same files from the chain alone.
    let other = shop.folder.path().join("other");
    assert_eq!(shop.ledger.publish_log(&other, false, on(6)).unwrap().entry, last);
    assert_eq!(in_python(&other, &last.vkey), "1020 issued=960 deposited=60\n");
    // So does this one, when its files are lost.
    fs::remove_dir_all(public(&shop)).unwrap();
    assert_eq!(publish(&shop, on(6)).entry, last);
    sound(&shop);
}

#[test]
fn a_clock_that_was_ahead_stops_nothing_and_one_that_went_back_loses_nothing() {
    let shop = shop();
    sell(&shop, 3, on(20));
    sell(&shop, 4, on(0));
    let log = publish(&shop, on(1));
    assert_eq!(log.size, 7);
    // No leaf is of a day that has not ended.
    assert!(leaves(&public(&shop), &log.entry).iter().all(|leaf| leaf.day == day(0)));
    sell(&shop, 5, on(2));
    assert_eq!(publish(&shop, on(3)).size, 12);
    // The clock goes back: days in the log do not.
    sell(&shop, 6, on(1));
    let log = publish(&shop, on(2));
    assert_eq!(log.size, 18);
    let found = leaves(&public(&shop), &log.entry);
    assert!(found[12..].iter().all(|leaf| leaf.day == day(2)));
    sound(&shop);
}

#[test]
fn two_publishers_at_once_make_one_log() {
    let shop = shop();
    let folders: Vec<_> = (0..4).map(|number| shop.folder.path().join(format!("public{number}"))).collect();
    for number in 0..5 {
        sell(&shop, 40, on(number));
        let publish = |folder| shop.ledger.publish_log(folder, false, on(number + 1)).unwrap();
        let logs: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = folders.iter().map(|folder| scope.spawn(move || publish(folder))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(logs.iter().all(|log| log.entry == logs[0].entry && log.size == 40 * (number as u64 + 1)));
        assert_eq!(logs.iter().map(|log| log.appended).sum::<u64>(), 40);
    }
    shop.sound();
}

fn tampered(shop: Shop, change: impl FnOnce(&redb::WriteTransaction)) -> Vec<String> {
    let path = shop.path();
    drop(shop.ledger);
    edit(&path.join("ledger.redb"), change);
    Ledger::open(&path, WAIT).unwrap().audit(None).unwrap().problems
}

fn logged() -> Shop {
    let shop = shop();
    for number in 0..3 {
        sell(&shop, 5, on(number));
        publish(&shop, on(number + 1));
    }
    shop
}

#[test]
fn an_audit_finds_a_log_that_is_not_the_one_of_the_entries() {
    let found = tampered(logged(), |tx| {
        let mut table = tx.open_table(LOGGED).unwrap();
        let number = table.remove(10).unwrap().unwrap().value();
        table.insert(9, number).unwrap();
    });
    assert_eq!(found, ["the sizes of the public log are not those of the entries"]);
    for (from, to, problem) in [
        ("\"size\":10", "\"size\":11", "says that the public log has 11 leaves, and the entries come to 10"),
        ("\"root\":\"", "\"root\":\"00", "cannot be read"),
        ("\"at\":1", "\"at\":2", "was changed"),
        ("\"day\":", "\"day\":9", "and the entries end with"),
    ] {
        let found = tampered(logged(), |tx| {
            let mut table = tx.open_table(ENTRY).unwrap();
            let number = tx.open_table(LOGGED).unwrap().get(10).unwrap().unwrap().value();
            let row = table.get(number).unwrap().unwrap().value().to_vec();
            let text = String::from_utf8(row[32..].to_vec()).unwrap().replacen(from, to, 1);
            table.insert(number, [&row[..32], text.as_bytes()].concat().as_slice()).unwrap();
        });
        assert!(found.iter().any(|it| it.contains("was changed")), "{found:?}");
        assert!(found.iter().any(|it| it.contains(problem)), "{problem}: {found:?}");
    }
}

#[test]
fn files_that_are_not_those_of_the_ledger_are_refused_and_found() {
    let log = ".well-known/digital-stamp-log";
    let flip = |path: &std::path::Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[20] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    for (file, problem, stops) in [
        ("checkpoint", "the signature is wrong", true),
        ("tile/0/000.p/15", "tile/0/000.p/15 was changed", true),
        ("tile/entries/000.p/15", "does not have the root", true),
    ] {
        let shop = logged();
        flip(&public(&shop).join(log).join(file));
        let found = shop.ledger.check_log_files(&public(&shop)).unwrap();
        assert!(found.len() == 1 && found[0].contains(problem), "{file}: {found:?}");
        let refused = shop.ledger.publish_log(&public(&shop), false, on(9));
        assert_eq!(refused.is_err(), stops, "{file}");
    }
    // The log of another ledger of the same name, under the same key.
    let (one, other) = (logged(), shop());
    sell(&other, 2, on(0));
    let keys = |shop: &Shop| shop.path().join("keys/log-key.txt");
    fs::copy(keys(&one), keys(&other)).unwrap();
    let problem = other.ledger.publish_log(&public(&one), false, on(1)).unwrap_err().to_string();
    assert!(problem.contains("15 leaves, and this ledger made 0 of them"), "{problem}");
    publish(&other, on(1));
    let problem = one.ledger.publish_log(&public(&other), false, on(4)).unwrap_err().to_string();
    assert!(problem.contains("the public log of another ledger"), "{problem}");
    // Without its key the log goes on with no other one.
    fs::remove_file(keys(&one)).unwrap();
    let problem = one.ledger.publish_log(&public(&one), false, on(4)).unwrap_err().to_string();
    assert!(problem.contains("log-key.txt: the key of the public log is missing"), "{problem}");
}

#[test]
fn another_process_publishes_the_same_through_the_one_that_has_the_ledger() {
    let shop = shop();
    sell(&shop, 300, on(0));
    shop.ledger.listen().unwrap();
    let remote = Ledger::connect(&shop.path(), WAIT).unwrap();
    assert!(remote.served());
    let log = remote.publish_log(&public(&shop), false, on(1)).unwrap();
    assert_eq!(leaves(&public(&shop), &log.entry).len(), 300);
    let subjects: BTreeSet<_> = leaves(&public(&shop), &log.entry).iter().map(|leaf| leaf.subject).collect();
    assert_eq!(subjects.len(), 300);
    drop(remote);
    let path = shop.path();
    drop(shop.ledger);
    assert_eq!(open(&path).publish_log(&path.join("public"), false, on(1)).unwrap().entry, log.entry);
}
