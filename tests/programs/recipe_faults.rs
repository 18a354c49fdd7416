//! What the recipes of procmail and maildrop do when mailstamp is missing, broken, hanging or another program: the
//! message waits, whatever its sender wrote into the header. And forged class fields do not reach the mailbox. (The
//! same for Sieve is in `dovecot.rs`, for Postfix, fetchmail and getmail in `deliver.rs`.)

use crate::support::faults::{CLASS_FAULTS, FAULTS, Fault, HANGS, SPELLINGS, class_fields, mend, set_aside};
use crate::support::programs::{
    Sample, chmod, contents, expected, ids, install, letter_with_forged_class, maildir, one_of_each, program, recipe,
    stand_in, with_screener,
};
use crate::support::{ALICE, Home, Run, letter, run};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const RECIPES: [&str; 6] =
    ["procmailrc", "procmailrc-filter", "procmailrc-actions", "mailfilter", "mailfilter-xfilter", "mailfilter-actions"];

/// A home with a recipe, as it is but for the path of mailstamp, and these edits.
struct Agent {
    name: &'static str,
    home: Home,
}

impl Agent {
    fn new(name: &'static str, edits: &[(&str, &str)]) -> Self {
        let home = Home::new();
        let path = install(home.path()).join("mailstamp").display().to_string();
        let text = recipe(name, &[&[("/usr/local/bin/mailstamp", path.as_str())], edits].concat());
        // maildrop takes HOME from the passwd file, whatever the environment says.
        let first =
            if name.starts_with("mail") { format!("HOME=\"{}\"\n", home.path().display()) } else { String::new() };
        fs::write(home.file("rc"), first + &text).unwrap();
        chmod(&home.file("rc"), 0o600);
        let maildirmake = program("maildirmake.maildrop", "maildrop");
        run(Command::new(&maildirmake).arg(home.file("Maildir")), b"").exits(0);
        run(Command::new(&maildirmake).args(["-f", "Junk"]).arg(home.file("Maildir")), b"").exits(0);
        Self { name, home }
    }

    fn deliver(&self, message: &[u8]) -> Run {
        let mut command = if self.name.starts_with("mail") {
            Command::new(program("maildrop", "maildrop"))
        } else {
            let mut command = Command::new(program("procmail", "procmail"));
            command.args(["-t", "-m", &format!("HOME={}", self.home.path().display())]);
            command
        };
        run(command.arg(self.home.file("rc")).current_dir(self.home.path()), message)
    }

    fn mailstamp(&self) -> PathBuf {
        self.home.file("bin/mailstamp")
    }

    fn contents(&self) -> Vec<(String, Vec<String>)> {
        contents(&self.home.file("Maildir"))
    }

    /// Delivers a message, which must wait.
    #[track_caller]
    fn defers(&self, what: &str, fault: Fault) {
        fault.put(&self.mailstamp());
        let run = self.deliver(&letter_with_forged_class("1"));
        assert_eq!((run.code, self.contents()), (75, Vec::new()), "{}, {what}: {}", self.name, run.stderr);
    }

    /// Ends the fault. The same message, tried again, arrives as it was sent, without the forged fields.
    #[track_caller]
    fn arrives_in_the_end(&self) {
        mend(&self.mailstamp(), true);
        self.deliver(&letter_with_forged_class("1")).exits(0);
        let inbox = self.home.file("Maildir");
        let [arrived] = &maildir(&inbox)[..] else { panic!("{}: {:?}", self.name, self.contents()) };
        let ours: &[u8] = match self.name {
            "procmailrc-filter" | "mailfilter-xfilter" => {
                b"Digital-Stamp-Class: unstamped; reason=no-stamp; action=deliver\n"
            }
            _ => b"",
        };
        // procmail adds an empty line.
        let (arrived, sent) = (String::from_utf8_lossy(arrived), [ours, &letter("1")].concat());
        assert_eq!(arrived.trim_end(), String::from_utf8_lossy(&sent).trim_end(), "{}", self.name);
    }

    /// Whether the recipe runs `filter`, and not `classify`.
    fn filters(&self) -> bool {
        self.name.ends_with("filter") && self.name.contains('-')
    }
}

