//! The table `[sent]`: the retention of data about sent messages.

use super::duration::Seconds;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SentTable {
    pub(super) retention: Seconds,
}

impl Default for SentTable {
    fn default() -> Self {
        Self { retention: Seconds(400 * 86_400) }
    }
}
