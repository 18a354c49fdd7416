//! Lock of a store: flock(2) on a file beside the store's, held until dropped. A process waits for it in the kernel's
//! queue, up to a time limit. The database's own lock has no wait with a time limit.
//!
//! The lock file also records two facts:
//!
//! - That there is a log. The file is empty until the log was created, and has two lines of text from then on. So a
//!   lost log differs from one that never was, and is not silently begun anew.
//! - In the second line, whether a process was killed between a write and its sync (see `sync_elision.rs`).

use super::sync_elision::DirtyFlag;
use crate::ipc::connection::Connection;
use crate::os::file_lock;
use crate::os::safe_dir::{IfMissing, SafePath, identity_of};
use crate::store::combining::client;
use crate::store::error::StoreError;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The suffix of the lock file.
pub(in crate::store) const SUFFIX: &str = ".lock";

const MARK: &[u8] = b"The used log of mailstamp is beside this file. See mailstamp(1), FILES.\n";
const CLEAN: &[u8] = b"at rest\n";
const DIRTY: &[u8] = b"at work\n";

/// How long to wait for a taken lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    /// Waits this long, and asks a holder that is a daemon for a lease.
    For(Duration),
    /// Waits this long without asking for a lease. The daemon waits so: it would ask itself.
    WithoutLease(Duration),
}

/// The lock, while held.
#[derive(Debug)]
pub(in crate::store) struct Lock {
    file: Arc<File>,
    path: PathBuf,
    /// The connection to the daemon that leased the log. The lease ends when this is dropped.
    _lender: Option<Connection>,
}

/// The lock file's second line.
#[derive(Debug)]
pub(in crate::store) struct DirtyFlagFile(Arc<File>);

impl Lock {
    /// Waits for the lock; `None` when there is no lock file and none is to be created.
    pub(in crate::store) fn take(place: &SafePath, absent: IfMissing, wait: Wait) -> Result<Option<Self>, StoreError> {
        let began = Instant::now();
        let path = place.path(SUFFIX);
        let mut lender = None;
        loop {
            let Some(file) = place.file(SUFFIX, absent)? else { return Ok(None) };
            let failed = |source| StoreError::from_io("lock", &path, source);
            let taken = match file_lock::try_lock(&file).map_err(failed)? {
                true => Some(file),
                false => match wait {
                    Wait::No => None,
                    Wait::For(limit) | Wait::WithoutLease(limit) => {
                        let left = || limit.saturating_sub(began.elapsed());
                        if lender.is_none() && wait == Wait::For(limit) {
                            lender = client::acquire_lease(place, left());
                        }
                        file_lock::lock_within(file, left()).map_err(failed)?
                    }
                },
            };
            let Some(file) = taken else {
                return Err(StoreError::Busy { path: place.path(""), waited: began.elapsed() });
            };
            // If the file was removed during the wait, this lock is on a file that no other process will lock.
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

    /// Records that a log was created here.
    pub(in crate::store) fn set_created(&self) -> Result<(), StoreError> {
        if self.was_created()? {
            return Ok(());
        }
        let text = [MARK, DIRTY].concat();
        self.file.write_all_at(&text, 0).map_err(|source| StoreError::from_io("write", &self.path, source))
    }

    /// Returns the dirty flag in the lock file.
    pub(in crate::store) fn note(&self) -> DirtyFlagFile {
        DirtyFlagFile(Arc::clone(&self.file))
    }
}

impl Drop for Lock {
    /// Releases the lock for the next process, even while the dirty flag is still in use.
    fn drop(&mut self) {
        let _ = file_lock::unlock(&self.file);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

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
        assert!(text().ends_with("FILES.\nat rest\n"), "{}", text());
        lock.note().set_unsettled(true).unwrap();
        assert!(text().ends_with("FILES.\nat work\n"), "{}", text());
    }
}
