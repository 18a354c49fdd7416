//! The recipe `rules/exim.conf` under Exim. Each message is handed over and tried again in the foreground, so that a
//! test never waits. Needs root.

use crate::support::apart::{ALICES, Apart, EXIMS, unpacked};
use crate::support::faults::{FINAL_FAULTS, Fault, HANGS, SPELLINGS, class_fields, mend, set_aside};
use crate::support::peers::{assert_same_fields, exchanged, own_key_in};
use crate::support::programs::{
    chmod, contents, expected, field, give, letter_with_forged_class, maildir, one_of_each, recipe,
};
use crate::support::{ALICE, Home, Run, letter, run};
use std::fs;
use std::path::PathBuf;

/// What precedes the recipe in the configuration, and what follows it.
const MAIN: &str = "\
primary_hostname = mx.x.example
exim_path = @EXIM@
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = @FOLDER@/spool
log_file_path = @FOLDER@/spool/log-%slog
keep_environment =
";
const RETRY: &str = "begin retry\n* * F,2h,1s\n";

/// The router and transport of Debian's configuration for `~/.forward`.
const FORWARD: (&str, &str) = (
    "userforward:\n  driver = redirect\n  check_local_user\n  file = $home/.forward\n  \
     pipe_transport = address_pipe\n\n",
    "address_pipe:\n  driver = pipe\n  return_fail_output\n\n",
);

const CONF: &str = "etc/exim4/exim4.conf";

struct Exim {
    apart: Apart,
}

impl Exim {
    fn new(home: &Home, forward: bool) -> Self {
        let exim = Self { apart: Apart::new(home) };
        fs::create_dir(exim.apart.file("spool")).unwrap();
        give(&exim.apart.file("spool"), EXIMS, EXIMS);
        let path = exim.mailstamp().display().to_string();
        let mut text = recipe("exim.conf", &[("/usr/local/bin/mailstamp", &path)]);
        if forward {
            // The line of the recipe's last comment, without the router that would take all mail.
            let line = text.lines().last().unwrap().trim_start_matches(['#', ' ']).to_owned();
            fs::write(exim.apart.file("home/.forward"), line + "\n").unwrap();
            give(&exim.apart.file("home"), ALICES, ALICES);
            text = format!("begin routers\n{}begin transports\n{}", FORWARD.0, FORWARD.1);
        }
        let folder = exim.apart.file("").display().to_string();
        let main = MAIN.replace("@EXIM@", unpacked("usr/sbin/exim4").to_str().unwrap());
        let main = main.replace("@FOLDER@", folder.trim_end_matches('/'));
        // Exim gives up its rights under a configuration that is not in this place.
        fs::create_dir(exim.apart.file("etc/exim4")).unwrap();
        fs::write(exim.apart.file(CONF), main + &text + RETRY).unwrap();
        exim
    }

    fn mailstamp(&self) -> PathBuf {
        self.apart.file("bin/mailstamp")
    }

    fn inbox(&self) -> PathBuf {
        self.apart.file("home/Maildir")
    }

    fn run(&self, args: &[&str], stdin: &[u8]) -> Run {
        run(self.apart.command("", &unpacked("usr/sbin/exim4")).args(args), stdin)
    }

    /// Hands a message over, which is tried at once.
    #[track_caller]
    fn send(&self, message: &[u8]) {
        self.run(&["-odf", "-i", "-f", "bob@y.example", ALICE], message).exits(0);
    }

    /// Tries all messages again.
    #[track_caller]
    fn try_again(&self) {
        self.run(&["-qff"], b"").exits(0);
    }

    fn log(&self) -> String {
        fs::read_to_string(self.apart.file("spool/log-mainlog")).unwrap_or_default()
    }

    /// The number of tries after which a message waits, and of messages that were sent back.
    fn tries(&self) -> (usize, usize) {
        let log = self.log();
        (log.matches(" == ").count(), log.matches(" ** ").count())
    }

    /// Tries again; the message must wait.
    #[track_caller]
    fn defers(&self, what: &str) {
        let (before, _) = self.tries();
        self.try_again();
        let after = (self.tries(), contents(&self.inbox()));
        assert_eq!(after, ((before + 1, 0), Vec::new()), "{what}: {}", self.log());
        // The command of the recipe said so, and no trouble of Exim.
        assert!(
            self.log().lines().rfind(|line| line.contains(" == ")).unwrap().contains(" returned 75 "),
            "{}",
            self.log()
        );
    }

    /// Replaces text in a file that names a limit.
    fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.apart.file(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }
}

