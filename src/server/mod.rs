//! Long-running commands: the daemon with its milter and its submission server, the mail gateway, the filter for
//! OpenSMTPD, the folder watcher, the vendor's HTTP service. Each waits for an event, and then does what a command would
//! have done. They are front ends: they translate and decide nothing.

#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(any(feature = "daemon", feature = "sender", feature = "vendor"))]
mod diagnostics;
#[cfg(all(feature = "daemon", feature = "sender"))]
pub mod gateway;
pub mod http;
#[cfg(feature = "daemon")]
mod milter;
#[cfg(feature = "daemon")]
pub mod opensmtpd;
#[cfg(all(feature = "daemon", feature = "sender"))]
mod smtp_connection;
#[cfg(all(feature = "daemon", feature = "sender"))]
mod submission;
#[cfg(any(feature = "sender", feature = "vendor"))]
pub mod tls;
#[cfg(feature = "vendor")]
pub mod vendor_http;
pub mod watcher;
