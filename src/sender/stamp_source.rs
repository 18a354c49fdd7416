//! Source of stamps: for each recipient one that the key already holds, one of the wallet, or a purchase. Each vendor
//! gets one request, however many recipients there are.

use super::account::{AccountError, Accounts};
use super::error::SupplyError;
use super::stamp_request::{ReservationKey, StampRequest, WalletStamp};
use super::vendor_client;
use super::wallet::{Disposition, Plan, PurchaseContext, PurchaseRow, Wallet, is_overdue};
use crate::config::Config;
use crate::config::paths::{Paths, PathsError};
use crate::config::sender::SenderSettings;
use crate::message::address::Address;
use crate::os::{clock, clock_record, file_lock, random, safe_open};
use crate::store::StoreError;
use crate::time::UnixTime;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

/// Source of stamps of one user.
#[derive(Debug)]
pub struct StampSource {
    settings: SenderSettings,
    accounts: Accounts,
    wallet: Wallet,
    state: PathBuf,
}

impl StampSource {
    /// Creates the source from the configuration. Opens no file yet.
    ///
    /// # Errors
    /// [`PathsError::Nowhere`] when there is no state folder.
    pub fn new(config: &Config, places: &Paths) -> Result<Self, PathsError> {
        let state = places.state()?;
        Ok(Self {
            settings: config.sender.clone(),
            accounts: Accounts::new(state),
            wallet: Wallet::new(state, config.wait),
            state: state.to_owned(),
        })
    }

    /// Returns the wallet.
    #[must_use]
    pub fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// Returns the accounts.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Returns a stamp for each request, in the same order, durably reserved for its key.
    ///
    /// Missing stamps are bought in one request for each vendor, which sells all of them or none. Each request has its
    /// own result: one vendor may be unavailable while another sells.
    ///
    /// Call [`Wallet::commit`] when the message was sent and [`Wallet::give_back`] when it never will be. If that is
    /// not known, call neither, and repeat the request with the same key.
    #[must_use]
    pub fn acquire(&self, wants: &[StampRequest], now: UnixTime) -> Vec<Result<WalletStamp, SupplyError>> {
        let failed = |error: SupplyError| wants.iter().map(|_| Err(error.clone())).collect();
        // An earlier order that cannot be completed, or has no answer for hours, does not fail a request that waits for it
        // by chance: the next round passes it over.
        loop {
            let planned = match self.plan(wants, now) {
                Ok(planned) => planned,
                Err(error) => return failed(error),
            };
            let purchases = self.fetch_all(&planned, now);
            let is_stuck = |(want, plan): (&StampRequest, &Plan)| match plan {
                Plan::Pending(purchase) => {
                    let is_adopted = purchase.orders.iter().any(|it| it.key == want.key.as_str() && it.adopted);
                    let is_passed_over = |error: &SupplyError| {
                        error.is_of_order() || matches!(error, SupplyError::Away { .. }) && is_overdue(purchase, now)
                    };
                    is_adopted && purchases.get(&purchase.id).is_some_and(is_passed_over)
                }
                _ => false,
            };
            let lost = || SupplyError::Ours("the wallet lost a stamp that was just bought".to_owned());
            let answer = |(want, plan): (&StampRequest, &Plan)| match plan {
                Plan::Held(held) => Ok(held.clone()),
                Plan::Refused(error) => Err(error.clone()),
                // Of an order with a wrong stamp, the others arrive.
                Plan::Pending(purchase) => self
                    .wallet
                    .held(&want.key)?
                    .ok_or_else(|| purchases.get(&purchase.id).cloned().unwrap_or_else(lost)),
            };
            let each = || wants.iter().zip(&planned);
            let answers: Vec<_> = each().map(answer).collect();
            let stuck = each().zip(&answers).filter(|(pair, answer)| answer.is_err() && is_stuck(*pair));
            let keys: Vec<_> = stuck.map(|((want, _), _)| (want.key.clone(), false)).collect();
            if keys.is_empty() {
                return answers;
            }
            if let Err(error) = self.wallet.close(&keys, now) {
                return failed(error.into());
            }
        }
    }

