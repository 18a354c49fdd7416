//! A private Dovecot in a temporary folder: LMTP on a loopback port, virtual users in one Unix user, mail in maildirs,
//! the programs of `rules/dovecot-sieve.conf`. Works as root and as an ordinary user; it ends with the value.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::programs::{Port, chmod, eventually_or, give, install, program, recipe, tail};
use super::{Run, run};
use rustix::process::{Pid, Signal, getegid, geteuid, kill_process};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The Unix user of the mailboxes where the test runs as root; Dovecot serves none below 500. It needs no passwd entry.
const VIRTUAL: u32 = 61_234;

/// A running Dovecot.
pub struct Dovecot {
    folder: tempfile::TempDir,
    port: Port,
    imap: Option<Port>,
    master: Option<Child>,
}

impl Dovecot {
    /// Starts one.
    pub fn start() -> Self {
        Self::started(None, &[])
    }

    /// Starts one with edits of `rules/dovecot-sieve.conf`.
    pub fn with_edits(edits: &[(&str, &str)]) -> Self {
        Self::started(None, edits)
    }

    /// Starts one that serves IMAP, too, with the scripts of `rules/dovecot-imapsieve.conf`.
    ///
    /// With edits of that file.
    pub fn with_imap(edits: &[(&str, &str)]) -> Self {
        program("imap-login", "dovecot-imapd");
        Self::started(Some(Port::reserve()), edits)
    }

    fn started(imap: Option<Port>, edits: &[(&str, &str)]) -> Self {
        let server = program("dovecot", "dovecot-core");
        program("lmtp", "dovecot-lmtpd");
        assert!(Path::new("/usr/lib/dovecot/modules/lib90_sieve_plugin.so").exists(), "apt-get install dovecot-sieve");
        let folder = tempfile::tempdir().unwrap();
        let bin = install(folder.path());
        symlink(program("bogofilter", "bogofilter"), bin.join("bogofilter")).unwrap();
        let mut dovecot = Self { port: Port::reserve(), imap, master: None, folder };
        for part in ["run", "state", "homes", "sieve"] {
            fs::create_dir(dovecot.file(part)).unwrap();
        }
        chmod(dovecot.folder.path(), 0o755);
        fs::write(dovecot.file("dovecot.conf"), dovecot.configuration(&bin, edits)).unwrap();
        let conf = dovecot.file("dovecot.conf");
        if dovecot.imap.is_some() {
            for name in ["moved-to-junk.sieve", "moved-out-of-junk.sieve", "learn-sent.sieve"] {
                let path = dovecot.file("sieve").join(name);
                fs::write(&path, recipe(name, &[])).unwrap();
                let sievec = program("sievec", "dovecot-sieve");
                run(Command::new(sievec).arg("-c").arg(&conf).arg(&path), b"").exits(0);
            }
        }
        let null = || Stdio::null();
        let mut command = Command::new(server);
        command.args(["-F", "-c"]).arg(&conf).stdin(null()).stdout(null()).stderr(null());
        dovecot.master = Some(command.spawn().unwrap());
        let log = dovecot.file("dovecot.log");
        eventually_or("dovecot", || TcpStream::connect(("127.0.0.1", dovecot.port())).ok(), || tail(&log));
        if let Some(port) = dovecot.imap.as_ref().map(Port::number) {
            eventually_or("imap", || TcpStream::connect(("127.0.0.1", port)).ok(), || tail(&log));
        }
        dovecot
    }

    /// The port of IMAP on 127.0.0.1.
    pub fn imap_port(&self) -> u16 {
        self.imap.as_ref().unwrap().number()
    }

    /// The port of LMTP on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The home of a user, `alice@x.example`; made if it is not there.
    pub fn home(&self, user: &str) -> PathBuf {
        let (local, domain) = user.split_once('@').unwrap();
        let home = self.file("homes").join(domain).join(local);
        fs::create_dir_all(&home).unwrap();
        home
    }

    /// Returns the inbox of a user, with the other folders in it as in Maildir++.
    pub fn inbox(&self, user: &str) -> PathBuf {
        self.home(user).join("Maildir")
    }

    /// The administrator's script, which runs before those of the users.
    pub fn administrator_script(&self, script: &str) {
        let path = self.file("sieve/mailstamp.sieve");
        fs::write(&path, script).unwrap();
        let mut compile = Command::new(program("sievec", "dovecot-sieve"));
        run(compile.arg("-c").arg(self.file("dovecot.conf")).arg(&path), b"").exits(0);
    }

    /// The script of a user.
    pub fn script(&self, user: &str, script: &str) {
        fs::write(self.home(user).join(".dovecot.sieve"), script).unwrap();
    }

    /// Gives the homes to the Unix user of the mailboxes, where the test could do so.
    pub fn hand_over(&self) {
        if geteuid().is_root() {
            give(&self.file("homes"), VIRTUAL, VIRTUAL);
        }
    }

    /// Runs sieve-filter for a user and returns its output; `SCRIPT` among the arguments stands for the administrator's
    /// script.
    pub fn sieve_filter(&self, user: &str, args: &[&str]) -> Run {
        let script = self.file("sieve/mailstamp.sieve");
        let mut command = Command::new(program("sieve-filter", "dovecot-sieve"));
        command.arg("-c").arg(self.file("dovecot.conf")).args(["-u", user]).current_dir(self.folder.path());
        for arg in args {
            if *arg == "SCRIPT" {
                command.arg(&script)
            } else {
                command.arg(arg)
            };
        }
        run(&mut command, b"").exits(0)
    }

