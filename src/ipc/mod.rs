//! Connections of servers, and frames between processes of one user, on a socket in the file system
//! (`os::unix_socket`). [`frame`] defines their bytes, [`connection`] sends and receives them, [`timed_stream`] limits
//! their time and [`memory_budget`] their memory, [`server`] accepts connections of a [`peer`]. The contents belong to
//! the callers: requests to the log are in `store`, those about messages in `engine`.

pub mod connection;
pub mod frame;
pub mod memory_budget;
pub mod peer;
pub mod server;
pub mod timed_stream;
