//! Codes that prove an address: how many are mailed, which are valid, and when they are forgotten.
//!
//! - The number to one mailbox in a day has a limit over all accounts, so that no stranger with many accounts floods it.
//! - A code is valid for every account. An owner to whom strangers had codes sent has therefore one to enter.
//! - Attempts are counted for each account, so that no stranger uses up those of the owner.
//! - The first code of an account in a day does not depend on what others had sent to the domain.

use super::accounts::canonical;
use super::{LedgerTx, form};
use crate::accounting::hash::Hash;
use crate::ledger::address_proof;
use crate::ledger::rejection::Rejection;
use crate::ledger::schema::{self, CODE_HOLDS, TxError, TxResult};
use crate::message::address::Address;
use crate::store::correspondent_key;
use crate::time::UnixTime;
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

/// Delay before the next code to a recipient: ten minutes.
const CODE_WAITS: i64 = 600;
/// Most codes to one address in a day, from any account; and to all that differ from it by a detail after a `+`.
const CODES_EACH: usize = 5;
/// Most codes to one domain in a day, from any account, but for the first of an account.
const CODES_A_DOMAIN: usize = 100;
/// Most codes for one account in a day.
const CODES_A_DAY: usize = 20;
/// Most recipients of an account's pending codes.
const CODES_WAITING: usize = 5;
/// Attempts of an account for a recipient, until it asks for another code or a day has passed.
const CODE_TRIES: u8 = 5;

/// Codes that were sent to a recipient.
#[derive(Default, Serialize, Deserialize)]
struct Codes {
    sent: Vec<Code>,
    tries: Vec<Tries>,
}

#[derive(Serialize, Deserialize)]
struct Code {
    hash: Hash,
    /// Account that asked for it.
    account: u64,
    at: UnixTime,
}

/// Wrong codes that an account entered.
#[derive(Serialize, Deserialize)]
struct Tries {
    account: u64,
    /// Time of the first.
    since: UnixTime,
    left: u8,
}

impl Codes {
    fn left(&self, account: u64) -> u8 {
        self.tries.iter().find(|tries| tries.account == account).map_or(CODE_TRIES, |tries| tries.left)
    }

    /// Returns when the account's latest code was sent, if it can still be entered.
    fn pending(&self, account: u64) -> Option<UnixTime> {
        let own = self.sent.iter().filter(|code| code.account == account).map(|code| code.at);
        own.max().filter(|_| self.left(account) > 0)
    }
}

