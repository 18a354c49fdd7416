//! Maildirs and mbox files, made here from messages whose class is known.

use crate::support::{ALICE, Home, letter};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const ISSUED: &str = "2026-10-01T00:00:00Z";
const THEN: &str = "2026-10-05T12:00:00Z";
const END: &str = "2026-10-20T00:00:00Z";
const RECEIVED: &str = "Received: from y.example by x.example; Mon, 05 Oct 2026 12:00:30 +0000 (UTC)\n";
const TOO_LATE: &str = "Received: from y.example by x.example; Wed, 28 Oct 2026 12:00:00 +0000\n";

fn stamp(home: &Home) -> String {
    home.issue(ALICE, ["--now", ISSUED, "--until", END])
}

/// `message` as the user's host keeps it.
fn kept(received: &str, message: &[u8]) -> Vec<u8> {
    [received.as_bytes(), message].concat()
}

fn maildir(path: &Path) -> PathBuf {
    for name in ["cur", "new", "tmp"] {
        fs::create_dir_all(path.join(name)).unwrap();
    }
    path.to_owned()
}

/// Every file below a folder with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn rows(text: &str) -> (Vec<Value>, Value) {
    let mut rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.iter().all(|row| row["schema"] == 1));
    let sums = rows.pop().unwrap();
    assert_eq!(sums["row"], "sums");
    (rows, sums)
}

/// Scans `path` and gives the reasons in the order of reading.
#[track_caller]
fn reasons(home: &Home, path: &Path) -> Vec<String> {
    let (rows, _) = rows(&home.run(["scan", "--json", path.to_str().unwrap()], b"").exits(0).text());
    let messages = rows.iter().filter(|row| row["row"] == "message");
    messages.map(|row| row["reason"].as_str().unwrap().to_owned()).collect()
}

/// A home that has accepted one message, and the messages of which scan tells the class: accepted then and long ended,
/// its stamp on another message, a good stamp never spent, the same on another message, come too late, no stamp.
fn received() -> (Home, Vec<Vec<u8>>) {
    let home = Home::new();
    let (spent, free) = (stamp(&home), stamp(&home));
    let accepted = home.affix(&spent, &letter("accepted"));
    home.run(["classify", "--now", THEN], &accepted).exits(0).says("first-class paid");
    let messages = vec![
        kept(RECEIVED, &accepted),
        kept(RECEIVED, &home.affix(&spent, &letter("thief"))),
        kept(RECEIVED, &home.affix(&free, &letter("free"))),
        kept(RECEIVED, &home.affix(&free, &letter("second"))),
        kept(TOO_LATE, &home.stamped_until(END, "late")),
        kept(RECEIVED, &letter("plain")),
    ];
    (home, messages)
}

const EXPECTED: [&str; 6] = ["again", "used", "paid", "used", "expired", "no-stamp"];

impl Home {
    fn stamped_until(&self, end: &str, id: &str) -> Vec<u8> {
        self.affix(&self.issue(ALICE, ["--now", ISSUED, "--until", end]), &letter(id))
    }
}

#[test]
fn a_maildir_is_judged_as_it_would_have_been_and_left_as_it_was() {
    let (home, messages) = received();
    let mail = maildir(&home.file("Maildir"));
    for (number, message) in messages.iter().enumerate() {
        let (folder, flags) = if number < 4 { ("cur", ":2,S") } else { ("new", "") };
        fs::write(mail.join(folder).join(format!("179120000{number}.M1.x{flags}")), message).unwrap();
    }
    fs::write(mail.join("tmp/half"), b"From: half a message").unwrap();
    fs::write(mail.join("dovecot.index"), b"\0index").unwrap();
    let before = (contents(&home.state()), contents(&mail));
    assert_eq!(reasons(&home, &mail), EXPECTED);
    let (_, sums) = rows(&home.run(["scan", "--json", "Maildir"], b"").exits(0).text());
    assert_eq!(sums["messages"], 6);
    let classes = &sums["classes"];
    for (class, count) in [("first-class", 2), ("used", 2), ("invalid", 1), ("unstamped", 1), ("allowed", 0)] {
        assert_eq!(classes[class], count, "{class}");
    }
    assert_eq!(sums["reasons"]["again"], 1);
    assert_eq!(sums["vendors"][0]["vendor"], "stamps.example");
    assert_eq!(sums["vendors"][0]["classes"]["used"], 2);
    assert_eq!(sums["skipped"], 1, "the index");
    for member in ["unreadable", "dated_by_file", "reuse_not_checked"] {
        assert_eq!(sums[member], 0, "{member}");
    }
    let table = home.run(["scan", "Maildir"], b"").exits(0);
    assert!(table.text().contains("\nused                          2  33.3 %\n"), "{}", table.text());
    assert_eq!(table.stderr, "", "there is no terminal, so there is no bar");
    assert_eq!((contents(&home.state()), contents(&mail)), before);
}

