//! `mailstamp learn-sent` and `correspondents`, and what `watch` learns: the recipients of the user are contacts, and
//! no other address is. (Threats 5, 25, 26; promises 4, 5.)

use crate::support::programs::comes_to_an_end;
use crate::support::{ALICE, Home, MAILSTAMP, letter, traced};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A message that the user sent on a day of November 2026.
fn sent(to: &str, id: &str, day: u32) -> Vec<u8> {
    format!(
        "From: Alice <{ALICE}>\nTo: {to}\nDate: {day} Nov 2026 12:00:00 +0000\nMessage-ID: <{id}@x.example>\n\
         Subject: hello\n\nhello\n"
    )
    .into_bytes()
}

/// The addresses that are known.
fn known(home: &Home) -> Vec<String> {
    let listed = home.run(["correspondents"], b"").exits(0).text();
    listed.lines().map(|line| line.split("  ").next().unwrap().to_owned()).collect()
}

/// The Maildir `Maildir/<name>`.
fn maildir(home: &Home, name: &str) -> PathBuf {
    let path = home.file("Maildir").join(name);
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(path.join(part)).unwrap();
    }
    path
}

#[test]
fn a_message_on_standard_input_is_learned_without_a_word() {
    let home = Home::new();
    let message = sent("Bob <Bob+list@y.example>, alice@X.example", "1", 20);
    for _ in 0..2 {
        let ran = home.run(["learn-sent"], &message).exits(0);
        assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("", ""));
    }
    let line = "bob@y.example  first 2026-11-20T12:00:00Z, last 2026-11-20T12:00:00Z\n";
    assert_eq!(home.run(["correspondents"], b"").exits(0).text(), line);
    home.run(["learn-sent", "-v"], &sent("carol@y.example", "2", 19))
        .exits(0)
        .says("learned: 1 correspondents, 1 messages");
    home.run(["learn-sent", "-v"], &sent("bob@y.example", "1", 20))
        .exits(0)
        .says("learned: 0 correspondents, 0 messages");
    let json = home.run(["correspondents", "--json", "CAROL"], b"").exits(0).text();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let time = "2026-11-19T12:00:00Z";
    let expected = serde_json::json!({ "schema": 1, "address": "carol@y.example", "first": time, "last": time });
    assert_eq!(json, expected);
}

/// The log has a domain in A-labels, and letters beyond ASCII have two cases as others do.
#[test]
fn a_correspondent_is_found_by_letters_beyond_ascii() {
    let home = Home::new();
    home.run(["learn-sent"], &sent("bob@bücher.example, Ärger@y.example", "1", 20)).exits(0);
    for (text, count) in [("BÜCHER", 1), ("bob@bücher.example", 1), ("xn--", 1), ("ärger@", 1), ("ÄRGER", 1), ("ö", 0)]
    {
        let listed = home.run(["correspondents", text], b"").exits(0).text();
        assert_eq!(listed.lines().count(), count, "{text}: {listed}");
    }
}

/// Promise 4: no sender becomes a correspondent through their own mail.
#[test]
fn what_the_user_did_not_send_is_not_learned_and_leaves_no_state() {
    let home = Home::new();
    let mine = String::from_utf8(sent("eve@y.example", "1", 20)).unwrap();
    for (message, why) in [
        (String::from_utf8(letter("1")).unwrap(), "From is none of your addresses"),
        (format!("Auto-Submitted: auto-replied\n{mine}"), "it was sent by a program, or in bulk"),
        (format!("List-Id: <list.y.example>\n{mine}"), "a mailing list sent it"),
        (String::new(), "From is none of your addresses"),
    ] {
        home.run(["learn-sent", "--verbose"], message.as_bytes()).exits(0).says(&format!("not learned: {why}"));
    }
    assert!(!home.state().exists());
    assert_eq!(known(&home), [""; 0]);
}

#[test]
fn without_addresses_or_with_a_state_that_is_held_it_is_put_off() {
    let home = Home::new();
    home.configure("");
    let ran = home.run(["learn-sent"], &sent("bob@y.example", "1", 20)).exits(75);
    assert!(ran.stderr.contains("no addresses are configured"), "{}", ran.stderr);
    home.configure("addresses = [");
    home.run(["learn-sent"], &sent("bob@y.example", "1", 20)).exits(78);
    home.configure(&format!("addresses = [\"{ALICE}\"]"));
    fs::create_dir_all(home.state().join("used.redb")).unwrap();
    home.run(["learn-sent"], &sent("bob@y.example", "1", 20)).exits(75);
}

