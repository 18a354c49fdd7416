//! Tables of the ledger and the format of their rows.
//!
//! Entries are the ledger. Every other table is an index that an audit can recompute, or the hash of a secret, or data
//! of limited lifetime (codes, idempotency keys).

use super::error::LedgerError;
use super::model::{BookedEdition, Sale, SoleRecipient};
use super::rejection::Rejection;
use crate::accounting::double_entry::{AccountCode, Unit};
use crate::accounting::event::{self, Buyer, Event};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::{Entry, Head};
use crate::store::damage;
use crate::time::UnixTime;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::Path;

/// The format that this program reads and writes.
pub(super) const FORMAT: u32 = 4;

/// `format`, `vendor`, `terms`; `codes-due`, the time at which a code or a count must be forgotten; `log`, the state of
/// the public log; `edition`, the last edition of the directory; `recipient`, the one address for which stamps are sold;
/// `worked`, the hours of a day and the stamps that were given for work in each.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Number to the hash of the chain after this entry (32 bytes) and the entry as JSON.
pub(super) const ENTRY: TableDefinition<u64, &[u8]> = TableDefinition::new("entry");
/// Book and unit (see [`balance_key`]) to the balance.
pub(super) const BALANCE: TableDefinition<&[u8; 12], i64> = TableDefinition::new("balance");
/// A serial's bytes to the number of the entry that sold it, times 8, plus its state.
pub(super) const SERIAL: TableDefinition<&[u8; 16], u64> = TableDefinition::new("serial");
/// Revoked serials, sold by this ledger or not, to the entry that revoked them.
pub(super) const REVOKED: TableDefinition<&str, u64> = TableDefinition::new("revoked");
/// Number to the account as JSON.
pub(super) const ACCOUNT: TableDefinition<u64, &[u8]> = TableDefinition::new("account");
/// Name to number.
pub(super) const NAME: TableDefinition<&str, u64> = TableDefinition::new("name");
/// Hash of an API key to its row as JSON.
pub(super) const API_KEY: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("api-key");
/// Hashes of an account's API keys.
pub(super) const KEYS_OF: TableDefinition<(u64, &[u8; 32]), ()> = TableDefinition::new("keys-of");
/// Address or domain to its owner, and the salt of its hash in the entries.
pub(super) const OWNER: TableDefinition<&str, (u64, &[u8; 32])> = TableDefinition::new("owner");
/// Addresses and domains of an account.
pub(super) const OWNED: TableDefinition<(u64, &str), ()> = TableDefinition::new("owned");
/// Recipient to the codes that were sent there, as JSON.
pub(super) const CODE: TableDefinition<&str, &[u8]> = TableDefinition::new("code");
/// Account number, address, address with any detail, or domain to the times of codes mailed for or to it, as JSON.
pub(super) const MAILED: TableDefinition<&str, &[u8]> = TableDefinition::new("mailed");
/// Hash of a voucher's code to its remaining value.
pub(super) const VOUCHER: TableDefinition<&[u8; 32], u64> = TableDefinition::new("voucher");
/// Hash of an idempotency key or a reference to its result (see [`IdempotencyRecord`]).
pub(super) const DONE: TableDefinition<&[u8; 32], &[u8; 44]> = TableDefinition::new("done");
/// Expiry of an idempotency key, in seconds, and the hash of the key.
pub(super) const DONE_UNTIL: TableDefinition<(u64, &[u8; 32]), ()> = TableDefinition::new("done-until");
/// Account to the day (since 1970) of its last purchase and the credits spent on that day.
pub(super) const SPENT: TableDefinition<u64, (u64, u64)> = TableDefinition::new("spent");
/// Entries of an account.
pub(super) const HISTORY: TableDefinition<(u64, u64), ()> = TableDefinition::new("history");
/// Name to the signing key as JSON.
pub(super) const SIGNING: TableDefinition<&str, &[u8]> = TableDefinition::new("signing");

