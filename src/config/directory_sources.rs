//! The file `sources.toml` beside the documents of the vendors: the only sources from which `mailstamp directory
//! refresh` fetches their directories. The mail path does not read it.

use super::file::{self, FileError};
use super::ranges::{HOUR, Seconds};
use super::syntax::SyntaxError;
use crate::stamp::token::Issuer;
use serde::Deserialize;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// The file's name in the folder of the vendors.
pub const NAME: &str = "sources.toml";

/// Sources, and how to fetch from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The resolver; the system's, if `None`.
    pub resolver: Option<SocketAddr>,
    /// The file of the DNSSEC trust anchors (DNSKEY records); those of the root, if `None`.
    pub trust_anchor: Option<PathBuf>,
    /// The timeout of one source.
    pub timeout: Duration,
    /// The sources, in the order of the file.
    pub list: Vec<Source>,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The publisher of the directory: a vendor that the user trusts.
    pub publisher: String,
    /// Where it is.
    pub origin: SourceKind,
    /// What new keys need to be accepted.
    pub new_keys: KeyIntroduction,
    /// Whether new keys are accepted even if the source cannot be authenticated.
    pub accept_weak: bool,
    /// How many seconds the last answer counts when the source stops answering.
    pub longest_silence: Option<i64>,
}

/// Location of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// At this address, over HTTPS.
    Https(String),
    /// In TXT records below the publisher's name.
    Dns,
    File(PathBuf),
}

/// What a directory needs so that its new keys are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyIntroduction {
    /// The signature of a known key.
    #[default]
    Signed,
    /// A signature of a known key, or an authenticated source: HTTPS with the system's certificates, or DNSSEC.
    Channel,
}

