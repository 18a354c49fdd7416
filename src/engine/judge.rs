//! One message through the core. The vendors' keys are read when a stamp names one, the used-serial log is opened when a
//! stamp is otherwise good, and both at most once: a message without a stamp touches neither. A resident process hands both
//! in (`engine/remote/state.rs`); and where there is one, an engine may have its judgements made there
//! (`engine/remote/client.rs`).

use super::error::{Deferral, RecordError};
use super::marking::Mode;
use super::remote::client::{DaemonClient, Logging};
use super::result_header;
use super::used_log::used_log;
use crate::config::Config;
use crate::config::paths::{CliOverrides, Paths, PlacesError};
use crate::directory::key_directory::Directory;
use crate::directory::pinned::{self};
use crate::log::syslog::{self, Severity};
use crate::log::verdict_log::{Entry, VerdictLog};
use crate::message::parse::Message;
use crate::policy::context::Extent;
use crate::policy::decision::Decision;
use crate::policy::rule_set::{Rule, Rules};
use crate::stamp::serial::Serial;
use crate::stamp::token::Issuer;
use crate::store::Store;
use crate::store::resident::ResidentLog;
use crate::time::UnixTime;
use crate::verdict::examine::{Step, Trace, examine, identify, traces};
use crate::verdict::facts::{Envelope, Facts, KeyDirectory, KeyFact};
use crate::verdict::finding::{Finding, Verdict};
use crate::verdict::reason::Reason;
use crate::verdict::spend::{Redelivery, SpendRequest, SpendResult, Terms};
use std::cell::OnceCell;
use std::sync::{Arc, OnceLock};

/// The engine, for as many messages as are to be judged.
#[derive(Debug)]
pub struct Engine {
    /// The user's configuration.
    pub config: Arc<Config>,
    /// Where his files are.
    pub places: Arc<Paths>,
    /// The time of the judgement.
    pub now: UnixTime,
    /// Whether `now` was given by the user; a clock that he set himself is not doubted.
    pub now_overridden: bool,
    /// What was read of the user's rules.
    pub(super) rulebook: Arc<RuleCache>,
    /// What a resident process has ready.
    pub(super) ready: Preloaded,
}

/// What need not be read or opened for this judgement.
#[derive(Debug, Default)]
pub(super) struct Preloaded {
    /// The vendors' keys, as they stand now.
    pub(super) keys: Option<Arc<Directory>>,
    /// The used-serial log, which is open.
    pub(super) log: Option<Arc<ResidentLog>>,
    /// The process that judges, if it is another.
    pub(super) elsewhere: Option<DaemonClient>,
}

/// The user's rules, once they have been read.
#[derive(Debug, Default)]
pub(super) struct RuleCache {
    pub(super) rules: OnceLock<Rules>,
}

/// The log for one judgement, opened by the first question. It is held until the judgement is over, so that stamps and
/// rules ask the same one: a second could never be opened beside it.
pub(super) struct LazyStore<'a> {
    engine: &'a Engine,
    opened: OnceCell<Arc<dyn Store>>,
}

impl<'a> LazyStore<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        Self { engine, opened: OnceCell::new() }
    }

    pub(super) fn store(&self) -> Result<&dyn Store, Deferral> {
        if let Some(store) = self.opened.get() {
            return Ok(store.as_ref());
        }
        let store = self.engine.used_log()?;
        Ok(self.opened.get_or_init(|| store).as_ref())
    }
}

/// When this program was written (2026-11-21): an earlier clock is wrong.
pub const RELEASE_TIME: UnixTime = UnixTime(1_795_219_200);

impl Engine {
    /// Has messages judged by the resident process, where there is one.
    pub fn ask_resident(&mut self, given: &CliOverrides) {
        self.ready.elsewhere = DaemonClient::connect(given, self.now_overridden.then_some(self.now));
    }

