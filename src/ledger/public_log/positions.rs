//! Positions of the public log in the chain, and pages of leaves.

use super::leaves::LeafBytes;
use crate::accounting::event::Event;
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Entry;
use crate::ledger::schema::{self, TxResult};
use data_encoding::BASE64;
use redb::{ReadableTable, Table};
use serde::{Deserialize, Serialize};

/// State of the public log, as the chain has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// Entry that says so; 0 before the first.
    pub entry: u64,
    /// The log has the leaves of the entries up to and with this one.
    pub through: u64,
    /// Highest day in the tree, since 1970.
    pub day: u32,
    /// Leaves of the tree.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
    /// Entry that took the log over from its files; 0 if none did.
    pub resumed: u64,
    /// Whether the ledger was restored since, so that the published log may be ahead.
    pub is_unsure: bool,
}

impl Default for LogState {
    fn default() -> Self {
        let root = Hash::of(b"");
        Self { entry: 0, through: 0, day: 0, size: 0, root, resumed: 0, is_unsure: false }
    }
}

impl LogState {
    /// Returns the state after an entry.
    pub(in crate::ledger) fn after(self, entry: &Entry) -> Self {
        let number = entry.number;
        match entry.event {
            Event::Logged { through, day, size, root } => Self { entry: number, through, day, size, root, ..self },
            Event::LogResumed { through, day, size, root, .. } => {
                Self { entry: number, through, day, size, root, resumed: number, is_unsure: false }
            }
            Event::Restored => Self { is_unsure: true, ..self },
            _ => self,
        }
    }
}

/// Part of the log that one event appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBatch {
    pub before: LogState,
    pub after: LogState,
}

impl LogBatch {
    /// Returns whether the entries have its leaves. Those that a restored chain lost are in the published files alone.
    #[must_use]
    pub fn is_in_chain(&self) -> bool {
        self.after.resumed != self.after.entry
    }
}

/// Leaves of entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafPage {
    /// The leaves, in the order of the entries.
    #[serde(with = "bytes")]
    pub leaves: Vec<LeafBytes>,
    /// Entries of the leaves, each with the number of its leaves in this page.
    pub entries: Vec<(u64, u32)>,
    /// Entry, and number of its leaf, with which the next page begins; `None` for the last page.
    pub next: Option<(u64, u64)>,
    /// Last entry whose leaves are all read.
    pub through: u64,
}

/// Leaves as one text in base64.
mod bytes {
    use super::{BASE64, LeafBytes};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(leaves: &[LeafBytes], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(leaves.as_flattened()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LeafBytes>, D::Error> {
        let bytes = BASE64.decode(String::deserialize(deserializer)?.as_bytes()).map_err(Error::custom)?;
        let (leaves, rest) = bytes.as_chunks();
        if rest.is_empty() { Ok(leaves.to_vec()) } else { Err(Error::custom("a leaf is cut short")) }
    }
}

/// Reads the state of the log.
pub(in crate::ledger) fn state_in(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> TxResult<LogState> {
    let row = meta.get("log")?;
    row.map_or_else(|| Ok(LogState::default()), |row| schema::from_json(row.value()))
}

/// Writes the state of the log.
pub(in crate::ledger) fn set_state(
    meta: &mut Table<'_, &'static str, &'static [u8]>,
    state: &LogState,
) -> TxResult<()> {
    meta.insert("log", schema::to_json(state)?.as_slice())?;
    Ok(())
}
