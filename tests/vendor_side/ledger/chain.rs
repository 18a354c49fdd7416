//! An audit finds every edit of the file that was made behind the program's back, and says where.

use super::{NOW, Shop, WAIT, handed, open, order, orders, texts};
use mailstamp::accounting::hash_chain::Head;
use mailstamp::ledger::error::LedgerError;
use mailstamp::ledger::handle::Ledger;
use mailstamp::ledger::ops;
use mailstamp::stamp::claims::Stamp;
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use std::path::Path;

pub const BALANCE: TableDefinition<&[u8; 12], i64> = TableDefinition::new("balance");
const ENTRY: TableDefinition<u64, &[u8]> = TableDefinition::new("entry");
const SERIAL: TableDefinition<&[u8; 16], u64> = TableDefinition::new("serial");
const ACCOUNT: TableDefinition<u64, &[u8]> = TableDefinition::new("account");
const REVOKED: TableDefinition<&str, u64> = TableDefinition::new("revoked");
const VOUCHER: TableDefinition<&[u8; 32], u64> = TableDefinition::new("voucher");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// Edits the file as an attacker would who knows its format.
pub fn edit(file: &Path, change: impl FnOnce(&WriteTransaction)) {
    let database = Database::open(file).unwrap();
    let tx = database.begin_write().unwrap();
    change(&tx);
    tx.commit().unwrap();
}

/// A ledger in which something of everything happened; and the head then.
fn ledger() -> (Shop, Head) {
    let shop = Shop::new();
    let (alice, joe) = (shop.account("alice", 1_000), shop.account("joe", 0));
    shop.ledger.own(joe.number, "far.example", NOW).unwrap();
    let sold = shop.ledger.issue(alice.number, &orders(10), None, NOW).unwrap();
    shop.ledger.deposit(joe.number, &handed(&texts(&sold)[..3]), NOW).unwrap();
    let serials = sold.stamps[3..5].iter().map(|stamp| Stamp::read(stamp.payload()).unwrap().serial).collect();
    shop.ledger.run(ops::Revoke { serials, customer: true }, NOW).unwrap();
    let code = shop.ledger.make_voucher(50, None, NOW).unwrap();
    shop.ledger.take_voucher(joe.number, &code, NOW).unwrap();
    shop.ledger.pay_out(joe.number, 20, "bank", NOW).unwrap();
    shop.ledger.issue(joe.number, &[order("x@y.example")], None, NOW).unwrap();
    let head = shop.ledger.summary().unwrap().head;
    shop.ledger.rotate("b", NOW).unwrap();
    (shop, head)
}

/// What the audit says after an edit.
#[track_caller]
fn problems(change: impl FnOnce(&WriteTransaction)) -> Vec<String> {
    let (shop, _) = ledger();
    shop.sound();
    let path = shop.path();
    drop(shop.ledger);
    edit(&path.join("ledger.redb"), change);
    let problems = open(&path).audit(None).unwrap().problems;
    assert!(!problems.is_empty(), "the edit was not found");
    problems
}

fn row(tx: &WriteTransaction, number: u64) -> Vec<u8> {
    tx.open_table(ENTRY).unwrap().get(number).unwrap().unwrap().value().to_vec()
}

// Threat 21, E7, E21
#[test]
fn a_changed_entry_is_found_and_named() {
    for number in [1, 4, 9] {
        let found = problems(|tx| {
            let text = String::from_utf8(row(tx, number)[32..].to_vec()).unwrap();
            let changed = text.replacen("\"at\":1", "\"at\":2", 1);
            let row = [&row(tx, number)[..32], changed.as_bytes()].concat();
            tx.open_table(ENTRY).unwrap().insert(number, row.as_slice()).unwrap();
        });
        assert!(found[0].starts_with(&format!("entry {number} was changed")), "{found:?}");
    }
}

#[test]
fn a_changed_amount_is_found_twice() {
    let found = problems(|tx| {
        let number = 5;
        let text = String::from_utf8(row(tx, number)[32..].to_vec()).unwrap();
        let changed = text.replacen("\"credits\":1000,", "\"credits\":9000,", 1);
        assert_ne!(text, changed, "{text}");
        let row = [&row(tx, number)[..32], changed.as_bytes()].concat();
        tx.open_table(ENTRY).unwrap().insert(number, row.as_slice()).unwrap();
    });
    assert!(found[0].starts_with("entry 5 was changed"), "{found:?}");
    assert!(found.iter().any(|it| it == "Account(1) has 990, and the entries come to 8990"), "{found:?}");
}

#[test]
fn a_missing_entry_is_found_and_named() {
    let found = problems(|tx| {
        tx.open_table(ENTRY).unwrap().remove(7).unwrap();
    });
    assert_eq!(found[0], "entry 7 is missing");
    // The last one leaves no gap, but what it did.
    let found = problems(|tx| {
        let mut table = tx.open_table(ENTRY).unwrap();
        let last = table.last().unwrap().unwrap().0.value();
        for number in last - 2..=last {
            table.remove(number).unwrap();
        }
    });
    assert!(found.iter().any(|it| it.contains("and the entries come to")), "{found:?}");
}

