//! Checks of `mailstamp doctor`: the configuration, the rules, the vendors and their directories, automatic replies.

use super::Finding;
use crate::autoreply::eligibility::Kind;
use crate::cli::commands::config::doubts;
use crate::cli::commands::trust;
use crate::cli::ui::counts::counted;
use crate::cli::ui::journal;
use crate::config::paths::{CliOverrides, Paths};
use crate::config::{Config, file, rules};
use crate::directory::key_directory::IgnoredReason;
use crate::directory::signing_key::SigningKey;
use crate::directory::{pinned, source_status};
use crate::os::{above, clock};
use crate::policy::rule_set::Rule;
use crate::verdict::facts::KeyFact;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub(super) fn configuration(config: &Config, places: &Paths, given: &CliOverrides) -> Finding {
    let what = "configuration";
    let Some(path) = &places.config else {
        let place = Paths::candidates(given).into_iter().next().unwrap_or_default();
        let place = place.display();
        return Finding::error(what, format!("there is no {place}; write it, with addresses = [\"you@your.example\"]"));
    };
    let path = path.display();
    if config.mailboxes.is_empty() {
        return Finding::error(
            what,
            format!("{path} names no addresses, so stamped mail is deferred; write addresses = [\"…\"]"),
        );
    }
    if !config.used_log {
        return Finding::warning(what, format!("{path} switches the used log off: a stamp used twice is not noticed"));
    }
    Finding::ok(what, format!("{path}, addresses: {}", config.mailboxes.len()))
}

/// Checks that no setup was cut off.
pub(super) fn setup(places: &Paths) -> Option<Finding> {
    let open = journal::unfinished(places.user_state().ok()?);
    let shown: Vec<String> = open.iter().map(|path| path.display().to_string()).collect();
    let text = format!("not finished: {}; run mailstamp setup, or mailstamp setup --undo", shown.join(", "));
    (!open.is_empty()).then(|| Finding::warning("setup", text))
}

/// Checks the rules.
pub(super) fn rules(config: &Config, places: &Paths) -> Option<Finding> {
    let what = "rules";
    let path = places.rules.as_deref().unwrap_or(Path::new(""));
    let checked =
        rules::in_force(config, places).and_then(|rules| rules::check(&rules, path, config.local_case).map(|()| rules));
    let rules = match checked {
        Ok(rules) => rules,
        Err(error) => return Some(Finding::error(what, error.to_string())),
    };
    // Without a trusted host no sender is authenticated, so these rules never match.
    let waits = |rule: &&Rule| config.trusted_authserv_ids.is_empty() && rule.needs_authentication();
    if let Some(rule) = rules.iter().find(waits) {
        return Some(Finding::warning(
            what,
            format!("rule {:?} never matches: trusted_authserv_ids names no host", rule.name),
        ));
    }
    if let Some(doubt) = doubts(config, &rules, path).into_iter().next() {
        return Some(Finding::warning("configuration", doubt));
    }
    (rules.iter().len() > 0).then(|| Finding::ok(what, format!("{}, rules: {}", path.display(), rules.iter().len())))
}

pub(super) fn vendors(places: &Paths) -> Vec<Finding> {
    let what = "vendors";
    let path = match places.vendors() {
        Ok(path) => path,
        Err(error) => return vec![Finding::error(what, error.to_string())],
    };
    let folder = match pinned::read(path, places.directories.as_deref(), clock::now()) {
        Ok(folder) => folder,
        Err(error) => return vec![Finding::error(what, error.to_string())],
    };
    let mut findings = Vec::new();
    for (vendor, keys) in folder.directory.vendors() {
        let known = keys.values().filter(|fact| matches!(fact, KeyFact::Known(_))).count();
        for (kid, fact) in keys {
            match fact {
                KeyFact::Conflict => {
                    findings.push(Finding::error(what, format!("{vendor}: your sources disagree about key {kid}")))
                }
                KeyFact::Stale => findings.push(Finding::error(
                    what,
                    format!("{vendor}: the fetched directory of key {kid} has expired, so its stamps are unverified"),
                )),
                _ => {}
            }
        }
        findings.push(match known {
            0 => Finding::warning(what, format!("{vendor}: no key is known, so its stamps cannot be judged")),
            _ => Finding::ok(what, format!("{vendor}: {}", counted(known as u64, "key"))),
        });
    }
    if findings.is_empty() {
        findings.push(Finding::warning(
            what,
            format!("no vendor is trusted yet; `mailstamp trust add` adds one to {}", path.display()),
        ));
    }
    findings.extend(folder.unheeded.iter().map(|(file, why)| {
        let text = format!("{}: {}", file.display(), trust::ignored(why));
        match why {
            IgnoredReason::Malformed { .. } => Finding::error(what, text),
            _ => Finding::warning(what, text),
        }
    }));
    findings
}

/// Lists the sources of the keys, and whether they still answer.
pub(super) fn directories(places: &Paths) -> Vec<Finding> {
    let what = "directories";
    let now = clock::now();
    let Ok(vendors) = places.vendors() else { return Vec::new() };
    let standings = match source_status::standings(vendors, places.directories.as_deref()) {
        Ok(standings) => standings,
        Err(error) => return vec![Finding::error(what, error.to_string())],
    };
    let finding = |standing: &source_status::Standing| {
        let (health, text) = standing.health(now);
        let text = format!("{}: {}: {text}", standing.source.publisher, standing.source.origin);
        match health {
            source_status::SourceStatus::Ok => Finding::ok(what, text),
            source_status::SourceStatus::Warning => Finding::warning(what, text),
            source_status::SourceStatus::Error => Finding::error(what, text),
        }
    };
    standings.iter().map(finding).collect()
}

