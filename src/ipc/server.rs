//! Server of connections on a Unix or TCP socket: accepts them within limits, and serves each on a thread of its pool.
//! What it does for a connection is a [`Service`].
//!
//! - Every idle thread waits in accept(2), so a connection is served by the thread that the kernel wakes for it. There
//!   are as many threads as connections, and a few to spare.
//! - At the limit, the connection that has been idle for longest is closed. Two thousand clients that send nothing, or
//!   one byte a second, or that read no answer, therefore keep no other client out.
//! - A panic in the service ends its connection only.

use super::connection::{Connection, IdleClock};
use super::frame::{self, Frame};
use super::memory_budget::{MemoryBudget, Share};
use super::peer::Peer;
use super::timed_stream::TimedStream;
use crate::os::unix_socket::{self, Made};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Idle threads, beyond those that serve a connection.
const SPARE_WORKERS: usize = 4;
/// File descriptors reserved for everything else: opening a log, reading documents.
const RESERVED_FDS: usize = 40;
/// How long a new connection waits for a free place, while requests are under way on all others.
const FULL_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of accept(2) on an inherited listener, after which a thread checks for shutdown.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(1);
/// Delay after a failed accept(2), and between checks at shutdown.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);
/// Delay between evictions: a thread leaves a closed connection within about this time.
const EVICTION_POLL: Duration = Duration::from_micros(100);

/// What a server does for its connections.
pub trait Service: Send + Sync + 'static {
    /// Serves a connection to its end.
    fn serve(&self, client: &Client);

    /// Returns whether this peer gets only a share of the connections, and a user only a share of the memory.
    /// Such a peer can keep out only itself.
    fn is_limited(&self, _peer: Peer) -> bool {
        false
    }
}

impl<F: Fn(&Client) + Send + Sync + 'static> Service for F {
    fn serve(&self, client: &Client) {
        self(client);
    }
}

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Connections at once. The limit of file descriptors may allow fewer.
    pub connections: usize,
    /// Bytes that the frames of all connections share, beyond the 64 KiB that each may use.
    /// A connection that finds them taken is closed.
    pub memory: usize,
    /// Divisor for the share of each limited peer.
    pub peer_divisor: usize,
    /// Bytes of a thread's stack.
    pub stack_size: usize,
}

/// The server. Accepts until it is dropped; connections then go on to their end.
pub struct Server(Arc<Shared>);

struct Shared {
    name: &'static str,
    limits: ServerLimits,
    service: Arc<dyn Service>,
    listener: RwLock<Arc<Listener>>,
    memory: Arc<MemoryBudget>,
    /// Memory shares of limited users, while they have a connection.
    user_memory: Mutex<HashMap<u32, Weak<MemoryBudget>>>,
    threads: AtomicUsize,
    spare: AtomicUsize,
    over: Arc<AtomicBool>,
    next: AtomicU64,
    clients: Mutex<HashMap<u64, Arc<Client>>>,
}

/// Socket on which a server accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// Created by this process, which removes it at the end.
    Own(UnixListener, Made),
    /// Shared with the process that passed it on (systemd), which keeps it after the end.
    Inherited(UnixListener),
    Tcp(TcpListener),
}

/// A client: one connection.
#[derive(Debug)]
pub struct Client {
    /// The connection. One of TCP has this type too: reading, writing and ending it are the same calls.
    pub stream: Arc<UnixStream>,
    pub peer: Peer,
    /// Budgets from which its frames take memory.
    budgets: Vec<Arc<MemoryBudget>>,
    idle: Arc<IdleClock>,
    /// Whether the server ends.
    over: Arc<AtomicBool>,
}

