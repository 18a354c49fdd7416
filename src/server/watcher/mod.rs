//! Folder watcher: treats moves between mail folders as feedback.
//!
//! - A message moved to Junk or Trash has its stamps revoked. Moved back in time, they are unrevoked.
//! - Sent mail is learned from, and a sent message whose stamp may return grants it.
//!
//! Modules:
//!
//! - `state`: what is remembered and what follows from it. `state_file` keeps it on the disk.
//! - `folders`: which messages are in which folder. `scan` compares that with the state.
//!
//! This file only waits: for inotify (through notify), and for the time of the next scan. That scan also comes if the
//! system reported nothing or lost events. Threads and channels are enough; nothing here is async.
//!
//! Watches are not recursive: each folder's `cur` and `new` are watched singly, and the Maildir itself for new folders.

mod folders;
mod scan;
mod state;
mod state_file;

pub use folders::missing;

use crate::config::paths::PathsError;
use crate::context::error::Deferral;
use crate::engine::judge::Engine;
use crate::stamp::serial::Serial;
use crate::store::LearnOutcome;
use notify::event::{CreateKind, EventKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use scan::{Scanner, Scope};
use state_file::StateFile;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Quiet time after a change: changes seldom come alone.
const DEBOUNCE: Duration = Duration::from_millis(60);
/// Longest wait for quiet after a change.
const MAX_DEBOUNCE: Duration = Duration::from_millis(300);
/// How often the settings are read again. A message moved to a folder that they name now is not history then.
const SETTINGS: Duration = Duration::from_secs(5);
/// Delay after an incomplete scan.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// Errors of the watcher.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("no mail folders are configured to be watched")]
    Nothing,
    /// Another watcher holds the lock of this state.
    #[error("another watcher is already running with this state")]
    Another,
    /// Paths or configuration.
    #[error(transparent)]
    Places(#[from] PathsError),
    /// The engine.
    #[error(transparent)]
    Undecided(#[from] Deferral),
    /// A folder or a message in it.
    #[error("{}: {source}", path.display())]
    Folder {
        /// Path of the folder or message.
        path: PathBuf,
        source: io::Error,
    },
    /// The state file of the watcher.
    #[error("watch.jsonl: {0}")]
    StateFile(io::Error),
    #[error("cannot watch folders (inotify): {0}")]
    Notify(#[from] notify::Error),
}

/// Source of the engine, asked for each scan: the configuration may have changed.
pub type Engines<'a> = dyn Fn() -> Result<Engine, Deferral> + 'a;

/// Receives what the watcher does.
pub trait Report {
    /// Reports a new status of a stamp.
    fn changed(&mut self, vendor: &str, serial: &Serial, what: &str);
    /// Reports correspondents learned from messages in Sent.
    fn learned(&mut self, learned: LearnOutcome);
    /// Reports that `done` of the `of` messages that came to a folder were handled.
    fn progress(&mut self, done: usize, of: usize);
    /// Reports an error; the operation will be tried again.
    fn error(&mut self, error: &WatchError);
}

/// Scans the folders once, and returns when every message is handled.
pub fn once(engines: &Engines<'_>, report: &mut dyn Report) -> Result<(), WatchError> {
    let mut scanner = prepare(engines)?;
    let mut report = Once::new(report);
    tidy(engines);
    // The next run handles a message whose flags change all the time.
    for _ in 0..10 {
        if scanner.scan(&Scope::All, &mut report)? {
            break;
        }
    }
    Ok(())
}

/// Watches until the process ends, which may happen at any time.
///
/// # Errors
/// [`WatchError`] when it cannot start; later errors are reported and the scan is tried again.
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
            // The scan reports other errors.
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
        // Before the scan, so that no change between the two is missed.
        ear.listen(&scanner_paths(&scanner.folders()?), report);
    }
    scanner.scan(scope, report)
}

/// Runs the daily cleanup of `deliver`, which does not run where another program delivers.
fn tidy(engines: &Engines<'_>) {
    // The scan reports errors of the configuration.
    if let Ok(engine) = engines() {
        engine.run_daily_cleanup(None);
    }
}

fn prepare<'a>(engines: &'a Engines<'a>) -> Result<Scanner<'a>, WatchError> {
    let engine = engines()?;
    let watch = engine.context.config.watch.clone();
    let maildir = watch.maildir.clone().ok_or(WatchError::Nothing)?;
    let state = engine.context.places.state()?;
    let state_file = StateFile::open(state).map_err(WatchError::StateFile)?.ok_or(WatchError::Another)?;
    Ok(Scanner::new(engines, maildir, watch, state_file))
}

/// Reports a lasting error once: only if the previous full scan did not have it.
struct Once<'a> {
    report: &'a mut dyn Report,
    before: HashSet<String>,
    now: HashSet<String>,
}

impl<'a> Once<'a> {
    fn new(report: &'a mut dyn Report) -> Self {
        Self { report, before: HashSet::new(), now: HashSet::new() }
    }

