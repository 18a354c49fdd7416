//! Stored mail: Maildir and mbox, and a walk over folders of either.

pub mod maildir;
pub mod mbox;
pub mod walk;
