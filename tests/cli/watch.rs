//! `mailstamp watch` on real folders: each move has its effect once, whatever fails in between. (BP3f, BC12b, threat
//! 32.)

use crate::support::programs::{eventually, eventually_or, stop};
use crate::support::{ALICE, Home, letter, stamped};
use mailstamp::message::fingerprint::KnownMessage;
use mailstamp::message::parse::Message;
use mailstamp::stamp::serial::Serial;
use mailstamp::store::UsedLog;
use mailstamp::store::redb::{Options, Redb};
use mailstamp::time::UnixTime;
use mailstamp::verdict::owner::Owner;
use mailstamp::verdict::spend::{Redelivery, SpendRequest, SpendResult, Terms};
use rustix::process::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A home with a Maildir that is watched.
struct Mailbox {
    home: Home,
}

/// The watcher as a process; ended with the value.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Mailbox {
    fn new() -> Self {
        Self::with("")
    }

    /// With more lines for the table `[watch]`.
    fn with(more: &str) -> Self {
        let home = Home::new();
        let maildir = home.file("Maildir");
        let trash = if more.contains("trash") { "" } else { "trash = [\"Trash\"]\n" };
        let table = format!("[watch]\nmaildir = \"{}\"\n{trash}{more}", maildir.display());
        // The test asks the log while the watcher writes into it.
        home.configure(&format!("addresses = [\"{ALICE}\"]\n[used_log]\nwait = \"300s\"\n{table}"));
        for folder in ["", ".Junk", ".Trash", ".Sent", ".Archive"] {
            for part in ["cur", "new", "tmp"] {
                fs::create_dir_all(maildir.join(folder).join(part)).unwrap();
            }
        }
        Self { home }
    }

    fn path(&self, folder: &str) -> PathBuf {
        self.home.file("Maildir").join(folder)
    }

    /// A message with a fresh stamp of this serial, accepted and delivered to the inbox: the file.
    fn receive(&self, serial: &str) -> PathBuf {
        let message = self.message(serial);
        self.home.classify(&message).exits(0).says("first-class paid");
        self.put("", serial, &message)
    }

    /// A message with a stamp of this serial, the same each time.
    fn message(&self, serial: &str) -> Vec<u8> {
        self.home.affix(&self.home.issue(ALICE, ["--serial", serial]), &letter(serial))
    }

    fn put(&self, folder: &str, name: &str, message: &[u8]) -> PathBuf {
        let path = self.path(folder).join("cur").join(format!("{name}.host:2,S"));
        fs::write(self.path(folder).join("tmp").join(name), message).unwrap();
        fs::rename(self.path(folder).join("tmp").join(name), &path).unwrap();
        path
    }

    /// Moves as Maildir programs do: renamed, under the same name.
    fn shift(&self, from: &Path, folder: &str) -> PathBuf {
        let to = self.path(folder).join("cur").join(from.file_name().unwrap());
        fs::rename(from, &to).unwrap();
        to
    }

    fn watch(&self) -> Watching {
        let log = fs::File::options().create(true).append(true).open(self.home.file("watch.log")).unwrap();
        let mut command = self.home.command();
        let err = log.try_clone().unwrap();
        let child = command.arg("watch").stdin(Stdio::null()).stdout(log).stderr(err).spawn().unwrap();
        // It has begun when it has looked once.
        let state = self.home.state().join("watch.jsonl");
        let indexed = || fs::read_to_string(&state).is_ok_and(|text| text.matches("indexed").count() >= 3);
        eventually_or("the first look", || indexed().then_some(()), || self.log());
        Watching(child)
    }

    fn once(&self) -> String {
        self.home.run(["watch", "--once"], b"").exits(0).text()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.file("watch.log")).unwrap_or_default()
    }

    fn state(&self, serial: &str) -> String {
        let listed = self.home.run(["grants", serial], b"").exits(0).text();
        listed.split(' ').next().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn becomes(&self, serial: &str, state: &str) -> Duration {
        let began = Instant::now();
        let ask = || (self.state(serial) == state).then_some(());
        eventually_or(&format!("{serial} {state:?}"), ask, || self.log());
        began.elapsed()
    }
}

