//! What goes over the network, and nothing else does: `https.rs` gets a document, `dns.rs` texts. Only `mailstamp directory`
//! comes here, with addresses that the user configured; the mail path never does. What the answers mean is not known here.

pub mod dns;
pub mod https;
