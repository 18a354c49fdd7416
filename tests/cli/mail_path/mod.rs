//! The program between a message and its mailbox: no message is lost, and none is changed beyond our fields. A problem
//! of mailstamp itself defers a message and never decides it. This holds for every message, and for every fault of the
//! program, its files and its callers.

mod messages;
mod shown;
mod state;
mod together;
mod told;
mod troubles;
