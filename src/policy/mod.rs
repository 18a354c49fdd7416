//! What the user wants done with a message: his rules for mail that no stamp let through, and the action that follows from
//! class and rule. Pure, like the judgement before it: what the rules ask of the world is handed in.
//!
//! The class says what a message is, the [`Action`](action::Action) what is to be done with it. A pipeline may obey it or
//! do as it likes; nothing here does anything.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod action;
pub mod condition;
pub mod context;
pub mod decision;
pub mod regex;
pub mod rule_set;
