//! Records of correspondents' own keys in PostgreSQL, as JSON, under the lock of contacts and replies.

use super::Postgres;
use super::connection::{Connection, Failure};
use super::export::Table;
use super::replies::locked;
use super::rows::{peer_of, single};
use crate::message::address::Address;
use crate::peer::record::PeerRecord;
use crate::store::ExportRecord;
use crate::store::error::StoreError;
use crate::store::peers::{self, Peer, PeerStore};
use crate::verdict::owner::Owner;
use std::ops::ControlFlow;
use tokio_postgres::types::Type;

impl PeerStore for Postgres {
    fn peer(&self, owner: Owner, address: &Address) -> Result<PeerRecord, StoreError> {
        let key = peers::key(owner, address);
        self.read(async |connection| record(connection, &key).await)
    }

    fn update_peer(
        &self,
        owner: Owner,
        address: &Address,
        change: &mut dyn FnMut(&PeerRecord) -> PeerRecord,
    ) -> Result<PeerRecord, StoreError> {
        let key = peers::key(owner, address);
        self.correspond(async |connection| {
            let before = record(connection, &key).await?;
            let after = change(&before);
            if before != after {
                put(connection, &key, &after).await?;
            }
            Ok(after)
        })
    }

    fn peers(&self, to: &mut dyn FnMut(Peer) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.visit(&[Table::Peers], &mut |row| match row {
            ExportRecord::Peer { owner, address, peer } => to(Peer { owner, address, record: *peer }),
            _ => ControlFlow::Continue(()),
        })
    }

    fn peer_count(&self) -> Result<u64, StoreError> {
        self.read(async |connection| {
            let space = connection.space;
            let text = "select count(*) from mailstamp.peer where space = $1";
            let rows = connection.rows(text, &[(&space, Type::INT4)]).await?;
            u64::try_from(single::<i64>(&rows)?).map_err(|_| Failure::Damaged)
        })
    }
}

/// Merges records; returns how many that changed.
pub(super) async fn merge(connection: &mut Connection, batch: &[ExportRecord]) -> Result<u64, Failure> {
    locked(connection, async |connection| {
        let mut changed = 0;
        for row in batch {
            let ExportRecord::Peer { owner, address, peer } = row else { continue };
            let key = peers::key(*owner, address);
            let before = record(connection, &key).await?;
            let after = before.merge(peer);
            if before != after {
                put(connection, &key, &after).await?;
                changed += 1;
            }
        }
        Ok(changed)
    })
    .await
}

async fn record(connection: &mut Connection, key: &str) -> Result<PeerRecord, Failure> {
    let space = connection.space;
    let text = "select peer from mailstamp.peer where space = $1 and key = $2";
    let rows = connection.rows(text, &[(&space, Type::INT4), (&key.as_bytes(), Type::BYTEA)]).await?;
    Ok(rows.first().map(peer_of).transpose()?.unwrap_or_default())
}

/// Stores a record; the default one takes no row.
async fn put(connection: &mut Connection, key: &str, record: &PeerRecord) -> Result<(), Failure> {
    let (space, key) = (connection.space, key.as_bytes());
    if *record == PeerRecord::default() {
        let text = "delete from mailstamp.peer where space = $1 and key = $2";
        connection.rows(text, &[(&space, Type::INT4), (&key, Type::BYTEA)]).await?;
    } else {
        let json = serde_json::to_string(record).unwrap_or_default();
        let text = "insert into mailstamp.peer (space, key, peer) values ($1, $2, $3)
            on conflict (space, key) do update set peer = excluded.peer";
        connection.rows(text, &[(&space, Type::INT4), (&key, Type::BYTEA), (&json, Type::TEXT)]).await?;
    }
    Ok(())
}
