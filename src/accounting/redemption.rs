//! Reasons why a vendor neither takes back nor revokes a stamp.

use serde::{Deserialize, Serialize};

/// Problem of a stamp to redeem or revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum StampProblem {
    /// Not a stamp.
    #[error("not a stamp")]
    Malformed,
    /// Of another vendor, or signed with an unknown key.
    #[error("not a stamp of this vendor")]
    OtherVendor,
    /// The signature is invalid.
    #[error("its signature is invalid")]
    Forged,
    /// Its key was revoked.
    #[error("its key was revoked")]
    KeyRevoked,
    /// The account has not proved to own an address that it names.
    #[error("it names no address that this account has proved to own")]
    NotYours,
    /// The ledger has no record of its sale.
    #[error("this ledger did not sell it")]
    NotIssued,
    /// It was taken back before.
    #[error("it was taken back before")]
    Deposited,
    /// It was revoked.
    #[error("it was revoked")]
    Revoked,
    /// The request contains it twice.
    #[error("it was handed in twice")]
    Duplicate,
    /// It was given for work or a code, and has no value.
    #[error("it has no value")]
    NoValue,
    /// Another account bought it.
    #[error("another account bought it")]
    NotBought,
}
