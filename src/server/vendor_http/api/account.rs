//! API of an account: `/v1/account`, `/v1/history`, `/v1/keys`, `/v1/addresses`, `/v1/vouchers`.

use super::{Answer, Body};
use crate::ledger::model::{ApiKey, Receipt};
use crate::ledger::ops;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::auth::{AuthenticatedAccount, record_failed_attempt};
use crate::server::vendor_http::error::Problem;
use crate::server::vendor_http::page::history::HistoryRow;
use crate::vendor_api::account::{
    AccountStatus, ApiKeyInfo, ApiKeys, CodeConfirmation, CodeRequest, CodeSent, History, HistoryEntry, HistoryQuery,
    NewApiKey, NewApiKeyRequest, Ownership, VoucherRequest, VoucherResponse,
};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// `GET /v1/account`.
pub async fn account(
    State(service): State<Service>,
    who: AuthenticatedAccount,
) -> Result<Answer<AccountStatus>, Problem> {
    let number = who.account.number;
    let standing = service.ledger(move |ledger, now| ledger.account(number, now)).await?;
    Ok(Answer(AccountStatus {
        number,
        name: standing.account.name,
        balance: standing.balance,
        spent_today: standing.spent_today,
        caps: standing.caps,
        owns: standing.owns,
    }))
}

/// `GET /v1/history?before=…&most=…`: what moved the account's credits, newest first.
pub async fn history(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    part: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Answer<History>, Problem> {
    let Query(part) = part.map_err(|_| Problem::new("form", "before and most must be whole numbers"))?;
    let (number, before) = (who.account.number, part.before.unwrap_or(u64::MAX));
    let most = part.most.unwrap_or(HistoryQuery::MAX).clamp(1, HistoryQuery::MAX);
    let entries =
        service.ledger(move |ledger, now| ledger.run(ops::History { account: number, before, most }, now)).await?;
    // Start of the next part.
    let before = entries.last().filter(|_| entries.len() == most as usize).map(|entry| entry.number);
    let entries = entries.iter().map(|entry| {
        let HistoryRow { entry: number, event, stamps, credits, .. } = HistoryRow::of(entry);
        HistoryEntry { at: entry.at.to_string(), credits, entry: number, event, stamps }
    });
    Ok(Answer(History { before, entries: entries.collect() }))
}

impl From<ApiKey> for ApiKeyInfo {
    fn from(key: ApiKey) -> Self {
        let revoked = key.revoked.map(|at| at.to_string());
        Self { id: key.id, label: key.label, created: key.created.to_string(), revoked }
    }
}

/// `GET /v1/keys`.
pub async fn keys(State(service): State<Service>, who: AuthenticatedAccount) -> Result<Answer<ApiKeys>, Problem> {
    let keys = service.ledger(move |ledger, now| ledger.run(ops::ApiKeys { account: who.account.number }, now)).await?;
    Ok(Answer(ApiKeys { keys: keys.into_iter().map(ApiKeyInfo::from).collect() }))
}

/// `POST /v1/keys`: creates an API key. Only this answer ever contains the key.
///
/// # Errors
/// A malformed label.
pub async fn add_key(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    Body(NewApiKeyRequest { label }): Body<NewApiKeyRequest>,
) -> Result<Response, Problem> {
    let made = service.ledger(move |ledger, now| ledger.add_api_key(who.account.number, &label, now)).await?;
    let (text, ApiKey { id, label, created, .. }) = made;
    let place = format!("/v1/keys/{id}").parse();
    let answer = NewApiKey { created: created.to_string(), id, key: text.as_str().to_owned(), label };
    let mut response = (StatusCode::CREATED, Answer(answer)).into_response();
    if let Ok(place) = place {
        response.headers_mut().insert(axum::http::header::LOCATION, place);
    }
    Ok(response)
}

/// `DELETE /v1/keys/{id}`. A key may revoke itself, unless it is the last one.
///
/// # Errors
/// When the account has no such key, or no other.
pub async fn revoke_key(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let unknown = || Problem::new("not-found", "the account has no such key");
    let Path(id) = id.map_err(|_| unknown())?;
    let revoke = ops::RevokeApiKey { account: who.account.number, id, even_last: false };
    let gone = service.ledger(move |ledger, now| ledger.run(revoke, now)).await;
    // The caller's own key is valid, so this is not an authentication error.
    gone.map_err(|problem| match problem.word {
        "no-api-key" => unknown(),
        _ => problem,
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/addresses`: mails a code to an address, or to the postmaster of a domain.
///
/// # Errors
/// When a code was sent recently, or many were sent today; when the mail server does not take it, or is slow.
pub async fn claim(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    Body(CodeRequest { address }): Body<CodeRequest>,
) -> Result<Response, Problem> {
    let server = service.settings().mail_server.clone();
    let subject = address.clone();
    service.mail(move |ledger, now| ledger.send_code(who.account.number, &subject, &server, now)).await?;
    Ok((StatusCode::ACCEPTED, Answer(CodeSent { address, sent: true })).into_response())
}

/// `POST /v1/addresses/confirm`: proves an address with its code.
///
/// # Errors
/// When the code is wrong.
pub async fn confirm(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    Body(CodeConfirmation { address, code }): Body<CodeConfirmation>,
) -> Result<Answer<Ownership>, Problem> {
    let (number, from) = (who.account.number, who.address);
    let answer = service.ledger(move |ledger, now| {
        ledger.confirm_code(number, &address, &code, now)?;
        ledger.account(number, now)
    });
    let standing = record_failed_attempt(&service, from, answer.await)?;
    Ok(Answer(Ownership { owns: standing.owns }))
}

/// `POST /v1/vouchers`: adds the value of a voucher to the account.
///
/// # Errors
/// When no voucher has this code, or it is spent.
pub async fn voucher(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    Body(VoucherRequest { code }): Body<VoucherRequest>,
) -> Result<Answer<VoucherResponse>, Problem> {
    let (number, from) = (who.account.number, who.address);
    let answer = service.ledger(move |ledger, now| ledger.take_voucher(number, &code, now)).await;
    let Receipt { credits, balance, entry, .. } = record_failed_attempt(&service, from, answer)?;
    Ok(Answer(VoucherResponse { balance, credits, entry }))
}
