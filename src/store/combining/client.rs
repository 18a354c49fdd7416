//! The log's questions between processes. Whoever holds the lock of a log may listen on the socket beside it (`.socket`):
//! a resident process for as long as it lives, and for a moment a process that had to wait for the lock itself
//! (`leader.rs`). Who finds the lock taken asks there instead of waiting.
//!
//! Folder and socket are open to their owner only: whoever can ask could as well open the file.

use crate::ipc::connection::{ChannelError, Connection};
use crate::ipc::frame::{Frame, Kind, Limits};
use crate::os::unix_socket;
use crate::store::error::StoreError;
use crate::store::place::SafePath;
use crate::verdict::spend::{SpendRequest, SpendResult};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The suffix of the socket.
pub const SUFFIX: &str = ".socket";
/// The limits of the log's questions and answers.
pub const LIMITS: Limits = Limits::HEAD_ONLY;

/// How long a short frame may take once it has begun.
const MOMENT: Duration = Duration::from_secs(1);

/// The head of [`Kind::Undecided`] and [`Kind::Refused`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What happened.
    pub what: String,
    /// What may help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Where the holder of the log `path` listens.
#[must_use]
pub fn socket(path: &Path) -> PathBuf {
    let mut socket = path.as_os_str().to_owned();
    socket.push(SUFFIX);
    socket.into()
}

/// Asks the holder of the log; `None` when there is none who answers (any more), and the log itself must be tried.
pub(in crate::store) fn request_spend(
    path: &Path,
    question: &SpendRequest,
    until: Instant,
) -> Result<Option<SpendResult>, StoreError> {
    let Ok(stream) = unix_socket::connect(&socket(path)) else { return Ok(None) };
    let mut channel = Connection::new(stream);
    let Ok(head) = serde_json::to_vec(question) else { return Ok(None) };
    let wait = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let answer = channel.send(Kind::Spend, &head, &[], MOMENT).and_then(|()| channel.receive(LIMITS, wait, MOMENT));
    match answer {
        Ok(Some(Frame { kind: Kind::SpendResult, head, .. })) => Ok(serde_json::from_slice(&head).ok()),
        Ok(Some(Frame { kind: Kind::Defer, head, .. })) => Err(StoreError::Told(decode_error(&head).what)),
        // It is another version, or is about to go.
        Ok(_) => Ok(None),
        Err(ChannelError::Io(error)) if is_timeout(&error) => {
            Err(StoreError::Busy { path: path.to_owned(), waited: wait })
        }
        Err(_) => Ok(None),
    }
}

/// Asks the holder to let us have the log until the connection is dropped; `None` when nobody who could lend it listens.
pub(in crate::store) fn acquire_lease(place: &SafePath, wait: Duration) -> Option<UnixStream> {
    let mut channel = Connection::new(unix_socket::connect(&place.path(SUFFIX)).ok()?);
    channel.send(Kind::Acquire, b"{}", &[], MOMENT).ok()?;
    let answer = channel.receive(LIMITS, wait.max(Duration::from_millis(1)), MOMENT).ok()??;
    (answer.kind == Kind::Acquired).then(|| channel.into_stream())
}

/// The answer to a spend, as a frame's kind and head.
#[must_use]
pub fn encode_reply(spent: &Result<SpendResult, StoreError>) -> (Kind, Vec<u8>) {
    let told = match spent {
        Ok(spent) => serde_json::to_vec(spent).map(|head| (Kind::SpendResult, head)),
        // Whoever asks finds the log free, or the next who has it.
        Err(StoreError::Left { .. }) => Ok((Kind::NotHere, b"{}".to_vec())),
        Err(error) => Ok(encode_deferral(&error.to_string(), None)),
    };
    told.unwrap_or_else(|error| encode_deferral(&error.to_string(), None))
}

/// That something cannot be decided now, as a frame's kind and head.
#[must_use]
pub fn encode_deferral(what: &str, hint: Option<&str>) -> (Kind, Vec<u8>) {
    let trouble = ErrorReply { what: what.to_owned(), hint: hint.map(str::to_owned) };
    (Kind::Defer, serde_json::to_vec(&trouble).unwrap_or_default())
}

/// What the head of an [`Kind::Undecided`] says.
#[must_use]
pub fn decode_error(head: &[u8]) -> ErrorReply {
    let unclear = |_| ErrorReply { what: "the process that holds the log cannot say what is wrong".into(), hint: None };
    serde_json::from_slice(head).unwrap_or_else(unclear)
}

/// Whether the other end let the time go by.
#[must_use]
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
