//! The milter of the daemon (mailstamp-milter(8)), from a mail system's side.

use crate::support::milter::{Answer, MailSystem};
use crate::support::resident::Resident;
use crate::support::{ALICE, Home, letter, run};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;

const HELD: &str = "held@x.example";

/// A home with a boundary for `x.example`, with these lines above the tables, and in `[boundary]`.
pub fn boundary(above: &str, more: &str) -> (Home, PathBuf) {
    let home = Home::new();
    let socket = home.file("milter");
    home.configure(&format!(
        "addresses = [\"*@x.example\"]\n{above}\n\
         [boundary]\nlisten = \"unix:{}\"\nheld_address = \"{HELD}\"\n{more}\n",
        socket.display()
    ));
    (home, socket)
}

/// One message to these recipients.
fn send(socket: &std::path::Path, recipients: &[&str], message: &[u8]) -> Answer {
    MailSystem::connect(socket).message(recipients, message)
}

/// What the verdict log says of each recipient: class, reason, action.
fn logged(home: &Home) -> Vec<String> {
    let log = fs::read_to_string(home.state().join("verdicts.jsonl")).unwrap_or_default();
    let entry = |line: &str| {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", text("recipient"), text("reason"), text("action"))
    };
    // Without a line that is being written.
    log.rsplit_once('\n').map_or("", |(whole, _)| whole).lines().map(entry).collect()
}

/// Waits for this many lines of the verdict log: a line comes after the answer.
#[track_caller]
fn logged_lines(home: &Home, count: usize) -> Vec<String> {
    let ready = || Some(logged(home)).filter(|lines| lines.len() >= count);
    crate::support::programs::eventually_or("log", ready, || format!("{:?}", logged(home)))
}

/// Owners: one stamp is one recipient's, whatever the order (BC15c).
#[test]
fn one_stamp_and_many_recipients() {
    let (home, socket) = boundary("", "");
    let _daemon = Resident::of(&home);
    let others: Vec<String> = (0..9).map(|number| format!("user{number}@x.example")).collect();
    for (number, place) in [0, 4, 9].into_iter().enumerate() {
        let mut all: Vec<&str> = others.iter().map(String::as_str).collect();
        all.insert(place, ALICE);
        let message = home.stamped(&letter(&place.to_string()));
        let answer = send(&socket, &all, &message);
        // They differ, so no field shows a result.
        assert_eq!((answer.last.as_str(), &answer.fields[..], &answer.recipients[..]), ("a", &[][..], &[][..]));
        let lines = logged_lines(&home, (number + 1) * 12 - 2);
        let lines = &lines[number * 12..];
        assert_eq!(lines.iter().filter(|line| line.contains(" paid ")).count(), 1, "{lines:?}");
        assert_eq!(lines.iter().filter(|line| line.contains(" not-for-me ")).count(), 9, "{lines:?}");
        assert_eq!(lines[place], format!("{ALICE} paid deliver"));
        // The same message to one of them alone.
        let class = |to: &str| send(&socket, &[to], &message).inserted("Digital-Stamp-Class").unwrap().to_owned();
        assert!(class(ALICE).starts_with(" first-class; reason=again;"));
        assert!(class(all[1 - place.min(1)]).starts_with(" invalid; reason=not-for-me;"));
        logged_lines(&home, (number + 1) * 12);
    }
    // Another message with that stamp.
    let stamp = home.issue(ALICE, []);
    send(&socket, &[ALICE], &home.affix(&stamp, &letter("x")));
    let used = send(&socket, &[ALICE], &home.affix(&stamp, &letter("y")));
    assert!(used.inserted("Digital-Stamp-Class").unwrap().starts_with(" used; reason=used;"));
}

