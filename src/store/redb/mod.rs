//! The store on disk: one redb file per user, which processes lock one after the other. A process opens it at the first
//! request that needs it and holds it until it drops or [`releases`](Redb::release) it. It does not close the file (see
//! `sync_elision.rs` for the cost that this saves and why it is safe).
//!
//! Lookup and decision run in a read transaction, the write in a write transaction after it. The lock is held all the
//! time, so no other process writes in between. Local file systems only: locks and syncs of network file systems do not
//! give these guarantees.

pub(super) mod contacts;
pub(super) mod lock;
pub(super) mod peers;
pub(super) mod replies;
pub(super) mod schema;
pub(super) mod session;
pub(super) mod sync_elision;
pub(super) mod write_batch;

use super::combining::client;
use super::combining::leader::CombiningLeader;
use super::decide::{self, SpendKey, State};
use super::error::StoreError;
use super::export_record::ExportRecord;
use super::{GRACE, GrantStore, Imported, LiftedMark, Purged, Store, Summary, UsedLog};
use crate::grant::StampStatus;
use crate::os::safe_dir::IfMissing;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use crate::verdict::spend::{SpendRequest, SpendResult, Terms};
use lock::Wait;
use redb::{ReadableTable, ReadableTableMetadata, StorageBackend};
use schema::{FORMAT, META, STANDING, USED};
use session::{Schema, Session, SessionError, catch_panic};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};
use write_batch::BatchResult;

/// The schema of a used log.
const SCHEMA: Schema =
    Schema { create: schema::establish, check: schema::check, recover: super::resident::wal::recover_if_needed };

/// Rows in one commit of a purge or an import.
const ROWS_PER_COMMIT: usize = 1_000;
/// Rows read in one step of a purge that has to read all.
const ROWS_PER_SCAN: usize = 20_000;

/// Initial retry delay of a process that waits for the log; it grows by half each time, up to `LONGEST_PAUSE`.
const RETRY_DELAY: Duration = Duration::from_micros(400);
/// Longest retry delay.
const LONGEST_PAUSE: Duration = Duration::from_millis(3);
/// How long a leader answers followers before it hands over.
const LEADER_TIME_LIMIT: Duration = Duration::from_millis(50);

/// Options of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long to wait while another process holds the log.
    /// It must be below the shortest time limit of the callers: Sieve's, 10 s.
    pub wait: Duration,
    /// Retention of a row after its bucket's end, in seconds. At least the skew that the judgement allows.
    pub grace: i64,
    /// Cache for pages of the file, in bytes.
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
    /// The file, and its name in error messages.
    path: PathBuf,
    keeping: Keeping,
    options: Options,
    session: RwLock<Option<Session>>,
    /// Sessions opened so far, the current one included.
    opened: AtomicU64,
}

/// How long the log stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    /// Other processes get it between the steps of long work.
    Shared,
    /// The daemon keeps it, and decides when other processes get it.
    Resident,
    /// The storage was passed in, and cannot be opened again.
    Given,
}