#[test]
fn a_message_moved_to_junk_revokes_its_stamp_and_moved_back_unrevokes_it() {
    let mailbox = Mailbox::new();
    let file = mailbox.receive("one");
    let bystander = mailbox.receive("two");
    let _watching = mailbox.watch();
    for junk in [".Junk", ".Trash"] {
        let moved = mailbox.shift(&file, junk);
        mailbox.becomes("one", "revoked");
        let other = mailbox.home.affix(&mailbox.home.issue(ALICE, ["--serial", "one"]), &letter("other"));
        mailbox.home.run(["classify", "--dry-run"], &other).exits(22).says("revoked by-recipient");
        mailbox.shift(&moved, "");
        mailbox.becomes("one", "");
    }
    assert!(bystander.exists());
    assert_eq!(mailbox.state("two"), "");
    // The line comes after the change.
    let did = || mailbox.log().matches("stamps.example/one: unrevoked").count();
    eventually_or("the last line", || (did() == 2).then_some(()), || mailbox.log());
    assert_eq!(mailbox.log().matches("stamps.example/one: revoked").count(), 2, "{}", mailbox.log());
}

#[test]
fn trash_revokes_nothing_unless_it_is_asked_to() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[watch]\nmaildir = \"{}\"", home.file("Maildir").display()));
    for folder in [".Trash/cur", "new", "cur", "tmp"] {
        fs::create_dir_all(home.file("Maildir").join(folder)).unwrap();
    }
    let message = home.stamped(&letter("1"));
    home.classify(&message).exits(0);
    home.run(["grant"], &message).exits(0);
    fs::write(home.file("Maildir/cur/1.host:2,S"), &message).unwrap();
    home.run(["watch", "--once"], b"").exits(0);
    fs::rename(home.file("Maildir/cur/1.host:2,S"), home.file("Maildir/.Trash/cur/1.host:2,S")).unwrap();
    assert_eq!(home.run(["watch", "--once"], b"").exits(0).text(), "");
    assert!(!home.run(["grants"], b"").exits(0).text().contains("revoked"));
}

#[test]
fn a_grant_goes_and_comes_back_with_the_message() {
    // BC12b: the second message came under the grant; it is known for one that was received, too.
    let mailbox = Mailbox::new();
    mailbox.receive("one");
    mailbox.home.run(["grant"], &mailbox.message("one")).exits(0);
    let second = mailbox.home.affix(&mailbox.home.issue(ALICE, ["--serial", "one"]), &letter("second"));
    mailbox.home.classify(&second).exits(0).says("first-class multi-use");
    let file = mailbox.put("", "second", &second);
    let _watching = mailbox.watch();
    let moved = mailbox.shift(&file, ".Junk");
    mailbox.becomes("one", "revoked");
    mailbox.shift(&moved, ".Archive");
    mailbox.becomes("one", "active");
}

#[test]
fn copying_deleting_renumbering_and_flags_are_no_other_message() {
    let mailbox = Mailbox::new();
    let file = mailbox.receive("one");
    mailbox.once();
    // A mail reader copies first, under a new name, and deletes later.
    let message = fs::read(&file).unwrap();
    let junk = mailbox.put(".Junk", "copy", &message);
    assert!(mailbox.once().contains("one: revoked"));
    fs::remove_file(&file).unwrap();
    // Flags, and the number that mbsync gives.
    let flagged = mailbox.path(".Junk").join("cur/copy.host:2,FRS");
    fs::rename(&junk, &flagged).unwrap();
    assert_eq!(mailbox.once(), "");
    let numbered = mailbox.path(".Junk").join("cur/copy.host,U=7:2,FRS");
    fs::rename(&flagged, &numbered).unwrap();
    assert_eq!(mailbox.once(), "");
    // From Junk to Trash: nothing new, even under another name. The user's commands meanwhile stay in effect.
    fs::remove_file(&numbered).unwrap();
    let trash = mailbox.put(".Trash", "third", &message);
    assert_eq!(mailbox.once(), "");
    // Back, copied before it is deleted: it is back when it is no more in Trash.
    let back = mailbox.put("", "fourth", &message);
    assert_eq!(mailbox.once(), "");
    assert_eq!(mailbox.state("one"), "revoked");
    fs::remove_file(&trash).unwrap();
    assert!(mailbox.once().contains("one: unrevoked"));
    assert_eq!(mailbox.once(), "");
    assert!(back.exists());
    assert_eq!(mailbox.state("one"), "");
}

