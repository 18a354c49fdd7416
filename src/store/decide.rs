//! The spend rule of every store: stamp ids, row contents, and the decision from row, status and purge mark. Pure;
//! adapters keep the rows.
//!
//! A row's key begins with its *bucket*, the hour in which the stamp's window ends. So all rows of an hour lie together
//! and are removed as one range.
//!
//! The hour comes from the token. Derived from a setting, it would change with the setting, and the serial would be
//! accepted twice. It follows that a serial which its vendor signed with two different ends is two stamps here. That
//! gains the vendor nothing: it can sign two serials as well. In PostgreSQL the key is the id alone, and such a serial
//! is one stamp (`postgres/mod.rs`).

use super::error::StoreError;
use crate::grant::{Answer, Presentation, StampStatus};
use crate::message::fingerprint::KnownMessage;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use crate::verdict::owner::Owner;
use crate::verdict::spend::{Cap, SpendRequest, SpendResult, Terms};
use sha2::{Digest, Sha256};

/// Seconds in a bucket.
const HOUR: i64 = 3_600;

/// The bucket of stamps that never end. It is never purged.
pub(super) const NEVER: u32 = u32::MAX;

/// A stamp's id in the log: the first 16 bytes of SHA-256 over (vendor, serial), each preceded by its length.
pub(super) type StampId = [u8; 16];

/// A row's key: bucket, big endian, and stamp id. Keys sort by the time at which they may be purged.
pub(super) type SpendKey = [u8; 20];

/// What a used row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The message that the stamp was spent on.
    pub(super) message: KnownMessage,
    /// For whom. It is never a part of the key: a stamp is spent once for all owners.
    pub(super) owner: Owner,
    /// When the stamp was spent, in seconds since 1970. A time after 2106 or before 1970 counts as that limit.
    pub(super) first_seen: u32,
    /// Redeliveries of the message so far.
    pub(super) times: u8,
}

/// The answer, and the rows to write before the answer is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) answer: SpendResult,
    /// The use of the stamp.
    pub(super) used: Option<Entry>,
    pub(super) standing: Option<StampStatus>,
    /// The row of the counter ([`counter_key`]), together with the use.
    pub(super) count: Option<Entry>,
}

impl From<SpendResult> for Decision {
    /// Returns the decision that writes nothing.
    fn from(answer: SpendResult) -> Self {
        Self { answer, used: None, standing: None, count: None }
    }
}

/// The input of the rule: all that is known of one stamp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) standing: StampStatus,
    pub(super) entry: Option<Entry>,
    /// The row of the counter, if the request has a [`Cap`].
    pub(super) counter: Option<Entry>,
    /// The purge mark: the highest bucket from which a row was ever removed.
    pub(super) mark: Option<u32>,
}

/// Applies the rule.
pub(super) fn decide(ask: &SpendRequest, known: &State) -> Result<Decision, StoreError> {
    let presented = Presentation { now: ask.now, message: ask.message, from: ask.from.as_deref() };
    let (answer, standing) = known.standing.answer(&presented);
    let decision = match answer {
        Answer::Revoked { since } => SpendResult::Revoked { since }.into(),
        Answer::Granted(kind) => SpendResult::Granted(kind).into(),
        Answer::Nothing => decide_use(ask, known)?,
    };
    Ok(Decision { standing, ..decision })
}

/// Applies the rule to a stamp that no grant covers, and that was not revoked.
fn decide_use(ask: &SpendRequest, known: &State) -> Result<Decision, StoreError> {
    if let Some(entry) = known.entry {
        let first_seen = UnixTime(i64::from(entry.first_seen));
        // A clock that was set back makes the difference negative. That counts as in time: the message is the same.
        let in_time = ask.now.since(first_seen) <= ask.redelivery.within && entry.times < ask.redelivery.times;
        let same = entry.message.recognises(&ask.message);
        if same && entry.owner != ask.owner {
            return Ok(SpendResult::OtherOwner.into());
        }
        if !same || !in_time {
            return Ok(SpendResult::DoubleSpend { first_seen }.into());
        }
        let times = entry.times.saturating_add(1);
        let used = Some(Entry { times, ..entry });
        return Ok(Decision { used, ..SpendResult::Redelivery { first_seen, times }.into() });
    }
    if ask.terms == Terms::LookUp {
        return Ok(SpendResult::Fresh.into());
    }
    match known.mark {
        // The stamp is past its end, and its bucket was purged before `stamps.expiry_grace` was raised: it has ended.
        Some(mark) if bucket(ask.expires) <= mark && ask.late => Ok(SpendResult::Ended.into()),
        Some(mark) if bucket(ask.expires) <= mark => {
            Err(StoreError::ClockBehind { now: ask.now, cleared: bucket_end(mark) })
        }
        _ => {
            let first_seen = u32::try_from(ask.now.0.max(0)).unwrap_or(u32::MAX);
            let count = ask.cap.as_ref().map(|cap| {
                let counter = known.counter.unwrap_or(Entry { first_seen, ..Entry::counted(0) });
                (counter.times < cap.most).then(|| Entry { times: counter.times + 1, ..counter })
            });
            if count == Some(None) {
                return Ok(SpendResult::TooOften.into());
            }
            let used = Some(Entry { message: ask.message, owner: ask.owner, first_seen, times: 0 });
            Ok(Decision { used, count: count.flatten(), ..SpendResult::Fresh.into() })
        }
    }
}

