//! Background tasks of the daemon: the folder watcher, the purge of ended serials, the refresh of the vendors'
//! directories and the eviction of idle mailboxes. The watcher and each refresh run on threads of their own. An error
//! is written to standard error, and the task runs again later.

use crate::config::serve::Serve;
use crate::context::error::Deferral;
use crate::engine::remote::state::DaemonState;
use crate::server::diagnostics::log_stderr;
use crate::server::watcher::{self, Report, WatchError};
use crate::stamp::serial::Serial;
use crate::store::LearnOutcome;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often idle mailboxes are evicted.
const REST: Duration = Duration::from_secs(60);
/// Delay of the first purge and of the first refresh after the start.
const SOON: Duration = Duration::from_secs(30);

/// Delay before a watcher that failed starts again.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// Running background tasks.
pub(super) struct BackgroundTasks {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl BackgroundTasks {
    /// Stops the tasks, after a purge under way. The watcher and a refresh end with the process, which does no harm.
    pub(super) fn end(self) {
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}

/// Starts the tasks.
pub(super) fn begin(warm: &Arc<DaemonState>, serve: Serve) -> io::Result<BackgroundTasks> {
    let watched = serve.watch && warm.engine().is_ok_and(|engine| engine.context.config.watch.maildir.is_some());
    if watched {
        // A weak reference: the watcher ends with the process, and must not keep the logs open until then.
        let warm = Arc::downgrade(warm);
        let gone = warm.clone();
        let ended = || Deferral::Remote { what: "the daemon is shutting down".into(), hint: None };
        let engine = move || warm.upgrade().ok_or_else(ended)?.engine();
        thread::Builder::new().name("watch".into()).spawn(move || {
            let mut told = String::new();
            while gone.strong_count() > 0 {
                if let Err(error) = watcher::run(&engine, &mut StderrReport)
                    && told != error.to_string()
                {
                    StderrReport.error(&error);
                    told = error.to_string();
                }
                thread::sleep(RETRY_DELAY);
            }
        })?;
    }
    let (end, ended) = channel();
    let warm = Arc::clone(warm);
    let thread = thread::Builder::new().name("tasks".into()).spawn(move || {
        let mut purge = Interval::every(serve.purge);
        let mut refresh = Interval::every(serve.refresh);
        let mut fetching: Option<JoinHandle<()>> = None;
        loop {
            let next = [purge.left(), refresh.left(), Some(REST)].into_iter().flatten().min().unwrap_or(REST);
            if ended.recv_timeout(next) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            warm.evict_idle();
            if purge.is_due() {
                forget(&warm);
            }
            if refresh.is_due() && fetching.as_ref().is_none_or(JoinHandle::is_finished) {
                fetching = fetch(&warm);
            }
        }
    })?;
    Ok(BackgroundTasks { end, thread })
}

fn forget(warm: &DaemonState) {
    // Where every user has a state folder, the user's own deliveries purge it.
    let Ok(engine) = warm.engine() else { return };
    engine.run_daily_cleanup(None);
    if let Err(error) = engine.forget() {
        log_stderr(&format!("purge: {error}"));
    }
}

/// Starts a refresh on a thread of its own.
///
/// A vendor's server may answer slowly, and the end of the process does not wait for it. Each file is written whole or
/// not at all.
#[cfg(feature = "directory")]
fn fetch(warm: &DaemonState) -> Option<JoinHandle<()>> {
    let engine = warm.engine_without_log().ok()?;
    let fetch = move || match engine.refresh(true) {
        Ok(refreshed) => refreshed.alarms.iter().for_each(|alarm| log_stderr(&format!("directory: {alarm}"))),
        Err(error) => log_stderr(&format!("directory: {error}")),
    };
    thread::Builder::new().name("fetch".into()).spawn(fetch).ok()
}

#[cfg(not(feature = "directory"))]
fn fetch(_: &DaemonState) -> Option<JoinHandle<()>> {
    None
}

/// Timer of a task that repeats.
struct Interval {
    every: Option<Duration>,
    next: Instant,
}

impl Interval {
    fn every(every: Option<Duration>) -> Self {
        Self { every, next: Instant::now() + every.unwrap_or(SOON).min(SOON) }
    }

    fn left(&self) -> Option<Duration> {
        self.every.map(|_| self.next.saturating_duration_since(Instant::now()))
    }

    fn is_due(&mut self) -> bool {
        let Some(every) = self.every.filter(|_| Instant::now() >= self.next) else { return false };
        self.next = Instant::now() + every;
        true
    }
}

/// Writes what the watcher does to standard error.
struct StderrReport;

impl Report for StderrReport {
    fn changed(&mut self, vendor: &str, serial: &Serial, what: &str) {
        log_stderr(&format!("{vendor}/{serial}: {what}"));
    }

    fn learned(&mut self, learned: LearnOutcome) {
        if learned.correspondents > 0 {
            log_stderr(&format!("learned from Sent: {} correspondents", learned.correspondents));
        }
    }

    fn progress(&mut self, _: usize, _: usize) {}

    fn error(&mut self, error: &WatchError) {
        log_stderr(&format!("watch: {error}; will try again"));
    }
}
