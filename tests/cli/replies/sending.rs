//! Sending, with a script in place of sendmail(8): once for a sender however many deliveries run at once, never above
//! the ceiling, written down before, and without any effect on the message that is answered.

use crate::support::programs::{contents, expected, maildir, stand_in};
use crate::support::{ALICE, Home, Run, letter, run, traced};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A home with challenges switched on, and a sendmail that keeps every message in a separate file.
pub struct Sender {
    pub home: Home,
}

impl Sender {
    pub fn new(replies: &str) -> Self {
        let sender = Self { home: Home::new() };
        sender.configure(replies);
        sender.sendmail("d=$(mktemp -d \"$0.sent/XXXXXX\")\necho \"$*\" > $d/args\ncat > $d/letter");
        let path = sender.home.config().with_file_name("vendors").join("stamps.example.json");
        let document = fs::read_to_string(&path).unwrap();
        let (begin, rest) = document.split_once('{').unwrap();
        fs::write(&path, format!("{begin}{{\"buy\":\"https://stamps.example/buy\",{rest}")).unwrap();
        sender
    }

    /// Replaces the configuration.
    pub fn configure(&self, replies: &str) {
        self.home.configure(&format!(
            "addresses = [\"{ALICE}\"]\n[used_log]\nwait = \"300s\"\n[actions]\nunstamped = \"challenge\"\n\
             [replies]\nrequire_authentication = false\nsendmail = \"{}\"\n{replies}\n",
            self.path().display()
        ));
    }

    fn path(&self) -> PathBuf {
        self.home.file("sendmail")
    }

    /// Replaces the script.
    pub fn sendmail(&self, script: &str) {
        fs::create_dir_all(self.home.file("sendmail.sent")).unwrap();
        stand_in(&self.path(), &format!("#!/bin/sh\n{script}\n"));
    }

    /// Returns the messages that were sent, each with the arguments of its sendmail.
    pub fn sent(&self) -> Vec<(String, String)> {
        let folders = fs::read_dir(self.home.file("sendmail.sent")).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        folders.map(|folder| (read(folder.join("args")), read(folder.join("letter")))).collect()
    }

    pub fn send(&self, message: &[u8]) -> Run {
        self.home.run(["reply", "send"], message)
    }
}

/// Returns a message with its Return-Path.
pub fn from(sender: &str, id: &str) -> Vec<u8> {
    let letter = String::from_utf8(letter(id)).unwrap().replace("bob@y.example>\nTo", &format!("{sender}>\nTo"));
    format!("Return-Path: <{sender}>\n{letter}").into_bytes()
}

const BOB: &str = "bob@y.example";

