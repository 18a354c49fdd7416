//! State of the daemon: for each mailbox the configuration, the rules and the vendors' keys as read, and the open used
//! log. Before each judgement it checks the files for changes, and reads them anew after one. So its answer is that of
//! a process that started just now.
//!
//! Most daemons have one mailbox. A daemon with virtual users (`%u` in the configuration) has one for each, up to a
//! limit. Mailboxes that share a folder of state share a log.

use super::client::file_set;
use super::protocol::{FileSet, JudgeRequest, JudgeResponse, MailboxNames};
use crate::config::paths::{CliOverrides, Paths, PathsError};
use crate::config::user::UserError;
use crate::config::{Config, ConfigError};
use crate::context::Context;
use crate::context::error::Deferral;
use crate::context::used_log::{self, LogName, OpenLog};
use crate::directory::key_directory::Directory;
use crate::engine::judge::RuleCache;
use crate::engine::judge::{Engine, Preloaded};
use crate::engine::marking::Mode;
use crate::engine::result_header::{self, HeaderContext};
use crate::message::address::Address;
use crate::message::parse::Message;
use crate::os::clock;
use crate::os::file_version::FileVersion;
use crate::store::AnswerCounters;
use crate::time::UnixTime;
use crate::verdict::facts::Envelope;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Cached mailboxes, and open logs, at most: each has its own threads and descriptors.
const MAILBOXES: usize = 1_000;
/// Idle timeout of a cached mailbox, with virtual users.
const IDLE: Duration = Duration::from_secs(300);

/// The cached state.
#[derive(Debug)]
pub struct DaemonState {
    given: CliOverrides,
    file_set: FileSet,
    system: bool,
    /// Whether the configuration differs from user to user.
    by_user: AtomicBool,
    mailboxes: Mutex<HashMap<String, Arc<CachedMailbox>>>,
    logs: Mutex<HashMap<LogName, OpenLog>>,
    /// Locked while the log of this name is opened. That may take long, and only requests for this log wait.
    opening: Mutex<HashMap<LogName, Arc<Mutex<()>>>>,
    /// Counts of the answers to other processes, by all logs that are or were open.
    attended: Arc<AnswerCounters>,
}

/// The cached state of one mailbox.
#[derive(Debug)]
struct CachedMailbox {
    config: Arc<Config>,
    places: Arc<Paths>,
    rulebook: Arc<RuleCache>,
    log: OpenLog,
    /// The vendors' keys, as of this second.
    keys: Mutex<Option<(UnixTime, Arc<Directory>)>>,
    /// The files that the mailbox was read from, with their metadata at that time.
    files: Vec<(PathBuf, Option<FileVersion>)>,
    /// When they were read, as the time since 1970.
    read: Duration,
    asked: Mutex<Instant>,
}

/// The response to a request.
#[derive(Debug)]
pub enum Response {
    /// The judgement.
    Judged(JudgeResponse),
    /// The rules need the text.
    BodyNeeded,
    /// The client must judge the message itself.
    JudgeLocally,
    /// The message has to wait.
    Undecided(Deferral),
}

/// A response, and what it was made from.
struct Judgement {
    reply: Response,
    engine: Engine,
    envelope: Envelope,
}

impl DaemonState {
    /// Makes the state for this user; with `system`, for every user without an own configuration.
    /// Reads the configuration, and opens the log if all users share one.
    pub fn new(given: CliOverrides, system: bool) -> Result<Self, Deferral> {
        // The user that a system service runs as has no mailbox.
        let given = if system { CliOverrides { user: None, recipient_variable: None, ..given } } else { given };
        let warm = Self {
            file_set: file_set(&given),
            given,
            system,
            by_user: AtomicBool::new(false),
            mailboxes: Mutex::default(),
            logs: Mutex::default(),
            opening: Mutex::default(),
            attended: Arc::default(),
        };
        warm.check()?;
        Ok(warm)
    }