/// Output of a request of a meter as JSON, by the hash of its idempotency key; it goes with the key.
pub(super) const OUTPUT: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("output");
/// Number to the licence as JSON, also when it is closed.
pub(super) const LICENSE: TableDefinition<u64, &[u8]> = TableDefinition::new("license");
/// Name of a meter's key to the number of its licence.
pub(super) const LICENSE_NAMED: TableDefinition<&str, u64> = TableDefinition::new("license-named");
/// Licences of an account that are not closed.
pub(super) const LICENSES_OF: TableDefinition<(u64, u64), ()> = TableDefinition::new("licenses-of");
/// Time in seconds at which a licence must be closed, and its number.
pub(super) const LICENSE_DUE: TableDefinition<(u64, u64), ()> = TableDefinition::new("license-due");
/// Payments that were cleared, to the entry.
pub(super) const PAYMENT: TableDefinition<&[u8; 32], u64> = TableDefinition::new("payment");
/// Payments for which a licence had too few credits left, to the entry of the first claim.
pub(super) const OVER: TableDefinition<&[u8; 32], u64> = TableDefinition::new("over");
/// Account to the last head of its bank's chain, as JSON.
pub(super) const BANK: TableDefinition<u64, &[u8]> = TableDefinition::new("bank");
/// Sizes of the public log to the entry after which it had this size.
pub(super) const LOGGED: TableDefinition<u64, u64> = TableDefinition::new("logged");
/// Subjects of spent stamps and payments that the public log has and a restored chain does not, to the kind of the leaf.
pub(super) const LOGGED_BEFORE: TableDefinition<&[u8; 32], u8> = TableDefinition::new("logged-before");

/// Lifetime of a code, and of the count of it: a day.
pub(super) const CODE_HOLDS: i64 = 86_400;

/// Reason why a transaction step stops.
#[derive(Debug)]
pub(super) enum TxError {
    /// The request is rejected, and has written nothing.
    Refused(Rejection),
    /// The database failed; the whole commit is lost.
    Theirs(Box<redb::Error>),
    /// A row is corrupt.
    Damaged(String),
}

pub(super) type TxResult<T> = Result<T, TxError>;

impl<E> From<E> for TxError
where
    redb::Error: From<E>,
{
    fn from(error: E) -> Self {
        Self::Theirs(Box::new(error.into()))
    }
}

impl TxError {
    /// Converts it to an error about this file.
    pub(super) fn at(self, path: &Path) -> LedgerError {
        let path = path.to_owned();
        match self {
            Self::Refused(refusal) => LedgerError::Refused(refusal),
            Self::Damaged(what) => LedgerError::Damaged { path, what },
            Self::Theirs(error) => match *error {
                redb::Error::Io(source)
                    if matches!(source.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
                {
                    LedgerError::Damaged { path, what: damage(&redb::Error::Io(source)).to_owned() }
                }
                redb::Error::Io(source) => LedgerError::Io { doing: "use", path, source },
                redb::Error::PreviousIo => LedgerError::Left,
                other => LedgerError::Damaged { path, what: damage(&other).to_owned() },
            },
        }
    }
}

/// Computes the key of a result. Each kind has keys of its own.
pub(super) fn done_key(kind: &str, owner: &[u8], key: &str) -> [u8; 32] {
    let hash = Sha256::new().chain_update(kind).chain_update([0]);
    let hash = hash.chain_update((owner.len() as u64).to_be_bytes()).chain_update(owner).chain_update(key);
    hash.finalize().into()
}

/// Computes the key of a sale to an account or to a guest. Equal keys of two accounts differ. The voucher of a guest is
/// not part of the key: the same purchase is one purchase, whichever voucher is sent with it.
pub(super) fn sale_key(account: Option<u64>, key: &str) -> [u8; 32] {
    match account {
        Some(account) => done_key("issue", &account.to_be_bytes(), key),
        None => done_key("issue-guest", b"", key),
    }
}

/// Result of a request with an idempotency key or a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdempotencyRecord {
    /// The hash of the request.
    pub(super) digest: [u8; 32],
    pub(super) entry: u64,
    /// Default lifetime in days at that time.
    pub(super) days: u32,
}

impl IdempotencyRecord {
    pub(super) fn to_bytes(self) -> [u8; 44] {
        let mut bytes = [0; 44];
        bytes[..32].copy_from_slice(&self.digest);
        bytes[32..40].copy_from_slice(&self.entry.to_be_bytes());
        bytes[40..].copy_from_slice(&self.days.to_be_bytes());
        bytes
    }

