//! Mail servers that Debian can't install beside Postfix. `tests/run` unpacks them, and they run in a mount namespace
//! with users and folders of their own, so that nothing of them stays on the machine. Needs root.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::Home;
use super::programs::{chmod, give, install, settle};
use rustix::process::geteuid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The recipient. No user of the machine has these numbers.
pub const ALICES: u32 = 64_990;
/// The user of Exim.
pub const EXIMS: u32 = 64_991;
const USERS: [(&str, u32); 3] = [("Debian-exim", EXIMS), ("opensmtpd", 64_992), ("opensmtpq", 64_993)];

/// Users and folders of a server, which are removed with the value.
pub struct Apart {
    folder: tempfile::TempDir,
}

impl Apart {
    /// Makes them. The user `alice` has the configuration of `home`, and `mailstamp` is in `bin`.
    pub fn new(home: &Home) -> Self {
        assert!(geteuid().is_root(), "mail servers need root; run this test as root");
        let apart = Self { folder: tempfile::tempdir().unwrap() };
        chmod(apart.folder.path(), 0o755);
        for name in ["home", "full", "etc"] {
            fs::create_dir(apart.file(name)).unwrap();
        }
        for name in ["hosts", "ld.so.cache", "nsswitch.conf", "protocols", "services"] {
            let _ = fs::copy(Path::new("/etc").join(name), apart.file("etc").join(name));
        }
        let (mut passwd, mut group) = ("root:x:0:0::/root:/bin/sh\n".to_owned(), "root:x:0:\n".to_owned());
        for (name, number) in USERS {
            passwd += &format!("{name}:x:{number}:{number}::/nonexistent:/bin/false\n");
            group += &format!("{name}:x:{number}:\n");
        }
        passwd += &format!("alice:x:{ALICES}:{ALICES}::{}:/bin/sh\n", apart.file("home").display());
        group += &format!("alice:x:{ALICES}:\n");
        fs::write(apart.file("etc/passwd"), passwd).unwrap();
        fs::write(apart.file("etc/group"), group).unwrap();
        install(apart.folder.path());
        settle(home, &apart.file("home"));
        give(&apart.file("home"), ALICES, ALICES);
        apart
    }

    /// A file in their folder; the home is `home`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a command that runs a program with its users, after these commands of the shell. `full` is a full disk.
    ///
    /// `etc` is all of `/etc`: a mount over one file ends when useradd(8) of another test replaces the file.
    pub fn command(&self, before: &str, program: &Path) -> Command {
        let script = format!(
            "set -e; mount --bind etc /etc\n\
             mount -t tmpfs -o size=4k,mode=777 tmpfs full; cat /dev/zero > full/fill 2> /dev/null || true\n\
             {before}\nexec \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(program).current_dir(self.folder.path());
        command
    }
}

/// Returns the path of a file in the packages that `tests/run` unpacked.
#[track_caller]
pub fn unpacked(path: &str) -> PathBuf {
    let folder = std::env::var_os("MAILSTAMP_TEST_SERVERS").expect("MAILSTAMP_TEST_SERVERS is not set: run tests/run");
    let found = Path::new(&folder).join(path);
    assert!(found.exists(), "{} is missing: remove the folder and run tests/run", found.display());
    found
}
