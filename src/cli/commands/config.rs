//! `mailstamp config`: checks and shows the configuration.

use super::trust;
use crate::autoreply::eligibility::Kind;
use crate::boundary::plan::Mixed;
use crate::cli::ui::exit_status::{CONFIG, Failure};
use crate::cli::ui::output;
use crate::config::boundary::{Boundary, Listen};
use crate::config::directory_sources;
use crate::config::file::{self, Content, FileErrorKind};
use crate::config::gateway::{ClientAddress, Gateway};
use crate::config::paths::{CliOverrides, Paths};
use crate::config::sendmail::{NextHop, OnVendorUnavailable, Tls};
use crate::config::store::SharedLog;
use crate::config::{Config, rules};
#[cfg(feature = "postgres")]
use crate::context::used_log;
use crate::database::Host;
use crate::directory::key_directory::IgnoredReason;
use crate::directory::pinned;
use crate::directory::pinned_lists::Lists;
use crate::directory::signing_key::SigningKey;
use crate::message::address::{Address, LocalCase, Pattern};
use crate::os::clock;
use crate::peer::outgoing::GiveMode;
use crate::policy::action::Action;
use crate::policy::rule_set::Rules;
#[cfg(feature = "sender")]
use crate::server::tls::{Certificate, Files};
use crate::verdict::class::Class;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check configuration, rules and vendors, and report errors
    Check(Args),
    /// Print the settings in force, defaults among them
    Show(ShowArgs),
}

/// Read the configuration, the rules with their lists, and the trusted vendors, and report errors in them.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(after_help = "Examples:\n  mailstamp config check\n  mailstamp --config new.toml config check")]
pub struct Args {
    /// The user of the mailbox, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

/// Print the settings in force, defaults among them, as a configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp config show\n  mailstamp config show --json --user alice@x.example")]
pub struct ShowArgs {
    #[command(flatten)]
    whose: Args,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Returns the user of the mailbox.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        match self {
            Self::Check(args) => args.user.clone(),
            Self::Show(args) => args.whose.user.clone(),
        }
    }
}

/// Runs a subcommand.
///
/// # Errors
/// A failure with status 78 that says what is wrong.
pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    let (config, places) = Paths::read(given)?;
    let rules = rules::in_force(&config, &places).map_err(|error| Failure::new(CONFIG, error))?;
    match command {
        Command::Check(_) => check(&config, &places, &rules, given),
        Command::Show(args) => show(&config, &places, &rules, args.json),
    }
}

fn check(config: &Config, places: &Paths, rules: &Rules, given: &CliOverrides) -> Result<u8, Failure> {
    let path = places.rules.as_deref().unwrap_or(Path::new(""));
    rules::check(rules, path, config.local_case).map_err(|error| Failure::new(CONFIG, error))?;
    let vendors = pinned::read(places.vendors()?, places.directories.as_deref(), clock::now())
        .map_err(|error| Failure::new(CONFIG, error))?;
    let malformed = |(_, why): &&(PathBuf, IgnoredReason)| matches!(why, IgnoredReason::Malformed { .. });
    if let Some((file, why)) = vendors.unheeded.iter().find(malformed) {
        return Err(Failure::new(CONFIG, format!("{}: {}", file.display(), trust::ignored(why))));
    }
    if let Ok(state) = places.state() {
        Lists::read(state).map_err(|error| Failure::new(CONFIG, error))?;
    }
    directory_sources::read(places.vendors()?).map_err(|error| Failure::new(CONFIG, error))?;
    if config.mailboxes.is_empty() {
        let place = places.config.clone().or_else(|| Paths::candidates(given).into_iter().next()).unwrap_or_default();
        return Err(Failure::new(CONFIG, "no addresses are configured, so no stamp can be for you")
            .hint(format!("write addresses = [\"you@your.example\"] into {}", place.display())));
    }
    for (key, path, content) in config.gateway.iter().flat_map(Gateway::files) {
        if is_readable(key, path, content)? && content == Content::Secret {
            SigningKey::read_seal(path).map_err(|error| Failure::new(CONFIG, format!("{key}: {error}")))?;
        }
    }
    if let Some(path) = config.milter().and_then(|milter| milter.seal.as_deref())
        && is_readable("boundary.seal", path, Content::Secret)?
    {
        SigningKey::read_seal(path).map_err(|error| Failure::new(CONFIG, format!("boundary.seal: {error}")))?;
    }
    if let Some(submission) = &config.submission {
        is_readable("submission.password_file", &submission.password_file, Content::Password)?;
    }
    if let NextHop::Smtp(smtp) = &config.sendmail.next {
        if let Some((_, path)) = &smtp.login {
            is_readable("sendmail.smtp.password_file", path, Content::Password)?;
        }
        if let Some(path) = &smtp.ca_file {
            is_readable("sendmail.smtp.ca_file", path, Content::Public)?;
        }
    }
    #[cfg(feature = "postgres")]
    if let Some(shared) = &config.store {
        store_files(shared, config, places)?;
    }
    for kind in Kind::ALL {
        config.replies.template(kind).map_err(|error| Failure::new(CONFIG, error))?;
    }
    #[cfg(feature = "sender")]
    if let Some(tls) = config.submission.as_ref().and_then(|server| server.tls.as_ref()) {
        Certificate::read(&tls.into()).map_err(|error| Failure::new(CONFIG, error))?;
    }
    #[cfg(feature = "sender")]
    if let Some((certificate, key)) = config.gateway.as_ref().and_then(|it| it.inbound.as_ref()?.tls.as_ref()) {
        let files = Files { certificate: certificate.clone(), key: key.clone() };
        Certificate::read(&files).map_err(|error| Failure::new(CONFIG, error))?;
    }
    for doubt in doubts(config, rules, path) {
        output::warning(&doubt);
    }
    let file = places.config.as_deref().map_or("no file".into(), |path| path.display().to_string());
    let count = vendors.directory.vendors().count();
    let (addresses, rules) = (config.mailboxes.len(), rules.iter().len());
    output::line(&format!("{file}: ok; addresses: {addresses}, trusted vendors: {count}, rules: {rules}"))?;
    Ok(0)
}

