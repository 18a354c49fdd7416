//! Publication of the public log by the service: at its start, and each day soon after midnight (UTC). `vendor publish`
//! may do it, too.

use super::Service;
use crate::directory::public_folder::PublicFolder;
use crate::ledger::error::LedgerError;
use crate::ledger::public_log::files::LogFolder;
use crate::server::diagnostics::warn_stderr;
use crate::time::UnixTime;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const DAY: i64 = 86_400;
/// Delay after midnight in seconds: entries of the last day are booked by then.
const DELAY: i64 = 120;
/// Delay after a failure, in seconds.
const RETRY_DELAY: i64 = 600;

/// The task.
#[derive(Clone, Debug, Default)]
pub struct LogPublisher {
    runs: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// When the next publication is due.
    due: Option<UnixTime>,
    /// What failed last, so that it is reported once.
    problem: Option<String>,
}

impl LogPublisher {
    /// Publishes, if it is time and no other publication runs.
    pub async fn tick(self, service: Service, now: UnixTime) {
        let due = self.state().due;
        if due.is_some_and(|due| now < due && due.since(now) <= DAY + DELAY) || self.runs.swap(true, Ordering::AcqRel) {
            return;
        }
        let public = service.settings().folder.join("public");
        let done = service.ledger(move |ledger, now| {
            let published = PublicFolder::lock(&public)
                .map_err(|source| LedgerError::Io { doing: "lock", path: public.clone(), source })
                .and_then(|_lock| ledger.publish_log(&public, false, now));
            // A problem of the log is no problem of the service.
            Ok(published.map_err(|error| error.to_string()))
        });
        let done = done.await.unwrap_or_else(|_| Err("the public log: the ledger does not answer".to_owned()));
        self.end(now, done.err());
        service.edition().look_again();
    }

    fn end(&self, now: UnixTime, problem: Option<String>) {
        let mut state = self.state();
        if let Some(text) = problem.as_ref().filter(|text| Some(*text) != state.problem.as_ref()) {
            warn_stderr(text);
        }
        let wait = match problem {
            Some(_) => RETRY_DELAY,
            None => DAY - now.0.rem_euclid(DAY) + DELAY,
        };
        state.due = Some(now.plus(wait));
        state.problem = problem;
        self.runs.store(false, Ordering::Release);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the folder of the log that the service publishes.
pub fn folder(service: &Service) -> LogFolder {
    LogFolder::below(&service.settings().folder.join("public"))
}
