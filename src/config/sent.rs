//! The table `[sent]`: what is kept of the messages that the user sends.

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
