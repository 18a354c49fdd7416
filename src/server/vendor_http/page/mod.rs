//! Web pages of the shop. They work without JavaScript and load nothing from elsewhere. A visitor has one cookie, which
//! ends with the visit. No link changes anything, and no form changes anything twice.
//!
//! - [`order_form`]: the fields of an order, parsed and shown again. [`buy`]: from the form to the stamp; `purchase.rs`
//!   has its parts. [`mailto`]: the stamp in a message.
//! - [`own`]: the pages of a vendor for one recipient.
//! - [`account`]: the page of an account. [`history`], [`chart`]: its past.
//! - [`session`]: visitors that are signed in. [`csrf`]: forms that were sent, checked.
//!
//! The templates (`*.html`) escape every value.

pub mod account;
pub mod buy;
#[cfg(feature = "sender")]
mod cashu;
mod change;
pub mod chart;
pub mod csrf;
#[cfg(feature = "sender")]
mod due;
pub mod history;
pub mod mailto;
pub mod order_form;
pub mod own;
#[cfg(feature = "sender")]
mod provider;
mod purchase;
pub mod session;
mod sessions;

use super::Service;
use super::error::Problem;
use crate::accounting::money::{Money, Price};
use crate::vendor_api::problem::CODES;
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use session::Session;

/// Data of the layout around every page.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// The vendor's name.
    pub vendor: String,
    /// The name of the account, if the visitor is signed in.
    pub account: Option<String>,
    /// Token of the visitor's forms.
    pub token: String,
    /// Name and address of the seller, as the operator gave them.
    pub seller: Option<String>,
    /// Web address where vouchers are sold.
    pub voucher_url: Option<String>,
    /// Name of the provider of payments.
    pub provider: Option<String>,
    /// Payment by tokens of Cashu.
    pub cashu: Option<CashuOffer>,
}

/// Payment by tokens of Cashu, as the page shows it.
#[derive(Clone, Debug)]
pub struct CashuOffer {
    /// Addresses of the mints.
    pub mints: Vec<String>,
    pub unit: String,
    /// What the unit is worth.
    pub rate: Price,
}

impl CashuOffer {
    /// Returns a price in the unit; `None` if it has none.
    #[must_use]
    pub fn price(&self, cost: &Money) -> Option<u64> {
        self.rate.units_for(*cost).filter(|price| *price > 0)
    }
}

impl Layout {
    /// Builds the layout for a visitor.
    pub async fn of(service: &Service, visitor: &Session) -> Result<Self, Page> {
        let profile = service.ledger(|ledger, _| ledger.profile()).await.map_err(Page::problem)?;
        Ok(Self {
            vendor: profile.vendor,
            account: visitor.account.as_ref().map(|account| account.name.clone()),
            token: service.sessions().token(visitor),
            seller: service.settings().seller.clone(),
            voucher_url: service.settings().voucher_url.clone(),
            #[cfg(feature = "sender")]
            provider: service.settings().provider.as_ref().map(|provider| provider.name.clone()),
            #[cfg(not(feature = "sender"))]
            provider: None,
            #[cfg(feature = "sender")]
            cashu: service.settings().cashu.as_ref().map(|cashu| CashuOffer {
                mints: cashu.mints.clone(),
                unit: cashu.unit.clone(),
                rate: cashu.rate,
            }),
            #[cfg(not(feature = "sender"))]
            cashu: None,
        })
    }
}

/// Error page in place of the requested one.
#[derive(Debug)]
pub struct Page(Box<Response>);

#[derive(Template)]
#[template(path = "trouble.html")]
struct Trouble {
    frame: Layout,
    status: u16,
    title: &'static str,
    text: String,
}

impl Page {
    /// Builds the page of a problem.
    #[must_use]
    pub fn problem(problem: Problem) -> Self {
        let title = match problem.status.as_u16() {
            404 => "Page not found",
            429 => "Too many requests",
            503 => "The shop has an internal error",
            _ => "That did not work",
        };
        let mut text = problem.detail.clone();
        if let Some(seconds) = problem.retry_after {
            text += &format!(" Try again in {seconds} seconds.");
        }
        let status = problem.status.as_u16();
        let mut response = show(problem.status, &Trouble { frame: Layout::default(), status, title, text });
        problem.mark(&mut response);
        Self(Box::new(response))
    }

    /// Builds the page of an address without one.
    fn absent() -> Self {
        Self::problem(Problem::new("not-found", "This shop has no page at this address."))
    }

