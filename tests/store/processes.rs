//! Processes that race for one log, and processes that are killed, or whose system calls fail, at every call that changes
//! something (strace does that, and must be installed).
//! The processes are this test program itself, asked by its environment to spend one stamp and exit.

use crate::ask;
use mailstamp::store::redb::{Options, Redb};
use mailstamp::store::{StoreError, UsedLog};
use mailstamp::verdict::spend::Spent;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const FRESH: i32 = 40;
const AGAIN: i32 = 41;
const DOUBLE: i32 = 42;
const OTHER: i32 = 43;
const ERROR: i32 = 44;

/// Long enough for a machine that does other work too; the usual limit is shown in src/store/lock.rs.
const PATIENT: Duration = Duration::from_secs(60);

/// Not a test of its own: what the child processes do.
#[test]
fn child() {
    let Ok(task) = std::env::var("MAILSTAMP_TEST_CHILD") else { return };
    let [serial, message, path] = task.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{task}") };
    let log = Redb::new(path, Options { wait: PATIENT, ..Options::default() });
    let answer = log.spend(&ask(serial.parse().unwrap(), message.parse().unwrap()));
    // As the program ends: without unwinding, so that the log is not even dropped.
    std::process::exit(match answer {
        Ok(Spent::Fresh) => FRESH,
        Ok(Spent::Again { .. }) => AGAIN,
        Ok(Spent::Double { .. }) => DOUBLE,
        Ok(_) => OTHER,
        Err(error) => {
            eprintln!("{error}");
            ERROR
        }
    })
}

fn task(command: &mut Command, serial: u32, message: u8, path: &Path) -> Child {
    command
        .args(["--exact", "processes::child", "--nocapture", "--test-threads=1"])
        .env("MAILSTAMP_TEST_CHILD", format!("{serial} {message} {}", path.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error} (is Debian's strace installed?)"))
}

fn spend_elsewhere(serial: u32, message: u8, path: &Path) -> Child {
    task(&mut Command::new(std::env::current_exe().unwrap()), serial, message, path)
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
    let codes = answers((0..64).map(|message| spend_elsewhere(1, message, &path)).collect());
    assert_eq!(codes.iter().filter(|&&code| code == FRESH).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|&&code| code == DOUBLE).count(), 63, "{codes:?}");
}

#[test]
fn of_two_hundred_processes_with_a_stamp_each_none_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let codes = answers((0..200).map(|serial| spend_elsewhere(serial, 1, &path)).collect());
    assert_eq!(codes, [FRESH; 200]);
    let log = Redb::new(&path, Options::default());
    for serial in 0..200 {
        assert!(matches!(log.peek(&ask(serial, 2)).unwrap(), Spent::Double { .. }), "{serial}");
    }
}

/// The system calls by which a log is made and written.
const CALLS: [&str; 9] = [
    "?mkdir,?mkdirat",
    "?unlink,?unlinkat",
    "?rename,?renameat,?renameat2",
    "flock",
    "ftruncate",
    "pwrite64",
    "fdatasync",
    "fsync",
    "?fallocate",
];

/// What strace does to the nth of such calls: kill -9 before it is made, or let it fail.
const KILL: &str = "signal=SIGKILL";
const FAULTS: [&str; 2] = ["error=EIO", "error=ENOSPC"];

/// Threat 5: each system call in turn is spoilt; then the same message comes again, and then another. `prepare` leaves
/// what the process finds, `check` sees that it is still there.
fn spoilt_at_every_call(how: &str, prepare: fn(&Path), check: fn(&Redb)) -> usize {
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
            let status = task(&mut strace, 7, 1, &path).wait().unwrap();
            let trace = std::fs::read_to_string(trace).unwrap();
            let done = !trace.contains("INJECTED") && status.signal() != Some(9);

            let log = Redb::new(&path, Options::default());
            let again = log.spend(&ask(7, 1));
            let kept = match (status.code(), status.signal()) {
                (Some(FRESH), _) => matches!(again, Ok(Spent::Again { .. })),
                (Some(ERROR), _) if !done => matches!(again, Ok(Spent::Fresh | Spent::Again { .. })),
                (None, Some(9)) => matches!(again, Ok(Spent::Fresh | Spent::Again { .. })),
                _ => false,
            };
            assert!(kept, "{how} {calls} {number}: {status:?}, {again:?}");
            assert!(matches!(log.spend(&ask(7, 2)), Ok(Spent::Double { .. })));
            check(&log);
            assert!(log.verify().unwrap());
            if done {
                break;
            }
            spoilt += 1;
        }
    }
    spoilt
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
        assert!(matches!(log.peek(&ask(serial, 2)).unwrap(), Spent::Double { .. }), "{serial}");
    }
}

#[test]
fn a_process_killed_while_it_makes_the_log_leaves_nothing_in_the_way() {
    let kills = spoilt_at_every_call(KILL, |_| {}, |_| {});
    assert!(kills > 25, "{kills}");
}

#[test]
fn a_process_killed_while_it_spends_loses_nothing_and_accepts_nothing_twice() {
    let kills = spoilt_at_every_call(KILL, fill, still_filled);
    assert!(kills > 10, "{kills}");
}

#[test]
fn a_system_call_that_fails_while_the_log_is_made_is_an_error_and_leaves_nothing_in_the_way() {
    for fault in FAULTS {
        assert!(spoilt_at_every_call(fault, |_| {}, |_| {}) > 25);
    }
}

#[test]
fn a_system_call_that_fails_while_a_stamp_is_spent_is_an_error_and_loses_nothing() {
    for fault in FAULTS {
        assert!(spoilt_at_every_call(fault, fill, still_filled) > 10);
    }
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
    assert!(other.peek(&ask(1, 2)).is_err());
    holder.release();
    assert_eq!(other.spend(&ask(2, 1)).unwrap(), Spent::Fresh);
    drop(other);
    assert!(matches!(holder.spend(&ask(2, 2)).unwrap(), Spent::Double { .. }));
}
