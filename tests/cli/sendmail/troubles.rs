//! Failures: after a temporary one the message waits and goes on where it stopped, and a permanent one is reported. No
//! message leaves unstamped without a report.

use super::next::Next;
use crate::support::programs::{field, stand_in};
use crate::support::{ALICE, Home, run, traced_with};
use std::fs;
use std::os::unix::fs::symlink;

const FREE: &str = "none = [\"*@y.example\"]";

fn message(id: &str) -> Vec<u8> {
    format!("From: {ALICE}\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <{id}@x.example>\nSubject: s\n\nhello\n")
        .into_bytes()
}

fn outbox(home: &Home) -> usize {
    fs::read_dir(home.state().join("outbox")).map_or(0, |read| read.count())
}

#[test]
fn who_was_put_off_is_sent_to_later_and_nobody_else_again() {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), FREE);
    next.ends("[ $to = b@y.example ] && echo 'no room' >&2 && exit 75; exit 0");
    let send = || home.run(["sendmail", "a@y.example", "b@y.example", "c@y.example"], &message("1"));
    let said = send().exits(75);
    assert!(said.stderr.contains("b@y.example: not sent yet") && said.stderr.contains("no room"), "{}", said.stderr);
    assert!(!said.stderr.contains("a@y.example"));
    let to = |next: &Next| next.calls().iter().map(|call| call.to().to_owned()).collect::<Vec<_>>();
    assert_eq!(to(&next), ["a@y.example", "b@y.example", "c@y.example"]);
    assert_eq!(outbox(&home), 1);
    // The caller comes again, with another Date as mutt does.
    let again = String::from_utf8(message("1")).unwrap().replace("12:00:00", "12:05:00");
    home.run(["sendmail", "a@y.example", "b@y.example", "c@y.example"], again.as_bytes()).exits(75);
    assert_eq!(to(&next), ["b@y.example"]);
    next.ends("exit 0");
    home.run(["sendmail", "-q"], b"").exits(0);
    assert_eq!(to(&next), ["b@y.example"]);
    // Once more: it was sent meanwhile, and the caller is told so, once. The next call after that is a new message.
    assert!(send().exits(0).stderr.contains("mailstamp sendmail -q sent this message before"));
    assert_eq!(to(&next), [""; 0]);
    assert_eq!(outbox(&home), 0);
    send().exits(0);
    assert_eq!(to(&next).len(), 3);
}

#[test]
fn what_is_refused_for_good_is_said_with_the_status_of_the_next_program() {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), FREE);
    for (status, exits) in [(67, 67), (65, 65), (77, 77), (1, 75), (71, 75), (78, 75)] {
        next.ends(&format!("[ $to = b@y.example ] && exit {status}; exit 0"));
        let id = status.to_string();
        let said = home.run(["sendmail", "a@y.example", "b@y.example"], &message(&id)).exits(exits);
        assert!(said.stderr.contains("b@y.example: "), "{}", said.stderr);
        assert_eq!(next.calls().len(), 2);
        assert_eq!(outbox(&home), usize::from(exits == 75));
        if exits == 75 {
            next.ends("exit 0");
            home.run(["sendmail", "--resume"], b"").exits(0);
            assert_eq!(next.calls().len(), 1);
            home.run(["sendmail", "a@y.example", "b@y.example"], &message(&id)).exits(0);
        }
    }
    // Killed, missing, itself.
    next.ends("kill -9 $$");
    home.run(["sendmail", "a@y.example"], &message("k")).exits(75);
    fs::remove_file(next.program()).unwrap();
    home.run(["sendmail", "a@y.example"], &message("m")).exits(75);
    symlink(crate::support::MAILSTAMP, next.program()).unwrap();
    let said = home.run(["sendmail", "a@y.example"], &message("i")).exits(78);
    assert!(said.stderr.contains("is mailstamp itself"), "{}", said.stderr);
}

#[test]
fn without_a_stamp_nothing_goes_unless_the_user_wants_it_and_then_it_is_said() {
    // BP2e, threat 29.
    let home = Home::new();
    let before = format!("addresses = [{ALICE:?}]");
    let next = Next::install(&home, &before, FREE);
    let said = home.run(["sendmail", "a@y.example", "b@z.example"], &message("1"));
    assert!(matches!(said.code, 75 | 78), "{said:?}");
    assert!(said.stderr.contains("b@z.example: "), "{}", said.stderr);
    assert!(next.calls().iter().all(|call| call.to() != "b@z.example"));
    let next = Next::install(&home, &before, &format!("{FREE}\nwhen_away = \"plain\""));
    let said = home.run(["sendmail", "a@y.example", "b@z.example"], &message("2")).exits(0);
    assert!(said.stderr.contains("note: b@z.example: sent without a stamp: "), "{}", said.stderr);
    assert_eq!(next.calls().len(), 2);
}

