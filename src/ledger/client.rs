//! Socket in the ledger's folder, through which other processes send requests to the one that has it: one line of JSON
//! each way. Only the owner can open folder and socket, so a client may do whatever a command of the owner may do.

use super::error::{CREATE, LedgerError};
use super::files::{LedgerPaths, failed};
use super::rejection::Rejection;
use crate::ipc::server::{Client, Listener, Server, ServerLimits};
use crate::os::unix_socket;
use crate::time::UnixTime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Version of the protocol: both sides are the same program, but perhaps not the same version.
const VERSION: u32 = 2;
/// Longest request: 16 MiB.
const LONGEST: u64 = 16 << 20;
/// Timeout of a line.
const PATIENCE: Duration = Duration::from_secs(10);
/// Limits of the server, whose connections carry no frames.
const LIMITS: ServerLimits = ServerLimits { connections: 512, memory: 0, peer_divisor: 1, stack_size: 2 << 20 };

#[derive(Serialize, Deserialize)]
struct WireRequest<R> {
    version: u32,
    now: UnixTime,
    request: R,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WireReply<T> {
    Answer(T),
    Refused(Rejection),
    /// A file cannot be created, with the error number of the system.
    CannotCreate(PathBuf, i32),
    Failed(String),
}

/// Starts to serve. The holder of the lock may replace a socket that another process left.
pub(super) fn listen<R, T>(
    place: &LedgerPaths,
    answer: impl Fn(R, UnixTime) -> Result<T, LedgerError> + Send + Sync + 'static,
) -> Result<Server, LedgerError>
where
    R: DeserializeOwned + 'static,
    T: Serialize + 'static,
{
    let path = place.socket();
    let fail = |source| failed("listen at", &path, source);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let serve = move |client: &Client| drop(handle_connection(client, &answer));
    let begin = |listener| Server::begin("ledger", listener, LIMITS, Arc::new(serve));
    Listener::bind(&path, 0o600).and_then(begin).map_err(fail)
}

fn handle_connection<R: DeserializeOwned, T: Serialize>(
    client: &Client,
    answer: &impl Fn(R, UnixTime) -> Result<T, LedgerError>,
) -> io::Result<()> {
    let mut line = String::new();
    client.while_idle(|| BufReader::new(client.within(PATIENCE).take(LONGEST)).read_line(&mut line))?;
    let line = match serde_json::from_str::<WireRequest<R>>(&line) {
        Ok(question) if question.version == VERSION => match answer(question.request, question.now) {
            Ok(answer) => WireReply::Answer(answer),
            Err(LedgerError::Refused(refusal)) => WireReply::Refused(refusal),
            Err(LedgerError::Io { doing: CREATE, path, source }) if source.raw_os_error().is_some() => {
                WireReply::CannotCreate(path, source.raw_os_error().unwrap_or_default())
            }
            Err(error) => WireReply::Failed(error.to_string()),
        },
        Ok(question) => WireReply::Failed(format!(
            "request of version {}, and this process has version {VERSION}",
            question.version
        )),
        Err(error) => WireReply::Failed(format!("request cannot be read: {error}")),
    };
    let mut text = serde_json::to_string(&line)?;
    text.push('\n');
    client.within(PATIENCE).write_all(text.as_bytes())
}

/// Sends a request to the process that has the ledger; `None` when none listens.
pub(super) fn ask<T: DeserializeOwned>(
    place: &LedgerPaths,
    request: &impl Serialize,
    now: UnixTime,
) -> Result<Option<T>, LedgerError> {
    let path = place.socket();
    let fail = |source| failed("ask at", &path, source);
    let mut stream = match unix_socket::connect(&path) {
        Ok(stream) => stream,
        // The holder of the ledger listens, and its backlog is full.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(fail(error)),
        Err(_) => return Ok(None),
    };
    // A long request has no timeout: it is written as fast as it is read.
    stream.set_write_timeout(None).map_err(fail)?;
    let question = WireRequest { version: VERSION, now, request };
    let mut text = serde_json::to_string(&question).map_err(|error| fail(error.into()))?;
    text.push('\n');
    stream.write_all(text.as_bytes()).map_err(fail)?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).map_err(fail)?;
    match serde_json::from_str(&line) {
        Ok(WireReply::Answer(answer)) => Ok(Some(answer)),
        Ok(WireReply::Refused(refusal)) => Err(refusal.into()),
        Ok(WireReply::CannotCreate(path, number)) => {
            Err(LedgerError::Io { doing: CREATE, path, source: io::Error::from_raw_os_error(number) })
        }
        Ok(WireReply::Failed(what)) => Err(LedgerError::Remote(what)),
        Err(error) => Err(LedgerError::Remote(format!("unreadable answer ({error}); check whether it was done"))),
    }
}

/// Returns whether a process listens.
pub(super) fn is_running(place: &LedgerPaths) -> bool {
    unix_socket::connect(&place.socket()).is_ok()
}
