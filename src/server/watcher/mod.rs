//! The folder watcher: turns what users do with mail into commands. A message moved to Junk or Trash has its stamps revoked;
//! moved back in time, they are unrevoked. Sent mail is learned from, and a sent message whose stamp may return grants it.
//!
//! - `state`: what is remembered and what follows from it. `state_file` keeps it on the disk.
//! - `folders`: which messages lie where. `scan` compares that with the state.
//!
//! This file only waits: for inotify (by way of notify), and for the time of the next scan, which comes also if the system
//! reported nothing or lost events. Threads and channels are enough; nothing here is async.
//!
//! Not recursive: each folder's `cur` and `new` are watched singly, and the Maildir itself for new folders.

mod folders;
mod scan;
mod state;
mod state_file;

pub use folders::missing;

use crate::config::paths::PlacesError;
use crate::engine::error::Deferral;
use crate::engine::judge::Engine;
use crate::stamp::serial::Serial;
use crate::store::LearnOutcome;
use notify::event::{CreateKind, EventKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use scan::{Scanner, Scope};
use state_file::StateFile;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A change seldom comes alone: this long is waited for the next.
const DEBOUNCE: Duration = Duration::from_millis(60);
/// But no longer than this.
const MAX_DEBOUNCE: Duration = Duration::from_millis(300);
/// How often it is seen whether the settings have changed: what is moved to a folder that they name now is no history then.
const SETTINGS: Duration = Duration::from_secs(5);
/// After a look that could not see to everything.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// The watcher cannot go on, or not now.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No Maildir is named in the configuration.
    #[error("no mail folders are configured to be watched")]
    Nothing,
    /// There is one watcher already.
    #[error("another watcher is at work with this state")]
    Another,
    /// The configuration.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// The engine.
    #[error(transparent)]
    Undecided(#[from] Deferral),
    /// A folder.
    #[error("{}: {source}", path.display())]
    Folder {
        /// Which, or a message in it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file in which the watcher writes down what it has seen to.
    #[error("watch.jsonl: {0}")]
    Notebook(io::Error),
    /// The system tells nothing of changes.
    #[error("cannot be told of changes: {0}")]
    Notify(#[from] notify::Error),
}

/// Where the watcher gets the engine from, each time it has something to do: the configuration may have changed.
pub type Engines<'a> = dyn Fn() -> Result<Engine, Deferral> + 'a;

/// Who is told what the watcher does.
pub trait Report {
    /// Something about a stamp is otherwise now.
    fn changed(&mut self, vendor: &str, serial: &Serial, what: &str);
    /// This was learned from messages in Sent, and was not known before.
    fn learned(&mut self, learned: LearnOutcome);
    /// So many of the messages that came to a folder have been seen to, of so many.
    fn progress(&mut self, done: usize, of: usize);
    /// Something failed and will be tried again.
    fn error(&mut self, error: &WatchError);
}

/// Looks at the folders once and returns when all is seen to.
///
/// # Errors
/// [`WatchError`].
pub fn once(engines: &Engines<'_>, report: &mut dyn Report) -> Result<(), WatchError> {
    let mut scanner = prepare(engines)?;
    let mut report = Once::new(report);
    tidy(engines);
    // A message whose flags change all the time is left to the next run.
    for _ in 0..10 {
        if scanner.scan(&Scope::All, &mut report)? {
            break;
        }
    }
    Ok(())
}

/// Watches until the process is ended. Ending it at any time does no harm.
///
/// # Errors
/// [`WatchError`] when it cannot begin; what happens later is reported and tried again.
pub fn run(engines: &Engines<'_>, report: &mut dyn Report) -> Result<(), WatchError> {
    let mut scanner = prepare(engines)?;
    let mut report = Once::new(report);
    let mut ear = FolderWatcher::new();
    let mut scope = Scope::All;
    let mut next = scanner.rescan();
    loop {
        match scanner.renew() {
            Ok(changed) if changed => scope = Scope::All,
            Ok(_) => {}
            Err(error @ (WatchError::Nothing | WatchError::Another)) => return Err(error),
            // Shows when the folders are looked at.
            Err(_) => {}
        }
        if scope == Scope::All {
            report.begin();
            tidy(engines);
        }
        if !scope.is_nothing() {
            next = match look(&mut scanner, &mut ear, &scope, &mut report) {
                Ok(true) => scanner.rescan(),
                Ok(false) => RETRY_DELAY.min(scanner.rescan()),
                Err(error) => {
                    report.error(&error);
                    RETRY_DELAY.min(scanner.rescan())
                }
            };
        }
        scope = ear.wait(next);
    }
}

fn look(
    scanner: &mut Scanner<'_>,
    ear: &mut FolderWatcher,
    scope: &Scope,
    report: &mut dyn Report,
) -> Result<bool, WatchError> {
    if *scope == Scope::All {
        // Before the look, so that nothing comes between.
        ear.listen(&scanner_paths(&scanner.folders()?), report);
    }
    scanner.scan(scope, report)
}

/// What `deliver` does once a day. Where nothing is delivered by us, nobody else would do it.
fn tidy(engines: &Engines<'_>) {
    // Trouble with the configuration shows when the folders are looked at.
    if let Ok(engine) = engines() {
        engine.run_daily_cleanup(None);
    }
}

fn prepare<'a>(engines: &'a Engines<'a>) -> Result<Scanner<'a>, WatchError> {
    let engine = engines()?;
    let watch = engine.config.watch.clone();
    let maildir = watch.maildir.clone().ok_or(WatchError::Nothing)?;
    let state = engine.places.state()?;
    let notebook = StateFile::open(state).map_err(WatchError::Notebook)?.ok_or(WatchError::Another)?;
    Ok(Scanner::new(engines, maildir, watch, notebook))
}

/// Trouble that stays is told once: when it was not there at the last look at everything.
struct Once<'a> {
    report: &'a mut dyn Report,
    before: HashSet<String>,
    now: HashSet<String>,
}

impl<'a> Once<'a> {
    fn new(report: &'a mut dyn Report) -> Self {
        Self { report, before: HashSet::new(), now: HashSet::new() }
    }

    /// A look at everything begins.
    fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }
}

impl Report for Once<'_> {
    fn changed(&mut self, vendor: &str, serial: &Serial, what: &str) {
        self.report.changed(vendor, serial, what);
    }

    fn learned(&mut self, learned: LearnOutcome) {
        self.report.learned(learned);
    }

    fn progress(&mut self, done: usize, of: usize) {
        self.report.progress(done, of);
    }

    fn error(&mut self, error: &WatchError) {
        let text = error.to_string();
        if self.now.insert(text.clone()) && !self.before.contains(&text) {
            self.report.error(error);
        }
    }
}

