//! Processes that race for one log, and processes that are killed, or whose system calls fail, at every call that
//! changes something (strace does that, and must be installed). The processes are this test program itself, asked by
//! its environment to spend one stamp, reserve one reply or learn one message, and exit.

use crate::replies::reply;
use crate::{NOW, ask};
use mailstamp::message::address::Address;
use mailstamp::store::redb::{Options, Redb};
use mailstamp::store::{
    ContactStore, LearnOutcome, ReplyLog, ReplyRequest, Reservation, Sent, Store, StoreError, UsedLog,
};
use mailstamp::verdict::owner::Owner;
use mailstamp::verdict::spend::SpendResult;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const FRESH: i32 = 40;
const AGAIN: i32 = 41;
const DOUBLE: i32 = 42;
const OTHER: i32 = 43;
const ERROR: i32 = 44;

/// Long enough for a machine that does other work too; the usual limit is shown in src/store/redb/lock.rs.
const PATIENT: Duration = Duration::from_secs(300);

/// Not a test: the work of the child processes.
#[test]
fn child() {
    let Ok(task) = std::env::var("MAILSTAMP_TEST_CHILD") else { return };
    let [what, number, of, path] = task.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{task}") };
    let log = Redb::new(path, Options { wait: PATIENT, ..Options::default() });
    let number = number.parse().unwrap();
    let answer = match what {
        "spend" => log.spend(&ask(number, of.parse().unwrap())).map(|answer| match answer {
            SpendResult::Fresh => FRESH,
            SpendResult::Redelivery { .. } => AGAIN,
            SpendResult::DoubleSpend { .. } => DOUBLE,
            _ => OTHER,
        }),
        "reply" => {
            log.reserve_reply(&ReplyRequest { per_day: of.parse().unwrap(), ..reply(number, 0) }).map(|it| match it {
                Reservation::Yes => FRESH,
                Reservation::Lately { .. } => AGAIN,
                Reservation::Ceiling { .. } => DOUBLE,
            })
        }
        "learn" => log.learn(&[letter(number)]).map(|it| if it == LearnOutcome::default() { AGAIN } else { FRESH }),
        _ => panic!("{task}"),
    };
    // As the program ends: without unwinding, so that the log is not even dropped.
    std::process::exit(answer.unwrap_or_else(|error| {
        eprintln!("{error}");
        ERROR
    }))
}

/// A message that the user sent.
pub fn letter(number: u32) -> Sent {
    let recipients = vec![Address::parse(&format!("p{number}@x.example")).unwrap()];
    Sent { owner: Owner::default(), recipients, message_id: Some(format!("<{number}@me>")), time: NOW, now: NOW }
}

fn task(command: &mut Command, what: &str, path: &Path) -> Child {
    command
        .args(["--exact", "processes::child", "--nocapture", "--test-threads=1"])
        .env("MAILSTAMP_TEST_CHILD", format!("{what} {}", path.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error} (is Debian's strace installed?)"))
}

fn elsewhere(what: &str, path: &Path) -> Child {
    task(&mut Command::new(std::env::current_exe().unwrap()), what, path)
}

fn answers(children: Vec<Child>) -> Vec<i32> {
    let code = |mut child: Child| child.wait().unwrap().code().unwrap_or(-1);
    children.into_iter().map(code).collect()
}

/// Promise 2, threat 4; the log does not even exist when they start.
#[test]
fn of_sixty_four_processes_with_one_stamp_exactly_one_is_told_fresh() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/log");
    let codes = answers((0..64).map(|message| elsewhere(&format!("spend 1 {message}"), &path)).collect());
    assert_eq!(codes.iter().filter(|&&code| code == FRESH).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|&&code| code == DOUBLE).count(), 63, "{codes:?}");
}

#[test]
fn of_two_hundred_processes_with_a_stamp_each_none_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let codes = answers((0..200).map(|serial| elsewhere(&format!("spend {serial} 1"), &path)).collect());
    assert_eq!(codes, [FRESH; 200]);
    let log = Redb::new(&path, Options::default());
    for serial in 0..200 {
        assert!(matches!(log.would_spend(&ask(serial, 2)).unwrap(), SpendResult::DoubleSpend { .. }), "{serial}");
    }
}

/// Promise 6, threat 24: one reply, however many deliveries want to send it at once.
#[test]
fn of_two_hundred_processes_with_a_reply_to_one_sender_exactly_one_may_send_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/log");
    let codes = answers((0..200).map(|_| elsewhere("reply 1 1000", &path)).collect());
    assert_eq!(codes.iter().filter(|&&code| code == FRESH).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|&&code| code == AGAIN).count(), 199, "{codes:?}");
}

