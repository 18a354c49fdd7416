//! A clock that was ahead once (faketime(1) must be installed): nothing is deleted, purged or forgotten because of it,
//! `doctor` tells of it, and a purge mark that lies after now can be lifted.

use crate::support::{ALICE, Home, MAILSTAMP, Run, faketime, letter, run, stamped};
use mailstamp::time::UnixTime;
use serde_json::Value;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;

fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed())
}

/// Runs the program while the clock is `when` of faketime(1).
pub fn at(home: &Home, when: &str, args: &[&str], stdin: &[u8]) -> Run {
    let mut command = faketime(when);
    command.arg(MAILSTAMP).args(args).env_clear();
    run(command.env("HOME", home.path()).env("PATH", "/usr/bin:/bin"), stdin)
}

/// The findings of `doctor` about `what` that are no `ok`, and its exit status.
fn complaints(home: &Home, what: &str) -> (i32, Vec<String>) {
    let run = home.run(["doctor", "--json"], b"");
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap().iter();
    let told = checks.filter(|check| check["check"] == what && check["health"] != "ok");
    (run.code, told.map(|check| check["text"].as_str().unwrap().to_owned()).collect())
}

fn held(home: &Home) -> usize {
    let report: Value = serde_json::from_slice(&home.run(["held", "list", "--json"], b"").exits(0).stdout).unwrap();
    report["messages"].as_array().unwrap().len()
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn held_mail_outlives_a_clock_that_jumps_again_and_again() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[actions]\nunstamped = \"hold\""));
    home.run(["deliver"], &letter("precious")).exits(0);
    for (number, when) in ["+40d", "+42d", "+43d", "+44d", "+400d"].iter().enumerate() {
        at(&home, when, &["deliver"], &letter(&number.to_string())).exits(0);
        at(&home, when, &["watch", "--once"], b"");
        let told = at(&home, when, &["held", "expire"], b"").exits(0);
        assert_eq!(told.text(), "");
        assert!(told.stderr.contains("the clock is ahead of the time last seen"), "{}", told.stderr);
        assert_eq!(held(&home), number + 2);
    }
    let (_, told) = complaints(&home, "clock");
    assert!(told.len() == 1 && told[0].contains("the clock was ahead at"), "{told:?}");
    home.run(["held", "expire"], b"").exits(0);
    assert_eq!(complaints(&home, "clock").1, Vec::<String>::new());
    assert_eq!(held(&home), 6);
    // The user's own time counts.
    let later = now().plus(41 * DAY).to_string();
    let gone = home.run(["held", "expire", "--now", &later], b"").exits(0);
    assert_eq!((gone.text().lines().count(), held(&home)), (1, 5));
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn no_stamp_is_deferred_after_a_clock_was_ahead() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[stamps]\nmax_window = \"36500d\""));
    let stamp = |name: &str, days: i64| stamped(&home.mint_until(ALICE, name, now().plus(days * DAY)), &letter(name));
    let first = stamp("a", 95);
    home.classify(&first).exits(0).says("first-class paid");
    at(&home, "+730d", &["classify"], &stamp("b", 740)).exits(0).says("first-class paid");
    let told = at(&home, "+730d", &["doctor"], b"").text();
    assert!(told.lines().any(|line| line.starts_with("warning  clock") && line.contains("is ahead of")), "{told}");
    for when in ["+730d", "+732d", "+4000d"] {
        let told = at(&home, when, &["purge"], b"").exits(0);
        assert_eq!(told.text(), "serials of ended stamps forgotten: 0\n", "{when}");
        assert!(told.stderr.contains("give --now 20"), "{}", told.stderr);
    }
    home.classify(&stamp("c", 30)).exits(0).says("first-class paid");
    home.classify(&first).exits(0).says("first-class again");
    home.run(["purge"], b"").exits(0);
    assert_eq!(complaints(&home, "clock").1, Vec::<String>::new());
    assert_eq!(complaints(&home, "used log").1, Vec::<String>::new());
}

