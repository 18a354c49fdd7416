//! mailstamp: a mail filter that verifies digital stamps.
//!
//! The architecture text is written at the end of the first issue.

pub mod cli;
pub mod config;
pub mod filter;
pub mod grant;
pub mod keys;
pub mod log;
pub mod mail;
pub mod stamp;
pub mod store;
pub mod verdict;
