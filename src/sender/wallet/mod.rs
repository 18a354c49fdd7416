//! Wallet: unused stamps, their reservations, and the journal of purchases, in one redb file.
//!
//! Each call opens and locks the file, and closes it when it returns. No process therefore waits for the file while
//! another waits for a vendor.

mod buyer;
mod orphan;
mod purchases;
mod record;
mod schema;

pub(super) use buyer::PurchaseContext;
pub(super) use orphan::is_overdue;
pub(super) use record::PurchaseRow;

use super::error::SupplyError;
use super::selection::RecipientPreference;
use super::stamp_request::{ReservationKey, WalletStamp};
use crate::message::address::Address;
use crate::os::safe_dir::IfMissing;
use crate::store::{Session, SessionError, StoreError, Wait, catch_panic};
use crate::time::UnixTime;
use record::{KeyRow, StampRow, StateRow};
use redb::ReadTransaction;
use schema::Tables;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Page cache in bytes: a wallet is small.
const CACHE: usize = 1 << 20;
/// Retention of used stamps and closed purchases, in seconds: 30 days.
const REMEMBERED: i64 = 30 * 86_400;

/// The wallet.
#[derive(Debug)]
pub struct Wallet {
    path: PathBuf,
    wait: Duration,
}

/// Plan for one request.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    /// The key already holds this stamp.
    Held(WalletStamp),
    /// This purchase will deliver it. Its request may already have been sent.
    Pending(PurchaseRow),
    /// There will be no stamp.
    Refused(SupplyError),
}

/// Result of a purchase.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// A stamp for each of the orders, in their order, or what is wrong with the one that came.
    Arrived(Vec<Result<WalletStamp, String>>),
    /// No stamp, and nothing was charged.
    Refused,
    /// An answer that cannot be read, for this reason. The request may be repeated.
    Unreadable(String),
}

/// Journalled purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// Its idempotency key.
    pub id: String,
    /// Time of its start.
    pub at: UnixTime,
    /// Name of the account.
    pub account: String,
    /// Recipients and the credits of each stamp.
    pub stamps: Vec<(String, u64)>,
    /// Whether it is still unanswered.
    pub open: bool,
    /// Those of the stamps that may have been charged and did not come.
    pub lost: Vec<(String, u64)>,
    /// Why they did not come.
    pub fault: Option<String>,
}

/// Disposition of the stamps of a purchase by command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// They were printed for the user.
    HandedOut,
    /// They stay in the wallet, free for any key.
    Kept,
}

impl Wallet {
    /// Returns the wallet in the state folder. Opens no file yet.
    ///
    /// `wait` is the timeout of the lock that another process may hold.
    #[must_use]
    pub fn new(state: &Path, wait: Duration) -> Self {
        Self { path: state.join("wallet.redb"), wait }
    }

    /// Returns the stamp that is reserved for the key or used by it.
    pub fn held(&self, key: &ReservationKey) -> Result<Option<WalletStamp>, StoreError> {
        let row = self.read(|tx| schema::read_held(tx, key.as_str())?.map(StampRow::held).transpose())?;
        Ok(row.flatten())
    }

    /// Returns whether an unanswered purchase will deliver a stamp for one of these keys.
    pub fn waits(&self, keys: &[ReservationKey]) -> Result<bool, StoreError> {
        Ok(self.read(|tx| schema::read_waits(tx, keys, None))?.unwrap_or(false))
    }

    /// Marks the stamp of this key as used, since its message was sent.
    ///
    /// A stamp that is still to arrive becomes free for any key. A second call changes nothing. Returns `false` if the
    /// key holds nothing.
    pub fn commit(&self, key: &ReservationKey, now: UnixTime) -> Result<bool, StoreError> {
        self.write(|tables| used(tables, key.as_str(), now))
    }

    /// Frees the stamp of this key, also one that is still to arrive, since its message will not be sent.
    ///
    /// A used stamp stays used. Returns `false` if nothing was given back.
    pub fn give_back(&self, key: &ReservationKey) -> Result<bool, StoreError> {
        self.write(|tables| given_back(tables, key.as_str()))
    }

    /// Does what [`commit`](Self::commit) does for the keys whose message was sent (`true`), and
    /// [`give_back`](Self::give_back) for the others, in one transaction.
    pub fn close(&self, keys: &[(ReservationKey, bool)], now: UnixTime) -> Result<(), StoreError> {
        self.write(|tables| {
            for (key, is_sent) in keys {
                if *is_sent {
                    used(tables, key.as_str(), now)?
                } else {
                    given_back(tables, key.as_str())?
                };
            }
            Ok(())
        })
    }