#[test]
fn a_challenge_goes_once_and_says_how_to_get_through() {
    // BC9.2.
    let alice = Sender::new("challenge = true");
    alice.send(&from(BOB, "1")).exits(0).says("yes challenge");
    let [(args, text)] = &alice.sent()[..] else { panic!("{:?}", alice.sent()) };
    assert_eq!(args, "-i -f <> -- bob@y.example\n");
    for part in [
        "\nAuto-Submitted: auto-replied\n",
        "\nIn-Reply-To: <1@y.example>\n",
        "To: bob@y.example\n",
        "From: alice@x.example\n",
        "\nSubject: Auto: Re: a serious matter\n",
        "  * stamps.example:\n    https://stamps.example/buy?recipient=alice@x.example&value=1\n",
        "at least 1 credit ",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    assert!(!text.contains("this is letter"), "{text}");
    alice.send(&from(BOB, "2")).exits(0).says("no lately");
    alice.send(&from("prvs=123=Bob+x@y.example", "3")).exits(0).says("no lately");
    // A week later the sender gets another reply; before that, the reply is only checked.
    let later = ["reply", "test", "--now", "2099-01-01T00:00:00Z"];
    assert!(
        alice.home.run(later, &from(BOB, "4")).exits(0).text().starts_with("yes challenge to bob@y.example\n\nFrom: ")
    );
    assert!(alice.home.run(["reply", "test"], &from(BOB, "4")).exits(0).text().starts_with("no lately (its sender "));
    assert_eq!(alice.sent().len(), 1);
    let log = alice.home.run(["log", "--json"], b"").exits(0).text();
    let told: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = told.iter().map(|entry| (entry["event"].as_str(), entry["reply"].as_str())).collect();
    let (replied, lately) = ((Some("replied"), Some("challenge")), (Some("not-replied"), Some("lately")));
    assert_eq!(told, [replied, lately, lately]);
    assert!(alice.home.run(["log"], b"").exits(0).text().contains("replied challenge"));
    // A reply to a sender is no verdict.
    assert!(alice.home.run(["stats", "--json"], b"").exits(0).text().contains("\"messages\":0"));
}

#[test]
fn a_revoked_stamp_has_a_notice_of_its_own_if_the_user_wants_that() {
    // BP4h.
    let alice = Sender::new("challenge = true");
    let stamp = alice.home.issue(ALICE, []);
    let stamped =
        |id: &str| [b"Return-Path: <bob@y.example>\n".as_slice(), &alice.home.affix(&stamp, &letter(id))].concat();
    alice.home.classify(&stamped("1")).says("first-class paid");
    alice.send(&stamped("1")).exits(0).says("no not-asked");
    alice.home.run(["revoke"], &stamped("1")).exits(0);
    alice.home.classify(&stamped("2")).says("revoked by-recipient");
    alice.send(&stamped("2")).exits(0).says("no not-asked");
    assert_eq!(alice.sent(), []);
    alice.configure("challenge = true\ncompromised = true");
    let listed = [b"List-Id: <forged.y.example>\n".as_slice(), &stamped("2")].concat();
    alice.send(&listed).exits(0).says("no list");
    alice.send(&stamped("2")).exits(0).says("yes compromised");
    alice.send(&stamped("3")).exits(0).says("no lately");
    let [(_, notice)] = &alice.sent()[..] else { panic!() };
    assert!(notice.contains("\nDigital-Stamp-Reply: compromised\n") && notice.contains("fresh stamp"), "{notice}");
    // The kinds differ, in words and in count.
    alice.send(&from(BOB, "4")).exits(0).says("yes challenge");
    let texts: Vec<String> = alice.sent().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts.iter().filter(|text| text.contains("fresh stamp")).count(), 1);
}

/// Runs `each` for the numbers below `count`, some at once.
fn at_once(count: usize, each: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count) {
                    each(number);
                }
            });
        }
    });
}

#[test]
fn two_hundred_messages_of_one_sender_at_once_get_one_reply() {
    // Threat 24.
    let alice = Sender::new("challenge = true");
    at_once(200, |number| {
        let run = alice.send(&from(BOB, &number.to_string())).exits(0);
        assert!(["yes challenge\n", "no lately\n"].contains(&run.text().as_str()), "{run:?}");
    });
    assert_eq!(alice.sent().len(), 1);
}

#[test]
fn the_ceiling_holds_whoever_writes() {
    // Promise 6.
    let alice = Sender::new("challenge = true\nper_day = 5");
    at_once(40, |number| {
        let run = alice.send(&from(&format!("bob{number}@y.example"), "1")).exits(0);
        assert!(["yes challenge\n", "no ceiling\n"].contains(&run.text().as_str()), "{run:?}");
    });
    assert_eq!(alice.sent().len(), 5);
    alice.configure("challenge = true\nper_day = 0");
    alice.send(&from("eve@y.example", "1")).says("no ceiling");
}

