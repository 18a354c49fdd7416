//! Write transaction of the ledger: all tables open, and one operation executed after another.
//!
//! - An operation is checked completely before it writes the first row. A rejected one leaves nothing, and many can
//!   share a transaction.
//! - [`LedgerTx::append_event`] is the only way to add an entry: it moves what the event defines and adds it to the
//!   chain.

mod accounts;
mod codes;
pub(super) mod gifts;
mod meters;
mod public_log;
mod redemption;
mod sales;

pub(super) use meters::{due, status};
pub(super) use public_log::{Extension, spent_hash};

use super::model::{Account, BookedEdition, KeyRecord, Receipt};
use super::rejection::Rejection;
use super::schema::{self, IdempotencyRecord, TxError, TxResult};
use crate::accounting::double_entry::{self, AccountCode, Unit};
use crate::accounting::event::{Event, KeyState, Terms};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::{Entry, Head};
use crate::accounting::money::Money;
use crate::os::random;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};
use std::collections::BTreeMap;

/// Minimum lifetime of an idempotency key, in seconds: 30 days.
pub const REMEMBERED: u64 = 30 * 86_400;
/// Expired idempotency keys that one commit removes.
const ALONG: usize = 256;

/// Limit of revoked serials in the directory for customers: readers accept some 31,000, and the rest is for the vendor.
pub(super) const MOST_LISTED: u64 = 25_000;

pub(super) struct LedgerTx<'t> {
    meta: Table<'t, &'static str, &'static [u8]>,
    entry: Table<'t, u64, &'static [u8]>,
    balance: Table<'t, &'static [u8; 12], i64>,
    serial: Table<'t, &'static [u8; 16], u64>,
    revoked: Table<'t, &'static str, u64>,
    account: Table<'t, u64, &'static [u8]>,
    name: Table<'t, &'static str, u64>,
    api_key: Table<'t, &'static [u8; 32], &'static [u8]>,
    keys_of: Table<'t, (u64, &'static [u8; 32]), ()>,
    owner: Table<'t, &'static str, (u64, &'static [u8; 32])>,
    owned: Table<'t, (u64, &'static str), ()>,
    code: Table<'t, &'static str, &'static [u8]>,
    mailed: Table<'t, &'static str, &'static [u8]>,
    voucher: Table<'t, &'static [u8; 32], u64>,
    idempotency: Table<'t, &'static [u8; 32], &'static [u8; 44]>,
    idempotency_expiry: Table<'t, (u64, &'static [u8; 32]), ()>,
    spent: Table<'t, u64, (u64, u64)>,
    history: Table<'t, (u64, u64), ()>,
    signing: Table<'t, &'static str, &'static [u8]>,
    output: Table<'t, &'static [u8; 32], &'static [u8]>,
    license: Table<'t, u64, &'static [u8]>,
    license_named: Table<'t, &'static str, u64>,
    licenses_of: Table<'t, (u64, u64), ()>,
    license_due: Table<'t, (u64, u64), ()>,
    payment: Table<'t, &'static [u8; 32], u64>,
    over: Table<'t, &'static [u8; 32], u64>,
    bank: Table<'t, u64, &'static [u8]>,
    logged: Table<'t, u64, u64>,
    logged_before: Table<'t, &'static [u8; 32], u8>,
    head: Head,
    terms: Option<Terms>,
    /// Time of the operation that is executed.
    pub(super) now: UnixTime,
    /// Time up to which something may end for good, whatever `now` is.
    pub(super) limit: UnixTime,
}

