//! What a stamp is: a PASETO v4.public token that a vendor signed for one recipient. `token` is its form, `signing` its
//! cryptography, `claims` and `audience` what it says, `issue` how one is made, `holder_proof` how its holder shows that a use is
//! his own. Keys are handed in: whose they are, and whether they are trusted, is decided elsewhere.

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
