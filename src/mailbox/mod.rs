//! Mail as it is stored: Maildir and mbox, and walking over folders of either.

pub mod maildir;
pub mod mbox;
pub mod walk;
