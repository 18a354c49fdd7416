//! Session: a log while it is open and locked, its tables checked, and detached without closing when dropped. This
//! module also creates the file. Requests to the tables are elsewhere.

use super::lock::{self, Lock, Wait};
use super::sync_elision::{DirtyFlag, SyncElidingBackend};
use crate::os::panics::catch_silently;
use crate::os::safe_dir::{FileId, IfMissing, PathError, SafePath, identity_of};
use crate::store::error::StoreError;
use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Suffix of a file that is being created.
const NEW: &str = ".new";

/// The schema of a store file.
pub(crate) struct Schema {
    /// Creates the tables of an empty file.
    pub(crate) create: fn(&Database) -> Result<(), SessionError>,
    /// Checks that the tables are those of this store, in the known format.
    pub(crate) check: fn(&Database) -> Result<(), SessionError>,
    /// Recovers into the tables what is in other files beside the store.
    pub(crate) recover: fn(&Session, &SafePath) -> Result<(), SessionError>,
}

/// The log, open and locked. Dropping it releases the lock.
#[derive(Debug)]
pub(crate) struct Session {
    // Before the lock, so that it is dropped first.
    database: DetachedDatabase,
    on_disk: Option<OnDisk>,
}

#[derive(Debug)]
struct OnDisk {
    place: SafePath,
    file: FileId,
    _lock: Lock,
}

/// A database that is detached, not closed, when dropped.
#[derive(Debug)]
struct DetachedDatabase {
    database: Option<Database>,
    storage: SyncElidingBackend,
}

/// Errors of a job inside the database.
pub(crate) enum SessionError {
    Store(StoreError),
    Redb(Box<redb::Error>),
}

impl Session {
    /// Takes the lock and opens the log.
    /// `None` when there is none and none is to be created.
    pub(crate) fn open(
        path: &Path,
        absent: IfMissing,
        wait: Wait,
        cache: usize,
        schema: &Schema,
    ) -> Result<Option<Self>, StoreError> {
        let Some(place) = SafePath::open(path, absent)? else { return Ok(None) };
        // A log without its lock file (restored alone, say) gets one, even for a read.
        let absent_lock = if place.identity("")?.is_some() { IfMissing::Create } else { absent };
        let Some(lock) = Lock::take(&place, absent_lock, wait)? else { return Ok(None) };
        let file = match place.file("", IfMissing::Ignore)? {
            Some(file) => file,
            None if lock.was_created()? => {
                return Err(StoreError::Missing { path: path.to_owned(), lock: place.path(lock::SUFFIX) });
            }
            None if absent == IfMissing::Ignore => return Ok(None),
            None => {
                create(&place, cache, schema)?;
                place.file("", IfMissing::Ignore)?.ok_or_else(|| SessionError::damaged(&"it was removed").at(path))?
            }
        };
        lock.set_created()?;
        let identity = identity_of(&file, path)?;
        let database = DetachedDatabase::open(storage_of(file, path)?, Box::new(lock.note()), cache, false, schema);
        let database = database.map_err(|trouble| trouble.at(path))?;
        let session = Self { database, on_disk: Some(OnDisk { place, file: identity, _lock: lock }) };
        if let Some(place) = session.place() {
            catch_panic(|| (schema.recover)(&session, place)).map_err(|trouble| trouble.at(path))?;
        }
        if !session.current() {
            // The folder was moved during the wait for the lock. The next try opens the file that is there now.
            return Err(StoreError::Busy { path: path.to_owned(), waited: Duration::ZERO });
        }
        Ok(Some(session))
    }

    /// Opens the log in the caller's storage; creates one in an empty storage.
    pub(crate) fn over(
        storage: Box<dyn StorageBackend>,
        unsettled: Arc<AtomicBool>,
        cache: usize,
        schema: &Schema,
    ) -> Result<Self, SessionError> {
        let note = Box::new(unsettled);
        let new = storage.len().map_err(redb::Error::Io)? == 0;
        Ok(Self { database: DetachedDatabase::open(storage, note, cache, new, schema)?, on_disk: None })
    }

    /// Whether the path still leads to the open file.
    /// A file that was removed or replaced, alone or with its folder, must take no spend.
    pub(in crate::store) fn current(&self) -> bool {
        self.on_disk.as_ref().is_none_or(|it| it.place.leads_to(it.file))
    }

    /// Returns the path of its files; `None` in the caller's storage.
    pub(in crate::store) fn place(&self) -> Option<&SafePath> {
        self.on_disk.as_ref().map(|on_disk| &on_disk.place)
    }

    /// Returns the bytes that the log takes.
    pub(in crate::store) fn bytes(&self) -> Result<u64, SessionError> {
        match &self.on_disk {
            Some(on_disk) => Ok(on_disk.place.bytes("")?),
            None => Ok(self.database.storage.len().map_err(redb::Error::Io)?),
        }
    }

    pub(crate) fn read(&self) -> Result<ReadTransaction, SessionError> {
        Ok(self.database.get()?.begin_read()?)
    }

