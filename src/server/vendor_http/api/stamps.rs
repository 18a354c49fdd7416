//! `POST /v1/stamps`: buys stamps. `POST /v1/revocations`: revokes stamps that the account bought.

use super::{Answer, Body, idempotency_key};
use crate::accounting::order::{Caps, Order};
use crate::accounting::redemption::StampProblem;
use crate::ledger::ops;
use crate::ledger::rejection::Rejection;
use crate::ledger::trade::IssuedStamps;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::auth::AuthenticatedAccount;
use crate::server::vendor_http::error::Problem;
use crate::stamp::claims::Stamp;
use crate::stamp::serial::Serial;
use crate::stamp::strict_json;
use crate::stamp::token::Token;
use crate::vendor_api::stamps::{IssueResponse, IssuedStamp, MAX_STAMPS, RevocationRequest, RevocationResponse};
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Map, Value};

/// `POST /v1/stamps`: one order, or `{"stamps": [order, …]}`. All orders are filled or none.
///
/// # Errors
/// Those of the ledger.
pub async fn buy(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    headers: HeaderMap,
    Body(body): Body<Map<String, Value>>,
) -> Result<Answer<IssueResponse>, Problem> {
    let key = idempotency_key(&headers)?;
    let account = who.account.number;
    let orders = orders(body)?;
    let (sold, caps) = service
        .ledger(move |ledger, now| {
            let sold = ledger.issue(account, &orders, Some(&key), now)?;
            Ok((sold, who.account.caps(&ledger.profile()?.terms)))
        })
        .await?;
    service.metrics().sold(sold.stamps.len(), sold.sale.again);
    Ok(Answer(answer(&sold, caps)))
}

fn answer(IssuedStamps { stamps, sale }: &IssuedStamps, caps: Caps) -> IssueResponse {
    let stamps = stamps.iter().map(|token| IssuedStamp { stamp: token.as_str().to_owned(), serial: serial(token) });
    IssueResponse {
        stamps: stamps.collect(),
        credits: sale.credits,
        // The buyer is an account.
        balance: sale.balance.unwrap_or(0),
        entry: sale.entry,
        again: sale.again,
        caps,
    }
}

/// Returns the serial of a stamp that the ledger just signed.
fn serial(token: &Token) -> String {
    Stamp::read(token.payload()).map(|stamp| stamp.serial.as_str().to_owned()).unwrap_or_default()
}

/// Parses one order or several. An error names the malformed order, counted from 1.
fn orders(mut body: Map<String, Value>) -> Result<Vec<Order>, Problem> {
    let wrong = |order: usize, error: serde_json::Error| {
        let mut problem = Problem::new("body", format!("order {order}: {}", strict_json::problem(&error)));
        problem.more.insert("order".into(), order.into());
        problem
    };
    match body.remove("stamps") {
        None => serde_json::from_value(Value::Object(body)).map(|order| vec![order]).map_err(|error| wrong(1, error)),
        Some(Value::Array(orders)) if body.is_empty() => {
            let read = |(at, order)| serde_json::from_value(order).map_err(|error| wrong(at, error));
            (1..).zip(orders).map(read).collect()
        }
        Some(_) => Err(Problem::new("body", "\"stamps\" must be a list of orders, and the only member")),
    }
}

/// `POST /v1/revocations`: revokes stamps that this account bought, all of them or none. Pays no credits back.
///
/// # Errors
/// When this account did not buy one of them. The error does not tell whether another account did.
pub async fn revoke(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    Body(body): Body<RevocationRequest>,
) -> Result<Answer<RevocationResponse>, Problem> {
    if body.serials.is_empty() || body.serials.len() > MAX_STAMPS {
        return Err(Problem::new("form", format!("serials: 1 to {MAX_STAMPS} of them")));
    }
    let account = who.account.number;
    let revoked = service
        .ledger(move |ledger, now| {
            let mut serials = Vec::with_capacity(body.serials.len());
            for (stamp, text) in (1..).zip(body.serials) {
                let refused = || Rejection::Stamp { stamp, problem: StampProblem::NotBought };
                let serial = Serial::new(text).map_err(|_| refused())?;
                match ledger.run(ops::Stamp { serial: serial.clone() }, now)? {
                    Some(row) if row.account == Some(account) => serials.push(serial),
                    _ => return Err(refused().into()),
                }
            }
            ledger.run(ops::Revoke { serials, customer: true }, now)
        })
        .await?;
    Ok(Answer(RevocationResponse { revoked }))
}