    /// Returns the sale that this request made, without the balance, and its buyer.
    pub(super) fn sale(self, entries: &impl ReadableTable<u64, &'static [u8]>) -> TxResult<(Sale, Buyer)> {
        let entry = entry_in(entries, self.entry)?;
        let Event::Issued { buyer, seed, values, kid, .. } = entry.event else {
            return Err(TxError::Damaged(format!("entry {} is not a sale", self.entry)));
        };
        let (days, credits, seed) = (self.days, event::sum(&values), Hash(seed));
        Ok((Sale { entry: self.entry, at: entry.at, seed, kid, days, credits, balance: None, again: true }, buyer))
    }

    pub(super) fn from_bytes(bytes: &[u8; 44]) -> Self {
        let mut done = Self { digest: [0; 32], entry: 0, days: 0 };
        let (digest, rest) = bytes.split_at(32);
        done.digest.copy_from_slice(digest);
        let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
        let (entry, days) = rest.split_at(8);
        done.entry = number(entry);
        done.days = u32::try_from(number(days)).unwrap_or(u32::MAX);
        done
    }
}

/// Kind of the balances of licences, the last one.
pub(super) const LICENSES: u8 = 9;

/// Builds the key of a balance: ledger account, owner, and unit (currency code, or zeros for credits).
pub(super) fn balance_key(account: AccountCode, unit: Unit) -> [u8; 12] {
    let (kind, owner) = match account {
        AccountCode::Account(number) => (1, number),
        AccountCode::Vouchers => (2, 0),
        AccountCode::Outstanding => (3, 0),
        AccountCode::Issue => (4, 0),
        AccountCode::Forfeited => (5, 0),
        AccountCode::Cash => (6, 0),
        AccountCode::Sales => (7, 0),
        AccountCode::Payouts => (8, 0),
        AccountCode::License(number) => (LICENSES, number),
    };
    let mut key = [0; 12];
    key[0] = kind;
    key[1..9].copy_from_slice(&owner.to_be_bytes());
    if let Unit::Money(currency) = unit {
        key[9..].copy_from_slice(String::from(currency).as_bytes());
    }
    key
}

/// Parses the ledger account and unit of such a key.
pub(super) fn balance_of(key: &[u8; 12]) -> TxResult<(AccountCode, Unit)> {
    let owner = key.iter().skip(1).take(8).fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    let account = match key[0] {
        1 => AccountCode::Account(owner),
        2 => AccountCode::Vouchers,
        3 => AccountCode::Outstanding,
        4 => AccountCode::Issue,
        5 => AccountCode::Forfeited,
        6 => AccountCode::Cash,
        7 => AccountCode::Sales,
        8 => AccountCode::Payouts,
        LICENSES => AccountCode::License(owner),
        other => return Err(TxError::Damaged(format!("a balance of kind {other}"))),
    };
    let letters = &key[9..];
    let unit = if letters == [0; 3] {
        Unit::Credits
    } else {
        let currency = std::str::from_utf8(letters).ok().and_then(|text| text.parse().ok());
        Unit::Money(currency.ok_or_else(|| TxError::Damaged("a balance without a currency".into()))?)
    };
    Ok((account, unit))
}

/// Formats a row as JSON.
pub(super) fn to_json(row: &impl Serialize) -> TxResult<Vec<u8>> {
    serde_json::to_vec(row).map_err(|error| TxError::Damaged(error.to_string()))
}

/// Parses a row from JSON.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> TxResult<T> {
    serde_json::from_slice(bytes).map_err(|error| TxError::Damaged(error.to_string()))
}

/// Splits an entry's row into the head of the chain after it, and its bytes.
pub(super) fn split_entry(number: u64, row: &[u8]) -> TxResult<(Head, &[u8])> {
    Head::split(number, row).ok_or_else(|| TxError::Damaged(format!("entry {number} is too short")))
}

/// Returns whether a code or a count must be forgotten now.
pub(super) fn codes_are_due(meta: &impl ReadableTable<&'static str, &'static [u8]>, now: UnixTime) -> TxResult<bool> {
    let due = meta.get("codes-due")?.and_then(|row| Some(i64::from_be_bytes(row.value().try_into().ok()?)));
    // One that is too far ahead is of a clock that was.
    Ok(due.is_some_and(|due| !(1..=CODE_HOLDS + 60).contains(&UnixTime(due).since(now))))
}

/// Reads the entry of this number.
pub(super) fn entry_in(table: &impl ReadableTable<u64, &'static [u8]>, number: u64) -> TxResult<Entry> {
    let row = table.get(number)?.ok_or_else(|| TxError::Damaged(format!("entry {number} is missing")))?;
    from_json(split_entry(number, row.value())?.1)
}