/// Whether the stamp was accepted on this message.
pub(super) fn received(ask: &SpendRequest, known: &State) -> bool {
    let spent = known.entry.is_some_and(|entry| entry.message.recognises(&ask.message));
    spent || known.standing.grant.as_ref().is_some_and(|grant| grant.knows(&ask.message))
}

/// Returns the id of a stamp.
pub(super) fn name(vendor: &str, serial: &Serial) -> StampId {
    let mut hash = Sha256::new();
    for part in [vendor, serial.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    first_half(&digest)
}

/// Returns the key of a stamp.
pub(super) fn key(ask: &SpendRequest) -> SpendKey {
    encode_key(bucket(ask.expires), &name(&ask.vendor, &ask.serial))
}

/// The vendor in the id of a counter; no vendor has this name.
const COUNTERS: &str = "#uses";

/// What is in the place of a message in the row of a counter.
pub(super) const COUNTED: KnownMessage = KnownMessage { whole: [0; 16], broken: None };

/// Returns the key of a counter. Its row is like that of a use, so it is kept and purged as those are.
pub(super) fn counter_key(cap: &Cap) -> SpendKey {
    encode_key(bucket(Some(cap.until)), &name(COUNTERS, &cap.name))
}

/// Joins bucket and id to a key.
pub(super) fn encode_key(bucket: u32, name: &StampId) -> SpendKey {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&bucket.to_be_bytes());
    key[4..].copy_from_slice(name);
    key
}

/// Splits a key into bucket and id.
pub(super) fn decode_key(key: &SpendKey) -> (u32, StampId) {
    let [a, b, c, d, name @ ..] = *key;
    (u32::from_be_bytes([a, b, c, d]), name)
}

/// Returns the bucket of a window's end. A time before 1970 counts as 1970.
pub(super) fn bucket(expires: Option<UnixTime>) -> u32 {
    match expires {
        None => NEVER,
        Some(time) => u32::try_from(time.0.max(0) / HOUR).unwrap_or(NEVER - 1).min(NEVER - 1),
    }
}

/// Returns the first second after a bucket.
pub(super) fn bucket_end(bucket: u32) -> UnixTime {
    UnixTime((i64::from(bucket) + 1) * HOUR)
}

/// Returns the first bucket to keep at `now`: all below it ended `grace` seconds ago or earlier.
pub(super) fn oldest_kept_bucket(now: UnixTime, grace: i64) -> u32 {
    let ended = now.0.saturating_sub(grace.max(0)).max(0) / HOUR;
    u32::try_from(ended).unwrap_or(NEVER)
}

/// Returns the first bucket that a spend may not purge by the way.
/// The row that the spend writes stays in any case.
pub(super) fn purge_below(ask: &SpendRequest, grace: i64) -> u32 {
    let until = ask.purge_until.map(|until| until.min(ask.now));
    until.map_or(0, |until| oldest_kept_bucket(until, grace)).min(bucket(ask.expires))
}

/// Returns the purge mark that replaces one which lies after `now`; `None` if this one does not.
/// It is the last bucket that has ended: its stamps are refused by their date, or soon will be.
pub(super) fn lifted_mark(mark: u32, now: UnixTime) -> Option<u32> {
    let present = u32::try_from(now.0.max(0) / HOUR).unwrap_or(NEVER);
    (mark >= present).then(|| present.saturating_sub(1))
}

fn first_half(whole: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}

/// A used row, encoded: at most 45 bytes.
pub(super) struct Row {
    bytes: [u8; 45],
    length: usize,
}

