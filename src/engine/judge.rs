//! Judgement of one message. The vendors' keys are read when a stamp names a vendor, and the user's own keys when one
//! names an address. The used log is opened when a stamp is otherwise good. Each happens at most once, and a message
//! without a stamp needs none. The daemon passes the vendors' keys and the log in (`engine/remote/state.rs`). Where a
//! daemon runs, an engine may forward its judgements to it (`engine/remote/client.rs`).

use super::error::RecordError;
use super::marking::Mode;
use super::remote::client::{DaemonClient, Logging};
use super::remote::protocol::LARGEST;
use super::result_header;
use crate::config::paths::{CliOverrides, PathsError};
use crate::context::Context;
use crate::context::error::Deferral;
use crate::directory::key_directory::Directory;
use crate::directory::pinned::{self};
use crate::directory::pinned_lists::Lists;
use crate::log::syslog::{self, Severity};
use crate::log::verdict_log::{Entry, VerdictLog};
use crate::message::address::Address;
use crate::message::parse::Message;
use crate::peer::record::PeerRecord;
use crate::policy::context::Extent;
use crate::policy::decision::Decision;
use crate::policy::rule_set::{Rule, Rules};
use crate::stamp::serial::Serial;
use crate::stamp::token::Issuer;
use crate::store::Store;
use crate::time::UnixTime;
use crate::verdict::examine::{Step, Trace, identify, open, status_name, traces};
use crate::verdict::facts::{Envelope, Facts, KeyDirectory, KeyFact};
use crate::verdict::finding::{Finding, Verdict};
use crate::verdict::owner::Owner;
use crate::verdict::reason::Reason;
use crate::verdict::spend::{Redelivery, SpendRequest, SpendResult, Terms};
use std::cell::{Cell, OnceCell};
use std::sync::{Arc, OnceLock};

/// What answers for the used log.
pub(super) trait AskLog {
    fn spend(&self, spend: &SpendRequest) -> Result<SpendResult, Deferral>;

    /// Returns the record of a correspondent.
    fn peer(&self, owner: Owner, correspondent: &Address) -> Result<PeerRecord, Deferral>;
}

/// The engine's log, opened for the first request.
pub(super) struct OwnLog<'a> {
    pub(super) log: &'a LazyStore<'a>,
    pub(super) marking: Mode,
}

impl AskLog for OwnLog<'_> {
    fn spend(&self, spend: &SpendRequest) -> Result<SpendResult, Deferral> {
        self.log.engine.context.preflight()?;
        self.log.engine.ask(self.log.store()?, spend, self.marking)
    }

    fn peer(&self, owner: Owner, correspondent: &Address) -> Result<PeerRecord, Deferral> {
        Ok(self.log.store()?.peer(owner, correspondent)?)
    }
}

/// The engine. It judges any number of messages.
#[derive(Debug)]
pub struct Engine {
    /// Configuration, files, and the time of the judgement.
    pub context: Context,
    /// The user's rules, as read.
    pub(super) rulebook: Arc<RuleCache>,
    /// What the daemon has loaded.
    pub(super) ready: Preloaded,
}

/// Inputs that are already loaded for this judgement.
#[derive(Default)]
pub(super) struct Preloaded {
    /// The vendors' keys, as they stand now.
    pub(super) keys: Option<Arc<Directory>>,
    /// The open used log.
    pub(super) log: Option<Arc<dyn Store>>,
    /// The daemon that judges instead, if any.
    pub(super) elsewhere: Option<DaemonClient>,
}

impl std::fmt::Debug for Preloaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preloaded").field("elsewhere", &self.elsewhere).finish_non_exhaustive()
    }
}

/// The user's rules, once they have been read.
#[derive(Debug, Default)]
pub(super) struct RuleCache {
    pub(super) rules: OnceLock<Rules>,
}

/// The log for one judgement, opened by the first request.
/// It stays open until the judgement is over, so that stamps and rules share it. A second one could not be opened
/// beside it.
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

impl Engine {
    /// Loads the configuration and makes an engine, at `now` if given, else at the system's time.
    ///
    /// # Errors
    /// [`PathsError`] when the configuration cannot be used.
    pub fn load(given: &CliOverrides, now: Option<UnixTime>) -> Result<Self, PathsError> {
        Ok(Self::new(Context::load(given, now)?))
    }

