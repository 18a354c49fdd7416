//! An audit finds every change of a row that opens or names an account, after any order of work.

use super::chain::edit;
use super::meters::{clear, license};
use super::{NOW, Shop, WAIT};
use crate::support::meters::Meter;
use mailstamp::accounting::order::OwnCaps;
use mailstamp::ledger::handle::Ledger;
use mailstamp::ledger::ops;
use proptest::prelude::*;
use redb::{Key, ReadableDatabase, ReadableTable, TableDefinition, Value, WriteTransaction};
use std::path::Path;

const ACCOUNT: TableDefinition<u64, &[u8]> = TableDefinition::new("account");
const NAME: TableDefinition<&str, u64> = TableDefinition::new("name");
const API_KEY: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("api-key");
const KEYS_OF: TableDefinition<(u64, &[u8; 32]), ()> = TableDefinition::new("keys-of");
const OWNER: TableDefinition<&str, (u64, &[u8; 32])> = TableDefinition::new("owner");
const OWNED: TableDefinition<(u64, &str), ()> = TableDefinition::new("owned");
const VOUCHER: TableDefinition<&[u8; 32], u64> = TableDefinition::new("voucher");
const HISTORY: TableDefinition<(u64, u64), ()> = TableDefinition::new("history");
const SIGNING: TableDefinition<&str, &[u8]> = TableDefinition::new("signing");
const ENTRY: TableDefinition<u64, &[u8]> = TableDefinition::new("entry");
const LICENSE: TableDefinition<u64, &[u8]> = TableDefinition::new("license");
const LICENSE_NAMED: TableDefinition<&str, u64> = TableDefinition::new("license-named");
const LICENSES_OF: TableDefinition<(u64, u64), ()> = TableDefinition::new("licenses-of");
const LICENSE_DUE: TableDefinition<(u64, u64), ()> = TableDefinition::new("license-due");
const PAYMENT: TableDefinition<&[u8; 32], u64> = TableDefinition::new("payment");
const OVER: TableDefinition<&[u8; 32], u64> = TableDefinition::new("over");
const BANK: TableDefinition<u64, &[u8]> = TableDefinition::new("bank");

