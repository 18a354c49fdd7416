//! The keys of the vendors that the user trusts, read from files: documents that the user pinned, and documents signed by
//! known keys that `mailstamp directory refresh` fetched and accepted. No other key is looked at, and nothing is fetched on
//! the mail path.
//!
//! - `document.rs`: the form of a document; `price.rs`: of a price; `dns_records.rs`: of keys in DNS.
//! - `key_directory.rs`: what all documents say together. `pinned.rs` reads the user's folder, `cache.rs` keeps what was
//!   fetched, `source_status.rs` reports how each source stands.
//! - `refresh.rs` fetches what the configuration names (`config/directory_sources.rs`), and `trust_policy.rs` decides what
//!   of it is believed.
//! - `signing_key.rs`: a vendor's own signing key. `publish.rs`: what the vendor publishes with it.

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
