//! Accounts, their API keys, and their addresses.

use super::{LedgerTx, bytes, form, new_salt, printable};
use crate::accounting::event::Event;
use crate::accounting::hash::Hash;
use crate::accounting::order::OwnCaps;
use crate::ledger::address_proof;
use crate::ledger::model::{Account, ApiKey, StampState};
use crate::ledger::rejection::Rejection;
use crate::ledger::schema::{self, TxError, TxResult};
use redb::ReadableTable;

/// Most active API keys of one account.
const API_KEYS: usize = 1_000;
/// Revoked API keys of one account that are still listed: the newest.
const REVOKED_KEYS: usize = 100;

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
            self.end_licenses(account)?;
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
    pub(super) fn owner_of(&self, subject: &str) -> TxResult<Option<(u64, Hash)>> {
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

/// Returns an address or a domain in the form in which the ledger keeps it.
pub(super) fn canonical(subject: &str) -> TxResult<String> {
    address_proof::subject(subject).map_err(|error| form("address or domain", &error.to_string()))
}
