//! Choice of each recipient's stamp, in this order:
//!
//! 1. the stamp that the sender put on the message
//! 2. none to an address of the user's own
//! 3. a stamp that the recipient gave
//! 4. none, where none is needed
//! 5. a stamp of the message that this one answers, if it may come back
//! 6. a stamp of the wallet or a purchase, requested for all recipients at once

use super::copies::SourceMessage;
use super::parse::Recipient;
use crate::config::Config;
use crate::message::address::Address;
use crate::message::parse::Message;
use crate::stamp::extract::Found;
use crate::store::ReturnableStore;
use memchr::memchr_iter;

/// Most Message-IDs of a field that are looked up.
const REFERENCES: usize = 30;

/// Stamp of a recipient's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StampChoice<'a> {
    /// The recipient needs no stamp.
    None,
    /// The stamp that the sender put on.
    Own(&'a Found),
    /// The stamp that the recipient gave.
    Given,
    /// A stamp that the recipient allowed to come back.
    Return(String),
    /// A stamp from the wallet or a purchase.
    Supply(Address),
}

/// Chooses the stamp for a recipient. `is_given` says whether the recipient gave one that needs no other beside it.
#[must_use]
pub fn choose<'a>(
    original: &'a SourceMessage<'_>,
    recipient: &Recipient,
    config: &Config,
    returns: &[(String, Vec<Address>)],
    is_given: bool,
) -> StampChoice<'a> {
    let Recipient::Address(address) = recipient else { return StampChoice::None };
    if let Some(found) = original.own(address) {
        return StampChoice::Own(found);
    }
    let own = config.mailboxes.iter().any(|mailbox| mailbox.pattern.matches(address));
    if own {
        return StampChoice::None;
    }
    if is_given {
        return StampChoice::Given;
    }
    if config.sendmail.none.iter().any(|pattern| pattern.matches(address)) {
        return StampChoice::None;
    }
    let back = returns.iter().find(|(_, from)| from.contains(address));
    back.map_or_else(|| StampChoice::Supply(address.clone()), |(stamp, _)| StampChoice::Return(stamp.clone()))
}

/// Returns the stamps that may come back with this message, that of the answered message first.
#[must_use]
pub fn returnable(message: &Message<'_>, returns: &ReturnableStore) -> Vec<(String, Vec<Address>)> {
    referred(message)
        .iter()
        .filter_map(|id| returns.find(id))
        .map(|returnable| (returnable.stamp, returnable.from))
        .collect()
}

/// Returns the Message-IDs that a message refers to, the nearest first.
///
/// First In-Reply-To, then References from its end (RFC 5322 section 3.6.4).
fn referred(message: &Message<'_>) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for (name, last_first) in [("In-Reply-To", false), ("References", true)] {
        let Some(field) = message.first(name) else { continue };
        let text = field.unfolded();
        let starts = memchr_iter(b'<', &text).filter_map(|at| {
            let rest = text.get(at..)?;
            let end = rest.iter().position(|&b| b == b'>')?;
            Some(String::from_utf8_lossy(rest.get(..=end)?).into_owned())
        });
        let mut found: Vec<String> = starts.collect();
        if last_first {
            found.reverse();
        }
        ids.extend(found.into_iter().take(REFERENCES));
    }
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_message_is_asked_first() {
        let raw = b"References: <1@x> <2@x>\r\n <3@x>\r\nIn-Reply-To: your letter <3@x> (of <today>)\r\n\r\n";
        assert_eq!(referred(&Message::parse(raw)), ["<3@x>", "<today>", "<3@x>", "<2@x>", "<1@x>"]);
        assert_eq!(referred(&Message::parse(b"In-Reply-To: <open\n\n")), [""; 0]);
    }
}