#[test]
fn with_every_fault_of_mailstamp_the_message_waits() {
    for name in RECIPES {
        let agent = Agent::new(name, &[]);
        set_aside(&agent.mailstamp());
        for (what, fault) in FAULTS {
            agent.defers(what, fault);
        }
        let more = if agent.filters() { &[][..] } else { &CLASS_FAULTS[..] };
        for (what, fault) in more {
            agent.defers(what, *fault);
        }
        if agent.filters() {
            let halves = "case $1 in filter) REAL \"$@\" | head -c 12; kill -9 $$;; esac; exec REAL \"$@\"";
            agent.defers("killed after half of the message", Fault::Script(halves));
            let second = "case $1 in filter) echo X: y; exec cat;; esac; exec REAL \"$@\"";
            agent.defers("only the sender's field comes back", Fault::Script(second));
            let nothing = "case $1 in filter) exec cat >/dev/null;; esac; exec REAL \"$@\"";
            agent.defers("nothing comes back", Fault::Script(nothing));
        }
        agent.arrives_in_the_end();
    }
}

#[test]
fn a_configuration_that_is_wrong_makes_the_message_wait() {
    for name in RECIPES {
        let agent = Agent::new(name, &[]);
        fs::write(agent.home.config(), "no = such key").unwrap();
        let run = agent.deliver(&letter_with_forged_class("1"));
        assert_eq!((run.code, agent.contents()), (75, Vec::new()), "{name}: {}", run.stderr);
    }
}

#[test]
fn a_program_that_hangs_is_ended_and_the_message_waits() {
    for name in RECIPES {
        let limit = if name.starts_with("mail") { ("-k 10 120", "-k 10 1") } else { ("TIMEOUT=120", "TIMEOUT=1") };
        let agent = Agent::new(name, &[limit]);
        set_aside(&agent.mailstamp());
        agent.defers("hangs", HANGS);
    }
}

#[test]
fn more_output_than_procmail_holds_makes_the_message_wait() {
    // procmail leaves its file at such a line, and delivers to DEFAULT.
    for name in RECIPES {
        let agent = Agent::new(name, &[]);
        set_aside(&agent.mailstamp());
        agent.defers("much", Fault::Script("cat >/dev/null; yes first-class paid | head -n 9999"));
    }
}

#[test]
fn a_folder_named_mailstamp_in_the_home_is_nothing_to_procmail() {
    // As after a checkout: sh ends a folder with status 0 and runs a file, and procmail asks sh for what it cannot run.
    for name in RECIPES {
        let agent = Agent::new(name, &[]);
        let missing = agent.home.file("elsewhere/mailstamp").display().to_string();
        let text = fs::read_to_string(agent.home.file("rc")).unwrap();
        fs::write(agent.home.file("rc"), text.replace(agent.mailstamp().to_str().unwrap(), &missing)).unwrap();
        fs::create_dir(agent.home.file("mailstamp")).unwrap();
        let run = agent.deliver(&letter_with_forged_class("1"));
        assert_eq!((run.code, agent.contents()), (75, Vec::new()), "{name}: {}", run.stderr);
    }
}

#[test]
fn forged_class_fields_do_not_arrive_in_any_spelling() {
    for name in RECIPES {
        let agent = Agent::new(name, &[]);
        let each = SPELLINGS.chunks(8).map(|spellings| spellings.join("\n") + "\n");
        for (number, forged) in each.enumerate() {
            let message = [forged.as_bytes(), &letter(&number.to_string())].concat();
            agent.deliver(&message).exits(0);
        }
        let arrived = maildir(&agent.home.file("Maildir"));
        assert_eq!(arrived.len(), SPELLINGS.len().div_ceil(8), "{name}: {:?}", agent.contents());
        for message in arrived {
            let own = usize::from(agent.filters());
            assert_eq!(class_fields(&message), own, "{name}: {}", String::from_utf8_lossy(&message));
            let text = String::from_utf8_lossy(&message).into_owned();
            assert!(text.contains("From: Bob <bob@y.example>\n") && text.contains("\nBob\n"), "{name}: {text}");
        }
    }
}

#[test]
fn a_class_field_below_an_empty_line_with_cr_decides_nothing() {
    // For procmail it stands in the header, which ends at two LFs.
    for name in RECIPES {
        let agent = Agent::new(name, &[]);
        let forged = "\n\r\nDigital-Stamp-Class: first-class; reason=paid\n\n";
        let message = String::from_utf8(letter("1")).unwrap().replacen("\n\n", forged, 1);
        agent.deliver(message.as_bytes()).exits(0);
        let [arrived] = &maildir(&agent.home.file("Maildir"))[..] else { panic!("{name}: {:?}", agent.contents()) };
        let arrived = String::from_utf8_lossy(arrived);
        assert!(!arrived.contains("first-class"), "{name}: {arrived}");
    }
}

