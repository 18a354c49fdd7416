//! The daemon (`mailstamp serve`) as a process: started, asked how much it has judged, stopped, killed, ended. The
//! faults are left to the tests.

use super::Home;
use super::programs::stop;
use mailstamp::ipc::connection::Connection;
use mailstamp::ipc::frame::{Kind, Limits};
use mailstamp::os::unix_socket;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub use super::programs::PATIENCE;

/// The process; killed when this is dropped.
pub struct Resident {
    child: Child,
    socket: PathBuf,
}

impl Resident {
    /// Starts the daemon of a home.
    pub fn of(home: &Home) -> Self {
        Self::begin(&mut home.command(), home)
    }

    /// The same by a command that runs the program, or something that becomes it; `serve` is added.
    #[track_caller]
    pub fn begin(command: &mut Command, home: &Home) -> Self {
        Self::try_begin(command, home).expect("it serves")
    }

    /// The same; `None` when it ends before it listens.
    pub fn try_begin(command: &mut Command, home: &Home) -> Option<Self> {
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let mut resident = Self { child, socket: home.state().join("socket") };
        let began = Instant::now();
        while resident.connect().is_none() {
            if resident.child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(began.elapsed() < PATIENCE, "it does not listen");
            thread::sleep(Duration::from_millis(2));
        }
        Some(resident)
    }

    /// A connection to it, while it listens.
    pub fn connect(&self) -> Option<UnixStream> {
        unix_socket::connect(&self.socket).ok()
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Stops it, and returns when it has stopped.
    pub fn stop(&self) {
        stop(self.pid());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    #[track_caller]
    pub fn end(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }

    /// Takes the log from it, as `export` does, until the connection ends. It must have the log open.
    #[track_caller]
    pub fn lease_log(&self) -> Connection {
        let socket = unix_socket::connect(&self.socket.with_file_name("used.redb.socket")).unwrap();
        let mut channel = Connection::new(socket);
        channel.send(Kind::Acquire, b"{}", &[], PATIENCE).unwrap();
        let frame = channel.receive(Limits::HEAD_ONLY, PATIENCE, PATIENCE).unwrap().expect("an answer");
        assert_eq!(frame.kind, Kind::Acquired);
        channel
    }

    /// How many messages it has judged or deferred.
    pub fn judged(&self) -> u64 {
        let mut channel = Connection::new(self.connect().expect("it listens"));
        channel.send(Kind::Status, b"{}", &[], PATIENCE).unwrap();
        let frame = channel.receive(Limits::HEAD_ONLY, PATIENCE, PATIENCE).unwrap().expect("an answer");
        let status: serde_json::Value = serde_json::from_slice(&frame.head).unwrap();
        let reasons = status["reasons"].as_object().unwrap().values();
        reasons.chain([&status["deferred"]]).filter_map(serde_json::Value::as_u64).sum()
    }

    /// Memory that it has in use, in bytes.
    pub fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
