//! `mailstamp serve`: one process that has read everything and has the log open, and answers the commands of the mail path.
//! It decides nothing: what is ready and what is answered is the engine's affair (`filter/warm.rs`), and the log is the
//! store's.
//!
//! - *Bytes*: `socket::frame`, and the heads in `filter/question.rs`.
//! - *States*: [`session`]: what is answered to each frame. [`numbers`]: what is counted, and [`latency`]; [`measure`]: what
//!   is looked for when somebody asks.
//! - *Sockets*: [`crew`]: connections, their limits, and the threads that serve them; [`peer`]: who is at the other end.
//!   [`scrape`]: the numbers over HTTP, the one thing here that is async.
//!
//! Besides, it does what other commands do now and then ([`chores`]). Threads block, here as everywhere on the mail path:
//! a judgement computes or waits for the disk, and hundreds of threads that wait cost little.

mod chores;
mod crew;
mod latency;
mod measure;
pub mod numbers;
mod peer;
mod scrape;
mod session;

use crate::config::places::{Given, Places, set_id};
use crate::config::serve::Serve;
use crate::filter::engine::Undecided;
use crate::filter::resident::{SYSTEM_SOCKET, own_socket, whose};
use crate::filter::warm::Warm;
use crate::mail::field::printable;
use crate::socket::place;
use crew::Crew;
use listenfd::ListenFd;
use numbers::Numbers;
use scrape::Scrape;
use sd_notify::NotifyState;
use session::Service;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// For how long requests under way may go on at the end.
const FAREWELL: Duration = Duration::from_secs(10);

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
    Undecided(#[from] Undecided),
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
    /// The address for Prometheus.
    #[error("cannot listen at {address}, as serve.metrics says: {source}")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Threads or signals.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT; SIGHUP reads the configuration anew. `told` hears once where it listens.
///
/// # Errors
/// [`ServeError`] when it cannot begin.
pub fn run(given: &Given, options: &Options, told: impl FnOnce(&str)) -> Result<(), ServeError> {
    if set_id() {
        return Err(ServeError::SetId);
    }
    let signals = signals()?;
    let warm = Arc::new(Warm::new(given.clone(), options.system)?);
    let serve = settings(given, &warm);
    let numbers = Arc::new(Numbers::new());
    let scrape = serve.metrics.map(|address| {
        Scrape::begin(address, &numbers, &warm).map_err(|source| ServeError::Metrics { address, source })
    });
    let scrape = scrape.transpose()?;
    let (listener, path) = listen(given, options)?;
    let service = Arc::new(Service::new(Arc::clone(&warm), Arc::clone(&numbers), options.system));
    let crew = Crew::begin(listener, serve.connections, service)?;
    let chores = chores::begin(&warm, serve)?;
    let place = path.as_ref().map_or_else(|| "the socket that it was given".to_owned(), |it| it.display().to_string());
    let metrics = scrape.as_ref().map(|scrape| format!(", metrics at http://{}/metrics", scrape.address));
    told(&(place + &metrics.unwrap_or_default()));
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    attend(&signals, &warm);
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    if let Some(path) = path {
        // Nobody finds it any more, and who has found it is still answered.
        let _ = std::fs::remove_file(path);
    }
    crew.end(FAREWELL);
    chores.end();
    scrape.into_iter().for_each(Scrape::end);
    numbers.end();
    Ok(())
}

/// The table `[serve]`. It is the same for all users, also where the rest of the configuration is not.
fn settings(given: &Given, warm: &Warm) -> Serve {
    let of_anybody = || {
        let anybody = Given { user: Some("anybody@localhost".to_owned()), ..given.clone() };
        Places::read(&anybody).map_or_else(|_| Serve::default(), |(config, _)| config.serve)
    };
    warm.engine().map_or_else(|_| of_anybody(), |engine| engine.config.serve)
}

/// Waits for the end. A watchdog is told that all is well for as long as it is.
fn attend(signals: &Receiver<i32>, warm: &Warm) {
    let watchdog = sd_notify::watchdog_enabled().map(|every| every / 2);
    loop {
        let signal = match watchdog {
            None => signals.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(every) => signals.recv_timeout(every),
        };
        match signal {
            Ok(SIGHUP) => reload(warm),
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Whoever can take each log's turn is not stuck.
        if watchdog.is_some() && warm.logs().iter().all(|(_, log)| log.is_alive()) {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }
}

/// Reads everything anew. Requests under way end with what they began with.
fn reload(warm: &Warm) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
    match warm.check() {
        Ok(()) => tell("reloaded"),
        Err(error) => tell(&format!("not reloaded: {error}; mail waits until that is put right")),
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

/// The socket that systemd holds for us, or one of our own, and then its path.
fn listen(given: &Given, options: &Options) -> Result<(UnixListener, Option<PathBuf>), ServeError> {
    if let Some(listener) = ListenFd::from_env().take_unix_listener(0)? {
        return Ok((listener, None));
    }
    let path = match &options.socket {
        Some(path) => path.clone(),
        None if options.system => PathBuf::from(SYSTEM_SOCKET),
        None => own_socket(&whose(given)).ok_or(ServeError::Nowhere)?,
    };
    let fail = |source| ServeError::Listen { path: path.clone(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mode = if options.system { 0o755 } else { 0o700 };
    DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(fail)?;
    let listener = place::listen(&path, if options.system { 0o666 } else { 0o600 }).map_err(fail)?;
    Ok((listener, Some(path)))
}

/// One line for whoever keeps our standard error.
pub(super) fn tell(what: &str) {
    // Nobody may be listening; there is no better place to say so.
    let _ = writeln!(io::stderr(), "mailstamp: {}", printable(what.as_bytes(), 1_000));
}
