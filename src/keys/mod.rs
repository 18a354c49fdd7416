//! The keys of the vendors that the user trusts, as read from files: what he pinned himself, directory documents signed by
//! keys that are known, and what `mailstamp directory refresh` fetched and accepted. Nobody else's key is ever looked at,
//! and on the mail path nothing is fetched.
//!
//! `document.rs` is the form of the documents, `price.rs` that of prices, `zone.rs` that of keys in DNS; `directory.rs` says
//! what documents say together, `folder.rs` reads the folder they are in and `cache.rs` keeps what was fetched; `health.rs` says how the sources of that
//! stand.
//! What may be fetched stands in the configuration (`config/sources.rs`); `acceptance.rs` decides what of it is believed, `refresh.rs` fetches and asks it.
//! `secret.rs` is a vendor's own signing key, `edition.rs` what he publishes with it.

pub mod acceptance;
pub mod cache;
pub mod directory;
pub mod document;
pub mod edition;
pub mod folder;
pub mod health;
pub mod price;
#[cfg(feature = "directory")]
pub mod refresh;
pub mod secret;
pub mod zone;
