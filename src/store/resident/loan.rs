//! Leases of the resident log: another process gets the file for a while, and requests to this process wait meanwhile.
//! The lease timeout is elsewhere (`log_server.rs`).

use super::{Core, ResidentLog};
use crate::store::error::StoreError;
use std::sync::atomic::Ordering::SeqCst;

impl ResidentLog {
    /// Leases the log to another process while `meanwhile` runs; spends wait that long.
    ///
    /// # Errors
    /// Any [`StoreError`]: the WAL could not be flushed, and the log is not leased.
    pub fn lend<T>(&self, meanwhile: impl FnOnce() -> T) -> Result<T, StoreError> {
        self.inner.lend(meanwhile)
    }

    /// Whether requests get answers: returns once the state's lock was free.
    /// A leased log counts as alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        drop(self.inner.held());
        true
    }

    /// Ends leases: grants no new ones, and stops waiting for the current borrower.
    /// The borrower then has the lock like any other process. For the shutdown, before the waiting requests are
    /// answered.
    pub fn recall(&self) {
        self.inner.recalled.store(true, SeqCst);
    }
}

impl Core {
    pub(in crate::store) fn lend<T>(&self, meanwhile: impl FnOnce() -> T) -> Result<T, StoreError> {
        let mut state = self.up_to_date()?;
        self.remove_wal(&mut state)?;
        state.lent = true;
        drop(state);
        let _back = Lease(self);
        self.log.lend(meanwhile)
    }
}

/// The lease, until this is dropped.
struct Lease<'a>(&'a Core);

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.0.held().lent = false;
        self.0.changed.notify_all();
    }
}
