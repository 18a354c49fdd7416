//! What runs for long: it waits for something to happen, and then does what a command would have done. Front ends: they
//! translate and never decide.

#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(any(feature = "daemon", feature = "vendor"))]
mod diagnostics;
pub mod http;
#[cfg(feature = "vendor")]
pub mod vendor_http;
pub mod watcher;
