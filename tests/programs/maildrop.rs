//! The recipes `rules/mailfilter` and `rules/mailfilter-xfilter` under maildrop itself, called by an ordinary user with
//! their own file. Delivery through Postfix is in `postfix.rs`.

use crate::support::programs::{
    Sample, block, contents, expected, field, gtube, ids, install, letter_with_forged_class, maildir, one_of_each,
    one_of_each_action, program, recipe, stand_in, with_folder_each,
};
use crate::support::{Home, Run, letter, programs, run};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A home with one of the recipes in it.
struct Maildrop {
    home: Home,
    rc: PathBuf,
}

impl Maildrop {
    fn new(name: &str) -> Self {
        let home = Home::new();
        let bin = install(home.path());
        let rc = home.file(".mailfilter");
        let text = recipe(name, &[("/usr/local/bin/mailstamp", bin.join("mailstamp").to_str().unwrap())]);
        let text = if name == "mailfilter-actions" { text } else { with_folder_each(&text) };
        // maildrop takes HOME from the passwd file, whatever the environment says.
        fs::write(&rc, format!("HOME=\"{}\"\n{text}", home.path().display())).unwrap();
        programs::chmod(&rc, 0o600);
        let maildirmake = program("maildirmake.maildrop", "maildrop");
        run(Command::new(&maildirmake).arg(home.file("Maildir")), b"").exits(0);
        for folder in ["underpaid", "unverified", "invalid", "used", "Junk", "Tagged"] {
            run(Command::new(&maildirmake).args(["-f", folder]).arg(home.file("Maildir")), b"").exits(0);
        }
        Self { home, rc }
    }

    fn deliver(&self, message: &[u8]) -> Run {
        run(Command::new(program("maildrop", "maildrop")).arg(&self.rc).current_dir(self.home.path()), message)
    }

    fn contents(&self) -> Vec<(String, Vec<String>)> {
        contents(&self.home.file("Maildir"))
    }
}

#[test]
fn each_class_goes_its_own_way() {
    // BC15b, BC13; BC10a: unstamped mail goes on through another filter; BC11: a stamp rescues what it would call spam.
    for rc in ["mailfilter", "mailfilter-xfilter"] {
        let maildrop = Maildrop::new(rc);
        for (at, Sample { class, message }) in one_of_each(&maildrop.home).into_iter().enumerate() {
            // Every second one as Postfix hands it to a program.
            let line: &[u8] = if at % 2 == 0 { b"" } else { b"From bob@far.example Mon Nov 30 16:00:00 2026\n" };
            let delivered = maildrop.deliver(&[line, &message].concat());
            assert_eq!(delivered.code, 0, "{rc}, {class}: {}", delivered.stderr);
        }
        let wanted = expected(&[
            ("", &["allowed", "first-class", "unstamped"]),
            (".Junk", &["junk", "revoked"]),
            (".invalid", &["invalid"]),
            (".underpaid", &["underpaid"]),
            (".unverified", &["unverified"]),
            (".used", &["used"]),
        ]);
        assert_eq!(maildrop.contents(), wanted, "{rc}");
    }
}

#[test]
fn a_stamp_brings_what_spamassassin_would_stop() {
    // BC1, BC10a, BC11: the lines for SpamAssassin in the recipes, without their comment signs, in place of
    // bogofilter's.
    for rc in ["mailfilter", "mailfilter-xfilter"] {
        program("spamassassin", "spamassassin");
        let maildrop = Maildrop::new(rc);
        let text = fs::read_to_string(&maildrop.rc).unwrap();
        let (before, after) = text.split_once("#xfilter \"spamassassin").unwrap();
        let (lines, rest) = after.split_once("#}\n").unwrap();
        // -x: make no preferences. (Run as root, SpamAssassin still leaves an empty ~/.spamassassin.)
        let lines = lines.replacen(" -L", " -L -x", 1).replace("\n#", "\n");
        let text = format!("{before}xfilter \"spamassassin{lines}}}\n{rest}").replace("`bogofilter`", "`false`");
        fs::write(&maildrop.rc, text).unwrap();
        maildrop.deliver(&gtube("1")).exits(0);
        maildrop.deliver(&maildrop.home.stamped(&gtube("2"))).exits(0);
        maildrop.deliver(&letter("3")).exits(0);
        assert_eq!(maildrop.contents(), expected(&[("", &["2", "3"]), (".Junk", &["1"])]), "{rc}");
    }
}

