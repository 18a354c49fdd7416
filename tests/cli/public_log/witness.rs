//! Cosignatures that a recipient demands of the heads of public logs: `[logs]`, with witnesses in Python.

use super::log::{LogFolder, VENDOR};
use super::{check, check_at, day, evidence, honest, monitor, publish, publish_as, recipient, serials};
use crate::support::witness::Witness;
use crate::support::{Home, run};
use mailstamp::transparency::leaf::LeafKind;
use serde_json::Value;
use std::fs;

/// Has the user demand this many of these witnesses.
fn demand(home: &Home, witnesses: &[&Witness], minimum: usize) {
    let keys: Vec<&str> = witnesses.iter().map(|witness| witness.key()).collect();
    let path = home.file(".config/mailstamp/config.toml");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let (before, _) = text.split_once("\n[logs]").unwrap_or((&text, ""));
    fs::write(path, format!("{before}\n[logs]\nwitnesses = {keys:?}\nminimum = {minimum}\n")).unwrap();
}

/// Three witnesses of a log that have seen it, and their lines.
fn witnesses(log: &LogFolder) -> ([Witness; 3], [String; 3]) {
    let all = [1, 2, 3].map(|seed| Witness::start(seed, &log.vkey()));
    let lines = all.each_ref().map(|witness| witness.cosign(&log.head().to_string()));
    (all, lines)
}

#[test]
fn a_head_needs_as_many_witnesses_as_the_user_demands() {
    let serials = serials(1);
    let home = recipient(&serials);
    let log = honest(&serials);
    publish(&home, &log);
    let ([one, two, three], [first, second, third]) = witnesses(&log);
    demand(&home, &[&one, &two, &three], 2);
    // One, one twice, and one whose line is of another head, come to one.
    let other = honest(&[]);
    let foreign = Witness::start(2, &other.vkey());
    let wrong = foreign.cosign(&other.head().to_string());
    for (lines, found) in [
        (vec![], 0),
        (vec![first.clone()], 1),
        (vec![first.clone(), first.clone()], 1),
        (vec![first.clone(), wrong], 1),
        (vec![first.replace("w1.example", "w9.example"), second.clone()], 1),
    ] {
        log.cosign(&lines);
        let few = check(&home, log.path(), &[]).exits(69);
        let sentence = format!("{found} of your witnesses cosigned the head of 1801 leaves, expected at least 2\n");
        assert_eq!(few.stderr, format!("mailstamp: warning: {VENDOR}: {sentence}"));
        let monitored = monitor(&home, log.path(), &["--json"]).exits(69);
        assert_eq!(monitored.stderr, format!("mailstamp: warning: {sentence}"));
        let report: Value = serde_json::from_slice(&monitored.stdout).unwrap();
        assert_eq!(report["witnesses"], found);
        // A later one does not forget what an earlier head had.
        fs::remove_file(home.state().join(format!("logs/{VENDOR}.json"))).unwrap();
    }
    log.cosign(std::slice::from_ref(&first));
    check(&home, log.path(), &[]).exits(69);
    assert!(home.run(["trust", "head"], b"").exits(69).stderr.contains("1 of your witnesses"));
    // The other cosignature may come with another copy of the head.
    log.cosign(&[third]);
    let good = check(&home, log.path(), &["--json"]).exits(0);
    let report: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!((&report["logs"][0]["status"], &report["logs"][0]["witnesses"]), (&"good".into(), &2.into()));
    home.run(["trust", "head"], b"").exits(0);
    // What was kept counts, and a line for another person has it.
    log.cosign(&[]);
    check(&home, log.path(), &[]).exits(0);
    let line = home.run(["trust", "head"], b"").exits(0).text();
    let compared = home.run(["trust", "head", "--compare", line.trim(), "--from", log.path().to_str().unwrap()], b"");
    assert!(compared.exits(0).text().contains("both heads are the same"));
    demand(&home, &[&one, &two, &three], 3);
    check(&home, log.path(), &[]).exits(69);
    demand(&home, &[&one, &two, &three], 0);
    check(&home, log.path(), &[]).exits(0);
}

