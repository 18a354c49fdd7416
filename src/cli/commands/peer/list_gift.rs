//! `mailstamp peer give --list`: a stamp for a member's posts to a mailing list that the user runs.

use super::{keys, shown};
use crate::cli::ui::exit_status::{CANNOT_CREATE, DATA, Failure, IO, NO_PERMISSION};
use crate::cli::ui::output;
use crate::context::Context;
use crate::message::address::Address;
use crate::peer::record::PeerRecord;
use crate::sender::list_gift::{ListGiftError, give};
use crate::sender::peer_keys::PeerKeyError;
use crate::verdict::owner::Owner;
use serde_json::json;

/// What is asked for.
pub(super) struct Asked<'a> {
    pub(super) list: &'a Address,
    pub(super) member: &'a Address,
    /// Only if the stamp that the member has ends soon.
    pub(super) if_due: bool,
    pub(super) json: bool,
}

/// Makes the stamp and prints the message that brings it.
pub(super) fn run(asked: &Asked<'_>, owner: Owner, record: &PeerRecord, context: &Context) -> Result<u8, Failure> {
    let Asked { list, member, if_due, json } = *asked;
    let hint = "make it with: mailstamp peer key new --list";
    let identity = match keys(context)?.get(list) {
        Err(error @ PeerKeyError::Absent(_)) => return Err(Failure::new(DATA, error).hint(hint)),
        other => other?,
    };
    if !identity.is_list {
        return Err(Failure::new(DATA, format!("{}: the key of this address is no list's", shown(list))).hint(hint));
    }
    let log = context.used_log()?;
    let peers = &context.config.peers;
    let gift = give(&identity, member, record, (owner, &*log), peers, (context.now, if_due))?;
    let Some(gift) = gift else {
        output::note(&format!("{}: has a stamp that does not end soon", shown(member)));
        return Ok(0);
    };
    if !json {
        return output::hand_over(gift.message.as_bytes()).map(|()| 0);
    }
    let serials: Vec<&str> = gift.given.iter().map(|given| given.serial.as_str()).collect();
    let object = json!({
        "schema": output::SCHEMA,
        "list": list.normalized(),
        "address": member.normalized(),
        "serials": serials,
        "until": gift.given.first().map(|given| given.until.to_string()),
        "message": gift.message,
    });
    output::line(&object.to_string())?;
    Ok(0)
}

impl From<ListGiftError> for Failure {
    fn from(error: ListGiftError) -> Self {
        match error {
            ListGiftError::TooMany(_) => Self::new(CANNOT_CREATE, error).hint("end them with: mailstamp peer end"),
            ListGiftError::Random(_) => Self::new(IO, error),
            ListGiftError::Gift(_) => Self::new(DATA, error),
            ListGiftError::Seal(_) => Self::new(NO_PERMISSION, error),
            ListGiftError::Store(error) => error.into(),
        }
    }
}
