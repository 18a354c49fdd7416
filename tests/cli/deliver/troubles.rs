//! Unusable folders and failing disks: exit status 75, one line with the reason, and nothing in any folder. After the
//! fault the message is delivered as usual.

use super::{maildir_of, only, seen};
use crate::support::programs::{block, chmod, field};
use crate::support::{ALICE, Home, Run, letter, run, stamped, traced_with};
use rustix::process::geteuid;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// Deferred: 75, nothing on standard output, one line on standard error that says `why`.
#[track_caller]
fn deferred(run: &Run, why: &str) {
    assert_eq!((run.code, run.text().as_str()), (75, ""), "{}", run.stderr);
    assert!(
        run.stderr.starts_with("mailstamp: error: ") && run.stderr.contains(why),
        "{why:?} is not in {:?}",
        run.stderr
    );
    assert_eq!(run.stderr.lines().count(), 1, "{:?}", run.stderr);
}

#[test]
fn a_maildir_that_cannot_be_used_defers_and_spends_nothing() {
    let home = Home::new();
    let inbox = maildir_of(&home);
    let elsewhere = home.file("elsewhere");
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(elsewhere.join(part)).unwrap();
    }
    let message = home.stamped(&letter("1"));
    let refused = |why: &str| {
        deferred(&home.run(["deliver"], &message), why);
        assert!(seen(&elsewhere).is_empty());
        // Not even spent.
        home.run(["classify", "--dry-run"], &message).exits(0).says("first-class paid");
    };
    fs::write(&inbox, "").unwrap();
    refused("not a folder");
    fs::remove_file(&inbox).unwrap();
    block(&inbox);
    refused("Maildir");
    fs::remove_file(&inbox).unwrap();
    fs::create_dir(&inbox).unwrap();
    for part in ["cur", "new", "tmp"] {
        // A user who can plant a link must not get the mail.
        symlink(elsewhere.join(part), inbox.join(part)).unwrap();
        refused("not a folder");
        fs::remove_file(inbox.join(part)).unwrap();
        fs::write(inbox.join(part), "").unwrap();
        refused("not a folder");
        fs::remove_file(inbox.join(part)).unwrap();
    }
    fs::create_dir_all(inbox.join("new")).unwrap();
    for (path, mode) in [(inbox.clone(), 0o777), (inbox.join("new"), 0o703)] {
        chmod(&path, mode);
        refused("world-writable");
        chmod(&path, 0o700);
    }
    if geteuid().is_root() {
        run(Command::new("chown").arg("65534").arg(inbox.join("new")), b"").exits(0);
        refused("owned by user 65534");
        run(Command::new("chown").arg("0").arg(inbox.join("new")), b"").exits(0);
    } else {
        chmod(&inbox.join("new"), 0o500);
        refused("cannot write into");
        chmod(&inbox.join("new"), 0o700);
    }
    // The folder above a Maildir is not made: its disk may not be mounted.
    deferred(&home.run(["deliver", "--maildir", home.file("not/there").to_str().unwrap()], &message), "not/there");
    assert!(!home.file("not").exists());
    home.run(["deliver"], &message).exits(0);
    assert!(field(&only(&inbox), "Digital-Stamp-Class").unwrap().starts_with("first-class; reason=paid;"));
}

#[test]
fn a_folder_of_the_maildir_is_no_link() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[deliver.folders]\nunstamped = \"Unstamped\""));
    fs::create_dir_all(home.file("elsewhere")).unwrap();
    fs::create_dir(maildir_of(&home)).unwrap();
    symlink(home.file("elsewhere"), maildir_of(&home).join(".Unstamped")).unwrap();
    deferred(&home.run(["deliver"], &letter("1")), "not a folder");
    assert_eq!(fs::read_dir(home.file("elsewhere")).unwrap().count(), 0);
    // The Maildir itself may be one: it is the user's own.
    symlink(home.file("elsewhere"), home.file("link")).unwrap();
    home.run(["deliver", "--maildir", home.file("link").to_str().unwrap()], &letter("1")).exits(0);
    only(&home.file("elsewhere/.Unstamped"));
}

