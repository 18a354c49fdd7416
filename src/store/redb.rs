//! The store on disk: one redb file per user, shared by processes that take turns. A process opens it at the first
//! question that needs it, holds it until it drops or [`releases`](Redb::release) it, and leaves it without closing it
//! (see `backend.rs` for what that spares and why it is safe).
//!
//! Three tables: `used` (key and row as in `rule.rs`), `standing` (the stamp's name to JSON), `meta` (the format and the
//! mark). Looking up and deciding happen in a read transaction, writing in a write transaction after it; nobody can come
//! between, since the lock is held all the time. Local file systems only: locks and syncs of network ones keep no such
//! promises.

use super::backend::Lean;
use super::error::StoreError;
use super::lock::{self, Lock};
use super::place::{Absent, Identity, Place, identity_of};
use super::row::{Row, merge_standing, merge_used};
use super::rule::{self, Decision, Entry, Key, Known, Name};
use super::{GRACE, GrantBook, Imported, Purged, Store, Summary, UsedLog};
use crate::grant::Standing;
use crate::mail::time::UnixTime;
use crate::stamp::serial::Serial;
use crate::verdict::spend::{Spend, Spent, Terms};
use redb::backends::FileBackend;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend, Table,
    TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const USED: TableDefinition<&Key, &[u8; 21]> = TableDefinition::new("used");
const STANDING: TableDefinition<&Name, &[u8]> = TableDefinition::new("standing");
const META: TableDefinition<&str, u32> = TableDefinition::new("meta");

/// The format that this program reads and writes.
const FORMAT: u32 = 1;
/// Suffix of a file that is being created.
const NEW: &str = ".new";
/// Ended rows that a spend takes with it.
const ALONG: usize = 64;
/// Rows in one commit of a purge or an import.
const BATCH: usize = 1_000;

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// For how long to wait while another process holds the log. Below the shortest time limit of those who call us:
    /// Sieve's, 10 s.
    pub wait: Duration,
    /// Seconds for which a row is kept after its bucket's end. Not less than the skew that the judging allows.
    pub grace: i64,
    /// Bytes of memory for pages of the file.
    pub cache: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { wait: Duration::from_secs(7), grace: GRACE, cache: 2 << 20 }
    }
}

/// The store.
#[derive(Debug)]
pub struct Redb {
    /// For messages; and where the file is, unless the storage was given.
    path: PathBuf,
    given: bool,
    options: Options,
    session: Mutex<Option<Session>>,
}

/// The log, open and locked. Dropping it lets the next process in.
#[derive(Debug)]
struct Session {
    // Before the lock, so that it is dropped first.
    database: Left,
    on_disk: Option<OnDisk>,
}

#[derive(Debug)]
struct OnDisk {
    place: Place,
    file: Identity,
    _lock: Lock,
}

/// A database that is left, not closed, when dropped.
#[derive(Debug)]
struct Left {
    database: Option<Database>,
    storage: Lean,
}

/// What a job inside the database may end with.
enum Trouble {
    Ours(StoreError),
    Theirs(Box<redb::Error>),
}

/// A standing as it is kept: with the names that its key is a hash of.
#[derive(Serialize, Deserialize)]
struct StandingRow {
    vendor: String,
    serial: String,
    standing: Standing,
}

