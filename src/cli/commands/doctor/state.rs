//! Checks of `mailstamp doctor`: the state, its disk, held mail, the watched folders.

use super::Finding;
use super::settings::is_runnable;
use crate::cli::ui::counts::counted;
use crate::config::paths::{CliOverrides, Paths};
use crate::config::{Config, rules};
use crate::context::error::Deferral;
use crate::context::used_log;
use crate::engine::digest_route::{digest_address, digest_arrives};
use crate::engine::digested::KEY;
use crate::engine::judge::Engine;
use crate::engine::quarantine::{HeldError, Quarantine};
use crate::message::header::escape_untrusted;
use crate::os::clock;
use crate::policy::rule_set::Rule;
use crate::server::watcher;
use crate::store::Summary;
use crate::time::UnixTime;
use rustix::fs::{Access, StatVfsMountFlags};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Free bytes below which a disk counts as full. A new used log takes less.
const LITTLE_ROOM: u64 = 4 << 20;
/// Seconds for which a held message may wait for its digest, which is sent once a day.
const DIGEST_LATE: i64 = 3 * 86_400;

pub(super) fn state(config: &Config, places: &Paths) -> Vec<Finding> {
    let what = "state";
    let folder = match places.state() {
        Ok(folder) => folder,
        Err(error) => return vec![Finding::error(what, error.to_string())],
    };
    let mut findings = vec![folder_of_state(folder, "the first stamp is spent")];
    findings.extend(room(folder));
    if !is_begun(config, places) {
        return findings;
    }
    let log = match summary(config, places) {
        Ok(summary) => {
            let sent = format!("correspondents: {}, messages: {}", summary.correspondents, summary.sent);
            findings.push(Finding::ok("sent", sent));
            findings.push(Finding::ok("replies", format!("{} remembered", summary.replies)));
            match suspended(config, places) {
                Ok(0) => {}
                Ok(count) => findings.push(Finding::warning(
                    "grants",
                    format!("suspended: {count}; a third sender came under each, see mailstamp grants"),
                )),
                Err(error) => findings.push(Finding::error("grants", error.to_string())),
            }
            let size = || {
                Finding::ok(
                    "used log",
                    format!("{} in {}", counted(summary.used, "serial"), counted(summary.bytes, "byte")),
                )
            };
            purge_mark(summary.cleared).unwrap_or_else(size)
        }
        Err(error) => Finding::error("used log", error.to_string()),
    };
    findings.push(log);
    findings
}

/// Returns whether there is a used log.
fn is_begun(config: &Config, places: &Paths) -> bool {
    config.store.is_some() || places.state().is_ok_and(Path::exists)
}

fn summary(config: &Config, places: &Paths) -> Result<Summary, Deferral> {
    Ok(used_log::used_log_to_look_at(config, places)?.summary()?)
}

