//! In-memory store, for tests and for judging with a temporary state. It shares only the rule with the store on disk,
//! so the contract tests compare the two.

use super::contacts::{
    self, Allowance, Contact, ContactStore, Correspondent, LearnMode, LearnOutcome, MessageName, Sent,
};
use super::decide::{self, Decision, Entry, SpendKey, StampId, State};
use super::error::StoreError;
use super::export_record::{ExportRecord, merge_standing, merge_used};
use super::peers::{self, Peer, PeerStore};
use super::reply_log::{self, ReplyLog, ReplyRequest, Reservation};
use super::{GRACE, GrantStore, Imported, LiftedMark, Purged, Store, Summary, UsedLog};
use crate::grant::StampStatus;
use crate::message::address::Address;
use crate::peer::record::PeerRecord;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use crate::verdict::owner::Owner;
use crate::verdict::spend::{SpendRequest, SpendResult};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The store. Its rows are lost when it is dropped.
#[derive(Debug)]
pub struct Memory {
    ledger: Mutex<Ledger>,
    grace: i64,
}

#[derive(Debug, Default)]
struct Ledger {
    used: BTreeMap<SpendKey, Entry>,
    standings: BTreeMap<StampId, (String, Serial, StampStatus)>,
    contacts: BTreeMap<String, Contact>,
    sent: BTreeMap<MessageName, u32>,
    replies: BTreeMap<String, u32>,
    reply_hours: BTreeMap<u32, u32>,
    peers: BTreeMap<String, PeerRecord>,
    mark: Option<u32>,
}

impl Memory {
    /// Makes an empty store with the usual grace.
    #[must_use]
    pub fn new() -> Self {
        Self::with_grace(GRACE)
    }

    /// Makes an empty store that keeps rows for `grace` seconds after their bucket's end.
    #[must_use]
    pub fn with_grace(grace: i64) -> Self {
        Self { ledger: Mutex::default(), grace }
    }

    /// Locks the rows.
    /// No step under the lock can stop half-way, so the rows behind a poisoned lock are consistent.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    fn known(&self, ask: &SpendRequest) -> State {
        State {
            standing: self.standing(&decide::name(&ask.vendor, &ask.serial)),
            entry: self.used.get(&decide::key(ask)).copied(),
            counter: ask.cap.as_ref().and_then(|cap| self.used.get(&decide::counter_key(cap)).copied()),
            mark: self.mark,
        }
    }

    fn standing(&self, name: &StampId) -> StampStatus {
        self.standings.get(name).map(|(_, _, standing)| standing.clone()).unwrap_or_default()
    }

    fn put_standing(&mut self, vendor: &str, serial: &Serial, standing: StampStatus) {
        let name = decide::name(vendor, serial);
        if standing == StampStatus::default() {
            self.standings.remove(&name);
        } else {
            self.standings.insert(name, (vendor.to_owned(), serial.clone(), standing));
        }
    }

    fn clear(&mut self, below: u32, most: usize) -> Purged {
        let end = decide::encode_key(below, &[0; 16]);
        let keys: Vec<SpendKey> = self.used.range(..end).take(most).map(|(key, _)| *key).collect();
        for key in &keys {
            self.used.remove(key);
        }
        self.mark = self.mark.max(keys.last().map(|key| decide::decode_key(key).0));
        Purged { removed: keys.len(), left: self.used.range(..end).next().is_some() }
    }

    /// Merges a contact; returns whether that changed anything.
    fn put_contact(&mut self, key: String, contact: Contact) -> bool {
        let before = self.contacts.get(&key).copied();
        let after = before.map_or(contact, |known| known.and(contact));
        self.contacts.insert(key, after);
        before != Some(after)
    }

    /// Stores a record; the default one takes no row.
    fn put_peer(&mut self, key: String, record: PeerRecord) {
        if record == PeerRecord::default() {
            self.peers.remove(&key);
        } else {
            self.peers.insert(key, record);
        }
    }

    fn reply(&self, ask: &ReplyRequest) -> (Reservation, Option<reply_log::ReplyHistory>) {
        let hours = self.reply_hours.iter().map(|(hour, count)| (*hour, *count)).collect();
        let at = reply_log::keys(ask).iter().filter_map(|key| self.replies.get(key).copied()).max();
        reply_log::decide(ask, &reply_log::ReplyHistory { at, hours })
    }
}

