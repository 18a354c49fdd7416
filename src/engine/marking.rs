//! Whether a judgement spends.

/// Whether a good stamp is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is spent: this is the delivery.
    Spend,
    /// Nothing is written: somebody only wants to know.
    DryRun,
}
