//! Rows of licences and payments, as the entries have them. An audit compares these with the tables.
//!
//! The head of a bank that only had a checkpoint is in no entry: it may be later than that of the last entry.

use super::model::{BankContact, License};
use super::schema::{self, TxResult};
use super::transaction::due;
use crate::accounting::event::{Claim, Event, Position};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Entry;
use crate::message::header::escape_untrusted;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition};
use std::collections::BTreeMap;

/// Rows by the entries that were added.
#[derive(Default)]
pub(super) struct ExpectedMeters {
    licenses: BTreeMap<u64, License>,
    banks: BTreeMap<u64, Position>,
    cleared: Payments,
    over: Payments,
}

/// Payments, counted and summed, so that no list of them is needed.
#[derive(Default, PartialEq, Eq)]
struct Payments {
    count: u64,
    sum: u128,
}

impl Payments {
    /// Adds a payment and its entry.
    fn add(&mut self, payment: &[u8; 32], entry: u64) {
        let hash = Hash::of(&[payment.as_slice(), &entry.to_be_bytes()].concat()).0;
        let number = hash.iter().take(16).fold(0_u128, |number, &byte| number << 8 | u128::from(byte));
        self.count += 1;
        self.sum = self.sum.wrapping_add(number);
    }

    fn extend(&mut self, claims: &[Claim], entry: u64) {
        claims.iter().for_each(|(_, _, payment)| self.add(&payment.0, entry));
    }

    fn of(tx: &ReadTransaction, table: TableDefinition<&[u8; 32], u64>) -> TxResult<Self> {
        let mut payments = Self::default();
        for row in tx.open_table(table)?.iter()? {
            let (payment, entry) = row?;
            payments.add(payment.value(), entry.value());
        }
        Ok(payments)
    }
}

impl ExpectedMeters {
    /// Follows the next entry.
    pub(super) fn add(&mut self, entry: &Entry) {
        match &entry.event {
            Event::Licensed { account, license, kid, key, limit, until, bank } => {
                let row = License {
                    number: *license,
                    account: *account,
                    kid: kid.clone(),
                    key: *key,
                    limit: *limit,
                    created: entry.at,
                    until: *until,
                    revoked: None,
                    closed: None,
                    returned: 0,
                    over: 0,
                };
                self.licenses.insert(*license, row);
                self.banks.insert(*account, *bank);
            }
            Event::LicenseEnded { license, .. } => self.change(*license, |row| row.revoked = Some(entry.at)),
            Event::LicenseClosed { license, credits, .. } => {
                self.change(*license, |row| (row.closed, row.returned) = (Some(entry.at), *credits));
            }
            Event::Cleared { account, bank, each, over } => {
                self.banks.insert(*account, *bank);
                self.cleared.extend(each, entry.number);
                self.over.extend(over, entry.number);
                for (license, credits, _) in over {
                    self.change(*license, |row| row.over = row.over.saturating_add(*credits));
                }
            }
            Event::BankRestored { account, bank, .. } => drop(self.banks.insert(*account, *bank)),
            _ => {}
        }
    }

    fn change(&mut self, license: u64, change: impl FnOnce(&mut License)) {
        if let Some(row) = self.licenses.get_mut(&license) {
            change(row);
        }
    }

    /// Compares all of it with the tables.
    pub(super) fn compare(self, tx: &ReadTransaction, wrong: &mut dyn FnMut(String)) -> TxResult<()> {
        if Payments::of(tx, schema::PAYMENT)? != self.cleared {
            wrong("the cleared payments are not those of the entries".to_owned());
        }
        if Payments::of(tx, schema::OVER)? != self.over {
            wrong("the payments beyond a limit are not those of the entries".to_owned());
        }
        compare_banks(tx, self.banks, wrong)?;
        compare_licenses(tx, self.licenses, wrong)
    }
}

fn compare_licenses(
    tx: &ReadTransaction,
    mut licenses: BTreeMap<u64, License>,
    wrong: &mut dyn FnMut(String),
) -> TxResult<()> {
    let named = tx.open_table(schema::LICENSE_NAMED)?;
    let of = tx.open_table(schema::LICENSES_OF)?;
    let dues = tx.open_table(schema::LICENSE_DUE)?;
    let (count, mut open) = (licenses.len() as u64, 0);
    for row in tx.open_table(schema::LICENSE)?.iter()? {
        let (number, row) = row?;
        let number = number.value();
        let Some(expected) = licenses.remove(&number) else {
            wrong(format!("licence {number} is in no entry"));
            continue;
        };
        if schema::to_json(&expected)? != row.value() {
            wrong(format!("licence {number} was changed"));
        }
        if named.get(expected.kid.as_str())?.map(|row| row.value()) != Some(number) {
            let kid = escape_untrusted(expected.kid.as_bytes(), 64);
            wrong(format!("licence {number}: the name {kid} does not lead to it"));
        }
        if expected.closed.is_none() {
            open += 1;
            if of.get((expected.account, number))?.is_none() {
                wrong(format!("account {}: licence {number} is not among its licences", expected.account));
            }
            if dues.get(due(&expected))?.is_none() {
                wrong(format!("licence {number} would not be closed in time"));
            }
        }
    }
    licenses.into_keys().for_each(|number| wrong(format!("licence {number} is missing")));
    for (what, listed, expected) in [
        ("names of licences", named.len()?, count),
        ("open licences", of.len()?, open),
        ("ends of licences", dues.len()?, open),
    ] {
        if listed != expected {
            wrong(format!("{listed} {what}, and the entries come to {expected}"));
        }
    }
    Ok(())
}

fn compare_banks(
    tx: &ReadTransaction,
    mut banks: BTreeMap<u64, Position>,
    wrong: &mut dyn FnMut(String),
) -> TxResult<()> {
    for row in tx.open_table(schema::BANK)?.iter()? {
        let (account, row) = row?;
        let account = account.value();
        let Ok(contact) = schema::from_json::<BankContact>(row.value()) else {
            wrong(format!("account {account}: the head of its bank cannot be read"));
            continue;
        };
        match banks.remove(&account) {
            None => wrong(format!("account {account}: the head of its bank is in no entry")),
            Some((number, hash)) => {
                let head = contact.head;
                if head.number < number || (head.number == number && head.hash != hash) {
                    wrong(format!("account {account}: the head of its bank was changed"));
                }
            }
        }
    }
    banks.into_keys().for_each(|account| wrong(format!("account {account}: the head of its bank is missing")));
    Ok(())
}
