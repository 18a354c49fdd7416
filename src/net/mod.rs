//! Network clients, and the programs that send mail: `https.rs` gets a document, `dns.rs` texts, `http_client.rs` asks a
//! vendor's service; `smtp.rs` and `sendmail.rs` hand over mail. Only `mailstamp directory`, the sender's side and automatic
//! replies come here, with addresses that the user configured; judging a message never does. What the answers mean is not
//! known here.

#[cfg(feature = "directory")]
pub mod dns;
#[cfg(feature = "sender")]
pub mod http_client;
#[cfg(feature = "directory")]
pub mod https;
pub mod sendmail;
#[cfg(feature = "sender")]
pub mod smtp;
