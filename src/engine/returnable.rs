//! Keeping returnable stamps for the user's answers. Only messages that a stamp made first-class count: an unproven
//! stranger's permission to return a stamp is worthless.

use super::judge::Engine;
use crate::message::address::addresses;
use crate::message::parse::Message;
use crate::policy::decision::Decision;
use crate::stamp::claims::Stamp;
use crate::stamp::extract::{Found, locate};
use crate::stamp::token::Token;
use crate::store::{ReturnableStamp, ReturnableStore};
use crate::verdict::class::Class;

impl Engine {
    /// Keeps the stamp of a received message, if it says `; reuse=return`.
    /// An error goes to syslog and changes nothing else.
    pub fn keep_return(&self, message: &Message<'_>, decision: &Decision) {
        // Where the state is closed to this user, no mail is sent from it either.
        let keeps = self.context.config.sendmail.keep_returns && self.context.places.own_state.is_none();
        if decision.class() != Class::FirstClass || !keeps {
            return;
        }
        let Some(finding) = decision.verdict.stamp() else { return };
        let spoke = |found: &&Found| {
            let token = Token::parse(&found.token).ok();
            let vendor = token.as_ref().and_then(|token| token.issuer().ok()).map(|issuer| issuer.vendor().to_owned());
            let serial = token.and_then(|token| Stamp::read(token.payload()).ok()).map(|stamp| stamp.serial);
            vendor == finding.vendor && serial == finding.serial
        };
        let located = locate(message);
        let Some(found) = located.stamps.iter().find(spoke).filter(|found| may_return(found)) else { return };
        let Some(id) = message.first("Message-ID") else { return };
        let mut from = message.authors();
        from.extend(message.first("Reply-To").map(|field| addresses(&field.unfolded())).unwrap_or_default());
        let row = ReturnableStamp { stamp: found.token.clone(), from, at: self.context.now };
        let kept = self
            .context
            .places
            .state()
            .map(|state| ReturnableStore::new(state).keep(&String::from_utf8_lossy(&id.unfolded()), &row));
        if let Ok(Err(error)) = kept {
            self.context.log_error(&format!("returnable stamp not kept: {error}"));
        }
    }
}

fn may_return(found: &Found) -> bool {
    found.parameters.iter().any(|(name, value)| name == "reuse" && value.eq_ignore_ascii_case("return"))
}
