//! Deliveries that are killed, and many at once: a message is in the Maildir at least once when its sender is told so,
//! it is never there in part, and it is doubled only as Maildirs allow: when the kill came between delivery and answer.

use super::{maildir_of, seen};
use crate::support::{ALICE, Home, letter, run, stamped, traced_with};
use std::fs;
use std::path::Path;
use std::sync::Barrier;

/// Every call with which a delivery changes anything.
const CALLS: [&str; 16] = [
    "mkdir",
    "mkdirat",
    "open",
    "openat",
    "lseek",
    "write",
    "pwrite64,pwritev2",
    "ftruncate",
    "fdatasync",
    "fsync",
    "linkat",
    "link",
    "unlinkat",
    "renameat2",
    "close",
    "exit_group",
];

/// Runs the command that `command` makes for the n-th time, killed at the n-th call of this name, for every n that
/// there is.
fn killed_at_every(
    home: &Home,
    call: &str,
    args: &dyn Fn(usize) -> (Vec<String>, Vec<u8>),
    check: &mut dyn FnMut(usize, Vec<String>, Vec<u8>),
) -> usize {
    for n in 1.. {
        let (args, stdin) = args(n);
        let inject = format!("inject=?{call}:signal=KILL:when={n}");
        let (said, _) = traced_with(home.command().args(&args), &["-e", &inject], &stdin);
        if said.code == 0 {
            return n - 1;
        }
        assert_eq!((said.code, said.stderr.as_str()), (-1, ""), "{call} {n}");
        check(n, args, stdin);
    }
    0
}

/// Every message in the folder is this one, whole; how many there are.
fn whole(folder: &Path, message: &[u8], what: &str) -> usize {
    let files = seen(folder);
    for (name, bytes) in &files {
        let field = bytes.strip_suffix(message).unwrap_or_else(|| panic!("{what}: {name} is not whole: {bytes:?}"));
        assert!(field.starts_with(b"Digital-Stamp-Class: ") && field.ends_with(b"\n"), "{what}");
    }
    files.len()
}

#[test]
fn a_delivery_killed_anywhere_loses_and_halves_nothing() {
    // Promises 1 and 3; BC17.
    let home = Home::new();
    let (mut kills, mut doubled) = (0, 0);
    for call in CALLS {
        let id = |n: usize| format!("{}{n}", call.replace(',', "-"));
        let message = |n: usize| stamped(&home.mint(ALICE, &id(n)), &letter(&id(n)));
        let target = |n: usize| home.file(&id(n));
        let args = |n: usize| {
            let args = ["deliver".to_owned(), "--maildir".to_owned(), target(n).display().to_string()];
            (args.to_vec(), message(n))
        };
        kills += killed_at_every(&home, call, &args, &mut |n, args, message| {
            let what = format!("{call} {n}");
            let before = whole(&target(n), &message, &what);
            assert!(before <= 1, "{what}");
            doubled += before;
            run(home.command().args(args), &message).exits(0);
            assert_eq!(whole(&target(n), &message, &what), before + 1, "{what}");
            // It is first-class both times, and nothing else with its stamp is.
            assert!(!target(n).join(".Junk").exists(), "{what}");
        });
    }
    assert!(kills > 60 && doubled > 0 && doubled < kills / 2, "{kills} kills, {doubled} doubled");
    assert_eq!(home.run(["doctor"], b"").exits(0).stderr, "");
}

#[test]
fn a_message_that_is_to_be_held_is_not_lost_either() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[actions]\nunstamped = \"hold\""));
    let message = letter("1");
    let mut kills = 0;
    for call in ["mkdirat", "openat", "write", "fsync", "linkat", "unlinkat"] {
        let state = |n: usize| home.file(&format!("state-{call}{n}"));
        let args = |n: usize| {
            let args = ["--state".to_owned(), state(n).display().to_string(), "deliver".to_owned()];
            (args.to_vec(), message.clone())
        };
        kills += killed_at_every(&home, call, &args, &mut |n, args, message| {
            let what = format!("{call} {n}");
            let before = whole(&state(n).join("held"), &message, &what);
            run(home.command().args(args), &message).exits(0);
            assert_eq!(whole(&state(n).join("held"), &message, &what), before + 1, "{what}");
        });
    }
    assert!(kills > 20, "{kills}");
    assert_eq!(seen(&maildir_of(&home)), []);
}

