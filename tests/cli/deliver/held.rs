//! Held mail: what the commands show and do, and that nothing leaves without a line.

use super::{maildir_of, only, seen};
use crate::support::{ALICE, Home, MAILSTAMP, faketime, letter, run};
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// A home that holds all mail without a stamp.
fn holding() -> Home {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[actions]\nunstamped = \"hold\"\ninvalid = \"hold\""));
    home
}

fn list(home: &Home) -> Vec<Value> {
    let text = home.run(["held", "list", "--json"], b"").exits(0).text();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["schema"], 1);
    value["messages"].as_array().unwrap().clone()
}

/// Holds a message and returns its short name.
fn hold(home: &Home, message: &[u8]) -> String {
    let before: Vec<Value> = list(home);
    home.run(["deliver"], message).exits(0);
    let new = list(home)
        .into_iter()
        .find(|message| !before.contains(message) && before.iter().all(|it| it["id"] != message["id"]));
    new.unwrap()["id"].as_str().unwrap().to_owned()
}

/// The events of the log with their names.
fn events(home: &Home) -> Vec<(String, String)> {
    let log = home.run(["log", "--json"], b"").exits(0).text();
    let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries.filter(|entry| entry.get("event").is_some()).map(|it| (text(&it["event"]), text(&it["held"]))).collect()
}

#[test]
fn the_list_shows_what_is_held_and_why() {
    let home = holding();
    assert_eq!(home.run(["held", "list"], b"").exits(0).text(), "no mail is held\n");
    let id = hold(&home, &letter("1"));
    let second = hold(&home, &home.affix(&home.issue("carol@z.example", []), &letter("2")));
    let [first, other] = &list(&home)[..] else { panic!("two messages") };
    assert_eq!((first["id"].as_str(), other["id"].as_str()), (Some(id.as_str()), Some(second.as_str())));
    for (member, value) in [
        ("class", "unstamped"),
        ("reason", "no-stamp"),
        ("from", "bob@y.example"),
        ("subject", "a serious matter"),
        ("message_id", "<1@y.example>"),
    ] {
        assert_eq!(first[member], value);
    }
    let smallest = seen(&home.state().join("held")).iter().map(|(_, bytes)| bytes.len()).min();
    assert_eq!(first["size"].as_u64().map(|size| size as usize), smallest);
    assert_eq!((other["class"].as_str(), other["reason"].as_str()), (Some("invalid"), Some("not-for-me")));
    let table = home.run(["held", "list"], b"").exits(0).text();
    assert_eq!(table.lines().count(), 3);
    assert!(table.lines().nth(1).unwrap().starts_with(&format!("{id}  unstamped  no-stamp")), "{table}");
    // It is said when it is judged, and the doctor knows.
    assert!(home.run(["log", "--json"], b"").exits(0).text().contains(&format!("\"held\":\"{id}\"")));
    assert!(home.run(["doctor"], b"").exits(0).text().contains("2 messages, the oldest since 20"));
}

#[test]
fn what_a_stranger_wrote_cannot_write_on_the_terminal() {
    // Threat 26.
    let home = holding();
    let hostile = b"From: \"\x1b[31m\" <eve@z.example>\nSubject: =?utf-8?q?=1b[2J=0aid_=e2=80=ae?= \x07\x9b2J\nMessage-ID: <\x1b]0;x\x07>\n\n\x1b[2J\n";
    let id = hold(&home, hostile);
    // Letters of any script, but no control character and none that turns the direction of the text.
    let plain = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.chars().all(|c| c == '\n' || !c.is_control() && !('\u{200e}'..='\u{202e}').contains(&c))
    };
    for args in ["held list", "held list --json", "log", "log --json"] {
        let said = home.run(args.split(' '), b"").exits(0);
        assert!(plain(&said.stdout), "{args}: {:?}", said.text());
    }
    assert_eq!(home.run(["held", "list"], b"").text().lines().count(), 2);
    // Piped, it is the message; on a terminal it is text.
    assert!(home.run(["held", "show", &id], b"").exits(0).stdout.ends_with(hostile));
    let line = format!("{} held show {id}", crate::support::MAILSTAMP);
    let said = run(Command::new("script").args(["-qec", &line, "/dev/null"]).env("HOME", home.path()), b"");
    let shown: Vec<u8> = said.stdout.into_iter().filter(|b| *b != b'\r').collect();
    assert!(plain(&shown) && String::from_utf8_lossy(&shown).contains("\\x1b[2J"), "{shown:?}");
}

#[test]
fn a_subject_is_shown_in_its_own_script() {
    let home = holding();
    hold(&home, b"From: m@x.example\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe_=D0=BC=D0=B8=D1=80?=\n\nx\n");
    let subject = "Gr\u{fc}\u{df}e \u{43c}\u{438}\u{440}";
    assert!(home.run(["held", "list"], b"").exits(0).text().contains(subject));
    assert_eq!(list(&home)[0]["subject"], subject);
}

