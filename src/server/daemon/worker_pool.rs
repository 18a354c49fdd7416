//! The connections and the threads that serve them. Every thread that has nothing to do waits for the next connection, so
//! that whoever comes is served by the thread that the system wakes for him. There are as many threads as connections, and
//! a few to spare.
//!
//! When all places are taken, the connection that has been silent for longest makes room: two thousand clients that say
//! nothing, or a byte a second, keep nobody out.

use super::handler::{Handler, LIMITS};
use super::peer_credentials::{Access, Doorkeeper};
use crate::ipc::connection::Connection;
use crate::ipc::memory_budget::{Room, Share};
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

/// Threads that wait for a connection, beyond those that serve one.
const SPARE_WORKERS: usize = 4;
/// Descriptors that connections leave to all else: a log that is opened, documents that are read.
const RESERVED_FDS: usize = 40;
/// Bytes of memory for what is longer than 64 KiB of the questions of all connections. Whoever finds it taken is shown the
/// door, and judges for himself.
const ROOM: usize = 64 << 20;
/// Of the places and of that memory, whoever asks for his own mailbox only may have the part of one in so many: he keeps
/// nobody out but himself.
const PART: usize = 4;
/// For how long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(60);
/// For how long a frame may take to come, or an answer to be read.
const FRAME: Duration = Duration::from_secs(10);
/// How often a thread that waits looks whether it is the end.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it takes a thread to leave a connection that was ended.
const EVICTION_POLL: Duration = Duration::from_micros(100);
/// How long to rest when nobody could be let in.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);

/// All threads.
#[derive(Debug)]
pub(super) struct WorkerPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Where they are let in: another when the socket was made anew.
    listener: RwLock<Arc<UnixListener>>,
    service: Arc<Handler>,
    doorkeeper: Doorkeeper,
    most: usize,
    max_connections: Arc<Room>,
    /// What users have of it who may not have all, while they have any.
    rooms: Mutex<HashMap<u32, Weak<Room>>>,
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
    /// Since when it is silent; while it is being answered there is nothing here.
    idle_since: Mutex<Option<Instant>>,
}

impl WorkerPool {
    pub(super) fn begin(
        listener: UnixListener,
        most: usize,
        doorkeeper: Doorkeeper,
        service: Arc<Handler>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            listener: RwLock::new(Arc::new(patient(listener)?)),
            service,
            doorkeeper,
            most: most.min(descriptors()),
            max_connections: Arc::new(Room::new(ROOM)),
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

    /// Lets others in here from now on: nobody finds the socket that there was.
    pub(super) fn move_to(&self, listener: UnixListener) -> io::Result<()> {
        *self.0.listener.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(patient(listener)?);
        Ok(())
    }

    /// Lets nobody in any more, and waits until those who are being answered have their answers.
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

    /// One more thread that waits.
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

    /// Takes connections until there is nothing more to do. Whoever gets here counts as spare.
    fn work(self: &Arc<Self>) {
        while !self.over.load(SeqCst) {
            let listener = Arc::clone(&self.listener.read().unwrap_or_else(PoisonError::into_inner));
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    continue;
                }
                Err(_) => {
                    // Out of descriptors, say: whoever is silent gives his back.
                    self.evict_idlest();
                    thread::sleep(ACCEPT_BACKOFF);
                    continue;
                }
            };
            self.wait_for_place();
            if self.spare.fetch_sub(1, SeqCst) == 1 {
                // If there can be no more threads, this one is back when it is done.
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
        if !Doorkeeper::delivers(uid) && !self.has_place_for(uid) {
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

    /// Whether this user may have one more place. If he has his part, his own connection that has been silent for longest
    /// gives up its.
    fn has_place_for(&self, uid: u32) -> bool {
        let places = self.places();
        let his = || places.values().filter(|place| place.uid == uid);
        his().count() < (self.most / PART).max(1) || end_oldest(his())
    }

    /// The memory that a connection of this user may take of.
    fn share(&self, uid: u32) -> Share {
        let mut rooms = vec![Arc::clone(&self.max_connections)];
        if !Doorkeeper::delivers(uid) {
            let mut known = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, room| room.strong_count() > 0);
            let his = known.get(&uid).and_then(Weak::upgrade);
            let his = his.unwrap_or_else(|| Arc::new(Room::new(ROOM / PART)));
            known.insert(uid, Arc::downgrade(&his));
            rooms.push(his);
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

    /// Waits until a place is free. Whoever has been silent for longest gives up his, and his thread is soon gone from it;
    /// those who are being answered are waited for, and not for ever.
    fn wait_for_place(&self) {
        let until = Instant::now() + FRAME;
        while self.places().len() >= self.most && Instant::now() < until {
            self.evict_idlest();
            thread::sleep(EVICTION_POLL);
        }
    }

    /// Ends the connection that has been silent for longest.
    fn evict_idlest(&self) {
        end_oldest(self.places().values());
    }
}

/// Ends that of these connections which has been silent for longest, if one is.
fn end_oldest<'a>(places: impl Iterator<Item = &'a Arc<PooledConnection>>) -> bool {
    let oldest = places.filter_map(|place| Some((*place.idle_since().as_ref()?, place))).min_by_key(|it| it.0);
    oldest.is_some_and(|(_, place)| place.stream.shutdown(Shutdown::Both).is_ok())
}

/// One that is waited at, and not without end.
fn patient(listener: UnixListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(false)?;
    set_socket_timeout(&listener, Timeout::Recv, Some(ACCEPT_TIMEOUT))?;
    Ok(listener)
}

/// For how many connections there are descriptors; each takes two.
fn descriptors() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
    descriptors.map_or(usize::MAX, |most| (most.saturating_sub(RESERVED_FDS) / 2).max(1))
}

impl PooledConnection {
    fn idle_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
