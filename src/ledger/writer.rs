//! Writer of the ledger, with group commit: operations that arrive during a commit run in one transaction after it, and
//! each is answered when that is durable. A commit costs two syncs, which they share.
//!
//! After a failure of the disk the ledger is opened again for the next operations.

use super::database::SharedDatabase;
use super::error::LedgerError;
use super::ledger_clock::LedgerClock;
use super::rejection::Rejection;
use super::schema::{TxError, TxResult};
use super::transaction::LedgerTx;
use crate::accounting::event::Event;
use crate::os::group_commit::GroupCommit;
use crate::time::UnixTime;
use redb::Database;
use std::fmt;
use std::sync::{Arc, mpsc};

/// Most operations in one commit.
const MAX_BATCH: usize = 256;

type Apply = dyn FnOnce(&mut LedgerTx<'_>) -> TxResult<()> + Send;

/// Operation that waits for a commit. It sends its output to its caller, which reads it after the commit.
struct Job {
    now: UnixTime,
    apply: Box<Apply>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("now", &self.now).finish_non_exhaustive()
    }
}

/// Writes for all threads.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: GroupCommit<Job, Result<(), LedgerError>>,
    database: Arc<SharedDatabase>,
    clock: Arc<LedgerClock>,
}

impl Writer {
    pub(super) fn new(database: Arc<SharedDatabase>, clock: Arc<LedgerClock>) -> Self {
        Self { jobs: GroupCommit::new(MAX_BATCH), database, clock }
    }

    /// Runs `apply` in the next commit, and returns its output once that is durable.
    pub(super) fn run<T: Send + 'static>(
        &self,
        now: UnixTime,
        apply: impl FnOnce(&mut LedgerTx<'_>) -> TxResult<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (sender, output) = mpsc::sync_channel(1);
        let apply = Box::new(move |ledger: &mut LedgerTx<'_>| {
            // The caller waits, and the channel has space for one output.
            let _ = sender.try_send(apply(ledger)?);
            Ok(())
        });
        self.jobs.ask(Job { now, apply }, |jobs| self.write(jobs)).unwrap_or(Err(LedgerError::Left))?;
        output.try_recv().map_err(|_| LedgerError::Left)
    }

    /// Runs the jobs of a batch. An error goes to the first; the others are told to try again.
    fn write(&self, jobs: Vec<Job>) -> Vec<Result<(), LedgerError>> {
        let count = jobs.len();
        let latest = jobs.iter().map(|job| job.now).max().unwrap_or(UnixTime(0));
        let limit = self.clock.limit(latest);
        match self.database.with(|database| commit(database, jobs, latest, limit)) {
            Ok(answers) => {
                self.database.wrote();
                answers.into_iter().map(|answer| answer.map_err(LedgerError::Refused)).collect()
            }
            Err(error) => {
                let first = std::iter::once(error).chain(std::iter::repeat_with(|| LedgerError::Left));
                first.take(count).map(Err).collect()
            }
        }
    }
}

/// Writes to a ledger that is not shared yet.
pub(super) fn write<T>(
    database: &Database,
    now: UnixTime,
    act: impl FnOnce(&mut LedgerTx<'_>) -> TxResult<T>,
) -> TxResult<T> {
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    let output = act(&mut LedgerTx::open(&tx, now)?)?;
    tx.commit()?;
    Ok(output)
}

/// Appends one event to a ledger that is not shared yet.
pub(super) fn append_event(database: &Database, event: Event, now: UnixTime) -> TxResult<()> {
    write(database, now, |tx| tx.append_event(event).map(drop))
}

/// Runs the jobs in one transaction. `latest` is the latest of their times, and `limit` the time up to which something
/// may end for good.
///
/// Returns a rejection or none for each once it is durable; after an error none was done.
fn commit(
    database: &Database,
    jobs: Vec<Job>,
    latest: UnixTime,
    limit: UnixTime,
) -> TxResult<Vec<Result<(), Rejection>>> {
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    let mut answers = Vec::with_capacity(jobs.len());
    {
        let mut ledger = LedgerTx::open(&tx, latest)?;
        ledger.limit = limit;
        for job in jobs {
            ledger.now = job.now;
            match (job.apply)(&mut ledger) {
                Ok(()) => answers.push(Ok(())),
                Err(TxError::Refused(refusal)) => answers.push(Err(refusal)),
                Err(other) => return Err(other),
            }
        }
        ledger.forget(latest)?;
    }
    tx.commit()?;
    Ok(answers)
}