impl Redb {
    /// The log in the file `path`. Touches nothing yet: the file is opened by the first question that needs it, and
    /// created, with its folder, by the first that has something to write.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, options: Options) -> Self {
        Self { path: path.into(), given: false, options, session: Mutex::new(None) }
    }

    /// The log in a storage of the caller's, without files and locks around it. For tests that fail, record or cut off
    /// single operations of the storage.
    ///
    /// # Errors
    /// Any [`StoreError`], as from the first question to a file.
    pub fn over(storage: impl StorageBackend, options: Options) -> Result<Self, StoreError> {
        let path = PathBuf::from("(storage)");
        let empty = storage.len().map_err(|source| StoreError::from_io("look at", &path, source))? == 0;
        let database = Left::open(Box::new(storage), options.cache, empty).map_err(|trouble| trouble.at(&path))?;
        let session = Session { database, on_disk: None };
        Ok(Self { path, given: true, options, session: Mutex::new(Some(session)) })
    }

    /// Lets other processes in. The next question opens the file again.
    pub fn release(&self) {
        *self.session() = None;
    }

    /// Reads and verifies the whole file; for `doctor`. `Ok(true)` if it is sound, `Ok(false)` if it was not and has been
    /// repaired.
    ///
    /// # Errors
    /// Any [`StoreError`]; [`StoreError::Damaged`] if it cannot be repaired.
    pub fn verify(&self) -> Result<bool, StoreError> {
        let sound = self.with(Absent::Leave, |session| Ok(session.database.get_mut()?.check_integrity()?))?;
        Ok(sound.unwrap_or(true))
    }

    /// Makes the file as small as it can be. Takes seconds for millions of rows, during which mail waits.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn compact(&self) -> Result<(), StoreError> {
        self.with(Absent::Leave, |session| Ok(session.database.get_mut()?.compact()?))?;
        Ok(())
    }

    fn session(&self) -> MutexGuard<'_, Option<Session>> {
        // A panic inside a job is caught before it gets here; the session is dropped then.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a job in the open log; `None` when there is no log and none is to be created.
    fn with<T>(
        &self,
        absent: Absent,
        job: impl FnOnce(&mut Session) -> Result<T, Trouble>,
    ) -> Result<Option<T>, StoreError> {
        let mut slot = self.session();
        if slot.as_ref().is_some_and(|session| !session.current()) {
            *slot = None;
        }
        if slot.is_none() {
            *slot = self.open(absent)?;
        }
        let Some(session) = slot.as_mut() else { return Ok(None) };
        guarded(|| job(session)).map(Some).map_err(|trouble| {
            // What failed once is opened anew, since the database refuses all work after an error of the disk. A clock
            // that is behind is no failure of the log.
            if !matches!(trouble, Trouble::Ours(StoreError::ClockBehind { .. })) {
                *slot = None;
            }
            trouble.at(&self.path)
        })
    }

    fn open(&self, absent: Absent) -> Result<Option<Session>, StoreError> {
        if self.given {
            let source = io::Error::other("it failed or was released before");
            return Err(StoreError::Io { doing: "use", path: self.path.clone(), source });
        }
        let Some(place) = Place::open(&self.path, absent)? else { return Ok(None) };
        // A log without its lock file (restored alone, say) gets one, even if we came only to read.
        let absent_lock = if place.identity("")?.is_some() { Absent::Create } else { absent };
        let Some(mut lock) = Lock::take(&place, absent_lock, self.options.wait)? else { return Ok(None) };
        let (file, new) = match place.file("", Absent::Leave)? {
            Some(file) => (file, false),
            None if lock.marked()? => {
                return Err(StoreError::Missing { path: self.path.clone(), lock: place.path(lock::SUFFIX) });
            }
            None if absent == Absent::Leave => return Ok(None),
            // Under another name until it is complete, so that an empty or half-made file is never one of ours.
            None => {
                place.remove(NEW)?;
                let Some(file) = place.file(NEW, Absent::Create)? else { return Ok(None) };
                (file, true)
            }
        };
        let identity = identity_of(&file, &self.path)?;
        let storage = FileBackend::new(file).map_err(|error| Trouble::from(error).at(&self.path))?;
        let database =
            Left::open(Box::new(storage), self.options.cache, new).map_err(|trouble| trouble.at(&self.path))?;
        if new {
            place.rename(NEW, "")?;
        }
        lock.mark()?;
        Ok(Some(Session { database, on_disk: Some(OnDisk { place, file: identity, _lock: lock }) }))
    }

    /// What the rule says, from a read transaction.
    fn look(session: &Session, ask: &Spend) -> Result<Decision, Trouble> {
        let tx = session.database.get()?.begin_read()?;
        let known = Known {
            standing: standing_in(&tx, &rule::name(&ask.vendor, &ask.serial))?,
            entry: tx.open_table(USED)?.get(&rule::key(ask))?.map(|row| Entry::from_bytes(row.value())),
            mark: tx.open_table(META)?.get("mark")?.map(|mark| mark.value()),
        };
        Ok(rule::decide(ask, &known)?)
    }
}

