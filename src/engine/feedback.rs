//! What people do with a message anyway, and what it says about its stamps: moving it to Junk or Trash revokes them, moving
//! it back undoes that, and having sent it with the word that its stamp may come back lets the stamp come back. Who moves
//! messages, and how one learns of it, is left to the front ends.
//!
//! Only stamps that this mailbox really accepted on this very message are revoked, as its own log knows: or anybody could
//! have a stamp revoked by planting a copy of it.

use super::error::Deferral;
use super::judge::Engine;
use crate::grant::{Grant, GrantKind, StampStatus};
use crate::message::address::Address;
use crate::message::parse::Message;
use crate::stamp::extract::{STAMP_FIELD, locate};
use crate::stamp::serial::Serial;
use crate::store::Store;
use crate::time::UnixTime;

/// The first 16 bytes of a message's fingerprint.
pub type MessageName = [u8; 16];

/// A stamp on a message, what stood about it, and what stands about it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// Its vendor.
    pub vendor: String,
    /// Its serial.
    pub serial: Serial,
    /// The message.
    pub message: MessageName,
    /// Before.
    pub before: StampStatus,
    /// After.
    pub after: StampStatus,
}

impl Engine {
    /// The message was moved to Junk or Trash: revokes the stamps that came with it.
    ///
    /// # Errors
    /// [`Undecided`]; some may have been revoked, and the same once more does no harm.
    pub fn on_junked(&self, message: &Message<'_>, log: &dyn Store) -> Result<Vec<StatusChange>, Deferral> {
        self.change_received(message, log, &|before| before.moved_away(self.now))
    }

    /// The message was moved back: undoes what [`moved_away`](Self::moved_away) did, if that was not too long ago.
    ///
    /// # Errors
    /// [`Undecided`], as above.
    pub fn on_restored(&self, message: &Message<'_>, log: &dyn Store) -> Result<Vec<StatusChange>, Deferral> {
        let within = self.config.watch.unrevoke_within;
        self.change_received(message, log, &|before| before.moved_back(self.now, within))
    }

    /// The user sent this message: a stamp that says `reuse=return` is logged for return use, unless something was said
    /// about it before. The mark alone gives nothing; that the message is the user's own must be known, and that From
    /// names one of his addresses is only a second look.
    ///
    /// # Errors
    /// [`Undecided`], as above.
    pub fn sent(&self, message: &Message<'_>, log: &dyn Store) -> Result<Vec<StatusChange>, Deferral> {
        if message.first(STAMP_FIELD).is_none() || !self.is_from_me(message) {
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
            let grant = Grant::new(GrantKind::Return, self.now);
            let change = |before: &StampStatus| match before {
                StampStatus { grant: None, revoked: None, .. } => {
                    StampStatus { grant: Some(grant.clone()), ..before.clone() }
                }
                _ => before.clone(),
            };
            let before = log.update_status(&vendor, &serial, &mut |before| change(before))?;
            done.push(StatusChange { after: change(&before), before, vendor, serial, message: [0; 16] });
        }
        Ok(done)
    }

    fn change_received(
        &self,
        message: &Message<'_>,
        log: &dyn Store,
        change: &dyn Fn(&StampStatus) -> StampStatus,
    ) -> Result<Vec<StatusChange>, Deferral> {
        let mut done = Vec::new();
        for trace in self.traces(message)? {
            let mut received = None;
            for asked in &trace.asked {
                if log.received(asked)? {
                    received = asked.fingerprint.0.first_chunk().copied();
                }
            }
            let Some(message) = received else { continue };
            let before = log.update_status(&trace.vendor, &trace.serial, &mut |before| change(before))?;
            done.push(StatusChange {
                after: change(&before),
                before,
                vendor: trace.vendor,
                serial: trace.serial,
                message,
            });
        }
        Ok(done)
    }

    /// Whether From names one of the user's addresses.
    pub(super) fn is_from_me(&self, message: &Message<'_>) -> bool {
        message.authors().iter().any(|from| self.is_mine(from))
    }

    /// Whether it is one of the user's addresses.
    pub(super) fn is_mine(&self, address: &Address) -> bool {
        self.config.mailboxes.iter().any(|mailbox| mailbox.pattern.matches(address))
    }
}

impl StatusChange {
    /// Whether anything is otherwise now.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.before != self.after
    }
}

/// Takes back, at `now`, the revocation of one stamp by a move, if that was at most `within` seconds ago. Whether it did.
///
/// # Errors
/// [`Undecided`].
pub fn unrevoke(log: &dyn Store, vendor: &str, serial: &Serial, now: UnixTime, within: i64) -> Result<bool, Deferral> {
    let before = log.update_status(vendor, serial, &mut |before| before.moved_back(now, within))?;
    Ok(before != before.moved_back(now, within))
}