impl Server {
    /// Starts to accept connections; `name` is that of the threads.
    pub fn begin(
        name: &'static str,
        listener: Listener,
        limits: ServerLimits,
        service: Arc<dyn Service>,
    ) -> io::Result<Self> {
        let connections = limits.connections.min(descriptors());
        let shared = Arc::new(Shared {
            name,
            limits: ServerLimits { connections, ..limits },
            service,
            listener: RwLock::new(Arc::new(listener.blocking()?)),
            memory: Arc::new(MemoryBudget::new(limits.memory)),
            user_memory: Mutex::default(),
            threads: AtomicUsize::new(0),
            spare: AtomicUsize::new(0),
            over: Arc::default(),
            next: AtomicU64::new(0),
            clients: Mutex::default(),
        });
        shared.spawn_worker()?;
        Ok(Self(shared))
    }

    /// Accepts on this listener from now on; the old socket is no longer reachable.
    pub fn move_to(&self, listener: Listener) -> io::Result<()> {
        let listener = Arc::new(listener.blocking()?);
        let mut current = self.0.listener.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, listener).shut_down();
        Ok(())
    }

    /// Returns whether its socket is still at its path.
    #[must_use]
    pub fn stands(&self) -> bool {
        !matches!(&*self.0.listener(), Listener::Own(_, socket) if !socket.stands())
    }

    /// Removes the socket, closes idle connections, and waits at most `patience` for requests under way.
    pub fn end(self, patience: Duration) {
        self.0.stop();
        let until = Instant::now() + patience;
        loop {
            for client in self.0.clients().values() {
                if client.idle.since().is_some() {
                    let _ = client.stream.shutdown(Shutdown::Read);
                }
            }
            if self.0.threads.load(SeqCst) == 0 || Instant::now() >= until {
                return;
            }
            thread::sleep(ACCEPT_BACKOFF);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl Shared {
    fn listener(&self) -> Arc<Listener> {
        Arc::clone(&self.listener.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<u64, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.over.store(true, SeqCst);
        self.listener().shut_down();
    }

    /// Starts one more idle thread.
    fn spawn_worker(self: &Arc<Self>) -> io::Result<()> {
        self.threads.fetch_add(1, SeqCst);
        self.spare.fetch_add(1, SeqCst);
        let shared = Arc::clone(self);
        let worker = thread::Builder::new().name(self.name.into()).stack_size(self.limits.stack_size);
        let spawned = worker.spawn(move || {
            shared.work();
            shared.threads.fetch_sub(1, SeqCst);
        });
        if spawned.is_err() {
            self.threads.fetch_sub(1, SeqCst);
            self.spare.fetch_sub(1, SeqCst);
        }
        spawned.map(drop)
    }

    /// Accepts and serves connections until shutdown, or until enough other threads are idle.
    ///
    /// The caller has counted this thread as spare.
    fn work(self: &Arc<Self>) {
        while !self.over.load(SeqCst) {
            let listener = self.listener();
            let (stream, address) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                // Shut down: there is another listener now, or none.
                Err(_) if self.over.load(SeqCst) || !Arc::ptr_eq(&listener, &self.listener()) => continue,
                Err(_) => {
                    // Out of descriptors, for example: closing an idle connection frees some.
                    end_idlest(self.clients().values());
                    thread::sleep(ACCEPT_BACKOFF);
                    continue;
                }
            };
            if !self.wait_for_place() {
                continue;
            }
            if self.spare.fetch_sub(1, SeqCst) == 1 {
                // If no more threads can start, this one is back when it is done.
                let _ = self.spawn_worker();
            }
            let peer = match address {
                Some(address) => Ok(Peer::Host(address)),
                None => unix_socket::owner(&stream).map(Peer::User),
            };
            if let Ok(peer) = peer {
                self.serve(stream, peer);
            }
            if self.spare.fetch_add(1, SeqCst) >= SPARE_WORKERS {
                break;
            }
        }
        self.spare.fetch_sub(1, SeqCst);
    }

    fn serve(&self, stream: UnixStream, peer: Peer) {
        let mut budgets = vec![Arc::clone(&self.memory)];
        if self.service.is_limited(peer) {
            if !self.has_place_for(peer) {
                return;
            }
            if let Peer::User(uid) = peer {
                budgets.push(self.user_memory(uid));
            }
        }
        let (stream, idle, over) = (Arc::new(stream), Arc::default(), Arc::clone(&self.over));
        let client = Arc::new(Client { stream, peer, budgets, idle, over });
        let number = self.next.fetch_add(1, SeqCst);
        self.clients().insert(number, Arc::clone(&client));
        let _ = catch_unwind(AssertUnwindSafe(|| self.service.serve(&client)));
        self.clients().remove(&number);
    }

    /// Returns whether this peer may have one more connection.
    ///
    /// At the limit of the peer, its own connection that has been idle for longest is closed.
    fn has_place_for(&self, peer: Peer) -> bool {
        let clients = self.clients();
        let own = || clients.values().filter(|client| client.peer.party() == peer.party());
        own().count() < (self.limits.connections / self.limits.peer_divisor).max(1) || end_idlest(own())
    }

    /// Returns the memory that the connections of this user share.
    fn user_memory(&self, uid: u32) -> Arc<MemoryBudget> {
        let mut known = self.user_memory.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, budget| budget.strong_count() > 0);
        let share = || Arc::new(MemoryBudget::new(self.limits.memory / self.limits.peer_divisor));
        let budget = known.get(&uid).and_then(Weak::upgrade).unwrap_or_else(share);
        known.insert(uid, Arc::downgrade(&budget));
        budget
    }

    /// Waits until the number of connections is below the limit; returns whether it is.
    ///
    /// Closes the connection that has been idle for longest, whose thread soon ends it. If all are busy, waits for one
    /// of them, at most [`FULL_TIMEOUT`].
    fn wait_for_place(&self) -> bool {
        let until = Instant::now() + FULL_TIMEOUT;
        while self.clients().len() >= self.limits.connections {
            if Instant::now() >= until || self.over.load(SeqCst) {
                return false;
            }
            end_idlest(self.clients().values());
            thread::sleep(EVICTION_POLL);
        }
        true
    }
}

/// Closes the one of these connections that has been idle for longest, if any is idle.
fn end_idlest<'a>(clients: impl Iterator<Item = &'a Arc<Client>>) -> bool {
    let now = Instant::now();
    let idle = clients.filter_map(|client| Some((client.idle.since().filter(|since| *since <= now)?, client)));
    let idlest = idle.min_by_key(|it| it.0);
    idlest.is_some_and(|(_, client)| client.stream.shutdown(Shutdown::Both).is_ok())
}

