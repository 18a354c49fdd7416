//! Ledger for callers: one method for each operation.
//!
//! - Every method blocks, and its result is durable before it returns.
//! - Any number of threads may call at once; their concurrent writes share one commit.
//! - One process has the ledger open at a time. A process that finds it locked sends its requests to that one, over a
//!   socket in the folder ([`Ledger::connect`]), so commands work while the service runs.
//! - The time is an argument.

use super::address_proof;
use super::backend::LocalLedger;
use super::client;
use super::error::LedgerError;
use super::files::{self, LedgerPaths};
use super::model::{Account, ApiKey, Day, KeyRecord, Profile, Receipt, StampRecord, Standing, Summary};
use super::payment;
use super::rejection::Rejection;
use super::request::{Request, Response};
use super::signing_keys::{self, Signers};
use crate::accounting::event::{KeyState, Terms};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::{Entry, Head};
use crate::accounting::money::Money;
use crate::accounting::order::OwnCaps;
use crate::directory::signing_key::SigningKey;
use crate::net::sendmail::SendError;
use crate::stamp::serial::Serial;
use crate::stamp::token::Issuer;
use crate::time::UnixTime;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use zeroize::Zeroizing;

type Result<T, E = LedgerError> = std::result::Result<T, E>;

/// An account's number.
pub type AccountId = u64;

/// Parameters of a new ledger.
#[derive(Clone, Debug)]
pub struct LedgerParams {
    /// The vendor's name, a domain.
    pub vendor: String,
    /// The name of the first signing key.
    pub kid: String,
    pub terms: Terms,
}

/// The ledger. Clones share it.
#[derive(Clone, Debug)]
pub struct Ledger {
    backend: Backend,
    shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
enum Backend {
    /// This process has the ledger open.
    Local(Arc<LocalLedger>),
    /// Another process has it open, and listens.
    Remote,
}

#[derive(Debug)]
struct Shared {
    place: LedgerPaths,
    signers: Signers,
    vendor: OnceLock<String>,
}

/// Unpacks the expected answer; any other is a bug of the other process.
macro_rules! answer {
    ($ledger:expr, $request:expr, $now:expr, $pattern:pat => $value:expr) => {
        match $ledger.ask($request, $now)? {
            $pattern => Ok($value),
            other => Err(unexpected(&other)),
        }
    };
}

pub(super) use answer;

/// Time of requests that do not depend on it.
const ANY_TIME: UnixTime = UnixTime(0);

impl Ledger {
    /// Creates a ledger in `folder` with a new signing key. A missing folder is created (0700).
    ///
    /// # Errors
    /// [`LedgerError::Exists`], a rejection of malformed names, or errors of the system.
    pub fn create(folder: &Path, founding: &LedgerParams, now: UnixTime) -> Result<Self> {
        let named =
            |error: &dyn std::fmt::Display| Rejection::Form { what: "vendor or key".into(), wanted: error.to_string() };
        Issuer::new(&founding.vendor, &founding.kid).map_err(|error| named(&error))?;
        let place = LedgerPaths::create(folder)?;
        if !place.ledger().exists() {
            // Only before there is a ledger: a file that was left may be another vendor's key.
            signing_keys::make(&place, &founding.vendor, &founding.kid)?;
        }
        let ledger = Self::here(LocalLedger::create(&place, &founding.vendor, now)?, place);
        ledger.set_terms(founding.terms.clone(), now)?;
        ledger.rotate(&founding.kid, now)?;
        Ok(ledger)
    }

    /// Opens the ledger of `folder` for the service, and waits at most `wait` while another process has it.
    ///
    /// Uses a page cache of 64 MiB.
    ///
    /// # Errors
    /// [`LedgerError::Absent`], [`LedgerError::Busy`], [`LedgerError::Served`] and others.
    pub fn open(folder: &Path, wait: Duration) -> Result<Self> {
        let place = LedgerPaths::existing(folder)?;
        let core = place.wait(wait, || match LocalLedger::try_open(&place)? {
            // Another service has it until it is stopped.
            None if client::is_running(&place) => Err(LedgerError::Served { path: place.folder().to_owned() }),
            core => Ok(core),
        })?;
        Ok(Self::here(core, place))
    }

