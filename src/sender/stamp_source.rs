//! A stamp for each recipient: from what the key holds, from the wallet, or bought. One request goes to each vendor, however
//! many recipients there are.

use super::account::{AccountError, Accounts};
use super::error::SupplyError;
use super::stamp_request::{ReservationKey, StampRequest, WalletStamp};
use super::vendor_client;
use super::wallet::{Disposition, Outcome, Plan, PurchaseContext, PurchaseRow, Wallet};
use crate::config::Config;
use crate::config::paths::{Paths, PlacesError};
use crate::config::sender::SenderSettings;
use crate::message::address::Address;
use crate::os::random;
use crate::store::StoreError;
use crate::time::UnixTime;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How often the lock of a purchase by command is asked for.
const PAUSE: Duration = Duration::from_millis(20);

/// The sender's side of one user.
#[derive(Debug)]
pub struct StampSource {
    settings: SenderSettings,
    accounts: Accounts,
    wallet: Wallet,
    state: PathBuf,
}

impl StampSource {
    /// The sender's side with this configuration. Nothing is opened yet.
    ///
    /// # Errors
    /// [`PlacesError::Nowhere`] when there is no folder for the state.
    pub fn new(config: &Config, places: &Paths) -> Result<Self, PlacesError> {
        let state = places.state()?;
        Ok(Self {
            settings: config.sender.clone(),
            accounts: Accounts::new(state),
            wallet: Wallet::new(state, config.wait),
            state: state.to_owned(),
        })
    }

    /// The wallet.
    #[must_use]
    pub fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// The accounts.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// A stamp for each want, in the same order: reserved for its key, durably, before this returns. What is missing is
    /// bought in one request for each vendor; all of a vendor's are sold or none. The answers are single: one vendor may be
    /// away while another sells.
    ///
    /// Say [`Wallet::commit`] when the message has left and [`Wallet::give_back`] when it never will; say neither when that is
    /// not known, and ask again with the same key.
    #[must_use]
    pub fn acquire(&self, wants: &[StampRequest], now: UnixTime) -> Vec<Result<WalletStamp, SupplyError>> {
        let nothing = || SupplyError::Ours("the wallet lost what was bought a moment ago".to_owned());
        let answers = self.acquire_inner(wants, true, now);
        answers.into_iter().map(|answer| answer.and_then(|held| held.ok_or_else(nothing))).collect()
    }

    /// What [`supply`](Self::supply) finds without buying: what each key holds already, else an unused stamp of the wallet,
    /// reserved for the key; `None` where there is none, also where one was ordered before and has not arrived.
    #[must_use]
    pub fn from_wallet(&self, wants: &[StampRequest], now: UnixTime) -> Vec<Result<Option<WalletStamp>, SupplyError>> {
        self.acquire_inner(wants, false, now)
    }

    /// Asks again for what was bought without an answer and nobody waits for any more; what comes may be had by anybody. A
    /// vendor who does not answer is asked once.
    ///
    /// # Errors
    /// Any [`StoreError`] of the wallet. What a vendor says is for who wants a stamp.
    pub fn collect(&self, now: UnixTime) -> Result<(), StoreError> {
        let mut away = BTreeSet::new();
        for purchase in self.wallet.orphans(now)? {
            if !away.contains(&purchase.account) && self.fetch(&purchase, now).is_err() {
                away.insert(purchase.account);
            }
        }
        Ok(())
    }

