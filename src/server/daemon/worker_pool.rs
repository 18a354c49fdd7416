//! Worker pool of the daemon: connections, and the threads that serve them.
//!
//! Every idle thread waits in accept(2), so a connection is served by the thread that the kernel wakes for it. There
//! are as many threads as connections, and a few to spare.
//!
//! When the limit is reached, the connection that has been idle for longest is closed. Two thousand clients that send
//! nothing, or one byte a second, therefore keep no other client out.

use super::handler::{Handler, LIMITS};
use super::peer_credentials::{Access, AccessControl};
use crate::ipc::connection::Connection;
use crate::ipc::memory_budget::{MemoryBudget, Share};
use crate::os::unix_socket;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Idle threads, beyond those that serve a connection.
const SPARE_WORKERS: usize = 4;
/// File descriptors reserved for everything else: opening a log, reading documents.
const RESERVED_FDS: usize = 40;
/// Memory that the requests of all connections share, in bytes, beyond the 64 KiB that each may use. A connection that
/// finds it taken is closed, and the client judges locally.
const ROOM: usize = 64 << 20;
/// Divisor for the share of each user without access to all mailboxes: a quarter of the connections and of that memory.
/// Such a user can keep out only themselves.
const PART: usize = 4;
/// Idle timeout of a connection.
const IDLE: Duration = Duration::from_secs(60);
/// Timeout of receiving a frame or sending an answer.
const FRAME: Duration = Duration::from_secs(10);
/// Timeout of accept(2), after which a thread checks for shutdown.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(1);
/// Delay between evictions: a thread leaves a closed connection within about this time.
const EVICTION_POLL: Duration = Duration::from_micros(100);
/// Delay after a failed accept(2).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);

/// The pool: a handle of all threads.
#[derive(Debug)]
pub(super) struct WorkerPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The listener; replaced when the socket was created again.
    listener: RwLock<Arc<UnixListener>>,
    service: Arc<Handler>,
    doorkeeper: AccessControl,
    max_connections: usize,
    memory: Arc<MemoryBudget>,
    /// Memory shares of users with limited access, while they have a connection.
    rooms: Mutex<HashMap<u32, Weak<MemoryBudget>>>,
    threads: AtomicUsize,
    spare: AtomicUsize,
    over: AtomicBool,
    next: AtomicU64,
    places: Mutex<HashMap<u64, Arc<PooledConnection>>>,
}

/// One connection.
#[derive(Debug)]
struct PooledConnection {
    stream: UnixStream,
    uid: u32,
    /// Since when the connection is idle; `None` while a request is answered.
    idle_since: Mutex<Option<Instant>>,
}