impl UsedLog for Redb {
    fn spend(&self, ask: &Spend) -> Result<Spent, StoreError> {
        let absent = if ask.terms == Terms::Spend { Absent::Create } else { Absent::Leave };
        let grace = self.options.grace;
        let spent = self.with(absent, |session| {
            let Decision { answer, write } = Self::look(session, ask)?;
            if let Some(entry) = write {
                let tx = session.database.begin_write()?;
                {
                    let mut used = tx.open_table(USED)?;
                    used.insert(&rule::key(ask), &entry.to_bytes())?;
                    let below = rule::first_kept(ask.now, grace).min(rule::bucket(ask.expires));
                    clear(&tx, &mut used, below, ALONG)?;
                }
                tx.commit()?;
            }
            Ok(answer)
        })?;
        spent.map_or_else(|| answer_of_nothing(ask), Ok)
    }

    fn peek(&self, ask: &Spend) -> Result<Spent, StoreError> {
        let spent = self.with(Absent::Leave, |session| Ok(Self::look(session, ask)?.answer))?;
        spent.map_or_else(|| answer_of_nothing(ask), Ok)
    }

    fn purge(&self, now: UnixTime, grace: i64, most: usize) -> Result<Purged, StoreError> {
        let below = rule::first_kept(now, grace);
        let mut done = Purged::default();
        loop {
            let room = BATCH.min(most - done.removed);
            let step = self.with(Absent::Leave, |session| {
                // An idle purge writes nothing.
                let used = session.database.get()?.begin_read()?.open_table(USED)?;
                let left = used.range::<&Key>(..&rule::join(below, &[0; 16]))?.next().transpose()?.is_some();
                if !left || room == 0 {
                    return Ok(Purged { removed: 0, left });
                }
                let tx = session.database.begin_write()?;
                let step = clear(&tx, &mut tx.open_table(USED)?, below, room)?;
                tx.commit()?;
                Ok(step)
            })?;
            let step = step.unwrap_or_default();
            done = Purged { removed: done.removed + step.removed, left: step.left };
            if !step.left || done.removed >= most {
                return Ok(done);
            }
            if !self.given {
                // Mail that waits goes first.
                self.release();
            }
        }
    }
}

impl GrantBook for Redb {
    fn standing(&self, vendor: &str, serial: &Serial) -> Result<Standing, StoreError> {
        let name = rule::name(vendor, serial);
        let found = self.with(Absent::Leave, |session| standing_in(&session.database.get()?.begin_read()?, &name))?;
        Ok(found.unwrap_or_default())
    }

    fn set_standing(&self, vendor: &str, serial: &Serial, standing: Standing) -> Result<Standing, StoreError> {
        let name = rule::name(vendor, serial);
        let absent = if standing == Standing::default() { Absent::Leave } else { Absent::Create };
        let before = self.with(absent, |session| {
            let before = standing_in(&session.database.get()?.begin_read()?, &name)?;
            if before != standing {
                let tx = session.database.begin_write()?;
                put_standing(&mut tx.open_table(STANDING)?, vendor, serial, standing)?;
                tx.commit()?;
            }
            Ok(before)
        })?;
        Ok(before.unwrap_or_default())
    }
}

