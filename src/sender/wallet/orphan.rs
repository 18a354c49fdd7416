//! Orphaned purchases: not answered, and no key waits for them, because the message was refused or sent without its
//! stamp.
//!
//! They may have been charged. A new request that such a stamp fits waits for that purchase before anything else is
//! bought, unless its answer cannot be read or has been missing for hours. All are requested again until it is too late.

use super::buyer::{ASKABLE, PurchaseContext, close};
use super::record::{KeyRow, PurchaseRow, PurchaseState};
use super::schema::{self, Tables};
use super::{Plan, Wallet};
use crate::sender::budget::DAY;
use crate::sender::selection::StampSpec;
use crate::sender::stamp_request::{ReservationKey, StampRequest};
use crate::store::{SessionError, StoreError};
use crate::time::UnixTime;

/// Age in seconds after which a new request no longer waits for a purchase without an answer: four hours, in which a
/// vendor usually recovers. Mail is delayed no longer by an order that the vendor cannot answer.
const ADOPTABLE: i64 = 4 * 60 * 60;

/// Returns whether a purchase without an answer is too old for a new request to wait for it.
pub(in crate::sender) fn is_overdue(purchase: &PurchaseRow, now: UnixTime) -> bool {
    now.0.saturating_sub(purchase.at) >= ADOPTABLE
}

impl Wallet {
    /// Returns the purchases that no key waits for and that can still be requested.
    pub(in crate::sender) fn orphans(&self, now: UnixTime) -> Result<Vec<PurchaseRow>, StoreError> {
        let found = self.read(|tx| {
            let mut found = Vec::new();
            for purchase in schema::read_purchases(tx)?.into_iter().filter(|it| is_askable(it, now)) {
                let keys: Vec<_> = purchase.orders.iter().map(|it| ReservationKey::from_text(&it.key)).collect();
                // A key may have passed the purchase over, and wait for its own.
                if !schema::read_waits(tx, &keys, Some(&purchase.id))? {
                    found.push(purchase);
                }
            }
            Ok(found)
        })?;
        Ok(found.unwrap_or_default())
    }
}

/// Orphaned purchases that a new request may adopt, if it fits what was ordered.
pub(super) struct Orphans(Vec<PurchaseRow>);

impl Orphans {
    pub(super) fn find(tables: &Tables<'_>, buyer: &PurchaseContext<'_>, now: UnixTime) -> Result<Self, SessionError> {
        let mut open = tables.purchases(now.0.saturating_sub(ASKABLE))?;
        open.retain(|it| is_askable(it, now) && buyer.offers.iter().any(|offer| offer.account == it.account));
        Ok(Self(open))
    }

    pub(super) fn adopt(
        &mut self,
        tables: &mut Tables<'_>,
        want: &StampRequest,
        kind: &StampSpec,
        buyer: &PurchaseContext<'_>,
        now: UnixTime,
    ) -> Result<Option<Plan>, SessionError> {
        let (key, recipient) = (want.key.as_str(), want.recipient.normalized());
        let sender = want.sender.as_ref().map(ToString::to_string);
        for purchase in &mut self.0 {
            let age = now.0.saturating_sub(purchase.at);
            let lasts = kind.days.is_none_or(|days| age <= i64::from(days) * DAY / 2);
            if want.fresh
                || purchase.fault.is_some()
                || is_overdue(purchase, now)
                || !lasts
                || !kind.accepts(&purchase.vendor, buyer.offers)
            {
                continue;
            }
            let points = KeyRow::Purchase { at: u64::try_from(purchase.at).unwrap_or(0), id: purchase.id.clone() };
            for order in &mut purchase.orders {
                let fits = order.recipient == recipient
                    && order.value >= kind.value
                    && order.sender == sender
                    && (order.hashed || !kind.hashed);
                // Another request with the same key may have come first.
                if fits && (order.key == key || tables.key(&order.key)?.as_ref() != Some(&points)) {
                    key.clone_into(&mut order.key);
                    order.adopted = true;
                    tables.put_key(key, &points)?;
                    tables.put_purchase(purchase)?;
                    return Ok(Some(Plan::Pending(purchase.clone())));
                }
            }
        }
        Ok(None)
    }
}

/// Gives up purchases that were not answered and can no longer be requested.
pub(super) fn give_up(tables: &mut Tables<'_>, now: UnixTime) -> Result<(), SessionError> {
    for purchase in tables.purchases(0)?.into_iter().filter(|it| is_lost(it, now)) {
        close(tables, &purchase)?;
        tables.put_purchase(&PurchaseRow { state: PurchaseState::Lost, ..purchase })?;
    }
    Ok(())
}

pub(super) fn is_lost(purchase: &PurchaseRow, now: UnixTime) -> bool {
    purchase.state == PurchaseState::Open && now.0.saturating_sub(purchase.at) >= ASKABLE
}

fn is_askable(purchase: &PurchaseRow, now: UnixTime) -> bool {
    // Of a purchase in the future, the age is unknown. Within a day, it is younger than what vendors keep.
    let is_dated = now.0.saturating_sub(purchase.at) > -DAY;
    purchase.state == PurchaseState::Open && is_dated && !is_lost(purchase, now)
}
