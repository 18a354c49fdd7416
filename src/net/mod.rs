//! Network clients, and programs that send mail. `https.rs` gets a document, `dns.rs` texts; `http_client.rs` queries a
//! vendor's service, and asks witnesses; `proxy.rs` and `redirect.rs` say where their requests go; `smtp` and
//! `sendmail.rs` send mail; `failure.rs` describes failed connections.
//! Only `mailstamp directory`, the checks of public logs, the sender's side, automatic replies, and a vendor's codes and
//! witnesses use this module, with addresses that the user configured. Judging a message never does. The meaning of the
//! answers is left to the callers.

#[cfg(feature = "directory")]
pub mod dns;
#[cfg(any(feature = "directory", feature = "vendor"))]
mod failure;
#[cfg(any(feature = "sender", all(feature = "directory", feature = "vendor")))]
pub mod http_client;
#[cfg(feature = "directory")]
pub mod https;
#[cfg(feature = "directory")]
mod proxy;
#[cfg(feature = "directory")]
mod redirect;
pub mod sendmail;
#[cfg(any(feature = "sender", feature = "vendor"))]
pub mod smtp;