impl Redb {
    /// Makes a store for the log in the file `path`, without touching it yet.
    /// The first request that needs the file opens it. The first write creates it, with its folder.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, options: Options) -> Self {
        Self::with_keeping(path.into(), Keeping::Shared, options, None)
    }

    /// As `new`, for a process that keeps the log open.
    pub(super) fn resident(path: PathBuf, options: Options) -> Self {
        Self::with_keeping(path, Keeping::Resident, options, None)
    }

    fn with_keeping(path: PathBuf, keeping: Keeping, options: Options, session: Option<Session>) -> Self {
        let opened = AtomicU64::new(u64::from(session.is_some()));
        Self { path, keeping, options, session: RwLock::new(session), opened }
    }

    /// Opens a log in the caller's storage, without files and locks. For tests.
    /// Such a storage fails, records or cuts off single operations. `unsettled` is the dirty flag that a killed process
    /// leaves behind; true when unsure.
    ///
    /// # Errors
    /// Any [`StoreError`], as from the first request to a file.
    pub fn over(
        storage: impl StorageBackend,
        unsettled: Arc<AtomicBool>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let path = PathBuf::from("(storage)");
        let session = catch_panic(|| Session::over(Box::new(storage), unsettled, options.cache, &SCHEMA));
        let session = session.map_err(|trouble| trouble.at(&path))?;
        Ok(Self::with_keeping(path, Keeping::Given, options, Some(session)))
    }

    /// Releases the log to other processes. The next request opens the file again.
    pub fn release(&self) {
        *self.session() = None;
    }

    /// Reads and verifies the whole file; for `doctor`.
    /// `Ok(true)` if it is sound, `Ok(false)` if it was not and has been repaired.
    ///
    /// # Errors
    /// Any [`StoreError`]; [`StoreError::Damaged`] if it cannot be repaired.
    pub fn verify(&self) -> Result<bool, StoreError> {
        let sound = self.with_session(IfMissing::Ignore, |session| Ok(session.database_mut()?.check_integrity()?))?;
        Ok(sound.unwrap_or(true))
    }

    /// Compacts the file. Takes seconds for millions of rows, and mail waits meanwhile.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn compact(&self) -> Result<(), StoreError> {
        self.with_session(IfMissing::Ignore, |session| Ok(session.database_mut()?.compact()?))?;
        Ok(())
    }

    fn session(&self) -> RwLockWriteGuard<'_, Option<Session>> {
        // A panic inside a job is caught before it reaches this lock, and the session is then dropped.
        self.session.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of the log, for error messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the session of this number is open.
    /// [`Self::read_shared`] checks that its file is still in its folder.
    pub(super) fn is_open(&self, number: u64) -> bool {
        let slot = self.session.read().unwrap_or_else(PoisonError::into_inner);
        slot.is_some() && self.session_number() == number
    }

    /// The number of the current session, or of the last one.
    pub(super) fn session_number(&self) -> u64 {
        self.opened.load(SeqCst)
    }

    /// Runs a job in the open log, concurrently with others.
    /// `None` if session `number` is over, or its file is gone. Two jobs that write run one after the other. A job that
    /// reads and then writes is not atomic.
    pub(super) fn read_shared<T>(
        &self,
        number: u64,
        job: impl FnOnce(&Session) -> Result<T, SessionError>,
    ) -> Result<Option<T>, StoreError> {
        let slot = self.session.read().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = slot.as_ref().filter(|session| self.session_number() == number && session.current()) else {
            return Ok(None);
        };
        catch_panic(|| job(session)).map(Some).map_err(|trouble| trouble.at(&self.path))
    }

    /// Runs a job in the open log.
    /// `None` when there is no log and none is to be created.
    pub(super) fn with_session<T>(
        &self,
        absent: IfMissing,
        job: impl FnOnce(&mut Session) -> Result<T, SessionError>,
    ) -> Result<Option<T>, StoreError> {
        let mut slot = self.session();
        if slot.as_ref().is_some_and(|session| !session.current()) {
            *slot = None;
        }
        if slot.is_none() {
            *slot = self.open(absent)?;
            self.opened.fetch_add(1, SeqCst);
        }
        let Some(session) = slot.as_mut() else { return Ok(None) };
        catch_panic(|| job(session)).map(Some).map_err(|trouble| {
            // A failed session is opened anew, since the database refuses all work after an error of the disk. A clock
            // that is behind is no failure of the log.
            if !matches!(trouble, SessionError::Store(StoreError::ClockBehind { .. })) {
                *slot = None;
            }
            trouble.at(&self.path)
        })
    }

    /// Closes the log while `meanwhile` runs, and takes it back.
    /// No job of this process gets the log in between. If one took the lock before the borrower, the borrower would get
    /// nothing.
    pub(super) fn lend<T>(&self, meanwhile: impl FnOnce() -> T) -> Result<T, StoreError> {
        let mut slot = self.session();
        *slot = None;
        let done = meanwhile();
        // At once, or the next job would take the log for unused.
        *slot = self.open(IfMissing::Create)?;
        self.opened.fetch_add(1, SeqCst);
        Ok(done)
    }

    fn open(&self, absent: IfMissing) -> Result<Option<Session>, StoreError> {
        if self.keeping == Keeping::Given {
            let source = io::Error::other("the storage failed or was released before");
            return Err(StoreError::Io { doing: "use", path: self.path.clone(), source });
        }
        // After its first session the daemon listens itself.
        let listens = self.keeping == Keeping::Resident && self.session_number() > 0;
        let wait = if listens { Wait::WithoutLease } else { Wait::For };
        Session::open(&self.path, absent, wait(self.options.wait), self.options.cache, &SCHEMA)
    }

    /// Runs a job in steps, and releases the log between them.
    /// A step returns how many rows it removed, and whether more is left.
    fn in_chunks(
        &self,
        mut step: impl FnMut(&Session) -> Result<(u64, bool), SessionError>,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let (rows, more) = self.with_session(IfMissing::Ignore, |session| step(session))?.unwrap_or_default();
            removed += rows;
            if !more {
                return Ok(removed);
            }
            if self.keeping == Keeping::Shared {
                self.release();
            }
        }
    }

    /// Spends as the lock holder, or through the current holder: whichever comes first.
    fn spend_or_forward(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError> {
        let began = Instant::now();
        let absent = if ask.terms == Terms::Spend { IfMissing::Create } else { IfMissing::Ignore };
        let (mut alone, mut pause) = (true, RETRY_DELAY);
        loop {
            match Session::open(&self.path, absent, Wait::No, self.options.cache, &SCHEMA) {
                Ok(None) => return result_without_log(ask),
                Ok(Some(session)) => {
                    *self.session() = Some(session);
                    self.opened.fetch_add(1, SeqCst);
                    alone &= !CombiningLeader::has_successors(&self.path);
                    return if alone { single(self.spend_batch(&[ask])?) } else { self.spend_as_leader(ask) };
                }
                Err(StoreError::Busy { .. }) => alone = false,
                Err(error) => return Err(error),
            }
            if let Some(spent) = client::request_spend(&self.path, ask, began + self.options.wait)? {
                return Ok(spent);
            }
            let waited = began.elapsed();
            if waited >= self.options.wait {
                return Err(StoreError::Busy { path: self.path.clone(), waited });
            }
            thread::sleep(pause);
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    /// Spends as the lock holder, and answers followers until none arrive or [`LEADER_TIME_LIMIT`] is over.
    fn spend_as_leader(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError> {
        // A process that cannot listen spends alone, and the others wait for the lock.
        let Ok(mut leader) = CombiningLeader::bind(&self.path) else { return single(self.spend_batch(&[ask])?) };
        let began = Instant::now();
        let mut asked = leader.collect_requests();
        let mine = self.answer_with(&mut leader, Some(ask), &asked)?;
        loop {
            asked = leader.collect_requests();
            if asked.is_empty() {
                break;
            }
            self.answer_with(&mut leader, None, &asked)?;
            if began.elapsed() >= LEADER_TIME_LIMIT {
                asked = leader.hand_off();
                if !asked.is_empty() {
                    self.answer_with(&mut leader, None, &asked)?;
                }
                break;
            }
        }
        mine.unwrap_or_else(|| result_without_log(ask))
    }

    /// Commits one batch: returns the answer to `mine`, and sends the followers theirs.
    fn answer_with(
        &self,
        leader: &mut CombiningLeader,
        mine: Option<&SpendRequest>,
        asked: &[SpendRequest],
    ) -> Result<Option<Result<SpendResult, StoreError>>, StoreError> {
        let batch: Vec<&SpendRequest> = mine.into_iter().chain(asked).collect();
        match self.spend_batch(&batch) {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                let first = mine.and_then(|_| answers.next());
                leader.respond(answers.map(|it| client::encode_reply(&it)));
                Ok(first)
            }
            Err(error) => {
                leader.respond(asked.iter().map(|_| client::encode_deferral(&error.to_string(), None)));
                // Only a batch with `mine` in it fails the caller: otherwise the caller has its answer already.
                if mine.is_some() { Err(error) } else { Ok(None) }
            }
        }
    }

    /// Decides a batch in one transaction; the answers are in the order of the requests.
    pub(super) fn spend_batch(
        &self,
        asks: &[&SpendRequest],
    ) -> Result<Vec<Result<SpendResult, StoreError>>, StoreError> {
        let may_write = asks.iter().any(|ask| ask.terms == Terms::Spend);
        let spent = self.with_session(if may_write { IfMissing::Create } else { IfMissing::Ignore }, |session| {
            let BatchResult { answers, rows } = write_batch::decide(session, &[], asks, self.options.grace)?;
            if !rows.is_empty() {
                session.write(|tx| rows.apply(tx))?;
            }
            Ok(answers)
        })?;
        Ok(spent.unwrap_or_else(|| asks.iter().map(|ask| result_without_log(ask)).collect()))
    }

    fn known(session: &Session, ask: &SpendRequest) -> Result<State, SessionError> {
        let tx = session.read()?;
        Ok(State {
            standing: schema::standing_in(&tx, &decide::name(&ask.vendor, &ask.serial))?,
            entry: schema::used_in(tx.open_table(USED)?.get(&decide::key(ask))?)?,
            counter: None,
            mark: tx.open_table(META)?.get("mark")?.map(|mark| mark.value()),
        })
    }
}

impl UsedLog for Redb {
    fn spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError> {
        if self.keeping == Keeping::Shared && self.session().is_none() {
            self.spend_or_forward(ask)
        } else {
            single(self.spend_batch(&[ask])?)
        }
    }

    fn would_spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError> {
        let look = |session: &mut Session| write_batch::decide(session, &[], &[ask], self.options.grace);
        self.with_session(IfMissing::Ignore, look)?
            .map_or_else(|| result_without_log(ask), |decided| single(decided.answers))
    }

    fn received(&self, ask: &SpendRequest) -> Result<bool, StoreError> {
        let received =
            self.with_session(IfMissing::Ignore, |session| Ok(decide::received(ask, &Self::known(session, ask)?)))?;
        Ok(received.unwrap_or(false))
    }

    fn purge(&self, now: UnixTime, grace: i64, most: usize) -> Result<Purged, StoreError> {
        let below = decide::oldest_kept_bucket(now, grace);
        let mut done = Purged::default();
        loop {
            let room = ROWS_PER_COMMIT.min(most - done.removed);
            let step = self.with_session(IfMissing::Ignore, |session| {
                // An idle purge writes nothing.
                let used = session.read()?.open_table(USED)?;
                let left =
                    used.range::<&SpendKey>(..&decide::encode_key(below, &[0; 16]))?.next().transpose()?.is_some();
                if !left || room == 0 {
                    return Ok(Purged { removed: 0, left });
                }
                session.write(|tx| schema::remove_expired(tx, &mut tx.open_table(USED)?, below, room))
            })?;
            let step = step.unwrap_or_default();
            done = Purged { removed: done.removed + step.removed, left: step.left };
            if !step.left || done.removed >= most {
                return Ok(done);
            }
            if self.keeping == Keeping::Shared {
                // Waiting mail goes first.
                self.release();
            }
        }
    }
}

impl GrantStore for Redb {
    fn standing(&self, vendor: &str, serial: &Serial) -> Result<StampStatus, StoreError> {
        let name = decide::name(vendor, serial);
        let found = self.with_session(IfMissing::Ignore, |session| schema::standing_in(&session.read()?, &name))?;
        Ok(found.unwrap_or_default())
    }

    fn update_status(
        &self,
        vendor: &str,
        serial: &Serial,
        change: &mut dyn FnMut(&StampStatus) -> StampStatus,
    ) -> Result<StampStatus, StoreError> {
        let name = decide::name(vendor, serial);
        // A change that leaves the default status creates no log.
        let nothing = StampStatus::default();
        let absent = if change(&nothing) == nothing { IfMissing::Ignore } else { IfMissing::Create };
        let before = self.with_session(absent, |session| {
            let before = schema::standing_in(&session.read()?, &name)?;
            let after = change(&before);
            if before != after {
                session.write(|tx| schema::put_standing(&mut tx.open_table(STANDING)?, vendor, serial, after))?;
            }
            Ok(before)
        })?;
        Ok(before.unwrap_or_default())
    }

    fn standings(&self, to: &mut dyn FnMut(String, Serial, StampStatus) -> ControlFlow<()>) -> Result<(), StoreError> {
        let _ = self.with_session(IfMissing::Ignore, |session| schema::standings(&session.read()?, to))?;
        Ok(())
    }
}

impl Store for Redb {
    fn export(&self, to: &mut dyn FnMut(ExportRecord) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.with_session(IfMissing::Ignore, |session| {
            let tx = session.read()?;
            if let Some(mark) = tx.open_table(META)?.get("mark")?
                && to(ExportRecord::PurgedThrough { hour: mark.value() }).is_break()
            {
                return Ok(());
            }
            for row in tx.open_table(USED)?.iter()? {
                let (key, entry) = row?;
                let (hour, stamp) = decide::decode_key(key.value());
                if to(ExportRecord::used(hour, stamp, schema::used_row(entry.value())?)).is_break() {
                    return Ok(());
                }
            }
            let standings = schema::standings(&tx, &mut |vendor, serial, standing| {
                to(ExportRecord::Standing { vendor, serial, standing: Box::new(standing) })
            })?;
            if standings.is_break()
                || contacts::contacts(&tx, &mut |key, contact| to(ExportRecord::contact(key, contact)))?.is_break()
                || contacts::messages(&tx, &mut |message, at| to(ExportRecord::Sent { message, at }))?.is_break()
            {
                return Ok(());
            }
            let replies = replies::replies(&tx, &mut |key, at| {
                ExportRecord::reply(key, at).map_or(ControlFlow::Continue(()), &mut *to)
            })?;
            if replies.is_break()
                || replies::hours(&tx, &mut |hour, count| to(ExportRecord::Replies { hour, count }))?.is_break()
            {
                return Ok(());
            }
            peers::visit(&tx, &mut |peer| to(peer.into())).map(drop)
        })?;
        Ok(())
    }

    fn import(&self, rows: &mut dyn Iterator<Item = ExportRecord>) -> Result<Imported, StoreError> {
        let mut done = Imported::default();
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let batch = self.with_session(IfMissing::Create, |session| {
                session.write(|tx| {
                    let mut done = Imported::default();
                    let mut used = tx.open_table(USED)?;
                    let mut standings = tx.open_table(STANDING)?;
                    for row in rows.by_ref().take(ROWS_PER_COMMIT) {
                        let changed = schema::merge_record(tx, &mut used, &mut standings, row)?;
                        *(if changed { &mut done.taken } else { &mut done.known }) += 1;
                    }
                    Ok(done)
                })
            })?;
            let batch = batch.unwrap_or_default();
            done = Imported { taken: done.taken + batch.taken, known: done.known + batch.known };
        }
        Ok(done)
    }

    fn lift_mark(&self, now: UnixTime) -> Result<Option<LiftedMark>, StoreError> {
        let lifted = self.with_session(IfMissing::Ignore, |session| {
            let mark = session.read()?.open_table(META)?.get("mark")?.map(|mark| mark.value());
            let Some((mark, after)) = mark.and_then(|mark| Some((mark, decide::lifted_mark(mark, now)?))) else {
                return Ok(None);
            };
            session.write(|tx| {
                tx.open_table(META)?.insert("mark", after)?;
                Ok(Some(LiftedMark { from: decide::bucket_end(mark), to: decide::bucket_end(after) }))
            })
        })?;
        Ok(lifted.flatten())
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        let summary = self.with_session(IfMissing::Ignore, |session| {
            let tx = session.read()?;
            let mut correspondents = 0;
            let _ = contacts::contacts(&tx, &mut |_, contact| {
                correspondents += u64::from(contact.is_active());
                ControlFlow::Continue(())
            })?;
            Ok(Summary {
                used: tx.open_table(USED)?.len()?,
                standings: tx.open_table(STANDING)?.len()?,
                correspondents,
                sent: schema::open_optional(tx.open_table(schema::SENT))?.map_or(Ok(0), |table| table.len())?,
                replies: schema::open_optional(tx.open_table(schema::REPLIES))?.map_or(Ok(0), |table| table.len())?,
                peers: peers::count(&tx)?,
                bytes: session.bytes()?,
                cleared: tx.open_table(META)?.get("mark")?.map(|mark| decide::bucket_end(mark.value())),
                format: FORMAT,
            })
        })?;
        Ok(summary.unwrap_or_default())
    }
}

/// Returns the answer of a batch of one.
pub(super) fn single(mut answers: Vec<Result<SpendResult, StoreError>>) -> Result<SpendResult, StoreError> {
    answers.pop().unwrap_or_else(|| Err(StoreError::Busy { path: PathBuf::new(), waited: Duration::ZERO }))
}

/// Returns the answer where there is no log: nothing is known, and nothing was written.
/// Requests on terms that could spend create the log first.
pub(super) fn result_without_log(ask: &SpendRequest) -> Result<SpendResult, StoreError> {
    decide::decide(ask, &State::default()).map(|decision| decision.answer)
}