impl WorkerPool {
    pub(super) fn begin(
        listener: UnixListener,
        most: usize,
        doorkeeper: AccessControl,
        service: Arc<Handler>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            listener: RwLock::new(Arc::new(patient(listener)?)),
            service,
            doorkeeper,
            max_connections: most.min(descriptors()),
            memory: Arc::new(MemoryBudget::new(ROOM)),
            rooms: Mutex::default(),
            threads: AtomicUsize::new(0),
            spare: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            next: AtomicU64::new(0),
            places: Mutex::default(),
        });
        for _ in 0..SPARE_WORKERS {
            shared.spawn_worker()?;
        }
        Ok(Self(shared))
    }

    /// Accepts on this listener from now on; the old socket is no longer reachable.
    pub(super) fn move_to(&self, listener: UnixListener) -> io::Result<()> {
        *self.0.listener.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(patient(listener)?);
        Ok(())
    }

    /// Stops accepting, and waits at most `patience` for requests under way.
    pub(super) fn end(self, patience: Duration) {
        self.0.over.store(true, SeqCst);
        let until = Instant::now() + patience;
        loop {
            for place in self.0.places().values() {
                if place.idle_since().is_some() {
                    let _ = place.stream.shutdown(Shutdown::Read);
                }
            }
            if self.0.threads.load(SeqCst) == 0 || Instant::now() >= until {
                return;
            }
            thread::sleep(ACCEPT_BACKOFF);
        }
    }
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, HashMap<u64, Arc<PooledConnection>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one more idle thread.
    fn spawn_worker(self: &Arc<Self>) -> io::Result<()> {
        self.threads.fetch_add(1, SeqCst);
        self.spare.fetch_add(1, SeqCst);
        let shared = Arc::clone(self);
        let hired = thread::Builder::new().name("serve".into()).spawn(move || {
            shared.work();
            shared.threads.fetch_sub(1, SeqCst);
        });
        if hired.is_err() {
            self.threads.fetch_sub(1, SeqCst);
            self.spare.fetch_sub(1, SeqCst);
        }
        hired.map(drop)
    }

    /// Accepts and serves connections until shutdown, or until enough other threads are idle.
    ///
    /// The caller has counted this thread as spare.
    fn work(self: &Arc<Self>) {
        while !self.over.load(SeqCst) {
            let listener = Arc::clone(&self.listener.read().unwrap_or_else(PoisonError::into_inner));
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    continue;
                }
                Err(_) => {
                    // Out of descriptors, for example: closing an idle connection frees some.
                    self.evict_idlest();
                    thread::sleep(ACCEPT_BACKOFF);
                    continue;
                }
            };
            self.wait_for_place();
            if self.spare.fetch_sub(1, SeqCst) == 1 {
                // If no more threads can start, this one is back when it is done.
                let _ = self.spawn_worker();
            }
            self.serve(stream);
            if self.spare.fetch_add(1, SeqCst) >= SPARE_WORKERS {
                break;
            }
        }
        self.spare.fetch_sub(1, SeqCst);
    }

    fn serve(&self, stream: UnixStream) {
        let (Ok(twin), Ok(uid)) = (stream.try_clone(), unix_socket::owner(&stream)) else { return };
        if !AccessControl::delivers(uid) && !self.has_place_for(uid) {
            return;
        }
        let number = self.next.fetch_add(1, SeqCst);
        let place = Arc::new(PooledConnection { stream: twin, uid, idle_since: Mutex::default() });
        self.places().insert(number, Arc::clone(&place));
        self.service.numbers().connections.fetch_add(1, SeqCst);
        if let Ok(Some(peer)) = self.doorkeeper.who(uid) {
            self.handle_connection(stream, &place, &peer);
        }
        self.places().remove(&number);
        self.service.numbers().connections.fetch_sub(1, SeqCst);
    }

    /// Returns whether this user may have one more connection.
    ///
    /// At the limit of the user, the user's own connection that has been idle for longest is closed.
    fn has_place_for(&self, uid: u32) -> bool {
        let places = self.places();
        let own = || places.values().filter(|place| place.uid == uid);
        own().count() < (self.max_connections / PART).max(1) || end_oldest(own())
    }

    /// Returns the memory share of a connection of this user.
    fn share(&self, uid: u32) -> Share {
        let mut rooms = vec![Arc::clone(&self.memory)];
        if !AccessControl::delivers(uid) {
            let mut known = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, room| room.strong_count() > 0);
            let share = known.get(&uid).and_then(Weak::upgrade);
            let share = share.unwrap_or_else(|| Arc::new(MemoryBudget::new(ROOM / PART)));
            known.insert(uid, Arc::downgrade(&share));
            rooms.push(share);
        }
        Share::of(rooms)
    }

    fn handle_connection(&self, stream: UnixStream, place: &PooledConnection, peer: &Access) {
        let mut channel = Connection::sharing(stream, self.share(place.uid));
        *place.idle_since() = Some(Instant::now());
        while let Ok(Some(frame)) = channel.receive(LIMITS, IDLE, FRAME) {
            *place.idle_since() = None;
            let mut sent = false;
            self.service.handle(&frame, peer, |kind, head| sent = channel.send(kind, head, &[], FRAME).is_ok());
            *place.idle_since() = Some(Instant::now());
            if !sent || self.over.load(SeqCst) {
                break;
            }
        }
    }

    /// Waits until the number of connections is below the limit.
    ///
    /// Closes the connection that has been idle for longest, whose thread soon ends it. If all are busy, waits for one
    /// of them, at most [`FRAME`].
    fn wait_for_place(&self) {
        let until = Instant::now() + FRAME;
        while self.places().len() >= self.max_connections && Instant::now() < until {
            self.evict_idlest();
            thread::sleep(EVICTION_POLL);
        }
    }

    /// Closes the connection that has been idle for longest.
    fn evict_idlest(&self) {
        end_oldest(self.places().values());
    }
}

/// Closes the one of these connections that has been idle for longest, if any is idle.
fn end_oldest<'a>(places: impl Iterator<Item = &'a Arc<PooledConnection>>) -> bool {
    let oldest = places.filter_map(|place| Some((*place.idle_since().as_ref()?, place))).min_by_key(|it| it.0);
    oldest.is_some_and(|(_, place)| place.stream.shutdown(Shutdown::Both).is_ok())
}

/// Makes accept(2) block, with a timeout.
fn patient(listener: UnixListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(false)?;
    set_socket_timeout(&listener, Timeout::Recv, Some(ACCEPT_TIMEOUT))?;
    Ok(listener)
}

/// Returns for how many connections there are file descriptors; each takes two.
fn descriptors() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
    descriptors.map_or(usize::MAX, |most| (most.saturating_sub(RESERVED_FDS) / 2).max(1))
}

impl PooledConnection {
    fn idle_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
