//! Tables of the bank's file. The entries are the bank; every other table is an index that an audit makes again, except
//! the texts of tokens, of which the entries have the hashes, and reports about mail that left.

use crate::accounting::bank::event::{BankAccount, Entry};
use crate::accounting::hash_chain::Head;
use crate::store::{Schema, SessionError, check_format};
use crate::time::UnixTime;
use redb::{Database, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

const META: TableDefinition<&str, u32> = TableDefinition::new("meta");
/// Number to the hash of the chain after this entry (32 bytes) and the entry as JSON.
pub(super) const ENTRY: TableDefinition<u64, &[u8]> = TableDefinition::new("entry");
/// Account (see [`balance_key`]) to its balance.
pub(super) const BALANCE: TableDefinition<&[u8; 9], i64> = TableDefinition::new("balance");
/// Number to the licence as JSON.
pub(super) const LICENSE: TableDefinition<u64, &[u8]> = TableDefinition::new("license");
/// Name to the payment as JSON.
pub(super) const PAYMENT: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("payment");
/// ID to the received token as JSON.
pub(super) const INCOMING: TableDefinition<&str, &[u8]> = TableDefinition::new("incoming");
/// Name of a mailbox and a message to the last ID.
pub(super) const COPY: TableDefinition<&[u8; 32], &str> = TableDefinition::new("copy");
/// Licence of a payer to the credits that are not cleared.
pub(super) const EXPOSURE: TableDefinition<&str, u64> = TableDefinition::new("exposure");
/// End and ID of the envelope of a message (see [`report_key`]) to what was reported about it, as JSON. The entries do
/// not have it: no credits depend on it.
pub(super) const REPORT: TableDefinition<&[u8], &[u8]> = TableDefinition::new("report");
/// Hash of a token to its text.
pub(super) const TOKEN: TableDefinition<&[u8; 32], &str> = TableDefinition::new("token");
/// `agency`: the last known state of the agency, as JSON; `receipt`: its signed receipt; `day`: what was reserved on
/// the last day, as JSON; `request`: the journalled request, as JSON.
pub(super) const STATE: TableDefinition<&str, &[u8]> = TableDefinition::new("state");

const FORMAT: u32 = 1;
pub(super) const SCHEMA: Schema =
    Schema { create: establish, check: |database| check_format(database, FORMAT), recover: |_, _| Ok(()) };

fn establish(database: &Database) -> Result<(), SessionError> {
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    tx.open_table(META)?.insert("format", FORMAT)?;
    tx.open_table(ENTRY)?;
    tx.open_table(BALANCE)?;
    tx.open_table(LICENSE)?;
    tx.open_table(PAYMENT)?;
    tx.open_table(INCOMING)?;
    tx.open_table(COPY)?;
    tx.open_table(EXPOSURE)?;
    tx.open_table(REPORT)?;
    tx.open_table(TOKEN)?;
    tx.open_table(STATE)?;
    Ok(tx.commit()?)
}

/// Encodes an account: its kind, and the number of its licence (big endian).
pub(super) fn balance_key(account: BankAccount) -> [u8; 9] {
    let (kind, license) = match account {
        BankAccount::World => (1, 0),
        BankAccount::Held => (2, 0),
        BankAccount::Licensed(license) => (3, license),
        BankAccount::Reserved(license) => (4, license),
        BankAccount::Paid(license) => (5, license),
        BankAccount::Received => (6, 0),
    };
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&u64::to_be_bytes(license));
    key
}

/// Decodes an account.
pub(super) fn account_of(key: &[u8; 9]) -> Result<BankAccount, SessionError> {
    let (kind, license) = key.split_at(1);
    let license = license.iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    match (kind, license) {
        ([1], 0) => Ok(BankAccount::World),
        ([2], 0) => Ok(BankAccount::Held),
        ([3], license) => Ok(BankAccount::Licensed(license)),
        ([4], license) => Ok(BankAccount::Reserved(license)),
        ([5], license) => Ok(BankAccount::Paid(license)),
        ([6], 0) => Ok(BankAccount::Received),
        _ => Err(SessionError::damaged(&"a balance of an unknown account")),
    }
}

/// Encodes the end of a message's ID (big endian), and the ID.
pub(super) fn report_key(end: UnixTime, id: &str) -> Vec<u8> {
    // No ID ends before 1970.
    [&u64::try_from(end.0).unwrap_or(0).to_be_bytes()[..], id.as_bytes()].concat()
}

/// Formats a row as JSON.
pub(super) fn to_json(row: &impl Serialize) -> Result<Vec<u8>, SessionError> {
    serde_json::to_vec(row).map_err(|error| SessionError::damaged(&error))
}

/// Parses a row from JSON.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SessionError> {
    serde_json::from_slice(bytes).map_err(|error| SessionError::damaged(&error))
}

/// Parses the row of an entry, and returns the head of the chain after it, too.
pub(super) fn entry_of(number: u64, row: &[u8]) -> Result<(Head, Entry), SessionError> {
    let short = || SessionError::damaged(&format!("entry {number} is cut short"));
    let (head, bytes) = Head::split(number, row).ok_or_else(short)?;
    Ok((head, from_json(bytes)?))
}

/// Returns the head of the chain.
pub(super) fn head_in(table: &impl ReadableTable<u64, &'static [u8]>) -> Result<Head, SessionError> {
    match table.last()? {
        Some((number, row)) => Ok(entry_of(number.value(), row.value())?.0),
        None => Ok(Head::EMPTY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_balances_come_back() {
        for account in [
            BankAccount::World,
            BankAccount::Held,
            BankAccount::Licensed(7),
            BankAccount::Reserved(u64::MAX),
            BankAccount::Paid(0),
            BankAccount::Received,
        ] {
            assert_eq!(account_of(&balance_key(account)).ok(), Some(account));
        }
        assert!(account_of(&[9; 9]).is_err());
        assert!(account_of(&[1; 9]).is_err());
    }
}
