//! `mailstamp deliver` under the programs that hand mail to a command: Postfix (`.forward` and `mailbox_command`, with
//! its queue), fetchmail and getmail (from a Dovecot). Needs root for Postfix.

use crate::support::dovecot::Dovecot;
use crate::support::faults::{FINAL_FAULTS, HANGS, class_fields, mend, set_aside};
use crate::support::postfix::{Postfix, User, mailbox_command};
use crate::support::programs::{
    chmod, contents, expected, field, install, letter_with_forged_class, maildir, program, recipe, settle,
};
use crate::support::smtp::{Protocol, send};
use crate::support::{ALICE, Home, Run, letter, run};
use rustix::process::geteuid;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Flushes the queue until the mailbox holds this.
#[track_caller]
fn holds(postfix: &Postfix, inbox: &Path, folders: &[(&str, &[&str])]) {
    let wanted = expected(folders);
    let holds = || (contents(inbox) == wanted).then_some(());
    postfix.flush_until("delivery", holds, || format!("{:?}", contents(inbox)));
}

/// Returns a user whose mail goes to mailstamp, and a Postfix whose alias `alice` leads to that user.
fn postfix(home: &Home, forward: bool) -> (Postfix, User) {
    let user = User::add();
    let mut main = format!("alias_maps = inline:{{ alice={} }}\n", user.name());
    let bin = install(home.path());
    // Postfix runs the command as the user.
    chmod(home.path(), 0o755);
    let place = |text: String| text.replace("/usr/local/bin/", &format!("{}/", bin.display()));
    if !forward {
        main += &place(mailbox_command("mailstamp"));
    }
    let postfix = Postfix::start(&main);
    if forward {
        let edits = [("\n\"|/usr/bin/procmail", "\n#"), ("#\"|timeout", "\"|timeout")];
        fs::write(user.file(".forward"), place(recipe("forward", &edits))).unwrap();
    }
    user.move_in(home);
    (postfix, user)
}

/// A Maildir that cannot be written for many tries of Postfix, more than `max_redeliveries`: the message is first-class
/// when it can, and nothing bounced. (BC13, BC15b, promise 3, threat 37.)
fn redelivery(forward: bool) {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[used_log]\nmax_redeliveries = 2"));
    let stamp = home.issue(ALICE, []);
    let (postfix, user) = postfix(&home, forward);
    let inbox = user.file("Maildir");
    let smtp =
        |message: &[u8]| assert_eq!(send(Protocol::Smtp, postfix.port(), "bob@y.example", &[ALICE], message), [250]);

    smtp(&letter("1"));
    holds(&postfix, &inbox, &[("", &["1"])]);
    for part in ["new", "tmp"] {
        chmod(&inbox.join(part), 0o500);
    }
    smtp(&home.affix(&stamp, &letter("2")));
    for tries in 1..=6 {
        postfix.flush_until_deferred(tries);
    }
    // Postfix shows the user why, on one line.
    assert!(postfix.logged("mailstamp: error: cannot write into") >= 6, "{}", postfix.log());
    holds(&postfix, &inbox, &[("", &["1"])]);
    for part in ["new", "tmp"] {
        chmod(&inbox.join(part), 0o700);
    }
    holds(&postfix, &inbox, &[("", &["1", "2"])]);
    let delivered = maildir(&inbox);
    let delivered = delivered.iter().find(|it| field(it, "Digital-Stamp").is_some()).unwrap();
    assert!(field(delivered, "Digital-Stamp-Class").unwrap().starts_with("first-class; reason=paid;"));
    assert!(delivered.starts_with(b"Digital-Stamp-Class: "), "the envelope line is gone");
    assert_eq!(field(delivered, "Return-Path").as_deref(), Some("<bob@y.example>"));

    smtp(&home.affix(&stamp, &letter("3")));
    holds(&postfix, &inbox, &[("", &["1", "2", "3"])]);
    assert_eq!(postfix.logged("status=bounced"), 0, "{}", postfix.log());
    let log = fs::read_to_string(user.file(".local/state/mailstamp/verdicts.jsonl")).unwrap();
    assert!(log.contains("\"sender\":\"bob@y.example\""), "{log}");
}

#[test]
fn as_mailbox_command_of_postfix() {
    redelivery(false);
}

#[test]
fn in_a_forward_file() {
    redelivery(true);
}

/// Every fault defers the message, and it arrives whole when the fault is over; nothing bounces.
fn every_fault_defers(forward: bool) {
    let home = Home::new();
    let (postfix, user) = postfix(&home, forward);
    let inbox = user.file("Maildir");
    let mailstamp = home.file("bin/mailstamp");
    set_aside(&mailstamp);
    // Postfix must never find half of the file, and sed replaces it at once.
    let limit = |edit: &str| run(Command::new("sed").args(["-i", edit]).arg(user.file(".forward")), b"").exits(0);
    let hangs = forward.then_some(("hangs", HANGS));
    // Each takes Postfix a second, and the two recipes differ in their place alone.
    let share = if forward { 1 } else { 3 };
    for (number, (what, fault)) in FINAL_FAULTS.into_iter().step_by(share).chain(hangs).enumerate() {
        fault.put(&mailstamp);
        if what == "hangs" {
            limit("s/ 300 / 1 /");
        }
        if number == 0 {
            let message = letter_with_forged_class("1");
            assert_eq!(send(Protocol::Smtp, postfix.port(), "bob@y.example", &[ALICE], &message), [250]);
        }
        // A delivery may still run that began under the fault before.
        let before = postfix.logged("status=deferred");
        postfix.flush_until_deferred(before + 2);
        assert_eq!((postfix.logged("status=bounced"), contents(&inbox)), (0, Vec::new()), "{what}: {}", postfix.log());
    }
    if forward {
        limit("s/ 1 / 300 /");
    }
    mend(&mailstamp, true);
    holds(&postfix, &inbox, &[("", &["1"])]);
    let [arrived] = &maildir(&inbox)[..] else { panic!("one message expected") };
    assert!(arrived.ends_with(&letter("1")) && class_fields(arrived) == 1, "{}", String::from_utf8_lossy(arrived));
    assert_eq!(postfix.logged("status=bounced"), 0, "{}", postfix.log());
}

