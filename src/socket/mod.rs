//! How processes of one user talk to each other: frames on a socket in the file system. `frame` says what bytes a frame is,
//! `channel` sends and receives them, `room` is the memory that they may take together, `place` finds and makes the
//! socket. What is asked and answered in them is the affair of who asks: the log's questions are in `store`, those about
//! messages in `filter`.

pub mod channel;
pub mod frame;
pub mod place;
pub mod room;
