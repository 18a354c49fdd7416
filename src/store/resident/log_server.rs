//! The other side of `store/combining/client.rs`: a resident process answers those who find the log taken, and lends it to
//! those who need the file. A thread for each connection, since each has one short question; no more than so many, and
//! nobody waits at the door for long.

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

/// Connections at once. Who comes beyond that is sent away, and tries again.
const MAX_CONNECTIONS: usize = 512;
/// For how long a connection may say nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long a frame may take.
const FRAME_TIMEOUT: Duration = Duration::from_secs(1);
/// For how long the log is lent. Who still has the lock then is waited for as for any other who has it.
const LEASE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a lender looks whether he needs it himself, for the end.
const LOOK: Duration = Duration::from_millis(100);
/// How long to rest when nobody could be let in.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// How often others were answered what, since this began.
#[derive(Debug, Default)]
pub struct AnswerCounters([AtomicU64; AnswerCounters::WORDS.len()]);

impl AnswerCounters {
    /// What may be answered.
    pub const WORDS: [&'static str; 7] = ["fresh", "again", "double", "ended", "granted", "revoked", "undecided"];

    /// Each answer with its count.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Self::WORDS.into_iter().zip(self.0.iter().map(|count| count.load(Relaxed)))
    }

    fn count(&self, answer: &Result<SpendResult, StoreError>) {
        let word = match answer {
            Ok(SpendResult::Fresh) => "fresh",
            Ok(SpendResult::Redelivery { .. }) => "again",
            Ok(SpendResult::DoubleSpend { .. }) => "double",
            Ok(SpendResult::Ended) => "ended",
            Ok(SpendResult::Granted(_)) => "granted",
            Ok(SpendResult::Revoked { .. }) => "revoked",
            // It asks the next who has the log.
            Err(StoreError::Left { .. }) => return,
            Err(_) => "undecided",
        };
        if let Some((_, count)) = Self::WORDS.iter().zip(&self.0).find(|(known, _)| **known == word) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// Attends to others until it is dropped.
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

    /// Whether others find it.
    pub(in crate::store) fn stands(&self) -> bool {
        self.socket.stands()
    }
}

impl Drop for LogServer {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        // Wakes the thread that accepts, wherever the socket is by now; then nobody finds it any more.
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
            // Out of descriptors, say: it would fail again at once.
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
        // Without a thread for him he sees the connection end, and tries again.
        let _ = thread::Builder::new().name("log-ask".into()).stack_size(256 * 1024).spawn(converse);
    }
}

/// One connection in the count, however its thread ends, or if it has none.
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
            // Whoever asks gets it when this process ends.
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

/// Says that the log is free, and waits until the borrower hangs up.
fn wait_for_return(channel: &mut Connection, recalled: &AtomicBool) {
    let until = Instant::now() + LEASE_TIMEOUT;
    if channel.send(Kind::Acquired, b"{}", &[], FRAME_TIMEOUT).is_ok() {
        let mut stream = channel.stream();
        let _ = stream.set_read_timeout(Some(LOOK));
        let has_it = |read: io::Result<usize>| read.is_err_and(|error| client::is_timeout(&error));
        while has_it(stream.read(&mut [0])) && Instant::now() < until && !recalled.load(SeqCst) {}
    }
}
