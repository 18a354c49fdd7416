//! `mailstamp doctor`: checks the configuration, the clock, the keys, the state and its file system, and judges a
//! message of its own. It changes nothing.

use super::trust;
use crate::autoreply::eligibility::Kind;
use crate::cli::mail_path::VERSION;
use crate::cli::ui::exit_status::{CONFIG, Failure};
use crate::cli::ui::output;
use crate::cli::ui::terminal_text::without_controls;
use crate::config::boundary::Listen;
use crate::config::paths::{CliOverrides, Paths};
use crate::config::{Config, rules};
use crate::context::clock_record::{self, ClockHealth};
use crate::context::error::Deferral;
use crate::context::used_log;
use crate::directory::key_directory::IgnoredReason;
use crate::directory::{pinned, source_status};
use crate::engine::judge::Engine;
use crate::engine::quarantine::Quarantine;
use crate::engine::remote::status::{self, StatusOutcome};
use crate::engine::self_test;
use crate::message::header::escape_untrusted;
use crate::os::{clock, unix_socket, without_numbers};
use crate::policy::rule_set::Rule;
use crate::server::watcher;
use crate::store::Summary;
use crate::time::UnixTime;
use crate::verdict::facts::KeyFact;
use anstyle::{AnsiColor, Style};
use serde_json::json;
use std::io::{self, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Connect timeout of the milter's check.
const MILTER_TIMEOUT: Duration = Duration::from_secs(2);

/// Check the setup, and say what to do about each problem.
///
/// The exit status is 0 when all is well, and 78 when something is not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp doctor\n  mailstamp doctor --json --user alice@x.example")]
pub struct Args {
    /// The user of the mailbox, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Ok,
    /// Works, but may not be as intended.
    Warning,
    Error,
}

struct Finding {
    what: &'static str,
    health: Health,
    text: String,
}

impl Finding {
    fn ok(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, health: Health::Ok, text: without_numbers(&text.into()) }
    }

    fn warning(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, health: Health::Warning, text: without_numbers(&text.into()) }
    }

    fn error(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, health: Health::Error, text: without_numbers(&text.into()) }
    }
}

/// Runs the command.
///
/// # Errors
/// A failure only when the findings cannot be printed.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let mut findings = Vec::new();
    match Paths::read(given) {
        Err(error) => findings.push(Finding::error("configuration", error.to_string())),
        Ok((config, places)) => {
            findings.push(configuration(&config, &places, given));
            findings.extend(rules(&config, &places));
            findings.extend(vendors(&places));
            findings.extend(directories(&places));
            findings.extend(state(&config, &places));
            findings.push(syslog(&config));
            findings.extend(replies(&config));
            findings.extend(held(given));
            findings.extend(watched(&config));
            findings.extend(milter(&config));
        }
    }
    findings.push(programs());
    findings.push(daemon(given));
    findings.push(clock(given));
    findings.push(match self_test::self_test() {
        Ok(()) => {
            Finding::ok("self-test", "a stamp of our own is accepted once, again on its message, and not on another")
        }
        Err(what) => Finding::error("self-test", what),
    });
    let ill = findings.iter().any(|finding| finding.health == Health::Error);
    if args.json {
        let findings: Vec<_> =
            findings.iter().map(|f| json!({ "check": f.what, "health": word(f.health), "text": f.text })).collect();
        output::line(&json!({ "schema": output::SCHEMA, "well": !ill, "checks": findings }).to_string())?;
    } else {
        let mut out = anstream::AutoStream::auto(io::stdout().lock());
        for finding in &findings {
            let style = style(finding.health);
            writeln!(
                out,
                "{style}{:<7}{style:#}  {:<14}  {}",
                word(finding.health),
                finding.what,
                without_controls(&finding.text)
            )?;
        }
        out.flush()?;
    }
    Ok(if ill { CONFIG } else { 0 })
}