/// BC15d
#[test]
fn each_action_is_carried_out() {
    let above = "[actions]\nunstamped = \"reject\"\ninvalid = \"tag\"\nused = \"discard\"\nunderpaid = \"hold\"\n\
                 unverified = \"challenge\"";
    let (home, socket) = boundary(above, "subject_prefix = \"[stamp?]\"\nreject_text = \"Buy a stamp.\\nAsk Alice.\"");
    let _daemon = Resident::of(&home);
    let mut system = MailSystem::connect(&socket);
    let (bob, carol) = ("bob@x.example", "carol@x.example");

    let refused = system.message(&[ALICE, bob], &letter("1"));
    let text = "y550-5.7.1 Buy a stamp.\r\n550-5.7.1 Ask Alice.\r\n550 5.7.1 The message is unstamped (no-stamp).";
    assert_eq!(refused, Answer { last: text.to_owned(), ..Answer::default() });

    let paid = system.message(&[ALICE], &home.stamped(&letter("2")));
    assert_eq!((paid.last.as_str(), paid.fields.len(), paid.recipients.len()), ("a", 1, 0));
    assert!(
        paid.inserted("Digital-Stamp-Class").unwrap().starts_with(" first-class; reason=paid; vendor="),
        "{paid:?}"
    );

    // A stamp for another: invalid for both.
    let stamp = home.issue(carol, []);
    let tagged = system.message(&[ALICE, bob], &home.affix(&stamp, &letter("3")));
    assert_eq!(tagged.fields[0], "m1 Subject: [stamp?] a serious matter");
    assert!(tagged.inserted("Digital-Stamp-Class").unwrap().contains("action=tag"), "{tagged:?}");

    // Carol, whose stamp it is, and Bob.
    let mixed = system.message(&[carol, bob], &home.affix(&stamp, &letter("3")));
    assert_eq!((mixed.last.as_str(), &mixed.fields[..], &mixed.recipients[..]), ("a", &[][..], &[][..]));

    let used = system.message(&[carol], &home.affix(&stamp, &letter("4")));
    assert_eq!(used, Answer { last: "d".to_owned(), ..Answer::default() });
    // A line for each recipient: 2, 1, 2, 2 and this one.
    assert_eq!(logged_lines(&home, 8).last().unwrap(), "carol@x.example used discard");

    let other = Home::new();
    other.vendor("other.example", "1");
    let key = other.key("other.example", "1");
    let mut issue = other.command();
    issue.args(["vendor", "issue", "--to", ALICE, "--key"]).arg(key);
    let unknown = run(&mut issue, b"").exits(0).text();
    let held = system.message(&[ALICE], &home.affix(unknown.trim(), &letter("5")));
    assert_eq!(held.recipients, [format!("-<{ALICE}>"), format!("+<{HELD}>")]);
    assert!(held.inserted("Digital-Stamp-Class").unwrap().contains("action=hold"), "{held:?}");
}

#[test]
fn a_recipient_who_refuses_is_held_unless_all_do() {
    let rules = |home: &Home| {
        let rule = "[[rule]]\nname = \"alice\"\nto = \"alice@x.example\"\naction = \"reject\"\n";
        fs::write(home.config().with_file_name("rules.toml"), rule).unwrap();
    };
    for (mixed, last, changed) in [
        ("hold", "a", vec![format!("-<{ALICE}>"), format!("+<{HELD}>")]),
        ("deliver", "a", vec![]),
        ("discard", "a", vec![format!("-<{ALICE}>")]),
    ] {
        let (home, socket) = boundary("", &format!("mixed = \"{mixed}\""));
        rules(&home);
        let _daemon = Resident::of(&home);
        let answer = send(&socket, &[ALICE, "bob@y.example"], &letter("1"));
        assert_eq!((answer.last.as_str(), &answer.recipients), (last, &changed), "{mixed}");
        // Bob's domain is another, and the copy for Bob has no result.
        assert_eq!(answer.fields, [""; 0]);
        assert!(send(&socket, &[ALICE], &letter("1")).last.starts_with("y550-5.7.1 Mail to this address needs"));
    }
}

#[test]
fn forged_results_go_and_mail_after_a_login_is_not_judged() {
    let (home, socket) = boundary("authserv_id = \"mx.x.example\"\n[actions]\nunstamped = \"reject\"", "");
    let _daemon = Resident::of(&home);
    let forged = "Digital-Stamp-Class: first-class\nSubject: a\nDIGITAL-stamp-CLASS: b\n\
                  Authentication-Results: mx.x.example; x=pass\n\ntext\n";
    let mut system = MailSystem::connect(&socket);
    system.send(b'D', b"M{auth_authen}\0bob\0");
    let answer = system.message(&[ALICE], forged.as_bytes());
    let gone = ["m1 Authentication-Results:", "m2 DIGITAL-stamp-CLASS:", "m1 Digital-Stamp-Class:"];
    assert_eq!((answer.last.as_str(), &answer.fields[..]), ("a", &gone.map(str::to_owned)[..]));
    // The login was for one message.
    assert!(system.message(&[ALICE], forged.as_bytes()).last.starts_with("y550"));
    let paid = system.message(&[ALICE], &home.stamped(forged.as_bytes()));
    assert_eq!(&paid.fields[..3], gone.map(str::to_owned));
    assert!(paid.inserted("Authentication-Results").unwrap().starts_with(" mx.x.example; x-digital-stamp=pass"));
    assert_eq!(system.message(&["bob@y.example"], forged.as_bytes()).fields, gone);
}

