//! `/v1/licenses`, `/v1/clearings`, `/v1/checkpoints`: meters, the tokens that they signed, and the banks of gateways.
//! Requests are signed by the meter, and answers by the vendor.

use super::{Answer, bytes, idempotency_key, read};
use crate::accounting::hash::Hash;
use crate::ledger::error::LedgerError;
use crate::ledger::handle::Ledger;
use crate::ledger::meters::RequestSignature;
use crate::ledger::ops;
use crate::ledger::rejection::Rejection;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::auth::AuthenticatedAccount;
use crate::server::vendor_http::error::Problem;
use crate::stamp::token::Token;
use crate::time::UnixTime;
use crate::vendor_api::meters::{
    CheckpointRequest, ClearingRequest, HEADER, LicenseRequest, Licenses, RequestProblem, SignedReceipt,
};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

/// JSON body of a signed request, and the signature, which is not verified yet.
#[derive(Clone, Debug)]
pub struct SignedBody<T> {
    body: T,
    signature: RequestSignature,
}

impl<T: DeserializeOwned> FromRequest<Service> for SignedBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Problem> {
        let key = idempotency_key(request.headers())?;
        let token = signature(request.headers());
        let bytes = bytes(request, service).await?;
        let signature = RequestSignature { token: token.unwrap_or_default(), body: Hash::of(&bytes), key };
        if signature.token.is_empty() {
            // The answer contains the vendor's time, as those to other signatures do.
            let missing = |_: &Ledger, now| -> Result<(), LedgerError> {
                Err(Rejection::MeterRequest { problem: RequestProblem::Missing, now }.into())
            };
            service.ledger(missing).await?;
        }
        Ok(Self { body: read(&bytes)?, signature })
    }
}

/// Returns the text of the field `Meter-Request`, if it is there once.
fn signature(headers: &HeaderMap) -> Option<String> {
    let mut fields = headers.get_all(HEADER).iter();
    match (fields.next(), fields.next()) {
        (Some(field), None) => field.to_str().ok().map(|text| text.trim().to_owned()),
        _ => None,
    }
}

/// Runs a signed request, and answers with its receipt.
async fn signed<T: Send + 'static>(
    service: &Service,
    who: AuthenticatedAccount,
    SignedBody { body, signature }: SignedBody<T>,
    run: impl FnOnce(&Ledger, u64, &T, &RequestSignature, UnixTime) -> Result<Token, LedgerError> + Send + 'static,
) -> Result<Answer<SignedReceipt>, Problem> {
    let account = who.account.number;
    let receipt = service.ledger(move |ledger, now| run(ledger, account, &body, &signature, now)).await?;
    Ok(Answer(SignedReceipt { receipt: receipt.as_str().to_owned() }))
}

/// `POST /v1/licenses`: licenses the meter whose key signs the request.
///
/// # Errors
/// Those of the ledger.
pub async fn license(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    body: SignedBody<LicenseRequest>,
) -> Result<Answer<SignedReceipt>, Problem> {
    let licensed = signed(&service, who, body, Ledger::license).await?;
    service.edition().look_again();
    Ok(licensed)
}

/// `POST /v1/clearings`: clears tokens to the account. It is safe to repeat: every payment is cleared once.
///
/// # Errors
/// Those of the ledger; single bad tokens are not an error.
pub async fn clear(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    body: SignedBody<ClearingRequest>,
) -> Result<Answer<SignedReceipt>, Problem> {
    signed(&service, who, body, Ledger::clear).await
}

/// `POST /v1/checkpoints`: the state of the account, signed.
///
/// # Errors
/// Those of the ledger.
pub async fn checkpoint(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    body: SignedBody<CheckpointRequest>,
) -> Result<Answer<SignedReceipt>, Problem> {
    signed(&service, who, body, Ledger::checkpoint).await
}

/// `GET /v1/licenses`.
pub async fn licenses(State(service): State<Service>, who: AuthenticatedAccount) -> Result<Answer<Licenses>, Problem> {
    let licenses = service.ledger(move |ledger, now| ledger.licenses(who.account.number, now)).await?;
    Ok(Answer(Licenses { licenses }))
}

/// `DELETE /v1/licenses/{kid}`: revokes a licence. It needs no signature, since the meter's key may be lost.
///
/// # Errors
/// When the account has no such licence.
pub async fn end_license(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    kid: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(kid) = kid.map_err(|_| Problem::new("no-license", "the account has no such licence"))?;
    let end = ops::EndLicense { kid, account: Some(who.account.number) };
    service.ledger(move |ledger, now| ledger.run(end, now)).await?;
    service.edition().look_again();
    Ok(StatusCode::NO_CONTENT)
}