/// Checks that the program that judges mail is of the same release as this one.
fn programs() -> Finding {
    let what = "programs";
    let filter = match std::env::current_exe() {
        Ok(own) => own.with_file_name("mailstamp"),
        Err(error) => return Finding::error(what, format!("cannot find this program: {error}")),
    };
    let version = match Command::new(&filter).arg("--version").stdin(Stdio::null()).output() {
        Ok(ran) => String::from_utf8_lossy(&ran.stdout).trim_end().to_owned(),
        Err(error) => return Finding::warning(what, format!("{}: {error}", filter.display())),
    };
    if version == VERSION {
        Finding::ok(what, format!("{version} at {}", filter.display()))
    } else {
        let version = escape_untrusted(version.as_bytes(), 100);
        Finding::error(
            what,
            format!("{}: {version:?}, expected {VERSION:?}; install both programs anew", filter.display()),
        )
    }
}

/// Checks automatic replies, if they are switched on.
fn replies(config: &Config) -> Option<Finding> {
    let what = "replies";
    let replies = &config.replies;
    if !replies.on() {
        return None;
    }
    if let Some(error) = Kind::ALL.iter().find_map(|kind| replies.template(*kind).err()) {
        return Some(Finding::error(what, error.to_string()));
    }
    let sendmail = replies.sendmail.display();
    if !std::fs::metadata(&replies.sendmail).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0) {
        return Some(Finding::error(what, format!("{sendmail} cannot be run, so none is sent; set replies.sendmail")));
    }
    if replies.policy.require_authentication && config.trusted_authserv_ids.is_empty() {
        let text = "none is sent: trusted_authserv_ids is empty, so no sender is authenticated";
        return Some(Finding::warning(what, text));
    }
    let most = replies.per_day;
    Some(Finding::ok(what, format!("sent through {sendmail}, at most {most} in 24 hours")))
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Warning => "warning",
        Health::Error => "error",
    }
}

fn style(health: Health) -> Style {
    let colour = match health {
        Health::Ok => AnsiColor::Green,
        Health::Warning => AnsiColor::Yellow,
        Health::Error => AnsiColor::Red,
    };
    Style::new().fg_color(Some(colour.into()))
}

