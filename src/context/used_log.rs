//! Opening the used log: which store a user has, and with which options. It is a file in the folder of the state, or,
//! where several hosts share one, a database.
//!
//! The program `mailstamp` has no client of a database, so that it starts fast. [`has_client`] tells whether this
//! process has one; if not, the program becomes `mailstamp-tools`, which calls [`provide_client`] first.

use crate::config::Config;
use crate::config::paths::{Paths, PathsError};
use crate::config::store::SharedLog;
use crate::context::error::Deferral;
use crate::store::redb::{Options, Redb};
use crate::store::resident::{ResidentLog, Stats};
use crate::store::{AnswerCounters, Store, StoreError};
use crate::time::UnixTime;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

#[cfg(feature = "postgres")]
use {
    crate::config::file::{self, Content},
    crate::os,
    crate::store::postgres::{self, Postgres},
    data_encoding::HEXLOWER,
    sha2::{Digest, Sha256},
    zeroize::Zeroizing,
};

/// Page cache of a log that stays open, in bytes.
const CACHE: usize = 8 << 20;

/// Opens the used log in a database; the `bool` says whether what is seen of the server is remembered.
type OpenShared = fn(&Config, &Paths, bool) -> Result<Box<dyn Store>, PathsError>;

/// The client of databases, in the processes that have it.
static CLIENT: OnceLock<OpenShared> = OnceLock::new();

/// Gives this process the client of databases.
pub fn provide_client() {
    #[cfg(feature = "postgres")]
    CLIENT.get_or_init(|| {
        |config, places, remembers| {
            let log = config.store.as_ref().map(|shared| shared_log(shared, config, places, remembers)).transpose()?;
            log.map_or_else(|| local_log(config, places), |log| Ok(Box::new(log)))
        }
    });
}

/// Returns whether this process can open the used log. If not, `mailstamp-tools` can.
#[must_use]
pub fn has_client(config: &Config) -> bool {
    config.store.is_none() || CLIENT.get().is_some()
}

/// Returns the used log, with the grants beside it.
/// The first request opens and locks it, until it is dropped.
pub fn used_log(config: &Config, places: &Paths) -> Result<Box<dyn Store>, PathsError> {
    open_used_log(config, places, true)
}

/// As [`used_log`], for a command that changes nothing: what is seen of a server is compared, and not remembered.
pub fn used_log_to_look_at(config: &Config, places: &Paths) -> Result<Box<dyn Store>, PathsError> {
    open_used_log(config, places, false)
}

fn open_used_log(config: &Config, places: &Paths, remembers: bool) -> Result<Box<dyn Store>, PathsError> {
    match (&config.store, CLIENT.get()) {
        (None, _) => local_log(config, places),
        (Some(_), Some(open)) => open(config, places, remembers),
        (Some(_), None) => Err(PathsError::NoClient),
    }
}

/// Returns the used log that is the file of this host, also where the configuration names a database.
pub fn local_log(config: &Config, places: &Paths) -> Result<Box<dyn Store>, PathsError> {
    let options = Options { wait: config.wait, grace: config.policy.grace(), ..Options::default() };
    Ok(Box::new(Redb::new(used_log_path(places.log_folder()?), options)))
}

/// Returns the database's log for the daemon, which counts its start there. A server that is away delays nothing.
#[cfg(feature = "postgres")]
fn open_shared(shared: &SharedLog, config: &Config, places: &Paths) -> Result<OpenLog, PathsError> {
    let log = Arc::new(shared_log(shared, config, places, true)?);
    let counted = Arc::clone(&log);
    // Each purge raises the epoch too, so a failure here loses little.
    let raise = move || drop(counted.raise_epoch());
    drop(std::thread::Builder::new().name("epoch".into()).spawn(raise));
    Ok(OpenLog::Shared(log))
}

