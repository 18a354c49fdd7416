//! `mailstamp serve`: the daemon, which keeps configuration and log open and answers the commands of the mail path. It
//! decides nothing: the engine judges (`engine/remote/state.rs`), and the store keeps the log.
//!
//! - *Bytes*: `ipc::frame`, and the heads in `engine/remote/protocol.rs`.
//! - *States*: `handler`: one frame in, one answer out. [`metrics`]: counters, with `histogram`; `gauges`: values
//!   measured on request.
//! - *Sockets*: `ipc::server`: connections, their limits, and the threads that serve them; `peer_credentials`: the user
//!   at the other end. `server::http::metrics_endpoint`: the metrics over HTTP, the only async part.
//!
//! `server::milter` is served beside the clients where `[boundary]` is configured, and `server::submission` where
//! `[submission]` is. `background` runs periodic tasks of other commands. Threads block, as everywhere on the mail
//! path: a judgement computes or waits for the disk, and hundreds of waiting threads cost little.

mod background;
mod gauges;
mod handler;
mod histogram;
pub mod metrics;
mod peer_credentials;

use super::http::metrics_endpoint::MetricsEndpoint;
use super::milter::Milter;
#[cfg(feature = "sender")]
use super::submission::Submission;
use crate::config::boundary::Boundary;
use crate::config::paths::{CliOverrides, Paths, PathsError, is_setuid};
use crate::config::serve::Serve;
use crate::config::submission::SubmissionServer;
use crate::config::{Config, ConfigError};
use crate::context::error::Deferral;
use crate::context::used_log::OpenLog;
use crate::directory::signing_key::{SecretError, SigningKey};
use crate::engine::remote::client::{SYSTEM_SOCKET, file_set, user_socket};
use crate::engine::remote::state::DaemonState;
use crate::ipc::server::{Listener, Server};
use crate::os::unix_socket;
use crate::server::diagnostics::log_stderr;
use crate::store::resident::ResidentLog;
use handler::Handler;
use listenfd::ListenFd;
use metrics::{MeasuredMetrics, Metrics};
use peer_credentials::AccessControl;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::env;
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long requests under way may take at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Delay before the metrics endpoint tries to listen again.
const RETRY_DELAY: Duration = Duration::from_secs(10);
/// How often the sockets are checked for removal.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Options of the command line.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Socket path, in place of the default one.
    pub socket: Option<PathBuf>,
    /// Serve every user of the system.
    pub system: bool,
}

