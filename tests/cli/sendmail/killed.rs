//! A run is killed at every system call and repeated: every recipient gets the message, and gets it once, except in the
//! one window that the manual names.

use super::account::with_account;
use super::next::Next;
use crate::support::programs::field;
use crate::support::shop::Shop;
use crate::support::{ALICE, Home};
use std::collections::BTreeMap;
use std::fs;

/// Every call with which sending changes anything.
const CALLS: [&str; 16] = [
    "mkdir",
    "openat",
    "write",
    "pwrite64",
    "ftruncate",
    "rename",
    "fsync",
    "fdatasync",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "flock",
    "execve",
    "wait4",
    "waitid",
];

fn message(id: &str) -> Vec<u8> {
    format!("From: {ALICE}\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <{id}@x.example>\n\nhello\n")
        .into_bytes()
}

#[test]
fn who_is_killed_anywhere_and_runs_again_has_sent_everything_once() {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), "none = [\"*@y.example\"]\nat_once = 1");
    let to = ["a@y.example", "b@y.example", "c@y.example"];
    let (mut kills, mut twice) = (0, 0);
    for call in CALLS {
        for n in 1.. {
            let message = message(&format!("{call}{n}"));
            let inject = format!("inject=?{call}:signal=KILL:when={n}");
            let mut command = home.command();
            command.args(["sendmail", "-i"]).args(to);
            // Without -f: only this process, and not the next program, is killed.
            let said = strace(&mut command, &inject, &message);
            if said == 0 {
                next.calls();
                break;
            }
            kills += 1;
            // A child that outlived the kill ends by itself.
            crate::support::programs::eventually("orphans", || settled(&next).then_some(()));
            home.run(["sendmail", "-i", to[0], to[1], to[2]], &message).exits(0);
            let mut times: BTreeMap<String, usize> = BTreeMap::new();
            next.calls().iter().for_each(|call| *times.entry(call.to().to_owned()).or_default() += 1);
            assert_eq!(times.len(), 3, "{call} {n}: {times:?}");
            let doubled = times.values().filter(|&&times| times > 1).count();
            assert!(doubled <= 1 && times.values().all(|&times| times <= 2), "{call} {n}: {times:?}");
            twice += doubled;
            assert_eq!(
                fs::read_dir(home.state().join("outbox"))
                    .unwrap()
                    .flatten()
                    .filter(|e| !e.file_name().to_string_lossy().starts_with('.'))
                    .count(),
                0
            );
        }
    }
    assert!(kills > 25, "{kills}");
    // Only between the hand-over and its note.
    assert!(twice < kills / 2, "{twice} of {kills}");
}

#[test]
fn who_is_killed_anywhere_has_bought_nothing_twice() {
    // Threats 22 and 29.
    let shop = Shop::open(100_000, &[]);
    let home = Home::new();
    let before = format!(
        "addresses = [{ALICE:?}]\n[sender]\ncredits_per_hour = 100000\ncredits_per_day = 100000\n\
         credits_per_recipient = 100000"
    );
    let next = Next::install(&home, &before, "at_once = 1");
    with_account(&home, &shop);
    let (mut kills, mut messages) = (0, 0);
    for call in ["fsync", "fdatasync", "connect", "sendto", "recvfrom", "unlink", "unlinkat", "execve"] {
        for n in 1..30 {
            let message = message(&format!("{call}{n}"));
            let mut command = home.command();
            command.args(["sendmail", "-i", "a@y.example", "b@y.example"]);
            let said = strace(&mut command, &format!("inject=?{call}:signal=KILL:when={n}"), &message);
            if said != 0 {
                kills += 1;
                crate::support::programs::eventually("orphans", || settled(&next).then_some(()));
                home.run(["sendmail", "-i", "a@y.example", "b@y.example"], &message).exits(0);
            }
            messages += 1;
            // However often a copy was sent, it had the same stamp.
            let stamps: std::collections::BTreeSet<(String, Option<String>)> = next
                .calls()
                .iter()
                .map(|call| (call.to().to_owned(), field(call.copy.as_bytes(), "Digital-Stamp")))
                .collect();
            assert_eq!(stamps.len(), 2, "{call} {n}: {stamps:?}");
            assert_eq!(shop.balance(), 100_000 - 2 * messages, "{call} {n}");
            if said == 0 {
                break;
            }
        }
    }
    assert!(kills > 15, "{kills}");
    shop.audit();
}

/// Whether no call is half written, and no process is left that could begin one: each has the home in its environment.
fn settled(next: &Next) -> bool {
    let home = next.program().parent().unwrap().parent().unwrap().as_os_str().as_encoded_bytes().to_owned();
    let names = |environment: Vec<u8>| environment.windows(home.len()).any(|part| part == home);
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let orphans = processes.filter(|it| fs::read(it.path().join("environ")).is_ok_and(names)).count();
    let folder = next.program().with_file_name("calls");
    orphans == 0 && fs::read_dir(folder).unwrap().flatten().all(|call| call.path().join("args").exists())
}

/// Runs under strace(1) without its children; the exit status, -1 if it was killed.
fn strace(command: &mut std::process::Command, inject: &str, stdin: &[u8]) -> i32 {
    let mut strace = std::process::Command::new("strace");
    strace.args(["-qq", "-o", "/dev/null", "-e", inject, "--"]).arg(command.get_program()).args(command.get_args());
    strace.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace.current_dir(command.get_current_dir().unwrap());
    crate::support::run(&mut strace, stdin).code
}
