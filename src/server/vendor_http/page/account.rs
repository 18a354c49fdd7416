//! Page of an account: balance, history and API keys. Its owner signs in with one of those keys.

use super::csrf::{Fields, Posted, SHOWN_EARLIER};
use super::history::HistoryRow;
use super::session::{Session, Shown};
use super::{Layout, Page, chart, sentence, show, unstored};
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
use axum::extract::{FromRequest, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

/// Rows of the history on one page.
const LINES: u32 = 20;

#[derive(Template)]
#[template(path = "signin.html")]
struct SignInPage {
    frame: Layout,
    wrong: bool,
    typed: Typed,
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
    typed: Typed,
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

/// Form of a visitor with an account, or who signs in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct AccountForm {
    token: String,
    /// API key to sign in with.
    key: String,
    /// Id of an API key to revoke.
    id: String,
    /// Whether the question was answered; empty if not.
    sure: String,
    #[serde(flatten)]
    typed: Typed,
}

impl Fields for AccountForm {
    fn token(&self) -> &str {
        &self.token
    }
}

/// What was typed into a form of the account page. It is there again if it was not used, also after a sign-in.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Typed {
    /// Name of a new API key.
    label: String,
    /// Code of a voucher.
    code: String,
    /// Address or domain, and the code that should prove it.
    address: String,
    proof: String,
}

impl Typed {
    /// Returns the fields that are not empty, by their names in forms.
    fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("label", &self.label), ("code", &self.code), ("address", &self.address), ("proof", &self.proof)];
        all.into_iter().map(|(name, value)| (name, value.as_str())).filter(|(_, value)| !value.is_empty())
    }
}

/// Form that acts on the visitor's account, in the session to which it was shown.
///
/// Other forms do nothing, and are answered with a page that has what was typed: without a session that to sign in.
#[derive(Debug)]
pub struct OwnForm {
    visitor: Session,
    account: u64,
    form: AccountForm,
}

impl FromRequest<Service> for OwnForm {
    type Rejection = Page;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Page> {
        let Posted { visitor, form, shown } = Posted::<AccountForm>::from_request(request, service).await?;
        let answer = match visitor.account.as_ref().map(|account| account.number) {
            Some(account) if shown == Shown::Here => return Ok(Self { visitor, account, form }),
            Some(_) => account_page(service, &visitor, None, Outcome::fault(SHOWN_EARLIER, form.typed)).await?,
            None if form.typed == Typed::default() => Redirect::to("/signin").into_response(),
            None => sign_in_page(service, &visitor, StatusCode::OK, form.typed).await?,
        };
        Err(Page(Box::new(answer)))
    }
}

/// Query of a part of the history.
#[derive(Debug, Default, Deserialize)]
pub struct Section {
    before: Option<u64>,
}

/// `GET /signin`.
pub async fn sign_in_form(State(service): State<Service>, visitor: Session) -> Result<Response, Page> {
    if visitor.account.is_some() {
        return Ok(Redirect::to("/account").into_response());
    }
    sign_in_page(&service, &visitor, StatusCode::OK, Typed::default()).await
}

async fn sign_in_page(
    service: &Service,
    visitor: &Session,
    status: StatusCode,
    typed: Typed,
) -> Result<Response, Page> {
    let frame = Layout::of(service, visitor).await?;
    let page = SignInPage { frame, wrong: status == StatusCode::UNAUTHORIZED, typed };
    Ok(visitor.answer(service, show(status, &page)))
}

/// `POST /signin`.
///
/// # Errors
/// As [`Posted`]; too many wrong keys.
pub async fn sign_in(
    State(service): State<Service>,
    Posted { mut visitor, form: told, .. }: Posted<AccountForm>,
) -> Result<Response, Page> {
    let key = told.key.trim().to_owned();
    let hash = Hash::of(key.as_bytes());
    match open(&service, visitor.address, key).await {
        Ok(account) => {
            let signed_in = service.sessions().sign_in(&mut visitor, account, hash);
            signed_in.map_err(|error| Problem::trouble(&error.to_string()))?;
            if told.typed == Typed::default() {
                return Ok(visitor.answer(&service, Redirect::to("/account")));
            }
            account_page(&service, &visitor, None, Outcome { typed: told.typed, ..Outcome::default() }).await
        }
        Err(problem) if problem.word == "no-api-key" => {
            sign_in_page(&service, &visitor, StatusCode::UNAUTHORIZED, told.typed).await
        }
        Err(problem) => Err(problem.into()),
    }
}

/// What an action on the account came to, shown at the top of the page; and what was typed.
#[derive(Default)]
struct Outcome {
    fault: Option<String>,
    done: Option<String>,
    typed: Typed,
}

impl Outcome {
    fn fault(text: &str, typed: Typed) -> Self {
        Self { fault: Some(text.to_owned()), done: None, typed }
    }

    fn done(text: String) -> Self {
        Self { done: Some(text), ..Self::default() }
    }
}

/// `POST /signout`.
///
/// # Errors
/// As [`Posted`].
pub async fn sign_out(
    State(service): State<Service>,
    Posted { mut visitor, .. }: Posted<AccountForm>,
) -> Result<Response, Page> {
    service.sessions().sign_out(&mut visitor).map_err(|error| Problem::trouble(&error.to_string()))?;
    Ok(visitor.answer(&service, Redirect::to("/")))
}

