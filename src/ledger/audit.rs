//! Audit of the ledger: reads every entry in order, recomputes the chain, the balances and the states of all stamps,
//! and compares all of it with the indexes. `expected` does so for rows that open or name an account, and
//! `public_log/replay` for the public log.
//!
//! It detects entries that a user with write access changed, removed or moved. It does not detect a chain that was
//! rewritten as a whole: only an earlier head that is kept elsewhere shows that.

use super::expected::Expected;
use super::model::StampState;
use super::public_log::leaves::LeafMaker;
use super::public_log::replay::Replay;
use super::schema::{self, TxError, TxResult};
use crate::accounting::double_entry::{AccountCode, Unit};
use crate::accounting::event::{self, Buyer, Event};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::{ChainCheck, Entry, Head};
use crate::accounting::serial_derivation;
use crate::stamp::serial::Serial;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most problems that a report lists.
const NAMED: usize = 20;

/// Report of an audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Head of the recomputed chain.
    pub head: Head,
    /// Entries read.
    pub entries: u64,
    /// Stamps that the entries sold.
    pub stamps: u64,
    /// The first twenty problems, one sentence each; empty for a sound ledger.
    pub problems: Vec<String>,
}

/// Audits one consistent state, also while others write.
pub(super) fn audit(tx: &ReadTransaction, since: Option<Head>) -> TxResult<Report> {
    let mut count = Count::default();
    let chain = tx.open_table(schema::ENTRY)?;
    let serials = tx.open_table(schema::SERIAL)?;
    let history = tx.open_table(schema::HISTORY)?;
    let vendor =
        tx.open_table(schema::META)?.get("vendor")?.map(|row| String::from_utf8_lossy(row.value()).into_owned());
    let vendor = vendor.unwrap_or_default();
    let (mut maker, mut public_log) = (LeafMaker::new(&vendor, &serials, &chain), Replay::new());
    let mut listed = 0;
    let mut check = ChainCheck::new(since);
    for row in chain.iter()? {
        let (number, row) = row?;
        let number = number.value();
        let entry: Option<Entry> = check.row(number, row.value(), &mut |problem| count.wrong(problem));
        let Some(entry) = entry else { continue };
        count.add(&entry, &serials)?;
        public_log.add(&entry, &mut maker, &mut |problem| count.wrong(problem))?;
        if let Some(account) = entry.event.account() {
            listed += 1;
            if history.get((account, number))?.is_none() {
                count.wrong(format!("account {account}: entry {number} is not in its history"));
            }
        }
    }
    if let Some(since) = check.missing() {
        count.wrong(format!(
            "the chain does not go through {since}: the ledger was rewritten, or restored from a backup"
        ));
    }
    let head = check.head;
    count.compare_balances(tx)?;
    count.compare_serials(&serials)?;
    count.compare_revoked(tx)?;
    if history.len()? != listed {
        count.wrong(format!("the histories list {} entries, and there are {listed} for them", history.len()?));
    }
    public_log.compare(tx, &mut |problem| count.wrong(problem))?;
    let expected = std::mem::take(&mut count.expected);
    expected.compare(tx, &mut |problem| count.wrong(problem))?;
    Ok(Report { head, entries: chain.len()?, stamps: count.stamps, problems: count.problems })
}

/// Sums over the entries. The serials of each state are counted and summed, so that no list of them is needed.
#[derive(Default)]
struct Count {
    problems: Vec<String>,
    balances: BTreeMap<(AccountCode, Unit), i128>,
    stamps: u64,
    expected: Expected,
    vouchers: BTreeMap<Hash, u64>,
    states: BTreeMap<StampState, (u64, u128)>,
    revoked: Names,
}

/// Serials of any form, counted and summed by their hashes.
#[derive(Default, PartialEq, Eq)]
struct Names(u64, u128);

impl<'a> Extend<&'a Serial> for Names {
    fn extend<T: IntoIterator<Item = &'a Serial>>(&mut self, serials: T) {
        for serial in serials {
            let hash = Hash::of(serial.as_str().as_bytes()).0;
            let number = hash.iter().take(16).fold(0_u128, |number, &byte| number << 8 | u128::from(byte));
            (self.0, self.1) = (self.0 + 1, self.1.wrapping_add(number));
        }
    }
}

impl Count {
    fn wrong(&mut self, problem: String) {
        if self.problems.len() < NAMED {
            self.problems.push(problem);
        }
    }

