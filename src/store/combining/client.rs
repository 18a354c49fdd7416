//! Client of the lock holder: sends a spend or a lease request instead of waiting for the lock of the used log.
//!
//! The process that holds the lock may listen on the socket beside the log (`.socket`). The daemon listens for as long
//! as it runs. A one-shot process listens briefly, if it had to wait for the lock itself (`leader.rs`).
//!
//! Folder and socket are open to their owner only. Clients have the same rights as the owner of the file, so no further
//! check is needed.

use crate::ipc::connection::{ChannelError, Connection};
use crate::ipc::frame::{Frame, Kind, Limits};
use crate::os::safe_dir::SafePath;
use crate::os::unix_socket;
use crate::store::error::StoreError;
use crate::verdict::spend::{SpendRequest, SpendResult};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The suffix of the socket.
pub const SUFFIX: &str = ".socket";
/// Frame limits of requests and replies.
pub const LIMITS: Limits = Limits::HEAD_ONLY;

/// Timeout of a short frame once it has begun.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The head of [`Kind::Defer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What went wrong.
    pub what: String,
    /// What may help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Returns the path of the socket on which the holder of the log `path` listens.
#[must_use]
pub fn socket(path: &Path) -> PathBuf {
    let mut socket = path.as_os_str().to_owned();
    socket.push(SUFFIX);
    socket.into()
}

/// Sends a spend to the lock holder.
/// `None` when no holder answers (any more); the caller must then try the lock itself.
pub(in crate::store) fn request_spend(
    path: &Path,
    question: &SpendRequest,
    until: Instant,
) -> Result<Option<SpendResult>, StoreError> {
    let Ok(stream) = unix_socket::connect(&socket(path)) else { return Ok(None) };
    let mut channel = Connection::new(stream);
    let Ok(head) = serde_json::to_vec(question) else { return Ok(None) };
    let wait = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let answer = channel
        .send(Kind::Spend, &head, &[], POLL_INTERVAL)
        .and_then(|()| channel.receive(LIMITS, wait, POLL_INTERVAL));
    match answer {
        Ok(Some(Frame { kind: Kind::SpendResult, head, .. })) => Ok(serde_json::from_slice(&head).ok()),
        Ok(Some(Frame { kind: Kind::Defer, head, .. })) => Err(StoreError::Told(decode_error(&head).what)),
        // The holder is another version, or is shutting down.
        Ok(_) => Ok(None),
        Err(ChannelError::Io(error)) if is_timeout(&error) => {
            Err(StoreError::Busy { path: path.to_owned(), waited: wait })
        }
        Err(_) => Ok(None),
    }
}

/// Asks the lock holder for a lease of the log, which ends when the connection is dropped.
/// `None` when no holder that grants leases listens.
pub(in crate::store) fn acquire_lease(place: &SafePath, wait: Duration) -> Option<Connection> {
    let mut channel = Connection::new(unix_socket::connect(&place.path(SUFFIX)).ok()?);
    channel.send(Kind::Acquire, b"{}", &[], POLL_INTERVAL).ok()?;
    let answer = channel.receive(LIMITS, wait.max(Duration::from_millis(1)), POLL_INTERVAL).ok()??;
    (answer.kind == Kind::Acquired).then_some(channel)
}

/// Encodes the reply to a spend as a frame's kind and head.
#[must_use]
pub fn encode_reply(spent: &Result<SpendResult, StoreError>) -> (Kind, Vec<u8>) {
    let told = match spent {
        Ok(spent) => serde_json::to_vec(spent).map(|head| (Kind::SpendResult, head)),
        // The client retries, and finds the log free or the next holder.
        Err(StoreError::Left { .. }) => Ok((Kind::NotHere, b"{}".to_vec())),
        Err(error) => Ok(encode_deferral(&error.to_string(), None)),
    };
    told.unwrap_or_else(|error| encode_deferral(&error.to_string(), None))
}

/// Encodes a deferral (nothing can be decided now) as a frame's kind and head.
#[must_use]
pub fn encode_deferral(what: &str, hint: Option<&str>) -> (Kind, Vec<u8>) {
    let trouble = ErrorReply { what: what.to_owned(), hint: hint.map(str::to_owned) };
    (Kind::Defer, serde_json::to_vec(&trouble).unwrap_or_default())
}

/// Decodes the head of a [`Kind::Defer`].
#[must_use]
pub fn decode_error(head: &[u8]) -> ErrorReply {
    let unclear = |_| ErrorReply { what: "the process that holds the log sent an unreadable error".into(), hint: None };
    serde_json::from_slice(head).unwrap_or_else(unclear)
}

/// Whether an I/O error is a timeout.
#[must_use]
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
