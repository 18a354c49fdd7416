//! The copy for each recipient.

use super::next::Next;
use crate::support::programs::field;
use crate::support::{ALICE, Home, run};
use std::os::unix::fs::symlink;

fn message(fields: &str) -> String {
    format!(
        "From: Alice <{ALICE}>\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <1@x.example>\n{fields}Subject: s\n\nhello\n.\nend\n"
    )
}

#[test]
fn each_recipient_gets_a_copy_with_his_own_stamp_and_nobody_else_is_named_in_it() {
    // BC12a, threats 29 and 38.
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), "none = [\"*@free.example\"]");
    let (bob, eve) = (home.issue("bob@y.example", []), home.issue("eve@z.example", ["--hashed"]));
    let stamps = format!("Digital-Stamp: {bob}\nDigital-Stamp: {eve}\n");
    let plain = message("To: bob@y.example\nCc: dave@free.example\n");
    let raw = message(&format!("To: bob@y.example\n{stamps}Cc: dave@free.example\nBcc: eve@z.example,\n root\n"));
    home.run(["sendmail", "-t", "-i", "-f", ALICE], raw.as_bytes()).exits(0);
    let calls = next.calls();
    let to: Vec<&str> = calls.iter().map(|call| call.to()).collect();
    assert_eq!(to, ["bob@y.example", "dave@free.example", "eve@z.example", "root"]);
    for call in &calls {
        assert_eq!(call.args, format!("-i -f {ALICE} -- {}", call.to()));
        assert!(!call.copy.contains("Bcc"), "{}", call.copy);
        assert_eq!(call.copy.contains(&bob[20..60]), call.to() == "bob@y.example");
        assert_eq!(call.copy.contains(&eve[20..60]), call.to() == "eve@z.example");
        assert!(!call.copy.contains("eve@"), "{}", call.copy);
    }
    assert_eq!(calls[1].copy, plain);
    assert_eq!(calls[3].copy, plain);
    assert_eq!(std::fs::read_dir(home.state().join("outbox")).unwrap().count(), 0);
}

#[test]
fn what_is_missing_is_the_same_in_every_copy_and_the_dot_ends_it_unless_told() {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), "none = [\"*@y.example\"]");
    let raw = "To: a@y.example\nSubject: s\n\none\n.\ntwo\n";
    home.run(["sendmail", "-F", "Alice A.", "a@y.example", "b@y.example"], raw.as_bytes()).exits(0);
    let calls = next.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].copy, calls[1].copy);
    assert_eq!(calls[0].args, "-i -- a@y.example");
    let copy = calls[0].copy.as_bytes();
    assert!(field(copy, "Message-ID").unwrap().ends_with("@x.example>"));
    assert!(field(copy, "Date").is_some());
    assert_eq!(field(copy, "From").unwrap(), format!("\"Alice A.\" <{ALICE}>"));
    assert!(calls[0].copy.ends_with("\n\none\n"));
    home.run(["sendmail", "-oi", "-f", "<>", "a@y.example"], raw.as_bytes()).exits(0);
    let calls = next.calls();
    assert!(calls[0].copy.ends_with("\n\none\n.\ntwo\n"));
    assert_eq!(calls[0].args, "-i -f <> -- a@y.example");
}

