//! `mailstamp sendmail`, in the place of sendmail(8): what each recipient gets, what becomes of trouble, and that whoever is
//! killed and runs again neither buys nor sends twice.

#![cfg(feature = "sender")]

#[path = "../support/mod.rs"]
mod support;

mod copies;
mod killed;
mod next;
mod smtp;
mod troubles;
