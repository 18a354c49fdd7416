//! Stamps without value: the one recipient for whom the vendor sells, and the caps of work and of mailed codes.
//!
//! - What was given for work is counted in the transaction that issues the stamp.
//! - A code is counted before it is mailed. Its stamp needs no further count.
//! - Counts live for a day. They have no address of a network: those are in the service's memory only.

use super::codes::{lasts, mailable};
use super::{LedgerTx, form, new_salt};
use crate::accounting::event::Terms;
use crate::accounting::hash::Hash;
use crate::accounting::order::Order;
use crate::accounting::work::{Gift, WorkTerms, base_domain, hour_of, share_of_domain, sold_out};
use crate::ledger::model::SoleRecipient;
use crate::ledger::rejection::Rejection;
use crate::ledger::schema::{self, CODE_HOLDS, TxError, TxResult};
use crate::message::address::Address;
use crate::store::correspondent_key;
use crate::time::UnixTime;
use redb::ReadableTable;

/// Name of the count of all codes. No address, no account and no domain is written so.
const ALL: &str = "given";
/// Hours of work that are kept.
const KEPT: i64 = 24;

impl LedgerTx<'_> {
    pub(in crate::ledger) fn set_recipient(&mut self, recipient: &str) -> TxResult<()> {
        let address = Address::parse(recipient).map_err(|error| form("recipient", &error.to_string()))?.normalized();
        let salt = new_salt()?;
        let hash = Some(Hash::salted(&salt, &address));
        self.set_terms(Terms { recipient: hash, ..self.terms()?.clone() })?;
        self.meta.insert("recipient", schema::to_json(&SoleRecipient { address, salt })?.as_slice())?;
        Ok(())
    }

    /// Rejects an order for another recipient than the one of the vendor.
    pub(super) fn for_recipient(&self, orders: &[Order]) -> TxResult<()> {
        if self.terms()?.recipient.is_none() {
            return Ok(());
        }
        let row = schema::recipient_in(&self.meta)?;
        let row = row.ok_or_else(|| TxError::Damaged("the ledger has no recipient".into()))?;
        let only = Address::parse(&row.address).map_err(|error| TxError::Damaged(error.to_string()))?;
        if orders.iter().all(|order| order.recipient.names(&only)) {
            Ok(())
        } else {
            Err(TxError::Refused(Rejection::OtherRecipient { recipient: row.address }))
        }
    }

    fn work_terms(&self) -> TxResult<WorkTerms> {
        let terms = self.terms()?;
        terms.work.filter(|_| terms.recipient.is_some()).ok_or(TxError::Refused(Rejection::NoWork))
    }

    /// Rejects a stamp without value that the terms do not give, or not now.
    pub(super) fn given(&self, gift: Gift) -> TxResult<()> {
        let terms = self.work_terms()?;
        if gift == Gift::Work
            && let Some(after) = sold_out(&schema::worked_in(&self.meta)?, terms.per_day, self.now)
        {
            return Err(TxError::Refused(Rejection::SoldOut { after }));
        }
        Ok(())
    }

    /// Counts a stamp that was given for work.
    pub(super) fn count_work(&mut self) -> TxResult<()> {
        let hour = hour_of(self.now);
        let mut worked = schema::worked_in(&self.meta)?;
        worked.retain(|(its, _)| (hour - KEPT + 1..=hour).contains(its));
        match worked.iter_mut().find(|(its, _)| *its == hour) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => worked.push((hour, 1)),
        }
        self.meta.insert("worked", schema::to_json(&worked)?.as_slice())?;
        Ok(())
    }

    pub(in crate::ledger) fn reserve_code(&mut self, to: &str) -> TxResult<()> {
        let now = self.now;
        let cap = self.work_terms()?.codes_per_day;
        let [all, address, domain] = names(to)?;
        let times = [&all, &address, &domain].map(|name| self.mailed(name, now));
        let [all_times, address_times, domain_times] = times;
        let (all_times, address_times, domain_times) = (all_times?, address_times?, domain_times?);
        if let Some(after) = sold_out(&by_hour(&all_times), cap, now) {
            return Err(TxError::Refused(Rejection::SoldOut { after }));
        }
        let enough = |times: &[UnixTime], most: u32| {
            let full = times.len() >= usize::try_from(most).unwrap_or(usize::MAX);
            times.first().filter(|_| full).map(|at| at.plus(CODE_HOLDS))
        };
        if let Some(after) = enough(&address_times, 1).max(enough(&domain_times, share_of_domain(cap))) {
            return Err(TxError::Refused(Rejection::CodeGiven { after }));
        }
        for (name, mut times) in [(all, all_times), (address, address_times), (domain, domain_times)] {
            times.push(now);
            self.set_mailed(&name, &times)?;
        }
        self.forget_codes()
    }

    pub(in crate::ledger) fn release_code(&mut self, to: &str, at: UnixTime) -> TxResult<()> {
        for name in names(to)? {
            let mut times = self.mailed(&name, self.now)?;
            if let Some(position) = times.iter().rposition(|its| *its == at) {
                times.remove(position);
            }
            self.set_mailed(&name, &times)?;
        }
        Ok(())
    }
}

/// Returns the hours of a day and the codes that were counted in each.
pub(in crate::ledger) fn codes_by_hour(
    mailed: &impl ReadableTable<&'static str, &'static [u8]>,
    now: UnixTime,
) -> TxResult<Vec<(i64, u32)>> {
    let times = mailed.get(ALL)?.map(|row| schema::from_json(row.value())).transpose()?;
    let mut times: Vec<UnixTime> = times.unwrap_or_default();
    times.retain(|at| lasts(*at, now));
    Ok(by_hour(&times))
}

fn by_hour(times: &[UnixTime]) -> Vec<(i64, u32)> {
    times.iter().map(|at| (hour_of(*at), 1)).collect()
}

/// Returns the names under which codes are counted: all; the address without its detail and its dots, which several
/// hosts ignore; the base domain.
fn names(to: &str) -> TxResult<[String; 3]> {
    if !to.contains('@') {
        return Err(form("address", "an address, and not a domain"));
    }
    let (_, to) = mailable(to)?;
    let plain = correspondent_key(&to);
    let local = plain.rsplit_once('@').map_or(plain.as_str(), |(local, _)| local).replace('.', "");
    let domain = base_domain(to.domain());
    Ok([ALL.to_owned(), format!("{ALL} {local}@{domain}"), format!("{ALL} @{domain}")])
}
