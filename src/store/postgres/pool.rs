//! Connections of a process. The callers block; one thread drives all connections.
//!
//! A request has one deadline, for connecting, waiting and the answer. A connection whose request failed is dropped,
//! with all idle ones, and the next request connects anew: there is no pause after an outage.

use super::connection::{Connection, Failure, settings};
use super::options::Options;
use super::rows;
use super::schema::FORMAT;
use super::seen::Memory;
use super::tls::Connector;
use super::trouble::{self, Kind};
use crate::database::Host;
use crate::store::error::StoreError;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tokio_postgres_rustls::MakeRustlsConnect;

/// A connection that was idle for this long is tried before it is used: the server may be gone without a word.
const PING_AFTER: Duration = Duration::from_secs(5);
/// Time limit of that try.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// The connections.
pub(super) struct Pool {
    pub(super) options: Options,
    runtime: OnceLock<Runtime>,
    tls: Mutex<Connector>,
    idle: Mutex<Idle>,
    returned: Condvar,
    /// The host that answered last.
    good: AtomicUsize,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Idle {
    connections: VecDeque<Connection>,
    /// Connections in use, and those being made.
    busy: usize,
}

/// The thread that drives the connections, until this is dropped.
struct Runtime {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl Pool {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            runtime: OnceLock::new(),
            tls: Mutex::default(),
            idle: Mutex::default(),
            returned: Condvar::new(),
            good: AtomicUsize::new(0),
            memory: Mutex::default(),
        }
    }

    /// Runs a request on a connection.
    pub(super) fn run<T>(
        &self,
        kind: Kind,
        job: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + self.options.timeout;
        self.run_until(deadline, kind, async |connection| {
            timeout_at(deadline.into(), job(connection)).await.unwrap_or(Err(Failure::Late))
        })
    }

    /// Runs a job of many requests. The time limit is that of each.
    pub(super) fn run_long<T>(
        &self,
        kind: Kind,
        job: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + self.options.timeout;
        self.run_until(deadline, kind, async |connection| {
            connection.patience = Some(self.options.timeout);
            let done = job(connection).await;
            connection.patience = None;
            done
        })
    }

    /// Runs a job; the deadline is that of the connection.
    fn run_until<T>(
        &self,
        deadline: Instant,
        kind: Kind,
        job: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let runtime = self.runtime()?;
        let mut lease = Lease { pool: self, connection: self.wait_for_one(deadline)? };
        runtime.block_on(async {
            self.try_idle(&mut lease.connection).await;
            let connection = match &mut lease.connection {
                Some(connection) => connection,
                None => lease.connection.insert(self.connect(deadline).await?),
            };
            let server = connection.server().to_owned();
            let done = job(connection).await;
            let warning = connection.take_warning().filter(|_| kind == Kind::Write);
            let error = match (done, warning) {
                (Ok(done), None) => return Ok(done),
                (Ok(_), Some(warning)) => StoreError::Undecided { server, what: format!("it warned: {warning}") },
                (Err(failure), _) => self.error_of(&server, kind, failure),
            };
            // Whatever its state is, an open transaction ends with it.
            lease.connection = None;
            if matches!(error, StoreError::Unreachable { .. } | StoreError::Undecided { .. }) {
                self.clear();
            }
            Err(error)
        })
    }

    /// Drops a connection that is closed, or that does not answer after it was idle.
    async fn try_idle(&self, connection: &mut Option<Connection>) {
        let Some(it) = connection else { return };
        let limit = (Instant::now() + PING_TIMEOUT).into();
        if it.is_closed() {
            *connection = None;
        } else if it.idle_since.elapsed() >= PING_AFTER {
            match timeout_at(limit, it.ping()).await.unwrap_or(None) {
                Some(flushed) => drop(self.memory().flush(&self.options, flushed)),
                None => {
                    *connection = None;
                    self.clear();
                }
            }
        }
    }

    fn error_of(&self, server: &str, kind: Kind, failure: Failure) -> StoreError {
        match failure {
            Failure::Store(error) => error,
            Failure::Server(error) => trouble::request(server, kind, &error),
            Failure::Damaged => StoreError::Refused { server: server.to_owned(), what: trouble::damaged() },
            Failure::Late => trouble::ended(server, kind, &self.late()),
        }
    }