#[test]
fn a_released_message_is_in_the_inbox_and_says_that_it_was_let_through() {
    let home = holding();
    let id = hold(&home, &letter("1"));
    assert_eq!(home.run(["held", "release", &id[..6]], b"").exits(0).text(), format!("{id}: released\n"));
    let delivered = only(&maildir_of(&home));
    let field = "Digital-Stamp-Class: allowed; reason=rule; rule=released; action=deliver\n";
    assert_eq!(delivered, [field.as_bytes(), &letter("1")].concat());
    assert_eq!(list(&home), Vec::<Value>::new());
    assert_eq!(events(&home), [("released".to_owned(), id.clone())]);
    // It is gone: the same once more is an error that changes nothing.
    home.run(["held", "release", &id], b"").exits(66);
    only(&maildir_of(&home));
    // Not counted twice.
    let stats: Value = serde_json::from_str(&home.run(["stats", "--json"], b"").exits(0).text()).unwrap();
    assert!(stats.to_string().contains("\"unstamped\":1"), "{stats}");
}

#[test]
fn a_message_that_a_mail_reader_has_seen_is_held_all_the_same() {
    let home = holding();
    let id = hold(&home, &letter("1"));
    let held = home.state().join("held");
    let name = seen(&held).remove(0).0;
    fs::rename(held.join("new").join(&name), held.join("cur").join(format!("{name}:2,FS"))).unwrap();
    fs::write(held.join("cur/foreign"), "x").unwrap();
    assert_eq!(list(&home).len(), 1);
    home.run(["held", "release", &id], b"").exits(0);
    only(&maildir_of(&home));
    assert_eq!(fs::read_dir(held.join("cur")).unwrap().count(), 1);
}

#[test]
fn messages_are_released_elsewhere_and_by_sender() {
    let home = holding();
    let friend = String::from_utf8(letter("f")).unwrap().replace("bob@", "Carol@").into_bytes();
    let ids: Vec<String> =
        [&letter("1"), &letter("2"), &friend].into_iter().map(|message| hold(&home, message)).collect();
    let piped = home.run(["held", "release", &ids[0], "--to", "-"], b"").exits(0).stdout;
    assert!(piped.starts_with(b"Digital-Stamp-Class: allowed;") && piped.ends_with(&letter("1")));
    home.run(["held", "release", &ids[1], &ids[2], "--to", "-"], b"").exits(65);
    home.run(["held", "release", "--all-from", "dave@y.example"], b"").exits(66);
    let other = home.file("other");
    home.run(["held", "release", "--all-from", "carol@y.example", "--maildir", other.to_str().unwrap()], b"").exits(0);
    assert!(only(&other).ends_with(&friend));
    let left: Vec<Value> = list(&home);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["id"], ids[1].as_str());
    // One name that is unknown, and nothing is done for the others.
    home.run(["held", "delete", &ids[1], "aaaaaaaa"], b"").exits(66);
    assert_eq!(list(&home).len(), 1);
    home.run(["held", "release", ""], b"").exits(66);
}

#[test]
fn a_sender_who_is_allowed_is_written_down_once_and_alone() {
    let home = holding();
    let ids = ["1", "2"].map(|id| hold(&home, &letter(id)));
    for id in &ids {
        home.run(["held", "allow", id], b"").exits(0);
    }
    let written = || fs::read_to_string(home.state().join("allow.list")).unwrap();
    assert_eq!(written(), "bob@y.example\n");
    assert_eq!(seen(&maildir_of(&home)).len(), 2);
    assert!(events(&home).iter().all(|(event, _)| event == "allowed"));
    // From now on the sender needs no stamp.
    home.run(["deliver"], &letter("3")).exits(0);
    let inbox = seen(&maildir_of(&home));
    assert_eq!(inbox.len(), 3);
    let rule = b"Digital-Stamp-Class: allowed; reason=rule; rule=held-allow;";
    assert_eq!(inbox.iter().filter(|(_, bytes)| bytes.starts_with(rule)).count(), 1);
    // A sender that would have a whole domain allowed, or that is no address, is not allowed.
    for from in ["\"*\"@y.example", "*@y.example", "\"#x\"@y.example", "/.*/@y.example/", "nobody"] {
        let message = format!("From: {from}\nSubject: x\n\nx\n");
        let id = hold(&home, message.as_bytes());
        home.run(["held", "allow", &id], b"").exits(65);
        assert_eq!(list(&home).len(), 1, "{from}");
        home.run(["held", "delete", &id], b"").exits(0);
    }
    assert_eq!(written(), "bob@y.example\n");
}

