//! `POST /v1/deposits`: recipients exchange used stamps for credits. It is safe to repeat: every serial is accepted
//! once.

use super::{Answer, Body};
use crate::ledger::trade::{RedeemOutcome, RedeemRequest};
use crate::message::address::Address;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::auth::AuthenticatedAccount;
use crate::server::vendor_http::error::Problem;
use crate::vendor_api::stamps::{DepositRequest, DepositResponse, DepositResult, DepositedStamp, MAX_STAMPS};
use axum::extract::State;

/// `POST /v1/deposits`: exchanges used stamps for credits.
///
/// # Errors
/// Those of the ledger; single bad stamps are not an error.
pub async fn deposit(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    Body(body): Body<DepositRequest>,
) -> Result<Answer<DepositResponse>, Problem> {
    let stamps = handed(body)?;
    let account = who.account.number;
    service.ledger(move |ledger, now| ledger.deposit(account, &stamps, now)).await.map(credited)
}

fn handed(body: DepositRequest) -> Result<Vec<RedeemRequest>, Problem> {
    if body.stamps.is_empty() || body.stamps.len() > MAX_STAMPS {
        return Err(Problem::new("form", format!("stamps: 1 to {MAX_STAMPS} of them")));
    }
    let read = |(at, text): (usize, DepositedStamp)| {
        let address = text.address.as_deref().map(Address::parse).transpose();
        let address = address.map_err(|error| Problem::new("form", format!("address of stamp {at}: {error}")))?;
        Ok(RedeemRequest { stamp: text.stamp, address })
    };
    (1..).zip(body.stamps).map(read).collect()
}

fn credited(taken: RedeemOutcome) -> Answer<DepositResponse> {
    let each = taken.each.iter().map(|one| match one {
        Ok(credits) => DepositResult::Taken { credits: *credits },
        Err(problem) => DepositResult::Refused { detail: problem.to_string(), problem: *problem },
    });
    Answer(DepositResponse {
        each: each.collect(),
        credits: taken.booked.as_ref().map_or(0, |booked| booked.credits),
        balance: taken.booked.as_ref().map(|booked| booked.balance),
        receipt: taken.receipt.map(|receipt| receipt.as_str().to_owned()),
    })
}
