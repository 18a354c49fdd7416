//! Contacts on disk: addresses in clear text, Message-IDs as hashes. The first row creates the tables, so files of
//! older versions are read as they are.

use super::schema::{CONTACTS, SENT, open_optional};
use super::session::SessionError;
use super::{ROWS_PER_COMMIT, ROWS_PER_SCAN, Redb};
use crate::message::address::Address;
use crate::os::safe_dir::IfMissing;
use crate::store::contacts::{self, Allowance, Contact, ContactStore, Correspondent, LearnMode, LearnOutcome};
use crate::store::contacts::{Gathered, MessageName, Sent, gather};
use crate::store::error::StoreError;
use crate::time::UnixTime;
use crate::verdict::owner::Owner;
use redb::{ReadTransaction, ReadableTable};
use std::collections::HashMap;
use std::ops::{Bound, ControlFlow};

impl ContactStore for Redb {
    fn learn_as(&self, sent: &[Sent], mode: LearnMode) -> Result<LearnOutcome, StoreError> {
        let (contacts, messages) = gather(sent);
        if contacts.is_empty() && messages.is_empty() {
            return Ok(LearnOutcome::default());
        }
        let learned = self.with_session(IfMissing::Create, |session| {
            let news = News::against(&session.read()?, contacts, messages, (mode, contacts::learned_at(sent)))?;
            if !news.is_empty() {
                session.write(|tx| {
                    let mut table = tx.open_table(CONTACTS)?;
                    for (address, contact) in &news.contacts {
                        table.insert(address.as_str(), &contact.to_bytes())?;
                    }
                    let mut table = tx.open_table(SENT)?;
                    for (name, at) in &news.messages {
                        table.insert(name, at)?;
                    }
                    Ok(())
                })?;
            }
            Ok(news.learned)
        })?;
        Ok(learned.unwrap_or_default())
    }

    fn wrote_to(&self, owner: Owner, address: &Address, since: UnixTime) -> Result<bool, StoreError> {
        let key = contacts::row_key(owner, &contacts::correspondent_key(address));
        let contact = self.with_session(IfMissing::Ignore, |session| contact_in(&session.read()?, &key))?;
        Ok(contact.flatten().is_some_and(|contact| contact.is_active() && contact.is_since(since)))
    }

    fn sent(&self, owner: Owner, message_id: &str) -> Result<bool, StoreError> {
        let Some(name) = contacts::message_name(owner, message_id) else { return Ok(false) };
        let at = self.with_session(IfMissing::Ignore, |session| {
            let Some(table) = open_optional(session.read()?.open_table(SENT))? else { return Ok(None) };
            Ok(table.get(&name)?.map(|at| at.value()))
        })?;
        Ok(at.flatten().is_some())
    }

    fn correspondents(&self, to: &mut dyn FnMut(Correspondent) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.with_session(IfMissing::Ignore, |session| {
            contacts(&session.read()?, &mut |key, contact| match contact.named(key) {
                Some(correspondent) => to(correspondent),
                None => ControlFlow::Continue(()),
            })
        })?;
        Ok(())
    }

    fn remove(&self, owner: Option<Owner>, address: &Address) -> Result<bool, StoreError> {
        let address = contacts::correspondent_key(address);
        let forgotten = self.with_session(IfMissing::Ignore, |session| {
            let mut rows = Vec::new();
            let tx = session.read()?;
            if let Some(owner) = owner {
                let key = contacts::row_key(owner, &address);
                rows.extend(contact_in(&tx, &key)?.map(|contact| (key, contact)));
            } else {
                let _ = contacts(&tx, &mut |key, contact| {
                    if contacts::row_of(key).1 == address {
                        rows.push((key.to_owned(), contact));
                    }
                    ControlFlow::Continue(())
                })?;
            }
            rows.retain(|(_, contact)| contact.is_active());
            if rows.is_empty() {
                return Ok(false);
            }
            session.write(|tx| {
                let mut table = tx.open_table(CONTACTS)?;
                for (key, contact) in &rows {
                    table.insert(key.as_str(), &contact.remove().to_bytes())?;
                }
                Ok(true)
            })
        })?;
        Ok(forgotten.unwrap_or_default())
    }

    fn purge_sent(&self, before: UnixTime) -> Result<u64, StoreError> {
        let mut from: Option<MessageName> = None;
        self.in_chunks(|session| {
            let Some(table) = open_optional(session.read()?.open_table(SENT))? else { return Ok((0, false)) };
            let lower = from.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut ended: Vec<MessageName> = Vec::new();
            let mut seen = 0;
            for row in table.range::<&MessageName>((lower, Bound::Unbounded))? {
                let (name, at) = row?;
                seen += 1;
                from = Some(*name.value());
                if i64::from(at.value()) < before.0 {
                    ended.push(*name.value());
                }
                if seen == ROWS_PER_SCAN || ended.len() == ROWS_PER_COMMIT {
                    break;
                }
            }
            drop(table);
            if !ended.is_empty() {
                session.write(|tx| {
                    let mut table = tx.open_table(SENT)?;
                    ended.iter().try_for_each(|name| table.remove(name).map(|_| ()))?;
                    Ok(())
                })?;
            }
            Ok((ended.len() as u64, seen == ROWS_PER_SCAN || ended.len() == ROWS_PER_COMMIT))
        })
    }