/// Stores the higher number; returns whether that changed anything.
fn raise<K: Ord>(rows: &mut BTreeMap<K, u32>, key: K, number: u32) -> bool {
    let before = rows.get(&key).copied();
    rows.insert(key, before.map_or(number, |known| known.max(number)));
    before < Some(number)
}

impl UsedLog for Memory {
    fn spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError> {
        let mut ledger = self.ledger();
        let Decision { answer, used, standing, count } = decide::decide(ask, &ledger.known(ask))?;
        if let Some((cap, count)) = ask.cap.as_ref().zip(count) {
            ledger.used.insert(decide::counter_key(cap), count);
        }
        if let Some(standing) = standing {
            ledger.put_standing(&ask.vendor, &ask.serial, standing);
        }
        if let Some(entry) = used {
            ledger.used.insert(decide::key(ask), entry);
            ledger.clear(decide::purge_below(ask, self.grace), 64);
        }
        Ok(answer)
    }

    fn would_spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError> {
        Ok(decide::decide(ask, &self.ledger().known(ask))?.answer)
    }

    fn received(&self, ask: &SpendRequest) -> Result<bool, StoreError> {
        Ok(decide::received(ask, &self.ledger().known(ask)))
    }

    fn purge(&self, now: UnixTime, grace: i64, most: usize) -> Result<Purged, StoreError> {
        Ok(self.ledger().clear(decide::oldest_kept_bucket(now, grace), most))
    }
}

impl GrantStore for Memory {
    fn standing(&self, vendor: &str, serial: &Serial) -> Result<StampStatus, StoreError> {
        Ok(self.ledger().standing(&decide::name(vendor, serial)))
    }

    fn update_status(
        &self,
        vendor: &str,
        serial: &Serial,
        change: &mut dyn FnMut(&StampStatus) -> StampStatus,
    ) -> Result<StampStatus, StoreError> {
        let mut ledger = self.ledger();
        let before = ledger.standing(&decide::name(vendor, serial));
        ledger.put_standing(vendor, serial, change(&before));
        Ok(before)
    }

    fn standings(&self, to: &mut dyn FnMut(String, Serial, StampStatus) -> ControlFlow<()>) -> Result<(), StoreError> {
        let all = self.ledger().standings.values().cloned().collect::<Vec<_>>();
        let _ = all.into_iter().try_for_each(|(vendor, serial, standing)| to(vendor, serial, standing));
        Ok(())
    }
}

impl ContactStore for Memory {
    fn learn_as(&self, sent: &[Sent], mode: LearnMode) -> Result<LearnOutcome, StoreError> {
        let mut ledger = self.ledger();
        let mut learned = LearnOutcome::default();
        for message in sent {
            for address in message.recipients.iter().map(contacts::correspondent_key) {
                let key = contacts::row_key(message.owner, &address);
                let known = ledger.contacts.get(&key).copied();
                if let (LearnMode::Limited(limits), None) = (mode, known) {
                    let (first, end) = contacts::rows_of(message.owner);
                    let rows = ledger.contacts.range(first..end).map(|(_, row)| *row);
                    if !Allowance::new(limits, message.time, rows).take() {
                        learned.over_limit += 1;
                        continue;
                    }
                }
                let after = Contact::learn(known, Contact::at(message.time), mode, message.now);
                learned.correspondents += u64::from(after.is_active() && !known.is_some_and(Contact::is_active));
                ledger.contacts.insert(key, after);
            }
            let name = message.message_id.as_deref().and_then(|id| contacts::message_name(message.owner, id));
            if let Some(name) = name {
                learned.messages += u64::from(!ledger.sent.contains_key(&name));
                raise(&mut ledger.sent, name, contacts::seconds(message.time));
            }
        }
        Ok(learned)
    }

    fn wrote_to(&self, owner: Owner, address: &Address, since: UnixTime) -> Result<bool, StoreError> {
        let key = contacts::row_key(owner, &contacts::correspondent_key(address));
        let contact = self.ledger().contacts.get(&key).copied();
        Ok(contact.is_some_and(|contact| contact.is_active() && contact.is_since(since)))
    }

