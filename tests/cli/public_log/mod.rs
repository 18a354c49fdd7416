//! The recipient's side of public logs: `trust check`, `trust monitor` and `trust head`, on logs in folders, and the
//! evidence, which a program in Python verifies (`verify_log.py`).

mod log;
mod witness;

use crate::support::{ALICE, Home, Run, faketime, letter, run, stamped, traced};
use log::{LogFolder, VENDOR, directory, serial};
use mailstamp::directory::public_log::check;
use mailstamp::directory::public_log::place::Place;
use mailstamp::directory::public_log::state::{AcceptedStamp, LogState};
use mailstamp::time::UnixTime;
use mailstamp::transparency::leaf::LeafKind;
use mailstamp::transparency::note::VerifierKey;
use mailstamp::transparency::reader::{Source, SourceError};
use mailstamp::transparency::witness::Quorum;
use serde_json::Value;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixTime(i64::try_from(since.as_secs()).unwrap())
}

/// The day that was this many days ago.
fn day(ago: i64) -> u32 {
    u32::try_from(now().0 / DAY - ago).unwrap()
}

/// A user who accepted a stamp of each of these serials, three days ago.
fn recipient(serials: &[String]) -> Home {
    let home = Home::new();
    for (number, serial) in serials.iter().enumerate() {
        let stamp = home.mint_until(ALICE, serial, now().plus(30 * DAY));
        let message = stamped(&stamp, &letter(&format!("logged-{number}")));
        fs::create_dir_all(home.file("mail/cur")).unwrap();
        fs::create_dir_all(home.file("mail/new")).unwrap();
        fs::create_dir_all(home.file("mail/tmp")).unwrap();
        fs::write(home.file(&format!("mail/cur/{number}.eml")), &message).unwrap();
        let filter = home.command();
        let mut command = faketime("-3d");
        command.env_clear().envs(filter.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.arg(filter.get_program()).arg("classify").current_dir(home.path());
        run(&mut command, &message).says("first-class paid");
    }
    home
}

/// A log of the last days in which some stamps of each day were sold, and these.
fn honest(serials: &[String]) -> LogFolder {
    let mut log = LogFolder::new();
    for ago in (1..=6).rev() {
        let others = (0..300).map(|number| (LeafKind::Issued, format!("other-{ago}-{number}"), 1));
        let mine = serials.iter().filter(|_| ago == 3).map(|serial| (LeafKind::Issued, serial.clone(), 1));
        log.add_day(day(ago), others.chain(mine));
    }
    log.write();
    log
}

fn serials(count: u32) -> Vec<String> {
    (0..count).map(|number| serial(now().plus(-3 * DAY), number)).collect()
}

/// The user has the vendor's directory with the head of this log.
fn publish(home: &Home, log: &LogFolder) {
    publish_as(home, log, "log.json");
}

fn publish_as(home: &Home, log: &LogFolder, name: &str) {
    let text = directory(&home.key(VENDOR, "2026q4"), log, None, "https://v.example/");
    fs::write(home.file(".config/mailstamp/vendors").join(name), text).unwrap();
}

/// The same with another clock.
fn check_at(home: &Home, when: &str, place: &Path) -> Run {
    let program = home.command();
    let mut command = faketime(when);
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.arg(program.get_program()).args(["trust", "check", VENDOR, "--from"]).arg(place);
    run(command.current_dir(home.path()), b"")
}

fn check(home: &Home, place: &Path, more: &[&str]) -> Run {
    let mut command = home.command();
    command.args(["trust", "check", VENDOR, "--from"]).arg(place).args(more);
    run(&mut command, b"")
}

/// Runs the program of a third person, who has the evidence and a key of the vendor.
fn verify(home: &Home, evidence: &Path) -> Run {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/public_log/verify_log.py");
    let pinned = fs::read_to_string(home.file(&format!(".config/mailstamp/vendors/{VENDOR}.json"))).unwrap();
    let pinned: Value = serde_json::from_str(&pinned).unwrap();
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script).arg(evidence).arg(pinned["keys"][0]["key"].as_str().unwrap());
    run(&mut command, b"")
}

/// Reads a whole log with the program of a third person, who has its files and its key.
fn read_in_python(log: &LogFolder) -> Run {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/log_reader.py");
    run(Command::new("/usr/bin/python3").arg(script).arg(log.path()).arg(log.vkey()), b"")
}

