//! Whom a resident process answers, and for whom he may ask: real processes of several users of this machine. Needs root,
//! who alone can run them.

use super::support::programs::{chmod, eventually, give, install, program};
use super::support::{Home, Run, letter, run, stamped};
use super::{Service, judged};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

/// Users of every Debian: the one that the service runs as, one who has mail, one who has none of his.
const MAIL: (u32, &str) = (8, "mail");
const GAMES: (u32, &str) = (5, "games");
const NEWS: (u32, &str) = (9, "news");
/// Whom the kernel names where it cannot name somebody.
const NOBODY: u32 = 65_534;

/// A folder that all users can enter, with the program in it, and the socket as systemd makes it: root's.
struct System {
    home: Home,
}

impl System {
    fn new() -> Self {
        assert!(fs::metadata("/proc/self").is_ok() && is_root(), "needs root, to be other users");
        let home = Home::new();
        chmod(home.path(), 0o755);
        install(home.path());
        chmod(&home.file("bin"), 0o755);
        fs::create_dir(home.file("run")).unwrap();
        Self { home }
    }

    fn socket(&self) -> PathBuf {
        self.home.file("run/socket")
    }

    /// Runs the program as this user, at home in this folder.
    fn command(&self, uid: u32, home: &str, args: &[&str]) -> Command {
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

    /// Has this user find the socket where he looks first.
    fn leads(&self, uid: u32) {
        let home = self.home.file(&format!("home-{uid}"));
        let state = home.join(".local/state/mailstamp");
        fs::create_dir_all(&state).unwrap();
        symlink(self.socket(), state.join("socket")).unwrap();
        give(&home, uid, uid);
    }

    /// A service of this user behind the socket.
    fn serve(&self, uid: u32, home: &str, args: &[&str]) -> Service {
        let served = self.command(uid, home, args);
        let mut command = Command::new("systemd-socket-activate");
        command.arg("-l").arg(self.socket()).arg(served.get_program()).args(served.get_args());
        command.env_clear().env("HOME", self.home.file(home)).env("PATH", "/usr/bin:/bin");
        let service = Service::begin(command.stderr(fs::File::create(self.home.file("serve.log")).unwrap()));
        eventually("the socket", || self.socket().exists().then_some(()));
        chmod(&self.socket(), 0o666);
        service
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
    let state = system.home.file("state");
    fs::create_dir(&state).unwrap();
    chmod(&state, 0o700);
    give(&state, MAIL.0, MAIL.0);
    system.home.configure(&format!("addresses = [\"%n@x.example\"]\nstate = \"{}/%n\"", state.display()));
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(system.home.file(".config")), b"").exits(0);
    let config = system.home.config();
    let args = ["--config", config.to_str().unwrap(), "serve", "--system"];
    let _service = system.serve(MAIL.0, "home-8", &args);
    for uid in [0, MAIL.0, GAMES.0, NEWS.0, NOBODY] {
        system.leads(uid);
    }

    // His own mailbox, whatever he says of himself.
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

    // Who delivers everybody's mail: root, and the user of the service.
    let recipient = ["--recipient", "games@x.example"];
    system.classify(0, &recipient, &system.mail_for(GAMES.1, "g3")).exits(0).says("first-class paid");
    system.classify(MAIL.0, &recipient, &system.mail_for(GAMES.1, "g4")).exits(0).says("first-class paid");
    // Without a name there is no mailbox, and least of all that of the service's user.
    let unnamed = system.classify(0, &[], &system.mail_for(MAIL.1, "m1")).exits(75);
    assert!(unnamed.stderr.contains("the mailbox is not known"), "{}", unnamed.stderr);

    // By his own clock he could have what others share forgotten; and nobody is somebody. Both judge for themselves, and
    // trust no vendor.
    let before = judged(&system.socket(), "unknown-vendor");
    system.classify(GAMES.0, &["--now", "2026-12-01T00:00:00Z"], &letter("now")).exits(11);
    system.classify(NOBODY, &[], &system.mail_for("nobody", "o1")).exits(13).says("unverified unknown-vendor");
    assert_eq!((judged(&system.socket(), "unknown-vendor"), judged(&system.socket(), "no-stamp")), (before, 0));

    let mut mailboxes: Vec<_> =
        fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    mailboxes.sort();
    assert_eq!(mailboxes, [GAMES.1, NEWS.1]);
}

#[test]
fn a_process_for_all_begins_only_where_all_use_the_same_log() {
    let home = Home::new();
    let socket = home.file("socket");
    let refused = home.run(["serve", "--system", "--socket", socket.to_str().unwrap()], b"").exits(78);
    assert!(refused.stderr.contains("must name the folder of the state"), "{}", refused.stderr);
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
    // At the same place, with the same files: he is not answered, and the files are not his.
    classify(NEWS.0).exits(75);
    assert_eq!(judged(&system.socket(), "again"), 0);
    // root is.
    classify(0).exits(0).says("first-class again");
    assert_eq!(judged(&system.socket(), "again"), 1);
}

/// Whoever can write to the folder in which somebody else looks for his process could answer him.
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
    eventually("the socket", || socket.exists().then_some(()));
    chmod(&socket, 0o666);
    symlink(&socket, state.join("socket")).unwrap();
    system.classify(NEWS.0, &[], &letter("plain")).exits(11).says("unstamped no-stamp");
    assert_eq!(forger.ends(), Some(0), "he was shown a message");
}

/// systemd's PrivateUsers, of which the unit for a user makes use, leaves no user but its own: root's files seem to be
/// nobody's.
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
        assert!(named.stderr.contains("who is neither you nor root"), "{}", named.stderr);
    }
}