#[test]
fn what_was_deleted_for_good_or_revoked_by_command_is_not_unrevoked() {
    let mailbox = Mailbox::new();
    let (one, two) = (mailbox.receive("one"), mailbox.receive("two"));
    mailbox.once();
    let (in_junk, gone) = (mailbox.shift(&one, ".Junk"), mailbox.shift(&two, ".Trash"));
    mailbox.home.run(["revoke"], &mailbox.message("one")).exits(0);
    assert_eq!(mailbox.once(), "stamps.example/two: revoked, moved to Junk or Trash\n");
    mailbox.shift(&in_junk, "");
    fs::remove_file(gone).unwrap();
    assert_eq!(mailbox.once(), "");
    assert_eq!((mailbox.state("one").as_str(), mailbox.state("two").as_str()), ("revoked", "revoked"));
    // And a revocation by command after the move stays, too.
    let three = mailbox.receive("three");
    let moved = mailbox.shift(&three, ".Junk");
    mailbox.once();
    mailbox.home.run(["revoke"], &mailbox.message("three")).exits(0);
    mailbox.shift(&moved, "");
    assert_eq!(mailbox.once(), "");
    assert_eq!(mailbox.state("three"), "revoked");
}

#[test]
fn moved_back_too_late_unrevokes_nothing() {
    let mailbox = Mailbox::with("unrevoke_within = \"1s\"");
    let file = mailbox.receive("one");
    mailbox.once();
    let moved = mailbox.shift(&file, ".Junk");
    mailbox.once();
    std::thread::sleep(Duration::from_millis(2_100));
    mailbox.shift(&moved, "");
    assert_eq!(mailbox.once(), "");
    assert_eq!(mailbox.state("one"), "revoked");
}

#[test]
fn nobody_revokes_by_planting_a_copy() {
    // Threat 32: never judged here; judged, and refused; the stamp of a received message on another one.
    let mailbox = Mailbox::new();
    mailbox.once();
    mailbox.put(".Junk", "never", &mailbox.message("never"));
    let received = mailbox.receive("one");
    let other = mailbox.home.affix(&mailbox.home.issue(ALICE, ["--serial", "one"]), &letter("planted"));
    mailbox.home.classify(&other).exits(21);
    mailbox.put(".Junk", "planted", &other);
    mailbox.put(".Junk", "unstamped", &letter("plain"));
    mailbox.put(".Junk", "forged", b"Digital-Stamp: v4.public.AAAA\n\n");
    assert_eq!(mailbox.once(), "");
    assert!(received.exists());
    assert_eq!((mailbox.state("never").as_str(), mailbox.state("one").as_str()), ("", ""));
    // Commands for mail servers keep the same rule.
    mailbox.home.run(["revoke", "--moved"], &other).exits(0).says("");
    assert_eq!(mailbox.state("one"), "");
    mailbox.home.run(["revoke", "--moved"], &mailbox.message("never")).exits(0).says("");
    let message = fs::read(received).unwrap();
    mailbox.home.run(["revoke", "--moved"], &message).exits(0).says("stamps.example/one: revoked");
    mailbox.home.run(["unrevoke", "--moved"], &other).exits(0).says("");
    assert_eq!(mailbox.state("one"), "revoked");
    mailbox.home.run(["unrevoke", "--moved"], &message).exits(0).says("stamps.example/one: unrevoked");
    assert_eq!(mailbox.state("one"), "");
}

#[test]
fn what_lies_in_junk_before_the_first_look_is_history() {
    let mailbox = Mailbox::new();
    let file = mailbox.receive("old");
    mailbox.shift(&file, ".Junk");
    assert_eq!(mailbox.once(), "");
    let new = mailbox.receive("new");
    mailbox.shift(&new, ".Junk");
    assert_eq!(mailbox.once(), "stamps.example/new: revoked, moved to Junk or Trash\n");
}

