//! The agency's side of the bank: licences, clearing, checkpoints. Requests are signed with the key of a licence, and
//! nothing of an answer is believed before the agency's signature holds.

use super::error::BankError;
use super::handle::Bank;
use super::request::{Journal, Journalled, Outcome};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Head;
use crate::accounting::meter;
use crate::config::paths::PathsError;
use crate::context::Context;
use crate::context::error::Deferral;
use crate::directory::key_directory::Directory;
use crate::directory::pinned::{self, FolderError};
use crate::directory::signing_key::{SecretError, SigningKey};
use crate::os::{file_lock, random, safe_open};
use crate::sender::account::{Account, AccountError, Accounts};
use crate::sender::error::SupplyError;
use crate::sender::vendor_client::{self, ReceiptError};
use crate::stamp::token::{Issuer, Token};
use crate::time::UnixTime;
use crate::vendor_api::meters::{
    CheckpointRequest, ClearingRequest, LicenseRequest, MAX_TOKENS, MeterReceipt, OpenPayment, RECEIPT_MAX,
    ReceiptKind, SignedRequest,
};
use crate::vendor_api::operation::Operation;
use crate::verdict::facts::{KeyDirectory, KeyFact, KeyStatus};
use rustix::fs::OFlags;
use std::fs::File;
use std::io;
use std::time::Duration;

/// How long closed payments and tokens are kept after their end, in seconds: 30 days.
const REMEMBERED: i64 = 30 * 86_400;
/// Days of the licence that accepts a restored bank.
const RESTORED_DAYS: u32 = 1;
/// How long another process may ask the agency.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// Codes of the agency by which a licence is refused, and nothing was done.
const FINAL: [&str; 9] = [
    "account-closed",
    "bank-behind",
    "body",
    "form",
    "funds",
    "key-reused",
    "license-limit",
    "many-licenses",
    "meters-off",
];

/// The agency of a bank.
#[allow(missing_debug_implementations, reason = "the directory has none")]
pub struct Agency<'a> {
    pub bank: &'a Bank,
    pub account: &'a Account,
    /// Keys of the vendors that the user trusts; the agency is one.
    pub directory: &'a dyn KeyDirectory,
    /// Timeout of a request.
    pub timeout: Duration,
}

