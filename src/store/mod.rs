//! Stores, which keep state between messages: ports (the traits here) and adapters.
//!
//! - [`UsedLog`] has the serials spent on messages, [`GrantStore`] the grants and revocations.
//! - [`ContactStore`] has what the user sent, [`ReplyLog`] the recipients of automatic replies, [`PeerStore`] the keys of
//!   correspondents and the stamps that they and the user gave each other.
//! - One object implements all of them ([`Store`]). A spend must see grants and revocations in its own transaction, and
//!   one lock and one file serve the rest.
//!
//! Left out: the judgement (`verdict/`), and the choice of a store (the engine). All adapters answer by `decide.rs`,
//! `contacts.rs` and `reply_log.rs`. They differ in the location of the rows and in what makes them durable.
//!
//! Two processes never have one log open. One-shot processes lock it one after the other, and the holder answers those
//! that wait (`combining/leader.rs`). The daemon keeps it ([`resident`]), answers other processes through the socket
//! beside it ([`combining::client`]), and leases it to a process that needs the file.

pub mod combining;
mod contacts;
mod decide;
mod error;
mod export_record;
pub mod memory;
mod peers;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod prices;
pub mod redb;
mod reply_log;
pub mod resident;
mod returnable;

pub use contacts::{ContactStore, Correspondent, LearnLimits, LearnMode, LearnOutcome, Sent, correspondent_key};
pub use error::StoreError;
#[cfg(feature = "vendor")]
pub(crate) use error::damage;
pub use export_record::ExportRecord;
pub use peers::{Peer, PeerStore, change_peer, purge_peers};
#[cfg(feature = "sender")]
pub(crate) use redb::lock::Wait;
#[cfg(feature = "sender")]
pub(crate) use redb::schema::check_format;
#[cfg(feature = "sender")]
pub(crate) use redb::session::{Schema, Session, SessionError, catch_panic};
pub use reply_log::{ReplyKind, ReplyLog, ReplyRequest, Reservation};
pub use resident::log_server::AnswerCounters;
pub use returnable::{ReturnableStamp, ReturnableStore};

use crate::grant::StampStatus;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use crate::verdict::spend::{SpendRequest, SpendResult};
use std::ops::ControlFlow;

/// Default retention of a row after its bucket's end, in seconds.
/// It is the skew of clocks (300 s) plus the redelivery window of a message (5 days).
pub const GRACE: i64 = 300 + 5 * 86_400;

/// The used log. It accepts no stamp for two different messages (promise 2), and keeps a message's class (promise 3).
pub trait UsedLog {
    /// Spends a stamp if it is fresh and its terms are [`Terms::Spend`](crate::verdict::spend::Terms::Spend).
    /// Atomic, and durable before it returns. A redelivery of the same message counts up, under either terms. Each
    /// write also purges a few ended rows, as far as the request allows.
    ///
    /// # Errors
    /// Any [`StoreError`]: a local failure, never a verdict. The mail must be deferred. The stamp may have been spent
    /// on this message all the same; the next try then returns `Redelivery`.
    fn spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError>;

    /// Returns what [`spend`](Self::spend) would return now. Changes nothing.
    ///
    /// # Errors
    /// As `spend`.
    fn would_spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError>;

    /// Whether this stamp was accepted on this message: spent on it, or accepted under an existing grant.
    /// Of a grant without limit only the last messages are known. Revocations and ends since then do not matter.
    /// Changes nothing.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn received(&self, ask: &SpendRequest) -> Result<bool, StoreError>;

    /// Removes up to `most` rows whose bucket ended `grace` seconds before `now`, oldest first.
    /// A negative `grace` counts as zero. Commits are short enough for mail to pass between them. A purge mark stays,
    /// so no removed serial is ever fresh again. `grace` must therefore not be less than the skew that the judgement
    /// allows.
    ///
    /// # Errors
    /// Any [`StoreError`]; what earlier commits removed stays removed.
    fn purge(&self, now: UnixTime, grace: i64, most: usize) -> Result<Purged, StoreError>;
}

