//! User database, as passwd(5) has it and getent(1) prints it. The C library's own functions are not used: they would
//! load modules into a statically linked program, which may crash then, and the message would bounce.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{fs, io};

/// The file that is read before getent(1) is asked.
const PASSWD: &str = "/etc/passwd";

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The login name.
    pub name: String,
    /// The home folder; it need not exist.
    pub home: PathBuf,
}

/// Returns the user with this id, if `/etc/passwd` has it.
pub fn local(uid: u32) -> io::Result<Option<Entry>> {
    Ok(find(&fs::read_to_string(PASSWD)?, uid))
}

/// Returns the user with this id from any source of the machine (LDAP, for example), by getent(1). It may take 3 s.
#[must_use]
pub fn remote(uid: u32) -> Option<Entry> {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "3", "getent", "passwd"]).arg(uid.to_string()).current_dir("/");
    command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).stderr(Stdio::null());
    find(&String::from_utf8(command.output().ok()?.stdout).ok()?, uid)
}

/// Returns the home of the user of this process. It is looked up once.
#[must_use]
pub fn own_home() -> Option<PathBuf> {
    static HOME: OnceLock<Option<PathBuf>> = OnceLock::new();
    let look = || {
        let uid = rustix::process::getuid().as_raw();
        let entry = local(uid).ok().flatten().or_else(|| remote(uid));
        entry.map(|entry| entry.home).filter(|home| home.is_absolute())
    };
    HOME.get_or_init(look).clone()
}

/// Returns the first user with this id in the format of passwd(5).
fn find(passwd: &str, uid: u32) -> Option<Entry> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, number, _, _, home, ..] = fields[..] else { return None };
        (number.parse() == Ok(uid)).then(|| Entry { name: name.to_owned(), home: home.into() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_an_id_counts() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nalice:x:1001:1001::/home/alice:/bin/sh\n\
                      again:x:1001:1001::/home/again:/bin/sh\n";
        let alice = Entry { name: "alice".to_owned(), home: "/home/alice".into() };
        assert_eq!(find(passwd, 1001), Some(alice));
        assert_eq!(find(passwd, 0).unwrap().name, "root");
        assert_eq!(find(passwd, 7), None);
        assert_eq!(find("news@corp.example:*:70001:70001:::\n", 70_001).unwrap().name, "news@corp.example");
    }
}