#[test]
fn what_is_no_mail_is_refused_and_nothing_leaves() {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), FREE);
    for (args, status) in [
        (&["sendmail", "-bs"][..], 64),
        (&["sendmail", "--drop"], 64),
        (&["sendmail", "--drop", "../state"], 65),
        (&["sendmail"], 64),
        (&["sendmail", "--", "-Ctmp@x.example"], 64),
        (&["sendmail", "a@y.example\nb"], 64),
        (&["sendmail", "-f", "-X@x", "a@y.example"], 64),
        (&["sendmail", "-t"], 64),
    ] {
        home.run(args.iter().copied(), &message("1")).exits(status);
    }
    let stranger = Home::new();
    let foreign = stranger.issue("eve@z.example", []);
    let quoted = format!(
        "From: {ALICE}\nContent-Transfer-Encoding: quoted-printable\n\n-----BEGIN DIGITAL STAMP-----\n{foreign}\n-----END DIGITAL STAMP-----\n"
    );
    home.run(["sendmail", "a@y.example", "c@y.example"], quoted.as_bytes()).exits(65);
    assert_eq!(next.calls(), []);
    assert_eq!(outbox(&home), 0);
}

#[test]
fn the_same_bytes_without_a_message_id_are_another_letter_once_the_first_one_is_over() {
    // Promise 1: as cron, PHP and smartd send.
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), FREE);
    let send = || home.run(["sendmail", "-i", "a@y.example"], b"Subject: disk full\n\nsee to it\n");
    let ids = || {
        let calls = next.calls();
        calls.iter().map(|call| field(call.copy.as_bytes(), "Message-ID").unwrap()).collect::<Vec<_>>()
    };
    next.ends("exit 75");
    send().exits(75);
    let first = ids();
    next.ends("exit 0");
    send().exits(0);
    assert_eq!(ids(), first, "a call that was told to come again means the same message");
    send().exits(0);
    assert_ne!(ids(), first);
    // Sent by -q, and then the next report with the same words.
    next.ends("exit 75");
    send().exits(75);
    next.ends("exit 0");
    home.run(["sendmail", "-q"], b"").exits(0);
    assert_eq!((next.calls().len(), outbox(&home)), (2, 0));
    send().exits(0);
    assert_eq!(next.calls().len(), 1);
}

#[test]
fn what_the_caller_was_not_told_is_forgotten_after_five_days() {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), FREE);
    let send = || home.run(["sendmail", "a@y.example", "b@y.example"], &message("1"));
    let put_off_and_ended = || {
        next.ends("exit 75");
        send().exits(75);
        next.ends("[ $to = b@y.example ] && echo 'who is that' && exit 67; exit 0");
        home.run(["sendmail", "-q"], b"").exits(67);
        next.calls();
    };
    put_off_and_ended();
    let said = send().exits(67);
    assert!(said.stderr.contains("b@y.example: refused (67): ") && said.stderr.contains("who is that"), "{said:?}");
    assert_eq!(next.calls().len(), 0);
    put_off_and_ended();
    let owed = fs::read_dir(home.state().join("outbox")).unwrap().next().unwrap().unwrap().path();
    run(std::process::Command::new("touch").args(["-d", "6 days ago"]).arg(owed), b"").exits(0);
    send().exits(67);
    assert_eq!(next.calls().len(), 2);
}

#[test]
fn what_cannot_be_noted_is_handed_over_no_further() {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), &format!("{FREE}\nat_once = 1"));
    let to = ["a@y.example", "b@y.example", "c@y.example"];
    let mut command = home.command();
    command.args(["sendmail", "-i"]).args(to);
    let full = ["-e", "trace=pwrite64", "-e", "inject=pwrite64:error=ENOSPC:when=2+"];
    let (said, _) = traced_with(&mut command, &full, &message("1"));
    assert!(said.code == 75 && said.stderr.contains("No space left on device"), "{said:?}");
    let sent = || next.calls().iter().map(|call| call.to().to_owned()).collect::<Vec<_>>();
    assert_eq!(sent(), ["a@y.example", "b@y.example"]);
    // The note about the first copy was kept.
    home.run(["sendmail", "-q"], b"").exits(0);
    assert_eq!(sent(), ["b@y.example", "c@y.example"]);
}

#[test]
fn a_journal_that_cannot_be_written_stops_everything() {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), FREE);
    fs::create_dir_all(home.state()).unwrap();
    symlink("/nonexistent/folder", home.state().join("outbox")).unwrap();
    home.run(["sendmail", "a@y.example"], &message("1")).exits(75);
    assert_eq!(next.calls(), []);
}

#[test]
fn one_message_is_sent_by_one_process_at_a_time() {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), FREE);
    let gate = home.file("gate");
    run(std::process::Command::new("mkfifo").arg(&gate), b"").exits(0);
    stand_in(&next.program(), &format!("#!/bin/sh\ncat > /dev/null; read x < {}\n", gate.display()));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| home.run(["sendmail", "a@y.example"], &message("1")));
        crate::support::programs::eventually("journal", || (outbox(&home) == 1).then_some(()));
        let locked = || {
            let second = home.run(["sendmail", "a@y.example"], &message("1"));
            (second.code == 75 && second.stderr.contains("another process is sending")).then_some(())
        };
        crate::support::programs::eventually("busy", locked);
        home.run(["sendmail", "-q"], b"").exits(0);
        fs::write(&gate, "\n").unwrap();
        first.join().unwrap().exits(0);
    });
}
