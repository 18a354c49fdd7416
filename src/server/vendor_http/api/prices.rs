//! `GET /v1/prices`: what credits cost, for anybody (BC2: what would a million cost?).

use super::Answer;
use crate::accounting::event::Terms;
use crate::accounting::order::Caps;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::auth::Unauthenticated;
use crate::server::vendor_http::error::Problem;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

/// Numbers of credits that are priced for everybody.
const USUAL: [u64; 4] = [1, 10, 1_000, 1_000_000];

/// What is asked.
#[derive(Debug, Deserialize)]
pub struct PriceQuery {
    credits: Option<u64>,
}

/// The vendor's prices.
#[derive(Debug, Serialize)]
pub struct Prices {
    vendor: String,
    /// What one credit costs, or so many.
    price: String,
    /// What one credit brings that is paid out.
    payout: String,
    examples: Vec<Example>,
    /// For how many days a stamp holds that asks for no end.
    days: u32,
    refunds: bool,
    caps: Caps,
}

/// What so many credits cost.
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
    let Query(asked) = asked.map_err(|_| Problem::new("form", "credits: a whole number"))?;
    let profile = service.ledger(|ledger, _| ledger.profile()).await?;
    let days = profile.terms.days_within(&profile.terms.caps);
    let Terms { price, payout, caps, refunds, .. } = profile.terms;
    let numbers = asked.credits.map_or_else(|| USUAL.to_vec(), |credits| vec![credits]);
    let mut examples = Vec::new();
    for credits in numbers {
        match price.of(credits) {
            Ok(cost) => examples.push(Example { credits, cost: cost.to_string() }),
            // A price so high that a million are beyond counting is no reason to say nothing of one.
            Err(_) if asked.credits.is_none() => {}
            Err(error) => return Err(Problem::new("range", error.to_string())),
        }
    }
    let payout = payout.unwrap_or(price).to_string();
    Ok(Answer(Prices { vendor: profile.vendor, price: price.to_string(), payout, examples, days, refunds, caps }))
}
