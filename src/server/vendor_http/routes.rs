//! Routes of the service, the limits of every request, and the header fields of every answer. The routes for programs
//! are those of [`Operation`], which `openapi.json` lists, too.

use super::{Service, api, metrics, page, public_log};
use crate::vendor_api::operation::{Method, Operation};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

/// Content security policy of the pages: style and script come from this site. No page runs inline code, is shown in a
/// frame, or sends a form elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// Builds the router of the shop: the API and the pages.
pub fn all(service: &Service) -> Router {
    let programs = Operation::ALL.iter().fold(Router::new(), |router, operation| {
        // A path may have several methods; the router merges them.
        router.route(operation.path(), handler(*operation))
    });
    let people = page::routes();
    let router =
        programs.merge(people).merge(public_log::routes()).fallback(nothing).method_not_allowed_fallback(api::method);
    around(router, service)
}

/// Returns the handler of an operation.
fn handler(operation: Operation) -> MethodRouter<Service> {
    let method = match operation.method() {
        Method::Delete => MethodFilter::DELETE,
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
    };
    match operation {
        Operation::Account => on(method, api::account::account),
        Operation::Buy => on(method, api::stamps::buy),
        Operation::Checkpoint => on(method, api::meters::checkpoint),
        Operation::Clear => on(method, api::meters::clear),
        Operation::ConfirmCode => on(method, api::account::confirm),
        Operation::CreateApiKey => on(method, api::account::add_key),
        Operation::Deposit => on(method, api::deposits::deposit),
        Operation::Directory => on(method, api::directory::well_known),
        Operation::EndLicense => on(method, api::meters::end_license),
        Operation::Health => on(method, metrics::health),
        Operation::History => on(method, api::account::history),
        Operation::License => on(method, api::meters::license),
        Operation::Licenses => on(method, api::meters::licenses),
        Operation::ListApiKeys => on(method, api::account::keys),
        Operation::OpenApi => on(method, api::openapi),
        Operation::Prices => on(method, api::prices::prices),
        Operation::Revoke => on(method, api::stamps::revoke),
        Operation::RevokeApiKey => on(method, api::account::revoke_key),
        Operation::SendCode => on(method, api::account::claim),
        Operation::TakeVoucher => on(method, api::account::voucher),
    }
}

/// Builds the router of the metrics listener, which only the operator reaches.
pub fn numbers(service: &Service) -> Router {
    let router = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(metrics::health))
        .fallback(api::nothing);
    around(router, service)
}

/// Answers an unknown address: with a page for people, with a problem for programs.
async fn nothing(service: axum::extract::State<Service>, request: Request) -> Response {
    if request.uri().path().starts_with("/v1/") || request.uri().path().starts_with("/.well-known/") {
        api::nothing().await.into_response()
    } else {
        page::nothing(service).await
    }
}

fn around(router: Router<Service>, service: &Service) -> Router {
    let limits = service.settings().limits;
    let fixed = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    let mut router = router
        .layer(DefaultBodyLimit::max(limits.body))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limits.request))
        .layer(fixed(CONTENT_SECURITY_POLICY, POLICY))
        .layer(fixed(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(X_FRAME_OPTIONS, "DENY"))
        // No other site learns an address of this one; within it, browsers send the origin of a form.
        .layer(fixed(REFERRER_POLICY, "same-origin"))
        .layer(fixed(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .layer(fixed(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"))
        .layer(fixed(HeaderName::from_static("permissions-policy"), "clipboard-write=(self)"));
    if service.origin().secure {
        router = router.layer(fixed(STRICT_TRANSPORT_SECURITY, "max-age=31536000"));
    }
    router.layer(from_fn_with_state(service.clone(), metrics::count)).with_state(service.clone())
}
