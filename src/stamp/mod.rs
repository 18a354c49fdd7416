//! What a stamp is.

pub mod serial;
