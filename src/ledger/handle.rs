//! Ledger for callers. [`Ledger::run`] runs an operation. The other methods run several, add what is secret or only in
//! the folder, or are short names of what most callers need.
//!
//! - Every method blocks, and its result is durable before it returns.
//! - Any number of threads may call at once; their concurrent writes share one commit.
//! - One process has the ledger open at a time. A process that finds it locked sends its operations to that one, over a
//!   socket in the folder ([`Ledger::connect`]), so commands work while the service runs.
//! - The time is an argument.

use super::address_proof::{self, MailServer};
use super::backend::LocalLedger;
use super::client;
use super::error::LedgerError;
use super::files::{self, LedgerPaths};
use super::model::{Account, ApiKey, KeyRecord, Profile, Receipt, Standing, Summary};
use super::ops::{self, LedgerOp, Request};
use super::payment;
use super::public_log::files::LogFolder;
use super::public_log::note_key;
use super::published_keys;
use super::rejection::Rejection;
use super::signing_keys::{self, Signers};
use crate::accounting::event::{KeyState, Terms};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Head;
use crate::accounting::money::Money;
use crate::directory::document::KeyEntry;
use crate::directory::signing_key::SigningKey;
use crate::net::smtp::HandOverError;
use crate::os::clock;
use crate::os::clock_record::{self, ClockHealth};
use crate::stamp::token::Issuer;
use crate::time::UnixTime;
use crate::transparency;
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

/// Time of operations that do not depend on it.
pub(super) const ANY_TIME: UnixTime = UnixTime(0);

impl Ledger {
    /// Creates a ledger in `folder` with a new signing key. A missing folder is created (0700).
    ///
    /// # Errors
    /// [`LedgerError::Exists`]; [`LedgerError::Remains`] beside the keys or the log of a lost ledger; a rejection of
    /// malformed names; errors of the system.
    pub fn create(folder: &Path, founding: &LedgerParams, now: UnixTime) -> Result<Self> {
        let named =
            |error: &dyn std::fmt::Display| Rejection::Form { what: "vendor or key".into(), wanted: error.to_string() };
        Issuer::new(&founding.vendor, &founding.kid).map_err(|error| named(&error))?;
        let place = LedgerPaths::create(folder)?;
        // Only while there is an unfinished ledger: a file that was left may be another vendor's key.
        let make_keys = || {
            signing_keys::make(&place, &founding.vendor, &founding.kid)?;
            note_key::make(&place, &transparency::origin(&founding.vendor)).map(drop)
        };
        let core = LocalLedger::create(&place, &founding.vendor, make_keys, now)?;
        let ledger = Self::here(core, place);
        ledger.run(ops::SetTerms { terms: founding.terms.clone() }, now)?;
        ledger.rotate(&founding.kid, now)?;
        Ok(ledger)
    }