    /// Judges `message`. With [`Marking::Spend`] a good stamp is spent, durably, before this returns.
    ///
    /// # Errors
    /// [`Undecided`]: nothing is known of the message's class, and it must be tried again.
    pub fn judge(&self, message: &Message<'_>, envelope: &Envelope, marking: Mode) -> Result<Decision, Deferral> {
        if let Some(elsewhere) = &self.ready.elsewhere
            && let Some(answer) = elsewhere.judge(message, envelope, marking, Logging::ByCaller)?
        {
            return Ok(answer.decision);
        }
        let log = LazyStore::new(self);
        let verdict = self.verdict(message, envelope, &mut |spend| {
            self.preflight()?;
            self.ask(log.store()?, spend, marking)
        })?;
        let decision = self.decide(verdict, message, envelope, Extent::Whole, &log)?;
        // A rule that matched says what is to be done.
        let stale = decision.rule.is_none() && decision.verdict.reason == Reason::StaleDirectory;
        if marking == Mode::Spend && self.config.defer_stale && stale {
            return Err(Deferral::StaleDirectory);
        }
        Ok(decision)
    }

    /// What the stamps on `message` come to; what the used-serial log would answer, `ask` answers.
    ///
    /// # Errors
    /// As [`Self::judge`].
    pub(super) fn verdict(
        &self,
        message: &Message<'_>,
        envelope: &Envelope,
        ask: &mut dyn FnMut(&SpendRequest) -> Result<SpendResult, Deferral>,
    ) -> Result<Verdict, Deferral> {
        let keys = LazyKeys { engine: self, read: OnceCell::new() };
        let mut step = examine(message, envelope, &self.facts(&keys));
        if let Some(Err(error)) = keys.read.into_inner() {
            return Err(error);
        }
        loop {
            match step {
                Step::Done(verdict) => {
                    if !verdict.findings.is_empty() {
                        self.is_clock_right()?;
                        self.is_state_there()?;
                    }
                    return Ok(verdict);
                }
                Step::Spend(claim) => {
                    let answer = ask(claim.request())?;
                    step = claim.settle(answer);
                }
            }
        }
    }

    /// The judgement of a message of which only the header, and perhaps some of the body, was read: its stamps are not
    /// looked at, the user's rules are.
    ///
    /// # Errors
    /// As [`Self::judge`].
    pub fn judge_beginning(&self, message: &Message<'_>, envelope: &Envelope) -> Result<Decision, Deferral> {
        self.decide(Verdict::too_large(), message, envelope, Extent::Beginning, &LazyStore::new(self))
    }

    /// The judgement of a message that is known to carry no stamp, from its header alone; `None` when the user's rules ask
    /// for its text. `size` is that of the whole message.
    ///
    /// # Errors
    /// As [`Self::judge`].
    pub(super) fn judge_header(
        &self,
        header: &Message<'_>,
        envelope: &Envelope,
        size: u64,
    ) -> Result<Option<Decision>, Deferral> {
        if self.rules()?.iter().any(Rule::needs_text) {
            return Ok(None);
        }
        self.decide(Verdict::unstamped(), header, envelope, Extent::Header { size }, &LazyStore::new(self)).map(Some)
    }

    /// The used-serial log, with the grants beside it. Unless it is open anyway it is opened and locked by the first
    /// question, until it is dropped.
    ///
    /// # Errors
    /// [`PlacesError::Nowhere`].
    pub fn used_log(&self) -> Result<Arc<dyn Store>, PlacesError> {
        match &self.ready.log {
            Some(log) => Ok(Arc::clone(log) as Arc<dyn Store>),
            None => Ok(Arc::from(used_log(&self.config, &self.places)?)),
        }
    }

    /// Whose stamps `message` carries: a finding for each, without a reason where the signature holds.
    ///
    /// # Errors
    /// [`Undecided`] when the vendors' keys cannot be read.
    pub fn identify(&self, message: &Message<'_>) -> Result<Vec<Finding>, Deferral> {
        let keys = LazyKeys { engine: self, read: OnceCell::new() };
        let findings = identify(message, &self.facts(&keys));
        match keys.read.into_inner() {
            Some(Err(error)) => Err(error),
            _ => Ok(findings),
        }
    }

    /// What the used-serial log may know of the stamps on a message that was received.
    ///
    /// # Errors
    /// [`Undecided`] when the vendors' keys cannot be read.
    pub fn traces(&self, message: &Message<'_>) -> Result<Vec<Trace>, Deferral> {
        let keys = LazyKeys { engine: self, read: OnceCell::new() };
        let traces = traces(message, &self.facts(&keys));
        match keys.read.into_inner() {
            Some(Err(error)) => Err(error),
            _ => Ok(traces),
        }
    }

