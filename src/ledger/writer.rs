//! Writer of the ledger, with group commit: requests that arrive during a commit run in one transaction after it, and
//! each is answered when that is durable. A commit costs two syncs, which they share.
//!
//! After a failure of the disk the ledger is opened again for the next requests.

use super::database::SharedDatabase;
use super::error::LedgerError;
use super::rejection::Rejection;
use super::request::Response;
use super::schema::TxError;
use super::transaction::{Command, LedgerTx};
use crate::accounting::event::Event;
use crate::os::group_commit::GroupCommit;
use crate::time::UnixTime;
use redb::Database;
use std::sync::Arc;

/// Most requests in one commit.
const MAX_BATCH: usize = 256;

type Reply = Result<Response, LedgerError>;

/// Writes for all threads.
#[derive(Debug)]
pub(super) struct Writer {
    commands: GroupCommit<Command, Reply>,
    database: Arc<SharedDatabase>,
}

impl Writer {
    pub(super) fn new(database: Arc<SharedDatabase>) -> Self {
        Self { commands: GroupCommit::new(MAX_BATCH), database }
    }

    /// Runs a request, and waits until it is durable.
    pub(super) fn ask(&self, job: Command) -> Reply {
        self.commands.ask(job, |jobs| self.write(jobs)).unwrap_or(Err(LedgerError::Left))
    }

    /// Runs the requests of a batch. An error goes to the first; the others are told to try again.
    fn write(&self, jobs: Vec<Command>) -> Vec<Reply> {
        let count = jobs.len();
        match self.database.with(|database| commit(database, jobs)) {
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

/// Appends one event to a ledger that is not shared yet.
pub(super) fn append_event(database: &Database, event: Event, now: UnixTime) -> Result<(), TxError> {
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    LedgerTx::open(&tx)?.append_event(event, now)?;
    Ok(tx.commit()?)
}

/// Runs the commands in one transaction.
///
/// Returns an answer or a rejection for each once it is durable; after an error none was done.
fn commit(database: &Database, jobs: Vec<Command>) -> Result<Vec<Result<Response, Rejection>>, TxError> {
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    let mut answers = Vec::with_capacity(jobs.len());
    {
        let mut ledger = LedgerTx::open(&tx)?;
        let now = jobs.iter().map(|job| job.now).max();
        for job in jobs {
            match ledger.apply(job) {
                Ok(answer) => answers.push(Ok(answer)),
                Err(TxError::Refused(refusal)) => answers.push(Err(refusal)),
                Err(other) => return Err(other),
            }
        }
        if let Some(now) = now {
            ledger.forget(now)?;
        }
    }
    tx.commit()?;
    Ok(answers)
}