/// Returns what is allowed and may not be meant: patterns for every address, addresses that count for nothing, mail with
/// a bad stamp that fares better than mail without one, and expressions of rules that drop mail and leave no text out.
pub(super) fn doubts(config: &Config, rules: &Rules, path: &Path) -> Vec<String> {
    let mine = config.mailboxes.iter().map(|mailbox| ("addresses", &mailbox.pattern));
    let patterns = mine.chain(config.allow.iter().map(|allowed| ("allow", &allowed.pattern)));
    let all = patterns.filter(|(_, pattern)| pattern.covers_all());
    let mut doubts: Vec<String> =
        all.map(|(key, pattern)| format!("{key}: {:?} matches every address", pattern.as_str())).collect();
    let unused = config.mailboxes.iter().enumerate().filter_map(|(place, mailbox)| {
        let address = mailbox.pattern.exact()?;
        let first = config.mailboxes.iter().take(place).find(|earlier| earlier.pattern.matches(address))?;
        let differs = (first.price, &first.owner) != (mailbox.price, &mailbox.owner);
        differs.then(|| format!("addresses: {address} counts as {:?}, which stands before it", first.pattern.as_str()))
    });
    doubts.extend(unused);
    let drops = |class| !matches!(config.actions.of(class), Action::Deliver | Action::Tag);
    let around = [Class::Invalid, Class::Used, Class::Revoked, Class::Underpaid, Class::Unverified];
    let around: Vec<String> =
        around.into_iter().filter(|class| !drops(*class)).map(|class| format!("actions.{class}")).collect();
    if drops(Class::Unstamped) && !around.is_empty() {
        let all = around.join(", ");
        doubts.push(format!("actions.unstamped: a bad stamp is a way around it: set {all} too"));
    }
    if config.store.is_some() && !config.used_log {
        doubts
            .push("used_log.enabled: with false, the log in [store] is not used, and stamps are good again".to_owned());
    }
    doubts.extend(rules.doubtful().map(|(rule, condition)| {
        let (line, key) = (condition.line, &condition.key);
        format!("{}: line {line}: rule {:?} drops mail: {key} matches every text", path.display(), rule.name)
    }));
    doubts
}

/// Checks a file of the daemon. Returns false where it is for another user, who alone can check it.
fn is_readable(key: &str, path: &Path, content: Content) -> Result<bool, Failure> {
    match file::read_as(path, content).map_err(|error| (error.to_string(), error.kind)) {
        Ok(_) => Ok(true),
        Err((_, FileErrorKind::Owner(_))) => Ok(false),
        Err((_, FileErrorKind::Io(error))) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err((wrong, _)) => Err(Failure::new(CONFIG, format!("{key}: {wrong}"))),
    }
}

