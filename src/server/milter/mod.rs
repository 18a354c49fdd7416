//! Milter of the daemon: judges mail for a whole organisation while the mail system of its boundary still talks to the
//! sending host (mailstamp-milter(8)).
//!
//! - `connection`: frames, each within a time limit.
//! - `judgement`: a complete message: judged for each recipient, planned, answered. `edits`: its changes and results.
//! - `learning`: the correspondents of the users whose mail passes.
//!
//! The protocol and the plan are in `boundary`, and the limits on connections in `ipc::server`. Whatever fails, the
//! answer is 451 without a change, or the connection ends, which mail systems take for the same.

mod connection;
pub(super) mod edits;
pub(super) mod judgement;
pub(super) mod learning;

use crate::boundary::session::{Next, Refusal, Session};
use crate::boundary::wire::Reply;
use crate::config::boundary::Listen;
use crate::directory::signing_key::SigningKey;
use crate::engine::remote::state::DaemonState;
use crate::ipc::server::{Client, Listener, Server, ServerLimits, Service};
use crate::server::daemon::metrics::{Metrics, MilterAnswer};
use crate::server::diagnostics::log_stderr;
use connection::Connection;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Interval at which the mail system is told that the answer takes longer. Its own time limit is 300 s in Postfix, and
/// 10 s for a reply in sendmail's default.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Mode of a Unix socket: open to its group, to which the mail system must belong.
const SOCKET_MODE: u32 = 0o660;
/// Least memory for messages, in bytes.
const MEMORY_MIN: usize = 64 << 20;

/// What a sender is told when the message could not be judged.
const TRY_AGAIN: Reply<'static> = Reply::Code("451 4.7.1 cannot judge the message now, try again later");

/// The milter of a daemon.
pub struct Milter {
    server: Server,
    listen: Listen,
    /// Where it listens, as the mail system's configuration writes it.
    pub address: String,
}

impl Milter {
    /// Starts to accept connections. With the key `seal`, results are sealed.
    pub fn begin(
        listen: &Listen,
        connections: usize,
        largest: usize,
        seal: Option<SigningKey>,
        state: &Arc<DaemonState>,
        numbers: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let (listener, listen) = match listen {
            Listen::Unix(path) => (bind(path)?, listen.clone()),
            Listen::Inet(address) => {
                let listener = TcpListener::bind(address)?;
                // Port 0 becomes a free one.
                let address = listener.local_addr()?;
                (Listener::Tcp(listener), Listen::Inet(address))
            }
        };
        let service = Handler { state: Arc::clone(state), numbers: Arc::clone(numbers), largest, seal };
        let limits = ServerLimits { connections, memory: memory(largest), peer_divisor: 1, stack_size: 2 << 20 };
        let server = Server::begin("milter", listener, limits, Arc::new(service))?;
        Ok(Self { server, address: listen.to_string(), listen })
    }

    /// Listens again, where the socket was removed.
    pub fn restore(&self) {
        if let Listen::Unix(path) = &self.listen
            && !self.server.stands()
            && bind(path).and_then(|listener| self.server.move_to(listener)).is_ok()
        {
            log_stderr(&format!("the milter's socket was removed; listening at {} again", self.address));
        }
    }

    /// Closes the socket and idle connections, and waits for answers under way.
    pub fn end(self, patience: Duration) {
        self.server.end(patience);
    }
}

/// Returns the memory for messages of at most `largest` bytes: one is in one block, which doubles while it grows.
fn memory(largest: usize) -> usize {
    largest.saturating_mul(2).max(MEMORY_MIN)
}

fn bind(path: &Path) -> io::Result<Listener> {
    Listener::bind(path, SOCKET_MODE)
}

/// Serves connections of the mail system.
struct Handler {
    state: Arc<DaemonState>,
    numbers: Arc<Metrics>,
    /// The limit on the size of a message, as it was at the start.
    largest: usize,
    /// The key that seals results.
    seal: Option<SigningKey>,
}

