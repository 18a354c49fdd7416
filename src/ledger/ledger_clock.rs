//! How far the ledger believes a clock. Keys, codes, licences and payments end for good, so a clock that jumped ends
//! none of them ([`clock_record`]); the record is the file `clock` in the folder. The clock is the one of the process
//! that has the ledger, whatever time a request names.

use crate::os::{clock, clock_record};
use crate::time::UnixTime;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Clock of an opened ledger.
#[derive(Debug)]
pub(super) struct LedgerClock {
    folder: PathBuf,
    /// Time of the last entry when the ledger was opened, for a folder without a record.
    last_entry: Option<UnixTime>,
    is_callers: AtomicBool,
}

impl LedgerClock {
    pub(super) const fn new(folder: PathBuf, last_entry: Option<UnixTime>) -> Self {
        Self { folder, last_entry, is_callers: AtomicBool::new(false) }
    }

    /// Believes the times of the callers instead of the system's clock.
    pub(super) fn believe_callers(&self) {
        self.is_callers.store(true, Ordering::Release);
    }

    /// Returns the time up to which operations at `now` may end something for good, and records the reading.
    pub(super) fn limit(&self, now: UnixTime) -> UnixTime {
        if self.is_callers.load(Ordering::Acquire) {
            return now;
        }
        // Without a folder nothing ends.
        let believed = clock_record::observe(&self.folder, clock::now(), |_| self.last_entry);
        now.min(believed.unwrap_or(UnixTime(0)))
    }
}