/// Checks the files that the store names.
#[cfg(feature = "postgres")]
fn store_files(shared: &SharedLog, config: &Config, places: &Paths) -> Result<(), Failure> {
    let mut are_ours = true;
    for (key, path, content) in shared.files() {
        are_ours &= is_readable(key, path, content)?;
    }
    if are_ours {
        let log = used_log::shared_log(shared, config, places, false)?;
        log.check_files().map_err(|wrong| Failure::new(CONFIG, format!("store: {wrong}")))?;
    }
    Ok(())
}

fn show(config: &Config, places: &Paths, rules: &Rules, as_json: bool) -> Result<u8, Failure> {
    let path = |path: Option<&Path>| path.map(|path| path.display().to_string());
    let addresses: Vec<_> = config
        .mailboxes
        .iter()
        .map(|m| json!({ "address": m.pattern.as_str(), "price": m.price, "owner": m.owner }))
        .collect();
    let allow: Vec<_> = config.allow.iter().map(|allowed| allowed.name.as_str()).collect();
    let policy = &config.policy;
    let (replies, sendmail) = (&config.replies, &config.sendmail);
    let (sender, serve) = (&config.sender, &config.serve);
    let prefer: Vec<_> = sender
        .prefer
        .iter()
        .map(|it| {
            let recipients: Vec<_> = it.recipients.iter().map(Pattern::as_str).collect();
            json!({ "recipients": recipients, "vendors": it.vendors, "value": it.value })
        })
        .collect();
    let settings = [
        ("config", json!(path(places.config.as_deref()))),
        ("state", json!(path(places.state.as_deref()))),
        ("vendors", json!(path(places.vendors.as_deref()))),
        ("directories", json!(path(places.directories.as_deref()))),
        ("rules", json!({ "path": path(places.rules.as_deref()), "count": rules.iter().len() })),
        ("addresses", json!(addresses)),
        ("price", json!(config.price)),
        ("case_sensitive", json!(config.local_case == LocalCase::Keep)),
        ("allow", json!(allow)),
        ("authserv_id", json!(config.authserv_id)),
        ("trusted_authserv_ids", json!(config.trusted_authserv_ids)),
        ("trusted_boundaries", json!(config.trusted_boundaries)),
        ("syslog", path(config.syslog.as_deref()).map_or(json!(false), |path| json!(path))),
        ("verdict_log", json!(config.verdict_log)),
        ("own_mailbox_only", json!(config.own_mailbox_only)),
        ("max_message_size", json!(config.largest)),
        ("stamps.skew", json!(policy.skew)),
        ("stamps.max_window", json!(policy.max_window)),
        ("stamps.allow_no_expiry", json!(policy.allow_no_expiry)),
        ("stamps.expiry_grace", json!(policy.expiry_grace)),
        ("stamps.defer_stale", json!(config.defer_stale)),
        ("logs.witnesses", json!(config.logs.witnesses().iter().map(ToString::to_string).collect::<Vec<_>>())),
        ("logs.minimum", json!(config.logs.minimum())),
        ("used_log.enabled", json!(config.used_log)),
        ("used_log.wait", json!(config.wait.as_secs())),
        ("used_log.redelivery_window", json!(policy.redelivery.within)),
        ("used_log.max_redeliveries", json!(policy.redelivery.times)),
        ("peers.enabled", json!(config.peers.enabled)),
        ("peers.give", json!(if config.peers.give == GiveMode::Ask { "ask" } else { "answered" })),
        ("peers.days", json!(config.peers.days)),
        ("peers.list_days", json!(config.peers.list_days)),
        ("peers.max_uses_per_day", json!(config.peers.max_uses_per_day)),
        ("peers.nonce_retention", json!(policy.nonce_retention)),
        ("store.kind", json!(if config.store.is_some() { "postgres" } else { "redb" })),
        ("sent.retention", json!(config.sent_retention)),
        ("sent.correspondents", json!(config.correspondents_retention)),
        ("watch.maildir", json!(path(config.watch.maildir.as_deref()))),
        ("watch.junk", json!(config.watch.junk)),
        ("watch.trash", json!(config.watch.trash)),
        ("watch.sent", json!(config.watch.sent)),
        ("watch.unrevoke_within", json!(config.watch.unrevoke_within)),
        ("watch.rescan", json!(config.watch.rescan.as_secs())),
        ("serve.connections", json!(serve.connections)),
        ("serve.purge", json!(serve.purge.map_or(0, |every| every.as_secs()))),
        ("serve.refresh", json!(serve.refresh.map_or(0, |every| every.as_secs()))),
        ("serve.watch", json!(serve.watch)),
        ("serve.metrics", json!(serve.metrics.map(|address| address.to_string()))),
        ("replies.challenge", json!(replies.policy.challenge)),
        ("replies.compromised", json!(replies.policy.compromised)),
        ("replies.from", json!(replies.from.as_ref().map(Address::to_string))),
        ("replies.per_sender", json!(replies.per_sender)),
        ("replies.per_day", json!(replies.per_day)),
        ("replies.require_authentication", json!(replies.policy.require_authentication)),
        ("replies.sendmail", json!(path(Some(&replies.sendmail)))),
        ("replies.challenge_template", json!(path(replies.challenge_template.as_deref()))),
        ("replies.compromised_template", json!(path(replies.compromised_template.as_deref()))),
        ("sendmail.none", json!(sendmail.none.iter().map(|it| it.as_str()).collect::<Vec<_>>())),
        ("sendmail.when_away", json!(if sendmail.when_away == OnVendorUnavailable::Plain { "plain" } else { "defer" })),
        ("sendmail.for_return", json!(sendmail.for_return)),
        ("sendmail.keep_returns", json!(sendmail.keep_returns)),
        ("sendmail.learn", json!(sendmail.learn)),
        ("sendmail.at_once", json!(sendmail.at_once)),
        ("deliver.maildir", json!(path(places.maildir.as_deref()))),
        ("held.keep", json!(config.held_keep)),
        ("sender.account", json!(sender.account)),
        ("sender.value", json!(sender.value)),
        ("sender.days", json!(sender.days)),
        ("sender.hashed", json!(sender.hashed)),
        ("sender.credits_per_hour", json!(sender.credits_per_hour)),
        ("sender.credits_per_day", json!(sender.credits_per_day)),
        ("sender.credits_per_recipient", json!(sender.credits_per_recipient)),
        ("sender.timeout", json!(sender.timeout.as_secs())),
        ("sender.prefer", json!(prefer)),
    ];
    let settings = settings.into_iter().map(|(key, value)| (key.to_owned(), value));
    let by_class = Class::ALL.into_iter().flat_map(|class| {
        let (action, folder) = (config.actions.of(class), config.deliver.folders.of(class));
        [
            (format!("actions.{class}"), json!(action.as_str())),
            (format!("deliver.folders.{class}"), json!(folder.as_str())),
        ]
    });
    let boundary = config.boundary.iter().flat_map(boundary).map(|(key, value)| (key.to_owned(), value));
    let store = config.store.iter().flat_map(store).map(|(key, value)| (key.to_owned(), value));
    let settings = settings.chain(boundary).chain(store);
    let next = next(&sendmail.next).into_iter().map(|(key, value)| (key.to_owned(), value));
    let submission = submission(config).into_iter().map(|(key, value)| (key.to_owned(), value));
    let gateway = config.gateway.iter().flat_map(gateway).map(|(key, value)| (key.to_owned(), value));
    let settings = settings.chain(next).chain(submission).chain(gateway).chain(by_class);
    if as_json {
        let mut object: serde_json::Map<_, _> = settings.collect();
        object.insert("schema".to_owned(), json!(output::SCHEMA));
        output::line(&serde_json::Value::Object(object).to_string())?;
    } else {
        output::line(to_toml(settings).trim_end())?;
    }
    Ok(0)
}

