//! Meters: licences, the tokens that they signed, and checkpoints of banks.
//!
//! - The credits of a licence are locked from the licence on until no token of it can be cleared any more. A licence
//!   pays down to zero, so that the vendor pays nothing that it does not hold.
//! - A payment is cleared once: [`schema::PAYMENT`] has its hash for ever, whatever the ID of its token.
//! - A token's own signed end decides how long it is cleared. What a payer says about that end releases credits of the
//!   payer's own books only.
//! - A licence closes, and a token ends, by a clock that is believed: neither can be undone.
//! - A request is known by its idempotency key, and its answer is kept as it was.

use super::{LedgerTx, REMEMBERED, form, printable};
use crate::accounting::double_entry::{AccountCode, Unit};
use crate::accounting::event::{Claim, Event};
use crate::accounting::hash_chain::Head;
use crate::accounting::meter::{self, ClearingProblem, LICENSE_DAYS_MAX};
use crate::ledger::model::{Account, BankContact, License, MeterContact, OpenClaim, TokenClaim};
use crate::ledger::rejection::Rejection;
use crate::ledger::schema::{self, TxError, TxResult};
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use crate::transparency::leaf;
use crate::vendor_api::meters::{
    BankHeads, ClearingResult, LicenseStatus, MeterReceipt, PaymentState, ReceiptKind, RequestProblem,
};
use redb::ReadableTable;
use std::collections::{BTreeMap, BTreeSet};

/// Most licences in the directory: readers accept no more.
const MOST_LIVE: u64 = 4_096;
/// Most of them of one account.
const MOST_LIVE_EACH: u64 = 16;
/// Due licences that one commit closes.
const ALONG: usize = 64;
/// Lifetime of the answer to a checkpoint, in seconds. It moves no credits.
const CHECKPOINT_REMEMBERED: i64 = 86_400;
const DAY: i64 = 86_400;

/// What a request did, besides the state of the account.
#[derive(Default)]
struct Done {
    license: Option<String>,
    each: Vec<ClearingResult>,
    open: Vec<PaymentState>,
}