#[test]
fn every_fault_defers_under_mailbox_command() {
    every_fault_defers(false);
}

#[test]
fn every_fault_defers_under_a_forward_file() {
    every_fault_defers(true);
}

/// A Dovecot with three messages for the user to fetch, and the home of another mailbox to fetch them into.
fn to_be_fetched() -> (Dovecot, Home) {
    let home = Home::new();
    let dovecot = Dovecot::with_imap(&[]);
    settle(&Home::new(), &dovecot.home(ALICE));
    dovecot.script(ALICE, "keep;\n");
    dovecot.hand_over();
    install(home.path());
    let stamp = home.issue(ALICE, []);
    for message in [home.affix(&stamp, &letter("1")), letter("2"), home.affix(&stamp, &letter("3"))] {
        assert_eq!(send(Protocol::Lmtp, dovecot.port(), "bob@y.example", &[ALICE], &message), [250]);
    }
    (dovecot, home)
}

/// Fetches with a Maildir that cannot be used, with every fault, without one, and when there is nothing more. `patient`
/// fetches with this limit in seconds.
fn fetches(dovecot: &Dovecot, home: &Home, patient: &dyn Fn(&str) -> Run) {
    let fetch = || patient("300");
    let inbox = home.file("Maildir");
    fs::write(&inbox, "").unwrap();
    let said = fetch();
    assert!(
        said.stderr.contains("unsafe Maildir: not a folder") || said.text().contains("unsafe Maildir: not a folder"),
        "{said:?}"
    );
    let left = || contents(&dovecot.inbox(ALICE)).iter().map(|(_, ids)| ids.len()).sum::<usize>();
    assert_eq!(left(), 3, "{said:?}");
    fs::remove_file(&inbox).unwrap();
    let mailstamp = home.file("bin/mailstamp");
    set_aside(&mailstamp);
    for (what, fault) in FINAL_FAULTS {
        fault.put(&mailstamp);
        let said = fetch();
        assert_eq!((left(), contents(&inbox)), (3, Vec::new()), "{what}: {said:?}");
    }
    HANGS.put(&mailstamp);
    let said = patient("1");
    assert_eq!((left(), contents(&inbox)), (3, Vec::new()), "hangs: {said:?}");
    mend(&mailstamp, true);
    let said = fetch();
    let wanted = expected(&[("", &["1", "2", "3"])]);
    assert_eq!(contents(&inbox), wanted, "{said:?}\n{}", dovecot.log());
    assert_eq!(left(), 0, "{said:?}");
    fetch();
    assert_eq!(contents(&inbox), wanted);
    assert_eq!(field(&maildir(&inbox)[0], "Return-Path").as_deref(), Some("<bob@y.example>"));
}

#[test]
fn as_mda_of_fetchmail() {
    let (dovecot, home) = to_be_fetched();
    let bin = home.file("bin/mailstamp").display().to_string();
    let server = format!("poll 127.0.0.1 service {} protocol imap auth password", dovecot.imap_port());
    let text = recipe(
        "fetchmailrc",
        &[
            ("poll imap.your.example protocol imap", server.as_str()),
            ("\"you\"", &format!("\"{ALICE}\"")),
            ("  ssl\n", "  sslproto \"\"\n"),
            ("/usr/local/bin/mailstamp", &bin),
        ],
    );
    let fetchmail = program("fetchmail", "fetchmail");
    fetches(&dovecot, &home, &|limit| {
        fs::write(home.file("rc"), text.replace(" 300 ", &format!(" {limit} "))).unwrap();
        chmod(&home.file("rc"), 0o600);
        let mut command = Command::new(&fetchmail);
        command
            .args(["--nosyslog", "-f"])
            .arg(home.file("rc"))
            .env("HOME", home.path())
            .env("FETCHMAILHOME", home.path());
        run(&mut command, b"")
    });
}

#[test]
fn as_destination_of_getmail() {
    let (dovecot, home) = to_be_fetched();
    let bin = home.file("bin/mailstamp").display().to_string();
    let server = format!("server = 127.0.0.1\nport = {}", dovecot.imap_port());
    // getmail runs no command as root unless told to.
    let root =
        if geteuid().is_root() { "type = MDA_external\nallow_root_commands = true" } else { "type = MDA_external" };
    let text = recipe(
        "getmailrc",
        &[
            ("SimpleIMAPSSLRetriever", "SimpleIMAPRetriever"),
            ("server = imap.your.example", server.as_str()),
            ("username = you", &format!("username = {ALICE}")),
            ("/usr/local/bin/mailstamp", &bin),
            ("type = MDA_external", root),
        ],
    );
    fs::create_dir(home.file("getmail")).unwrap();
    let getmail = program("getmail", "getmail6");
    fetches(&dovecot, &home, &|limit| {
        fs::write(home.file("getmail/getmailrc"), text.replace("\"300\"", &format!("\"{limit}\""))).unwrap();
        chmod(&home.file("getmail/getmailrc"), 0o600);
        let mut command = Command::new(&getmail);
        command.arg(format!("--getmaildir={}", home.file("getmail").display())).env("HOME", home.path());
        run(&mut command, b"")
    });
}
