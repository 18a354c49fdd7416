//! Combining leader: commits the spends of many one-shot processes together, where no daemon runs.
//!
//! - The process that holds the lock is the leader. It answers its followers, which wait, in one durable commit. It
//!   stops when no more arrive, or after 50 ms. A later process becomes the next leader.
//! - An uncontended process skips this path. A process listens for followers in two cases only: it had to wait for the
//!   lock itself, or it finds the socket that an earlier leader left behind.
//! - A follower alternates between the socket and the lock, and sleeps in between. If the leader is killed, its
//!   followers lose that sleep but no answer: they ask the next leader.

use super::client::{LIMITS, socket};
use crate::ipc::frame::{self, Kind};
use crate::os::unix_socket;
use crate::verdict::spend::SpendRequest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Followers that one leader serves at once.
const MAX_WAITERS: usize = 256;
/// Bytes read at once. A request has some hundred bytes.
const READ_CHUNK: usize = 4 * 1024;
/// How long the leader waits for a first follower.
const ACCEPT_WAIT: Duration = Duration::from_millis(1);
/// How long the leader waits for more followers, while they keep arriving: one commit for many costs each of them less.
const BATCH_WAIT: Duration = Duration::from_millis(4);
/// How often the leader polls for new followers. Waking up for each one would cost more than a commit.
const POLL_INTERVAL: Duration = Duration::from_micros(500);

/// The leader: it holds the lock and listens for followers. All its work runs on one thread.
#[derive(Debug)]
pub(in crate::store) struct CombiningLeader {
    listener: UnixListener,
    path: PathBuf,
    waiters: Vec<Waiter>,
    /// Whether the socket stays behind as a sign for the next leader.
    sign: bool,
}

/// A follower's connection.
#[derive(Debug)]
struct Waiter {
    stream: UnixStream,
    buffer: Vec<u8>,
    asked: Option<SpendRequest>,
    closed: bool,
}

impl CombiningLeader {
    /// Listens for processes that find the lock of the log `path` taken.
    /// Only the holder of the lock may call this.
    pub(in crate::store) fn bind(path: &Path) -> io::Result<Self> {
        let path = socket(path);
        let listener = unix_socket::listen(&path, 0o600)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path, waiters: Vec::new(), sign: false })
    }

    /// Accepts followers, waits a little while more arrive, and returns their requests.
    /// Each request is owed an answer.
    pub(in crate::store) fn collect_requests(&mut self) -> Vec<SpendRequest> {
        if self.look(ACCEPT_WAIT) {
            let until = Instant::now() + BATCH_WAIT;
            while Instant::now() < until {
                thread::sleep(POLL_INTERVAL);
                if !self.look(Duration::ZERO) {
                    break;
                }
            }
        }
        self.asked()
    }

    fn asked(&self) -> Vec<SpendRequest> {
        self.waiters.iter().filter_map(|waiter| waiter.asked.clone()).collect()
    }

    /// Sends the answers, in the order of the requests.
    pub(in crate::store) fn respond(&mut self, answers: impl IntoIterator<Item = (Kind, Vec<u8>)>) {
        let owed = self.waiters.iter_mut().filter(|waiter| waiter.asked.is_some());
        for (waiter, (kind, head)) in owed.zip(answers) {
            waiter.tell(kind, &head);
        }
        self.waiters.retain(|waiter| !waiter.closed);
    }

    /// Whether an earlier leader left its socket beside the log `path` while followers were still arriving.
    /// More will then arrive now.
    pub(in crate::store) fn has_successors(path: &Path) -> bool {
        fs::symlink_metadata(socket(path)).is_ok()
    }

    /// Stops leading while followers are still arriving, and returns the requests that are still owed an answer.
    /// Later followers try again. The socket stays as a sign for the next leader.
    pub(in crate::store) fn hand_off(&mut self) -> Vec<SpendRequest> {
        self.sign = true;
        self.look(Duration::ZERO);
        self.asked()
    }

    /// Reads and accepts what is ready, waiting up to `wait`.
    /// Returns whether anything was.
    fn look(&mut self, wait: Duration) -> bool {
        let open = self.waiters.len() < MAX_WAITERS;
        let mut watched: Vec<_> =
            self.waiters.iter().map(|waiter| PollFd::new(&waiter.stream, PollFlags::IN)).collect();
        if open {
            watched.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.as_nanos().min(999_999_999) as _ };
        if !poll(&mut watched, Some(&wait)).is_ok_and(|count| count > 0) {
            return false;
        }
        let ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(watched);
        let mut came = false;
        for (waiter, ready) in self.waiters.iter_mut().zip(&ready) {
            if *ready && !waiter.closed {
                waiter.read();
                came = true;
            }
        }
        self.waiters.retain(|waiter| !waiter.closed);
        while open && self.waiters.len() < MAX_WAITERS {
            let Ok((stream, _)) = self.listener.accept() else { break };
            if stream.set_nonblocking(true).is_ok() {
                let mut waiter = Waiter { stream, buffer: Vec::new(), asked: None, closed: false };
                waiter.read();
                self.waiters.push(waiter);
                came = true;
            }
        }
        came
    }
}

impl Waiter {
    fn read(&mut self) {
        let mut piece = [0; READ_CHUNK];
        match self.stream.read(&mut piece) {
            Ok(0) => self.closed = true,
            Ok(count) => {
                self.buffer.extend(&piece[..count]);
                match frame::take(&mut self.buffer, LIMITS) {
                    Ok(None) => {}
                    Ok(Some(frame)) if frame.kind == Kind::Spend && self.asked.is_none() => {
                        self.asked = serde_json::from_slice(&frame.head).ok();
                        if self.asked.is_none() {
                            self.tell(Kind::UnknownRequest, b"{}");
                        }
                    }
                    // Any other request needs the daemon.
                    Ok(Some(_)) => self.tell(Kind::NotHere, b"{}"),
                    Err(_) => self.closed = true,
                }
            }
            Err(error) => {
                self.closed |= !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
            }
        }
    }

    /// Sends the one answer that a follower gets.
    /// So short a frame fits into the socket's buffer, unless the follower no longer reads.
    fn tell(&mut self, kind: Kind, head: &[u8]) {
        let _ = frame::begin(kind, head, 0).map(|bytes| self.stream.write_all(&bytes));
        self.closed = true;
    }
}

impl Drop for CombiningLeader {
    /// Closes the connections of the followers that still wait.
    fn drop(&mut self) {
        if !self.sign {
            let _ = fs::remove_file(&self.path);
        }
    }
}
