//! Contacts in PostgreSQL, by the rules of `contacts.rs`, under a lock that one transaction holds for the space.

use super::Postgres;
use super::connection::{Connection, Failure};
use super::export::Table;
use super::rows::contact_of;
use crate::message::address::Address;
use crate::store::ExportRecord;
use crate::store::contacts::{self, Allowance, Contact, ContactStore, Correspondent, Gathered, LearnMode};
use crate::store::contacts::{LearnOutcome, MessageName, Sent};
use crate::store::error::StoreError;
use crate::time::UnixTime;
use crate::verdict::owner::Owner;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use tokio_postgres::types::Type;

impl ContactStore for Postgres {
    fn learn_as(&self, sent: &[Sent], mode: LearnMode) -> Result<LearnOutcome, StoreError> {
        let (contacts, messages) = contacts::gather(sent);
        if contacts.is_empty() && messages.is_empty() {
            return Ok(LearnOutcome::default());
        }
        self.correspond(async |connection| {
            let mut learned = LearnOutcome::default();
            learn_contacts(connection, contacts, (mode, contacts::learned_at(sent)), &mut learned).await?;
            learned.messages = learn_messages(connection, &messages).await?;
            Ok(learned)
        })
    }

    fn wrote_to(&self, owner: Owner, address: &Address, since: UnixTime) -> Result<bool, StoreError> {
        let key = contacts::row_key(owner, &contacts::correspondent_key(address));
        let known = self.read(async |connection| known(connection, &[key.as_bytes()]).await)?;
        Ok(known.values().any(|contact| contact.is_active() && contact.is_since(since)))
    }

    fn sent(&self, owner: Owner, message_id: &str) -> Result<bool, StoreError> {
        let Some(name) = contacts::message_name(owner, message_id) else { return Ok(false) };
        self.read(async |connection| {
            let space = connection.space;
            let text = "select 1 from mailstamp.sent where space = $1 and message = $2";
            let key = [(&space as _, Type::INT4), (&name.as_slice() as _, Type::BYTEA)];
            Ok(!connection.rows(text, &key).await?.is_empty())
        })
    }

    fn correspondents(&self, to: &mut dyn FnMut(Correspondent) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.visit(&[Table::Contacts], &mut |row| match row {
            ExportRecord::Correspondent { owner, address, first, last, forgotten } => {
                let contact = Contact { first, last, forgotten };
                contact.named(&contacts::row_key(owner, &address)).map_or(ControlFlow::Continue(()), &mut *to)
            }
            _ => ControlFlow::Continue(()),
        })
    }

    fn remove(&self, owner: Option<Owner>, address: &Address) -> Result<bool, StoreError> {
        let address = contacts::correspondent_key(address);
        self.correspond(async |connection| {
            let space = connection.space;
            let key = owner.map(|owner| contacts::row_key(owner, &address).into_bytes());
            // The key of another owner begins with a zero byte and 16 digits.
            let text = "select key, first, last, forgotten from mailstamp.correspondent where space = $1
                and case when $2::bytea is not null then key = $2
                    else key = $3 or (get_byte(key, 0) = 0 and substring(key from 18) = $3) end";
            let plain = address.as_bytes();
            let parameters = [(&space as _, Type::INT4), (&key as _, Type::BYTEA), (&plain as _, Type::BYTEA)];
            let rows = connection.rows(text, &parameters).await?;
            let mut all = rows.iter().map(contact_of).collect::<Result<Vec<_>, _>>()?;
            all.retain(|(_, contact)| contact.is_active());
            all.iter_mut().for_each(|(_, contact)| *contact = contact.remove());
            put(connection, &all).await?;
            Ok(!all.is_empty())
        })
    }

    fn purge_sent(&self, before: UnixTime) -> Result<u64, StoreError> {
        self.purge_old(purge_of!("sent", "message", "at"), before)
    }

    fn purge_correspondents(&self, before: UnixTime) -> Result<u64, StoreError> {
        self.purge_old(purge_of!("correspondent", "key", "last"), before)
    }
}

