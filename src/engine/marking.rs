//! Mode of a judgement.

/// Whether a good stamp is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A delivery: a good stamp is spent.
    Spend,
    /// A dry run: nothing is written.
    DryRun,
}
