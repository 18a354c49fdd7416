//! The bank for callers.
//!
//! - Every method blocks, and its result is durable before it returns.
//! - Any number of threads may call at once, and so may other processes.
//! - The time is an argument.

use super::audit::{self, Report};
use super::error::{BankError, Refusal};
use super::order::{IncomingToken, PaymentOrder, Reservation};
use super::request::{Journalled, Outcome};
use super::schema;
use super::statement::{self, Balance, Line};
use super::transaction::{BankTx, MakeToken, TxError, TxResult};
use crate::accounting::bank::books::{IncomingState, Payment, PaymentState};
use crate::accounting::bank::event::{Event, OrderKind};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Head;
use crate::emstamp::inbound::Arrival;
use crate::os::group_commit::GroupCommit;
use crate::os::safe_dir::IfMissing;
use crate::store::{Session, SessionError, StoreError, Wait, catch_panic};
use crate::time::UnixTime;
use crate::vendor_api::meters::{CheckpointRequest, MeterReceipt};
use redb::{ReadTransaction, StorageBackend};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// Page cache in bytes: 16 MiB.
const CACHE: usize = 16 << 20;
/// Most requests in one commit.
const MAX_BATCH: usize = 256;

type Result<T, E = BankError> = std::result::Result<T, E>;

/// The bank.
#[derive(Debug)]
pub struct Bank {
    source: Source,
    jobs: GroupCommit<Job, Result<()>>,
}

#[derive(Debug)]
enum Source {
    File {
        path: PathBuf,
        wait: Duration,
    },
    /// Storage of the caller.
    Given(Mutex<Session>),
}

