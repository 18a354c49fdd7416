//! Rules for mail that no stamp let through: every condition where it holds and where it just does not, what is refused and
//! how that is said, when files and the log are opened, and what `rules test` tells.

mod conditions;
mod program;
mod wrong;
