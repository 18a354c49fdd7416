//! Stamps: PASETO v4.public tokens that a vendor signed for one recipient. [`token`] is their form, [`signing`] their
//! cryptography, [`claims`] and [`audience`] what they say, [`issue`] how one is made, [`holder_proof`] how a holder shows
//! that a use is their own. Keys are handed in; which are trusted is decided elsewhere.

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