    /// Returns whether the folder has the keys, the public log or the editions of a ledger, and no ledger.
    #[must_use]
    pub fn is_lost(folder: &Path) -> bool {
        LedgerPaths::existing(folder).is_ok_and(|place| place.has_remains())
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
            Backend::Local(core) => LocalLedger::listen(core, Request::run),
            Backend::Remote => {
                Err(LedgerError::Busy { path: self.shared.place.folder().to_owned(), waited: Duration::ZERO })
            }
        }
    }

    /// Makes things end by the times that the callers give, and not by the system's clock: for a time of one's own.
    ///
    /// Without it, a clock that jumped ends nothing for good (`ledger_clock`). Changes nothing of a ledger that another
    /// process has open.
    #[must_use]
    pub fn believing_callers(self) -> Self {
        if let Backend::Local(core) = &self.backend {
            core.believe_callers();
        }
        self
    }

    /// Judges the system's clock by the record in the folder; `None` without a record.
    #[must_use]
    pub fn clock_health(&self, now: UnixTime) -> Option<ClockHealth> {
        Some(clock_record::read(self.shared.place.folder())?.health(now, clock::uptime()))
    }

    /// Returns whether another process serves the ledger.
    #[must_use]
    pub fn served(&self) -> bool {
        matches!(self.backend, Backend::Remote)
    }

    /// Runs an operation, here or in the process that has the ledger.
    ///
    /// # Errors
    /// The rejections of the operation, [`LedgerError::Left`] after a failure, and others.
    pub fn run<O: LedgerOp>(&self, op: O, now: UnixTime) -> Result<O::Output> {
        match &self.backend {
            Backend::Local(core) => op.run(core, now),
            Backend::Remote => client::ask(&self.shared.place, &op.into(), now)?.ok_or(LedgerError::Left),
        }
    }

    /// Returns the vendor's name, terms and keys.
    pub fn profile(&self) -> Result<Profile> {
        self.run(ops::Profile {}, ANY_TIME)
    }

    /// Returns the vendor's name.
    pub fn vendor(&self) -> Result<&str> {
        if let Some(vendor) = self.shared.vendor.get() {
            return Ok(vendor);
        }
        let vendor = self.profile()?.vendor;
        Ok(self.shared.vendor.get_or_init(|| vendor))
    }

    /// Creates a new signing key in a file of its own.
    ///
    /// The key is published, and does not sign before [`rotate`](Self::rotate).
    ///
    /// # Errors
    /// [`Rejection::SigningKey`] when a key of this name exists, or readers know one.
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
        if let Some(problem) = published_keys::problem(&self.shared.place, &self.listed_keys()?, kid) {
            return Err(Rejection::SigningKey { kid: kid.to_owned(), problem }.into());
        }
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
        self.run(ops::SetKey { kid: kid.to_owned(), key, state }, now)
    }

    /// Revokes a signing key, or makes one that is not active verify only.
    pub fn set_key_state(&self, kid: &str, state: KeyState, now: UnixTime) -> Result<()> {
        let key = self.key(kid)?;
        self.run(ops::SetKey { kid: key.kid, key: key.key, state }, now)
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

    /// Returns the keys that the editions in the folder of the ledger list.
    pub(super) fn listed_keys(&self) -> Result<Vec<KeyEntry>> {
        published_keys::listed(self.vendor()?, &self.shared.place.well_known())
    }

    pub(super) fn keys(&self) -> Result<Vec<KeyRecord>> {
        Ok(self.profile()?.keys)
    }

    /// Returns an account and its balance.
    pub fn account(&self, account: AccountId, now: UnixTime) -> Result<Standing> {
        self.run(ops::Account { account }, now)
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
        let hash = Hash::of(text.as_bytes());
        let key = self.run(ops::AddApiKey { account, label: label.to_owned(), hash }, now)?;
        Ok((text, key))
    }

    /// Returns the open account of this API key: [`ops::Opens`].
    pub fn authenticate(&self, key: &str, now: UnixTime) -> Result<Account> {
        self.run(ops::Opens { hash: Hash::of(key.as_bytes()) }, now)
    }

    /// Adds bought credits to an account: [`ops::Credit`].
    pub fn credit(
        &self,
        account: AccountId,
        credits: u64,
        cost: Option<Money>,
        reference: &str,
        now: UnixTime,
    ) -> Result<Receipt> {
        self.run(ops::Credit { account, credits, cost, reference: reference.to_owned() }, now)
    }

    /// Creates a voucher and returns its code, which is shown only once (160 random bits in groups of base32).
    pub fn make_voucher(&self, credits: u64, cost: Option<Money>, now: UnixTime) -> Result<Zeroizing<String>> {
        let (code, voucher) = payment::new_code()?;
        self.run(ops::MakeVoucher { voucher, credits, cost }, now)?;
        Ok(code)
    }

    /// Adds the remaining value of a voucher to an account.
    pub fn take_voucher(&self, account: AccountId, code: &str, now: UnixTime) -> Result<Receipt> {
        let voucher = payment::code_hash(code).ok_or(Rejection::NoVoucher)?;
        self.run(ops::TakeVoucher { account, voucher }, now)
    }

    /// Mails a code to an address, or to the postmaster of a domain, through `server`.
    ///
    /// The code is valid for a day, for any account, and for five attempts of each. The next one is sent after ten
    /// minutes at the earliest, and the number in a day is limited. A code that was not sent does not count.
    ///
    /// # Errors
    /// [`Rejection::CodeWaiting`], [`Rejection::ManyCodes`], [`Rejection::Form`], [`LedgerError::Mail`].
    pub fn send_code(&self, account: AccountId, subject: &str, server: &MailServer, now: UnixTime) -> Result<()> {
        let (code, _) = payment::new_code()?;
        let code: Zeroizing<String> = Zeroizing::new(code.chars().take(address_proof::CODE_LENGTH).collect());
        let (id, _) = payment::new_code()?;
        let letter = address_proof::verification_mail(self.vendor()?, subject, &code, &id, now)?;
        let hash = address_proof::code_hash(&code);
        self.run(ops::AskCode { account, subject: subject.to_owned(), hash }, now)?;
        let Err(error) = letter.send(server) else { return Ok(()) };
        let unknown = matches!(error, HandOverError::Unknown(_));
        if !unknown {
            self.run(ops::TakeBackCode { account, subject: subject.to_owned(), hash }, now)?;
        }
        Err(LedgerError::Mail { server: server.address.clone(), what: error.to_string(), unknown })
    }

    /// Checks the code. If it is right, the account becomes the only owner of the address or domain.
    ///
    /// # Errors
    /// [`Rejection::NoCode`], [`Rejection::WrongCode`].
    pub fn confirm_code(&self, account: AccountId, subject: &str, code: &str, now: UnixTime) -> Result<()> {
        let hash = address_proof::code_hash(code);
        match self.run(ops::TellCode { account, subject: subject.to_owned(), hash }, now)? {
            None => Ok(()),
            Some(left) => Err(Rejection::WrongCode { subject: subject.to_owned(), left }.into()),
        }
    }

    /// Makes an account the owner of an address or a domain: [`ops::Own`].
    pub fn own(&self, account: AccountId, subject: &str, now: UnixTime) -> Result<()> {
        self.run(ops::Own { account, subject: subject.to_owned() }, now)
    }

    /// Returns sizes, balances and the head of the chain: [`ops::Summary`].
    pub fn summary(&self) -> Result<Summary> {
        self.run(ops::Summary {}, ANY_TIME)
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

    /// Recomputes everything from the entries, and compares: [`ops::Audit`].
    pub fn audit(&self, since: Option<Head>) -> Result<super::audit::Report> {
        self.run(ops::Audit { since }, ANY_TIME)
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
        self.run(ops::Backup { to }, ANY_TIME)
    }

    /// Restores a backup into a folder without a ledger, and records that in an entry.
    ///
    /// The public log is taken over from its files in the folder, if there are any. Keys that the editions there revoke
    /// are revoked.
    ///
    /// # Errors
    /// [`LedgerError::Exists`]; [`LedgerError::Backup`] when the backup does not pass an audit.
    pub fn restore(folder: &Path, from: &Path, now: UnixTime) -> Result<Self> {
        Self::restore_with_log(folder, from, &LogFolder::below(&folder.join("public")), now).map(|(ledger, _)| ledger)
    }

    /// Restores a backup as [`restore`](Self::restore), with the public log in another folder, and the editions beside
    /// it, which are copied. Returns also the names of the keys that the editions revoke and the backup did not.
    pub fn restore_with_log(folder: &Path, from: &Path, log: &LogFolder, now: UnixTime) -> Result<(Self, Vec<String>)> {
        let place = LedgerPaths::create(folder)?;
        let (core, revoked) = LocalLedger::restore(&place, from, log, now)?;
        Ok((Self::here(core, place), revoked))
    }

    /// Returns the permanent secret of the service, so that forms stay valid after a restart.
    pub fn secret(&self) -> Result<[u8; 32]> {
        self.shared.place.secret()
    }

    pub(super) fn place(&self) -> &LedgerPaths {
        &self.shared.place
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
