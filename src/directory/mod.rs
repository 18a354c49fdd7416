//! The keys of the vendors that the user trusts, as read from files: what he pinned himself, directory documents signed by
//! keys that are known, and what `mailstamp directory refresh` fetched and accepted. Nobody else's key is ever looked at,
//! and on the mail path nothing is fetched.
//!
//! `document.rs` is the form of the documents, `price.rs` that of prices, `dns_records.rs` that of keys in DNS; `key_directory.rs` says
//! what documents say together, `pinned.rs` reads the folder they are in and `cache.rs` keeps what was fetched; `source_status.rs` says how the sources of that
//! stand.
//! What may be fetched stands in the configuration (`config/directory_sources.rs`); `trust_policy.rs` decides what of it is believed, `refresh.rs` fetches and asks it.
//! `signing_key.rs` is a vendor's own signing key, `publish.rs` what he publishes with it.

pub mod cache;
pub mod dns_records;
pub mod document;
pub mod key_directory;
pub mod pinned;
pub mod price;
pub mod publish;
#[cfg(feature = "directory")]
pub mod refresh;
pub mod signing_key;
pub mod source_status;
pub mod trust_policy;
