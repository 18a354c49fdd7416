//! `mailstamp serve`: the daemon, which keeps configuration and log open and answers the commands of the mail path. It
//! decides nothing: answers are the engine's (`engine/remote/state.rs`), and the log is the store's.
//!
//! - *Bytes*: `ipc::frame`, and the heads in `engine/remote/protocol.rs`.
//! - *States*: `handler`: one frame in, one answer out. [`metrics`]: counters, with `histogram`; `gauges`: what is read
//!   when asked for.
//! - *Sockets*: `worker_pool`: connections, their limits, and the threads that serve them; `peer_credentials`: the user at
//!   the other end. `server::http::metrics_endpoint`: the metrics over HTTP, the one thing here that is async.
//!
//! `background` runs what other commands do now and then. Threads block, here as everywhere on the mail path: a judgement
//! computes or waits for the disk, and hundreds of threads that wait cost little.

mod background;
mod gauges;
mod handler;
mod histogram;
pub mod metrics;
mod peer_credentials;
mod worker_pool;

use super::http::metrics_endpoint::MetricsEndpoint;
use crate::config::paths::{CliOverrides, Paths, is_setuid};
use crate::config::serve::Serve;
use crate::engine::error::Deferral;
use crate::engine::remote::client::{SYSTEM_SOCKET, file_set, user_socket};
use crate::engine::remote::state::DaemonState;
use crate::os::unix_socket::{self, Made};
use crate::server::diagnostics::log_stderr;
use handler::Handler;
use listenfd::ListenFd;
use metrics::Metrics;
use peer_credentials::Doorkeeper;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};
use worker_pool::WorkerPool;

/// For how long requests under way may go on at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is tried to tell numbers where that was not possible.
const AGAIN: Duration = Duration::from_secs(10);
/// How often it is looked whether the sockets can still be found.
const LOOK: Duration = Duration::from_secs(1);

/// What was asked for on the command line.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Listen here, and not where the user's commands look.
    pub socket: Option<PathBuf>,
    /// Serve every user of the system.
    pub system: bool,
}

