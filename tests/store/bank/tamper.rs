//! An audit notices every change of a row, and an earlier head that the chain was cut or the file is an older copy.

use super::{found, order, orders, payments, reserved, sound, token};
use crate::NOW;
use mailstamp::accounting::bank::event::Event;
use mailstamp::bank::handle::Bank;
use redb::{Key, ReadableDatabase, ReadableTable, TableDefinition, Value, WriteTransaction};
use std::fs;
use std::path::Path;
use std::time::Duration;

const ENTRY: TableDefinition<u64, &[u8]> = TableDefinition::new("entry");
const BALANCE: TableDefinition<&[u8; 9], i64> = TableDefinition::new("balance");
const LICENSE: TableDefinition<u64, &[u8]> = TableDefinition::new("license");
const PAYMENT: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("payment");
const INCOMING: TableDefinition<&str, &[u8]> = TableDefinition::new("incoming");
const COPY: TableDefinition<&[u8; 32], &str> = TableDefinition::new("copy");
const EXPOSURE: TableDefinition<&str, u64> = TableDefinition::new("exposure");
const TOKEN: TableDefinition<&[u8; 32], &str> = TableDefinition::new("token");
const STATE: TableDefinition<&str, &[u8]> = TableDefinition::new("state");

fn bank(folder: &Path) -> Bank {
    Bank::new(folder, Duration::from_secs(60))
}

/// A bank with rows in every table.
fn filled(folder: &Path) -> Bank {
    let bank = bank(folder);
    found(&bank);
    reserved(&bank, orders(1, 3));
    reserved(&bank, orders(2, 2));
    bank.settle(payments(&orders(2, 2)), NOW).unwrap();
    bank.pending((1..5).map(token).collect(), NOW).unwrap();
    bank.receive(vec!["in-2".into(), "in-3".into()], NOW).unwrap();
    bank.book(Event::Sent { request: "r".into(), ids: vec!["in-3".into()] }, NOW).unwrap();
    sound(&bank);
    bank
}

fn edit(path: &Path, job: impl FnOnce(&WriteTransaction)) {
    let database = redb::Database::open(path).unwrap();
    let tx = database.begin_write().unwrap();
    job(&tx);
    tx.commit().unwrap();
}

/// The rows of a table as bytes.
fn rows<K: Key + 'static, V: Value + 'static>(path: &Path, table: TableDefinition<K, V>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let database = redb::Database::open(path).unwrap();
    let rows = database.begin_read().unwrap().open_table(table).unwrap();
    let bytes = |row: (redb::AccessGuard<K>, redb::AccessGuard<V>)| {
        (K::as_bytes(&row.0.value()).as_ref().to_vec(), V::as_bytes(&row.1.value()).as_ref().to_vec())
    };
    rows.iter().unwrap().map(|row| bytes(row.unwrap())).collect()
}

/// Removes each row, changes a byte of each key and each value, and swaps neighbours. Every time an audit tells.
fn each_change_is_noticed<K: Key + 'static, V: Value + 'static>(table: TableDefinition<K, V>) {
    let folder = tempfile::tempdir().unwrap();
    let bank = filled(folder.path());
    let whole = fs::read(bank.path()).unwrap();
    let rows = rows(bank.path(), table);
    assert!(!rows.is_empty());
    let mut tried = 0;
    let mut noticed = |what: &str, job: &dyn Fn(&mut redb::Table<'_, K, V>)| {
        fs::write(bank.path(), &whole).unwrap();
        edit(bank.path(), |tx| job(&mut tx.open_table(table).unwrap()));
        // A row that cannot be read at all is an error instead of a report.
        let told = bank.audit(None);
        assert!(told.as_ref().map_or(true, |report| !report.problems.is_empty()), "{what}: {told:?}");
        tried += 1;
    };
    fn put<K: Key + 'static, V: Value + 'static>(table: &mut redb::Table<'_, K, V>, key: &[u8], value: &[u8]) {
        table.insert(K::from_bytes(key), V::from_bytes(value)).unwrap();
    }
    for (at, (key, value)) in rows.iter().enumerate() {
        let is_zero = value.iter().all(|byte| *byte == 0);
        if !is_zero {
            noticed("removed", &|table| drop(table.remove(K::from_bytes(key)).unwrap()));
        }
        for part in 0..8 {
            let mut changed = value.clone();
            let spot = part * value.len() / 8;
            changed[spot] ^= 1;
            noticed("value changed", &|table| put(table, key, &changed));
        }
        let mut other = key.clone();
        *other.last_mut().unwrap() ^= 1;
        if !is_zero && !rows.iter().any(|(key, _)| *key == other) {
            noticed("key changed", &|table| {
                drop(table.remove(K::from_bytes(key)).unwrap());
                put(table, &other, value);
            });
        }
        if let Some((next, of_next)) = rows.get(at + 1)
            && of_next != value
        {
            noticed("swapped", &|table| {
                put(table, key, of_next);
                put(table, next, value);
            });
        }
    }
    assert!(tried >= 8);
}

#[test]
fn a_changed_entry_is_noticed() {
    each_change_is_noticed(ENTRY);
}

#[test]
fn a_changed_balance_is_noticed() {
    each_change_is_noticed(BALANCE);
}

#[test]
fn a_changed_licence_is_noticed() {
    each_change_is_noticed(LICENSE);
}

#[test]
fn a_changed_payment_is_noticed() {
    each_change_is_noticed(PAYMENT);
}

#[test]
fn a_changed_received_token_is_noticed() {
    each_change_is_noticed(INCOMING);
    each_change_is_noticed(COPY);
}

#[test]
fn a_changed_exposure_is_noticed() {
    each_change_is_noticed(EXPOSURE);
}

#[test]
fn a_changed_text_of_a_token_is_noticed() {
    each_change_is_noticed(TOKEN);
}

#[test]
fn a_changed_answer_of_the_agency_is_noticed() {
    each_change_is_noticed(STATE);
}

// E21: what cannot be noticed alone, and by what it is
#[test]
fn an_older_copy_is_noticed_by_a_head_alone() {
    let folder = tempfile::tempdir().unwrap();
    let bank = filled(folder.path());
    let (old, old_head) = (fs::read(bank.path()).unwrap(), bank.balance().unwrap().head);
    reserved(&bank, orders(3, 2));
    let head = bank.balance().unwrap().head;
    assert_eq!(bank.audit(Some(old_head)).unwrap().problems, Vec::<String>::new());
    fs::write(bank.path(), old).unwrap();
    sound(&bank);
    let told = bank.audit(Some(head)).unwrap().problems;
    assert!(matches!(&told[..], [one] if one.contains("older copy")), "{told:?}");
    // It goes on, and is still noticed.
    reserved(&bank, vec![order(4, 0), order(4, 1), order(4, 2)]);
    assert_eq!(bank.audit(Some(head)).unwrap().problems.len(), 1);
}