/// Reads the last edition of the directory.
pub(super) fn edition_in(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> TxResult<Option<BookedEdition>> {
    meta.get("edition")?.map(|row| from_json(row.value())).transpose()
}

/// Reads the one address for which stamps are sold.
pub(super) fn recipient_in(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> TxResult<Option<SoleRecipient>> {
    meta.get("recipient")?.map(|row| from_json(row.value())).transpose()
}

/// Reads the hours of a day, and the stamps that were given for work in each.
pub(super) fn worked_in(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> TxResult<Vec<(i64, u32)>> {
    meta.get("worked")?.map_or_else(|| Ok(Vec::new()), |row| from_json(row.value()))
}

/// Returns the head of the chain.
pub(super) fn head_in(table: &impl ReadableTable<u64, &'static [u8]>) -> TxResult<Head> {
    match table.last()? {
        Some((number, row)) => Ok(split_entry(number.value(), row.value())?.0),
        None => Ok(Head::EMPTY),
    }
}

/// Returns the time of the last entry.
pub(super) fn last_time_in(table: &impl ReadableTable<u64, &'static [u8]>) -> TxResult<Option<UnixTime>> {
    let last = table.last()?;
    last.map(|(number, row)| Ok(from_json::<Entry>(split_entry(number.value(), row.value())?.1)?.at)).transpose()
}

/// Creates the tables of an empty ledger.
pub(super) fn establish(database: &Database, vendor: &str) -> TxResult<()> {
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    {
        let mut meta = tx.open_table(META)?;
        meta.insert("format", FORMAT.to_be_bytes().as_slice())?;
        meta.insert("vendor", vendor.as_bytes())?;
        tx.open_table(ENTRY)?;
        tx.open_table(BALANCE)?;
        tx.open_table(SERIAL)?;
        tx.open_table(REVOKED)?;
        tx.open_table(ACCOUNT)?;
        tx.open_table(NAME)?;
        tx.open_table(API_KEY)?;
        tx.open_table(KEYS_OF)?;
        tx.open_table(OWNER)?;
        tx.open_table(OWNED)?;
        tx.open_table(CODE)?;
        tx.open_table(MAILED)?;
        tx.open_table(VOUCHER)?;
        tx.open_table(DONE)?;
        tx.open_table(DONE_UNTIL)?;
        tx.open_table(SPENT)?;
        tx.open_table(HISTORY)?;
        tx.open_table(SIGNING)?;
        tx.open_table(OUTPUT)?;
        tx.open_table(LICENSE)?;
        tx.open_table(LICENSE_NAMED)?;
        tx.open_table(LICENSES_OF)?;
        tx.open_table(LICENSE_DUE)?;
        tx.open_table(PAYMENT)?;
        tx.open_table(OVER)?;
        tx.open_table(BANK)?;
        tx.open_table(LOGGED)?;
        tx.open_table(LOGGED_BEFORE)?;
    }
    Ok(tx.commit()?)
}

/// Checks that the file has the tables of a ledger in a known format.
pub(super) fn check_format(database: &impl ReadableDatabase, path: &Path) -> Result<(), LedgerError> {
    let found = (|| {
        let meta = database.begin_read()?.open_table(META)?;
        let format = meta.get("format")?.map(|row| row.value().to_vec());
        Ok(format.and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?))))
    })();
    match found.map_err(|stop: TxError| stop.at(path))? {
        Some(FORMAT) => Ok(()),
        Some(found) => Err(LedgerError::Version { path: path.to_owned(), found, known: FORMAT }),
        None => Err(LedgerError::Damaged { path: path.to_owned(), what: "its format is missing".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_balances_come_back() {
        let euro = Unit::Money("EUR".parse().unwrap());
        for (account, unit) in [
            (AccountCode::Account(77), Unit::Credits),
            (AccountCode::License(77), Unit::Credits),
            (AccountCode::Cash, euro),
            (AccountCode::Issue, Unit::Credits),
        ] {
            assert_eq!(balance_of(&balance_key(account, unit)).unwrap(), (account, unit));
        }
        assert!(balance_of(&[10; 12]).is_err());
    }

    #[test]
    fn what_was_done_comes_back() {
        let done = IdempotencyRecord { digest: [7; 32], entry: u64::MAX - 5, days: 30 };
        assert_eq!(IdempotencyRecord::from_bytes(&done.to_bytes()), done);
    }
}
