//! The ledger while this process has it: the lock, the database, the writer, and the socket for other processes. How
//! ledger comes to be and how it is put back stands here too.

use super::client::{self, SocketServer};
use super::database::{self, Held};
use super::error::LedgerError;
use super::files::{self, Place};
use super::model::Payer;
use super::rejection::Rejection;
use super::request::{Request, Response};
use super::schema::{self, TxError};
use super::transaction::{Command, MOST_LISTED};
use super::writer::{self, Writer};
use super::{audit, backup, queries};
use crate::accounting::event::Event;
use crate::accounting::hash::Hash;
use crate::time::UnixTime;
use redb::{Database, ReadableDatabase, ReadableTableMetadata};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// For how many seconds it counts how many revoked serials had ended.
const COUNTED: i64 = 60 * 60;
/// How long a new ledger waits for a lock that another process holds.
const LOCK_WAIT: Duration = Duration::from_secs(7);

/// The ledger, taken. The order of the members is that in which they are dropped: nobody is answered any more, then the
/// writer ends, then the file is closed, then the next process may come.
#[derive(Debug)]
pub(super) struct LocalLedger {
    listening: Mutex<Option<SocketServer>>,
    /// How many revoked serials had ended, and when that was counted.
    ended: Mutex<Option<(UnixTime, u64)>>,
    writer: Writer,
    database: Arc<Held>,
    place: Place,
    _lock: File,
}

impl LocalLedger {
    /// Takes the ledger; `None` while another process has it.
    pub(super) fn try_open(place: &Place) -> Result<Option<Self>, LedgerError> {
        let path = place.ledger();
        if !path.exists() {
            return Err(LedgerError::Absent { path: place.folder().to_owned() });
        }
        let Some(lock) = place.try_lock()? else { return Ok(None) };
        Self::start(place, lock, database::existing(place, &path)?).map(Some)
    }

    /// Begins a ledger.
    pub(super) fn create(place: &Place, vendor: &str, now: UnixTime) -> Result<Self, LedgerError> {
        Self::new(place, |database, path| {
            let founded = schema::establish(database, vendor)
                .and_then(|()| writer::append_event(database, Event::Founded { vendor: vendor.to_owned() }, now));
            founded.map_err(|stop| stop.at(path))
        })
    }

    /// Begins a ledger from a backup that passes an audit.
    pub(super) fn restore(place: &Place, from: &Path, now: UnixTime) -> Result<Self, LedgerError> {
        Self::new(place, |database, path| {
            let backup = database::read_only(from)?;
            schema::check_format(&backup, from)?;
            let restored = (|| {
                let tx = backup.begin_read()?;
                let report = audit::audit(&tx, None)?;
                if let Some(problem) = report.problems.into_iter().next() {
                    return Ok(Err(problem));
                }
                backup::copy(&tx, database)?;
                writer::append_event(database, Event::Restored, now).map(Ok)
            })();
            match restored.map_err(|stop: TxError| stop.at(path))? {
                Ok(()) => Ok(()),
                Err(what) => Err(LedgerError::Damaged { path: from.to_owned(), what }),
            }
        })
    }

    /// The ledger that `fill` makes, under another name until it is complete.
    fn new(place: &Place, fill: impl FnOnce(&Database, &Path) -> Result<(), LedgerError>) -> Result<Self, LedgerError> {
        // A lock outlives its ledger for a moment where a process that was forked meanwhile has not yet become a program.
        let lock = place.wait(LOCK_WAIT, || {
            let lock = place.try_lock()?;
            if place.ledger().exists() {
                return Err(LedgerError::Exists { path: place.folder().to_owned() });
            }
            Ok(lock)
        })?;
        let path = place.unfinished();
        let database = database::open(place.create_new(&path)?, &path)?;
        fill(&database, &path)?;
        place.commit_rename()?;
        Self::start(place, lock, database)
    }

    fn start(place: &Place, lock: File, database: Database) -> Result<Self, LedgerError> {
        let database = Arc::new(Held::new(place.clone(), database));
        let writer = Writer::start(Arc::clone(&database));
        let writer = writer.map_err(|source| files::failed("start a thread for", place.folder(), source))?;
        Ok(Self {
            listening: Mutex::default(),
            ended: Mutex::default(),
            writer,
            database,
            place: place.clone(),
            _lock: lock,
        })
    }

