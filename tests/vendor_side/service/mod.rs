//! The vendor's service as programs and people meet it: the program under test on loopback, asked over real connections.
//! What the ledger does by itself is shown in its own tests.

mod disk;
#[cfg(feature = "directory")]
mod editions;
mod guide;
mod interface;
mod limits;
mod page;
mod storms;
