//! One look at the folders: what has come and gone since the last, and what follows from it. It makes no difference whether
//! the last look was a moment ago, before a crash, or last week.
//!
//! The order is what makes it right: first what came to Junk and Trash (also from each other), then what went from there,
//! then where that turned up. Each message is seen to before it is written down as seen, so that after a crash it is seen
//! to again, and finds itself done.

use super::Engines;
use super::folders::{self, Folder, Role};
use super::state::{Event, Name};
use super::state_file::StateFile;
use super::{Report, WatchError};
use crate::config::watch::Watch;
use crate::engine::error::Deferral;
use crate::engine::judge::Engine;
use crate::engine::{feedback, learn_sent};
use crate::message::fingerprint::Fingerprint;
use crate::message::parse::Message;
use crate::os::clock;
use crate::stamp::extract::STAMP_FIELD;
use crate::stamp::serial::Serial;
use crate::store::{LearnOutcome, Store};
use crate::time::UnixTime;
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// So many messages are seen to before deliveries that wait for the log are let in.
const BATCH: usize = 50;
/// So many that the user sent are learned in one durable transaction. The log is not held while they are read.
const SENT: usize = 2_000;

/// The messages that came: by what name they are remembered, and where they are.
type Arrivals = Vec<(Name, PathBuf)>;

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every folder.
    All,
    /// These, by their paths.
    Some(HashSet<PathBuf>),
}

impl Scope {
    /// Whether there is no folder in it.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Some(folders) if folders.is_empty())
    }

    fn covers(&self, folder: &Folder) -> bool {
        match self {
            Self::All => true,
            Self::Some(paths) => paths.contains(&folder.path),
        }
    }
}

/// What looks at folders.
pub struct Scanner<'a> {
    engines: &'a Engines<'a>,
    maildir: PathBuf,
    watch: Watch,
    notebook: StateFile,
    /// What lies in folders without a meaning. Not written down: it matters only for what has just been moved.
    others: HashMap<PathBuf, HashSet<Name>>,
    /// Whether a stamp whose message left Junk must be looked for in all that is there, and not only in what is new.
    search: bool,
}

impl<'a> Scanner<'a> {
    /// What looks at the folders that the configuration names.
    pub fn new(engines: &'a Engines<'a>, maildir: PathBuf, watch: Watch, notebook: StateFile) -> Self {
        Self { engines, maildir, watch, notebook, others: HashMap::new(), search: true }
    }

