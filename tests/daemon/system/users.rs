//! Which users a daemon answers, and for which mailboxes they may ask: real processes of several users of this machine.
//! Needs root, since only root can run them.

use super::{Service, ask, judged, question};
use crate::support::programs::{chmod, eventually, give, install, program, until_listening};
use crate::support::{Home, Run, letter, run, stamped};
use mailstamp::engine::remote::protocol::{FileSet, JudgeRequest, MailboxNames};
use mailstamp::ipc::connection::Connection;
use mailstamp::ipc::frame::Kind;
use mailstamp::os::unix_socket;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

/// Users of every Debian: the user of the service, a user with mail, and a user without.
pub const MAIL: (u32, &str) = (8, "mail");
pub const GAMES: (u32, &str) = (5, "games");
pub const NEWS: (u32, &str) = (9, "news");
/// The user id that the kernel reports for an id that it cannot map.
const NOBODY: u32 = 65_534;

/// A folder that all users can enter, with the program in it, and the socket as systemd makes it: root's.
pub struct System {
    pub home: Home,
}

impl System {
    pub fn new() -> Self {
        assert!(fs::metadata("/proc/self").is_ok() && is_root(), "needs root, to be other users");
        let home = Home::new();
        chmod(home.path(), 0o755);
        install(home.path());
        chmod(&home.file("bin"), 0o755);
        fs::create_dir(home.file("run")).unwrap();
        Self { home }
    }

    pub fn socket(&self) -> PathBuf {
        self.home.file("run/socket")
    }

    /// Runs the program as this user, at home in this folder.
    pub fn command(&self, uid: u32, home: &str, args: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &uid.to_string(), "--regid", &uid.to_string(), "--clear-groups"]);
        command.arg(self.home.file("bin/mailstamp")).args(args);
        command.env_clear().env("HOME", self.home.file(home)).env("PATH", "/usr/bin:/bin").current_dir("/");
        command
    }

    fn classify(&self, uid: u32, args: &[&str], message: &[u8]) -> Run {
        let args = [&["classify"], args].concat();
        run(&mut self.command(uid, &format!("home-{uid}"), &args), message)
    }

    /// Puts the socket where this user's commands look first.
    fn leads(&self, uid: u32) {
        let home = self.home.file(&format!("home-{uid}"));
        let state = home.join(".local/state/mailstamp");
        fs::create_dir_all(&state).unwrap();
        symlink(self.socket(), state.join("socket")).unwrap();
        give(&home, uid, uid);
    }

    /// A service of this user behind the socket.
    pub fn serve(&self, uid: u32, home: &str, args: &[&str]) -> Service {
        self.serve_by(Command::new("systemd-socket-activate"), uid, home, args)
    }

    /// The same, by a command that runs systemd-socket-activate.
    fn serve_by(&self, mut command: Command, uid: u32, home: &str, args: &[&str]) -> Service {
        let served = self.command(uid, home, args);
        command.arg("-l").arg(self.socket()).arg(served.get_program()).args(served.get_args());
        command.env_clear().env("HOME", self.home.file(home)).env("PATH", "/usr/bin:/bin");
        let service = Service::begin(command.stderr(fs::File::create(self.home.file("serve.log")).unwrap()));
        until_listening(&self.socket());
        chmod(&self.socket(), 0o666);
        service
    }

    /// The configuration of `mailstamp serve --system`, and where the logs are: a folder of the user "mail".
    fn configured(&self) -> PathBuf {
        let state = self.home.file("state");
        fs::create_dir(&state).unwrap();
        chmod(&state, 0o700);
        give(&state, MAIL.0, MAIL.0);
        self.home.configure(&format!("addresses = [\"%n@x.example\"]\nstate = \"{}/%n\"", state.display()));
        run(Command::new("chmod").args(["-R", "a+rX"]).arg(self.home.file(".config")), b"").exits(0);
        state
    }

    /// A message with a stamp for this mailbox.
    fn mail_for(&self, mailbox: &str, serial: &str) -> Vec<u8> {
        stamped(&self.home.mint(&format!("{mailbox}@x.example"), serial), &letter(serial))
    }
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u"), b"").text().trim() == "0"
}

