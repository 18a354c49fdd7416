//! How a resident process says that it is: what is asked, the words of the answer, and asking. What is counted is its own
//! affair (`server/daemon/metrics.rs`), and how it looks that of the commands that show it.

use super::client::{connect, file_set};
use super::protocol::FileSet;
use crate::config::paths::{CliOverrides, is_setuid};
use crate::ipc::connection::Connection;
use crate::ipc::frame::{Kind, Limits};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// For how long an answer is waited for. It has been looking for what it does not know by heart for a second at most.
const WAIT: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRequest {
    /// Whose files the asker would use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_set: Option<FileSet>,
}

/// What is answered. A version that says less leaves the rest as it is by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The number of the process.
    pub pid: u32,
    /// Since when it runs (RFC 3339).
    pub since: String,
    /// For how many seconds that is.
    pub uptime: u64,
    /// Whether it answers for a process that uses the files of who asks; nothing if he did not say which.
    pub same_files: Option<bool>,
    /// Connections that are open, this one included.
    pub connections: u64,
    /// Messages that were judged.
    pub messages: u64,
    /// How many of them were of each class.
    pub classes: BTreeMap<String, u64>,
    /// How many had each reason; those that occurred.
    pub reasons: BTreeMap<String, u64>,
    /// Messages that could not be judged and wait.
    pub deferred: u64,
    /// How long judgements took.
    pub latency: Latency,
    /// The used-serial log, or all of them.
    pub log: Log,
    /// How often other processes that asked the log were answered what.
    pub log_answers: BTreeMap<String, u64>,
    /// Automatic replies in the last 24 hours.
    pub replies: Option<u64>,
    /// Where the vendors' directories come from, and how that stands.
    pub directories: Vec<Directory>,
}

/// How long judgements took, in seconds; nothing before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Half of them took no longer, about.
    pub median: Option<f64>,
    /// 99 of 100 took no longer, about.
    pub p99: Option<f64>,
}

/// The log. Where it does not answer nothing is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// Whether it answered in time.
    pub answers: bool,
    /// Bytes that it takes on the disk.
    pub bytes: Option<u64>,
    /// Used serials that it holds.
    pub serials: Option<u64>,
    /// Rows that stand in its journal alone.
    pub waiting: Option<u64>,
}

/// A source of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Directory {
    /// Whose directory it has.
    pub vendor: String,
    /// Where it is.
    pub source: String,
    /// `good`, `odd` or `bad`.
    pub health: String,
    /// Why, in words.
    pub text: String,
    /// Seconds since it last answered as it should.
    pub age: Option<u64>,
}

/// What became of asking.
#[derive(Clone, Debug, PartialEq)]
pub enum StatusOutcome {
    /// Nobody listens.
    Nobody,
    /// Somebody listens there, and does not say how he is.
    Silent(PathBuf),
    /// The answer, and all members that it had.
    Well(Box<Status>, Map<String, Value>),
}

/// Asks the process that would be asked about messages.
#[must_use]
pub fn ask(given: &CliOverrides) -> StatusOutcome {
    let file_set = file_set(given);
    let listening = || connect(&file_set);
    let Some((stream, socket)) = (!is_setuid()).then(listening).flatten() else { return StatusOutcome::Nobody };
    let mut channel = Connection::new(stream);
    let asked = serde_json::to_vec(&StatusRequest { file_set: Some(file_set.clone()) }).unwrap_or_default();
    let answer = channel
        .send(Kind::Status, &asked, &[], WAIT)
        .and_then(|()| channel.receive(Limits::HEAD_ONLY, WAIT, WAIT))
        .ok()
        .flatten()
        .filter(|frame| frame.kind == Kind::StatusReply)
        .and_then(|frame| serde_json::from_slice(&frame.head).ok());
    let read = |members: Map<String, Value>| {
        let status = serde_json::from_value(Value::Object(members.clone())).ok()?;
        Some(StatusOutcome::Well(Box::new(status), members))
    };
    answer.and_then(read).unwrap_or(StatusOutcome::Silent(socket))
}
