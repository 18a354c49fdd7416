//! The daemon (`mailstamp serve`): faults, the manual page, status and metrics, and how a system runs it.

#![cfg(feature = "daemon")]

mod faults;
mod learning;
mod milter;
mod page;
#[cfg(feature = "sender")]
mod peers;
mod seal;
#[cfg(feature = "postgres")]
mod shared;
mod status;
#[cfg(all(feature = "sender", feature = "vendor"))]
mod submission;
#[cfg(feature = "sender")]
mod submission_tls;
#[path = "../support/mod.rs"]
mod support;
mod system;