    /// Rereads everything that needs no user name; for a reload.
    ///
    /// # Errors
    /// [`Deferral`]: what is wrong. Mail waits until it is mended.
    pub fn check(&self) -> Result<(), Deferral> {
        locked(&self.mailboxes).clear();
        match self.mailbox(&self.given) {
            Ok(mailbox) => {
                let engine = self.engine_of(&mailbox, None);
                engine.rules()?;
                engine.read_keys()?;
                Ok(())
            }
            // Each client will name one.
            Err(error) if needs_user_name(&error) => {
                self.by_user.store(true, SeqCst);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the current configuration, and whether it is that of this user alone.
    pub fn config(&self, user: Option<&str>) -> Result<(Arc<Config>, bool), Deferral> {
        let user = user.map(str::to_owned).or_else(|| self.given.user.clone());
        let mailbox = self.mailbox(&CliOverrides { user, ..self.given.clone() })?;
        Ok((Arc::clone(&mailbox.config), mailbox.places.by_user))
    }

    /// Returns an engine with the user's current settings.
    pub fn engine(&self) -> Result<Engine, Deferral> {
        let mailbox = self.mailbox(&self.given)?;
        Ok(self.engine_of(&mailbox, None))
    }

    /// As [`engine`](Self::engine), for work that needs no log and must not keep it open at the end.
    pub fn engine_without_log(&self) -> Result<Engine, Deferral> {
        let mut engine = self.engine()?;
        engine.ready.log = None;
        Ok(engine)
    }

    /// Returns the open logs.
    #[must_use]
    pub fn logs(&self) -> Vec<OpenLog> {
        locked(&self.logs).values().cloned().collect()
    }

    /// Returns the counts of the logs' answers to other processes.
    #[must_use]
    pub fn attended(&self) -> &AnswerCounters {
        &self.attended
    }

    /// Evicts idle mailboxes, and closes logs that no mailbox uses.
    pub fn evict_idle(&self) {
        if self.by_user.load(SeqCst) {
            locked(&self.mailboxes).retain(|_, mailbox| locked(&mailbox.asked).elapsed() < IDLE);
        }
        self.close(|_| usize::MAX);
        locked(&self.opening).retain(|_, gate| Arc::strong_count(gate) > 1);
    }

    /// Closes unused logs, up to the number that `most` returns for the count of open ones.
    fn close(&self, most: impl FnOnce(usize) -> usize) {
        let idle: Vec<_> = {
            let mut logs = locked(&self.logs);
            let idle = logs.iter().filter(|(_, log)| log.is_unused()).map(|(name, _)| name.clone());
            let idle: Vec<_> = idle.take(most(logs.len())).collect();
            idle.iter().filter_map(|name| logs.remove(name)).collect()
        };
        // Closing takes a while, so the lock is released before.
        drop(idle);
    }

    /// Evicts the mailbox that was idle longest, if the limit is reached.
    fn let_one_go(&self) {
        let mut mailboxes = locked(&self.mailboxes);
        if mailboxes.len() >= MAILBOXES {
            let oldest = mailboxes.iter().min_by_key(|(_, it)| *locked(&it.asked)).map(|(name, _)| name.clone());
            oldest.and_then(|name| mailboxes.remove(&name));
        }
    }

    /// Answers a request.
    /// `user` is the client by SO_PEERCRED, if it may ask for that user only. `tell` is called once. Logging comes
    /// after it, so the client does not wait for that.
    pub fn answer(&self, question: &JudgeRequest, body: &[u8], user: Option<&str>, tell: impl FnOnce(Response)) {
        // A client with a false time could purge rows, for all users that share the log.
        if !self.serves(&question.file_set) || user.is_some() && question.now.is_some() {
            return tell(Response::JudgeLocally);
        }
        match self.judge(question, body, user) {
            Ok(Judgement { reply, engine, envelope }) => {
                let decision = match &reply {
                    Response::Judged(answer) if question.record => Some(answer.decision.clone()),
                    _ => None,
                };
                tell(reply);
                if let Some(decision) = decision {
                    let message = Message::parse(body);
                    engine.record(&result_header::entry(&decision, &message, &envelope, engine.context.now));
                    engine.keep_return(&message, &decision);
                }
            }
            Err(error) => tell(Response::Undecided(error)),
        }
    }

    /// Whether this daemon answers for a process that would use these files.
    #[must_use]
    pub fn serves(&self, file_set: &FileSet) -> bool {
        if self.system {
            // The client checked: it has no files of its own.
            return file_set.config.as_ref().is_none_or(|path| Some(path) == self.file_set.config.as_ref())
                && file_set.state.is_none();
        }
        *file_set == self.file_set
    }

    fn judge(&self, question: &JudgeRequest, body: &[u8], user: Option<&str>) -> Result<Judgement, Deferral> {
        let names = match user {
            Some(name) => MailboxNames { user: Some(name.to_owned()), ..MailboxNames::default() },
            None => question.names.clone(),
        };
        let MailboxNames { recipient, user, recipient_variable } = names;
        let given = CliOverrides { recipient, user, recipient_variable, ..self.given.clone() };
        let mailbox = self.mailbox(&given)?;
        let engine = self.engine_of(&mailbox, question.now);
        let recipient = question.recipient.as_deref().map(Address::parse).transpose();
        let is_small = question.beginning || question.size <= engine.context.config.largest;
        let known = recipient.is_ok() && is_small;
        let envelope = Envelope { sender: question.sender.clone(), recipient: recipient.unwrap_or_default() };
        if !known {
            return Ok(Judgement { reply: Response::JudgeLocally, engine, envelope });
        }
        let message = Message::parse(body);
        let marking = if question.spend { Mode::Spend } else { Mode::DryRun };
        let decision = if question.beginning {
            engine.judge_beginning(&message, &envelope)?
        } else if question.whole {
            engine.judge(&message, &envelope, marking)?
        } else {
            match engine.judge_header(&message, &envelope, question.size, marking)? {
                Some(decision) => decision,
                None => return Ok(Judgement { reply: Response::BodyNeeded, engine, envelope }),
            }
        };
        let reply = Response::Judged(JudgeResponse { decision, marks: HeaderContext::of(&engine.context.config) });
        Ok(Judgement { reply, engine, envelope })
    }

    fn engine_of(&self, mailbox: &CachedMailbox, now: Option<UnixTime>) -> Engine {
        let context = Context::new(Arc::clone(&mailbox.config), Arc::clone(&mailbox.places), now);
        let ready = Preloaded { log: Some(mailbox.log.store()), ..Preloaded::default() };
        let mut engine = Engine { context, rulebook: Arc::clone(&mailbox.rulebook), ready };
        engine.ready.keys = mailbox.keys_at(&engine);
        engine
    }

    /// Returns the mailbox of these names, read anew if it is not cached or not fresh.
    fn mailbox(&self, given: &CliOverrides) -> Result<Arc<CachedMailbox>, Deferral> {
        let name = |by_user: bool| match given.mailbox() {
            Ok(user) if by_user => format!("{user:?}"),
            _ => String::new(),
        };
        let known = locked(&self.mailboxes).get(&name(self.by_user.load(SeqCst))).cloned();
        if let Some(mailbox) = known.filter(|mailbox| mailbox.is_fresh()) {
            *locked(&mailbox.asked) = Instant::now();
            return Ok(mailbox);
        }
        let read = clock::since_1970();
        let (config, places) = Paths::read(given)?;
        if self.system && (config.state.is_none() || config.state != places.state) {
            return Err(Deferral::StateNotConfigured);
        }
        if self.by_user.swap(places.by_user, SeqCst) != places.by_user {
            locked(&self.mailboxes).clear();
        }
        let files = files(&places, given).into_iter().map(|path| (path.clone(), FileVersion::of(&path))).collect();
        self.let_one_go();
        let log = self.log(&config, &places)?;
        let mailbox = Arc::new(CachedMailbox {
            config: Arc::new(config),
            places: Arc::new(places),
            rulebook: Arc::default(),
            log,
            keys: Mutex::default(),
            files,
            read,
            asked: Mutex::new(Instant::now()),
        });
        locked(&self.mailboxes).insert(name(self.by_user.load(SeqCst)), Arc::clone(&mailbox));
        Ok(mailbox)
    }

    fn log(&self, config: &Config, places: &Paths) -> Result<OpenLog, Deferral> {
        let name = LogName::of(config, places)?;
        let gate = Arc::clone(locked(&self.opening).entry(name.clone()).or_default());
        let _alone = locked(&gate);
        if let Some(log) = locked(&self.logs).get(&name) {
            log.set_retention(config.policy.grace());
            return Ok(log.clone());
        }
        self.close(|open| (open + 1).saturating_sub(MAILBOXES));
        let log = used_log::open_log(config, places, Arc::clone(&self.attended))?;
        locked(&self.logs).insert(name, log.clone());
        Ok(log)
    }
}

impl CachedMailbox {
    /// Whether all files are unchanged since they were read.
    fn is_fresh(&self) -> bool {
        self.files.iter().all(|(path, then)| {
            FileVersion::of(path) == *then && then.is_none_or(|version| version.is_settled(self.read))
        })
    }

    /// Returns the keys at the engine's time.
    /// `None` where they cannot be read, and the engine then reports the error.
    fn keys_at(&self, engine: &Engine) -> Option<Arc<Directory>> {
        if let Some((at, keys)) = locked(&self.keys).as_ref()
            && *at == engine.context.now
        {
            return Some(Arc::clone(keys));
        }
        let keys = Arc::new(engine.read_keys().ok()?);
        *locked(&self.keys) = Some((engine.context.now, Arc::clone(&keys)));
        Some(keys)
    }
}

/// Whether the configuration lacks nothing but a user name.
fn needs_user_name(error: &Deferral) -> bool {
    let Deferral::Places(PathsError::Content { source, .. }) = error else { return false };
    matches!(source.kind(), ConfigError::User { source: UserError::Unknown | UserError::NoDomain, .. })
}

/// Returns the files that a mailbox is read from, present or not.
/// A folder changes when a file is added or removed.
fn files(places: &Paths, given: &CliOverrides) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Paths::candidates(given);
    files.extend(places.rules.clone());
    for folder in [&places.vendors, &places.directories].into_iter().flatten() {
        files.push(folder.clone());
        files.extend(entries(folder).unwrap_or_default());
    }
    files
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