    /// Makes an engine that has read nothing yet.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self { context, rulebook: Arc::default(), ready: Preloaded::default() }
    }

    /// Forwards judgements to the daemon, where one runs.
    pub fn ask_resident(&mut self, given: &CliOverrides) {
        self.ready.elsewhere = DaemonClient::connect(given, self.context.now_overridden.then_some(self.context.now));
    }

    /// Judges `message`.
    /// With [`Mode::Spend`] a good stamp is spent, durably, before this returns.
    ///
    /// # Errors
    /// [`Deferral`]: the message's class is unknown, and it must be tried again.
    pub fn judge(&self, message: &Message<'_>, envelope: &Envelope, marking: Mode) -> Result<Decision, Deferral> {
        if let Some(elsewhere) = &self.ready.elsewhere
            && let Some(answer) = elsewhere.judge(message, envelope, marking, Logging::ByCaller)?
        {
            return self.allowed_here(answer.decision, message);
        }
        if message.raw().len() > LARGEST
            && let Some(decision) = self.judge_by_header(message, envelope, marking, Extent::Whole)?
        {
            return Ok(decision);
        }
        self.opened(message, marking, |judge| judge(envelope))
    }

    /// Judges `message` once for each envelope. Its stamps are found and verified once.
    ///
    /// # Errors
    /// [`Deferral`]: its class is unknown for some recipient, and it must be tried again for all. A stamp that was
    /// spent before is recognised then.
    pub fn judge_each(
        &self,
        message: &Message<'_>,
        envelopes: &[Envelope],
        marking: Mode,
    ) -> Result<Vec<Decision>, Deferral> {
        self.opened(message, marking, |judge| envelopes.iter().map(judge).collect())
    }

    /// Calls `judge_all` with what judges this message for one envelope.
    fn opened<T>(
        &self,
        message: &Message<'_>,
        marking: Mode,
        judge_all: impl FnOnce(&dyn Fn(&Envelope) -> Result<Decision, Deferral>) -> Result<T, Deferral>,
    ) -> Result<T, Deferral> {
        let log = LazyStore::new(self);
        self.verdicts(message, &OwnLog { log: &log, marking }, |verdict| {
            judge_all(&|envelope| {
                let decision = self.decide(verdict(envelope)?, message, envelope, Extent::Whole, &log)?;
                // A matching rule decides what is done.
                let stale = decision.rule.is_none() && decision.verdict.reason == Reason::StaleDirectory;
                if marking == Mode::Spend && self.context.config.defer_stale && stale {
                    return Err(Deferral::StaleDirectory);
                }
                if marking == Mode::Spend {
                    self.learn_peer(message, envelope, &decision, &log);
                }
                Ok(decision)
            })
        })
    }

    /// Calls `judge_all` with what gives the verdict on this message for one envelope. Its seals and stamps are read
    /// once. `ask` answers for the used log.
    pub(super) fn verdicts<T>(
        &self,
        message: &Message<'_>,
        ask: &dyn AskLog,
        judge_all: impl FnOnce(&dyn Fn(&Envelope) -> Result<Verdict, Deferral>) -> Result<T, Deferral>,
    ) -> Result<T, Deferral> {
        let keys = LazyKeys::new(self);
        let (sealed, facts, opened) = (self.sealed(message), self.facts(&keys), OnceCell::new());
        judge_all(&|envelope| {
            if let Some(verdict) = self.believe(&sealed, message, envelope, &keys, ask)? {
                return Ok(verdict);
            }
            let opened = opened.get_or_init(|| open(message, &facts));
            keys.check()?;
            self.settle(opened.examine(envelope), ask)
        })
    }

    /// Takes a judgement to its end. `ask` answers for the used log.
    fn settle(&self, mut step: Step, ask: &dyn AskLog) -> Result<Verdict, Deferral> {
        loop {
            match step {
                Step::Done(verdict) => {
                    if !verdict.findings.is_empty() {
                        self.context.is_clock_right()?;
                        self.context.is_state_there()?;
                    }
                    return Ok(verdict);
                }
                Step::Spend(mut claim) => {
                    if let Some((owner, correspondent, holder)) = claim.correspondent() {
                        let record = ask.peer(owner, correspondent)?;
                        let most = record.uses_per_day(holder, self.context.config.peers.max_uses_per_day);
                        claim.allow_uses(most);
                    }
                    let answer = ask.spend(claim.request())?;
                    step = claim.settle(answer);
                }
            }
        }
    }

    /// Judges a message of which only the header, and perhaps some of the body, was read.
    /// Its stamps are not examined; the user's rules apply.
    pub fn judge_beginning(&self, message: &Message<'_>, envelope: &Envelope) -> Result<Decision, Deferral> {
        if let Some(decision) = self.judge_by_header(message, envelope, Mode::DryRun, Extent::Beginning)? {
            return Ok(decision);
        }
        self.decide(Verdict::too_large(), message, envelope, Extent::Beginning, &LazyStore::new(self))
    }

    /// Has the daemon judge a message that is too large for it, by the header. Only where this process cannot open the
    /// used log; otherwise, or without a daemon, the result is `None`.
    fn judge_by_header(
        &self,
        message: &Message<'_>,
        envelope: &Envelope,
        marking: Mode,
        seen: Extent,
    ) -> Result<Option<Decision>, Deferral> {
        let Some(elsewhere) = self.ready.elsewhere.as_ref().filter(|_| self.context.places.own_state.is_some()) else {
            return Ok(None);
        };
        let answer = elsewhere.judge_by_header(message, envelope, marking, seen)?;
        answer.map(|answer| self.allowed_here(answer.decision, message)).transpose()
    }

    /// Judges a message without a stamp from its header alone, as [`judge`](Self::judge) does.
    /// `None` when the user's rules need its text. `size` is that of the whole message.
    pub(super) fn judge_header(
        &self,
        header: &Message<'_>,
        envelope: &Envelope,
        size: u64,
        marking: Mode,
    ) -> Result<Option<Decision>, Deferral> {
        if self.rules()?.iter().any(Rule::needs_text) {
            return Ok(None);
        }
        let log = LazyStore::new(self);
        let decision = self.decide(Verdict::unstamped(), header, envelope, Extent::Header { size }, &log)?;
        if marking == Mode::Spend {
            self.learn_peer(header, envelope, &decision, &log);
        }
        Ok(Some(decision))
    }

    /// Returns the used log, with the grants beside it.
    /// Unless it is open already, the first request opens and locks it, until it is dropped.
    pub fn used_log(&self) -> Result<Arc<dyn Store>, PathsError> {
        match &self.ready.log {
            Some(log) => Ok(Arc::clone(log)),
            None => Ok(Arc::from(self.context.used_log()?)),
        }
    }

    /// Returns a finding for each stamp on `message`, without a reason where the signature holds.
    ///
    /// # Errors
    /// [`Deferral`] when the vendors' keys cannot be read.
    pub fn identify(&self, message: &Message<'_>) -> Result<Vec<Finding>, Deferral> {
        let keys = LazyKeys::new(self);
        let findings = identify(message, &self.facts(&keys));
        keys.check()?;
        Ok(findings)
    }

    /// Returns what the used log may know of the stamps on a received message.
    ///
    /// # Errors
    /// [`Deferral`] when the vendors' keys cannot be read.
    pub fn traces(&self, message: &Message<'_>) -> Result<Vec<Trace>, Deferral> {
        let keys = LazyKeys::new(self);
        let traces = traces(message, &self.facts(&keys));
        keys.check()?;
        Ok(traces)
    }

    fn facts<'a>(&'a self, keys: &'a LazyKeys<'a>) -> Facts<'a> {
        Facts {
            now: self.context.now,
            mailboxes: &self.context.config.mailboxes,
            policy: &self.context.config.policy,
            keys,
        }
    }

    /// Reads the vendors' keys, as they are now.
    pub(super) fn read_keys(&self) -> Result<Directory, Deferral> {
        let places = &self.context.places;
        Ok(pinned::read(places.vendors()?, places.directories.as_deref(), self.context.now)?.directory)
    }

    /// Reads the keys of the user's own addresses, and of lists.
    pub(super) fn read_lists(&self) -> Result<Lists, Deferral> {
        match self.context.places.state() {
            Ok(state) => Ok(Lists::read(state)?),
            Err(error @ PathsError::Missing { .. }) => Err(error.into()),
            // Without a folder there are none.
            Err(_) => Ok(Lists::default()),
        }
    }

    /// Returns the name under which the log has the status of an issuer's stamps for the owner of this message, or for
    /// `owner` if one is named. `None` if that is not known.
    ///
    /// # Errors
    /// [`Deferral`] when the keys cannot be read.
    pub fn status_name(
        &self,
        issuer: &str,
        message: Option<&Message<'_>>,
        owner: Option<Owner>,
    ) -> Result<Option<String>, Deferral> {
        let keys = LazyKeys::new(self);
        let name = status_name(issuer, message, owner, &self.facts(&keys));
        keys.check()?;
        Ok(name)
    }

    /// Writes to syslog and the verdict log.
    /// An error there changes nothing: the message is judged.
    pub fn record(&self, entry: &Entry) {
        if let (true, Ok(state)) = (self.context.config.verdict_log, self.context.places.user_state())
            && let Err(error) = VerdictLog::new(state).append(entry)
        {
            self.context.log_error(&format!("verdict log: {error}"));
        }
        if let Some(socket) = &self.context.config.syslog {
            let _ = syslog::send(socket, Severity::Info, &result_header::line(entry));
        }
    }

    /// As [`record`](Self::record), but durable, for a line that must be on the disk before a message is dropped.
    /// The line is written even if the user wants no verdict log.
    ///
    /// # Errors
    /// [`RecordError`]: no message may be dropped.
    pub fn record_durably(&self, entry: &Entry) -> Result<(), RecordError> {
        VerdictLog::new(self.context.places.user_state()?).append_durably(entry)?;
        if let Some(socket) = &self.context.config.syslog {
            let _ = syslog::send(socket, Severity::Info, &result_header::line(entry));
        }
        Ok(())
    }

    /// Asks the log. With [`Mode::DryRun`] it is only read.
    pub(super) fn ask(&self, log: &dyn Store, spend: &SpendRequest, marking: Mode) -> Result<SpendResult, Deferral> {
        if !self.context.config.used_log {
            // Grants and revocations hold without the used log; uses are not recorded.
            let spend = SpendRequest { terms: Terms::LookUp, ..spend.clone() };
            let answer = if marking == Mode::Spend { self.spend(log, &spend)? } else { log.would_spend(&spend)? };
            return Ok(match answer {
                SpendResult::Redelivery { .. } | SpendResult::DoubleSpend { .. } | SpendResult::OtherOwner => {
                    SpendResult::Fresh
                }
                other => other,
            });
        }
        Ok(match marking {
            Mode::Spend => self.spend(log, spend)?,
            // A dry run of an accepted message must report just that, however long ago the acceptance was.
            Mode::DryRun => log.would_spend(&SpendRequest { redelivery: Redelivery::EVER, ..spend.clone() })?,
        })
    }

    /// Spends a stamp, and lets the log purge as far as the clock can be believed.
    fn spend(&self, log: &dyn Store, spend: &SpendRequest) -> Result<SpendResult, Deferral> {
        let purge_until = self.context.forget_limit();
        let spent = log.spend(&SpendRequest { purge_until, ..spend.clone() })?;
        if purge_until.is_none() {
            // The first spend made the folder.
            let _ = self.context.forget_limit();
        }
        Ok(spent)
    }
}

