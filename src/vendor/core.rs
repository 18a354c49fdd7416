//! The books while this process has them: the lock, the database, the writer, and the socket for other processes. How
//! books come to be and how they are put back stands here too.

use super::desk::Job;
use super::error::BooksError;
use super::place::{self, Place};
use super::refusal::Refusal;
use super::request::{Answer, Payer, Request};
use super::socket::{self, Listening};
use super::tables::{self, Step, Stop};
use super::writer::{self, Writer};
use super::{audit, copy, question};
use crate::bank::chain::Hash;
use crate::bank::event::Event;
use crate::mail::time::UnixTime;
use redb::backends::FileBackend;
use redb::{Database, ReadOnlyDatabase, ReadableDatabase};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of memory for pages of the file: 64 MiB.
const CACHE: usize = 64 << 20;

/// The books, taken. The order of the members is that in which they are dropped: nobody is answered any more, then the
/// writer ends, then the file is closed, then the next process may come.
#[derive(Debug)]
pub(super) struct Core {
    listening: Mutex<Option<Listening>>,
    writer: Writer,
    database: Arc<Database>,
    place: Place,
    _lock: File,
}

impl Core {
    /// Takes the books; `None` while another process has them.
    pub(super) fn try_open(place: &Place) -> Result<Option<Self>, BooksError> {
        let path = place.books();
        if !path.exists() {
            return Err(BooksError::Absent { path: place.folder().to_owned() });
        }
        let Some(lock) = place.try_lock()? else { return Ok(None) };
        let database = database(place.open(&path)?, &path)?;
        tables::check_format(&database, &path)?;
        Self::start(place, lock, database).map(Some)
    }

    /// Begins books.
    pub(super) fn create(place: &Place, vendor: &str, now: UnixTime) -> Result<Self, BooksError> {
        Self::new(place, |database, path| {
            let founded = tables::establish(database, vendor)
                .and_then(|()| writer::book(database, Event::Founded { vendor: vendor.to_owned() }, now));
            founded.map_err(|stop| stop.at(path))
        })
    }

    /// Begins books from a backup that passes an audit.
    pub(super) fn restore(place: &Place, from: &Path, now: UnixTime) -> Result<Self, BooksError> {
        Self::new(place, |database, path| {
            let backup = read_only(from)?;
            tables::check_format(&backup, from)?;
            let restored = (|| {
                let tx = backup.begin_read()?;
                let report = audit::audit(&tx, None)?;
                if let Some(problem) = report.problems.into_iter().next() {
                    return Ok(Err(problem));
                }
                copy::copy(&tx, database)?;
                writer::book(database, Event::Restored, now).map(Ok)
            })();
            match restored.map_err(|stop: Stop| stop.at(path))? {
                Ok(()) => Ok(()),
                Err(what) => Err(BooksError::Damaged { path: from.to_owned(), what }),
            }
        })
    }

    /// Books that `fill` makes, under another name until they are complete.
    fn new(place: &Place, fill: impl FnOnce(&Database, &Path) -> Result<(), BooksError>) -> Result<Self, BooksError> {
        let exists = || BooksError::Exists { path: place.folder().to_owned() };
        let lock = place.try_lock()?.ok_or_else(exists)?;
        if place.books().exists() {
            return Err(exists());
        }
        let path = place.unfinished();
        let database = database(place.fresh(&path)?, &path)?;
        fill(&database, &path)?;
        place.finish()?;
        Self::start(place, lock, database)
    }

    fn start(place: &Place, lock: File, database: Database) -> Result<Self, BooksError> {
        let database = Arc::new(database);
        let writer = Writer::start(Arc::clone(&database), place.books());
        let writer = writer.map_err(|source| place::failed("start a thread for", place.folder(), source))?;
        Ok(Self { listening: Mutex::default(), writer, database, place: place.clone(), _lock: lock })
    }

    /// Answers other processes, for as long as this one has the books.
    pub(super) fn listen(core: &Arc<Self>, place: &Place) -> Result<(), BooksError> {
        let weak = Arc::downgrade(core);
        let listening = socket::listen(place, move |request, now| match weak.upgrade() {
            Some(core) => core.ask(request, now),
            None => Err(BooksError::Left),
        })?;
        *core.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(listening);
        Ok(())
    }

