//! What is remembered between messages, as ports (the traits here) and adapters: serials spent on messages ([`UsedLog`]),
//! grants and revocations ([`GrantStore`]), what the user sent ([`SentBook`]), and to whom automatic replies went
//! ([`ReplyBook`]). One object is all of them ([`Store`]), because a spend must see grants and revocations in its own
//! transaction, and one lock and one file serve the rest.
//!
//! Left out: the judgement (`verdict/`), and the choice of a store (the engine). All adapters answer by `decide.rs`,
//! `contacts.rs` and `reply_log.rs`. They differ in where the rows are and what makes them durable.
//!
//! Two processes never have one log open. One-shot processes take turns, and the one that has the log answers those that
//! wait (`combining/leader.rs`). The daemon keeps it ([`resident`]), answers the others through the socket beside it
//! ([`combining::client`]), and lends it to a process that needs the file.

pub mod combining;
mod contacts;
mod decide;
mod error;
mod export_record;
pub mod memory;
mod place;
pub mod redb;
mod reply_log;
pub mod resident;
mod returnable;

pub use contacts::{ContactStore, Correspondent, LearnOutcome, Sent, correspondent_key};
pub use error::StoreError;
pub use export_record::ExportRecord;
#[cfg(feature = "sender")]
pub(crate) use place::IfMissing;
#[cfg(feature = "sender")]
pub(crate) use redb::lock::Wait;
#[cfg(feature = "sender")]
pub(crate) use redb::schema::check_format;
#[cfg(feature = "sender")]
pub(crate) use redb::session::{Schema, Session, SessionError, catch_panic};
pub use reply_log::{Reply, ReplyKind, ReplyLog, ReplyRequest, Reservation};
pub use resident::log_server::AnswerCounters;
pub use returnable::{ReturnableStamp, ReturnableStore};

use crate::grant::StampStatus;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use crate::verdict::spend::{SpendRequest, SpendResult};
use std::ops::ControlFlow;

/// Seconds for which a row is kept after its bucket's end, unless told: the skew of clocks (300 s) and the time within
/// which one message may come again (5 days).
pub const GRACE: i64 = 300 + 5 * 86_400;

/// The log of used serials: no stamp is accepted for two different messages (promise 2), and the same message keeps
/// its class (promise 3).
pub trait UsedLog {
    /// Answers and, if the stamp is fresh and its terms are [`Terms::Spend`](crate::verdict::spend::Terms::Spend),
    /// spends it. Atomic; durable before it answers. A row for the same message counts one more time, under either
    /// terms. What it writes also carries away a few rows that have ended.
    ///
    /// # Errors
    /// Any [`StoreError`]: our own trouble, never a verdict. Nothing was answered, so the mail must be deferred; the
    /// stamp may have been spent on this message all the same, and the next try is then answered `Again`.
    fn spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError>;

    /// What [`spend`](Self::spend) would answer now. Changes nothing.
    ///
    /// # Errors
    /// As `spend`.
    fn would_spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError>;

    /// Whether this stamp was accepted on this message: spent on it, or let through under a grant that still stands
    /// (of one without limit only the last messages are known). What was revoked or has ended since does not matter.
    /// Changes nothing.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn received(&self, ask: &SpendRequest) -> Result<bool, StoreError>;

    /// Removes up to `most` rows whose bucket ended `grace` seconds before `now` (less than zero counts as zero), oldest
    /// first, in commits short enough for mail to pass between them. No removed serial is ever fresh again: a mark of
    /// how far was removed stays. So `grace` must not be less than the skew that the judging allows.
    ///
    /// # Errors
    /// Any [`StoreError`]; what earlier commits removed stays removed.
    fn purge(&self, now: UnixTime, grace: i64, most: usize) -> Result<Purged, StoreError>;
}

/// What the user said about single stamps.
pub trait GrantStore {
    /// What stands about this stamp; the default if nothing does.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn standing(&self, vendor: &str, serial: &Serial) -> Result<StampStatus, StoreError>;

    /// Puts what `change` makes of what stands in its place, with nobody coming between, and returns what stood. Durable
    /// before it answers.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn update_status(
        &self,
        vendor: &str,
        serial: &Serial,
        change: &mut dyn FnMut(&StampStatus) -> StampStatus,
    ) -> Result<StampStatus, StoreError>;

    /// Hands out every standing. Stops early when told.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn standings(&self, to: &mut dyn FnMut(String, Serial, StampStatus) -> ControlFlow<()>) -> Result<(), StoreError>;
}

/// A store: all tables under one lock, and what is needed to keep and move them.
pub trait Store: UsedLog + GrantStore + ContactStore + ReplyLog + Send + Sync {
    /// Hands out every row: the mark first, then the used serials in the order of their ends, then the standings, the
    /// correspondents, what was sent, and the replies. Stops early when told. One consistent state, whatever others write
    /// meanwhile.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn export(&self, to: &mut dyn FnMut(ExportRecord) -> ControlFlow<()>) -> Result<(), StoreError>;

    /// Takes rows in. Never weakens what is known: of two rows for one serial the earlier use stays, a revocation
    /// stays, the mark never goes down, nobody who was forgotten comes back by what was known then, no reply is taken for
    /// older or fewer than it is. The same rows once more change nothing.
    ///
    /// # Errors
    /// Any [`StoreError`]; rows before it may have been taken in, so do the whole again.
    fn import(&self, rows: &mut dyn Iterator<Item = ExportRecord>) -> Result<Imported, StoreError>;

    /// Sizes and marks, for `doctor` and `stats`.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn summary(&self) -> Result<Summary, StoreError>;
}

/// What a purge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Rows removed.
    pub removed: usize,
    /// Whether rows that could be removed are left.
    pub left: bool,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows that were added or that changed what is known.
    pub taken: u64,
    /// Rows that said nothing new.
    pub known: u64,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Used serials remembered.
    pub used: u64,
    /// Stamps about which the user said something.
    pub standings: u64,
    /// People to whom the user wrote.
    pub correspondents: u64,
    /// Message-IDs of what he sent.
    pub sent: u64,
    /// Automatic replies remembered: the last of each kind to each sender.
    pub replies: u64,
    /// Bytes that the file takes on the disk; 0 in memory.
    pub bytes: u64,
    /// Stamps that end before this time and are not in the log are refused an answer, since rows up to here were
    /// removed; `None` if nothing was ever removed.
    pub cleared: Option<UnixTime>,
    /// The version of the file's format; 0 if there is no file yet.
    pub format: u32,
}
