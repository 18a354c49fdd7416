//! The vendor's side: the ledger, and the service that sells.

#![cfg(feature = "vendor")]

#[cfg(feature = "sender")]
mod bank;
mod ledger;
mod service;
#[path = "../support/mod.rs"]
mod support;