/// Returns the settings of the boundary.
fn boundary(boundary: &Boundary) -> Vec<(&'static str, Value)> {
    let milter = boundary.milter.as_ref();
    let is_remote = |at: &Listen| matches!(at, Listen::Inet(address) if !address.ip().is_loopback());
    let mixed = match boundary.mixed {
        Mixed::Hold => "hold",
        Mixed::Deliver => "deliver",
        Mixed::Discard => "discard",
    };
    vec![
        ("boundary.listen", json!(milter.map(|it| it.listen.to_string()))),
        ("boundary.allow_remote", json!(milter.is_some_and(|it| is_remote(&it.listen)))),
        ("boundary.held_address", json!(milter.map(|it| it.held_address.to_string()))),
        ("boundary.mixed", json!(mixed)),
        ("boundary.strip", json!(if boundary.strips_stamps { "stamps" } else { "nothing" })),
        ("boundary.subject_prefix", json!(boundary.subject_prefix)),
        ("boundary.reject_text", json!(boundary.reject_text.join("\n"))),
        ("boundary.seal", json!(milter.and_then(|it| it.seal.as_ref()))),
        ("boundary.learn_sent", json!(boundary.learns_sent)),
    ]
}

/// Returns the settings of the database.
fn store(log: &SharedLog) -> Vec<(&'static str, Value)> {
    let (certificate, key) = log.tls.as_ref().and_then(|tls| tls.client.clone()).unzip();
    let is_on_socket = matches!(log.hosts.first(), Some(Host::Unix { .. }));
    let tls = match &log.tls {
        Some(_) => Some("verify-full"),
        None => (!is_on_socket).then_some("off"),
    };
    vec![
        ("store.hosts", json!(log.hosts.iter().map(ToString::to_string).collect::<Vec<_>>())),
        ("store.database", json!(log.database)),
        ("store.user", json!(log.user)),
        ("store.password_file", json!(log.password_file)),
        ("store.certificate", json!(certificate)),
        ("store.key", json!(key)),
        ("store.tls", json!(tls)),
        ("store.ca", json!(log.tls.as_ref().and_then(|tls| tls.ca.as_ref()))),
        ("store.timeout", json!(log.timeout.as_secs())),
        ("store.connections", json!(log.connections)),
        ("store.space", json!(log.space)),
        ("store.synchronous_commit", json!(log.synchronous_commit.as_str())),
        ("store.follow_failover", json!(log.follow_failover)),
    ]
}