/// The process cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// What must be read or opened first.
    #[error(transparent)]
    Undecided(#[from] Deferral),
    /// There is no place for the socket.
    #[error("no folder for the socket: HOME is not set; name one with --socket or --state")]
    Nowhere,
    /// The rights of another user are no place to serve from.
    #[error("not to be run set-id")]
    SetId,
    /// The socket.
    #[error("cannot listen at {}: {source}", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process serves there.
    #[error("mailstamp serve runs already, and listens at {}", .0.display())]
    Running(PathBuf),
    /// Threads or signals.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT; SIGHUP reads the configuration anew. `told` hears once where it listens.
///
/// # Errors
/// [`ServeError`] when it cannot begin.
pub fn run(given: &CliOverrides, options: &Options, told: impl FnOnce(&str)) -> Result<(), ServeError> {
    if is_setuid() {
        return Err(ServeError::SetId);
    }
    let signals = signals()?;
    let door = door(given, options)?;
    let warm = Arc::new(DaemonState::new(given.clone(), options.system)?);
    let serve = settings(given, &warm);
    let numbers = Arc::new(Metrics::new());
    let begin = |address| MetricsEndpoint::begin(address, &numbers, &warm);
    let metrics = serve.metrics;
    let mut scrape = metrics.and_then(|address| begin(address).map_err(|error| untold(address, &error)).ok());
    let mut tried = Instant::now();
    let (listener, mut socket) = match door {
        Door::Handed(listener) => (listener, None),
        Door::Own(path) => listen(path, options.system).map(|(listener, socket)| (listener, Some(socket)))?,
    };
    let service = Arc::new(Handler::new(Arc::clone(&warm), Arc::clone(&numbers)));
    let crew = WorkerPool::begin(listener, serve.connections, Doorkeeper::new(options.system), service)?;
    let chores = background::begin(&warm, serve)?;
    let own = socket.as_ref().map(|socket| socket.path().display().to_string());
    let place = own.unwrap_or_else(|| "the socket that it was given".to_owned());
    let at = |scrape: &MetricsEndpoint| format!("metrics at http://{}/metrics", scrape.address);
    told(&(place + &scrape.as_ref().map(|scrape| format!(", {}", at(scrape))).unwrap_or_default()));
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    attend(&signals, &warm, || {
        // Whoever removes or restores the files of the state takes the sockets away with them.
        warm.logs().iter().for_each(|(_, log)| drop(log.be_found()));
        if let Some(socket) = socket.as_mut().filter(|socket| !socket.stands())
            && let Ok((listener, made)) = make(socket.path(), options.system)
            && crew.move_to(listener).is_ok()
        {
            log_stderr(&format!("the socket was gone; serving at {} again", made.path().display()));
            *socket = made;
        }
        if let (Some(address), None) = (metrics, &scrape)
            && tried.elapsed() >= AGAIN
        {
            tried = Instant::now();
            scrape = begin(address).ok();
            scrape.iter().for_each(|scrape| log_stderr(&at(scrape)));
        }
    });
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    // Or those who wait for a log that is lent would not be answered in time.
    warm.logs().iter().for_each(|(_, log)| log.recall());
    if let Some(socket) = socket {
        // Nobody finds it any more, and who has found it is still answered.
        socket.remove();
    }
    crew.end(DRAIN_TIMEOUT);
    chores.end();
    scrape.into_iter().for_each(MetricsEndpoint::end);
    numbers.end();
    Ok(())
}

/// The table `[serve]`. It is the same for all users, also where the rest of the configuration is not.
fn settings(given: &CliOverrides, warm: &DaemonState) -> Serve {
    let of_anybody = || {
        let anybody = CliOverrides { user: Some("anybody@localhost".to_owned()), ..given.clone() };
        Paths::read(&anybody).map_or_else(|_| Serve::default(), |(config, _)| config.serve)
    };
    warm.engine().map_or_else(|_| of_anybody(), |engine| engine.config.serve)
}

/// Waits for the end, and has a `look` now and then. A watchdog is told that all is well for as long as it is.
fn attend(signals: &Receiver<i32>, warm: &DaemonState, mut look: impl FnMut()) {
    let watchdog = sd_notify::watchdog_enabled().map(|every| every / 2);
    let mut told = Instant::now();
    loop {
        let signal = signals.recv_timeout(watchdog.map_or(LOOK, |every| every.min(LOOK)));
        match signal {
            Ok(SIGHUP) => reload(warm),
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => look(),
        }
        let due = signal.is_ok() || watchdog.is_some_and(|every| told.elapsed() >= every);
        // Whoever can take each log's turn is not stuck.
        if watchdog.is_some() && due && warm.logs().iter().all(|(_, log)| log.is_alive()) {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            told = Instant::now();
        }
    }
}

/// Reads everything anew. Requests under way end with what they began with.
fn reload(warm: &DaemonState) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
    match warm.check() {
        Ok(()) => log_stderr("reloaded"),
        Err(error) => log_stderr(&format!("not reloaded: {error}; mail waits until that is put right")),
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

/// Numbers are not worth that nobody is served: whoever has the address may have taken it to that end.
fn untold(address: SocketAddr, error: &io::Error) {
    log_stderr(&format!("warning: cannot listen at {address}, as serve.metrics says: {error}; will try again"));
}

/// The socket at which to serve.
enum Door {
    /// The one that systemd holds for us.
    Handed(UnixListener),
    /// One that we have to make, at this path.
    Own(PathBuf),
}

fn door(given: &CliOverrides, options: &Options) -> Result<Door, ServeError> {
    if let Some(listener) = ListenFd::from_env().take_unix_listener(0)? {
        return Ok(Door::Handed(listener));
    }
    let path = match &options.socket {
        Some(path) => path.clone(),
        None if options.system => PathBuf::from(SYSTEM_SOCKET),
        None => user_socket(&file_set(given)).ok_or(ServeError::Nowhere)?,
    };
    // Now and not when the log is opened, which the other would have to lend.
    if unix_socket::connect(&path).is_ok() { Err(ServeError::Running(path)) } else { Ok(Door::Own(path)) }
}

/// A socket of our own, and the folder that it stands in.
fn listen(path: PathBuf, system: bool) -> Result<(UnixListener, Made), ServeError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mode = if system { 0o755 } else { 0o700 };
    let made = DirBuilder::new().recursive(true).mode(mode).create(folder).and_then(|()| make(&path, system));
    made.map_err(|source| ServeError::Listen { path, source })
}

/// A socket of our own, in a folder that is there.
fn make(path: &Path, system: bool) -> io::Result<(UnixListener, Made)> {
    let listener = unix_socket::listen(path, if system { 0o666 } else { 0o600 })?;
    Ok((listener, Made::at(path)?))
}
