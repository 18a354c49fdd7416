//! Log server of the daemon, the counterpart of `store/combining/client.rs`. It answers processes that find the log
//! locked, and leases the log to those that need the file. Each connection has its own thread, since it carries one
//! short request. The number of connections and every wait are limited.

use super::Core;
use crate::ipc::connection::Connection;
use crate::ipc::frame::{Frame, Kind};
use crate::os::unix_socket::{self, Made};
use crate::store::combining::client::{self, LIMITS};
use crate::store::error::StoreError;
use crate::verdict::spend::SpendResult;
use rustix::net::{Shutdown, shutdown};
use std::io::{self, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Connections at once. Further ones are closed, and their clients try again.
const MAX_CONNECTIONS: usize = 512;
/// How long a connection may be idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a frame.
const FRAME_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of a lease. A borrower that still holds the lock then is waited for like any other holder.
const LEASE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a lender checks whether the lease was recalled, for the shutdown.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Delay after a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Counts of the answers to other processes, since the daemon began.
#[derive(Debug, Default)]
pub struct AnswerCounters([AtomicU64; AnswerCounters::WORDS.len()]);

impl AnswerCounters {
    /// The kinds of answers.
    pub const WORDS: [&'static str; 8] =
        ["fresh", "redelivery", "double-spend", "other-owner", "ended", "granted", "revoked", "deferred"];

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

/// The server. Runs until it is dropped.
#[derive(Debug)]
pub(in crate::store) struct LogServer {
    listener: Arc<UnixListener>,
    socket: Made,
    over: Arc<AtomicBool>,
}

impl LogServer {
    /// Listens beside the log `path`, which must be locked.
    pub(in crate::store) fn begin(path: &Path, inner: Arc<Core>) -> Result<Self, StoreError> {
        let path = client::socket(path);
        let fail = |source| StoreError::from_io("listen at", &path, source);
        let listener = Arc::new(unix_socket::listen(&path, 0o600).map_err(fail)?);
        let socket = Made::at(&path).map_err(fail)?;
        let over = Arc::new(AtomicBool::new(false));
        let (heard, ended) = (Arc::clone(&listener), Arc::clone(&over));
        let accept = move || accept_loop(&heard, &inner, &ended);
        thread::Builder::new().name("log".into()).spawn(accept).map_err(fail)?;
        Ok(Self { listener, socket, over })
    }

    /// Whether the socket is still at its path.
    pub(in crate::store) fn stands(&self) -> bool {
        self.socket.stands()
    }
}

impl Drop for LogServer {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        // Wakes the accept loop, wherever the socket is by now, and then removes the socket.
        let _ = shutdown(&self.listener, Shutdown::Both);
        self.socket.remove();
    }
}

fn accept_loop(listener: &UnixListener, inner: &Arc<Core>, over: &AtomicBool) {
    let count = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if over.load(SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            // Out of descriptors, for instance: it would fail again at once.
            thread::sleep(ACCEPT_BACKOFF);
            continue;
        };
        if count.fetch_add(1, SeqCst) >= MAX_CONNECTIONS {
            count.fetch_sub(1, SeqCst);
            continue;
        }
        let (inner, here) = (Arc::clone(inner), ConnectionGuard(Arc::clone(&count)));
        let converse = move || {
            handle_connection(stream, &inner);
            drop(here);
        };
        // If no thread can be spawned, the connection closes and the client tries again.
        let _ = thread::Builder::new().name("log-ask".into()).stack_size(256 * 1024).spawn(converse);
    }
}

/// Counts one connection until dropped, however its thread ends, and also if there is none.
struct ConnectionGuard(Arc<AtomicUsize>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn handle_connection(stream: UnixStream, inner: &Core) {
    let mut channel = Connection::new(stream);
    while let Ok(Some(Frame { kind, head, .. })) = channel.receive(LIMITS, IDLE_TIMEOUT, FRAME_TIMEOUT) {
        let (kind, head) = match kind {
            Kind::Spend => match serde_json::from_slice(&head) {
                Ok(ask) => {
                    let spent = inner.spend(&ask);
                    inner.attended.count(&spent);
                    client::encode_reply(&spent)
                }
                Err(_) => (Kind::UnknownRequest, b"{}".to_vec()),
            },
            // The client gets the log when this process ends.
            Kind::Acquire if inner.recalled.load(SeqCst) => (Kind::NotHere, b"{}".to_vec()),
            Kind::Acquire => match inner.lend(|| wait_for_return(&mut channel, &inner.recalled)) {
                Ok(()) => return,
                Err(error) => client::encode_deferral(&error.to_string(), None),
            },
            // Messages are judged at another socket.
            _ => (Kind::UnknownRequest, b"{}".to_vec()),
        };
        if channel.send(kind, &head, &[], FRAME_TIMEOUT).is_err() {
            return;
        }
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