    fn acquire_inner(
        &self,
        wants: &[StampRequest],
        buys: bool,
        now: UnixTime,
    ) -> Vec<Result<Option<WalletStamp>, SupplyError>> {
        let planned = match self.plan(wants, buys, now) {
            Ok(planned) => planned,
            Err(error) => return wants.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut purchases = BTreeMap::<&str, (&PurchaseRow, Option<SupplyError>)>::new();
        if buys {
            for plan in &planned {
                if let Plan::Pending(purchase) = plan {
                    purchases.entry(&purchase.id).or_insert((purchase, None));
                }
            }
        }
        for (purchase, error) in purchases.values_mut() {
            *error = self.fetch(purchase, now).err();
        }
        let answers = wants.iter().zip(&planned).map(|(want, plan)| match plan {
            Plan::Held(held) => Ok(Some(held.clone())),
            Plan::Refused(error) => Err(error.clone()),
            Plan::Pending(purchase) => match purchases.get(purchase.id.as_str()) {
                Some((_, Some(error))) => Err(error.clone()),
                _ => Ok(self.wallet.held(&want.key)?),
            },
            Plan::Nothing => Ok(self.wallet.held(&want.key)?),
        });
        answers.collect()
    }

    fn plan(&self, wants: &[StampRequest], buys: bool, now: UnixTime) -> Result<Vec<Plan>, SupplyError> {
        // A key's file that is open to others, say, is told before anything is bought, and by name.
        let accounts = self.accounts.list().map_err(account_failed)?;
        let offers: Vec<_> = accounts.iter().map(|account| account.offer()).collect();
        let random = || {
            let mut bytes = [0; 16];
            let drawn = random::fill(&mut bytes).map(|()| bytes);
            drawn.map_err(|error| StoreError::Io {
                doing: "draw random numbers for",
                path: self.state.clone(),
                source: error,
            })
        };
        let buyer = PurchaseContext { settings: &self.settings, offers: &offers, random: &random, buys };
        Ok(self.wallet.plan(wants, &buyer, now)?)
    }

    /// Sends a purchase of the journal and puts what arrives into the wallet.
    fn fetch(&self, purchase: &PurchaseRow, now: UnixTime) -> Result<(), SupplyError> {
        let account = self.accounts.get(&purchase.account).map_err(account_failed)?;
        match vendor_client::buy(&account, purchase, self.settings.timeout) {
            Ok(outcome) => Ok(self.wallet.settle(purchase, outcome, now)?),
            Err((error, outcome)) => {
                if let Some(refused @ Outcome::Refused) = outcome {
                    self.wallet.settle(purchase, refused, now)?;
                }
                Err(error)
            }
        }
    }

    /// Buys for a command that has no keys of its own: see [`PurchaseRun`]. `arguments` is what it was called with, and `name` the
    /// user's own name for the purchase, if he gave one: under the same name the same stamps come, for ever.
    ///
    /// # Errors
    /// [`SupplyError::Ours`] when somebody else is buying the same for longer than `wait`.
    pub fn run(&self, arguments: &str, name: Option<&str>, wait: Duration) -> Result<PurchaseRun<'_>, SupplyError> {
        let digest = |text: &str| data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
        if let Some(name) = name {
            return Ok(PurchaseRun {
                sender: self,
                digest: None,
                label: digest(&format!("named {name}")),
                _lock: None,
            });
        }
        let digest = digest(arguments);
        let lock = self.lock(&digest, wait).map_err(|error| SupplyError::Ours(error.to_string()))?;
        let lock = lock.ok_or_else(|| {
            SupplyError::Ours(format!("the same is being bought by another process; waited {} s", wait.as_secs()))
        })?;
        let number = self.wallet.begin_run(&digest)?;
        let label = format!("{digest}-{number}");
        Ok(PurchaseRun { sender: self, digest: Some(digest), label, _lock: Some(lock) })
    }

    /// One purchase after another, where the arguments are the same; sixteen files are enough for all.
    fn lock(&self, digest: &str, wait: Duration) -> io::Result<Option<File>> {
        let slot: String = digest.chars().take(1).collect();
        let path = self.state.join(format!("buying-{slot}.lock"));
        DirBuilder::new().recursive(true).mode(0o700).create(&self.state)?;
        let flags = rustix::fs::OFlags::NOFOLLOW.bits();
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(i32::try_from(flags).unwrap_or(0)).open(path)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) if began.elapsed() < wait => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

/// A purchase by command. Killed and started again with the same arguments, it is the same purchase, until
/// [`end`](Self::end) has returned.
#[derive(Debug)]
pub struct PurchaseRun<'a> {
    sender: &'a StampSource,
    digest: Option<String>,
    label: String,
    _lock: Option<File>,
}

impl PurchaseRun<'_> {
    /// The key of the stamp for this recipient.
    #[must_use]
    pub fn key(&self, recipient: &Address) -> ReservationKey {
        ReservationKey::from_text(&format!("buy {} {}", self.label, recipient.canonical()))
    }

    /// It is done, and this becomes of the stamps of these keys.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn end(self, keys: &[ReservationKey], ending: Disposition, now: UnixTime) -> Result<(), StoreError> {
        self.sender.wallet.end_run(self.digest.as_deref(), keys, ending, now)
    }
}

fn account_failed(error: AccountError) -> SupplyError {
    match error {
        AccountError::Absent(_) => SupplyError::NoAccount(error.to_string()),
        AccountError::File(_) | AccountError::Form { .. } => SupplyError::Account(error.to_string()),
        error => SupplyError::Ours(error.to_string()),
    }
}
