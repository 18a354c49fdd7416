//! `mailstamp sendmail`, in the place of sendmail(8): what each recipient gets, what becomes of trouble, and that whoever is
//! killed and runs again neither buys nor sends twice.

#![cfg(all(feature = "sender", feature = "vendor"))]

mod account;
mod buying;
mod copies;
mod exchange;
mod killed;
mod next;
mod programs;
mod smtp;
mod troubles;
