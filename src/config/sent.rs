//! The table `[sent]`: the retention of data about sent messages.

use super::ranges::{DAY, Seconds};
use serde::Deserialize;

/// Retention of correspondents that the milter learned, in seconds.
const OF_BOUNDARY: i64 = 400 * DAY;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SentTable {
    pub(super) retention: Seconds<DAY>,
    pub(super) correspondents: Option<Seconds<DAY>>,
}

impl Default for SentTable {
    fn default() -> Self {
        Self { retention: Seconds(400 * DAY), correspondents: None }
    }
}

impl SentTable {
    /// Returns the retention of correspondents, in seconds. Without a setting, only those of
    /// an organisation end, since no user reviews them.
    pub(super) fn correspondents(&self, is_boundary: bool) -> Option<i64> {
        self.correspondents.map(|it| it.0).or(is_boundary.then_some(OF_BOUNDARY))
    }
}