/// Reasons why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration or the state cannot be read or opened.
    #[error(transparent)]
    Undecided(#[from] Deferral),
    /// No folder for the socket is known.
    #[error("no folder for the socket: HOME is not set; name one with --socket or --state")]
    Nowhere,
    /// The process runs set-id. It would serve with the rights of another user.
    #[error("mailstamp serve must not run set-id")]
    SetId,
    /// The socket cannot be opened.
    #[error("cannot listen at {}: {source}", path.display())]
    Listen {
        /// Path of the socket.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The milter cannot listen.
    #[error("boundary: cannot listen at {at}: {source}")]
    Milter {
        /// Its address.
        at: String,
        /// Error of the system.
        source: io::Error,
    },
    /// The key that seals results cannot be read.
    #[error("boundary.seal: {0}")]
    Seal(#[from] SecretError),
    /// Each user has a configuration of their own, and a message at the boundary has several recipients.
    #[error(
        "boundary: the configuration has %u, %n or %d; write addresses = [\"*@your.example\"], and one state for all"
    )]
    BoundaryByUser,
    /// The submission server cannot listen, or has no password.
    #[error("submission at {at}: {source}")]
    Submission {
        /// Its address.
        at: SocketAddr,
        /// Error of the system.
        source: io::Error,
    },
    /// Each user has a configuration of their own, and the submission server has one user.
    #[error("submission: the configuration has %u, %n or %d, and this server is for one user; remove the table")]
    SubmissionByUser,
    /// The program was built without the sender's side.
    #[error("submission: this program was built without the feature \"sender\"; remove the table")]
    NoSender,
    /// Another daemon listens at this path.
    #[error("mailstamp serve is already running, and listens at {}", .0.display())]
    Running(PathBuf),
    /// Threads or signals cannot be set up.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT; SIGHUP reloads the configuration.
///
/// Calls `told` once, with the addresses at which the daemon listens.
///
/// # Errors
/// [`ServeError`] when it cannot start.
pub fn run(given: &CliOverrides, options: &Options, told: impl FnOnce(&str)) -> Result<(), ServeError> {
    if is_setuid() {
        return Err(ServeError::SetId);
    }
    let signals = signals()?;
    let door = door(given, options)?;
    let warm = Arc::new(DaemonState::new(given.clone(), options.system)?);
    let Settings { serve, boundary, submission, largest } = settings(given, &warm)?;
    let numbers = Arc::new(Metrics::new());
    let begin = |address| {
        let source = MeasuredMetrics { numbers: Arc::clone(&numbers), warm: Arc::clone(&warm) };
        MetricsEndpoint::begin(address, Arc::new(source))
    };
    let metrics = serve.metrics;
    let mut scrape = metrics.and_then(|address| begin(address).map_err(|error| untold(address, &error)).ok());
    let mut tried = Instant::now();
    let milter = boundary.and_then(|boundary| boundary.milter).map(|settings| {
        let seal = settings.seal.as_deref().map(SigningKey::read_seal).transpose()?;
        Milter::begin(&settings.listen, serve.connections, largest, seal, &warm, &numbers)
            .map_err(|source| ServeError::Milter { at: settings.listen.to_string(), source })
    });
    let milter = milter.transpose()?;
    #[cfg(feature = "sender")]
    let submission = submission.map(|settings| {
        let begun = Submission::begin(&settings, &warm, &numbers);
        begun.map_err(|source| ServeError::Submission { at: settings.listen, source })
    });
    #[cfg(feature = "sender")]
    let submission = submission.transpose()?;
    #[cfg(not(feature = "sender"))]
    if submission.is_some() {
        return Err(ServeError::NoSender);
    }
    let (listener, socket) = match door {
        Door::Handed(listener) => (Listener::Inherited(listener), None),
        Door::Own(path) => (listen(&path, options)?, Some(path)),
    };
    let service = Handler::new(Arc::clone(&warm), Arc::clone(&numbers), AccessControl::new(options.system));
    let server = Server::begin("serve", listener, handler::server_limits(serve.connections), Arc::new(service))?;
    let tasks = background::begin(&warm, serve)?;
    let place = socket.as_ref().map_or("the inherited socket".to_owned(), |path| path.display().to_string());
    let at = |scrape: &MetricsEndpoint| format!("metrics at http://{}/metrics", scrape.address);
    let place = place + &milter.iter().map(|milter| format!(", milter at {}", milter.address)).collect::<String>();
    #[cfg(feature = "sender")]
    let place = place + &submission.iter().map(|it| format!(", submission at {}", it.address)).collect::<String>();
    told(&(place + &scrape.as_ref().map(|scrape| format!(", {}", at(scrape))).unwrap_or_default()));
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    attend(&signals, &warm, || {
        // Removing or restoring the files of the state removes the sockets too.
        warm.logs().iter().filter_map(OpenLog::file).for_each(|log| drop(log.be_found()));
        if let Some(path) = &socket
            && !server.stands()
            && make(path, options.system).and_then(|listener| server.move_to(listener)).is_ok()
        {
            log_stderr(&format!("the socket was removed; serving at {} again", path.display()));
        }
        milter.iter().for_each(Milter::restore);
        if let (Some(address), None) = (metrics, &scrape)
            && tried.elapsed() >= RETRY_DELAY
        {
            tried = Instant::now();
            scrape = begin(address).ok();
            scrape.iter().for_each(|scrape| log_stderr(&at(scrape)));
        }
    });
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    // Otherwise clients that wait for a lent log would not be answered in time.
    warm.logs().iter().filter_map(OpenLog::file).for_each(ResidentLog::recall);
    let until = Instant::now() + DRAIN_TIMEOUT;
    milter.into_iter().for_each(|milter| milter.end(DRAIN_TIMEOUT));
    #[cfg(feature = "sender")]
    submission.into_iter().for_each(|it| it.end(until.saturating_duration_since(Instant::now())));
    server.end(until.saturating_duration_since(Instant::now()));
    tasks.end();
    scrape.into_iter().for_each(MetricsEndpoint::end);
    numbers.end();
    Ok(())
}

/// Settings that are the same for all users, also where the rest of the configuration differs.
#[derive(Default)]
struct Settings {
    serve: Serve,
    boundary: Option<Boundary>,
    submission: Option<SubmissionServer>,
    /// The limit on the size of a message.
    largest: usize,
}

fn settings(given: &CliOverrides, warm: &DaemonState) -> Result<Settings, ServeError> {
    let of = |config: &Config| Settings {
        serve: config.serve,
        boundary: config.boundary.clone(),
        submission: config.submission.clone(),
        largest: usize::try_from(config.largest).unwrap_or(usize::MAX),
    };
    if let Ok(engine) = warm.engine() {
        return Ok(of(&engine.context.config));
    }
    let anybody = CliOverrides { user: Some("anybody@localhost".to_owned()), ..given.clone() };
    match Paths::read(&anybody) {
        Ok((config, _)) if config.boundary.is_some() => Err(ServeError::BoundaryByUser),
        Ok((config, _)) if config.submission.is_some() => Err(ServeError::SubmissionByUser),
        Ok((config, _)) => Ok(of(&config)),
        Err(PathsError::Content { source, .. }) if matches!(source.kind(), ConfigError::Boundary(_)) => {
            Err(ServeError::BoundaryByUser)
        }
        Err(_) => Ok(Settings::default()),
    }
}

/// Waits for the end, calls `look` periodically, and pings the watchdog while every log is alive.
fn attend(signals: &Receiver<i32>, warm: &DaemonState, mut look: impl FnMut()) {
    let watchdog = sd_notify::watchdog_enabled().map(|every| every / 2);
    let mut told = Instant::now();
    loop {
        let signal = signals.recv_timeout(watchdog.map_or(POLL_INTERVAL, |every| every.min(POLL_INTERVAL)));
        match signal {
            Ok(SIGHUP) => reload(warm),
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => look(),
        }
        let due = signal.is_ok() || watchdog.is_some_and(|every| told.elapsed() >= every);
        // A process that gets each log's queue in time is not stuck.
        if watchdog.is_some() && due && warm.logs().iter().filter_map(OpenLog::file).all(ResidentLog::is_alive) {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            told = Instant::now();
        }
    }
}

/// Reloads the configuration; requests under way keep the old one.
fn reload(warm: &DaemonState) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
    match warm.check() {
        Ok(()) => log_stderr("reloaded"),
        Err(error) => log_stderr(&format!("not reloaded: {error}; mail is deferred until this is fixed")),
    }
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

fn signals() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = channel();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Warns that the metrics endpoint cannot listen.
///
/// This does not stop the daemon: another process may have taken the address to that end.
fn untold(address: SocketAddr, error: &io::Error) {
    log_stderr(&format!("warning: serve.metrics: cannot listen at {address}: {error}; will try again"));
}

/// Socket on which the daemon serves.
enum Door {
    /// Inherited from systemd.
    Handed(UnixListener),
    /// To be created at this path.
    Own(PathBuf),
}

fn door(given: &CliOverrides, options: &Options) -> Result<Door, ServeError> {
    // sd_listen_fds(3): without LISTEN_PID of this process, the descriptors are another program's.
    let is_for_us = env::var("LISTEN_PID").is_ok_and(|pid| pid.trim() == process::id().to_string());
    if is_for_us && let Some(listener) = ListenFd::from_env().take_unix_listener(0)? {
        return Ok(Door::Handed(listener));
    }
    let path = match &options.socket {
        Some(path) => path.clone(),
        None if options.system => PathBuf::from(SYSTEM_SOCKET),
        None => user_socket(&file_set(given)).ok_or(ServeError::Nowhere)?,
    };
    // Checked before the log is opened, which the other daemon would have to lend.
    if unix_socket::connect(&path).is_ok() { Err(ServeError::Running(path)) } else { Ok(Door::Own(path)) }
}

/// Creates the socket, and the usual folder if it is missing. The folder of a named socket is not created: its name may
/// be misspelt.
fn listen(path: &Path, options: &Options) -> Result<Listener, ServeError> {
    let create = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mode = if options.system { 0o755 } else { 0o700 };
        DirBuilder::new().recursive(true).mode(mode).create(folder)
    };
    let made = if options.socket.is_some() { Ok(()) } else { create() };
    let made = made.and_then(|()| make(path, options.system));
    made.map_err(|source| ServeError::Listen { path: path.to_owned(), source })
}

/// Creates the socket in a folder that exists.
fn make(path: &Path, system: bool) -> io::Result<Listener> {
    Listener::bind(path, if system { 0o666 } else { 0o600 })
}