#[test]
fn all_authors_of_a_message_are_refused_and_found() {
    let home = holding();
    let from = |authors: &str| format!("From: {authors}\nTo: alice@x.example\nSubject: x\n\nx\n").into_bytes();
    let id = hold(&home, &from("carol@y.example, *@y.example, eve@far.example"));
    let said = home.run(["held", "never", &id], b"").exits(0).text();
    assert!(said.contains("digests leave out carol@y.example, eve@far.example"), "{said}");
    let refused = fs::read_to_string(home.state().join("never.list")).unwrap();
    assert_eq!(refused, "carol@y.example\neve@far.example\n");
    // The first author alone is let through: another one can be a stranger's.
    let id = hold(&home, &from("dave@y.example, mal@far.example"));
    home.run(["held", "allow", &id], b"").exits(0);
    assert_eq!(fs::read_to_string(home.state().join("allow.list")).unwrap(), "dave@y.example\n");
    hold(&home, &from("carol@y.example, zoe@y.example"));
    home.run(["held", "release", "--all-from", "zoe@y.example"], b"").exits(0);
    assert_eq!(list(&home).len(), 0);
}

#[test]
fn the_list_of_allowed_senders_may_be_a_link() {
    let home = holding();
    let (list, file) = (home.state().join("allow.list"), home.file("dotfiles-allow"));
    fs::create_dir_all(home.state()).unwrap();
    fs::write(&file, "carol@y.example\n").unwrap();
    std::os::unix::fs::symlink(&file, &list).unwrap();
    let id = hold(&home, &letter("1"));
    home.run(["held", "allow", &id], b"").exits(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "carol@y.example\nbob@y.example\n");
    assert!(list.is_symlink());
    home.run(["deliver"], &letter("2")).exits(0);
    assert_eq!(seen(&maildir_of(&home)).len(), 2);
}

#[test]
fn nothing_goes_without_a_line() {
    let home = holding();
    home.configure(&format!("addresses = [\"{ALICE}\"]\nverdict_log = false\n[actions]\nunstamped = \"hold\""));
    let id = hold(&home, &letter("1"));
    let log = home.state().join("verdicts.jsonl");
    fs::create_dir(&log).unwrap();
    for command in ["delete", "release"] {
        home.run(["held", command, &id], b"").exits(75);
        assert_eq!(list(&home).len(), 1, "{command}");
    }
    fs::remove_dir(&log).unwrap();
    home.run(["held", "delete", &id], b"").exits(0);
    assert_eq!(events(&home), [("deleted".to_owned(), id)]);
    assert_eq!(list(&home), Vec::<Value>::new());
}

#[test]
fn the_watcher_and_later_deliveries_take_away_what_is_left() {
    let home = holding();
    fs::create_dir_all(maildir_of(&home).join("cur")).unwrap();
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), format!("{config}\n[watch]\nmaildir = \"{}\"\n", maildir_of(&home).display())).unwrap();
    for number in 0..120 {
        home.run(["deliver"], &letter(&number.to_string())).exits(0);
    }
    for message in list(&home) {
        age(&home, message["id"].as_str().unwrap(), 40 * 86_400);
    }
    // No delivery has to wait for all of them.
    tidied_before(&home);
    home.run(["watch", "--once"], b"").exits(0);
    assert_eq!(list(&home).len(), 70);
    home.run(["deliver"], &home.stamped(&letter("a"))).exits(0);
    assert_eq!(list(&home).len(), 20);
    home.run(["deliver"], &home.stamped(&letter("b"))).exits(0);
    assert_eq!(list(&home), Vec::<Value>::new());
    assert_eq!(events(&home).len(), 20, "log shows the last 20");
    home.run(["deliver"], &letter("c")).exits(0);
    age(&home, list(&home)[0]["id"].as_str().unwrap(), 40 * 86_400);
    home.run(["deliver"], &home.stamped(&letter("d"))).exits(0);
    assert_eq!(list(&home).len(), 1, "it is done once a day");
}

/// As if the last tidying was two days ago.
fn tidied_before(home: &Home) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    fs::write(home.state().join("tidied"), format!("{}\n", now - 2 * 86_400)).unwrap();
}

/// Makes a held message older.
fn age(home: &Home, id: &str, seconds: i64) {
    let folder = home.state().join("held/new");
    let name = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let name = name.into_iter().find(|name| name.contains(&format!("R{id}."))).unwrap();
    let (time, rest) = name.split_once('.').unwrap();
    let older = time.parse::<i64>().unwrap() - seconds;
    fs::rename(folder.join(&name), folder.join(format!("{older}.{rest}"))).unwrap();
}