fn evidence(home: &Home, name: &str) -> PathBuf {
    home.state().join("logs/evidence").join(name)
}

#[test]
fn an_honest_log_passes_offline_and_again() {
    let serials = serials(4);
    let home = recipient(&serials);
    let log = honest(&serials);
    publish(&home, &log);
    let first = check(&home, log.path(), &[]).exits(0);
    assert_eq!(first.text(), format!("{VENDOR}: 1,804 leaves, 1,804 new; 4 stamps found\n"));
    assert!(first.stderr.is_empty(), "{}", first.stderr);
    let second = check(&home, log.path(), &["--json"]).exits(0);
    let report: Value = serde_json::from_slice(&second.stdout).unwrap();
    let report = &report["logs"][0];
    assert_eq!((&report["status"], &report["added"], &report["found"]), (&"good".into(), &0.into(), &0.into()));
    // Stamps that were accepted today are not looked up yet.
    let stamp = home.issue(ALICE, []);
    home.classify(&stamped(&stamp, &letter("today"))).says("first-class paid");
    let third = check(&home, log.path(), &[]).exits(0).text();
    assert_eq!(third, format!("{VENDOR}: 1,804 leaves, 0 new; 0 stamps found, 1 too fresh to look up\n"));
    assert!(check(&home, log.path(), &["--quiet"]).exits(0).text().is_empty());
}

#[test]
fn a_log_that_grows_is_read_from_where_the_last_check_ended() {
    let serials = serials(2);
    let home = recipient(&serials);
    let mut log = honest(&serials);
    publish(&home, &log);
    check(&home, log.path(), &[]).exits(0);
    log.add_day(day(0), (0..5).map(|number| (LeafKind::Issued, format!("new-{number}"), 1)));
    log.write();
    let grown = check(&home, log.path(), &[]).exits(0).text();
    assert_eq!(grown, format!("{VENDOR}: 1,807 leaves, 5 new; 0 stamps found\n"));
}