    /// Opens the ledger, or connects to the process that has it: for commands.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn connect(folder: &Path, wait: Duration) -> Result<Self> {
        let place = LedgerPaths::existing(folder)?;
        let way = place.wait(wait, || match LocalLedger::try_open(&place)? {
            Some(core) => Ok(Some(Backend::Local(Arc::new(core)))),
            None => Ok(client::is_running(&place).then_some(Backend::Remote)),
        })?;
        Ok(Self { backend: way, shared: Arc::new(Shared::new(place)) })
    }

    fn here(core: LocalLedger, place: LedgerPaths) -> Self {
        Self { backend: Backend::Local(Arc::new(core)), shared: Arc::new(Shared::new(place)) }
    }

    /// Serves other processes over the socket `ledger.socket` (0600) until the last clone is dropped.
    ///
    /// Without it, commands wait and then report that the ledger is in use.
    pub fn listen(&self) -> Result<()> {
        match &self.backend {
            Backend::Local(core) => LocalLedger::listen(core, &self.shared.place),
            Backend::Remote => {
                Err(LedgerError::Busy { path: self.shared.place.folder().to_owned(), waited: Duration::ZERO })
            }
        }
    }

    /// Returns whether another process serves the ledger.
    #[must_use]
    pub fn served(&self) -> bool {
        matches!(self.backend, Backend::Remote)
    }

    /// Sends a request. The other methods pack and unpack it.
    pub fn ask(&self, request: Request, now: UnixTime) -> Result<Response> {
        match &self.backend {
            Backend::Local(core) => core.ask(request, now),
            Backend::Remote => client::ask(&self.shared.place, &request, now)?.ok_or(LedgerError::Left),
        }
    }

    /// Returns the vendor's name, terms and keys.
    pub fn profile(&self) -> Result<Profile> {
        answer!(self, Request::Profile, ANY_TIME, Response::Profile(profile) => *profile)
    }

    /// Returns the vendor's name.
    pub fn vendor(&self) -> Result<&str> {
        if let Some(vendor) = self.shared.vendor.get() {
            return Ok(vendor);
        }
        let vendor = self.profile()?.vendor;
        Ok(self.shared.vendor.get_or_init(|| vendor))
    }

    /// Returns the revoked serials that need not be published any more, since their stamps have expired.
    pub fn ended_serials(&self, now: UnixTime) -> Result<Vec<Serial>> {
        answer!(self, Request::EndedSerials, now, Response::Serials { serials } => serials)
    }

    /// Returns every serial that was revoked or refunded.
    pub fn revoked_serials(&self) -> Result<Vec<Serial>> {
        answer!(self, Request::RevokedSerials, ANY_TIME, Response::Serials { serials } => serials)
    }

    /// Sets the terms of sales from now on.
    pub fn set_terms(&self, terms: Terms, now: UnixTime) -> Result<()> {
        answer!(self, Request::SetTerms { terms }, now, Response::Done => ())
    }

    /// Creates a new signing key in a file of its own.
    ///
    /// The key is published, and does not sign before [`rotate`](Self::rotate).
    ///
    /// # Errors
    /// [`Rejection::SigningKey`] when a key of this name exists.
    pub fn prepare(&self, kid: &str, now: UnixTime) -> Result<()> {
        self.new_key(kid, KeyState::Prepared, now)
    }

    /// Makes the key of this name sign from now on, and creates it unless it was prepared.
    ///
    /// The previous key only verifies.
    ///
    /// # Errors
    /// [`Rejection::SigningKey`] when a key of this name exists that was not only prepared.
    pub fn rotate(&self, kid: &str, now: UnixTime) -> Result<()> {
        self.new_key(kid, KeyState::Active, now)
    }