/// Settings that are durations, in seconds.
const DURATIONS: [&str; 18] = [
    "stamps.skew",
    "stamps.max_window",
    "stamps.expiry_grace",
    "used_log.wait",
    "used_log.redelivery_window",
    "peers.nonce_retention",
    "store.timeout",
    "sent.retention",
    "sent.correspondents",
    "watch.unrevoke_within",
    "watch.rescan",
    "serve.purge",
    "serve.refresh",
    "replies.per_sender",
    "held.keep",
    "sender.timeout",
    "gateway.clear",
    "gateway.inbound.id_life",
];

/// Returns the settings as a configuration file: what stands outside a table first. A setting without a value is left
/// out, which means the same.
fn to_toml(settings: impl Iterator<Item = (String, Value)>) -> String {
    let (mut top, mut tables) = (String::new(), BTreeMap::<String, String>::new());
    for (key, value) in settings {
        let value = match value {
            _ if key == "config" => {
                top.push_str(&format!("# {}\n", value.as_str().unwrap_or("no file")));
                continue;
            }
            // A file of rules that is named must exist.
            Value::Object(mut rules) if key == "rules" => match rules.remove("path") {
                Some(Value::String(path)) if Path::new(&path).exists() => Value::String(path),
                _ => Value::Null,
            },
            Value::Number(seconds) if DURATIONS.contains(&key.as_str()) => json!(format!("{seconds}s")),
            other => other,
        };
        // Null is no value of TOML.
        let Some(value) = in_toml(value) else { continue };
        match key.rsplit_once('.') {
            None => top.push_str(&format!("{key} = {value}\n")),
            Some((table, key)) => {
                tables.entry(table.to_owned()).or_default().push_str(&format!("{key} = {value}\n"));
            }
        }
    }
    tables.iter().fold(top, |text, (table, lines)| text + "\n[" + table + "]\n" + lines)
}

fn in_toml(value: Value) -> Option<toml::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Array(items) => toml::Value::Array(items.into_iter().filter_map(in_toml).collect()),
        Value::Object(members) => {
            let members = members.into_iter().filter_map(|(key, value)| Some((key, in_toml(value)?)));
            toml::Value::Table(members.collect())
        }
        Value::Bool(on) => toml::Value::Boolean(on),
        Value::Number(number) => toml::Value::Integer(number.as_i64()?),
        Value::String(text) => toml::Value::String(text),
    })
}