/// The vendors' keys, and those of the user's own addresses and lists, each read when the first stamp needs one.
pub(super) struct LazyKeys<'a> {
    engine: &'a Engine,
    read: OnceCell<Option<Arc<Directory>>>,
    addresses: OnceCell<Option<Lists>>,
    /// The error of a reading.
    error: Cell<Option<Deferral>>,
}

impl<'a> LazyKeys<'a> {
    fn new(engine: &'a Engine) -> Self {
        Self { engine, read: OnceCell::new(), addresses: OnceCell::new(), error: Cell::default() }
    }

    /// Returns the error of the reading, if there was one. The core's result is worthless then.
    pub(super) fn check(&self) -> Result<(), Deferral> {
        self.error.take().map_or(Ok(()), Err)
    }

    fn directory(&self) -> Option<&Directory> {
        let read = || match &self.engine.ready.keys {
            Some(keys) => Ok(Arc::clone(keys)),
            None => self.engine.read_keys().map(Arc::new),
        };
        self.read.get_or_init(|| self.kept(read())).as_ref().map(Arc::as_ref)
    }

    fn addresses(&self) -> Option<&Lists> {
        self.addresses.get_or_init(|| self.kept(self.engine.read_lists())).as_ref()
    }

    /// Keeps the error for [`check`](Self::check).
    fn kept<T>(&self, read: Result<T, Deferral>) -> Option<T> {
        read.map_err(|error| self.error.set(Some(error))).ok()
    }
}

impl KeyDirectory for LazyKeys<'_> {
    fn key(&self, issuer: &Issuer) -> KeyFact {
        let known = match issuer.is_address() {
            true => self.addresses().map(|addresses| addresses.key(issuer)),
            false => self.directory().map(|directory| directory.key(issuer)),
        };
        known.unwrap_or(KeyFact::UnknownVendor)
    }

    fn is_list(&self, address: &str) -> bool {
        self.addresses().is_some_and(|addresses| addresses.is_list(address))
    }

    fn revoked(&self, vendor: &str, serial: &Serial) -> bool {
        self.directory().is_some_and(|directory| directory.revoked(vendor, serial))
    }
}
