//! Export format of a store: its rows as JSON, one object a line. This module also merges rows of two stores. The
//! command reads and writes the files.

use super::contacts::{Contact, row_of};
use super::decide::{self, Entry, StampId};
use super::peers::Peer;
use super::reply_log::{self, ReplyKind};
use crate::grant::{StampStatus, serde_hex};
use crate::message::address::Address;
use crate::message::fingerprint::KnownMessage;
use crate::peer::record::PeerRecord;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use crate::verdict::owner::Owner;
use serde::{Deserialize, Serialize};

/// One row of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "row", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ExportRecord {
    /// Rows of this hour and of those before it were purged.
    PurgedThrough {
        /// Hours since 1970.
        hour: u32,
    },
    /// A spent stamp.
    Used {
        /// The hour in which its window ends, since 1970; 4294967295 if it never ends.
        hour: u32,
        /// The first 16 bytes of SHA-256 over vendor and serial, in hexadecimal.
        #[serde(with = "serde_hex::one")]
        stamp: [u8; 16],
        /// The first 16 bytes of the message's fingerprint, in hexadecimal; after a slash those of the message with
        /// broken lines, if it has long ones.
        fingerprint: KnownMessage,
        /// The owner, in hexadecimal, unless it is the default.
        #[serde(default, skip_serializing_if = "Owner::is_default")]
        owner: Owner,
        /// When it was spent, in seconds since 1970.
        first_seen: u32,
        /// Redeliveries of the message.
        times: u8,
    },
    /// The user's grant or revocation of a stamp.
    Standing {
        vendor: String,
        /// Its serial.
        #[serde(with = "serial_text")]
        serial: Serial,
        standing: Box<StampStatus>,
    },
    /// A correspondent, to whom the user wrote. Times are in seconds since 1970.
    Correspondent {
        /// The owner who wrote to it, in hexadecimal, unless it is the default.
        #[serde(default, skip_serializing_if = "Owner::is_default")]
        owner: Owner,
        /// The address, in the form in which it is looked up.
        address: String,
        /// The first message to it.
        first: u32,
        last: u32,
        /// The last message before the user removed the contact; 0 if it was not removed.
        #[serde(default, skip_serializing_if = "is_zero")]
        forgotten: u32,
    },
    /// A message that the user sent.
    Sent {
        /// The first 16 bytes of SHA-256 over its owner and its Message-ID, in hexadecimal.
        #[serde(with = "serde_hex::one")]
        message: [u8; 16],
        /// When, in seconds since 1970.
        at: u32,
    },
    /// The last automatic reply of this kind to this sender.
    Reply {
        kind: ReplyKind,
        /// Its recipient.
        sender: String,
        /// When, in seconds since 1970.
        at: u32,
    },
    /// How many automatic replies went out in an hour.
    Replies {
        /// Hours since 1970.
        hour: u32,
        count: u32,
    },
    /// A correspondent's own keys, and the stamps that they and the owner gave each other.
    Peer {
        /// The owner, in hexadecimal, unless it is the default.
        #[serde(default, skip_serializing_if = "Owner::is_default")]
        owner: Owner,
        #[serde(with = "address_text")]
        address: Address,
        peer: Box<PeerRecord>,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl ExportRecord {
    /// Returns the latest time in the row at which something had happened.
    /// The ends of stamps and grants are no such times. Of a purge mark it is the end of its hour.
    #[must_use]
    pub fn written_at(&self) -> Option<UnixTime> {
        let seconds = |at: &u32| UnixTime(i64::from(*at));
        match self {
            Self::PurgedThrough { hour } | Self::Replies { hour, .. } => Some(decide::bucket_end(*hour)),
            Self::Used { first_seen: at, .. } | Self::Sent { at, .. } | Self::Reply { at, .. } => Some(seconds(at)),
            Self::Correspondent { first, last, forgotten, .. } => {
                [first, last, forgotten].into_iter().max().map(seconds)
            }
            Self::Standing { standing, .. } => {
                let granted = standing.grant.as_ref().map(|grant| grant.since);
                let refused = standing.refused.as_ref().map(|refused| refused.last);
                [standing.revoked, granted, refused].into_iter().flatten().max().map(UnixTime)
            }
            Self::Peer { peer, .. } => peer.written_at(),
        }
    }

    pub(super) fn used(hour: u32, stamp: StampId, entry: Entry) -> Self {
        let Entry { message: fingerprint, owner, first_seen, times } = entry;
        Self::Used { hour, stamp, fingerprint, owner, first_seen, times }
    }

    /// Returns the record of a contact under the key of its row.
    pub(super) fn contact(key: &str, contact: Contact) -> Self {
        let Contact { first, last, forgotten } = contact;
        let (owner, address) = row_of(key);
        Self::Correspondent { owner, address: address.to_owned(), first, last, forgotten }
    }

    /// Returns the record of a reply under its key; `None` for an unknown kind.
    pub(super) fn reply(key: &str, at: u32) -> Option<Self> {
        reply_log::named(key).map(|(kind, sender)| Self::Reply { kind, sender, at })
    }
}

/// Merges two rows of one stamp: the earlier use wins; of one use, the higher count.
pub(super) fn merge_used(known: Option<Entry>, new: Entry) -> Entry {
    match known {
        None => new,
        Some(known) if known.message == new.message && known.owner == new.owner => {
            Entry { first_seen: known.first_seen.min(new.first_seen), times: known.times.max(new.times), ..known }
        }
        Some(known) if new.first_seen < known.first_seen => new,
        Some(known) => known,
    }
}

/// Merges two statuses of one stamp.
/// A revocation in either stays, the earlier if both have one. A new grant counts only where nothing is known, since it
/// may have been taken back here.
pub(super) fn merge_standing(known: &StampStatus, new: StampStatus) -> StampStatus {
    if *known == StampStatus::default() {
        return new;
    }
    let (revoked, means) = match (known.revoked, new.revoked) {
        // An explicit revocation on either side is not undone by moving a message.
        (Some(a), Some(b)) => (Some(a.min(b)), known.means.and(new.means)),
        (_, None) => (known.revoked, known.means),
        (None, Some(_)) => (new.revoked, new.means),
    };
    let refused = known.refused.clone().or(new.refused);
    StampStatus { revoked, means, refused, ..known.clone() }
}

impl From<Peer> for ExportRecord {
    fn from(Peer { owner, address, record }: Peer) -> Self {
        Self::Peer { owner, address, peer: Box::new(record) }
    }
}

/// An address in the form that can be parsed again.
mod address_text {
    use super::Address;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(address: &Address, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&address.normalized())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
        Address::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

mod serial_text {
    use super::Serial;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(serial: &Serial, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(serial.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Serial, D::Error> {
        Serial::new(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Means;

    fn entry(message: u8, first_seen: u32, times: u8) -> Entry {
        Entry { message: [message; 16].into(), owner: Owner::default(), first_seen, times }
    }

    #[test]
    fn a_row_is_one_line_of_json_and_reads_back() {
        let row = ExportRecord::used(495_123, [0xab; 16], entry(1, 7, 2));
        let line = serde_json::to_string(&row).unwrap();
        assert_eq!(
            line,
            r#"{"row":"used","hour":495123,"stamp":"abababababababababababababababab","fingerprint":"01010101010101010101010101010101","first_seen":7,"times":2}"#
        );
        assert_eq!(serde_json::from_str::<ExportRecord>(&line).unwrap(), row);
        let message = KnownMessage { whole: [1; 16], broken: Some([2; 16]) };
        let row = ExportRecord::used(1, [3; 16], Entry { message, owner: Owner([4; 8]), ..entry(1, 7, 2) });
        let line = serde_json::to_string(&row).unwrap();
        let (whole, broken) = ("01".repeat(16), "02".repeat(16));
        assert!(line.contains(&format!(r#""fingerprint":"{whole}/{broken}","owner":"0404040404040404""#)), "{line}");
        assert_eq!(serde_json::from_str::<ExportRecord>(&line).unwrap(), row);
        let standing = ExportRecord::Standing {
            vendor: "stamps.example".into(),
            serial: Serial::new("a-1").unwrap(),
            standing: Box::new(StampStatus { revoked: Some(5), ..StampStatus::default() }),
        };
        let line = serde_json::to_string(&standing).unwrap();
        assert_eq!(line, r#"{"row":"standing","vendor":"stamps.example","serial":"a-1","standing":{"revoked":5}}"#);
        assert_eq!(serde_json::from_str::<ExportRecord>(&line).unwrap(), standing);
    }

    #[test]
    fn a_row_that_is_not_ours_is_refused() {
        for line in [
            r#"{"row":"used","hour":1,"stamp":"ab","fingerprint":"01010101010101010101010101010101","first_seen":7,"times":2}"#,
            r#"{"row":"used","hour":1,"stamp":"abababababababababababababababab","fingerprint":"0101/02","first_seen":7,"times":2}"#,
            r#"{"row":"purged-through","hour":-1}"#,
            r#"{"row":"purged-through","hour":1,"more":2}"#,
            r#"{"row":"standing","vendor":"v","serial":"a b","standing":{}}"#,
            r#"{"row":"other"}"#,
        ] {
            assert!(serde_json::from_str::<ExportRecord>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn of_two_rows_the_earlier_use_stays() {
        let early = entry(1, 5, 1);
        let late = entry(2, 9, 7);
        assert_eq!(merge_used(Some(early), late), early);
        assert_eq!(merge_used(Some(late), early), early);
        assert_eq!(merge_used(Some(early), Entry { times: 4, ..early }).times, 4);
        assert_eq!(merge_used(Some(Entry { times: 4, ..early }), early).times, 4);
    }

    #[test]
    fn a_revocation_stays_and_a_grant_taken_back_does_not_return() {
        let grant = crate::grant::Grant::new(crate::grant::GrantKind::Return, crate::time::UnixTime(1));
        let granted = StampStatus { grant: Some(grant), ..StampStatus::default() };
        let revoked = |at| StampStatus { revoked: Some(at), ..StampStatus::default() };
        assert_eq!(merge_standing(&StampStatus::default(), granted.clone()), granted);
        assert_eq!(merge_standing(&revoked(9), granted.clone()), revoked(9));
        // No export writes this, but a person can. The same rows once more must change nothing.
        let only_means = StampStatus { means: Some(Means::Moved), ..StampStatus::default() };
        assert_eq!(merge_standing(&only_means, StampStatus::default()), only_means);
        assert_eq!(merge_standing(&revoked(9), revoked(4)), revoked(4));
        assert_eq!(merge_standing(&granted, revoked(4)), StampStatus { revoked: Some(4), ..granted.clone() });
    }
}
