//! Reports of deliveries: syslog, the verdict log, JSON. Text from outside cannot write more than its value.

use crate::support::programs::PATIENCE;
use crate::support::{ALICE, Home, letter, traced, traced_with};
use serde_json::Value;
use std::os::unix::net::UnixDatagram;

/// A message that tries to move the cursor, begin lines and end parameters.
fn hostile() -> Vec<u8> {
    b"From: \"\x1b[31m\" <eve\x1b]0;x\x07@z.example>\nMessage-ID: <a\x1b[2J\xe2\x80\xae\n class=first-class\n ;reason=paid\x7f\r@z>\n\
      Digital-Stamp: v4.public.x\n\nhello\n"
        .to_vec()
}

#[test]
fn syslog_gets_one_line_a_message_and_never_more() {
    // Threat 26.
    let home = Home::new();
    let socket = home.file("log");
    let log = UnixDatagram::bind(&socket).unwrap();
    log.set_read_timeout(Some(PATIENCE)).unwrap();
    let line = || {
        let mut buffer = [0; 4096];
        let length = log.recv(&mut buffer).unwrap();
        assert!(buffer[..length].iter().all(|b| matches!(b, b' '..=b'~')), "{:?}", &buffer[..length]);
        let line = String::from_utf8(buffer[..length].to_vec()).unwrap();
        let (tag, text) = line.split_once("]: ").unwrap();
        (tag.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(), text.to_owned())
    };
    home.configure(&format!("syslog = \"{}\"\naddresses = [\"{ALICE}\"]", socket.display()));
    let args = ["classify", "--sender", "bob@y.example", "--recipient", ALICE];
    home.run(args, &home.affix(&home.issue(ALICE, ["--serial", "abc"]), &letter("1"))).exits(0);
    assert_eq!(
        line(),
        (
            "<22>mailstamp[".into(),
            "class=first-class reason=paid action=deliver vendor=stamps.example serial=abc value=1 from=bob@y.example \
             sender=bob@y.example msgid=<1@y.example> rcpt=alice@x.example"
                .into()
        )
    );
    home.run(["classify", "--sender", "\x1b[2J\nclass=first-class"], &hostile()).exits(20);
    let (_, text) = line();
    assert!(text.starts_with("class=invalid reason=malformed ") && text.contains("msgid=<a\\x1b[2J"), "{text}");
    assert!(text.contains("sender=\\x1b[2J\\x0aclass=first-class"), "{text}");
    // Looking is not told, trouble is.
    home.run(["classify", "--dry-run"], &letter("2")).exits(11);
    home.run(["--state", "/proc/nowhere", "classify"], &home.stamped(&letter("3"))).exits(75);
    let trouble = |why: &str| {
        let (tag, text) = line();
        assert!(tag == "<19>mailstamp[" && text.starts_with("deferred: ") && text.contains(why), "{tag} {text}");
    };
    trouble("/proc/nowhere");
    for args in
        [&["classify", "--recipient", "x"][..], &["deliver", "--recipient", "x"], &["held", "add", "--recipient", "x"]]
    {
        home.run(args.iter().copied(), &letter("3")).exits(75);
        trouble("--recipient");
    }
    home.run(["classify", "--bogus"], &letter("3")).exits(75);
    trouble("unexpected argument '--bogus' found");
    // No syslog daemon listens: nothing is different.
    drop(log);
    home.classify(&home.stamped(&letter("4"))).exits(0).says("first-class paid");
    std::fs::remove_file(&socket).unwrap();
    let said = home.classify(&home.stamped(&letter("5"))).exits(0);
    assert_eq!(said.stderr, "");
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_at_the_usual_place() {
    let home = Home::new();
    home.configure("syslog = false\nprize = 1");
    for command in ["classify", "filter", "deliver"] {
        let (said, notes) =
            traced_with(home.command().arg(command), &["-s", "900", "-e", "trace=sendto"], &letter("1"));
        said.exits(75);
        assert!(notes.contains("\"/dev/log\"") && notes.contains("deferred: ") && notes.contains("prize"), "{notes}");
    }
    home.configure("syslog = false");
    let (said, notes) = traced(home.command().args(["classify", "--recipient", "x"]), "sendto", &letter("1"));
    said.exits(75);
    assert!(!notes.contains("/dev/log"), "{notes}");
}

#[test]
fn the_verdict_log_has_one_line_a_message() {
    let home = Home::new();
    assert_eq!(home.run(["log"], b"").exits(0).text(), "");
    home.classify(&letter("1")).exits(11);
    home.classify(&home.affix(&home.issue(ALICE, ["--serial", "abc", "--value", "2"]), &letter("2"))).exits(0);
    home.classify(&hostile()).exits(20);
    home.run(["classify", "--dry-run"], &letter("3")).exits(11);
    home.run(["explain"], &letter("4")).exits(0);
    let lines = home.run(["log", "--json"], b"").exits(0).text();
    let entries: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| entries.iter().map(|entry| entry[name].as_str().unwrap_or("-")).collect::<Vec<_>>();
    assert_eq!(of("class"), ["unstamped", "first-class", "invalid"]);
    assert_eq!(of("reason"), ["no-stamp", "paid", "malformed"]);
    assert_eq!(of("vendor"), ["-", "stamps.example", "-"]);
    assert_eq!(of("serial"), ["-", "abc", "-"]);
    assert_eq!(of("message_id")[..2], ["<1@y.example>", "<2@y.example>"]);
    assert_eq!((entries[1]["value"].as_u64(), entries[0]["schema"].as_u64()), (Some(2), Some(1)));
    let shown = home.run(["log"], b"").exits(0).text();
    assert_eq!(shown.lines().count(), 3);
    assert!(shown.lines().all(|line| line.contains("  deliver    ")), "{shown}");
    assert!(shown.bytes().all(|b| matches!(b, b' '..=b'~' | b'\n')), "{shown:?}");
    assert_eq!(home.run(["log", "-n", "1"], b"").exits(0).text().lines().count(), 1);
    home.configure(&format!("addresses = [\"{ALICE}\"]\nverdict_log = false"));
    home.classify(&letter("5")).exits(11);
    assert_eq!(home.run(["log"], b"").exits(0).text().lines().count(), 3);
}

#[test]
fn a_verdict_log_that_cannot_be_written_changes_nothing() {
    let home = Home::new();
    std::fs::create_dir_all(home.state().join("verdicts.jsonl")).unwrap();
    std::fs::set_permissions(home.state(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let said = home.classify(&home.stamped(&letter("1"))).exits(0).says("first-class paid");
    assert_eq!(said.stderr, "");
    home.classify(&letter("2")).exits(11).says("unstamped no-stamp");
}

#[test]
fn what_is_shown_of_a_hostile_message_stays_text() {
    let home = Home::new();
    let plain = |bytes: &[u8]| bytes.iter().all(|b| matches!(b, b' '..=b'~' | b'\n'));
    for args in ["explain", "show", "show --no-verify", "classify", "show --json", "explain --json", "classify --json"]
    {
        let said = home.run(args.split(' '), &hostile());
        assert!(plain(&said.stdout) && plain(said.stderr.as_bytes()), "{args}: {:?}", said.text());
    }
    let filtered = home.run(["filter"], &hostile()).exits(0).stdout;
    assert!(filtered.ends_with(&hostile()));
    assert!(plain(&filtered[..filtered.len() - hostile().len()]));
}

#[test]
fn every_json_output_carries_its_schema() {
    let home = Home::new();
    let message = home.stamped(&letter("1"));
    for (args, members) in [
        ("classify --json", vec!["class", "reason", "exit", "stamps"]),
        ("classify --json --exit-zero --dry-run", vec!["class"]),
        ("explain --json", vec!["class", "reason", "exit", "stamps", "deciding_stamp"]),
        ("show --json", vec!["stamps"]),
        ("trust list --json", vec!["vendors", "ignored"]),
        ("purge --json", vec!["removed"]),
        ("config show --json", vec!["addresses", "state", "stamps.skew", "used_log.enabled"]),
        ("doctor --json", vec!["well", "checks"]),
        ("log --json", vec!["time", "class", "reason"]),
    ] {
        let said = home.run(args.split(' '), &message).exits(0);
        assert_eq!(said.stderr, "", "{args}");
        let json: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("{args}: {error}"));
        assert_eq!(json["schema"], 1, "{args}");
        for member in members {
            assert!(json.get(member).is_some(), "{args}: no {member} in {json}");
        }
    }
}
