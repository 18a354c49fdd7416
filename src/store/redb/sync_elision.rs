//! Storage layer between the database and its file. It elides two of the four syncs of a one-shot process, and detaches
//! the file, so that leaving a log does not cost a close.
//!
//! **Elided syncs.** A log is never closed (a close costs two or three syncs), so the database always opens a file that
//! is marked as in use. It then writes the header twice before any work, with a sync each time. If the header that it
//! found is known to be on the platters, these two add nothing: each names the same commit as the one before. So syncs
//! are held back until the first page is written or the length changes. From then on they are passed through.
//!
//! The header may *not* be on the platters if the last process was killed between writing and syncing it. The new
//! process would then build on a commit that is not durable, and reuse pages of the commit before. A power cut could
//! leave those reused pages with the older header. Hence the [`DirtyFlag`]: it is set from the first page written until
//! the commit has returned. It needs no sync of its own, since it only has to outlive a process. (After a power cut,
//! reads return what is on the platters.) A process that finds the flag set holds no sync back.
//!
//! This depends on the order in which redb 4.5 writes. So its version is pinned, and a test cuts the power at every
//! write (tests/store/powercut.rs).
//!
//! **Detaching.** Every commit of this program is two-phase and stores the allocator's state ("quick repair"), so an
//! unclosed file opens as fast as a closed one. After `detach` no write reaches the file.

use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Whether a process left the log between a write and its sync. Must outlive processes, not power cuts.
pub(in crate::store) trait DirtyFlag: std::fmt::Debug + Send + Sync {
    /// Whether the flag is set; true when in doubt.
    fn is_dirty(&self) -> bool;

    /// Sets or clears the flag.
    fn set_unsettled(&self, unsettled: bool) -> io::Result<()>;
}

/// A flag that need not outlive this process.
impl DirtyFlag for Arc<AtomicBool> {
    fn is_dirty(&self) -> bool {
        self.load(SeqCst)
    }

    fn set_unsettled(&self, unsettled: bool) -> io::Result<()> {
        self.store(unsettled, SeqCst);
        Ok(())
    }
}

/// The storage. Clones share one state, since the database keeps the one that it gets.
#[derive(Clone, Debug)]
pub(in crate::store) struct SyncElidingBackend(Arc<State>);

#[derive(Debug)]
struct State {
    inner: Box<dyn StorageBackend>,
    note: Box<dyn DirtyFlag>,
    /// Whether syncs are passed through.
    passing: AtomicBool,
    /// Whether this process set the flag and has not cleared it.
    noted: AtomicBool,
    detach: AtomicBool,
}

impl SyncElidingBackend {
    pub(in crate::store) fn new(inner: Box<dyn StorageBackend>, note: Box<dyn DirtyFlag>) -> Self {
        let passing = AtomicBool::new(note.is_dirty());
        Self(Arc::new(State { inner, note, passing, noted: AtomicBool::new(false), detach: AtomicBool::new(false) }))
    }

    /// Clears the flag.
    /// Call this when a commit has returned, so that all writes are synced. If clearing fails, the next process makes
    /// two more syncs and nothing else changes.
    pub(in crate::store) fn mark_clean(&self) {
        if self.0.noted.swap(false, SeqCst) {
            let _ = self.0.note.set_unsettled(false);
        }
    }

    /// Makes every later operation fail, so that the file stays as it is.
    pub(in crate::store) fn detach(&self) {
        self.0.detach.store(true, SeqCst);
    }

    /// Sets the flag. Call this before pages or the length change.
    fn unsettle(&self) -> Result<(), io::Error> {
        if !self.0.noted.load(SeqCst) {
            self.0.note.set_unsettled(true)?;
            self.0.noted.store(true, SeqCst);
        }
        self.0.passing.store(true, SeqCst);
        Ok(())
    }

    fn inner(&self) -> Result<&dyn StorageBackend, io::Error> {
        if self.0.detach.load(SeqCst) { Err(io::Error::other("the log is detached")) } else { Ok(&*self.0.inner) }
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
        // Only the header is at offset 0; it is shorter than a page.
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