#[test]
fn who_is_forgotten_is_learned_again_only_from_a_later_message() {
    let home = Home::new();
    let letters = [sent("bob@y.example", "1", 19), sent("bob@y.example, carol@y.example", "2", 20)];
    let learn = || letters.iter().for_each(|letter| drop(home.run(["learn-sent"], letter).exits(0)));
    learn();
    let forgot = home.run(["correspondents", "--forget", "Bob@y.example", "dave@y.example"], b"").exits(0);
    let said = "Bob@y.example: forgotten\ndave@y.example is not one of your correspondents\n";
    assert_eq!(forgot.text(), said);
    learn();
    let backup = home.run(["export"], b"").exits(0).stdout;
    home.run(["import"], &backup).exits(0).says("rows taken in: 0, known before: 4");
    assert_eq!(known(&home), ["carol@y.example"]);
    home.run(["learn-sent"], &sent("bob@y.example", "3", 21)).exits(0);
    assert_eq!(known(&home), ["bob@y.example", "carol@y.example"]);
    home.run(["correspondents", "--forget", "no address"], b"").exits(64);
}

#[test]
fn old_folders_are_learned_at_once() {
    let home = Home::new();
    let folder = maildir(&home, ".Sent");
    for number in 0..2_500 {
        let message = sent(&format!("p{}@y.example", number % 700), &number.to_string(), 20);
        fs::write(folder.join(format!("cur/{number}.host:2,S")), message).unwrap();
    }
    let mut mbox = Vec::new();
    for message in [sent("bob@y.example", "a", 20), letter("b"), sent("carol@y.example", "a", 20)] {
        mbox.extend(b"From someone Fri Nov 20 12:00:00 2026\n");
        mbox.extend(message);
        mbox.push(b'\n');
    }
    fs::write(home.file("sent.mbox"), mbox).unwrap();
    let paths = ["learn-sent", "Maildir/.Sent", "sent.mbox"];
    home.run(paths, b"").exits(0).says(
        "messages: 2,503\nleft out, since From is none of your addresses: 1\nlearned: 702 correspondents, 2,501 messages",
    );
    assert!(home.run(paths, b"").exits(0).text().ends_with("learned: 0 correspondents, 0 messages\n"));
    assert_eq!(known(&home).len(), 702);
    let doctor = home.run(["doctor"], b"").text();
    assert!(doctor.contains("correspondents: 702, messages: 2501"), "{doctor}");
    let gone = home.run(["learn-sent", "sent.mbox", "no-such-file"], b"").exits(74);
    assert!(gone.text().contains("could not be read: 1") && gone.stderr.contains("no-such-file"), "{}", gone.stderr);
}

/// A text that was not quoted can hold a whole message of another author.
#[test]
fn of_an_mbox_in_doubt_nothing_is_learned() {
    let home = Home::new();
    fs::create_dir(home.file("Mail")).unwrap();
    let line = "From - Sat Nov 28 11:00:00 2026\n";
    let [ann, kim, eve] =
        ["ann", "kim", "eve"].map(|to| String::from_utf8(sent(&format!("{to}@y.example"), to, 20)).unwrap());
    let learned = |mbox: String| {
        fs::write(home.file("Mail/sent"), mbox).unwrap();
        fs::write(home.file("Mail/sent.msf"), "index").unwrap();
        let run = home.run(["learn-sent", "Mail"], b"").exits(0);
        assert_eq!(run.stderr, "mailstamp: note: Mail/sent.msf: skipped: no mail in a form that is known\n");
        assert!(run.text().contains("\nskipped, since they are no mail: 1\n"), "{}", run.text());
        (run.text().lines().next().unwrap().to_owned(), known(&home))
    };
    for text in [
        format!("{line}{kim}\nFrom my side\n\n{line}{eve}\n"),
        format!("{line}{kim}\nFrom here on\n{eve}\n"),
        format!("{line}{kim}\n--x--\n{line}{eve}\n"),
        format!("From -\n{kim}\nFrom -\n{eve}\n"),
    ] {
        assert_eq!(learned(text).1, [""; 0]);
    }
    assert_eq!(learned(format!("{line}{ann}>From here on\n\n{line}{kim}\n")).1, ["ann@y.example", "kim@y.example"]);
}

#[test]
fn ids_are_forgotten_in_time_and_people_are_not() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[sent]\nretention = \"1d\""));
    home.run(["learn-sent"], &sent("bob@y.example", "1", 1)).exits(0);
    let rows = || home.run(["export"], b"").exits(0).text().matches("\"row\":\"sent\"").count();
    assert_eq!(rows(), 1);
    home.run(["purge"], b"").exits(0).says("serials of ended stamps forgotten: 0\nmessages that you sent forgotten: 1");
    assert_eq!((rows(), known(&home)), (0, vec!["bob@y.example".to_owned()]));
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[sent]\ncorrespondents = \"2d\""));
    let classify = |now: &str| home.run(["classify", "--now", now], &letter("1"));
    let rule = "[[rule]]\nname = \"friends\"\naction = \"allow\"\ncorrespondent = true\n";
    fs::write(home.config().with_file_name("rules.toml"), rule).unwrap();
    classify("2026-11-03T12:00:00Z").exits(10);
    classify("2026-11-03T12:00:01Z").exits(11);
    home.run(["purge", "--now", "2026-11-03T12:00:00Z"], b"").exits(0);
    assert_eq!(known(&home).len(), 1);
    home.run(["purge"], b"").exits(0).says("serials of ended stamps forgotten: 0\ncorrespondents forgotten: 1");
    // A message past the term teaches nothing.
    home.run(["learn-sent"], &sent("bob@y.example", "1", 1)).exits(0);
    assert_eq!(known(&home), [""; 0]);
    home.run(["purge", "--json"], b"")
        .exits(0)
        .says(r#"{"correspondents":0,"peers":0,"removed":0,"replies":0,"returns":0,"schema":1,"sent":0}"#);
}