    /// Takes the settings as they are now; whether they are others than before.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn renew(&mut self) -> Result<bool, WatchError> {
        let engine = (self.engines)()?;
        let watch = &engine.config.watch;
        let changed = *watch != self.watch;
        if changed {
            self.maildir = watch.maildir.clone().ok_or(WatchError::Nothing)?;
            self.watch = watch.clone();
        }
        let state = engine.places.state()?;
        // Where the folder of the state was removed it is not for us to make it anew: somebody may be about to restore it.
        if state.is_dir() && !self.notebook.stands_in(state) {
            self.notebook = StateFile::open(state).map_err(WatchError::Notebook)?.ok_or(WatchError::Another)?;
        }
        Ok(changed)
    }

    /// After what time all folders are looked through.
    pub fn rescan(&self) -> Duration {
        self.watch.rescan
    }

    /// The folders of now.
    ///
    /// # Errors
    /// The system's.
    pub fn folders(&self) -> Result<Vec<Folder>, WatchError> {
        folders::discover(&self.maildir, &self.watch)
            .map_err(|source| WatchError::Folder { path: self.maildir.clone(), source })
    }

    /// Looks at the folders in `scope`. Whether all is seen to; if not, some message was renamed while it was looked for,
    /// and another look will do.
    ///
    /// # Errors
    /// [`WatchError`]; the same look once more does what is left.
    pub fn scan(&mut self, scope: &Scope, report: &mut dyn Report) -> Result<bool, WatchError> {
        let folders = self.folders()?;
        let meant = folders.iter().filter(|it| matches!(it.role, Role::Away | Role::Sent) && scope.covers(it));
        let mut here = Vec::new();
        let mut complete = true;
        for folder in meant {
            let (names, came) = match self.compare(folder) {
                Ok(compared) => compared,
                // It hides no other.
                Err(error) => {
                    report.error(&error);
                    continue;
                }
            };
            complete &= self.see_to(folder, came, report)?;
            here.extend(names.map(|names| (folder, names)));
        }
        for (folder, names) in here {
            self.see_gone(folder, &names)?;
        }
        let now = clock::now();
        let late = self.notebook.memory.too_late(now, self.watch.unrevoke_within);
        self.write(late)?;
        complete &= self.look_for_what_left(&folders, scope, report)?;
        Ok(complete)
    }

    /// What lies in the folder, and what of it is not known.
    fn compare(&self, folder: &Folder) -> Result<(Option<HashSet<Name>>, Arrivals), WatchError> {
        let nothing = HashSet::new();
        let known = self.notebook.memory.known(&folder.key).unwrap_or(&nothing);
        let mut came = Arrivals::new();
        let names = folders::list(&folder.path, known, &mut |name, path| came.push((name, path)))
            .map_err(|source| WatchError::Folder { path: folder.path.clone(), source })?;
        Ok((names, came))
    }

    /// Sees to what came. What lay in Junk or Trash before the watcher first looked is history and revokes nothing; what
    /// was sent before is read, since the user's word that a stamp may come back still holds.
    fn see_to(&mut self, folder: &Folder, came: Arrivals, report: &mut dyn Report) -> Result<bool, WatchError> {
        let first = self.notebook.memory.known(&folder.key).is_none();
        if first {
            if folder.role == Role::Away {
                let mut notes = Vec::new();
                for part in came.chunks(1_000) {
                    notes
                        .push(Event::Added { folder: folder.key.clone(), names: part.iter().map(|it| it.0).collect() });
                }
                notes.push(Event::Indexed { folder: folder.key.clone() });
                report.progress(came.len(), came.len());
                self.write(notes)?;
                return Ok(true);
            }
            self.write(vec![Event::Indexed { folder: folder.key.clone() }])?;
        }
        let (total, mut done, mut complete) = (came.len(), 0, true);
        let mut learned = LearnOutcome::default();
        let size = if folder.role == Role::Sent { SENT } else { BATCH };
        for batch in came.chunks(size) {
            complete &= match folder.role {
                Role::Sent => self.see_sent(folder, batch, &mut learned, report)?,
                Role::Away | Role::Aside | Role::Other => self.see_to_batch(folder, batch, report)?,
            };
            done += batch.len();
            report.progress(done, total);
        }
        report.learned(learned);
        Ok(complete)
    }

    fn see_to_batch(
        &mut self,
        folder: &Folder,
        batch: &[(Name, PathBuf)],
        report: &mut dyn Report,
    ) -> Result<bool, WatchError> {
        let engine = (self.engines)()?;
        let log = engine.used_log()?;
        let (mut notes, mut names) = (Vec::new(), Vec::new());
        let mut complete = true;
        for (name, path) in batch {
            match folders::read(path, engine.config.largest) {
                Ok(Some(bytes)) => {
                    let message = Message::parse(&bytes);
                    notes.extend(self.came_away(&engine, log.as_ref(), &message, folder, *name, report)?);
                }
                // Its flags changed just now, or it is gone again.
                Ok(None) if std::fs::symlink_metadata(path).is_err() => {
                    complete = false;
                    continue;
                }
                Ok(None) => {}
                Err(source) => return Err(WatchError::Folder { path: path.clone(), source }),
            }
            names.push(*name);
        }
        notes.push(Event::Added { folder: folder.key.clone(), names });
        self.write(notes)?;
        Ok(complete)
    }

    /// Messages that the user sent: whoever gets one is somebody to whom he writes, and a stamp on it may come back if it
    /// says so. Mostly the header says all, so the rest is read only where there is a stamp.
    fn see_sent(
        &mut self,
        folder: &Folder,
        batch: &[(Name, PathBuf)],
        learned: &mut LearnOutcome,
        report: &mut dyn Report,
    ) -> Result<bool, WatchError> {
        let engine = (self.engines)()?;
        let (mut sent, mut names) = (Vec::new(), Vec::new());
        let mut complete = true;
        for (name, path) in batch {
            let trouble = |source| WatchError::Folder { path: path.clone(), source };
            match folders::beginning(path, learn_sent::BEGINNING).map_err(trouble)? {
                Some(bytes) => {
                    let message = Message::parse(&bytes);
                    sent.extend(engine.may_learn(&message, engine.now)?.ok());
                    if message.first(STAMP_FIELD).is_some() || !message.has_body() {
                        let whole = folders::read(path, engine.config.largest).map_err(trouble)?;
                        self.allow_return(&engine, &whole.unwrap_or_default(), report)?;
                    }
                }
                // Its flags changed just now, or it is gone again.
                None if std::fs::symlink_metadata(path).is_err() => {
                    complete = false;
                    continue;
                }
                None => {}
            }
            names.push(*name);
        }
        *learned += engine.used_log()?.learn(&sent).map_err(Deferral::from)?;
        self.write(vec![Event::Added { folder: folder.key.clone(), names }])?;
        Ok(complete)
    }

    /// The user's word on a message that he sent, that its stamp may come back.
    fn allow_return(&self, engine: &Engine, bytes: &[u8], report: &mut dyn Report) -> Result<(), WatchError> {
        let log = engine.used_log()?;
        for change in engine.sent(&Message::parse(bytes), log.as_ref())?.iter().filter(|it| it.is_change()) {
            report.changed(&change.vendor, &change.serial, "granted for return use, sent");
        }
        Ok(())
    }

    /// A message is in Junk or Trash that was not there before.
    fn came_away(
        &self,
        engine: &Engine,
        log: &dyn Store,
        message: &Message<'_>,
        folder: &Folder,
        name: Name,
        report: &mut dyn Report,
    ) -> Result<Vec<Event>, WatchError> {
        let fingerprint = short(message);
        let note = |vendor: &str, serial: &Serial| Event::RevokedBy {
            vendor: vendor.to_owned(),
            serial: serial.to_string(),
            message: fingerprint,
            folder: folder.key.clone(),
            name,
            since: engine.now.0,
        };
        let memory = &self.notebook.memory;
        let traces = engine.traces(message)?;
        // It only went from Junk to Trash, or was renamed: what was said about it is not said anew.
        let held = traces.iter().filter(|it| memory.holds(&it.vendor, it.serial.as_str(), fingerprint));
        let held: Vec<Event> = held.map(|it| note(&it.vendor, &it.serial)).collect();
        if !held.is_empty() {
            return Ok(held);
        }
        let changes = engine.on_junked(message, log)?;
        for change in changes.iter().filter(|change| change.is_change()) {
            report.changed(&change.vendor, &change.serial, "revoked, moved to Junk or Trash");
        }
        let by_move = changes.iter().filter(|change| change.after.means.is_some());
        Ok(by_move.map(|change| note(&change.vendor, &change.serial)).collect())
    }

    /// Writes down what went from the folder. A file that is renamed while the folder is read can be missed, so it is read
    /// once more before anything counts as gone.
    fn see_gone(&mut self, folder: &Folder, here: &HashSet<Name>) -> Result<(), WatchError> {
        let gone = |known: Option<&HashSet<Name>>, here: &HashSet<Name>| -> Vec<Name> {
            known.into_iter().flatten().filter(|name| !here.contains(name)).copied().collect()
        };
        let missing = gone(self.notebook.memory.known(&folder.key), here);
        if missing.is_empty() {
            return Ok(());
        }
        let (Some(again), _) = self.compare(folder)? else { return Ok(()) };
        let names: Vec<Name> = missing.into_iter().filter(|name| !again.contains(name)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let left = self.notebook.memory.left().count();
        self.write(vec![Event::Removed { folder: folder.key.clone(), names, at: clock::now().0 }])?;
        self.search |= self.notebook.memory.left().count() > left;
        Ok(())
    }

    /// Looks for messages that left Junk and Trash in the folders without a meaning, among what is new there; among all
    /// that is there when one has just left, since a mail reader copies first and deletes afterwards.
    fn look_for_what_left(
        &mut self,
        folders: &[Folder],
        scope: &Scope,
        report: &mut dyn Report,
    ) -> Result<bool, WatchError> {
        let search = self.search;
        // Whatever was moved was renamed or written then.
        let earliest = self.notebook.memory.left().map(|held| held.since).min();
        let mut candidates = Vec::new();
        let nothing = HashSet::new();
        for folder in folders.iter().filter(|folder| folder.role == Role::Other) {
            if !search && !scope.covers(folder) {
                continue;
            }
            let known = self.others.get(&folder.path).filter(|_| !search).unwrap_or(&nothing);
            let names = folders::list(&folder.path, known, &mut |_, path| {
                if earliest.is_some_and(|earliest| changed_since(&path, earliest)) {
                    candidates.push(path);
                }
            });
            match names {
                Ok(names) => drop(self.others.insert(folder.path.clone(), names.unwrap_or_default())),
                Err(source) => report.error(&WatchError::Folder { path: folder.path.clone(), source }),
            }
        }
        // Until all is done; an error leaves by another way.
        self.search = true;
        let mut complete = true;
        for batch in candidates.chunks(BATCH) {
            let engine = (self.engines)()?;
            let log = engine.used_log()?;
            for path in batch {
                match folders::read(path, engine.config.largest) {
                    Ok(Some(bytes)) => {
                        let message = Message::parse(&bytes);
                        self.turned_up(&message, engine.now, log.as_ref(), report)?;
                    }
                    Ok(None) => complete &= std::fs::symlink_metadata(path).is_ok(),
                    Err(source) => return Err(WatchError::Folder { path: path.clone(), source }),
                }
            }
        }
        self.search = !complete;
        Ok(complete)
    }

    /// A message lies in a folder where it was not before. If it is one that left Junk or Trash, its stamps are unrevoked.
    fn turned_up(
        &mut self,
        message: &Message<'_>,
        now: UnixTime,
        log: &dyn Store,
        report: &mut dyn Report,
    ) -> Result<(), WatchError> {
        let fingerprint = short(message);
        let back: Vec<_> = self.notebook.memory.left().filter(|held| held.message == fingerprint).cloned().collect();
        for held in back {
            let against = self.notebook.memory.other_evidence(&held.vendor, &held.serial, fingerprint);
            if let (false, Ok(serial)) = (against, Serial::new(held.serial.clone()))
                && feedback::unrevoke(log, &held.vendor, &serial, now, self.watch.unrevoke_within)?
            {
                report.changed(&held.vendor, &serial, "unrevoked, moved back");
            }
            self.write(vec![held.free()])?;
        }
        Ok(())
    }

    fn write(&mut self, notes: Vec<Event>) -> Result<(), WatchError> {
        self.notebook.write(notes).map_err(WatchError::Notebook)
    }
}

/// Whether the file was written, renamed or linked at that time (seconds since 1970) or later; a file that is gone was.
fn changed_since(path: &std::path::Path, time: i64) -> bool {
    // Clocks of file systems are a tick behind.
    std::fs::symlink_metadata(path).map_or(true, |it| it.ctime() >= time.saturating_sub(2))
}

fn short(message: &Message<'_>) -> feedback::MessageName {
    Fingerprint::of(message).0.first_chunk().copied().unwrap_or_default()
}