/// A message that is refused for what it has too many of spends nothing.
#[test]
fn too_many_forged_results_are_refused_before_a_stamp_is_spent() {
    let (home, socket) = boundary("", "subject_prefix = \"[stamp?]\"");
    let _daemon = Resident::of(&home);
    let stamp = home.issue(ALICE, []);
    let forged = |count: usize| {
        let mail = home.affix(&stamp, &letter("1"));
        ["Digital-Stamp-Class: x\n".repeat(count).into_bytes(), mail].concat()
    };
    let mut system = MailSystem::connect(&socket);
    for count in [500, 501, 2_000] {
        let refused = system.message(&[ALICE], &forged(count));
        let last = "y550 5.6.0 too many fields of digital stamps".to_owned();
        assert_eq!(refused, Answer { last, ..Answer::default() }, "{count}");
    }
    // 499 of them, and a Subject that may get the prefix.
    let other = home.affix(&stamp, &letter("2"));
    let paid = system.message(&[ALICE], &["Digital-Stamp-Class: x\n".repeat(499).into_bytes(), other].concat());
    assert!(paid.inserted("Digital-Stamp-Class").unwrap().starts_with(" first-class; reason=paid;"), "{paid:?}");
    assert_eq!(logged_lines(&home, 1), [format!("{ALICE} paid deliver")]);
}

#[test]
fn the_limit_on_the_size_is_that_of_the_configuration_as_it_is() {
    let (home, socket) = boundary("", "");
    let config = fs::read_to_string(home.config()).unwrap();
    let limited = format!("max_message_size = 20000\n{config}");
    let _daemon = Resident::of(&home);
    let mut system = MailSystem::connect(&socket);
    for (number, (config, reason)) in
        [(&config, "paid"), (&limited, "over-limit"), (&config, "paid")].iter().enumerate()
    {
        fs::write(home.config(), config).unwrap();
        let long = [letter(&number.to_string()), b"A line of a long letter.\n".repeat(2_000)].concat();
        let answer = system.message(&[ALICE], &home.stamped(&long));
        let class = answer.inserted("Digital-Stamp-Class").unwrap();
        assert!(class.contains(&format!("; reason={reason};")), "{number}: {class}");
    }
}

#[test]
fn who_gets_held_mail_and_is_a_recipient_gets_it_once() {
    let (home, socket) = boundary("[actions]\ninvalid = \"hold\"", "");
    let _daemon = Resident::of(&home);
    let mail = home.affix(&home.issue(HELD, []), &letter("1"));
    let held = send(&socket, &[HELD, ALICE], &mail);
    assert_eq!(held.recipients, [format!("-<{ALICE}>")]);
}

/// BC15e
#[test]
fn accepted_stamps_are_stripped_where_each_copy_has_one() {
    let (home, socket) = boundary("", "strip = \"stamps\"");
    let _daemon = Resident::of(&home);
    let bob = "bob@x.example";
    let both = home.affix(&home.issue(bob, []), &home.stamped(&letter("1")));
    let one = send(&socket, &[ALICE], &both);
    // Bob's stamp was above hers.
    assert_eq!(one.fields[0], "m2 Digital-Stamp:");
    assert_eq!(one.fields.len(), 2);
    let two = send(&socket, &[ALICE, bob], &both);
    assert_eq!(&two.fields[..2], ["m2 Digital-Stamp:", "m1 Digital-Stamp:"]);
    assert!(two.fields.len() == 2, "their results differ: {two:?}");
    assert_eq!(send(&socket, &[ALICE, "carol@x.example"], &both).fields, [""; 0]);
    let stamp = home.issue(ALICE, []);
    let armoured = home.run(["affix", "--place", "body", "--stamp", &stamp], &letter("2")).exits(0).stdout;
    let answer = send(&socket, &[ALICE], &armoured);
    let text = String::from_utf8(letter("2")).unwrap().replace('\n', "\r\n");
    let body = text.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(String::from_utf8(answer.body.unwrap()).unwrap(), body);
}

