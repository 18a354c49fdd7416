//! The recipes `rules/procmailrc` and `rules/procmailrc-filter` under procmail itself, called as by an ordinary user
//! (`-m`), so that the user's own files are not read. Delivery through Postfix is in `postfix.rs`.

use crate::support::programs::{
    Sample, block, contents, expected, field, from_list, gtube, ids, install, maildir, one_of_each, one_of_each_action,
    program, recipe, stand_in, with_folder_each,
};
use crate::support::{Home, Run, letter, run};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A home with one of the recipes in it.
struct Procmail {
    home: Home,
    rc: PathBuf,
}

impl Procmail {
    fn new(name: &str) -> Self {
        program("formail", "procmail");
        let home = Home::new();
        let bin = install(home.path());
        let rc = home.file(".procmailrc");
        let text = recipe(name, &[("/usr/local/bin/mailstamp", bin.join("mailstamp").to_str().unwrap())]);
        fs::write(&rc, if name == "procmailrc-actions" { text } else { with_folder_each(&text) }).unwrap();
        for part in ["new", "cur", "tmp"] {
            fs::create_dir_all(home.file("Maildir").join(part)).unwrap();
        }
        Self { home, rc }
    }

    fn deliver(&self, message: &[u8]) -> Run {
        let home = format!("HOME={}", self.home.path().display());
        let procmail = program("procmail", "procmail");
        run(Command::new(procmail).args(["-t", "-m", &home]).arg(&self.rc).current_dir(self.home.path()), message)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.home.file("Maildir").join(name)
    }

    fn contents(&self) -> Vec<(String, Vec<String>)> {
        contents(&self.folder(""))
    }
}

fn deliver_each(procmail: &Procmail) {
    for Sample { class, message } in one_of_each(&procmail.home) {
        let delivered = procmail.deliver(&message);
        assert_eq!(delivered.code, 0, "{class}: {}", delivered.stderr);
    }
}

#[test]
fn each_class_goes_its_own_way() {
    // BC15b, BC13; BC10a: unstamped mail goes on through another filter; BC11: a stamp rescues what it would call spam.
    let procmail = Procmail::new("procmailrc");
    deliver_each(&procmail);
    let wanted = expected(&[
        ("", &["allowed", "first-class", "unstamped"]),
        (".Junk", &["junk", "revoked"]),
        (".invalid", &["invalid"]),
        (".underpaid", &["underpaid"]),
        (".unverified", &["unverified"]),
        (".used", &["used"]),
    ]);
    assert_eq!(procmail.contents(), wanted);
    let log = fs::read_to_string(procmail.home.file("procmail.log")).unwrap();
    assert!(log.contains("mailstamp: 0 first-class paid\n") && log.contains("mailstamp: 21 used used\n"), "{log}");
}

#[test]
fn a_stamp_or_a_rule_brings_what_spamassassin_would_stop() {
    // BC1, BC10a, BC11: the lines for SpamAssassin in the recipes, without their comment signs, in place of
    // bogofilter's.
    // BC9.3: so does a rule, here one on the mailing list.
    for rc in ["procmailrc", "procmailrc-filter"] {
        program("spamassassin", "spamassassin");
        let procmail = Procmail::new(rc);
        let text = fs::read_to_string(&procmail.rc).unwrap();
        let (ours, bogofilter) = text.split_once(":0 HB\n").unwrap();
        let (_, spamassassin) = bogofilter.split_once("#:0 fw\n").unwrap();
        let spamassassin = format!("\n#:0 fw\n{spamassassin}").replace("\n#", "\n");
        // -x: make no preferences. (Run as root, SpamAssassin still leaves an empty ~/.spamassassin.)
        let spamassassin = spamassassin.replace("spamassassin -L\n", "spamassassin -L -x\n");
        let spamassassin = spamassassin.split_once("\n\n").unwrap().0.to_owned() + "\n";
        assert!(spamassassin.contains("| spamassassin -L -x\n"), "{spamassassin}");
        fs::write(&procmail.rc, ours.to_owned() + &spamassassin).unwrap();
        procmail.deliver(&gtube("1")).exits(0);
        procmail.deliver(&procmail.home.stamped(&gtube("2"))).exits(0);
        procmail.deliver(&letter("3")).exits(0);
        fs::write(procmail.home.config().with_file_name("rules.toml"), recipe("rules.toml", &[])).unwrap();
        procmail.deliver(&from_list(&gtube("4"))).exits(0);
        procmail.deliver(&gtube("5")).exits(0);
        assert_eq!(procmail.contents(), expected(&[("", &["2", "3", "4"]), (".Junk", &["1", "5"])]), "{rc}");
    }
}

#[test]
fn the_message_itself_is_not_changed() {
    // BC9: but for the From_ line and the empty line at the end, which are procmail's.
    let procmail = Procmail::new("procmailrc");
    procmail.deliver(&letter("1")).exits(0);
    let [delivered] = &maildir(&procmail.folder(""))[..] else { panic!("one message expected") };
    assert_eq!(String::from_utf8_lossy(delivered).trim_end(), String::from_utf8_lossy(&letter("1")).trim_end());
}