/// Error in the file.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// It cannot be read, or is not safe to read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not TOML, an unknown key, or a wrong value.
    #[error("{}: {source}", path.display())]
    Syntax { path: PathBuf, source: SyntaxError },
    #[error("{0:?}: write an address https://…, dns, or the absolute path of a file")]
    SourceKind(String),
    #[error("{0:?} is not the name of a vendor: write a domain in lower case")]
    Publisher(String),
    #[error("resolver = {0:?}: write an IP address, with a port if it is not 53")]
    Resolver(String),
    /// A path that does not begin at the root.
    #[error("trust_anchor = {0:?}: write an absolute path")]
    Relative(PathBuf),
    #[error("{0} is listed twice for {1}")]
    Twice(SourceKind, String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SourcesFile {
    resolver: Option<String>,
    trust_anchor: Option<PathBuf>,
    timeout: Seconds<1, HOUR>,
    source: Vec<SourceTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceTable {
    publisher: String,
    from: String,
    #[serde(default)]
    new_keys: KeyIntroduction,
    #[serde(default)]
    accept_weak: bool,
    #[serde(default)]
    max_age: Option<MaxAge>,
}

/// How long the last answer counts.
type MaxAge = Seconds<HOUR>;

impl Default for SourcesFile {
    fn default() -> Self {
        Self { resolver: None, trust_anchor: None, timeout: Seconds(20), source: Vec::new() }
    }
}

/// Reads the file in the folder of the vendors. A missing file lists no source.
pub fn read(vendors: &Path) -> Result<Sources, SourcesError> {
    let path = vendors.join(NAME);
    match file::read(&path) {
        Err(error) if error.is_absent() => parse("", &path),
        Err(error) => Err(error.into()),
        Ok(text) => parse(&text, &path),
    }
}

/// Parses the text of a file.
pub fn parse(text: &str, path: &Path) -> Result<Sources, SourcesError> {
    let syntax = |error| SourcesError::Syntax { path: path.to_owned(), source: SyntaxError::new(text, &error) };
    let file: SourcesFile = toml::from_str(text).map_err(syntax)?;
    let mut list: Vec<Source> = Vec::with_capacity(file.source.len());
    for table in file.source {
        // The name becomes a part of a path and of names in DNS.
        Issuer::new(&table.publisher, "any").map_err(|_| SourcesError::Publisher(table.publisher.clone()))?;
        let origin: SourceKind = table.from.parse()?;
        if list.iter().any(|source| source.origin == origin && source.publisher == table.publisher) {
            return Err(SourcesError::Twice(origin, table.publisher));
        }
        list.push(Source {
            publisher: table.publisher,
            origin,
            new_keys: table.new_keys,
            accept_weak: table.accept_weak,
            longest_silence: table.max_age.map(|seconds| seconds.0),
        });
    }
    if let Some(path) = file.trust_anchor.as_ref().filter(|path| !path.is_absolute()) {
        return Err(SourcesError::Relative(path.clone()));
    }
    Ok(Sources {
        resolver: file.resolver.as_deref().map(resolver).transpose()?,
        trust_anchor: file.trust_anchor,
        timeout: Duration::from_secs(file.timeout.0.unsigned_abs()),
        list,
    })
}

fn resolver(text: &str) -> Result<SocketAddr, SourcesError> {
    let with_port = text.parse().ok();
    let plain = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
    with_port.or_else(plain).ok_or_else(|| SourcesError::Resolver(text.to_owned()))
}

impl FromStr for SourceKind {
    type Err = SourcesError;

    fn from_str(text: &str) -> Result<Self, SourcesError> {
        let wrong = || SourcesError::SourceKind(text.chars().take(200).collect());
        if text == "dns" {
            return Ok(Self::Dns);
        }
        if text.starts_with('/') && !text.contains(char::is_control) {
            return Ok(Self::File(text.into()));
        }
        let host = text.strip_prefix("https://").map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'@' | b'#' | b'\\' | b'"'));
        match host {
            Some(host) if !host.is_empty() && plain => Ok(Self::Https(text.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https(address) => f.write_str(address),
            Self::Dns => f.write_str("dns"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Checks a `max_age`, as the file has it: `30d`. The error says what to write.
pub fn check_max_age(text: &str) -> Result<(), String> {
    MaxAge::parse(text).map(drop)
}

/// Formats a source as a table of the file.
#[must_use]
pub fn table(
    publisher: &str,
    from: &str,
    new_keys: KeyIntroduction,
    accept_weak: bool,
    max_age: Option<&str>,
) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut table = format!("[[source]]\npublisher = {}\nfrom = {}\n", quoted(publisher), quoted(from));
    if new_keys == KeyIntroduction::Channel {
        table.push_str("new_keys = \"channel\"\n");
    }
    if accept_weak {
        table.push_str("accept_weak = true\n");
    }
    if let Some(max_age) = max_age {
        table.push_str(&format!("max_age = {}\n", quoted(max_age)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Sources, SourcesError> {
        parse(text, Path::new("/x/sources.toml"))
    }

    #[test]
    fn a_source_comes_back_as_it_is_written() {
        for origin in ["https://v.example:8443/.well-known/digital-stamp", "dns", "/srv/a \"b\""] {
            let source = Source {
                publisher: "v.example".into(),
                origin: origin.parse().unwrap(),
                new_keys: KeyIntroduction::Channel,
                accept_weak: true,
                longest_silence: Some(86_400),
            };
            let table = table("v.example", origin, KeyIntroduction::Channel, true, Some("1d"));
            assert_eq!(parsed(&table).unwrap().list, [source]);
        }
    }

    #[test]
    fn nothing_is_fetched_unless_listed_and_defaults_are_strict() {
        let none = parsed("").unwrap();
        assert!(none.list.is_empty() && none.timeout == Duration::from_secs(20) && none.resolver.is_none());
        let one = parsed("resolver = \"127.0.0.1\"\n[[source]]\npublisher = \"v.example\"\nfrom = \"dns\"").unwrap();
        assert_eq!(one.resolver.unwrap().to_string(), "127.0.0.1:53");
        assert_eq!((one.list[0].new_keys, one.list[0].accept_weak), (KeyIntroduction::Signed, false));
    }

    #[test]
    fn wrong_files_are_refused() {
        let source = |rest: &str| format!("[[source]]\npublisher = \"v.example\"\n{rest}");
        for text in [
            "resolver = \"dns.example\"".to_owned(),
            "later = 1".to_owned(),
            "trust_anchor = \"root.key\"".to_owned(),
            source(""),
            source("from = \"http://v.example/\""),
            source("from = \"https://\""),
            source("from = \"https://u@v.example/\""),
            source("from = \"https://v.example/ x\""),
            source("from = \"relative\""),
            source("from = \"dns\"\nnew_keys = \"all\""),
            source("from = \"dns\"\n") + &source("from = \"dns\"\n"),
            "[[source]]\npublisher = \"../x\"\nfrom = \"dns\"".to_owned(),
        ] {
            assert!(parsed(&text).is_err(), "{text}");
        }
        for (text, said) in [
            ("timeout = \"0s\"".to_owned(), "line 1, column 11: write a duration from \"1s\" to \"1h\"; \"0s\" is not"),
            (
                source("from = \"dns\"\nmax_age = \"0d\""),
                "line 4, column 11: write a duration from \"1h\" to \"36600d\"; \"0d\" is not",
            ),
        ] {
            assert_eq!(parsed(&text).unwrap_err().to_string(), format!("/x/sources.toml: {said}"));
        }
    }
}
