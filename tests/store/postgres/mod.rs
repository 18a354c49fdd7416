//! The used log in a real PostgreSQL, as hosts that share it see it: no fault and no race accepts a stamp for two
//! messages or loses a spend that was answered. Servers sync here, unlike the one of the contract.

mod killed;
mod network;
mod races;
mod restored;
mod sessions;
mod standby;
mod told;

use crate::ask;
use crate::support::postgres::{Cluster, ROLE, Setup, read_file};
use crate::support::programs::{PATIENCE, eventually};
use mailstamp::database::{Host, SynchronousCommit};
use mailstamp::store::postgres::{Options, Postgres};
use mailstamp::store::{GRACE, StoreError, UsedLog};
use mailstamp::verdict::spend::SpendResult;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A server with a log in it, and hosts that share it.
struct Site {
    cluster: Arc<Cluster>,
    database: String,
    folder: tempfile::TempDir,
}

impl Site {
    /// A database of its own, on the server that the tests without faults of the server share. It syncs.
    #[track_caller]
    fn shared() -> Self {
        static SHARED: OnceLock<Arc<Cluster>> = OnceLock::new();
        let start = || Arc::new(Cluster::new(Setup { durable: true, ..Setup::default() }));
        Self::on(Arc::clone(SHARED.get_or_init(start)))
    }

    /// A server of its own, which syncs.
    #[track_caller]
    fn new() -> Self {
        Self::with(Setup { durable: true, ..Setup::default() })
    }

    #[track_caller]
    fn with(setup: Setup) -> Self {
        Self::on(Arc::new(Cluster::new(setup)))
    }

    #[track_caller]
    fn on(cluster: Arc<Cluster>) -> Self {
        let database = cluster.database();
        let site = Self { cluster, database, folder: tempfile::tempdir().unwrap() };
        site.host("first").init().unwrap();
        site
    }

    /// A host of this name, over the socket.
    fn host(&self, name: &str) -> Postgres {
        Postgres::new(self.options(name))
    }

    /// The same over TCP: through a proxy, or to another server.
    fn host_through(&self, name: &str, ports: &[u16]) -> Postgres {
        Postgres::new(Options { hosts: ports.iter().map(|port| loopback(*port)).collect(), ..self.options(name) })
    }

    fn options(&self, name: &str) -> Options {
        options(&self.cluster, &self.database, self.folder.path().join(name))
    }
}

fn options(cluster: &Cluster, database: &str, memory: PathBuf) -> Options {
    Options {
        hosts: vec![Host::Unix { folder: cluster.host().into(), port: cluster.port() }],
        database: database.to_owned(),
        user: ROLE.to_owned(),
        password_file: Some(cluster.password_file()),
        tls: None,
        read_file,
        timeout: PATIENCE,
        connections: 8,
        space: "default".to_owned(),
        synchronous_commit: SynchronousCommit::On,
        grace: GRACE,
        follow_failover: false,
        purge_by_server_clock: false,
        memory,
        remembers: true,
    }
}

fn loopback(port: u16) -> Host {
    Host::Tcp { name: "127.0.0.1".to_owned(), port }
}

/// A deadline that a test waits for, and how much later than it an answer may come. The gate runs on busy machines.
const DEADLINE: Duration = Duration::from_millis(700);

fn slack() -> Duration {
    Duration::from_secs(if crate::support::is_soak() { 1 } else { 60 })
}

/// What hosts were told about one serial. No two messages may be accepted with it.
#[derive(Default)]
struct Told {
    accepted: Vec<u8>,
}

impl Told {
    /// Notes an answer about a message.
    #[track_caller]
    fn note(&mut self, message: u8, answer: &Result<SpendResult, StoreError>) {
        match answer {
            Ok(SpendResult::Fresh) => {
                assert!(self.accepted.is_empty(), "fresh for {message} after {:?}", self.accepted);
                self.accepted.push(message);
            }
            Ok(SpendResult::Redelivery { .. }) => {
                // Of a spend that was undecided, this is the first that is told.
                if self.accepted.is_empty() {
                    self.accepted.push(message);
                }
                assert_eq!(self.accepted, [message], "{answer:?}");
            }
            Ok(SpendResult::DoubleSpend { .. }) => assert_ne!(self.accepted, [message], "{answer:?}"),
            Ok(_) => panic!("{answer:?}"),
            Err(error) => assert!(is_local(error), "{error}"),
        }
    }
}

/// Whether an error is one of the server or of the way to it.
fn is_local(error: &StoreError) -> bool {
    use StoreError as E;
    matches!(error, E::Unreachable { .. } | E::Refused { .. } | E::Undecided { .. } | E::Busy { .. } | E::Full { .. })
}

/// Checks that a serial is known for one message, whatever was told before, and for no other, once the server answers.
#[track_caller]
fn settles(log: &Postgres, told: &mut Told, serial: u32, message: u8) {
    let answer = |message| {
        eventually("the server answers", || match log.spend(&ask(serial, message)) {
            Err(error) if is_local(&error) => None,
            answer => Some(answer),
        })
    };
    told.note(message, &answer(message));
    let other = answer(message + 100);
    assert!(matches!(other, Ok(SpendResult::DoubleSpend { .. })), "serial {serial}: {other:?}");
}

/// Checks that a serial which was accepted for a message is known for it, once the server answers: it notices late that
/// one of its sessions was killed, and then ends all.
#[track_caller]
fn is_known(log: &Postgres, serial: u32, message: u8) {
    let answer = |message| {
        eventually("the server answers", || match log.would_spend(&ask(serial, message)) {
            Err(StoreError::Unreachable { .. }) => None,
            answer => Some(answer),
        })
    };
    let (same, other) = (answer(message), answer(message + 100));
    assert!(matches!(same, Ok(SpendResult::Redelivery { .. })), "serial {serial}: {same:?}");
    assert!(matches!(other, Ok(SpendResult::DoubleSpend { .. })), "serial {serial}: {other:?}");
}