#[derive(Clone, Debug)]
enum Deed {
    AddKey(u64),
    RevokeKey(u64, usize),
    Own(u64, &'static str),
    Disown(u64, &'static str),
    Contact(u64, &'static str),
    Caps(u64, u32),
    Voucher(u64),
    Close(u64),
    License(u64, u64),
    EndLicense(u64),
    Pay(u64, u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let account = 1_u64..4;
    let subject = prop::sample::select(vec!["a.example", "b.example", "joe@c.example", "jane@c.example"]);
    let contact = prop::sample::select(vec!["-", "+44 20", "joe@near.example"]);
    prop_oneof![
        4 => account.clone().prop_map(Deed::AddKey),
        2 => (account.clone(), 0_usize..4).prop_map(|(account, key)| Deed::RevokeKey(account, key)),
        4 => (account.clone(), subject.clone()).prop_map(|(account, subject)| Deed::Own(account, subject)),
        1 => (account.clone(), subject).prop_map(|(account, subject)| Deed::Disown(account, subject)),
        1 => (account.clone(), contact).prop_map(|(account, contact)| Deed::Contact(account, contact)),
        1 => (account.clone(), 1_u32..9).prop_map(|(account, stamps)| Deed::Caps(account, stamps)),
        1 => (1_u64..20).prop_map(Deed::Voucher),
        1 => account.clone().prop_map(Deed::Close),
        4 => (account.clone(), 0_u64..4).prop_map(|(account, limit)| Deed::License(account, limit)),
        1 => account.clone().prop_map(Deed::EndLicense),
        3 => (account, 1_u64..4).prop_map(|(account, credits)| Deed::Pay(account, credits)),
    ]
}

/// Does it, or is refused.
fn work(ledger: &Ledger, deed: &Deed) {
    match *deed {
        Deed::AddKey(account) => drop(ledger.add_api_key(account, "laptop", NOW)),
        Deed::RevokeKey(account, key) => {
            let keys = ledger.run(ops::ApiKeys { account }, NOW).unwrap();
            if let Some(key) = keys.get(key) {
                ledger.run(ops::RevokeApiKey { account, id: key.id.clone(), even_last: true }, NOW).unwrap();
            }
        }
        Deed::Own(account, subject) => drop(ledger.own(account, subject, NOW)),
        Deed::Disown(account, subject) => {
            ledger.run(ops::Disown { account, subject: subject.to_owned() }, NOW).unwrap();
        }
        Deed::Contact(account, contact) => {
            ledger.run(ops::SetContact { account, contact: contact.to_owned() }, NOW).unwrap();
        }
        Deed::Caps(account, stamps) => {
            let caps = Some(OwnCaps { stamps: Some(stamps), ..OwnCaps::default() });
            ledger.run(ops::SetCaps { account, caps }, NOW).unwrap();
        }
        Deed::Voucher(credits) => drop(ledger.make_voucher(credits, None, NOW)),
        Deed::License(account, limit) => drop(license(ledger, account, &meter(account, limit), limit, NOW)),
        Deed::EndLicense(account) => {
            let kid = meter(account, 1).kid().to_owned();
            drop(ledger.run(ops::EndLicense { kid, account: Some(account) }, NOW));
        }
        Deed::Pay(account, credits) => {
            let pay = |limit| meter(account, limit).pay("c", "joe@far.example", credits, credits, NOW);
            for receiver in [meter(3, 0), meter(3, 1)] {
                drop(clear(ledger, 3, &receiver, &[pay(credits), pay(1), pay(0)], NOW));
            }
        }
        Deed::Close(account) => drop(ledger.run(ops::CloseAccount { account, revoke: false }, NOW).unwrap()),
    }
}

/// The meter of an account that has this limit.
fn meter(account: u64, limit: u64) -> Meter {
    Meter::new(100 * account + limit)
}

/// One change of one table. The numbers choose rows and bytes.
#[derive(Clone, Copy, Debug)]
struct Tamper {
    table: usize,
    kind: Kind,
    row: usize,
    other: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Remove,
    SwapValues,
    ChangeValue,
    ChangeKey,
}

fn tamper() -> impl Strategy<Value = Tamper> {
    let kind = prop::sample::select(vec![Kind::Remove, Kind::SwapValues, Kind::ChangeValue, Kind::ChangeKey]);
    (0_usize..15, kind, any::<usize>(), any::<usize>()).prop_map(|(table, kind, row, other)| Tamper {
        table,
        kind,
        row,
        other,
    })
}

impl Tamper {
    /// Makes the change; returns whether anything that counts is different.
    fn apply(self, tx: &WriteTransaction) -> bool {
        match self.table {
            0 => self.change(tx, ACCOUNT),
            1 => self.change(tx, NAME),
            2 => self.change(tx, API_KEY),
            3 => self.change(tx, KEYS_OF),
            4 => self.change(tx, OWNER),
            5 => self.change(tx, OWNED),
            6 => self.change(tx, VOUCHER),
            7 => self.change(tx, HISTORY),
            8 => self.change(tx, LICENSE),
            9 => self.change(tx, LICENSE_NAMED),
            10 => self.change(tx, LICENSES_OF),
            11 => self.change(tx, LICENSE_DUE),
            12 => self.change(tx, PAYMENT),
            13 => self.change(tx, OVER),
            _ => self.change(tx, SIGNING),
        }
    }

    fn change<K: Key + 'static, V: Value + 'static>(
        self,
        tx: &WriteTransaction,
        definition: TableDefinition<K, V>,
    ) -> bool {
        let mut table = tx.open_table(definition).unwrap();
        let bytes = |row: (redb::AccessGuard<K>, redb::AccessGuard<V>)| {
            (K::as_bytes(&row.0.value()).as_ref().to_vec(), V::as_bytes(&row.1.value()).as_ref().to_vec())
        };
        let rows: Vec<(Vec<u8>, Vec<u8>)> = table.iter().unwrap().map(|row| bytes(row.unwrap())).collect();
        if rows.is_empty() {
            return false;
        }
        let (key, value) = rows[self.row % rows.len()].clone();
        let mut put = |key: &[u8], value: &[u8]| drop(table.insert(K::from_bytes(key), V::from_bytes(value)).unwrap());
        // Keys and values stay in their types: ASCII stays ASCII.
        let changed = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = self.other % bytes.len();
            bytes[at] ^= 1;
            bytes
        };
        match self.kind {
            Kind::Remove => drop(table.remove(K::from_bytes(&key)).unwrap()),
            Kind::SwapValues => {
                let (other, its) = rows[self.other % rows.len()].clone();
                if its == value {
                    return false;
                }
                put(&key, &its);
                put(&other, &value);
            }
            Kind::ChangeValue => {
                if value.is_empty() {
                    return false;
                }
                let changed = changed(&value);
                if without_label(&changed) == without_label(&value) {
                    return false;
                }
                put(&key, &changed);
            }
            Kind::ChangeKey => {
                put(&changed(&key), &value);
                table.remove(K::from_bytes(&key)).unwrap();
            }
        }
        true
    }
}

/// Returns the row without the one text that no entry has: the label of an API key.
fn without_label(row: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<serde_json::Value>(row) {
        Ok(serde_json::Value::Object(mut object)) if object.contains_key("label") => {
            object.remove("label");
            serde_json::to_vec(&object).unwrap()
        }
        _ => row.to_vec(),
    }
}

fn problems(folder: &Path) -> Vec<String> {
    Ledger::open(folder, WAIT).unwrap().audit(None).unwrap().problems
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_row_of_an_account_is_found(
        deeds in prop::collection::vec(deed(), 4..24),
        tampers in prop::collection::vec(tamper(), 12),
    ) {
        let shop = Shop::new();
        for name in ["a", "b", "c"] {
            shop.account(name, 5);
        }
        for deed in &deeds {
            work(&shop.ledger, deed);
        }
        shop.sound();
        let path = shop.path();
        drop(shop.ledger);
        let file = path.join("ledger.redb");
        let good = std::fs::read(&file).unwrap();
        for tamper in tampers {
            std::fs::write(&file, &good).unwrap();
            let mut different = false;
            edit(&file, |tx| different = tamper.apply(tx));
            if different {
                prop_assert!(!problems(&path).is_empty(), "{:?} was not found", tamper);
            }
        }
    }
}

#[test]
fn a_bank_set_back_and_a_forgotten_payment_are_named() {
    let shop = Shop::new();
    shop.account("payer", 100);
    shop.account("c", 0);
    let (payer, payee) = (Meter::new(1), Meter::new(2));
    license(&shop.ledger, 1, &payer, 10, NOW).unwrap();
    license(&shop.ledger, 2, &payee, 0, NOW).unwrap();
    let tokens = [3, 40].map(|credits| payer.pay("c", "joe@far.example", credits, credits, NOW));
    clear(&shop.ledger, 2, &payee, &tokens, NOW).unwrap();
    shop.sound();
    let path = shop.path();
    drop(shop.ledger);
    edit(&path.join("ledger.redb"), |tx| {
        let mut payments = tx.open_table(PAYMENT).unwrap();
        let payment = *payments.first().unwrap().unwrap().0.value();
        payments.remove(&payment).unwrap();
        let mut over = tx.open_table(OVER).unwrap();
        over.insert(&payment, 1).unwrap();
        let mut banks = tx.open_table(BANK).unwrap();
        let first = banks.get(1).unwrap().unwrap().value().to_vec();
        banks.insert(2, first.as_slice()).unwrap();
        banks.remove(1).unwrap();
        let mut licenses = tx.open_table(LICENSE).unwrap();
        let row = licenses.get(1).unwrap().unwrap().value().to_vec();
        let row = String::from_utf8(row).unwrap().replace("\"limit\":10", "\"limit\":90");
        licenses.insert(1, row.as_bytes()).unwrap();
    });
    assert_eq!(
        problems(&path),
        [
            "the cleared payments are not those of the entries",
            "the payments beyond a limit are not those of the entries",
            "account 2: the head of its bank was changed",
            "account 1: the head of its bank is missing",
            "licence 1 was changed",
        ]
    );
}

#[test]
fn a_key_or_an_address_moved_to_another_account_is_named() {
    let shop = Shop::new();
    shop.account("alice", 100);
    shop.account("joe", 0);
    let (_, key) = shop.ledger.add_api_key(2, "laptop", NOW).unwrap();
    shop.ledger.own(2, "far.example", NOW).unwrap();
    let path = shop.path();
    drop(shop.ledger);
    edit(&path.join("ledger.redb"), |tx| {
        let mut keys = tx.open_table(API_KEY).unwrap();
        let (hash, row) = keys.first().unwrap().map(|(hash, row)| (*hash.value(), row.value().to_vec())).unwrap();
        let row = String::from_utf8(row).unwrap().replace("\"account\":2", "\"account\":1");
        keys.insert(&hash, row.as_bytes()).unwrap();
        let mut lists = tx.open_table(KEYS_OF).unwrap();
        lists.remove((2, &hash)).unwrap();
        lists.insert((1, &hash), ()).unwrap();
        let mut owners = tx.open_table(OWNER).unwrap();
        let salt = *owners.get("far.example").unwrap().unwrap().value().1;
        owners.insert("far.example", (1, &salt)).unwrap();
        let mut owned = tx.open_table(OWNED).unwrap();
        owned.remove((2, "far.example")).unwrap();
        owned.insert((1, "far.example"), ()).unwrap();
    });
    let id = key.id;
    assert_eq!(
        problems(&path),
        [
            format!("account 2: API key {id} was moved to account 1"),
            "account 2: far.example was moved to account 1".to_owned(),
        ]
    );
}

// Addresses and contacts are personal data, which the chain must not keep.
#[test]
fn the_chain_has_no_address_and_no_contact() {
    let shop = Shop::new();
    let account = shop.account("alice", 0).number;
    shop.ledger.run(ops::SetContact { account, contact: "+44 20 7946 0000".into() }, NOW).unwrap();
    shop.ledger.own(account, "alice@far.example", NOW).unwrap();
    shop.ledger.own(account, "private.example", NOW).unwrap();
    let subject = "alice@far.example".to_owned();
    shop.ledger.run(ops::Disown { account, subject }, NOW).unwrap();
    let path = shop.path();
    drop(shop.ledger);
    let database = redb::Database::open(path.join("ledger.redb")).unwrap();
    let tx = database.begin_read().unwrap();
    let table = tx.open_table(ENTRY).unwrap();
    let rows = table.iter().unwrap().map(|row| row.unwrap().1.value()[32..].to_vec());
    let entries: Vec<String> = rows.map(|row| String::from_utf8(row).unwrap()).collect();
    for personal in ["far.example", "private.example", "near.example", "20 7946"] {
        assert!(entries.iter().all(|entry| !entry.contains(personal)), "{entries:?}");
    }
    // Nor their plain hashes, from which an address could be guessed.
    for personal in ["alice@far.example", "private.example", "+44 20 7946 0000", "me@near.example"] {
        let hash = mailstamp::accounting::hash::Hash::of(personal.as_bytes()).to_string();
        assert!(entries.iter().all(|entry| !entry.contains(&hash)), "{entries:?}");
    }
    let event = |word: &str| entries.iter().filter(|entry| entry.contains(&format!("\"event\":\"{word}\""))).count();
    assert_eq!((event("owned"), event("disowned"), event("contact")), (2, 1, 1));
}
