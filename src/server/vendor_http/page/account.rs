//! Page of an account: balance, history and API keys. Its owner signs in with one of those keys.

use super::csrf::{SHOWN_EARLIER, verify_csrf};
use super::history::HistoryRow;
use super::session::{Session, Shown};
use super::{Filled, Layout, Page, chart, show};
use crate::accounting::hash::Hash;
use crate::accounting::order::Caps;
use crate::ledger::model::{ApiKey, Day};
use crate::ledger::ops;
use crate::os::clock;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::auth::{open, record_failed_attempt};
use crate::server::vendor_http::error::Problem;
use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

/// Rows of the history on one page.
const LINES: u32 = 20;

#[derive(Template)]
#[template(path = "signin.html")]
struct SignInPage {
    frame: Layout,
    wrong: bool,
    /// Code of a voucher that waits for the account.
    code: String,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Layout,
    fault: Option<String>,
    done: Option<String>,
    balance: u64,
    worth: String,
    spent_today: u64,
    caps: Caps,
    owns: Vec<String>,
    days: Vec<Day>,
    drawing: String,
    most: u64,
    highest: i64,
    lines: Vec<HistoryRow>,
    newest: bool,
    next: Option<u64>,
    keys: Vec<KeyLine>,
    /// Code of a voucher that was typed and is not used up.
    code: String,
    /// Address or domain that was typed, and the code that should prove it.
    address: String,
    proof: String,
}

#[derive(Template)]
#[template(path = "key.html")]
struct KeyPage {
    frame: Layout,
    key: Option<String>,
}

#[derive(Template)]
#[template(path = "revoke.html")]
struct RevokePage {
    frame: Layout,
    key: KeyLine,
}

struct KeyLine {
    id: String,
    label: String,
    created: String,
    revoked: Option<String>,
}

impl From<ApiKey> for KeyLine {
    fn from(key: ApiKey) -> Self {
        let day = |text: String| text.split('T').next().unwrap_or_default().to_owned();
        Self {
            id: key.id,
            label: key.label,
            created: day(key.created.to_string()),
            revoked: key.revoked.map(|at| day(at.to_string())),
        }
    }
}

/// Form with an API key, a label, the id of a key, the code of a voucher, or an address and the code that proves it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NewApiKey {
    token: String,
    key: String,
    label: String,
    id: String,
    code: String,
    address: String,
    /// Whether the question was answered; empty if not.
    sure: String,
}

/// Query of a part of the history.
#[derive(Debug, Default, Deserialize)]
pub struct Section {
    before: Option<u64>,
}

/// `GET /signin`.
///
/// # Errors
/// When the ledger does not answer.
pub async fn sign_in_form(State(service): State<Service>, visitor: Session) -> Result<Response, Page> {
    if visitor.account.is_some() {
        return Ok(Redirect::to("/account").into_response());
    }
    let frame = Layout::of(&service, &visitor).await?;
    Ok(visitor.answer(&service, show(StatusCode::OK, &SignInPage { frame, wrong: false, code: String::new() })))
}

/// `POST /signin`.
///
/// # Errors
/// A form that fails [`verify_csrf`]; too many wrong keys.
pub async fn sign_in(
    State(service): State<Service>,
    mut visitor: Session,
    headers: HeaderMap,
    Filled(told): Filled<NewApiKey>,
) -> Result<Response, Page> {
    verify_csrf(&service, &visitor, &told.token, &headers)?;
    let key = told.key.trim().to_owned();
    let hash = Hash::of(key.as_bytes());
    match open(&service, visitor.address, key).await {
        Ok(account) => {
            let signed_in = service.sessions().sign_in(&mut visitor, account, hash);
            signed_in.map_err(|error| Problem::trouble(&error.to_string()))?;
            if !told.code.is_empty() {
                return account_page(&service, &visitor, None, Outcome { code: told.code, ..Outcome::default() }).await;
            }
            Ok(visitor.answer(&service, Redirect::to("/account")))
        }
        Err(problem) if problem.word == "no-api-key" => {
            let page = SignInPage { frame: Layout::of(&service, &visitor).await?, wrong: true, code: told.code };
            Ok(visitor.answer(&service, show(StatusCode::UNAUTHORIZED, &page)))
        }
        Err(problem) => Err(problem.into()),
    }
}

