//! The one thread that writes. It takes whatever waits in its queue, does it in one transaction, and answers when that is
//! durable: so a commit, which costs two syncs, is shared by all who came while the last one was under way (group
//! commit). After a failure of the disk the ledger is opened anew for those who come next.

use super::database::Held;
use super::error::LedgerError;
use super::rejection::Rejection;
use super::request::Response;
use super::schema::TxError;
use super::transaction::{Command, LedgerTx};
use crate::accounting::event::Event;
use crate::time::UnixTime;
use redb::Database;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Requests that share a commit at most.
const TOGETHER: usize = 256;
/// Requests that wait at most; who comes later waits to be let in.
const WAITING: usize = 4_096;

type Reply = Result<Response, LedgerError>;

/// The way to the writer.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<SyncSender<(Command, SyncSender<Reply>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(database: Arc<Held>) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("ledger".into()).spawn(move || work(&database, &jobs))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Has a job done, and waits until it is durable.
    pub(super) fn ask(&self, job: Command) -> Reply {
        let (sender, receiver) = sync_channel(1);
        let queue = self.queue.as_ref().ok_or(LedgerError::Left)?;
        queue.send((job, sender)).map_err(|_| LedgerError::Left)?;
        receiver.recv().map_err(|_| LedgerError::Left)?
    }
}

impl Drop for Writer {
    /// Waits until the thread has let the database go.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(database: &Held, jobs: &Receiver<(Command, SyncSender<Reply>)>) {
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        while batch.len() < TOGETHER
            && let Ok(next) = jobs.try_recv()
        {
            batch.push(next);
        }
        let (jobs, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        // Who asked may have gone.
        match database.with(|database| commit(database, jobs)) {
            Ok(answers) => {
                database.wrote();
                for (reply, answer) in replies.iter().zip(answers) {
                    let _ = reply.send(answer.map_err(LedgerError::Refused));
                }
            }
            Err(error) => {
                let first = std::iter::once(error).chain(std::iter::repeat_with(|| LedgerError::Left));
                for (reply, error) in replies.iter().zip(first) {
                    let _ = reply.send(Err(error));
                }
            }
        }
    }
}

/// Adds one event to a ledger that is not shared yet.
pub(super) fn append_event(database: &Database, event: Event, now: UnixTime) -> Result<(), TxError> {
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    LedgerTx::open(&tx)?.append_event(event, now)?;
    Ok(tx.commit()?)
}

/// Does the jobs in one transaction: an answer or a refusal for each once it is durable, or none was done.
fn commit(database: &Database, jobs: Vec<Command>) -> Result<Vec<Result<Response, Rejection>>, TxError> {
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    let mut answers = Vec::with_capacity(jobs.len());
    {
        let mut desk = LedgerTx::open(&tx)?;
        let now = jobs.iter().map(|job| job.now).max();
        for job in jobs {
            match desk.apply(job) {
                Ok(answer) => answers.push(Ok(answer)),
                Err(TxError::Refused(refusal)) => answers.push(Err(refusal)),
                Err(other) => return Err(other),
            }
        }
        if let Some(now) = now {
            desk.forget(now)?;
        }
    }
    tx.commit()?;
    Ok(answers)
}
