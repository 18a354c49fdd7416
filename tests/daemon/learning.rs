//! What the milter of the daemon learns from mail after a login (mailstamp-milter(8)), from a mail system's side.

use crate::milter::boundary;
use crate::status::process::Process;
use crate::support::milter::{Answer, MailSystem};
use crate::support::resident::Resident;
use crate::support::{ALICE, Home, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const BOB: &str = "bob@x.example";
const JOE: &str = "joe@y.example";

/// A boundary that learns, and refuses mail of other senders than correspondents.
fn learning(above: &str) -> (Home, PathBuf) {
    let metrics = "[serve]\nmetrics = \"127.0.0.1:0\"";
    let (home, socket) =
        boundary(&format!("{above}\n[actions]\nunstamped = \"reject\"\n{metrics}"), "learn_sent = true");
    let rule = "[[rule]]\nname = \"correspondent\"\naction = \"allow\"\ncorrespondent = true\n\n\
                [[rule]]\nname = \"reply\"\naction = \"allow\"\nreply_to_mine = true\n";
    fs::write(home.config().with_file_name("rules.toml"), rule).unwrap();
    (home, socket)
}

fn letter(from: &str, more: &str) -> Vec<u8> {
    format!("From: {from}\nDate: Fri, 20 Nov 2020 12:00:00 +0000\nSubject: hello\n{more}\nhello\n").into_bytes()
}

/// Sends a message under a login of this name.
fn send_as(socket: &Path, login: &str, recipients: &[&str], message: &[u8]) -> Answer {
    let mut system = MailSystem::connect(socket);
    system.send(b'D', format!("M{{auth_type}}\0PLAIN\0{{auth_authen}}\0{login}\0").as_bytes());
    system.message(recipients, message)
}

/// Whether a message of this author to this recipient is accepted, and by which rule.
#[track_caller]
fn rule(socket: &Path, from: &str, to: &str, more: &str) -> Option<String> {
    let answer = MailSystem::connect(socket).message(&[to], &letter(from, more));
    if answer.last.starts_with("y550") {
        return None;
    }
    let class = answer.inserted("Digital-Stamp-Class").unwrap_or_else(|| panic!("{answer:?}"));
    Some(class.strip_prefix(" allowed; reason=rule; rule=").unwrap().split(';').next().unwrap().to_owned())
}

fn count(daemon: &Process, result: &str) -> f64 {
    daemon.numbers()[&format!("mailstamp_milter_sent_total{{result=\"{result}\"}}")]
}

#[test]
fn a_correspondent_may_answer_the_user_who_wrote_and_no_other() {
    let (home, socket) = learning("");
    let daemon = Process::begin(&home);
    assert_eq!(rule(&socket, JOE, ALICE, ""), None);
    let sent = letter(ALICE, "Message-ID: <1@x.example>\nDigital-Stamp-Class: first-class\n");
    let answer = send_as(&socket, ALICE, &[JOE, "\"Ann+1\"@y.example", BOB], &sent);
    // It is not judged, and what it forges goes.
    assert_eq!((answer.last.as_str(), &answer.fields[..]), ("a", &["m1 Digital-Stamp-Class:".to_owned()][..]));
    assert_eq!((count(&daemon, "learned"), count(&daemon, "skipped")), (1.0, 0.0));
    for author in [JOE, "Joe+work@Y.example", "ann@y.example"] {
        assert_eq!(rule(&socket, author, ALICE, "").as_deref(), Some("correspondent"), "{author}");
    }
    let reply = "In-Reply-To: <1@x.example>\n";
    assert_eq!(rule(&socket, "eve@y.example", ALICE, reply).as_deref(), Some("reply"));
    for (from, to) in [(JOE, BOB), ("joe@z.example", ALICE), (BOB, ALICE)] {
        assert_eq!(rule(&socket, from, to, ""), None, "{from} {to}");
    }
    assert_eq!(rule(&socket, "eve@y.example", BOB, reply), None);
    let both = MailSystem::connect(&socket).message(&[ALICE, BOB], &letter(JOE, ""));
    assert_eq!(both.recipients, [format!("-<{BOB}>"), "+<held@x.example>".to_owned()]);

    // A host behind, with the same log: the same answers, until the term ends.
    let classify =
        |to: &str, more: &[&str]| home.run([&["classify", "--recipient", to], more].concat(), &letter(JOE, ""));
    classify(ALICE, &[]).exits(10).says("allowed rule");
    classify(BOB, &[]).exits(11);
    home.run(["classify"], &letter(JOE, "")).exits(11);
    classify(ALICE, &["--now", "2099-01-01T00:00:00Z"]).exits(11);

    let list = |more: &[&str]| home.run([&["correspondents"], more].concat(), b"").exits(0).text();
    assert_eq!((list(&[]).lines().count(), list(&["--owner", BOB]).as_str()), (2, ""));
    assert!(list(&["--owner", ALICE, "joe"]).starts_with("joe@y.example  first 20"), "{}", list(&[]));
    assert_eq!(list(&["--owner", BOB, "--forget", JOE]), "joe@y.example is not one of your correspondents\n");
    assert!(rule(&socket, JOE, ALICE, "").is_some());
    assert_eq!(list(&["--owner", ALICE, "--forget", JOE]), "joe@y.example: forgotten\n");
    assert_eq!(rule(&socket, JOE, ALICE, ""), None);
    home.run(["correspondents", "--owner", "mallory"], b"").exits(64);
}

/// Promise 4: nothing but a user's own message makes a correspondent.
#[test]
fn what_a_user_did_not_write_teaches_nothing() {
    let (home, socket) = learning("");
    let daemon = Process::begin(&home);
    let cases = [
        (ALICE, "bob@x.example", ""),
        (ALICE, "joe@y.example", ""),
        (ALICE, "alice@x.example, bob@x.example", ""),
        (ALICE, "alice@x.example", "From: alice@x.example\n"),
        (ALICE, "Us: alice@x.example;", ""),
        (ALICE, "alice@x.example", "Auto-Submitted: auto-replied\n"),
        (ALICE, "alice@x.example", "Precedence: list\n"),
        (ALICE, "alice@x.example", "List-Id: <l.x.example>\n"),
        ("alice", "alice@x.example", ""),
        ("alice@y.example", "alice@x.example", ""),
        ("*@x.example", "alice@x.example", ""),
    ];
    for (login, from, more) in cases {
        assert_eq!(send_as(&socket, login, &[JOE], &letter(from, more)).last, "a", "{login} {from} {more}");
    }
    let mut system = MailSystem::connect(&socket);
    system.send(b'D', format!("M{{auth_authen}}\0{ALICE}\0").as_bytes());
    system.begin_from("<>", &[JOE], &letter(ALICE, ""));
    assert_eq!(system.end().unwrap().last, "a");
    assert_eq!((count(&daemon, "skipped"), count(&daemon, "learned")), (cases.len() as f64 + 1.0, 0.0));
    // Without a login, or with the name of one at another command, it is mail from outside.
    assert_eq!(send_as(&socket, "", &[JOE], &letter(ALICE, "")).last, "a");
    for command in [b'C', b'H', b'R'] {
        let mut system = MailSystem::connect(&socket);
        system.send(b'D', &[&[command], format!("{{auth_authen}}\0{ALICE}\0").as_bytes()].concat());
        assert!(system.message(&[ALICE, BOB], &letter(ALICE, "")).last.starts_with("y550"));
        assert_eq!(system.message(&[JOE], &letter(ALICE, "")).last, "a");
    }
    assert_eq!(count(&daemon, "skipped"), cases.len() as f64 + 1.0);
    assert_eq!(home.run(["correspondents", "--json"], b"").exits(0).text(), "");
}

#[test]
fn an_owner_has_several_names_and_addresses() {
    let (home, socket) = learning("");
    let addresses = "[{ address = \"a.smith@w.example\", owner = \"alice\" }, \
                     { address = \"alice@x.example\", owner = \"alice\" }, \"*@x.example\"]";
    let text = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), text.replace("[\"*@x.example\"]", addresses)).unwrap();
    let daemon = Resident::of(&home);
    for (login, from, to) in
        [("alice", "a.smith@w.example", "a@y.example"), ("a.smith@w.example", ALICE, "b@y.example")]
    {
        send_as(&socket, login, &[to], &letter(from, ""));
        for own in [ALICE, "a.smith@w.example"] {
            assert_eq!(rule(&socket, to, own, "").as_deref(), Some("correspondent"), "{to} {own}");
        }
        assert_eq!(rule(&socket, to, BOB, ""), None);
    }
    let listed = || home.run(["correspondents"], b"").exits(0).text();
    assert!(listed().lines().all(|line| line.ends_with(", of alice")), "{}", listed());
    // What was answered is on the disk.
    daemon.kill();
    let _daemon = Resident::of(&home);
    assert!(rule(&socket, "b@y.example", ALICE, "").is_some());
    let json = home.run(["correspondents", "--json", "a@y.example"], b"").exits(0).text();
    assert!(json.contains(r#""owner":"alice""#), "{json}");
}

/// Threat 5: a stolen login fills no disk.
#[test]
fn what_a_user_teaches_in_a_day_is_limited() {
    let (home, socket) = learning("");
    let daemon = Process::begin(&home);
    let many: Vec<String> = (0..1_500).map(|number| format!("p{number:04}@y.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(send_as(&socket, ALICE, &many, &letter(ALICE, "")).last, "a");
    assert_eq!((count(&daemon, "learned"), count(&daemon, "limited")), (1.0, 0.0));
    assert_eq!(send_as(&socket, ALICE, &["more@y.example", many[0]], &letter(ALICE, "")).last, "a");
    assert_eq!(count(&daemon, "limited"), 1.0);
    send_as(&socket, BOB, &["more@y.example"], &letter(BOB, ""));
    assert_eq!(count(&daemon, "learned"), 2.0);
    let listed = |owner: &str| home.run(["correspondents", "--owner", owner], b"").exits(0).text().lines().count();
    assert_eq!((listed(ALICE), listed(BOB)), (1_000, 1));
}

#[test]
fn a_log_that_cannot_be_written_stops_no_mail() {
    let (home, socket) = learning("");
    let daemon = Process::begin(&home);
    send_as(&socket, ALICE, &["ann@y.example"], &letter(ALICE, ""));
    let limit = |bytes: &str| {
        let pid = daemon.pid().to_string();
        run(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]), b"").exits(0);
    };
    limit("1");
    assert_eq!(send_as(&socket, ALICE, &[JOE], &letter(ALICE, "")).last, "a");
    assert_eq!((count(&daemon, "failed"), count(&daemon, "learned")), (1.0, 1.0));
    limit("unlimited");
    assert_eq!(rule(&socket, JOE, ALICE, ""), None);
    assert_eq!(send_as(&socket, ALICE, &[JOE], &letter(ALICE, "")).last, "a");
    assert!(rule(&socket, JOE, ALICE, "").is_some());
    assert_eq!((count(&daemon, "failed"), count(&daemon, "learned")), (1.0, 2.0));
}

#[test]
fn nothing_is_learned_unless_the_configuration_says_so() {
    let (home, socket) = learning("");
    let text = fs::read_to_string(home.config()).unwrap().replace("learn_sent = true", "");
    fs::write(home.config(), text).unwrap();
    let daemon = Process::begin(&home);
    assert_eq!(send_as(&socket, ALICE, &[JOE], &letter(ALICE, "")).last, "a");
    assert_eq!((rule(&socket, JOE, ALICE, ""), count(&daemon, "learned")), (None, 0.0));
}
