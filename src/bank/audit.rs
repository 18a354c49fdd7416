//! Audit of the bank: reads every entry in order, makes the books again from the entries alone, and compares them with
//! every other row.
//!
//! It detects entries that were changed, removed or moved, and any changed row. It does not detect that the last entries
//! are missing, that the file is an older copy, or that the whole chain was written anew. An earlier head shows the first
//! two, and so does the next contact with the agency, which has the bank's last head.

use super::schema;
use crate::accounting::bank::books::{self, DaySum, Fault, IncomingState};
use crate::accounting::bank::event::{Entry, Event};
use crate::accounting::bank::memory::Books;
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::{ChainCheck, Head};
use crate::store::SessionError;
use redb::{ReadTransaction, ReadableTable};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Most problems that a report lists.
const NAMED: usize = 20;

/// Report of an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Head of the chain.
    pub head: Head,
    /// Entries read.
    pub entries: u64,
    /// The first twenty problems, one sentence each; empty for a sound bank.
    pub problems: Vec<String>,
}

/// Audits one consistent state.
pub(super) fn audit(tx: &ReadTransaction, since: Option<Head>) -> Result<Report, SessionError> {
    let mut problems = Problems::default();
    let mut expected = Books::default();
    let mut check = ChainCheck::new(since);
    let (mut entries, mut day) = (0, None);
    for row in tx.open_table(schema::ENTRY)?.iter()? {
        let (number, row) = row?;
        entries += 1;
        let number = number.value();
        let entry: Option<Entry> = check.row(number, row.value(), &mut |problem| problems.add(problem));
        let Some(entry) = entry else { continue };
        if matches!(entry.event, Event::Founded { .. }) != (number == 1) {
            problems.add(format!("entry {number} is the first of a bank, or should be"));
        }
        if entry.event.promised() > 0 {
            day = Some(DaySum::on(day, entry.at).with(entry.event.promised()));
        }
        if let Err(Fault::Illegal(what)) = books::apply(&mut expected, &entry.event) {
            problems.add(format!("entry {number} cannot follow the entries before it: {what}"));
        }
    }
    if let Some(since) = check.missing() {
        problems
            .add(format!("the chain does not go through {since}: entries were removed, or the file is an older copy"));
    }
    let found = tx.open_table(schema::STATE)?.get("day")?.map(|row| schema::from_json(row.value())).transpose()?;
    if day != found {
        problems.add("what was reserved on the last day is not what the entries come to".to_owned());
    }
    problems.compare(tx, &expected)?;
    Ok(Report { head: check.head, entries, problems: problems.0 })
}

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, problem: String) {
        if self.0.len() < NAMED {
            self.0.push(problem);
        }
    }

    /// Compares the rows of the file with those that the entries give.
    fn compare(&mut self, tx: &ReadTransaction, expected: &Books) -> Result<(), SessionError> {
        let mut balances = BTreeMap::new();
        for row in tx.open_table(schema::BALANCE)?.iter()? {
            let (key, amount) = row?;
            balances.insert(schema::account_of(key.value())?, amount.value());
        }
        let nonzero = |balances: &BTreeMap<_, i64>| {
            balances.iter().filter(|(_, amount)| **amount != 0).map(|(account, amount)| (*account, *amount)).collect()
        };
        let (found, wanted): (BTreeMap<_, _>, BTreeMap<_, _>) = (nonzero(&balances), nonzero(&expected.balances));
        self.same("balance", &found, &wanted, |account| format!("{account:?}"));
        let rows = json_rows(tx.open_table(schema::LICENSE)?.iter()?, |number: u64| number)?;
        self.same("licence", &rows, &expected.licenses, u64::to_string);
        let rows = json_rows(tx.open_table(schema::PAYMENT)?.iter()?, |name: &[u8; 32]| Hash(*name))?;
        self.same("payment", &rows, &expected.payments, Hash::to_string);
        let rows = json_rows(tx.open_table(schema::INCOMING)?.iter()?, |id: &str| id.to_owned())?;
        self.same("received token", &rows, &expected.incoming, String::clone);
        let mut copies = BTreeMap::new();
        for row in tx.open_table(schema::COPY)?.iter()? {
            let (name, id) = row?;
            copies.insert(Hash(*name.value()), id.value().to_owned());
        }
        self.same("name of a message", &copies, &expected.copies, Hash::to_string);
        let mut exposures = BTreeMap::new();
        for row in tx.open_table(schema::EXPOSURE)?.iter()? {
            let (peer, credits) = row?;
            exposures.insert(peer.value().to_owned(), credits.value());
        }
        self.same("exposure", &exposures, &expected.exposures, String::clone);
        let agency =
            tx.open_table(schema::STATE)?.get("agency")?.map(|row| schema::from_json(row.value())).transpose()?;
        if agency != expected.agency {
            self.add("the last answer of the agency is not that of the entries".to_owned());
        }
        let receipt = tx.open_table(schema::STATE)?.get("receipt")?.map(|row| Hash::of(row.value()));
        if receipt.is_some() && receipt != expected.agency.map(|agency| agency.receipt) {
            self.add("the last receipt of the agency is not that of the entries".to_owned());
        }
        self.compare_texts(tx, expected)
    }

    /// Compares the texts of tokens with their hashes.
    fn compare_texts(&mut self, tx: &ReadTransaction, expected: &Books) -> Result<(), SessionError> {
        let mut texts = BTreeSet::new();
        for row in tx.open_table(schema::TOKEN)?.iter()? {
            let (hash, text) = row?;
            let hash = Hash(*hash.value());
            if Hash::of(text.value().as_bytes()) == hash {
                texts.insert(hash);
            } else {
                self.add(format!("token {hash}: its text was changed"));
            }
        }
        let paid = expected.payments.values().map(|row| row.token);
        let open = |state: IncomingState| state.is_open();
        let received = expected.incoming.values().filter(|row| open(row.state)).map(|row| row.token);
        for token in paid.chain(received) {
            if !texts.contains(&token) {
                self.add(format!("token {token}: its text is missing"));
            }
        }
        Ok(())
    }

    fn same<K: Ord, V: PartialEq>(
        &mut self,
        what: &str,
        found: &BTreeMap<K, V>,
        wanted: &BTreeMap<K, V>,
        name: impl Fn(&K) -> String,
    ) {
        for (key, row) in found {
            match wanted.get(key) {
                None => self.add(format!("{what} {}: not in the entries", name(key))),
                Some(it) if it != row => self.add(format!("{what} {}: not what the entries come to", name(key))),
                Some(_) => {}
            }
        }
        for key in wanted.keys().filter(|key| !found.contains_key(key)) {
            self.add(format!("{what} {}: missing", name(key)));
        }
    }
}

/// Reads a table whose values are JSON.
fn json_rows<K: redb::Key + 'static, T: Ord, V: DeserializeOwned>(
    rows: redb::Range<'_, K, &'static [u8]>,
    key: impl for<'k> Fn(K::SelfType<'k>) -> T,
) -> Result<BTreeMap<T, V>, SessionError> {
    let mut found = BTreeMap::new();
    for row in rows {
        let (name, row) = row?;
        found.insert(key(name.value()), schema::from_json(row.value())?);
    }
    Ok(found)
}
