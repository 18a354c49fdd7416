//! Correspondents' own keys: one record for each correspondent of each owner, read and changed as a whole. What a record
//! has, and what a message changes in it, is decided in `peer/`.
//!
//! A record is kept under the address as it is: keys belong to one address, not to its other details. The record that
//! knows nothing takes no row.

use super::contacts::{row_key, row_of};
use super::error::StoreError;
use crate::message::address::Address;
use crate::peer::CORRESPONDENTS_MAX;
use crate::peer::record::PeerRecord;
use crate::time::UnixTime;
use crate::verdict::owner::Owner;
use std::ops::ControlFlow;

/// A correspondent with keys of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub owner: Owner,
    pub address: Address,
    pub record: PeerRecord,
}

/// The records of correspondents.
pub trait PeerStore {
    /// Returns the record of a correspondent; the default if there is none.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn peer(&self, owner: Owner, address: &Address) -> Result<PeerRecord, StoreError>;

    /// Replaces the record of a correspondent by `change` of it, atomically, and returns what it is then.
    /// Durable before it returns; an equal record is not written. `change` may be called more than once. [`change_peer`]
    /// adds records.
    ///
    /// # Errors
    /// Any [`StoreError`]. The record may have been replaced all the same.
    fn update_peer(
        &self,
        owner: Owner,
        address: &Address,
        change: &mut dyn FnMut(&PeerRecord) -> PeerRecord,
    ) -> Result<PeerRecord, StoreError>;

    /// Visits every record, by owner and address, until `to` breaks.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn peers(&self, to: &mut dyn FnMut(Peer) -> ControlFlow<()>) -> Result<(), StoreError>;

    /// Returns how many records there are, of all owners. Cheap.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn peer_count(&self) -> Result<u64, StoreError>;
}

/// Changes the record of a correspondent as [`PeerStore::update_peer`] does, and returns what it is then. Returns `None`
/// if `change` says that it stays as it is, or if it would be a new one and there is no room.
///
/// # Errors
/// Any [`StoreError`]. The record may have been replaced all the same.
pub fn change_peer<S: PeerStore + ?Sized>(
    store: &S,
    owner: Owner,
    address: &Address,
    now: UnixTime,
    change: &mut dyn FnMut(&PeerRecord) -> Option<PeerRecord>,
) -> Result<Option<PeerRecord>, StoreError> {
    let before = store.peer(owner, address)?;
    let is_new = before == PeerRecord::default();
    if change(&before).is_none() || is_new && !has_room(store, owner, now, CORRESPONDENTS_MAX)? {
        return Ok(None);
    }
    let mut changed = |record: &PeerRecord| change(record).unwrap_or_else(|| record.clone());
    store.update_peer(owner, address, &mut changed).map(Some)
}

/// Whether a record of this owner can be added. Where there are as many as an owner may have, the one that was unused
/// for longest goes, of those without a known key and without a stamp that can still be used.
fn has_room<S: PeerStore + ?Sized>(store: &S, owner: Owner, now: UnixTime, most: usize) -> Result<bool, StoreError> {
    if store.peer_count()? < most as u64 {
        return Ok(true);
    }
    let (mut count, mut idlest): (usize, Option<Peer>) = (0, None);
    store.peers(&mut |peer| {
        if peer.owner == owner {
            count += 1;
            let is_idler = |than: &Peer| peer.record.used < than.record.used;
            if peer.record.is_dispensable(now) && idlest.as_ref().is_none_or(is_idler) {
                idlest = Some(peer);
            }
        }
        ControlFlow::Continue(())
    })?;
    if count < most {
        return Ok(true);
    }
    let Some(idlest) = idlest else { return Ok(false) };
    // What came in between has made it one to be kept.
    let drop = |record: &PeerRecord| if *record == idlest.record { PeerRecord::default() } else { record.clone() };
    let left = store.update_peer(owner, &idlest.address, &mut |record| drop(record))?;
    Ok(left == PeerRecord::default())
}

/// Removes what has ended from the records, and records of which nothing is left. Returns how many records changed.
///
/// # Errors
/// Any [`StoreError`]; what was removed before stays removed.
pub fn purge_peers<S: PeerStore + ?Sized>(store: &S, now: UnixTime) -> Result<u64, StoreError> {
    let mut ended = Vec::new();
    store.peers(&mut |peer| {
        if peer.record.expire(now).is_some() {
            ended.push((peer.owner, peer.address));
        }
        ControlFlow::Continue(())
    })?;
    for (owner, address) in &ended {
        store.update_peer(*owner, address, &mut |record| record.expire(now).unwrap_or_else(|| record.clone()))?;
    }
    Ok(ended.len() as u64)
}

/// Returns the key of a record.
pub(super) fn key(owner: Owner, address: &Address) -> String {
    row_key(owner, &address.normalized())
}

impl Peer {
    /// Returns the correspondent of the row with this key; `None` for a key that this program does not write.
    pub(super) fn named(key: &str, record: PeerRecord) -> Option<Self> {
        let (owner, address) = row_of(key);
        Some(Self { owner, address: Address::parse(address).ok()?, record })
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn address(number: i64) -> Address {
        Address::parse(&format!("a{number}@x.example")).unwrap()
    }

    fn used(seconds: i64) -> PeerRecord {
        let at = Some(NOW.plus(seconds));
        PeerRecord { contact: at, used: at, ..PeerRecord::default() }
    }

    // Attack table: a flood of announcements.
    #[test]
    fn announcements_beyond_the_limit_replace_unused_rows_only() {
        let (store, own, other) = (Memory::new(), Owner::default(), Owner::named("bob"));
        for number in 0..3 {
            store.update_peer(own, &address(number), &mut |_| used(9 - number)).unwrap();
        }
        assert!(has_room(&store, own, NOW, 4).unwrap());
        assert!(has_room(&store, other, NOW, 3).unwrap());
        assert_eq!(store.peer_count().unwrap(), 3);
        assert!(has_room(&store, own, NOW, 3).unwrap());
        assert_eq!(store.peer(own, &address(2)).unwrap(), PeerRecord::default());
        assert_eq!(store.peer_count().unwrap(), 2);
        // With nothing to spare nothing is learned.
        assert!(!has_room(&store, other, NOW, 0).unwrap());
    }

    #[test]
    fn the_key_of_a_record_has_the_whole_address() {
        let detail = Address::parse("Joe+News@x.example").unwrap();
        let (own, alice) = (Owner::default(), Owner::named("alice"));
        assert_eq!(key(own, &detail), "joe+news@x.example");
        for owner in [own, alice] {
            let peer = Peer::named(&key(owner, &detail), used(0)).unwrap();
            assert_eq!((peer.owner, peer.address.canonical()), (owner, detail.canonical()));
        }
        assert_eq!(Peer::named("\0x", used(0)), None);
    }
}
