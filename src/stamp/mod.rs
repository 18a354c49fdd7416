//! What a stamp is: a PASETO v4.public token that a vendor signed for one recipient. `wire` is its form, `signature` its
//! cryptography, `claims` and `audience` what it says, `mint` how one is made, `proof` how its holder shows that a use is
//! his own. Keys are handed in: whose they are, and whether they are trusted, is decided elsewhere.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod affix;
pub mod armour;
pub mod audience;
pub mod claims;
pub mod json;
pub mod locate;
pub mod mint;
pub mod proof;
pub mod serial;
pub mod signature;
pub mod wire;