impl<'t> LedgerTx<'t> {
    pub(super) fn open(tx: &'t WriteTransaction, now: UnixTime) -> TxResult<Self> {
        let entry = tx.open_table(schema::ENTRY)?;
        let meta = tx.open_table(schema::META)?;
        let terms = meta.get("terms")?.map(|row| schema::from_json(row.value())).transpose()?;
        Ok(Self {
            head: schema::head_in(&entry)?,
            terms,
            now,
            limit: now,
            meta,
            entry,
            balance: tx.open_table(schema::BALANCE)?,
            serial: tx.open_table(schema::SERIAL)?,
            revoked: tx.open_table(schema::REVOKED)?,
            account: tx.open_table(schema::ACCOUNT)?,
            name: tx.open_table(schema::NAME)?,
            api_key: tx.open_table(schema::API_KEY)?,
            keys_of: tx.open_table(schema::KEYS_OF)?,
            owner: tx.open_table(schema::OWNER)?,
            owned: tx.open_table(schema::OWNED)?,
            code: tx.open_table(schema::CODE)?,
            mailed: tx.open_table(schema::MAILED)?,
            voucher: tx.open_table(schema::VOUCHER)?,
            idempotency: tx.open_table(schema::DONE)?,
            idempotency_expiry: tx.open_table(schema::DONE_UNTIL)?,
            spent: tx.open_table(schema::SPENT)?,
            history: tx.open_table(schema::HISTORY)?,
            signing: tx.open_table(schema::SIGNING)?,
            output: tx.open_table(schema::OUTPUT)?,
            license: tx.open_table(schema::LICENSE)?,
            license_named: tx.open_table(schema::LICENSE_NAMED)?,
            licenses_of: tx.open_table(schema::LICENSES_OF)?,
            license_due: tx.open_table(schema::LICENSE_DUE)?,
            payment: tx.open_table(schema::PAYMENT)?,
            over: tx.open_table(schema::OVER)?,
            bank: tx.open_table(schema::BANK)?,
            logged: tx.open_table(schema::LOGGED)?,
            logged_before: tx.open_table(schema::LOGGED_BEFORE)?,
        })
    }

    /// Appends an event to the chain and moves what it defines.
    ///
    /// Rejects the event, and writes nothing, when a balance would leave its range. It is the first write of every
    /// request.
    pub(super) fn append_event(&mut self, event: Event) -> TxResult<Head> {
        // A transaction may post to a ledger account more than once.
        let mut after = BTreeMap::new();
        for posting in event.transaction().postings() {
            let key = schema::balance_key(posting.account, posting.unit);
            let before = match after.get(&key) {
                Some(before) => *before,
                None => self.balance.get(&key)?.map_or(0, |row| row.value()),
            };
            after.insert(key, double_entry::posted(before, posting).ok_or(TxError::Refused(Rejection::Range))?);
        }
        for (key, amount) in after {
            // Licences come and go; their number would grow for ever.
            if amount == 0 && key[0] == schema::LICENSES {
                self.balance.remove(&key)?;
            } else {
                self.balance.insert(&key, amount)?;
            }
        }
        let account = event.account();
        let entry = Entry { number: self.head.number + 1, at: self.now, event };
        let bytes = schema::to_json(&entry)?;
        self.head = self.head.after(&bytes);
        self.entry.insert(entry.number, self.head.row(&bytes).as_slice())?;
        if let Some(account) = account {
            self.history.insert((account, entry.number), ())?;
        }
        Ok(self.head)
    }

    /// Removes expired idempotency keys, and codes and their counts after a day; closes licences. A clock that is not
    /// believed ends none of them.
    pub(super) fn forget(&mut self, now: UnixTime) -> TxResult<()> {
        self.now = now;
        if !self.is_ahead() && schema::codes_are_due(&self.meta, now)? {
            self.forget_codes()?;
        }
        self.close_due_licenses()?;
        let now = u64::try_from(self.believed().0).unwrap_or(0);
        let over: Vec<(u64, [u8; 32])> = {
            let rows = self.idempotency_expiry.range((0, &[0; 32])..(now, &[0; 32]))?;
            let keys = rows.take(ALONG).map(|row| row.map(|(key, _)| (key.value().0, *key.value().1)));
            keys.collect::<Result<_, _>>()?
        };
        for (until, key) in over {
            self.idempotency_expiry.remove((until, &key))?;
            self.idempotency.remove(&key)?;
            self.output.remove(&key)?;
        }
        Ok(())
    }

