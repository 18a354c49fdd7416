//! Who is at the other end of a connection, as the system says (SO_PEERCRED), and for whom he may ask. A process that
//! serves one user answers him and root. One that serves the system answers everybody, and each only about his own
//! mailbox; root and its own user, who deliver mail, about any.

use crate::socket::place;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;

/// The number that Linux shows for every user whom it cannot show here: in a user namespace (`PrivateUsers` of systemd) that
/// is everybody else, and to all of them together belongs no mailbox.
const NOBODY: u32 = 65_534;

/// For whom somebody may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// For whomever he names.
    Any,
    /// For the user of this name only.
    Only(String),
}

/// Who connected; `None` for somebody who is not answered.
pub(super) fn of(stream: &UnixStream, system: bool) -> io::Result<Option<Peer>> {
    let uid = place::owner(stream)?;
    let own = rustix::process::geteuid().as_raw();
    if uid == own || uid == 0 {
        return Ok(Some(Peer::Any));
    }
    if !system || uid == NOBODY {
        return Ok(None);
    }
    // Not by the C library: a program that is linked statically must not load the modules that it asks.
    Ok(name(&fs::read_to_string("/etc/passwd")?, uid).map(Peer::Only))
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
    }

    #[test]
    fn we_may_ask_ourselves_for_anybody() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(of(&one, false).unwrap(), Some(Peer::Any));
    }
}