    /// Begins a full scan.
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

/// Returns the folders to watch: the Maildir for new folders, and `cur` and `new` of each folder.
///
/// A folder without `cur` is watched for it, and stands before it: one that is made in between is watched then.
fn scanner_paths(folders: &[folders::Folder]) -> BTreeSet<PathBuf> {
    let roots = folders.iter().filter_map(|folder| folder.path.parent().map(Path::to_owned));
    let unready = folders.iter().map(|folder| folder.path.clone()).filter(|path| !folders::is_maildir(path));
    let parts = folders.iter().flat_map(|folder| ["cur", "new"].map(|part| folder.path.join(part)));
    roots.chain(unready).chain(parts).collect()
}

/// Collects the folders that inotify reports as changed.
struct FolderWatcher {
    /// `None` while inotify is not available. The folders are then only scanned periodically.
    watcher: Option<RecommendedWatcher>,
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
        Self { watcher: None, changes: Arc::default(), wake, woken, deadline: Instant::now() }
    }

    fn open(&self) -> Result<RecommendedWatcher, WatchError> {
        let (heard, wake) = (Arc::clone(&self.changes), self.wake.clone());
        Ok(notify::recommended_watcher(move |event| on_event(event, &heard, &wake))?)
    }

    /// Watches these folders. A folder that cannot be watched is still scanned periodically.
    ///
    /// All of them are watched again each time, which changes nothing for the same folder (inotify(7)). One that was
    /// removed and made again cannot be told from it: it often has the same inode number.
    fn listen(&mut self, paths: &BTreeSet<PathBuf>, report: &mut dyn Report) {
        if self.watcher.is_none() {
            self.watcher = self.open().map_err(|error| report.error(&error)).ok();
        }
        let Some(watcher) = &mut self.watcher else { return };
        // All folders mostly fail for the same reason: the limit of watches.
        let watched = paths.iter().filter(|path| path.is_dir());
        let failed = watched.filter_map(|path| watcher.watch(path, RecursiveMode::NonRecursive).err());
        failed.last().into_iter().for_each(|error| report.error(&error.into()));
    }

    /// Waits for a change and the quiet after it, at most for `next`.
    ///
    /// Returns an empty scope when only the settings are due.
    fn wait(&mut self, next: Duration) -> Scope {
        let now = Instant::now();
        // Other changes do not postpone the full scan.
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

/// Records which folders an event changed; runs on the thread of notify.
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
    // A full channel has woken the watcher already.
    let _ = wake.try_send(());
}

/// Returns whether a full scan is due, and otherwise which folders changed.
///
/// Reading a folder is not a change, or the watcher would wake itself.
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
            // A folder was created or moved beside the others. Servers keep many files there, which do not count.
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
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

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
        // Index files of a mail server.
        assert_eq!(what_changed(&event(name(RenameMode::To), "/m/dovecot.index")), nothing);
        assert_eq!(what_changed(&event(EventKind::Create(CreateKind::File), "/m/dovecot.index.tmp")), nothing);
        assert_eq!(what_changed(&event(EventKind::Create(CreateKind::File), "/m/.Junk/tmp/1")), nothing);
    }

    struct Silent;

    impl Report for Silent {
        fn changed(&mut self, _: &str, _: &Serial, _: &str) {}
        fn learned(&mut self, _: LearnOutcome) {}
        fn progress(&mut self, _: usize, _: usize) {}
        fn error(&mut self, error: &WatchError) {
            panic!("{error}");
        }
    }

    #[test]
    fn a_folder_made_anew_under_the_same_inode_number_is_watched() {
        let maildir = tempfile::tempdir().unwrap();
        let [junk, trash] = [".Junk", ".Trash"].map(|name| maildir.path().join(name));
        let paths = BTreeSet::from([junk.join("cur"), trash.join("cur")]);
        paths.iter().for_each(|path| fs::create_dir_all(path).unwrap());
        let mut ear = FolderWatcher::new();
        // Returns whether a change in the folder is heard by itself. What came before it is heard by then.
        let hears = |ear: &mut FolderWatcher, folder: &Path| {
            let end = Instant::now() + Duration::from_secs(20);
            for number in 0.. {
                fs::write(folder.join("cur").join(number.to_string()), "").unwrap();
                if matches!(ear.wait(Duration::from_secs(3_600)), Scope::Some(heard) if heard.contains(folder)) {
                    return true;
                }
                if end < Instant::now() {
                    break;
                }
            }
            false
        };
        let number = |path: &Path| fs::metadata(path).unwrap().ino();
        let cur = junk.join("cur");
        // The number is free only a moment after the kernel's watch is gone, and another program may take it. There are
        // file systems that never give one out again.
        for _ in 0..20 {
            ear.listen(&paths, &mut Silent);
            let before = number(&cur);
            let again = (0..100).any(|_| {
                fs::remove_dir_all(&cur).unwrap();
                fs::create_dir(&cur).unwrap();
                number(&cur) == before
            });
            if again {
                break;
            }
        }
        assert!(hears(&mut ear, &trash));
        ear.listen(&paths, &mut Silent);
        assert!(hears(&mut ear, &junk));
    }

    #[test]
    fn when_the_system_lost_count_everything_is_looked_at() {
        assert!(what_changed(&Event::new(EventKind::Other).set_flag(Flag::Rescan)).0);
        let folder = tempfile::tempdir().unwrap();
        let made = event(EventKind::Create(CreateKind::Folder), folder.path().to_str().unwrap());
        assert!(what_changed(&made).0);
    }
}