    /// Returns the time of the operation, as far as the clock is believed.
    fn believed(&self) -> UnixTime {
        self.now.min(self.limit)
    }

    /// Returns whether the clock is ahead of what is believed.
    fn is_ahead(&self) -> bool {
        self.now > self.limit
    }

    fn terms(&self) -> TxResult<&Terms> {
        self.terms.as_ref().ok_or_else(|| TxError::Damaged("the ledger has no terms".into()))
    }

    pub(super) fn set_terms(&mut self, terms: Terms) -> TxResult<()> {
        self.append_event(Event::Terms { terms: terms.clone() })?;
        self.meta.insert("terms", schema::to_json(&terms)?.as_slice())?;
        self.terms = Some(terms);
        Ok(())
    }

    /// Rejects revocations that would make the directory longer than readers accept.
    fn room(&self, more: usize, ended: u64) -> TxResult<()> {
        let listed = self.revoked.len()?.saturating_sub(ended);
        if listed + more as u64 > MOST_LISTED {
            return Err(TxError::Refused(Rejection::RevokedFull { listed, most: MOST_LISTED }));
        }
        Ok(())
    }

    pub(super) fn next_version(&mut self) -> TxResult<u64> {
        let last = self.meta.get("version")?.map(|row| schema::from_json(row.value())).transpose()?;
        let count = last.map_or(0, |last: u64| last.saturating_add(1)).max(u64::try_from(self.now.0).unwrap_or(0));
        self.meta.insert("version", schema::to_json(&count)?.as_slice())?;
        Ok(count)
    }

    pub(super) fn book_edition(&mut self, last: Option<u64>, edition: &BookedEdition) -> TxResult<()> {
        if schema::edition_in(&self.meta)?.map(|booked| booked.version) != last {
            return Err(TxError::Refused(Rejection::EditionMoved));
        }
        self.meta.insert("edition", schema::to_json(edition)?.as_slice())?;
        Ok(())
    }

    /// Sets the state of a signing key. One key is active at a time: the previous one only verifies from then on.
    pub(super) fn set_key(&mut self, kid: String, key: PublicKey, state: KeyState) -> TxResult<()> {
        let key = KeyRecord { kid, key, state, since: self.now };
        let refuse = |problem: &str| {
            TxError::Refused(Rejection::SigningKey { kid: key.kid.clone(), problem: problem.to_owned() })
        };
        let before: Option<KeyRecord> = self
            .signing
            .get(key.kid.as_str())?
            .map(|row| row.value().to_vec())
            .map(|row| schema::from_json(&row))
            .transpose()?;
        let active = self.active_key()?;
        match (&before, key.state) {
            (Some(before), KeyState::Active) if before.state == KeyState::Prepared => {}
            (Some(_), KeyState::Active | KeyState::Prepared) => {
                return Err(refuse("a key of this name exists already; a new key needs a new name"));
            }
            (None, KeyState::VerifyOnly | KeyState::Revoked { .. }) => {
                return Err(refuse("there is no key of this name"));
            }
            (Some(before), KeyState::VerifyOnly) if matches!(before.state, KeyState::Revoked { .. }) => {
                return Err(refuse("it was revoked, which is final"));
            }
            (Some(_), KeyState::VerifyOnly) if active.as_ref().is_some_and(|it| it.kid == key.kid) => {
                return Err(refuse("it is the active key; rotate to a new key"));
            }
            _ => {}
        }
        let mut changed = Vec::new();
        if key.state == KeyState::Active {
            changed.extend(active.map(|old| KeyRecord { state: KeyState::VerifyOnly, ..old }));
        }
        let since = before.as_ref().map_or(key.since, |before| before.since);
        changed.push(KeyRecord { since, ..key });
        for key in changed {
            self.append_event(Event::Key { kid: key.kid.clone(), key: key.key, state: key.state })?;
            self.signing.insert(key.kid.as_str(), schema::to_json(&key)?.as_slice())?;
        }
        Ok(())
    }

