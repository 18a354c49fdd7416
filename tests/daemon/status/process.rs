//! A daemon of a home, with its metrics on loopback; it ends with the test.

use crate::support::Home;
use crate::support::http::{self, Answer};
use crate::support::programs::{eventually, threads};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};

/// A running daemon.
pub struct Process {
    child: Child,
    // Kept open, or the daemon could not write to standard error.
    _told: BufReader<ChildStderr>,
    /// The address of its metrics.
    pub metrics: Option<SocketAddr>,
}

impl Process {
    /// Starts the daemon, and returns when it listens.
    pub fn begin(home: &Home) -> Self {
        Self::begin_as(&mut home.command())
    }

    /// The same with an environment of the caller's.
    pub fn begin_as(command: &mut Command) -> Self {
        let mut child = command.arg("serve").stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        assert!(line.starts_with("mailstamp: serving at "), "{line}");
        let metrics = line
            .trim_end()
            .split_once("http://")
            .map(|(_, address)| address.strip_suffix("/metrics").unwrap_or_else(|| panic!("{line}")).parse().unwrap());
        Self { child, _told: told, metrics }
    }

    /// The number of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks over HTTP.
    pub fn get(&self, path: &str) -> Answer {
        http::ask(self.metrics.unwrap(), "GET", path, &[], b"").unwrap()
    }

    /// Waits until it is healthy, and returns its answer. A log that takes longer than a second counts as ill, as on a
    /// machine whose disk is busy.
    #[track_caller]
    pub fn healthy(&self) -> Answer {
        eventually("health", || Some(self.get("/healthz")).filter(|answer| answer.status == 200))
    }

    /// Returns all metrics once the log was measured.
    #[track_caller]
    pub fn measured(&self) -> BTreeMap<String, f64> {
        eventually("a measured log", || Some(self.numbers()).filter(|numbers| numbers["mailstamp_log_up"] == 1.0))
    }

    /// Returns all metrics, each by its name with its labels.
    pub fn numbers(&self) -> BTreeMap<String, f64> {
        let text = self.get("/metrics").is(200).text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(it, number)| (it.into(), number.parse().unwrap()))
            .collect()
    }

    /// The names of its threads but the first.
    pub fn threads(&self) -> Vec<String> {
        threads(self.pid()).into_iter().map(|(_, name)| name).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        let ended = self.child.wait();
        if !std::thread::panicking() {
            assert!(ended.unwrap().success());
        }
    }
}

/// Returns a home with metrics on a free port of loopback, and with further configuration.
pub fn home(more: &str) -> Home {
    let home = Home::new();
    home.configure(&format!(
        "addresses = [\"alice@x.example\"]\n{more}\n[serve]\nmetrics = \"127.0.0.1:0\"\nrefresh = \"0s\""
    ));
    home
}

/// Returns the same home, with a directory that was not refreshed for long.
pub fn home_with_directory() -> Home {
    let home = home("");
    let source = "[[source]]\npublisher = \"stamps.example\"\nfrom = \"https://stamps.example/directory\"\n";
    fs::write(home.config().with_file_name("vendors").join("sources.toml"), source).unwrap();
    let heard = r#"{ "publisher": "stamps.example", "version": 1, "sources": [
        { "from": "https://stamps.example/directory", "answered": "2026-01-01T00:00:00Z" }] }"#;
    fs::create_dir_all(home.state().join("directories")).unwrap();
    fs::write(home.state().join("directories/stamps.example.json"), heard).unwrap();
    home
}
