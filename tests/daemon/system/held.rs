//! `mailstamp deliver` as the user of a mailbox, where the used log is the system daemon's: what the user keeps is in
//! the user's own state. Real processes of several users, with `/etc/mailstamp` and `/run/mailstamp` of their own.

use super::Service;
use super::users::{GAMES, MAIL, System};
use crate::support::programs::{chmod, eventually, give};
use crate::support::{Run, letter, run, stamped};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine with a configuration for all users, and the user "games".
struct Machine {
    system: System,
}

impl Machine {
    fn new(settings: &str) -> Self {
        let system = System::new();
        let home = &system.home;
        for folder in ["etc/mailstamp", "home-5", "log/mailboxes"] {
            fs::create_dir_all(home.file(folder)).unwrap();
        }
        for file in ["passwd", "group", "nsswitch.conf", "ld.so.cache"] {
            let _ = fs::copy(format!("/etc/{file}"), home.file("etc").join(file));
        }
        home.configure("");
        run(
            Command::new("cp").arg("-r").arg(home.file(".config/mailstamp/vendors")).arg(home.file("etc/mailstamp")),
            b"",
        )
        .exits(0);
        let text = format!(
            "addresses = [\"%n@x.example\"]\nstate = \"{}/%n\"\nsyslog = false\n[serve]\nwatch = false\n\
             refresh = \"0s\"\n{settings}",
            home.file("log/mailboxes").display()
        );
        fs::write(home.file("etc/mailstamp/config.toml"), text).unwrap();
        run(Command::new("chmod").args(["-R", "a+rX"]).arg(home.file("etc")), b"").exits(0);
        give(&home.file("log"), MAIL.0, MAIL.0);
        chmod(&home.file("log"), 0o700);
        give(&home.file("home-5"), GAMES.0, GAMES.0);
        Self { system }
    }

    /// Runs a program where the machine's folders are in their places.
    fn inside(&self, command: &Command) -> Command {
        let script = "mount --bind \"$0/etc\" /etc && mount -t tmpfs tmpfs /run && mkdir /run/mailstamp && \
                      mount --bind \"$0/run\" /run/mailstamp && exec \"$@\"";
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "sh", "-c", script]).arg(self.system.home.path());
        inside.arg(command.get_program()).args(command.get_args());
        inside.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
        for (name, value) in command.get_envs() {
            value.map(|value| inside.env(name, value));
        }
        inside
    }

    fn serve(&self) -> Service {
        let mut command =
            self.system.command(MAIL.0, "home-8", &["--config", "/etc/mailstamp/config.toml", "serve", "--system"]);
        command.env_remove("HOME");
        give(&self.system.home.file("run"), MAIL.0, MAIL.0);
        let errors = fs::File::create(self.system.home.file("serve.log")).unwrap();
        let service = Service::begin(self.inside(&command).stderr(errors));
        eventually("the socket", || mailstamp::os::unix_socket::connect(&self.system.socket()).ok());
        service
    }

    fn run(&self, args: &[&str], message: &[u8]) -> Run {
        let mut command = self.system.command(GAMES.0, "home-5", args);
        command.env("USER", GAMES.1);
        run(&mut self.inside(&command), message)
    }

    fn own(&self, path: &str) -> PathBuf {
        self.system.home.file("home-5").join(path)
    }
}

/// A text of about 10 MiB, more than the daemon takes.
fn large() -> Vec<u8> {
    b"A line of a large message.\n".repeat(400_000)
}

/// The result field of the only message in a folder, which is then removed.
#[track_caller]
fn taken(folder: &Path) -> String {
    let names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [path] = names.as_slice() else { panic!("{}: {names:?}", folder.display()) };
    let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    fs::remove_file(path).unwrap();
    text.lines().find(|line| line.starts_with("Digital-Stamp-Class: ")).unwrap()[21..].to_owned()
}

