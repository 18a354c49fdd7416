//! Page of an account's sessions: lists them, and ends one after a question.

use super::csrf::{Fields, Posted};
use super::session::Session;
use super::{Layout, Page, show};
use crate::ledger::ops;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::error::Problem;
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    frame: Layout,
    lines: Vec<Line>,
    /// The session that the visitor is asked about.
    asked: Option<Line>,
}

struct Line {
    id: String,
    since: String,
    /// Label of the API key.
    key: String,
    idle: u64,
    own: bool,
}

/// Form that ends a session.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct End {
    token: String,
    id: String,
    /// Whether the question was answered; empty if not.
    sure: String,
}

impl Fields for End {
    fn token(&self) -> &str {
        &self.token
    }
}

/// `GET /account/sessions`.
pub async fn list(State(service): State<Service>, visitor: Session) -> Result<Response, Page> {
    let Some(lines) = lines(&service, &visitor).await? else { return Ok(Redirect::to("/signin").into_response()) };
    let frame = Layout::of(&service, &visitor).await?;
    Ok(visitor.answer(&service, show(StatusCode::OK, &SessionsPage { frame, lines, asked: None })))
}

/// `POST /account/sessions`: asks first, then ends the session.
///
/// # Errors
/// As [`Posted`].
pub async fn end(
    State(service): State<Service>,
    Posted { mut visitor, form: told, .. }: Posted<End>,
) -> Result<Response, Page> {
    let Some(lines) = lines(&service, &visitor).await? else { return Ok(Redirect::to("/signin").into_response()) };
    let back = Redirect::to("/account/sessions");
    // It may have ended meanwhile, perhaps by the same form.
    let Some(line) = lines.into_iter().find(|line| line.id == told.id) else { return Ok(back.into_response()) };
    if told.sure.is_empty() {
        let frame = Layout::of(&service, &visitor).await?;
        let page = SessionsPage { frame, lines: Vec::new(), asked: Some(line) };
        return Ok(visitor.answer(&service, show(StatusCode::OK, &page)));
    }
    if line.own {
        service.sessions().sign_out(&mut visitor).map_err(|error| Problem::trouble(&error.to_string()))?;
        return Ok(visitor.answer(&service, Redirect::to("/signin")));
    }
    service.sessions().end(&visitor, &line.id);
    Ok(back.into_response())
}

/// Returns the sessions of the visitor's account, the latest sign-in first; `None` if the visitor has no account.
async fn lines(service: &Service, visitor: &Session) -> Result<Option<Vec<Line>>, Page> {
    let Some(account) = visitor.account.as_ref().map(|account| account.number) else { return Ok(None) };
    let keys = service.ledger(move |ledger, now| ledger.run(ops::ApiKeys { account }, now)).await?;
    let lines = service.sessions().list(visitor).into_iter().filter_map(|session| {
        let hash = session.key.to_string();
        // A session ends with its key.
        let key = keys.iter().find(|key| key.revoked.is_none() && hash.starts_with(&key.id))?;
        let since = session.since.to_string();
        Some(Line {
            id: session.id,
            since: since.get(..16).unwrap_or(&since).replace('T', " "),
            key: key.label.clone(),
            idle: session.idle.as_secs() / 60,
            own: session.own,
        })
    });
    Ok(Some(lines.collect()))
}