/// Checks automatic replies, if they are switched on.
pub(super) fn replies(config: &Config) -> Option<Finding> {
    let what = "replies";
    let replies = &config.replies;
    if !replies.on() {
        return None;
    }
    if let Some(error) = Kind::ALL.iter().find_map(|kind| replies.template(*kind).err()) {
        return Some(Finding::error(what, error.to_string()));
    }
    let sendmail = replies.sendmail.display();
    if !is_runnable(&replies.sendmail) {
        return Some(Finding::error(what, format!("{sendmail} cannot be run, so none is sent; set replies.sendmail")));
    }
    if replies.policy.require_authentication && config.trusted_authserv_ids.is_empty() {
        let text = "none is sent: trusted_authserv_ids is empty, so no sender is authenticated";
        return Some(Finding::warning(what, text));
    }
    let most = replies.per_day;
    Some(Finding::ok(what, format!("sent through {sendmail}, at most {most} in 24 hours")))
}

/// Returns whether the file is a program.
pub(super) fn is_runnable(program: &Path) -> bool {
    std::fs::metadata(program).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0)
}

/// Checks that the configured folders exist. A missing one may be a misspelt name.
pub(super) fn folders(config: &Config) -> Vec<Finding> {
    let named = [
        ("vendors", &config.vendors),
        ("directories", &config.directories),
        ("deliver.maildir", &config.deliver.maildir),
    ];
    let missing = |(key, path): (&str, &Option<std::path::PathBuf>)| {
        let path: &Path = path.as_deref().filter(|path| !path.is_dir())?;
        Some(Finding::warning("folders", format!("{key}: there is no folder {}", path.display())))
    };
    named.into_iter().filter_map(missing).collect()
}

/// Checks that no other user can replace the files of the configuration, its rules or the trusted keys.
///
/// Each of these files is refused if others may write to it, but its folder decides who can put another in its place.
pub(super) fn open_folders(places: &Paths) -> Vec<Finding> {
    let mut folders: Vec<&Path> =
        [&places.config, &places.rules].into_iter().flatten().map(|file| above(file)).collect();
    folders.extend(places.vendors.as_deref());
    folders.dedup();
    let open = |folder: &&Path| {
        // With the sticky bit, users remove only their own files.
        let is_open = |it: &Metadata| it.is_dir() && it.mode() & 0o1000 == 0 && file::is_writable_by_others(it);
        std::fs::metadata(folder).is_ok_and(|metadata| is_open(&metadata))
    };
    let warning = |folder: &Path| {
        let text = format!("others may write to {}, and replace its files; chmod go-w closes it", folder.display());
        Finding::warning("folders", text)
    };
    folders.into_iter().filter(open).map(warning).collect()
}

/// Checks the boundaries whose results are believed, and the key of this host's own.
pub(super) fn boundaries(config: &Config) -> Vec<Finding> {
    let what = "boundaries";
    let mut findings = Vec::new();
    let trusted = &config.trusted_boundaries;
    for (host, keys) in trusted {
        findings.push(match keys.len() {
            0 => Finding::warning(what, format!("{host} has no key, so its results are judged anew")),
            _ if !config.used_log => Finding::warning(
                what,
                format!("results of {host} are believed, but without the used log no copy of a message is noticed"),
            ),
            keys => {
                Finding::ok(what, format!("sealed results of {host} are believed ({})", counted(keys as u64, "key")))
            }
        });
    }
    let has_owner = config.mailboxes.iter().any(|mailbox| mailbox.owner.is_some());
    if config.boundary.as_ref().is_some_and(|boundary| boundary.learns_sent) && !has_owner {
        findings.push(Finding::ok(
            what,
            "learn_sent: users must log in by their address, since no address has an owner by another name",
        ));
    }
    if let Some(path) = config.milter().and_then(|milter| milter.seal.as_deref()) {
        findings.push(match SigningKey::read_seal(path) {
            Ok(key) if !config.used_log => Finding::warning(
                what,
                format!("{}: hosts behind do not believe results without a used log", key.issuer.vendor()),
            ),
            Ok(key) => {
                Finding::ok(what, format!("results are sealed as {}, key {}", key.issuer.vendor(), key.key.public()))
            }
            Err(error) => Finding::error(what, format!("boundary.seal: {error}")),
        });
    }
    findings
}

/// Checks what becomes of the Authentication-Results fields under the name that mailstamp writes.
pub(super) fn results(config: &Config) -> Option<Finding> {
    let what = "results";
    let id = config.authserv_id.as_deref()?;
    let same = |name: &str| name.trim_end_matches('.').eq_ignore_ascii_case(id.trim_end_matches('.'));
    if config.trusted_authserv_ids.iter().any(|own| same(own)) {
        return Some(Finding::ok(
            what,
            format!("written as {id}; those of other programs under this name are trusted"),
        ));
    }
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().to_ascii_lowercase();
    let is_host = same(&host) || id.to_ascii_lowercase().starts_with(&format!("{host}."));
    let text = format!("written as {id}; all others under this name are removed");
    if !is_host {
        return Some(Finding::ok(what, text));
    }
    let hint = "this is the name of this host; if another of its programs, such as OpenDKIM, writes results under it, add it \
                to trusted_authserv_ids";
    Some(Finding::warning(what, format!("{text}; {hint}")))
}