impl LedgerTx<'_> {
    /// Licenses a meter, and locks the limit.
    pub(in crate::ledger) fn license(
        &mut self,
        contact: &MeterContact,
        key: PublicKey,
        limit: u64,
        days: u32,
        accept_restored: bool,
    ) -> TxResult<MeterReceipt> {
        if let Some(before) = self.answered(ReceiptKind::License, contact)? {
            return Ok(before);
        }
        let account = self.open_one(contact.account)?;
        let most = self.terms()?.meters.ok_or(TxError::Refused(Rejection::MetersOff))?;
        if limit > most {
            return Err(TxError::Refused(Rejection::LicenseLimit { asked: limit, most }));
        }
        if !(1..=LICENSE_DAYS_MAX).contains(&days) {
            return Err(form("days", &format!("1 to {LICENSE_DAYS_MAX}")));
        }
        let kid = meter::key_name(&key);
        if self.license_named.get(kid.as_str())?.is_some() || self.signs(&key)? {
            return Err(form("key", "a new one, that no licence had before"));
        }
        self.room_for_license(account.number)?;
        self.enough(limit, self.has(account.number)?)?;
        let last = self.last_contact(contact, accept_restored)?;

        self.note_restored(contact, last.as_ref())?;
        let number = self.license.last()?.map_or(1, |(number, _)| number.value() + 1);
        let until = self.now.plus(i64::from(days) * DAY);
        let bank = position(contact.bank);
        let (account, created) = (account.number, self.now);
        self.append_event(Event::Licensed { account, license: number, kid: kid.clone(), key, limit, until, bank })?;
        let row = License {
            number,
            account,
            kid: kid.clone(),
            key,
            limit,
            created,
            until,
            revoked: None,
            closed: None,
            returned: 0,
            over: 0,
        };
        self.set_license(&row)?;
        self.license_named.insert(kid.as_str(), number)?;
        self.licenses_of.insert((account, number), ())?;
        self.license_due.insert(due(&row), ())?;
        let done = Done { license: Some(kid), ..Done::default() };
        self.answer(ReceiptKind::License, contact, last, done)
    }

    /// Revokes a licence; one that was revoked or has closed stays as it is. `account` limits it to its own.
    pub(in crate::ledger) fn end_license(&mut self, kid: &str, account: Option<u64>) -> TxResult<()> {
        let unknown = || TxError::Refused(Rejection::NoLicense { kid: kid.to_owned() });
        let number = self.license_named.get(kid)?.map(|row| row.value()).ok_or_else(unknown)?;
        let license = self.license_of(number)?;
        if account.is_some_and(|account| account != license.account) {
            return Err(unknown());
        }
        self.revoke_license(license)
    }

    fn revoke_license(&mut self, license: License) -> TxResult<()> {
        if license.revoked.is_some() || license.closed.is_some() {
            return Ok(());
        }
        self.append_event(Event::LicenseEnded { account: license.account, license: license.number })?;
        self.set_license(&License { revoked: Some(self.now), ..license })
    }

    /// Revokes every licence of an account that is closed.
    pub(super) fn end_licenses(&mut self, account: u64) -> TxResult<()> {
        for license in self.unclosed(account)? {
            self.revoke_license(license)?;
        }
        Ok(())
    }

    /// Clears tokens to the account, each payment once.
    pub(in crate::ledger) fn clear(
        &mut self,
        contact: &MeterContact,
        tokens: &[Result<TokenClaim, ClearingProblem>],
    ) -> TxResult<MeterReceipt> {
        if let Some(before) = self.answered(ReceiptKind::Clearing, contact)? {
            return Ok(before);
        }
        self.signer(contact)?;
        let last = self.last_contact(contact, false)?;
        let mut claims = Claims::default();
        let mut results = Vec::with_capacity(tokens.len());
        for token in tokens {
            let cleared = match token {
                Ok(claim) => self.claim(*claim, &mut claims)?,
                Err(problem) => Err(*problem),
            };
            results.push(cleared.map_or_else(ClearingResult::Refused, |credits| ClearingResult::Cleared { credits }));
        }
        let Claims { each, over, .. } = claims;
        if !each.is_empty() || !over.is_empty() {
            let (account, bank) = (contact.account, position(contact.bank));
            self.append_event(Event::Cleared { account, bank, each: each.clone(), over: over.clone() })?;
            for (_, _, payment) in &each {
                self.payment.insert(&payment.0, self.head.number)?;
            }
            for (license, credits, payment) in over {
                self.over.insert(&payment.0, self.head.number)?;
                let mut license = self.license_of(license)?;
                license.over = license.over.saturating_add(credits);
                self.set_license(&license)?;
            }
        }
        let done = Done { each: results, ..Done::default() };
        self.answer(ReceiptKind::Clearing, contact, last, done)
    }

    /// Checks one token, and adds it to the claims of this request.
    fn claim(&self, claim: TokenClaim, claims: &mut Claims) -> TxResult<Result<u64, ClearingProblem>> {
        let license = self.license_of(claim.license)?;
        if license.closed.is_some() || meter::last_clearing(claim.until) < self.believed() {
            return Ok(Err(ClearingProblem::Expired));
        }
        let TokenClaim { credits, payment, .. } = claim;
        let before = self.payment.get(&payment.0)?.map(|row| row.value());
        let here = claims.payments.contains(&payment.0).then_some(self.head.number + 1);
        if let Some(entry) = before.or(here) {
            return Ok(Err(ClearingProblem::ClearedBefore { entry }));
        }
        if self.spent_before(|vendor| leaf::payment(vendor, &payment.to_string()))?.is_some() {
            let entry = self.log_state()?.resumed;
            return Ok(Err(ClearingProblem::ClearedBefore { entry }));
        }
        let rest = match claims.rests.get(&license.number) {
            Some(rest) => *rest,
            None => self.rest(license.number)?,
        };
        if credits > rest {
            let known = self.over.get(&payment.0)?.is_some() || claims.over.iter().any(|(_, _, it)| *it == payment);
            if !known {
                claims.over.push((license.number, credits, payment));
            }
            return Ok(Err(ClearingProblem::OverLimit { rest }));
        }
        claims.rests.insert(license.number, rest - credits);
        claims.payments.insert(payment.0);
        claims.each.push((license.number, credits, payment));
        Ok(Ok(credits))
    }

    /// Records the head of a bank, and returns the state of its open payments.
    pub(in crate::ledger) fn checkpoint(
        &mut self,
        contact: &MeterContact,
        open: &[OpenClaim],
        accept_restored: bool,
    ) -> TxResult<MeterReceipt> {
        if let Some(before) = self.answered(ReceiptKind::Checkpoint, contact)? {
            return Ok(before);
        }
        self.signer(contact)?;
        let last = self.last_contact(contact, accept_restored)?;
        let mut states = Vec::with_capacity(open.len());
        for claim in open {
            let before = self.spent_before(|vendor| leaf::payment(vendor, &claim.payment.to_string()))?;
            states.push(if before.is_some() || self.payment.get(&claim.payment.0)?.is_some() {
                PaymentState::Cleared
            } else if meter::is_void(claim.until, self.believed()) {
                PaymentState::Void
            } else {
                PaymentState::Open
            });
        }
        self.note_restored(contact, last.as_ref())?;
        let done = Done { open: states, ..Done::default() };
        self.answer(ReceiptKind::Checkpoint, contact, last, done)
    }

    /// Closes licences of which no token can be cleared any more, and returns their rest.
    pub(super) fn close_due_licenses(&mut self) -> TxResult<()> {
        let now = seconds(self.believed());
        let due: Vec<u64> = {
            let rows = self.license_due.range((0, 0)..(now, 0))?.take(ALONG);
            rows.map(|row| row.map(|(key, _)| key.value().1)).collect::<Result<_, _>>()?
        };
        for number in due {
            let license = self.license_of(number)?;
            let (account, credits) = (license.account, self.rest(number)?);
            self.append_event(Event::LicenseClosed { account, license: number, credits })?;
            self.license_due.remove(self::due(&license))?;
            self.licenses_of.remove((account, number))?;
            self.set_license(&License { closed: Some(self.now), returned: credits, ..license })?;
        }
        Ok(())
    }

    /// Rejects a licence beyond the number that the directory, or an account, may have.
    fn room_for_license(&self, account: u64) -> TxResult<()> {
        // Revoked licences count until their end, so that their number stays limited, too.
        let alive = seconds(meter::closing(self.now));
        let full = |live: u64, of: &str| TxError::Refused(Rejection::ManyLicenses { live, of: of.to_owned() });
        let live = self.license_due.range((alive.saturating_add(1), 0)..)?.count() as u64;
        if live >= MOST_LIVE {
            return Err(full(live, "in the directory"));
        }
        let own = self.unclosed(account)?.iter().filter(|license| self.now < license.until).count() as u64;
        if own >= MOST_LIVE_EACH { Err(full(own, "for one account")) } else { Ok(()) }
    }

    /// Returns whether this is a key of the vendor itself.
    fn signs(&self, key: &PublicKey) -> TxResult<bool> {
        for row in self.signing.iter()? {
            if schema::from_json::<crate::ledger::model::KeyRecord>(row?.1.value())?.key == *key {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the account of a request, if the licence of its key is still live.
    fn signer(&self, contact: &MeterContact) -> TxResult<Account> {
        let number = self.license_named.get(contact.kid.as_str())?.map(|row| row.value());
        let license = number.map(|number| self.license_of(number)).transpose()?;
        match license {
            Some(license) if license.account == contact.account && license.is_live(self.now) => {
                self.open_one(contact.account)
            }
            _ => Err(TxError::Refused(Rejection::MeterRequest { problem: RequestProblem::Key, now: self.now })),
        }
    }

    /// Returns the last contact of the account's bank; rejects a bank that is behind it, unless `accept` says otherwise.
    fn last_contact(&self, contact: &MeterContact, accept: bool) -> TxResult<Option<BankContact>> {
        let last: Option<BankContact> =
            self.bank.get(contact.account)?.map(|row| schema::from_json(row.value())).transpose()?;
        match last {
            Some(last) if !accept && is_behind(contact.bank, last.head) => {
                let (last, sent) = (last.head.to_string(), contact.bank.to_string());
                Err(TxError::Refused(Rejection::BankBehind { last, sent }))
            }
            last => Ok(last),
        }
    }

    /// Books that a bank which is behind its last contact was accepted.
    fn note_restored(&mut self, contact: &MeterContact, last: Option<&BankContact>) -> TxResult<()> {
        if let Some(last) = last.filter(|last| is_behind(contact.bank, last.head)) {
            let (account, bank) = (contact.account, position(contact.bank));
            self.append_event(Event::BankRestored { account, bank, last: position(last.head) })?;
        }
        Ok(())
    }

    fn license_of(&self, number: u64) -> TxResult<License> {
        let row = self.license.get(number)?;
        let row = row.ok_or_else(|| TxError::Damaged(format!("licence {number} is missing")))?;
        schema::from_json(row.value())
    }

    fn set_license(&mut self, license: &License) -> TxResult<()> {
        self.license.insert(license.number, schema::to_json(license)?.as_slice())?;
        Ok(())
    }

    /// Returns the licences of an account that are not closed, in the order of their numbers.
    fn unclosed(&self, account: u64) -> TxResult<Vec<License>> {
        let rows = self.licenses_of.range((account, 0)..=(account, u64::MAX))?;
        rows.map(|row| self.license_of(row?.0.value().1)).collect()
    }

    fn rest(&self, license: u64) -> TxResult<u64> {
        let key = schema::balance_key(AccountCode::License(license), Unit::Credits);
        Ok(self.balance.get(&key)?.map_or(0, |row| u64::try_from(row.value()).unwrap_or(0)))
    }

    /// Returns the earlier answer to a request with this idempotency key.
    fn answered(&self, kind: ReceiptKind, contact: &MeterContact) -> TxResult<Option<MeterReceipt>> {
        printable("idempotency key", &contact.idempotency, 128)?;
        let key = request_key(contact);
        if self.done_before(&key, digest(kind, contact), &contact.idempotency)?.is_none() {
            return Ok(None);
        }
        let row = self.output.get(&key)?.ok_or_else(|| TxError::Damaged("an answer is missing".into()))?;
        schema::from_json(row.value()).map(Some)
    }

    /// Records the contact, and returns the answer, which is kept.
    fn answer(
        &mut self,
        kind: ReceiptKind,
        contact: &MeterContact,
        last: Option<BankContact>,
        done: Done,
    ) -> TxResult<MeterReceipt> {
        let account = self.account(contact.account)?;
        let here = BankContact { head: contact.bank, at: self.now };
        self.bank.insert(account.number, schema::to_json(&here)?.as_slice())?;
        let mut licenses = Vec::new();
        for license in self.unclosed(account.number)? {
            licenses.push(status(&license, self.rest(license.number)?));
        }
        let vendor = self.meta.get("vendor")?.map(|row| String::from_utf8_lossy(row.value()).into_owned());
        let receipt = MeterReceipt {
            receipt: kind,
            vendor: vendor.unwrap_or_default(),
            iat: self.now.to_string(),
            account: account.number,
            balance: self.has(account.number)?,
            name: account.name,
            licenses,
            head: self.head.to_string(),
            bank: BankHeads { last: last.map(|last| last.head.to_string()), now: contact.bank.to_string() },
            key: contact.idempotency.clone(),
            request: contact.body.to_string(),
            license: done.license,
            each: done.each,
            open: done.open,
        };
        let key = request_key(contact);
        let lifetime = match kind {
            ReceiptKind::License | ReceiptKind::Clearing => i64::try_from(REMEMBERED).unwrap_or(0),
            ReceiptKind::Checkpoint => CHECKPOINT_REMEMBERED,
        };
        self.store_idempotency_key(key, digest(kind, contact), 0, Some(self.now.plus(lifetime)))?;
        self.output.insert(&key, schema::to_json(&receipt)?.as_slice())?;
        Ok(receipt)
    }
}

/// Claims of one request that hold so far.
#[derive(Default)]
struct Claims {
    each: Vec<Claim>,
    over: Vec<Claim>,
    payments: BTreeSet<[u8; 32]>,
    /// What is left of each licence after these.
    rests: BTreeMap<u64, u64>,
}

/// Returns whether a bank at `head` was at `last` before and is not any more. Another head of the same number is
/// another history.
fn is_behind(head: Head, last: Head) -> bool {
    head.number < last.number || (head.number == last.number && head != last)
}

/// Returns the state of a licence as answers have it.
pub(in crate::ledger) fn status(license: &License, rest: u64) -> LicenseStatus {
    LicenseStatus {
        kid: license.kid.clone(),
        limit: license.limit,
        rest,
        until: license.until.to_string(),
        closes: meter::closing(license.until).to_string(),
        revoked: license.revoked.map(|at| at.to_string()),
    }
}

/// Returns the key of a licence among those that must be closed.
pub(in crate::ledger) fn due(license: &License) -> (u64, u64) {
    (seconds(meter::closing(license.until)), license.number)
}

fn position(head: Head) -> (u64, crate::accounting::hash::Hash) {
    (head.number, head.hash)
}

fn seconds(time: UnixTime) -> u64 {
    u64::try_from(time.0).unwrap_or(0)
}

fn request_key(contact: &MeterContact) -> [u8; 32] {
    schema::done_key("meter", &contact.account.to_be_bytes(), &contact.idempotency)
}

/// Returns the hash by which a repeated request is recognized: its operation and its body.
fn digest(kind: ReceiptKind, contact: &MeterContact) -> [u8; 32] {
    let kind = match kind {
        ReceiptKind::License => "license",
        ReceiptKind::Clearing => "clearing",
        ReceiptKind::Checkpoint => "checkpoint",
    };
    schema::done_key(kind, &contact.account.to_be_bytes(), &contact.body.to_string())
}