/// The folders that the system is to tell of; the Maildir for folders made in it.
fn scanner_paths(folders: &[folders::Folder]) -> Vec<PathBuf> {
    let roots = folders.iter().filter_map(|folder| folder.path.parent().map(Path::to_owned));
    let parts = folders.iter().flat_map(|folder| ["cur", "new"].map(|part| folder.path.join(part)));
    let unique: HashSet<PathBuf> = roots.chain(parts).collect();
    unique.into_iter().collect()
}

/// What is told by the system: which folders to look at.
struct FolderWatcher {
    /// None while the system has none for us: then the folders are still looked at, only later.
    watcher: Option<RecommendedWatcher>,
    /// The folders that are watched: one that was made anew under its name is another.
    watched: HashMap<PathBuf, (u64, u64)>,
    changes: Arc<Mutex<Changes>>,
    wake: SyncSender<()>,
    woken: Receiver<()>,
    deadline: Instant,
}

#[derive(Default)]
struct Changes {
    all: bool,
    folders: HashSet<PathBuf>,
}

impl FolderWatcher {
    fn new() -> Self {
        let (wake, woken) = sync_channel(1);
        let (watched, changes) = (HashMap::new(), Arc::default());
        Self { watcher: None, watched, changes, wake, woken, deadline: Instant::now() }
    }

    fn open(&self) -> Result<RecommendedWatcher, WatchError> {
        let (heard, wake) = (Arc::clone(&self.changes), self.wake.clone());
        Ok(notify::recommended_watcher(move |event| on_event(event, &heard, &wake))?)
    }