    fn purge_correspondents(&self, before: UnixTime) -> Result<u64, StoreError> {
        let mut from = String::new();
        self.in_chunks(|session| {
            let mut ended: Vec<String> = Vec::new();
            let mut seen = 0;
            let start = from.clone();
            let stopped = contacts_from(&session.read()?, &start, &mut |key, contact| {
                if seen == ROWS_PER_SCAN || ended.len() == ROWS_PER_COMMIT {
                    key.clone_into(&mut from);
                    return ControlFlow::Break(());
                }
                seen += 1;
                if !contact.is_since(before) {
                    ended.push(key.to_owned());
                }
                ControlFlow::Continue(())
            })?;
            if !ended.is_empty() {
                session.write(|tx| {
                    let mut table = tx.open_table(CONTACTS)?;
                    ended.iter().try_for_each(|key| table.remove(key.as_str()).map(|_| ()))?;
                    Ok(())
                })?;
            }
            Ok((ended.len() as u64, stopped.is_break()))
        })
    }
}

/// The rows to write, with the count of new ones.
struct News {
    contacts: Vec<(String, Contact)>,
    messages: Vec<(MessageName, u32)>,
    learned: LearnOutcome,
}

impl News {
    fn against(
        tx: &ReadTransaction,
        contacts: Gathered,
        messages: HashMap<MessageName, u32>,
        (mode, now): (LearnMode, UnixTime),
    ) -> Result<Self, SessionError> {
        let mut news = Self { contacts: Vec::new(), messages: Vec::new(), learned: LearnOutcome::default() };
        let table = open_optional(tx.open_table(CONTACTS))?;
        // That of the owner whose addresses are learned; they come one after the other.
        let mut allowance: Option<(Owner, Allowance)> = None;
        for ((owner, address), contact) in contacts {
            let key = contacts::row_key(owner, &address);
            let known = match &table {
                Some(table) => table.get(key.as_str())?.map(|row| Contact::from_bytes(row.value())),
                None => None,
            };
            if let (LearnMode::Limited(limits), None) = (mode, known) {
                if allowance.as_ref().is_none_or(|(of, _)| *of != owner) {
                    let rows = rows_of(tx, owner)?;
                    allowance = Some((owner, Allowance::new(limits, UnixTime(contact.last.into()), rows.into_iter())));
                }
                if !allowance.as_mut().is_some_and(|(_, allowance)| allowance.take()) {
                    news.learned.over_limit += 1;
                    continue;
                }
            }
            let after = Contact::learn(known, contact, mode, now);
            news.learned.correspondents += u64::from(after.is_active() && !known.is_some_and(Contact::is_active));
            if known != Some(after) {
                news.contacts.push((key, after));
            }
        }
        let table = open_optional(tx.open_table(SENT))?;
        for (name, at) in messages {
            let known = match &table {
                Some(table) => table.get(&name)?.map(|at| at.value()),
                None => None,
            };
            news.learned.messages += u64::from(known.is_none());
            if known < Some(at) {
                news.messages.push((name, at));
            }
        }
        Ok(news)
    }

    fn is_empty(&self) -> bool {
        self.contacts.is_empty() && self.messages.is_empty()
    }
}

fn contact_in(tx: &ReadTransaction, key: &str) -> Result<Option<Contact>, SessionError> {
    let Some(table) = open_optional(tx.open_table(CONTACTS))? else { return Ok(None) };
    Ok(table.get(key)?.map(|row| Contact::from_bytes(row.value())))
}

/// Returns the rows of an owner.
fn rows_of(tx: &ReadTransaction, owner: Owner) -> Result<Vec<Contact>, SessionError> {
    let Some(table) = open_optional(tx.open_table(CONTACTS))? else { return Ok(Vec::new()) };
    let (first, end) = contacts::rows_of(owner);
    let rows = table.range(first.as_str()..end.as_str())?;
    rows.map(|row| Ok(Contact::from_bytes(row?.1.value()))).collect()
}

/// Visits every contact, by the key of its row, until `to` breaks.
pub(super) fn contacts(
    tx: &ReadTransaction,
    to: &mut dyn FnMut(&str, Contact) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, SessionError> {
    contacts_from(tx, "", to)
}

/// As [`contacts`], from this key on.
fn contacts_from(
    tx: &ReadTransaction,
    start: &str,
    to: &mut dyn FnMut(&str, Contact) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, SessionError> {
    let Some(table) = open_optional(tx.open_table(CONTACTS))? else { return Ok(ControlFlow::Continue(())) };
    for row in table.range::<&str>(start..)? {
        let (key, contact) = row?;
        if to(key.value(), Contact::from_bytes(contact.value())).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Visits the stored name of every Message-ID, until `to` breaks.
pub(super) fn messages(
    tx: &ReadTransaction,
    to: &mut dyn FnMut(MessageName, u32) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, SessionError> {
    let Some(table) = open_optional(tx.open_table(SENT))? else { return Ok(ControlFlow::Continue(())) };
    for row in table.iter()? {
        let (name, at) = row?;
        if to(*name.value(), at.value()).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
