//! Store of the daemon. It keeps the log open and locked, and commits concurrent spends together in one durable write
//! of the WAL. A flusher thread moves the rows into the tables. It decides by the same rule over the same rows as every
//! store; only the location of the newest rows differs.
//!
//! - Requests other than spends go to the tables, after a flush, and no spend comes in between.
//! - Other processes get the log by a [lease](ResidentLog::lend).
//! - When the daemon gives up the log, for a lease or for good, the log has no WAL.

mod impls;
mod loan;
pub(super) mod log_server;
pub(super) mod wal;

use super::UsedLog;
use super::error::StoreError;
use super::redb::schema::{FORMAT, META, USED};
use super::redb::session::Session;
use super::redb::write_batch::{self, WriteBatch};
use super::redb::{self, Options, Redb, result_without_log};
use crate::ipc::server::Server;
use crate::os::group_commit::GroupCommit;
use crate::os::safe_dir::IfMissing;
use crate::time::UnixTime;
use crate::verdict::spend::{SpendRequest, SpendResult, Terms};
use ::redb::{ReadableTableMetadata, StorageBackend};
use log_server::AnswerCounters;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use wal::{Record, SUFFIXES, Wal};

pub use wal::WalFile;

/// Spends that share one write of the WAL at most.
const MAX_BATCH: usize = 256;
/// This many rows are flushed without waiting for more.
const FLUSH_THRESHOLD: usize = 4_096;
/// Rows are flushed after this time, even if no more follow.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// The store.
#[derive(Debug)]
pub struct ResidentLog {
    inner: Arc<Core>,
    flusher: Option<JoinHandle<()>>,
    attendant: Mutex<Option<Server>>,
}

/// Statistics of an open log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Used serials in the tables.
    pub used: u64,
    /// Rows that are in the WAL only.
    pub waiting: u64,
    /// Bytes that the file takes on the disk.
    pub bytes: u64,
    /// Automatic replies that count towards the day's ceiling.
    pub replies: u64,
}

/// Opens the two WAL files.
type Slots = Box<dyn Fn(&Session) -> Result<[Box<dyn WalFile>; 2], StoreError> + Send + Sync>;

pub(super) struct Core {
    log: Redb,
    grace: AtomicI64,
    /// Whether new leases are refused.
    pub(super) recalled: AtomicBool,
    turn: GroupCommit<SpendRequest, Result<SpendResult, StoreError>>,
    state: Mutex<State>,
    /// Signalled when rows have come, when rows were flushed, and at the end.
    changed: Condvar,
    slots: Slots,
    pub(super) attended: Arc<AnswerCounters>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("log", &self.log).finish_non_exhaustive()
    }
}

/// The state beside the tables.
#[derive(Debug, Default)]
struct State {
    /// The WAL, from the first row on until the log is left.
    journal: Option<Wal>,
    /// The session of the log that the WAL belongs to.
    session: u64,
    /// Rows of the generation that is being written.
    current: WriteBatch,
    /// When the first of them came.
    since: Option<Instant>,
    /// The previous generation, while its rows are being flushed.
    flushing: Option<Generation>,
    /// Whether another process has a lease.
    lent: bool,
    over: bool,
}

/// A finished generation of the WAL: its number and its rows.
type Generation = (u32, Arc<WriteBatch>);

impl State {
    /// Drops all rows: those of the WAL are in the tables, or will be when the log is opened again.
    fn forget(&mut self) {
        let Self { lent, over, .. } = *self;
        *self = Self { lent, over, ..Self::default() };
    }

    /// Begins a new generation and returns the old one. No generation must be flushing.
    fn turn_over(&mut self) -> Option<Generation> {
        let journal = self.journal.as_mut().filter(|journal| !journal.is_empty())?;
        let generation = journal.generation();
        journal.rotate();
        self.since = None;
        self.flushing = Some((generation, Arc::new(std::mem::take(&mut self.current))));
        self.flushing.clone()
    }

    /// Returns the rows that are not, or may not be, in the tables, the latest first.
    fn layers(&self) -> Vec<&WriteBatch> {
        std::iter::once(&self.current).chain(self.flushing.as_ref().map(|(_, rows)| rows.as_ref())).collect()
    }
}