impl Store for Redb {
    fn export(&self, to: &mut dyn FnMut(Row) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.with(Absent::Leave, |session| {
            let tx = session.database.get()?.begin_read()?;
            if let Some(mark) = tx.open_table(META)?.get("mark")?
                && to(Row::Cleared { hour: mark.value() }).is_break()
            {
                return Ok(());
            }
            for row in tx.open_table(USED)?.iter()? {
                let (key, entry) = row?;
                let (hour, stamp) = rule::split(key.value());
                if to(Row::used(hour, stamp, Entry::from_bytes(entry.value()))).is_break() {
                    return Ok(());
                }
            }
            for row in tx.open_table(STANDING)?.iter()? {
                let StandingRow { vendor, serial, standing } = StandingRow::from_bytes(row?.1.value())?;
                let serial = Serial::new(serial).map_err(|error| Trouble::damaged(&error))?;
                if to(Row::Standing { vendor, serial, standing }).is_break() {
                    return Ok(());
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    fn import(&self, rows: &mut dyn Iterator<Item = Row>) -> Result<Imported, StoreError> {
        let mut done = Imported::default();
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let batch = self.with(Absent::Create, |session| {
                let mut done = Imported::default();
                let tx = session.database.begin_write()?;
                {
                    let mut used = tx.open_table(USED)?;
                    let mut standings = tx.open_table(STANDING)?;
                    for row in rows.by_ref().take(BATCH) {
                        let changed = take_in(&tx, &mut used, &mut standings, row)?;
                        *(if changed { &mut done.taken } else { &mut done.known }) += 1;
                    }
                }
                tx.commit()?;
                Ok(done)
            })?;
            let batch = batch.unwrap_or_default();
            done = Imported { taken: done.taken + batch.taken, known: done.known + batch.known };
        }
        Ok(done)
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        let summary = self.with(Absent::Leave, |session| {
            let tx = session.database.get()?.begin_read()?;
            let bytes = match &session.on_disk {
                Some(on_disk) => on_disk.place.bytes("")?,
                None => session.database.storage.len().map_err(redb::Error::Io)?,
            };
            Ok(Summary {
                used: tx.open_table(USED)?.len()?,
                standings: tx.open_table(STANDING)?.len()?,
                bytes,
                cleared: tx.open_table(META)?.get("mark")?.map(|mark| rule::bucket_end(mark.value())),
                format: FORMAT,
            })
        })?;
        Ok(summary.unwrap_or_default())
    }
}

impl Session {
    /// Whether the file still stands where it was opened. One that was removed or replaced is no place for a spend.
    fn current(&self) -> bool {
        self.on_disk.as_ref().is_none_or(|it| it.place.identity("").is_ok_and(|now| now == Some(it.file)))
    }
}

impl Left {
    fn open(storage: Box<dyn StorageBackend>, cache: usize, new: bool) -> Result<Self, Trouble> {
        let storage = Lean::new(storage);
        let mut left = Self { database: None, storage: storage.clone() };
        guarded(|| {
            if !new && storage.len().map_err(redb::Error::Io)? == 0 {
                return Err(Trouble::damaged(&"it is empty"));
            }
            let database = redb::Builder::new().set_cache_size(cache).create_with_backend(storage)?;
            let database = left.database.insert(database);
            if new {
                establish(database)?;
            }
            check_format(database)
        })?;
        Ok(left)
    }

    fn get(&self) -> Result<&Database, Trouble> {
        self.database.as_ref().ok_or_else(|| Trouble::damaged(&"it is not open"))
    }

    fn get_mut(&mut self) -> Result<&mut Database, Trouble> {
        self.database.as_mut().ok_or_else(|| Trouble::damaged(&"it is not open"))
    }

    /// A write transaction whose commit is two-phase (what vendors chose must not forge a checksum) and leaves the file
    /// so that it opens fast without having been closed.
    fn begin_write(&self) -> Result<WriteTransaction, Trouble> {
        let mut tx = self.get()?.begin_write()?;
        tx.set_quick_repair(true);
        Ok(tx)
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.storage.cut();
        let Some(mut database) = self.database.take() else { return };
        // Dropping would commit once more into the void; the check begins with a sync, which fails now, and after a
        // failure the database has nothing more to write.
        let _ = guarded(move || {
            let _ = database.check_integrity();
            drop(database);
            Ok(())
        });
    }
}

impl StandingRow {
    fn from_bytes(bytes: &[u8]) -> Result<Self, Trouble> {
        serde_json::from_slice(bytes).map_err(|error| Trouble::damaged(&error))
    }
}

impl Trouble {
    fn damaged(what: &dyn ToString) -> Self {
        Self::Ours(StoreError::Damaged { path: PathBuf::new(), what: what.to_string() })
    }

    /// The error for the caller, with the path that the job did not know.
    fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Ours(StoreError::Damaged { what, .. }) => StoreError::Damaged { path: path.to_owned(), what },
            Self::Ours(StoreError::Version { found, known, .. }) => {
                StoreError::Version { path: path.to_owned(), found, known }
            }
            Self::Ours(error) => error,
            Self::Theirs(error) => StoreError::from_redb(path, *error),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Ours(error)
    }
}

macro_rules! theirs {
    ($($error:ty),*) => {
        $(impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                Self::Theirs(Box::new(error.into()))
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

/// Runs a job of the database. It may panic on a file that was altered from outside; that is damage, and never an answer.
fn guarded<T>(job: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(job))
        .unwrap_or_else(|_| Err(Trouble::damaged(&"its database cannot make sense of it")))
}

/// Where there is no log nothing is known, and nothing is written on terms that could spend.
fn answer_of_nothing(ask: &Spend) -> Result<Spent, StoreError> {
    rule::decide(ask, &Known::default()).map(|decision| decision.answer)
}

fn establish(database: &Database) -> Result<(), Trouble> {
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    tx.open_table(USED)?;
    tx.open_table(STANDING)?;
    tx.open_table(META)?.insert("format", FORMAT)?;
    Ok(tx.commit()?)
}

fn check_format(database: &Database) -> Result<(), Trouble> {
    let tx = database.begin_read()?;
    let meta = tx.open_table(META).map_err(|error| Trouble::damaged(&error))?;
    match meta.get("format")?.map(|format| format.value()) {
        Some(FORMAT) => Ok(()),
        Some(found) => Err(StoreError::Version { path: PathBuf::new(), found, known: FORMAT }.into()),
        None => Err(Trouble::damaged(&"it does not say its format")),
    }
}

fn standing_in(tx: &ReadTransaction, name: &Name) -> Result<Standing, Trouble> {
    match tx.open_table(STANDING)?.get(name)? {
        Some(row) => Ok(StandingRow::from_bytes(row.value())?.standing),
        None => Ok(Standing::default()),
    }
}

fn put_standing(
    table: &mut Table<&Name, &[u8]>,
    vendor: &str,
    serial: &Serial,
    standing: Standing,
) -> Result<(), Trouble> {
    let name = rule::name(vendor, serial);
    if standing == Standing::default() {
        table.remove(&name)?;
    } else {
        let row = StandingRow { vendor: vendor.to_owned(), serial: serial.to_string(), standing };
        let json = serde_json::to_vec(&row).map_err(|error| Trouble::damaged(&error))?;
        table.insert(&name, json.as_slice())?;
    }
    Ok(())
}

/// Removes up to `most` rows of the buckets below `below`, oldest first, and raises the mark to the last bucket touched.
/// A bucket of which one row went is under the mark as a whole: which of its serials were there cannot be told any more.
fn clear(tx: &WriteTransaction, used: &mut Table<&Key, &[u8; 21]>, below: u32, most: usize) -> Result<Purged, Trouble> {
    let end = rule::join(below, &[0; 16]);
    let mut removed = 0;
    let mut last = None;
    for row in used.extract_from_if::<&Key, _>(..&end, |_, _| true)?.take(most) {
        last = Some(rule::split(row?.0.value()).0);
        removed += 1;
    }
    if let Some(bucket) = last {
        raise_mark(tx, bucket)?;
    }
    Ok(Purged { removed, left: used.range::<&Key>(..&end)?.next().transpose()?.is_some() })
}

fn raise_mark(tx: &WriteTransaction, bucket: u32) -> Result<bool, Trouble> {
    let mut meta = tx.open_table(META)?;
    let known = meta.get("mark")?.map(|mark| mark.value());
    let raised = known < Some(bucket);
    if raised {
        meta.insert("mark", bucket)?;
    }
    Ok(raised)
}

fn take_in(
    tx: &WriteTransaction,
    used: &mut Table<&Key, &[u8; 21]>,
    standings: &mut Table<&Name, &[u8]>,
    row: Row,
) -> Result<bool, Trouble> {
    match row {
        Row::Cleared { hour } => raise_mark(tx, hour),
        Row::Used { hour, stamp, fingerprint, first_seen, times } => {
            let key = rule::join(hour, &stamp);
            let before = used.get(&key)?.map(|row| Entry::from_bytes(row.value()));
            let after = merge_used(before, Entry { fingerprint, first_seen, times });
            if before != Some(after) {
                used.insert(&key, &after.to_bytes())?;
            }
            Ok(before != Some(after))
        }
        Row::Standing { vendor, serial, standing } => {
            let before = match standings.get(&rule::name(&vendor, &serial))? {
                Some(row) => StandingRow::from_bytes(row.value())?.standing,
                None => Standing::default(),
            };
            let after = merge_standing(&before, standing);
            let changed = before != after;
            if changed {
                put_standing(standings, &vendor, &serial, after)?;
            }
            Ok(changed)
        }
    }
}
