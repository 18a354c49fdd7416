//! Protection of forms against other sites (cross-site request forgery).

use super::Page;
use super::session::Session;
use crate::server::vendor_http::Service;
use axum::http::HeaderMap;

/// Accepts only a form from this visitor and this site.
///
/// # Errors
/// [`Page::csrf_failure`].
pub fn verify_csrf(service: &Service, visitor: &Session, token: &str, headers: &HeaderMap) -> Result<(), Page> {
    if service.sessions().own(visitor, token, headers, service.origin()) { Ok(()) } else { Err(Page::csrf_failure()) }
}
