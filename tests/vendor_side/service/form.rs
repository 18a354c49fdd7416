//! What a browser without scripts does: one cookie, and the fields of a form as they stand on a page.

use crate::support::http::{self, Answer};
use std::io;
use std::net::SocketAddr;
#[cfg(feature = "sender")]
use {crate::support::ALICE, crate::support::shop::Shop};

/// Writes fields as the body of a form.
pub(super) fn encoded(fields: &[(&str, &str)]) -> Vec<u8> {
    let escape = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    pairs.join("&").into_bytes()
}

/// What stands in quotes after a text of a page.
pub(super) fn attribute(page: &str, before: &str) -> String {
    let (_, rest) = page.split_once(before).unwrap_or_else(|| panic!("{before}: {page}"));
    rest.split('"').next().unwrap().to_owned()
}

/// The content of a text area.
pub(super) fn area(answer: &Answer, id: &str) -> String {
    let page = answer.text();
    let (_, rest) = page.split_once(&format!("<textarea id=\"{id}\"")).unwrap_or_else(|| panic!("{page}"));
    rest.split_once('>').unwrap().1.split('<').next().unwrap().to_owned()
}

/// A visitor with the form of a first page.
pub(super) struct Visitor {
    pub(super) cookie: String,
    pub(super) token: String,
    pub(super) purchase: String,
}

impl Visitor {
    /// The visitor to whom this page was shown.
    pub(super) fn of(answer: &Answer) -> Self {
        let page = answer.text();
        Self {
            cookie: answer.field("set-cookie").unwrap().split(';').next().unwrap().to_owned(),
            token: attribute(&page, "name=\"token\" value=\""),
            purchase: attribute(&page, "name=\"purchase\" value=\""),
        }
    }

    /// Sends these fields as a form.
    pub(super) fn send(&self, address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> io::Result<Answer> {
        self.send_body(address, path, &encoded(fields))
    }

    fn send_body(&self, address: SocketAddr, path: &str, body: &[u8]) -> io::Result<Answer> {
        let head = [("Content-Type", "application/x-www-form-urlencoded"), ("Cookie", self.cookie.as_str())];
        http::ask(address, "POST", path, &head, body)
    }
}

/// Orders of a stamp for [`ALICE`] that costs five credits.
#[cfg(feature = "sender")]
impl Visitor {
    pub(super) fn new(shop: &Shop) -> Self {
        Self::of(&http::ask(shop.address, "GET", "/", &[], b"").unwrap().is(200))
    }

    /// The fields of the order and more, as the body of a form.
    pub(super) fn body(&self, more: &[(&str, &str)]) -> Vec<u8> {
        let own = [("token", self.token.as_str()), ("purchase", &self.purchase), ("recipient", ALICE), ("value", "5")];
        encoded(&[&own, more].concat())
    }

    pub(super) fn post(&self, address: SocketAddr, path: &str, more: &[(&str, &str)]) -> io::Result<Answer> {
        self.send_body(address, path, &self.body(more))
    }
}