    fn new_key(&self, kid: &str, state: KeyState, now: UnixTime) -> Result<()> {
        let key = match self.keys()?.into_iter().find(|key| key.kid == kid) {
            None => signing_keys::make(&self.shared.place, self.vendor()?, kid)?,
            Some(key) if key.state == KeyState::Prepared && state == KeyState::Active => {
                // Without its file nothing could be signed.
                self.signer(kid)?.key.public()
            }
            Some(_) => {
                let problem = "a key of this name exists already; a new key needs a new name".to_owned();
                return Err(Rejection::SigningKey { kid: kid.to_owned(), problem }.into());
            }
        };
        answer!(self, Request::SetKey { kid: kid.to_owned(), key, state }, now, Response::Done => ())
    }

    /// Revokes a signing key, or makes one that is not active verify only.
    ///
    /// # Errors
    /// [`Rejection::SigningKey`].
    pub fn set_key_state(&self, kid: &str, state: KeyState, now: UnixTime) -> Result<()> {
        let key = self.key(kid)?;
        answer!(self, Request::SetKey { kid: key.kid, key: key.key, state }, now, Response::Done => ())
    }

    /// Returns the signing key of this name.
    ///
    /// # Errors
    /// [`Rejection::SigningKey`] when there is none.
    pub fn key(&self, kid: &str) -> Result<KeyRecord> {
        let problem = "there is no key of this name".to_owned();
        let unknown = || Rejection::SigningKey { kid: kid.to_owned(), problem };
        Ok(self.keys()?.into_iter().find(|key| key.kid == kid).ok_or_else(unknown)?)
    }

    /// Returns a version for the next publication of the directory.
    ///
    /// It is above all earlier ones, and at least the current time in seconds.
    pub(super) fn next_version(&self, now: UnixTime) -> Result<u64> {
        answer!(self, Request::NextVersion, now, Response::Count { count } => count)
    }

    pub(super) fn keys(&self) -> Result<Vec<KeyRecord>> {
        Ok(self.profile()?.keys)
    }

    /// Opens an account.
    ///
    /// `name` is 1 to 64 of `[a-z0-9._-]` and not digits alone, the contact up to 254 printable characters.
    ///
    /// # Errors
    /// [`Rejection::AccountExists`], [`Rejection::Form`].
    pub fn open_account(&self, name: &str, contact: &str, caps: Option<OwnCaps>, now: UnixTime) -> Result<Account> {
        let request = Request::OpenAccount { name: name.to_owned(), contact: contact.to_owned(), caps };
        answer!(self, request, now, Response::Account(account) => account)
    }

    /// Changes the contact or the account's own caps, where given (`Some(None)` removes the caps).
    ///
    /// # Errors
    /// [`Rejection::NoAccount`], [`Rejection::Form`].
    pub fn change_account(
        &self,
        account: AccountId,
        contact: Option<String>,
        caps: Option<Option<OwnCaps>>,
        now: UnixTime,
    ) -> Result<()> {
        if let Some(contact) = contact {
            answer!(self, Request::SetContact { account, contact }, now, Response::Done => ())?;
        }
        if let Some(caps) = caps {
            answer!(self, Request::SetCaps { account, caps }, now, Response::Done => ())?;
        }
        Ok(())
    }

    /// Closes an account: it no longer buys or deposits, its API keys are invalid, and its credits can be paid out.
    ///
    /// With `revoke`, every stamp that it bought and that was not taken back is revoked. Returns how many.
    ///
    /// # Errors
    /// [`Rejection::NoAccount`].
    pub fn close_account(&self, account: AccountId, revoke: bool, now: UnixTime) -> Result<u64> {
        answer!(self, Request::CloseAccount { account, revoke }, now, Response::Count { count } => count)
    }