#[test]
fn each_user_asks_for_his_own_mailbox_and_root_for_any() {
    let system = System::new();
    let state = system.configured();
    let config = system.home.config();
    let args = ["--config", config.to_str().unwrap(), "serve", "--system"];
    let _service = system.serve(MAIL.0, "home-8", &args);
    for uid in [0, MAIL.0, GAMES.0, NEWS.0, NOBODY] {
        system.leads(uid);
    }

    // The caller's own mailbox, whatever the environment says.
    system.classify(GAMES.0, &[], &system.mail_for(GAMES.1, "g1")).exits(0).says("first-class paid");
    let mut pretender = system.command(GAMES.0, "home-5", &["classify"]);
    pretender.env("USER", "news@x.example").env("RECIPIENT", "news@x.example");
    run(&mut pretender, &system.mail_for(GAMES.1, "g2")).exits(0).says("first-class paid");
    let for_news = system.mail_for(NEWS.1, "n1");
    run(&mut pretender, &for_news).exits(20).says("invalid not-for-me");
    system.classify(GAMES.0, &["--recipient", "news@x.example"], &for_news).exits(20).says("invalid not-for-me");
    // Nothing of that was spent.
    system.classify(NEWS.0, &[], &for_news).exits(0).says("first-class paid");
    system.classify(GAMES.0, &[], &system.mail_for(GAMES.1, "g1")).exits(0).says("first-class again");

    // Root and the user of the service deliver all users' mail.
    let recipient = ["--recipient", "games@x.example"];
    system.classify(0, &recipient, &system.mail_for(GAMES.1, "g3")).exits(0).says("first-class paid");
    system.classify(MAIL.0, &recipient, &system.mail_for(GAMES.1, "g4")).exits(0).says("first-class paid");
    // Without a name there is no mailbox, and least of all that of the service's user.
    let unnamed = system.classify(0, &[], &system.mail_for(MAIL.1, "m1")).exits(75);
    assert!(unnamed.stderr.contains("the mailbox is not known"), "{}", unnamed.stderr);

    // With a clock of its own a client could make the shared log forget; and the user nobody stands for several users.
    // Both judge locally, and trust no vendor.
    let before = judged(&system.socket(), "unknown-vendor");
    system.classify(GAMES.0, &["--now", "2026-12-01T00:00:00Z"], &letter("now")).exits(11);
    system.classify(NOBODY, &[], &system.mail_for("nobody", "o1")).exits(13).says("unverified unknown-vendor");
    assert_eq!((judged(&system.socket(), "unknown-vendor"), judged(&system.socket(), "no-stamp")), (before, 0));

    let mut mailboxes: Vec<_> =
        fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    mailboxes.sort();
    assert_eq!(mailboxes, [GAMES.1, NEWS.1]);
}

/// Threat 27, by one of many users: eight of the longest messages, each without its last byte.
#[test]
fn one_user_takes_no_memory_from_the_others() {
    let system = System::new();
    system.configured();
    let config = system.home.config();
    let _service = system.serve(MAIL.0, "home-8", &["--config", config.to_str().unwrap(), "serve", "--system"]);
    system.leads(NEWS.0);
    let script = "import socket, sys, time, struct\nheld = []\nfor _ in range(8):\n s = socket.socket(socket.AF_UNIX); \
                  s.connect(sys.argv[1]); n = 8 << 20; held.append(s)\n try: s.sendall(b'MS\\x01\\x01' + \
                  struct.pack('>II', 2, n) + b'{}' + b'x' * (n - 1))\n except OSError: pass\nprint(flush=True)\n\
                  time.sleep(60)";
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "5", "--regid", "5", "--clear-groups", program("python3", "python3").to_str().unwrap()]);
    command.args(["-c", script]).arg(system.socket()).stdout(std::process::Stdio::piped());
    let mut greedy = Service::begin(&mut command);
    std::io::Read::read(greedy.0.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    for n in 0..3 {
        let large =
            [system.mail_for(NEWS.1, &format!("n{n}")), b"A line of a large message.\n".repeat(100_000)].concat();
        system.classify(NEWS.0, &[], &large).exits(0).says("first-class paid");
    }
    assert_eq!(judged(&system.socket(), "paid"), 3);
}