type Apply = dyn FnOnce(&mut BankTx<'_>) -> TxResult<()> + Send;

/// Request that waits for a commit. It sends its output to its caller, which reads it after the commit.
struct Job {
    now: UnixTime,
    apply: Box<Apply>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Bank {
    /// Returns the bank in the state folder. Opens no file yet.
    ///
    /// `wait` is the timeout of the lock that another process may hold.
    #[must_use]
    pub fn new(state: &Path, wait: Duration) -> Self {
        let path = state.join("bank").join("bank.redb");
        Self { source: Source::File { path, wait }, jobs: GroupCommit::new(MAX_BATCH) }
    }

    /// Opens a bank in the caller's storage, without files and locks. For tests, as `Redb::over` is.
    pub fn over(storage: impl StorageBackend, unsettled: Arc<AtomicBool>) -> Result<Self> {
        let over = || Session::over(Box::new(storage), unsettled, CACHE, &schema::SCHEMA);
        let session = catch_panic(over).map_err(|error| BankError::of_session(error, Path::new("(storage)")))?;
        Ok(Self { source: Source::Given(Mutex::new(session)), jobs: GroupCommit::new(MAX_BATCH) })
    }

    /// Returns the path of its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.source {
            Source::File { path, .. } => path,
            Source::Given(_) => Path::new("(storage)"),
        }
    }

    /// Creates the bank.
    ///
    /// # Errors
    /// [`BankError::Exists`], or errors of the system.
    pub fn found(&self, agency: &str, account: &str, now: UnixTime) -> Result<()> {
        let event = Event::Founded { agency: agency.to_owned(), account: account.to_owned() };
        self.with_session(IfMissing::Create, |session| {
            session.write_if(|tx| {
                let mut bank = BankTx::open(tx)?;
                bank.now = now;
                // A run that was killed in between left a file without entries.
                let is_new = bank.head() == Head::EMPTY;
                if is_new {
                    bank.append(event)?;
                }
                Ok((is_new, is_new))
            })
        })?
        .then_some(())
        .ok_or_else(|| BankError::Exists { path: self.path().to_owned() })
    }

    /// Reserves the payments of one message, in one commit, each by itself. `make` makes a token.
    ///
    /// The same payment gets the same token again, until it is forgotten long after its end. Nothing is written then.
    pub fn reserve(
        &self,
        orders: Vec<PaymentOrder>,
        make: Arc<MakeToken>,
        now: UnixTime,
    ) -> Result<Vec<Result<Reservation, Refusal>>> {
        self.reserve_within(orders, make, u64::MAX, now)
    }

    /// As [`reserve`](Self::reserve), with the most credits that may be reserved on one day (UTC). What was reserved before
    /// counts on its own day.
    pub fn reserve_within(
        &self,
        orders: Vec<PaymentOrder>,
        make: Arc<MakeToken>,
        max_day: u64,
        now: UnixTime,
    ) -> Result<Vec<Result<Reservation, Refusal>>> {
        self.write(now, move |tx| tx.reserve(&orders, &*make, max_day))
    }

    /// Returns the payments of these names that were reserved and are not forgotten, in the same order.
    pub fn payments(&self, names: &[Hash]) -> Result<Vec<Option<Payment>>> {
        self.read(|tx| {
            let rows = tx.open_table(schema::PAYMENT)?;
            let row = |name: &Hash| rows.get(&name.0)?.map(|row| schema::from_json(row.value())).transpose();
            names.iter().map(row).collect()
        })
    }

    /// Notes that the messages of payments were delivered. Returns how many were not noted before.
    ///
    /// # Errors
    /// [`Refusal::NotReserved`].
    pub fn settle(&self, payments: Vec<Hash>, now: UnixTime) -> Result<u64> {
        self.write(now, move |tx| tx.settle(&payments))
    }

    /// Notes the tokens of one message before it is handed on, in one commit, each by itself.
    pub fn pending(&self, tokens: Vec<IncomingToken>, now: UnixTime) -> Result<Vec<Arrival>> {
        self.write(now, move |tx| tx.pend(&tokens))
    }

    /// Notes that the message of pending tokens was delivered. Returns how many were not noted before.
    ///
    /// # Errors
    /// [`Refusal::NotPending`].
    pub fn receive(&self, ids: Vec<String>, now: UnixTime) -> Result<u64> {
        self.write(now, move |tx| tx.receive(&ids))
    }

    /// Notes that the message of pending tokens was refused. Returns how many were not noted before.
    ///
    /// # Errors
    /// [`Refusal::NotPending`].
    pub fn drop_pending(&self, ids: Vec<String>, now: UnixTime) -> Result<u64> {
        self.write(now, move |tx| tx.drop_pending(&ids))
    }

    /// Returns the request to the agency that is not answered yet.
    pub fn journalled(&self) -> Result<Option<Journalled>> {
        self.read(|tx| {
            let row = tx.open_table(schema::STATE)?.get("request")?;
            row.map(|row| schema::from_json(row.value())).transpose()
        })
    }

    /// Journals a request for a licence, unless another request is journalled that can be sent. Returns the one that is.
    ///
    /// A clearing is set aside when no licence is in force, or when `aside` says that no key can sign it.
    pub fn begin_license(&self, request: Journalled, aside: bool, now: UnixTime) -> Result<Journalled> {
        self.write(now, move |tx| tx.begin_license(request, aside))
    }

    /// Journals the clearing of up to `most` received tokens under an idempotency key, unless another request is
    /// journalled. Returns the one that is; `None` when there is nothing to clear.
    pub fn begin_clearing(
        &self,
        key: String,
        most: usize,
        body: impl FnOnce(Vec<String>) -> String + Send + 'static,
        now: UnixTime,
    ) -> Result<Option<Journalled>> {
        self.write(now, move |tx| tx.begin_clearing(key, most, body))
    }

    /// Removes a request for a licence that the agency refused.
    pub fn abandon_license(&self, key: &str, now: UnixTime) -> Result<()> {
        let key = key.to_owned();
        self.write(now, move |tx| tx.abandon_license(&key))
    }

    /// Books the answer to a journalled request. `None` when it was booked before.
    ///
    /// # Errors
    /// [`Refusal::Answer`]; nothing is booked then.
    pub fn answered(&self, key: &str, receipt: MeterReceipt, text: String, now: UnixTime) -> Result<Option<Outcome>> {
        let key = key.to_owned();
        self.write(now, move |tx| tx.answered(&key, &receipt, &text))
    }

    /// Books the answer to a checkpoint.
    ///
    /// # Errors
    /// [`Refusal::Answer`]; nothing is booked then.
    pub fn checked(
        &self,
        request: CheckpointRequest,
        receipt: MeterReceipt,
        text: String,
        now: UnixTime,
    ) -> Result<Outcome> {
        self.write(now, move |tx| tx.checked(&request, &receipt, &text))
    }

    /// Books an order at the agency, and returns its reference, and whether it was booked before: an order of the same
    /// kind for as many credits, unless it is a month old or `new` is set.
    ///
    /// # Errors
    /// [`Refusal::Held`] when more is to be redeemed than is held.
    pub fn order(&self, kind: OrderKind, credits: u64, new: bool, now: UnixTime) -> Result<(String, bool)> {
        self.write(now, move |tx| tx.order(kind, credits, new))
    }

    /// Removes closed payments and tokens that ended before a time, and reports about messages whose IDs did.
    pub fn forget(&self, before: UnixTime, now: UnixTime) -> Result<()> {
        self.write(now, move |tx| tx.forget_before(before))
    }

    /// Books any event that the books allow. For tests.
    ///
    /// # Errors
    /// [`BankError::Damaged`] when the books do not allow it; nothing was written then.
    pub fn book(&self, event: Event, now: UnixTime) -> Result<Head> {
        self.write(now, move |tx| Ok(tx.append(event)?))
    }

    /// Returns the credits of a payer's licence that are not cleared.
    pub fn exposure(&self, peer: &str) -> Result<u64> {
        self.read(|tx| Ok(tx.open_table(schema::EXPOSURE)?.get(peer)?.map_or(0, |row| row.value())))
    }

    /// Lists the payments that are reserved or settled, and the ends of their tokens.
    pub fn open_payments(&self) -> Result<Vec<(Hash, UnixTime)>> {
        self.read(|tx| {
            statement::payments(tx, |row| matches!(row.state, PaymentState::Reserved | PaymentState::Settled))
        })
    }

    /// Lists up to `most` received tokens that are not handed in: IDs and tokens.
    pub fn uncleared(&self, most: usize) -> Result<Vec<(String, String)>> {
        self.read(|tx| statement::tokens(tx, IncomingState::Received, most))
    }

    /// Returns what the bank has.
    pub fn balance(&self) -> Result<Balance> {
        self.read(statement::balance)
    }

    /// Lists what came and went since a time, the oldest first, until `to` returns `false`.
    pub fn statement(&self, since: Option<UnixTime>, to: &mut dyn FnMut(Line) -> bool) -> Result<()> {
        self.read(|tx| statement::lines(tx, since, to))
    }

    /// Reads the chain again, and compares. With `since`, also checks that the chain contains that head.
    pub fn audit(&self, since: Option<Head>) -> Result<Report> {
        self.read(|tx| audit::audit(tx, since))
    }

    /// Runs `apply` in the next commit, and returns its output once that is durable.
    pub(super) fn write<T: Send + 'static>(
        &self,
        now: UnixTime,
        apply: impl FnOnce(&mut BankTx<'_>) -> TxResult<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, output) = mpsc::sync_channel(1);
        let apply = Box::new(move |bank: &mut BankTx<'_>| {
            // The caller waits, and the channel has space for one output.
            let _ = sender.try_send(apply(bank)?);
            Ok(())
        });
        self.jobs.ask(Job { now, apply }, |jobs| self.commit(jobs)).unwrap_or(Err(BankError::Left))?;
        output.try_recv().map_err(|_| BankError::Left)
    }

    /// Runs the jobs of a batch. An error goes to the first; the others are told to try again.
    fn commit(&self, jobs: Vec<Job>) -> Vec<Result<()>> {
        let count = jobs.len();
        let committed = self.with_session(IfMissing::Ignore, |session| {
            session.write_if(|tx| {
                let mut bank = BankTx::open(tx)?;
                let mut answers = Vec::with_capacity(count);
                for job in jobs {
                    bank.now = job.now;
                    answers.push(match (job.apply)(&mut bank) {
                        Ok(()) => Ok(()),
                        Err(TxError::Refused(refusal)) => Err(BankError::Refused(refusal)),
                        Err(TxError::Session(error)) => return Err(error),
                    });
                }
                Ok((answers, bank.is_changed))
            })
        });
        committed.unwrap_or_else(|error| {
            let first = std::iter::once(error).chain(std::iter::repeat_with(|| BankError::Left));
            first.take(count).map(Err).collect()
        })
    }

    pub(super) fn read<T>(&self, job: impl FnOnce(&ReadTransaction) -> Result<T, SessionError>) -> Result<T> {
        self.with_session(IfMissing::Ignore, |session| job(&session.read()?))
    }

    fn with_session<T>(&self, absent: IfMissing, job: impl FnOnce(&Session) -> Result<T, SessionError>) -> Result<T> {
        let failed = |error| BankError::of_session(error, self.path());
        match &self.source {
            Source::Given(session) => {
                let session = session.lock().unwrap_or_else(PoisonError::into_inner);
                catch_panic(|| job(&session)).map_err(failed)
            }
            Source::File { path, wait } => {
                let session = Session::open(path, absent, Wait::For(*wait), CACHE, &schema::SCHEMA);
                let session = match session {
                    Ok(Some(session)) => session,
                    Ok(None) => return Err(BankError::Absent { path: path.clone() }),
                    Err(error) => return Err(error.into()),
                };
                catch_panic(|| job(&session)).map_err(failed)
            }
        }
    }
}

/// Access for callers that match on the failure of the file.
impl BankError {
    /// Returns the refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Returns the error of the file, if it is one.
    #[must_use]
    pub fn store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}