#[test]
fn a_folder_made_for_its_first_message_is_no_history() {
    let mailbox = Mailbox::new();
    fs::remove_dir_all(mailbox.path(".Junk")).unwrap();
    let file = mailbox.receive("one");
    let _watching = mailbox.watch();
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(mailbox.path(".Junk").join(part)).unwrap();
    }
    let moved = mailbox.shift(&file, ".Junk");
    mailbox.becomes("one", "revoked");
    // And it is watched from now on.
    mailbox.shift(&moved, "");
    mailbox.becomes("one", "");
}

#[test]
fn sent_messages_that_say_so_have_their_stamps_logged_for_return() {
    // BP3c: the grant is what the user's own log says; a message of another sender with the same mark gives nothing.
    let mailbox = Mailbox::new();
    let marked = |serial: &str, from: &str| {
        let stamp = mailbox.home.issue("bob@y.example", ["--serial", serial]);
        let text = String::from_utf8(letter(serial)).unwrap().replace("bob@y.example>\nTo", &format!("{from}>\nTo"));
        mailbox.home.affix(&stamp, text.as_bytes())
    };
    let with_mark = |message: Vec<u8>| {
        let text = String::from_utf8(message).unwrap();
        let (field, rest) = text.split_once("\nFrom:").unwrap();
        format!("{field};\n reuse=return\nFrom:{rest}").into_bytes()
    };
    mailbox.put(".Sent", "mine", &with_mark(marked("mine", ALICE)));
    mailbox.put(".Sent", "plain", &marked("plain", ALICE));
    mailbox.put(".Sent", "bobs", &with_mark(marked("bobs", "bob@y.example")));
    mailbox.put("", "elsewhere", &with_mark(marked("elsewhere", ALICE)));
    assert_eq!(mailbox.once(), "stamps.example/mine: granted for return use, sent\n");
    assert_eq!(mailbox.once(), "");
    assert_eq!(mailbox.state("mine"), "active");
    for serial in ["plain", "bobs", "elsewhere"] {
        assert_eq!(mailbox.state(serial), "", "{serial}");
    }
}

#[test]
fn two_thousand_at_once_and_a_restart_in_the_middle_are_each_done_once() {
    const MANY: usize = 2_000;
    let mailbox = Mailbox::new();
    // Received in bulk: rows imported, as from another store, for messages whose fingerprints are known from one each.
    let files = receive_many(&mailbox, MANY);
    let watching = mailbox.watch();
    let (before, after) = files.split_at(MANY / 2);
    before.iter().for_each(|file| drop(mailbox.shift(file, ".Junk")));
    let revoked = || mailbox.log().matches(": revoked").count();
    eventually("some", || (revoked() > 20).then_some(()));
    // Stopped, so that it cannot have done with all of them when it is killed.
    stop(Pid::from_child(&watching.0));
    after.iter().for_each(|file| drop(mailbox.shift(file, ".Junk")));
    drop(watching);
    assert!(revoked() < MANY, "it was not ended in the middle");
    let watching = mailbox.watch();
    let listed = || mailbox.home.run(["grants", "--revoked"], b"").exits(0).text().lines().count();
    eventually_or("all", || (listed() == MANY).then_some(()), || mailbox.log());
    // Those of the batch that was cut off may be reported never, and none is reported twice.
    let log = mailbox.log();
    let mut told: Vec<&str> = log.lines().collect();
    let count = told.len();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), count);
    // Quiet again: the same folders once more change nothing.
    drop(watching);
    assert_eq!(mailbox.once(), "");
}

