//! The connections and the threads that serve them. Every thread that has nothing to do waits for the next connection, so
//! that whoever comes is served by the thread that the system wakes for him. There are as many threads as connections, and
//! a few to spare.
//!
//! When all places are taken, the connection that has been silent for longest makes room: two thousand clients that say
//! nothing, or a byte a second, keep nobody out.

use super::handler::{LIMITS, Service};
use super::peer_credentials::{Doorkeeper, Peer};
use crate::ipc::connection::Channel;
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
const SPARE: usize = 4;
/// Descriptors that connections leave to all else: a log that is opened, documents that are read.
const FILES: usize = 40;
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
const LOOK: Duration = Duration::from_secs(1);
/// How long it takes a thread to leave a connection that was ended.
const MOMENT: Duration = Duration::from_micros(100);
/// How long to rest when nobody could be let in.
const REST: Duration = Duration::from_millis(20);

/// All threads.
#[derive(Debug)]
pub(super) struct Crew(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Where they are let in: another when the socket was made anew.
    listener: RwLock<Arc<UnixListener>>,
    service: Arc<Service>,
    doorkeeper: Doorkeeper,
    most: usize,
    room: Arc<Room>,
    /// What users have of it who may not have all, while they have any.
    rooms: Mutex<HashMap<u32, Weak<Room>>>,
    threads: AtomicUsize,
    spare: AtomicUsize,
    over: AtomicBool,
    next: AtomicU64,
    places: Mutex<HashMap<u64, Arc<Place>>>,
}

/// One connection.
#[derive(Debug)]
struct Place {
    stream: UnixStream,
    uid: u32,
    /// Since when it is silent; while it is being answered there is nothing here.
    silent: Mutex<Option<Instant>>,
}

impl Crew {
    pub(super) fn begin(
        listener: UnixListener,
        most: usize,
        doorkeeper: Doorkeeper,
        service: Arc<Service>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            listener: RwLock::new(Arc::new(patient(listener)?)),
            service,
            doorkeeper,
            most: most.min(descriptors()),
            room: Arc::new(Room::new(ROOM)),
            rooms: Mutex::default(),
            threads: AtomicUsize::new(0),
            spare: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            next: AtomicU64::new(0),
            places: Mutex::default(),
        });
        for _ in 0..SPARE {
            shared.hire()?;
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
                if place.silent().is_some() {
                    let _ = place.stream.shutdown(Shutdown::Read);
                }
            }
            if self.0.threads.load(SeqCst) == 0 || Instant::now() >= until {
                return;
            }
            thread::sleep(REST);
        }
    }
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, HashMap<u64, Arc<Place>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more thread that waits.
    fn hire(self: &Arc<Self>) -> io::Result<()> {
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
                    self.make_room();
                    thread::sleep(REST);
                    continue;
                }
            };
            self.wait_for_place();
            if self.spare.fetch_sub(1, SeqCst) == 1 {
                // If there can be no more threads, this one is back when it is done.
                let _ = self.hire();
            }
            self.serve(stream);
            if self.spare.fetch_add(1, SeqCst) >= SPARE {
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
        let place = Arc::new(Place { stream: twin, uid, silent: Mutex::default() });
        self.places().insert(number, Arc::clone(&place));
        self.service.numbers().connections.fetch_add(1, SeqCst);
        if let Ok(Some(peer)) = self.doorkeeper.who(uid) {
            self.converse(stream, &place, &peer);
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
        let mut rooms = vec![Arc::clone(&self.room)];
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

    fn converse(&self, stream: UnixStream, place: &Place, peer: &Peer) {
        let mut channel = Channel::sharing(stream, self.share(place.uid));
        *place.silent() = Some(Instant::now());
        while let Ok(Some(frame)) = channel.receive(LIMITS, IDLE, FRAME) {
            *place.silent() = None;
            let mut sent = false;
            self.service.answer(&frame, peer, |kind, head| sent = channel.send(kind, head, &[], FRAME).is_ok());
            *place.silent() = Some(Instant::now());
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
            self.make_room();
            thread::sleep(MOMENT);
        }
    }

    /// Ends the connection that has been silent for longest.
    fn make_room(&self) {
        end_oldest(self.places().values());
    }
}

/// Ends that of these connections which has been silent for longest, if one is.
fn end_oldest<'a>(places: impl Iterator<Item = &'a Arc<Place>>) -> bool {
    let oldest = places.filter_map(|place| Some((*place.silent().as_ref()?, place))).min_by_key(|it| it.0);
    oldest.is_some_and(|(_, place)| place.stream.shutdown(Shutdown::Both).is_ok())
}

/// One that is waited at, and not without end.
fn patient(listener: UnixListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(false)?;
    set_socket_timeout(&listener, Timeout::Recv, Some(LOOK))?;
    Ok(listener)
}

/// For how many connections there are descriptors; each takes two.
fn descriptors() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
    descriptors.map_or(usize::MAX, |most| (most.saturating_sub(FILES) / 2).max(1))
}

impl Place {
    fn silent(&self) -> MutexGuard<'_, Option<Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
