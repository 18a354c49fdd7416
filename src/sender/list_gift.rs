//! Stamps of a mailing list for its members: the owner of the list makes them, and each goes to its member in a message
//! of its own, in the name of the list. The member's program keeps it, since it has the list's key pinned.

use super::peer_keys::Identity;
use crate::config::peers::Peers;
use crate::message::address::Address;
use crate::message::header::fold;
use crate::os::random;
use crate::peer::SEALED_FIELD;
use crate::peer::announcement::Keys;
use crate::peer::gift::{self, GIVEN_MAX, GiftError, Given};
use crate::peer::outgoing;
use crate::peer::record::PeerRecord;
use crate::peer::sealing::{self, SealError};
use crate::stamp::serial::Serial;
use crate::store::{Store, StoreError};
use crate::time::UnixTime;
use crate::verdict::owner::Owner;
use data_encoding::HEXLOWER;
use std::io;
use zeroize::Zeroizing;

/// A stamp for a member that was recorded.
#[derive(Debug)]
pub struct ListGift {
    /// The stamps, one for each key that may be the member's.
    pub given: Vec<Given>,
    /// The message that brings them.
    pub message: String,
}

/// No stamp was made.
#[derive(Debug, thiserror::Error)]
pub enum ListGiftError {
    #[error("{0}: has as many stamps that can be used as are kept; end them first")]
    TooMany(Address),
    #[error("no random numbers from the system: {0}")]
    Random(#[from] io::Error),
    #[error(transparent)]
    Gift(#[from] GiftError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes stamps for a member's posts, records them durably, and returns the message that brings them. With `if_due`,
/// only those for which there is none of which a third is left; `None` if that is all.
///
/// # Errors
/// [`ListGiftError`]: nothing was recorded.
pub fn give(
    list: &Identity,
    member: &Address,
    record: &PeerRecord,
    (owner, log): (Owner, &dyn Store),
    peers: &Peers,
    (now, if_due): (UnixTime, bool),
) -> Result<Option<ListGift>, ListGiftError> {
    let holders = list.holders();
    let due: Vec<&Keys> = match if_due {
        true => gift::due(&record.ring, &record.given, &list.address, &holders, (now, false)).collect(),
        false => record.ring.takers().map(|own| &own.keys).collect(),
    };
    let Some(active) = list.active().filter(|_| !due.is_empty()) else { return Ok(None) };
    if record.standing(now).count() + due.len() > GIVEN_MAX {
        return Err(ListGiftError::TooMany(member.clone()));
    }
    let (mut given, mut fields) = (Vec::new(), String::new());
    for keys in due {
        let to = gift::Recipient { address: member, holder: &keys.signing, days: peers.list_days };
        let (gift, token) = gift::give(&list.address, &active.secret, &to, Serial::from_random(drawn()?), now)?;
        let mut ephemeral = Zeroizing::new([0; 32]);
        random::fill(&mut *ephemeral)?;
        let sealed = sealing::seal(&token, &list.address, member, &keys.sealing, &ephemeral)?;
        fields.push_str(&fold(SEALED_FIELD, &sealed, "\n"));
        given.push(gift);
    }
    let message = message(&list.address, member, &fields, drawn()?, peers.list_days, now);
    log.update_peer(owner, member, &mut |record| {
        let after = outgoing::gave(record, &given, now).unwrap_or_else(|| record.clone());
        // What the user asked for, for mail to them, still goes with their next message.
        PeerRecord { asked: record.asked, ..after }
    })?;
    Ok(Some(ListGift { given, message }))
}

fn drawn() -> Result<[u8; 16], ListGiftError> {
    let mut drawn = [0; 16];
    random::fill(&mut drawn)?;
    Ok(drawn)
}

/// Returns the message. It says that a program sent it (RFC 3834), so no program answers it.
fn message(list: &Address, member: &Address, fields: &str, id: [u8; 16], days: u32, now: UnixTime) -> String {
    format!(
        "{fields}From: {list}\nTo: {member}\nDate: {}\nMessage-ID: <{}@{}>\nSubject: Stamp for your posts to {list}\n\
         Auto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\n\n\
         This message brings a stamp for your posts to the mailing list\n{list}.\n\n\
         It is good for {days} days. If you use mailstamp and have pinned the key of the\n\
         list, it was kept when this message was delivered. You need do nothing, and can\n\
         delete the message.\n",
        now.to_rfc5322(),
        HEXLOWER.encode(&id),
        list.domain(),
    )
}