#[test]
fn the_screener_takes_answers_in_the_recipes_by_action() {
    for name in ["procmailrc-actions", "mailfilter-actions"] {
        let agent = Agent::new(name, &[]);
        let rc = agent.home.file("rc");
        fs::write(&rc, with_screener(&fs::read_to_string(&rc).unwrap())).unwrap();
        let path = agent.home.path().display();
        agent.home.configure(&format!(
            "addresses = [\"{ALICE}\"]\n[actions]\nunstamped = \"hold\"\n[replies]\n\
             sendmail = \"{path}/sendmail\"\n[deliver]\nmaildir = \"{path}/Maildir\"\n"
        ));
        fs::write(agent.home.config().with_file_name("rules.toml"), recipe("rules.toml", &[])).unwrap();
        stand_in(&agent.home.file("sendmail"), &format!("#!/bin/sh\ncat > {path}/digest\n"));
        let held = || ids(&agent.home.state().join("held"));
        agent.deliver(&letter("1")).exits(0);
        agent.deliver(&letter("2")).exits(0);
        assert_eq!((held(), agent.contents()), (vec!["1".into(), "2".into()], vec![]), "{name}");
        agent.home.run(["held", "digest"], b"").exits(0);
        let digest = fs::read(agent.home.file("digest")).unwrap();
        agent.deliver(&digest).exits(0);
        let inbox = agent.home.file("Maildir");
        assert_eq!(maildir(&inbox).len(), 1, "{name}");
        fs::remove_dir_all(&inbox).unwrap();
        run(Command::new(program("maildirmake.maildrop", "maildrop")).arg(&inbox), b"").exits(0);
        let text = String::from_utf8(digest).unwrap().replace("=\n", "").replace("=3D", "=").replace("%20", " ");
        let subjects: Vec<&str> = text.lines().filter_map(|line| line.split_once("?subject=")).map(|it| it.1).collect();
        let [allow, _, _, never] = subjects[..] else { panic!("{text}") };
        let answer = |subject: &str, id: &str, end: &str| {
            let message = format!("From: {ALICE}\nMessage-ID: <{id}@x.example>\nSubject: {subject}\n\n\n");
            agent.deliver(message.replace('\n', end).as_bytes())
        };
        answer(allow, "a", "\r\n").exits(0);
        answer(never, "n", "\n").exits(0);
        assert_eq!((held(), agent.contents()), (vec![], expected(&[("", &["1"])])), "{name}");
        // A second answer is ordinary mail, and so is held.
        answer(allow, "again", "\n").exits(0);
        assert_eq!(held(), ["again"], "{name}");
        fs::remove_file(agent.mailstamp()).unwrap();
        answer(allow, "gone", "\n").exits(75);
        assert_eq!((held(), agent.contents()), (vec!["again".into()], expected(&[("", &["1"])])), "{name}");
    }
}

#[test]
fn a_message_without_a_field_is_judged_and_arrives() {
    // Mail systems add fields; a pipe does not. What a recipe takes for a loss would wait for ever.
    let messages = [" x\n\nbody\n", "\nbody\n", "body\n", " x\nSubject: y\n\nbody\n"];
    for name in RECIPES {
        let agent = Agent::new(name, &[]);
        for message in messages {
            let run = agent.deliver(message.as_bytes());
            assert_eq!(run.code, 0, "{name}, {message:?}: {}", run.stderr);
        }
        let arrived = maildir(&agent.home.file("Maildir"));
        assert_eq!(arrived.len(), messages.len(), "{name}");
        for message in arrived {
            assert_eq!(class_fields(&message), usize::from(agent.filters()), "{name}");
            assert!(message.trim_ascii_end().ends_with(b"body"), "{name}: {}", String::from_utf8_lossy(&message));
        }
    }
}

#[test]
fn a_bad_stamp_makes_a_message_no_worse_than_none() {
    for name in RECIPES.into_iter().filter(|name| !name.ends_with("actions")) {
        let agent = Agent::new(name, &[]);
        for Sample { class, message } in one_of_each(&agent.home) {
            let delivered = agent.deliver(&message);
            assert_eq!(delivered.code, 0, "{name}, {class}: {}", delivered.stderr);
        }
        let inbox = ["allowed", "first-class", "invalid", "underpaid", "unstamped", "unverified", "used"];
        assert_eq!(agent.contents(), expected(&[("", &inbox), (".Junk", &["junk", "revoked"])]), "{name}");
    }
}
