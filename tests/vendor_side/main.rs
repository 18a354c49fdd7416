//! The vendor's side: the books, and the service that sells.

#![cfg(feature = "vendor")]

mod books;
mod service;
#[path = "../support/mod.rs"]
mod support;