    /// Returns an account and its balance.
    ///
    /// # Errors
    /// [`Rejection::NoAccount`].
    pub fn account(&self, account: AccountId, now: UnixTime) -> Result<Standing> {
        answer!(self, Request::Account { account }, now, Response::Standing(standing) => *standing)
    }

    /// Returns the account of this name.
    ///
    /// # Errors
    /// [`Rejection::NoAccount`].
    pub fn account_named(&self, name: &str, now: UnixTime) -> Result<Standing> {
        answer!(self, Request::AccountNamed { name: name.to_owned() }, now, Response::Standing(standing) => *standing)
    }

    /// Returns up to `most` accounts (10,000 at most) with numbers above `after`.
    pub fn accounts(&self, after: AccountId, most: u32, now: UnixTime) -> Result<Vec<Standing>> {
        answer!(self, Request::Accounts { after, most }, now, Response::Accounts { accounts } => accounts)
    }

    /// Creates an API key and returns its text, which is shown only once.
    ///
    /// The text is `msk_` and 43 characters of base64url (256 random bits). The ledger keeps its SHA-256.
    ///
    /// # Errors
    /// [`Rejection::NoAccount`], [`Rejection::AccountClosed`], [`Rejection::Form`] (a label of up to 64 printable
    /// characters).
    pub fn add_api_key(&self, account: AccountId, label: &str, now: UnixTime) -> Result<(Zeroizing<String>, ApiKey)> {
        let text = payment::new_api_key()?;
        let request = Request::AddApiKey { account, label: label.to_owned(), hash: Hash::of(text.as_bytes()) };
        answer!(self, request, now, Response::ApiKey(key) => (text, key))
    }

    /// Returns the API keys of an account, also the revoked ones.
    pub fn api_keys(&self, account: AccountId) -> Result<Vec<ApiKey>> {
        answer!(self, Request::ApiKeys { account }, ANY_TIME, Response::ApiKeys { keys } => keys)
    }

    /// Revokes an API key.
    ///
    /// # Errors
    /// [`Rejection::NoApiKey`].
    pub fn revoke_api_key(&self, account: AccountId, id: &str, now: UnixTime) -> Result<()> {
        answer!(self, Request::RevokeApiKey { account, id: id.to_owned() }, now, Response::Done => ())
    }

    /// Returns the open account of this API key.
    ///
    /// The lookup uses a SHA-256 of 256 random bits, so its time tells nothing about other keys.
    ///
    /// # Errors
    /// [`Rejection::NoApiKey`] for any text without an open account, whatever the reason.
    pub fn authenticate(&self, key: &str, now: UnixTime) -> Result<Account> {
        answer!(self, Request::Opens { hash: Hash::of(key.as_bytes()) }, now, Response::Account(account) => account)
    }

    /// Adds bought credits to an account, at the price of the terms unless `cost` is given.
    ///
    /// Books each reference once; the same purchase again returns the earlier booking (`again`).
    ///
    /// # Errors
    /// [`Rejection::KeyReused`] when the reference was used for something else.
    pub fn credit(
        &self,
        account: AccountId,
        credits: u64,
        cost: Option<Money>,
        reference: &str,
        now: UnixTime,
    ) -> Result<Receipt> {
        let request = Request::Credit { account, credits, cost, reference: reference.to_owned() };
        answer!(self, request, now, Response::Booked(booked) => booked)
    }

    /// Creates a voucher and returns its code, which is shown only once (160 random bits in groups of base32).
    ///
    /// # Errors
    /// [`Rejection::Range`].
    pub fn make_voucher(&self, credits: u64, cost: Option<Money>, now: UnixTime) -> Result<Zeroizing<String>> {
        let (code, voucher) = payment::new_code()?;
        answer!(self, Request::MakeVoucher { voucher, credits, cost }, now, Response::Head(_) => code)
    }