    /// Runs a job in one write transaction.
    /// The commit is two-phase, since data that vendors chose must not forge a checksum. It stores the allocator's
    /// state, so the file opens fast without having been closed.
    pub(crate) fn write<T>(
        &self,
        job: impl FnOnce(&WriteTransaction) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        self.write_if(|tx| Ok((job(tx)?, true)))
    }

    /// As [`Self::write`], but commits only if the job also returns `true`.
    pub(crate) fn write_if<T>(
        &self,
        job: impl FnOnce(&WriteTransaction) -> Result<(T, bool), SessionError>,
    ) -> Result<T, SessionError> {
        let mut tx = self.database.get()?.begin_write()?;
        tx.set_quick_repair(true);
        let (done, is_changed) = job(&tx)?;
        if is_changed {
            tx.commit()?;
            self.database.storage.mark_clean();
        } else {
            tx.abort()?;
        }
        Ok(done)
    }

    /// Returns the database itself, for work on the whole file.
    /// Its commits leave the dirty flag set: the next process syncs once more.
    pub(in crate::store) fn database_mut(&mut self) -> Result<&mut Database, SessionError> {
        self.database.database.as_mut().ok_or_else(|| SessionError::damaged(&"the database is not open"))
    }
}

impl DetachedDatabase {
    fn open(
        storage: Box<dyn StorageBackend>,
        note: Box<dyn DirtyFlag>,
        cache: usize,
        new: bool,
        schema: &Schema,
    ) -> Result<Self, SessionError> {
        let storage = SyncElidingBackend::new(storage, note);
        let mut left = Self { database: None, storage: storage.clone() };
        catch_panic(|| {
            if !new && storage.len().map_err(redb::Error::Io)? == 0 {
                return Err(SessionError::damaged(&"the file is empty"));
            }
            let database = redb::Builder::new().set_cache_size(cache).create_with_backend(storage)?;
            let database = left.database.insert(database);
            if new {
                (schema.create)(database)?;
                left.storage.mark_clean();
            }
            (schema.check)(database)
        })?;
        Ok(left)
    }

    fn get(&self) -> Result<&Database, SessionError> {
        self.database.as_ref().ok_or_else(|| SessionError::damaged(&"the database is not open"))
    }
}

impl Drop for DetachedDatabase {
    fn drop(&mut self) {
        self.storage.detach();
        let Some(mut database) = self.database.take() else { return };
        // Dropping an open database would commit once more, without effect. The check begins with a sync, which fails
        // now. After that failure the database writes nothing more.
        let _ = catch_panic(move || {
            let _ = database.check_integrity();
            drop(database);
            Ok(())
        });
    }
}

impl SessionError {
    /// Makes an error for a damaged file whose path is not known here.
    pub(crate) fn damaged(what: &dyn ToString) -> Self {
        Self::Store(StoreError::Damaged { path: PathBuf::new(), what: what.to_string() })
    }

    /// Returns the error for the caller, with the path filled in.
    pub(crate) fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Store(StoreError::Damaged { what, .. }) => StoreError::Damaged { path: path.to_owned(), what },
            Self::Store(StoreError::Version { found, known, .. }) => {
                StoreError::Version { path: path.to_owned(), found, known }
            }
            Self::Store(error) => error,
            Self::Redb(error) => StoreError::from_redb(path, *error),
        }
    }
}

impl From<PathError> for SessionError {
    fn from(error: PathError) -> Self {
        Self::Store(error.into())
    }
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

macro_rules! theirs {
    ($($error:ty),*) => {
        $(impl From<$error> for SessionError {
            fn from(error: $error) -> Self {
                Self::Redb(Box::new(error.into()))
            }
        })*
    };
}

theirs!(
    redb::Error,
    redb::CommitError,
    redb::CompactionError,
    redb::DatabaseError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError
);

/// Runs a job of the database, and turns a panic into [`StoreError::Damaged`].
/// The database may panic on a file that was altered from outside.
pub(crate) fn catch_panic<T>(job: impl FnOnce() -> Result<T, SessionError>) -> Result<T, SessionError> {
    catch_silently(job).unwrap_or_else(|| Err(SessionError::damaged(&"database is corrupt")))
}

/// Creates an empty log.
/// It has another name until it is complete and durable, so that a file with the log's name is never empty or
/// incomplete.
fn create(place: &SafePath, cache: usize, schema: &Schema) -> Result<(), StoreError> {
    place.remove(NEW)?;
    if let Some(file) = place.file(NEW, IfMissing::Create)? {
        let path = place.path(NEW);
        let note = Arc::new(AtomicBool::new(true));
        DetachedDatabase::open(storage_of(file, &path)?, Box::new(note), cache, true, schema)
            .map_err(|trouble| trouble.at(&path))?;
    }
    Ok(place.rename(NEW, "")?)
}

fn storage_of(file: File, path: &Path) -> Result<Box<dyn StorageBackend>, StoreError> {
    let storage = FileBackend::new(file).map_err(|error| SessionError::from(error).at(path))?;
    Ok(Box::new(storage))
}
