//! Context of a command: the user's configuration and files, and the time. Commands that judge no message need nothing
//! else. [`used_log`] opens the log, and alone knows which store that is.

pub mod error;
pub mod learn_sent;
pub mod used_log;

use crate::config::Config;
use crate::config::paths::{CliOverrides, Paths, PathsError};
use crate::log::syslog::{self, Severity};
use crate::message::address::Address;
use crate::message::parse::Message;
use crate::os::{clock, clock_record};
use crate::store::Store;
use crate::time::UnixTime;
use crate::verdict::facts;
use crate::verdict::owner::Owner;
use error::Deferral;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Release date of this program (2026-11-21): an earlier clock is wrong.
pub const RELEASE_TIME: UnixTime = UnixTime(1_795_219_200);

/// The file in the folder of the state that has the time of the last daily cleanup.
pub const CLEANED: &str = "tidied";

/// Context of a command.
#[derive(Clone, Debug)]
pub struct Context {
    /// The user's configuration.
    pub config: Arc<Config>,
    /// The user's files.
    pub places: Arc<Paths>,
    /// The time of the command.
    pub now: UnixTime,
    /// Whether the user gave `now`. The user's own time is not checked.
    pub now_overridden: bool,
}

impl Context {
    /// Loads the configuration, at the time `now` if given, else at the system's.
    ///
    /// # Errors
    /// [`PathsError`] when the configuration cannot be used.
    pub fn load(given: &CliOverrides, now: Option<UnixTime>) -> Result<Self, PathsError> {
        let (config, places) = Paths::read(given)?;
        Ok(Self::new(config.into(), places.into(), now))
    }

    /// Makes a context from a configuration that was read before.
    #[must_use]
    pub fn new(config: Arc<Config>, places: Arc<Paths>, now: Option<UnixTime>) -> Self {
        Self { config, places, now: now.unwrap_or_else(clock::now), now_overridden: now.is_some() }
    }

    /// Returns the used log, with the grants beside it.
    /// The first request opens and locks it, until it is dropped.
    pub fn used_log(&self) -> Result<Box<dyn Store>, PathsError> {
        used_log::used_log(&self.config, &self.places)
    }

    /// Logs a local failure to syslog, if syslog listens.
    pub fn log_error(&self, trouble: &str) {
        if let Some(socket) = &self.config.syslog {
            let _ = syslog::send(socket, Severity::Error, trouble);
        }
    }

    /// Checks what must hold before a stamp's fate is decided.
    pub fn preflight(&self) -> Result<(), Deferral> {
        if self.config.mailboxes.is_empty() {
            return Err(Deferral::NoAddresses);
        }
        self.is_clock_right()
    }

    /// Checks the clock, which decides whether a key is in force and a window open.
    /// A time that the user gave is not checked.
    pub fn is_clock_right(&self) -> Result<(), Deferral> {
        if !self.now_overridden && self.now < RELEASE_TIME { Err(Deferral::Clock(self.now)) } else { Ok(()) }
    }

    /// Returns the time up to which may be forgotten, and records the present time.
    ///
    /// A clock that jumped ends no retention ([`clock_record`]). A time that the user gave is neither checked nor
    /// recorded. `None` while there is no folder for the state.
    #[must_use]
    pub fn forget_limit(&self) -> Option<UnixTime> {
        if self.now_overridden {
            return Some(self.now);
        }
        clock_record::observe(self.places.user_state().ok()?, self.now, last_written)
    }

    /// Checks that the state is there: it has what was fetched about vendors.
    pub fn is_state_there(&self) -> Result<(), Deferral> {
        match self.places.state() {
            Err(error @ PathsError::Missing { .. }) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether From names one of the user's addresses.
    #[must_use]
    pub fn is_from_me(&self, message: &Message<'_>) -> bool {
        message.authors().iter().any(|from| self.is_mine(from))
    }

    /// Returns the owner of an address, if it is one of the user's.
    #[must_use]
    pub fn owner_of(&self, address: &Address) -> Option<Owner> {
        facts::owner_of(&self.config.mailboxes, address)
    }

    /// Returns the owner for whose mail a message to this recipient counts; `None` if there is none, or if several
    /// could be meant.
    #[must_use]
    pub fn owner_of_recipient(&self, recipient: Option<&Address>) -> Option<Owner> {
        let only = || facts::only_owner(&self.config.mailboxes);
        match recipient {
            // An address that the configuration does not list can be one of a single user. With named owners, it can be
            // another person's.
            Some(recipient) => self.owner_of(recipient).or_else(|| only().filter(Owner::is_default)),
            None => only(),
        }
    }

    /// Returns the time before which a last message to an address no longer makes it a correspondent.
    #[must_use]
    pub fn correspondents_since(&self, now: UnixTime) -> UnixTime {
        self.config.correspondents_retention.map_or(UnixTime(i64::MIN), |retention| now.plus(-retention))
    }

    /// Whether it is one of the user's addresses.
    #[must_use]
    pub fn is_mine(&self, address: &Address) -> bool {
        self.config.mailboxes.iter().any(|mailbox| mailbox.pattern.matches(address))
    }
}

/// Returns when the state was last written.
fn last_written(state: &Path) -> Option<UnixTime> {
    let files = [used_log::used_log_path(state), state.join(CLEANED), state.join("held/new")];
    let times = files.iter().filter_map(|file| fs::metadata(file).and_then(|metadata| metadata.modified()).ok());
    let latest = times.max()?.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixTime(i64::try_from(latest.as_secs()).ok()?))
}