#[test]
fn a_stamp_that_was_sold_and_not_logged_is_found_and_proven() {
    let mut serials = serials(3);
    let home = recipient(&serials);
    let hidden = serials.remove(1);
    let log = honest(&serials);
    publish(&home, &log);
    let found = check(&home, log.path(), &["--mail", "mail"]).exits(65);
    let date = mailstamp::directory::public_log::date(day(3));
    let sentence = format!(
        "mailstamp: alarm: {VENDOR}: stamp {hidden}, accepted on {date}, is not in the log of {date}: \
         the vendor sold a stamp that it did not book\n"
    );
    assert!(found.stderr.starts_with(&sentence), "{}", found.stderr);
    let folder = evidence(&home, &format!("{VENDOR}-not-logged-{hidden}"));
    assert!(found.stderr.contains(&format!("note: the evidence is in {}", folder.display())));
    let proven = verify(&home, &folder).exits(0).text();
    assert_eq!(proven, format!("{VENDOR} signed a stamp on day {} and did not log it\n", day(3)));
    // It stays missing, and the next check says so again.
    check(&home, log.path(), &["-q"]).exits(65);
    // The evidence holds only as a whole.
    let names: Vec<PathBuf> = files(&folder);
    assert!(names.len() > 8, "{names:?}");
    for name in names.iter().filter(|name| !name.ends_with("problem.json")) {
        let bytes = fs::read(name).unwrap();
        let mut changed = bytes.clone();
        let at = bytes.len() / 2;
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        fs::write(name, changed).unwrap();
        assert_ne!(verify(&home, &folder).code, 0, "{}", name.display());
        fs::write(name, bytes).unwrap();
    }
    verify(&home, &folder).exits(0);
    // When the vendor logs it late, the alarm ends.
    let mut late = honest(&serials);
    late.add_day(day(0), [(LeafKind::Issued, hidden, 1)]);
    late.write();
    check(&home, late.path(), &[]).exits(0);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn a_stamp_with_another_value_is_found() {
    let mut serials = serials(2);
    let home = recipient(&serials);
    let cheap = serials.remove(0);
    let mut log = honest(&serials);
    log.add_day(day(0), [(LeafKind::Issued, cheap.clone(), 0)]);
    log.write();
    publish(&home, &log);
    let found = check(&home, log.path(), &["--mail", "mail"]).exits(65);
    let sentence = format!("stamp {cheap} was accepted for 1 credits, and the log has it with 0");
    assert!(found.stderr.contains(&sentence), "{}", found.stderr);
    let proven = verify(&home, &evidence(&home, &format!("{VENDOR}-other-value-{cheap}"))).exits(0).text();
    assert_eq!(proven, format!("{VENDOR} signed a stamp and logged it with another value\n"));
}

#[test]
fn a_changed_leaf_and_a_cut_bundle_have_their_sentences() {
    let serials = serials(1);
    let home = recipient(&serials);
    let log = honest(&serials);
    publish(&home, &log);
    // The bundle in which the stamp's day begins: 900 leaves are before it.
    let bundle = log.path().join("tile/entries/003");
    let good = fs::read(&bundle).unwrap();
    let mut changed = good.clone();
    changed[good.len() - 20] ^= 1;
    for (bytes, sentence, word) in [
        (
            &changed[..],
            "tile/entries/003 was changed: its hash is not the one in the tree of the signed checkpoint",
            "changed",
        ),
        (&good[..good.len() - 47], "tile/entries/003 was cut, or has too much: it does not have 256 leaves", "cut"),
    ] {
        fs::write(&bundle, bytes).unwrap();
        let found = check(&home, log.path(), &[]).exits(65);
        assert!(found.stderr.contains(&format!("alarm: {VENDOR}: {sentence}\n")), "{}", found.stderr);
        let proven = verify(&home, &evidence(&home, &format!("{VENDOR}-{word}"))).exits(0).text();
        assert_eq!(proven, format!("tile/entries/003 is not the file that {VENDOR} signed\n"));
        assert_ne!(read_in_python(&log).code, 0);
        let monitored = monitor(&home, log.path(), &[]).exits(65);
        assert!(monitored.stderr.contains(sentence), "{}", monitored.stderr);
    }
    fs::write(&bundle, &good).unwrap();
    read_in_python(&log).exits(0);
    // A file may be missing while a copy is made, but not for days.
    fs::remove_file(&bundle).unwrap();
    let monitored = monitor(&home, log.path(), &[]).exits(69);
    assert!(monitored.stderr.contains("tile/entries/003: it is missing"), "{}", monitored.stderr);
    for (when, word, code) in [("+0d", "warning", 69), ("+1d", "warning", 69), ("+3d", "alarm", 65)] {
        let found = check_at(&home, when, log.path()).exits(code);
        let sentence = format!("{word}: {VENDOR}: tile/entries/003: it is missing");
        assert!(found.stderr.contains(&sentence), "{}", found.stderr);
    }
    fs::write(&bundle, good).unwrap();
    check_at(&home, "+3d", log.path()).exits(0);
    // Longer than any file of a log: no outage.
    fs::write(&bundle, vec![0; 70_000]).unwrap();
    fs::remove_file(home.state().join(format!("logs/{VENDOR}.json"))).unwrap();
    let found = check(&home, log.path(), &[]).exits(65);
    assert!(found.stderr.contains("tile/entries/003: it is too long"), "{}", found.stderr);
}

#[test]
fn a_head_that_was_rolled_back_is_found() {
    let serials = serials(1);
    let home = recipient(&serials);
    let mut log = honest(&serials);
    let before = log.copy();
    log.add_day(day(0), [(LeafKind::Issued, "later".to_owned(), 1)]);
    log.write();
    publish(&home, &log);
    check(&home, log.path(), &[]).exits(0);
    // A copy may be behind for a while.
    let found = check(&home, before.path(), &[]).exits(69);
    let sentence = format!("the log was rolled back: {} has 1,801 leaves, and the head of", before.path().display());
    assert!(found.stderr.replace("1801", "1,801").contains(&sentence), "{}", found.stderr);
    assert!(found.stderr.contains("warning: "), "{}", found.stderr);
    let found = check_at(&home, "+3d", before.path()).exits(65);
    assert!(found.stderr.contains("alarm: "), "{}", found.stderr);
    let seen = verify(&home, &evidence(&home, &format!("{VENDOR}-rolled-back"))).exits(0).text();
    assert_eq!(seen, format!("{VENDOR} signed two heads: 1801 and 1802 leaves\n"));
    check_at(&home, "+3d", log.path()).exits(0);
    check_at(&home, "+4d", before.path()).exits(69);
}

#[test]
fn two_heads_are_found_by_check_and_by_two_people_and_proven() {
    let serials = serials(1);
    let (home, other) = (recipient(&serials), recipient(&serials));
    let mut log = honest(&serials);
    let mut fork = honest(&serials);
    log.add_day(day(0), [(LeafKind::Issued, "one".to_owned(), 1)]);
    log.write();
    fork.add_day(day(0), ["two", "three"].map(|name| (LeafKind::Issued, name.to_owned(), 1)));
    fork.write();
    publish(&home, &log);
    check(&home, log.path(), &[]).exits(0);
    // Another user has the same vendor's other head.
    fs::copy(home.key(VENDOR, "2026q4"), other.key(VENDOR, "2026q4")).unwrap();
    let pinned = format!(".config/mailstamp/vendors/{VENDOR}.json");
    fs::copy(home.file(&pinned), other.file(&pinned)).unwrap();
    publish(&other, &fork);
    check(&other, fork.path(), &[]).exits(0);
    let line = other.run(["trust", "head"], b"").exits(0).text();
    let compare = |line: &str, from: &Path| {
        let mut command = home.command();
        command.args(["trust", "head", "--compare", line, "--from"]).arg(from);
        run(&mut command, b"")
    };
    let split = compare(line.trim(), fork.path()).exits(65);
    assert!(split.stderr.contains("signed two heads that contradict each other"), "{}", split.stderr);
    assert_eq!(split.text().matches("\u{2014} ").count(), 2);
    // With itself, and with an earlier head, a log agrees.
    let own = home.run(["trust", "head"], b"").exits(0).text();
    assert_eq!(
        compare(own.trim(), log.path()).exits(0).text(),
        format!("{VENDOR}: one log; both heads are the same\n")
    );
    let early = honest(&serials);
    let early = log.line_of(&early);
    assert_eq!(compare(&early, log.path()).exits(0).text(), format!("{VENDOR}: one log; yours is 1 leaves ahead\n"));
    for line in ["", "x", "stamps.example x", "stamps.example AAAA"] {
        compare(line, log.path()).exits(65);
    }
    // And the check sees it, when a directory names the other head.
    publish_as(&home, &fork, "fork.json");
    let found = check(&home, log.path(), &[]).exits(65);
    assert!(found.stderr.contains("warning: stamps.example: the log was rolled back"), "{}", found.stderr);
    assert!(found.stderr.contains("alarm: stamps.example: the directory was rewritten"), "{}", found.stderr);
    let found = check(&home, fork.path(), &[]).exits(65);
    assert!(found.stderr.contains("contradict each other"), "{}", found.stderr);
    let proven = verify(&home, &evidence(&home, &format!("{VENDOR}-split-view-1802"))).exits(0).text();
    assert_eq!(proven, format!("{VENDOR} signed two heads: 1803 and 1802 leaves\n"));
}

fn monitor(home: &Home, place: &Path, more: &[&str]) -> Run {
    let mut command = home.command();
    command.args(["trust", "monitor"]).arg(place).args(more);
    run(&mut command, b"")
}

#[test]
fn the_monitor_finds_what_was_taken_back_twice_or_never_sold() {
    let home = Home::new();
    let mut log = LogFolder::new();
    let leaves = |kind, names: &[&str]| names.iter().map(|name| (kind, (*name).to_owned(), 2)).collect::<Vec<_>>();
    log.add_day(day(5), leaves(LeafKind::Issued, &["a", "b", "c", "d"]));
    log.add_day(day(4), leaves(LeafKind::Deposited, &["a", "b"]));
    log.write();
    publish(&home, &log);
    let sound = monitor(&home, log.path(), &["--json"]).exits(0);
    let report: Value = serde_json::from_slice(&sound.stdout).unwrap();
    assert_eq!((&report["outstanding"], &report["kinds"]["deposited"]["leaves"]), (&4.into(), &2.into()));
    assert!(monitor(&home, log.path(), &[]).exits(0).text().contains("deposited"));
    log.add_day(day(3), leaves(LeafKind::Deposited, &["a", "e"]));
    log.write();
    let wrong = monitor(&home, log.path(), &["--key", &log.vkey()]).exits(65);
    assert!(wrong.stderr.contains("a stamp was taken back that was taken back before"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("a stamp was taken back that was never sold"), "{}", wrong.stderr);
    // A third person sees it in a copy of the log, without this program.
    let seen = read_in_python(&log).exits(1);
    assert!(
        seen.stderr.contains(" was taken back 2 times\n") && seen.stderr.contains(" was never sold"),
        "{}",
        seen.stderr
    );
    // A copy whose checkpoint is not there yet is not judged.
    let checkpoint = log.path().join("checkpoint");
    let good = fs::read(&checkpoint).unwrap();
    for cut in [0, 1, good.len() / 2] {
        fs::write(&checkpoint, &good[..cut]).unwrap();
        let cut = monitor(&home, log.path(), &[]).exits(69);
        assert!(cut.stderr.contains("the checkpoint: not a signed note"), "{}", cut.stderr);
    }
    fs::write(&checkpoint, &good).unwrap();
    // The key of another log opens nothing.
    let other = LogFolder::with_key(8).vkey();
    monitor(&home, log.path(), &["--key", &other]).exits(65);
}

#[test]
fn what_cannot_be_checked_says_so() {
    let home = Home::new();
    let none = home.run(["trust", "check"], b"").exits(0).text();
    assert_eq!(none, format!("{VENDOR}: not checked, no directory names a public log\n"));
    let none = home.run(["trust", "check", "--json"], b"").exits(0);
    let none: Value = serde_json::from_slice(&none.stdout).unwrap();
    assert_eq!(none["logs"], serde_json::json!([{ "vendor": VENDOR, "status": "unnamed", "problems": [] }]));
    home.run(["trust", "check", VENDOR], b"").exits(66);
    home.run(["trust", "check", "other.example"], b"").exits(66);
    home.run(["trust", "head"], b"").exits(0);
    home.run(["trust", "head", VENDOR], b"").exits(66);
    let log = honest(&[]);
    publish(&home, &log);
    home.run(["trust", "head", VENDOR], b"").exits(66);
    // No server is there.
    let away = home.run(["trust", "check", VENDOR, "--from", "https://127.0.0.1:1/log"], b"").exits(69);
    assert!(away.stderr.contains("warning: "), "{}", away.stderr);
    check(&home, &home.file("nowhere"), &[]).exits(69);
    home.run(["trust", "check", VENDOR, "--from", "http://127.0.0.1:1/log"], b"").exits(64);
    // A named pipe is not waited for.
    let pipe = home.file("pipe");
    fs::create_dir(&pipe).unwrap();
    run(Command::new("mkfifo").arg(pipe.join("checkpoint")), b"").exits(0);
    assert!(check(&home, &pipe, &[]).exits(69).stderr.contains("it is not a file"));
    // A log that ends before the day of a stamp is late.
    let serials = serials(1);
    let late = recipient(&serials);
    let mut short = LogFolder::new();
    short.add_day(day(6), [(LeafKind::Issued, "old".to_owned(), 1)]);
    short.write();
    publish(&late, &short);
    let found = check(&late, short.path(), &[]).exits(69);
    assert!(found.stderr.contains("is late: 1 stamp cannot be looked up yet"), "{}", found.stderr);
}

/// A place that counts the bytes that are read from it.
struct Counted<'a>(&'a Path, Cell<usize>);

impl Source for Counted<'_> {
    fn get(&self, path: &str, longest: usize) -> Result<Vec<u8>, SourceError> {
        let bytes = Place::Folder(self.0.to_owned()).get(path, longest)?;
        self.1.set(self.1.get() + bytes.len());
        Ok(bytes)
    }
}

