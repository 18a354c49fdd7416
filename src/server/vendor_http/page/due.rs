//! What a form orders, for payments that are completed later.

use super::Page;
use super::order_form::OrderForm;
use crate::ledger::payment::Due;
use crate::message::address::Address;
use crate::server::vendor_http::Service;

/// Returns the purchase of a form, and its recipient. The caps are not checked: the ledger rejects an order beyond them,
/// and what was paid for it is refunded.
pub(super) async fn due(service: &Service, wanted: &OrderForm) -> Result<Option<(Due, Address)>, Page> {
    let Ok((order, recipient)) = wanted.order() else { return Ok(None) };
    let price = service.ledger(|ledger, _| ledger.profile()).await?.terms.price;
    let cost = price.of(order.value).ok();
    Ok(cost.map(|cost| (Due { purchase: wanted.idempotency(), order, cost }, recipient)))
}
