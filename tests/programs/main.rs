//! The program with other programs: mail transfer agents, delivery agents, mail readers, signers, another PASETO
//! library, and real mail in bulk.

mod authors;
mod bulk_mail;
#[cfg(all(feature = "daemon", feature = "sender", feature = "vendor"))]
mod container;
#[cfg(all(feature = "daemon", feature = "sender", feature = "vendor"))]
mod debian;
mod deliver;
mod dovecot;
mod exim;
#[cfg(all(feature = "daemon", feature = "sender"))]
mod gateway;
mod imapsieve;
#[cfg(feature = "daemon")]
mod inner_host;
mod maildrop;
#[cfg(feature = "daemon")]
mod milter;
mod mutt;
mod notmuch;
mod opensmtpd;
#[cfg(feature = "daemon")]
mod opensmtpd_filter;
mod peer_fields;
mod postfix;
mod procmail;
mod pyseto;
mod readers;
mod recipe_faults;
#[cfg(feature = "daemon")]
mod sendmail_milter;
mod setup;
mod signers;
#[cfg(all(feature = "daemon", feature = "sender", feature = "vendor"))]
mod submission;
#[path = "../support/mod.rs"]
mod support;
mod thunderbird_add_on;
#[cfg(feature = "vendor")]
mod vendor_codes;
