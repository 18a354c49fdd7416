//! Configuration: one TOML file, parsed from text into one struct. Unknown keys are refused with line and column.
//! `paths.rs` finds the file and expands `%u`. The effect of the values is decided elsewhere.

pub mod address_list;
pub mod auto_reply;
pub mod boundary;
pub mod deliver;
pub mod directory_sources;
mod entry;
mod error;
pub mod file;
pub mod gateway;
mod logs;
pub mod paths;
pub mod peers;
mod ranges;
pub mod rules;
pub mod sender;
pub mod sendmail;
mod sent;
pub mod serve;
mod stamps;
pub mod store;
pub mod submission;
mod syntax;
pub mod user;
pub mod watch;

use crate::message::address::{LocalCase, Pattern};
use crate::message::auth_results::NO_ID;
use crate::policy::action::Actions;
use crate::stamp::claims::VALUE_MAX;
use crate::stamp::signing::PublicKey;
use crate::transparency::witness::Quorum;
use crate::verdict::facts::{Mailbox, Policy};
use auto_reply::{Replies, RepliesTable};
use boundary::{Boundary, BoundaryTable, MilterSettings};
use deliver::{Deliver, DeliverTable, HeldTable};
use entry::{AddressEntry, SealKeys, Syslog};
pub use error::ConfigError;
use gateway::{Gateway, GatewayTable};
use logs::LogsTable;
use peers::{Peers, PeersTable};
use ranges::Number;
use sender::{SenderSettings, SenderTable};
use sendmail::{Sendmail, SendmailTable};
use sent::SentTable;
use serde::Deserialize;
use serve::{Serve, ServeTable};
use stamps::{StampsTable, UsedLogTable};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::{SharedLog, StoreTable};
use submission::{SubmissionServer, SubmissionTable};
pub use syntax::SyntaxError;
use user::User;
use watch::{Watch, WatchTable};

/// The usual socket of syslog.
pub const SYSLOG: &str = "/dev/log";

/// Settings of the user. Every value has a default, so an empty file is a valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The user's own addresses with their prices.
    pub mailboxes: Vec<Mailbox>,
    /// The credits that an address asks unless it has a price of its own.
    pub price: u64,
    /// How local parts compare, in `addresses` and in `allow`.
    pub local_case: LocalCase,
    /// Senders that need no stamp.
    pub allow: Vec<Allowed>,
    /// What stamps are accepted.
    pub policy: Policy,
    /// Which witnesses must have cosigned the heads of public logs.
    pub logs: Quorum,
    /// The exchange of keys and stamps with correspondents.
    pub peers: Peers,
    /// Whether stamped mail is deferred while the fetched directory of its vendor has expired.
    pub defer_stale: bool,
    /// The action of each class.
    pub actions: Actions,
    /// Whether used serials are remembered (paper: the log is optional; without it reuse is not detected).
    pub used_log: bool,
    /// The database that has the used log; `None` is a file of this host.
    pub store: Option<SharedLog>,
    /// How long to wait for the used log before the message is deferred.
    pub wait: Duration,
    /// The largest message that is looked at, in bytes.
    pub largest: u64,
    /// The name for an Authentication-Results field that is written (RFC 8601 section 2.5); without a name, none is
    /// written.
    pub authserv_id: Option<String>,
    /// The names of the hosts whose Authentication-Results fields are trusted; [`NO_ID`] for a host that writes none.
    pub trusted_authserv_ids: Vec<String>,
    /// The boundaries whose sealed results are believed, by host, with their keys.
    pub trusted_boundaries: BTreeMap<String, Vec<PublicKey>>,
    /// The socket of syslog for one line a message, unless switched off.
    pub syslog: Option<PathBuf>,
    /// Whether verdicts are kept for `mailstamp log`.
    pub verdict_log: bool,
    /// Whether options may name other files than those of the mailbox. Counts in the system's file alone.
    pub own_mailbox_only: bool,
    /// The folder of the user's state, if the file names one.
    pub state: Option<PathBuf>,
    /// The folder above the state that must exist: the part before the first `%`, or else the parent of the state.
    pub ground: Option<PathBuf>,
    /// The folder of the trusted vendors, if the file names one.
    pub vendors: Option<PathBuf>,
    /// The folder of the fetched directories, if the file names one.
    pub directories: Option<PathBuf>,
    /// The file of the rules, if the file names one.
    pub rules: Option<PathBuf>,
    /// Which mail folders are watched.
    pub watch: Watch,
    /// Which automatic replies are sent.
    pub replies: Replies,
    /// How many seconds the Message-ID of a sent message is remembered.
    pub sent_retention: i64,
    /// How many seconds after the last message to it an address stays a correspondent. `None` is for ever.
    pub correspondents_retention: Option<i64>,
    /// Where `mailstamp deliver` puts mail.
    pub deliver: Deliver,
    /// How many seconds a message is held; 0 is for ever.
    pub held_keep: i64,
    /// What `mailstamp sendmail` does with a message.
    pub sendmail: Sendmail,
    /// The limits on the cost of the user's own stamps, and which are bought for which recipient.
    pub sender: SenderSettings,
    /// Settings of the daemon.
    pub serve: Serve,
    /// Settings of the milter, if there is one.
    pub boundary: Option<Boundary>,
    /// Settings of the submission server, if there is one.
    pub submission: Option<SubmissionServer>,
    /// Settings of the gateway, if there is one.
    pub gateway: Option<Gateway>,
}

