//! Submission server of the daemon: takes mail of the user's own mail programs by SMTP, and sends each recipient a copy
//! with a stamp of their own (mailstamp-submission(8)).
//!
//! - `login_limits`: how often a host may guess the password.
//! - `handover`: a complete message: sent as by `mailstamp sendmail`, and the reply.
//!
//! The protocol is in `smtp`, its bytes come by `server::smtp_connection`, and the limits on connections are in
//! `ipc::server`. A thread sends what waits in the outbox.

mod handover;
mod login_limits;

use crate::config::submission::SubmissionServer;
use crate::engine::remote::state::DaemonState;
use crate::ipc::peer::Peer;
use crate::ipc::server::{Client, Listener, Server, ServerLimits, Service};
use crate::message::header::escape_untrusted;
use crate::sender::submission::transport::CachedTransport;
use crate::server::daemon::metrics::{Metrics, SubmissionAnswer};
use crate::server::diagnostics::log_stderr;
use crate::server::smtp_connection::Connection;
use crate::server::tls::RenewedCertificate;
use crate::smtp::reply::Reply;
use crate::smtp::session::{Channel, Login, Session, Step};
use login_limits::{LoginHash, LoginLimits};
use sha2::{Digest, Sha256};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often waiting messages are tried.
const RESUME_INTERVAL: Duration = Duration::from_secs(300);
/// Time for the handshake of TLS and the login, since the connection began.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(120);
/// Idle timeout between commands, and between the parts of a message (RFC 5321 section 4.5.3.2: 5 and 3 minutes).
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Delay of the answer to a wrong password. One after the other waits for it, so this is the most that can be guessed.
const LOGIN_DELAY: Duration = Duration::from_secs(1);
/// Divisor for the share of the connections that each other host gets.
const HOST_DIVISOR: usize = 4;
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
        settings.password().map_err(io::Error::other)?;
        let tls = settings.tls.as_ref().map(|tls| {
            let certificate = RenewedCertificate::read(&tls.into()).map_err(io::Error::other)?;
            Ok::<_, io::Error>(Tls { is_implicit: tls.is_implicit, certificate })
        });
        let tls = tls.transpose()?;
        let listener = TcpListener::bind(settings.listen)?;
        let address = listener.local_addr()?;
        let transport = Arc::new(CachedTransport::default());
        let service = Handler {
            state: Arc::clone(state),
            numbers: Arc::clone(numbers),
            settings: settings.clone(),
            tls,
            logins: Mutex::default(),
            delaying: Mutex::new(()),
            transport: Arc::clone(&transport),
        };
        // A message in one block, which doubles while it grows.
        let memory = settings.largest.saturating_mul(2).max(MEMORY_MIN);
        let limits =
            ServerLimits { connections: settings.connections, memory, peer_divisor: HOST_DIVISOR, stack_size: 2 << 20 };
        let server = Server::begin("submission", Listener::Tcp(listener), limits, Arc::new(service))?;
        let (end, ended) = channel();
        // A weak reference: a transfer under way ends with the process, and must not keep the logs open until then.
        let (state, outbox) = (Arc::downgrade(state), transport);
        thread::Builder::new().name("outbox".into()).spawn(move || {
            loop {
                if state.strong_count() == 0 {
                    return;
                }
                handover::resume(&state, &outbox);
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

/// TLS of a server.
struct Tls {
    /// From the first byte on, in place of STARTTLS.
    is_implicit: bool,
    certificate: RenewedCertificate,
}

/// Serves connections of mail programs.
struct Handler {
    state: Arc<DaemonState>,
    numbers: Arc<Metrics>,
    settings: SubmissionServer,
    tls: Option<Tls>,
    /// Logins of other hosts.
    logins: Mutex<LoginLimits<Peer>>,
    /// Held while a wrong password is answered.
    delaying: Mutex<()>,
    /// Where copies go, shared with the thread that sends waiting messages.
    transport: Arc<CachedTransport>,
}

impl Service for Handler {
    fn serve(&self, client: &Client) {
        self.numbers.connections.fetch_add(1, SeqCst);
        if let Err(error) = self.converse(client) {
            log_stderr(&format!("submission: connection closed: {error}"));
        }
        self.numbers.connections.fetch_sub(1, SeqCst);
    }

    /// Programs on this host have no limit of their own.
    fn is_limited(&self, peer: Peer) -> bool {
        !peer.is_local()
    }
}

/// Answer to a login.
enum LoginAnswer {
    Right,
    Wrong,
    /// Not looked at, and for how long.
    Refused(Duration),
}

impl Handler {
    /// Answers commands until one side ends the connection.
    fn converse(&self, client: &Client) -> io::Result<()> {
        let mut connection = Connection::new(client);
        let login_end = Instant::now() + LOGIN_TIMEOUT;
        let close = |connection: &mut Connection<'_>, reply: &Reply| {
            connection.reply(reply);
            connection.close()
        };
        let channel = match &self.tls {
            None => Channel::Plain,
            Some(tls) if tls.is_implicit => {
                self.protect(&mut connection, tls, client, login_end)?;
                Channel::Protected
            }
            Some(_) => Channel::Offered { is_local: client.peer.is_local() },
        };
        let name = match self.settings.is_remote() {
            true => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            false => "localhost".to_owned(),
        };
        let mut session = Session::new(&name, self.settings.largest, channel);
        connection.reply(&session.greeting());
        loop {
            let mut step = session.step();
            if let Step::Login(login) = step {
                connection.flush()?;
                step = match self.log_in(&login, client) {
                    Ok(LoginAnswer::Right) => session.log_in(true),
                    Ok(LoginAnswer::Wrong) => session.log_in(false),
                    Ok(LoginAnswer::Refused(left)) => {
                        let minutes = left.as_secs().div_ceil(60);
                        let text = format!("too many wrong logins, try again in {minutes} minutes");
                        return close(&mut connection, &Reply::new(421, "4.7.0", text));
                    }
                    Err(error) => {
                        log_stderr(&format!("submission: no login: {error}"));
                        Step::Reply(Reply::new(454, "4.7.0", "the password cannot be read, try again later"))
                    }
                };
            }
            match step {
                Step::Reply(reply) => connection.reply(&reply),
                Step::Close(reply) => return close(&mut connection, &reply),
                Step::StartTls(reply) => {
                    connection.reply(&reply);
                    connection.flush()?;
                    if let Some(tls) = &self.tls {
                        self.protect(&mut connection, tls, client, login_end)?;
                    }
                    session.protect();
                }
                Step::Submit(message) => {
                    connection.flush()?;
                    let send = AssertUnwindSafe(|| handover::submit(&self.state, &self.transport, &message));
                    let (answer, reply) = catch_unwind(send).unwrap_or_else(|_| handover::failed("internal error"));
                    self.numbers.submission_answer(answer);
                    drop(message);
                    connection.hold(session.memory());
                    connection.reply(&reply);
                }
                Step::Receive => {
                    connection.flush()?;
                    if client.is_over() {
                        return close(&mut connection, &Reply::new(421, "4.3.2", "shutting down"));
                    }
                    let until = if session.is_logged_in() { Instant::now() + IDLE_TIMEOUT } else { login_end };
                    match connection.receive(until) {
                        Ok([]) => return Ok(()),
                        Ok(bytes) => session.receive(bytes),
                        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                            return close(&mut connection, &Reply::new(421, "4.4.2", "nothing came for too long"));
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

    /// Begins TLS with the current certificate.
    fn protect(&self, connection: &mut Connection<'_>, tls: &Tls, client: &Client, until: Instant) -> io::Result<()> {
        connection.protect(tls.certificate.current(), until).map_err(|error| {
            let text = format!("no TLS with {}: {error}", client.peer);
            io::Error::new(error.kind(), text)
        })
    }

    /// Compares user name and password. The answer to a wrong login is delayed. After too many from other hosts, further
    /// ones are not looked at.
    fn log_in(&self, login: &Login, client: &Client) -> io::Result<LoginAnswer> {
        let host = Some(client.peer.party()).filter(|_| !client.peer.is_local());
        let logins = || self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = host.and_then(|host| logins().refused(host, Instant::now())) {
            self.numbers.submission_login_failed();
            log_stderr(&format!("submission: login refused after too many wrong ones, from {}", client.peer));
            return Ok(LoginAnswer::Refused(left));
        }
        let password = self.settings.password().map_err(io::Error::other)?;
        // Hashes of equal length, compared to the end: the time tells nothing of the password.
        let (given, right) = (hash(&login.user, &login.password), hash(&self.settings.user, &password));
        let differing = given.iter().zip(right.iter()).fold(0, |differing, (a, b)| differing | (a ^ b));
        if differing == 0 {
            host.into_iter().for_each(|host| logins().right(host, Instant::now()));
            return Ok(LoginAnswer::Right);
        }
        host.into_iter().for_each(|host| logins().wrong(host, given, Instant::now()));
        self.numbers.submission_login_failed();
        let user = escape_untrusted(login.user.as_bytes(), 60);
        log_stderr(&format!("submission: wrong user name or password for {user}, from {}", client.peer));
        client.while_idle(|| {
            let _one = self.delaying.lock().unwrap_or_else(PoisonError::into_inner);
            thread::sleep(LOGIN_DELAY);
        });
        Ok(LoginAnswer::Wrong)
    }
}

/// Returns the hash of a login.
fn hash(user: &str, password: &str) -> LoginHash {
    let mut hash = Sha256::new();
    hash.update((user.len() as u64).to_be_bytes());
    hash.update(user);
    hash.update(password);
    hash.finalize().into()
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
