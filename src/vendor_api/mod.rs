//! The vendor's API, as its service and its clients both see it: operations, bodies, queries, error codes. Pure.
//!
//! `openapi.json` of the service is generated from these types (`server/vendor_http/api/openapi_document.rs`).
//!
//! - The service ignores no member of a request: unknown ones are errors.
//! - The client ignores members that it does not need. In the types of answers they have `skip_deserializing`, so that
//!   a vendor may leave them out or extend them.
//! - Members of an answer are sent in the order of the fields.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod account;
pub mod meters;
pub mod operation;
pub mod prices;
pub mod problem;
pub mod stamps;