#[test]
fn a_hundred_thousand_stamps_are_checked_day_by_day_for_little_more_than_their_files() {
    let mut log = LogFolder::new();
    let now = now();
    let sold = |ago: i64| now.plus(-ago * DAY);
    for ago in (1..=36).rev() {
        log.add_day(day(ago), (0..2_778).map(|number| (LeafKind::Issued, serial(sold(ago), number), 1)));
    }
    log.write();
    let key: VerifierKey = log.vkey().parse().unwrap();
    let mut state = LogState::new(&log.vkey());
    let (mut read, mut files) = (0, 0);
    for ago in (3..=30).rev() {
        // A day later, a stamp of the next day is looked up.
        let stamp = AcceptedStamp { accepted: sold(ago), value: Some(1), message_id: None };
        let stamps = [(serial(sold(ago), 7), stamp)].into();
        let place = Counted(log.path(), Cell::new(0));
        let time = sold(ago - 2).plus(60);
        let checked =
            check::check((VENDOR, &key), (Vec::new(), &Quorum::default()), ("here", &place), &mut state, &stamps, time);
        assert_eq!((checked.found, checked.problems.len(), checked.size), (1, 0, 100_008), "{ago}");
        // Leaves of 47 bytes: 256 in a file, and the day's first and last files are shared with its neighbours.
        let (first, last) = ((36 - ago) * 2_778 / 256, ((37 - ago) * 2_778 - 1) / 256);
        if ago < 30 {
            read += place.1.get();
            files += usize::try_from(last - first + 1).unwrap() * 256 * 47;
        }
    }
    assert!(read * 10 <= files * 12, "{read} bytes for {files}");
    // By the program, offline.
    let home = Home::new();
    publish(&home, &log);
    let first = check(&home, log.path(), &[]).exits(0).text();
    assert_eq!(first, format!("{VENDOR}: 100,008 leaves, 100,008 new; 0 stamps found\n"));
    monitor(&home, log.path(), &[]).exits(0);
}

