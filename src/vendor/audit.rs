//! Counting everything again.

use crate::bank::chain::Head;
use serde::{Deserialize, Serialize};

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How far the chain goes, as counted.
    pub head: Head,
    /// Entries read.
    pub entries: u64,
    /// Stamps that the entries sold.
    pub stamps: u64,
    /// What is wrong, one sentence each; empty for sound books.
    pub problems: Vec<String>,
}
