//! Protection of forms against other sites (cross-site request forgery).

use super::Page;
use super::session::{Session, Shown};
use crate::server::vendor_http::Service;
use axum::http::HeaderMap;

/// What the visitor is told about a form that would charge or change another account than the one it showed.
pub const SHOWN_EARLIER: &str = "You signed in or out after this form was shown, perhaps in another tab. Nothing was \
                                 done now. Check what it says, and send it again.";

/// Accepts only a form from this site.
pub fn verify_csrf(service: &Service, visitor: &Session, token: &str, headers: &HeaderMap) -> Result<Shown, Page> {
    service.sessions().shown(visitor, token, headers, service.origin()).ok_or_else(Page::csrf_failure)
}
