//! The vendor's side: the ledger, and the service that sells.

#![cfg(feature = "vendor")]

#[cfg(feature = "sender")]
mod bank;
#[cfg(all(feature = "daemon", feature = "sender"))]
mod gateway_both;
#[cfg(all(feature = "daemon", feature = "sender"))]
mod gateway_in;
#[cfg(all(feature = "daemon", feature = "sender"))]
mod gateway_out;
#[cfg(all(feature = "daemon", feature = "sender"))]
mod gateway_reports;
mod ledger;
mod log;
mod service;
#[path = "../support/mod.rs"]
mod support;
#[cfg(all(feature = "daemon", feature = "sender"))]
mod two_hosts;
