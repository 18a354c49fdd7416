//! `mailstamp sendmail`, a replacement for sendmail(8): what each recipient gets, how trouble is handled, and that a
//! run that is killed and repeated neither buys nor sends twice.

#![cfg(all(feature = "sender", feature = "vendor"))]

pub mod account;
mod buying;
mod copies;
mod exchange;
mod killed;
pub mod next;
mod programs;
mod smtp;
mod troubles;
