//! The gateway's contact with its agency, on a thread of its own: it fetches the directories, hands in what was
//! received, asks for open payments, and renews the licence. Mail never waits for it.

use super::metrics::Metrics;
use crate::accounting::bank::books::LicenseState;
use crate::bank::agency::{AgencyError, AgencyFiles};
use crate::bank::handle::Bank;
use crate::bank::request::Outcome;
use crate::config::gateway::Clearing as Settings;
use crate::config::paths::CliOverrides;
use crate::engine::judge::Engine;
use crate::os::clock;
use crate::sender::error::SupplyError;
use crate::server::diagnostics::log_stderr;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Delay of the first contact after the start.
const SOON: Duration = Duration::from_secs(5);
/// Longest delay after a contact that failed.
const RETRY: Duration = Duration::from_secs(300);
/// Least time between contacts.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a licence must still last, in seconds: two days in which the agency may be away.
const LICENSE_LEFT: i64 = 2 * 86_400;
/// How long after its end a token may still come again with its message, in seconds.
pub(super) const GIVEN_UP: i64 = 5 * 86_400;
/// Life of a licence, in days.
const LICENSE_DAYS: u32 = 7;

/// What the task is told.
enum Word {
    /// Contact the agency now.
    Clear,
    End,
}

/// Asks for a contact before its time.
#[derive(Clone)]
pub(super) struct Due(Sender<Word>);

impl Due {
    /// Asks for it. Further ones before it count as one.
    pub(super) fn clear_now(&self) {
        // Without a bank there is no task.
        let _ = self.0.send(Word::Clear);
    }
}

/// The running task.
pub(super) struct Clearing {
    words: Sender<Word>,
    thread: Option<JoinHandle<()>>,
}

impl Clearing {
    /// Starts the task, if there is a bank.
    pub(super) fn begin(
        given: &CliOverrides,
        settings: Settings,
        bank: Option<&Arc<Bank>>,
        numbers: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let (words, told) = channel();
        let thread = bank.map(|bank| {
            let (given, bank, numbers) = (given.clone(), Arc::clone(bank), Arc::clone(numbers));
            let run = move || run(&given, settings, &bank, &numbers, &told);
            thread::Builder::new().name("clearing".into()).spawn(run)
        });
        Ok(Self { words, thread: thread.transpose()? })
    }

    /// Returns a way to ask for a contact.
    pub(super) fn due(&self) -> Due {
        Due(self.words.clone())
    }

    /// Stops it, after a contact under way.
    pub(super) fn end(self) {
        let _ = self.words.send(Word::End);
        self.thread.into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn run(given: &CliOverrides, settings: Settings, bank: &Bank, numbers: &Metrics, words: &Receiver<Word>) {
    let mut delay = SOON;
    let mut told = String::new();
    loop {
        match words.recv_timeout(delay) {
            Ok(Word::End) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Word::Clear) | Err(RecvTimeoutError::Timeout) => {}
        }
        let failure = contact(given, settings, bank).err().map(|error| error.to_string()).unwrap_or_default();
        if failure.is_empty() {
            numbers.agency_answered(clock::now());
        }
        delay = if failure.is_empty() { settings.every } else { settings.every.min(RETRY) };
        // Once for each failure, however long it lasts.
        if told != failure {
            let what = if failure.is_empty() { "the agency answers again" } else { &failure };
            log_stderr(&format!("clearing: {what}"));
            told = failure;
        }
        // What is asked for meanwhile waits: a stranger's tokens cause one contact in ten seconds at most.
        let next = Instant::now() + PAUSE;
        let mut is_due = false;
        loop {
            match words.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Word::End) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Word::Clear) => is_due = true,
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        if is_due {
            delay = Duration::ZERO;
        }
    }
}

/// One contact with the agency.
pub(super) fn contact(given: &CliOverrides, settings: Settings, bank: &Bank) -> Result<(), AgencyError> {
    let engine = Engine::load(given, None)?;
    match engine.refresh(true) {
        Ok(refreshed) => refreshed.alarms.iter().for_each(|alarm| log_stderr(&format!("directory: {alarm}"))),
        // The directories that are there may do.
        Err(error) => log_stderr(&format!("directory: {error}")),
    }
    let context = engine.context;
    let files = AgencyFiles::read(&context, bank)?;
    let agency = files.agency(bank);
    let now = context.now;
    // They count among what is open of a licence.
    let given_up = bank.pending_before(now.plus(-GIVEN_UP))?;
    if !given_up.is_empty() {
        bank.drop_pending(given_up, now)?;
    }
    let has_license = || {
        let licenses = bank.balance()?.licenses;
        let mut live = licenses.iter().map(|it| &it.license).filter(|it| it.state == LicenseState::Live);
        Ok::<_, AgencyError>(live.any(|it| it.limit >= settings.license && it.until.since(now) > LICENSE_LEFT))
    };
    let take = |credits| {
        agency.license(credits, LICENSE_DAYS, now).map(|(kid, outcome)| {
            log_stderr(&format!("clearing: licence {kid} for {credits} credits"));
            report(&outcome);
        })
    };
    // Where the account has too few credits, a licence of none hands in what came, so that it has more.
    let license = |is_last: bool| match take(settings.license) {
        Err(error) if is_last && settings.license > 0 && is_refused(&error) => take(0).and(Err(error)),
        taken => taken,
    };
    let can_sign = || Ok::<_, AgencyError>(bank.balance()?.licenses.iter().any(|it| it.license.signs_at(now)));
    let mut licensed = if has_license()? { Ok(()) } else { license(!can_sign()?) };
    let mut cleared = agency.clear(now, context.forget_limit());
    if let Err(error @ AgencyError::Unlicensed { .. }) = &cleared {
        log_stderr(&format!("clearing: {error}"));
        licensed = license(true);
        cleared = agency.clear(now, context.forget_limit());
    }
    // What came is handed in though the account has too few credits for a new licence.
    report(&cleared?);
    // The answer may have ended the licence.
    if licensed.is_ok() && !has_license()? { license(!can_sign()?) } else { licensed }
}

/// Returns whether the agency refuses a licence for its credits, or licenses nothing.
fn is_refused(error: &AgencyError) -> bool {
    matches!(error, AgencyError::Vendor(SupplyError::Funds { .. } | SupplyError::Refused { .. }))
}

fn report(outcome: &Outcome) {
    for (id, credits, why) in &outcome.refused {
        log_stderr(&format!("clearing: token {id}: {credits} credits not paid: {why}"));
    }
    for kid in &outcome.ended {
        log_stderr(&format!("clearing: licence {kid}: the agency revoked or closed it; its key signs no more"));
    }
    for kid in &outcome.overdrawn {
        log_stderr(&format!("clearing: licence {kid}: the agency cleared more than this bank paid"));
    }
}