#[test]
fn wrong_settings_defer_in_one_line() {
    let home = Home::new();
    for (text, why) in [
        ("[deliver]\nmaildir = \"relative\"", "absolute"),
        ("[deliver]\nmaildir = \"/m/%n\"", "%n"),
        ("[deliver.folders]\nused = \"../up\"", "line 3"),
        ("[deliver.folders]\nussed = \"Junk\"", "ussed"),
        ("[actions]\nunstamped = \"destroy\"", "line 3, column 13"),
        ("[actions]\nunstampt = \"hold\"", "line 3, column 1"),
        ("[actions]\nfirst-class = \"discard\"", "mail that was let through"),
    ] {
        home.configure(text);
        deferred(&home.run(["deliver"], &letter("1")), why);
        let said = home.run(["config", "check"], b"").exits(78);
        assert!(said.stderr.contains(why), "{}", said.stderr);
    }
    assert!(!maildir_of(&home).exists());
    // Without a home there is no Maildir to deliver to.
    let said = run(home.command().arg("deliver").env("HOME", "relative"), &letter("1"));
    deferred(&said, "HOME is not set");
}

/// Runs `deliver` with the n-th call of `call` failing, for every n that there is and each way to fail.
fn failing_at_every(home: &Home, call: &str, errors: &[&str], check: &mut dyn FnMut(&str, &[u8], &Run)) -> usize {
    let mut hits = 0;
    for error in errors {
        for n in 1.. {
            let id = format!("{}{error}{n}", call.replace(',', "-"));
            let message = stamped(&home.mint(ALICE, &id), &letter(&id));
            let target = home.file(&id);
            let inject = format!("inject=?{call}:error={error}:when={n}");
            let mut command = home.command();
            command.arg("deliver").arg("--maildir").arg(&target);
            let (said, notes) = traced_with(&mut command, &["-e", &inject], &message);
            if !notes.contains("INJECTED") {
                said.exits(0);
                break;
            }
            hits += 1;
            check(&id, &message, &said);
        }
    }
    hits
}

#[test]
fn a_disk_that_fails_anywhere_loses_and_halves_nothing() {
    // Promises 1, 3 and 7.
    let home = Home::new();
    home.run(["deliver", "--maildir", home.file("first").to_str().unwrap()], &home.stamped(&letter("first"))).exits(0);
    let mut deferrals = 0;
    let mut check = |id: &str, message: &[u8], said: &Run| {
        let inbox = home.file(id);
        match said.code {
            0 => assert_eq!(seen(&inbox).len(), 1, "{id}"),
            _ => {
                deferrals += 1;
                deferred(said, "");
                assert_eq!(seen(&inbox), [], "{id}: not delivered, and there");
                home.run(["deliver", "--maildir", inbox.to_str().unwrap()], message).exits(0);
            }
        }
        let delivered = only(&inbox);
        assert!(delivered.ends_with(message), "{id}: not whole");
        assert!(field(&delivered, "Digital-Stamp-Class").unwrap().starts_with("first-class; "), "{id}");
        assert!(fs::read_dir(inbox.join("tmp")).unwrap().count() <= 1);
    };
    for (call, least) in [
        ("mkdir", 0),
        ("mkdirat", 3),
        ("lseek", 1),
        ("write", 2),
        ("pwrite64,pwritev2", 2),
        ("ftruncate", 1),
        ("fsync", 3),
        ("fdatasync", 2),
        ("linkat", 1),
        ("faccessat2", 1),
        ("unlinkat", 1),
    ] {
        let hits = failing_at_every(&home, call, &["ENOSPC", "EIO", "EROFS", "EDQUOT"], &mut check);
        assert!(hits >= 4 * least, "{call} failed {hits} times only");
    }
    assert!(deferrals > 30, "{deferrals}");
}

#[test]
fn where_links_are_not_to_be_had_it_goes_without() {
    let home = Home::new();
    for (call, error) in [("linkat", "EPERM"), ("linkat", "EOPNOTSUPP"), ("faccessat2", "ENOSYS")] {
        let id = format!("{call}{error}");
        let target = home.file(&id);
        let mut command = home.command();
        command.arg("deliver").arg("--maildir").arg(&target);
        let (said, notes) = traced_with(&mut command, &["-e", &format!("inject={call}:error={error}")], &letter(&id));
        said.exits(0);
        assert!(notes.contains("INJECTED"), "{notes}");
        assert!(only(&target).ends_with(&letter(&id)));
        assert_eq!(fs::read_dir(target.join("tmp")).unwrap().count(), 0);
    }
}

