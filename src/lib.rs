//! Verifies digital stamps on mail, and sells, buys and sends them.
//!
//! The programs `mailstamp` and `mailstamp-tools` are thin: all they do is in this library, so that tests, benches and fuzz
//! targets can call the parts. It has no stable interface: that is the command line, described in the manual (`man/`).
//!
//! `ARCHITECTURE.md` has the map: layers, the path of a message, invariants. `CONTRIBUTING.md` says where to add things.
//! Imports go from a higher layer to a lower one, and a test holds that order.
//!
//! - Pure, without I/O: [`mail`], [`grant`], [`stamp`], [`bank`], [`verdict`], [`rule`], [`reply`].
//! - With I/O: [`disk`], [`socket`], [`config`], `fetch`, [`log`], [`maildir`], [`outgoing`], [`store`], [`keys`],
//!   [`filter`], `vendor`, `sender`.
//! - Front ends: [`serve`], [`cli`].
//!
//! `fetch`, `sender` and `vendor` exist with the Cargo features `directory`, `sender` and `vendor`.

pub mod bank;
pub mod cli;
pub mod config;
pub mod disk;
#[cfg(feature = "directory")]
pub mod fetch;
pub mod filter;
pub mod grant;
pub mod keys;
pub mod log;
pub mod mail;
pub mod maildir;
pub mod outgoing;
pub mod reply;
pub mod rule;
#[cfg(feature = "sender")]
pub mod sender;
pub mod serve;
pub mod socket;
pub mod stamp;
pub mod store;
#[cfg(feature = "vendor")]
pub mod vendor;
pub mod verdict;