/// A sender that the user lets through without a stamp.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// The name of the rule: the text in the configuration.
    pub name: String,
    /// The senders that it matches.
    pub pattern: Pattern,
}

/// Credits that an address asks.
type Price = Number<0, VALUE_MAX>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    #[serde(deserialize_with = "entry::list")]
    addresses: Vec<AddressEntry>,
    price: Price,
    #[serde(deserialize_with = "entry::list")]
    allow: Vec<String>,
    case_sensitive: bool,
    authserv_id: Option<String>,
    #[serde(deserialize_with = "entry::list")]
    trusted_authserv_ids: Vec<String>,
    trusted_boundaries: BTreeMap<String, SealKeys>,
    syslog: Syslog,
    verdict_log: bool,
    own_mailbox_only: bool,
    state: Option<String>,
    vendors: Option<String>,
    directories: Option<String>,
    rules: Option<String>,
    max_message_size: Number<MESSAGE_MIN, MESSAGE_MAX>,
    actions: Actions,
    stamps: StampsTable,
    logs: LogsTable,
    peers: PeersTable,
    used_log: UsedLogTable,
    store: StoreTable,
    watch: WatchTable,
    replies: RepliesTable,
    sent: SentTable,
    deliver: DeliverTable,
    held: HeldTable,
    sendmail: SendmailTable,
    sender: SenderTable,
    serve: ServeTable,
    boundary: Option<BoundaryTable>,
    submission: Option<SubmissionTable>,
    gateway: Option<GatewayTable>,
}

/// Default limit on the size of a message that is read whole: 256 MiB.
const LARGEST: u64 = 256 * 1024 * 1024;
/// Limits on that limit. Below 1 KiB, the user probably meant MiB; above 2 GiB, no mail system carries a message.
const MESSAGE_MIN: u64 = 1024;
const MESSAGE_MAX: u64 = 2 * 1024 * 1024 * 1024;
impl Default for File {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            price: Number(1),
            allow: Vec::new(),
            case_sensitive: false,
            authserv_id: None,
            trusted_authserv_ids: Vec::new(),
            trusted_boundaries: BTreeMap::new(),
            syslog: Syslog::Switch(true),
            verdict_log: true,
            own_mailbox_only: false,
            state: None,
            vendors: None,
            directories: None,
            rules: None,
            max_message_size: Number(LARGEST),
            actions: Actions::default(),
            stamps: StampsTable::default(),
            logs: LogsTable::default(),
            peers: PeersTable::default(),
            used_log: UsedLogTable::default(),
            store: StoreTable::default(),
            watch: WatchTable::default(),
            replies: RepliesTable::default(),
            sent: SentTable::default(),
            deliver: DeliverTable::default(),
            held: HeldTable::default(),
            sendmail: SendmailTable::default(),
            sender: SenderTable::default(),
            serve: ServeTable::default(),
            boundary: None,
            submission: None,
            gateway: None,
        }
    }
}