/// `GET /account`; `?before=…` shows earlier rows of the history.
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
    Outcome { fault, done, typed }: Outcome,
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
        typed,
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
pub async fn add_key(
    State(service): State<Service>,
    OwnForm { visitor, account, form: AccountForm { typed, .. } }: OwnForm,
) -> Result<Response, Page> {
    let label = typed.label.trim().to_owned();
    match service.ledger(move |ledger, now| ledger.add_api_key(account, &label, now)).await {
        Ok((key, _)) => {
            service.sessions().store(&visitor, key);
            Ok(Redirect::to("/account/key").into_response())
        }
        Err(problem) if problem.word == "form" => {
            account_page(&service, &visitor, None, Outcome::fault(&problem.detail, typed)).await
        }
        Err(problem) => Err(problem.into()),
    }
}

/// `GET /account/key`: shows a new API key once.
pub async fn show_key(State(service): State<Service>, visitor: Session) -> Result<Response, Page> {
    if visitor.account.is_none() {
        return Ok(Redirect::to("/signin").into_response());
    }
    let key = service.sessions().show(&visitor).map(|key| key.as_str().to_owned());
    let frame = Layout::of(&service, &visitor).await?;
    Ok(visitor.answer(&service, unstored(show(StatusCode::OK, &KeyPage { frame, key }))))
}

/// `POST /account/keys/revoke`: asks first, then revokes the key.
pub async fn revoke_key(
    State(service): State<Service>,
    OwnForm { visitor, account, form: told }: OwnForm,
) -> Result<Response, Page> {
    if told.sure.is_empty() {
        let keys = service.ledger(move |ledger, now| ledger.run(ops::ApiKeys { account }, now)).await?;
        let asked = keys.into_iter().find(|key| key.id == told.id && key.revoked.is_none());
        let Some(key) = asked.map(KeyLine::from) else { return Ok(Redirect::to("/account").into_response()) };
        let frame = Layout::of(&service, &visitor).await?;
        return Ok(visitor.answer(&service, show(StatusCode::OK, &RevokePage { frame, key })));
    }
    let revoke = ops::RevokeApiKey { account, id: told.id, even_last: false };
    match service.ledger(move |ledger, now| ledger.run(revoke, now)).await {
        Err(problem) if problem.word == "last-api-key" => {
            let fault = "This is the last key of the account. Create another one before you revoke it.";
            account_page(&service, &visitor, None, Outcome::fault(fault, told.typed)).await
        }
        // Already revoked, perhaps by the same form.
        Err(problem) if problem.word != "no-api-key" => Err(problem.into()),
        _ => Ok(Redirect::to("/account").into_response()),
    }
}

/// `POST /account/voucher`: adds a voucher to the account. A voucher is used up once, so a reload does nothing.
pub async fn voucher(
    State(service): State<Service>,
    OwnForm { visitor, account, form: AccountForm { typed, .. } }: OwnForm,
) -> Result<Response, Page> {
    let code = typed.code.clone();
    let answer = service.ledger(move |ledger, now| ledger.take_voucher(account, &code, now)).await;
    let outcome = match record_failed_attempt(&service, visitor.address, answer) {
        Ok(booked) => Outcome::done(format!("{} credits were added to the account.", booked.credits)),
        Err(problem) if problem.word == "no-voucher" => {
            Outcome::fault("No voucher has this code, or nothing is left on it.", typed)
        }
        Err(problem) => return Err(problem.into()),
    };
    account_page(&service, &visitor, None, outcome).await
}

/// `POST /account/addresses`: mails a code to an address, or to the postmaster of a domain. A reload mails no other for
/// ten minutes.
pub async fn send_code(
    State(service): State<Service>,
    OwnForm { visitor, account, form: AccountForm { mut typed, .. } }: OwnForm,
) -> Result<Response, Page> {
    typed.address = typed.address.trim().to_owned();
    let (address, server) = (typed.address.clone(), service.settings().mail_server.clone());
    let sent = service.mail(move |ledger, now| ledger.send_code(account, &address, &server, now)).await;
    let outcome = match sent {
        Ok(()) => {
            let postmaster = if typed.address.contains('@') { "" } else { "the postmaster of " };
            let done =
                format!("A code was mailed to {postmaster}{}. It is valid for a day. Enter it below.", typed.address);
            Outcome { typed, ..Outcome::done(done) }
        }
        Err(problem) if matches!(problem.word, "form" | "code-waiting" | "mail" | "rate") => {
            Outcome::fault(&sentence(&problem.detail), typed)
        }
        Err(problem) => return Err(problem.into()),
    };
    account_page(&service, &visitor, None, outcome).await
}

/// `POST /account/addresses/confirm`: proves an address with the code that was mailed there.
///
/// # Errors
/// As [`OwnForm`]; too many wrong codes.
pub async fn confirm_code(
    State(service): State<Service>,
    OwnForm { visitor, account, form: AccountForm { mut typed, .. } }: OwnForm,
) -> Result<Response, Page> {
    typed.address = typed.address.trim().to_owned();
    let (address, code) = (typed.address.clone(), typed.proof.clone());
    let answer = service.ledger(move |ledger, now| ledger.confirm_code(account, &address, &code, now)).await;
    let outcome = match record_failed_attempt(&service, visitor.address, answer) {
        Ok(()) => {
            Outcome::done(format!("{} is proved. Stamps for it can be handed in for this account.", typed.address))
        }
        Err(problem) if matches!(problem.word, "form" | "no-code" | "wrong-code") => {
            Outcome::fault(&sentence(&problem.detail), typed)
        }
        Err(problem) => return Err(problem.into()),
    };
    account_page(&service, &visitor, None, outcome).await
}
