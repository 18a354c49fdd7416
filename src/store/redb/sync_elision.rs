//! What stands between the database and its file: a storage that spares two of the four syncs of a one-shot process,
//! and that can be cut off, so that a log is left without the cost of closing it.
//!
//! **Spared syncs.** A log is never closed (closing costs two or three syncs), so the database always opens a file that
//! is marked as in use. It then writes the header twice before any work and syncs each time. If the header that it found
//! is known to be on the platters, these two say nothing new: each names the same commit as the one before. So syncs are
//! held back until the first page is written or the length changed, and passed on from there.
//!
//! The header is *not* known to be there when the last process was killed between writing it and syncing it: the commit
//! that it names would be built upon, pages of the commit before it would be reused, and a power cut could then leave
//! those pages with the header of before. Hence the [`DirtyFlag`]: it says "unsettled" from the first page written until the
//! commit has returned, and needs no sync of its own, since it only has to outlive a process. (After a power cut what is
//! read is what is on the platters.) Whoever finds the log unsettled holds no sync back.
//!
//! This leans on the order in which redb 4.5 writes, which is why its version is pinned, and why a test cuts the power
//! at every write (tests/store/powercut.rs).
//!
//! **Cutting off.** Every commit of ours is two-phase and stores the allocator's state ("quick repair"), so an unclosed
//! file opens as fast as a closed one. After `cut` nothing reaches the file any more.

use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Whether a process left the log between a write and its sync. Must outlive processes, not power cuts.
pub(in crate::store) trait DirtyFlag: std::fmt::Debug + Send + Sync {
    /// Whether one may have; true when in doubt.
    fn is_dirty(&self) -> bool;

    /// Notes what will be, or has ceased to be.
    fn set_unsettled(&self, unsettled: bool) -> io::Result<()>;
}

/// For a note that need not outlive this process.
impl DirtyFlag for Arc<AtomicBool> {
    fn is_dirty(&self) -> bool {
        self.load(SeqCst)
    }

    fn set_unsettled(&self, unsettled: bool) -> io::Result<()> {
        self.store(unsettled, SeqCst);
        Ok(())
    }
}

/// The storage. Clones share one state, since the database keeps the one that it is given.
#[derive(Clone, Debug)]
pub(in crate::store) struct SyncElidingBackend(Arc<State>);

#[derive(Debug)]
struct State {
    inner: Box<dyn StorageBackend>,
    note: Box<dyn DirtyFlag>,
    /// Syncs are passed on.
    passing: AtomicBool,
    /// The note was made by us and not taken back.
    noted: AtomicBool,
    detach: AtomicBool,
}

impl SyncElidingBackend {
    pub(in crate::store) fn new(inner: Box<dyn StorageBackend>, note: Box<dyn DirtyFlag>) -> Self {
        let passing = AtomicBool::new(note.is_dirty());
        Self(Arc::new(State { inner, note, passing, noted: AtomicBool::new(false), detach: AtomicBool::new(false) }))
    }

    /// To be called when a commit has returned: all that was written is synced. Should the note stay as it is, the next
    /// process pays for two syncs more and nothing else happens.
    pub(in crate::store) fn mark_clean(&self) {
        if self.0.noted.swap(false, SeqCst) {
            let _ = self.0.note.set_unsettled(false);
        }
    }

    /// From now on every operation fails and the file stays as it is.
    pub(in crate::store) fn detach(&self) {
        self.0.detach.store(true, SeqCst);
    }

    /// To be called before pages or the length change.
    fn unsettle(&self) -> Result<(), io::Error> {
        if !self.0.noted.load(SeqCst) {
            self.0.note.set_unsettled(true)?;
            self.0.noted.store(true, SeqCst);
        }
        self.0.passing.store(true, SeqCst);
        Ok(())
    }

    fn inner(&self) -> Result<&dyn StorageBackend, io::Error> {
        if self.0.detach.load(SeqCst) { Err(io::Error::other("the log was left")) } else { Ok(&*self.0.inner) }
    }
}

impl StorageBackend for SyncElidingBackend {
    fn len(&self) -> Result<u64, io::Error> {
        self.inner()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.inner()?.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let inner = self.inner()?;
        self.unsettle()?;
        inner.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let inner = self.inner()?;
        if self.0.passing.load(SeqCst) { inner.sync_data() } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let inner = self.inner()?;
        // The header alone lies at offset 0; it is shorter than a page.
        if offset != 0 {
            self.unsettle()?;
        }
        inner.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.0.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.query_lock_range(start, end)
    }
}
