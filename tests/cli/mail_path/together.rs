//! Many deliveries at once, deliveries that are killed, and what a delivery costs the disk.

use crate::support::{ALICE, Home, Run, letter, run, stamped, traced, traced_with};
use std::sync::Barrier;

/// A home whose commands wait for the log for longer than any machine takes for all of them.
fn patient(more: &str) -> Home {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[used_log]\nwait = \"300s\"\n{more}"));
    home
}

/// All messages at once, each to its own `classify`.
fn at_once(home: &Home, messages: &[Vec<u8>]) -> Vec<Run> {
    let start = Barrier::new(messages.len());
    std::thread::scope(|scope| {
        let deliver = |message: &Vec<u8>| {
            let mut command = home.command();
            command.arg("classify");
            start.wait();
            run(&mut command, message)
        };
        let threads: Vec<_> = messages.iter().map(|message| scope.spawn(move || deliver(message))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn count(runs: &[Run], verdict: &str) -> usize {
    runs.iter().filter(|run| run.text().trim_end() == verdict).count()
}

#[test]
fn two_hundred_deliveries_at_once_all_go_through() {
    let home = patient("");
    let messages: Vec<_> =
        (0..200).map(|n| stamped(&home.mint(ALICE, &format!("s{n}")), &letter(&n.to_string()))).collect();
    let runs = at_once(&home, &messages);
    let failed: Vec<_> = runs.iter().filter(|run| run.code != 0).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(count(&runs, "first-class paid"), 200);
    let exported = home.run(["export"], b"").exits(0).text();
    assert_eq!(exported.matches("\"row\":\"used\"").count(), 200);
    // The verdict log has whole lines only, one for each.
    assert_eq!(home.run(["log", "-n", "1000"], b"").exits(0).text().lines().count(), 200);
}

#[test]
fn of_many_messages_with_one_stamp_one_is_first_class() {
    // Promise 2, BC13.
    let home = patient("");
    let stamp = home.mint(ALICE, "one");
    let messages: Vec<_> = (0..64).map(|n| stamped(&stamp, &letter(&n.to_string()))).collect();
    let runs = at_once(&home, &messages);
    assert_eq!((count(&runs, "first-class paid"), count(&runs, "used used")), (1, 63), "{runs:?}");
}

#[test]
fn one_message_delivered_many_times_at_once_is_first_class_each_time() {
    // Promise 3: up to the number of times that a message may come again.
    let home = patient("");
    let message = stamped(&home.mint(ALICE, "one"), &letter("1"));
    let runs = at_once(&home, &vec![message.clone(); 64]);
    assert_eq!((count(&runs, "first-class paid"), count(&runs, "first-class again")), (1, 63), "{runs:?}");
    let home = patient("max_redeliveries = 20");
    let message = stamped(&home.mint(ALICE, "two"), &letter("2"));
    let runs = at_once(&home, &vec![message; 64]);
    let counts = ["first-class paid", "first-class again", "used used"].map(|verdict| count(&runs, verdict));
    assert_eq!(counts, [1, 20, 43], "{runs:?}");
}

/// Kills a delivery at its n-th call of this name, for every n that there is; how often, and what became of the two
/// messages with its stamp afterwards. The log is new, or has a row already.
fn killed_at_every(call: &str, new: bool) -> Vec<[String; 2]> {
    let mut outcomes = Vec::new();
    loop {
        let n = outcomes.len() + 1;
        let home = Home::new();
        if !new {
            home.classify(&stamped(&home.mint(ALICE, "first"), &letter("first"))).exits(0).says("first-class paid");
        }
        let stamp = home.mint(ALICE, "killed");
        let (killed, other) = (stamped(&stamp, &letter("killed")), stamped(&stamp, &letter("other")));
        // The question mark: not every machine has every call.
        let inject = format!("inject=?{call}:signal=KILL:when={n}");
        let (said, _) = traced_with(home.command().arg("classify"), &["-e", &inject], &killed);
        if said.code == 0 {
            said.says("first-class paid");
            return outcomes;
        }
        assert_eq!((said.code, said.stdout.len()), (-1, 0), "{call} {n}: {}", said.stderr);
        // Either message may come first now; exactly one of them is first-class.
        let killed_first = n % 2 == 0;
        let order = if killed_first { [&killed, &other] } else { [&other, &killed] };
        let answers = order.map(|message| {
            let said = home.classify(message);
            assert_eq!(said.stderr, "", "{call} {n}");
            said.text().trim_end().to_owned()
        });
        let spent = if killed_first { ["first-class again", "used used"] } else { ["used used", "first-class again"] };
        assert!(answers == ["first-class paid", "used used"] || answers == spent, "{call} {n}: {answers:?}");
        home.run(["doctor"], b"").exits(0);
        outcomes.push(answers);
    }
}

#[test]
fn a_delivery_killed_anywhere_is_neither_lost_nor_doubled() {
    // Promises 2 and 3, threat 5: at every call that changes anything on the disk.
    for new in [true, false] {
        let calls =
            ["mkdir", "mkdirat", "open", "openat", "pwrite64,pwritev2", "write", "ftruncate", "fdatasync", "fsync"];
        let calls = calls.iter().chain(&["rename", "renameat", "renameat2", "unlinkat"]);
        let outcomes: Vec<_> = calls.flat_map(|call| killed_at_every(call, new)).collect();
        assert!(outcomes.len() >= 25, "killed {} times only", outcomes.len());
        // Some died before the stamp was spent, some after.
        for verdict in ["first-class paid", "first-class again"] {
            assert!(outcomes.iter().flatten().any(|answer| answer == verdict), "never {verdict}");
        }
    }
}

#[test]
fn a_message_with_nothing_to_spend_waits_for_no_disk() {
    let home = Home::new();
    // The first of all makes the folder of the state, which must last.
    home.classify(&letter("0")).exits(11);
    let sync = "fsync,fdatasync,sync,syncfs,sync_file_range,msync";
    let forged = home.mint(ALICE, "x").replacen("v4.public.eyJ", "v4.public.eyK", 1);
    for (message, verdict) in [
        (letter("1"), "unstamped no-stamp"),
        (stamped(&forged, &letter("2")), "invalid forged"),
        (stamped("hello", &letter("3")), "invalid malformed"),
    ] {
        for command in ["classify", "filter"] {
            let (said, calls) = traced(home.command().arg(command), sync, &message);
            if command == "classify" {
                assert_eq!(said.text().trim_end(), verdict);
            }
            assert_eq!(calls.lines().filter(|line| line.contains("sync(")).count(), 0, "{verdict}: {calls}");
        }
    }
    assert!(!home.state().join("used.redb").exists());
    // The reverse, so that the above means something.
    let (said, calls) = traced(home.command().arg("classify"), sync, &stamped(&home.mint(ALICE, "y"), &letter("4")));
    said.exits(0).says("first-class paid");
    assert!(calls.contains("fdatasync("), "{calls}");
}