impl ResidentLog {
    /// Opens the log in the file `path`, creates it if there is none, and keeps it until dropped.
    /// Rows that a killed process left in the WAL are recovered first.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn new(path: impl Into<PathBuf>, options: Options) -> Result<Self, StoreError> {
        Self::counting(path, options, Arc::default())
    }

    /// As `new`; answers to other processes are counted in `attended`.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn counting(
        path: impl Into<PathBuf>,
        options: Options,
        attended: Arc<AnswerCounters>,
    ) -> Result<Self, StoreError> {
        let path = path.into();
        let slots = |session: &Session| match session.place() {
            Some(place) => Wal::files(place),
            None => Err(StoreError::Damaged { path: PathBuf::new(), what: "the log has no file on disk".into() }),
        };
        let log = Redb::resident(path.clone(), options);
        let resident = Self::start(log, &path, options.grace, Box::new(slots), attended)?;
        resident.inner.log.with_session(IfMissing::Create, |_| Ok(()))?;
        *resident.attendant() = Some(log_server::listen(&path, Arc::clone(&resident.inner))?);
        Ok(resident)
    }

    /// Opens a log and its WAL in the caller's storage, without files and locks; for tests, as [`Redb::over`].
    /// `slots` opens the two WAL files, each time they are needed. Rows that a killed process left in the WAL are
    /// recovered first.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn over(
        storage: impl StorageBackend,
        unsettled: Arc<AtomicBool>,
        slots: impl Fn() -> [Box<dyn WalFile>; 2] + Send + Sync + 'static,
        options: Options,
    ) -> Result<Self, StoreError> {
        let log = Redb::over(storage, unsettled, options)?;
        log.with_session(IfMissing::Ignore, |session| match wal::exists(session)? {
            true => wal::recover(session, slots().map(Some)),
            false => Ok(()),
        })?;
        let path = log.path().to_owned();
        Self::start(log, &path, options.grace, Box::new(move |_| Ok(slots())), Arc::default())
    }

    fn start(
        log: Redb,
        path: &Path,
        grace: i64,
        slots: Slots,
        attended: Arc<AnswerCounters>,
    ) -> Result<Self, StoreError> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let (grace, turn) = (AtomicI64::new(grace), GroupCommit::new(MAX_BATCH));
        let recalled = AtomicBool::new(false);
        let inner = Arc::new(Core { log, grace, recalled, turn, state, changed, slots, attended });
        let flusher = Arc::clone(&inner);
        let flusher = thread::Builder::new().name("tables".into()).spawn(move || flusher.flush_loop());
        let flusher = flusher.map_err(|source| StoreError::from_io("serve", path, source))?;
        Ok(Self { inner, flusher: Some(flusher), attendant: Mutex::default() })
    }

    /// Listens anew if the socket, or its folder, is gone.
    /// Otherwise clients that find the log locked would find no server, and wait in vain.
    ///
    /// # Errors
    /// Any [`StoreError`], for instance while there is no folder.
    pub fn be_found(&self) -> Result<(), StoreError> {
        let mut attendant = self.attendant();
        if attendant.as_ref().is_some_and(|attendant| !attendant.stands()) {
            *attendant = Some(log_server::listen(self.inner.log.path(), Arc::clone(&self.inner))?);
        }
        Ok(())
    }

    fn attendant(&self) -> MutexGuard<'_, Option<Server>> {
        self.attendant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns statistics cheaply, without a flush. Waits while the log is leased.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn glance(&self, now: UnixTime) -> Result<Stats, StoreError> {
        let state = self.inner.state();
        let waiting: usize = state.layers().iter().map(|rows| rows.len()).sum();
        let look = |session: &Session| {
            let tx = session.read()?;
            Ok(Stats {
                used: tx.open_table(USED)?.len()?,
                waiting: waiting as u64,
                bytes: session.bytes()?,
                replies: redb::replies::counted(&tx, now)?.into(),
            })
        };
        let log = &self.inner.log;
        match log.read_shared(log.session_number(), look)? {
            Some(glance) => Ok(glance),
            // After an error the log is closed until the next request.
            None => Ok(log.with_session(IfMissing::Ignore, |session| look(session))?.unwrap_or_default()),
        }
    }

    /// Sets the retention of a row after its bucket's end, in seconds.
    pub fn set_retention(&self, grace: i64) {
        self.inner.grace.store(grace, SeqCst);
    }

    /// Returns the tables after a flush; no spend comes in while the guard exists.
    fn tables(&self) -> Result<(MutexGuard<'_, State>, &Redb), StoreError> {
        Ok((self.inner.up_to_date()?, &self.inner.log))
    }
}