impl Config {
    /// Returns the settings of the milter, if there is one.
    #[must_use]
    pub fn milter(&self) -> Option<&MilterSettings> {
        self.boundary.as_ref()?.milter.as_ref()
    }

    /// Parses a configuration; `user` fills in `%u`, `%n` and `%d`.
    ///
    /// # Errors
    /// [`ConfigError`], whose text names the key, and the line where that is known.
    pub fn parse(text: &str, user: &User) -> Result<Self, ConfigError> {
        Self::read(text, user).map_err(|error| error.located(text))
    }

    fn read(text: &str, user: &User) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| SyntaxError::of_file(text, &error))?;
        let case = if file.case_sensitive { LocalCase::Keep } else { LocalCase::Fold };
        let expand = |key: &'static str, text: String| match user.expand(&text, case) {
            Ok(expanded) => Ok(expanded),
            Err(source) => Err(ConfigError::User { key, text, source }),
        };
        let pattern = |key: &'static str, text: &str| {
            Pattern::parse_with(text, case).map_err(|source| ConfigError::Pattern {
                key,
                text: text.to_owned(),
                source,
            })
        };
        let path = |key: &'static str, text: Option<String>| {
            let Some(text) = text.map(|text| expand(key, text)).transpose()? else { return Ok(None) };
            let path = PathBuf::from(&text);
            if path.is_absolute() { Ok(Some(path)) } else { Err(ConfigError::Relative { key, text }) }
        };
        let mut mailboxes = Vec::with_capacity(file.addresses.len());
        for entry in file.addresses {
            let (text, price, owner) = match entry {
                AddressEntry::Plain(address) => (address, None, None),
                AddressEntry::Priced(entry) => (entry.address, entry.price, entry.owner),
            };
            let owner = owner.map(|name| expand("addresses", name)).transpose()?;
            if let Some(text) =
                owner.as_ref().filter(|name| name.trim().is_empty() || name.chars().any(char::is_control))
            {
                return Err(ConfigError::Owner(text.clone()));
            }
            let key = "addresses";
            let pattern = match user.address_parts(&text, case) {
                Ok(parts) => Pattern::from_parts(&parts, case),
                Err(source) => return Err(ConfigError::User { key, text, source }),
            };
            let pattern = pattern.map_err(|source| ConfigError::Pattern { key, text, source })?;
            mailboxes.push(Mailbox { pattern, price: price.unwrap_or(file.price).0, owner });
        }
        let mut allow = Vec::with_capacity(file.allow.len());
        for name in file.allow {
            allow.push(Allowed { pattern: pattern("allow", &name)?, name });
        }
        if let Some(host) = file.trusted_boundaries.keys().find(|host| !is_host_name(host)) {
            return Err(ConfigError::AuthservId { key: "trusted_boundaries", text: host.clone() });
        }
        let boundaries = file.trusted_boundaries.into_iter().map(|(host, keys)| (host.to_ascii_lowercase(), keys.0));
        let own = file.authserv_id.iter().map(|id| ("authserv_id", id));
        let trusted = file.trusted_authserv_ids.iter().filter(|id| *id != NO_ID).map(|id| ("trusted_authserv_ids", id));
        if let Some((key, id)) = own.chain(trusted).find(|(_, id)| !is_host_name(id)) {
            return Err(ConfigError::AuthservId { key, text: id.clone() });
        }
        let maildir = path("watch.maildir", file.watch.maildir.clone())?;
        let inbox = path("deliver.maildir", file.deliver.maildir.clone())?;
        let store = file.store.settle(&mailboxes, &path)?;
        let boundary = file.boundary.map(|table| table.settle(&mailboxes)).transpose()?;
        let learns_sent = boundary.as_ref().is_some_and(|boundary| boundary.learns_sent);
        Ok(Self {
            correspondents_retention: file.sent.correspondents(learns_sent),
            boundary,
            store,
            mailboxes,
            price: file.price.0,
            local_case: case,
            allow,
            actions: file.actions,
            policy: stamps::policy(&file.stamps, &file.used_log, &file.peers),
            logs: file.logs.settle()?,
            peers: file.peers.settle(),
            defer_stale: file.stamps.defer_stale,
            used_log: file.used_log.enabled,
            wait: Duration::from_secs(file.used_log.wait.0.unsigned_abs()),
            largest: file.max_message_size.0,
            authserv_id: file.authserv_id,
            trusted_authserv_ids: file.trusted_authserv_ids,
            trusted_boundaries: boundaries.collect(),
            syslog: match file.syslog {
                Syslog::Switch(true) => Some(PathBuf::from(SYSLOG)),
                Syslog::Switch(false) => None,
                Syslog::Socket(text) if !text.starts_with('/') => {
                    return Err(ConfigError::Relative { key: "syslog", text });
                }
                Syslog::Socket(path) => Some(PathBuf::from(path)),
            },
            verdict_log: file.verdict_log,
            own_mailbox_only: file.own_mailbox_only,
            ground: file.state.as_deref().and_then(ground),
            state: path("state", file.state)?,
            vendors: path("vendors", file.vendors)?,
            rules: path("rules", file.rules)?,
            directories: path("directories", file.directories)?,
            watch: file.watch.settle(maildir)?,
            replies: file.replies.settle(&expand, &path)?,
            sent_retention: file.sent.retention.0,
            deliver: file.deliver.settle(inbox),
            held_keep: file.held.keep.0,
            sendmail: file.sendmail.settle(&pattern, &path)?,
            sender: file.sender.settle(case)?,
            serve: file.serve.settle()?,
            submission: file.submission.map(|table| table.settle(&path)).transpose()?,
            gateway: file.gateway.map(|table| table.settle(&path)).transpose()?,
        })
    }
}