#[test]
fn entries_in_another_order_are_found() {
    let found = problems(|tx| {
        let (one, two) = (row(tx, 6), row(tx, 7));
        let mut table = tx.open_table(ENTRY).unwrap();
        table.insert(6, two.as_slice()).unwrap();
        table.insert(7, one.as_slice()).unwrap();
    });
    assert!(found.contains(&"entry 6 says that it is entry 7".to_owned()), "{found:?}");
}

#[test]
fn a_changed_balance_is_found() {
    let found = problems(|tx| {
        let mut table = tx.open_table(BALANCE).unwrap();
        let mut key = [0; 12];
        (key[0], key[8]) = (1, 1);
        assert_eq!(table.insert(&key, 5_000).unwrap().unwrap().value(), 990);
    });
    assert_eq!(found[0], "Account(1) has 5000, and the entries come to 990");
    assert_eq!(found[1], "all balances in Credits come to 4010 instead of zero");
}

#[test]
fn a_stamp_that_was_given_back_its_worth_is_found() {
    let found = problems(|tx| {
        let mut table = tx.open_table(SERIAL).unwrap();
        let rows: Vec<_> =
            table.iter().unwrap().map(|row| row.unwrap()).map(|(k, v)| (*k.value(), v.value())).collect();
        let (serial, row) = rows.into_iter().find(|(_, row)| row & 7 == 1).unwrap();
        table.insert(&serial, row & !7).unwrap();
    });
    assert_eq!(found, ["the states of the stamps do not match the entries"]);
    let found = problems(|tx| {
        tx.open_table(SERIAL).unwrap().insert(&[9; 16], 8).unwrap();
    });
    assert_eq!(found, ["12 serials, and the entries sold 11"]);
    let found = problems(|tx| {
        let mut table = tx.open_table(SERIAL).unwrap();
        let serial = *table.first().unwrap().unwrap().0.value();
        table.remove(&serial).unwrap();
    });
    assert!(found[0].contains("which is not among its serials"), "{found:?}");
}

#[test]
fn a_revocation_taken_back_and_a_voucher_beside_the_entries_are_found() {
    let found = problems(|tx| {
        let mut table = tx.open_table(REVOKED).unwrap();
        let serial = table.first().unwrap().unwrap().0.value().to_owned();
        table.remove(serial.as_str()).unwrap();
    });
    assert_eq!(found, ["the revoked serials are not those that the entries revoked"]);
    let found = problems(|tx| {
        tx.open_table(VOUCHER).unwrap().insert(&[5; 32], 70).unwrap();
    });
    let voucher = "05".repeat(32);
    assert_eq!(found, [format!("voucher {voucher} is worth 70, and the entries come to 0")]);
}

#[test]
fn an_account_beside_the_entries_is_found() {
    let found = problems(|tx| {
        tx.open_table(ACCOUNT).unwrap().insert(77, b"{}".as_slice()).unwrap();
    });
    assert_eq!(found, ["account 77 is in no entry"]);
}

// E21: a ledger that was written anew as a whole shows only against an earlier head
#[test]
fn a_ledger_put_back_as_a_whole_shows_against_a_head_kept_elsewhere() {
    let (shop, head) = ledger();
    assert_eq!(shop.ledger.audit(Some(head)).unwrap().problems, Vec::<String>::new());
    let backup = shop.folder.path().join("backup");
    shop.ledger.backup(&backup).unwrap();
    let account = shop.account("carol", 77);
    let later = shop.ledger.summary().unwrap().head;
    assert_eq!(shop.has(&account), 77);
    let old = Ledger::restore(&shop.folder.path().join("old"), &backup, NOW).unwrap();
    old.run(ops::OpenAccount { name: "dave".into(), contact: "x".into(), caps: None }, NOW).unwrap();
    old.run(ops::OpenAccount { name: "erin".into(), contact: "x".into(), caps: None }, NOW).unwrap();
    assert_eq!(old.audit(None).unwrap().problems, Vec::<String>::new());
    assert_eq!(old.audit(Some(head)).unwrap().problems, Vec::<String>::new());
    let found = old.audit(Some(later)).unwrap().problems;
    assert!(found[0].starts_with(&format!("the chain does not go through {later}")), "{found:?}");
}

#[test]
fn a_ledger_of_another_version_is_refused_with_its_number() {
    let shop = Shop::new();
    let path = shop.path();
    drop(shop.ledger);
    let file = path.join("ledger.redb");
    edit(&file, |tx| {
        tx.open_table(META).unwrap().insert("format", [0, 0, 0, 9].as_slice()).unwrap();
    });
    assert!(matches!(Ledger::open(&path, WAIT), Err(LedgerError::Version { found: 9, known: 4, .. })));
    std::fs::write(&file, vec![7; 8192]).unwrap();
    assert!(matches!(Ledger::open(&path, WAIT), Err(LedgerError::Damaged { .. })));
}
