//! A TCP proxy in front of a server, for faults of the network: it cuts or holds the stream after any byte of either
//! direction, or holds each connection at given words. It keeps what was said.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Bytes of the longest words at which a connection can be held.
const WORDS_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Connections end, and new ones end at once.
    Cut,
    /// Nothing comes through, and nothing ends. What was held goes on after [`Proxy::mend`].
    Hold,
}

/// The proxy; its connections end when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What came through since the last change, in the order in which it came.
    said: Vec<(Direction, Vec<u8>)>,
    /// How many bytes these are, by direction.
    passed: [usize; 2],
    plan: Option<(Direction, usize, Fault)>,
    /// The words at which each connection is held.
    words: Option<(Direction, &'static str)>,
    /// How many connections are held there.
    held: usize,
    fault: Option<Fault>,
    is_over: bool,
    streams: Vec<TcpStream>,
}

impl State {
    fn note(&mut self, direction: Direction, bytes: &[u8]) {
        self.passed[direction as usize] += bytes.len();
        match self.said.last_mut().filter(|(it, _)| *it == direction) {
            Some((_, said)) => said.extend(bytes),
            None => self.said.push((direction, bytes.to_vec())),
        }
    }

    fn forget(&mut self) {
        (self.said, self.passed) = Default::default();
    }
}

/// Returns the place of the last byte of these words in bytes that come behind others.
fn last_of(words: &str, before: &[u8], bytes: &[u8]) -> Option<usize> {
    let before = &before[before.len().saturating_sub(words.len() - 1)..];
    let all = [before, bytes].concat();
    let begin = all.windows(words.len()).position(|it| it == words.as_bytes())?;
    Some(begin + words.len() - 1 - before.len())
}

impl Proxy {
    /// Listens in front of a port of the loopback interface.
    pub fn new(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = (Ipv4Addr::LOCALHOST, port).into();
        let shared = Arc::new(Shared { server, state: Mutex::default(), changed: Condvar::new() });
        let own = Arc::clone(&shared);
        thread::spawn(move || own.serve(&listener));
        Self { address, shared }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Mends the network, and breaks it after this many further bytes in this direction.
    pub fn plan(&self, direction: Direction, after: usize, fault: Fault) {
        self.change(|state| {
            (state.plan, state.fault) = (Some((direction, after, fault)), None);
            state.forget();
        });
    }

    /// Holds each connection when all of these words but the last byte came through in this direction.
    pub fn hold_at(&self, direction: Direction, words: &'static str) {
        self.change(|state| {
            state.words = Some((direction, words));
            state.forget();
        });
    }

    /// How many connections are held at words.
    pub fn held(&self) -> usize {
        self.shared.state.lock().unwrap().held
    }

    /// Breaks the network now.
    pub fn fail(&self, fault: Fault) {
        self.change(|state| state.fault = Some(fault));
    }

    /// Mends it, and forgets what came through.
    pub fn mend(&self) {
        self.change(|state| {
            (state.plan, state.fault, state.words) = (None, None, None);
            state.forget();
        });
    }

    /// Whether it is broken now.
    pub fn is_broken(&self) -> bool {
        self.shared.state.lock().unwrap().fault.is_some()
    }

    /// What came through since the last change.
    pub fn passed(&self, direction: Direction) -> Vec<u8> {
        let said = self.said();
        said.into_iter().filter(|(it, _)| *it == direction).flat_map(|(_, bytes)| bytes).collect()
    }

    /// What came through since the last change: what each side said before the other one did.
    pub fn said(&self) -> Vec<(Direction, Vec<u8>)> {
        self.shared.state.lock().unwrap().said.clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.shared.state.lock().unwrap();
        change(&mut state);
        self.shared.cut(&mut state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| (state.is_over, state.fault) = (true, Some(Fault::Cut)));
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(self: Arc<Self>, listener: &TcpListener) {
        loop {
            let (client, _) = listener.accept().unwrap();
            let mut state = self.state.lock().unwrap();
            if state.is_over {
                return;
            }
            if state.fault == Some(Fault::Cut) {
                continue;
            }
            let Ok(server) = TcpStream::connect(self.server) else { continue };
            // A message that is small would wait for the other side's acknowledgement.
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            state.streams.retain(|stream| stream.peer_addr().is_ok());
            state.streams.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
            drop(state);
            for (from, to, direction) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap(), Direction::ToServer),
                (server, client, Direction::ToClient),
            ] {
                let own = Arc::clone(&self);
                thread::spawn(move || own.forward(from, to, direction));
            }
        }
    }

    fn forward(&self, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        // Longer than what either side writes at once, so that it stays one piece.
        let mut buffer = vec![0; 256 * 1024];
        // The last of what came through.
        let mut before = Vec::new();
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                let Some(many) = self.permit(&before, rest, direction) else { return };
                if to.write_all(&rest[..many]).is_err() {
                    break;
                }
                before.extend(&rest[..many]);
                before.drain(..before.len().saturating_sub(WORDS_MAX));
                rest = &rest[many..];
            }
        }
        let mut state = self.state.lock().unwrap();
        while state.fault == Some(Fault::Hold) {
            state = self.changed.wait(state).unwrap();
        }
        drop(state);
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Waits until bytes may pass, and returns how many of them; `None` when the connection is cut. `before` came through
    /// on this connection last.
    fn permit(&self, before: &[u8], bytes: &[u8], direction: Direction) -> Option<usize> {
        let mut state = self.state.lock().unwrap();
        let mut most = bytes.len();
        loop {
            match state.fault {
                Some(Fault::Cut) => return None,
                Some(Fault::Hold) => state = self.changed.wait(state).unwrap(),
                None => {}
            }
            if state.fault.is_some() {
                continue;
            }
            if let Some((_, words)) = state.words.filter(|(it, _)| *it == direction) {
                match last_of(words, before, bytes) {
                    Some(0) => {
                        state.held += 1;
                        let goes_on = |it: &mut State| it.fault.is_none() && it.words == Some((direction, words));
                        state = self.changed.wait_while(state, goes_on).unwrap();
                        state.held -= 1;
                        continue;
                    }
                    found => most = found.unwrap_or(bytes.len()),
                }
            }
            let passed = state.passed[direction as usize];
            let many = match state.plan {
                Some((planned, after, fault)) if planned == direction => {
                    if after == passed {
                        state.plan = None;
                        state.fault = Some(fault);
                        self.cut(&mut state);
                        continue;
                    }
                    most.min(after - passed)
                }
                _ => most,
            };
            state.note(direction, &bytes[..many]);
            return Some(many);
        }
    }

    /// Ends the connections if they are to be cut.
    fn cut(&self, state: &mut State) {
        if state.fault == Some(Fault::Cut) {
            for stream in state.streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}