fn configuration(config: &Config, places: &Paths, given: &CliOverrides) -> Finding {
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

fn rules(config: &Config, places: &Paths) -> Option<Finding> {
    let what = "rules";
    let path = places.rules.as_deref()?;
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
    (rules.iter().len() > 0).then(|| Finding::ok(what, format!("{}, rules: {}", path.display(), rules.iter().len())))
}

fn vendors(places: &Paths) -> Vec<Finding> {
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
            _ => Finding::ok(what, format!("{vendor}: {known} key(s)")),
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
fn directories(places: &Paths) -> Vec<Finding> {
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

fn state(config: &Config, places: &Paths) -> Vec<Finding> {
    let what = "state";
    let folder = match places.state() {
        Ok(folder) => folder,
        Err(error) => return vec![Finding::error(what, error.to_string())],
    };
    let mut findings = vec![folder_of_state(folder)];
    if !folder.exists() {
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
            let size = || Finding::ok("used log", format!("{} serials in {} bytes", summary.used, summary.bytes));
            purge_mark(summary.cleared).unwrap_or_else(size)
        }
        Err(error) => Finding::error("used log", error.to_string()),
    };
    findings.insert(1, log);
    findings
}

fn summary(config: &Config, places: &Paths) -> Result<Summary, Deferral> {
    Ok(used_log::used_log(config, places)?.summary()?)
}

/// Counts the grants that were suspended.
fn suspended(config: &Config, places: &Paths) -> Result<usize, Deferral> {
    let mut count = 0;
    used_log::used_log(config, places)?.standings(&mut |_, _, standing| {
        count += usize::from(standing.grant.is_some_and(|grant| grant.suspended.is_some()));
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

fn folder_of_state(folder: &Path) -> Finding {
    let what = "state";
    let shown = folder.display();
    let metadata = match std::fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::ok(what, format!("{shown} will be made when the first stamp is spent"));
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
fn held(given: &CliOverrides) -> Option<Finding> {
    let what = "held mail";
    let engine = Engine::load(given, None).ok()?;
    match Quarantine::existing(&engine).and_then(|held| held.map(|held| held.count()).transpose()) {
        Ok(None) => None,
        Ok(Some((0, _))) => Some(Finding::ok(what, "none")),
        Ok(Some((count, oldest))) => {
            let since = oldest.map(|oldest| format!(", the oldest since {oldest}")).unwrap_or_default();
            Some(Finding::ok(what, format!("{count} message(s){since}; mailstamp held list shows them")))
        }
        Err(error) => Some(Finding::error(what, error.to_string())),
    }
}

/// Checks the folders of `[watch]`, if a Maildir is to be watched. A missing folder may be a misspelt name.
fn watched(config: &Config) -> Option<Finding> {
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

/// Checks the milter, if there is to be one.
fn milter(config: &Config) -> Option<Finding> {
    let (what, listen) = ("milter", &config.boundary.as_ref()?.listen);
    let connected = match listen {
        Listen::Unix(path) => unix_socket::connect(path).map(drop),
        Listen::Inet(address) => TcpStream::connect_timeout(address, MILTER_TIMEOUT).map(drop),
    };
    Some(match connected {
        Ok(()) => Finding::ok(what, format!("listens at {listen}")),
        // Its mode admits the mail system alone.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Finding::warning(what, format!("{listen}: your user may not connect, so it was not checked"))
        }
        Err(error) => {
            let error = error.to_string();
            Finding::error(what, format!("{listen}: {}; the mail system defers mail", without_numbers(&error)))
        }
    })
}

/// Checks the daemon, if there is one.
fn daemon(given: &CliOverrides) -> Finding {
    let what = "daemon";
    let ours = env!("CARGO_PKG_VERSION");
    match status::ask(given) {
        StatusOutcome::NotRunning => Finding::ok(what, "none; each message is judged by a process of its own"),
        StatusOutcome::Silent(socket) => {
            let text = format!("the process listening at {} does not answer, so mail may wait", socket.display());
            Finding::error(what, text + "; restart mailstamp serve")
        }
        StatusOutcome::Well(status, _) => {
            let it = format!("process {} of version {}", status.pid, escape_untrusted(status.version.as_bytes(), 40));
            if status.same_files == Some(false) {
                Finding::warning(
                    what,
                    format!("{it} answers, but uses other files than you, so it judges none of your messages"),
                )
            } else if status.version != ours {
                Finding::warning(what, format!("{it} answers, and this is version {ours}; restart mailstamp serve"))
            } else if !status.log.answers {
                Finding::warning(what, format!("{it} answers, but its log does not"))
            } else {
                Finding::ok(what, format!("{it} answers, and uses the same files"))
            }
        }
    }
}

fn syslog(config: &Config) -> Finding {
    let what = "syslog";
    match &config.syslog {
        None => Finding::ok(what, "switched off"),
        Some(path) => match std::fs::metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => Finding::ok(what, format!("{}", path.display())),
            _ => Finding::warning(what, format!("nothing listens at {}; verdicts do not reach syslog", path.display())),
        },
    }
}

fn clock(given: &CliOverrides) -> Finding {
    let what = "clock";
    let now = clock::now();
    if now < crate::context::RELEASE_TIME {
        return Finding::error(
            what,
            format!("system clock is wrong: {now} is before this release; stamped mail is deferred"),
        );
    }
    let places = Paths::read(given).ok().map(|(_, places)| places);
    let record = places.and_then(|places| clock_record::read(places.state().ok()?));
    match record.map(|record| record.health(now, clock::uptime())) {
        None | Some(ClockHealth::Believed) => Finding::ok(what, now.to_string()),
        Some(ClockHealth::Ahead { expected }) => Finding::warning(
            what,
            format!(
                "{now} is ahead of {expected}, the time last seen and the uptime since; nothing is forgotten until the \
                 machine has run for a day; if the clock is right, mailstamp purge --now {now} forgets at once"
            ),
        ),
        Some(ClockHealth::WasAhead { read }) => Finding::warning(
            what,
            format!("{now}; the clock was ahead at {read}, and nothing was forgotten; the next delivery notes it"),
        ),
        Some(ClockHealth::Behind { seen }) => Finding::warning(
            what,
            format!("{now} is behind {seen}, the time last seen; set the clock, unless it was ahead then"),
        ),
    }
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