#[test]
fn a_cosignature_with_an_unlikely_time_is_a_warning() {
    let log = honest(&[]);
    let home = recipient(&[]);
    publish(&home, &log);
    let witness = Witness::start(1, &log.vkey());
    demand(&home, &[&witness], 1);
    log.cosign(&[witness.cosign(&log.head().to_string())]);
    assert_eq!(check(&home, log.path(), &[]).exits(0).stderr, "");
    assert_eq!(check_at(&home, "-30m", log.path()).exits(0).stderr, "");
    let early = check_at(&home, "-2h", log.path()).exits(0).stderr;
    assert!(early.starts_with(&format!("mailstamp: warning: {VENDOR}: witness w1.example/1 cosigned the head at 20")));
    assert!(early.ends_with("Z, which is in the future: its clock or this one is wrong\n"), "{early}");
    // Without a time. The kept one would be newer.
    fs::remove_file(home.state().join(format!("logs/{VENDOR}.json"))).unwrap();
    witness.set_seen(None);
    witness.mode("epoch");
    log.cosign(&[witness.cosign(&log.head().to_string())]);
    let text = "witness w1.example/1 cosigned the head without a time";
    let said = check(&home, log.path(), &["--json"]).exits(0);
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((&report["logs"][0]["status"], &report["logs"][0]["odd_times"][0]), (&"good".into(), &text.into()));
    // One vendor has a log, so its name may be left out.
    let mut command = home.command();
    let said = run(command.args(["trust", "check", "--quiet", "--from"]).arg(log.path()), b"").exits(0);
    assert_eq!(said.stderr, format!("mailstamp: warning: {VENDOR}: {text}\n"));
    assert!(monitor(&home, log.path(), &[]).exits(0).stderr.contains(text));
}

#[test]
fn a_log_without_witnesses_is_an_alarm_after_two_days() {
    let serials = serials(1);
    let home = recipient(&serials);
    let mut log = honest(&serials);
    publish(&home, &log);
    let (mut all, [line, ..]) = witnesses(&log);
    demand(&home, &[&all[0]], 1);
    log.cosign(&[line]);
    check(&home, log.path(), &[]).exits(0);
    // The next day's head has none yet.
    log.add_day(day(0), [(LeafKind::Issued, "later".to_owned(), 1)]);
    log.write();
    let text = check(&home, log.path(), &["--json"]).exits(69);
    let report: Value = serde_json::from_slice(&text.stdout).unwrap();
    assert_eq!((&report["logs"][0]["status"], &report["logs"][0]["size"]), (&"unwitnessed".into(), &1802.into()));
    check_at(&home, "+1d", log.path()).exits(69);
    let alarm = check_at(&home, "+3d", log.path()).exits(65);
    assert!(alarm.stderr.contains(&format!("alarm: {VENDOR}: 0 of your witnesses cosigned the head of 1802 leaves")));
    assert!(evidence(&home, &format!("{VENDOR}-unwitnessed")).join("checkpoint").exists());
    // Its time begins anew after the witness has cosigned.
    let seen = "{\"size\": 1802, \"root\": \"ROOT\"}";
    let root = log.head().text.lines().nth(2).map(|root| data_encoding::BASE64.decode(root.as_bytes()).unwrap());
    all[0].set_seen(Some(&seen.replace("ROOT", &data_encoding::HEXLOWER.encode(&root.unwrap()))));
    let line = all[0].post(&format!("old 1802\n\n{}", log.head())).is(200).text();
    log.cosign(&[line]);
    check_at(&home, "+3d", log.path()).exits(0);
    log.add_day(day(0), [(LeafKind::Issued, "latest".to_owned(), 1)]);
    log.write();
    check_at(&home, "+4d", log.path()).exits(69);
    all[0].stop();
}

#[test]
fn two_cosigned_heads_of_one_size_are_a_split_view() {
    let serials = serials(1);
    let home = recipient(&serials);
    let (mut log, mut fork) = (honest(&serials), honest(&serials));
    log.add_day(day(0), [(LeafKind::Issued, "one".to_owned(), 1)]);
    log.write();
    fork.add_day(day(0), [(LeafKind::Issued, "two".to_owned(), 1)]);
    // A witness that cosigns both is not honest; a demand does not hide what it did.
    let witness = Witness::start(1, &log.vkey());
    let line = witness.cosign(&log.head().to_string());
    demand(&home, &[&witness], 1);
    log.cosign(&[line]);
    publish(&home, &log);
    check(&home, log.path(), &[]).exits(0);
    publish_as(&home, &fork, "other.json");
    let found = check(&home, log.path(), &[]).exits(65);
    assert!(found.stderr.contains("two signed heads contradict each other"), "{}", found.stderr);
}

#[test]
fn witnesses_that_no_head_could_have_are_errors_with_their_line() {
    let home = Home::bare();
    let key = "w.example/1+0e0aac72+BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY";
    for (table, sentence) in [
        (format!("witnesses = [{key:?}, {key:?}]"), "logs.witnesses: w.example/1 is named twice"),
        (format!("minimum = 2\nwitnesses = [{key:?}]"), "logs.minimum: 2 of 1 witnesses"),
        ("witnesses = [\"w.example\"]".to_owned(), "not a key for signed notes"),
    ] {
        home.configure(&format!("[logs]\n{table}\n"));
        let mut command = home.command();
        let said = run(command.args(["config", "check"]), b"").exits(78);
        assert!(said.stderr.contains(sentence) && said.stderr.contains(".toml: line "), "{}", said.stderr);
    }
    home.configure(&format!("[logs]\nwitnesses = [{key:?}]\n"));
    let shown = home.run(["config", "show"], b"").exits(0).text();
    assert!(shown.contains("[logs]\n") && shown.contains("minimum = 1\n") && shown.contains(key), "{shown}");
}