/// `many` messages in the inbox, each with a stamp that was spent on it. The program would take minutes for as many.
fn receive_many(mailbox: &Mailbox, many: usize) -> Vec<PathBuf> {
    let home = &mailbox.home;
    home.classify(&letter("before")).exits(11);
    let log = Redb::new(home.state().join("used.redb"), Options::default());
    let now = UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap());
    let receive = |number: usize| {
        let (serial, expires) = (format!("s{number}"), now.plus(24 * 60 * 60));
        let message = stamped(&home.mint_until(ALICE, &serial, expires), &letter(&number.to_string()));
        let spend = SpendRequest {
            vendor: "stamps.example".to_owned(),
            serial: Serial::new(&serial).unwrap(),
            expires: Some(expires),
            message: KnownMessage::of(&Message::parse(&message)),
            owner: Owner::default(),
            from: None,
            now,
            redelivery: Redelivery::EVER,
            terms: Terms::Spend,
            late: false,
            purge_until: None,
            cap: None,
        };
        assert_eq!(log.spend(&spend).unwrap(), SpendResult::Fresh);
        let file = mailbox.path("cur").join(format!("{number}.host:2,S"));
        fs::write(&file, message).unwrap();
        file
    };
    (1..=many).map(receive).collect()
}

#[test]
fn flags_that_change_all_the_time_are_no_moves() {
    let mailbox = Mailbox::new();
    let file = mailbox.receive("one");
    let _watching = mailbox.watch();
    let mut at = mailbox.shift(&file, ".Junk");
    mailbox.becomes("one", "revoked");
    // Among many others, so that reading the folder takes a while.
    for i in 0..3_000 {
        mailbox.put(".Junk", &format!("other{i}"), &letter("plain"));
    }
    // The user's command meanwhile must stay in effect, whichever name of the file is seen.
    mailbox.home.run(["unrevoke"], &mailbox.message("one")).exits(0);
    let end = Instant::now() + Duration::from_secs(3);
    let mut seen = false;
    while Instant::now() < end {
        seen = !seen;
        let to = at.with_file_name(if seen { "one.host:2,FS" } else { "one.host:2,S" });
        fs::rename(&at, &to).unwrap();
        at = to;
    }
    // A mark: the watcher has handled all changes before it.
    let mark = mailbox.receive("mark");
    mailbox.shift(&mark, ".Trash");
    mailbox.becomes("mark", "revoked");
    assert_eq!(mailbox.state("one"), "");
    // The line comes after the change.
    eventually_or("its line", || mailbox.log().contains("mark: revoked").then_some(()), || mailbox.log());
    assert_eq!(mailbox.log().lines().count(), 2, "{}", mailbox.log());
}

#[test]
fn a_folder_put_in_the_place_of_another_is_found_by_the_next_full_look() {
    let mailbox = Mailbox::with("rescan = \"1s\"");
    let file = mailbox.receive("one");
    let _watching = mailbox.watch();
    let junk = mailbox.path(".Junk");
    let aside = mailbox.home.file("aside");
    fs::rename(&junk, &aside).unwrap();
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(mailbox.home.file("made").join(part)).unwrap();
    }
    fs::rename(&file, mailbox.home.file("made/cur/one.host:2,S")).unwrap();
    fs::rename(mailbox.home.file("made"), &junk).unwrap();
    mailbox.becomes("one", "revoked");
    mailbox.shift(&junk.join("cur/one.host:2,S"), "");
    mailbox.becomes("one", "");
}

#[test]
fn folders_that_are_removed_and_made_again_are_watched() {
    // The next full look comes too late to help.
    let mailbox = Mailbox::with("rescan = \"1h\"");
    let files = ["one", "two", "three"].map(|serial| (serial, mailbox.receive(serial)));
    let _watching = mailbox.watch();
    let junk = mailbox.path(".Junk");
    for ((serial, file), removed) in files.into_iter().zip([&junk, &junk, &junk.join("cur")]) {
        fs::remove_dir_all(removed).unwrap();
        make(&junk);
        // The first mark may still be part of the look at the new folder, and the second comes after it.
        for mark in ["first", "second"].map(|mark| format!("{mark}-{serial}")) {
            let at = mailbox.receive(&mark);
            mailbox.shift(&at, ".Trash");
            mailbox.becomes(&mark, "revoked");
        }
        mailbox.shift(&file, ".Junk");
        mailbox.becomes(serial, "revoked");
    }
}

