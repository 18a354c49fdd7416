//! The daemon is killed and stopped, and so are its clients. Messages are neither lost nor misclassed, and none waits
//! for long because of it.

use super::{Contest, Dice, run_and_kill};
use crate::support::programs::{eventually, eventually_or};
use crate::support::resident::{PATIENCE, Resident};
use crate::support::{ALICE, Home, Run, letter, run, stamped};
use rustix::process::Signal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Seconds for which processes are killed at random, unless the environment says otherwise.
const STORM: u64 = 15;
const STORM_VARIABLE: &str = "MAILSTAMP_TEST_STORM_SECONDS";
/// Number of concurrent clients.
const CLIENTS: u64 = 5;

/// Counters of a storm.
#[derive(Debug, Default)]
struct Seen {
    answers: AtomicUsize,
    deferred: AtomicUsize,
    killed: AtomicUsize,
    services_killed: AtomicUsize,
    meddled: AtomicUsize,
}

impl Seen {
    /// Whether as much has happened as a storm of this many seconds brings at least.
    fn suffices(&self, seconds: u64) -> bool {
        let count = |what: &AtomicUsize| what.load(SeqCst) as u64;
        let killed = count(&self.services_killed) > seconds / 3 && count(&self.killed) > 0;
        killed && count(&self.answers) > 3 * seconds && count(&self.meddled) > 0
    }
}

/// One message through `classify` or `filter`, which says the class in the message that comes out.
fn judge(home: &Home, message: &[u8], filter: bool, kill: Option<Duration>) -> Run {
    let judged = run_and_kill(home.command().arg(if filter { "filter" } else { "classify" }), message, kill);
    if !filter || judged.code != 0 {
        return judged;
    }
    assert!(judged.stdout.ends_with(message), "changed: {}", judged.text());
    let text = judged.text();
    let field = text.strip_prefix("Digital-Stamp-Class: ").expect("its class");
    let class = field.split(';').next().unwrap().to_owned();
    let code = if class == "first-class" { 0 } else { 21 };
    Run { code, stdout: class.into_bytes(), ..judged }
}

/// Runs a command until it answers something else than "try again".
#[track_caller]
fn insist(home: &Home, args: &[&str], stdin: &[u8]) -> Run {
    let began = Instant::now();
    loop {
        let said = home.run(args.iter().copied(), stdin);
        if said.code != 75 {
            return said;
        }
        assert!(began.elapsed() < 2 * PATIENCE, "{args:?}: {said:?}");
    }
}

/// Promises 1, 2, 3 and 7, threat 5. A minute and more by the variable.
#[test]
fn kills_at_random_lose_no_message_and_misclass_none() {
    let seconds = std::env::var(STORM_VARIABLE).map_or(STORM, |seconds| seconds.parse().unwrap());
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[used_log]\nmax_redeliveries = 255"));
    // No message comes so often that it would count as a second use.
    let stamps = 30 + 2 * usize::try_from(seconds).unwrap();
    let contest = Mutex::new(Contest::new(&home, stamps, "k"));
    let (over, seen) = (AtomicBool::new(false), Seen::default());
    thread::scope(|scope| {
        scope.spawn(|| supervise(&home, &over, &seen));
        scope.spawn(|| meddle(&home, &contest, &over, &seen));
        for client in 0..CLIENTS {
            let (home, contest, over, seen) = (&home, &contest, &over, &seen);
            scope.spawn(move || ask_on(home, contest, over, seen, Dice(client)));
        }
        thread::sleep(Duration::from_secs(seconds));
        // A busy machine needs longer for the same storm.
        eventually_or("a storm", || seen.suffices(seconds).then_some(()), || format!("{seen:?}"));
        over.store(true, SeqCst);
    });
    eprintln!("{seconds} s: {seen:?}");
    let mut contest = contest.into_inner().unwrap();
    contest.settle(&home);
    let resident = Resident::of(&home);
    contest.settle(&home);
    assert_eq!(resident.judged(), 2 * stamps as u64);
    resident.end();
    home.run(["doctor"], b"").exits(0);
}

/// Begins the process again and again, and kills it; now and then there is none for a while.
fn supervise(home: &Home, over: &AtomicBool, seen: &Seen) {
    let mut dice = Dice(1_000);
    while !over.load(SeqCst) {
        if let Some(resident) = Resident::try_begin(&mut home.command(), home) {
            thread::sleep(Duration::from_millis(20 + dice.below(700)));
            resident.kill();
            seen.services_killed.fetch_add(1, SeqCst);
        }
        thread::sleep(Duration::from_millis(dice.below(200)));
    }
}

