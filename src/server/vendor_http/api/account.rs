//! API of an account: `/v1/account`, `/v1/history`, `/v1/keys`, `/v1/addresses`, `/v1/vouchers`.

use super::{Answer, Body};
use crate::accounting::order::Caps;
use crate::ledger::model::{ApiKey, Receipt};
use crate::ledger::ops;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::auth::{AuthenticatedAccount, record_failed_attempt};
use crate::server::vendor_http::error::Problem;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Most entries of the history in one answer.
const MOST: u32 = 100;

/// An account as its owner sees it.
#[derive(Debug, Serialize)]
pub struct AccountView {
    number: u64,
    name: String,
    balance: u64,
    spent_today: u64,
    caps: Caps,
    /// Addresses and domains that it has proved to own.
    owns: Vec<String>,
}

/// `GET /v1/account`.
pub async fn account(
    State(service): State<Service>,
    who: AuthenticatedAccount,
) -> Result<Answer<AccountView>, Problem> {
    let number = who.account.number;
    let standing = service.ledger(move |ledger, now| ledger.account(number, now)).await?;
    Ok(Answer(AccountView {
        number,
        name: standing.account.name,
        balance: standing.balance,
        spent_today: standing.spent_today,
        caps: standing.caps,
        owns: standing.owns,
    }))
}

/// Query of a part of the history.
#[derive(Debug, Deserialize)]
pub struct Part {
    /// Entries with numbers below this.
    before: Option<u64>,
    /// Most entries to return.
    most: Option<u32>,
}

/// `GET /v1/history?before=…&most=…`: what moved the account's credits, newest first.
pub async fn history(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    part: Result<Query<Part>, axum::extract::rejection::QueryRejection>,
) -> Result<Answer<Value>, Problem> {
    let Query(part) = part.map_err(|_| Problem::new("form", "before and most must be whole numbers"))?;
    let (number, before) = (who.account.number, part.before.unwrap_or(u64::MAX));
    let most = part.most.unwrap_or(MOST).clamp(1, MOST);
    let entries =
        service.ledger(move |ledger, now| ledger.run(ops::History { account: number, before, most }, now)).await?;
    let entries: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let line = crate::server::vendor_http::page::history::HistoryRow::of(entry);
            json!({
                "entry": entry.number,
                "at": entry.at.to_string(),
                "event": line.event,
                "stamps": line.stamps,
                "credits": line.credits,
            })
        })
        .collect();
    // Start of the next part.
    let before = entries.last().filter(|_| entries.len() == most as usize).map(|entry| entry["entry"].clone());
    Ok(Answer(json!({ "entries": entries, "before": before })))
}

/// An API key as its owner sees it, without the key.
#[derive(Debug, Serialize)]
pub struct ApiKeyView {
    id: String,
    label: String,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        let revoked = key.revoked.map(|at| at.to_string());
        Self { id: key.id, label: key.label, created: key.created.to_string(), revoked }
    }
}

/// `GET /v1/keys`.
pub async fn keys(State(service): State<Service>, who: AuthenticatedAccount) -> Result<Answer<Value>, Problem> {
    let keys = service.ledger(move |ledger, now| ledger.run(ops::ApiKeys { account: who.account.number }, now)).await?;
    let keys: Vec<ApiKeyView> = keys.into_iter().map(ApiKeyView::from).collect();
    Ok(Answer(json!({ "keys": keys })))
}

/// Label of a new key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a label")]
pub struct Label {
    label: String,
}

/// `POST /v1/keys`: creates an API key. Only this answer ever contains the key.
///
/// # Errors
/// A malformed label.
pub async fn add_key(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    Body(Label { label }): Body<Label>,
) -> Result<Response, Problem> {
    let made = service.ledger(move |ledger, now| ledger.add_api_key(who.account.number, &label, now)).await?;
    let (text, key) = made;
    let id = key.id.clone();
    let mut answer = json!({ "key": text.as_str() });
    if let (Value::Object(answer), Ok(Value::Object(seen))) = (&mut answer, serde_json::to_value(ApiKeyView::from(key)))
    {
        answer.extend(seen);
    }
    let mut response = (StatusCode::CREATED, Answer(answer)).into_response();
    if let Ok(place) = format!("/v1/keys/{id}").parse() {
        response.headers_mut().insert(axum::http::header::LOCATION, place);
    }
    Ok(response)
}

/// `DELETE /v1/keys/{id}`. A key may revoke itself.
///
/// # Errors
/// When the account has no such key.
pub async fn revoke_key(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let unknown = || Problem::new("not-found", "the account has no such key");
    let Path(id) = id.map_err(|_| unknown())?;
    let gone =
        service.ledger(move |ledger, now| ledger.run(ops::RevokeApiKey { account: who.account.number, id }, now)).await;
    // The caller's own key is valid, so this is not an authentication error.
    gone.map_err(|problem| match problem.word {
        "no-api-key" => unknown(),
        _ => problem,
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// An address or a domain.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with an address")]
pub struct OwnershipRequest {
    address: String,
}

/// An address or a domain, and the code that was mailed to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with an address and a code")]
pub struct OwnershipProof {
    address: String,
    code: String,
}

/// `POST /v1/addresses`: mails a code to an address, or to the postmaster of a domain.
///
/// # Errors
/// When a code was sent recently, or many were sent today.
pub async fn claim(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    Body(OwnershipRequest { address }): Body<OwnershipRequest>,
) -> Result<Response, Problem> {
    let sendmail = service.settings().sendmail.clone();
    let subject = address.clone();
    service.mail(move |ledger, now| ledger.send_code(who.account.number, &subject, &sendmail, now)).await?;
    Ok((StatusCode::ACCEPTED, Answer(json!({ "address": address, "sent": true }))).into_response())
}

/// `POST /v1/addresses/confirm`: proves an address with its code.
///
/// # Errors
/// When the code is wrong.
pub async fn confirm(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    Body(OwnershipProof { address, code }): Body<OwnershipProof>,
) -> Result<Answer<Value>, Problem> {
    let (number, from) = (who.account.number, who.address);
    let answer = service.ledger(move |ledger, now| {
        ledger.confirm_code(number, &address, &code, now)?;
        ledger.account(number, now)
    });
    let standing = record_failed_attempt(&service, from, answer.await)?;
    Ok(Answer(json!({ "owns": standing.owns })))
}

/// The code of a voucher.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a code")]
pub struct Voucher {
    code: String,
}

/// `POST /v1/vouchers`: adds the value of a voucher to the account.
///
/// # Errors
/// When no voucher has this code, or it is spent.
pub async fn voucher(
    State(service): State<Service>,
    who: AuthenticatedAccount,
    Body(Voucher { code }): Body<Voucher>,
) -> Result<Answer<Value>, Problem> {
    let (number, from) = (who.account.number, who.address);
    let answer = service.ledger(move |ledger, now| ledger.take_voucher(number, &code, now)).await;
    let Receipt { credits, balance, entry, .. } = record_failed_attempt(&service, from, answer)?;
    Ok(Answer(json!({ "credits": credits, "balance": balance, "entry": entry })))
}
