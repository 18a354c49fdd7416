//! Scan of the folders: finds what was added and removed since the last scan, and acts on it. The last scan may have
//! been a moment ago, before a crash, or last week.
//!
//! - Order: first messages added to Junk and Trash (also from each other), then messages removed from there, then the
//!   folders in which those appear.
//! - A message is handled before it is recorded as seen. After a crash it is handled again, which changes nothing.

use super::Engines;
use super::folders::{self, Folder, Role};
use super::state::{Event, Name, RevokedBy};
use super::state_file::StateFile;
use super::{Report, WatchError};
use crate::config::watch::Watch;
use crate::context::error::Deferral;
use crate::context::learn_sent;
use crate::engine::feedback;
use crate::engine::judge::Engine;
use crate::message::fingerprint::KnownMessage;
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

/// Messages that are handled before deliveries that wait for the log get it.
const BATCH: usize = 50;
/// Sent messages that one durable transaction learns from. The log is not held while they are read.
const SENT: usize = 2_000;

/// Messages that were added: their keys and paths.
type Arrivals = Vec<(Name, PathBuf)>;

/// Folders to scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every folder.
    All,
    /// The folders with these paths.
    Some(HashSet<PathBuf>),
}

impl Scope {
    /// Returns whether it contains no folder.
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

/// Scans the configured folders.
pub struct Scanner<'a> {
    engines: &'a Engines<'a>,
    maildir: PathBuf,
    watch: Watch,
    state_file: StateFile,
    /// Messages in folders without a role. Not stored: this matters only for messages that were just moved.
    others: HashMap<PathBuf, HashSet<Name>>,
    /// Whether all messages must be searched for one that left Junk, and not only new ones.
    search: bool,
}

impl<'a> Scanner<'a> {
    /// Creates a scanner of the folders that the configuration names.
    pub fn new(engines: &'a Engines<'a>, maildir: PathBuf, watch: Watch, state_file: StateFile) -> Self {
        Self { engines, maildir, watch, state_file, others: HashMap::new(), search: true }
    }

    /// Reads the settings again, and returns whether they changed.
    pub fn renew(&mut self) -> Result<bool, WatchError> {
        let engine = (self.engines)()?;
        let watch = &engine.context.config.watch;
        let changed = *watch != self.watch;
        if changed {
            self.maildir = watch.maildir.clone().ok_or(WatchError::Nothing)?;
            self.watch = watch.clone();
        }
        let state = engine.context.places.state()?;
        // A removed state folder is not created again: a restore of it may be under way.
        if state.is_dir() && !self.state_file.stands_in(state) {
            self.state_file = StateFile::open(state).map_err(WatchError::StateFile)?.ok_or(WatchError::Another)?;
        }
        Ok(changed)
    }

    /// Returns the time between full scans.
    pub fn rescan(&self) -> Duration {
        self.watch.rescan
    }

    /// Finds the folders as they are now.
    pub fn folders(&self) -> Result<Vec<Folder>, WatchError> {
        folders::discover(&self.maildir, &self.watch)
            .map_err(|source| WatchError::Folder { path: self.maildir.clone(), source })
    }

    /// Scans the folders in `scope`, and returns whether every message was handled.
    ///
    /// If not, a message was renamed during the scan, and another scan will find it.
    ///
    /// # Errors
    /// [`WatchError`]; the same scan, repeated, does what is left.
    pub fn scan(&mut self, scope: &Scope, report: &mut dyn Report) -> Result<bool, WatchError> {
        let folders = self.folders()?;
        let meant = folders.iter().filter(|it| matches!(it.role, Role::Away | Role::Sent) && scope.covers(it));
        let mut here = Vec::new();
        let mut complete = true;
        for folder in meant {
            let (names, came) = match self.compare(folder) {
                Ok(compared) => compared,
                // A folder that fails does not stop the others.
                Err(error) => {
                    report.error(&error);
                    continue;
                }
            };
            if names.is_some() && folder.role == Role::Away {
                self.see_place(folder)?;
            }
            complete &= self.see_to(folder, came, report)?;
            here.extend(names.map(|names| (folder, names)));
        }
        for (folder, names) in here {
            self.see_gone(folder, &names)?;
        }
        // Unless something left, nothing is late.
        if self.state_file.memory.left().next().is_some()
            && let Some(limit) = (self.engines)()?.context.forget_limit()
        {
            let late = self.state_file.memory.too_late(limit, self.watch.unrevoke_within);
            self.write(late)?;
        }
        complete &= self.look_for_what_left(&folders, scope, report)?;
        Ok(complete)
    }

