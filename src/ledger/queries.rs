//! Read operations. Each reads one transaction, concurrently with the writer and with each other.

use super::audit::{self, Report};
use super::model::{
    Account, ApiKey, Balance, BookedEdition, Day, License, LicenseStanding, Profile, Sale, SoldOut, StampRecord,
    StampState, Standing, Summary,
};
use super::rejection::Rejection;
use super::schema::{self, IdempotencyRecord, TxError, TxResult};
use super::transaction::gifts;
use crate::accounting::double_entry::{AccountCode, Unit};
use crate::accounting::event::{Buyer, Event, Terms};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::{Entry, Head};
use crate::accounting::serial_derivation;
use crate::accounting::work;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use std::collections::BTreeMap;

const DAY: i64 = 86_400;

/// How long a revoked serial is listed after the end of its stamp: recipients may accept late stamps.
const LISTED: i64 = 30 * DAY;

/// Most rows in one answer.
const MAX_PAGE: u32 = 10_000;

/// Snapshot of the tables, at a time.
pub(super) struct ReadTx {
    pub(super) tx: ReadTransaction,
    pub(super) now: UnixTime,
}

impl ReadTx {
    pub(super) fn open(database: &Database, now: UnixTime) -> TxResult<Self> {
        Ok(Self { tx: database.begin_read()?, now })
    }

    /// Returns the account of this number, and the terms.
    pub(super) fn account_and_terms(&self, account: Option<u64>) -> TxResult<(Option<Account>, Terms)> {
        let account = account.map(|number| self.account(number)).transpose()?.flatten();
        Ok((account, self.terms()?))
    }

    fn terms(&self) -> TxResult<Terms> {
        let meta = self.tx.open_table(schema::META)?;
        let row = meta.get("terms")?.ok_or_else(|| TxError::Damaged("the ledger has no terms".into()))?;
        schema::from_json(row.value())
    }

    pub(super) fn last_edition(&self) -> TxResult<Option<BookedEdition>> {
        schema::edition_in(&self.tx.open_table(schema::META)?)
    }

    pub(super) fn profile(&self) -> TxResult<Profile> {
        let meta = self.tx.open_table(schema::META)?;
        let vendor = meta.get("vendor")?.map(|row| String::from_utf8_lossy(row.value()).into_owned());
        let signing = self.tx.open_table(schema::SIGNING)?;
        let keys = signing.iter()?.map(|row| schema::from_json(row?.1.value())).collect::<TxResult<_>>()?;
        let recipient = schema::recipient_in(&meta)?.map(|row| row.address);
        Ok(Profile { vendor: vendor.unwrap_or_default(), terms: self.terms()?, keys, recipient })
    }

    fn account(&self, number: u64) -> TxResult<Option<Account>> {
        let table = self.tx.open_table(schema::ACCOUNT)?;
        table.get(number)?.map(|row| schema::from_json(row.value())).transpose()
    }

    fn balance(&self, account: AccountCode, unit: Unit) -> TxResult<i64> {
        let table = self.tx.open_table(schema::BALANCE)?;
        Ok(table.get(&schema::balance_key(account, unit))?.map_or(0, |row| row.value()))
    }

    pub(super) fn standing_of(&self, number: u64) -> TxResult<Standing> {
        self.standing(self.account(number)?.ok_or_else(|| no_account(&number))?)
    }

    pub(super) fn standing_of_name(&self, name: &str) -> TxResult<Standing> {
        let number = self.tx.open_table(schema::NAME)?.get(name)?.map(|row| row.value());
        let found = number.map(|number| self.account(number)).transpose()?.flatten();
        self.standing(found.ok_or_else(|| no_account(&name))?)
    }

    fn standing(&self, account: Account) -> TxResult<Standing> {
        let number = account.number;
        let owned = self.tx.open_table(schema::OWNED)?;
        let mut owns = Vec::new();
        for row in owned.range((number, "")..)? {
            let (key, _) = row?;
            let (owner, subject) = key.value();
            if owner != number {
                break;
            }
            owns.push(subject.to_owned());
        }
        let today = u64::try_from(self.now.0.div_euclid(DAY)).unwrap_or(0);
        let spent = self.tx.open_table(schema::SPENT)?.get(number)?.map(|row| row.value());
        Ok(Standing {
            balance: u64::try_from(self.balance(AccountCode::Account(number), Unit::Credits)?).unwrap_or(0),
            spent_today: spent.filter(|(day, _)| *day == today).map_or(0, |(_, spent)| spent),
            caps: account.caps(&self.terms()?),
            owns,
            account,
        })
    }