/// Promise 5: a hundred thousand recipients cost no more than their bytes.
#[test]
fn a_message_to_a_hundred_thousand_is_read_to_its_end_and_bounded() {
    let home = Home::new();
    let many: Vec<String> = (0..100_000).map(|n| format!("p{n}@y.example")).collect();
    // In one field, in many, and behind each other.
    comes_to_an_end("one field", || home.run(["learn-sent"], &sent(&many.join(",\n "), "1", 20)).exits(0));
    let fields: String = many.iter().map(|address| format!("Cc: {address}\n")).collect();
    let message = [fields.as_bytes(), &sent("bob@y.example", "2", 20)].concat();
    comes_to_an_end("many fields", || home.run(["learn-sent"], &message).exits(0));
    assert_eq!(known(&home).len(), 1_000);
}

/// Threat 26: text of a message is escaped before it reaches the terminal.
#[test]
fn a_hostile_address_is_shown_tamely() {
    let home = Home::new();
    let message =
        sent("\"\u{e9}\u{9b}31m;\\\\x\"@y.example, \"a\u{1b}[31m\"@y.example, \"b;c\"@y.example", "1\u{1b}[2J", 20);
    home.run(["learn-sent"], &message).exits(0);
    let listed = home.run(["correspondents"], b"").exits(0).text();
    assert!(listed.starts_with("\"b;c\"@y.example  first "), "{listed:?}");
    assert!(!listed.chars().any(|char| char.is_control() && char != '\n'), "{listed:?}");
}

/// A message without a stamp asks no log, whatever was learned.
#[test]
fn a_message_without_a_stamp_does_not_open_the_log() {
    let home = Home::new();
    home.run(["learn-sent"], &sent("bob@y.example", "1", 20)).exits(0);
    let (ran, calls) = traced(home.command().arg("classify"), "?open,openat", &letter("2"));
    ran.exits(11);
    assert!(calls.contains("config.toml") && !calls.contains("used.redb"), "{calls}");
}

#[test]
fn the_watcher_learns_what_comes_to_sent_once() {
    let home = Home::new();
    let folder = maildir(&home, ".Sent");
    for part in [".Junk", ".Trash", ""] {
        maildir(&home, part);
    }
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[watch]\nmaildir = \"{}\"", home.file("Maildir").display()));
    let once = || home.run(["watch", "--once"], b"").exits(0).text();
    let put = |name: &str, message: &[u8]| fs::write(folder.join("cur").join(name), message).unwrap();
    put("1.host:2,S", &sent("bob@y.example", "1", 20));
    put("2.host:2,S", &letter("foreign"));
    assert_eq!(once(), "learned from Sent: 1 correspondents\n");
    assert_eq!(once(), "");
    // It is learned once: a contact that the user has forgotten is not learned again.
    home.run(["correspondents", "--forget", "bob@y.example"], b"").exits(0);
    fs::rename(folder.join("cur/1.host:2,S"), folder.join("cur/1.host:2,RS")).unwrap();
    // One that comes while it is watched, with a stamp that may come back.
    let stamp = home.issue("carol@y.example", ["--serial", "one"]);
    let marked = home.run(["affix", "--return", "--stamp", &stamp], &sent("carol@y.example", "3", 20)).exits(0).stdout;
    put("3.host:2,S", &marked);
    assert!(once().contains("learned from Sent: 1 correspondents"));
    assert_eq!(known(&home), ["carol@y.example"]);
    // Its text alone is large; it is not read for that.
    let mut large = sent("dave@y.example", "4", 20);
    large.resize(3 << 20, b'x');
    put("4.host:2,S", &large);
    let mut command = Command::new(MAILSTAMP);
    command.env_clear().env("HOME", home.path()).args(["watch", "--once"]);
    let (ran, calls) = traced(&mut command, "read", b"");
    ran.exits(0).says("learned from Sent: 1 correspondents");
    let most = calls.lines().filter_map(|line| line.rsplit(" = ").next()?.parse::<u64>().ok()).max();
    assert!(most <= Some(256 * 1024), "{most:?}");
    assert_eq!(known(&home), ["carol@y.example", "dave@y.example"]);
}
