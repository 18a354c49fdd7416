//! Concurrent commands that combine, without a daemon: the command that has the lock answers the others. It is killed
//! or stopped, and so are they.

use super::{Contest, Dice, run_and_kill};
use crate::support::{ALICE, Home, Run};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// All at once, some killed after a while; what each came to. `ended` counts those that are through.
fn at_once(home: &Home, messages: &[&[u8]], ended: &AtomicUsize, kill: impl Fn(usize) -> Option<Duration>) -> Vec<Run> {
    thread::scope(|scope| {
        let judge = |message: &'_ [u8], kill| {
            let said = run_and_kill(home.command().arg("classify"), message, kill);
            ended.fetch_add(1, SeqCst);
            said
        };
        let start = |(n, message)| {
            let kill = kill(n);
            scope.spawn(move || judge(message, kill))
        };
        let threads: Vec<_> = messages.iter().copied().enumerate().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Promise 2. Sixty-four and two hundred, each stamp on two of them; then again, with a third of them killed.
#[test]
fn who_is_killed_while_many_combine_defers_nobody_and_spoils_nothing() {
    let home = Home::new();
    // A busy machine takes longer for two hundred than a command waits by default.
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[used_log]\nwait = \"300s\""));
    for count in [64, 200] {
        for deadly in [false, true] {
            let mut contest = Contest::new(&home, count / 2, &format!("{count}-{deadly}-"));
            let pairs = contest.messages.clone();
            let messages: Vec<&[u8]> = pairs.iter().flatten().map(Vec::as_slice).collect();
            let mut dice = Dice(count as u64);
            let kills: Vec<Option<Duration>> = (0..count)
                .map(|_| (deadly && dice.below(3) == 0).then(|| Duration::from_millis(dice.below(count as u64))))
                .collect();
            let runs = at_once(&home, &messages, &AtomicUsize::new(0), |n| kills[n]);
            for (n, said) in runs.iter().enumerate() {
                let answered = contest.take(n / 2, n % 2, said);
                assert!(answered || kills[n].is_some(), "{said:?}");
            }
            let killed = runs.iter().filter(|said| said.code == -1).count();
            eprintln!("{count}: {killed} killed");
            assert!(!deadly || killed > 5, "{killed}");
            contest.settle(&home);
        }
    }
}

/// Returns the process that has the lock of this log, from /proc/locks. A number of an inode may be that of another file
/// on another disk, but the commands of this home run in it.
fn holder(home: &Home) -> Option<Pid> {
    let inode = fs::metadata(home.state().join("used.redb.lock")).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let held = locks
        .lines()
        .find(|line| line.contains("FLOCK") && !line.contains("->") && line.contains(&format!(":{inode} ")))?;
    let (pid, name) = (held.split_whitespace().nth(4)?, home.path().file_name()?);
    let runs_here = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder.ends_with(name));
    Pid::from_raw(pid.parse().ok()?).filter(|_| runs_here)
}

/// Stops a process that has the lock while others wait for it, until all others are through; whether one was caught at
/// it before that.
fn stop_one(home: &Home, count: usize, ended: &AtomicUsize) -> bool {
    while ended.load(SeqCst) < count {
        // One that others wait for listens.
        let listens = home.state().join("used.redb.socket").exists();
        let Some(pid) = holder(home).filter(|pid| listens && kill_process(*pid, Signal::STOP).is_ok()) else {
            continue;
        };
        thread::sleep(Duration::from_millis(20));
        let caught = holder(home) == Some(pid);
        while caught && ended.load(SeqCst) < count - 1 {
            thread::sleep(Duration::from_millis(20));
        }
        // It may have let go just before.
        let _ = kill_process(pid, Signal::CONT);
        if caught {
            return true;
        }
    }
    false
}

/// Promise 7.
#[test]
fn a_stopped_process_that_has_the_lock_defers_the_others_and_nothing_is_fresh_twice() {
    let home = Home::new();
    for round in 0..30 {
        let mut contest = Contest::new(&home, 30, &format!("s{round}-"));
        let pairs = contest.messages.clone();
        let messages: Vec<&[u8]> = pairs.iter().flatten().map(Vec::as_slice).collect();
        let ended = AtomicUsize::new(0);
        let (caught, runs) = thread::scope(|scope| {
            let stop = scope.spawn(|| stop_one(&home, messages.len(), &ended));
            let runs = at_once(&home, &messages, &ended, |_| None);
            (stop.join().unwrap(), runs)
        });
        let mut deferred = 0;
        for (n, said) in runs.iter().enumerate() {
            if !contest.take(n / 2, n % 2, said) {
                assert_eq!(said.code, 75, "{said:?}");
                deferred += 1;
            }
        }
        contest.settle(&home);
        eprintln!("{deferred} of {} deferred", runs.len());
        if caught && deferred > 5 {
            return;
        }
        // All were through before one could be stopped.
    }
    panic!("none was caught with the lock");
}
