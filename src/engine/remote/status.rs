//! Status protocol of the daemon: request, response, client. The daemon counts in `server/daemon/metrics.rs`, and the
//! commands format the numbers.

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

/// Timeout of the response. The daemon spends one second at most on numbers that it must look up.
const WAIT: Duration = Duration::from_secs(5);

/// A status request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRequest {
    /// The files that the client would use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_set: Option<FileSet>,
}

/// The response. Members that another version leaves out keep their defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// When it started (RFC 3339).
    pub since: String,
    /// Seconds since then.
    pub uptime: u64,
    /// Whether it uses the client's files; absent if the client did not name them.
    pub same_files: Option<bool>,
    /// Open connections, this one included.
    pub connections: u64,
    /// Messages judged.
    pub messages: u64,
    /// Messages of each class.
    pub classes: BTreeMap<String, u64>,
    /// Messages with each reason that occurred.
    pub reasons: BTreeMap<String, u64>,
    /// Messages deferred.
    pub deferred: u64,
    /// Duration of judgements.
    pub latency: Latency,
    /// What has the used log: `redb`, the file of this host, or `postgres`; empty if no log is open.
    pub store: String,
    /// The used log, or all of them.
    pub log: Log,
    /// Counts of the log's answers to other processes.
    pub log_answers: BTreeMap<String, u64>,
    /// Automatic replies in the last 24 hours.
    pub replies: Option<u64>,
    /// The sources of the vendors' directories, and their health.
    pub directories: Vec<Directory>,
}

/// Duration of judgements, in seconds; absent before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Median, approximately.
    pub median: Option<f64>,
    /// 99th percentile, approximately.
    pub p99: Option<f64>,
}

/// The log. If it does not answer, its numbers are absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// Whether it answered in time.
    pub answers: bool,
    /// Bytes that it takes on the disk.
    pub bytes: Option<u64>,
    /// Used serials that it holds.
    pub serials: Option<u64>,
    /// Rows that are in its WAL only.
    pub waiting: Option<u64>,
}

/// A source of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Directory {
    pub vendor: String,
    /// Where it is.
    pub source: String,
    /// `ok`, `warning` or `error`.
    pub health: String,
    /// The reason, as text.
    pub text: String,
    /// Seconds since its last good answer.
    pub age: Option<u64>,
}

/// The outcome of a status request.
#[derive(Clone, Debug, PartialEq)]
pub enum StatusOutcome {
    /// No process listens.
    NotRunning,
    /// A process listens, but sends no status.
    Silent(PathBuf),
    /// The status, and all members of the response.
    Well(Box<Status>, Map<String, Value>),
}

/// Asks the daemon that would judge messages for its status.
#[must_use]
pub fn ask(given: &CliOverrides) -> StatusOutcome {
    let file_set = file_set(given);
    let listening = || connect(&file_set);
    let Some((stream, socket)) = (!is_setuid()).then(listening).flatten() else { return StatusOutcome::NotRunning };
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
