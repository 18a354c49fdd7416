//! What is told about judged messages: a line to syslog, and the verdict log that `mailstamp log` reads. Neither is needed
//! to judge a message, so trouble with them never changes a verdict; what must be trusted is in the store.

pub mod syslog;
pub mod verdict_log;