#[test]
fn a_release_killed_anywhere_leaves_the_message_in_one_place_at_least() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[actions]\nunstamped = \"hold\""));
    let held = home.state().join("held");
    let mut kills = 0;
    for (call, command) in
        [("openat", "release"), ("write", "release"), ("fsync", "allow"), ("linkat", "release"), ("unlinkat", "allow")]
    {
        for n in 1.. {
            // Each from another sender, because mail of an allowed sender is not held again.
            let sender = format!("{call}{n}@y.example");
            let message = String::from_utf8(letter("1")).unwrap().replace("bob@y.example", &sender).into_bytes();
            home.run(["deliver"], &message).exits(0);
            let list = home.run(["held", "list", "--json"], b"").exits(0).text();
            let list: serde_json::Value = serde_json::from_str(&list).unwrap();
            let id = list["messages"][0]["id"].as_str().unwrap().to_owned();
            let inject = format!("inject=?{call}:signal=KILL:when={n}");
            let (said, _) = traced_with(home.command().args(["held", command, &id]), &["-e", &inject], b"");
            let what = format!("{call} {n}");
            let (here, there) = (whole(&held, &message, &what), whole(&maildir_of(&home), &message, &what));
            assert!(here + there >= 1, "{what}: lost");
            if said.code == 0 {
                assert_eq!((here, there), (0, 1), "{what}");
            } else {
                kills += 1;
                if here == 1 {
                    home.run(["held", command, &id], b"").exits(0);
                }
                assert!(whole(&maildir_of(&home), &message, &what) >= 1);
            }
            fs::remove_dir_all(maildir_of(&home)).unwrap();
            if said.code == 0 {
                break;
            }
        }
    }
    assert!(kills > 12, "{kills}");
    // However often it was tried, a sender is on the list once.
    let list = fs::read_to_string(home.state().join("allow.list")).unwrap();
    let mut senders: Vec<&str> = list.lines().collect();
    let all = senders.len();
    senders.dedup();
    assert!(senders.len() == all && all > 4 && senders.iter().all(|it| it.ends_with("@y.example")), "{list}");
}

#[test]
fn two_hundred_deliveries_at_once_make_two_hundred_messages() {
    let home = Home::new();
    // A busy machine takes longer for all of them than a command waits by default.
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[used_log]\nwait = \"300s\""));
    // Half of them go into a folder that all of them want to make.
    let message = |n: usize| match n % 2 {
        0 => stamped(&home.mint(ALICE, &format!("s{n}")), &letter(&n.to_string())),
        _ => letter(&n.to_string()),
    };
    let messages: Vec<Vec<u8>> = (0..200).map(message).collect();
    let start = Barrier::new(messages.len());
    std::thread::scope(|scope| {
        for message in &messages {
            scope.spawn(|| {
                let mut command = home.command();
                command.arg("deliver");
                start.wait();
                let said = run(&mut command, message).exits(0);
                assert_eq!(said.stderr, "");
            });
        }
    });
    let folder = maildir_of(&home);
    let mut delivered: Vec<Vec<u8>> = seen(&folder).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(delivered.len(), 200);
    for message in &messages {
        let at = delivered.iter().position(|bytes| bytes.ends_with(message)).expect("delivered");
        delivered.swap_remove(at);
    }
    assert_eq!(fs::read_dir(folder.join("tmp")).unwrap().count(), 0);
}

#[test]
fn what_killed_deliveries_left_is_swept_away_after_a_day_and_a_half() {
    let home = Home::new();
    home.run(["deliver"], &home.stamped(&letter("1"))).exits(0);
    let tmp = maildir_of(&home).join("tmp");
    let aged = |name: &str, hours: u64| {
        run(std::process::Command::new("touch").args(["-d", &format!("{hours} hours ago")]).arg(tmp.join(name)), b"")
            .exits(0);
    };
    aged("old", 37);
    aged("young", 35);
    // Once a day: it was done with the first message.
    home.run(["deliver"], &letter("2")).exits(0);
    assert!(tmp.join("old").exists());
    fs::write(home.state().join("tidied"), "1700000000\n").unwrap();
    home.run(["deliver"], &letter("3")).exits(0);
    assert!(!tmp.join("old").exists() && tmp.join("young").exists());
    assert_eq!(seen(&maildir_of(&home)).len(), 3);
}