    /// Sends each of the planned purchases once, and returns the errors by the purchase's id.
    fn fetch_all(&self, planned: &[Plan], now: UnixTime) -> BTreeMap<String, SupplyError> {
        let mut purchases = BTreeMap::<&str, &PurchaseRow>::new();
        for plan in planned {
            if let Plan::Pending(purchase) = plan {
                purchases.insert(&purchase.id, purchase);
            }
        }
        let errors =
            purchases.values().filter_map(|purchase| Some((purchase.id.clone(), self.fetch(purchase, now).err()?)));
        errors.collect()
    }

    /// Requests purchases again that were not answered and that no key waits for.
    ///
    /// Stamps that arrive are free for any key. A vendor that does not answer is asked once.
    ///
    /// # Errors
    /// Any [`StoreError`] of the wallet. Errors of a vendor are ignored here.
    pub fn collect(&self, now: UnixTime) -> Result<(), StoreError> {
        let mut away = BTreeSet::new();
        for purchase in self.wallet.orphans(now)? {
            if !away.contains(&purchase.account) && self.fetch(&purchase, now).is_err() {
                away.insert(purchase.account);
            }
        }
        Ok(())
    }

    fn plan(&self, wants: &[StampRequest], now: UnixTime) -> Result<Vec<Plan>, SupplyError> {
        // An account file that others can read, for example, is reported by name before anything is bought.
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
        let buyer = PurchaseContext { settings: &self.settings, offers: &offers, random: &random };
        Ok(self.wallet.plan(wants, &buyer, now)?)
    }

    /// Sends a journalled purchase and puts the stamps that arrive into the wallet.
    fn fetch(&self, purchase: &PurchaseRow, now: UnixTime) -> Result<(), SupplyError> {
        let account = self.accounts.get(&purchase.account).map_err(account_failed)?;
        // A clock that jumped ahead makes no good stamp an ended one. Without a record it may have jumped.
        let record = clock_record::read(&self.state);
        let believed = record.map(|record| record.after(now, clock::uptime()).limit(now));
        match vendor_client::buy(&account, purchase, believed, self.settings.timeout) {
            Ok(outcome) => match self.wallet.settle(purchase, outcome, now)? {
                Some(detail) => Err(SupplyError::Answer { account: purchase.account.clone(), detail }),
                None => Ok(()),
            },
            Err((error, outcome)) => {
                if let Some(outcome) = outcome {
                    self.wallet.settle(purchase, outcome, now)?;
                }
                Err(error)
            }
        }
    }

    /// Begins a purchase for a command without keys of its own: see [`PurchaseRun`].
    ///
    /// `arguments` are those of the command, and `name` is the user's name for the purchase, if given. The same name
    /// always returns the same stamps.
    ///
    /// # Errors
    /// [`SupplyError::Ours`] when another process makes the same purchase for longer than `wait`.
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
            SupplyError::Ours(format!("another process is making the same purchase; waited {} s", wait.as_secs()))
        })?;
        let number = self.wallet.begin_run(&digest)?;
        let label = format!("{digest}-{number}");
        Ok(PurchaseRun { sender: self, digest: Some(digest), label, _lock: Some(lock) })
    }

    /// Serializes purchases with the same arguments; sixteen lock files are enough for all.
    fn lock(&self, digest: &str, wait: Duration) -> io::Result<Option<File>> {
        let slot: String = digest.chars().take(1).collect();
        let path = self.state.join(format!("buying-{slot}.lock"));
        DirBuilder::new().recursive(true).mode(0o700).create(&self.state)?;
        file_lock::lock_within(safe_open::file(&path, OFlags::RDWR | OFlags::CREATE)?, wait)
    }
}

/// Purchase of a command. A command that was killed and runs again with the same arguments continues the same purchase,
/// until [`end`](Self::end) has returned.
#[derive(Debug)]
pub struct PurchaseRun<'a> {
    sender: &'a StampSource,
    digest: Option<String>,
    label: String,
    _lock: Option<File>,
}

impl PurchaseRun<'_> {
    /// Returns the key of the stamp for this recipient.
    #[must_use]
    pub fn key(&self, recipient: &Address) -> ReservationKey {
        ReservationKey::from_text(&format!("buy {} {}", self.label, recipient.canonical()))
    }

    /// Ends the purchase, with this disposition of its stamps.
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