async fn learn_contacts(
    connection: &mut Connection,
    contacts: Gathered,
    (mode, now): (LearnMode, UnixTime),
    learned: &mut LearnOutcome,
) -> Result<(), Failure> {
    let keys: Vec<String> = contacts.keys().map(|(owner, address)| contacts::row_key(*owner, address)).collect();
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    let known = known(connection, &keys).await?;
    let mut news = Vec::new();
    // That of the owner whose addresses are learned; they come one after the other.
    let mut allowance: Option<(Owner, Allowance)> = None;
    for ((owner, address), contact) in contacts {
        let key = contacts::row_key(owner, &address).into_bytes();
        let before = known.get(&key).copied();
        if let (LearnMode::Limited(limits), None) = (mode, before) {
            if allowance.as_ref().is_none_or(|(of, _)| *of != owner) {
                let rows = rows_of(connection, owner).await?;
                allowance = Some((owner, Allowance::new(limits, UnixTime(contact.last.into()), rows.into_iter())));
            }
            if !allowance.as_mut().is_some_and(|(_, allowance)| allowance.take()) {
                learned.over_limit += 1;
                continue;
            }
        }
        let after = Contact::learn(before, contact, mode, now);
        learned.correspondents += u64::from(after.is_active() && !before.is_some_and(Contact::is_active));
        if before != Some(after) {
            news.push((key, after));
        }
    }
    put(connection, &news).await
}

/// Writes Message-IDs; returns how many were not known.
async fn learn_messages(connection: &mut Connection, messages: &HashMap<MessageName, u32>) -> Result<u64, Failure> {
    if messages.is_empty() {
        return Ok(0);
    }
    let space = connection.space;
    let names: Vec<&[u8]> = messages.keys().map(|name| name.as_slice()).collect();
    let times: Vec<i64> = messages.values().map(|at| (*at).into()).collect();
    let text = "select message from mailstamp.sent where space = $1 and message = any ($2)";
    let known = connection.rows(text, &[(&space, Type::INT4), (&names, Type::BYTEA_ARRAY)]).await?.len();
    let text = "insert into mailstamp.sent as s (space, message, at) select $1, m, a from unnest($2, $3) t (m, a)
        on conflict (space, message) do update set at = excluded.at where s.at < excluded.at";
    connection.rows(text, &[(&space, Type::INT4), (&names, Type::BYTEA_ARRAY), (&times, Type::INT8_ARRAY)]).await?;
    Ok((messages.len() - known) as u64)
}

/// Returns the contacts under these keys.
pub(super) async fn known(connection: &mut Connection, keys: &[&[u8]]) -> Result<BTreeMap<Vec<u8>, Contact>, Failure> {
    let space = connection.space;
    let text = "select key, first, last, forgotten from mailstamp.correspondent where space = $1 and key = any ($2)";
    let rows = connection.rows(text, &[(&space, Type::INT4), (&keys, Type::BYTEA_ARRAY)]).await?;
    rows.iter().map(contact_of).collect()
}

/// Writes contacts, in the place of those under the same keys.
pub(super) async fn put(connection: &mut Connection, all: &[(Vec<u8>, Contact)]) -> Result<(), Failure> {
    if all.is_empty() {
        return Ok(());
    }
    let space = connection.space;
    let keys: Vec<&[u8]> = all.iter().map(|(key, _)| key.as_slice()).collect();
    let column = |of: fn(&Contact) -> u32| all.iter().map(|(_, contact)| of(contact).into()).collect::<Vec<i64>>();
    let (first, last) = (column(|it| it.first), column(|it| it.last));
    let forgotten = column(|it| it.forgotten);
    let text = "insert into mailstamp.correspondent (space, key, first, last, forgotten)
        select $1, t.* from unnest($2, $3, $4, $5) t
        on conflict (space, key) do update
        set first = excluded.first, last = excluded.last, forgotten = excluded.forgotten";
    let parameters = [
        (&space as _, Type::INT4),
        (&keys as _, Type::BYTEA_ARRAY),
        (&first as _, Type::INT8_ARRAY),
        (&last as _, Type::INT8_ARRAY),
        (&forgotten as _, Type::INT8_ARRAY),
    ];
    connection.rows(text, &parameters).await?;
    Ok(())
}

/// Returns the rows of an owner.
async fn rows_of(connection: &mut Connection, owner: Owner) -> Result<Vec<Contact>, Failure> {
    let space = connection.space;
    let (first, end) = contacts::rows_of(owner);
    let text = "select key, first, last, forgotten from mailstamp.correspondent
        where space = $1 and key >= $2 and key < $3";
    let range = [(&space as _, Type::INT4), (&first.as_bytes() as _, Type::BYTEA), (&end.as_bytes() as _, Type::BYTEA)];
    let rows = connection.rows(text, &range).await?;
    rows.iter().map(|row| Ok(contact_of(row)?.1)).collect()
}
