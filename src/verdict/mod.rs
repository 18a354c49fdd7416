//! Deciding: which class a message has, and why. Pure: all facts are handed in, time among them, and a bad message is a
//! value, never an error.

pub mod class;
pub mod reason;
pub mod spend;