    fn add(&mut self, entry: &Entry, serials: &impl ReadableTable<&'static [u8; 16], u64>) -> TxResult<()> {
        self.expected.add(entry);
        for posting in entry.event.transaction().postings() {
            *self.balances.entry((posting.account, posting.unit)).or_default() += i128::from(posting.amount);
        }
        match &entry.event {
            Event::VoucherMade { voucher, credits, .. } => drop(self.vouchers.insert(*voucher, *credits)),
            Event::VoucherTaken { voucher, credits, .. } => self.spend_voucher(voucher, *credits),
            Event::Issued { buyer, values, .. } => {
                if let Buyer::Voucher(voucher) = buyer {
                    self.spend_voucher(voucher, event::sum(values));
                }
                for (serial, _) in entry.event.issued(entry.at) {
                    self.stamps += 1;
                    let row = serials.get(&serial)?.map(|row| row.value() >> 3);
                    if row != Some(entry.number) {
                        let serial = Serial::from_random(serial);
                        self.wrong(format!("entry {} sold {serial}, which is not among its serials", entry.number));
                    }
                }
            }
            Event::Deposited { serials, .. } => self.returned(StampState::Deposited, serials),
            Event::Revoked { serials, credits } => {
                // Serials that were not sold here, or were already paid for, moved no credits.
                if *credits > 0 {
                    self.returned(StampState::Revoked, serials);
                }
                self.revoked.extend(serials);
            }
            _ => {}
        }
        Ok(())
    }

    fn spend_voucher(&mut self, voucher: &Hash, credits: u64) {
        if let Some(worth) = self.vouchers.get_mut(voucher) {
            *worth = worth.saturating_sub(credits);
        }
    }

    fn returned(&mut self, state: StampState, serials: &[Serial]) {
        let (count, sum) = self.states.entry(state).or_default();
        for serial in serials {
            *count += 1;
            *sum = sum.wrapping_add(serial_derivation::bytes_of(serial).map_or(0, u128::from_be_bytes));
        }
    }

    fn compare_balances(&mut self, tx: &ReadTransaction) -> TxResult<()> {
        let mut counted = std::mem::take(&mut self.balances);
        let mut sums: BTreeMap<Unit, i128> = BTreeMap::new();
        for row in tx.open_table(schema::BALANCE)?.iter()? {
            let (key, amount) = row?;
            let place = schema::balance_of(key.value())?;
            let amount = i128::from(amount.value());
            *sums.entry(place.1).or_default() += amount;
            let from_entries = counted.remove(&place).unwrap_or(0);
            if from_entries != amount {
                self.wrong(format!("{:?} has {amount}, and the entries come to {from_entries}", place.0));
            }
        }
        for (place, amount) in counted.into_iter().filter(|(_, amount)| *amount != 0) {
            self.wrong(format!("{:?} has no balance, and the entries come to {amount}", place.0));
        }
        for (unit, sum) in sums.into_iter().filter(|(_, sum)| *sum != 0) {
            self.wrong(format!("all balances in {unit:?} come to {sum} instead of zero"));
        }
        Ok(())
    }

    /// Compares the list of revoked serials and the values of vouchers, which are indexes too.
    fn compare_revoked(&mut self, tx: &ReadTransaction) -> TxResult<()> {
        let mut listed = Names::default();
        for row in tx.open_table(schema::REVOKED)?.iter()? {
            let serial = Serial::new(row?.0.value()).map_err(|error| TxError::Damaged(error.to_string()))?;
            listed.extend([&serial]);
        }
        if listed != self.revoked {
            self.wrong("the revoked serials are not those that the entries revoked".to_owned());
        }
        let mut vouchers = std::mem::take(&mut self.vouchers);
        for row in tx.open_table(schema::VOUCHER)?.iter()? {
            let (voucher, worth) = row?;
            let (voucher, worth) = (Hash(*voucher.value()), worth.value());
            let from_entries = vouchers.remove(&voucher).unwrap_or(0);
            if worth != from_entries {
                self.wrong(format!("voucher {voucher} is worth {worth}, and the entries come to {from_entries}"));
            }
        }
        for (voucher, worth) in vouchers {
            self.wrong(format!("voucher {voucher} is missing, and the entries come to {worth}"));
        }
        Ok(())
    }

    fn compare_serials(&mut self, serials: &impl ReadableTable<&'static [u8; 16], u64>) -> TxResult<()> {
        let mut rows = 0;
        let mut states: BTreeMap<StampState, (u64, u128)> = BTreeMap::new();
        for row in serials.iter()? {
            let (serial, row) = row?;
            rows += 1;
            let state = StampState::from_row(row.value())?;
            if state != StampState::Issued {
                let (count, sum) = states.entry(state).or_default();
                *count += 1;
                *sum = sum.wrapping_add(u128::from_be_bytes(*serial.value()));
            }
        }
        if rows != self.stamps {
            self.wrong(format!("{rows} serials, and the entries sold {}", self.stamps));
        }
        if states != self.states {
            self.wrong("the states of the stamps do not match the entries".to_owned());
        }
        Ok(())
    }
}
