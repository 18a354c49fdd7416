//! A private Postfix in a temporary folder: SMTP on a loopback port, local delivery, nothing leaves the host. It needs
//! root, as Postfix does; it ends with the value. Local delivery needs a user in the passwd file. The tests add a user
//! and remove it again, because no standard account has a writable home.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::programs::{Port, chmod, eventually_or, give, install, program, recipe, settle, tail};
use super::{Home, Run, run};
use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A Unix user of the test's own, with a home.
pub struct User {
    name: String,
    home: tempfile::TempDir,
}

impl User {
    /// Adds one.
    pub fn add() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(geteuid().is_root(), "Postfix and its users need root; run this test as root");
        let name = format!("mstest{}n{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let home = tempfile::tempdir().unwrap();
        let useradd = program("useradd", "passwd");
        let add = || {
            let mut command = Command::new(&useradd);
            command.args(["--system", "--gid", "nogroup", "--shell", "/bin/sh", "--home-dir"]).arg(home.path());
            run(command.arg(&name), b"")
        };
        // Another test may hold the lock of the passwd file.
        eventually_or("useradd", || (add().code == 0).then_some(()), || add().stderr);
        Self { name, home }
    }

    /// The login name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A file in the home.
    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Gives the home, with the configuration of `home` in it, to the user.
    pub fn move_in(&self, home: &Home) {
        settle(home, self.home.path());
        run(Command::new("chown").arg("-R").arg(format!("{}:nogroup", self.name)).arg(self.home.path()), b"").exits(0);
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for _ in 0..600 {
            // 6: there is no such user.
            if matches!(run(Command::new("userdel").arg(&self.name), b"").code, 0 | 6) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let _ = fs::remove_file(Path::new("/var/mail").join(&self.name));
    }
}

/// A running Postfix.
pub struct Postfix {
    folder: tempfile::TempDir,
    port: Port,
    submission: Port,
}

impl Postfix {
    /// Starts one with these lines at the end of main.cf. `x.example` is local; there is no other mail.
    pub fn start(more: &str) -> Self {
        Self::start_with(more, "")
    }

    /// The same, with lines at the end of master.cf, too. A service on port `SUBMISSION` gets a free one.
    pub fn start_with(more: &str, services: &str) -> Self {
        assert!(geteuid().is_root(), "Postfix needs root; run this test as root");
        let postfix = program("postfix", "postfix");
        let server = Self { folder: tempfile::tempdir().unwrap(), port: Port::reserve(), submission: Port::reserve() };
        chmod(server.folder.path(), 0o755);
        for part in ["etc", "spool", "data"] {
            fs::create_dir(server.file(part)).unwrap();
        }
        let owner = run(Command::new("id").args(["-u", "postfix"]), b"").exits(0).text().trim().parse().unwrap();
        give(&server.file("data"), owner, fs::metadata(server.file("data")).unwrap().gid());
        install(server.folder.path());
        let place = |text: &str| text.replace("@FOLDER@/", &format!("{}/", server.folder.path().display()));
        fs::write(server.file("etc/main.cf"), settings(&(place(MAIN) + more))).unwrap();
        let listen = format!("127.0.0.1:{} inet n - n - - smtpd\n", server.port());
        let services = services.replace("SUBMISSION", &format!("127.0.0.1:{}", server.submission()));
        fs::write(server.file("etc/master.cf"), listen + MASTER + &services).unwrap();
        run(Command::new(postfix).arg("-c").arg(server.file("etc")).arg("start"), b"").exits(0);
        let port = server.port();
        eventually_or("postfix", || TcpStream::connect(("127.0.0.1", port)).ok(), || server.log());
        server
    }

