//! What leaves this host: mail, through the system's own sendmail(8). Whether anything may leave, and what it says, was
//! decided before.

pub mod sendmail;
