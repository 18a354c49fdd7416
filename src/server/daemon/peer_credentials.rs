//! Authentication and access of the daemon's clients, which the kernel identifies (SO_PEERCRED).
//!
//! - A daemon of one user answers this user and root.
//! - A daemon of the system answers every user, about the user's own mailbox only.
//! - Root and the daemon's own user deliver mail, and may ask about any mailbox.

use crate::os::user_database;
use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The overflow user id of Linux. In a user namespace (`PrivateUsers` of systemd) it is shown for every user that is
/// not mapped, so no mailbox belongs to it.
const NOBODY: u32 = 65_534;
/// How long a cached name is valid.
const KNOWN: Duration = Duration::from_secs(60);
/// How long a failed lookup is valid: the directory service may come back.
const UNKNOWN: Duration = Duration::from_secs(5);
/// Most user ids in the cache.
const MOST: usize = 10_000;

/// Mailboxes about which a client may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Any mailbox that the request names.
    AnyMailbox,
    /// The mailbox of this user only.
    User(String),
}

/// Finds out which user connected.
#[derive(Debug)]
pub(super) struct AccessControl {
    /// Every user is answered, not only the daemon's own.
    system: bool,
    known: Mutex<HashMap<u32, (Instant, Option<String>)>>,
    /// Lock of lookups that leave this machine: one at a time, so that clients cannot cause unlimited lookups.
    asking: Mutex<()>,
}

impl AccessControl {
    pub(super) fn new(system: bool) -> Self {
        Self { system, known: Mutex::default(), asking: Mutex::default() }
    }

    /// Returns whether this user may ask about any mailbox: root, and the daemon's own.
    pub(super) fn delivers(uid: u32) -> bool {
        uid == 0 || uid == rustix::process::geteuid().as_raw()
    }

    /// Returns the access of this user; `None` if the daemon does not answer it.
    ///
    /// May take seconds for a user who is not in `/etc/passwd`.
    pub(super) fn who(&self, uid: u32) -> io::Result<Option<Access>> {
        if Self::delivers(uid) {
            return Ok(Some(Access::AnyMailbox));
        }
        if !self.system || uid == NOBODY {
            return Ok(None);
        }
        let name = match self.known(uid) {
            Some(name) => name,
            None => match user_database::local(uid)? {
                Some(user) => self.note(uid, Some(user.name)),
                None => {
                    let _alone = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
                    // The previous holder of the lock may have looked up the same id.
                    self.known(uid).unwrap_or_else(|| self.note(uid, user_database::remote(uid).map(|user| user.name)))
                }
            },
        };
        Ok(name.map(Access::User))
    }

    /// Returns the cached name of this user id, if it is still valid.
    fn known(&self, uid: u32) -> Option<Option<String>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, name) = known.get(&uid)?;
        let believed = if name.is_some() { KNOWN } else { UNKNOWN };
        (since.elapsed() < believed).then(|| name.clone())
    }

    fn note(&self, uid: u32, name: Option<String>) -> Option<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(uid, (Instant::now(), name.clone()));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_may_ask_ourselves_for_anybody() {
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(AccessControl::new(false).who(own).unwrap(), Some(Access::AnyMailbox));
    }
}
