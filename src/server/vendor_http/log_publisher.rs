//! Publication of the public log by the service: at its start, and each day soon after midnight (UTC). `vendor publish`
//! may do it, too. Witnesses cosign it then; one that does not is asked again after an hour.

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
/// Delay after a witness has not cosigned, in seconds.
const WITNESS_DELAY: i64 = 3_600;

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
    /// What went wrong with witnesses and the clock last, so that it is reported once.
    warnings: Vec<String>,
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
                .and_then(|folder| {
                    // Leftovers do no harm: the publication says what is wrong with the folder.
                    let _ = folder.remove_leftovers();
                    ledger.publish_log(&public, false, now)
                });
            // A problem of the log is no problem of the service.
            Ok(published.map(|log| log.clock_problem(now)).map_err(|error| error.to_string()))
        });
        let done = done.await.unwrap_or_else(|_| Err("the public log: the ledger does not answer".to_owned()));
        service.edition().look_again();
        let mut warnings = if done.is_ok() { cosign(&service).await } else { Vec::new() };
        let is_unwitnessed = !warnings.is_empty();
        warnings.extend(done.as_ref().ok().cloned().flatten());
        self.end(now, done.err(), warnings, is_unwitnessed);
        service.edition().look_again();
    }

    fn end(&self, now: UnixTime, problem: Option<String>, warnings: Vec<String>, is_unwitnessed: bool) {
        let mut state = self.state();
        if let Some(text) = problem.as_ref().filter(|text| Some(*text) != state.problem.as_ref()) {
            warn_stderr(text);
        }
        warnings.iter().filter(|text| !state.warnings.contains(text)).for_each(|text| warn_stderr(text));
        let tomorrow = DAY - now.0.rem_euclid(DAY) + DELAY;
        let wait = match problem {
            Some(_) => RETRY_DELAY,
            None if is_unwitnessed => tomorrow.min(WITNESS_DELAY),
            None => tomorrow,
        };
        state.due = Some(now.plus(wait));
        state.problem = problem;
        state.warnings = warnings;
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

/// Asks the witnesses to cosign the published log. Returns what went wrong, one sentence each.
#[cfg(feature = "directory")]
async fn cosign(service: &Service) -> Vec<String> {
    let settings = service.settings();
    let (public, witnesses) = (settings.folder.join("public"), settings.witnesses.clone());
    if witnesses.is_empty() {
        return Vec::new();
    }
    let cosigned = service.ledger(move |ledger, now| {
        let answers = match ledger.cosign(&public, &witnesses, now) {
            Ok(cosigned) => cosigned.answers,
            Err(error) => return Ok(vec![error.to_string()]),
        };
        let failed = witnesses.iter().zip(answers).filter_map(|(witness, answer)| Some((witness, answer.err()?)));
        Ok(failed.map(|(witness, error)| format!("witness {}: {error}", witness.name())).collect())
    });
    cosigned.await.unwrap_or_else(|_| vec!["the witnesses: the ledger does not answer".to_owned()])
}

#[cfg(not(feature = "directory"))]
async fn cosign(_: &Service) -> Vec<String> {
    Vec::new()
}
