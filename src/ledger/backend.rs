//! Ledger that this process has opened: the lock, the database, the writer, and the socket for other processes. Ledgers
//! are also created and restored here.

use super::client;
use super::database::{self, SharedDatabase};
use super::error::LedgerError;
use super::files::{self, LedgerPaths};
use super::ledger_clock::LedgerClock;
use super::model::{Payer, Profile, Sale};
use super::payment::Paid;
use super::public_log::files::LogFolder;
use super::public_log::resume;
use super::published_keys;
use super::queries::ReadTx;
use super::rejection::Rejection;
use super::schema::{self, TxError, TxResult};
use super::transaction::{LedgerTx, MOST_LISTED};
use super::writer::{self, Writer};
use super::{audit, backup};
use crate::accounting::event::Event;
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Head;
use crate::accounting::order::Order;
use crate::directory::public_log::editions;
use crate::ipc::server::Server;
use crate::time::UnixTime;
use redb::{Database, ReadOnlyDatabase, ReadableDatabase, ReadableTableMetadata};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Lifetime of the count of expired revoked serials, in seconds.
const COUNTED: i64 = 60 * 60;
/// Timeout of the lock when a ledger is created.
const LOCK_WAIT: Duration = Duration::from_secs(7);

/// Opens a backup that passes an audit.
fn sound_backup(from: &Path) -> Result<ReadOnlyDatabase, LedgerError> {
    let backup = database::read_only(from)?;
    schema::check_format(&backup, from)?;
    let report = database::guarded(from, || audit::audit(&backup.begin_read()?, None))?;
    match report.problems.into_iter().next() {
        None => Ok(backup),
        Some(what) => Err(LedgerError::Damaged { path: from.to_owned(), what }),
    }
}

/// Opened ledger. Members are dropped in this order: the socket closes, the writer ends, the file is closed, the lock
/// is released.
#[derive(Debug)]
pub struct LocalLedger {
    listening: Mutex<Option<Server>>,
    /// Time and number of the last count of expired revoked serials.
    ended: Mutex<Option<(UnixTime, u64)>>,
    writer: Writer,
    clock: Arc<LedgerClock>,
    database: Arc<SharedDatabase>,
    place: LedgerPaths,
    _lock: File,
}

impl LocalLedger {
    /// Opens the ledger; `None` while another process has it.
    pub(super) fn try_open(place: &LedgerPaths) -> Result<Option<Self>, LedgerError> {
        let path = place.ledger();
        if !path.exists() {
            let path = place.folder().to_owned();
            return Err(if place.has_remains() { LedgerError::Lost { path } } else { LedgerError::Absent { path } });
        }
        let Some(lock) = place.try_lock()? else { return Ok(None) };
        Self::start(place, lock, database::existing(place, &path)?).map(Some)
    }

    /// Creates a ledger, and its keys before: an interrupted run leaves an unfinished ledger beside them.
    pub(super) fn create(
        place: &LedgerPaths,
        vendor: &str,
        make_keys: impl FnOnce() -> Result<(), LedgerError>,
        now: UnixTime,
    ) -> Result<Self, LedgerError> {
        let lock = Self::lock_new(place)?;
        if place.has_remains() {
            return Err(LedgerError::Remains { path: place.folder().to_owned() });
        }
        let path = place.unfinished();
        let database = database::open(place.create_new(&path)?, &path)?;
        make_keys()?;
        let founded = schema::establish(&database, vendor)
            .and_then(|()| writer::append_event(&database, Event::Founded { vendor: vendor.to_owned() }, now));
        founded.map_err(|stop| stop.at(&path))?;
        place.commit_rename(&path)?;
        Self::start(place, lock, database)
    }

