//! Shared parts of the subcommands: reading input, printing, exit statuses, and parts of command lines.

pub(super) mod acceptance;
pub(super) mod counts;
pub mod exit_status;
pub(super) mod input;
pub(super) mod installed;
pub(super) mod journal;
pub(super) mod judge;
pub(super) mod marked_block;
pub(super) mod output;
pub(super) mod progress;
#[cfg(feature = "sender")]
pub(super) mod purchase;
pub(super) mod since;
pub(super) mod stamp_target;
pub(super) mod table;
pub(super) mod terminal_text;
pub(super) mod text_lines;
