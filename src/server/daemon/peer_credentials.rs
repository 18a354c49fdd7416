//! Who is at the other end of a connection, as the system says (SO_PEERCRED), and for whom he may ask. A process that
//! serves one user answers him and root. One that serves the system answers everybody, and each only about his own
//! mailbox; root and its own user, who deliver mail, about any.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The number that Linux shows for every user whom it cannot show here: in a user namespace (`PrivateUsers` of systemd) that
/// is everybody else, and to all of them together belongs no mailbox.
const NOBODY: u32 = 65_534;
/// For how long a name is believed.
const KNOWN: Duration = Duration::from_secs(60);
/// For how long it is believed that a number has none: a directory that is away comes back.
const UNKNOWN: Duration = Duration::from_secs(5);
/// Numbers that are remembered at most.
const MOST: usize = 10_000;

/// For whom somebody may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// For whomever he names.
    AnyMailbox,
    /// For the user of this name only.
    User(String),
}

/// Tells who connected.
#[derive(Debug)]
pub(super) struct Doorkeeper {
    /// Everybody is answered.
    system: bool,
    known: Mutex<HashMap<u32, (Instant, Option<String>)>>,
    /// Held by who asks outside of this machine: one at a time, so that nobody can have us ask without end.
    asking: Mutex<()>,
}

impl Doorkeeper {
    pub(super) fn new(system: bool) -> Self {
        Self { system, known: Mutex::default(), asking: Mutex::default() }
    }

    /// Whether this user brings everybody's mail: root, and our own.
    pub(super) fn delivers(uid: u32) -> bool {
        uid == 0 || uid == rustix::process::geteuid().as_raw()
    }

    /// Who connected; `None` for somebody who is not answered. For users who are not in `/etc/passwd` it may take seconds.
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
                    // Who had it before may have asked the same.
                    self.known(uid).unwrap_or_else(|| self.note(uid, ask(uid)))
                }
            },
        };
        Ok(name.map(Access::User))
    }

    /// What is known of this number, and not for too long.
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

/// What the machine's other directories say (LDAP, say), by getent(1). Not by the C library: a program that is linked
/// statically must not load the modules that it asks.
fn ask(uid: u32) -> Option<String> {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "3", "getent", "passwd"]).arg(uid.to_string()).current_dir("/");
    command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).stderr(Stdio::null());
    name(&String::from_utf8(command.output().ok()?.stdout).ok()?, uid)
}

/// The first name of a user in the form of passwd(5).
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
        assert_eq!(Doorkeeper::new(false).who(own).unwrap(), Some(Access::AnyMailbox));
    }
}