#[test]
fn a_renamed_junk_unrevokes_nothing() {
    let mailbox = Mailbox::new();
    let [old, new] = ["old", "new"].map(|serial| mailbox.receive(serial));
    mailbox.once();
    mailbox.shift(&old, ".Junk");
    assert!(mailbox.once().contains("stamps.example/old: revoked"));
    // Its flags change, so that the file is newer than the revocation.
    let cur = mailbox.path(".Junk/cur");
    fs::rename(cur.join("old.host:2,S"), cur.join("old.host:2,RS")).unwrap();
    fs::rename(mailbox.path(".Junk"), mailbox.path(".Junkold")).unwrap();
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(mailbox.path(".Junk").join(part)).unwrap();
    }
    for _ in 0..2 {
        assert!(!mailbox.once().contains("unrevoked"));
        assert_eq!(mailbox.state("old"), "revoked");
    }
    // The new one is as good as the old one.
    let moved = mailbox.shift(&new, ".Junk");
    mailbox.once();
    assert_eq!(mailbox.state("new"), "revoked");
    mailbox.shift(&moved, ".Junkold");
    assert!(mailbox.once().contains("stamps.example/new: unrevoked"));
}

#[test]
fn when_the_system_lost_count_of_changes_nothing_is_lost() {
    // Only an administrator can have made this queue longer than a test should fill.
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queue: usize = queue.trim().parse().unwrap();
    let mailbox = Mailbox::new();
    let file = mailbox.receive("one");
    let watching = mailbox.watch();
    let process = rustix::process::Pid::from_child(&watching.0);
    let send = |signal| rustix::process::kill_process(process, signal).unwrap();
    stop(process);
    let mut at = mailbox.put(".Archive", "flags", &letter("flags"));
    for i in 0..=queue / 2 {
        let to = at.with_file_name(format!("flags.host:2,{}", if i % 2 == 0 { "F" } else { "S" }));
        fs::rename(&at, &to).unwrap();
        at = to;
    }
    // The watcher gets no event for this move.
    mailbox.shift(&file, ".Junk");
    send(rustix::process::Signal::CONT);
    mailbox.becomes("one", "revoked");
}

#[test]
fn a_folder_full_of_history_is_indexed_under_a_bar() {
    let mailbox = Mailbox::new();
    for i in 0..600 {
        mailbox.put(".Sent", &format!("old{i}"), &letter("plain"));
    }
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &format!("{} watch --once", crate::support::MAILSTAMP), "/dev/null"]);
    script.env_clear().env("HOME", mailbox.home.path()).env("PATH", "/usr/bin:/bin");
    let drawn = crate::support::run(&mut script, b"").exits(0).text();
    assert!(drawn.contains(" %  "), "{drawn:?}");
    assert!(drawn.ends_with("\r\x1b[K"), "taken away at the end: {drawn:?}");
    // Once.
    assert_eq!(crate::support::run(&mut script, b"").exits(0).text(), "");
}

#[test]
fn the_state_that_a_crash_spoiled_is_made_good() {
    let mailbox = Mailbox::new();
    let file = mailbox.receive("one");
    mailbox.once();
    mailbox.shift(&file, ".Junk");
    mailbox.once();
    // The last notes are lost or cut: the message is seen to again, and finds itself done.
    let notes = mailbox.home.state().join("watch.jsonl");
    let text = fs::read_to_string(&notes).unwrap();
    let kept: String = text.lines().filter(|line| line.contains("indexed")).map(|line| format!("{line}\n")).collect();
    fs::write(&notes, format!("{kept}{{\"note\":\"ca")).unwrap();
    assert_eq!(mailbox.once(), "");
    mailbox.shift(&mailbox.path(".Junk").join("cur/one.host:2,S"), "");
    assert!(mailbox.once().contains("one: unrevoked"));
}

