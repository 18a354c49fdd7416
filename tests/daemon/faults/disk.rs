//! The disk of the daemon fails, is full, or is slow, for a while: strace(1) is attached to the daemon, spoils its
//! system calls, and detaches. Earlier answers stay true. A spend that cannot be written is deferred and never fresh.
//! As soon as the disk works again, so does the daemon.

use super::{Contest, run_and_kill};
use crate::support::resident::{PATIENCE, Resident};
use crate::support::{ALICE, Home, letter, run, stamped};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A fault, while it lasts.
struct Fault(Child);

impl Fault {
    /// Spoils the calls of a process in this way (`inject=` of strace's manual).
    fn on(resident: &Resident, inject: &str) -> Self {
        let mut strace = Command::new("strace");
        let calls = inject.split(':').next().unwrap();
        strace.args(["-f", "-e", &format!("trace={calls}"), "-e", &format!("inject={inject}"), "-o", "/dev/null"]);
        strace.args(["-p", &resident.pid().as_raw_nonzero().to_string()]);
        let mut strace = strace.stderr(Stdio::piped()).spawn().expect("Debian's strace is installed");
        let mut told = BufReader::new(strace.stderr.take().unwrap()).lines();
        let first = told.next().expect("it says something").unwrap();
        assert!(first.contains("attached"), "{first}");
        // strace goes on to report each thread that it attaches to; its output has to be read.
        std::thread::spawn(move || told.count());
        Self(strace)
    }

    /// Detaches.
    fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap();
    }
}

/// The spoilt system calls, and whether spends can be answered meanwhile.
const FAULTS: [(&str, bool); 7] = [
    ("fdatasync:error=EIO", false),
    ("fdatasync:error=ENOSPC", false),
    ("pwrite64,pwritev2:error=ENOSPC", false),
    ("pwrite64,pwritev2:error=EROFS", false),
    ("pwrite64,pwritev2:error=EIO", false),
    // Each thread's second one.
    ("fdatasync:error=EIO:when=2+2", true),
    ("fdatasync:delay_enter=100ms", true),
];

/// Promises 2, 3 and 7.
#[test]
fn a_bad_disk_defers_mail_for_as_long_as_it_is_bad_and_nothing_is_forgotten() {
    let home = Home::new();
    let mut resident = Resident::of(&home);
    for (number, (inject, may)) in FAULTS.into_iter().enumerate() {
        let mut contest = Contest::new(&home, 6, &format!("f{number}-"));
        let mut judge = |stamp: usize, which: usize| {
            let said = home.classify(&contest.messages[stamp][which]);
            (contest.take(stamp, which, &said), said)
        };
        assert!(judge(0, 0).0 && judge(1, 0).0);
        let fault = Fault::on(&resident, inject);
        let mut answers = 0;
        for (stamp, which) in [(2, 0), (2, 1), (3, 0), (3, 0), (4, 1), (0, 0)] {
            let (answered, said) = judge(stamp, which);
            assert!(answered || (said.code == 75 && said.stderr.starts_with("mailstamp: error: ")), "{said:?}");
            answers += usize::from(answered);
        }
        assert!(may || answers == 0, "{inject}: {answers} answers");
        assert!(!may || answers > 0, "{inject}");
        // A message that needs no disk is answered all the same.
        home.classify(&letter("plain")).exits(11);
        fault.end();
        // At once, by itself.
        for (stamp, which) in [(5, 0), (2, 0), (3, 0), (4, 1), (0, 0), (0, 1)] {
            let (answered, said) = judge(stamp, which);
            assert!(answered, "{inject}: {said:?}");
        }
        assert!(resident.judged() > 0, "it is the same process");
        resident.kill();
        contest.settle(&home);
        resident = Resident::of(&home);
        contest.settle(&home);
    }
    home.run(["doctor"], b"").exits(0);
}

#[test]
fn a_disk_too_slow_to_wait_for_defers_and_does_not_misclass() {
    let home = Home::new();
    let resident = Resident::of(&home);
    let message = stamped(&home.mint(ALICE, "slow"), &letter("slow"));
    home.classify(&stamped(&home.mint(ALICE, "first"), &letter("first"))).exits(0);
    // Far longer than any client waits.
    let fault = Fault::on(&resident, "fdatasync:delay_enter=600s");
    let said = home.classify(&message);
    assert_eq!((said.code, said.text().as_str()), (75, ""), "{said:?}");
    fault.end();
    let began = Instant::now();
    while run(home.command().arg("classify"), &message).code == 75 {
        assert!(began.elapsed() < PATIENCE, "it does not recover");
    }
    home.classify(&message).exits(0).says("first-class again");
    // The same when the process dies while the disk keeps it waiting.
    let fault = Fault::on(&resident, "fdatasync:delay_enter=20s");
    let other = stamped(&home.mint(ALICE, "slow2"), &letter("slow2"));
    let said = run_and_kill(home.command().arg("classify"), &other, Some(Duration::from_millis(300)));
    assert_eq!(said.code, -1);
    resident.kill();
    fault.end();
    assert!(home.classify(&other).exits(0).text().starts_with("first-class "));
    home.classify(&stamped(&home.mint(crate::support::ALICE, "slow2"), &letter("thief"))).exits(21);
}

#[test]
fn a_limit_on_the_size_of_files_defers_and_does_not_kill_the_process() {
    let home = Home::new();
    let resident = Resident::of(&home);
    let first = stamped(&home.mint(ALICE, "first"), &letter("first"));
    home.classify(&first).exits(0).says("first-class paid");
    let limit = |bytes: &str| {
        let pid = resident.pid().as_raw_nonzero().to_string();
        run(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]), b"").exits(0);
    };
    limit("1");
    let second = stamped(&home.mint(ALICE, "second"), &letter("second"));
    home.classify(&second).exits(75);
    home.classify(&letter("plain")).exits(11);
    limit("unlimited");
    home.classify(&second).exits(0);
    home.classify(&first).exits(0).says("first-class again");
    assert_eq!(resident.judged(), 5);
}
