//! Database of the opened ledger.
//!
//! After a failure, such as a full disk, the database is closed, and the next call opens it again, as a new process
//! would. The ledger therefore continues as soon as the disk works. Changes that were not durable by then did not
//! happen.

use super::error::LedgerError;
use super::files::LedgerPaths;
use super::schema::{self, TxError, TxResult};
use crate::os::panics::catch_silently;
use redb::backends::FileBackend;
use redb::{Database, ReadOnlyDatabase};
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

/// Page cache in bytes: 64 MiB.
const CACHE: usize = 64 << 20;

/// How long a failure is reported, unless a write succeeded since.
const TOLD: Duration = Duration::from_secs(60);

/// The database, or `None` until it is opened again.
#[derive(Debug)]
pub(super) struct SharedDatabase {
    place: LedgerPaths,
    database: RwLock<Option<Database>>,
    /// Time of the failure, if no write succeeded since.
    failed: Mutex<Option<Instant>>,
}

impl SharedDatabase {
    pub(super) fn new(place: LedgerPaths, database: Database) -> Self {
        Self { place, database: RwLock::new(Some(database)), failed: Mutex::default() }
    }

    /// Runs `act` on the database, and closes it after a failure.
    pub(super) fn with<T>(&self, act: impl FnOnce(&Database) -> TxResult<T>) -> Result<T, LedgerError> {
        let path = self.place.ledger();
        let mut held = self.read();
        if held.is_none() {
            drop(held);
            self.open_again(&path)?;
            held = self.read();
        }
        let database = held.as_ref().ok_or(LedgerError::Left)?;
        let done = catch_silently(|| act(database));
        drop(held);
        let done = match done {
            Some(Err(TxError::Theirs(error))) => Err(TxError::Theirs(error)),
            Some(done) => return done.map_err(|stop| stop.at(&path)),
            None => Err(senseless()),
        };
        self.note(Some(Instant::now()));
        self.close();
        done.map_err(|stop| stop.at(&path))
    }

    /// Returns whether it failed recently and no write succeeded since. Limited in time: clients that are turned away
    /// by it write nothing.
    pub(super) fn failed(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < TOLD)
    }

    /// Records a successful write.
    pub(super) fn wrote(&self) {
        self.note(None);
    }

    fn note(&self, failed: Option<Instant>) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no thread uses the database, and closes it.
    fn close(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        // Closing a failed database may panic, which changes nothing.
        catch_silently(|| drop(database));
    }

    fn open_again(&self, path: &Path) -> Result<(), LedgerError> {
        let mut held = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(existing(&self.place, path)?);
        }
        Ok(())
    }
}

/// Opens an existing database.
pub(super) fn existing(place: &LedgerPaths, path: &Path) -> Result<Database, LedgerError> {
    let database = open(place.open(path)?, path)?;
    schema::check_format(&database, path)?;
    Ok(database)
}

/// Opens the database in this file; creates one if the file is empty.
pub(super) fn open(file: File, path: &Path) -> Result<Database, LedgerError> {
    guarded(path, || Ok(redb::Builder::new().set_cache_size(CACHE).create_with_backend(FileBackend::new(file)?)?))
}

/// Opens a backup without changing it: it may be on a read-only medium.
pub(super) fn read_only(path: &Path) -> Result<ReadOnlyDatabase, LedgerError> {
    guarded(path, || Ok(redb::Builder::new().set_cache_size(CACHE).open_read_only(path)?))
}

/// Runs `act` on the file; a panic means that the file is damaged, and is reported as that alone.
pub(super) fn guarded<T>(path: &Path, act: impl FnOnce() -> TxResult<T>) -> Result<T, LedgerError> {
    catch_silently(act).unwrap_or_else(|| Err(senseless())).map_err(|error| error.at(path))
}

/// Returns the error of a database that panics on a damaged file.
fn senseless() -> TxError {
    TxError::Damaged("database is corrupt".into())
}
