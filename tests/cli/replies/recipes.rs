//! The lines for automatic replies in `rules/procmailrc` and `rules/mailfilter`, without their comment signs, under the
//! programs themselves.

use super::sending::{Sender, from};
use crate::support::programs::{chmod, contents, eventually_or, expected, install, program, recipe, stand_in};
use crate::support::{MAILSTAMP, Run, letter, run};
use std::fs;
use std::process::Command;

/// The recipe with its lines about replies switched on. Those end with the next empty line.
fn switched_on(text: &str, begin: &str) -> String {
    let (before, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{begin:?} is not in the recipe"));
    let (lines, after) = rest.split_once("\n\n").unwrap();
    format!("{before}{}\n\n{after}", format!("{begin}{lines}").replace("\n#", "\n").trim_start_matches('#'))
}

/// Prepares the recipe of `name` in the sender's home.
fn prepare(alice: &Sender, name: &str) {
    let home = alice.home.path().display();
    let mailstamp = install(alice.home.path()).join("mailstamp").display().to_string();
    let edits = [("/usr/local/bin/mailstamp", mailstamp.as_str())];
    match name {
        "procmail" => {
            let text = recipe("procmailrc", &edits);
            fs::write(alice.home.file("rc"), switched_on(&text, "#:0 ci\n")).unwrap();
        }
        _ => {
            let text = format!("HOME=\"{home}\"\n{}", recipe("mailfilter", &edits));
            let begin = "#if ( ! ( $VERDICT =~ /^(first-class|allowed) / ) )\n";
            fs::write(alice.home.file("rc"), switched_on(&text, begin)).unwrap();
        }
    }
    chmod(&alice.home.file("rc"), 0o600);
    let maildirmake = program("maildirmake.maildrop", "maildrop");
    run(Command::new(&maildirmake).arg(alice.home.file("Maildir")), b"").exits(0);
}

fn deliver(alice: &Sender, name: &str, message: &[u8]) -> Run {
    let mut command = match name {
        "procmail" => {
            let mut command = Command::new(program("procmail", "procmail"));
            command.args(["-t", "-m", &format!("HOME={}", alice.home.path().display())]);
            command
        }
        _ => Command::new(program("maildrop", "maildrop")),
    };
    run(command.arg(alice.home.file("rc")).current_dir(alice.home.path()), message)
}

#[test]
fn a_reply_goes_beside_the_delivery() {
    for name in ["procmail", "maildrop"] {
        let alice = Sender::new("challenge = true");
        prepare(&alice, name);
        let stamped = [b"Return-Path: <carol@y.example>\n".as_slice(), &alice.home.stamped(&letter("1"))].concat();
        deliver(&alice, name, &stamped).exits(0);
        deliver(&alice, name, &from("bob@y.example", "2")).exits(0);
        deliver(&alice, name, &from("", "3")).exits(0);
        let inbox = alice.home.file("Maildir");
        assert_eq!(contents(&inbox), expected(&[("", &["1", "2", "3"])]), "{name}");
        // procmail does not wait for it.
        let log = || alice.home.run(["log", "--json"], b"").exits(0).text();
        let told = || (log().contains("null-sender") && log().contains("\"replied\"")).then_some(());
        eventually_or("the replies", told, log);
        let sent = alice.sent();
        assert_eq!(
            sent.iter().map(|(args, _)| args.as_str()).collect::<Vec<_>>(),
            ["-i -f <> -- bob@y.example\n"],
            "{name}"
        );
    }
}

#[test]
fn whatever_becomes_of_the_reply_the_message_arrives() {
    for (number, trouble) in ["exit 75", "kill -9 $$", "cat > /dev/null; exit 64"].into_iter().enumerate() {
        for name in ["procmail", "maildrop"] {
            let alice = Sender::new("challenge = true");
            prepare(&alice, name);
            let script = format!("#!/bin/sh\n[ \"$1\" = reply ] || exec {MAILSTAMP} \"$@\"\n{trouble}\n");
            stand_in(&alice.home.file("bin/mailstamp"), &script);
            // More than a pipe holds, for a program that does not read it.
            let message = [from("bob@y.example", &number.to_string()), vec![b'x'; 200_000]].concat();
            deliver(&alice, name, &message).exits(0);
            let wanted = expected(&[("", &[&number.to_string()])]);
            assert_eq!(contents(&alice.home.file("Maildir")), wanted, "{name}, {trouble}");
        }
    }
}