    /// The port of SMTP on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The port of submission, if there is such a service.
    pub fn submission(&self) -> u16 {
        self.submission.number()
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it logged last.
    pub fn log(&self) -> String {
        tail(&self.file("maillog"))
    }

    /// How many lines of the log have this text.
    pub fn logged(&self, text: &str) -> usize {
        let log = fs::read(self.file("maillog")).unwrap_or_default();
        String::from_utf8_lossy(&log).lines().filter(|line| line.contains(text)).count()
    }

    /// Flushes the queue until there is an answer. One flush may pass a message by: the delivery agent logs the failure
    /// before it lets go of the queue file, so qmgr(8) skips it ("still being delivered") and puts it into the incoming
    /// queue, where it stays until the next flush.
    #[track_caller]
    pub fn flush_until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>, otherwise: impl Fn() -> String) -> T {
        // The question comes 20 times a second, and each flush starts a process.
        let mut asked = 0;
        let flush_and_ask = || {
            if asked % 20 == 0 {
                self.postqueue("-f").exits(0);
            }
            asked += 1;
            ask()
        };
        let queue = || self.postqueue("-j").text();
        eventually_or(what, flush_and_ask, || format!("{}\n{}\n{}", otherwise(), queue(), self.log()))
    }

    /// Flushes the queue until so many deliveries were deferred.
    #[track_caller]
    pub fn flush_until_deferred(&self, times: usize) {
        self.flush_until("deferred", || (self.logged("status=deferred") >= times).then_some(()), String::new);
    }

    /// Sets a line of main.cf.
    pub fn set(&self, line: &str) {
        let postconf = || Command::new(program("postconf", "postfix"));
        run(postconf().arg("-c").arg(self.file("etc")).args(["-e", line]), b"").exits(0);
        run(Command::new(program("postfix", "postfix")).arg("-c").arg(self.file("etc")).arg("reload"), b"").exits(0);
    }

    /// Returns whether no message waits.
    pub fn has_empty_queue(&self) -> bool {
        self.postqueue("-j").text().is_empty()
    }

    fn postqueue(&self, option: &str) -> Run {
        run(Command::new(program("postqueue", "postfix")).arg("-c").arg(self.file("etc")).arg(option), b"")
    }

    fn master(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.file("spool/pid/master.pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let Some(master) = self.master() else { return };
        let _ = kill_process(master, Signal::TERM);
        for _ in 0..1_200 {
            if test_kill_process(master).is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// The lines of `rules/postfix-main.cf`, for one of the programs that it names.
pub fn mailbox_command(program: &str) -> String {
    let text = recipe("postfix-main.cf", &[("\nmailbox_command", "\n#mailbox_command")]);
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(command) if command.starts_with("mailbox_command") && command.contains(&format!("/{program} ")) => command,
        _ => line,
    });
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// Returns the lines of main.cf, each name once, with its last value. Postfix warns of others, also postlogd(8), which
/// then waits for itself: the socket for what is logged takes ten messages, and nothing reads it.
fn settings(text: &str) -> String {
    let mut kept: Vec<(&str, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        match line.split_once('=').filter(|_| !line.starts_with([' ', '\t'])) {
            Some((name, _)) => {
                kept.retain(|(known, _)| *known != name.trim());
                kept.push((name.trim(), format!("{line}\n")));
            }
            // It goes on with the one before.
            None => kept.last_mut().expect("a name").1 += &format!("{line}\n"),
        }
    }
    kept.into_iter().map(|(_, text)| text).collect()
}

const MAIN: &str = "\
compatibility_level = 3.6
queue_directory = @FOLDER@/spool
data_directory = @FOLDER@/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = @FOLDER@/maillog
maillog_file_prefixes = @FOLDER@/
myhostname = mx.x.example
mydomain = x.example
myorigin = x.example
mydestination = x.example, mx.x.example
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
default_transport = error:no outside mail in this test
relay_transport = error:no outside mail in this test
local_recipient_maps =
alias_database =
recipient_delimiter = +
biff = no
disable_dns_lookups = yes
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
queue_run_delay = 2s
minimal_backoff_time = 2s
maximal_backoff_time = 2s
transport_retry_time = 2s
default_destination_concurrency_failed_cohort_limit = 0
mailbox_size_limit = 0
";

const MASTER: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
";