/// Returns the used log in the database, without connecting.
/// Creates the folder of the state, which keeps what this host saw of the server, if that `remembers`.
#[cfg(feature = "postgres")]
pub fn shared_log(
    shared: &SharedLog,
    config: &Config,
    places: &Paths,
    remembers: bool,
) -> Result<Postgres, PathsError> {
    let state = places.log_folder()?;
    if remembers {
        os::make_folder(state, 0o700).map_err(|source| PathsError::State { path: state.to_owned(), source })?;
    }
    // The adapter reads them at each connection. Here a fault of the setup is told at the start.
    for (_, path, content) in shared.files() {
        file::read_as(path, content)?;
    }
    Ok(Postgres::new(postgres::Options {
        hosts: shared.hosts.clone(),
        database: shared.database.clone(),
        user: shared.user.clone(),
        password_file: shared.password_file.clone(),
        tls: shared.tls.clone(),
        read_file,
        timeout: shared.timeout,
        connections: shared.connections,
        space: shared.space.clone(),
        synchronous_commit: shared.synchronous_commit,
        grace: config.policy.grace(),
        follow_failover: shared.follow_failover,
        purge_by_server_clock: true,
        memory: state.join(memory_name(shared)),
        remembers,
    }))
}

/// Returns the name of the file with what this host saw of a log. Logs of other databases and spaces have files of their
/// own, also where the state's folder is one.
#[cfg(feature = "postgres")]
fn memory_name(shared: &SharedLog) -> String {
    let hash = Sha256::new().chain_update(&shared.database).chain_update([0]).chain_update(&shared.space).finalize();
    format!("server-seen-{}", HEXLOWER.encode(&hash[..8]))
}

#[cfg(feature = "postgres")]
fn read_file(path: &Path, is_secret: bool) -> Result<Zeroizing<String>, String> {
    let content = if is_secret { Content::Secret } else { Content::Public };
    file::read_as(path, content).map_err(|error| os::without_numbers(&error.to_string()))
}

/// Opens the used log for the daemon; a file is locked, and its answers are counted in `attended`.
pub fn open_log(config: &Config, places: &Paths, attended: Arc<AnswerCounters>) -> Result<OpenLog, Deferral> {
    #[cfg(feature = "postgres")]
    if let Some(shared) = &config.store {
        return Ok(open_shared(shared, config, places)?);
    }
    let options = Options { wait: config.wait, grace: config.policy.grace(), cache: CACHE };
    let log = ResidentLog::counting(used_log_path(places.state()?), options, attended)?;
    Ok(OpenLog::File(Arc::new(log)))
}

/// Name of a used log: two configurations of one name have one log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogName {
    File(PathBuf),
    Shared(Box<SharedLog>),
}

impl LogName {
    /// Returns the name of the log that a configuration means.
    pub fn of(config: &Config, places: &Paths) -> Result<Self, PathsError> {
        match &config.store {
            Some(shared) => Ok(Self::Shared(Box::new(shared.clone()))),
            None => Ok(Self::File(used_log_path(places.state()?))),
        }
    }
}

/// Returns the file of the used log in the folder `state`.
#[must_use]
pub fn used_log_path(state: &Path) -> PathBuf {
    state.join("used.redb")
}

/// The used log of a daemon, which stays open.
#[derive(Clone, Debug)]
pub enum OpenLog {
    File(Arc<ResidentLog>),
    #[cfg(feature = "postgres")]
    Shared(Arc<Postgres>),
}

impl OpenLog {
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::File(log) => Arc::clone(log) as Arc<dyn Store>,
            #[cfg(feature = "postgres")]
            Self::Shared(log) => Arc::clone(log) as Arc<dyn Store>,
        }
    }

    /// Returns the word of the configuration for the store.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "redb",
            #[cfg(feature = "postgres")]
            Self::Shared(_) => "postgres",
        }
    }

    /// Returns the log of this host, which lends itself to other processes.
    #[must_use]
    pub fn file(&self) -> Option<&ResidentLog> {
        match self {
            Self::File(log) => Some(log),
            #[cfg(feature = "postgres")]
            Self::Shared(_) => None,
        }
    }

    /// Returns whether only the caller's list of open logs has it.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        match self {
            Self::File(log) => Arc::strong_count(log) == 1,
            #[cfg(feature = "postgres")]
            Self::Shared(log) => Arc::strong_count(log) == 1,
        }
    }

    /// Sets the retention of a row after its bucket's end, in seconds.
    pub fn set_retention(&self, grace: i64) {
        match self {
            Self::File(log) => log.set_retention(grace),
            #[cfg(feature = "postgres")]
            Self::Shared(log) => log.set_retention(grace),
        }
    }

    /// Returns statistics cheaply.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn glance(&self, now: UnixTime) -> Result<Stats, StoreError> {
        match self {
            Self::File(log) => log.glance(now),
            #[cfg(feature = "postgres")]
            Self::Shared(log) => log.glance(now),
        }
    }
}
