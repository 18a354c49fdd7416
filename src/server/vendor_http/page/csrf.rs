//! Protection of forms against other sites (cross-site request forgery).

use super::Page;
use super::session::Session;
use crate::server::vendor_http::Service;
use axum::http::HeaderMap;

/// Lets only a visitor's own form through.
///
/// # Errors
/// [`Page::foreign`].
pub fn verify_csrf(service: &Service, visitor: &Session, token: &str, headers: &HeaderMap) -> Result<(), Page> {
    if service.sessions().own(visitor, token, headers, service.origin()) { Ok(()) } else { Err(Page::csrf_failure()) }
}
