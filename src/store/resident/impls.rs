//! The ledger of a resident process. Spends go through the journal; everything else asks the tables, brought up to date
//! first where rows of the journal matter, with no spend coming in between.

use super::Resident;
use crate::grant::Standing;
use crate::message::address::Address;
use crate::stamp::serial::Serial;
use crate::store::contacts::{Correspondent, Learned, Sent, SentBook};
use crate::store::error::StoreError;
use crate::store::export_record::Row;
use crate::store::redb::only;
use crate::store::redb::session::Session;
use crate::store::redb::write_batch;
use crate::store::reply_log::{Reply, ReplyAsk, ReplyBook, Reserved};
use crate::store::{GrantBook, Imported, Purged, Store, Summary, UsedLog};
use crate::time::UnixTime;
use crate::verdict::spend::{Spend, Spent};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::SeqCst;

impl UsedLog for Resident {
    fn spend(&self, ask: &Spend) -> Result<Spent, StoreError> {
        self.inner.spend(ask)
    }

    fn peek(&self, ask: &Spend) -> Result<Spent, StoreError> {
        let state = self.inner.state();
        let layers = state.layers();
        let look = |session: &Session| write_batch::decide(session, &layers, &[ask], self.inner.grace.load(SeqCst));
        match self.inner.log.beside(state.session, look)? {
            Some(decided) => only(decided.answers),
            // Without a journal that is open now, all is in the tables.
            None => self.inner.log.peek(ask),
        }
    }

    fn received(&self, ask: &Spend) -> Result<bool, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.received(ask)
    }

    fn purge(&self, now: UnixTime, grace: i64, most: usize) -> Result<Purged, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.purge(now, grace, most)
    }
}

impl GrantBook for Resident {
    fn standing(&self, vendor: &str, serial: &Serial) -> Result<Standing, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.standing(vendor, serial)
    }

    fn change_standing(
        &self,
        vendor: &str,
        serial: &Serial,
        change: &mut dyn FnMut(&Standing) -> Standing,
    ) -> Result<Standing, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.change_standing(vendor, serial, change)
    }

    fn standings(&self, to: &mut dyn FnMut(String, Serial, Standing) -> ControlFlow<()>) -> Result<(), StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.standings(to)
    }
}

/// No row of this ledger goes through the journal.
impl SentBook for Resident {
    fn learn(&self, sent: &[Sent]) -> Result<Learned, StoreError> {
        self.inner.log.learn(sent)
    }

    fn wrote_to(&self, address: &Address) -> Result<bool, StoreError> {
        self.inner.log.wrote_to(address)
    }

    fn sent(&self, message_id: &str) -> Result<bool, StoreError> {
        self.inner.log.sent(message_id)
    }

    fn correspondents(&self, to: &mut dyn FnMut(Correspondent) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.inner.log.correspondents(to)
    }

    fn forget(&self, address: &Address) -> Result<bool, StoreError> {
        self.inner.log.forget(address)
    }

    fn purge_sent(&self, before: UnixTime) -> Result<u64, StoreError> {
        self.inner.log.purge_sent(before)
    }
}

/// Nor of this one.
impl ReplyBook for Resident {
    fn reserve_reply(&self, ask: &ReplyAsk) -> Result<Reserved, StoreError> {
        self.inner.log.reserve_reply(ask)
    }

    fn peek_reply(&self, ask: &ReplyAsk) -> Result<Reserved, StoreError> {
        self.inner.log.peek_reply(ask)
    }

    fn replies(&self, to: &mut dyn FnMut(Reply) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.inner.log.replies(to)
    }

    fn purge_replies(&self, before: UnixTime) -> Result<u64, StoreError> {
        self.inner.log.purge_replies(before)
    }
}

impl Store for Resident {
    fn export(&self, to: &mut dyn FnMut(Row) -> ControlFlow<()>) -> Result<(), StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.export(to)
    }

    fn import(&self, rows: &mut dyn Iterator<Item = Row>) -> Result<Imported, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.import(rows)
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        let (_up_to_date, log) = self.tables()?;
        log.summary()
    }
}