    fn facts<'a>(&'a self, keys: &'a LazyKeys<'a>) -> Facts<'a> {
        Facts { now: self.now, mailboxes: &self.config.mailboxes, policy: &self.config.policy, keys }
    }

    /// The vendors' keys, as they stand now.
    pub(super) fn read_keys(&self) -> Result<Directory, Deferral> {
        let places = &self.places;
        Ok(pinned::read(places.vendors()?, places.directories.as_deref(), self.now)?.directory)
    }

    /// Tells syslog and the verdict log. What cannot be told changes nothing: the message is judged.
    pub fn record(&self, entry: &Entry) {
        if let (true, Ok(state)) = (self.config.verdict_log, self.places.state())
            && let Err(error) = VerdictLog::new(state).append(entry)
        {
            self.log_error(&format!("verdict log: {error}"));
        }
        if let Some(socket) = &self.config.syslog {
            let _ = syslog::send(socket, Severity::Info, &result_header::line(entry));
        }
    }

    /// As [`record`](Self::record), for what must be on the disk before anything is dropped on its strength: the line is
    /// written even if the user wants no verdict log.
    ///
    /// # Errors
    /// [`RecordError`]: nothing may be dropped.
    pub fn record_durably(&self, entry: &Entry) -> Result<(), RecordError> {
        VerdictLog::new(self.places.state()?).append_durably(entry)?;
        if let Some(socket) = &self.config.syslog {
            let _ = syslog::send(socket, Severity::Info, &result_header::line(entry));
        }
        Ok(())
    }

    /// Tells syslog of our own trouble, if it listens.
    pub fn log_error(&self, trouble: &str) {
        if let Some(socket) = &self.config.syslog {
            let _ = syslog::send(socket, Severity::Error, trouble);
        }
    }

    /// What must hold before a stamp's fate is decided.
    pub(super) fn preflight(&self) -> Result<(), Deferral> {
        if self.config.mailboxes.is_empty() {
            return Err(Deferral::NoAddresses);
        }
        self.is_clock_right()
    }

    /// What must hold before anything is believed about a stamp: whether its key is in force and its window open, the clock
    /// says. One that the user gave is not doubted.
    fn is_clock_right(&self) -> Result<(), Deferral> {
        if !self.now_overridden && self.now < RELEASE_TIME { Err(Deferral::Clock(self.now)) } else { Ok(()) }
    }

    /// What was fetched about vendors is in the state.
    fn is_state_there(&self) -> Result<(), Deferral> {
        match self.places.state() {
            Err(error @ PlacesError::Missing { .. }) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// What the log says. With [`Marking::Leave`] it is only looked at.
    pub(super) fn ask(&self, log: &dyn Store, spend: &SpendRequest, marking: Mode) -> Result<SpendResult, Deferral> {
        if !self.config.used_log {
            // Grants and revocations hold without the log of used serials; uses are not remembered.
            let spend = SpendRequest { terms: Terms::LookUp, ..spend.clone() };
            let answer = if marking == Mode::Spend { log.spend(&spend)? } else { log.would_spend(&spend)? };
            return Ok(match answer {
                SpendResult::Redelivery { .. } | SpendResult::DoubleSpend { .. } => SpendResult::Fresh,
                other => other,
            });
        }
        Ok(match marking {
            Mode::Spend => log.spend(spend)?,
            // Who only looks at a message that was accepted wants to know just that, however long ago it was.
            Mode::DryRun => log.would_spend(&SpendRequest { redelivery: Redelivery::EVER, ..spend.clone() })?,
        })
    }
}

/// The vendors' keys, read when the first stamp asks for one.
struct LazyKeys<'a> {
    engine: &'a Engine,
    read: OnceCell<Result<Arc<Directory>, Deferral>>,
}

impl LazyKeys<'_> {
    /// `None` in case of trouble, which the engine looks for before it heeds what the core made of it.
    fn directory(&self) -> Option<&Directory> {
        let read = || match &self.engine.ready.keys {
            Some(keys) => Ok(Arc::clone(keys)),
            None => Ok(Arc::new(self.engine.read_keys()?)),
        };
        self.read.get_or_init(read).as_ref().ok().map(Arc::as_ref)
    }
}

impl KeyDirectory for LazyKeys<'_> {
    fn key(&self, issuer: &Issuer) -> KeyFact {
        self.directory().map_or(KeyFact::UnknownVendor, |directory| directory.key(issuer))
    }

    fn revoked(&self, vendor: &str, serial: &Serial) -> bool {
        self.directory().is_some_and(|directory| directory.revoked(vendor, serial))
    }
}
