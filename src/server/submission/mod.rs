//! Submission server of the daemon: takes mail of the user's own mail programs by SMTP, and sends each recipient a copy
//! with a stamp of their own (mailstamp-submission(8)).
//!
//! - `connection`: bytes in and out, within time limits.
//! - `handover`: a complete message: sent as by `mailstamp sendmail`, and the reply.
//!
//! The protocol is in `smtp`, and the limits on connections in `ipc::server`. A thread sends what waits in the outbox.

mod connection;
mod handover;

use crate::config::file;
use crate::config::submission::SubmissionServer;
use crate::engine::remote::state::DaemonState;
use crate::ipc::server::{Client, Listener, Server, ServerLimits, Service};
use crate::message::header::escape_untrusted;
use crate::server::daemon::metrics::{Metrics, SubmissionAnswer};
use crate::server::diagnostics::log_stderr;
use crate::smtp::reply::Reply;
use crate::smtp::session::{Login, Session, Step};
use connection::Connection;
use sha2::{Digest, Sha256};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often waiting messages are tried.
const RESUME_INTERVAL: Duration = Duration::from_secs(300);
/// Delay of the answer to a wrong password. One after the other waits for it, so this is the most that can be guessed.
const LOGIN_DELAY: Duration = Duration::from_secs(1);
/// Name of the server: it is for this host only.
const NAME: &str = "localhost";
/// Least memory for messages, in bytes.
const MEMORY_MIN: usize = 64 << 20;

/// The submission server of a daemon.
pub struct Submission {
    server: Server,
    /// Ends the thread that sends waiting messages, when it is dropped.
    _end: Sender<()>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Submission {
    /// Starts to accept connections, and sends what waits.
    pub fn begin(settings: &SubmissionServer, state: &Arc<DaemonState>, numbers: &Arc<Metrics>) -> io::Result<Self> {
        password(settings)?;
        let listener = TcpListener::bind(settings.listen)?;
        let address = listener.local_addr()?;
        let service = Handler {
            state: Arc::clone(state),
            numbers: Arc::clone(numbers),
            settings: settings.clone(),
            delaying: Mutex::new(()),
        };
        // A message in one block, which doubles while it grows.
        let memory = settings.largest.saturating_mul(2).max(MEMORY_MIN);
        let limits = ServerLimits { connections: settings.connections, memory, user_divisor: 1, stack_size: 2 << 20 };
        let server = Server::begin("submission", Listener::Tcp(listener), limits, Arc::new(service))?;
        let (end, ended) = channel();
        // A weak reference: a transfer under way ends with the process, and must not keep the logs open until then.
        let state = Arc::downgrade(state);
        thread::Builder::new().name("outbox".into()).spawn(move || {
            loop {
                if state.strong_count() == 0 {
                    return;
                }
                handover::resume(&state);
                if ended.recv_timeout(RESUME_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { server, _end: end, address })
    }

    /// Closes the socket and idle connections, and waits for messages under way.
    pub fn end(self, patience: Duration) {
        self.server.end(patience);
    }
}

/// Reads the password.
fn password(settings: &SubmissionServer) -> io::Result<String> {
    let text = file::read_secret(&settings.password_file).map_err(io::Error::other)?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(io::Error::other(format!("{}: empty, expected a password", settings.password_file.display())));
    }
    Ok(password.to_owned())
}

/// Serves connections of mail programs.
struct Handler {
    state: Arc<DaemonState>,
    numbers: Arc<Metrics>,
    settings: SubmissionServer,
    /// Held while a wrong password is answered.
    delaying: Mutex<()>,
}

impl Service for Handler {
    fn serve(&self, client: &Client) {
        self.numbers.connections.fetch_add(1, SeqCst);
        if let Err(error) = self.converse(client) {
            log_stderr(&format!("submission: connection closed: {error}"));
        }
        self.numbers.connections.fetch_sub(1, SeqCst);
    }
}

impl Handler {
    /// Answers commands until one side ends the connection.
    fn converse(&self, client: &Client) -> io::Result<()> {
        let mut connection = Connection::new(client);
        let mut session = Session::new(NAME, self.settings.largest);
        connection.reply(&session.greeting());
        loop {
            let mut step = session.step();
            if let Step::Login(login) = step {
                connection.flush()?;
                step = match self.is_right(&login, client) {
                    Ok(is_right) => session.log_in(is_right),
                    Err(error) => {
                        log_stderr(&format!("submission: no login: {error}"));
                        Step::Reply(Reply::new(454, "4.7.0", "the password cannot be read, try again later"))
                    }
                };
            }
            match step {
                Step::Reply(reply) => connection.reply(&reply),
                Step::Close(reply) => return connection.close(&reply),
                Step::Submit(message) => {
                    connection.flush()?;
                    let send = AssertUnwindSafe(|| handover::submit(&self.state, &message));
                    let (answer, reply) = catch_unwind(send).unwrap_or_else(|_| handover::failed("internal error"));
                    self.numbers.submission_answer(answer);
                    drop(message);
                    connection.hold(session.memory());
                    connection.reply(&reply);
                }
                Step::Receive => {
                    connection.flush()?;
                    if client.is_over() {
                        return connection.close(&Reply::new(421, "4.3.2", "shutting down"));
                    }
                    match connection.receive(&mut session) {
                        Ok(true) => {}
                        Ok(false) => return Ok(()),
                        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                            return connection.close(&Reply::new(421, "4.4.2", "nothing came for too long"));
                        }
                        Err(error) => return Err(error),
                    }
                    if !connection.hold(session.memory()) {
                        session.refuse_message();
                    }
                }
                Step::Login(_) => {}
            }
        }
    }

    /// Returns whether user name and password are right; if not, after a delay.
    fn is_right(&self, login: &Login, client: &Client) -> io::Result<bool> {
        let password = password(&self.settings)?;
        let hash = |user: &str, password: &str| {
            let mut hash = Sha256::new();
            hash.update((user.len() as u64).to_be_bytes());
            hash.update(user);
            hash.update(password);
            hash.finalize()
        };
        // Hashes of equal length, compared to the end: the time tells nothing of the password.
        let (given, right) = (hash(&login.user, &login.password), hash(&self.settings.user, &password));
        let differing = given.iter().zip(right.iter()).fold(0, |differing, (a, b)| differing | (a ^ b));
        if differing == 0 {
            return Ok(true);
        }
        self.numbers.submission_login_failed();
        let user = escape_untrusted(login.user.as_bytes(), 60);
        log_stderr(&format!("submission: wrong user name or password for {user}"));
        client.while_idle(|| {
            let _one = self.delaying.lock().unwrap_or_else(PoisonError::into_inner);
            thread::sleep(LOGIN_DELAY);
        });
        Ok(false)
    }
}

impl SubmissionAnswer {
    /// Returns the answer that a reply is.
    fn of(reply: &Reply) -> Self {
        match reply.code {
            200..=299 => Self::Accept,
            400..=499 => Self::Defer,
            _ => Self::Reject,
        }
    }
}
