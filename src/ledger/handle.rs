//! The ledger as callers see them: one method for each thing that can be done. Every method is blocking and durable before
//! it answers, and any number of threads may call at once; what they write at the same time shares one commit.
//!
//! One process has the ledger at a time. Whoever finds it taken asks that process, over a socket in its folder
//! ([`Ledger::reach`]); so the commands work while the service runs. Time is handed in.

use super::address_proof;
use super::backend::LocalLedger;
use super::client;
use super::error::LedgerError;
use super::files::{self, Place};
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

/// What a ledger is begun with.
#[derive(Clone, Debug)]
pub struct LedgerParams {
    /// The vendor's name, a domain.
    pub vendor: String,
    /// The name of the first signing key.
    pub kid: String,
    /// The terms.
    pub terms: Terms,
}

/// The ledger. Clones are the same ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    way: Backend,
    shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
enum Backend {
    /// We have them.
    Local(Arc<LocalLedger>),
    /// Another process has, and listens.
    Remote,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    signers: Signers,
    vendor: OnceLock<String>,
}

/// The answer that was asked for; any other would be a fault of the program at the other end.
macro_rules! answer {
    ($ledger:expr, $request:expr, $now:expr, $pattern:pat => $value:expr) => {
        match $ledger.ask($request, $now)? {
            $pattern => Ok($value),
            other => Err(unexpected(&other)),
        }
    };
}

pub(super) use answer;

/// For questions in which time does not matter.
const ANY_TIME: UnixTime = UnixTime(0);

impl Ledger {
    /// Begins a ledger in `folder`, which is made (0700) when it is missing, with a new signing key.
    ///
    /// # Errors
    /// [`LedgerError::Exists`], a refusal for names that have not their form, or what the system says.
    pub fn create(folder: &Path, founding: &LedgerParams, now: UnixTime) -> Result<Self> {
        let named =
            |error: &dyn std::fmt::Display| Rejection::Form { what: "vendor or key".into(), wanted: error.to_string() };
        Issuer::new(&founding.vendor, &founding.kid).map_err(|error| named(&error))?;
        let place = Place::create(folder)?;
        if !place.ledger().exists() {
            // Before there is a ledger: a file that was left may be a key of somebody else.
            signing_keys::make(&place, &founding.vendor, &founding.kid)?;
        }
        let ledger = Self::here(LocalLedger::create(&place, &founding.vendor, now)?, place);
        ledger.set_terms(founding.terms.clone(), now)?;
        ledger.rotate(&founding.kid, now)?;
        Ok(ledger)
    }

    /// Takes the ledger of `folder`, waiting at most `wait` while another process has it: for the service. Sixty-four
    /// MiB of memory hold their pages.
    ///
    /// # Errors
    /// [`LedgerError::Absent`], [`LedgerError::Busy`], [`LedgerError::Served`] and others.
    pub fn open(folder: &Path, wait: Duration) -> Result<Self> {
        let place = Place::existing(folder)?;
        let core = place.wait(wait, || match LocalLedger::try_open(&place)? {
            // Who serves them does so until he is told to end.
            None if client::is_running(&place) => Err(LedgerError::Served { path: place.folder().to_owned() }),
            core => Ok(core),
        })?;
        Ok(Self::here(core, place))
    }

