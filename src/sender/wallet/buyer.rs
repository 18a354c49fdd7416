//! Context of a purchase, and the time within which a vendor can be asked again.

use super::record::{KeyRow, OrderRow, PurchaseRow};
use super::schema::Tables;
use crate::config::sender::SenderSettings;
use crate::sender::budget::DAY;
use crate::sender::selection::Offer;
use crate::store::{SessionError, StoreError};

/// Age in seconds after which a purchase is not requested again. Vendors keep an idempotency key for a week, and after
/// that a repeated request could be charged again.
pub(super) const ASKABLE: i64 = 6 * DAY;

/// Settings and accounts of the buyer.
pub(crate) struct PurchaseContext<'a> {
    pub settings: &'a SenderSettings,
    pub offers: &'a [Offer],
    /// Returns random bytes, for idempotency keys and salts.
    pub random: &'a dyn Fn() -> Result<[u8; 16], StoreError>,
}

/// Removes all keys that wait for this purchase.
pub(super) fn close(tables: &mut Tables<'_>, purchase: &PurchaseRow) -> Result<(), SessionError> {
    purchase.orders.iter().try_for_each(|order| close_order(tables, &purchase.id, order))
}

/// Removes the key of this order, if it waits for the purchase.
pub(super) fn close_order(tables: &mut Tables<'_>, purchase: &str, order: &OrderRow) -> Result<(), SessionError> {
    if matches!(tables.key(&order.key)?, Some(KeyRow::Purchase { id, .. }) if id == purchase) {
        tables.remove_key(&order.key)?;
    }
    Ok(())
}