/// With every fault the message waits, and it arrives once and whole when the fault is over.
fn every_fault_defers(forward: bool) {
    let home = Home::new();
    let exim = Exim::new(&home, forward);
    let mailstamp = exim.mailstamp();
    set_aside(&mailstamp);
    exim.send(&home.stamped(&letter_with_forged_class("1")));
    // The two differ in their place alone.
    let share = if forward { 3 } else { 1 };
    for (what, fault) in FINAL_FAULTS.into_iter().step_by(share) {
        fault.put(&mailstamp);
        exim.defers(what);
    }
    let limits = if forward { "home/.forward" } else { CONF };
    HANGS.put(&mailstamp);
    let (patient, hasty) = if forward { (" 60 ", " 1 ") } else { (" 300 ", " 1 ") };
    exim.replace(limits, patient, hasty);
    exim.defers("hangs");
    exim.replace(limits, hasty, patient);
    Fault::Script("case $1 in --version) exec REAL \"$@\";; esac; exec REAL --state full/state \"$@\"").put(&mailstamp);
    exim.replace("bin/mailstamp", "full/", &exim.apart.file("full/").display().to_string());
    chmod(&mailstamp, 0o755);
    exim.defers("no room for the log");
    mend(&mailstamp, true);

    let config = exim.apart.file("home/.config/mailstamp/config.toml");
    let right = fs::read(&config).unwrap();
    fs::write(&config, "no = such key").unwrap();
    exim.defers("wrong configuration");
    fs::write(&config, right).unwrap();

    // The folder belongs to another user.
    for (what, name) in [("the state", "home/.local"), ("the mailbox", "home/Maildir")] {
        let folder = exim.apart.file(name);
        fs::create_dir_all(&folder).unwrap();
        give(&folder, 0, 0);
        exim.defers(&format!("{what} cannot be written"));
        give(&folder, ALICES, ALICES);
    }
    exim.try_again();
    assert_eq!(contents(&exim.inbox()), expected(&[("", &["1"])]), "{}", exim.log());
    let [arrived] = &maildir(&exim.inbox())[..] else { panic!("one message expected") };
    assert!(field(arrived, "Digital-Stamp-Class").unwrap().starts_with("first-class; reason=paid;"));
    // Exim's pipe adds an empty line, unless it is told not to as in the recipe.
    let whole = arrived.trim_ascii_end().ends_with(letter("1").trim_ascii_end());
    assert!(whole && class_fields(arrived) == 1, "{}", String::from_utf8_lossy(arrived));
}

#[test]
fn every_fault_defers_under_the_recipe() {
    every_fault_defers(false);
}

#[test]
fn every_fault_defers_under_a_forward_file() {
    every_fault_defers(true);
}

#[test]
fn forged_class_fields_do_not_arrive_in_any_spelling() {
    let exim = Exim::new(&Home::new(), false);
    for (number, spellings) in SPELLINGS.chunks(8).enumerate() {
        exim.send(&[(spellings.join("\n") + "\n").as_bytes(), &letter(&number.to_string())].concat());
    }
    let arrived = maildir(&exim.inbox());
    assert_eq!((exim.tries(), arrived.len()), ((0, 0), SPELLINGS.len().div_ceil(8)), "{}", exim.log());
    for message in arrived {
        assert_eq!(class_fields(&message), 1, "{}", String::from_utf8_lossy(&message));
        assert_eq!(field(&message, "Digital-Stamp-Class").unwrap(), "unstamped; reason=no-stamp; action=deliver");
    }
}

#[test]
fn classes_choose_the_folder_and_the_envelope_is_known() {
    let home = Home::new();
    let samples = one_of_each(&home);
    let exim = Exim::new(&home, false);
    for sample in &samples {
        exim.send(&sample.message);
    }
    let inbox = ["allowed", "first-class", "invalid", "junk", "underpaid", "unstamped", "unverified", "used"];
    assert_eq!(contents(&exim.inbox()), expected(&[("", &inbox), (".Junk", &["revoked"])]), "{}", exim.log());
    let log = fs::read_to_string(exim.apart.file("home/.local/state/mailstamp/verdicts.jsonl")).unwrap();
    assert!(log.contains("\"sender\":\"bob@y.example\""), "{log}");
}

#[test]
fn the_fields_of_correspondents_with_keys_arrive_whole() {
    let home = Home::new();
    let exim = Exim::new(&home, false);
    own_key_in(&exim.apart.file("home/.local/state/mailstamp"), ALICE);
    give(&exim.apart.file("home"), ALICES, ALICES);
    let sent = exchanged(ALICE, &letter("1"));
    exim.send(&sent);
    let arrived = &maildir(&exim.inbox())[0];
    assert_same_fields(arrived, &sent);
    assert!(field(arrived, "Digital-Stamp-Class").unwrap().starts_with("first-class; reason=peer;"), "{}", exim.log());
}
