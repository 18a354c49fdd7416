//! The program between a message and its mailbox: no message is lost, none is changed beyond our fields, our own trouble
//! defers it and never decides it, whatever message comes and whatever happens to the program, its files and its callers.

mod messages;
mod state;
mod together;
mod told;
mod troubles;
