//! Frames between processes of one user, on a socket in the file system (`os::unix_socket`). [`frame`] defines their
//! bytes, [`connection`] sends and receives them, [`memory_budget`] limits their memory, [`server`] accepts
//! connections. The contents belong to the callers: requests to the log are in `store`, those about messages in
//! `engine`.

pub mod connection;
pub mod frame;
pub mod memory_budget;
pub mod server;
