//! Public log of a vendor: what it sold, took back and revoked, as leaves of a Merkle tree (RFC 6962). Anyone can
//! read it, and a change of it is seen. The files are tiles (C2SP tlog-tiles), the head is a signed note (C2SP
//! tlog-checkpoint, signed-note), and witnesses cosign it (C2SP tlog-cosignature, tlog-witness).
//!
//! The vendor writes it with an [`Appender`](merkle::Appender). A reader has a checkpoint that it trusts, and verifies
//! every file against it ([`VerifiedLog`](reader::VerifiedLog)). The format is in mailstamp-log(5).

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod checkpoint;
pub mod leaf;
pub mod merkle;
pub mod note;
pub mod reader;
pub mod tile;
pub mod witness;

/// Returns the origin of a vendor's log, which is also the name of its key and, after `https://`, its address.
#[must_use]
pub fn origin(vendor: &str) -> String {
    format!("{vendor}/{PATH}")
}

/// Path of the log below the vendor's name (RFC 8615).
pub const PATH: &str = ".well-known/digital-stamp-log";
