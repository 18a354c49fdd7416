//! Logs of judged messages: a line to syslog, and the verdict log that `mailstamp log` reads. No judgement needs them,
//! so their errors never change a verdict. The store keeps the data that must be reliable.

pub mod syslog;
pub mod verdict_log;
