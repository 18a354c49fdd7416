//! Automatic replies: the fixtures in `fixtures/replies/`, sending under all kinds of faults, and whole exchanges
//! through a real mail system.

mod exchange;
mod fixtures;
mod recipes;
mod sending;