/// Counts the grants that were suspended.
fn suspended(config: &Config, places: &Paths) -> Result<usize, Deferral> {
    let mut count = 0;
    used_log::used_log_to_look_at(config, places)?.standings(&mut |_, _, standing| {
        count += usize::from(standing.grant.is_some_and(|grant| grant.suspended.is_some()));
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

/// Says whose the used log is, where it is closed to this user.
pub(super) fn closed(places: &Paths) -> Finding {
    let log = places.state.as_deref().unwrap_or(Path::new("")).display();
    match places.user_state() {
        Ok(own) => {
            let text = "has the used log, which only the system's daemon opens; your held mail and verdict log are in";
            Finding::ok("used log", format!("{log} {text} {}", own.display()))
        }
        Err(error) => Finding::error("state", error.to_string()),
    }
}

/// Checks a folder of the state, which is made when `first` happens.
pub(super) fn folder_of_state(folder: &Path, first: &str) -> Finding {
    let what = "state";
    let shown = folder.display();
    let metadata = match std::fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::ok(what, format!("{shown} will be made when {first}"));
        }
        Err(error) => return Finding::error(what, format!("{shown}: {error}")),
        Ok(metadata) => metadata,
    };
    if !metadata.is_dir() {
        return Finding::error(what, format!("{shown} is not a folder"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Finding::error(what, format!("{shown} belongs to user {}, and you are another", metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Finding::error(what, format!("others may write to {shown}; chmod 700 closes it"));
    }
    if metadata.mode() & 0o055 != 0 {
        return Finding::warning(what, format!("others may look into {shown}; chmod 700 closes it"));
    }
    match rustix::fs::statfs(folder).map(|found| network_file_system(i128::from(found.f_type))) {
        Ok(Some(name)) => {
            Finding::error(what, format!("{shown} is on {name}, whose locks cannot be trusted; put it on a local disk"))
        }
        Ok(None) => Finding::ok(what, format!("{shown}, yours alone, on a local file system")),
        Err(error) => Finding::error(what, format!("{shown}: {error}")),
    }
}

/// File systems shared between hosts, by the numbers of statfs(2).
fn network_file_system(kind: i128) -> Option<&'static str> {
    match kind & 0xffff_ffff {
        0x6969 => Some("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Some("SMB"),
        0x0102_1997 => Some("9P"),
        0x00c3_6400 => Some("Ceph"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        _ => None,
    }
}

/// Checks held mail. Returns `None` when no message was ever held.
pub(super) fn held(given: &CliOverrides) -> Option<Finding> {
    let what = "held mail";
    let engine = Engine::load(given, None).ok()?;
    let held = match Quarantine::existing(&engine) {
        Ok(held) => held?,
        Err(error) => return Some(Finding::error(what, error.to_string())),
    };
    let found = || {
        let since =
            |oldest: Option<UnixTime>| oldest.map_or(String::new(), |oldest| format!(", the oldest since {oldest}"));
        let (waiting, oldest) = held.waiting(engine.context.now.plus(-DIGEST_LATE))?;
        if waiting > 0 {
            let text =
                "mailstamp held digest mails one, once a day by rules/held-digest.timer, and they stay until then";
            let waiting = counted(waiting as u64, "message");
            let shown = format!("held longer than three days without a digest: {waiting}{}; {text}", since(oldest));
            return Ok(Finding::warning(what, shown));
        }
        Ok(match held.count()? {
            (0, _) => Finding::ok(what, "none"),
            (count, oldest) => {
                let text = "mailstamp held list shows them, and mailstamp held digest mails what is new";
                Finding::ok(what, format!("{}{}; {text}", counted(count as u64, "message"), since(oldest)))
            }
        })
    };
    Some(found().unwrap_or_else(|error: HeldError| Finding::error(what, error.to_string())))
}

/// Checks the folders of `[watch]`, if a Maildir is to be watched. A missing folder may be a misspelt name.
pub(super) fn watched(config: &Config) -> Option<Finding> {
    let what = "watched";
    let maildir = config.watch.maildir.as_deref()?;
    if let Err(error) = std::fs::read_dir(maildir) {
        return Some(Finding::warning(what, format!("{}: {error}", maildir.display())));
    }
    let missing = watcher::missing(maildir, &config.watch);
    let names: Vec<String> = missing.iter().map(|name| escape_untrusted(name.as_bytes(), 100)).collect();
    Some(match names.as_slice() {
        [] => Finding::ok(what, maildir.display().to_string()),
        names => Finding::warning(what, format!("{} has no folder {}", maildir.display(), names.join(", "))),
    })
}

/// Checks the purge mark: until then, stamps are deferred that end before it.
fn purge_mark(cleared: Option<UnixTime>) -> Option<Finding> {
    let now = clock::now();
    let cleared = cleared.filter(|cleared| *cleared > now)?;
    Some(Finding::error(
        "used log",
        format!(
            "purged of stamps that end before {cleared}, and the clock reads {now}, so such stamps are deferred; if the \
             clock is right, run mailstamp purge --lift-mark"
        ),
    ))
}

/// Checks that the disk of a folder, which need not exist yet, takes new files.
pub(super) fn room(folder: &Path) -> Option<Finding> {
    let what = "disk";
    let there = folder.ancestors().find(|path| path.exists())?;
    let shown = there.display();
    let disk = match rustix::fs::statvfs(there) {
        Ok(disk) => disk,
        Err(error) => return Some(Finding::error(what, format!("{shown}: {}", io::Error::from(error)))),
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        Some(Finding::error(what, format!("{shown} is on a read-only file system")))
    } else if free < LITTLE_ROOM {
        let text = format!("{shown}: {} KiB are free, at least {} KiB are needed", free >> 10, LITTLE_ROOM >> 10);
        Some(Finding::error(what, text + "; free some space"))
    } else if disk.f_files > 0 && disk.f_favail == 0 {
        Some(Finding::error(what, format!("{shown}: no inode is free; remove some files")))
    } else if let Err(error) = rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Some(Finding::error(what, format!("cannot write to {shown}: {}", io::Error::from(error))))
    } else {
        None
    }
}

/// Checks that mail can be put into the Maildir, if it is there.
pub(super) fn maildir(config: &Config, places: &Paths) -> Option<Finding> {
    let what = "maildir";
    let path = places.maildir.as_deref()?;
    let found = |text: String| match config.deliver.maildir {
        Some(_) => Finding::error(what, text),
        // Perhaps mail goes elsewhere, and no command uses it.
        None => Finding::warning(what, text + "; deliver and held release put mail there"),
    };
    if path.exists() && !path.is_dir() {
        return Some(found(format!("{} is not a folder", path.display())));
    }
    let folders = ["new", "tmp", "cur"].map(|name| path.join(name));
    let closed = folders.iter().chain([&path.to_owned()]).filter(|folder| folder.is_dir()).find_map(|folder| {
        rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).err().map(|error| (folder.clone(), error))
    });
    closed.map(|(folder, error)| found(format!("cannot write to {}: {}", folder.display(), io::Error::from(error))))
}

/// Checks that digests can be sent, and are not held themselves, if there ever was one.
pub(super) fn digests(config: &Config, places: &Paths) -> Option<Finding> {
    let state = places.user_state().ok().filter(|state| state.join(KEY).exists())?;
    if !is_runnable(&config.replies.sendmail) {
        let sendmail = config.replies.sendmail.display();
        let text = format!("{sendmail} cannot be run, so no digest is sent; set replies.sendmail");
        return Some(Finding::error("held mail", text));
    }
    let rules = rules::in_force(config, places).ok()?;
    let to = digest_address(config)?;
    (!digest_arrives(&to, config, &config.actions, &rules, state)).then(|| {
        let text = "digests are held, too: no rule lets them through, as one with reply_to_mine = true does";
        Finding::warning("held mail", text)
    })
}

/// Checks that the log knows what the rules ask for.
pub(super) fn learned(config: &Config, places: &Paths) -> Option<Finding> {
    let rules = rules::in_force(config, places).ok()?;
    let unlearned = |rule: &&Rule| rule.needs_correspondents();
    let rule = rules.iter().find(unlearned)?;
    // A log that cannot be read has an error of its own.
    let known = if is_begun(config, places) { summary(config, places).ok()?.correspondents } else { 0 };
    let hint = "no correspondent is known; mailstamp learn-sent ~/Maildir/.Sent learns those of your sent mail, and \
                mailstamp learn-contacts FILE.vcf those of your address book";
    (known == 0).then(|| Finding::warning("rules", format!("rule {:?} never matches: {hint}", rule.name)))
}
