//! HTTP parts that the daemon and the vendor's service share.

#[cfg(any(feature = "daemon", feature = "vendor"))]
pub(super) mod listener;
#[cfg(feature = "daemon")]
pub(crate) mod metrics_endpoint;