#[test]
fn what_is_sent_was_written_down_before() {
    let alice = Sender::new("challenge = true");
    let home = alice.home.path().display();
    alice.sendmail(&format!(
        "HOME={home} {} --config {} --state {} export > {home}/seen",
        crate::support::MAILSTAMP,
        alice.home.config().display(),
        alice.home.state().display()
    ));
    alice.send(&from(BOB, "1")).exits(0).says("yes challenge");
    let seen = fs::read_to_string(alice.home.file("seen")).unwrap();
    assert!(seen.contains("\"row\":\"reply\",\"kind\":\"challenge\",\"sender\":\"bob@y.example\""), "{seen}");
}

/// `deliver` into a Maildir of the home.
fn deliver(alice: &Sender, message: &[u8]) {
    let inbox = alice.home.file("Maildir");
    let run = alice.home.run(["deliver", "--maildir", inbox.to_str().unwrap()], message).exits(0);
    assert_eq!((run.text().as_str(), run.stderr.as_str()), ("", ""));
}

/// The Message-IDs of what is held.
fn held(alice: &Sender) -> usize {
    alice.home.run(["held", "list", "--json"], b"").exits(0).text().matches("@y.example>").count()
}

#[test]
fn the_fate_of_the_message_never_depends_on_its_reply() {
    for (number, trouble) in ["exit 67", "kill -9 $$", "sleep 300", "", "#", "no template"].into_iter().enumerate() {
        let alice = Sender::new("challenge = true");
        match trouble {
            "" => fs::remove_file(alice.path()).unwrap(),
            "#" => crate::support::programs::chmod(&alice.path(), 0o644),
            "no template" => alice.configure("challenge = true\nchallenge_template = \"/nonexistent/words\""),
            script => alice.sendmail(script),
        }
        let run = alice.send(&from(BOB, "1")).exits(0);
        assert!(run.text().is_empty() && run.stderr.starts_with("mailstamp: error: "), "{trouble}: {run:?}");
        assert_eq!(run.stderr.lines().count(), 1, "{trouble}: {run:?}");
        let log = alice.home.run(["log", "--json"], b"").text();
        assert!(log.contains("\"event\":\"reply-failed\""), "{trouble}: {log}");
        // It is not tried again, and the next message is delivered like this one.
        if trouble != "no template" {
            alice.send(&from(BOB, "1")).exits(0).says("no lately");
        }
        let other = format!("bob{number}@y.example");
        deliver(&alice, &from(&other, "2"));
        assert_eq!((alice.sent().len(), held(&alice)), (0, 1), "{trouble}");
    }
}

#[test]
fn deliver_holds_the_message_and_then_says_until_when() {
    let alice = Sender::new("challenge = true\n[held]\nkeep = \"10d\"");
    deliver(&alice, &from(BOB, "1"));
    assert_eq!((held(&alice), contents(&alice.home.file("Maildir"))), (1, vec![]));
    let [(_, text)] = &alice.sent()[..] else { panic!() };
    assert!(text.contains("Your first message is kept aside, unread, until 2"), "{text}");
    // The sender follows it: the stamp brings the next message into the inbox.
    let stamped = [b"Return-Path: <bob@y.example>\n".as_slice(), &alice.home.stamped(&letter("2"))].concat();
    deliver(&alice, &stamped);
    assert_eq!(contents(&alice.home.file("Maildir")), expected(&[("", &["2"])]));
    assert_eq!((held(&alice), alice.sent().len()), (1, 1));
    // A bounce is held and not answered; the environment names its sender.
    let inbox = alice.home.file("Maildir");
    let mut command = alice.home.command();
    command.args(["deliver", "--maildir"]).arg(&inbox).env("SENDER", "");
    run(&mut command, &letter("3")).exits(0);
    assert_eq!((held(&alice), alice.sent().len()), (2, 1));
    command.env("SENDER", "carol@y.example");
    run(&mut command, &letter("4")).exits(0);
    // Its From is that of the first message.
    assert_eq!((held(&alice), alice.sent().len()), (3, 1));
    let carol = from("carol@y.example", "5");
    run(&mut command, &carol[carol.iter().position(|&b| b == b'\n').unwrap() + 1..]).exits(0);
    assert_eq!((held(&alice), alice.sent().len()), (4, 2));
    assert_eq!(maildir(&inbox).len(), 1);
}

