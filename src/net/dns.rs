//! DNS client for TXT records, with its own validation: an answer is authentic only under a chain of signatures from
//! the trust anchor (RFC 4035). The resolver's own statement about validation is ignored, since any host on the way
//! could have made it. Single-threaded and blocking.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::rr::{RData, RecordType};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Limit on the texts at one name, and on their length; others are ignored.
const MOST: usize = 64;
const LONGEST: usize = 16 * 1024;

/// Resolver for a few queries.
pub struct Dns {
    runtime: tokio::runtime::Runtime,
    resolver: TokioResolver,
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
    /// There are none.
    #[error("there is no text at {0}")]
    None(String),
    /// The signatures are invalid, expired, or missing where they must be.
    #[error("the signatures of DNSSEC at {0} do not hold")]
    Bogus(String),
    /// The trust anchors cannot be read.
    #[error("{}: not a file of trust anchors: {what}", path.display())]
    Anchor {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
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
        let config = match server {
            Some(server) => ResolverConfig::from_name_servers(vec![name_server(server)]),
            None => {
                let (system, _) = hickory_resolver::system_conf::read_system_conf().map_err(|error| failed(&error))?;
                // The search list of the system would turn the names into others.
                ResolverConfig::from_name_servers(system.name_servers().to_vec())
            }
        };
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
        Ok(Self { runtime, resolver, deadline })
    }

    /// Returns the texts at `name`, which ends in a dot.
    pub fn texts(&self, name: &str) -> Result<Texts, LookupError> {
        let patience = self.deadline.saturating_duration_since(Instant::now());
        let question = async { tokio::time::timeout(patience, self.resolver.lookup(name, RecordType::TXT)).await };
        let answer = self.runtime.block_on(question);
        let lookup = match answer.map_err(|_| LookupError::Resolver("no answer in time".to_owned()))? {
            Ok(lookup) => lookup,
            Err(NetError::Dns(DnsError::Nsec { proof, .. })) if !proof.is_bogus() => {
                return Err(LookupError::None(name.to_owned()));
            }
            Err(NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus)) => {
                return Err(LookupError::Bogus(name.to_owned()));
            }
            Err(error) if error.is_no_records_found() => return Err(LookupError::None(name.to_owned())),
            Err(error) => return Err(LookupError::Resolver(error.to_string())),
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

fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    config
}