impl Drop for ResidentLog {
    /// Flushes the rows and removes the WAL.
    /// If that fails, the next process to open the log recovers it.
    fn drop(&mut self) {
        drop(self.attendant().take());
        self.recall();
        self.inner.state().over = true;
        self.inner.changed.notify_all();
        if let Some(flusher) = self.flusher.take() {
            let _ = flusher.join();
        }
        if let Ok(mut state) = self.inner.up_to_date()
            && self.inner.remove_wal(&mut state).is_ok()
        {
            let remove = |session: &Session| {
                let remove = |suffix| session.place().map_or(Ok(()), |place| place.remove(suffix));
                Ok(SUFFIXES.into_iter().try_for_each(remove)?)
            };
            // Does nothing if another process has the log: this does not wait for it.
            let _ = self.inner.log.read_shared(self.inner.log.session_number(), remove);
        }
        self.inner.log.release();
    }
}

impl Core {
    /// Locks the state while the log is not leased.
    fn state(&self) -> MutexGuard<'_, State> {
        self.ours(self.held())
    }

    fn ours<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_while(state, |state| state.lent).unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the state, even while the log is leased.
    fn held(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        self.ours(state)
    }

    pub(super) fn spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError> {
        let gone = || Err(StoreError::Busy { path: self.log.path().to_owned(), waited: Duration::ZERO });
        self.turn.ask(ask.clone(), |asks| self.answer(&asks)).unwrap_or_else(gone)
    }

    /// Answers the requests in order, once all their rows are durable.
    fn answer(&self, asks: &[SpendRequest]) -> Vec<Result<SpendResult, StoreError>> {
        let refs: Vec<&SpendRequest> = asks.iter().collect();
        self.answer_all(&refs).unwrap_or_else(|error| asks.iter().map(|_| Err(error.again())).collect())
    }

    fn answer_all(&self, asks: &[&SpendRequest]) -> Result<Vec<Result<SpendResult, StoreError>>, StoreError> {
        let may_write = asks.iter().any(|ask| ask.terms == Terms::Spend);
        let mut state = self.state();
        loop {
            if !self.begin(&mut state, if may_write { IfMissing::Create } else { IfMissing::Ignore })? {
                return Ok(asks.iter().map(|ask| result_without_log(ask)).collect());
            }
            let layers = state.layers();
            let decided = self.log.read_shared(state.session, |session| {
                write_batch::decide(session, &layers, asks, self.grace.load(SeqCst))
            });
            let decided = match decided {
                Ok(Some(decided)) => decided,
                // The log was opened anew in between, or is another file now.
                Ok(None) => {
                    state.forget();
                    continue;
                }
                Err(error) => {
                    self.drop_all(&mut state);
                    return Err(error);
                }
            };
            if decided.rows.is_empty() {
                return Ok(decided.answers);
            }
            let batch = Record::of(&decided.rows).map_err(|trouble| trouble.at(self.log.path()))?;
            if !batch.fits() {
                drop(state);
                return self.answer_fewer(asks);
            }
            if !state.journal.as_ref().is_some_and(|journal| journal.has_room(&batch)) {
                if state.flushing.is_some() {
                    // Rows come faster than they are flushed.
                    state = self.wait(state);
                } else {
                    state.turn_over();
                    self.changed.notify_all();
                }
                continue;
            }
            let written = match state.journal.as_mut() {
                Some(journal) => journal.append(&batch),
                None => continue,
            };
            if let Err(source) = written {
                self.drop_all(&mut state);
                return Err(StoreError::from_io("write the journal of", self.log.path(), source));
            }
            state.current.add(decided.rows);
            if state.since.is_none() || state.current.len() >= FLUSH_THRESHOLD {
                // The flusher sleeps without a timeout while there is nothing to write.
                state.since.get_or_insert_with(Instant::now);
                self.changed.notify_all();
            }
            return Ok(decided.answers);
        }
    }

    /// Answers a batch that is too long for a WAL file, in two halves: a status can be long.
    /// A single row that is too long goes into the tables.
    fn answer_fewer(&self, asks: &[&SpendRequest]) -> Result<Vec<Result<SpendResult, StoreError>>, StoreError> {
        if let [ask] = asks {
            let _up_to_date = self.up_to_date()?;
            return Ok(vec![self.log.spend(ask)]);
        }
        let (some, others) = asks.split_at(asks.len() / 2);
        let mut answers = self.answer_all(some)?;
        answers.extend(self.answer_all(others)?);
        Ok(answers)
    }

    /// Ensures that the log, as it is open now, has a WAL.
    /// `false` when there is no log and none is to be created.
    fn begin(&self, state: &mut State, absent: IfMissing) -> Result<bool, StoreError> {
        if state.over {
            return Err(StoreError::Left { path: self.log.path().to_owned() });
        }
        if state.journal.is_some() && self.log.is_open(state.session) {
            return Ok(true);
        }
        state.forget();
        // Threads that waited for the dropped rows must wake up.
        self.changed.notify_all();
        let journal = self.log.with_session(absent, |session| Wal::begin(session, (self.slots)(session)?))?;
        state.session = self.log.session_number();
        state.journal = journal;
        Ok(state.journal.is_some())
    }

    /// Drops everything in memory after an error.
    /// The next request opens and recovers the log again.
    fn drop_all(&self, state: &mut State) {
        state.forget();
        self.log.release();
        self.changed.notify_all();
    }

    /// Waits until all rows are in the tables, and blocks further decisions while the guard exists.
    fn up_to_date(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let mut state = self.state();
        loop {
            if state.flushing.is_some() {
                state = self.wait(state);
            } else if let Some((generation, rows)) = state.turn_over() {
                let session = state.session;
                // The state stays locked: no request comes in, and the flusher finds nothing to do.
                let done = self.apply(session, generation, &rows);
                state.flushing = None;
                match done {
                    Ok(true) => {}
                    Ok(false) => state.forget(),
                    Err(error) => {
                        self.drop_all(&mut state);
                        return Err(error);
                    }
                }
            } else {
                return Ok(state);
            }
        }
    }

    /// Writes a generation into the tables.
    /// `false` when the log was opened anew, and has it already.
    fn apply(&self, session: u64, generation: u32, rows: &WriteBatch) -> Result<bool, StoreError> {
        let done = self.log.read_shared(session, |session| {
            session.write(|tx| {
                rows.apply(tx)?;
                tx.open_table(META)?.insert("journal", generation)?;
                Ok(())
            })
        })?;
        Ok(done.is_some())
    }

    /// Removes the WAL of a flushed log.
    fn remove_wal(&self, state: &mut State) -> Result<(), StoreError> {
        if state.journal.is_some() {
            self.log.read_shared(state.session, |session| {
                session.write(|tx| {
                    tx.open_table(META)?.insert("format", FORMAT)?;
                    Ok(())
                })
            })?;
            state.forget();
        }
        Ok(())
    }

    /// Runs the flusher thread until the end.
    fn flush_loop(&self) {
        let mut state = self.state();
        while !state.over {
            let due = state.since.map(|since| FLUSH_INTERVAL.saturating_sub(since.elapsed()));
            let enough = state.current.len() >= FLUSH_THRESHOLD || due == Some(Duration::ZERO);
            let work = match &state.flushing {
                // A thread that found no room began a new generation.
                Some(generation) => Some(generation.clone()),
                None if enough => state.turn_over(),
                None => None,
            };
            let Some((generation, rows)) = work else {
                state = match due {
                    Some(due) => self.changed.wait_timeout(state, due).unwrap_or_else(PoisonError::into_inner).0,
                    None => self.wait(state),
                };
                continue;
            };
            let session = state.session;
            drop(state);
            let done = self.apply(session, generation, &rows);
            state = self.state();
            if state.session == session && state.journal.is_some() {
                match done {
                    Ok(true) => state.flushing = None,
                    Ok(false) => state.forget(),
                    Err(_) => self.drop_all(&mut state),
                }
            }
            self.changed.notify_all();
        }
    }
}