    /// Returns the remaining value of a voucher.
    ///
    /// # Errors
    /// [`Rejection::NoVoucher`].
    pub fn voucher(&self, voucher: Hash) -> Result<u64> {
        answer!(self, Request::Voucher { voucher }, ANY_TIME, Response::Count { count } => count)
    }

    /// Adds the remaining value of a voucher to an account.
    ///
    /// # Errors
    /// [`Rejection::NoVoucher`].
    pub fn take_voucher(&self, account: AccountId, code: &str, now: UnixTime) -> Result<Receipt> {
        let voucher = payment::code_hash(code).ok_or(Rejection::NoVoucher)?;
        answer!(self, Request::TakeVoucher { account, voucher }, now, Response::Booked(booked) => booked)
    }

    /// Mails a code to an address, or to the postmaster of a domain, through `sendmail`.
    ///
    /// `sendmail` is a program with the options of sendmail(8). The code is valid for a day and for five attempts. The
    /// next one is sent after ten minutes at the earliest, and the number in a day is limited. A code that could not be
    /// sent does not count.
    ///
    /// # Errors
    /// [`Rejection::CodeWaiting`], [`Rejection::ManyCodes`], [`Rejection::Form`], [`LedgerError::Mail`].
    pub fn send_code(&self, account: AccountId, subject: &str, sendmail: &Path, now: UnixTime) -> Result<()> {
        let (code, _) = payment::new_code()?;
        let code: Zeroizing<String> = Zeroizing::new(code.chars().take(address_proof::CODE_LENGTH).collect());
        let letter = address_proof::verification_mail(self.vendor()?, subject, &code, now)?;
        let hash = address_proof::code_hash(&code);
        answer!(self, Request::AskCode { account, subject: subject.to_owned(), hash }, now, Response::Done => ())?;
        let Err(error) = letter.send(sendmail) else { return Ok(()) };
        // After a timeout the message may have been sent.
        if !matches!(error, SendError::TimeOut(_)) {
            let request = Request::TakeBackCode { account, subject: subject.to_owned(), hash };
            answer!(self, request, now, Response::Done => ())?;
        }
        Err(address_proof::not_sent(sendmail, &error))
    }

