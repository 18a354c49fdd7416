//! Faults of the daemon (`mailstamp serve`), of its clients, and of commands that combine without it: kills and stops,
//! bad disks, files that are removed or restored, many clients and hostile clients at its socket, clocks that jump,
//! logs of older versions. Under every fault, no stamp is accepted for two messages, and the same message keeps its
//! class. Only problems of mailstamp itself defer. Each test runs the real program; tests of the store alone are in
//! `tests/store/`.

mod clock;
mod crowds;
mod disk;
mod killed;
mod restored;
mod together;
mod told;
mod versions;

use crate::support::{ALICE, Home, Run, letter, stamped};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Random numbers that are the same in every run (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A message to a command, as [`support::run`], and SIGKILL after so long.
fn run_and_kill(command: &mut Command, stdin: &[u8], after: Option<Duration>) -> Run {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let pid = Pid::from_child(&child);
    thread::scope(|scope| {
        scope.spawn(move || input.write_all(stdin).ok());
        if let Some(after) = after {
            thread::sleep(after);
            // It is waited for below only, so the number is still its own.
            kill_process(pid, Signal::KILL).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    })
}

/// Stamps of one home, each on two messages.
struct Contest {
    messages: Vec<[Vec<u8>; 2]>,
    /// The message of the two that has the stamp, once an answer has said so.
    owner: Vec<Option<usize>>,
    /// How many answers about a stamp were recorded.
    times: Vec<usize>,
}

impl Contest {
    fn new(home: &Home, stamps: usize, name: &str) -> Self {
        let pair = |n: usize| {
            let stamp = home.mint(ALICE, &format!("{name}{n}"));
            [0, 1].map(|which| stamped(&stamp, &letter(&format!("{name}{n}-{which}"))))
        };
        Self { messages: (0..stamps).map(pair).collect(), owner: vec![None; stamps], times: vec![0; stamps] }
    }

    /// Records an answer about a message: a class that agrees with all answers before, a deferral (75), or none if the
    /// process was killed. Returns whether there was an answer.
    #[track_caller]
    fn take(&mut self, stamp: usize, which: usize, run: &Run) -> bool {
        let verdict = run.text();
        self.times[stamp] += 1;
        let times = self.times[stamp];
        let owner = match (run.code, verdict.split_whitespace().next()) {
            (0, Some("first-class")) => which,
            (21, Some("used")) => 1 - which,
            (75, None) | (-1, _) => return false,
            _ => panic!("{stamp}-{which}: {run:?}"),
        };
        assert_eq!(
            *self.owner[stamp].get_or_insert(owner),
            owner,
            "stamp {stamp} has changed hands after {times}: {run:?}"
        );
        true
    }

    /// Each message comes once more, and is judged: one of each two is first-class, as it was before.
    #[track_caller]
    fn settle(&mut self, home: &Home) {
        for stamp in 0..self.messages.len() {
            for which in [0, 1] {
                let run = home.classify(&self.messages[stamp][which]);
                assert!(self.take(stamp, which, &run), "{stamp}-{which}: {run:?}");
            }
        }
    }
}