    fn sent(&self, owner: Owner, message_id: &str) -> Result<bool, StoreError> {
        Ok(contacts::message_name(owner, message_id).is_some_and(|name| self.ledger().sent.contains_key(&name)))
    }

    fn correspondents(&self, to: &mut dyn FnMut(Correspondent) -> ControlFlow<()>) -> Result<(), StoreError> {
        let all = self.ledger().contacts.clone();
        let _ = all.iter().filter_map(|(key, contact)| contact.named(key)).try_for_each(to);
        Ok(())
    }

    fn remove(&self, owner: Option<Owner>, address: &Address) -> Result<bool, StoreError> {
        let address = contacts::correspondent_key(address);
        let is_meant = |key: &str| {
            let (of, at) = contacts::row_of(key);
            at == address && owner.is_none_or(|owner| owner == of)
        };
        let mut ledger = self.ledger();
        let rows = ledger.contacts.iter_mut().filter(|(key, contact)| contact.is_active() && is_meant(key));
        Ok(rows.map(|(_, contact)| *contact = contact.remove()).count() > 0)
    }

    fn purge_sent(&self, before: UnixTime) -> Result<u64, StoreError> {
        let mut ledger = self.ledger();
        let all = ledger.sent.len();
        ledger.sent.retain(|_, at| i64::from(*at) >= before.0);
        Ok((all - ledger.sent.len()) as u64)
    }

    fn purge_correspondents(&self, before: UnixTime) -> Result<u64, StoreError> {
        let mut ledger = self.ledger();
        let all = ledger.contacts.len();
        ledger.contacts.retain(|_, contact| contact.is_since(before));
        Ok((all - ledger.contacts.len()) as u64)
    }
}

impl ReplyLog for Memory {
    fn reserve_reply(&self, ask: &ReplyRequest) -> Result<Reservation, StoreError> {
        let mut ledger = self.ledger();
        let (answer, after) = ledger.reply(ask);
        if let Some(reply_log::ReplyHistory { at, hours }) = after {
            ledger
                .replies
                .extend(at.into_iter().flat_map(|at| reply_log::keys(ask).into_iter().map(move |key| (key, at))));
            ledger.reply_hours = hours.into_iter().collect();
        }
        Ok(answer)
    }

    fn peek_reply(&self, ask: &ReplyRequest) -> Result<Reservation, StoreError> {
        Ok(self.ledger().reply(ask).0)
    }

    fn purge_replies(&self, before: UnixTime) -> Result<u64, StoreError> {
        let mut ledger = self.ledger();
        let all = ledger.replies.len();
        ledger.replies.retain(|_, at| i64::from(*at) >= before.0);
        Ok((all - ledger.replies.len()) as u64)
    }
}

impl PeerStore for Memory {
    fn peer(&self, owner: Owner, address: &Address) -> Result<PeerRecord, StoreError> {
        Ok(self.ledger().peers.get(&peers::key(owner, address)).cloned().unwrap_or_default())
    }

    fn update_peer(
        &self,
        owner: Owner,
        address: &Address,
        change: &mut dyn FnMut(&PeerRecord) -> PeerRecord,
    ) -> Result<PeerRecord, StoreError> {
        let key = peers::key(owner, address);
        let mut ledger = self.ledger();
        let after = change(&ledger.peers.get(&key).cloned().unwrap_or_default());
        ledger.put_peer(key, after.clone());
        Ok(after)
    }

    fn peers(&self, to: &mut dyn FnMut(Peer) -> ControlFlow<()>) -> Result<(), StoreError> {
        let all = self.ledger().peers.clone();
        let _ = all.into_iter().filter_map(|(key, record)| Peer::named(&key, record)).try_for_each(to);
        Ok(())
    }

    fn peer_count(&self) -> Result<u64, StoreError> {
        Ok(self.ledger().peers.len() as u64)
    }
}

