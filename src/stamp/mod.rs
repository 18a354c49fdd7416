//! Stamps: PASETO v4.public tokens that a vendor signed for one recipient. [`token`] is their form, [`signing`] their
//! cryptography, [`claims`] and [`audience`] their content, [`issue`] makes one, [`holder_proof`] proves a use by its
//! holder. Keys are passed in; other modules decide which are trusted.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod affix;
pub mod armor;
pub mod audience;
pub mod claims;
pub mod extract;
pub mod holder_proof;
pub mod issue;
pub mod serial;
pub mod signing;
pub mod strict_json;
pub mod token;
