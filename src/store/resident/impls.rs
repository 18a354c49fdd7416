//! Store traits of the resident log. Spends go through the WAL. All other requests read the tables. Where WAL rows
//! matter, these are flushed first, and no spend comes in between.

use super::ResidentLog;
use crate::grant::StampStatus;
use crate::message::address::Address;
use crate::peer::record::PeerRecord;
use crate::stamp::serial::Serial;
use crate::store::contacts::{ContactStore, Correspondent, LearnMode, LearnOutcome, Sent};
use crate::store::error::StoreError;
use crate::store::export_record::ExportRecord;
use crate::store::peers::{Peer, PeerStore};
use crate::store::redb::session::Session;
use crate::store::redb::single;
use crate::store::redb::write_batch;
use crate::store::reply_log::{ReplyLog, ReplyRequest, Reservation};
use crate::store::{GrantStore, Imported, LiftedMark, Purged, Store, Summary, UsedLog};
use crate::time::UnixTime;
use crate::verdict::owner::Owner;
use crate::verdict::spend::{SpendRequest, SpendResult};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::SeqCst;

impl UsedLog for ResidentLog {
    fn spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError> {
        self.inner.spend(ask)
    }

    fn would_spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError> {
        let state = self.inner.state();
        let layers = state.layers();
        let look = |session: &Session| write_batch::decide(session, &layers, &[ask], self.inner.grace.load(SeqCst));
        match self.inner.log.read_shared(state.session, look)? {
            Some(decided) => single(decided.answers),
            // Without an open WAL all rows are in the tables.
            None => self.inner.log.would_spend(ask),
        }
    }

    fn received(&self, ask: &SpendRequest) -> Result<bool, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.received(ask)
    }

    fn purge(&self, now: UnixTime, grace: i64, most: usize) -> Result<Purged, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.purge(now, grace, most)
    }
}

impl GrantStore for ResidentLog {
    fn standing(&self, vendor: &str, serial: &Serial) -> Result<StampStatus, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.standing(vendor, serial)
    }

    fn update_status(
        &self,
        vendor: &str,
        serial: &Serial,
        change: &mut dyn FnMut(&StampStatus) -> StampStatus,
    ) -> Result<StampStatus, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.update_status(vendor, serial, change)
    }

    fn standings(&self, to: &mut dyn FnMut(String, Serial, StampStatus) -> ControlFlow<()>) -> Result<(), StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.standings(to)
    }
}

/// No row of the contacts goes through the WAL.
impl ContactStore for ResidentLog {
    fn learn_as(&self, sent: &[Sent], mode: LearnMode) -> Result<LearnOutcome, StoreError> {
        self.inner.log.learn_as(sent, mode)
    }

    fn wrote_to(&self, owner: Owner, address: &Address, since: UnixTime) -> Result<bool, StoreError> {
        self.inner.log.wrote_to(owner, address, since)
    }

    fn sent(&self, owner: Owner, message_id: &str) -> Result<bool, StoreError> {
        self.inner.log.sent(owner, message_id)
    }

    fn correspondents(&self, to: &mut dyn FnMut(Correspondent) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.inner.log.correspondents(to)
    }

    fn remove(&self, owner: Option<Owner>, address: &Address) -> Result<bool, StoreError> {
        self.inner.log.remove(owner, address)
    }

    fn purge_sent(&self, before: UnixTime) -> Result<u64, StoreError> {
        self.inner.log.purge_sent(before)
    }

    fn purge_correspondents(&self, before: UnixTime) -> Result<u64, StoreError> {
        self.inner.log.purge_correspondents(before)
    }
}

/// No row of the reply log goes through the WAL.
impl ReplyLog for ResidentLog {
    fn reserve_reply(&self, ask: &ReplyRequest) -> Result<Reservation, StoreError> {
        self.inner.log.reserve_reply(ask)
    }

    fn peek_reply(&self, ask: &ReplyRequest) -> Result<Reservation, StoreError> {
        self.inner.log.peek_reply(ask)
    }

    fn purge_replies(&self, before: UnixTime) -> Result<u64, StoreError> {
        self.inner.log.purge_replies(before)
    }
}

/// No row of the correspondents' keys goes through the WAL.
impl PeerStore for ResidentLog {
    fn peer(&self, owner: Owner, address: &Address) -> Result<PeerRecord, StoreError> {
        self.inner.log.peer(owner, address)
    }

    fn update_peer(
        &self,
        owner: Owner,
        address: &Address,
        change: &mut dyn FnMut(&PeerRecord) -> PeerRecord,
    ) -> Result<PeerRecord, StoreError> {
        self.inner.log.update_peer(owner, address, change)
    }

    fn peers(&self, to: &mut dyn FnMut(Peer) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.inner.log.peers(to)
    }

    fn peer_count(&self) -> Result<u64, StoreError> {
        self.inner.log.peer_count()
    }
}

impl Store for ResidentLog {
    fn export(&self, to: &mut dyn FnMut(ExportRecord) -> ControlFlow<()>) -> Result<(), StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.export(to)
    }

    fn import(&self, rows: &mut dyn Iterator<Item = ExportRecord>) -> Result<Imported, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.import(rows)
    }

    fn lift_mark(&self, now: UnixTime) -> Result<Option<LiftedMark>, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.lift_mark(now)
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.summary()
    }
}
