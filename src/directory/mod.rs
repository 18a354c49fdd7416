//! Key directory: the keys of the vendors that the user trusts, read from files. These are documents that the user
//! pinned, and documents signed by known keys that `mailstamp directory refresh` fetched and accepted. No other key
//! counts, and nothing is fetched on the mail path.
//!
//! - `document.rs`: format of a document; `dns_records.rs`: of keys in DNS.
//! - `key_directory/`: combines all documents. `pinned.rs` reads the user's folder, `cache.rs` keeps fetched
//!   documents, `source_status.rs` reports the state of each source.
//! - `refresh.rs` fetches from the configured sources (`config/directory_sources.rs`), and `trust_policy.rs` decides
//!   which fetched documents to trust.
//! - `own_keys.rs`: public halves of the user's own keys, for stamps that the user gave to correspondents.
//! - `pinned_lists.rs`: keys of mailing lists that the user pinned.
//! - `signing_key.rs`: a vendor's own signing key. `publish.rs`: the directory that the vendor publishes with it.

pub mod cache;
pub mod dns_records;
pub mod document;
pub mod key_directory;
pub mod own_keys;
pub mod pinned;
pub mod pinned_lists;
pub mod public_folder;
pub mod public_log;
pub mod publish;
#[cfg(feature = "directory")]
pub mod refresh;
pub mod signing_key;
pub mod source_status;
pub mod trust_policy;