#[test]
fn a_delivery_that_fails_here_uses_up_no_redelivery() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[used_log]\nmax_redeliveries = 2"));
    let message = home.stamped(&letter("1"));
    let inbox = maildir_of(&home);
    block(&inbox);
    for _ in 0..20 {
        home.run(["deliver"], &message).exits(75);
    }
    fs::remove_file(&inbox).unwrap();
    home.run(["deliver"], &message).exits(0);
    assert!(field(&only(&inbox), "Digital-Stamp-Class").unwrap().starts_with("first-class; reason=paid;"));
    // Failures after the stamp was spent do count: a disk that breaks in between. The limit is 200 by default.
    let message = home.stamped(&letter("2"));
    let failing = || {
        let (said, _) = traced_with(home.command().arg("deliver"), &["-e", "inject=linkat:error=EIO"], &message);
        said.exits(75);
    };
    failing();
    home.run(["classify", "--dry-run"], &message).exits(0).says("first-class again");
}

#[test]
fn a_good_stamp_is_not_spent_before_there_is_room_aside() {
    let home = Home::new();
    home.configure(&format!(
        "addresses = [\"{ALICE}\"]\n[actions]\nfirst-class = \"hold\"\n[used_log]\nmax_redeliveries = 3"
    ));
    let message = home.stamped(&letter("1"));
    let held = home.state().join("held");
    fs::create_dir_all(home.state()).unwrap();
    block(&held);
    for _ in 0..5 {
        deferred(&home.run(["deliver"], &message), "held");
        home.run(["classify", "--dry-run"], &message).exits(0).says("first-class paid");
    }
    fs::remove_file(&held).unwrap();
    home.run(["deliver"], &message).exits(0);
    assert!(field(&only(&held), "Digital-Stamp-Class").unwrap().starts_with("first-class; reason=paid;"));
    // The reserved space is released when it is not needed.
    home.run(["deliver"], &letter("2")).exits(0);
    only(&maildir_of(&home));
    assert_eq!((seen(&held).len(), fs::read_dir(held.join("tmp")).unwrap().count()), (1, 0));
}

#[test]
fn nothing_is_discarded_without_a_line_on_the_disk() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\nverdict_log = false\n[actions]\nunstamped = \"discard\""));
    let lines = || fs::read_to_string(home.state().join("verdicts.jsonl")).unwrap_or_default().lines().count();
    // The line cannot be made: the message waits.
    let log = home.state().join("verdicts.jsonl");
    fs::create_dir_all(&log).unwrap();
    deferred(&home.run(["deliver"], &letter("1")), "not discarded");
    fs::remove_dir(&log).unwrap();
    for (call, error) in [("write", "ENOSPC"), ("fsync", "EIO")] {
        let mut hits = 0;
        for n in 1.. {
            let before = lines();
            let inject = format!("inject={call}:error={error}:when={n}");
            let (said, notes) = traced_with(home.command().arg("deliver"), &["-e", &inject], &letter("2"));
            match (notes.contains("INJECTED"), said.code) {
                (false, code) => {
                    assert_eq!((code, lines()), (0, before + 1));
                    break;
                }
                // What failed was something else, after the line (the daily tidying).
                (true, 0) => assert_eq!(lines(), before + 1, "{call} {n}"),
                (true, _) => deferred(&said, ""),
            }
            hits += 1;
        }
        assert!(hits >= 1, "{call}");
    }
    // The line is synced before the program says that it is done, even where the user wants no verdict log.
    let (said, notes) =
        traced_with(home.command().arg("deliver"), &["-y", "-e", "trace=fsync,write,exit_group"], &letter("3"));
    said.exits(0);
    let synced = notes.lines().position(|line| line.contains("fsync(") && line.contains("verdicts.jsonl"));
    assert!(synced.is_some() && synced < notes.lines().position(|line| line.contains("exit_group(0)")), "{notes}");
    assert_eq!(fs::read_dir(maildir_of(&home).join("new")).unwrap().count(), 0);
}