    /// Has the system tell of these. One that it does not tell of is looked at all the same, only later.
    fn listen(&mut self, paths: &[PathBuf], report: &mut dyn Report) {
        if self.watcher.is_none() {
            self.watcher = self.open().map_err(|error| report.error(&error)).ok();
        }
        let Some(watcher) = &mut self.watcher else { return };
        // Mostly one reason for all: there can be no more of them.
        let mut failed = None;
        for path in paths {
            let Ok(metadata) = std::fs::metadata(path) else {
                self.watched.remove(path);
                continue;
            };
            let identity = (metadata.dev(), metadata.ino());
            if metadata.is_dir() && self.watched.get(path) != Some(&identity) {
                match watcher.watch(path, RecursiveMode::NonRecursive) {
                    Ok(()) => drop(self.watched.insert(path.clone(), identity)),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        failed.into_iter().for_each(|error| report.error(&error.into()));
    }

    /// Waits for a change and for the quiet after it, at most for `next`; now and then there is nothing but the settings to
    /// look at.
    fn wait(&mut self, next: Duration) -> Scope {
        let now = Instant::now();
        // A full look comes when its time has come, however much is told in between.
        if self.deadline <= now || next < self.deadline - now {
            self.deadline = now + next;
        }
        let left = self.deadline - now;
        if self.woken.recv_timeout(left.min(SETTINGS)).is_err() {
            return if left > SETTINGS { Scope::Some(HashSet::new()) } else { Scope::All };
        }
        let first = Instant::now();
        while first.elapsed() < MAX_DEBOUNCE && self.woken.recv_timeout(DEBOUNCE).is_ok() {}
        let changes = std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner));
        if changes.all { Scope::All } else { Scope::Some(changes.folders) }
    }
}

/// On the thread of the system's messages: which folder has changed?
fn on_event(event: notify::Result<Event>, heard: &Mutex<Changes>, wake: &SyncSender<()>) {
    let (all, folders) = match event {
        Ok(event) => what_changed(&event),
        Err(_) => (true, Vec::new()),
    };
    if !all && folders.is_empty() {
        return;
    }
    {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.all |= all;
        heard.folders.extend(folders);
    }
    // If it is full, the watcher has been woken already.
    let _ = wake.try_send(());
}

/// Whether everything is to be looked at; and if not, which folders. Reading a folder is no change of it, or the watcher
/// would wake itself.
fn what_changed(event: &Event) -> (bool, Vec<PathBuf>) {
    if event.need_rescan() {
        return (true, Vec::new());
    }
    let mail = |path: &PathBuf| folders::folder_of(path).map(Path::to_owned);
    match event.kind {
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => {
            let folders: Vec<PathBuf> = event.paths.iter().filter_map(mail).collect();
            let made = matches!(
                event.kind,
                EventKind::Create(CreateKind::Folder)
                    | EventKind::Remove(RemoveKind::Folder)
                    | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
            );
            // A folder was made or moved beside the others, and not one of the many files that servers keep there.
            let is_folder = |path: &PathBuf| matches!(event.kind, EventKind::Remove(_)) || path.is_dir();
            let new = made && event.paths.iter().filter(|path| mail(path).is_none()).any(is_folder);
            (new, folders)
        }
        _ => (false, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{AccessKind, AccessMode, Flag, MetadataKind};

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(PathBuf::from(path))
    }

    #[test]
    fn what_the_system_tells_is_a_reason_to_look_at_a_folder() {
        let name = |mode| EventKind::Modify(ModifyKind::Name(mode));
        let junk = (false, vec![PathBuf::from("/m/.Junk")]);
        for kind in
            [EventKind::Create(CreateKind::File), name(RenameMode::From), name(RenameMode::To), name(RenameMode::Any)]
        {
            assert_eq!(what_changed(&event(kind, "/m/.Junk/cur/1:2,S")), junk, "{kind:?}");
        }
        let nothing = (false, vec![]);
        for kind in [
            EventKind::Access(AccessKind::Open(AccessMode::Read)),
            EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
        ] {
            assert_eq!(what_changed(&event(kind, "/m/.Junk/cur/1:2,S")), nothing, "{kind:?}");
        }
        // The index files of a mail server.
        assert_eq!(what_changed(&event(name(RenameMode::To), "/m/dovecot.index")), nothing);
        assert_eq!(what_changed(&event(EventKind::Create(CreateKind::File), "/m/dovecot.index.tmp")), nothing);
        assert_eq!(what_changed(&event(EventKind::Create(CreateKind::File), "/m/.Junk/tmp/1")), nothing);
    }

    #[test]
    fn when_the_system_lost_count_everything_is_looked_at() {
        assert!(what_changed(&Event::new(EventKind::Other).set_flag(Flag::Rescan)).0);
        let folder = tempfile::tempdir().unwrap();
        let made = event(EventKind::Create(CreateKind::Folder), folder.path().to_str().unwrap());
        assert!(what_changed(&made).0);
    }
}