#[test]
fn a_mark_after_now_is_told_and_lifted() {
    let home = Home::new();
    let stamp = |name: &str| home.mint_until(ALICE, name, now().plus(20 * DAY));
    home.classify(&stamped(&stamp("gone"), &letter("gone"))).exits(0);
    let later = now().plus(60 * DAY).to_string();
    let purged = home.run(["purge", "--now", &later], b"").exits(0);
    assert_eq!((purged.text().as_str(), purged.stderr.as_str()), ("serials of ended stamps forgotten: 1\n", ""));
    let known = stamped(&home.mint_until(ALICE, "known", now().plus(28 * DAY)), &letter("known"));
    home.classify(&known).exits(0).says("first-class paid");
    let fresh = stamped(&stamp("fresh"), &letter("fresh"));
    let deferred = home.classify(&fresh).exits(75);
    assert!(deferred.stderr.contains("mailstamp purge --lift-mark"), "{}", deferred.stderr);
    let (status, told) = complaints(&home, "used log");
    assert_eq!(status, 78);
    assert!(told.len() == 1 && told[0].contains("run mailstamp purge --lift-mark"), "{told:?}");
    let lifted = home.run(["purge", "--lift-mark"], b"").exits(0).text();
    assert!(lifted.starts_with("purge mark: 20") && lifted.contains(", was 20"), "{lifted}");
    home.classify(&fresh).exits(0).says("first-class paid");
    home.classify(&known).exits(0).says("first-class again");
    home.classify(&stamped(&stamp("fresh"), &letter("other"))).exits(21).says("used used");
    assert_eq!(complaints(&home, "used log").1, Vec::<String>::new());
    let again = home.run(["purge", "--lift-mark"], b"").exits(0).text();
    assert!(again.ends_with("nothing to lift\n"), "{again}");
    let again = home.run(["purge", "--lift-mark", "--json"], b"").exits(0).text();
    assert_eq!(again, "{\"lifted\":null,\"schema\":1}\n");
}

#[test]
fn an_import_takes_no_mark_and_no_time_that_lies_after_now() {
    let home = Home::new();
    let (id, at, hour) = ("ab".repeat(16), now().0 + 2 * DAY, now().0 / 3_600 + 26);
    let first = r#"{"row":"purged-through","hour":1}"#;
    for row in [
        format!(r#"{{"row":"purged-through","hour":{hour}}}"#),
        r#"{"row":"purged-through","hour":4294967290}"#.to_owned(),
        format!(r#"{{"row":"used","hour":9,"stamp":"{id}","fingerprint":"{id}","first_seen":{at},"times":0}}"#),
        format!(r#"{{"row":"sent","message":"{id}","at":{at}}}"#),
        format!(r#"{{"row":"reply","kind":"challenge","sender":"b@y.example","at":{at}}}"#),
        format!(r#"{{"row":"replies","hour":{hour},"count":1}}"#),
        format!(r#"{{"row":"correspondent","address":"b@y.example","first":1,"last":2,"forgotten":{at}}}"#),
        format!(r#"{{"row":"standing","vendor":"v","serial":"s","standing":{{"revoked":{at}}}}}"#),
    ] {
        let run = home.run(["import"], format!("{first}\n{row}\n").as_bytes()).exits(65);
        assert!(run.stderr.contains("line 2: time after now: "), "{row}: {}", run.stderr);
    }
    assert_eq!(home.run(["export"], b"").exits(0).text(), format!("{first}\n"));
    // Ends may lie after now, and clocks differ by a day.
    let (hour, soon) = (now().0 / 3_600 + 9_000, now().0 + DAY / 2);
    let row =
        format!(r#"{{"row":"used","hour":{hour},"stamp":"{id}","fingerprint":"{id}","first_seen":{soon},"times":0}}"#);
    home.run(["import"], format!("{row}\n").as_bytes()).exits(0);
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn the_record_is_one_line_that_only_grows_by_readings() {
    let home = Home::new();
    assert!(!home.state().exists());
    home.run(["purge"], b"").exits(0);
    assert!(!home.state().exists(), "a purge makes no state");
    home.classify(&home.stamped(&letter("1"))).exits(0);
    let record = || fs::read_to_string(home.state().join("clock")).unwrap();
    let first = record();
    assert_eq!(first.split_whitespace().count(), 2);
    home.run(["classify", "--now", "2041-01-01T00:00:00Z"], &home.stamped(&letter("2")));
    home.run(["purge", "--now", "2041-01-01T00:00:00Z"], b"").exits(0);
    assert_eq!(record(), first, "a time that the user gives is no reading");
    at(&home, "+40d", &["purge"], b"").exits(0);
    assert_eq!(record().split_whitespace().count(), 5);
    home.run(["purge"], b"").exits(0);
    assert_eq!(record().split_whitespace().count(), 2);
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn a_correspondent_of_a_clock_that_was_ahead_is_forgotten_and_learned_again() {
    let home = Home::new();
    let message =
        |id: &str| format!("From: {ALICE}\nTo: joe@y.example\nMessage-ID: <{id}@x.example>\n\nHi\n").into_bytes();
    let known = || home.run(["correspondents"], b"").exits(0).text().contains("joe@y.example");
    let book = b"BEGIN:VCARD\nVERSION:3.0\nFN:Joe\nEMAIL:joe@y.example\nEND:VCARD\n";
    for (args, stdin) in [(&["learn-sent"][..], message("1")), (&["learn-contacts", "-"], book.to_vec())] {
        at(&home, "+3650d", args, &stdin).exits(0);
        home.run(["correspondents", "--forget", "joe@y.example"], b"").exits(0);
        assert!(!known());
        home.run(["learn-sent"], &message("2")).exits(0);
        assert!(known(), "{args:?}");
    }
}
