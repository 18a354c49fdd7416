//! Where a PostgreSQL server is, and how a session with it is protected: what the configuration writes and the client
//! of the store uses.

use serde::Deserialize;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// Port of a server that names none.
pub const PORT: u16 = 5_432;

/// Address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Tcp {
        /// A name, as its certificate has it, or an address.
        name: String,
        port: u16,
    },
    Unix {
        /// The folder of the socket `.s.PGSQL.PORT`.
        folder: PathBuf,
        port: u16,
    },
}

impl Host {
    /// Returns whether nothing between this host and the server can read along.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { name, .. } => {
                name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
            Self::Unix { .. } => true,
        }
    }
}

/// As the configuration writes it.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { name, port } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp { name, port } => write!(f, "{name}:{port}"),
            Self::Unix { folder, port } => write!(f, "{}:{port}", folder.display()),
        }
    }
}

/// TLS of a connection: the server's certificate must be valid, and name the host. Files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Certificates of the authorities; without it the system's.
    pub ca: Option<PathBuf>,
    /// Certificate chain and private key of this client, if the server asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// What a commit waits for. PostgreSQL's weaker values lose spends that were answered, so there is no name for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SynchronousCommit {
    /// The disk of the primary, and of the synchronous standbys if there are any.
    #[default]
    On,
    /// As `On`, and the standbys show it to readers.
    RemoteApply,
}

impl SynchronousCommit {
    /// Returns PostgreSQL's name for it, which is the configuration's too.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::RemoteApply => "remote_apply",
        }
    }
}
