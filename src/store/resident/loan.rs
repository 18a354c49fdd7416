//! The loan of a log that a process keeps: others have the file for a while, and whoever asks meanwhile waits. How long a
//! borrower is waited for is not said here.

use super::{Core, ResidentLog};
use crate::store::error::StoreError;
use std::sync::atomic::Ordering::SeqCst;

impl ResidentLog {
    /// Lets another process have the log while `meanwhile` runs. Spends wait for as long.
    ///
    /// # Errors
    /// Any [`StoreError`]: the log was not brought up to date, and is not lent.
    pub fn lend<T>(&self, meanwhile: impl FnOnce() -> T) -> Result<T, StoreError> {
        self.inner.lend(meanwhile)
    }

    /// Whether questions get answers: whoever holds the state lets it go. A log that is lent is well.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        drop(self.inner.held());
        true
    }

    /// Lends the log to nobody from now on, and waits no longer for who has it than for anybody who has the lock. For the
    /// end, before those are answered who wait.
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
        let _back = Lent(self);
        self.log.lend(meanwhile)
    }
}

/// The log is lent, until this is dropped.
struct Lent<'a>(&'a Core);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.held().lent = false;
        self.0.changed.notify_all();
    }
}
