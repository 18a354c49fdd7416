//! What leaves this host: mail, through the system's own sendmail(8) or by SMTP to a server. Whether anything may leave, and
//! what it says, was decided before.

pub mod sendmail;
#[cfg(feature = "sender")]
pub mod smtp;