#[test]
fn of_a_hundred_processes_with_a_reply_each_no_more_than_the_ceiling_may_send() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let codes = answers((0..100).map(|sender| elsewhere(&format!("reply {sender} 7"), &path)).collect());
    assert_eq!(codes.iter().filter(|&&code| code == FRESH).count(), 7, "{codes:?}");
    assert_eq!(codes.iter().filter(|&&code| code == DOUBLE).count(), 93, "{codes:?}");
}

#[test]
fn what_many_processes_learn_at_once_is_all_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let codes = answers((0..60).map(|number| elsewhere(&format!("learn {} 0", number % 30), &path)).collect());
    assert_eq!(codes.iter().filter(|&&code| code == FRESH).count(), 30, "{codes:?}");
    let log = Redb::new(&path, Options::default());
    let counts = log.summary().unwrap();
    assert_eq!((counts.correspondents, counts.sent), (30, 30));
}

/// The system calls by which a log is made and written.
const CALLS: [&str; 9] = [
    "?mkdir,?mkdirat",
    "?unlink,?unlinkat",
    "?rename,?renameat,?renameat2",
    "flock",
    "ftruncate",
    "pwrite64,pwritev2",
    "fdatasync",
    "fsync",
    "?fallocate",
];

/// What strace does to the nth of such calls: kill -9 before it is made, or let it fail.
const KILL: &str = "signal=SIGKILL";
const FAULTS: [&str; 2] = ["error=EIO", "error=ENOSPC"];

/// How a process ended, one of whose system calls was spoilt.
#[derive(Clone, Copy, Debug)]
enum Ended {
    /// It answered.
    Told(i32),
    /// With an error, as it should.
    Failed,
    /// Killed.
    Killed,
}

/// Threat 5: each system call of a process that does `what` is spoilt in turn. `prepare` leaves what the process finds,
/// `check` sees what it left.
fn spoilt_at_every_call(how: &str, what: &str, prepare: fn(&Path), check: fn(&Redb, Ended)) -> usize {
    let mut spoilt = 0;
    for calls in CALLS {
        for number in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state/log");
            let trace = folder.path().join("trace");
            prepare(&path);
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-e", &format!("trace={calls}"), "-o"]).arg(&trace);
            strace.args(["-e", &format!("inject={calls}:{how}:when={number}")]);
            strace.arg(std::env::current_exe().unwrap());
            strace.stderr(Stdio::null());
            let status = task(&mut strace, what, &path).wait().unwrap();
            let trace = std::fs::read_to_string(trace).unwrap();
            let done = !trace.contains("INJECTED") && status.signal() != Some(9);
            let ended = match (status.code(), status.signal()) {
                (Some(ERROR), _) if !done => Ended::Failed,
                (Some(code), _) => Ended::Told(code),
                (None, Some(9)) => Ended::Killed,
                _ => panic!("{how} {calls} {number}: {status:?}"),
            };
            let log = Redb::new(&path, Options::default());
            eprintln!("{what}: {how} {calls} {number}: {ended:?}");
            check(&log, ended);
            assert!(log.verify().unwrap());
            if done {
                break;
            }
            spoilt += 1;
        }
    }
    spoilt
}

/// After "spend 7 1" the same message comes again, and then another one.
fn spent_once(log: &Redb, ended: Ended) {
    let again = log.spend(&ask(7, 1));
    let kept = match ended {
        Ended::Told(FRESH) => matches!(again, Ok(SpendResult::Redelivery { .. })),
        Ended::Told(_) => false,
        Ended::Failed | Ended::Killed => matches!(again, Ok(SpendResult::Fresh | SpendResult::Redelivery { .. })),
    };
    assert!(kept, "{ended:?}, {again:?}");
    assert!(matches!(log.spend(&ask(7, 2)), Ok(SpendResult::DoubleSpend { .. })));
}

fn spent_once_among_others(log: &Redb, ended: Ended) {
    spent_once(log, ended);
    still_filled(log);
}