#[test]
fn the_whole_message_is_judged_and_not_only_its_header() {
    // BC13: same header, same stamp, other body.
    let procmail = Procmail::new("procmailrc");
    let first = procmail.home.stamped(&letter("1"));
    procmail.deliver(&first).exits(0);
    let second = String::from_utf8(first).unwrap().replace("Dear Alice", "Dear victim");
    procmail.deliver(second.as_bytes()).exits(0);
    assert_eq!(procmail.contents(), expected(&[("", &["1"]), (".used", &["1"])]));
}

#[test]
fn the_filter_writes_each_class_into_the_header() {
    // BC15b, BC10a, BC11.
    let procmail = Procmail::new("procmailrc-filter");
    deliver_each(&procmail);
    let wanted = expected(&[
        ("", &["allowed", "first-class", "unstamped"]),
        (".Junk", &["junk", "revoked"]),
        (".invalid", &["invalid"]),
        (".underpaid", &["underpaid"]),
        (".unverified", &["unverified"]),
        (".used", &["used"]),
    ]);
    assert_eq!(procmail.contents(), wanted);
    for (folder, ids) in wanted {
        for message in maildir(&procmail.folder(&folder)) {
            let class = field(&message, "Digital-Stamp-Class").unwrap();
            let id = ids.iter().find(|id| class.starts_with(&format!("{id};")));
            assert!(id.is_some() || class == "unstamped; reason=no-stamp; action=deliver", "{folder}: {class}");
        }
    }
}

#[test]
fn a_message_that_cannot_be_stored_waits_and_is_still_first_class_when_it_is_tried_again() {
    // Redelivery after the stamp was spent; BC13, BP4i: another message with the same stamp is used all the same.
    for rc in ["procmailrc", "procmailrc-filter"] {
        let procmail = Procmail::new(rc);
        let stamp = procmail.home.issue(crate::support::ALICE, []);
        let first = procmail.home.affix(&stamp, &letter("1"));
        let aside = procmail.home.file("aside");
        fs::rename(procmail.folder(""), &aside).unwrap();
        block(&procmail.folder(""));
        procmail.deliver(&first).exits(75);
        procmail.deliver(&procmail.home.affix(&stamp, &letter("2"))).exits(75);
        fs::remove_file(procmail.home.file("Maildir")).unwrap();
        fs::rename(&aside, procmail.folder("")).unwrap();
        procmail.deliver(&procmail.home.affix(&stamp, &letter("2"))).exits(0);
        procmail.deliver(&first).exits(0);
        assert_eq!(procmail.contents(), expected(&[("", &["1"]), (".used", &["2"])]), "{rc}");
    }
}

#[test]
fn a_folder_that_cannot_take_its_class_does_not_let_it_into_the_inbox() {
    for rc in ["procmailrc", "procmailrc-filter"] {
        let procmail = Procmail::new(rc);
        let stamp = procmail.home.issue(crate::support::ALICE, []);
        procmail.deliver(&procmail.home.affix(&stamp, &letter("1"))).exits(0);
        procmail.home.run(["revoke"], &procmail.home.affix(&stamp, &letter("1"))).exits(0);
        block(&procmail.folder(".Junk"));
        procmail.deliver(&procmail.home.affix(&stamp, &letter("2"))).exits(75);
        assert_eq!(ids(&procmail.folder("")), ["1"], "{rc}");
    }
}

#[test]
fn each_action_goes_its_own_way() {
    // BC9.1: what is discarded is gone, with a line in the log; a stamped message still arrives.
    let procmail = Procmail::new("procmailrc-actions");
    for Sample { class: action, message } in one_of_each_action(&procmail.home) {
        let delivered = procmail.deliver(&message);
        assert_eq!(delivered.code, 0, "{action}: {}", delivered.stderr);
    }
    assert_eq!(procmail.contents(), expected(&[("", &["deliver"]), (".Tagged", &["tag"])]));
    let held = procmail.home.state().join("held");
    assert_eq!(ids(&held), ["challenge", "hold", "reject"]);
    let classes: Vec<_> = maildir(&held).iter().map(|message| field(message, "Digital-Stamp-Class").unwrap()).collect();
    assert!(
        classes.iter().any(|class| class.starts_with("unstamped; ") && class.ends_with("action=hold")),
        "{classes:?}"
    );
    let log = fs::read_to_string(procmail.home.file("procmail.log")).unwrap();
    assert!(log.contains("mailstamp: 33 "), "{log}");
    // What cannot be held or judged waits, and is tried again.
    let mailstamp = procmail.home.file("bin/mailstamp");
    let aside = procmail.home.file("bin/aside");
    fs::rename(&mailstamp, &aside).unwrap();
    let adds = format!("case $1 in held) kill -9 $$;; *) exec {} \"$@\";; esac", aside.display());
    let fails = "exit 75".to_owned();
    for script in [adds, fails, "exit 1".to_owned(), "kill -9 $$".to_owned()] {
        stand_in(&mailstamp, &format!("#!/bin/sh\n{script}\n"));
        procmail.deliver(&letter("hold")).exits(75);
    }
    assert_eq!((ids(&held).len(), procmail.contents().len()), (3, 2));
    fs::rename(&aside, &mailstamp).unwrap();
    procmail.deliver(&letter("hold")).exits(0);
    assert_eq!(ids(&held).len(), 4);
}