    pub(super) fn audit(&self, since: Option<Head>) -> TxResult<Report> {
        audit::audit(&self.tx, since)
    }

    pub(super) fn accounts(&self, after: u64, most: u32) -> TxResult<Vec<Standing>> {
        let table = self.tx.open_table(schema::ACCOUNT)?;
        let rows = table.range(after.saturating_add(1)..)?.take(most.min(MAX_PAGE) as usize);
        rows.map(|row| self.standing(schema::from_json(row?.1.value())?)).collect()
    }

    pub(super) fn api_keys(&self, account: u64) -> TxResult<Vec<ApiKey>> {
        let of = self.tx.open_table(schema::KEYS_OF)?;
        let table = self.tx.open_table(schema::API_KEY)?;
        let mut keys: Vec<ApiKey> = Vec::new();
        for row in of.range((account, &[0; 32])..=(account, &[255; 32]))? {
            if let Some(key) = table.get(row?.0.value().1)? {
                keys.push(schema::from_json(key.value())?);
            }
        }
        keys.sort_by_key(|key| key.created);
        Ok(keys)
    }

    pub(super) fn opens(&self, hash: &[u8; 32]) -> TxResult<Account> {
        let none = || TxError::Refused(Rejection::NoApiKey);
        let key: ApiKey = match self.tx.open_table(schema::API_KEY)?.get(hash)? {
            Some(row) => schema::from_json(row.value())?,
            None => return Err(none()),
        };
        let account = self.account(key.account)?.filter(|account| account.open && key.revoked.is_none());
        account.ok_or_else(none)
    }

    /// Returns whether a code must be forgotten, or a licence closed, where a clock is believed up to `limit`.
    pub(super) fn is_due(&self, limit: UnixTime) -> TxResult<bool> {
        let now = u64::try_from(limit.0).unwrap_or(0);
        let closing = self.tx.open_table(schema::LICENSE_DUE)?.first()?.is_some_and(|(key, _)| key.value().0 < now);
        let is_believed = self.now <= limit;
        Ok(closing || is_believed && schema::codes_are_due(&self.tx.open_table(schema::META)?, self.now)?)
    }

    fn license(&self, number: u64) -> TxResult<License> {
        let row = self.tx.open_table(schema::LICENSE)?;
        let row = row.get(number)?.ok_or_else(|| TxError::Damaged(format!("licence {number} is missing")))?;
        schema::from_json(row.value())
    }

    fn license_standing(&self, license: License) -> TxResult<LicenseStanding> {
        let rest = self.balance(AccountCode::License(license.number), Unit::Credits)?;
        let account = self.account(license.account)?.ok_or_else(|| no_account(&license.account))?;
        let contact = self.tx.open_table(schema::BANK)?;
        let contact = contact.get(license.account)?.map(|row| schema::from_json(row.value())).transpose()?;
        Ok(LicenseStanding { license, name: account.name, rest: u64::try_from(rest).unwrap_or(0), contact })
    }

    pub(super) fn license_named(&self, kid: &str) -> TxResult<LicenseStanding> {
        let number = self.tx.open_table(schema::LICENSE_NAMED)?.get(kid)?.map(|row| row.value());
        let unknown = || TxError::Refused(Rejection::NoLicense { kid: kid.to_owned() });
        self.license_standing(self.license(number.ok_or_else(unknown)?)?)
    }

    pub(super) fn licenses_of(&self, account: u64) -> TxResult<Vec<LicenseStanding>> {
        let table = self.tx.open_table(schema::LICENSES_OF)?;
        let rows = table.range((account, 0)..=(account, u64::MAX))?;
        rows.map(|row| self.license_standing(self.license(row?.0.value().1)?)).collect()
    }

    pub(super) fn licenses(&self, after: u64, most: u32) -> TxResult<Vec<LicenseStanding>> {
        let table = self.tx.open_table(schema::LICENSE)?;
        let rows = table.range(after.saturating_add(1)..)?.take(most.min(MAX_PAGE) as usize);
        rows.map(|row| self.license_standing(schema::from_json(row?.1.value())?)).collect()
    }

