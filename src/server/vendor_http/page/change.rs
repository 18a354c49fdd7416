//! What is the buyer's after a payment by Cashu: a token with the change, or with the whole payment.

#[cfg(feature = "sender")]
use super::due::due;
#[cfg(feature = "sender")]
use super::order_form::OrderForm;
#[cfg(feature = "sender")]
use crate::ledger::payment::Due;
#[cfg(feature = "sender")]
use crate::server::vendor_http::error::Problem;
#[cfg(feature = "sender")]
use crate::server::vendor_http::{Service, page::Page};

/// Token for the buyer's wallet.
pub(super) struct Change {
    pub(super) token: String,
    pub(super) amount: u64,
    pub(super) unit: String,
}

/// Returns the token of a purchase, if it is the change, or with `refunded` the whole payment.
#[cfg(feature = "sender")]
pub(super) async fn token(service: &Service, due: Due, refunded: bool) -> Result<Option<Change>, Problem> {
    let cashu = service.clone();
    let buyers = service.ledger(move |_, _| cashu.cashu().map_or(Ok(None), |cashu| cashu.buyers(&due))).await?;
    Ok(buyers.filter(|buyers| buyers.refunded == refunded).map(|buyers| Change {
        token: buyers.token.reveal().to_owned(),
        amount: buyers.amount,
        unit: buyers.unit,
    }))
}

/// Returns the change of a purchase, by its order code.
#[cfg(feature = "sender")]
pub(super) async fn change(service: &Service, code: &str) -> Result<Option<Change>, Page> {
    let Some(wanted) = OrderForm::from_code(code).filter(|_| service.cashu().is_some()) else { return Ok(None) };
    let Some((due, _)) = due(service, &wanted).await? else { return Ok(None) };
    Ok(token(service, due, false).await?)
}