/// Returns for how many connections there are file descriptors: one for each, and one for what it asks.
fn descriptors() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
    descriptors.map_or(usize::MAX, |most| (most.saturating_sub(RESERVED_FDS) / 2).max(1))
}

impl Listener {
    /// Listens at this path, as [`unix_socket::listen`].
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        let listener = unix_socket::listen(path, mode)?;
        Ok(Self::Own(listener, Made::at(path)?))
    }

    /// Accepts a connection; by TCP, with the address of the peer.
    fn accept(&self) -> io::Result<(UnixStream, Option<IpAddr>)> {
        match self {
            Self::Own(listener, _) | Self::Inherited(listener) => Ok((listener.accept()?.0, None)),
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                stream.set_nodelay(true)?;
                // A listener of IPv6 may show hosts of IPv4 as ::ffff:192.0.2.1.
                Ok((OwnedFd::from(stream).into(), Some(address.ip().to_canonical())))
            }
        }
    }

    /// Makes accept(2) block; on an inherited listener, with a timeout.
    fn blocking(self) -> io::Result<Self> {
        match &self {
            Self::Own(listener, _) | Self::Inherited(listener) => listener.set_nonblocking(false)?,
            Self::Tcp(listener) => listener.set_nonblocking(false)?,
        }
        if let Self::Inherited(listener) = &self {
            set_socket_timeout(listener, Timeout::Recv, Some(ACCEPT_TIMEOUT))?;
        }
        Ok(self)
    }

    /// Wakes all threads that wait in accept(2), and removes the socket.
    fn shut_down(&self) {
        match self {
            Self::Own(listener, socket) => {
                let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
                socket.remove();
            }
            Self::Tcp(listener) => drop(rustix::net::shutdown(listener, rustix::net::Shutdown::Both)),
            Self::Inherited(_) => {}
        }
    }
}

