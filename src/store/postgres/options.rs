//! What an administrator says of the server: its addresses, the session, and where this host keeps what it saw.

use crate::database::{Host, SynchronousCommit, Tls};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// Options of a store in PostgreSQL.
#[derive(Clone)]
pub struct Options {
    /// Servers of one cluster, tried in order, the last good one first. The primary among them is used.
    pub hosts: Vec<Host>,
    pub database: String,
    pub user: String,
    /// The file of the password. It is read at each connection, so a new password needs no restart.
    pub password_file: Option<PathBuf>,
    /// `None` for Unix sockets and the loopback interface alone. Files are read again once they change.
    pub tls: Option<Tls>,
    pub read_file: ReadFile,
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
    /// Whether that file is written.
    pub remembers: bool,
}

/// Reads a file that the options name, by the rule of the configuration for the owner and mode of a file. The `bool` says
/// whether it is a secret.
pub type ReadFile = fn(&Path, bool) -> Result<Zeroizing<String>, String>;

impl Options {
    /// Reads the password, as it is now.
    pub(super) fn password(&self) -> Result<Option<Zeroizing<String>>, String> {
        let Some(path) = &self.password_file else { return Ok(None) };
        let text = (self.read_file)(path, true)?;
        Ok(Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("hosts", &self.hosts)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("tls", &self.tls)
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}
