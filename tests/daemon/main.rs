//! The daemon (`mailstamp serve`): faults, the manual page, status and metrics, and how a system runs it.

#![cfg(feature = "daemon")]

mod faults;
mod learning;
mod milter;
mod page;
mod seal;
mod status;
#[cfg(all(feature = "sender", feature = "vendor"))]
mod submission;
#[path = "../support/mod.rs"]
mod support;
mod system;