impl Row {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn put(&mut self, part: &[u8]) {
        self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
        self.length += part.len();
    }
}

impl Entry {
    /// The row of a counter.
    pub(super) fn counted(times: u8) -> Self {
        Self { message: COUNTED, owner: Owner::default(), first_seen: 0, times }
    }

    /// Encodes a row: message (16 bytes), first seen (big endian), redeliveries; then the owner (8 bytes), unless it is
    /// the default; then the message with broken lines (16 bytes), if it has long ones. The length tells which.
    pub(super) fn to_row(self) -> Row {
        let mut row = Row { bytes: [0; 45], length: 0 };
        row.put(&self.message.whole);
        row.put(&self.first_seen.to_be_bytes());
        row.put(&[self.times]);
        if !self.owner.is_default() {
            row.put(&self.owner.0);
        }
        if let Some(broken) = &self.message.broken {
            row.put(broken);
        }
        row
    }

    /// Decodes a row; `None` for a length that no row has.
    pub(super) fn from_row(bytes: &[u8]) -> Option<Self> {
        let (whole, rest) = bytes.split_first_chunk()?;
        let (first_seen, rest) = rest.split_first_chunk()?;
        let (&times, rest) = rest.split_first()?;
        let (owner, broken) = match rest.len() {
            0 | 16 => (Owner::default(), rest),
            8 | 24 => (Owner(*rest.first_chunk()?), &rest[8..]),
            _ => return None,
        };
        Some(Self {
            message: KnownMessage { whole: *whole, broken: broken.first_chunk().copied() },
            owner,
            first_seen: u32::from_be_bytes(*first_seen),
            times,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_as_it_was_written() {
        for (owner, broken, length) in [
            (Owner::default(), None, 21),
            (Owner([5; 8]), None, 29),
            (Owner::default(), Some([6; 16]), 37),
            (Owner([5; 8]), Some([6; 16]), 45),
        ] {
            let message = KnownMessage { whole: [7; 16], broken };
            let entry = Entry { message, owner, first_seen: 0x0102_0304, times: 9 };
            let row = entry.to_row();
            assert_eq!(Entry::from_row(row.as_bytes()), Some(entry));
            assert_eq!((row.as_bytes().len(), &row.as_bytes()[16..21]), (length, [1, 2, 3, 4, 9].as_slice()));
        }
        assert!([0, 20, 22, 30, 46].iter().all(|length| Entry::from_row(&vec![1; *length]).is_none()));
    }

    #[test]
    fn keys_sort_by_the_hour_of_the_end_and_never_comes_last() {
        let at = |seconds| encode_key(bucket(seconds), &[0xff; 16]);
        assert!(at(Some(UnixTime(i64::MIN))) <= at(Some(UnixTime(0))));
        assert!(at(Some(UnixTime(3_599))) < at(Some(UnixTime(3_600))));
        assert!(at(Some(UnixTime(i64::MAX))) < at(None));
        assert_eq!(decode_key(&encode_key(5, &[1; 16])), (5, [1; 16]));
    }

    #[test]
    fn a_bucket_is_kept_until_its_last_stamp_has_ended_and_the_grace_is_over() {
        let end = bucket_end(10);
        assert_eq!(end, UnixTime(39_600));
        assert_eq!(oldest_kept_bucket(end.plus(99), 100), 10);
        assert_eq!(oldest_kept_bucket(end.plus(100), 100), 11);
        assert_eq!(oldest_kept_bucket(end, -5), 11);
        assert_eq!(oldest_kept_bucket(UnixTime(i64::MIN), i64::MAX), 0);
        assert_eq!(oldest_kept_bucket(UnixTime(i64::MAX), 0), NEVER);
    }

    #[test]
    fn only_a_mark_that_lies_after_now_is_lifted() {
        let now = UnixTime(10 * HOUR + 7);
        assert_eq!([9, 10, 400, NEVER].map(|mark| lifted_mark(mark, now)), [None, Some(9), Some(9), Some(9)]);
        assert_eq!(lifted_mark(NEVER, UnixTime(-1)), Some(0));
    }

    #[test]
    fn the_lengths_keep_vendor_and_serial_apart() {
        let serial = |text: &str| Serial::new(text).unwrap();
        assert_ne!(name("ab", &serial("c")), name("a", &serial("bc")));
        assert_eq!(name("a", &serial("b")), name("a", &serial("b")));
    }
}