#[test]
fn whoever_got_a_copy_is_somebody_to_whom_the_user_wrote() {
    let home = Home::new();
    let before = format!("addresses = [{ALICE:?}]");
    let next = Next::install(&home, &before, "none = [\"*@y.example\"]");
    next.ends("[ $to = busy@y.example ] && exit 75; [ $to = gone@y.example ] && exit 67; exit 0");
    let known = || {
        let listed = home.run(["correspondents"], b"").exits(0).text();
        listed.lines().map(|line| line.split("  ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let raw =
        message(&format!("To: bob@y.example, gone@y.example, {ALICE}, root\nBcc: eve@y.example, busy@y.example\n"));
    home.run(["sendmail", "-t", "-i"], raw.as_bytes()).exits(75);
    assert_eq!(known(), ["bob@y.example", "eve@y.example"]);
    next.ends("exit 0");
    home.run(["sendmail", "-q"], b"").exits(67);
    assert_eq!(known(), ["bob@y.example", "busy@y.example", "eve@y.example"]);
    // Neither what a program sends, nor where the user does not want it, nor when it cannot be: the copy goes.
    let automatic = format!("Auto-Submitted: auto-generated\n{raw}");
    home.run(["sendmail", "program@y.example"], automatic.as_bytes()).exits(0);
    Next::install(&home, &before, "none = [\"*@y.example\"]\nlearn = false");
    home.run(["sendmail", "unlearned@y.example"], raw.as_bytes()).exits(0);
    assert_eq!(known().len(), 3);
    Next::install(&home, &before, "none = [\"*@y.example\"]");
    std::fs::write(home.state().join("used.redb"), "no log").unwrap();
    next.calls();
    home.run(["sendmail", "dave@y.example"], raw.as_bytes()).exits(0);
    assert_eq!(next.calls().len(), 1);
}

#[test]
fn a_link_in_the_place_of_sendmail_does_the_same() {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), "none = [\"*@y.example\"]");
    for name in ["mailstamp-sendmail", "sendmail"] {
        let link = home.file(name);
        symlink(crate::support::MAILSTAMP, &link).unwrap();
        let mut command = std::process::Command::new(&link);
        command.env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin").args([
            "-G",
            "-oi",
            "-em",
            "-B8BITMIME",
        ]);
        run(command.args(["-N", "failure", "--", "a@y.example"]), message("").as_bytes()).exits(0);
        assert_eq!(next.calls()[0].copy, message(""));
    }
}

#[test]
fn customary_calls_name_the_recipients() {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), "none = [\"*@y.example\"]");
    let cron = "From: root (Cron Daemon)\nTo: root\nAuto-Submitted: auto-generated\nSubject: Cron\n\nout\n";
    let group = message("Bcc: a@y.example,\n b@y.example\nTo: undisclosed-recipients:;\n");
    let patch = message("To: a@y.example\nCc: Bob <b@y.example>\n");
    for (args, raw, expected) in [
        ("-t", group.as_str(), &["a@y.example", "b@y.example"][..]),
        ("-FCronDaemon -i -B8BITMIME -oem root", cron, &["root"]),
        ("-i -t", cron, &["root"]),
        ("-f alice@x.example -i -- a@y.example b@y.example B@y.example", &patch, &["a@y.example", "b@y.example"]),
    ] {
        home.run(["sendmail"].into_iter().chain(args.split(' ')), raw.as_bytes()).exits(0);
        let calls = next.calls();
        assert_eq!(calls.iter().map(|call| call.to()).collect::<Vec<_>>(), expected, "{args}");
        assert!(calls.iter().all(|call| !call.copy.contains("Bcc") && !call.copy.contains("\n b@")), "{args}");
    }
}

#[test]
fn content_goes_through_as_it_came() {
    // BC8, BC6a: of what a message holds nothing changes, whatever it is.
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), "none = [\"*@y.example\"]");
    let header = message("To: a@y.example\n");
    let header = header.split_once("\n\n").unwrap().0;
    let long = "x".repeat(200_000);
    for body in
        ["", ".\n..\n. \n", "From here\n>From there\n", "\u{fc}\u{0}\r\nlone\rCR", &long, "--b\n\n--b--\n", "\n\n\n"]
    {
        for newline in ["\n", "\r\n"] {
            let raw = format!("{header}\n\n").replace('\n', newline) + body;
            home.run(["sendmail", "-i", "a@y.example"], raw.as_bytes()).exits(0);
            assert_eq!(next.calls()[0].copy, raw);
        }
    }
}
