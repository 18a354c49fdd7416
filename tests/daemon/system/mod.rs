//! `mailstamp serve` as a system runs it: by systemd, and for other users. The programs are real. Debian's
//! systemd-socket-activate(1) replaces systemd, with a socket that receives the notifications for a service manager.

mod held;
mod notify;
mod prices;
mod signals;
mod units;
mod users;

use crate::support::programs::{PATIENCE, eventually};
use crate::support::{Home, run};
use mailstamp::engine::remote::protocol::{FileSet, JudgeRequest, MailboxNames};
use mailstamp::ipc::connection::Connection;
use mailstamp::ipc::frame::{Frame, Kind, Limits};
use mailstamp::os::unix_socket;
use std::path::Path;
use std::process::{Child, Command};

/// A daemon, until the test ends.
pub struct Service(Child);

impl Service {
    pub fn begin(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// `mailstamp serve` of this home, listening.
    pub fn of(home: &Home) -> Self {
        let errors = std::fs::File::create(home.file("serve.log")).unwrap();
        let service = Self::begin(home.command().arg("serve").stderr(errors));
        eventually("the socket", || unix_socket::connect(&home.state().join("socket")).ok());
        service
    }

    pub fn signal(&self, name: &str) {
        run(Command::new("kill").args(["-s", name, &self.0.id().to_string()]), b"").exits(0);
    }

    /// Waits for the end; returns the exit status.
    pub fn ends(&mut self) -> Option<i32> {
        eventually("the end", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the answer of the daemon at this socket.
pub fn ask(channel: &mut Connection, kind: Kind, head: &[u8], body: &[u8]) -> Option<Frame> {
    channel.send(kind, head, body, PATIENCE).unwrap();
    channel.receive(Limits::HEAD_ONLY, PATIENCE, PATIENCE).unwrap()
}

/// How many messages the process has judged with this reason.
pub fn judged(socket: &Path, reason: &str) -> u64 {
    let mut channel = Connection::new(unix_socket::connect(socket).unwrap());
    let well = ask(&mut channel, Kind::Status, b"{}", b"").unwrap();
    assert_eq!(well.kind, Kind::StatusReply);
    let status: serde_json::Value = serde_json::from_slice(&well.head).unwrap();
    status["reasons"][reason].as_u64().unwrap_or(0)
}

/// The question that `classify` asks about a whole message.
pub fn question(home: &Home, message: &[u8]) -> JudgeRequest {
    JudgeRequest {
        file_set: FileSet { home: Some((home.file(".config/mailstamp"), Some(home.state()))), ..FileSet::default() },
        names: MailboxNames::default(),
        recipient: None,
        sender: None,
        now: None,
        spend: true,
        record: true,
        size: message.len() as u64,
        whole: true,
        beginning: false,
    }
}