/// What an action on the account came to, shown at the top of the page; and what was typed.
#[derive(Default)]
struct Outcome {
    fault: Option<String>,
    done: Option<String>,
    code: String,
    address: String,
    proof: String,
}

impl Outcome {
    fn fault(text: &str) -> Self {
        Self { fault: Some(text.to_owned()), ..Self::default() }
    }
}

/// `POST /signout`.
///
/// # Errors
/// A form that fails [`verify_csrf`].
pub async fn sign_out(
    State(service): State<Service>,
    mut visitor: Session,
    headers: HeaderMap,
    Filled(told): Filled<NewApiKey>,
) -> Result<Response, Page> {
    verify_csrf(&service, &visitor, &told.token, &headers)?;
    service.sessions().sign_out(&mut visitor).map_err(|error| Problem::trouble(&error.to_string()))?;
    Ok(visitor.answer(&service, Redirect::to("/")))
}

/// `GET /account`; `?before=…` shows earlier rows of the history.
///
/// # Errors
/// When the ledger does not answer.
pub async fn account(
    State(service): State<Service>,
    visitor: Session,
    part: Result<Query<Section>, QueryRejection>,
) -> Result<Response, Page> {
    let before = part.ok().and_then(|Query(part)| part.before);
    account_page(&service, &visitor, before, Outcome::default()).await
}

async fn account_page(
    service: &Service,
    visitor: &Session,
    before: Option<u64>,
    Outcome { fault, done, code, address, proof }: Outcome,
) -> Result<Response, Page> {
    let Some(number) = visitor.account.as_ref().map(|account| account.number) else {
        return Ok(Redirect::to("/signin").into_response());
    };
    let today = clock::now().0.div_euclid(86_400);
    let ask = service.ledger(move |ledger, now| {
        let standing = ledger.account(number, now)?;
        let lines =
            ledger.run(ops::History { account: number, before: before.unwrap_or(u64::MAX), most: LINES }, now)?;
        let days = ledger.run(ops::Days { account: number, from: chart::first(today) }, now)?;
        Ok((standing, lines, days, ledger.run(ops::ApiKeys { account: number }, now)?, ledger.profile()?))
    });
    let (standing, entries, days, keys, profile) = ask.await?;
    let days = chart::days(&days, today, standing.balance);
    let most = days.iter().map(|day| day.bought.max(day.deposited)).max().unwrap_or(0);
    let highest = days.iter().map(|day| day.balance).max().unwrap_or(0);
    let next = entries.last().filter(|_| entries.len() == LINES as usize).map(|entry| entry.number);
    let status = if fault.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = AccountPage {
        frame: Layout::of(service, visitor).await?,
        fault,
        done,
        code,
        address,
        proof,
        balance: standing.balance,
        worth: profile.terms.price.of(standing.balance).map(|cost| cost.to_string()).unwrap_or_default(),
        spent_today: standing.spent_today,
        caps: standing.caps,
        owns: standing.owns,
        drawing: chart::drawing(&days),
        days,
        most,
        highest,
        lines: entries.iter().map(HistoryRow::of).collect(),
        newest: before.is_none(),
        next,
        keys: keys.into_iter().map(KeyLine::from).collect(),
    };
    Ok(visitor.answer(service, show(status, &page)))
}

