//! HTTP, as the daemon and the vendor's service have it in common.

#[cfg(any(feature = "daemon", feature = "vendor"))]
pub(super) mod listener;
#[cfg(feature = "daemon")]
pub(crate) mod metrics_endpoint;
