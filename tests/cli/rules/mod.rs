//! Rules for mail that no stamp let through: every condition where it holds and where it just fails, refused rules and
//! their errors, when files and the log are opened, and the output of `rules test`.

mod conditions;
mod program;
mod wrong;