impl Store for Memory {
    fn export(&self, to: &mut dyn FnMut(ExportRecord) -> ControlFlow<()>) -> Result<(), StoreError> {
        let ledger = self.ledger();
        let mark = ledger.mark.map(|hour| ExportRecord::PurgedThrough { hour });
        let used = ledger.used.iter().map(|(key, entry)| {
            let (hour, stamp) = decide::decode_key(key);
            ExportRecord::used(hour, stamp, *entry)
        });
        let standings = ledger.standings.values().map(|(vendor, serial, standing)| ExportRecord::Standing {
            vendor: vendor.clone(),
            serial: serial.clone(),
            standing: Box::new(standing.clone()),
        });
        let contacts = ledger.contacts.iter().map(|(address, contact)| ExportRecord::contact(address, *contact));
        let sent = ledger.sent.iter().map(|(message, at)| ExportRecord::Sent { message: *message, at: *at });
        let replies = ledger.replies.iter().filter_map(|(key, at)| ExportRecord::reply(key, *at));
        let hours = ledger.reply_hours.iter().map(|(hour, count)| ExportRecord::Replies { hour: *hour, count: *count });
        let stamps = mark.into_iter().chain(used).chain(standings);
        let peers = ledger.peers.iter().filter_map(|(key, record)| Peer::named(key, record.clone()));
        let peers = peers.map(ExportRecord::from);
        let _ = stamps.chain(contacts).chain(sent).chain(replies).chain(hours).chain(peers).try_for_each(to);
        Ok(())
    }

    fn import(&self, rows: &mut dyn Iterator<Item = ExportRecord>) -> Result<Imported, StoreError> {
        let mut done = Imported::default();
        for row in rows {
            let mut ledger = self.ledger();
            let changed = match row {
                ExportRecord::PurgedThrough { hour } => {
                    let before = ledger.mark;
                    ledger.mark = before.max(Some(hour));
                    ledger.mark != before
                }
                ExportRecord::Used { hour, stamp, fingerprint: message, owner, first_seen, times } => {
                    let key = decide::encode_key(hour, &stamp);
                    let before = ledger.used.get(&key).copied();
                    let after = merge_used(before, Entry { message, owner, first_seen, times });
                    ledger.used.insert(key, after);
                    before != Some(after)
                }
                ExportRecord::Standing { vendor, serial, standing } => {
                    let before = ledger.standing(&decide::name(&vendor, &serial));
                    let after = merge_standing(&before, *standing);
                    let changed = before != after;
                    ledger.put_standing(&vendor, &serial, after);
                    changed
                }
                ExportRecord::Correspondent { owner, address, first, last, forgotten } => {
                    ledger.put_contact(contacts::row_key(owner, &address), Contact { first, last, forgotten })
                }
                ExportRecord::Sent { message, at } => raise(&mut ledger.sent, message, at),
                ExportRecord::Reply { kind, sender, at } => {
                    raise(&mut ledger.replies, reply_log::key(kind, &sender), at)
                }
                ExportRecord::Replies { hour, count } => raise(&mut ledger.reply_hours, hour, count),
                ExportRecord::Peer { owner, address, peer } => {
                    let key = peers::key(owner, &address);
                    let before = ledger.peers.get(&key).cloned().unwrap_or_default();
                    let after = before.merge(&peer);
                    let changed = before != after;
                    ledger.put_peer(key, after);
                    changed
                }
            };
            *(if changed { &mut done.taken } else { &mut done.known }) += 1;
        }
        Ok(done)
    }

    fn lift_mark(&self, now: UnixTime) -> Result<Option<LiftedMark>, StoreError> {
        let mut ledger = self.ledger();
        let Some((mark, after)) = ledger.mark.and_then(|mark| Some((mark, decide::lifted_mark(mark, now)?))) else {
            return Ok(None);
        };
        ledger.mark = Some(after);
        Ok(Some(LiftedMark { from: decide::bucket_end(mark), to: decide::bucket_end(after) }))
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        let ledger = self.ledger();
        Ok(Summary {
            used: ledger.used.len() as u64,
            standings: ledger.standings.len() as u64,
            correspondents: ledger.contacts.values().filter(|contact| contact.is_active()).count() as u64,
            sent: ledger.sent.len() as u64,
            replies: ledger.replies.len() as u64,
            peers: ledger.peers.len() as u64,
            bytes: 0,
            cleared: ledger.mark.map(decide::bucket_end),
            format: 0,
        })
    }
}
