//! Forms that were sent, and their protection against other sites (cross-site request forgery).

use super::Page;
use super::session::{Session, Shown};
use crate::server::vendor_http::Service;
use crate::server::vendor_http::error::Problem;
use axum::extract::{Form, FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

/// What the visitor is told about a form that would charge or change another account than the one it showed.
pub const SHOWN_EARLIER: &str = "You signed in or out after this form was shown, perhaps in another tab. Nothing was \
                                 done now. Check what it says, and send it again.";

/// The fields of a form of this site.
pub trait Fields: DeserializeOwned {
    /// Returns the token of the visitor's forms.
    fn token(&self) -> &str;
}

/// A form of this site, and the visitor who sent it. Handlers get a form in no other way, so none forgets the check.
///
/// # Errors
/// A form of another site, or one that cannot be read.
pub struct Posted<T> {
    pub visitor: Session,
    pub form: T,
    pub shown: Shown,
}

impl<T: Fields> FromRequest<Service> for Posted<T> {
    type Rejection = Page;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Page> {
        let (mut parts, body) = request.into_parts();
        let visitor = Session::from_request_parts(&mut parts, service).await?;
        let headers = parts.headers.clone();
        let read = Form::<T>::from_request(Request::from_parts(parts, body), service).await;
        let Form(form) = read.map_err(|error| {
            let (word, text) = match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "The form is too large."),
                StatusCode::UNSUPPORTED_MEDIA_TYPE => ("media-type", "The request is not a form."),
                StatusCode::UNPROCESSABLE_ENTITY => ("form", "A field of the form is missing."),
                _ => ("body", "The form cannot be read."),
            };
            Page::problem(Problem::new(word, text))
        })?;
        let shown = service.sessions().shown(&visitor, form.token(), &headers, service.origin());
        Ok(Self { shown: shown.ok_or_else(Page::csrf_failure)?, visitor, form })
    }
}
