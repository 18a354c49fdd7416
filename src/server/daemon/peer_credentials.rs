//! Authentication and access of the daemon's clients, which the kernel identifies (SO_PEERCRED).
//!
//! - A daemon of one user answers this user and root.
//! - A daemon of the system answers every user, about the user's own mailbox only.
//! - Root and the daemon's own user deliver mail, and may ask about any mailbox.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::process::{Command, Stdio};
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
            None => match name(&fs::read_to_string("/etc/passwd")?, uid) {
                Some(name) => self.note(uid, Some(name)),
                None => {
                    let _alone = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
                    // The previous holder of the lock may have looked up the same id.
                    self.known(uid).unwrap_or_else(|| self.note(uid, ask(uid)))
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

/// Looks the user up in the other directories of the machine (LDAP, for example), with getent(1).
///
/// The C library cannot do this: a statically linked program must not load the modules that it asks.
fn ask(uid: u32) -> Option<String> {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "3", "getent", "passwd"]).arg(uid.to_string()).current_dir("/");
    command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).stderr(Stdio::null());
    name(&String::from_utf8(command.output().ok()?.stdout).ok()?, uid)
}

/// Returns the first name with this user id in the format of passwd(5).
fn name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_his_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nalice:x:1001:1001::/home/alice:/bin/sh\n";
        assert_eq!(name(passwd, 1001).as_deref(), Some("alice"));
        assert_eq!(name(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name(passwd, 7), None);
        assert_eq!(name("news@corp.example:*:70001:70001:::\n", 70_001).as_deref(), Some("news@corp.example"));
    }

    #[test]
    fn we_may_ask_ourselves_for_anybody() {
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(AccessControl::new(false).who(own).unwrap(), Some(Access::AnyMailbox));
    }
}