/// `POST /account/keys`: creates an API key and redirects to the page that shows it. A reload there creates no other.
///
/// # Errors
/// A form that fails [`verify_csrf`].
pub async fn add_key(
    State(service): State<Service>,
    visitor: Session,
    headers: HeaderMap,
    Filled(told): Filled<NewApiKey>,
) -> Result<Response, Page> {
    let shown = verify_csrf(&service, &visitor, &told.token, &headers)?;
    let Some(number) = visitor.account.as_ref().map(|account| account.number) else {
        return Ok(Redirect::to("/signin").into_response());
    };
    if shown == Shown::Earlier {
        return account_page(&service, &visitor, None, Outcome::fault(SHOWN_EARLIER)).await;
    }
    let label = told.label.trim().to_owned();
    match service.ledger(move |ledger, now| ledger.add_api_key(number, &label, now)).await {
        Ok((key, _)) => {
            service.sessions().store(&visitor, key);
            Ok(Redirect::to("/account/key").into_response())
        }
        Err(problem) if problem.word == "form" => {
            account_page(&service, &visitor, None, Outcome::fault(&problem.detail)).await
        }
        Err(problem) => Err(problem.into()),
    }
}

/// `GET /account/key`: shows a new API key once.
///
/// # Errors
/// When the ledger does not answer.
pub async fn show_key(State(service): State<Service>, visitor: Session) -> Result<Response, Page> {
    if visitor.account.is_none() {
        return Ok(Redirect::to("/signin").into_response());
    }
    let key = service.sessions().show(&visitor).map(|key| key.as_str().to_owned());
    let frame = Layout::of(&service, &visitor).await?;
    let mut response = show(StatusCode::OK, &KeyPage { frame, key });
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(visitor.answer(&service, response))
}

/// `POST /account/keys/revoke`: asks first, then revokes the key.
///
/// # Errors
/// A form that fails [`verify_csrf`].
pub async fn revoke_key(
    State(service): State<Service>,
    visitor: Session,
    headers: HeaderMap,
    Filled(told): Filled<NewApiKey>,
) -> Result<Response, Page> {
    let shown = verify_csrf(&service, &visitor, &told.token, &headers)?;
    let Some(number) = visitor.account.as_ref().map(|account| account.number) else {
        return Ok(Redirect::to("/signin").into_response());
    };
    if shown == Shown::Earlier {
        return account_page(&service, &visitor, None, Outcome::fault(SHOWN_EARLIER)).await;
    }
    if told.sure.is_empty() {
        let keys = service.ledger(move |ledger, now| ledger.run(ops::ApiKeys { account: number }, now)).await?;
        let asked = keys.into_iter().find(|key| key.id == told.id && key.revoked.is_none());
        let Some(key) = asked.map(KeyLine::from) else { return Ok(Redirect::to("/account").into_response()) };
        let frame = Layout::of(&service, &visitor).await?;
        return Ok(visitor.answer(&service, show(StatusCode::OK, &RevokePage { frame, key })));
    }
    let revoke = ops::RevokeApiKey { account: number, id: told.id, even_last: false };
    match service.ledger(move |ledger, now| ledger.run(revoke, now)).await {
        Err(problem) if problem.word == "last-api-key" => {
            let fault = "This is the last key of the account. Create another one before you revoke it.";
            account_page(&service, &visitor, None, Outcome::fault(fault)).await
        }
        // Already revoked, perhaps by the same form.
        Err(problem) if problem.word != "no-api-key" => Err(problem.into()),
        _ => Ok(Redirect::to("/account").into_response()),
    }
}

/// `POST /account/voucher`: adds a voucher to the account. A voucher is used up once, so a reload does nothing.
///
/// # Errors
/// A form that fails [`verify_csrf`].
pub async fn voucher(
    State(service): State<Service>,
    visitor: Session,
    headers: HeaderMap,
    Filled(told): Filled<NewApiKey>,
) -> Result<Response, Page> {
    let shown = verify_csrf(&service, &visitor, &told.token, &headers)?;
    let Some(number) = visitor.account.as_ref().map(|account| account.number) else {
        let frame = Layout::of(&service, &visitor).await?;
        return Ok(visitor.answer(&service, show(StatusCode::OK, &SignInPage { frame, wrong: false, code: told.code })));
    };
    let code = told.code.clone();
    if shown == Shown::Earlier {
        return account_page(&service, &visitor, None, Outcome { code, ..Outcome::fault(SHOWN_EARLIER) }).await;
    }
    let answer = service.ledger(move |ledger, now| ledger.take_voucher(number, &told.code, now)).await;
    let outcome = match record_failed_attempt(&service, visitor.address, answer) {
        Ok(booked) => Outcome {
            done: Some(format!("{} credits were added to the account.", booked.credits)),
            ..Outcome::default()
        },
        Err(problem) if problem.word == "no-voucher" => {
            Outcome { code, ..Outcome::fault("No voucher has this code, or nothing is left on it.") }
        }
        Err(problem) => return Err(problem.into()),
    };
    account_page(&service, &visitor, None, outcome).await
}