#[test]
fn an_mbox_is_judged_alike_whatever_its_delivery_put_in() {
    let (home, mut messages) = received();
    let quoted =
        String::from_utf8(letter("quoted")).unwrap().replace("\n\nDear", "\n\nFrom here on:\n>From there\n\nDear");
    let quoted = home.affix(&stamp(&home), quoted.as_bytes());
    home.run(["classify", "--now", THEN], &quoted).exits(0).says("first-class paid");
    let in_mbox =
        String::from_utf8(quoted).unwrap().replace("\n>From", "\n>>From").replace("\nFrom here", "\n>From here");
    messages.push(kept(RECEIVED, in_mbox.as_bytes()));
    let expected = [EXPECTED.as_slice(), &["again"]].concat();
    for newline in ["\n", "\r\n"] {
        let mbox: String = messages
            .iter()
            .map(|message| {
                format!("From bob@y.example Mon Oct  5 12:00:31 2026\n{}\n", String::from_utf8_lossy(message))
            })
            .collect();
        fs::write(home.file("mbox"), mbox.replace('\n', newline)).unwrap();
        assert_eq!(reasons(&home, &home.file("mbox")), expected);
        // Without the Received fields the line of the mbox says when, and then the message that came too late did not.
        let undated = mbox.replace(RECEIVED, "").replace(TOO_LATE, "");
        fs::write(home.file("mbox"), undated.replace('\n', newline)).unwrap();
        let mut then: Vec<&str> = expected.clone();
        then[4] = "paid";
        assert_eq!(reasons(&home, &home.file("mbox")), then);
    }
}

#[test]
fn a_message_without_any_date_is_judged_at_the_time_of_its_file() {
    let (home, messages) = received();
    let path = home.file("alone.eml");
    fs::write(&path, messages[2].strip_prefix(RECEIVED.as_bytes()).unwrap()).unwrap();
    for (seconds, reason) in [(1_791_201_600, "paid"), (1_793_188_800, "expired")] {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        let (found, sums) = rows(&home.run(["scan", "--json", "alone.eml"], b"").exits(0).text());
        assert_eq!(found[0]["reason"], reason);
        assert_eq!((&found[0]["received_by"], &sums["dated_by_file"]), (&Value::from("file"), &Value::from(1)));
    }
}