/// Returns the files in the home that a command opens, and the programs that it starts, without the search for a
/// daemon, which only judging commands do.
fn opens(alice: &Sender, args: &[&str], message: &[u8]) -> (Run, Vec<String>) {
    let calls = "openat,open,execve,connect,clone,clone3,fork,vfork";
    let (run, notes) = traced(alice.home.command().args(args), calls, message);
    let home = alice.home.path().to_str().unwrap();
    let resident = alice.home.state().join("socket");
    let lines = notes.lines().filter(|line| !line.contains(resident.to_str().unwrap()));
    // Without the number of a descriptor, which depends on what this process has open.
    let result = |call: &str| match call.rsplit_once(" = ") {
        Some((opened, result)) if !result.starts_with('-') => opened.to_owned(),
        _ => call.to_owned(),
    };
    let lines = lines.filter_map(|line| line.split_once(' ')).map(|(_, call)| result(call.trim()));
    (
        run,
        lines.filter(|call| call.contains(home) || !call.contains("open") && !call.starts_with("execve(\"/")).collect(),
    )
}

#[test]
fn switched_off_it_costs_nothing() {
    // The same as to judge the message without it.
    let alice = Sender::new("challenge_template = \"/nonexistent/words\"");
    let same = |message: &[u8], says: &str| {
        let (_, judged) = opens(&alice, &["classify", "--dry-run"], message);
        let (ran, opened) = opens(&alice, &["reply", "send"], message);
        ran.exits(0).says(says);
        assert_eq!(opened, judged);
        assert!(judged.iter().any(|call| call.contains("config.toml")), "{judged:?}");
    };
    let stamped = [b"Return-Path: <bob@y.example>\n".as_slice(), &alice.home.stamped(&letter("1"))].concat();
    alice.home.classify(&stamped).says("first-class paid");
    same(&from(BOB, "1"), "no off");
    same(&stamped, "no off");
    // Nor does mail that asks for no reply, with everything switched on.
    alice.configure("challenge = true\ncompromised = true\nchallenge_template = \"/nonexistent/words\"");
    same(&stamped, "no not-asked");
}

#[test]
fn own_words_are_checked_before_they_are_needed() {
    let alice = Sender::new("");
    let words = alice.home.file("words");
    let configure = |words_in: &[u8]| {
        fs::write(&words, words_in).unwrap();
        alice.configure(&format!("challenge = true\nchallenge_template = \"{}\"", words.display()));
    };
    configure("Gr\u{fc}\u{df}e!\nBuy at:\n{vendors}\nfor {address}, {price}; about {subject}. {kept}\n".as_bytes());
    alice.home.run(["config", "check"], b"").exits(0);
    alice.send(&from(BOB, "1")).exits(0).says("yes challenge");
    let [(_, text)] = &alice.sent()[..] else { panic!() };
    assert!(text.contains("charset=utf-8\n") && text.contains("Gr=C3=BC=C3=9Fe!\n"), "{text}");
    for (wrong, told) in [
        ("{vendor}".as_bytes(), "line 1: {vendor} is not a field"),
        (b"a\n{price", "line 2: a brace"),
        (b"\xff", "not UTF-8"),
        (&[b'a'; 9000], "larger than 8 KiB"),
        (b" ", "empty template"),
    ] {
        configure(wrong);
        let checked = alice.home.run(["config", "check"], b"").exits(78);
        assert!(checked.stderr.contains(told) && checked.stderr.contains("words: "), "{checked:?}");
        alice.home.run(["reply", "test"], &from("eve@y.example", "1")).exits(78);
        alice.send(&from("eve@y.example", "1")).exits(0);
    }
    assert_eq!(alice.sent().len(), 1);
}