/// `POST /account/addresses`: mails a code to an address, or to the postmaster of a domain. A reload mails no other for
/// ten minutes.
///
/// # Errors
/// A form that fails [`verify_csrf`].
pub async fn send_code(
    State(service): State<Service>,
    visitor: Session,
    headers: HeaderMap,
    Filled(told): Filled<NewApiKey>,
) -> Result<Response, Page> {
    let shown = verify_csrf(&service, &visitor, &told.token, &headers)?;
    let Some(number) = visitor.account.as_ref().map(|account| account.number) else {
        return Ok(Redirect::to("/signin").into_response());
    };
    let address = told.address.trim().to_owned();
    if shown == Shown::Earlier {
        return account_page(&service, &visitor, None, Outcome { address, ..Outcome::fault(SHOWN_EARLIER) }).await;
    }
    let (subject, server) = (address.clone(), service.settings().mail_server.clone());
    let sent = service.mail(move |ledger, now| ledger.send_code(number, &subject, &server, now)).await;
    let outcome = match sent {
        Ok(()) => {
            let to = if address.contains('@') { address.clone() } else { format!("the postmaster of {address}") };
            let done = format!("A code was mailed to {to}. It is valid for a day. Enter it below.");
            Outcome { done: Some(done), address, ..Outcome::default() }
        }
        Err(problem) if matches!(problem.word, "form" | "code-waiting" | "mail" | "rate") => {
            Outcome { address, ..Outcome::fault(&sentence(&problem.detail)) }
        }
        Err(problem) => return Err(problem.into()),
    };
    account_page(&service, &visitor, None, outcome).await
}

/// `POST /account/addresses/confirm`: proves an address with the code that was mailed there.
///
/// # Errors
/// A form that fails [`verify_csrf`]; too many wrong codes.
pub async fn confirm_code(
    State(service): State<Service>,
    visitor: Session,
    headers: HeaderMap,
    Filled(told): Filled<NewApiKey>,
) -> Result<Response, Page> {
    let shown = verify_csrf(&service, &visitor, &told.token, &headers)?;
    let Some(number) = visitor.account.as_ref().map(|account| account.number) else {
        return Ok(Redirect::to("/signin").into_response());
    };
    let (address, proof) = (told.address.trim().to_owned(), told.code);
    if shown == Shown::Earlier {
        let outcome = Outcome { address, proof, ..Outcome::fault(SHOWN_EARLIER) };
        return account_page(&service, &visitor, None, outcome).await;
    }
    let (subject, code) = (address.clone(), proof.clone());
    let answer = service.ledger(move |ledger, now| ledger.confirm_code(number, &subject, &code, now)).await;
    let outcome = match record_failed_attempt(&service, visitor.address, answer) {
        Ok(()) => {
            let done = format!("{address} is proved. Stamps for it can be handed in for this account.");
            Outcome { done: Some(done), ..Outcome::default() }
        }
        Err(problem) if matches!(problem.word, "form" | "no-code" | "wrong-code") => {
            Outcome { address, proof, ..Outcome::fault(&sentence(&problem.detail)) }
        }
        Err(problem) => return Err(problem.into()),
    };
    account_page(&service, &visitor, None, outcome).await
}

/// Makes a sentence of the detail of a problem.
fn sentence(detail: &str) -> String {
    let mut letters = detail.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}