    /// Takes the ledger, or asks the process that has it: for commands.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn connect(folder: &Path, wait: Duration) -> Result<Self> {
        let place = Place::existing(folder)?;
        let way = place.wait(wait, || match LocalLedger::try_open(&place)? {
            Some(core) => Ok(Some(Backend::Local(Arc::new(core)))),
            None => Ok(client::is_running(&place).then_some(Backend::Remote)),
        })?;
        Ok(Self { way, shared: Arc::new(Shared::new(place)) })
    }

    fn here(core: LocalLedger, place: Place) -> Self {
        Self { way: Backend::Local(Arc::new(core)), shared: Arc::new(Shared::new(place)) }
    }

    /// Answers other processes over the socket `ledger.socket` (0600) until the last clone of this ledger is dropped.
    /// Without it, commands wait and then say that the ledger is in use.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(&self) -> Result<()> {
        match &self.way {
            Backend::Local(core) => LocalLedger::listen(core, &self.shared.place),
            Backend::Remote => {
                Err(LedgerError::Busy { path: self.shared.place.folder().to_owned(), waited: Duration::ZERO })
            }
        }
    }

    /// Whether another process has the ledger, and serves it.
    #[must_use]
    pub fn served(&self) -> bool {
        matches!(self.way, Backend::Remote)
    }

    /// Asks anything. The other methods are this one with the question and the answer taken apart.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn ask(&self, request: Request, now: UnixTime) -> Result<Response> {
        match &self.way {
            Backend::Local(core) => core.ask(request, now),
            Backend::Remote => client::ask(&self.shared.place, &request, now)?.ok_or(LedgerError::Left),
        }
    }

    /// The vendor's name, terms and keys.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn profile(&self) -> Result<Profile> {
        answer!(self, Request::Profile, ANY_TIME, Response::Profile(profile) => *profile)
    }

    /// The vendor's name.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn vendor(&self) -> Result<&str> {
        if let Some(vendor) = self.shared.vendor.get() {
            return Ok(vendor);
        }
        let vendor = self.profile()?.vendor;
        Ok(self.shared.vendor.get_or_init(|| vendor))
    }

    /// The revoked serials that need not be published any more, since their stamps have ended.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn ended_serials(&self, now: UnixTime) -> Result<Vec<Serial>> {
        answer!(self, Request::EndedSerials, now, Response::Serials { serials } => serials)
    }

    /// Every serial that was revoked or refunded.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn revoked_serials(&self) -> Result<Vec<Serial>> {
        answer!(self, Request::RevokedSerials, ANY_TIME, Response::Serials { serials } => serials)
    }

    /// Sells on these terms from now on.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn set_terms(&self, terms: Terms, now: UnixTime) -> Result<()> {
        answer!(self, Request::SetTerms { terms }, now, Response::Done => ())
    }

    /// Makes a new signing key and writes it beside the others: it is published, and does not sign before
    /// [`rotate`](Self::rotate).
    ///
    /// # Errors
    /// [`Refusal::SigningKey`] when there was a key of this name.
    pub fn prepare(&self, kid: &str, now: UnixTime) -> Result<()> {
        self.new_key(kid, KeyState::Prepared, now)
    }

    /// Signs with the key of this name from now on, which is made unless it was prepared; the one before verifies only.
    ///
    /// # Errors
    /// [`Refusal::SigningKey`] when there was a key of this name that was not only prepared.
    pub fn rotate(&self, kid: &str, now: UnixTime) -> Result<()> {
        self.new_key(kid, KeyState::Active, now)
    }

    fn new_key(&self, kid: &str, state: KeyState, now: UnixTime) -> Result<()> {
        let key = match self.keys()?.into_iter().find(|key| key.kid == kid) {
            None => signing_keys::make(&self.shared.place, self.vendor()?, kid)?,
            Some(key) if key.state == KeyState::Prepared && state == KeyState::Active => {
                // Nothing could be signed without its file.
                self.signer(kid)?.key.public()
            }
            Some(_) => {
                let problem = "a key of this name exists already; a new key needs a new name".to_owned();
                return Err(Rejection::SigningKey { kid: kid.to_owned(), problem }.into());
            }
        };
        answer!(self, Request::SetKey { kid: kid.to_owned(), key, state }, now, Response::Done => ())
    }

    /// Revokes a signing key, or lets one verify only that is not the active one.
    ///
    /// # Errors
    /// [`Refusal::SigningKey`].
    pub fn set_key_state(&self, kid: &str, state: KeyState, now: UnixTime) -> Result<()> {
        let key = self.key(kid)?;
        answer!(self, Request::SetKey { kid: key.kid, key: key.key, state }, now, Response::Done => ())
    }

    /// The signing key of this name.
    ///
    /// # Errors
    /// [`Refusal::SigningKey`] when there is none.
    pub fn key(&self, kid: &str) -> Result<KeyRecord> {
        let problem = "there is no key of this name".to_owned();
        let unknown = || Rejection::SigningKey { kid: kid.to_owned(), problem };
        Ok(self.keys()?.into_iter().find(|key| key.kid == kid).ok_or_else(unknown)?)
    }

    /// A version for the next edition of the directory: above all that were drawn before, and the number of this second
    /// where that is higher.
    pub(super) fn next_version(&self, now: UnixTime) -> Result<u64> {
        answer!(self, Request::NextVersion, now, Response::Count { count } => count)
    }

    pub(super) fn keys(&self) -> Result<Vec<KeyRecord>> {
        Ok(self.profile()?.keys)
    }

    /// Opens an account. `name` is 1 to 64 of `[a-z0-9._-]` and not digits alone, the contact up to 254 printable
    /// characters.
    ///
    /// # Errors
    /// [`Refusal::AccountExists`], [`Refusal::Form`].
    pub fn open_account(&self, name: &str, contact: &str, caps: Option<OwnCaps>, now: UnixTime) -> Result<Account> {
        let request = Request::OpenAccount { name: name.to_owned(), contact: contact.to_owned(), caps };
        answer!(self, request, now, Response::Account(account) => account)
    }

    /// Changes what is given: the contact, the account's own caps (`Some(None)` takes them away).
    ///
    /// # Errors
    /// [`Refusal::NoAccount`], [`Refusal::Form`].
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

    /// Closes an account: it buys and deposits nothing more and its API keys open nothing; its credits can be paid out. With
    /// `revoke`, every stamp that it bought and that was not taken back is revoked; answers how many.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`].
    pub fn close_account(&self, account: AccountId, revoke: bool, now: UnixTime) -> Result<u64> {
        answer!(self, Request::CloseAccount { account, revoke }, now, Response::Count { count } => count)
    }

    /// An account and what it has.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`].
    pub fn account(&self, account: AccountId, now: UnixTime) -> Result<Standing> {
        answer!(self, Request::Account { account }, now, Response::Standing(standing) => *standing)
    }

    /// The account of this name.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`].
    pub fn account_named(&self, name: &str, now: UnixTime) -> Result<Standing> {
        answer!(self, Request::AccountNamed { name: name.to_owned() }, now, Response::Standing(standing) => *standing)
    }

    /// Up to `most` accounts (10,000 at most) with numbers above `after`.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn accounts(&self, after: AccountId, most: u32, now: UnixTime) -> Result<Vec<Standing>> {
        answer!(self, Request::Accounts { after, most }, now, Response::Accounts { accounts } => accounts)
    }

    /// Makes an API key and returns its text, which is shown this once: `msk_` and 43 characters of base64url (256 random
    /// bits). The ledger keeps its SHA-256.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`], [`Refusal::AccountClosed`], [`Refusal::Form`] (a label of up to 64 printable characters).
    pub fn add_api_key(&self, account: AccountId, label: &str, now: UnixTime) -> Result<(Zeroizing<String>, ApiKey)> {
        let text = payment::new_api_key()?;
        let request = Request::AddApiKey { account, label: label.to_owned(), hash: Hash::of(text.as_bytes()) };
        answer!(self, request, now, Response::ApiKey(key) => (text, key))
    }

    /// The API keys of an account, those that were revoked too.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn api_keys(&self, account: AccountId) -> Result<Vec<ApiKey>> {
        answer!(self, Request::ApiKeys { account }, ANY_TIME, Response::ApiKeys { keys } => keys)
    }

    /// Ends an API key.
    ///
    /// # Errors
    /// [`Refusal::NoApiKey`].
    pub fn revoke_api_key(&self, account: AccountId, id: &str, now: UnixTime) -> Result<()> {
        answer!(self, Request::RevokeApiKey { account, id: id.to_owned() }, now, Response::Done => ())
    }

    /// The open account that this API key opens. What is looked up is a SHA-256 of 256 random bits, so the time that it takes
    /// says nothing about other keys.
    ///
    /// # Errors
    /// [`Refusal::NoApiKey`] for any text that opens nothing, whatever the reason.
    pub fn authenticate(&self, key: &str, now: UnixTime) -> Result<Account> {
        answer!(self, Request::Opens { hash: Hash::of(key.as_bytes()) }, now, Response::Account(account) => account)
    }

    /// Adds bought credits to an account, at the price of the terms unless `cost` says otherwise. Once for each reference;
    /// the same purchase again answers what was booked (`again`).
    ///
    /// # Errors
    /// [`Refusal::KeyReused`] when the reference was used for something else.
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

    /// Makes a voucher and returns its code, which is shown this once (160 random bits in groups of base32).
    ///
    /// # Errors
    /// [`Refusal::Range`].
    pub fn make_voucher(&self, credits: u64, cost: Option<Money>, now: UnixTime) -> Result<Zeroizing<String>> {
        let (code, voucher) = payment::new_code()?;
        answer!(self, Request::MakeVoucher { voucher, credits, cost }, now, Response::Head(_) => code)
    }

    /// What a voucher is still worth.
    ///
    /// # Errors
    /// [`Refusal::NoVoucher`].
    pub fn voucher(&self, voucher: Hash) -> Result<u64> {
        answer!(self, Request::Voucher { voucher }, ANY_TIME, Response::Count { count } => count)
    }

    /// Puts what a voucher is still worth on an account.
    ///
    /// # Errors
    /// [`Refusal::NoVoucher`].
    pub fn take_voucher(&self, account: AccountId, code: &str, now: UnixTime) -> Result<Receipt> {
        let voucher = payment::code_hash(code).ok_or(Rejection::NoVoucher)?;
        answer!(self, Request::TakeVoucher { account, voucher }, now, Response::Booked(booked) => booked)
    }

    /// Mails a code to an address, or for a domain to its postmaster, through `sendmail` (a program that takes the options of
    /// sendmail(8)). It holds for a day and for five tries; another is sent after ten minutes at the earliest, and
    /// no more than some a day. Where none could be sent, none was asked for.
    ///
    /// # Errors
    /// [`Refusal::CodeWaiting`], [`Refusal::ManyCodes`], [`Refusal::Form`], [`LedgerError::Mail`].
    pub fn send_code(&self, account: AccountId, subject: &str, sendmail: &Path, now: UnixTime) -> Result<()> {
        let (code, _) = payment::new_code()?;
        let code: Zeroizing<String> = Zeroizing::new(code.chars().take(address_proof::CODE_LENGTH).collect());
        let letter = address_proof::verification_mail(self.vendor()?, subject, &code, now)?;
        let hash = address_proof::code_hash(&code);
        answer!(self, Request::AskCode { account, subject: subject.to_owned(), hash }, now, Response::Done => ())?;
        let Err(error) = letter.send(sendmail) else { return Ok(()) };
        // What took too long may have been sent.
        if !matches!(error, SendError::TimeOut(_)) {
            let request = Request::TakeBackCode { account, subject: subject.to_owned(), hash };
            answer!(self, request, now, Response::Done => ())?;
        }
        Err(address_proof::not_sent(sendmail, &error))
    }

    /// Takes the code: from now on the account owns the address or domain, and nobody else does.
    ///
    /// # Errors
    /// [`Refusal::NoCode`], [`Refusal::WrongCode`].
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

    /// Says as the operator that an account owns an address or a domain.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`], [`Refusal::Form`].
    pub fn own(&self, account: AccountId, subject: &str, now: UnixTime) -> Result<()> {
        answer!(self, Request::Own { account, subject: subject.to_owned() }, now, Response::Done => ())
    }

    /// Ends that.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn release_ownership(&self, account: AccountId, subject: &str, now: UnixTime) -> Result<()> {
        answer!(self, Request::Disown { account, subject: subject.to_owned() }, now, Response::Done => ())
    }

    /// What the ledger knows of a serial.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn stamp(&self, serial: &Serial) -> Result<Option<StampRecord>> {
        answer!(self, Request::Stamp { serial: serial.clone() }, ANY_TIME, Response::Stamp { stamp } => stamp)
    }

    /// The last entries of an account, newest first: up to `most` (10,000 at most), with numbers below `before`
    /// (`u64::MAX` to begin).
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn history(&self, account: AccountId, before: u64, most: u32) -> Result<Vec<Entry>> {
        answer!(self, Request::History { account, before, most }, ANY_TIME, Response::Entries { entries } => entries)
    }

    /// What the account did, day by day, since the day `from` (days since 1970); days without any entry are left out.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn days(&self, account: AccountId, from: i64) -> Result<Vec<Day>> {
        answer!(self, Request::Days { account, from }, ANY_TIME, Response::Days { days } => days)
    }

    /// Up to `most` entries (10,000 at most) with numbers above `after`.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn entries(&self, after: u64, most: u32) -> Result<Vec<Entry>> {
        answer!(self, Request::Entries { after, most }, ANY_TIME, Response::Entries { entries } => entries)
    }

    /// Sizes, balances and the head of the chain; cheap, for metrics.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn summary(&self) -> Result<Summary> {
        answer!(self, Request::Summary, ANY_TIME, Response::Summary(summary) => summary)
    }

    /// Whether the ledger answers, what is sold can be signed, and what was written last could be.
    ///
    /// # Errors
    /// [`LedgerError::Left`] for a minute after a failure, unless something was written since.
    pub fn well(&self) -> Result<()> {
        self.active_signer()?;
        match &self.way {
            Backend::Local(core) if core.failed() => Err(LedgerError::Left),
            _ => Ok(()),
        }
    }

    /// Counts everything again from the entries, and compares; with `since`, also that the chain goes through that head.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be read; what is wrong with it stands in the report.
    pub fn audit(&self, since: Option<Head>) -> Result<super::audit::Report> {
        answer!(self, Request::Audit { since }, ANY_TIME, Response::Audit(report) => report)
    }

    /// Writes a consistent copy to a new file (0600) while others work; answers its head. The process that has the ledger
    /// writes it, so a relative path is made absolute first. The signing keys are not in it.
    ///
    /// # Errors
    /// What the system says; an existing file is not written over.
    pub fn backup(&self, to: &Path) -> Result<Head> {
        let to = std::path::absolute(to).map_err(|source| files::failed("find", to, source))?;
        answer!(self, Request::Backup { to }, ANY_TIME, Response::Head(head) => head)
    }

    /// Puts a backup into a folder without a ledger. An entry says so from then on.
    ///
    /// # Errors
    /// [`LedgerError::Exists`]; [`LedgerError::Damaged`] when it does not pass an audit.
    pub fn restore(folder: &Path, from: &Path, now: UnixTime) -> Result<Self> {
        let place = Place::create(folder)?;
        Ok(Self::here(LocalLedger::restore(&place, from, now)?, place))
    }

    /// Random bytes that stay the same, for the service of this ledger: a form that he handed out before he was started again
    /// is still his.
    ///
    /// # Errors
    /// What the system says.
    pub fn secret(&self) -> Result<[u8; 32]> {
        self.shared.place.secret()
    }

    pub(super) fn signer(&self, kid: &str) -> Result<Arc<SigningKey>> {
        self.shared.signers.get(&self.shared.place, self.vendor()?, kid)
    }

    /// The key that signs now; none when it was revoked.
    ///
    /// # Errors
    /// [`LedgerError::Key`] when its file cannot be read.
    pub fn active_signer(&self) -> Result<Option<Arc<SigningKey>>> {
        let active = self.keys()?.into_iter().find(|key| key.state == KeyState::Active);
        active.map(|key| self.signer(&key.kid)).transpose()
    }
}

impl Shared {
    fn new(place: Place) -> Self {
        Self { place, signers: Signers::default(), vendor: OnceLock::new() }
    }
}

pub(super) fn unexpected(answer: &Response) -> LedgerError {
    LedgerError::Remote(format!("an answer to another question: {answer:?}"))
}

/// For callers that match on it.
impl LedgerError {
    /// The refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Rejection> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}