#[test]
fn a_directory_that_does_not_continue_the_last_one_is_found_and_proven() {
    let home = Home::new();
    let log = honest(&[]);
    let next_for = |shop: &str, last: Option<&str>| directory(&home.key(VENDOR, "2026q4"), &log, last, shop);
    let next = |last: Option<&str>| next_for("https://one.example/", last);
    let place = |text: &str| fs::write(home.file(".config/mailstamp/vendors/log.json"), text).unwrap();
    let version = |text: &str| mailstamp::directory::publish::read(text).unwrap().content.version;
    let first = next(None);
    place(&first);
    check(&home, log.path(), &[]).exits(0);
    // The next one names the first. Of three more the one between is needed.
    let second = next(Some(&first));
    place(&second);
    check(&home, log.path(), &[]).exits(0);
    let third = next(Some(&second));
    let fourth = next(Some(&third));
    place(&fourth);
    let missing = check(&home, log.path(), &[]).exits(69);
    let sentence =
        format!("version {} of the directory, which is between two that are known: it is missing", version(&third));
    assert!(missing.stderr.contains(&sentence), "{}", missing.stderr);
    let editions = log.path().join("../digital-stamp-editions");
    fs::create_dir_all(&editions).unwrap();
    fs::write(editions.join(format!("{}.json", version(&third))), &third).unwrap();
    check(&home, log.path(), &[]).exits(0);
    // A later one that leaves out the fourth, and one that leaves out all.
    let (mut fork, mut anew) = (next_for("https://two.example/", Some(&third)), next_for("https://two.example/", None));
    while version(&fork) <= version(&fourth) {
        let other = next(Some(&fork));
        fs::write(editions.join(format!("{}.json", version(&fork))), &fork).unwrap();
        fork = other;
    }
    while version(&anew) <= version(&fourth) {
        fs::write(editions.join(format!("{}.json", version(&anew))), &anew).unwrap();
        anew = next(Some(&anew));
    }
    for text in [fork, anew] {
        place(&text);
        let found = check(&home, log.path(), &[]).exits(65);
        let sentence = format!(
            "the directory was rewritten: version {} does not continue version {}, which was signed before",
            version(&text),
            version(&fourth)
        );
        assert!(found.stderr.contains(&sentence), "{}", found.stderr);
        let folder = evidence(&home, &format!("{VENDOR}-directory-forked-{}", version(&text)));
        let proven = verify(&home, &folder).exits(0).text();
        assert_eq!(proven, format!("{VENDOR} signed two directories of which neither continues the other\n"));
        fs::remove_dir_all(folder).unwrap();
    }
    place(&fourth);
    check(&home, log.path(), &[]).exits(0);
}