#[test]
fn a_user_of_the_systems_daemon_holds_mail_in_an_own_folder() {
    let machine = Machine::new("[actions]\nunstamped = \"hold\"\ninvalid = \"discard\"\nrevoked = \"reject\"\n");
    let service = machine.serve();
    let (inbox, held) = (machine.own("Maildir/new"), machine.own(".local/state/mailstamp/held/new"));
    let deliver = |message: &[u8]| machine.run(&["deliver"], message);
    let stamp = machine.system.home.mint("games@x.example", "g1");

    deliver(&stamped(&stamp, &letter("good"))).exits(0);
    assert!(taken(&inbox).starts_with("first-class; reason=paid"));
    deliver(&letter("plain")).exits(0);
    let list = machine.run(&["held", "list"], b"").exits(0);
    assert!(list.text().contains("no-stamp"), "{}", list.text());
    // A discarded message has its line on the disk.
    deliver(&stamped("no.stamp.at.all", &letter("bad"))).exits(0);
    let log = machine.run(&["log"], b"").exits(0).text();
    assert!(log.contains("discard") && log.contains("first-class") && log.contains("unstamped"), "{log}");

    // What is too large for the daemon is judged there by its header.
    let large_of = |message: Vec<u8>| [message, large()].concat();
    let held_class = || {
        let class = taken(&held);
        class.split(';').take(2).collect::<Vec<_>>().join(";")
    };
    taken(&held);
    deliver(&large_of(letter("large"))).exits(0);
    assert_eq!(held_class(), "unstamped; reason=no-stamp");
    deliver(&large_of(stamped(&stamp, &letter("large")))).exits(0);
    assert!(taken(&inbox).starts_with("unverified; reason=over-limit"));
    let filtered = machine.run(&["filter"], &large_of(stamped(&stamp, &letter("large")))).exits(0);
    assert!(filtered.text().starts_with("Digital-Stamp-Class: unverified; reason=over-limit"));

    // A rule that asks for the text sees none of such a message.
    let rules = machine.system.home.file("etc/mailstamp/rules.toml");
    fs::write(&rules, "[[rule]]\nname = \"casino\"\naction = \"tag\"\nbody = \"casino\"\n").unwrap();
    deliver(&large_of(letter("large"))).exits(0);
    assert!(taken(&inbox).starts_with("unverified; reason=over-limit"));
    fs::remove_file(&rules).unwrap();

    // A sender who was allowed needs no stamp, although the daemon cannot read the list.
    deliver(&letter("stranger")).exits(0);
    let id = machine.run(&["held", "list"], b"").text();
    let id = id.lines().nth(1).and_then(|line| line.split_whitespace().next()).unwrap_or_else(|| panic!("{id}"));
    machine.run(&["held", "allow", id], b"").exits(0);
    assert!(taken(&inbox).starts_with("allowed; reason=rule; rule=released"));
    deliver(&letter("friend")).exits(0);
    assert!(taken(&inbox).starts_with("allowed; reason=rule; rule=held-allow"));

    let doctor = machine.run(&["doctor"], b"").exits(0).text();
    assert!(doctor.contains("which only the system's daemon opens") && !doctor.contains("error "), "{doctor}");
    let grants = machine.run(&["grants"], b"").exits(78).stderr;
    assert!(grants.contains("closed to your user") && grants.contains("(serve --system)"), "{grants}");
    let setup = machine.run(&["setup", "--incoming", "none", "--yes"], b"").exits(0).text();
    assert!(setup.contains("/etc/mailstamp/config.toml is the administrator's"), "{setup}");

    // Without the daemon, mail with a stamp waits, and other mail does not.
    drop(service);
    deliver(&stamped(&stamp, &letter("good"))).exits(75);
    deliver(&letter("friend")).exits(0);
    assert!(taken(&inbox).starts_with("allowed; reason=rule; rule=held-allow"));
    let doctor = machine.run(&["doctor"], b"").exits(78).text();
    assert!(doctor.matches("error ").count() == 1 && doctor.contains("stamped mail waits"), "{doctor}");
}