impl Client {
    /// Runs `receive`, and counts the connection as idle meanwhile: it may be closed for another one.
    pub fn while_idle<T>(&self, receive: impl FnOnce() -> T) -> T {
        self.idle.while_receiving(receive)
    }

    /// Runs `send`, and counts the connection as idle if that takes long.
    pub fn while_sending<T>(&self, send: impl FnOnce() -> T) -> T {
        self.idle.while_sending(send)
    }

    /// Returns the connection for reads and writes that end at this time.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> TimedStream<'_> {
        TimedStream::new(&self.stream, deadline)
    }

    /// Returns the connection for reads and writes that end after this time.
    #[must_use]
    pub fn within(&self, limit: Duration) -> TimedStream<'_> {
        TimedStream::within(&self.stream, limit)
    }

    /// Returns a share of the memory of this server, of no bytes yet.
    #[must_use]
    pub fn memory(&self) -> Share {
        Share::of(self.budgets.clone())
    }

    /// Returns whether the server ends.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Calls `answer` for each frame until it returns false, the client closes the connection, or the server ends.
    /// Limits and timeouts are those of [`Connection::receive`].
    pub fn answer_frames(
        &self,
        limits: frame::Limits,
        idle: Duration,
        within: Duration,
        mut answer: impl FnMut(Frame, &mut Connection) -> bool,
    ) {
        let mut connection = Connection::sharing(Arc::clone(&self.stream), self.memory(), Arc::clone(&self.idle));
        while let Ok(Some(frame)) = connection.receive(limits, idle, within)
            && answer(frame, &mut connection)
            && !self.is_over()
        {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Longer than any machine takes.
    const LONG: Duration = Duration::from_secs(300);
    const LIMITS: ServerLimits = ServerLimits { connections: 4, memory: 0, peer_divisor: 2, stack_size: 1 << 20 };

    /// Echoes single bytes: `w` once the test allows it; on `p` it panics, and `l` gets a long answer.
    struct Echo {
        allowed: Mutex<Receiver<()>>,
        is_limited: bool,
    }

    impl Service for Echo {
        fn serve(&self, client: &Client) {
            let (mut stream, mut byte) = (&*client.stream, [0]);
            while client.while_idle(|| stream.read_exact(&mut byte)).is_ok() {
                match &byte {
                    b"p" => panic!("a bug in the service"),
                    b"w" => self.allowed.lock().unwrap().recv().unwrap(),
                    b"l" if client.while_sending(|| stream.write_all(&[0; 4 << 20])).is_err() => return,
                    _ => {}
                }
                stream.write_all(&byte).unwrap();
            }
        }

        fn is_limited(&self, _peer: Peer) -> bool {
            self.is_limited
        }
    }

    /// Returns a server at the socket `a` of the folder, and what allows `w`.
    fn echo(folder: &Path, is_limited: bool) -> (Server, Sender<()>) {
        let (allow, allowed) = channel();
        let service = Arc::new(Echo { allowed: Mutex::new(allowed), is_limited });
        let listener = Listener::bind(&folder.join("a"), 0o600).unwrap();
        (Server::begin("echo", listener, LIMITS, service).unwrap(), allow)
    }

    /// Waits until this many connections are idle.
    fn wait_for_idle(server: &Shared, count: usize) {
        while server.clients().values().filter(|client| client.idle.since().is_some()).count() != count {
            thread::yield_now();
        }
    }

    /// Returns a connection that has had one answer.
    fn connect(path: &Path) -> UnixStream {
        let mut stream = unix_socket::connect(path).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        assert!(answers(&mut stream));
        stream
    }

    fn answers(stream: &mut UnixStream) -> bool {
        stream.write_all(b"x").is_ok() && receives(stream)
    }

    /// Returns whether a byte comes, and not the end of the connection.
    fn receives(stream: &mut UnixStream) -> bool {
        stream.read(&mut [0]).is_ok_and(|count| count == 1)
    }

    #[test]
    fn at_the_limit_the_longest_idle_connection_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        for (is_limited, most) in [(false, 4), (true, 2)] {
            let (server, allow) = echo(folder.path(), is_limited);
            let path = folder.path().join("a");
            let mut clients = Vec::new();
            for count in 1..=most {
                clients.push(connect(&path));
                wait_for_idle(&server.0, count);
            }
            // The first has a request under way, and the second is the longest idle one.
            clients[0].write_all(b"w").unwrap();
            wait_for_idle(&server.0, most - 1);
            clients.push(connect(&path));
            assert!(!receives(&mut clients[1]));
            allow.send(()).unwrap();
            assert!(receives(&mut clients[0]) && clients[2..].iter_mut().all(answers) && answers(&mut clients[0]));
        }
    }

    #[test]
    fn a_client_that_reads_no_answer_keeps_no_other_out() {
        let folder = tempfile::tempdir().unwrap();
        let (server, _allow) = echo(folder.path(), false);
        let path = folder.path().join("a");
        let mut silent: Vec<UnixStream> = (0..LIMITS.connections).map(|_| connect(&path)).collect();
        for stream in &mut silent {
            stream.write_all(b"l").unwrap();
            // The answer has begun.
            assert!(receives(stream));
        }
        assert!(answers(&mut connect(&path)));
        drop(server);
    }

    #[test]
    fn the_end_closes_idle_connections_and_waits_for_requests() {
        let folder = tempfile::tempdir().unwrap();
        let (server, allow) = echo(folder.path(), false);
        let path = folder.path().join("a");
        let (mut idle, mut busy) = (connect(&path), connect(&path));
        let shared = Arc::clone(&server.0);
        wait_for_idle(&shared, 2);
        busy.write_all(b"w").unwrap();
        wait_for_idle(&shared, 1);
        let end = thread::spawn(move || server.end(LONG));
        assert!(!receives(&mut idle) && unix_socket::connect(&path).is_err() && !end.is_finished());
        allow.send(()).unwrap();
        assert!(receives(&mut busy) && !receives(&mut busy));
        end.join().unwrap();
        assert_eq!(shared.threads.load(SeqCst), 0);
    }

    #[test]
    fn a_panic_ends_its_connection_only() {
        let folder = tempfile::tempdir().unwrap();
        let (server, _allow) = echo(folder.path(), false);
        let path = folder.path().join("a");
        let mut other = connect(&path);
        for _ in 0..10 {
            let mut stream = connect(&path);
            stream.write_all(b"p").unwrap();
            assert!(!receives(&mut stream));
        }
        assert!(answers(&mut other));
        drop(other);
        server.end(LONG);
    }

    #[test]
    fn a_server_moves_to_another_socket() {
        let folder = tempfile::tempdir().unwrap();
        let (server, _allow) = echo(folder.path(), false);
        let (old, new) = (folder.path().join("a"), folder.path().join("b"));
        let mut before = connect(&old);
        assert!(server.stands());
        std::fs::remove_file(&old).unwrap();
        assert!(!server.stands());
        server.move_to(Listener::bind(&new, 0o600).unwrap()).unwrap();
        assert!(answers(&mut connect(&new)) && answers(&mut before));
        drop(server);
        assert!(!new.exists() && answers(&mut before), "it goes on to its end");
    }

    #[test]
    fn an_inherited_socket_outlives_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let (server, _allow) = echo(folder.path(), false);
        let path = folder.path().join("b");
        let kept = unix_socket::listen(&path, 0o600).unwrap();
        server.move_to(Listener::Inherited(kept.try_clone().unwrap())).unwrap();
        drop(connect(&path));
        server.end(LONG);
        let mut late = unix_socket::connect(&path).unwrap();
        drop(kept.accept().unwrap());
        assert!(!receives(&mut late));
    }
}