    /// What it logged last, and what Sieve wrote into the homes.
    pub fn log(&self) -> String {
        let logs = Command::new("find")
            .arg(self.file("homes"))
            .args(["-name", "*sieve.log", "-exec", "cat", "{}", "+"])
            .output();
        let scripts = logs.map(|logs| String::from_utf8_lossy(&logs.stdout).into_owned()).unwrap_or_default();
        tail(&self.file("dovecot.log")) + &scripts
    }

    fn configuration(&self, bin: &Path, edits: &[(&str, &str)]) -> String {
        let root = geteuid().is_root();
        let (uid, gid) = if root { (VIRTUAL, VIRTUAL) } else { (geteuid().as_raw(), getegid().as_raw()) };
        let (bin, sieve) = (bin.display().to_string(), format!("{}/", self.file("sieve").display()));
        let sieve_edits = [("/usr/local/lib/dovecot-sieve-bin", bin.as_str()), ("/etc/dovecot/sieve/", sieve.as_str())];
        let text = format!(
            "base_dir = @FOLDER@/run\nstate_dir = @FOLDER@/state\ninstance_name = test\nlog_path = @FOLDER@/dovecot.log\nprotocols = lmtp\n\
             listen = 127.0.0.1\nssl = no\nmail_location = maildir:~/Maildir\nfirst_valid_uid = {uid}\n\
             first_valid_gid = {gid}\n\
             passdb {{\n driver = static\n args = nopassword=y\n}}\n\
             userdb {{\n driver = static\n args = uid={uid} gid={gid} home=@FOLDER@/homes/%d/%n\n}}\n\
             service lmtp {{\n inet_listener lmtp {{\n  address = 127.0.0.1\n  port = {port}\n }}\n}}\n\
             protocol lmtp {{\n mail_plugins = sieve\n postmaster_address = postmaster@x.example\n}}\n\
             plugin {{\n sieve = file:~/sieve;active=~/.dovecot.sieve\n}}\n{plugin}",
            port = self.port(),
            plugin = recipe(
                "dovecot-sieve.conf",
                &[&sieve_edits[..], if self.imap.is_none() { edits } else { &[] }].concat()
            ),
        );
        let imap = self.imap.as_ref().map_or_else(String::new, |port| {
            let port = port.number();
            let paths = [("/usr/local/lib/dovecot-sieve-pipe", bin.as_str()), ("/etc/dovecot/sieve/", sieve.as_str())];
            format!(
                "protocols = lmtp imap\ndisable_plaintext_auth = no\n\
                 service imap-login {{\n inet_listener imap {{\n  address = 127.0.0.1\n  port = {port}\n }}\n \
                 inet_listener imaps {{\n  port = 0\n }}\n}}\n{}",
                recipe("dovecot-imapsieve.conf", &[&paths, edits].concat())
            )
        });
        let text = text + &imap;
        let rootless = if root {
            String::new()
        } else {
            // Everything runs as the one user there is, and nothing can be locked into a folder.
            let name = run(Command::new("id").arg("-un"), b"").exits(0).text();
            let group = run(Command::new("id").arg("-gn"), b"").exits(0).text();
            format!(
                "default_internal_user = {name}default_internal_group = {group}default_login_user = {name}\
                 service anvil {{\n chroot =\n}}\nservice stats {{\n chroot =\n}}\n\
                 service imap-login {{\n chroot =\n}}\nservice lmtp {{\n user = {name}}}\n"
            )
        };
        (text + &rootless).replace("@FOLDER@/", &format!("{}/", self.folder.path().display()))
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if let Some(master) = &mut self.master {
            let _ = kill_process(Pid::from_child(master), Signal::TERM);
            let _ = master.wait();
        }
    }
}

/// A Dovecot that does nothing but check logins for Postfix: every name has the password `secret`. It needs root.
pub struct Logins {
    folder: tempfile::TempDir,
    master: Child,
}

impl Logins {
    /// Starts it.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        chmod(folder.path(), 0o755);
        for part in ["run", "state"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        let conf = folder.path().join("dovecot.conf");
        let text = "base_dir = @FOLDER@/run\nstate_dir = @FOLDER@/state\ninstance_name = logins\n\
                    log_path = @FOLDER@/dovecot.log\nprotocols = none\nssl = no\ndisable_plaintext_auth = no\n\
                    auth_mechanisms = plain\npassdb {\n driver = static\n args = password=secret\n}\n\
                    service auth {\n unix_listener @FOLDER@/auth {\n  mode = 0666\n }\n}\n";
        fs::write(&conf, text.replace("@FOLDER@", &folder.path().display().to_string())).unwrap();
        let mut command = Command::new(program("dovecot", "dovecot-core"));
        command.args(["-F", "-c"]).arg(&conf).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let logins = Self { master: command.spawn().unwrap(), folder };
        let log = logins.folder.path().join("dovecot.log");
        eventually_or("logins", || UnixStream::connect(logins.socket()).ok(), || tail(&log));
        logins
    }

    /// The socket for Postfix (`smtpd_sasl_path`).
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("auth")
    }
}

impl Drop for Logins {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.master), Signal::TERM);
        let _ = self.master.wait();
    }
}