    /// Builds the page of a form whose token or origin is wrong.
    #[must_use]
    pub fn csrf_failure() -> Self {
        let text = "This form is from an earlier visit, or your browser sends no cookies, so it was not processed. \
                    If you sent it before, first check whether that worked. Otherwise go back, reload the page, \
                    and send the form again.";
        let trouble =
            Trouble { frame: Layout::default(), status: 403, title: "This form is out of date", text: text.to_owned() };
        Self(Box::new(show(StatusCode::FORBIDDEN, &trouble)))
    }
}

impl From<Problem> for Page {
    fn from(problem: Problem) -> Self {
        Self::problem(problem)
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// Renders a page, which shared caches must not store.
pub fn show(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => {
            let mut response = (status, Html(html)).into_response();
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
            response
        }
        Err(error) => Problem::trouble(&error.to_string()).into_response(),
    }
}

/// Forbids every cache, also that of the browser, to store a page with a secret.
fn unstored(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(Template)]
#[template(path = "problems.html")]
struct Problems {
    frame: Layout,
    words: &'static [(&'static str, u16, &'static str)],
}

/// `GET /problems`: meaning of the API's error codes.
async fn problems(State(service): State<Service>, visitor: Session) -> Result<Response, Page> {
    let frame = Layout::of(&service, &visitor).await?;
    Ok(visitor.answer(&service, show(StatusCode::OK, &Problems { frame, words: &CODES })))
}

/// Answers an address without a page.
pub async fn nothing(State(_): State<Service>) -> Response {
    Page::absent().into_response()
}

/// Makes a sentence of the detail of a problem.
fn sentence(detail: &str) -> String {
    let mut letters = detail.trim_end_matches('.').chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

/// Formats a number with a narrow space between its thousands.
#[must_use]
pub fn grouped(number: &u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, rest) = digits.split_at(first);
    let groups = rest.as_bytes().chunks(3).map(String::from_utf8_lossy);
    let head = (!head.is_empty()).then(|| head.into());
    head.into_iter().chain(groups).collect::<Vec<_>>().join("\u{202f}")
}

/// Serves style or script, which change only with the program.
async fn asset(media_type: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, media_type), (CACHE_CONTROL, "public, max-age=3600")], text).into_response()
}

/// Argon2 in WebAssembly, of others (hash-wasm/ORIGIN.md).
const ARGON2: &str = include_str!("hash-wasm/argon2.umd.min.js");

/// Routes of the pages.
pub fn routes() -> Router<Service> {
    #[cfg(feature = "sender")]
    let router = Router::new().route("/pay", post(provider::begin));
    #[cfg(not(feature = "sender"))]
    let router = Router::new();
    router
        .route("/", get(buy::form))
        .route("/order", post(buy::order))
        .route("/buy", post(buy::buy))
        .route("/code", post(own::mail_code))
        .route("/work", post(own::work))
        .route("/stamp", get(buy::again_form).post(buy::again))
        .route("/letter", post(mailto::download))
        .route("/signin", get(account::sign_in_form).post(account::sign_in))
        .route("/signout", post(account::sign_out))
        .route("/account", get(account::account))
        .route("/account/addresses", post(account::send_code))
        .route("/account/addresses/confirm", post(account::confirm_code))
        .route("/account/keys", post(account::add_key))
        .route("/account/key", get(account::show_key))
        .route("/account/keys/revoke", post(account::revoke_key))
        .route("/account/sessions", get(sessions::list).post(sessions::end))
        .route("/account/voucher", post(account::voucher))
        .route("/problems", get(problems))
        .route("/static/page.css", get(|| asset("text/css; charset=utf-8", include_str!("page.css"))))
        .route("/static/page.js", get(|| asset("text/javascript; charset=utf-8", include_str!("page.js"))))
        .route("/static/work.js", get(|| asset("text/javascript; charset=utf-8", include_str!("work.js"))))
        .route("/static/work-worker.js", get(own::worker))
        .route("/static/argon2.umd.min.js", get(|| asset("text/javascript; charset=utf-8", ARGON2)))
        .route("/static/icon.svg", get(|| asset("image/svg+xml", include_str!("icon.svg"))))
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1\u{202f}000"), (1_234_567, "1\u{202f}234\u{202f}567")]
        {
            assert_eq!(grouped(&number), text);
        }
    }
}
