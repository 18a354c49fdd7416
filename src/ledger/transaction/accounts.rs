//! Accounts, their API keys, and their addresses.

use super::{LedgerTx, bytes, form, new_salt, printable};
use crate::accounting::event::Event;
use crate::accounting::hash::Hash;
use crate::accounting::order::OwnCaps;
use crate::ledger::address_proof;
use crate::ledger::model::{Account, ApiKey, StampState};
use crate::ledger::rejection::Rejection;
use crate::ledger::schema::{self, CODE_HOLDS, TxError, TxResult};
use crate::store::correspondent_key;
use crate::time::UnixTime;
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

/// Delay before the next code to a recipient: ten minutes.
const CODE_WAITS: i64 = 600;
/// Most codes to one recipient in a day, from any account and with any detail after a `+`, so that no mailbox is
/// flooded.
const CODES_EACH: usize = 5;
/// Most codes to one domain in a day, from any account.
const CODES_A_DOMAIN: usize = 100;
/// Most codes for one account in a day.
const CODES_A_DAY: usize = 20;
/// Most pending codes of one account.
const CODES_WAITING: usize = 5;
/// Attempts for a code.
const CODE_TRIES: u8 = 5;
/// Most active API keys of one account.
const API_KEYS: usize = 1_000;
/// Revoked API keys of one account that are still listed: the newest.
const REVOKED_KEYS: usize = 100;

/// A code that was sent.
#[derive(Serialize, Deserialize)]
struct Code {
    hash: Hash,
    sent: UnixTime,
    left: u8,
}

