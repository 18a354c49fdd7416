//! Commands that come at once and combine, without a process that stays: the one that has the lock answers the others. It is
//! killed, or stopped, and so are they.

use crate::support::{ALICE, Home, Run, letter, run, stamped};
use crate::{Contest, Dice, run_and_kill};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::MetadataExt;
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
                .map(|_| (deadly && dice.below(3) == 0).then(|| Duration::from_millis(dice.below(4 * count as u64))))
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

/// Promise 7.
#[test]
fn a_stopped_process_that_has_the_lock_defers_the_others_and_nothing_is_fresh_twice() {
    let home = Home::new();
    let mut contest = Contest::new(&home, 20, "s");
    let pairs = contest.messages.clone();
    let messages: Vec<&[u8]> = pairs.iter().flatten().map(Vec::as_slice).collect();
    let (stopped, runs) = thread::scope(|scope| {
        let stop = scope.spawn(|| {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(20) {
                // One that others wait for already: it listens.
                let Some(pid) = holder(&home).filter(|_| home.state().join("used.redb.socket").exists()) else {
                    continue;
                };
                if kill_process(pid, Signal::STOP).is_err() {
                    continue;
                }
                thread::sleep(Duration::from_millis(20));
                if holder(&home) == Some(pid) {
                    thread::sleep(Duration::from_millis(8_500));
                    kill_process(pid, Signal::CONT).unwrap();
                    return Some(pid);
                }
                // It had just let go.
                let _ = kill_process(pid, Signal::CONT);
            }
            None
        });
        let runs = at_once(&home, &messages, |_| None);
        (stop.join().unwrap(), runs)
    });
    assert!(stopped.is_some(), "none was caught with the lock");
    let mut deferred = 0;
    for (n, (said, took)) in runs.iter().enumerate() {
        if !contest.take(n / 2, n % 2, said) {
            assert_eq!(said.code, 75, "{said:?}");
            assert!(*took < Duration::from_secs(9), "{took:?}");
            deferred += 1;
        }
    }
    eprintln!("{deferred} of {} deferred", runs.len());
    assert!(deferred > 5, "{deferred}");
    contest.settle(&home);
    let other = stamped(&home.mint(ALICE, "s0"), &letter("thief"));
    run(home.command().arg("classify"), &other).exits(21).says("used used");
}
