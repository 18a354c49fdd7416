//! Message as slices of the received bytes: header fields, addresses, the fingerprint, edits that touch no other byte,
//! and a bounded walk over MIME parts. The module reads no file, clock or environment, and never fails: a broken
//! message is still a message.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod address;
pub mod auth_results;
pub mod automatic;
pub mod charset;
pub mod delivery_report;
pub mod edit;
pub mod encoded_word;
pub mod fingerprint;
pub mod header;
mod html;
pub mod mime;
pub mod parse;
pub mod post;
pub mod result_headers;
pub mod search;
pub mod separator;
pub mod shown_text;
mod tolerant;
pub mod transfer_encoding;
pub mod vcard;