/// Debian's libnss-extrausers must be installed: a directory of users beside `/etc/passwd`, as LDAP is one.
#[test]
fn users_of_another_directory_have_their_mailboxes_too() {
    let system = System::new();
    system.configured();
    let users = system.home.file("users");
    fs::create_dir(&users).unwrap();
    fs::write(users.join("passwd"), "zoe:x:70001:70001::/home/zoe:/bin/sh\n").unwrap();
    fs::write(system.home.file("nsswitch.conf"), "passwd: files extrausers\n").unwrap();
    assert!(fs::metadata("/var/lib/extrausers").is_ok(), "apt-get install libnss-extrausers");
    let mut command = Command::new("unshare");
    let script =
        "mount --bind users /var/lib/extrausers && mount --bind nsswitch.conf /etc/nsswitch.conf && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh", "systemd-socket-activate"]).current_dir(system.home.path());
    let config = system.home.config();
    let _service =
        system.serve_by(command, MAIL.0, "home-8", &["--config", config.to_str().unwrap(), "serve", "--system"]);
    for uid in [70_001, 70_002] {
        system.leads(uid);
    }
    system.classify(70_001, &[], &system.mail_for("zoe", "z1")).exits(0).says("first-class paid");
    system.classify(70_001, &[], &system.mail_for("news", "n1")).exits(20).says("invalid not-for-me");
    // A user without an entry in the directory judges locally, and trusts no vendor.
    system.classify(70_002, &[], &system.mail_for("zoe", "z2")).exits(13).says("unverified unknown-vendor");
    assert!(system.home.file("state/zoe").exists());
}

/// A message to every user of a large site. Each log that is open has two threads and some descriptors.
#[test]
fn more_mailboxes_than_are_kept_ready_have_their_logs_closed_again() {
    let home = Home::new();
    let folder = home.file("run");
    fs::create_dir(&folder).unwrap();
    // In memory: a disk would take minutes.
    let state = tempfile::tempdir_in("/dev/shm").unwrap();
    home.configure(&format!("addresses = [\"%n@x.example\"]\nstate = \"{}/%n\"", state.path().display()));
    let (config, socket) = (home.config(), folder.join("socket"));
    let mut command = home.command();
    command.args(["--config", config.to_str().unwrap(), "serve", "--system", "--socket", socket.to_str().unwrap()]);
    let service = Service::begin(&mut command);
    let stream = eventually("the socket", || unix_socket::connect(&socket).ok());
    let mut channel = Connection::new(stream);
    for n in 0..1_100 {
        let message = letter(&n.to_string());
        let names = MailboxNames { recipient: Some(format!("user{n}@x.example")), ..MailboxNames::default() };
        let question = JudgeRequest {
            file_set: FileSet { config: Some(config.clone()), ..FileSet::default() },
            names,
            ..question(&home, &message)
        };
        let answer = ask(&mut channel, Kind::Judge, &serde_json::to_vec(&question).unwrap(), &message).unwrap();
        assert_eq!(answer.kind, Kind::Verdict, "{n}: {}", String::from_utf8_lossy(&answer.head));
    }
    let threads = fs::read_dir(format!("/proc/{}/task", service.0.id())).unwrap().count();
    assert!(threads < 2_050, "{threads} threads");
}

#[test]
fn a_process_for_all_begins_only_where_all_use_the_same_log() {
    let home = Home::new();
    let socket = home.file("socket");
    let refused = home.run(["serve", "--system", "--socket", socket.to_str().unwrap()], b"").exits(78);
    assert!(refused.stderr.contains("set `state` in the configuration"), "{}", refused.stderr);
    assert!(!socket.exists());
}

