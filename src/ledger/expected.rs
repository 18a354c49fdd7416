//! Rows that open or name an account, as the entries have them: accounts, names, API keys, owners of addresses. Also
//! the terms and the signing keys. `expected_meters` has those of licences.
//!
//! - An audit compares these with the tables. A row that the entries do not explain, a missing row and a row that was
//!   moved to another account are problems.
//! - Texts of people (contacts, addresses) are compared by their salted hashes.
//! - The label of an API key is in no entry. A revoked key opens nothing, so its row may be missing.
//! - Codes that were mailed are in no entry: telling one adds an entry.

use super::expected_meters::ExpectedMeters;
use super::model::{Account, ApiKey, KeyRecord};
use super::schema::{self, TxResult};
use crate::accounting::event::{Event, Terms};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Entry;
use crate::message::header::escape_untrusted;
use crate::time::UnixTime;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use serde::Serialize;
use std::collections::BTreeMap;

/// Rows by the entries that were added.
#[derive(Default)]
pub(super) struct Expected {
    vendor: Option<String>,
    terms: Option<Terms>,
    signing: BTreeMap<String, KeyRecord>,
    /// By number. The contact is its hash, and there is no salt.
    accounts: BTreeMap<u64, (Account, Hash)>,
    api_keys: BTreeMap<Hash, Key>,
    /// By the salted hash of the address or domain.
    owners: BTreeMap<Hash, u64>,
    meters: ExpectedMeters,
}

/// What the entries say about an API key.
struct Key {
    account: u64,
    created: UnixTime,
    revoked: Option<UnixTime>,
}

/// Takes a problem, in one sentence.
type Report<'a> = &'a mut dyn FnMut(String);

impl Expected {
    /// Follows the next entry.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.meters.add(entry);
        match &entry.event {
            Event::Founded { vendor } => self.vendor = Some(vendor.clone()),
            Event::Terms { terms } => self.terms = Some(terms.clone()),
            Event::Key { kid, key, state } => {
                let since = self.signing.get(kid).map_or(entry.at, |before| before.since);
                self.signing.insert(kid.clone(), KeyRecord { kid: kid.clone(), key: *key, state: *state, since });
            }
            Event::Opened { account, name, contact, caps } => {
                let row = Account {
                    number: *account,
                    name: name.clone(),
                    contact: String::new(),
                    salt: Hash([0; 32]),
                    open: true,
                    created: entry.at,
                    caps: *caps,
                };
                self.accounts.insert(*account, (row, *contact));
            }
            Event::Closed { account } => self.change(*account, |row, _| row.open = false),
            Event::Contact { account, contact } => self.change(*account, |_, hash| *hash = *contact),
            Event::Caps { account, caps } => self.change(*account, |row, _| row.caps = *caps),
            Event::KeyMade { account, key } => {
                let made = Key { account: *account, created: entry.at, revoked: None };
                self.api_keys.insert(*key, made);
            }
            Event::KeyRevoked { key, .. } => {
                if let Some(key) = self.api_keys.get_mut(key) {
                    key.revoked = Some(entry.at);
                }
            }
            Event::Owned { account, subject } => drop(self.owners.insert(*subject, *account)),
            Event::Disowned { subject, .. } => drop(self.owners.remove(subject)),
            _ => {}
        }
    }

    fn change(&mut self, account: u64, change: impl FnOnce(&mut Account, &mut Hash)) {
        if let Some((row, contact)) = self.accounts.get_mut(&account) {
            change(row, contact);
        }
    }

    /// Compares all of it with the tables.
    pub(super) fn compare(self, tx: &ReadTransaction, wrong: Report<'_>) -> TxResult<()> {
        compare_vendor(tx, self.vendor, self.terms, self.signing, wrong)?;
        compare_accounts(tx, self.accounts, wrong)?;
        compare_api_keys(tx, self.api_keys, wrong)?;
        compare_owners(tx, self.owners, wrong)?;
        self.meters.compare(tx, wrong)
    }
}

fn compare_vendor(
    tx: &ReadTransaction,
    vendor: Option<String>,
    terms: Option<Terms>,
    mut signing: BTreeMap<String, KeyRecord>,
    wrong: Report<'_>,
) -> TxResult<()> {
    let meta = tx.open_table(schema::META)?;
    let row = |name: &str| -> TxResult<Option<Vec<u8>>> { Ok(meta.get(name)?.map(|row| row.value().to_vec())) };
    if row("vendor")? != vendor.map(String::into_bytes) {
        wrong("the vendor's name is not that of the entries".to_owned());
    }
    if row("terms")? != json(terms.as_ref())? {
        wrong("the terms are not those of the entries".to_owned());
    }
    let recipient = schema::recipient_in(&meta)?.map(|row| Hash::salted(&row.salt, &row.address));
    if recipient != terms.and_then(|terms| terms.recipient) {
        wrong("the recipient is not the one of the terms".to_owned());
    }
    for row in tx.open_table(schema::SIGNING)?.iter()? {
        let (kid, row) = row?;
        let kid = kid.value();
        match signing.remove(kid) {
            None => wrong(format!("signing key {} is in no entry", escape_untrusted(kid.as_bytes(), 64))),
            key => {
                if json(key.as_ref())?.as_deref() != Some(row.value()) {
                    wrong(format!("signing key {kid} was changed"));
                }
            }
        }
    }
    signing.into_keys().for_each(|kid| wrong(format!("signing key {kid} is missing")));
    Ok(())
}