#[test]
fn folders_are_searched_to_the_bottom_and_links_are_not_followed() {
    let (home, messages) = received();
    let mail = home.file("Mail");
    fs::write(maildir(&mail.join("work/.Junk")).join("cur/1"), &messages[5]).unwrap();
    fs::write(maildir(&mail.join("work")).join("new/1"), &messages[5]).unwrap();
    fs::write(maildir(&mail.join("work")).join("new/.hidden"), &messages[5]).unwrap();
    fs::write(mail.join("archive"), b"From x\n\nold\n").unwrap();
    fs::write(mail.join("notes.txt"), b"no mail\n").unwrap();
    symlink("..", mail.join("work/loop")).unwrap();
    symlink("/dev/zero", mail.join("work/cur/endless")).unwrap();
    let fifo = mail.join("work/cur/fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let run = home.run(["scan", "--json", "Mail"], b"").exits(74);
    let (found, sums) = rows(&run.text());
    assert_eq!((sums["messages"].as_u64(), sums["unreadable"].as_u64()), (Some(3), Some(2)));
    assert_eq!(found.iter().filter(|row| row["row"] == "unreadable").count(), 2);
    let skipped: Vec<_> = found.iter().filter(|row| row["row"] == "skipped").map(|row| row["path"].clone()).collect();
    assert_eq!(skipped, ["Mail/notes.txt", "Mail/work/new/.hidden", "Mail/work/loop"]);
    assert_eq!(sums["skipped"].as_u64(), Some(3));
    assert!(run.stderr.contains("note: Mail/work/loop: skipped: a link"), "{}", run.stderr);
    assert!(run.stderr.contains("work/cur/fifo: not a regular file"), "{}", run.stderr);
}

#[test]
fn what_cannot_be_read_is_named_and_hides_nothing() {
    let (home, messages) = received();
    let mail = maildir(&home.file("Maildir"));
    fs::write(mail.join("cur/1"), &messages[5]).unwrap();
    fs::write(mail.join("cur/2"), [0x1f, 0x8b, 8, 0]).unwrap();
    fs::create_dir(mail.join("cur/3")).unwrap();
    fs::write(mail.join("cur/4"), &messages[5]).unwrap();
    let run = home.run(["scan", "no\x1bthing", "Maildir"], b"").exits(74);
    assert_eq!(run.stderr.lines().count(), 3, "{}", run.stderr);
    assert!(run.stderr.contains("no\\x1bthing: ") && run.stderr.contains("Maildir/cur/2: compressed with gzip"));
    assert!(run.text().ends_with("\nmessages: 2\ncould not be read: 3\n"), "{}", run.text());
    home.run(["scan"], b"").exits(64);
    home.run(["scan", "--recipient", "nobody", "Maildir"], b"").exits(64);
    // A file that only root may read tells root nothing.
    if rustix::process::geteuid().as_raw() != 0 {
        fs::set_permissions(mail.join("cur/4"), fs::Permissions::from_mode(0o000)).unwrap();
        assert!(home.run(["scan", "Maildir"], b"").exits(74).stderr.contains("cur/4: "));
    }
}

#[test]
fn what_the_log_has_forgotten_is_judged_and_the_gap_is_told() {
    let (home, messages) = received();
    let mail = maildir(&home.file("Maildir"));
    for (number, message) in messages.iter().enumerate() {
        fs::write(mail.join("cur").join(number.to_string()), message).unwrap();
    }
    // A serial of the same days was removed: a query for another one reports that the clock is behind.
    let purged = home.run(["purge"], b"").exits(0).text();
    assert!(purged.starts_with("serials of ended stamps forgotten: 1\n"), "{purged}");
    let (found, sums) = rows(&home.run(["scan", "--json", "Maildir"], b"").exits(0).text());
    let reasons: Vec<&str> = found.iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["paid", "used", "paid", "used", "expired", "no-stamp"]);
    assert_eq!(sums["reuse_not_checked"], 2);
    let text = home.run(["scan", "Maildir"], b"").exits(0).text();
    assert!(text.contains("\nfirst-class, but not looked up: 2 (the log does not reach back so far)\n"), "{text}");
}

#[test]
fn a_large_mbox_is_never_in_memory_whole() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\nmax_message_size = 1048576"));
    let mut mbox = b"From a\nSubject: large\n\n".to_vec();
    mbox.resize(200 << 20, b'x');
    mbox.extend(b"\n\nFrom b\nSubject: small\n\nsmall\n");
    fs::write(home.file("mbox"), mbox).unwrap();
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &format!("ulimit -v 100000; exec {} scan --json mbox", crate::support::MAILSTAMP)]);
    command.env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin").current_dir(home.path());
    let run = crate::support::run(&mut command, b"").exits(0);
    let (found, _) = rows(&run.text());
    let reasons: Vec<&str> = found.iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["over-limit", "no-stamp"]);
}