/// Reasons why the agency was not asked, or why its answer is not booked.
#[derive(Debug, thiserror::Error)]
pub enum AgencyError {
    #[error(transparent)]
    Bank(#[from] BankError),
    #[error(transparent)]
    Vendor(#[from] SupplyError),
    #[error(transparent)]
    Key(#[from] SecretError),
    /// The clock is wrong.
    #[error(transparent)]
    Context(#[from] Deferral),
    /// Another process asks the agency.
    #[error("another process is asking the agency; waited {} s", LOCK_TIMEOUT.as_secs())]
    Busy,
    #[error("the lock of the bank's agency: {0}")]
    Lock(io::Error),
    /// A folder is not there.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The account cannot be read.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The keys of vendors cannot be read.
    #[error(transparent)]
    Directory(#[from] FolderError),
    /// The account is not at the agency of the bank.
    #[error("account {account:?} is at {vendor:?}, and the bank is at {agency:?}")]
    OtherAgency { account: String, vendor: String, agency: String },
    /// The bank is an older copy of itself, or entries were removed from it.
    #[error("the bank ends with entry {own}, and {agency} has seen {last}: the file is an older copy, or was changed")]
    Behind { agency: String, own: String, last: String },
    /// No licence of which the key is here is in force at the agency.
    #[error("no licence is in force, so that no request can be signed")]
    NoLicense,
    /// The agency refuses the key of a licence that is in force in the books.
    #[error("{agency} refuses the key of licence {kid}: the licence was revoked or closed there")]
    Unlicensed { agency: String, kid: String },
    /// The clocks of both sides are too far apart for the agency.
    #[error("it is {own} here, and {theirs} at {agency}: the clocks are more than 5 minutes apart")]
    Clock { agency: String, own: UnixTime, theirs: UnixTime },
    /// The agency's key is not known, so that its answer is not believed.
    #[error("key {kid:?} of {agency} is not among the keys of vendors that you trust")]
    Untrusted { agency: String, kid: String },
    /// The answer is not what was asked for.
    #[error("answer of {agency}: {what}")]
    Answer { agency: String, what: String },
    /// Another request was unanswered, and was answered now.
    #[error("an earlier request was completed first; run the command again")]
    Earlier,
    #[error("no random numbers from the system: {0}")]
    Random(std::io::Error),
}

/// The account at the agency, and the keys of trusted vendors, as their files have them.
#[allow(missing_debug_implementations, reason = "the account has a secret")]
pub struct AgencyFiles {
    pub account: Account,
    pub directory: Directory,
    timeout: Duration,
    /// Held while the agency is asked.
    _lock: File,
}

impl AgencyFiles {
    /// Reads the files for the bank, at the context's time. No other process asks the agency until the result is dropped:
    /// requests that overtake each other would make the bank an older copy in the agency's eyes.
    ///
    /// # Errors
    /// [`AgencyError`]: the clock is wrong, a file cannot be used, or another process is asking for too long.
    pub fn read(context: &Context, bank: &Bank) -> Result<Self> {
        context.is_clock_right()?;
        let account = Accounts::new(context.places.state()?).get(&bank.balance()?.account)?;
        let lock = safe_open::file(&bank.path().with_file_name("agency.lock"), OFlags::RDWR | OFlags::CREATE);
        let lock = lock.map_err(io::Error::from).and_then(|lock| file_lock::lock_within(lock, LOCK_TIMEOUT));
        let lock = lock.map_err(AgencyError::Lock)?.ok_or(AgencyError::Busy)?;
        let directory = pinned::read(context.places.vendors()?, context.places.directories.as_deref(), context.now)?;
        Ok(Self { account, directory: directory.directory, timeout: context.config.sender.timeout, _lock: lock })
    }

    /// Returns the agency of the bank.
    #[must_use]
    pub fn agency<'a>(&'a self, bank: &'a Bank) -> Agency<'a> {
        Agency { bank, account: &self.account, directory: &self.directory, timeout: self.timeout }
    }
}

type Result<T, E = AgencyError> = std::result::Result<T, E>;
/// A verified receipt and its text, or an error with the agency's code, if it refused.
type Answer = Result<(MeterReceipt, String), (AgencyError, Option<String>)>;

impl Agency<'_> {
    /// Licenses a new key for up to `limit` credits, and returns the name of the licence. A request that was not
    /// answered is repeated first.
    ///
    /// # Errors
    /// [`AgencyError::Earlier`] when that was another one.
    pub fn license(&self, limit: u64, days: u32, now: UnixTime) -> Result<(String, Outcome)> {
        let (request, signer) = self.license_request(limit, days, false)?;
        // The key is kept before the request is: a licence without its key would be of no use.
        if !matches!(self.bank.journalled()?, Some(Journalled { kind: Journal::License { .. }, .. })) {
            self.bank.keep_key(&signer)?;
        }
        let mut pending = self.bank.begin_license(request.clone(), false, now)?;
        if matches!(pending.kind, Journal::Clearing { .. }) {
            match self.send(&pending, now) {
                // No key can sign it again: it goes on after the new licence.
                Err(AgencyError::Unlicensed { .. }) => pending = self.bank.begin_license(request, true, now)?,
                sent => return sent.and(Err(AgencyError::Earlier)),
            }
        }
        let is_same = |it: &Journalled| {
            it.license().is_some_and(|it| !it.accept_restored && it.limit == limit && it.days == days)
        };
        let Journal::License { kid, .. } = &pending.kind else { return Err(AgencyError::Earlier) };
        let outcome = self.send(&pending, now)?;
        if is_same(&pending) { Ok((kid.clone(), outcome)) } else { Err(AgencyError::Earlier) }
    }

    /// Returns a request for a licence of a new key, and the key.
    fn license_request(&self, limit: u64, days: u32, accept_restored: bool) -> Result<(Journalled, SigningKey)> {
        let agency = self.name()?;
        let unnamed = SigningKey::generate(named(&agency, "new")?)?;
        let public = unnamed.key.public();
        let kid = meter::key_name(&public);
        let request = LicenseRequest { key: public.to_string(), limit, days, accept_restored };
        let signer = SigningKey { issuer: named(&agency, &kid)?, key: unnamed.key };
        let kind = Journal::License { kid, key: public, limit };
        Ok((Journalled { kind, key: idempotency_key()?, body: body(&request) }, signer))
    }

    /// Hands in what was received, asks for the payments that are open, and books the state of the account. A request
    /// that was not answered is repeated first.
    ///
    /// Closed payments and tokens that ended 30 days before `forget` are removed.
    pub fn clear(&self, now: UnixTime, forget: Option<UnixTime>) -> Result<Outcome> {
        let mut sum = Outcome::default();
        if let Some(pending) = self.bank.journalled()? {
            sum.add(self.send(&pending, now)?);
        }
        loop {
            let body = |tokens| body(&ClearingRequest { tokens });
            let Some(pending) = self.bank.begin_clearing(idempotency_key()?, MAX_TOKENS, body, now)? else { break };
            sum.add(self.send(&pending, now)?);
        }
        let open = self.bank.open_payments()?;
        let mut rest = open.as_slice();
        loop {
            let (part, after) = rest.split_at(rest.len().min(MAX_TOKENS));
            sum.add(self.checkpoint(part, None, now)?);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        if let Some(forget) = forget {
            self.bank.forget(forget.plus(-REMEMBERED), now)?;
        }
        Ok(sum)
    }

    /// Tells the agency that the bank was restored from a copy, and ends every licence of before.
    ///
    /// Where no key is left that could say so, the request for a licence of nothing does, and its key is the next one.
    pub fn accept_restored(&self, now: UnixTime) -> Result<Outcome> {
        if let Some(pending) = self.bank.journalled()?.filter(Journalled::accepts_restored) {
            return self.send(&pending, now);
        }
        if let Some(signer) = self.any_signer(now)? {
            return self.checkpoint(&[], Some(&signer), now);
        }
        let (request, signer) = self.license_request(0, RESTORED_DAYS, true)?;
        self.bank.keep_key(&signer)?;
        let pending = self.bank.begin_license(request, true, now)?;
        self.send(&pending, now)
    }

    /// Asks for the state of the account, and of these open payments. `restored` is the key that accepts the bank.
    fn checkpoint(&self, open: &[(Hash, UnixTime)], restored: Option<&SigningKey>, now: UnixTime) -> Result<Outcome> {
        let open =
            open.iter().map(|(payment, until)| OpenPayment { payment: payment.to_string(), until: until.to_string() });
        let request = CheckpointRequest { open: open.collect(), accept_restored: restored.is_some() };
        let (key, body) = (idempotency_key()?, body(&request));
        let ask =
            |signer: &SigningKey| self.ask(Operation::Checkpoint, ReceiptKind::Checkpoint, &key, &body, signer, now);
        let answer = restored.map_or_else(|| self.signed(now, ask), ask);
        let (receipt, text) = answer.map_err(|it| it.0)?;
        Ok(self.bank.checked(request, receipt, text, now)?)
    }

    /// Sends a journalled request and books its answer.
    fn send(&self, pending: &Journalled, now: UnixTime) -> Result<Outcome> {
        let ask =
            |operation, kind, signer: &SigningKey| self.ask(operation, kind, &pending.key, &pending.body, signer, now);
        let answer = match &pending.kind {
            Journal::License { kid, .. } => ask(Operation::License, ReceiptKind::License, &self.bank.license_key(kid)?),
            Journal::Clearing { .. } => self.signed(now, |signer| ask(Operation::Clear, ReceiptKind::Clearing, signer)),
        };
        match answer {
            Ok((receipt, text)) => Ok(self.bank.answered(&pending.key, receipt, text, now)?.unwrap_or_default()),
            Err((error, problem)) => {
                if problem.is_some_and(|problem| FINAL.contains(&problem.as_str())) {
                    self.bank.abandon_license(&pending.key, now)?;
                }
                Err(error)
            }
        }
    }

    /// Signs a request, sends it, and verifies the receipt. An error comes with the agency's code, if it refused.
    fn ask(
        &self,
        operation: Operation,
        kind: ReceiptKind,
        key: &str,
        body: &str,
        signer: &SigningKey,
        now: UnixTime,
    ) -> Answer {
        let agency = self.name().map_err(|error| (error, None))?;
        let bank = self.bank.balance().map_err(|error| (error.into(), None))?.head;
        let digest = Hash::of(body.as_bytes());
        let request = SignedRequest { body: digest, key: key.to_owned(), at: now, bank };
        let signature = request.sign(operation, &signer.issuer, &signer.key);
        let answer = vendor_client::receipt(self.account, operation, key, body, signature.as_str(), self.timeout);
        let text = answer.map_err(|refused| {
            let problem = refused.problem.as_deref().map(String::from);
            (refusal(agency.clone(), bank, signer.issuer.key_id(), now, refused), problem)
        })?;
        let receipt = self.verified(&agency, &text).map_err(|error| (error, None))?;
        let is_right = receipt.receipt == kind
            && receipt.vendor == agency
            && receipt.key == key
            && receipt.request == digest.to_string();
        if is_right {
            Ok((receipt, text))
        } else {
            let what = "a receipt of another request".to_owned();
            Err((AgencyError::Answer { agency, what }, None))
        }
    }

    /// Reads a receipt whose signature holds.
    fn verified(&self, agency: &str, text: &str) -> Result<MeterReceipt> {
        let wrong = |what: &str| AgencyError::Answer { agency: agency.to_owned(), what: what.to_owned() };
        let token = Token::parse_document(text, RECEIPT_MAX).map_err(|error| wrong(&error.to_string()))?;
        let issuer = token.issuer().map_err(|error| wrong(&error.to_string()))?;
        if issuer.vendor() != agency {
            return Err(wrong("a receipt of another vendor"));
        }
        let untrusted = || AgencyError::Untrusted { agency: agency.to_owned(), kid: issuer.key_id().to_owned() };
        let KeyFact::Known(known) = self.directory.key(&issuer) else { return Err(untrusted()) };
        if matches!(known.status, KeyStatus::Revoked { .. }) {
            return Err(untrusted());
        }
        MeterReceipt::verify(text, &known.key).ok_or_else(|| wrong("a receipt whose signature is invalid"))
    }

    /// Returns the name of the agency, which must be that of the account.
    fn name(&self) -> Result<String> {
        let agency = self.bank.balance()?.agency;
        if agency == self.account.vendor {
            return Ok(agency);
        }
        let (account, vendor) = (self.account.name.clone(), self.account.vendor.clone());
        Err(AgencyError::OtherAgency { account, vendor, agency })
    }

    /// Asks with the key of the licence that lasts longest, or with the next one where the agency refuses a key.
    ///
    /// The refusal is not signed, so it ends no licence in the books: the answer to another key does.
    fn signed(&self, now: UnixTime, ask: impl Fn(&SigningKey) -> Answer) -> Answer {
        let unsent = |error| (error, None);
        let licenses = self.bank.balance().map_err(|error| unsent(error.into()))?.licenses;
        let mut live: Vec<_> = licenses.into_iter().map(|it| it.license).filter(|it| it.signs_at(now)).collect();
        live.sort_by_key(|it| std::cmp::Reverse(it.until));
        let mut refused = unsent(AgencyError::NoLicense);
        for license in live {
            let signer = self.bank.license_key(&license.kid).map_err(|error| unsent(error.into()))?;
            match ask(&signer) {
                Err((error @ AgencyError::Unlicensed { .. }, problem)) => refused = (error, problem),
                answer => return answer,
            }
        }
        Err(refused)
    }

    /// Returns the key of any licence that is in force at the agency, also one that the bank does not know.
    fn any_signer(&self, now: UnixTime) -> Result<Option<SigningKey>> {
        let said = vendor_client::licenses(self.account, self.timeout)?;
        let live = said
            .licenses
            .iter()
            .filter(|it| it.revoked.is_none() && UnixTime::from_rfc3339(&it.until).is_ok_and(|until| until > now));
        Ok(live.filter_map(|it| self.bank.license_key(&it.kid).ok()).next())
    }
}

/// Returns the error of a request that the agency refused, from a bank with this head, by this key, at this time.
fn refusal(agency: String, bank: Head, kid: &str, own: UnixTime, refused: ReceiptError) -> AgencyError {
    let ReceiptError { error, problem, reason, last, now } = refused;
    match (problem.as_deref(), reason.as_deref(), last, now) {
        (Some("bank-behind"), _, Some(last), _) => {
            AgencyError::Behind { agency, own: bank.to_string(), last: last.into() }
        }
        (Some("meter-request"), Some("key"), ..) => AgencyError::Unlicensed { agency, kid: kid.to_owned() },
        (Some("meter-request"), Some("time"), _, Some(theirs)) => AgencyError::Clock { agency, own, theirs },
        _ => (*error).into(),
    }
}

fn named(agency: &str, kid: &str) -> Result<Issuer> {
    Issuer::new(agency, kid).map_err(|error| AgencyError::Answer { agency: agency.to_owned(), what: error.to_string() })
}

fn body(request: &impl serde::Serialize) -> String {
    // Every request can be serialized.
    serde_json::to_string(request).unwrap_or_default()
}

/// Returns 128 random bits as text.
fn idempotency_key() -> Result<String> {
    let mut bytes = [0; 16];
    random::fill(&mut bytes).map_err(AgencyError::Random)?;
    Ok(data_encoding::BASE64URL_NOPAD.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor_api::meters::RequestProblem;

    #[test]
    fn every_reason_against_a_signed_request_is_said() {
        use RequestProblem::{Body, Forged, IdempotencyKey, Key, Malformed, Missing, OtherAgency, Path, Time};
        let words = |reason| match reason {
            Key => "the licence was revoked or closed there",
            Time => "the clocks are more than 5 minutes apart",
            Missing | Malformed | OtherAgency | Forged | Path | Body | IdempotencyKey => "so it is",
        };
        for reason in [Missing, Malformed, OtherAgency, Key, Forged, Path, Body, IdempotencyKey, Time] {
            let word = serde_json::to_value(reason).unwrap();
            let refused = ReceiptError {
                error: Box::new(SupplyError::Refused { account: "joe".into(), detail: "so it is".into() }),
                problem: Some("meter-request".into()),
                reason: word.as_str().map(Box::from),
                last: None,
                now: Some(UnixTime(0)),
            };
            let error = refusal("stamps.example".into(), Head::EMPTY, "m1", UnixTime(600), refused).to_string();
            assert!(error.ends_with(words(reason)) && !error.contains("reached"), "{error}");
        }
    }
}