    /// Answers or does what is asked.
    pub(super) fn ask(&self, request: Request, now: UnixTime) -> Result<Answer, BooksError> {
        if !request.is_question() {
            return self.write(request, now);
        }
        let path = self.place.books();
        // The database may panic over a damaged file.
        let answered = catch_unwind(AssertUnwindSafe(|| self.question(&request, now)));
        answered
            .unwrap_or_else(|_| Err(BooksError::Damaged { path, what: "its database cannot make sense of it".into() }))
    }

    fn question(&self, request: &Request, now: UnixTime) -> Result<Answer, BooksError> {
        let path = self.place.books();
        let bytes = std::fs::metadata(&path).map_or(0, |data| data.len());
        if let Request::Backup { to } = request {
            return self.backup(to);
        }
        let answer = || -> Step<Answer> {
            let tx = self.database.begin_read()?;
            match request {
                Request::Audit { since } => Ok(Answer::Audit(audit::audit(&tx, *since)?)),
                other => question::answer(&tx, other, now, bytes),
            }
        };
        answer().map_err(|stop| stop.at(&path))
    }

    fn backup(&self, to: &Path) -> Result<Answer, BooksError> {
        let copied = (|| {
            let copy = database(place::new_file(to)?, to)?;
            let head = (|| copy::copy(&self.database.begin_read()?, &copy))();
            let head = head.map_err(|stop: Stop| stop.at(to))?;
            place::keep_name(to).map(|()| head)
        })();
        if copied.as_ref().is_err_and(|error| !already_there(error)) {
            // Half a backup is none.
            let _ = std::fs::remove_file(to);
        }
        copied.map(Answer::Head)
    }

    /// Makes ready what need not be done by the writer, and hands it to him.
    fn write(&self, request: Request, now: UnixTime) -> Result<Answer, BooksError> {
        let mut job = Job { request, now, digest: [0; 32], refused: None };
        match &job.request {
            Request::Issue { buyer, orders, .. } => {
                let account = match buyer {
                    Payer::Account(account) => Some(*account),
                    Payer::Paid(_) => None,
                };
                let found = (|| question::account_and_terms(&self.database.begin_read()?, account))();
                let (row, terms) = found.map_err(|stop: Stop| stop.at(&self.place.books()))?;
                let caps = row.and_then(|row| row.caps).unwrap_or(terms.caps);
                // Not refused yet: what was sold before is answered again, even after its window has ended.
                job.refused = caps.check(orders, now, terms.days).err().map(Refusal::from);
                job.digest = digest_of(&(buyer, orders));
            }
            Request::Credit { .. } | Request::PayOut { .. } => job.digest = digest_of(&job.request),
            _ => {}
        }
        self.writer.ask(job)
    }
}

fn digest_of(request: &impl serde::Serialize) -> [u8; 32] {
    // Everything in a request can be written as JSON.
    Hash::of(&serde_json::to_vec(request).unwrap_or_default()).0
}

fn already_there(error: &BooksError) -> bool {
    matches!(error, BooksError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists)
}

fn database(file: File, path: &Path) -> Result<Database, BooksError> {
    guarded(path, || redb::Builder::new().set_cache_size(CACHE).create_with_backend(FileBackend::new(file)?))
}

/// A backup is left as it is, and may be on a medium that cannot be written.
fn read_only(path: &Path) -> Result<ReadOnlyDatabase, BooksError> {
    guarded(path, || redb::Builder::new().set_cache_size(CACHE).open_read_only(path))
}

/// The database may panic over a damaged file.
fn guarded<T>(path: &Path, open: impl FnOnce() -> Result<T, redb::DatabaseError>) -> Result<T, BooksError> {
    let damaged =
        |_| BooksError::Damaged { path: path.to_owned(), what: "its database cannot make sense of it".into() };
    let opened = catch_unwind(AssertUnwindSafe(open)).map_err(damaged)?;
    opened.map_err(|error| Stop::from(error).at(path))
}
