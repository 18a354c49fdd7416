//! The commands, as users and mail systems run them: the filter's mail path, delivery, rules, replies, key directories,
//! and the sender's side.

#[cfg(feature = "sender")]
mod bank;
mod clock;
mod deliver;
mod directory;
mod grants;
mod learn_contacts;
mod learn_sent;
mod mail_path;
mod main_job;
#[cfg(all(feature = "sender", feature = "vendor"))]
mod peer_attacks;
#[cfg(all(feature = "sender", feature = "vendor"))]
mod peer_lists;
#[cfg(all(feature = "sender", feature = "vendor"))]
mod peers;
mod plain_errors;
mod public_log;
mod replies;
mod rules;
mod scan_stats;
mod screener;
mod sender;
mod sendmail;
mod setup;
mod standard_streams;
#[path = "../support/mod.rs"]
mod support;
mod thunderbird;
mod two_programs;
mod watch;