/// A message moved from Junk to Trash is not moved back. Neither is one that is sorted into a subfolder of Junk.
#[test]
fn from_junk_to_what_is_trash_by_its_name_is_not_back() {
    let mailbox = Mailbox::with("trash = []");
    for (serial, folder) in [("one", ".Trash"), ("two", ".Deleted Items"), ("three", ".Junk.2026")] {
        make(&mailbox.path(folder));
        let file = mailbox.receive(serial);
        mailbox.once();
        let in_junk = mailbox.shift(&file, ".Junk");
        mailbox.once();
        let thrown = mailbox.shift(&in_junk, folder);
        assert_eq!(mailbox.once(), "", "{folder}");
        assert_eq!(mailbox.state(serial), "revoked");
        mailbox.shift(&thrown, "");
        assert_eq!(mailbox.once(), format!("stamps.example/{serial}: unrevoked, moved back\n"));
    }
    // A message that is only thrown away says nothing about its stamp.
    let file = mailbox.receive("liked");
    mailbox.shift(&file, ".Trash");
    assert_eq!(mailbox.once(), "");
    assert_eq!(mailbox.state("liked"), "");
}

#[test]
fn names_beyond_ascii_are_found_as_servers_spell_them() {
    let mailbox = Mailbox::with("trash = [\"Gelöschte Elemente\"]\njunk = [\"Junk\", \"Spam\"]");
    make(&mailbox.path(".Gel&APY-schte Elemente"));
    mailbox.once();
    let file = mailbox.receive("one");
    mailbox.shift(&file, ".Gel&APY-schte Elemente");
    assert!(mailbox.once().contains("one: revoked"));
    let doctor = mailbox.home.run(["doctor"], b"").exits(0).text();
    let line = doctor.lines().find(|line| line.contains("  watched  ")).expect("the watched folders");
    assert!(line.starts_with("warning") && line.ends_with("/Maildir has no folder Spam"), "{line}");
}

fn make(folder: &Path) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
}

/// It begins without what it needs, and goes on when that is there. What does not go away is told once.
#[test]
fn trouble_at_the_beginning_is_told_and_tried_again() {
    let mailbox = Mailbox::new();
    let (maildir, aside) = (mailbox.path(""), mailbox.home.file("aside"));
    fs::rename(&maildir, &aside).unwrap();
    let log = fs::File::create(mailbox.home.file("watch.log")).unwrap();
    let mut command = mailbox.home.command();
    let child = command.arg("watch").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let _watching = Watching(child);
    eventually("the trouble", || mailbox.log().contains("Maildir: No such file").then_some(()));
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(mailbox.log().lines().count(), 1, "{}", mailbox.log());
    fs::rename(&aside, &maildir).unwrap();
    let notes = mailbox.home.state().join("watch.jsonl");
    let indexed = || fs::read_to_string(&notes).is_ok_and(|text| text.matches("indexed").count() >= 3);
    eventually_or("the first look", || indexed().then_some(()), || mailbox.log());
    let file = mailbox.receive("one");
    mailbox.shift(&file, ".Junk");
    mailbox.becomes("one", "revoked");
}

/// As where no more of them may be made (`fs.inotify.max_user_instances`).
#[test]
fn without_being_told_of_changes_it_looks_from_time_to_time() {
    let mailbox = Mailbox::with("rescan = \"1s\"");
    let file = mailbox.receive("one");
    let log = fs::File::create(mailbox.home.file("watch.log")).unwrap();
    let mut command = std::process::Command::new("strace");
    command.args([
        // It traces from outside: the child that is ended is the watcher.
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=inotify_init1",
        "-e",
        "inject=inotify_init1:error=EMFILE",
    ]);
    command.args([crate::support::MAILSTAMP, "watch"]).env_clear().env("HOME", mailbox.home.path());
    command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let _watching = Watching(command.spawn().unwrap());
    eventually("the trouble", || mailbox.log().contains("cannot watch folders (inotify)").then_some(()));
    let notes = mailbox.home.state().join("watch.jsonl");
    let indexed = || fs::read_to_string(&notes).is_ok_and(|text| text.matches("indexed").count() >= 3);
    eventually_or("the first look", || indexed().then_some(()), || mailbox.log());
    mailbox.shift(&file, ".Junk");
    mailbox.becomes("one", "revoked");
    assert_eq!(mailbox.log().matches("cannot watch folders (inotify)").count(), 1, "{}", mailbox.log());
}