#[test]
fn trouble_defers_and_changes_nothing() {
    let (home, socket) = boundary("", "");
    let _daemon = Resident::of(&home);
    let message = home.stamped(&letter("1"));
    let text = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), format!("{text}\nnonsense")).unwrap();
    let deferred = send(&socket, &[ALICE], &message);
    let later = "y451 4.7.1 cannot judge the message now, try again later";
    assert_eq!(deferred, Answer { last: later.to_owned(), ..Answer::default() });
    fs::write(home.config(), text).unwrap();
    let paid = send(&socket, &[ALICE], &message);
    assert!(paid.inserted("Digital-Stamp-Class").unwrap().contains("reason=paid"), "{paid:?}");
}

/// Killed at any moment, and tried again: the message is first-class, once.
#[test]
fn a_message_is_paid_once_over_kills() {
    let (home, socket) = boundary("", "");
    let rounds = if crate::support::is_soak() { 100 } else { 6 };
    for round in 0..rounds {
        let stamp = home.issue(ALICE, []);
        let message = home.affix(&stamp, &letter(&round.to_string()));
        let daemon = Resident::of(&home);
        let mut system = MailSystem::connect(&socket);
        system.begin(&[ALICE], &message);
        // In every second round the answer is there, and the mail system never sees it.
        if round % 2 == 0 {
            system.send(b'E', b"");
            assert_eq!(system.receive_next().map(|(letter, _)| letter), Some(b'i'));
        } else {
            system.send(b'E', b"");
        }
        daemon.kill();
        let _daemon = Resident::of(&home);
        let retried = send(&socket, &[ALICE], &message);
        let class = retried.inserted("Digital-Stamp-Class").unwrap();
        assert!(class.starts_with(" first-class; reason="), "{class}");
        let copy = send(&socket, &[ALICE], &home.affix(&stamp, &letter("copy")));
        assert!(copy.inserted("Digital-Stamp-Class").unwrap().starts_with(" used; "), "{copy:?}");
    }
}

/// Another process has the log: the mail system is told that the answer takes longer, and gets it when the log is back.
#[test]
fn a_leased_log_delays_the_answer() {
    let (home, socket) = boundary("", "");
    let daemon = Resident::of(&home);
    // The first stamp opens the log.
    send(&socket, &[ALICE], &home.stamped(&letter("1")));
    let lease = daemon.lease_log();
    let mut system = MailSystem::connect(&socket);
    system.begin(&[ALICE], &home.stamped(&letter("2")));
    system.send(b'E', b"");
    for _ in 0..2 {
        assert_eq!(system.receive(), Some((b'p', vec![])));
    }
    // Without a stamp, the log is not asked.
    let unstamped = send(&socket, &[ALICE], &letter("3"));
    assert!(unstamped.inserted("Digital-Stamp-Class").unwrap().starts_with(" unstamped; "), "{unstamped:?}");
    drop(lease);
    let paid = system.answer().expect("an answer");
    assert!(paid.inserted("Digital-Stamp-Class").unwrap().contains("reason=paid"), "{paid:?}");
}

/// Idle and slow connections keep no other out, where there are places for all of them and where there are not. What is
/// no milter protocol ends its own connection.
#[test]
fn two_thousand_idle_and_slow_connections() {
    for places in [8, 2_010] {
        let (home, socket) = boundary(&format!("[serve]\nconnections = {places}"), "");
        let daemon = Resident::of(&home);
        let mut idle = Vec::new();
        for number in 0..2_000 {
            let mut system = MailSystem::silent(&socket);
            match number % 4 {
                0 => {}
                1 => system.send(b'O', &[0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff]),
                2 => system.send_bytes(&[0, 0, 1]),
                _ => system.send_bytes(&[0, 0, 0, 13, b'O', 0]),
            }
            idle.push(system);
            if number % 250 == 249 {
                let paid = send(&socket, &[ALICE], &home.stamped(&letter(&number.to_string())));
                assert!(paid.inserted("Digital-Stamp-Class").unwrap().contains("reason=paid"));
            }
        }
        assert!(daemon.memory() < 256 << 20, "{}", daemon.memory());
    }
    let (home, socket) = boundary("", "");
    let _daemon = Resident::of(&home);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 4], &[0xff; 8], &[0, 0, 0, 1, b'M']] {
        let mut system = MailSystem::silent(&socket);
        system.send_bytes(bytes);
        assert_eq!(system.receive(), None);
    }
}

