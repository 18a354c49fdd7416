//! The wallet: stamps bought and not yet used, what they are reserved for, and the journal of purchases, in one redb file
//! that processes take in turns. It is opened and locked by each call and let go when the call returns, so that nobody
//! waits for it while a vendor is asked.

mod buyer;
mod orphan;
mod purchases;
mod record;
mod schema;

pub(super) use buyer::PurchaseContext;
pub(super) use record::PurchaseRow;

use super::error::SupplyError;
use super::selection::RecipientPreference;
use super::stamp_request::{ReservationKey, WalletStamp};
use crate::message::address::Address;
use crate::store::{IfMissing, Session, SessionError, StoreError, Wait, catch_panic};
use crate::time::UnixTime;
use record::{KeyRow, PurchaseState, StampRow, StateRow};
use redb::ReadTransaction;
use schema::Tables;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of memory for pages of the file: a wallet is small.
const CACHE: usize = 1 << 20;
/// For how long a used stamp and a closed purchase are remembered, in seconds: 30 days.
const REMEMBERED: i64 = 30 * 86_400;

/// The wallet.
#[derive(Debug)]
pub struct Wallet {
    path: PathBuf,
    wait: Duration,
}

/// What a plan says about one want.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    /// Its key holds this stamp.
    Held(WalletStamp),
    /// This purchase will bring it; its request may have gone out already.
    Pending(PurchaseRow),
    /// There will be none.
    Refused(SupplyError),
    /// There is none in the wallet, and nothing is to be bought.
    Nothing,
}

/// What came of a purchase.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// These stamps, in the order of the orders.
    Arrived(Vec<WalletStamp>),
    /// Nothing, and nothing was charged.
    Refused,
}

/// A purchase as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// Its idempotency key.
    pub id: String,
    /// When it was begun.
    pub at: UnixTime,
    /// From which account.
    pub account: String,
    /// For whom, with the credits of each.
    pub stamps: Vec<(String, u64)>,
    /// Whether no answer has come yet.
    pub open: bool,
}

/// What becomes of the stamps of a purchase by command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// They were handed out.
    HandedOut,
    /// They stay in the wallet for anybody.
    Kept,
}

impl Wallet {
    /// The wallet in the folder of the state; `wait` is for how long to wait while another process has it. Nothing is opened
    /// yet.
    #[must_use]
    pub fn new(state: &Path, wait: Duration) -> Self {
        Self { path: state.join("wallet.redb"), wait }
    }