impl Service for Handler {
    fn serve(&self, client: &Client) {
        self.numbers.connections.fetch_add(1, SeqCst);
        if let Err(error) = self.converse(client) {
            log_stderr(&format!("milter: connection closed: {error}"));
        }
        self.numbers.connections.fetch_sub(1, SeqCst);
    }
}

impl Handler {
    /// Answers commands until one side ends the connection.
    fn converse(&self, client: &Client) -> Result<(), connection::ConnectionError> {
        let mut connection = Connection::new(client);
        let mut session = Session::new(self.largest);
        while !client.is_over() {
            let Some(frame) = connection.receive()? else { return Ok(()) };
            if session.is_idle() {
                // The mail system keeps its connection for hours, and the configuration may have changed meanwhile.
                session.limit(self.largest());
            }
            match session.receive(frame)? {
                Next::Receive => {}
                Next::Answer(reply) => connection.send(|out| reply.write(out))?,
                Next::Judge => {
                    self.judge(&session, client, &connection)?;
                    session.done();
                }
                Next::Close => return Ok(()),
            }
            if !connection.hold(session.size(), memory(session.largest())) {
                session.refuse(Refusal::NoMemory);
            }
        }
        Ok(())
    }

    /// Returns the limit on the size of a message, as it is now.
    fn largest(&self) -> usize {
        // Without a configuration, the message is deferred, whatever is kept of it.
        let now = self.state.config(None).map(|(config, _)| usize::try_from(config.largest).unwrap_or(usize::MAX));
        now.unwrap_or(self.largest)
    }

    /// Judges the message of the session, answers, and logs.
    fn judge(&self, session: &Session, client: &Client, connection: &Connection<'_>) -> io::Result<()> {
        if let Some(refusal) = session.message().refusal {
            // A reply of 4xx asks to try again.
            let is_permanent = refusal.reply().starts_with('5');
            self.numbers.milter_answer(if is_permanent { MilterAnswer::Reject } else { MilterAnswer::Defer });
            return connection.send(|out| Reply::Code(refusal.reply()).write(out));
        }
        let began = Instant::now();
        let judge = || catch_unwind(AssertUnwindSafe(|| judgement::judge(&self.state, self.seal.as_ref(), session)));
        let judged = with_progress(&client.stream, judge).unwrap_or_else(|_| Err("internal error".to_owned()));
        match judged {
            Ok(judged) => {
                // Counted before it is sent: a client that has its answer finds it in the metrics.
                judged.reasons.iter().for_each(|reason| self.numbers.record_verdict(*reason, began.elapsed()));
                self.numbers.milter_answer(judged.kind);
                if let Some(result) = judged.learned {
                    self.numbers.milter_learned(result);
                }
                connection.send(|out| out.extend_from_slice(&judged.answer))?;
                judged.record();
                Ok(())
            }
            Err(trouble) => {
                log_stderr(&format!("milter: message deferred: {trouble}"));
                self.numbers.deferred(began.elapsed());
                self.numbers.milter_answer(MilterAnswer::Defer);
                connection.send(|out| TRY_AGAIN.write(out))
            }
        }
    }
}

/// Does the work, and meanwhile tells the mail system that the answer takes longer.
fn with_progress<T>(stream: &UnixStream, work: impl FnOnce() -> T) -> T {
    let (done, waiting) = channel::<()>();
    let mut progress = Vec::new();
    Reply::Progress.write(&mut progress);
    thread::scope(|scope| {
        // Without this thread, a slow answer may come too late, and the message is tried again.
        let _ = thread::Builder::new().name("milter progress".into()).spawn_scoped(scope, move || {
            while waiting.recv_timeout(PROGRESS_INTERVAL) == Err(RecvTimeoutError::Timeout)
                && connection::send(stream, &progress).is_ok()
            {}
        });
        let result = work();
        drop(done);
        result
    })
}
