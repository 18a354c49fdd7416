//! The lock that makes processes take turns at a store: flock(2) on a file of its own beside the store's, held until
//! dropped, waited for in the kernel's queue and no longer than allowed. The database has a lock too, but none that can
//! be waited for with a time limit.
//!
//! The lock file also remembers two things. That there is a log: it is empty until the log was created, and has two
//! lines of text from then on. A log that was lost is so told from one that never was, and is not begun anew in silence.
//! And, in the second line, whether a process was killed between a write and its sync (see `sync_elision.rs`).

use super::sync_elision::DirtyFlag;
use crate::store::combining::client;
use crate::store::error::StoreError;
use crate::store::place::{IfMissing, SafePath, identity_of};
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The suffix of the lock file.
pub(in crate::store) const SUFFIX: &str = ".lock";

const MARK: &[u8] = b"A used-serial log of mailstamp stands beside this file. Remove neither.\n";
const CLEAN: &[u8] = b"at rest\n";
const DIRTY: &[u8] = b"at work\n";

/// For how long to wait for a lock that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// So long. A process that holds the log and stays is asked to lend it.
    For(Duration),
    /// So long, and nobody is asked: who stays would ask himself.
    WithoutLease(Duration),
}

/// The lock, while it is held.
#[derive(Debug)]
pub(in crate::store) struct Lock {
    file: Arc<File>,
    path: PathBuf,
    /// The connection to the process that has lent the log, and gets it back when this is dropped.
    _lender: Option<UnixStream>,
}

/// The lock file's second line.
#[derive(Debug)]
pub(in crate::store) struct DirtyFlagFile(Arc<File>);

impl Lock {
    /// Waits until the lock is ours; `None` when there is no lock file and it is not to be created.
    pub(in crate::store) fn take(place: &SafePath, absent: IfMissing, wait: Wait) -> Result<Option<Self>, StoreError> {
        let began = Instant::now();
        let path = place.path(SUFFIX);
        let mut lender = None;
        loop {
            let Some(file) = place.file(SUFFIX, absent)? else { return Ok(None) };
            let failed = |source| StoreError::from_io("lock", &path, source);
            let taken = match try_lock(&file).map_err(failed)? {
                true => Some(file),
                false => match wait {
                    Wait::No => None,
                    Wait::For(limit) | Wait::WithoutLease(limit) => {
                        let left = || limit.saturating_sub(began.elapsed());
                        if lender.is_none() && wait == Wait::For(limit) {
                            lender = client::acquire_lease(place, left());
                        }
                        wait_for(file, left()).map_err(failed)?
                    }
                },
            };
            let Some(file) = taken else {
                return Err(StoreError::Busy { path: place.path(""), waited: began.elapsed() });
            };
            // Who removed the file while we waited left us with a lock that nobody else will ask for.
            if place.identity(SUFFIX)? == Some(identity_of(&file, &path)?) {
                return Ok(Some(Self { file: Arc::new(file), path, _lender: lender }));
            }
        }
    }

    /// Whether a log was created here.
    pub(in crate::store) fn was_created(&self) -> Result<bool, StoreError> {
        match self.file.metadata() {
            Ok(data) => Ok(data.len() > 0),
            Err(source) => Err(StoreError::from_io("look at", &self.path, source)),
        }
    }

    /// Remembers that a log was created here.
    pub(in crate::store) fn set_created(&self) -> Result<(), StoreError> {
        if self.was_created()? {
            return Ok(());
        }
        let text = [MARK, DIRTY].concat();
        self.file.write_all_at(&text, 0).map_err(|source| StoreError::from_io("write", &self.path, source))
    }

    /// Where a process says that it is between a write and its sync.
    pub(in crate::store) fn note(&self) -> DirtyFlagFile {
        DirtyFlagFile(Arc::clone(&self.file))
    }
}

impl Drop for Lock {
    /// Lets the next one in, whoever still has the note.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl DirtyFlag for DirtyFlagFile {
    fn is_dirty(&self) -> bool {
        let mut line = [0; CLEAN.len()];
        self.0.read_exact_at(&mut line, MARK.len() as u64).is_err() || line != CLEAN
    }

    fn set_unsettled(&self, unsettled: bool) -> io::Result<()> {
        self.0.write_all_at(if unsettled { DIRTY } else { CLEAN }, MARK.len() as u64)
    }
}

/// Locks the file if nobody has.
fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Locks the file, waiting at most `wait`; `None` if that was not long enough.
fn wait_for(file: File, wait: Duration) -> io::Result<Option<File>> {
    // Only a blocking call stands in the kernel's queue, and it has no time limit; so another thread makes it. If it
    // comes too late, nobody takes the file from it, and the file and its lock go with the channel.
    let (sender, receiver) = mpsc::sync_channel(0);
    thread::Builder::new().name("lock".into()).spawn(move || {
        let locked = loop {
            match file.lock() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let _ = sender.send(locked.map(|()| file));
    })?;
    match receiver.recv_timeout(wait) {
        Ok(locked) => locked.map(Some),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(place: &SafePath, wait: u64) -> Result<Option<Lock>, StoreError> {
        Lock::take(place, IfMissing::Create, Wait::For(Duration::from_millis(wait)))
    }

    #[test]
    fn the_lock_is_waited_for_and_no_longer_than_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let place = SafePath::open(&folder.path().join("log"), IfMissing::Ignore).unwrap().unwrap();
        let held = take(&place, 0).unwrap().unwrap();
        assert!(matches!(take(&place, 30), Err(StoreError::Busy { waited, .. }) if waited.as_millis() >= 30));
        let other = thread::spawn(move || take(&place, 300_000).map(|lock| lock.is_some()));
        thread::sleep(Duration::from_millis(30));
        drop(held);
        assert!(other.join().unwrap().unwrap());
    }

    #[test]
    fn a_waiter_that_gave_up_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let place = SafePath::open(&folder.path().join("log"), IfMissing::Ignore).unwrap().unwrap();
        let held = take(&place, 0).unwrap();
        assert!(take(&place, 10).is_err());
        drop(held);
        assert!(take(&place, 300_000).unwrap().is_some());
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_taken_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let place = SafePath::open(&path, IfMissing::Ignore).unwrap().unwrap();
        let held = take(&place, 0).unwrap();
        let waiting = thread::spawn({
            let place = SafePath::open(&path, IfMissing::Ignore).unwrap().unwrap();
            move || take(&place, 300_000)
        });
        thread::sleep(Duration::from_millis(30));
        place.remove(SUFFIX).unwrap();
        drop(held);
        let _got = waiting.join().unwrap().unwrap().unwrap();
        assert!(matches!(take(&place, 10), Err(StoreError::Busy { .. })));
    }

    #[test]
    fn the_mark_is_written_once_and_the_note_stands_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = SafePath::open(&folder.path().join("log"), IfMissing::Ignore).unwrap().unwrap();
        let text = || std::fs::read_to_string(folder.path().join("log.lock")).unwrap();
        let lock = take(&place, 0).unwrap().unwrap();
        assert!(!lock.was_created().unwrap());
        assert!(lock.note().is_dirty(), "in doubt, it is");
        lock.set_created().unwrap();
        assert!(lock.note().is_dirty());
        lock.note().set_unsettled(false).unwrap();
        assert!(!lock.note().is_dirty());
        lock.set_created().unwrap();
        assert!(!lock.note().is_dirty());
        assert!(text().ends_with("Remove neither.\nat rest\n"), "{}", text());
        lock.note().set_unsettled(true).unwrap();
        assert!(text().ends_with("Remove neither.\nat work\n"), "{}", text());
    }
}