#[test]
fn a_users_own_process_answers_nobody_else() {
    let system = System::new();
    let home = system.home.file("home-5");
    fs::create_dir_all(home.join(".local/state/mailstamp")).unwrap();
    run(Command::new("cp").arg("-r").arg(system.home.file(".config")).arg(&home), b"").exits(0);
    symlink(system.socket(), home.join(".local/state/mailstamp/socket")).unwrap();
    give(&home, GAMES.0, GAMES.0);
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(&home), b"").exits(0);
    let _service = system.serve(GAMES.0, "home-5", &["serve"]);

    let message = system.mail_for("alice", "a1");
    let classify = |uid| run(&mut system.command(uid, "home-5", &["classify"]), &message);
    classify(GAMES.0).exits(0).says("first-class paid");
    // At the same path, with the same files: the daemon does not answer, and the files belong to another user.
    classify(NEWS.0).exits(75);
    assert_eq!(judged(&system.socket(), "again"), 0);
    // root is.
    classify(0).exits(0).says("first-class again");
    assert_eq!(judged(&system.socket(), "again"), 1);
}

/// A user who can write to the folder in which another user looks for the daemon could answer in its place.
#[test]
fn a_socket_of_another_user_is_not_asked() {
    let system = System::new();
    let home = system.home.file("home-9");
    let state = home.join(".local/state/mailstamp");
    fs::create_dir_all(&state).unwrap();
    give(&home, NEWS.0, NEWS.0);
    let elsewhere = system.home.file("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    give(&elsewhere, GAMES.0, GAMES.0);
    let socket = elsewhere.join("socket");
    let script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print()\n\
                  sys.stdout.flush(); c, _ = s.accept(); sys.exit(9 if c.recv(1) else 0)";
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "5", "--regid", "5", "--clear-groups"]);
    command.arg(program("python3", "python3")).args(["-c", script]).arg(&socket);
    let mut forger = Service::begin(&mut command);
    until_listening(&socket);
    chmod(&socket, 0o666);
    symlink(&socket, state.join("socket")).unwrap();
    system.classify(NEWS.0, &[], &letter("plain")).exits(11).says("unstamped no-stamp");
    assert_eq!(forger.ends(), Some(0), "the forger was shown a message");
}

/// systemd's PrivateUsers, which the unit for a user sets, maps no user but its own: root's files seem to belong to the
/// user nobody.
#[test]
fn without_root_in_the_namespace_only_the_systems_configuration_is_roots() {
    let system = System::new();
    let file = system.home.file("config.toml");
    fs::write(&file, "nonsense = 1").unwrap();
    fs::create_dir(system.home.file("home-5")).unwrap();
    give(&system.home.file("home-5"), GAMES.0, GAMES.0);
    let script = "set -e; mount -t tmpfs tmpfs /etc; mkdir /etc/mailstamp; cp \"$1\" /etc/mailstamp; chmod -R go=rX /etc\n\
                  chown 9 \"$1\"; shift; exec \"$@\"";
    let judge = |namespace: &[&str], config: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(&file);
        command.args(["setpriv", "--reuid", "5", "--regid", "5", "--clear-groups"]).args(namespace);
        command.arg(system.home.file("bin/mailstamp")).args(config).arg("explain");
        command.env_clear().env("HOME", system.home.file("home-5")).env("PATH", "/usr/bin:/bin");
        run(&mut command, &system.mail_for(GAMES.1, "1"))
    };
    let apart = ["unshare", "--user", "--map-current-user"];
    for namespace in [&[][..], &apart] {
        let own = judge(namespace, &[]).exits(78);
        assert!(own.stderr.contains("nonsense"), "it was not read: {}", own.stderr);
        let named = judge(namespace, &["--config", file.to_str().unwrap()]).exits(78);
        assert!(named.stderr.contains("neither you nor root"), "{}", named.stderr);
    }
}
