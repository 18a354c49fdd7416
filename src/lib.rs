//! mailstamp: a mail filter that verifies digital stamps.
//!
//! The architecture text is written at the end of the first issue.

pub mod grant;
pub mod mail;
pub mod stamp;
pub mod store;
pub mod verdict;