#[test]
fn the_branching_recipe_leaves_the_message_as_it_is_and_the_filter_adds_one_field() {
    // BC9.
    let plain = Maildrop::new("mailfilter");
    plain.deliver(&letter("1")).exits(0);
    assert_eq!(maildir(&plain.home.file("Maildir")), [letter("1")]);
    let filter = Maildrop::new("mailfilter-xfilter");
    filter.deliver(&letter_with_forged_class("1")).exits(0);
    let with_class = [b"Digital-Stamp-Class: unstamped; reason=no-stamp; action=deliver\n", &letter("1")[..]].concat();
    assert_eq!(maildir(&filter.home.file("Maildir")), [with_class]);
}

#[test]
fn the_whole_message_is_judged_and_not_only_its_header() {
    // BC13: same header, same stamp, other body.
    let maildrop = Maildrop::new("mailfilter");
    let first = maildrop.home.stamped(&letter("1"));
    maildrop.deliver(&first).exits(0);
    let second = String::from_utf8(first).unwrap().replace("Dear Alice", "Dear victim");
    maildrop.deliver(second.as_bytes()).exits(0);
    assert_eq!(maildrop.contents(), expected(&[("", &["1"]), (".used", &["1"])]));
}

#[test]
fn a_message_that_cannot_be_stored_waits_and_is_still_first_class_when_it_is_tried_again() {
    // Redelivery after the stamp was spent; BC13, BP4i: another message with the same stamp is used all the same.
    for rc in ["mailfilter", "mailfilter-xfilter"] {
        let maildrop = Maildrop::new(rc);
        let stamp = maildrop.home.issue(crate::support::ALICE, []);
        let first = maildrop.home.affix(&stamp, &letter("1"));
        let (inbox, aside) = (maildrop.home.file("Maildir"), maildrop.home.file("aside"));
        fs::rename(&inbox, &aside).unwrap();
        block(&inbox);
        maildrop.deliver(&first).exits(75);
        maildrop.deliver(&maildrop.home.affix(&stamp, &letter("2"))).exits(75);
        fs::remove_file(&inbox).unwrap();
        fs::rename(&aside, &inbox).unwrap();
        maildrop.deliver(&maildrop.home.affix(&stamp, &letter("2"))).exits(0);
        maildrop.deliver(&first).exits(0);
        assert_eq!(field(&maildir(&inbox)[0], "Message-ID").unwrap(), "<1@y.example>");
        assert_eq!(maildrop.contents(), expected(&[("", &["1"]), (".used", &["2"])]), "{rc}");
    }
}

#[test]
fn each_action_goes_its_own_way() {
    // BC9.1: what is discarded is gone, with a line in the log; a stamped message still arrives.
    let maildrop = Maildrop::new("mailfilter-actions");
    for Sample { class: action, message } in one_of_each_action(&maildrop.home) {
        let delivered = maildrop.deliver(&message);
        assert_eq!(delivered.code, 0, "{action}: {}", delivered.stderr);
    }
    assert_eq!(maildrop.contents(), expected(&[("", &["deliver"]), (".Tagged", &["tag"])]));
    let held = maildrop.home.state().join("held");
    assert_eq!(ids(&held), ["challenge", "hold", "reject"]);
    let classes: Vec<_> = maildir(&held).iter().map(|message| field(message, "Digital-Stamp-Class").unwrap()).collect();
    assert!(
        classes.iter().any(|class| class.starts_with("unstamped; ") && class.ends_with("action=hold")),
        "{classes:?}"
    );
    let log = fs::read_to_string(maildrop.home.file("maildrop.log")).unwrap();
    assert!(log.contains("mailstamp: discard "), "{log}");
    // What cannot be held or judged waits, and is tried again.
    let mailstamp = maildrop.home.file("bin/mailstamp");
    let aside = maildrop.home.file("bin/aside");
    fs::rename(&mailstamp, &aside).unwrap();
    let adds = format!("case $1 in held) kill -9 $$;; *) exec {} \"$@\";; esac", aside.display());
    let fails = "exit 75".to_owned();
    for script in [adds, fails, "exit 1".to_owned(), "kill -9 $$".to_owned()] {
        stand_in(&mailstamp, &format!("#!/bin/sh\n{script}\n"));
        maildrop.deliver(&letter("hold")).exits(75);
    }
    assert_eq!((ids(&held).len(), maildrop.contents().len()), (3, 2));
    fs::rename(&aside, &mailstamp).unwrap();
    maildrop.deliver(&letter("hold")).exits(0);
    assert_eq!(ids(&held).len(), 4);
}
