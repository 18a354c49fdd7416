//! How processes of one user talk to each other: frames on a socket in the file system. `frame` says what bytes a frame is,
//! `connection` sends and receives them, `memory_budget` is the memory that they may take together, `os::unix_socket` finds and makes the
//! socket. What is asked and answered in them is the affair of who asks: the log's questions are in `store`, those about
//! messages in `filter`.

pub mod connection;
pub mod frame;
pub mod memory_budget;
