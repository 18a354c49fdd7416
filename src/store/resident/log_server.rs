//! Log server of the daemon, the counterpart of `store/combining/client.rs`. It answers processes that find the log
//! locked, and leases the log to those that need the file. A connection usually carries one short request. The number
//! of connections and every wait are limited.

use super::Core;
use crate::ipc::connection::Connection;
use crate::ipc::frame::{Frame, Kind};
use crate::ipc::server::{Client, Listener, Server, ServerLimits, Service};
use crate::store::combining::client::{self, LIMITS};
use crate::store::error::StoreError;
use crate::verdict::spend::SpendResult;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Limits of the server. Of the shared memory, the longest frame takes the 12 bytes of its prefix.
const SERVER_LIMITS: ServerLimits =
    ServerLimits { connections: 512, memory: 1 << 20, peer_divisor: 1, stack_size: 256 << 10 };
/// How long a connection may be idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a frame.
const FRAME_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of a lease. A borrower that still holds the lock then is waited for like any other holder.
const LEASE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a lender checks whether the lease was recalled, for the shutdown.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Counts of the answers to other processes, since the daemon began.
#[derive(Debug, Default)]
pub struct AnswerCounters([AtomicU64; AnswerCounters::WORDS.len()]);

impl AnswerCounters {
    /// The kinds of answers.
    pub const WORDS: [&'static str; 9] =
        ["fresh", "redelivery", "double-spend", "other-owner", "too-often", "ended", "granted", "revoked", "deferred"];

    /// Returns each kind with its count.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Self::WORDS.into_iter().zip(self.0.iter().map(|count| count.load(Relaxed)))
    }

    fn count(&self, answer: &Result<SpendResult, StoreError>) {
        let word = match answer {
            Ok(SpendResult::Fresh) => "fresh",
            Ok(SpendResult::Redelivery { .. }) => "redelivery",
            Ok(SpendResult::DoubleSpend { .. }) => "double-spend",
            Ok(SpendResult::OtherOwner) => "other-owner",
            Ok(SpendResult::TooOften) => "too-often",
            Ok(SpendResult::Ended) => "ended",
            Ok(SpendResult::Granted(_)) => "granted",
            Ok(SpendResult::Revoked { .. }) => "revoked",
            // The client asks the next holder of the log.
            Err(StoreError::Left { .. }) => return,
            Err(_) => "deferred",
        };
        if let Some((_, count)) = Self::WORDS.iter().zip(&self.0).find(|(known, _)| **known == word) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// Listens beside the log `path`, which must be locked.
pub(super) fn listen(path: &Path, inner: Arc<Core>) -> Result<Server, StoreError> {
    let path = client::socket(path);
    let server = Listener::bind(&path, 0o600).and_then(|socket| Server::begin("log", socket, SERVER_LIMITS, inner));
    server.map_err(|source| StoreError::from_io("listen at", &path, source))
}

impl Service for Core {
    fn serve(&self, client: &Client) {
        client.answer_frames(LIMITS, IDLE_TIMEOUT, FRAME_TIMEOUT, |Frame { kind, head, .. }, connection| {
            let (kind, head) = match kind {
                Kind::Spend => match serde_json::from_slice(&head) {
                    Ok(ask) => {
                        let spent = self.spend(&ask);
                        self.attended.count(&spent);
                        client::encode_reply(&spent)
                    }
                    Err(_) => (Kind::UnknownRequest, b"{}".to_vec()),
                },
                // The client gets the log when this process ends.
                Kind::Acquire if self.recalled.load(SeqCst) => (Kind::NotHere, b"{}".to_vec()),
                Kind::Acquire => match self.lend(|| wait_for_return(connection, &self.recalled)) {
                    Ok(()) => return false,
                    Err(error) => client::encode_deferral(&error.to_string(), None),
                },
                // Messages are judged at another socket.
                _ => (Kind::UnknownRequest, b"{}".to_vec()),
            };
            connection.send(kind, &head, &[], FRAME_TIMEOUT).is_ok()
        });
    }
}

/// Grants the lease, and waits until the borrower closes the connection.
fn wait_for_return(channel: &mut Connection, recalled: &AtomicBool) {
    let until = Instant::now() + LEASE_TIMEOUT;
    if channel.send(Kind::Acquired, b"{}", &[], FRAME_TIMEOUT).is_ok() {
        let mut stream = channel.stream();
        let _ = stream.set_read_timeout(Some(POLL_INTERVAL));
        let has_it = |read: io::Result<usize>| read.is_err_and(|error| client::is_timeout(&error));
        while has_it(stream.read(&mut [0])) && Instant::now() < until && !recalled.load(SeqCst) {}
    }
}
