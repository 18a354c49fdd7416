//! Policy of the user: rules for mail that no stamp let through, and the action that follows from class and rule. Pure,
//! like the judgement before it: the caller hands in the data outside of the message that rules use.
//!
//! The class says what a message is; the [`Action`](action::Action) says what to do with it. A pipeline may follow it
//! or not. This module carries out no action.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod action;
pub mod condition;
pub mod context;
pub mod decision;
pub mod regex;
pub mod rule_set;