impl LedgerTx<'_> {
    pub(in crate::ledger) fn ask_code(&mut self, account: u64, subject: &str, hash: Hash) -> TxResult<()> {
        let now = self.now;
        self.open_one(account)?;
        let (subject, to) = mailable(subject)?;
        let over = |at: UnixTime| at.plus(CODE_HOLDS);
        let names = mailed_names(account, &to);
        let [for_account, to_mailbox, to_domain] = names.each_ref().map(|name| self.mailed(name, now));
        let (for_account, to_mailbox, mut to_domain) = (for_account?, to_mailbox?, to_domain?);
        let plain = correspondent_key(&to);
        // The reader of the plain address has proved that the ones with a detail are theirs to fill.
        if plain == to.normalized() || self.owner_of(&plain)?.is_none_or(|(owner, _)| owner != account) {
            let waits = to_mailbox.last().map(|at| at.plus(CODE_WAITS)).filter(|after| now < *after);
            let enough = to_mailbox.first().filter(|_| to_mailbox.len() >= CODES_EACH).map(|at| over(*at));
            if let Some(after) = enough.max(waits) {
                return Err(TxError::Refused(Rejection::CodeWaiting { subject, after }));
            }
        }
        if for_account.is_empty() {
            to_domain.clear();
        }
        let mut waiting = self.codes_waiting(account, &to)?;
        waiting.sort();
        let many = [(for_account, CODES_A_DAY), (to_domain, CODES_A_DOMAIN), (waiting, CODES_WAITING)];
        let many = many.iter().filter(|(times, most)| times.len() >= *most).filter_map(|(times, _)| times.first());
        if let Some(at) = many.max() {
            return Err(TxError::Refused(Rejection::ManyCodes { after: over(*at) }));
        }
        let mut codes = self.codes_for(&to)?;
        codes.sent.push(Code { hash, account, at: now });
        codes.tries.retain(|tries| tries.account != account);
        self.set_codes(&to, &codes)?;
        for name in names {
            let mut times = self.mailed(&name, now)?;
            times.push(now);
            self.set_mailed(&name, &times)?;
        }
        self.forget_codes()
    }

    /// Removes a code that could not be sent, as if it had not been requested.
    pub(in crate::ledger) fn take_back_code(&mut self, account: u64, subject: &str, hash: Hash) -> TxResult<()> {
        let (_, to) = mailable(subject)?;
        let mut codes = self.codes_for(&to)?;
        let Some(at) = codes.sent.iter().position(|code| code.hash == hash) else { return Ok(()) };
        let sent = codes.sent.remove(at).at;
        self.set_codes(&to, &codes)?;
        for name in mailed_names(account, &to) {
            let mut times = self.mailed(&name, sent)?;
            if let Some(at) = times.iter().rposition(|at| *at == sent) {
                times.remove(at);
            }
            self.set_mailed(&name, &times)?;
        }
        Ok(())
    }

    /// Checks a code. A wrong one is not a rejection, since it must be counted: the output is the number of remaining
    /// attempts.
    pub(in crate::ledger) fn tell_code(&mut self, account: u64, subject: &str, hash: Hash) -> TxResult<Option<u8>> {
        self.open_one(account)?;
        let subject = canonical(subject)?;
        let none = || TxError::Refused(Rejection::NoCode { subject: subject.clone() });
        let to = address_proof::recipient(&subject).map_err(|_| none())?;
        let mut codes = self.codes_for(&to)?;
        let left = codes.left(account);
        if codes.sent.is_empty() || left == 0 {
            return Err(none());
        }
        if codes.sent.iter().any(|code| code.hash == hash) {
            self.own(account, &subject)?;
            codes.sent.retain(|code| code.hash != hash && code.account != account);
            codes.tries.retain(|tries| tries.account != account);
            self.set_codes(&to, &codes)?;
            return Ok(None);
        }
        match codes.tries.iter_mut().find(|tries| tries.account == account) {
            Some(tries) => tries.left -= 1,
            None => codes.tries.push(Tries { account, since: self.now, left: left - 1 }),
        }
        self.set_codes(&to, &codes)?;
        Ok(Some(left - 1))
    }

    /// Removes the codes of a day ago, and the counts of them.
    pub(super) fn forget_codes(&mut self) -> TxResult<()> {
        let now = self.now;
        if self.is_ahead() {
            self.meta.insert("codes-due", now.plus(60).0.to_be_bytes().as_slice())?;
            return Ok(());
        }
        self.code.retain(|_, row| codes(row, now).is_ok_and(|codes| !codes.sent.is_empty()))?;
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

    pub(super) fn set_mailed(&mut self, name: &str, times: &[UnixTime]) -> TxResult<()> {
        if times.is_empty() {
            self.mailed.remove(name)?;
        } else {
            self.mailed.insert(name, schema::to_json(&times)?.as_slice())?;
        }
        Ok(())
    }

    /// Returns the times of codes that were mailed within a day.
    pub(super) fn mailed(&self, name: &str, now: UnixTime) -> TxResult<Vec<UnixTime>> {
        let times = self.mailed.get(name)?.map(|row| schema::from_json(row.value())).transpose()?;
        let mut times: Vec<UnixTime> = times.unwrap_or_default();
        times.retain(|at| lasts(*at, now));
        Ok(times)
    }

    /// Returns the times of the account's pending codes, except those to `to`.
    fn codes_waiting(&self, account: u64, to: &Address) -> TxResult<Vec<UnixTime>> {
        let mut waiting = Vec::new();
        for row in self.code.iter()? {
            let (key, row) = row?;
            if key.value() != to.normalized() {
                waiting.extend(codes(row.value(), self.now)?.pending(account));
            }
        }
        Ok(waiting)
    }

    /// Returns the valid codes to a recipient, and the attempts of a day.
    fn codes_for(&self, to: &Address) -> TxResult<Codes> {
        let row = self.code.get(to.normalized().as_str())?;
        row.map_or_else(|| Ok(Codes::default()), |row| codes(row.value(), self.now))
    }

    fn set_codes(&mut self, to: &Address, codes: &Codes) -> TxResult<()> {
        let to = to.normalized();
        if codes.sent.is_empty() {
            self.code.remove(to.as_str())?;
        } else {
            self.code.insert(to.as_str(), schema::to_json(codes)?.as_slice())?;
        }
        Ok(())
    }
}

/// Reads a row, without what is older than a day.
fn codes(row: &[u8], now: UnixTime) -> TxResult<Codes> {
    let mut codes: Codes = schema::from_json(row)?;
    codes.sent.retain(|code| lasts(code.at, now));
    codes.tries.retain(|tries| lasts(tries.since, now));
    Ok(codes)
}

/// Returns whether less than a day has passed. After a clock was set back, no user has to wait for years.
pub(super) fn lasts(at: UnixTime, now: UnixTime) -> bool {
    (0..CODE_HOLDS).contains(&now.since(at))
}

/// Returns an address or a domain in the form in which the ledger keeps it, and the recipient of its code.
pub(super) fn mailable(subject: &str) -> TxResult<(String, Address)> {
    let subject = canonical(subject)?;
    let to = address_proof::mailable(&subject).map_err(|error| form("address or domain", &error.to_string()))?;
    Ok((subject, to))
}

/// Returns the names under which mailed codes are counted: the account; the address, or all that differ from it by a
/// detail; the domain.
fn mailed_names(account: u64, to: &Address) -> [String; 3] {
    let plain = correspondent_key(to);
    let mailbox = if plain == to.normalized() { plain } else { format!("{plain} +") };
    [account.to_string(), mailbox, format!("@{}", to.domain())]
}