    fn active_key(&self) -> TxResult<Option<KeyRecord>> {
        for row in self.signing.iter()? {
            let key: KeyRecord = schema::from_json(row?.1.value())?;
            if key.state == KeyState::Active {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Reads the account, open or not.
    fn account(&self, number: u64) -> TxResult<Account> {
        match self.account.get(number)? {
            Some(row) => schema::from_json(row.value()),
            None => Err(TxError::Refused(Rejection::NoAccount { account: number.to_string() })),
        }
    }

    fn open_one(&self, number: u64) -> TxResult<Account> {
        let account = self.account(number)?;
        if account.open { Ok(account) } else { Err(TxError::Refused(Rejection::AccountClosed { account: number })) }
    }

    fn has(&self, account: u64) -> TxResult<u64> {
        let key = schema::balance_key(AccountCode::Account(account), Unit::Credits);
        Ok(self.balance.get(&key)?.map_or(0, |row| u64::try_from(row.value()).unwrap_or(0)))
    }

    /// Returns the earlier result of this key; rejects the key when it belongs to another request.
    fn done_before(&self, key: &[u8; 32], digest: [u8; 32], shown: &str) -> TxResult<Option<IdempotencyRecord>> {
        match self.idempotency.get(key)?.map(|row| IdempotencyRecord::from_bytes(row.value())) {
            Some(done) if done.digest == digest => Ok(Some(done)),
            Some(_) => Err(TxError::Refused(Rejection::KeyReused { key: shown.to_owned() })),
            None => Ok(None),
        }
    }

    /// Stores the result of the request, for ever or until the key expires.
    fn store_idempotency_key(
        &mut self,
        key: [u8; 32],
        digest: [u8; 32],
        days: u32,
        until: Option<UnixTime>,
    ) -> TxResult<()> {
        self.idempotency.insert(&key, &IdempotencyRecord { digest, entry: self.head.number, days }.to_bytes())?;
        if let Some(until) = until {
            self.idempotency_expiry.insert((u64::try_from(until.0).unwrap_or(0), &key), ())?;
        }
        Ok(())
    }

    /// Returns the earlier booking of a purchase or payout.
    fn booked_before(&self, done: IdempotencyRecord, account: u64) -> TxResult<Receipt> {
        let entry = schema::entry_in(&self.entry, done.entry)?;
        let row = self.entry.get(done.entry)?.ok_or_else(|| TxError::Damaged("an entry is missing".into()))?;
        let head = schema::split_entry(done.entry, row.value())?.0;
        let (credits, sum) = match entry.event {
            Event::Credited { credits, cost, .. } => (credits, cost),
            Event::PaidOut { credits, sum, .. } => (credits, sum),
            _ => return Err(TxError::Damaged(format!("entry {} is not a purchase or payout", done.entry))),
        };
        let balance = self.has(account)?;
        Ok(Receipt { entry: done.entry, head, at: entry.at, credits, sum: Some(sum), balance, again: true })
    }

    /// Returns the booking that was just made.
    fn booked(&self, credits: u64, sum: Option<Money>, account: u64) -> TxResult<Receipt> {
        let balance = self.has(account)?;
        Ok(Receipt { entry: self.head.number, head: self.head, at: self.now, credits, sum, balance, again: false })
    }
}

/// Checks that a text has 1 to `longest` printable characters.
fn printable(what: &str, text: &str, longest: usize) -> TxResult<()> {
    let fits = (1..=longest).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(form(what, &format!("must have 1 to {longest} printable characters"))) }
}

fn form(what: &str, wanted: &str) -> TxError {
    TxError::Refused(Rejection::Form { what: what.to_owned(), wanted: wanted.to_owned() })
}

/// Returns a new salt for a text whose hash goes into an entry.
fn new_salt() -> TxResult<Hash> {
    let mut salt = Hash([0; 32]);
    random::fill(&mut salt.0).map_err(|error| TxError::Damaged(format!("no random numbers: {error}")))?;
    Ok(salt)
}

/// Returns a hash as a key of a table.
fn bytes(hash: &Hash) -> &[u8; 32] {
    &hash.0
}