/// Has messages judged, any of them at any time, and is killed at it now and then.
fn ask_on(home: &Home, contest: &Mutex<Contest>, over: &AtomicBool, seen: &Seen, mut dice: Dice) {
    while !over.load(SeqCst) {
        let (stamp, which, message) = {
            let contest = contest.lock().unwrap();
            let (stamp, which) = (dice.below(contest.messages.len() as u64) as usize, dice.below(2) as usize);
            (stamp, which, contest.messages[stamp][which].clone())
        };
        let kill = (dice.below(5) == 0).then(|| Duration::from_millis(dice.below(60)));
        let said = judge(home, &message, dice.below(3) == 0, kill);
        if contest.lock().unwrap().take(stamp, which, &said) {
            seen.answers.fetch_add(1, SeqCst);
        } else if said.code == 75 {
            assert!(said.stderr.starts_with("mailstamp: error: "), "{said:?}");
            seen.deferred.fetch_add(1, SeqCst);
        } else {
            assert!(kill.is_some(), "{said:?}");
            seen.killed.fetch_add(1, SeqCst);
        }
    }
}

/// Runs commands that need the file of the log itself.
fn meddle(home: &Home, contest: &Mutex<Contest>, over: &AtomicBool, seen: &Seen) {
    for turn in 0.. {
        let stamp = home.mint(ALICE, &format!("granted{turn}"));
        let [first, second] = [0, 1].map(|which| stamped(&stamp, &letter(&format!("granted{turn}-{which}"))));
        let says = |message: &[u8], verdict: &str| {
            insist(home, &["classify"], message).says(verdict);
        };
        insist(home, &["grant"], &first).exits(0);
        says(&first, "first-class multi-use");
        says(&second, "first-class multi-use");
        insist(home, &["revoke"], &first).exits(0);
        says(&second, "revoked by-recipient");
        insist(home, &["purge"], b"").exits(0);
        let owned = contest.lock().unwrap().owner.iter().flatten().count();
        let rows = insist(home, &["export"], b"").exits(0).text();
        assert!(rows.matches("\"row\":\"used\"").count() >= owned, "{owned}: {rows}");
        insist(home, &["unrevoke"], &second).exits(0);
        says(&first, "first-class multi-use");
        seen.meddled.fetch_add(1, SeqCst);
        if over.load(SeqCst) {
            return;
        }
    }
}

/// Has all messages judged at once, and returns the outcome of each.
fn at_once(home: &Home, messages: &[&[u8]], meanwhile: impl FnOnce()) -> Vec<Run> {
    thread::scope(|scope| {
        let judge = |message: &'_ [u8]| run(home.command().arg("classify"), message);
        let threads: Vec<_> = messages.iter().map(|message| scope.spawn(move || judge(message))).collect();
        meanwhile();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// How many connections to the process wait for it, or are served: proc(5) lists each end that has the name of the
/// socket.
fn connections(home: &Home) -> usize {
    let socket = format!(" {}", home.state().join("socket").display());
    let listed = std::fs::read_to_string("/proc/net/unix").unwrap();
    // 02 is not accepted yet, 03 is; the one that listens is 01.
    let state = |line: &str| matches!(line.split(' ').nth(5), Some("02" | "03"));
    listed.lines().filter(|line| line.ends_with(&socket) && state(line)).count()
}

/// Clients that wait for a daemon notice that it is dead: they judge locally, before the 7 s after which they would
/// defer.
#[test]
fn nobody_is_deferred_when_the_process_dies_that_he_waits_for() {
    let home = Home::new();
    let mut contest = Contest::new(&home, 8, "d");
    for which in [0, 1, 0, 1] {
        let resident = Resident::of(&home);
        // Stopped first, so that all of them wait for it.
        resident.stop();
        let messages: Vec<Vec<u8>> = contest.messages.iter().map(|pair| pair[which].clone()).collect();
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let runs = at_once(&home, &messages, || {
            eventually("all ask", || (connections(&home) >= messages.len()).then_some(()));
            resident.kill();
        });
        for (stamp, said) in runs.iter().enumerate() {
            assert!(contest.take(stamp, which, said), "{said:?}");
        }
    }
}

#[test]
fn a_stopped_process_defers_stamped_mail_only_and_in_time() {
    let home = Home::new();
    let resident = Resident::of(&home);
    let [known, new] = ["known", "new"].map(|name| stamped(&home.mint(ALICE, name), &letter(name)));
    home.classify(&known).exits(0).says("first-class paid");
    resident.stop();
    // Nothing of it is in the log.
    let plain = letter("plain");
    let runs = thread::scope(|scope| {
        let export = scope.spawn(|| home.run(["export"], b""));
        let mut runs = at_once(&home, &[&known, &new], || {});
        runs.push(export.join().unwrap());
        runs
    });
    for said in runs {
        assert_eq!((said.code, said.stdout.len()), (75, 0), "{said:?}");
    }
    home.classify(&plain).exits(11);
    resident.signal(Signal::CONT);
    home.classify(&plain).exits(11);
    home.classify(&known).exits(0).says("first-class again");
    // The daemon may have judged it, with an answer that reached no command.
    assert!(home.classify(&new).exits(0).text().starts_with("first-class "));
    resident.stop();
    resident.kill();
    for message in [known, new] {
        home.classify(&message).exits(0).says("first-class again");
    }
}