    /// Removes the key: the next message with this key gets another stamp.
    ///
    /// For messages that cannot be told apart, after they were sent.
    pub fn forget(&self, key: &ReservationKey) -> Result<(), StoreError> {
        self.write(|tables| tables.remove_key(key.as_str()))
    }

    /// Lists all stamps by vendor and serial, also used ones within their retention.
    pub fn stamps(&self) -> Result<Vec<WalletStamp>, StoreError> {
        let rows = self.read(|tx| schema::read_stamps(tx)?.into_iter().map(StampRow::held).collect())?;
        Ok(rows.unwrap_or_default())
    }

    /// Lists the purchases within their retention, the oldest first.
    pub fn purchases(&self) -> Result<Vec<Purchase>, StoreError> {
        let rows = self.read(|tx| Ok(schema::read_purchases(tx)?.into_iter().map(PurchaseRow::shown).collect()))?;
        Ok(rows.unwrap_or_default())
    }

    /// Removes expired stamps and used ones beyond their retention, and gives up purchases that were never answered.
    ///
    /// Returns the stamps that expired unused, to be reported to the user.
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

    /// Removes the stamps with these serials, whatever they are reserved for, and returns them.
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

    /// Stores the preference of a recipient; `None` removes it.
    pub fn learn(&self, recipient: &Address, learned: Option<&RecipientPreference>) -> Result<(), StoreError> {
        self.write(|tables| tables.put_learned(&recipient.normalized(), learned))
    }

    /// Lists the known preferences of recipients.
    pub fn learned(&self) -> Result<Vec<(String, RecipientPreference)>, StoreError> {
        Ok(self.read(schema::read_learned)?.unwrap_or_default())
    }

    /// Begins a purchase by command, or resumes an unfinished one with the same digest, and returns its number.
    ///
    /// The caller holds a lock for the digest.
    pub(super) fn begin_run(&self, digest: &str) -> Result<u64, StoreError> {
        self.write(|tables| {
            let (number, under_way) = tables.run(digest)?;
            let number = if under_way { number } else { number + 1 };
            tables.put_run(digest, (number, true))?;
            Ok(number)
        })
    }

    /// Ends a purchase by command and applies the disposition of its stamps, in one transaction. Without a digest, the
    /// purchase has a name: its keys still find the stamps that are kept.
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
                    Disposition::Kept if digest.is_none() => kept_by_name(tables, key.as_str())?,
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
        let session = session.ok_or_else(|| SessionError::damaged(&"it cannot be created").at(&self.path))?;
        catch_panic(|| session.write(|tx| job(&mut Tables::open(tx)?)))
            .map_err(|trouble| self.told(trouble.at(&self.path)))
    }

    /// Runs `job` on the wallet; `None` when there is no wallet yet.
    fn read<T>(&self, job: impl FnOnce(&ReadTransaction) -> Result<T, SessionError>) -> Result<Option<T>, StoreError> {
        let Some(session) = self.session(IfMissing::Ignore)? else { return Ok(None) };
        let done = catch_panic(|| job(&session.read()?));
        done.map(Some).map_err(|trouble| self.told(trouble.at(&self.path)))
    }

    fn session(&self, absent: IfMissing) -> Result<Option<Session>, StoreError> {
        Session::open(&self.path, absent, Wait::For(self.wait), CACHE, &schema::SCHEMA)
            .map_err(|error| self.told(error))
    }

    /// Replaces the error of a missing log with that of a missing wallet.
    fn told(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Missing { path, lock } => {
                let what = format!("restore the wallet, or remove {} to start an empty one", lock.display());
                StoreError::Unsafe { path, what: format!("missing: {what}") }
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

/// Frees the stamp of a named purchase for other keys, and leaves the name's key.
fn kept_by_name(tables: &mut Tables<'_>, key: &str) -> Result<bool, SessionError> {
    let stamp = tables.held(key)?;
    let own = stamp.filter(|it| matches!(&it.state, StateRow::Reserved { key: by, .. } if by == key));
    let Some(stamp) = own else { return Ok(false) };
    tables.put_stamp(&StampRow { state: StateRow::Unused, named: Some(key.to_owned()), ..stamp })?;
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