#[test]
fn trouble_of_our_own_is_75_on_the_mail_path_and_nothing_else() {
    let alice = Sender::new("challenge = true");
    for args in
        [&["reply", "send", "--sendr", "x"][..], &["reply", "send", "--recipient", "x"], &["reply", "send", "x"]]
    {
        alice.home.run(args.iter().copied(), &from(BOB, "1")).exits(75);
    }
    alice.home.configure("no = such key");
    alice.send(&from(BOB, "1")).exits(75);
    alice.home.run(["reply", "test"], &from(BOB, "1")).exits(78);
    assert_eq!(alice.sent(), []);
}

#[test]
fn no_sender_becomes_an_argument_or_a_second_recipient() {
    // Threat 30.
    let alice = Sender::new("challenge = true");
    for sender in [
        "-Ctmp@x.example",
        "-oQ/tmp@y.example",
        "bob@y.example eve@z.example",
        "bob@y.example\neve@z.example",
        "|sh@y.example",
    ] {
        let mut command = alice.home.command();
        command.args(["reply", "send", "--sender", sender]);
        run(&mut command, &letter("1")).exits(0).says("no bad-address");
    }
    alice.home.run(["reply", "send", "--sender", "bob@y.example"], &letter("1")).exits(0).says("yes challenge");
    assert_eq!(alice.sent().len(), 1);
}

#[test]
fn the_doctor_says_what_keeps_replies_from_going() {
    let alice = Sender::new("");
    let says = |code: i32, text: &str| {
        let told = alice.home.run(["doctor"], b"").exits(code).text();
        assert_eq!(told.contains("replies"), !text.is_empty(), "{told}");
        assert!(told.contains(text), "{text:?}: {told}");
    };
    says(0, "");
    alice.configure("challenge = true");
    says(0, "sendmail, at most 50 in 24 hours");
    let authenticated = fs::read_to_string(alice.home.config()).unwrap().replace("require_authentication = false", "");
    alice.home.configure(&authenticated);
    says(0, "warning  replies");
    alice.home.configure(&format!("trusted_authserv_ids = [\"mx.x.example\"]\n{authenticated}"));
    says(0, "ok       replies");
    alice.configure("challenge = true\nchallenge_template = \"/nonexistent/words\"");
    says(78, "/nonexistent/words");
    alice.configure("challenge = true");
    fs::remove_file(alice.path()).unwrap();
    says(78, "cannot be run");
}

#[test]
fn rules_say_who_is_asked_for_a_stamp() {
    let alice = Sender::new("challenge = true");
    let rule =
        |action: &str, from: &str| format!("[[rule]]\nname = \"{action}\"\naction = \"{action}\"\nfrom = \"{from}\"\n");
    let rules = rule("allow", "bob@y.example") + &rule("hold", "*@z.example") + &rule("challenge", "eve@z.example");
    fs::write(alice.home.config().with_file_name("rules.toml"), rules).unwrap();
    let by = |author: &str| {
        String::from_utf8(from(author, "1")).unwrap().replace("Bob <bob@y.example>", author).into_bytes()
    };
    alice.send(&by("bob@y.example")).exits(0).says("no not-asked");
    alice.send(&by("eve@z.example")).exits(0).says("no not-asked");
    alice.send(&by("carol@y.example")).exits(0).says("yes challenge");
    // The first rule that matches asks, where the class alone would ask no sender.
    let text = fs::read_to_string(alice.home.config()).unwrap();
    alice.home.configure(&text.replace("unstamped = \"challenge\"", "unstamped = \"deliver\""));
    fs::write(alice.home.config().with_file_name("rules.toml"), rule("challenge", "eve@z.example")).unwrap();
    alice.send(&by("eve@z.example")).exits(0).says("yes challenge");
    alice.send(&by("dave@z.example")).exits(0).says("no not-asked");
    assert_eq!(alice.sent().len(), 2);
}