#[test]
fn a_folder_that_is_named_later_is_watched_from_then_on() {
    let mailbox = Mailbox::new();
    make(&mailbox.path(".Spam"));
    let file = mailbox.receive("one");
    let _watching = mailbox.watch();
    let config = fs::read_to_string(mailbox.home.config()).unwrap();
    // At once: the watcher reads it at any time.
    fs::write(mailbox.home.file("config.new"), config + "junk = [\"Spam\"]\n").unwrap();
    fs::rename(mailbox.home.file("config.new"), mailbox.home.config()).unwrap();
    let notes = mailbox.home.state().join("watch.jsonl");
    let indexed = || fs::read_to_string(&notes).is_ok_and(|text| text.contains("/Spam\""));
    eventually_or("the new folder", || indexed().then_some(()), || mailbox.log());
    mailbox.shift(&file, ".Spam");
    mailbox.becomes("one", "revoked");
}

#[test]
fn what_is_no_message_is_passed_over() {
    let mailbox = Mailbox::new();
    let file = mailbox.receive("one");
    assert_eq!(mailbox.once(), "");
    for place in [".Junk/cur/fifo:2,S", ".Sent/cur/fifo", "cur/fifo"] {
        crate::support::run(std::process::Command::new("mkfifo").arg(mailbox.path(place)), b"").exits(0);
    }
    fs::create_dir(mailbox.path(".Junk/cur/folder")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", mailbox.path(".Sent/cur/device")).unwrap();
    mailbox.shift(&file, ".Junk");
    let watched = || {
        let mut command = std::process::Command::new("timeout");
        command.arg("60").arg(crate::support::MAILSTAMP).args(["watch", "--once"]).env_clear();
        crate::support::run(command.env("HOME", mailbox.home.path()).env("PATH", "/usr/bin:/bin"), b"").exits(0).text()
    };
    assert_eq!(watched(), "stamps.example/one: revoked, moved to Junk or Trash\n");
    assert_eq!(watched(), "");
}

/// Needs root, for a folder that another user cannot read.
#[test]
fn a_folder_that_cannot_be_read_hides_no_other() {
    let mailbox = Mailbox::new();
    let config = fs::read_to_string(mailbox.home.config()).unwrap();
    fs::write(mailbox.home.config(), config + "junk = [\"Closed\", \"Junk\"]\n").unwrap();
    let message = mailbox.message("one");
    for folder in [".Closed", ".Also"] {
        make(&mailbox.path(folder));
    }
    let home = mailbox.home.path();
    crate::support::programs::chmod(home, 0o755);
    crate::support::programs::install(home);
    crate::support::programs::give(home, 5, 5);
    for folder in [".Closed/cur", ".Also/cur"] {
        crate::support::programs::chmod(&mailbox.path(folder), 0o700);
        crate::support::programs::give(&mailbox.path(folder), 0, 0);
    }
    let run = |args: &[&str], stdin: &[u8]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "5", "--regid", "5", "--clear-groups"]).arg(mailbox.home.file("bin/mailstamp"));
        command.args(args).env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin");
        crate::support::run(&mut command, stdin)
    };
    run(&["classify"], &message).exits(0).says("first-class paid");
    let file = mailbox.put("", "one", &message);
    let look = || run(&["watch", "--once"], b"").exits(0);
    let first = look();
    assert_eq!(first.stderr.matches("Permission denied").count(), 2, "{}", first.stderr);
    let moved = mailbox.shift(&file, ".Junk");
    assert_eq!(look().text(), "stamps.example/one: revoked, moved to Junk or Trash\n");
    mailbox.shift(&moved, ".Archive");
    assert_eq!(look().text(), "stamps.example/one: unrevoked, moved back\n");
}

#[test]
fn without_folders_or_beside_another_watcher_it_says_so() {
    let home = Home::new();
    let none = home.run(["watch", "--once"], b"").exits(78);
    assert!(none.stderr.contains("[watch]"), "{}", none.stderr);
    let mailbox = Mailbox::new();
    let _watching = mailbox.watch();
    let second = mailbox.home.run(["watch", "--once"], b"").exits(75);
    assert!(second.stderr.contains("another watcher"), "{}", second.stderr);
}
