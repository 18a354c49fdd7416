//! DNS client for TXT records, with its own validation: an answer is authentic only under a chain of signatures from
//! the trust anchor (RFC 4035). The resolver's own statement about validation is ignored, since any host on the way
//! could have made it. Single-threaded and blocking.

use super::failure;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::rr::{RData, RecordType};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Limit on the texts at one name, and on their length; others are ignored.
const MOST: usize = 64;
const LONGEST: usize = 16 * 1024;
/// Port of DNS (RFC 1035 section 4.2).
const PORT: u16 = 53;

/// Resolver for a few queries.
pub struct Dns {
    runtime: tokio::runtime::Runtime,
    resolver: TokioResolver,
    /// The name servers, for messages.
    servers: String,
    /// The deadline of all queries together.
    deadline: Instant,
}

/// Texts at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// Each text with its character-strings joined.
    pub texts: Vec<String>,
    /// Whether DNSSEC proves that the owner of the name published them.
    pub authentic: bool,
}

/// Failure to look up texts.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("there is no text at {0}")]
    None(String),
    /// The signatures are invalid, expired, or missing where they must be.
    #[error("the signatures of DNSSEC at {0} do not hold")]
    Bogus(String),
    #[error("{}: not a file of trust anchors: {what}", path.display())]
    Anchor { path: PathBuf, what: String },
    /// The resolver cannot be set up, or does not answer.
    #[error("{0}")]
    Resolver(String),
}

impl LookupError {
    /// Returns whether the error may be an attack, and not just an outage.
    #[must_use]
    pub fn alarms(&self) -> bool {
        matches!(self, Self::Bogus(_))
    }
}

impl Dns {
    /// Returns a resolver at this address, or the system's, that trusts the anchors in this file, or those of the root.
    /// `patience` is the timeout of all queries together.
    pub fn new(server: Option<SocketAddr>, anchor: Option<&Path>, patience: Duration) -> Result<Self, LookupError> {
        let failed = |error: &dyn std::fmt::Display| LookupError::Resolver(error.to_string());
        let deadline = Instant::now() + patience;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
        let servers = match server {
            Some(server) => vec![server],
            None => {
                let system = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
                name_servers(&system).into_iter().map(|address| SocketAddr::new(address, PORT)).collect()
            }
        };
        let config = ResolverConfig::from_name_servers(servers.iter().copied().map(name_server).collect());
        let servers: Vec<String> = servers.iter().map(SocketAddr::to_string).collect();
        let servers = format!("the name server {}", servers.join(" or "));
        let anchors = match anchor {
            None => TrustAnchors::default(),
            Some(path) => TrustAnchors::from_file(path)
                .map_err(|error| LookupError::Anchor { path: path.to_owned(), what: error.to_string() })?,
        };
        let mut options = ResolverOpts::default();
        options.validate = true;
        options.use_hosts_file = ResolveHosts::Never;
        options.try_tcp_on_error = true;
        // Leaves time for a retry and for a chain of signatures.
        options.timeout = (patience / 4).max(Duration::from_millis(500));
        options.attempts = 1;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let builder = builder.with_options(options).with_trust_anchor(Arc::new(anchors));
        let resolver = builder.build().map_err(|error| failed(&error))?;
        Ok(Self { runtime, resolver, servers, deadline })
    }

    /// Returns the texts at `name`, which ends in a dot.
    pub fn texts(&self, name: &str) -> Result<Texts, LookupError> {
        let patience = self.deadline.saturating_duration_since(Instant::now());
        let question = async { tokio::time::timeout(patience, self.resolver.lookup(name, RecordType::TXT)).await };
        let answer = self.runtime.block_on(question);
        let lookup = match answer.map_err(|_| LookupError::Resolver(failure::too_slow(&self.servers)))? {
            Ok(lookup) => lookup,
            Err(NetError::Dns(DnsError::Nsec { proof, .. })) if !proof.is_bogus() => {
                return Err(LookupError::None(name.to_owned()));
            }
            Err(NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus)) => {
                return Err(LookupError::Bogus(name.to_owned()));
            }
            Err(error) if error.is_no_records_found() => return Err(LookupError::None(name.to_owned())),
            Err(error) => return Err(LookupError::Resolver(self.told(&error))),
        };
        let mut texts = Vec::new();
        let mut authentic = true;
        // All records that led to the texts must be as authentic as the texts.
        for record in lookup.answers().iter().filter(|record| record.record_type() != RecordType::RRSIG) {
            match record.proof {
                Proof::Secure => {}
                Proof::Bogus => return Err(LookupError::Bogus(name.to_owned())),
                Proof::Insecure | Proof::Indeterminate => authentic = false,
            }
            if let RData::TXT(text) = &record.data
                && texts.len() < MOST
            {
                let bytes = text.txt_data.concat();
                texts.extend(String::from_utf8(bytes).ok().filter(|text| text.len() <= LONGEST));
            }
        }
        if texts.is_empty() { Err(LookupError::None(name.to_owned())) } else { Ok(Texts { texts, authentic }) }
    }
}

impl Dns {
    fn told(&self, error: &NetError) -> String {
        let servers = &self.servers;
        match error {
            NetError::Timeout | NetError::NoConnections => failure::too_slow(servers),
            NetError::Dns(DnsError::ResponseCode(code)) => format!("{servers} answers: {code}"),
            NetError::Io(error) => failure::describe(&**error, servers).unwrap_or_default(),
            error => format!("no answer of {servers}: {error}"),
        }
    }
}

/// Returns the name servers of a resolv.conf(5); this host, if it names none.
///
/// Other lines are not read: the names asked are complete, so that the search list would turn them into others, and a
/// list that hickory-resolver cannot parse (`search -`) must not switch DNS off.
fn name_servers(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next()?;
        // hickory-resolver has no place for a zone (RFC 4007 section 11).
        let address = words.next()?.split('%').next()?;
        (keyword == "nameserver").then(|| address.parse().ok())?
    };
    let servers: Vec<IpAddr> = text.lines().filter_map(address).collect();
    if servers.is_empty() { vec![IpAddr::V4(Ipv4Addr::LOCALHOST)] } else { servers }
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_servers_are_read_of_resolv_conf() {
        let servers = |text: &str| name_servers(text).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        for (text, expected) in [
            ("", "127.0.0.1"),
            ("search example\n", "127.0.0.1"),
            ("nameserver 192.0.2.1\nsearch -\n", "192.0.2.1"),
            ("search . a_b b\u{fc}ro\nnameserver\t2001:db8::1\n", "2001:db8::1"),
            ("# nameserver 192.0.2.9\nnameserver 192.0.2.1 # ours\r\nnameserver fe80::1%eth0\n", "192.0.2.1 fe80::1"),
            ("nameserver x\nnameserver 192.0.2.2\noptions bogus:-1\n", "192.0.2.2"),
        ] {
            assert_eq!(servers(text), expected, "{text:?}");
        }
    }
}