    pub(super) fn live_licenses(&self) -> TxResult<Vec<License>> {
        let due = self.tx.open_table(schema::LICENSE_DUE)?;
        let mut live = Vec::new();
        for row in due.iter()? {
            let license = self.license(row?.0.value().1)?;
            if license.is_live(self.now) {
                live.push(license);
            }
        }
        Ok(live)
    }

    pub(super) fn voucher(&self, voucher: &Hash) -> TxResult<u64> {
        let worth = self.tx.open_table(schema::VOUCHER)?.get(&voucher.0)?.map(|row| row.value());
        worth.ok_or(TxError::Refused(Rejection::NoVoucher))
    }

    pub(super) fn sold(&self, account: Option<u64>, idempotency: &str, digest: [u8; 32]) -> TxResult<Option<Sale>> {
        let done = self.tx.open_table(schema::DONE)?;
        let done = done.get(&schema::sale_key(account, idempotency))?;
        let done = done.map(|row| IdempotencyRecord::from_bytes(row.value()));
        let Some(done) = done.filter(|done| done.digest == digest) else { return Ok(None) };
        let (mut sale, buyer) = done.sale(&self.tx.open_table(schema::ENTRY)?)?;
        sale.balance = match &buyer {
            Buyer::Account(account) => {
                let balance = self.balance(AccountCode::Account(*account), Unit::Credits)?;
                Some(u64::try_from(balance).unwrap_or(0))
            }
            Buyer::Voucher(voucher) => Some(self.voucher(voucher)?),
            Buyer::Paid { .. } | Buyer::Given(_) => None,
        };
        Ok(Some(sale))
    }

    pub(super) fn is_paid(&self, reference: &str) -> TxResult<bool> {
        Ok(self.tx.open_table(schema::DONE)?.get(&schema::done_key("paid", b"", reference))?.is_some())
    }

    /// Returns when stamps for work, and codes, are given again; `None` while they are. Rejected with `NoWork`.
    pub(super) fn sold_out(&self) -> TxResult<SoldOut> {
        let terms = self.terms()?.work.ok_or(TxError::Refused(Rejection::NoWork))?;
        let worked = schema::worked_in(&self.tx.open_table(schema::META)?)?;
        let codes = gifts::codes_by_hour(&self.tx.open_table(schema::MAILED)?, self.now)?;
        Ok(SoldOut {
            work: work::sold_out(&worked, terms.per_day, self.now),
            codes: work::sold_out(&codes, terms.codes_per_day, self.now),
        })
    }

    pub(super) fn stamp(&self, serial: &Serial) -> TxResult<Option<StampRecord>> {
        let Some(bytes) = serial_derivation::bytes_of(serial) else { return Ok(None) };
        let table = self.tx.open_table(schema::SERIAL)?;
        let Some(row) = table.get(&bytes)?.map(|row| row.value()) else { return Ok(None) };
        let sale = schema::entry_in(&self.tx.open_table(schema::ENTRY)?, row >> 3)?;
        let account = sale.event.account();
        Ok(Some(StampRecord {
            serial: serial.clone(),
            entry: sale.number,
            at: sale.at,
            account,
            value: sale.event.value_of(&bytes, sale.at).unwrap_or(0),
            state: StampState::from_row(row)?,
        }))
    }

    /// Returns the revoked serials whose stamps have expired for every recipient.
    pub(super) fn ended(&self) -> TxResult<Vec<Serial>> {
        let table = self.tx.open_table(schema::REVOKED)?;
        let sold = self.tx.open_table(schema::SERIAL)?;
        let entries = self.tx.open_table(schema::ENTRY)?;
        let mut serials = Vec::new();
        for row in table.iter()? {
            let serial = Serial::new(row?.0.value()).map_err(|error| TxError::Damaged(error.to_string()))?;
            let bytes = serial_derivation::bytes_of(&serial);
            // The end of stamps that were sold elsewhere is unknown.
            let Some(row) = bytes.map(|bytes| sold.get(&bytes)).transpose()?.flatten() else { continue };
            let sale = schema::entry_in(&entries, row.value() >> 3)?;
            if matches!(sale.event, Event::Issued { until: Some(until), .. } if until.plus(LISTED) < self.now) {
                serials.push(serial);
            }
        }
        Ok(serials)
    }

