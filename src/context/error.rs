//! Local failures, for which mail is deferred.

use crate::config::paths::PathsError;
use crate::config::rules::RulesError;
use crate::config::user::UserError;
use crate::directory::own_keys::OwnKeysError;
use crate::directory::pinned::FolderError;
use crate::store::StoreError;
use crate::time::UnixTime;

/// The message could not be judged now and has to wait, because of a local failure.
#[derive(Debug, thiserror::Error)]
pub enum Deferral {
    /// The configuration cannot be used.
    #[error(transparent)]
    Places(#[from] PathsError),
    /// The vendors' keys cannot be read.
    #[error(transparent)]
    Keys(#[from] FolderError),
    /// The user's own keys cannot be read.
    #[error(transparent)]
    OwnKeys(#[from] OwnKeysError),
    /// The used log failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user's rules cannot be used.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The recipient from the delivering program is invalid.
    #[error(transparent)]
    User(#[from] UserError),
    /// The clock cannot be right.
    #[error("system clock is wrong: {0} is before this release (2026-11-21)")]
    Clock(UnixTime),
    /// The user's configuration defers mail while the directory is stale.
    #[error("key directory of the stamp's vendor has expired")]
    StaleDirectory,
    /// The daemon's own error.
    #[error("{what}")]
    Remote {
        /// What went wrong.
        what: String,
        /// What may help.
        hint: Option<String>,
    },
    /// A client that judged locally would use another log than the daemon, and accept a stamp once more.
    #[error("with --system, set `state` in the configuration and don't pass --state")]
    StateNotConfigured,
    /// No addresses of the user are configured.
    #[error("no addresses are configured, so no stamp and no sent message counts as yours")]
    NoAddresses,
}

impl Deferral {
    /// Returns what the user can do about it, where that is not plain from the error.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Remote { hint, .. } => hint.as_deref(),
            Self::NoAddresses => Some("write addresses = [\"you@your.example\"] into the configuration"),
            Self::StateNotConfigured => Some(
                "write state = \"/var/lib/mailstamp\" into the configuration, or \"/var/lib/mailstamp/mailboxes/%n\"",
            ),
            Self::StaleDirectory => {
                Some("run mailstamp directory refresh; until then such mail waits (stamps.defer_stale)")
            }
            Self::Clock(_) => Some("set the clock; the message is judged when it is tried again"),
            Self::Rules(_) => Some("run mailstamp config check; the message is judged when it is tried again"),
            Self::Store(StoreError::Busy { .. }) => Some("another delivery holds the log; the message is tried again"),
            _ => None,
        }
    }
}