#[test]
fn a_vendor_who_stops_to_name_a_log_is_found_and_stops_no_other() {
    let serials = serials(1);
    let home = recipient(&serials);
    let log = honest(&serials);
    publish(&home, &log);
    check(&home, log.path(), &[]).exits(0);
    fs::remove_file(home.file(".config/mailstamp/vendors/log.json")).unwrap();
    // Two more vendors, whose names come before and after, one of them with another key for its log.
    home.vendor("a.example", "k");
    home.vendor("z.example", "k");
    let found = home.run(["trust", "check", "--json"], b"").exits(65);
    let sentence = format!("{VENDOR}: no directory names its public log any more, and there was one");
    assert!(found.stderr.contains(&sentence), "{}", found.stderr);
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    let logs = report["logs"].as_array().unwrap();
    let statuses: Vec<_> = logs.iter().map(|log| log["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["unnamed", "alarm", "unnamed"]);
    publish(&home, &log);
    check(&home, log.path(), &[]).exits(0);
    // A copy is of the one log that there is.
    let all = home.run(["trust", "check", "--from", log.path().to_str().unwrap()], b"").exits(0).text();
    assert!(all.starts_with("a.example: not checked") && all.contains(&format!("\n{VENDOR}: 1,801 leaves")), "{all}");
    // A state that was changed by hand is no first check.
    let path = home.state().join(format!("logs/{VENDOR}.json"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"checkpoint\": \"", "\"checkpoint\": \"x")).unwrap();
    check(&home, log.path(), &[]).exits(78);
}

#[test]
fn a_vendor_who_was_trusted_by_a_signed_directory_is_checked() {
    let serials = serials(2);
    let home = recipient(&serials);
    let log = honest(&serials[..1]);
    let text = directory(&home.key(VENDOR, "2026q4"), &log, None, "https://v.example/");
    fs::write(home.file("signed.json"), text).unwrap();
    let add = |file: &str| home.run(["trust", "add", "--replace", file], b"").exits(0);
    add("signed.json");
    let kept = home.file(&format!(".config/mailstamp/vendors/{VENDOR}.directory"));
    assert!(kept.exists());
    let found = check(&home, log.path(), &["--mail", "mail"]).exits(65);
    assert!(found.stderr.contains("is not in the log"), "{}", found.stderr);
    let proven = verify(&home, &evidence(&home, &format!("{VENDOR}-not-logged-{}", serials[1]))).exits(0).text();
    assert!(proven.contains("and did not log it"), "{proven}");
    // A directory that is known counts, not the first one.
    let mut later = honest(&serials);
    later.add_day(day(0), [(LeafKind::Issued, "late".to_owned(), 1)]);
    later.write();
    publish(&home, &later);
    check(&home, later.path(), &[]).exits(65).says("");
    fs::remove_file(home.file(".config/mailstamp/vendors/log.json")).unwrap();
    // The key of the directory has ended since, which is no fault of the log.
    let pinned = home.file(&format!(".config/mailstamp/vendors/{VENDOR}.json"));
    let text = fs::read_to_string(&pinned).unwrap();
    let mut ended: Value = serde_json::from_str(&text).unwrap();
    ended["keys"][0]["not_after"] = "2020-01-01T00:00:00Z".into();
    fs::write(&pinned, ended.to_string()).unwrap();
    assert!(!check(&home, log.path(), &[]).stderr.contains("no directory names"));
    // A file of another form is no log that was given up.
    fs::write(&kept, "{").unwrap();
    let found = home.run(["trust", "check"], b"").exits(78);
    assert!(found.stderr.contains(&format!("{VENDOR}.directory: ")), "{}", found.stderr);
    // It goes with the trust that it belongs to.
    fs::write(home.file("plain.json"), text).unwrap();
    add("plain.json");
    assert!(!kept.exists());
    add("signed.json");
    home.run(["trust", "remove", VENDOR], b"").exits(0);
    assert!(!kept.exists());
}

#[test]
fn clocks_that_were_ahead_hide_no_stamp_and_raise_no_alarm() {
    let mut serials = serials(2);
    let home = recipient(&serials[..1]);
    let mut log = honest(&serials[..1]);
    publish(&home, &log);
    // That of the recipient, for one check.
    check_at(&home, "+300d", log.path()).exits(0);
    let hidden = serials.remove(1);
    let stamp = home.mint_until(ALICE, &hidden, now().plus(30 * DAY));
    let program = home.command();
    let mut command = faketime("-3d");
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.arg(program.get_program()).arg("classify").current_dir(home.path());
    run(&mut command, &stamped(&stamp, &letter("hidden"))).says("first-class paid");
    assert!(check(&home, log.path(), &[]).exits(65).stderr.contains(&hidden));
    // That of the vendor: all later leaves have the day that was ahead.
    log.add_day(day(-40), [(LeafKind::Issued, hidden, 1)]);
    log.write();
    check(&home, log.path(), &[]).exits(0);
}

#[test]
fn mail_is_judged_without_a_look_at_what_is_known_of_logs() {
    let serials = serials(1);
    let home = recipient(&serials);
    let log = honest(&serials);
    publish(&home, &log);
    let opened = |name: &str| {
        let stamp = home.mint_until(ALICE, &serial(now(), 70), now().plus(30 * DAY));
        let message = stamped(&stamp, &letter(name));
        let (ran, calls) = traced(home.command().arg("classify"), "%file", &message);
        assert!(ran.exits(0).text().starts_with("first-class "));
        // The process, then the call and its path; the rest has addresses and sizes.
        let path = |line: &str| {
            let (call, rest) = line.split_once(' ')?.1.trim().split_once('(')?;
            Some(format!("{call} {}", rest.split('"').nth(1)?))
        };
        calls.lines().filter_map(path).collect::<Vec<_>>()
    };
    // Spent once before, so that each run does the same.
    opened("same");
    let before = opened("same");
    let witness = crate::support::witness::Witness::start(1, &log.vkey());
    check(&home, log.path(), &[]).exits(0);
    assert!(home.state().join(format!("logs/{VENDOR}.json")).exists());
    assert_eq!(opened("same"), before);
    // Nor does a demand of witnesses change it.
    let path = home.file(".config/mailstamp/config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}\n[logs]\nwitnesses = [{:?}]\n", witness.key())).unwrap();
    check(&home, log.path(), &[]).exits(69);
    assert_eq!(opened("same"), before);
    let reads_config = |call: &String| call.starts_with("open") && call.ends_with("/config.toml");
    assert!(before.iter().any(reads_config) && before.iter().all(|call| !call.contains("/logs")), "{before:?}");
}

#[test]
fn evidence_is_bounded() {
    let serials = serials(30);
    let home = recipient(&serials);
    let log = honest(&[]);
    publish(&home, &log);
    let found = check(&home, log.path(), &[]).exits(65);
    assert_eq!(found.stderr.matches("alarm: ").count(), 30);
    assert_eq!(found.stderr.matches("note: the evidence is in").count(), 20);
    assert!(found.stderr.contains("note: without its stamp, evidence proves nothing"), "{}", found.stderr);
    // Nothing is written through a link.
    let folder = home.file("evidence");
    let links = serials.iter().map(|serial| folder.join(format!("{VENDOR}-not-logged-{serial}/tile/entries/003")));
    let links: Vec<PathBuf> = links.collect();
    fs::write(home.file("victim"), "mine").unwrap();
    for link in &links {
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(home.file("victim"), link).unwrap();
    }
    check(&home, log.path(), &["--evidence", "evidence"]).exits(65);
    assert_eq!(fs::read_to_string(home.file("victim")).unwrap(), "mine");
    assert_eq!(links.iter().filter(|link| link.symlink_metadata().unwrap().is_file()).count(), 20);
}

#[test]
fn leaves_of_an_unknown_kind_are_no_problem_and_an_impossible_size_is_no_checkpoint() {
    let serials = serials(1);
    let home = recipient(&serials);
    let mut log = honest(&serials);
    log.add_unknown();
    log.write();
    publish(&home, &log);
    check(&home, log.path(), &[]).exits(0);
    let monitored = monitor(&home, log.path(), &["--json"]).exits(0);
    let report: Value = serde_json::from_slice(&monitored.stdout).unwrap();
    assert_eq!((&report["unknown"], &report["wrong"]), (&1.into(), &0.into()));
    for size in [1 << 49, (1 << 63) + 1, u64::MAX] {
        log.sign_size(size);
        assert!(check(&home, log.path(), &[]).exits(69).stderr.contains("not a checkpoint"));
        monitor(&home, log.path(), &[]).exits(65);
    }
}