fn compare_accounts(
    tx: &ReadTransaction,
    mut accounts: BTreeMap<u64, (Account, Hash)>,
    wrong: Report<'_>,
) -> TxResult<()> {
    let names = tx.open_table(schema::NAME)?;
    let count = accounts.len() as u64;
    for row in tx.open_table(schema::ACCOUNT)?.iter()? {
        let (number, row) = row?;
        let number = number.value();
        let Some((expected, contact)) = accounts.remove(&number) else {
            wrong(format!("account {number} is in no entry"));
            continue;
        };
        let bytes = row.value();
        let Ok(row) = schema::from_json::<Account>(bytes) else {
            wrong(format!("account {number}: it cannot be read"));
            continue;
        };
        if Hash::salted(&row.salt, &row.contact) != contact {
            wrong(format!("account {number}: its contact was changed"));
        }
        // The texts that the hash stands for.
        let expected = Account { contact: row.contact, salt: row.salt, ..expected };
        if schema::to_json(&expected)? != bytes {
            wrong(format!("account {number}: its name, caps, state or time was changed"));
        }
        if names.get(expected.name.as_str())?.map(|row| row.value()) != Some(number) {
            wrong(format!("account {number}: the name {} does not lead to it", expected.name));
        }
    }
    accounts.into_keys().for_each(|number| wrong(format!("account {number} is missing")));
    if names.len()? != count {
        wrong(format!("{} names of accounts, and the entries opened {count}", names.len()?));
    }
    Ok(())
}

fn compare_api_keys(tx: &ReadTransaction, mut keys: BTreeMap<Hash, Key>, wrong: Report<'_>) -> TxResult<()> {
    let table = tx.open_table(schema::API_KEY)?;
    let of = tx.open_table(schema::KEYS_OF)?;
    for row in table.iter()? {
        let (hash, row) = row?;
        let hash = Hash(*hash.value());
        let id = id(&hash);
        let bytes = row.value();
        let Ok(row) = schema::from_json::<ApiKey>(bytes) else {
            wrong(format!("API key {id} cannot be read"));
            continue;
        };
        let account = row.account;
        match keys.remove(&hash) {
            None => wrong(format!("account {account}: API key {id} is in no entry")),
            Some(key) if key.account != account => {
                wrong(format!("account {}: API key {id} was moved to account {account}", key.account));
            }
            Some(Key { created, revoked, .. }) => {
                let expected = ApiKey { id: id.clone(), account, label: row.label, created, revoked };
                if schema::to_json(&expected)? != bytes {
                    wrong(format!("account {account}: API key {id} was changed"));
                }
            }
        }
        if of.get((account, &hash.0))?.is_none() {
            wrong(format!("account {account}: API key {id} is not among its keys"));
        }
    }
    for (hash, key) in keys.into_iter().filter(|(_, key)| key.revoked.is_none()) {
        wrong(format!("account {}: API key {} is missing", key.account, id(&hash)));
    }
    if of.len()? != table.len()? {
        wrong(format!("{} API keys are listed for accounts, and there are {}", of.len()?, table.len()?));
    }
    Ok(())
}

fn compare_owners(tx: &ReadTransaction, mut owners: BTreeMap<Hash, u64>, wrong: Report<'_>) -> TxResult<()> {
    let table = tx.open_table(schema::OWNER)?;
    let owned = tx.open_table(schema::OWNED)?;
    for row in table.iter()? {
        let (subject, row) = row?;
        let (subject, (account, salt)) = (subject.value(), row.value());
        let shown = escape_untrusted(subject.as_bytes(), 300);
        match owners.remove(&Hash::salted(&Hash(*salt), subject)) {
            None => wrong(format!("account {account}: no entry gives it {shown}")),
            Some(owner) if owner != account => {
                wrong(format!("account {owner}: {shown} was moved to account {account}"));
            }
            Some(_) => {}
        }
        if owned.get((account, subject))?.is_none() {
            wrong(format!("account {account}: {shown} is not among its addresses"));
        }
    }
    for account in owners.into_values() {
        wrong(format!("account {account}: an address or domain of it is missing"));
    }
    if owned.len()? != table.len()? {
        wrong(format!("{} addresses are listed for accounts, and {} are owned", owned.len()?, table.len()?));
    }
    Ok(())
}

/// Returns the id of an API key.
fn id(hash: &Hash) -> String {
    hash.to_string().chars().take(16).collect()
}

fn json(row: Option<&impl Serialize>) -> TxResult<Option<Vec<u8>>> {
    row.map(|row| schema::to_json(row)).transpose()
}
