//! What a purchase needs to know of its buyer, and how long the vendor can be asked again.

use super::record::{KeyRow, PurchaseRow};
use super::schema::Tables;
use crate::config::sender::SenderSettings;
use crate::sender::budget::DAY;
use crate::sender::selection::Offer;
use crate::store::{SessionError, StoreError};

/// After so long a vendor may have forgotten an idempotency key (he keeps it for a week), and to ask again could cost again.
pub(super) const ASKABLE: i64 = 6 * DAY;

/// Who buys, and how.
pub(crate) struct PurchaseContext<'a> {
    pub settings: &'a SenderSettings,
    pub offers: &'a [Offer],
    /// Gives random bytes, for idempotency keys and salts.
    pub random: &'a dyn Fn() -> Result<[u8; 16], StoreError>,
    /// Whether what is missing is to be bought.
    pub buys: bool,
}

/// Nobody waits for this purchase any more.
pub(super) fn close(tables: &mut Tables<'_>, purchase: &PurchaseRow) -> Result<(), SessionError> {
    for order in &purchase.orders {
        if matches!(tables.key(&order.key)?, Some(KeyRow::Purchase { id, .. }) if id == purchase.id) {
            tables.remove_key(&order.key)?;
        }
    }
    Ok(())
}
