//! The database of the ledger while this process has it. After a failure (a full disk, say) it can be trusted with nothing
//! more: it is closed, and whoever comes next opens it anew, as the next process would. So the ledger goes on as soon as the
//! disk does, and what was not durable then was not done.

use super::error::LedgerError;
use super::files::Place;
use super::schema::{self, TxError, TxResult};
use redb::backends::FileBackend;
use redb::{Database, ReadOnlyDatabase};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

/// Bytes of memory for pages of the file: 64 MiB.
const CACHE: usize = 64 << 20;

/// For how long a failure is told of, unless something was written since.
const TOLD: Duration = Duration::from_secs(60);

/// The database, or none until it is opened anew.
#[derive(Debug)]
pub(super) struct Held {
    place: Place,
    database: RwLock<Option<Database>>,
    /// When it failed, if nothing was written since.
    failed: Mutex<Option<Instant>>,
}

impl Held {
    pub(super) fn new(place: Place, database: Database) -> Self {
        Self { place, database: RwLock::new(Some(database)), failed: Mutex::default() }
    }

    /// Does something with the database, and closes it if it fails.
    pub(super) fn with<T>(&self, act: impl FnOnce(&Database) -> TxResult<T>) -> Result<T, LedgerError> {
        let path = self.place.ledger();
        let mut held = self.read();
        if held.is_none() {
            drop(held);
            self.open_again(&path)?;
            held = self.read();
        }
        let database = held.as_ref().ok_or(LedgerError::Left)?;
        let done = catch_unwind(AssertUnwindSafe(|| act(database)));
        drop(held);
        let done = match done {
            Ok(Err(TxError::Theirs(error))) => Err(TxError::Theirs(error)),
            Ok(done) => return done.map_err(|stop| stop.at(&path)),
            Err(_) => Err(senseless()),
        };
        self.note(Some(Instant::now()));
        self.close();
        done.map_err(|stop| stop.at(&path))
    }

    /// Whether it failed a moment ago, and nothing was written since. Not for longer: whoever is sent away by that writes
    /// nothing.
    pub(super) fn failed(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < TOLD)
    }

    /// Something was written.
    pub(super) fn wrote(&self) {
        self.note(None);
    }

    fn note(&self, failed: Option<Instant>) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody uses it.
    fn close(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        // It may panic in its ruins; it is over either way.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }

    fn open_again(&self, path: &Path) -> Result<(), LedgerError> {
        let mut held = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(existing(&self.place, path)?);
        }
        Ok(())
    }
}

/// The database that is there.
pub(super) fn existing(place: &Place, path: &Path) -> Result<Database, LedgerError> {
    let database = open(place.open(path)?, path)?;
    schema::check_format(&database, path)?;
    Ok(database)
}

/// The database in this file; a new one, if it is empty.
pub(super) fn open(file: File, path: &Path) -> Result<Database, LedgerError> {
    guarded(path, || redb::Builder::new().set_cache_size(CACHE).create_with_backend(FileBackend::new(file)?))
}

/// A backup is left as it is, and may be on a medium that cannot be written.
pub(super) fn read_only(path: &Path) -> Result<ReadOnlyDatabase, LedgerError> {
    guarded(path, || redb::Builder::new().set_cache_size(CACHE).open_read_only(path))
}

fn guarded<T>(path: &Path, open: impl FnOnce() -> Result<T, redb::DatabaseError>) -> Result<T, LedgerError> {
    let opened = catch_unwind(AssertUnwindSafe(open)).map_err(|_| senseless().at(path))?;
    opened.map_err(|error| TxError::from(error).at(path))
}

/// The database may panic over a damaged file.
fn senseless() -> TxError {
    TxError::Damaged("its database cannot make sense of it".into())
}
