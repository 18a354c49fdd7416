//! What an administrator says of the server: its addresses, the session, and where this host keeps what it saw.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// Port of a server that names none.
pub const PORT: u16 = 5_432;

/// Options of a store in PostgreSQL.
#[derive(Clone)]
pub struct Options {
    /// Servers of one cluster, tried in order, the last good one first. The primary among them is used.
    pub hosts: Vec<Host>,
    pub database: String,
    pub user: String,
    pub password: Option<Zeroizing<String>>,
    pub tls: Tls,
    /// Deadline of one request, connecting included. It must be below the shortest time limit of the callers.
    pub timeout: Duration,
    /// Connections of this process at most.
    pub connections: usize,
    /// Users and hosts that share one log have one space. Other spaces in the same database are other logs.
    pub space: String,
    pub synchronous_commit: SynchronousCommit,
    /// Retention of a row after its bucket's end, in seconds. At least the skew that the judgement allows.
    pub grace: i64,
    /// Whether a standby that was promoted is followed without the administrator's word. It is right only where commits
    /// wait for a standby: a standby that was behind knows less, and accepts used stamps once more.
    pub follow_failover: bool,
    /// Whether only what has ended by the server's clock is purged. Tests at other times go without.
    pub purge_by_server_clock: bool,
    /// File in which this host keeps the highest epoch and WAL position it saw. Its folder must exist.
    pub memory: PathBuf,
}

/// Address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Tcp {
        /// A name, as its certificate has it, or an address.
        name: String,
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// The folder of the socket `.s.PGSQL.PORT`.
        folder: PathBuf,
        port: u16,
    },
}

/// Encryption of TCP connections. A Unix socket has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    Off,
    /// The certificate must be valid, and name the host.
    VerifyFull {
        /// Certificates of the authorities in PEM; without it the system's.
        ca: Option<PathBuf>,
        /// Certificate chain and private key of this client, in PEM.
        client: Option<(PathBuf, PathBuf)>,
    },
}

/// What a commit waits for. PostgreSQL's weaker values lose spends that were answered, so there is no name for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SynchronousCommit {
    /// The disk of the primary, and of the synchronous standbys if there are any.
    #[default]
    On,
    /// As `On`, and the standbys have applied it.
    RemoteApply,
}

impl SynchronousCommit {
    /// Returns PostgreSQL's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::RemoteApply => "remote_apply",
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { name, port } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp { name, port } => write!(f, "{name}:{port}"),
            Self::Unix { folder, port } => write!(f, "{}/.s.PGSQL.{port}", folder.display()),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        f.debug_struct("Options")
            .field("hosts", &self.hosts)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("tls", &self.tls)
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}