/// Returns the submission server, if there is one.
fn submission(config: &Config) -> Vec<(&'static str, Value)> {
    let Some(server) = &config.submission else { return Vec::new() };
    let tls = server.tls.as_ref();
    vec![
        ("submission.listen", json!(server.listen.to_string())),
        ("submission.tls", json!(tls.map_or("off", |it| if it.is_implicit { "implicit" } else { "starttls" }))),
        ("submission.certificate", json!(tls.map(|it| &it.certificate))),
        ("submission.key", json!(tls.map(|it| &it.key))),
        ("submission.user", json!(server.user)),
        ("submission.password_file", json!(server.password_file)),
        ("submission.max_message_size", json!(server.largest)),
        ("submission.connections", json!(server.connections)),
    ]
}

/// Returns the settings of the gateway, of the halves that there are.
fn gateway(gateway: &Gateway) -> Vec<(&'static str, Value)> {
    let mut settings = vec![
        ("gateway.name", json!(gateway.name)),
        ("gateway.clear", json!(gateway.clearing.every.as_secs())),
        ("gateway.license", json!(gateway.clearing.license)),
        ("gateway.metrics", json!(gateway.metrics.map(|address| address.to_string()))),
    ];
    if let Some(it) = &gateway.inbound {
        let (certificate, key) = it.tls.as_ref().map(|(certificate, key)| (certificate, key)).unzip();
        let client_address = match it.client_address {
            ClientAddress::Xclient => "xclient",
            ClientAddress::Proxy => "proxy",
            ClientAddress::None => "none",
        };
        settings.extend([
            ("gateway.inbound.listen", json!(it.listen.to_string())),
            ("gateway.inbound.inner", json!(it.inner.to_string())),
            ("gateway.inbound.client_address", json!(client_address)),
            ("gateway.inbound.certificate", json!(certificate)),
            ("gateway.inbound.key", json!(key)),
            ("gateway.inbound.price", json!(it.price)),
            ("gateway.inbound.prices", json!(it.prices)),
            ("gateway.inbound.help", json!(it.help)),
            ("gateway.inbound.close_unaware", json!(it.closes_unaware)),
            ("gateway.inbound.null_sender", json!(it.null_sender.word())),
            ("gateway.inbound.id_life", json!(it.id_life)),
            ("gateway.inbound.meter_exposure", json!(it.meter_exposure)),
            ("gateway.inbound.seal", json!(it.seal)),
            ("gateway.inbound.max_message_size", json!(it.largest)),
            ("gateway.inbound.connections", json!(it.connections)),
        ]);
    }
    if let Some(it) = &gateway.outbound {
        let routes: BTreeMap<_, _> = it.routes.iter().map(|(domain, route)| (domain, route.to_string())).collect();
        settings.extend([
            ("gateway.outbound.listen", json!(it.listen.to_string())),
            ("gateway.outbound.tls", json!(if it.verifies { "verified" } else { "off" })),
            ("gateway.outbound.ca", json!(it.ca)),
            ("gateway.outbound.max_price", json!(it.max_price)),
            ("gateway.outbound.max_message", json!(it.max_message)),
            ("gateway.outbound.max_day", json!(it.max_day)),
            ("gateway.outbound.max_message_size", json!(it.largest)),
            ("gateway.outbound.connections", json!(it.connections)),
            ("gateway.outbound.routes", json!(routes)),
        ]);
    }
    settings
}

/// Returns the receiver of the copies of `mailstamp sendmail`. Secrets are in files of their own.
fn next(next: &NextHop) -> Vec<(&'static str, Value)> {
    match next {
        NextHop::Program(program, words) => {
            let program = std::iter::once(program.display().to_string());
            vec![("sendmail.next", json!(program.chain(words.iter().cloned()).collect::<Vec<_>>()))]
        }
        NextHop::Smtp(smtp) => {
            let (user, password) = smtp.login.clone().unzip();
            let tls = match smtp.tls {
                Tls::Implicit => "implicit",
                Tls::Starttls => "starttls",
                Tls::Off => "off",
            };
            vec![
                ("sendmail.smtp.host", json!(smtp.host)),
                ("sendmail.smtp.port", json!(smtp.port)),
                ("sendmail.smtp.tls", json!(tls)),
                ("sendmail.smtp.user", json!(user)),
                ("sendmail.smtp.password_file", json!(password)),
                ("sendmail.smtp.ca_file", json!(smtp.ca_file)),
            ]
        }
    }
}
