//! What goes over the network, and nothing else does: `https.rs` gets a document, `dns.rs` texts, `service.rs` asks a vendor's
//! service. Only `mailstamp directory` and the sender's side come here, with addresses that the user configured; the mail path
//! never does. What the answers mean is not known here.

pub mod dns;
pub mod https;
#[cfg(feature = "sender")]
pub mod service;
