//! The keys of the vendors that the user trusts, as read from files: what he pinned himself, and directory documents signed
//! by keys that he pinned. Nobody else's key is ever looked at, and nothing is fetched here.
//!
//! `document.rs` is the form of the documents, `directory.rs` what they say together, `folder.rs` the folder they are in,
//! `secret.rs` a vendor's own signing key.

pub mod directory;
pub mod document;
pub mod folder;
pub mod secret;
