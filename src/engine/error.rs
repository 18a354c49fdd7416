//! Why the engine could not answer: trouble of our own, for which mail is deferred.

use crate::config::paths::PlacesError;
use crate::config::rules::RulesError;
use crate::config::user::UserError;
use crate::directory::cache::CacheError;
use crate::directory::pinned::FolderError;
use crate::store::StoreError;
use crate::time::UnixTime;

/// The message could not be judged now. That is our own trouble, and the message has to wait.
#[derive(Debug, thiserror::Error)]
pub enum Deferral {
    /// The configuration.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// The vendors' keys.
    #[error(transparent)]
    Keys(#[from] FolderError),
    /// The used-serial log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user's rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The recipient that the delivering program named.
    #[error(transparent)]
    User(#[from] UserError),
    /// A clock that cannot be right.
    #[error("the clock reads {0}, which is before this program was written")]
    Clock(UnixTime),
    /// The user wants to wait for the directory.
    #[error("what was fetched about the vendor of its stamp is past its date")]
    StaleDirectory,
    /// The resident process says so.
    #[error("{what}")]
    Remote {
        /// What happened.
        what: String,
        /// What may help.
        hint: Option<String>,
    },
    /// Whoever judges for himself would use another log than the process that judges for all, and accept a stamp once more.
    #[error("to serve the whole system, the configuration must name the folder of the state, and nothing else may")]
    StateNotConfigured,
    /// Nobody said which addresses are the user's.
    #[error("no addresses are configured, so no stamp can be for you")]
    NoAddresses,
}

impl Deferral {
    /// What the user can do about it, where that is not plain from the error.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Remote { hint, .. } => hint.as_deref(),
            Self::NoAddresses => Some("write addresses = [\"you@your.example\"] into the configuration"),
            Self::StateNotConfigured => {
                Some("write state = \"/var/lib/mailstamp\" into it, or \"/var/lib/mailstamp/%n\"")
            }
            Self::StaleDirectory => {
                Some("mailstamp directory refresh fetches it; until then such mail waits (stamps.defer_stale)")
            }
            Self::Keys(FolderError::Cache(CacheError::Content { .. })) => {
                Some("remove the file; mailstamp directory refresh fetches it anew")
            }
            Self::Clock(_) => Some("set the clock; the message is judged when it is tried again"),
            Self::Rules(_) => {
                Some("mailstamp config check says what is wrong; the message is judged when it is tried again")
            }
            Self::Store(StoreError::Busy { .. }) => Some("another delivery holds the log; the message is tried again"),
            _ => None,
        }
    }
}

/// A line that must be on the disk could not be put there.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is no place for it.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// The system's.
    #[error("the verdict log cannot be written: {0}")]
    Io(#[from] std::io::Error),
}