    /// Creates a ledger from a backup that passes an audit, and takes its public log and its editions over. Returns also
    /// the names of the keys that those revoke and the backup did not.
    pub(super) fn restore(
        place: &LedgerPaths,
        from: &Path,
        log: &LogFolder,
        now: UnixTime,
    ) -> Result<(Self, Vec<String>), LedgerError> {
        let lock = Self::lock_new(place)?;
        let path = place.unrestored();
        let database = database::open(place.create_new(&path)?, &path)?;
        let backup = sound_backup(from).map_err(|error| match error {
            LedgerError::Damaged { path, what } => LedgerError::Backup { path, what },
            other => other,
        })?;
        let copied = (|| {
            backup::copy(&backup.begin_read()?, &database)?;
            writer::write(&database, now, |tx| tx.restored())
        })();
        copied.map_err(|stop: TxError| stop.at(&path))?;
        let revoked = Self::restore_revocations(place, &database, log, now)?;
        resume::restored(place, &database, &path, log, now)?;
        // Of a run that was interrupted; the keys are no longer those of an unfinished ledger.
        place.remove(&place.unfinished())?;
        place.commit_rename(&path)?;
        Ok((Self::start(place, lock, database)?, revoked))
    }

    /// Revokes the keys that the editions in the folder, and those beside the log, revoke. Copies the latter.
    fn restore_revocations(
        place: &LedgerPaths,
        database: &Database,
        log: &LogFolder,
        now: UnixTime,
    ) -> Result<Vec<String>, LedgerError> {
        let path = place.unrestored();
        let read = ReadTx::open(database, now).and_then(|tx| tx.profile());
        let Profile { vendor, keys, .. } = read.map_err(|stop| stop.at(&path))?;
        let own = place.well_known();
        let mut listed = published_keys::listed(&vendor, &own)?;
        if let Some(other) = log.path().parent().filter(|other| *other != own) {
            let beside = published_keys::listed(&vendor, other)?;
            if !beside.is_empty() {
                // The next edition continues them.
                editions::copy_missing(other, &own).map_err(|source| files::failed("write", &own, source))?;
            }
            listed.extend(beside);
        }
        let revoked = published_keys::newly_revoked(&keys, &listed);
        let names = revoked.iter().map(|key| key.kid.clone()).collect();
        if !revoked.is_empty() {
            let set = |tx: &mut LedgerTx<'_>| {
                revoked.iter().try_for_each(|key| tx.set_key(key.kid.clone(), key.key, key.state))
            };
            writer::write(database, now, set).map_err(|stop| stop.at(&path))?;
        }
        Ok(names)
    }

    /// Locks a folder without a ledger.
    fn lock_new(place: &LedgerPaths) -> Result<File, LedgerError> {
        // A lock may be held a moment longer than its ledger: by a forked process that has not yet called execve(2).
        place.wait(LOCK_WAIT, || {
            let lock = place.try_lock()?;
            if place.ledger().exists() {
                return Err(LedgerError::Exists { path: place.folder().to_owned() });
            }
            Ok(lock)
        })
    }

    fn start(place: &LedgerPaths, lock: File, database: Database) -> Result<Self, LedgerError> {
        let path = place.ledger();
        let last =
            database::guarded(&path, || schema::last_time_in(&database.begin_read()?.open_table(schema::ENTRY)?))?;
        let clock = Arc::new(LedgerClock::new(place.folder().to_owned(), last));
        let database = Arc::new(SharedDatabase::new(place.clone(), database));
        Ok(Self {
            listening: Mutex::default(),
            ended: Mutex::default(),
            writer: Writer::new(Arc::clone(&database), Arc::clone(&clock)),
            clock,
            database,
            place: place.clone(),
            _lock: lock,
        })
    }

    /// Serves other processes while this one has the ledger open: `run` handles each request.
    pub(super) fn listen<R, T>(
        core: &Arc<Self>,
        run: fn(R, &Self, UnixTime) -> Result<T, LedgerError>,
    ) -> Result<(), LedgerError>
    where
        R: DeserializeOwned + 'static,
        T: Serialize + 'static,
    {
        let weak = Arc::downgrade(core);
        let listening = client::listen(&core.place, move |request, now| match weak.upgrade() {
            Some(core) => run(request, &core, now),
            None => Err(LedgerError::Left),
        })?;
        *core.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(listening);
        Ok(())
    }

    /// Reads a snapshot, concurrently with the writer.
    pub(super) fn read<T>(&self, now: UnixTime, act: impl FnOnce(&ReadTx) -> TxResult<T>) -> Result<T, LedgerError> {
        self.database.with(|database| act(&ReadTx::open(database, now)?))
    }

    /// Writes in the next commit, and waits until it is durable.
    pub(super) fn write<T: Send + 'static>(
        &self,
        now: UnixTime,
        act: impl FnOnce(&mut LedgerTx<'_>) -> TxResult<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.writer.run(now, act)
    }

    /// Runs `act` here.
    pub(super) fn with<T>(
        &self,
        now: UnixTime,
        act: impl FnOnce(&Self, UnixTime) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        act(self, now)
    }

    /// Returns the time up to which operations at `now` may end something for good.
    pub(super) fn limit(&self, now: UnixTime) -> UnixTime {
        self.clock.limit(now)
    }

    /// Believes the times of the callers instead of the system's clock.
    pub(super) fn believe_callers(&self) {
        self.clock.believe_callers();
    }

    /// Returns the size of the file in bytes.
    pub(super) fn size(&self) -> u64 {
        std::fs::metadata(self.place.ledger()).map_or(0, |data| data.len())
    }

    /// Returns whether the disk failed recently.
    pub(super) fn failed(&self) -> bool {
        self.database.failed()
    }

    /// Writes a copy to a new file, and returns its head.
    pub(super) fn backup(&self, to: &Path) -> Result<Head, LedgerError> {
        let copied = (|| {
            let copy = database::open(files::new_file(to)?, to)?;
            // An error of the copy is not an error of the ledger.
            let copied = self.database.with(|database| Ok(backup::copy(&database.begin_read()?, &copy)))?;
            let head = copied.map_err(|stop| stop.at(to))?;
            files::sync_parent(to).map(|()| head)
        })();
        if copied.as_ref().is_err_and(|error| !already_there(error)) {
            // An incomplete backup is useless.
            let _ = std::fs::remove_file(to);
        }
        copied
    }

    /// Sells stamps. Everything but the daily cap is checked outside of the writer.
    pub(super) fn issue(
        &self,
        buyer: Payer,
        orders: Vec<Order>,
        idempotency: Option<String>,
        now: UnixTime,
    ) -> Result<Sale, LedgerError> {
        let account = buyer.account();
        let (row, terms) = self.read(now, |snapshot| snapshot.account_and_terms(account))?;
        let caps = row.map_or(terms.caps, |row| row.caps(&terms));
        // Not rejected yet: a repeated sale is answered again, even after its window has ended.
        let given = matches!(buyer, Payer::Guest(Paid::Given(_)));
        let checked = if given {
            caps.check_given(&orders, now, terms.days_within(&caps))
        } else {
            caps.check(&orders, now, terms.days_within(&caps))
        };
        let refused = checked.err().map(Rejection::from);
        let digest = digest_of(&(account, &orders));
        self.write(now, move |tx| tx.issue(&buyer, &orders, (idempotency.as_deref(), digest), refused))
    }

    /// Counts the revoked serials that need not be published any more.
    ///
    /// There can be many, so the count is cached for an hour and only made when the directory may become full.
    pub(super) fn ended(&self, now: UnixTime) -> Result<u64, LedgerError> {
        let now = self.limit(now);
        self.read(now, |snapshot| {
            if snapshot.tx.open_table(schema::REVOKED)?.len()? < MOST_LISTED / 2 {
                return Ok(0);
            }
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, count)) = ended.filter(|(at, _)| (0..COUNTED).contains(&now.since(*at))) {
                return Ok(count);
            }
            let count = snapshot.ended()?.len() as u64;
            *ended = Some((now, count));
            Ok(count)
        })
    }
}

/// Returns the hash of a request, by which a repeated one is recognized.
pub(super) fn digest_of(request: &impl Serialize) -> [u8; 32] {
    // Every request can be serialized as JSON.
    Hash::of(&serde_json::to_vec(request).unwrap_or_default()).0
}

fn already_there(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists)
}
