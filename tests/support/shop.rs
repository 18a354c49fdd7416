//! A vendor's service over a ledger of its own in a temporary folder: one account with credits and an API key, and the
//! program under test on a port of the loopback interface.

use super::MAILSTAMP;
use super::http::{self, Answer, Connection};
use super::programs::{PATIENCE, eventually, stop};
use mailstamp::accounting::event::Terms;
use mailstamp::accounting::order::Caps;
use mailstamp::ledger::handle::{Ledger, LedgerParams};
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use rustix::process::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The vendor.
pub const VENDOR: &str = "stamps.example";

/// A shop that runs.
pub struct Shop {
    folder: tempfile::TempDir,
    child: Child,
    program: PathBuf,
    more: Vec<String>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it tells its numbers.
    pub metrics: SocketAddr,
    /// The number of the account.
    pub account: u64,
    /// Its API key.
    pub key: String,
}

impl Shop {
    /// A new shop whose account has this many credits, with more arguments for `vendor serve`.
    pub fn open(credits: u64, more: &[&str]) -> Self {
        Self::of(Path::new(MAILSTAMP), credits, more)
    }

    /// As [`open`](Self::open), of another build of the program.
    pub fn of(program: &Path, credits: u64, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let terms = Terms {
            caps: Caps { credits_a_day: u64::MAX / 4, ..Caps::default() },
            meters: Some(1_000_000_000),
            ..Terms::new("0.001 EUR".parse().unwrap(), 30)
        };
        let founding = LedgerParams { vendor: VENDOR.into(), kid: "2026q4".into(), terms };
        let ledger = Ledger::create(&path, &founding, clock::now()).unwrap();
        let account = ledger
            .run(ops::OpenAccount { name: "joe".into(), contact: "joe@shop.example".into(), caps: None }, clock::now())
            .unwrap()
            .number;
        if credits > 0 {
            ledger.credit(account, credits, None, "first", clock::now()).unwrap();
        }
        let (key, _) = ledger.add_api_key(account, "test", clock::now()).unwrap();
        let key = key.as_str().to_owned();
        drop(ledger);
        let more: Vec<String> = more.iter().map(|&word| word.to_owned()).collect();
        let (child, address, metrics) = start(program, folder.path(), &more);
        Self { folder, child, program: program.to_owned(), more, address, metrics, account, key }
    }

    /// The folder of everything.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the ledger.
    pub fn folder(&self) -> PathBuf {
        self.path().join("ledger")
    }

    /// What it said on standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap()
    }

    /// The ledger, through the service that has it.
    pub fn ledger(&self) -> Ledger {
        Ledger::connect(&self.folder(), PATIENCE).unwrap()
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it, and returns when it has stopped.
    pub fn stop(&self) {
        stop(Pid::from_child(&self.child));
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.pid().to_string()]).status().unwrap().success());
    }

    /// Its exit status, once it has ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        eventually("the end of the service", || self.child.try_wait().unwrap()).code()
    }

    /// Gives it more arguments, from its next start on.
    pub fn give(&mut self, more: &[&str]) {
        self.more.extend(more.iter().map(|&word| word.to_owned()));
    }

    /// Replaces an argument that it got, from its next start on.
    pub fn replace(&mut self, old: &str, new: &str) {
        for word in self.more.iter_mut().filter(|word| *word == old) {
            new.clone_into(word);
        }
    }

    /// Kills it without a word, and starts another over the same ledger.
    pub fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.restart();
    }

    /// Starts it again over the same ledger.
    pub fn restart(&mut self) {
        (self.child, self.address, self.metrics) = start(&self.program, self.folder.path(), &self.more);
    }

    /// A request with the account's key.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_with(method, path, &[], body)
    }

    /// The same with more header fields.
    #[track_caller]
    pub fn ask_with(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &Value) -> Answer {
        let authorization = format!("Bearer {}", self.key);
        let mut all = vec![("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        all.extend(fields);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        http::ask(self.address, method, path, &all, &body).unwrap()
    }

    /// An order, sent on a connection that is kept.
    pub fn buy(&self, connection: &mut Connection, idempotency: &str, body: &str) -> std::io::Result<Answer> {
        let authorization = format!("Bearer {}", self.key);
        let fields = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", idempotency),
        ];
        connection.ask("POST", "/v1/stamps", &fields, body.as_bytes())
    }

    /// What the account has.
    pub fn balance(&self) -> u64 {
        self.ledger().account(self.account, clock::now()).unwrap().balance
    }

    /// Fails unless the ledger is sound.
    #[track_caller]
    pub fn audit(&self) -> mailstamp::ledger::audit::Report {
        let report = self.ledger().audit(None).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        report
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(program: &Path, folder: &Path, more: &[String]) -> (Child, SocketAddr, SocketAddr) {
    let log = File::options().append(true).create(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(program);
    command.args(["vendor", "serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--ledger"]);
    command.arg(folder.join("ledger")).args(more);
    command.env_clear().env("HOME", folder).env("PATH", "/usr/bin:/bin").current_dir(folder);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addresses: Vec<SocketAddr> =
        line.split("://").skip(1).filter_map(|rest| rest.split('/').next()?.trim().parse().ok()).collect();
    let told = || format!("{line:?} {}", fs::read_to_string(folder.join("log")).unwrap());
    assert!(line.starts_with("listening on ") && addresses.len() == 2, "{}", told());
    (child, addresses[0], addresses[1])
}

/// A proxy that passes requests on whole, and of the answers as many bytes as `kept` says: how many came in the whole,
/// and how many answers before them.
pub fn cutting(to: SocketAddr, kept: impl Fn(usize, usize) -> usize + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::new((AtomicUsize::new(0), kept));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut client, shared) = (stream.unwrap(), Arc::clone(&shared));
            thread::spawn(move || {
                let (count, kept) = &*shared;
                let mut server = TcpStream::connect(to).unwrap();
                let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || drop(std::io::copy(&mut from, &mut into)));
                let mut answer = vec![0; 64 * 1024];
                // The answer was given; whether it arrives is another matter.
                let length = server.read(&mut answer).unwrap_or(0);
                let kept = kept(length, count.fetch_add(1, Ordering::Relaxed));
                let _ = client.write_all(&answer[..kept]);
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    address
}