#[test]
fn it_ends_with_the_daemon_and_listens_again() {
    let (home, socket) = boundary("", "");
    let daemon = Resident::of(&home);
    let mut idle = MailSystem::connect(&socket);
    fs::remove_file(&socket).unwrap();
    crate::support::programs::eventually("a listener", || std::os::unix::net::UnixStream::connect(&socket).ok());
    send(&socket, &[ALICE], &letter("1"));
    let doctor = || home.run(["doctor"], b"").text();
    assert!(doctor().contains(&format!("listens at unix:{}", socket.display())), "{}", doctor());
    assert!(!doctor().contains("no mail is judged"), "{}", doctor());
    daemon.end();
    assert_eq!(idle.receive(), None);
    assert!(!socket.exists());
    assert!(doctor().contains("No such file or directory; the mail system defers mail"), "{}", doctor());
}

#[test]
fn a_boundary_for_one_person_does_not_start() {
    let (home, socket) = boundary("", "");
    let text = fs::read_to_string(home.config()).unwrap();
    for (addresses, said) in [
        ("[\"alice@x.example\"]", "\"alice@x.example\" has no owner"),
        ("[\"%u\"]", "the configuration has %u, %n or %d"),
        ("[\"*@%d\"]", "the configuration has %u, %n or %d"),
    ] {
        fs::write(home.config(), text.replace("[\"*@x.example\"]", addresses)).unwrap();
        let refused = home.run(["serve"], b"").exits(78);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
        assert!(!socket.exists());
    }
}

/// What the daemon would not start without.
#[test]
fn config_check_reads_the_files_of_keys_and_passwords() {
    let (home, _) = boundary("", "");
    let text = fs::read_to_string(home.config()).unwrap();
    home.run(["config", "check"], b"").exits(0);
    let path = home.file("secret");
    let submission = "[submission]\nlisten = \"127.0.0.1:0\"\nuser = \"joe\"";
    for (setting, key) in [
        (format!("seal = {path:?}"), "boundary.seal"),
        (format!("{submission}\npassword_file = {path:?}"), "submission.password_file"),
    ] {
        fs::write(home.config(), format!("{text}{setting}\n")).unwrap();
        let refused = home.run(["config", "check"], b"").exits(78).stderr;
        assert!(refused.contains(&format!("{key}: {}: ", path.display())), "{refused}");
    }
    // A key of the file that follows a table belongs to it.
    let below = "[boundary]\nmixed = \"hold\"\naddresses = [\"*@x.example\"]\n";
    fs::write(home.config(), below).unwrap();
    let refused = home.run(["config", "check"], b"").exits(78).stderr;
    assert!(refused.contains("addresses follows [boundary]: write it above all tables"), "{refused}");
}

/// Protocol 0.7, as OpenSMTPD from 7.3 on speaks it. `tests/programs` has 6.8 itself.
#[test]
fn the_filter_for_opensmtpd_spends_in_the_log_of_the_daemon() {
    let home = Home::new();
    home.configure("addresses = [\"*@x.example\"]\n[boundary]\n");
    let daemon = Resident::of(&home);
    let message = String::from_utf8(home.stamped(&letter("1"))).unwrap();
    let report = |event: &str, rest: &str| format!("report|0.7|1.5|smtp-in|{event}|01|0a{rest}\n");
    let data = |line: &str| format!("filter|0.7|1.5|smtp-in|data-line|01|02|{line}\n");
    let envelope = [
        "config|protocol|0.7\nconfig|ready\n".to_owned(),
        report("tx-begin", ""),
        report("tx-mail", "|ok|bob@y.example"),
        report("tx-rcpt", &format!("|ok|{ALICE}")),
    ];
    let lines = envelope.concat() + &message.lines().map(data).collect::<String>() + &data(".");
    // What was handed over before smtpd ends is judged to its end.
    let told = home.run(["opensmtpd-filter"], lines.as_bytes()).exits(0).text();
    assert!(told.starts_with("register|report|smtp-in|link-auth\n"), "{told}");
    let prefix = format!("filter-dataline|{:016x}|{:016x}|", 1, 2);
    let back: String = told.lines().filter_map(|line| line.strip_prefix(&prefix)).map(|it| format!("{it}\n")).collect();
    assert!(back.starts_with("Digital-Stamp-Class: first-class; reason=paid; vendor=stamps.example;"), "{back}");
    assert!(back.ends_with(&format!("{message}.\n")), "{back}");
    let status = home.run(["status"], b"").exits(0).text();
    assert!(status.contains("others       answered by the log: 1 fresh"), "{status}");
    home.classify(message.as_bytes()).exits(0).says("first-class again");
    daemon.end();
}

