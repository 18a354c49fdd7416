//! Feedback from moved and sent mail to the status of stamps. Moving a message to Junk or Trash revokes its stamps, and
//! moving it back undoes that. A sent message whose stamp says `reuse=return` grants the return of that stamp. The
//! front ends watch the folders.
//!
//! Only stamps that this mailbox accepted on this very message are revoked, by its own log. Otherwise any sender could
//! have a stamp revoked by planting a copy of it.

use super::judge::Engine;
use crate::context::error::Deferral;
use crate::grant::{Grant, StampStatus};
use crate::message::fingerprint::KnownMessage;
use crate::message::parse::Message;
use crate::stamp::extract::{STAMP_FIELD, locate};
use crate::stamp::serial::Serial;
use crate::store::Store;
use crate::time::UnixTime;
use crate::verdict::examine::Trace;

/// A stamp on a message, with its status before and after the feedback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    pub vendor: String,
    pub serial: Serial,
    pub message: KnownMessage,
    pub before: StampStatus,
    pub after: StampStatus,
}

impl Engine {
    /// Revokes the stamps of a message that was moved to Junk or Trash.
    ///
    /// # Errors
    /// [`Deferral`]. Some stamps may have been revoked; a repeated call does no harm.
    pub fn on_junked(&self, message: &Message<'_>, log: &dyn Store) -> Result<Vec<StatusChange>, Deferral> {
        self.change_received(message, log, &|before| before.moved_away(self.context.now))
    }

    /// Undoes [`on_junked`](Self::on_junked) for a message that was moved back, within the configured time.
    ///
    /// # Errors
    /// [`Deferral`], as above.
    pub fn on_restored(&self, message: &Message<'_>, log: &dyn Store) -> Result<Vec<StatusChange>, Deferral> {
        let within = self.context.config.watch.unrevoke_within;
        self.change_received(message, log, &|before| before.moved_back(self.context.now, within))
    }

    /// Grants return use for a stamp in a sent message that says `reuse=return`.
    /// A stamp with a grant or revocation is left alone. The mark alone gives nothing. The caller must know that the
    /// message is the user's own; the check of From is only a second safeguard.
    ///
    /// # Errors
    /// [`Deferral`], as above.
    pub fn sent(&self, message: &Message<'_>, log: &dyn Store) -> Result<Vec<StatusChange>, Deferral> {
        if message.first(STAMP_FIELD).is_none() || !self.context.is_from_me(message) {
            return Ok(Vec::new());
        }
        let mark = |parameters: &[(String, String)]| parameters.iter().any(|(n, v)| n == "reuse" && v == "return");
        let marked = locate(message).stamps.into_iter().map(|found| mark(&found.parameters));
        let mut done = Vec::new();
        for (finding, marked) in self.identify(message)?.into_iter().zip(marked) {
            let (true, None, Some(vendor), Some(serial)) = (marked, finding.reason, finding.vendor, finding.serial)
            else {
                continue;
            };
            let grant = Grant::for_return(self.context.now, finding.expires);
            let change = |before: &StampStatus| match before {
                StampStatus { grant: None, revoked: None, .. } => {
                    StampStatus { grant: Some(grant.clone()), ..before.clone() }
                }
                _ => before.clone(),
            };
            let before = log.update_status(&vendor, &serial, &mut |before| change(before))?;
            done.push(StatusChange { after: change(&before), before, vendor, serial, message: [0; 16].into() });
        }
        Ok(done)
    }

    fn change_received(
        &self,
        message: &Message<'_>,
        log: &dyn Store,
        change: &dyn Fn(&StampStatus) -> StampStatus,
    ) -> Result<Vec<StatusChange>, Deferral> {
        let mut received: Vec<(Trace, KnownMessage)> = Vec::new();
        for trace in self.traces(message)? {
            let mut known = None;
            for asked in &trace.asked {
                if log.received(asked)? {
                    known = Some(asked.message);
                }
            }
            received.extend(known.map(|known| (trace, known)));
        }
        let mut done = Vec::new();
        for (trace, message) in &received {
            // Of several owners who got one post to a list, only the one is meant whose copy this is.
            let others = received.iter().filter(|(other, _)| other.stamp == trace.stamp).count() > 1;
            if others && !trace.is_owner_known {
                continue;
            }
            let message = *message;
            let before = log.update_status(&trace.vendor, &trace.serial, &mut |before| change(before))?;
            let after = change(&before);
            self.note_status(log, &trace.vendor, &trace.serial, &after)?;
            let (vendor, serial) = (trace.vendor.clone(), trace.serial.clone());
            done.push(StatusChange { after, before, vendor, serial, message });
        }
        Ok(done)
    }
}

impl StatusChange {
    /// Whether the status changed.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.before != self.after
    }
}

/// Undoes, at `now`, a revocation by a move that was at most `within` seconds ago.
/// Returns whether it did.
pub fn unrevoke(log: &dyn Store, vendor: &str, serial: &Serial, now: UnixTime, within: i64) -> Result<bool, Deferral> {
    let before = log.update_status(vendor, serial, &mut |before| before.moved_back(now, within))?;
    Ok(before != before.moved_back(now, within))
}