    /// Answers other processes, for as long as this one has the ledger.
    pub(super) fn listen(core: &Arc<Self>, place: &Place) -> Result<(), LedgerError> {
        let weak = Arc::downgrade(core);
        let listening = client::listen(place, move |request, now| match weak.upgrade() {
            Some(core) => core.ask(request, now),
            None => Err(LedgerError::Left),
        })?;
        *core.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(listening);
        Ok(())
    }

    /// Answers or does what is asked.
    pub(super) fn ask(&self, request: Request, now: UnixTime) -> Result<Response, LedgerError> {
        if !request.is_read_only() {
            return self.write(request, now);
        }
        let bytes = std::fs::metadata(self.place.ledger()).map_or(0, |data| data.len());
        match request {
            Request::Backup { to } => self.backup(&to),
            Request::Audit { since } => {
                self.database.with(|database| Ok(Response::Audit(audit::audit(&database.begin_read()?, since)?)))
            }
            other => self.database.with(|database| queries::answer(&database.begin_read()?, &other, now, bytes)),
        }
    }

    /// Whether the disk failed a moment ago.
    pub(super) fn failed(&self) -> bool {
        self.database.failed()
    }

    fn backup(&self, to: &Path) -> Result<Response, LedgerError> {
        let copied = (|| {
            let copy = database::open(files::new_file(to)?, to)?;
            // What fails there says nothing of the ledger.
            let copied = self.database.with(|database| Ok(backup::copy(&database.begin_read()?, &copy)))?;
            let head = copied.map_err(|stop| stop.at(to))?;
            files::sync_parent(to).map(|()| head)
        })();
        if copied.as_ref().is_err_and(|error| !already_there(error)) {
            // Half a backup is none.
            let _ = std::fs::remove_file(to);
        }
        copied.map(Response::Head)
    }

    /// Makes ready what need not be done by the writer, and hands it to him.
    fn write(&self, request: Request, now: UnixTime) -> Result<Response, LedgerError> {
        let mut job = Command { request, now, digest: [0; 32], refused: None, ended: 0 };
        match &job.request {
            Request::Issue { buyer, orders, .. } => {
                let account = match buyer {
                    Payer::Account(account) => Some(*account),
                    Payer::Guest(_) => None,
                };
                let found = |database: &Database| queries::account_and_terms(&database.begin_read()?, account);
                let (row, terms) = self.database.with(found)?;
                let caps = row.map_or(terms.caps, |row| row.caps(&terms));
                // Not refused yet: what was sold before is answered again, even after its window has ended.
                job.refused = caps.check(orders, now, terms.days_within(&caps)).err().map(Rejection::from);
                job.digest = digest_of(&(buyer, orders));
            }
            Request::Refund { .. } | Request::Revoke { customer: true, .. } => {
                job.ended = self.ended(now)?;
            }
            Request::Credit { .. } | Request::PayOut { .. } => job.digest = digest_of(&job.request),
            _ => {}
        }
        self.writer.ask(job)
    }

    /// How many revoked serials need not be published any more. It is counted once an hour, and only where the directory
    /// may become full: there can be many.
    fn ended(&self, now: UnixTime) -> Result<u64, LedgerError> {
        self.database.with(|database| {
            let tx = database.begin_read()?;
            if tx.open_table(schema::REVOKED)?.len()? < MOST_LISTED / 2 {
                return Ok(0);
            }
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, count)) = ended.filter(|(at, _)| (0..COUNTED).contains(&now.since(*at))) {
                return Ok(count);
            }
            let count = queries::ended(&tx, now)?.len() as u64;
            *ended = Some((now, count));
            Ok(count)
        })
    }
}

fn digest_of(request: &impl serde::Serialize) -> [u8; 32] {
    // Everything in a request can be written as JSON.
    Hash::of(&serde_json::to_vec(request).unwrap_or_default()).0
}

fn already_there(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists)
}
