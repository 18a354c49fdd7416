//! Frames between processes of one user, on a socket in the file system (`os::unix_socket`). [`frame`] defines their bytes,
//! [`connection`] sends and receives them, [`memory_budget`] limits the memory that all of them may take. What is asked and
//! answered is left to the callers: the log's requests are in `store`, those about messages in `engine`.

pub mod connection;
pub mod frame;
pub mod memory_budget;
