//! The watcher of mail folders: what people do anyway is what they mean. A message moved to Junk or Trash has its stamps
//! revoked; moved back in time, they are restored; what is sent with the word that its stamp may come back lets it; and to
//! whom it is sent is learned.
//!
//! `event` says what is remembered and what follows from it, `folders` what lies where, `notebook` keeps the memory on the
//! disk, `scan` puts them together. Here is only the waiting: for the system to tell of a change (inotify, by way of
//! notify), and for the time of the next look, which comes also if the system told nothing or lost count. Threads and
//! channels are enough; nothing here is async.
//!
//! Not recursive: each folder's `cur` and `new` are watched singly, and the Maildir itself for folders that are made.

mod event;
mod folders;
mod notebook;
mod scan;

use crate::config::places::PlacesError;
use crate::filter::engine::{Engine, Undecided};
use crate::stamp::serial::Serial;
use crate::store::Learned;
use notebook::Notebook;
use notify::event::{CreateKind, EventKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use scan::{Scanner, Scope};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A change seldom comes alone: this long is waited for the next.
const QUIET: Duration = Duration::from_millis(60);
/// But no longer than this.
const PATIENCE: Duration = Duration::from_millis(300);
/// After a look that could not see to everything.
const AGAIN: Duration = Duration::from_secs(2);

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
    Undecided(#[from] Undecided),
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
pub type Engines<'a> = dyn Fn() -> Result<Engine, Undecided> + 'a;

/// Who is told what the watcher does.
pub trait Report {
    /// Something about a stamp is otherwise now.
    fn did(&mut self, vendor: &str, serial: &Serial, what: &str);
    /// This was learned from messages in Sent, and was not known before.
    fn learned(&mut self, learned: Learned);
    /// So many of the messages that came to a folder have been seen to, of so many.
    fn progress(&mut self, done: usize, of: usize);
    /// Something failed and will be tried again.
    fn trouble(&mut self, error: &WatchError);
}

/// Looks at the folders once and returns when all is seen to.
///
/// # Errors
/// [`WatchError`].
pub fn once(engines: &Engines<'_>, report: &mut dyn Report) -> Result<(), WatchError> {
    let (mut scanner, _) = prepare(engines)?;
    tidy(engines);
    // A message whose flags change all the time is left to the next run.
    for _ in 0..10 {
        if scanner.scan(&Scope::All, report)? {
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
    let (mut scanner, rescan) = prepare(engines)?;
    scanner.folders()?;
    let mut ear = Ear::open()?;
    // Before the first look, so that nothing comes between.
    let mut scope = Scope::All;
    loop {
        if scope == Scope::All {
            tidy(engines);
        }
        if scope == Scope::All
            && let Err(error) = scanner.folders().and_then(|folders| ear.listen(&scanner_paths(&folders)))
        {
            // Without being told of changes the folders are still looked at, only later.
            report.trouble(&error);
        }
        let next = match scanner.scan(&scope, report) {
            Ok(true) => rescan,
            Ok(false) => AGAIN.min(rescan),
            Err(error) => {
                report.trouble(&error);
                AGAIN.min(rescan)
            }
        };
        scope = ear.wait(next);
    }
}

/// What `deliver` does once a day. Where nothing is delivered by us, nobody else would do it.
fn tidy(engines: &Engines<'_>) {
    // Trouble with the configuration shows when the folders are looked at.
    if let Ok(engine) = engines() {
        engine.tidy();
    }
}

fn prepare<'a>(engines: &'a Engines<'a>) -> Result<(Scanner<'a>, Duration), WatchError> {
    let engine = engines()?;
    let watch = engine.config.watch.clone();
    let maildir = watch.maildir.clone().ok_or(WatchError::Nothing)?;
    let state = engine.places.state()?;
    let notebook = Notebook::open(state).map_err(WatchError::Notebook)?.ok_or(WatchError::Another)?;
    let rescan = watch.rescan;
    Ok((Scanner::new(engines, maildir, watch, notebook), rescan))
}

/// The folders that the system is to tell of; the Maildir for folders made in it.
fn scanner_paths(folders: &[folders::Folder]) -> Vec<PathBuf> {
    let roots = folders.iter().filter_map(|folder| folder.path.parent().map(Path::to_owned));
    let parts = folders.iter().flat_map(|folder| ["cur", "new"].map(|part| folder.path.join(part)));
    let unique: HashSet<PathBuf> = roots.chain(parts).collect();
    unique.into_iter().collect()
}

/// What is told by the system: which folders to look at.
struct Ear {
    watcher: RecommendedWatcher,
    /// The folders that are watched: one that was made anew under its name is another.
    watched: HashMap<PathBuf, (u64, u64)>,
    changes: Arc<Mutex<Changes>>,
    woken: Receiver<()>,
    deadline: Instant,
}

#[derive(Default)]
struct Changes {
    all: bool,
    folders: HashSet<PathBuf>,
}

impl Ear {
    fn open() -> Result<Self, WatchError> {
        let changes = Arc::new(Mutex::new(Changes::default()));
        let (wake, woken) = sync_channel(1);
        let heard = Arc::clone(&changes);
        let watcher = notify::recommended_watcher(move |event| hear(event, &heard, &wake))?;
        Ok(Self { watcher, watched: HashMap::new(), changes, woken, deadline: Instant::now() })
    }

    fn listen(&mut self, paths: &[PathBuf]) -> Result<(), WatchError> {
        for path in paths {
            let Ok(metadata) = std::fs::metadata(path) else {
                self.watched.remove(path);
                continue;
            };
            let identity = (metadata.dev(), metadata.ino());
            if metadata.is_dir() && self.watched.get(path) != Some(&identity) {
                self.watcher.watch(path, RecursiveMode::NonRecursive)?;
                self.watched.insert(path.clone(), identity);
            }
        }
        Ok(())
    }

    /// Waits for a change and for the quiet after it, at most for `next`.
    fn wait(&mut self, next: Duration) -> Scope {
        let now = Instant::now();
        // A full look comes when its time has come, however much is told in between.
        if self.deadline <= now || next < self.deadline - now {
            self.deadline = now + next;
        }
        match self.woken.recv_timeout(self.deadline - now) {
            Err(RecvTimeoutError::Timeout) => return Scope::All,
            Err(RecvTimeoutError::Disconnected) => {
                // Nobody tells us any more.
                std::thread::sleep(next);
                return Scope::All;
            }
            Ok(()) => {}
        }
        let first = Instant::now();
        while first.elapsed() < PATIENCE && self.woken.recv_timeout(QUIET).is_ok() {}
        let changes = std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner));
        if changes.all { Scope::All } else { Scope::Some(changes.folders) }
    }
}

/// On the thread of the system's messages: which folder has changed?
fn hear(event: notify::Result<Event>, heard: &Mutex<Changes>, wake: &SyncSender<()>) {
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