    /// Records which folder on the disk is under this path, before it counts that messages are gone from it.
    fn see_place(&mut self, folder: &Folder) -> Result<(), WatchError> {
        match place(&folder.path) {
            Some(now) if self.state_file.memory.placed(&folder.key) != Some(now) => {
                let (device, inode) = now;
                self.write(vec![Event::Placed { folder: folder.key.clone(), device, inode }])
            }
            _ => Ok(()),
        }
    }

    /// Returns the messages in the folder, and those of them that are not known.
    fn compare(&self, folder: &Folder) -> Result<(Option<HashSet<Name>>, Arrivals), WatchError> {
        let nothing = HashSet::new();
        let known = self.state_file.memory.known(&folder.key).unwrap_or(&nothing);
        let mut came = Arrivals::new();
        let names = folders::list(&folder.path, known, &mut |name, path| came.push((name, path)))
            .map_err(|source| WatchError::Folder { path: folder.path.clone(), source })?;
        Ok((names, came))
    }

    /// Handles the messages that were added.
    ///
    /// Messages that were in Junk or Trash before the first scan are history and revoke nothing. Messages sent before
    /// it are read: the user's permission to return a stamp still holds.
    fn see_to(&mut self, folder: &Folder, came: Arrivals, report: &mut dyn Report) -> Result<bool, WatchError> {
        let first = self.state_file.memory.known(&folder.key).is_none();
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
            match folders::read(path, engine.context.config.largest) {
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

    /// Handles sent messages: learns their recipients, and grants stamps that may return.
    ///
    /// The header mostly suffices, so the rest is read only where there is a stamp.
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
                    sent.extend(engine.context.may_learn(&message, engine.context.now)?.ok());
                    if message.first(STAMP_FIELD).is_some() || !message.has_body() {
                        let whole = folders::read(path, engine.context.config.largest).map_err(trouble)?;
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

    /// Grants the return of a stamp that a sent message permits.
    fn allow_return(&self, engine: &Engine, bytes: &[u8], report: &mut dyn Report) -> Result<(), WatchError> {
        let log = engine.used_log()?;
        for change in engine.sent(&Message::parse(bytes), log.as_ref())?.iter().filter(|it| it.is_change()) {
            report.changed(&change.vendor, &change.serial, "granted for return use, sent");
        }
        Ok(())
    }

    /// Handles a message that was added to Junk or Trash.
    fn came_away(
        &self,
        engine: &Engine,
        log: &dyn Store,
        message: &Message<'_>,
        folder: &Folder,
        name: Name,
        report: &mut dyn Report,
    ) -> Result<Vec<Event>, WatchError> {
        let known = KnownMessage::of(message);
        let note = |vendor: &str, serial: &Serial| Event::RevokedBy {
            vendor: vendor.to_owned(),
            serial: serial.to_string(),
            message: known,
            folder: folder.key.clone(),
            name,
            since: engine.context.now.0,
        };
        let memory = &self.state_file.memory;
        let traces = engine.traces(message)?;
        // It only moved from Junk to Trash, or was renamed: the revocation is not repeated.
        let held = traces.iter().filter(|it| memory.holds(&it.vendor, it.serial.as_str(), known));
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

    /// Records the messages that were removed from the folder.
    ///
    /// A file that is renamed while the folder is read can be missed, so the folder is read again before a message
    /// counts as gone.
    fn see_gone(&mut self, folder: &Folder, here: &HashSet<Name>) -> Result<(), WatchError> {
        let gone = |known: Option<&HashSet<Name>>, here: &HashSet<Name>| -> Vec<Name> {
            known.into_iter().flatten().filter(|name| !here.contains(name)).copied().collect()
        };
        let missing = gone(self.state_file.memory.known(&folder.key), here);
        if missing.is_empty() {
            return Ok(());
        }
        let (Some(again), _) = self.compare(folder)? else { return Ok(()) };
        let names: Vec<Name> = missing.into_iter().filter(|name| !again.contains(name)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let left = self.state_file.memory.left().count();
        self.write(vec![Event::Removed { folder: folder.key.clone(), names, at: clock::now().0 }])?;
        self.search |= self.state_file.memory.left().count() > left;
        Ok(())
    }

    /// Searches folders without a role for messages that left Junk and Trash.
    ///
    /// Searches the new messages only; all of them if one has just left, since mail readers copy first and delete
    /// afterwards.
    fn look_for_what_left(
        &mut self,
        folders: &[Folder],
        scope: &Scope,
        report: &mut dyn Report,
    ) -> Result<bool, WatchError> {
        let search = self.search;
        // A moved message was renamed or written after this time.
        let earliest = self.state_file.memory.left().map(|held| held.since).min();
        let mut candidates = Vec::new();
        let nothing = HashSet::new();
        for folder in folders.iter().filter(|folder| folder.role == Role::Other) {
            if !search && !scope.covers(folder) {
                continue;
            }
            let known = self.others.get(&folder.path).filter(|_| !search).unwrap_or(&nothing);
            // Junk under another name. Its messages were not moved back.
            let renamed = place(&folder.path).and_then(|place| self.state_file.memory.former(place));
            let names = folders::list(&folder.path, known, &mut |name, path| {
                if earliest.is_some_and(|earliest| changed_since(&path, earliest)) {
                    candidates.push((path, renamed.is_some_and(|names| names.contains(&name))));
                }
            });
            match names {
                Ok(names) => drop(self.others.insert(folder.path.clone(), names.unwrap_or_default())),
                Err(source) => report.error(&WatchError::Folder { path: folder.path.clone(), source }),
            }
        }
        // Reset at the end; an error returns earlier and leaves it set.
        self.search = true;
        let mut complete = true;
        for batch in candidates.chunks(BATCH) {
            let engine = (self.engines)()?;
            let log = engine.used_log()?;
            for (path, renamed) in batch {
                match folders::read(path, engine.context.config.largest) {
                    Ok(Some(bytes)) if *renamed => self.stays_away(&Message::parse(&bytes))?,
                    Ok(Some(bytes)) => {
                        let message = Message::parse(&bytes);
                        let limit = engine.context.forget_limit().unwrap_or(engine.context.now);
                        self.turned_up(&message, limit, log.as_ref(), report)?;
                    }
                    Ok(None) => complete &= std::fs::symlink_metadata(path).is_ok(),
                    Err(source) => return Err(WatchError::Folder { path: path.clone(), source }),
                }
            }
        }
        self.search = !complete;
        Ok(complete)
    }

    /// Handles a message that is new in its folder: unrevokes its stamps if it left Junk or Trash.
    fn turned_up(
        &mut self,
        message: &Message<'_>,
        now: UnixTime,
        log: &dyn Store,
        report: &mut dyn Report,
    ) -> Result<(), WatchError> {
        let known = KnownMessage::of(message);
        let back: Vec<_> = self.state_file.memory.left().filter(|held| held.message == known).cloned().collect();
        for held in back {
            let against = self.state_file.memory.other_evidence(&held.vendor, &held.serial, known);
            if let (false, Ok(serial)) = (against, Serial::new(held.serial.clone()))
                && feedback::unrevoke(log, &held.vendor, &serial, now, self.watch.unrevoke_within)?
            {
                report.changed(&held.vendor, &serial, "unrevoked, moved back");
            }
            self.write(vec![held.free()])?;
        }
        Ok(())
    }

    /// Handles a message in Junk that was renamed: its stamps stay revoked.
    fn stays_away(&mut self, message: &Message<'_>) -> Result<(), WatchError> {
        let known = KnownMessage::of(message);
        let held = self.state_file.memory.left().filter(|held| held.message == known).map(RevokedBy::free).collect();
        self.write(held)
    }

    fn write(&mut self, notes: Vec<Event>) -> Result<(), WatchError> {
        self.state_file.write(notes).map_err(WatchError::StateFile)
    }
}

/// Returns device and inode of the folder with the messages, which a rename does not change.
fn place(folder: &std::path::Path) -> Option<(u64, u64)> {
    std::fs::metadata(folder.join("cur")).ok().map(|it| (it.dev(), it.ino()))
}

/// Returns whether the file changed at this time (seconds since 1970) or later.
///
/// Writing, renaming and linking count, and so does a file that is gone.
fn changed_since(path: &std::path::Path, time: i64) -> bool {
    // Clocks of file systems are a tick behind.
    std::fs::symlink_metadata(path).map_or(true, |it| it.ctime() >= time.saturating_sub(2))
}