#[test]
fn what_is_held_for_too_long_goes_with_a_line() {
    let home = holding();
    let day = 86_400;
    let old = hold(&home, &letter("1"));
    age(&home, &old, 31 * day);
    let young = hold(&home, &letter("2"));
    age(&home, &young, 29 * day);
    assert_eq!(home.run(["held", "expire"], b"").exits(0).text(), format!("{old}: expired\n"));
    assert_eq!(events(&home), [("expired".to_owned(), old)]);
    // deliver expires held mail once a day; 0d means never.
    home.run(["deliver", "--now", "2099-01-01T00:00:00Z"], &letter("p")).exits(0);
    assert_eq!(list(&home).len(), 2, "a pretended time takes nothing away");
    let pretended = list(&home)[1]["id"].as_str().unwrap().to_owned();
    home.run(["held", "delete", &pretended], b"").exits(0);
    age(&home, &young, 4 * day);
    tidied_before(&home);
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), format!("{config}\n[held]\nkeep = \"0d\"\n")).unwrap();
    home.run(["deliver"], &home.stamped(&letter("3"))).exits(0);
    assert_eq!(list(&home).len(), 1);
    fs::write(home.config(), config).unwrap();
    home.run(["deliver"], &home.stamped(&letter("4"))).exits(0);
    assert_eq!(list(&home).len(), 1, "it was done today");
    tidied_before(&home);
    home.run(["deliver"], &home.stamped(&letter("5"))).exits(0);
    assert_eq!(list(&home), Vec::<Value>::new());
    assert_eq!(events(&home).last().unwrap(), &("expired".to_owned(), young));
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn no_clock_that_is_wrong_for_a_while_takes_held_mail_away() {
    // Promise 1.
    let home = holding();
    let at = |when: &str, message: &[u8]| {
        let mut command = faketime(when);
        command.args([MAILSTAMP, "deliver"]).env_clear();
        run(command.env("HOME", home.path()).env("PATH", "/usr/bin:/bin"), message)
    };
    // Not set yet: the message waits, or it would be years old by the right clock.
    for command in ["deliver", "held add"] {
        let mut early = faketime("2020-01-01 00:00:00");
        early.arg(MAILSTAMP).args(command.split(' ')).env_clear();
        let said = run(early.env("HOME", home.path()).env("PATH", "/usr/bin:/bin"), &letter("1")).exits(75);
        assert!(said.stderr.contains("system clock is wrong: 2020-01-01"), "{}", said.stderr);
    }
    assert_eq!(list(&home), Vec::<Value>::new());
    // A time given by --now does not count.
    home.run(["deliver", "--now", "2020-01-01T00:00:00Z"], &letter("1")).exits(0);
    tidied_before(&home);
    home.run(["deliver"], &home.stamped(&letter("2"))).exits(0);
    assert_eq!(list(&home).len(), 1);
    // It jumps, and comes back.
    tidied_before(&home);
    // By its name, since its age changes with each second.
    let ids = || list(&home).iter().map(|message| message["id"].clone()).collect::<Vec<Value>>();
    let kept = ids().remove(0);
    for (when, id) in [("+365d", "3"), ("+0", "4"), ("+0", "5")] {
        at(when, &home.stamped(&letter(id))).exits(0);
        assert!(ids().contains(&kept), "{when}");
    }
}

#[test]
fn where_other_mail_goes_is_tidied_too_and_no_home_is_needed() {
    let home = holding();
    let elsewhere = home.file("elsewhere");
    fs::create_dir_all(home.state()).unwrap();
    let mut args = vec!["--config", home.config().to_str().unwrap(), "--state", home.state().to_str().unwrap()]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    args.extend(["deliver", "--maildir", elsewhere.to_str().unwrap()].map(str::to_owned));
    let deliver = |id: &str| {
        run(home.command().env_remove("HOME").args(&args), &home.stamped(&letter(id))).exits(0);
    };
    deliver("1");
    assert!(home.state().join("tidied").exists());
    let left = elsewhere.join("tmp/left");
    run(Command::new("touch").args(["-d", "37 hours ago"]).arg(&left), b"").exits(0);
    tidied_before(&home);
    deliver("2");
    assert!(!left.exists() && !maildir_of(&home).exists());
}

#[test]
fn a_message_that_is_added_is_judged_and_not_spent() {
    let home = holding();
    let message = home.stamped(&letter("1"));
    let said = home.run(["held", "add"], &[b"From bob Sat\n", &message[..]].concat()).exits(0);
    assert_eq!((said.text().as_str(), said.stderr.as_str()), ("", ""));
    let held = only(&home.state().join("held"));
    assert!(held.starts_with(b"Digital-Stamp-Class: first-class; reason=paid;") && held.ends_with(&message));
    home.classify(&message).exits(0).says("first-class paid");
    // On the mail path every error defers.
    home.run(["held", "add", "surplus"], &message).exits(75);
    home.run(["--state", "/proc/nowhere", "held", "add"], &message).exits(75);
    home.run(["held", "add", "--recipient", "x"], &message).exits(75);
    assert_eq!(list(&home).len(), 1);
}
