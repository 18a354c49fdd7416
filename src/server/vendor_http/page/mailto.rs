//! Puts a stamp into a new message:
//!
//! - as a mailto link with the stamp in the text, since mail programs drop header fields of such links
//! - as a file with the stamp in the header and in the text, which mail programs open as a draft: some keep the text
//!   alone

use super::Page;
use super::csrf::{Fields, Posted};
use crate::message::address::Address;
use crate::message::header::{fold, percent_encoded};
use crate::server::vendor_http::error::Problem;
use crate::stamp::armor::armour;
use crate::stamp::extract::STAMP_FIELD;
use crate::stamp::token::Token;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// Data of a new message; also the form that requests it as a file.
#[derive(Clone, Debug, Deserialize)]
pub struct MailtoLink {
    pub stamp: String,
    /// Address of the recipient.
    pub recipient: String,
    /// Address of the sender, if known.
    #[serde(default)]
    pub sender: String,
    /// The token of the visitor's forms.
    pub token: String,
}

impl Fields for MailtoLink {
    fn token(&self) -> &str {
        &self.token
    }
}

impl MailtoLink {
    /// Builds a link (RFC 6068) to a new message with the stamp in its text, and an empty line below.
    #[must_use]
    pub fn mailto(&self) -> String {
        format!("mailto:{}?body={}", percent_encoded(&self.recipient), percent_encoded(&text(&self.stamp)))
    }

    /// Builds a draft with the stamp in its header and its text; `None` if a part is malformed.
    #[must_use]
    pub fn prefilled(&self) -> Option<String> {
        let recipient = Address::parse(&self.recipient).ok()?;
        let stamp = Token::parse(self.stamp.trim()).ok()?;
        let mut draft = String::new();
        if !self.sender.is_empty() {
            draft += &fold("From", &Address::parse(&self.sender).ok()?.to_string(), "\r\n");
        }
        draft += &fold("To", &recipient.to_string(), "\r\n");
        draft += "Subject: \r\n";
        draft += &fold(STAMP_FIELD, stamp.as_str(), "\r\n");
        // Several mail programs open a message with this field as a draft.
        draft += "X-Unsent: 1\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n";
        draft += &text(stamp.as_str());
        Some(draft)
    }
}

/// Returns the text of a new message: the stamp, armoured, and an empty line below.
fn text(stamp: &str) -> String {
    armour(stamp, "\r\n") + "\r\n"
}

/// `POST /letter`: the draft as a file, made from the form alone.
///
/// # Errors
/// As [`Posted`].
pub async fn download(Posted { form: letter, .. }: Posted<MailtoLink>) -> Result<Response, Page> {
    let draft = letter.prefilled().ok_or_else(|| Page::problem(Problem::new("form", "This is not a stamp.")))?;
    let fields = [
        (CONTENT_TYPE, "message/rfc822"),
        (CONTENT_DISPOSITION, "attachment; filename=\"stamped-letter.eml\""),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((fields, draft).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::parse::Message;

    const STAMP: &str =
        "v4.public.eyJ9AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.e30";

    fn letter(recipient: &str) -> MailtoLink {
        MailtoLink { stamp: STAMP.into(), recipient: recipient.into(), sender: String::new(), token: String::new() }
    }

    #[test]
    fn a_link_holds_nothing_that_would_end_it() {
        let link = letter("o'hara&x=y@x.example").mailto();
        assert!(
            link.starts_with(
                "mailto:o%27hara%26x%3Dy@x.example?body=-----BEGIN%20DIGITAL%20STAMP-----%0D%0Av4.public."
            )
        );
        assert!(link.ends_with("-----END%20DIGITAL%20STAMP-----%0D%0A%0D%0A"), "{link}");
    }

    // Threat 10
    #[test]
    fn a_draft_has_the_fields_that_it_should_and_no_other() {
        let draft = MailtoLink { sender: "me@y.example".into(), ..letter("joe@x.example") }.prefilled().unwrap();
        let message = Message::parse(draft.as_bytes());
        let names: Vec<_> = message.fields().map(|field| String::from_utf8_lossy(field.name()).into_owned()).collect();
        let expected =
            ["From", "To", "Subject", "Digital-Stamp", "X-Unsent", "MIME-Version", "Content-Type"].map(str::to_owned);
        assert_eq!(names, expected);
        let (_, body) = draft.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, text(STAMP));
        for wrong in ["joe@x.example\r\nBcc: a@b.example", "joe@x.example\nX: y", "joe", ""] {
            assert_eq!(letter(wrong).prefilled(), None, "{wrong:?}");
        }
        assert_eq!(MailtoLink { stamp: "no stamp".into(), ..letter("joe@x.example") }.prefilled(), None);
    }
}
