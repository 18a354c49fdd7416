//! A terminal for programs that need one: tmux(1) runs the program, and the test reads the screen and types.
//!
//! A program may throw away keys that come before it waits for one (mutt does, whenever it comes back from another
//! program). So each key is typed only after the screen shows what the program shows when it waits, and after the
//! program sleeps.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::programs::{eventually_or, program};
use super::{Home, Run, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// After this time a key that had no effect is typed again.
const AGAIN: Duration = Duration::from_secs(5);

/// The screen of one program; the program ends with the value.
pub struct Screen {
    home: PathBuf,
    path: String,
}

impl Screen {
    /// Runs a command line in the home, with the programs of `bin` before the system's.
    pub fn open(home: &Home, bin: &Path, line: &str) -> Self {
        program("tmux", "tmux");
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let screen = Self { home: home.path().to_owned(), path };
        // So that the process of the window is the program, and no shell.
        let line = format!("exec {line}");
        screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "50", &line]).exits(0);
        screen
    }

    /// What stands on the screen; nothing once the program has ended.
    pub fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).text()
    }

    /// Waits until the screen shows this.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        self.shows_any(&[text]);
    }

    /// Waits until the screen shows one of these.
    #[track_caller]
    pub fn shows_any(&self, texts: &[&str]) {
        let shown = || texts.iter().any(|text| self.text().contains(text)).then_some(());
        eventually_or(&format!("{texts:?} on the screen"), shown, || self.text());
    }

    /// Types a key, or text, once the screen shows this and the program waits for a key.
    #[track_caller]
    pub fn press_at(&self, shown: &str, key: &str) {
        let waits = || (self.text().contains(shown) && self.waits_for_a_key()).then_some(());
        eventually_or(&format!("{shown:?} before the key {key}"), waits, || self.text());
        self.tmux(&["send-keys", key]).exits(0);
    }

    /// As [`press_at`](Self::press_at), until there is an answer: the key is typed again where the program waits for it
    /// still after some seconds. Only for keys that do the same when they come twice.
    #[track_caller]
    pub fn press_until<T>(&self, shown: &str, key: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let mut typed: Option<Instant> = None;
        let ask = || {
            let answer = ask();
            let due = typed.is_none_or(|at| at.elapsed() > AGAIN);
            if answer.is_none() && due && self.text().contains(shown) && self.waits_for_a_key() {
                self.tmux(&["send-keys", key]);
                typed = Some(Instant::now());
            }
            answer
        };
        eventually_or(&format!("{shown:?} and the key {key}"), ask, || self.text())
    }

    /// Whether the program sleeps twice in a row, in the foreground of its terminal and without children. A program
    /// that has just drawn its screen may still throw away keys; one that sleeps has nothing to wait for but a key.
    fn waits_for_a_key(&self) -> bool {
        let pid = self.tmux(&["display-message", "-p", "#{pane_pid}"]).text().trim().to_owned();
        (0..2).all(|_| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            // proc(5): the name in brackets, then state, parent, group, session, terminal, and its foreground group.
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            fields.len() > 5 && fields[0] == "S" && fields[2] == fields[5] && children.is_empty()
        })
    }

    fn tmux(&self, args: &[&str]) -> Run {
        let mut command = Command::new("tmux");
        command.env_clear().env("HOME", &self.home).env("TERM", "screen").env("LANG", "C.UTF-8");
        command.env("PATH", &self.path).current_dir(&self.home);
        run(command.arg("-S").arg(self.home.join("socket")).args(args), b"")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The server behind this socket is this test's own. It may have ended with its only window.
        let _ = Command::new("tmux").arg("-S").arg(self.home.join("socket")).arg("kill-server").output();
    }
}
