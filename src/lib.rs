//! Verifies digital stamps on mail, and sells, buys and sends them.
//!
//! The programs `mailstamp` and `mailstamp-tools` are thin wrappers around this library, so that tests, benches and
//! fuzz targets can call its parts. The library has no stable interface. The stable interface is the command line,
//! which the manual describes (`man/`).
//!
//! `ARCHITECTURE.md` has the map: layers, the path of a message, invariants. `CONTRIBUTING.md` says where to add
//! things. Imports go from a higher layer to a lower one, and a test checks that order.
//!
//! - Pure, without I/O: [`time`], [`message`], [`grant`], [`stamp`], [`accounting`], [`peer`], [`transparency`],
//!   [`verdict`], [`policy`], [`autoreply`], [`boundary`], [`smtp`], [`emstamp`], `vendor_api`.
//! - With I/O: [`os`], [`database`], [`ipc`], [`config`], [`log`], [`mailbox`], [`net`], [`store`], [`directory`],
//!   [`context`], [`engine`], `ledger`, `sender`, `bank`.
//! - Front ends: [`server`], [`cli`].
//!
//! `sender` and `bank` exist with the Cargo feature `sender`, `ledger` with `vendor`, and `vendor_api` with either.

/// Gives a type with `FromStr` and `Display` the conversions that serde needs to read and write it as text.
macro_rules! text_form {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = <Self as std::str::FromStr>::Err;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

pub mod accounting;
pub mod autoreply;
#[cfg(feature = "sender")]
pub mod bank;
pub mod boundary;
pub mod cli;
pub mod config;
pub mod context;
pub mod database;
pub mod directory;
pub mod emstamp;
pub mod engine;
pub mod grant;
pub mod ipc;
#[cfg(feature = "vendor")]
pub mod ledger;
pub mod log;
pub mod mailbox;
pub mod message;
pub mod net;
pub mod os;
pub mod peer;
pub mod policy;
#[cfg(feature = "sender")]
pub mod sender;
pub mod server;
pub mod smtp;
pub mod stamp;
pub mod store;
pub mod time;
pub mod transparency;
#[cfg(any(feature = "sender", feature = "vendor"))]
pub mod vendor_api;
pub mod verdict;