#[test]
fn the_filter_for_opensmtpd_takes_a_new_limit_on_the_size() {
    let home = Home::new();
    let config = "addresses = [\"*@x.example\"]\n[boundary]\n";
    home.configure(&format!("max_message_size = 20000\n{config}"));
    let mut filter =
        home.command().arg("opensmtpd-filter").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut smtpd, told) = (filter.stdin.take().unwrap(), BufReader::new(filter.stdout.take().unwrap()));
    let mut told = told.lines().map(Result::unwrap);
    smtpd.write_all(b"config|protocol|0.7\nconfig|ready\n").unwrap();
    let long = [letter("1"), b"A line of a long letter.\n".repeat(2_000)].concat();
    let message = String::from_utf8(home.stamped(&long)).unwrap();
    let data = |line: &str| format!("filter|0.7|1.5|smtp-in|data-line|01|02|{line}\n");
    let lines = message.lines().map(data).collect::<String>() + &data(".");
    for (transaction, class) in ["unverified; reason=over-limit;", "first-class; reason=paid;"].iter().enumerate() {
        let report = |event: &str, rest: &str| format!("report|0.7|1.5|smtp-in|{event}|01|0{transaction}{rest}\n");
        let begin = report("tx-begin", "") + &report("tx-mail", "|ok|bob@y.example");
        let begin = begin + &report("tx-rcpt", &format!("|ok|{ALICE}"));
        // smtpd writes without waiting for what is answered.
        let (lines, mut to) = (begin + &lines, smtpd);
        let writer = std::thread::spawn(move || to.write_all(lines.as_bytes()).map(|()| to));
        let first = told.find(|line| line.contains("|Digital-Stamp-Class: ")).unwrap();
        assert!(first.contains(class), "{first}");
        told.find(|line| line.ends_with("|.")).unwrap();
        smtpd = writer.join().unwrap().unwrap();
        home.configure(config);
    }
    drop(smtpd);
    assert!(filter.wait().unwrap().success());
}

/// The filter learns from mail that users send after a login, whose name is an owner's.
#[test]
fn the_filter_for_opensmtpd_learns_from_logins() {
    let home = Home::new();
    home.configure("addresses = [\"*@x.example\"]\n[boundary]\nlearn_sent = true\n");
    let session = |number: usize, login: &str| {
        let report = |event: &str, rest: &str| format!("report|0.7|1.5|smtp-in|{event}|{number:016x}|{rest}\n");
        let data = |line: &str| format!("filter|0.7|1.5|smtp-in|data-line|{number:016x}|02|{line}\n");
        let sent = format!("From: {ALICE}\nMessage-ID: <{number}@x.example>\n\ntext\n.");
        [
            report("link-auth", &format!("pass|{login}")),
            report("tx-begin", "0a"),
            report("tx-mail", &format!("0a|ok|{ALICE}")),
            report("tx-rcpt", &format!("0a|ok|stranger{number}@z.example")),
            sent.lines().map(data).collect(),
        ]
        .concat()
    };
    let logins = ["alice", ALICE, "bob@x.example", "alice"];
    let lines: String = logins.iter().enumerate().map(|(number, login)| session(number, login)).collect();
    let ran = home.run(["opensmtpd-filter"], format!("config|ready\n{lines}").as_bytes()).exits(0);
    assert_eq!(ran.text().matches("|text\n").count(), logins.len(), "{}", ran.text());
    let unknown = "learn_sent: the login is no owner's, so nothing is learned (told once): mail of alice\n";
    assert!(ran.stderr.contains(unknown) && ran.stderr.matches("learn_sent").count() == 1, "{}", ran.stderr);
    let known = home.run(["correspondents", "--owner", ALICE], b"").exits(0).text();
    assert!(known.contains("stranger1@z.example") && known.matches("stranger").count() == 1, "{known}");
}