    pub(super) fn revoked(&self) -> TxResult<Vec<Serial>> {
        let table = self.tx.open_table(schema::REVOKED)?;
        let serial = |text: &str| Serial::new(text).map_err(|error| TxError::Damaged(error.to_string()));
        table.iter()?.map(|row| serial(row?.0.value())).collect()
    }

    pub(super) fn history(&self, account: u64, before: u64, most: u32) -> TxResult<Vec<Entry>> {
        let table = self.tx.open_table(schema::HISTORY)?;
        let entry = self.tx.open_table(schema::ENTRY)?;
        let rows = table.range((account, 0)..(account, before))?.rev().take(most.min(MAX_PAGE) as usize);
        rows.map(|row| schema::entry_in(&entry, row?.0.value().1)).collect()
    }

    pub(super) fn days(&self, account: u64, from: i64) -> TxResult<Vec<Day>> {
        let table = self.tx.open_table(schema::HISTORY)?;
        let entries = self.tx.open_table(schema::ENTRY)?;
        let mut days: BTreeMap<i64, Day> = BTreeMap::new();
        // Backwards from the current balance, so that old entries need not be read.
        let mut balance = self.balance(AccountCode::Account(account), Unit::Credits)?;
        for row in table.range((account, 0)..=(account, u64::MAX))?.rev() {
            let entry = schema::entry_in(&entries, row?.0.value().1)?;
            let number = entry.at.0.div_euclid(DAY);
            if number < from {
                break;
            }
            let day = days.entry(number).or_insert(Day { day: number, balance, ..Day::default() });
            match &entry.event {
                Event::Issued { buyer: Buyer::Account(_), values, .. } => {
                    day.bought += values.iter().map(|(_, times)| u64::from(*times)).sum::<u64>();
                }
                Event::Deposited { serials, .. } => day.deposited += serials.len() as u64,
                _ => {}
            }
            let moved = entry.event.transaction();
            let own = moved
                .postings()
                .iter()
                .filter(|it| it.account == AccountCode::Account(account) && it.unit == Unit::Credits);
            balance -= own.map(|it| it.amount).sum::<i64>();
            day.before = balance;
        }
        Ok(days.into_values().collect())
    }

    pub(super) fn entries(&self, after: u64, most: u32) -> TxResult<Vec<Entry>> {
        let table = self.tx.open_table(schema::ENTRY)?;
        let mut entries = Vec::new();
        for row in table.range(after.saturating_add(1)..)?.take(most.min(MAX_PAGE) as usize) {
            let (number, row) = row?;
            entries.push(schema::from_json(schema::split_entry(number.value(), row.value())?.1)?);
        }
        Ok(entries)
    }

    /// Returns the summary. `bytes` is the size of the file.
    pub(super) fn summary(&self, bytes: u64) -> TxResult<Summary> {
        let table = self.tx.open_table(schema::BALANCE)?;
        let mut balances = Vec::new();
        // Kinds from 2 on are not accounts.
        let mut first = [0; 12];
        first[0] = 2;
        let mut licensed = 0_i64;
        for row in table.range::<&[u8; 12]>(&first..)? {
            let (key, amount) = row?;
            if key.value()[0] == schema::LICENSES {
                licensed = licensed.saturating_add(amount.value());
                continue;
            }
            let (account, unit) = schema::balance_of(key.value())?;
            balances.push(Balance { account, unit, amount: amount.value() });
        }
        Ok(Summary {
            head: schema::head_in(&self.tx.open_table(schema::ENTRY)?)?,
            accounts: self.tx.open_table(schema::ACCOUNT)?.len()?,
            stamps: self.tx.open_table(schema::SERIAL)?.len()?,
            balances,
            licensed,
            licenses: self.tx.open_table(schema::LICENSE_DUE)?.len()?,
            cleared: self.tx.open_table(schema::PAYMENT)?.len()?,
            over: self.tx.open_table(schema::OVER)?.len()?,
            bytes,
        })
    }
}

fn no_account(account: &impl ToString) -> TxError {
    TxError::Refused(Rejection::NoAccount { account: account.to_string() })
}