impl LedgerTx<'_> {
    pub(in crate::ledger) fn open_account(
        &mut self,
        name: String,
        contact: String,
        caps: Option<OwnCaps>,
    ) -> TxResult<Account> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) || name.bytes().all(|b| b.is_ascii_digit()) {
            return Err(form("name", "1 to 64 of a-z, 0-9, '.', '_' and '-', not digits alone"));
        }
        printable("contact", &contact, 254)?;
        if self.name.get(name.as_str())?.is_some() {
            return Err(TxError::Refused(Rejection::AccountExists { name }));
        }
        let number = self.account.last()?.map_or(1, |(number, _)| number.value() + 1);
        let salt = new_salt()?;
        let hash = Hash::salted(&salt, &contact);
        self.append_event(Event::Opened { account: number, name: name.clone(), contact: hash, caps })?;
        let account = Account { number, name, contact, salt, open: true, created: self.now, caps };
        self.name.insert(account.name.as_str(), number)?;
        self.account.insert(number, schema::to_json(&account)?.as_slice())?;
        Ok(account)
    }

    pub(in crate::ledger) fn set_contact(&mut self, account: u64, contact: String) -> TxResult<()> {
        printable("contact", &contact, 254)?;
        self.account(account)?;
        let salt = new_salt()?;
        self.append_event(Event::Contact { account, contact: Hash::salted(&salt, &contact) })?;
        self.change(account, |row| (row.contact, row.salt) = (contact, salt))
    }

    pub(in crate::ledger) fn set_caps(&mut self, account: u64, caps: Option<OwnCaps>) -> TxResult<()> {
        self.account(account)?;
        self.append_event(Event::Caps { account, caps })?;
        self.change(account, |row| row.caps = caps)
    }

    fn change(&mut self, account: u64, change: impl FnOnce(&mut Account)) -> TxResult<()> {
        let mut row = self.account(account)?;
        change(&mut row);
        self.account.insert(account, schema::to_json(&row)?.as_slice())?;
        Ok(())
    }

    pub(in crate::ledger) fn close_account(&mut self, account: u64, revoke: bool) -> TxResult<u64> {
        if self.account(account)?.open {
            self.append_event(Event::Closed { account })?;
            self.change(account, |row| row.open = false)?;
        }
        if !revoke {
            return Ok(0);
        }
        let numbers: Vec<u64> = {
            let rows = self.history.range((account, 0)..=(account, u64::MAX))?;
            rows.map(|row| row.map(|(key, _)| key.value().1)).collect::<Result<_, _>>()?
        };
        let mut count = 0;
        for number in numbers {
            let entry = schema::entry_in(&self.entry, number)?;
            let mut left = Vec::new();
            for (serial, value) in entry.event.issued(entry.at) {
                if self.state(&serial)?.is_some_and(|(_, state)| state == StampState::Issued) {
                    left.push((serial, value));
                }
            }
            count += left.len() as u64;
            self.revoke_sold(&left)?;
        }
        Ok(count)
    }

    pub(in crate::ledger) fn add_api_key(&mut self, account: u64, label: String, hash: Hash) -> TxResult<ApiKey> {
        self.open_one(account)?;
        printable("label", &label, 64)?;
        if self.api_key.get(bytes(&hash))?.is_some() {
            return Err(form("key", "a new one"));
        }
        let keys = self.api_keys(account)?;
        let (mut revoked, active): (Vec<_>, Vec<_>) = keys.into_iter().partition(|(_, key)| key.revoked.is_some());
        if active.len() >= API_KEYS {
            return Err(form("label", "the account already has 1,000 keys, the most allowed; revoke one"));
        }
        self.append_event(Event::KeyMade { account, key: hash })?;
        revoked.sort_by_key(|(_, key)| key.revoked);
        for (old, _) in &revoked[..revoked.len().saturating_sub(REVOKED_KEYS)] {
            self.api_key.remove(old)?;
            self.keys_of.remove((account, old))?;
        }
        let id = hash.to_string().chars().take(16).collect();
        let key = ApiKey { id, account, label, created: self.now, revoked: None };
        self.api_key.insert(bytes(&hash), schema::to_json(&key)?.as_slice())?;
        self.keys_of.insert((account, bytes(&hash)), ())?;
        Ok(key)
    }

    /// Revokes an API key. Without `even_last`, the last active key of an open account stays, since its owner could
    /// make no other.
    pub(in crate::ledger) fn revoke_api_key(&mut self, account: u64, id: &str, even_last: bool) -> TxResult<()> {
        let keys = self.api_keys(account)?;
        let active = keys.iter().filter(|(_, key)| key.revoked.is_none()).count();
        let (hash, key) =
            keys.into_iter().find(|(_, key)| key.id == id).ok_or(TxError::Refused(Rejection::NoApiKey))?;
        if key.revoked.is_some() {
            return Ok(());
        }
        if active == 1 && !even_last && self.account(account)?.open {
            return Err(TxError::Refused(Rejection::LastApiKey));
        }
        self.append_event(Event::KeyRevoked { account, key: Hash(hash) })?;
        let key = ApiKey { revoked: Some(self.now), ..key };
        self.api_key.insert(&hash, schema::to_json(&key)?.as_slice())?;
        Ok(())
    }

    /// Returns the API keys of an account, active or not, with their hashes.
    fn api_keys(&self, account: u64) -> TxResult<Vec<([u8; 32], ApiKey)>> {
        let mut keys = Vec::new();
        for row in self.keys_of.range((account, &[0; 32])..=(account, &[255; 32]))? {
            let hash = *row?.0.value().1;
            let row = self.api_key.get(&hash)?.map(|row| row.value().to_vec()).unwrap_or_default();
            keys.push((hash, schema::from_json(&row)?));
        }
        Ok(keys)
    }

    pub(in crate::ledger) fn ask_code(&mut self, account: u64, subject: &str, hash: Hash) -> TxResult<()> {
        let now = self.now;
        self.open_one(account)?;
        let subject = canonical(subject)?;
        let over = |at: UnixTime| at.plus(CODE_HOLDS);
        let names = mailed_names(account, &subject)?;
        let [for_account, to_recipient, to_domain] = names.each_ref().map(|name| self.mailed(name, now));
        let (for_account, to_recipient, to_domain) = (for_account?, to_recipient?, to_domain?);
        let waits = to_recipient.last().map(|at| at.plus(CODE_WAITS)).filter(|after| now < *after);
        let enough = to_recipient.first().filter(|_| to_recipient.len() >= CODES_EACH).map(|at| over(*at));
        if let Some(after) = enough.max(waits) {
            return Err(TxError::Refused(Rejection::CodeWaiting { subject, after }));
        }
        let mut waiting = self.codes_waiting(account, &subject, now)?;
        waiting.sort();
        let many = [(for_account, CODES_A_DAY), (to_domain, CODES_A_DOMAIN), (waiting, CODES_WAITING)];
        let many = many.iter().filter(|(times, most)| times.len() >= *most).filter_map(|(times, _)| times.first());
        if let Some(at) = many.max() {
            return Err(TxError::Refused(Rejection::ManyCodes { after: over(*at) }));
        }
        let code = Code { hash, sent: now, left: CODE_TRIES };
        self.code.insert((account, subject.as_str()), schema::to_json(&code)?.as_slice())?;
        for name in names {
            let mut times = self.mailed(&name, now)?;
            times.push(now);
            self.set_mailed(&name, &times)?;
        }
        self.forget_codes()
    }

    /// Removes the codes of a day ago, and the counts of them.
    pub(super) fn forget_codes(&mut self) -> TxResult<()> {
        let now = self.now;
        self.code.retain(|_, row| schema::from_json(row).is_ok_and(|code: Code| lasts(code.sent, now)))?;
        let names = self.mailed.iter()?.map(|row| row.map(|(name, _)| name.value().to_owned()));
        let mut oldest = None;
        for name in names.collect::<Result<Vec<_>, _>>()? {
            let times = self.mailed(&name, now)?;
            oldest = times.first().copied().into_iter().chain(oldest).min();
            self.set_mailed(&name, &times)?;
        }
        match oldest {
            Some(at) => {
                // This reads all of them, so it is done once a minute at most.
                let due = at.plus(CODE_HOLDS).max(now.plus(60));
                self.meta.insert("codes-due", due.0.to_be_bytes().as_slice())?;
            }
            None => drop(self.meta.remove("codes-due")?),
        }
        Ok(())
    }

    fn set_mailed(&mut self, name: &str, times: &[UnixTime]) -> TxResult<()> {
        if times.is_empty() {
            self.mailed.remove(name)?;
        } else {
            self.mailed.insert(name, schema::to_json(&times)?.as_slice())?;
        }
        Ok(())
    }

    /// Removes a code that could not be sent, as if it had not been requested.
    pub(in crate::ledger) fn take_back_code(&mut self, account: u64, subject: &str, hash: Hash) -> TxResult<()> {
        let subject = canonical(subject)?;
        let Some(code) = self.code_sent(account, &subject)?.filter(|code| code.hash == hash) else {
            return Ok(());
        };
        self.code.remove((account, subject.as_str()))?;
        for name in mailed_names(account, &subject)? {
            let mut times = self.mailed(&name, code.sent)?;
            if let Some(at) = times.iter().rposition(|at| *at == code.sent) {
                times.remove(at);
            }
            self.set_mailed(&name, &times)?;
        }
        Ok(())
    }

    /// Returns the times of codes that were mailed within a day.
    fn mailed(&self, name: &str, now: UnixTime) -> TxResult<Vec<UnixTime>> {
        let times = self.mailed.get(name)?.map(|row| schema::from_json(row.value())).transpose()?;
        let mut times: Vec<UnixTime> = times.unwrap_or_default();
        times.retain(|at| lasts(*at, now));
        Ok(times)
    }

    /// Returns the times of the account's pending codes, except that for `subject`.
    fn codes_waiting(&self, account: u64, subject: &str, now: UnixTime) -> TxResult<Vec<UnixTime>> {
        let mut waiting = Vec::new();
        for row in self.code.range((account, "")..(account + 1, ""))? {
            let (key, row) = row?;
            let code: Code = schema::from_json(row.value())?;
            if key.value().1 != subject && code.left > 0 && lasts(code.sent, now) {
                waiting.push(code.sent);
            }
        }
        Ok(waiting)
    }

    /// Checks a code. A wrong one is not a rejection, since it must be counted: the output is the number of remaining
    /// attempts.
    pub(in crate::ledger) fn tell_code(&mut self, account: u64, subject: &str, hash: Hash) -> TxResult<Option<u8>> {
        self.open_one(account)?;
        let subject = canonical(subject)?;
        let none = || TxError::Refused(Rejection::NoCode { subject: subject.clone() });
        let code = self.code_sent(account, &subject)?.ok_or_else(none)?;
        if code.left == 0 || self.now.since(code.sent) > CODE_HOLDS {
            return Err(none());
        }
        if code.hash == hash {
            self.own(account, &subject)?;
            self.code.remove((account, subject.as_str()))?;
            return Ok(None);
        }
        let code = Code { left: code.left - 1, ..code };
        self.code.insert((account, subject.as_str()), schema::to_json(&code)?.as_slice())?;
        Ok(Some(code.left))
    }

    fn code_sent(&self, account: u64, subject: &str) -> TxResult<Option<Code>> {
        self.code.get((account, subject))?.map(|row| schema::from_json(row.value())).transpose()
    }

    pub(in crate::ledger) fn own(&mut self, account: u64, subject: &str) -> TxResult<()> {
        self.open_one(account)?;
        let subject = canonical(subject)?;
        let before = self.owner_of(&subject)?.map(|(owner, _)| owner);
        if before == Some(account) {
            return Ok(());
        }
        if let Some(before) = before {
            self.disown(before, &subject)?;
        }
        let salt = new_salt()?;
        self.append_event(Event::Owned { account, subject: Hash::salted(&salt, &subject) })?;
        self.owner.insert(subject.as_str(), (account, bytes(&salt)))?;
        self.owned.insert((account, subject.as_str()), ())?;
        Ok(())
    }

    /// Returns the account that owns an address or a domain, and the salt of that entry.
    fn owner_of(&self, subject: &str) -> TxResult<Option<(u64, Hash)>> {
        Ok(self.owner.get(subject)?.map(|row| (row.value().0, Hash(*row.value().1))))
    }

    pub(in crate::ledger) fn disown(&mut self, account: u64, subject: &str) -> TxResult<()> {
        let subject = canonical(subject)?;
        if let Some((_, salt)) = self.owner_of(&subject)?.filter(|(owner, _)| *owner == account) {
            self.append_event(Event::Disowned { account, subject: Hash::salted(&salt, &subject) })?;
            self.owner.remove(subject.as_str())?;
            self.owned.remove((account, subject.as_str()))?;
        }
        Ok(())
    }
}

/// Returns whether less than a day has passed. After a clock was set back, no user has to wait for years.
fn lasts(at: UnixTime, now: UnixTime) -> bool {
    (0..CODE_HOLDS).contains(&now.since(at))
}

/// Returns the names under which mailed codes are counted: the account, the recipient without a detail, the domain.
fn mailed_names(account: u64, subject: &str) -> TxResult<[String; 3]> {
    let to = address_proof::mailable(subject).map_err(|error| form("address or domain", &error.to_string()))?;
    Ok([account.to_string(), correspondent_key(&to), format!("@{}", to.domain())])
}

fn canonical(subject: &str) -> TxResult<String> {
    address_proof::subject(subject).map_err(|error| form("address or domain", &error.to_string()))
}
