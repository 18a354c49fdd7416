//! What stands between the database and its file: a storage that spares two of the four syncs of a one-shot process,
//! and that can be cut off, so that a log is left without the cost of closing it.
//!
//! **Spared syncs.** A log is never closed (closing costs two or three syncs), so the database always opens a file that
//! is marked as in use. It then writes the header twice before any work and syncs each time. Until the first page is
//! written or the length is changed, those header writes say nothing that a crash could tear from anything else: the old
//! header and either new one name the same commit. So syncs are held back until then; from then on each is passed on,
//! and the first of them carries the held ones. This leans on the order in which redb 4.5 writes, which is why its
//! version is pinned, and why a test cuts the power at every write (tests/store_powercut.rs).
//!
//! **Cutting off.** Every commit of ours is two-phase and stores the allocator's state ("quick repair"), so an unclosed
//! file opens as fast as a closed one. After `cut` nothing reaches the file any more.

use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// The storage. Clones share one state, since the database keeps the one that it is given.
#[derive(Clone, Debug)]
pub(super) struct Lean(Arc<State>);

#[derive(Debug)]
struct State {
    inner: Box<dyn StorageBackend>,
    /// A page or the length was written: syncs matter from here on.
    written: AtomicBool,
    cut: AtomicBool,
}

impl Lean {
    pub(super) fn new(inner: Box<dyn StorageBackend>) -> Self {
        Self(Arc::new(State { inner, written: AtomicBool::new(false), cut: AtomicBool::new(false) }))
    }

    /// From now on every operation fails and the file stays as it is.
    pub(super) fn cut(&self) {
        self.0.cut.store(true, SeqCst);
    }

    fn inner(&self) -> Result<&dyn StorageBackend, io::Error> {
        if self.0.cut.load(SeqCst) { Err(io::Error::other("the log was left")) } else { Ok(&*self.0.inner) }
    }
}

impl StorageBackend for Lean {
    fn len(&self) -> Result<u64, io::Error> {
        self.inner()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.inner()?.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let inner = self.inner()?;
        self.0.written.store(true, SeqCst);
        inner.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let inner = self.inner()?;
        if self.0.written.load(SeqCst) { inner.sync_data() } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let inner = self.inner()?;
        // The header alone lies at offset 0; it is shorter than a page.
        if offset != 0 {
            self.0.written.store(true, SeqCst);
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