/// The user's grants and revocations of single stamps.
pub trait GrantStore {
    /// Returns the status of this stamp; the default if there is none.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn standing(&self, vendor: &str, serial: &Serial) -> Result<StampStatus, StoreError>;

    /// Replaces a stamp's status by `change` of it, atomically, and returns the status before.
    /// Durable before it returns.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn update_status(
        &self,
        vendor: &str,
        serial: &Serial,
        change: &mut dyn FnMut(&StampStatus) -> StampStatus,
    ) -> Result<StampStatus, StoreError>;

    /// Visits every status, until `to` breaks.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn standings(&self, to: &mut dyn FnMut(String, Serial, StampStatus) -> ControlFlow<()>) -> Result<(), StoreError>;
}

/// Returns whether the store has the stamp: spent, granted or revoked. A purged row is not known. Without the end of
/// the stamp, all rows are read.
///
/// # Errors
/// Any [`StoreError`].
pub fn is_known(store: &dyn Store, vendor: &str, serial: &Serial) -> Result<bool, StoreError> {
    if store.standing(vendor, serial)? != StampStatus::default() {
        return Ok(true);
    }
    let name = decide::name(vendor, serial);
    let mut found = false;
    store.export(&mut |row| {
        found = matches!(row, ExportRecord::Used { stamp, .. } if stamp == name);
        let over = found || !matches!(row, ExportRecord::Used { .. } | ExportRecord::PurgedThrough { .. });
        if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// A store: all tables under one lock, with export and import.
pub trait Store: UsedLog + GrantStore + ContactStore + ReplyLog + PeerStore + Send + Sync {
    /// Visits every row, until `to` breaks.
    /// The order is: the purge mark, the used serials by their ends, the statuses, the correspondents, the sent
    /// Message-IDs, the replies, the correspondents' keys. The rows are one consistent state, whatever other processes
    /// write meanwhile.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn export(&self, to: &mut dyn FnMut(ExportRecord) -> ControlFlow<()>) -> Result<(), StoreError>;

    /// Merges rows. Importing the same rows once more changes nothing.
    /// Known facts are never weakened. Of two rows for one serial the earlier use stays, a revocation stays, and the
    /// purge mark never goes down. A removed contact does not come back by older messages, and replies become neither
    /// older nor fewer. Keys of a correspondent are taken over where none are known, and an ended one stays ended.
    ///
    /// # Errors
    /// Any [`StoreError`]. Rows before the error may have been merged, so repeat the whole import.
    fn import(&self, rows: &mut dyn Iterator<Item = ExportRecord>) -> Result<Imported, StoreError>;

    /// Sets a purge mark that lies after `now` back to the last hour that has ended, durably.
    /// `None` if there is no such mark. What is known stays known. A removed row of a stamp that ends after `now` is
    /// unknown, so its stamp is fresh once more.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn lift_mark(&self, now: UnixTime) -> Result<Option<LiftedMark>, StoreError>;

    /// Returns sizes and the purge mark, for `doctor` and `stats`.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn summary(&self) -> Result<Summary, StoreError>;
}

/// The result of a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Rows removed.
    pub removed: usize,
    /// Whether more rows could be removed.
    pub left: bool,
}

/// A purge mark that was lifted: the ends of what was purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiftedMark {
    pub from: UnixTime,
    pub to: UnixTime,
}

/// The result of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows that were added or that changed what is known.
    pub taken: u64,
    /// Rows that changed nothing.
    pub known: u64,
}

/// The sizes of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Used serials.
    pub used: u64,
    /// Stamps with a status.
    pub standings: u64,
    pub correspondents: u64,
    /// Message-IDs of sent messages.
    pub sent: u64,
    /// Automatic replies: the last of each kind to each sender.
    pub replies: u64,
    /// Correspondents of whom keys or stamps are kept.
    pub peers: u64,
    /// Bytes that the file takes on the disk; 0 in memory.
    pub bytes: u64,
    /// The end of what was purged; `None` if nothing ever was.
    /// The log gives no answer for a stamp that ends before this time and is not in the log.
    pub cleared: Option<UnixTime>,
    /// The version of the file's format; 0 if there is no file yet.
    pub format: u32,
}
