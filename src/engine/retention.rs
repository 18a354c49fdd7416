//! Forgetting what need not be remembered any more: serials whose stamps have ended, what the user sent long ago, to whom
//! replies went, stamps for answers that nobody will write.

use super::error::Deferral;
use super::judge::Engine;
use crate::store::ReturnableStore;

/// Rows removed while the log is held; then it is let go, so that a waiting delivery comes in between.
const AT_ONCE: usize = 1000;
/// Seconds for which it is known at least who got an automatic reply.
const REPLIES: i64 = 400 * 86_400;

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// Serials of ended stamps.
    pub serials: usize,
    /// Message-IDs of what the user sent.
    pub sent: u64,
    /// Automatic replies.
    pub replies: u64,
    /// Stamps for answers.
    pub returns: u64,
}

impl Engine {
    /// Forgets.
    ///
    /// # Errors
    /// [`Undecided`] when the log cannot be had; what was removed before stays removed.
    pub fn forget(&self) -> Result<PurgeReport, Deferral> {
        let mut forgotten = PurgeReport::default();
        loop {
            let purged = self.used_log()?.purge(self.now, self.config.policy.grace(), AT_ONCE)?;
            forgotten.serials += purged.removed;
            if !purged.left {
                break;
            }
        }
        let log = self.used_log()?;
        forgotten.sent = log.purge_sent(self.now.plus(-self.config.sent_retention))?;
        forgotten.replies = log.purge_replies(self.now.plus(-REPLIES.max(self.config.replies.per_sender)))?;
        // As long as an answer to what one received is likely; it costs no more than a stamp.
        let returns = ReturnableStore::new(self.places.state()?).purge(self.now.plus(-self.config.sent_retention));
        Ok(PurgeReport { returns, ..forgotten })
    }
}