/// Returns the parent of the first folder that may be created.
fn ground(state: &str) -> Option<PathBuf> {
    let fixed = state.split('%').next().unwrap_or_default();
    let fixed = if fixed.len() < state.len() { fixed } else { fixed.trim_end_matches('/') };
    fixed.rsplit_once('/').map(|(above, _)| Path::new("/").join(above))
}

fn is_host_name(text: &str) -> bool {
    let label = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    text.bytes().any(|b| b.is_ascii_alphanumeric()) && text.len() <= 253 && text.bytes().all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::address::Address;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, &User::default())
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let config = parse("").unwrap();
        assert_eq!(config.policy, Policy::default());
        assert!(config.mailboxes.is_empty() && config.used_log && config.verdict_log);
        assert_eq!(config.wait, Duration::from_secs(7));
        assert_eq!(config.syslog, Some(PathBuf::from("/dev/log")));
    }

    #[test]
    fn prices_go_with_addresses() {
        let text = r#"
            price = 2
            addresses = ["a@x.example", { address = "*@y.example", price = 5 }]
        "#;
        let config = parse(text).unwrap();
        let price = |address: &str| {
            let address = Address::parse(address).unwrap();
            config.mailboxes.iter().find(|m| m.pattern.matches(&address)).map(|m| m.price)
        };
        assert_eq!(price("a@x.example"), Some(2));
        assert_eq!(price("anyone@y.example"), Some(5));
        assert_eq!(price("b@x.example"), None);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = parse("price = 1\nprize = 2\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("prize"), "{error}");
        let error = parse("[stamps]\nskw = \"5m\"\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("skw"), "{error}");
    }

    #[test]
    fn every_error_has_its_place() {
        for (text, expected) in [
            (
                "price = 1\naddresses = [\"a@b.example\", \"/(/\"]",
                "line 2, column 29: addresses = \"/(/\": not a usable",
            ),
            ("addresses = [{ address = \"no\" }]", "line 1, column 26: addresses = \"no\": an address needs"),
            (
                "[trusted_boundaries]\n\"mx.example\" = \"k4.public.x\"\naddresses = [\"a@b.example\"]",
                "line 3, column 1: addresses follows [trusted_boundaries]: write it above all tables",
            ),
            ("[boundary]\nprice = 1", "line 2, column 1: price follows [boundary]: write it above all tables"),
            ("[boundary]\n", "addresses: empty, so [boundary] judges nothing"),
            ("state = \"relative\"", "line 1, column 9: state = \"relative\": write an absolute path"),
            ("[watch]\njunk = [\"../Junk\"]", "line 2, column 9: watch: \"../Junk\""),
            ("\ntrusted_authserv_ids = [\"a b\"]", "line 2, column 25: trusted_authserv_ids"),
            (
                "[sender]\nprefer = [{ recipients = [], value = 0 }]",
                "line 2, column 38: write a whole number from 1 to",
            ),
            ("addresses = [{ address = \"a@b.example\", price = -1 }]", "line 1, column 49: write a whole number"),
            ("[sendmail]\nat_once = 0", "line 2, column 11: write a whole number from 1 to 64; 0 is not"),
            ("[serve]\nmetrics = \"192.0.2.1:9\"", "line 2, column 11: serve.metrics"),
            ("[serve]\nmetrics = 9", "line 2, column 11: write an address with its port"),
            ("[sendmail]\nnext = 5", "line 2, column 8: write a program in quotes"),
            ("[actions]\nused = 1", "line 2, column 8: write a word in quotes"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_trusted_boundary_has_a_host_and_keys() {
        let key = |byte| crate::stamp::signing::SecretKey::from_random(&[byte; 32]).public();
        let text = format!(
            "trusted_boundaries = {{ \"MX.x.example\" = \"{}\", \"b.example\" = [\"{}\", \"{}\"] }}",
            key(1),
            key(2),
            key(3)
        );
        let trusted = parse(&text).unwrap().trusted_boundaries;
        assert_eq!(trusted["mx.x.example"], [key(1)]);
        assert_eq!(trusted["b.example"], [key(2), key(3)]);
        for (text, said) in [
            ("[trusted_boundaries]\n\"a b\" = []", "trusted_boundaries = \"a b\": write a host name"),
            ("[trusted_boundaries]\n\"a.example\" = \"k4.public.AAAA\"", "line 2, column 15: not a key of the form"),
            ("[trusted_boundaries]\n\"a.example\" = 5", "line 2, column 15: write a key in quotes"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for text in [
            "addresses = [\"no-address\"]",
            "allow = [\"/(/\"]",
            "state = \"relative\"",
            "authserv_id = \"a b\"",
            "authserv_id = \"-\"",
            "trusted_authserv_ids = [\"mx.x.example\", \"\"]",
            "trusted_authserv_ids = \"mx.x.example\"",
            "[used_log]\nwait = \"soon\"",
            "price = -1",
            "[watch]\nmaildir = \"Maildir\"",
            "[watch]\njunk = [\"../Junk\"]",
            "[watch]\ntrash = [\"\"]",
            "[used_log]\nmax_redeliveries = 300",
            "[replies]\nchalenge = true",
            "[replies]\nfrom = \"alice\"",
            "[replies]\nfrom = \"j\u{f6}rg@x.example\"",
            "[replies]\nsendmail = \"sendmail\"",
            "[replies]\nchallenge_template = \"words.txt\"",
            "[replies]\nper_day = -1",
            "[deliver]\nmaildir = \"Maildir\"",
            "[deliver.folders]\nused = \"../Junk\"",
            "[held]\nkeep = \"soon\"",
            "[sender]\nvalue = 0",
            "[[sender.prefer]]\nvendors = [\"v.example\"]",
            "[[sender.prefer]]\nrecipients = [\"/(/\"]",
            "[actions]\nfirst-class = \"discard\"",
            "[serve]\nmetrics = \"192.0.2.1:9465\"",
            "[serve]\npurge = \"now and then\"",
            "syslog = \"log\"",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_and_in_words_of_the_configuration() {
        for (text, said) in [
            ("price = 1\nprize = 2", "line 2, column 1: unknown key \"prize\"; did you mean \"price\"?"),
            ("price = 1\nprice = 2", "line 2, column 1: duplicate key"),
            (
                "addresses = [\n  \"a@x.example\",\n  { address = \"b@x.example\", prize = 5 },\n]",
                "line 3, column 30: unknown key \"prize\"; did you mean \"price\"?",
            ),
            ("addresses = [{ price = 5 }]", "line 1, column 14: the key \"address\" is missing"),
            ("addresses = [{ address = \"b@x.example\", owner = \" \" }]", "owner = \" \": write a name"),
            ("addresses = [5]", "line 1, column 14: write an address in quotes, or { address"),
            (
                "addresses = \"you@your.example\"",
                "line 1, column 13: write a list, in brackets: [\"...\"]; \"you@your.example\" is not",
            ),
            ("allow = \"*@y.example\"", "write a list, in brackets"),
            ("syslog = 5", "line 1, column 10: write true, false, or the path of a socket"),
            ("syslog = \"log\"", "syslog = \"log\": write an absolute path"),
            ("[used_log]\nwait = 7", "line 2, column 8: write a duration with its unit, as"),
            ("[used_log]\nwait = \"7\"", "line 2, column 8: not a duration"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(said) && error.lines().count() == 1, "{text}\n{error}");
        }
    }

    #[test]
    fn syslog_is_a_switch_or_a_socket() {
        assert_eq!(parse("syslog = false").unwrap().syslog, None);
        assert_eq!(parse("syslog = \"/run/log\"").unwrap().syslog, Some(PathBuf::from("/run/log")));
    }

    #[test]
    fn what_stands_before_a_sign_must_be_there() {
        for (state, above) in [
            ("/var/lib/mailstamp", "/var/lib"),
            ("/var/lib/mailstamp/", "/var/lib"),
            ("/mailstamp", "/"),
            ("/var/vmail/%d/%n/mailstamp", "/var/vmail"),
            ("/var/lib/mailstamp-%n", "/var/lib"),
            ("/%n", "/"),
        ] {
            assert_eq!(ground(state).as_deref(), Some(Path::new(above)), "{state}");
        }
    }

    #[test]
    fn a_virtual_user_fills_paths_and_addresses() {
        let user = User::named("alice@x.example").unwrap();
        let text = "addresses = [\"%u\"]\nstate = \"/var/lib/mailstamp/%d/%n\"";
        let config = Config::parse(text, &user).unwrap();
        assert_eq!(config.state, Some(PathBuf::from("/var/lib/mailstamp/x.example/alice")));
        assert!(config.mailboxes[0].pattern.matches(&Address::parse("alice@x.example").unwrap()));
        assert!(matches!(parse(text).unwrap_err().kind(), ConfigError::User { .. }));
    }

    #[test]
    fn the_case_of_a_virtual_user_is_that_of_addresses() {
        let user = User::named("Bob@x.example").unwrap();
        let state = |head: &str| Config::parse(&format!("{head}state = \"/s/%n\""), &user).unwrap().state.unwrap();
        assert_eq!(state(""), Path::new("/s/bob"));
        assert_eq!(state("case_sensitive = true\n"), Path::new("/s/Bob"));
    }
}