    /// Checks the code. If it is right, the account becomes the only owner of the address or domain.
    ///
    /// # Errors
    /// [`Rejection::NoCode`], [`Rejection::WrongCode`].
    pub fn confirm_code(&self, account: AccountId, subject: &str, code: &str, now: UnixTime) -> Result<()> {
        let hash = address_proof::code_hash(code);
        match self.ask(Request::TellCode { account, subject: subject.to_owned(), hash }, now)? {
            Response::Done => Ok(()),
            Response::Count { count } => {
                let left = u8::try_from(count).unwrap_or(u8::MAX);
                Err(Rejection::WrongCode { subject: subject.to_owned(), left }.into())
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Makes an account the owner of an address or a domain, by decision of the operator.
    ///
    /// # Errors
    /// [`Rejection::NoAccount`], [`Rejection::Form`].
    pub fn own(&self, account: AccountId, subject: &str, now: UnixTime) -> Result<()> {
        answer!(self, Request::Own { account, subject: subject.to_owned() }, now, Response::Done => ())
    }

    /// Removes the ownership of an address or a domain.
    pub fn release_ownership(&self, account: AccountId, subject: &str, now: UnixTime) -> Result<()> {
        answer!(self, Request::Disown { account, subject: subject.to_owned() }, now, Response::Done => ())
    }

    /// Returns the record of a serial.
    pub fn stamp(&self, serial: &Serial) -> Result<Option<StampRecord>> {
        answer!(self, Request::Stamp { serial: serial.clone() }, ANY_TIME, Response::Stamp { stamp } => stamp)
    }

    /// Returns the last entries of an account, newest first.
    ///
    /// Returns up to `most` (10,000 at most) with numbers below `before` (`u64::MAX` to begin).
    pub fn history(&self, account: AccountId, before: u64, most: u32) -> Result<Vec<Entry>> {
        answer!(self, Request::History { account, before, most }, ANY_TIME, Response::Entries { entries } => entries)
    }

    /// Returns what the account did, day by day, since the day `from` (days since 1970). Days without any entry are
    /// left out.
    pub fn days(&self, account: AccountId, from: i64) -> Result<Vec<Day>> {
        answer!(self, Request::Days { account, from }, ANY_TIME, Response::Days { days } => days)
    }

    /// Returns up to `most` entries (10,000 at most) with numbers above `after`.
    pub fn entries(&self, after: u64, most: u32) -> Result<Vec<Entry>> {
        answer!(self, Request::Entries { after, most }, ANY_TIME, Response::Entries { entries } => entries)
    }

    /// Returns sizes, balances and the head of the chain; cheap, for metrics.
    pub fn summary(&self) -> Result<Summary> {
        answer!(self, Request::Summary, ANY_TIME, Response::Summary(summary) => summary)
    }

    /// Checks that the ledger answers, stamps can be signed, and the last write succeeded.
    ///
    /// # Errors
    /// [`LedgerError::Left`] for a minute after a failure, unless a write succeeded since.
    pub fn well(&self) -> Result<()> {
        self.active_signer()?;
        match &self.backend {
            Backend::Local(core) if core.failed() => Err(LedgerError::Left),
            _ => Ok(()),
        }
    }

    /// Recomputes everything from the entries, and compares. With `since`, also checks that the chain contains that
    /// head.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger cannot be read. The report lists what is wrong with it.
    pub fn audit(&self, since: Option<Head>) -> Result<super::audit::Report> {
        answer!(self, Request::Audit { since }, ANY_TIME, Response::Audit(report) => report)
    }

    /// Writes a consistent copy to a new file (0600) while others write, and returns its head.
    ///
    /// The process that has the ledger writes the file, so a relative path is made absolute first. The signing keys are
    /// not included.
    ///
    /// # Errors
    /// Errors of the system; an existing file is not overwritten.
    pub fn backup(&self, to: &Path) -> Result<Head> {
        let to = std::path::absolute(to).map_err(|source| files::failed("find", to, source))?;
        answer!(self, Request::Backup { to }, ANY_TIME, Response::Head(head) => head)
    }

    /// Restores a backup into a folder without a ledger, and records that in an entry.
    ///
    /// # Errors
    /// [`LedgerError::Exists`]; [`LedgerError::Damaged`] when the backup does not pass an audit.
    pub fn restore(folder: &Path, from: &Path, now: UnixTime) -> Result<Self> {
        let place = LedgerPaths::create(folder)?;
        Ok(Self::here(LocalLedger::restore(&place, from, now)?, place))
    }

    /// Returns the permanent secret of the service, so that forms stay valid after a restart.
    pub fn secret(&self) -> Result<[u8; 32]> {
        self.shared.place.secret()
    }

    pub(super) fn signer(&self, kid: &str) -> Result<Arc<SigningKey>> {
        self.shared.signers.get(&self.shared.place, self.vendor()?, kid)
    }

    /// Returns the active signing key; `None` when it was revoked.
    ///
    /// # Errors
    /// [`LedgerError::Key`] when its file cannot be read.
    pub fn active_signer(&self) -> Result<Option<Arc<SigningKey>>> {
        let active = self.keys()?.into_iter().find(|key| key.state == KeyState::Active);
        active.map(|key| self.signer(&key.kid)).transpose()
    }
}

impl Shared {
    fn new(place: LedgerPaths) -> Self {
        Self { place, signers: Signers::default(), vendor: OnceLock::new() }
    }
}

pub(super) fn unexpected(answer: &Response) -> LedgerError {
    LedgerError::Remote(format!("unexpected answer: {answer:?}"))
}

/// Access for callers that match on the rejection.
impl LedgerError {
    /// Returns the rejection, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Rejection> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}