    /// What the key holds: reserved for it, or used by it.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn held(&self, key: &ReservationKey) -> Result<Option<WalletStamp>, StoreError> {
        let row = self.read(|tx| schema::read_held(tx, key.as_str())?.map(StampRow::held).transpose())?;
        Ok(row.flatten())
    }

    /// Whether a purchase that was not answered yet will bring a stamp for one of these keys.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn waits(&self, keys: &[ReservationKey]) -> Result<bool, StoreError> {
        Ok(self.read(|tx| schema::read_waits(tx, keys))?.unwrap_or(false))
    }

    /// The message of this key has left: its stamp is used, and one that is still under way may be had by others. To say it
    /// twice changes nothing; `false` if the key holds nothing.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn commit(&self, key: &ReservationKey, now: UnixTime) -> Result<bool, StoreError> {
        self.write(|tables| used(tables, key.as_str(), now))
    }

    /// The message of this key will never leave: its stamp may be had by others, also one that is still under way. A used
    /// stamp stays used; `false` if nothing was given back.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn give_back(&self, key: &ReservationKey) -> Result<bool, StoreError> {
        self.write(|tables| given_back(tables, key.as_str()))
    }

    /// The key means nothing any more: the next message of this key gets another stamp. For messages that cannot be told
    /// apart, when they have left.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn forget(&self, key: &ReservationKey) -> Result<(), StoreError> {
        self.write(|tables| tables.remove_key(key.as_str()))
    }

    /// All stamps, used ones too while they are remembered, in the order of vendor and serial.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn stamps(&self) -> Result<Vec<WalletStamp>, StoreError> {
        let rows = self.read(|tx| schema::read_stamps(tx)?.into_iter().map(StampRow::held).collect())?;
        Ok(rows.unwrap_or_default())
    }

    /// The purchases that are remembered, the oldest first.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn purchases(&self) -> Result<Vec<Purchase>, StoreError> {
        let purchase = |row: PurchaseRow| Purchase {
            id: row.id,
            at: UnixTime(row.at),
            account: row.account,
            stamps: row.orders.into_iter().map(|order| (order.recipient, order.value)).collect(),
            open: row.state == PurchaseState::Open,
        };
        let rows = self.read(|tx| Ok(schema::read_purchases(tx)?.into_iter().map(purchase).collect()))?;
        Ok(rows.unwrap_or_default())
    }

    /// Takes out what has ended unused, and what was used long ago, and gives up what was never answered; returns what
    /// ended unused, to be told to the user.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn sweep(&self, now: UnixTime) -> Result<Vec<WalletStamp>, StoreError> {
        let goes = |stamp: &StampRow| match stamp.state {
            StateRow::Used { at, .. } => now.0.saturating_sub(at) > REMEMBERED,
            _ => stamp.expired(now),
        };
        let any = self.read(|tx| {
            let lost = |purchase: &PurchaseRow| orphan::is_lost(purchase, now);
            Ok(schema::read_stamps(tx)?.iter().any(goes) || schema::read_purchases(tx)?.iter().any(lost))
        })?;
        if any != Some(true) {
            return Ok(Vec::new());
        }
        self.write(|tables| {
            orphan::give_up(tables, now)?;
            tables.forget_purchases(now.0.saturating_sub(REMEMBERED))?;
            let mut ended = Vec::new();
            for stamp in tables.stamps()?.into_iter().filter(goes) {
                tables.remove_stamp(&stamp)?;
                if !matches!(stamp.state, StateRow::Used { .. }) {
                    ended.push(stamp.held()?);
                }
            }
            Ok(ended)
        })
    }

    /// Takes the stamps with these serials out, whatever they are reserved for, and returns them.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn remove(&self, serials: &[String]) -> Result<Vec<WalletStamp>, StoreError> {
        self.write(|tables| {
            let mut removed = Vec::new();
            for stamp in tables.stamps()?.into_iter().filter(|stamp| serials.contains(&stamp.serial)) {
                tables.remove_stamp(&stamp)?;
                removed.push(stamp.held()?);
            }
            Ok(removed)
        })
    }

    /// Remembers what a recipient wants; `None` forgets it.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn learn(&self, recipient: &Address, learned: Option<&RecipientPreference>) -> Result<(), StoreError> {
        self.write(|tables| tables.put_learned(&recipient.canonical(), learned))
    }

    /// What recipients are known to want.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn learned(&self) -> Result<Vec<(String, RecipientPreference)>, StoreError> {
        Ok(self.read(schema::read_learned)?.unwrap_or_default())
    }

    /// Begins a purchase by command, or takes up the one with the same digest that was begun and not ended: returns its
    /// number. Whoever calls holds a lock for the digest.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub(super) fn begin_run(&self, digest: &str) -> Result<u64, StoreError> {
        self.write(|tables| {
            let (number, under_way) = tables.run(digest)?;
            let number = if under_way { number } else { number + 1 };
            tables.put_run(digest, (number, true))?;
            Ok(number)
        })
    }

    /// Ends a purchase by command: in one transaction with what becomes of its stamps.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub(super) fn end_run(
        &self,
        digest: Option<&str>,
        keys: &[ReservationKey],
        ending: Disposition,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        self.write(|tables| {
            for key in keys {
                match ending {
                    Disposition::HandedOut => used(tables, key.as_str(), now)?,
                    Disposition::Kept => given_back(tables, key.as_str())?,
                };
            }
            if let Some(digest) = digest {
                let (number, _) = tables.run(digest)?;
                tables.put_run(digest, (number, false))?;
            }
            Ok(())
        })
    }

    fn write<T>(&self, job: impl FnOnce(&mut Tables<'_>) -> Result<T, SessionError>) -> Result<T, StoreError> {
        let session = self.session(IfMissing::Create)?;
        let session = session.ok_or_else(|| SessionError::damaged(&"it cannot be made").at(&self.path))?;
        catch_panic(|| session.write(|tx| job(&mut Tables::open(tx)?)))
            .map_err(|trouble| self.told(trouble.at(&self.path)))
    }

    /// `None` when there is no wallet yet.
    fn read<T>(&self, job: impl FnOnce(&ReadTransaction) -> Result<T, SessionError>) -> Result<Option<T>, StoreError> {
        let Some(session) = self.session(IfMissing::Ignore)? else { return Ok(None) };
        let done = catch_panic(|| job(&session.read()?));
        done.map(Some).map_err(|trouble| self.told(trouble.at(&self.path)))
    }

    fn session(&self, absent: IfMissing) -> Result<Option<Session>, StoreError> {
        Session::open(&self.path, absent, Wait::For(self.wait), CACHE, &schema::SCHEMA)
            .map_err(|error| self.told(error))
    }

    /// What is said of a log is not said of a wallet.
    fn told(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Missing { path, lock } => {
                let what = format!("there was a wallet here; restore it, or remove {} and begin anew", lock.display());
                StoreError::Unsafe { path, what: format!("is gone ({what})") }
            }
            error => error,
        }
    }
}

fn used(tables: &mut Tables<'_>, key: &str, now: UnixTime) -> Result<bool, SessionError> {
    if let Some(KeyRow::Purchase { .. }) = tables.key(key)? {
        tables.remove_key(key)?;
    }
    let Some(stamp) = tables.held(key)? else { return Ok(false) };
    if !matches!(stamp.state, StateRow::Used { .. }) {
        let state = StateRow::Used { key: key.to_owned(), at: now.0 };
        tables.put_stamp(&StampRow { state, ..stamp })?;
    }
    Ok(true)
}

fn given_back(tables: &mut Tables<'_>, key: &str) -> Result<bool, SessionError> {
    if let Some(KeyRow::Purchase { .. }) = tables.key(key)? {
        tables.remove_key(key)?;
        return Ok(true);
    }
    let Some(stamp) = tables.held(key)? else { return Ok(false) };
    if matches!(stamp.state, StateRow::Used { .. }) {
        return Ok(false);
    }
    tables.put_stamp(&StampRow { state: StateRow::Unused, ..stamp })?;
    tables.remove_key(key)?;
    Ok(true)
}
