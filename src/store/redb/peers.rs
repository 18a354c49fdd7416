//! Records of correspondents' own keys on disk, as JSON. The first row creates the table, so files of older versions are
//! read as they are.

use super::Redb;
use super::schema::{self, PEERS, open_optional};
use super::session::SessionError;
use crate::message::address::Address;
use crate::os::safe_dir::IfMissing;
use crate::peer::record::PeerRecord;
use crate::store::error::StoreError;
use crate::store::peers::{self, Peer, PeerStore};
use crate::verdict::owner::Owner;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use std::ops::ControlFlow;

impl PeerStore for Redb {
    fn peer(&self, owner: Owner, address: &Address) -> Result<PeerRecord, StoreError> {
        let key = peers::key(owner, address);
        let found = self.with_session(IfMissing::Ignore, |session| record_in(&session.read()?, &key))?;
        Ok(found.unwrap_or_default())
    }

    fn update_peer(
        &self,
        owner: Owner,
        address: &Address,
        change: &mut dyn FnMut(&PeerRecord) -> PeerRecord,
    ) -> Result<PeerRecord, StoreError> {
        let key = peers::key(owner, address);
        // A change that leaves the default record creates no log.
        let nothing = PeerRecord::default();
        let absent = if change(&nothing) == nothing { IfMissing::Ignore } else { IfMissing::Create };
        let after = self.with_session(absent, |session| {
            let before = record_in(&session.read()?, &key)?;
            let after = change(&before);
            if before != after {
                session.write(|tx| schema::put_peer(&mut tx.open_table(PEERS)?, &key, &after))?;
            }
            Ok(after)
        })?;
        Ok(after.unwrap_or_default())
    }

    fn peers(&self, to: &mut dyn FnMut(Peer) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.with_session(IfMissing::Ignore, |session| visit(&session.read()?, to))?;
        Ok(())
    }

    fn peer_count(&self) -> Result<u64, StoreError> {
        Ok(self.with_session(IfMissing::Ignore, |session| count(&session.read()?))?.unwrap_or_default())
    }
}

/// Returns the number of records.
pub(in crate::store) fn count(tx: &ReadTransaction) -> Result<u64, SessionError> {
    Ok(open_optional(tx.open_table(PEERS))?.map_or(Ok(0), |table| table.len())?)
}

/// Visits every record, until `to` breaks.
pub(in crate::store) fn visit(
    tx: &ReadTransaction,
    to: &mut dyn FnMut(Peer) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, SessionError> {
    let Some(table) = open_optional(tx.open_table(PEERS))? else { return Ok(ControlFlow::Continue(())) };
    for row in table.iter()? {
        let (key, record) = row?;
        if let Some(peer) = Peer::named(key.value(), schema::peer_row(record.value())?)
            && to(peer).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn record_in(tx: &ReadTransaction, key: &str) -> Result<PeerRecord, SessionError> {
    let Some(table) = open_optional(tx.open_table(PEERS))? else { return Ok(PeerRecord::default()) };
    table.get(key)?.map_or(Ok(PeerRecord::default()), |row| schema::peer_row(row.value()))
}