    /// Runs a job on a new connection to the primary, whatever its tables are.
    pub(super) fn run_primary<T>(
        &self,
        job: impl AsyncFn(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.run_raw(
            async |connection| match rows::single(&connection.rows_once("select pg_is_in_recovery()").await?)? {
                true => {
                    Err(StoreError::Refused { server: connection.server().to_owned(), what: trouble::standby() }.into())
                }
                false => job(connection).await,
            },
            |_| true,
        )
    }

    /// Runs a job on a new connection to a server in any state: a standby, an empty database.
    pub(super) fn run_raw<T>(
        &self,
        job: impl AsyncFn(&mut Connection) -> Result<T, Failure>,
        good: impl Fn(&T) -> bool,
    ) -> Result<T, StoreError> {
        let runtime = self.runtime()?;
        runtime.block_on(async {
            let (mut first, mut found) = (None, None);
            for host in &self.options.hosts {
                let deadline = Instant::now() + self.options.timeout;
                let done = async {
                    let mut connection =
                        Connection::open(runtime, host, &self.options, self.tls(host)?.as_ref()).await?;
                    let done = match connection.batch(&settings(&self.options)).await {
                        Ok(()) => job(&mut connection).await,
                        Err(failure) => Err(failure),
                    };
                    done.map_err(|failure| self.error_of(&host.to_string(), Kind::Read, failure))
                };
                let late = |_| Err(StoreError::Unreachable { server: host.to_string(), what: self.late() });
                match timeout_at(deadline.into(), done).await.unwrap_or_else(late) {
                    Ok(done) if good(&done) => return Ok(done),
                    Ok(done) => found = found.or(Some(done)),
                    Err(error) => first = first.or(Some(error)),
                }
            }
            found.ok_or_else(|| first.unwrap_or_else(|| self.nowhere()))
        })
    }

    /// Takes in what a commit brought. A file that cannot be written does not undo the commit.
    pub(super) fn committed(&self, epoch: i64, position: u64) {
        let _ = self.memory().commit(&self.options, epoch, position);
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all connections.
    pub(super) fn clear(&self) {
        self.idle().connections.clear();
    }

    /// Waits for a free connection, or for the right to make one.
    fn wait_for_one(&self, deadline: Instant) -> Result<Option<Connection>, StoreError> {
        let mut idle = self.idle();
        while idle.busy >= self.options.connections.max(1) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = format!(
                    "all {} connections of this process are in use; try again, or raise [store] connections",
                    idle.busy
                );
                return Err(StoreError::Unreachable { server: self.first(), what });
            }
            idle = self.returned.wait_timeout(idle, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        idle.busy += 1;
        // The one that was used last: its caches are warm.
        Ok(idle.connections.pop_back())
    }

    /// Connects to the primary, the host that was good last before the others.
    async fn connect(&self, deadline: Instant) -> Result<Connection, StoreError> {
        let hosts = &self.options.hosts;
        let start = self.good.load(Relaxed);
        let mut worst: Option<StoreError> = None;
        for step in 0..hosts.len() {
            let number = (start + step) % hosts.len();
            // A host that is silent leaves time for those after it.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = Instant::now() + left / u32::try_from(hosts.len() - step).unwrap_or(1);
            let host = &hosts[number];
            let late = |_| Err(StoreError::Unreachable { server: host.to_string(), what: self.late() });
            match timeout_at(share.into(), self.connect_to(host)).await.unwrap_or_else(late) {
                Ok(connection) => {
                    self.good.store(number, Relaxed);
                    return Ok(connection);
                }
                // A primary that lost something says more than a standby or a host that is down.
                Err(error) => {
                    let keep = matches!(worst, Some(StoreError::Restored { .. } | StoreError::Version { .. }));
                    let says_more = matches!(error, StoreError::Restored { .. } | StoreError::Version { .. });
                    if worst.is_none() || (says_more && !keep) {
                        worst = Some(error);
                    }
                }
            }
        }
        Err(worst.unwrap_or_else(|| self.nowhere()))
    }

    async fn connect_to(&self, host: &Host) -> Result<Connection, StoreError> {
        let tls = self.tls(host)?;
        let opened = Connection::open(self.runtime()?, host, &self.options, tls.as_ref()).await;
        if opened.is_err() {
            // Certificates may have been renewed.
            self.tls.lock().unwrap_or_else(PoisonError::into_inner).forget();
        }
        let mut connection = opened?;
        let server = host.to_string();
        let before = self.memory().seen(&self.options)?;
        let greeting = connection.greet(&self.options).await;
        let greeting = greeting.map_err(|failure| self.error_of(&server, Kind::Read, failure))?;
        connection.space = greeting.space(&server, FORMAT)?;
        self.memory().meet(&server, &self.options, before.as_ref(), greeting.seen(&self.options))?;
        // What the settings warned of is no answer to a request.
        connection.take_warning();
        Ok(connection)
    }

    /// Reads the certificates once they are needed; again after they changed, and after an error.
    fn tls(&self, host: &Host) -> Result<Option<MakeRustlsConnect>, StoreError> {
        let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        tls.get(&self.options).map_err(|what| StoreError::Refused { server: host.to_string(), what })
    }

    fn runtime(&self) -> Result<&Handle, StoreError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(&runtime.handle);
        }
        let made = Runtime::start().map_err(|error| StoreError::Unreachable {
            server: self.first(),
            what: format!("cannot start a thread for its connections: {}", error.kind()),
        })?;
        Ok(&self.runtime.get_or_init(|| made).handle)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self) -> String {
        format!("no answer within {} ms", self.options.timeout.as_millis())
    }

    fn first(&self) -> String {
        self.options.hosts.first().map(ToString::to_string).unwrap_or_default()
    }

    fn nowhere(&self) -> StoreError {
        StoreError::Unreachable { server: self.first(), what: "no host is configured".to_owned() }
    }
}

/// The right to one connection; it goes back when this is dropped.
struct Lease<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut idle = self.pool.idle();
        idle.busy -= 1;
        if let Some(mut connection) = self.connection.take() {
            connection.idle_since = Instant::now();
            idle.connections.push_back(connection);
        }
        drop(idle);
        self.pool.returned.notify_one();
    }
}

impl Runtime {
    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("postgres".into()).spawn(move || {
            let _ = runtime.block_on(ended);
            // A name that is still being looked up is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _end: end })
    }
}
