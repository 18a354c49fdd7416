//! Routes of the service, the limits of every request, and the header fields of every answer. `openapi.json` lists the
//! routes under [`API`] and nothing else; a test compares both.

use super::{Service, api, metrics, page};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

/// The routes for programs, each with its methods.
pub const API: [(&str, &[&str]); 15] = [
    ("/.well-known/digital-stamp", &["get"]),
    ("/healthz", &["get"]),
    ("/v1/account", &["get"]),
    ("/v1/addresses", &["post"]),
    ("/v1/addresses/confirm", &["post"]),
    ("/v1/deposits", &["post"]),
    ("/v1/history", &["get"]),
    ("/v1/keys", &["get", "post"]),
    ("/v1/keys/{id}", &["delete"]),
    ("/v1/openapi.json", &["get"]),
    ("/v1/prices", &["get"]),
    ("/v1/refunds", &["post"]),
    ("/v1/revocations", &["post"]),
    ("/v1/stamps", &["post"]),
    ("/v1/vouchers", &["post"]),
];

/// Content security policy of the pages: style and script come from this site. No page runs inline code, is shown in a
/// frame, or sends a form elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// Builds the router of the shop: the API and the pages.
pub fn all(service: &Service) -> Router {
    let programs = Router::new()
        .route("/.well-known/digital-stamp", get(api::directory::well_known))
        .route("/healthz", get(metrics::health))
        .route("/v1/account", get(api::account::account))
        .route("/v1/addresses", post(api::account::claim))
        .route("/v1/addresses/confirm", post(api::account::confirm))
        .route("/v1/deposits", post(api::deposits::deposit))
        .route("/v1/history", get(api::account::history))
        .route("/v1/keys", get(api::account::keys).post(api::account::add_key))
        .route("/v1/keys/{id}", delete(api::account::revoke_key))
        .route("/v1/openapi.json", get(api::openapi))
        .route("/v1/prices", get(api::prices::prices))
        .route("/v1/refunds", post(api::deposits::refund))
        .route("/v1/revocations", post(api::stamps::revoke))
        .route("/v1/stamps", post(api::stamps::buy))
        .route("/v1/vouchers", post(api::account::voucher));
    let people = page::routes();
    let router = programs.merge(people).fallback(nothing).method_not_allowed_fallback(api::method);
    around(router, service)
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
