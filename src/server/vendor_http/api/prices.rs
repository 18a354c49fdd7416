//! `GET /v1/prices`: prices of credits, without authentication (BC2: what would a million cost?).

use super::Answer;
use crate::accounting::event::Terms;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::auth::Unauthenticated;
use crate::server::vendor_http::error::Problem;
use crate::vendor_api::prices::{PriceExample, PriceQuery, Prices};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};

/// Numbers of credits with a price in every answer.
const USUAL: [u64; 4] = [1, 10, 1_000, 1_000_000];

/// `GET /v1/prices?credits=…`.
///
/// # Errors
/// More credits than can be priced.
pub async fn prices(
    State(service): State<Service>,
    _: Unauthenticated,
    asked: Result<Query<PriceQuery>, QueryRejection>,
) -> Result<Answer<Prices>, Problem> {
    let Query(asked) = asked.map_err(|_| Problem::new("form", "credits must be a whole number"))?;
    let profile = service.ledger(|ledger, _| ledger.profile()).await?;
    let days = profile.terms.days_within(&profile.terms.caps);
    let Terms { price, payout, caps, .. } = profile.terms;
    let numbers = asked.credits.map_or_else(|| USUAL.to_vec(), |credits| vec![credits]);
    let mut examples = Vec::new();
    for credits in numbers {
        match price.of(credits) {
            Ok(cost) => examples.push(PriceExample { credits, cost: cost.to_string() }),
            // The price of one credit is stated even if the price of a million is out of range.
            Err(_) if asked.credits.is_none() => {}
            Err(error) => return Err(Problem::new("range", error.to_string())),
        }
    }
    let payout = payout.unwrap_or(price).to_string();
    Ok(Answer(Prices { vendor: profile.vendor, price: price.to_string(), payout, examples, days, caps }))
}
