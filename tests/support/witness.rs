//! A witness of a log, in Python (`witness.py`), on a port of the loopback interface.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::http::{self, Answer};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// A witness that runs. It ends with this value.
pub struct Witness {
    folder: TempDir,
    child: Child,
    name: String,
    seed: u8,
    log: String,
    /// How many bytes of the file with its requests were returned.
    told: AtomicUsize,
    /// Its key, a space, and its address: a value of `--witness`.
    pub option: String,
}

impl Witness {
    /// Starts a witness of the log with this key. Its name and its own key follow from `seed`.
    pub fn start(seed: u8, log: &str) -> Self {
        let (folder, name) = (tempfile::tempdir().unwrap(), format!("w{seed}.example/1"));
        let (child, option) = serve(folder.path(), &name, seed, log);
        Self { folder, child, name, seed, log: log.to_owned(), told: AtomicUsize::new(0), option }
    }

    /// Starts it again, at another port, after it has ended.
    pub fn restart(&mut self) {
        self.stop();
        (self.child, self.option) = serve(self.folder.path(), &self.name, self.seed, &self.log);
    }

    /// Ends it.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Its key.
    pub fn key(&self) -> &str {
        self.option.split(' ').next().unwrap()
    }

    /// Has it do something wrong from now on; nothing for an empty word.
    pub fn mode(&self, mode: &str) {
        fs::write(self.folder.path().join("mode"), mode).unwrap();
    }

    /// Lets it answer the request that it keeps in the mode `waits`.
    pub fn go(&self) {
        fs::write(self.folder.path().join("go"), "").unwrap();
    }

    /// Each request since the last call: the size that it assumed, and the status of the answer.
    pub fn requests(&self) -> Vec<(u64, u16)> {
        let text = fs::read_to_string(self.folder.path().join("requests")).unwrap_or_default();
        // The file stays, since the witness may write to it now.
        let new = &text[self.told.swap(text.len(), Ordering::Relaxed)..];
        let line = |line: &str| {
            let (old, status) = line.strip_prefix("old ").unwrap().split_once(' ').unwrap();
            (old.parse().unwrap(), status.parse().unwrap())
        };
        new.lines().map(line).collect()
    }

    /// Has it forget what it saw, or takes it back to an earlier state.
    pub fn set_seen(&self, seen: Option<&str>) {
        match seen {
            Some(text) => fs::write(self.seen_path(), text).unwrap(),
            None => fs::remove_file(self.seen_path()).unwrap(),
        }
    }

    /// What it cosigned last.
    pub fn seen(&self) -> String {
        fs::read_to_string(self.seen_path()).unwrap()
    }

    /// The file with what it cosigned last.
    pub fn seen_path(&self) -> PathBuf {
        self.folder.path().join("seen.json")
    }

    /// Sends a request with this body.
    pub fn post(&self, body: &str) -> Answer {
        let at: SocketAddr = self.option.split("//").nth(1).unwrap().trim_end_matches("/a").parse().unwrap();
        http::ask(at, "POST", "/a/add-checkpoint", &[], body.as_bytes()).unwrap()
    }

    /// Returns the line with its cosignature of a note that it sees for the first time.
    pub fn cosign(&self, note: &str) -> String {
        self.post(&format!("old 0\n\n{note}")).is(200).text()
    }
}

fn serve(folder: &Path, name: &str, seed: u8, log: &str) -> (Child, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/witness.py");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script).arg(folder).args([name, &format!("{seed:02x}").repeat(32), log]).env_clear();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (key, _) = line.trim_end().split_once(" http://127.0.0.1:").unwrap_or_else(|| panic!("witness: {line:?}"));
    assert!(key.starts_with(name));
    (child, line.trim_end().to_owned())
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop();
    }
}
