//! The vendor's service as programs and people meet it: the program under test on loopback, asked over real connections.
//! What the books do by themselves is shown in their own tests.

mod disk;
#[cfg(feature = "directory")]
mod editions;
mod guide;
mod interface;
mod limits;
mod page;
mod storms;
