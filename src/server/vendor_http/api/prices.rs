//! `GET /v1/prices`: prices of credits, without authentication (BC2: what would a million cost?).

use super::Answer;
use crate::accounting::event::Terms;
use crate::accounting::order::Caps;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::auth::Unauthenticated;
use crate::server::vendor_http::error::Problem;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

/// Numbers of credits with a price in every answer.
const USUAL: [u64; 4] = [1, 10, 1_000, 1_000_000];

/// Query of the price of a number of credits.
#[derive(Debug, Deserialize)]
pub struct PriceQuery {
    credits: Option<u64>,
}

/// The vendor's prices.
#[derive(Debug, Serialize)]
pub struct Prices {
    vendor: String,
    /// Price of one credit, or of several.
    price: String,
    /// Payout for one credit.
    payout: String,
    examples: Vec<Example>,
    /// Lifetime in days of a stamp without a given end.
    days: u32,
    refunds: bool,
    caps: Caps,
}

/// Price of this number of credits.
#[derive(Debug, Serialize)]
pub struct Example {
    credits: u64,
    cost: String,
}

/// `GET /v1/prices?credits=…`.
///
/// # Errors
/// More credits than can be priced.
pub async fn prices(
    State(service): State<Service>,
    _: Unauthenticated,
    asked: Result<Query<PriceQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Answer<Prices>, Problem> {
    let Query(asked) = asked.map_err(|_| Problem::new("form", "credits must be a whole number"))?;
    let profile = service.ledger(|ledger, _| ledger.profile()).await?;
    let days = profile.terms.days_within(&profile.terms.caps);
    let Terms { price, payout, caps, refunds, .. } = profile.terms;
    let numbers = asked.credits.map_or_else(|| USUAL.to_vec(), |credits| vec![credits]);
    let mut examples = Vec::new();
    for credits in numbers {
        match price.of(credits) {
            Ok(cost) => examples.push(Example { credits, cost: cost.to_string() }),
            // The price of one credit is stated even if the price of a million is out of range.
            Err(_) if asked.credits.is_none() => {}
            Err(error) => return Err(Problem::new("range", error.to_string())),
        }
    }
    let payout = payout.unwrap_or(price).to_string();
    Ok(Answer(Prices { vendor: profile.vendor, price: price.to_string(), payout, examples, days, refunds, caps }))
}
