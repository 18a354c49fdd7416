//! Retention: removes serials of ended stamps, old Message-IDs of sent mail, correspondents past their term, old rows
//! of the reply log, keys and stamps of correspondents that have ended, and returnable stamps of messages that are too
//! old to be answered.

use super::judge::Engine;
use crate::context::error::Deferral;
use crate::store::{ReturnableStore, purge_peers};

/// Rows removed while the log is held. It is then released, so that a waiting delivery comes in between.
const AT_ONCE: usize = 1000;
/// Least retention of a row of the reply log, in seconds.
const REPLIES: i64 = 400 * 86_400;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// Serials of ended stamps.
    pub serials: usize,
    /// Message-IDs of what the user sent.
    pub sent: u64,
    /// Correspondents.
    pub correspondents: u64,
    /// Automatic replies.
    pub replies: u64,
    /// Correspondents of whose keys and stamps something has ended.
    pub peers: u64,
    /// Returnable stamps.
    pub returns: u64,
}

impl Engine {
    /// Removes what is past its retention, as far as the clock can be believed.
    ///
    /// # Errors
    /// [`Deferral`] when the log cannot be locked; what was removed before stays removed.
    pub fn forget(&self) -> Result<PurgeReport, Deferral> {
        let mut forgotten = PurgeReport::default();
        let Some(limit) = self.context.forget_limit() else { return Ok(forgotten) };
        loop {
            let purged = self.used_log()?.purge(limit, self.context.config.policy.grace(), AT_ONCE)?;
            forgotten.serials += purged.removed;
            if !purged.left {
                break;
            }
        }
        let log = self.used_log()?;
        forgotten.sent = log.purge_sent(limit.plus(-self.context.config.sent_retention))?;
        if self.context.config.correspondents_retention.is_some() {
            forgotten.correspondents = log.purge_correspondents(self.context.correspondents_since(limit))?;
        }
        forgotten.replies = log.purge_replies(limit.plus(-REPLIES.max(self.context.config.replies.per_sender)))?;
        forgotten.peers = purge_peers(log.as_ref(), limit)?;
        // Kept for as long as an answer to received mail is likely. A lost stamp costs no more than its price.
        let returns = ReturnableStore::new(self.context.places.state()?);
        let returns = returns.purge(limit.plus(-self.context.config.sent_retention));
        Ok(PurgeReport { returns, ..forgotten })
    }
}
