//! Purchases that were not answered and for which nobody waits any more, because the message was refused meanwhile or left
//! without its stamp. They may have been paid: whoever wants such a stamp waits for that purchase before anything is bought
//! anew, and what nobody wants is asked for all the same, until it is too late.

use super::buyer::{ASKABLE, PurchaseContext, close};
use super::record::{KeyRow, PurchaseRow, PurchaseState};
use super::schema::{self, Tables};
use super::{Plan, Wallet};
use crate::sender::budget::DAY;
use crate::sender::selection::StampSpec;
use crate::sender::stamp_request::{ReservationKey, StampRequest};
use crate::store::{SessionError, StoreError};
use crate::time::UnixTime;

impl Wallet {
    /// The purchases for which nobody waits and that can still be asked for.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub(in crate::sender) fn orphans(&self, now: UnixTime) -> Result<Vec<PurchaseRow>, StoreError> {
        let found = self.read(|tx| {
            let mut found = Vec::new();
            for purchase in schema::read_purchases(tx)?.into_iter().filter(|it| is_askable(it, now)) {
                let keys: Vec<_> = purchase.orders.iter().map(|it| ReservationKey::from_text(&it.key)).collect();
                if !schema::read_waits(tx, &keys)? {
                    found.push(purchase);
                }
            }
            Ok(found)
        })?;
        Ok(found.unwrap_or_default())
    }
}

/// What has been bought for somebody else, and nobody waits for, for this want from now on; it was ordered as it is wanted.
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
        let (key, recipient) = (want.key.as_str(), want.recipient.canonical());
        let sender = want.sender.as_ref().map(ToString::to_string);
        for purchase in &mut self.0 {
            let age = now.0.saturating_sub(purchase.at);
            let lasts = kind.days.is_none_or(|days| age <= i64::from(days) * DAY / 2);
            if want.fresh || !lasts || !kind.accepts(&purchase.vendor, buyer.offers) {
                continue;
            }
            let points = KeyRow::Purchase { at: u64::try_from(purchase.at).unwrap_or(0), id: purchase.id.clone() };
            for order in &mut purchase.orders {
                let fits = order.recipient == recipient
                    && order.value >= kind.value
                    && order.sender == sender
                    && (order.hashed || !kind.hashed);
                // Another want of the same key may have come first.
                if fits && (order.key == key || tables.key(&order.key)?.as_ref() != Some(&points)) {
                    key.clone_into(&mut order.key);
                    tables.put_key(key, &points)?;
                    tables.put_purchase(purchase)?;
                    return Ok(Some(Plan::Pending(purchase.clone())));
                }
            }
        }
        Ok(None)
    }
}

/// Gives up what was not answered and cannot be asked for any more.
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
    purchase.state == PurchaseState::Open && !is_lost(purchase, now)
}