/// After "reply 7 1000" on a filled log: what was answered is remembered, and what was not is reserved once at most.
fn replied_once(log: &Redb, ended: Ended) {
    let again = log.reserve_reply(&reply(7, 0)).unwrap();
    match ended {
        Ended::Told(code) => assert_eq!((code, again), (FRESH, Reservation::Lately { at: NOW })),
        Ended::Failed | Ended::Killed => {
            assert!(matches!(again, Reservation::Yes | Reservation::Lately { .. }), "{again:?}")
        }
    }
    assert_eq!(log.reserve_reply(&reply(7, 0)).unwrap(), Reservation::Lately { at: NOW });
    let full = ReplyRequest { per_day: 1, ..reply(8, 0) };
    assert_eq!(log.peek_reply(&full).unwrap(), Reservation::Ceiling { sent: 1 });
    still_filled(log);
}

/// After "learn 7 0" on a filled log: the person and the Message-ID are known, or neither.
fn learned_whole(log: &Redb, ended: Ended) {
    let Sent { owner, recipients, message_id, time, .. } = letter(7);
    let wrote_to = log.wrote_to(owner, &recipients[0], time).unwrap();
    let known = (wrote_to, log.sent(owner, &message_id.unwrap()).unwrap());
    match ended {
        Ended::Told(code) => assert_eq!((code, known), (FRESH, (true, true))),
        Ended::Failed | Ended::Killed => assert!(known.0 == known.1, "{known:?}"),
    }
    log.learn(&[letter(7)]).unwrap();
    assert_eq!((log.summary().unwrap().correspondents, log.summary().unwrap().sent), (1, 1));
    still_filled(log);
}

/// Ten serials in a log.
fn fill(path: &Path) {
    let log = Redb::new(path, Options::default());
    for serial in 100..110 {
        log.spend(&ask(serial, 1)).unwrap();
    }
}

fn still_filled(log: &Redb) {
    for serial in 100..110 {
        assert!(matches!(log.would_spend(&ask(serial, 2)).unwrap(), SpendResult::DoubleSpend { .. }), "{serial}");
    }
}

#[test]
fn a_process_killed_while_it_makes_the_log_leaves_nothing_in_the_way() {
    let kills = spoilt_at_every_call(KILL, "spend 7 1", |_| {}, spent_once);
    assert!(kills > 25, "{kills}");
}

#[test]
fn a_process_killed_while_it_spends_loses_nothing_and_accepts_nothing_twice() {
    let kills = spoilt_at_every_call(KILL, "spend 7 1", fill, spent_once_among_others);
    assert!(kills > 10, "{kills}");
}

#[test]
fn a_process_killed_while_it_reserves_a_reply_or_learns_does_it_once_or_not_at_all() {
    assert!(spoilt_at_every_call(KILL, "reply 7 1000", fill, replied_once) > 10);
    assert!(spoilt_at_every_call(KILL, "learn 7 0", fill, learned_whole) > 10);
}

#[test]
fn a_system_call_that_fails_while_the_log_is_made_is_an_error_and_leaves_nothing_in_the_way() {
    for fault in FAULTS {
        assert!(spoilt_at_every_call(fault, "spend 7 1", |_| {}, spent_once) > 25);
    }
}

#[test]
fn a_system_call_that_fails_while_a_stamp_is_spent_is_an_error_and_loses_nothing() {
    for fault in FAULTS {
        assert!(spoilt_at_every_call(fault, "spend 7 1", fill, spent_once_among_others) > 10);
    }
}

#[test]
fn a_full_disk_while_a_reply_is_reserved_or_something_learned_is_an_error_and_loses_nothing() {
    let [_, full] = FAULTS;
    assert!(spoilt_at_every_call(full, "reply 7 1000", fill, replied_once) > 10);
    assert!(spoilt_at_every_call(full, "learn 7 0", fill, learned_whole) > 10);
}

/// A process that was stopped holds the log: others defer their mail in time, and nothing is answered.
#[test]
fn a_log_that_is_held_is_waited_for_and_then_reported_busy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let holder = Redb::new(&path, Options::default());
    holder.spend(&ask(1, 1)).unwrap();
    let other = Redb::new(&path, Options { wait: Duration::from_millis(50), ..Options::default() });
    let error = other.spend(&ask(2, 1)).unwrap_err();
    assert!(matches!(&error, StoreError::Busy { path: at, waited } if *at == path && waited.as_millis() >= 50));
    assert!(other.would_spend(&ask(1, 2)).is_err());
    holder.release();
    assert_eq!(other.spend(&ask(2, 1)).unwrap(), SpendResult::Fresh);
    drop(other);
    assert!(matches!(holder.spend(&ask(2, 2)).unwrap(), SpendResult::DoubleSpend { .. }));
}
