//! Combining: many processes that each want to spend one stamp, and no resident process. The one that has the lock answers
//! those that wait, in one durable commit, and is soon gone; one of those that come later is next. One that is alone
//! notices nothing of it: only who had to wait for the lock himself listens for others, or who finds the socket of one that
//! left while others came.
//!
//! Whoever waits asks at the socket or tries the lock, in turn, and sleeps a little in between. So a process that is killed
//! while others wait for its answer costs them that little, and not an answer: they ask the next.

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

/// How many connections one process looks after.
const MAX_WAITERS: usize = 256;
/// What is read at once; a question has some hundred bytes.
const READ_CHUNK: usize = 4 * 1024;
/// For how long to wait for somebody to come.
const ACCEPT_WAIT: Duration = Duration::from_millis(1);
/// And for more, as long as they come: one commit for many costs all of them less.
const BATCH_WAIT: Duration = Duration::from_millis(4);
/// How often to see who has come meanwhile. To be woken by each would cost more than a commit.
const POLL_INTERVAL: Duration = Duration::from_micros(500);

/// The one who has the lock, while he listens. Everything here is one thread's work.
#[derive(Debug)]
pub(in crate::store) struct CombiningLeader {
    listener: UnixListener,
    path: PathBuf,
    guests: Vec<Waiter>,
    /// The socket stays behind.
    sign: bool,
}

/// One who waits.
#[derive(Debug)]
struct Waiter {
    stream: UnixStream,
    buffer: Vec<u8>,
    asked: Option<SpendRequest>,
    closed: bool,
}

impl CombiningLeader {
    /// Listens for those who find the lock of the log `path` taken. Only who has it may.
    pub(in crate::store) fn bind(path: &Path) -> io::Result<Self> {
        let path = socket(path);
        let listener = unix_socket::listen(&path, 0o600)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path, guests: Vec::new(), sign: false })
    }

    /// Takes in whoever comes, and waits a little for more as long as others do. Returns what is asked; each answer is owed.
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
        self.guests.iter().filter_map(|guest| guest.asked.clone()).collect()
    }

    /// Gives the answers, in the order of the questions.
    pub(in crate::store) fn respond(&mut self, answers: impl IntoIterator<Item = (Kind, Vec<u8>)>) {
        let owed = self.guests.iter_mut().filter(|guest| guest.asked.is_some());
        for (guest, (kind, head)) in owed.zip(answers) {
            guest.tell(kind, &head);
        }
        self.guests.retain(|guest| !guest.closed);
    }

    /// Whether somebody listened beside the log `path` and left while others came: then more will come now.
    pub(in crate::store) fn has_successors(path: &Path) -> bool {
        fs::symlink_metadata(socket(path)).is_ok()
    }

    /// Goes while others still come. Those who have asked by now are owed an answer still; whoever is too late tries again,
    /// and the socket stays as a sign to who is next.
    pub(in crate::store) fn hand_off(&mut self) -> Vec<SpendRequest> {
        self.sign = true;
        self.look(Duration::ZERO);
        self.asked()
    }

    /// Sees to whatever is there, after waiting for it; whether anything was.
    fn look(&mut self, wait: Duration) -> bool {
        let open = self.guests.len() < MAX_WAITERS;
        let mut watched: Vec<_> = self.guests.iter().map(|guest| PollFd::new(&guest.stream, PollFlags::IN)).collect();
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
        for (guest, ready) in self.guests.iter_mut().zip(&ready) {
            if *ready && !guest.closed {
                guest.read();
                came = true;
            }
        }
        self.guests.retain(|guest| !guest.closed);
        while open && self.guests.len() < MAX_WAITERS {
            let Ok((stream, _)) = self.listener.accept() else { break };
            if stream.set_nonblocking(true).is_ok() {
                let mut guest = Waiter { stream, buffer: Vec::new(), asked: None, closed: false };
                guest.read();
                self.guests.push(guest);
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
                    // Everything else asks for somebody who stays.
                    Ok(Some(_)) => self.tell(Kind::NotHere, b"{}"),
                    Err(_) => self.closed = true,
                }
            }
            Err(error) => {
                self.closed |= !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
            }
        }
    }

    /// Says the one thing that a guest is told. Such a short frame fits into the socket at once, or nobody reads there.
    fn tell(&mut self, kind: Kind, head: &[u8]) {
        let _ = frame::begin(kind, head, 0).map(|bytes| self.stream.write_all(&bytes));
        self.closed = true;
    }
}

impl Drop for CombiningLeader {
    /// Whoever still waits sees the connection end.
    fn drop(&mut self) {
        if !self.sign {
            let _ = fs::remove_file(&self.path);
        }
    }
}
