//! Commands that come at once and combine, without a process that stays: the one that has the lock answers the others. It is
//! killed, or stopped, and so are they.

use super::{Contest, Dice, run_and_kill};
use crate::support::{Home, Run};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// All at once, some killed after a while; what each came to, and how long it took.
fn at_once(home: &Home, messages: &[&[u8]], kill: impl Fn(usize) -> Option<Duration>) -> Vec<(Run, Duration)> {
    thread::scope(|scope| {
        let judge = |message: &'_ [u8], kill| {
            let began = Instant::now();
            (run_and_kill(home.command().arg("classify"), message, kill), began.elapsed())
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
fn who_is_killed_while_many_combine_delays_the_others_little_and_spoils_nothing() {
    let home = Home::new();
    for count in [64, 200] {
        let mut slowest = Vec::new();
        for deadly in [false, true] {
            let mut contest = Contest::new(&home, count / 2, &format!("{count}-{deadly}-"));
            let pairs = contest.messages.clone();
            let messages: Vec<&[u8]> = pairs.iter().flatten().map(Vec::as_slice).collect();
            let mut dice = Dice(count as u64);
            let kills: Vec<Option<Duration>> = (0..count)
                .map(|_| (deadly && dice.below(3) == 0).then(|| Duration::from_millis(dice.below(count as u64))))
                .collect();
            let runs = at_once(&home, &messages, |n| kills[n]);
            let mut longest = Duration::ZERO;
            for (n, (said, took)) in runs.iter().enumerate() {
                let answered = contest.take(n / 2, n % 2, said);
                if kills[n].is_none() {
                    assert!(answered, "{said:?}");
                    longest = longest.max(*took);
                }
            }
            let killed = runs.iter().filter(|(said, _)| said.code == -1).count();
            eprintln!("{count}: {killed} killed, {longest:?} at most");
            assert!(!deadly || killed > 5, "{killed}");
            slowest.push(longest);
            contest.settle(&home);
        }
        assert!(slowest[1] < slowest[0] + Duration::from_secs(1), "{count}: {slowest:?}");
    }
}

/// Who has the lock of this log, as the system says.
fn holder(home: &Home) -> Option<Pid> {
    let inode = fs::metadata(home.state().join("used.redb.lock")).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let held = locks
        .lines()
        .find(|line| line.contains("FLOCK") && !line.contains("->") && line.contains(&format!(":{inode} ")))?;
    Pid::from_raw(held.split_whitespace().nth(4)?.parse().ok()?)
}

/// Stops a process that has the lock while others wait for it, for longer than they wait; whether one was caught at it before
/// all were through.
fn stop_one(home: &Home, over: &AtomicBool) -> bool {
    while !over.load(SeqCst) {
        // One that others wait for listens.
        let listens = home.state().join("used.redb.socket").exists();
        let Some(pid) = holder(home).filter(|pid| listens && kill_process(*pid, Signal::STOP).is_ok()) else {
            continue;
        };
        thread::sleep(Duration::from_millis(20));
        let caught = holder(home) == Some(pid);
        if caught {
            thread::sleep(Duration::from_millis(8_500));
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
    for round in 0..10 {
        let mut contest = Contest::new(&home, 30, &format!("s{round}-"));
        let pairs = contest.messages.clone();
        let messages: Vec<&[u8]> = pairs.iter().flatten().map(Vec::as_slice).collect();
        let over = AtomicBool::new(false);
        let (caught, runs) = thread::scope(|scope| {
            let stop = scope.spawn(|| stop_one(&home, &over));
            let runs = at_once(&home, &messages, |_| None);
            over.store(true, SeqCst);
            (stop.join().unwrap(), runs)
        });
        let mut deferred = 0;
        for (n, (said, took)) in runs.iter().enumerate() {
            if !contest.take(n / 2, n % 2, said) {
                assert_eq!(said.code, 75, "{said:?}");
                assert!(*took < Duration::from_secs(9), "{took:?}");
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
