//! Texts from DNS, validated here: an answer is authentic only under a chain of signatures from the trust anchor (RFC 4035).
//! What the resolver says about its own validation counts for nothing, since anybody on the way could say it. One thread,
//! which waits.

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

/// More texts at one name, or longer ones, are not looked at.
const MOST: usize = 64;
const LONGEST: usize = 16 * 1024;

/// A resolver for a few questions.
pub struct Dns {
    runtime: tokio::runtime::Runtime,
    resolver: TokioResolver,
    /// When patience ends, for all questions together.
    deadline: Instant,
}

/// The texts at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// Each with its character-strings put together.
    pub texts: Vec<String>,
    /// Whether DNSSEC proves that they are what the owner of the name published.
    pub authentic: bool,
}

/// The texts were not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// There are none.
    #[error("there is no text at {0}")]
    None(String),
    /// They are signed, and the signature does not hold, has ended, or is missing where it must be.
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
    /// Whether somebody may be up to something, and not just away.
    #[must_use]
    pub fn alarms(&self) -> bool {
        matches!(self, Self::Bogus(_))
    }
}

impl Dns {
    /// A resolver at this address, or the system's, that trusts the anchors in this file, or those of the root. `patience`
    /// is for all questions together.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn new(server: Option<SocketAddr>, anchor: Option<&Path>, patience: Duration) -> Result<Self, LookupError> {
        let failed = |error: &dyn std::fmt::Display| LookupError::Resolver(error.to_string());
        let deadline = Instant::now() + patience;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
        let config = match server {
            Some(server) => ResolverConfig::from_name_servers(vec![name_server(server)]),
            None => {
                let (system, _) = hickory_resolver::system_conf::read_system_conf().map_err(|error| failed(&error))?;
                // Its search list would turn our names into others.
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
        // Twice tried, and a chain of signatures to follow.
        options.timeout = (patience / 4).max(Duration::from_millis(500));
        options.attempts = 1;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let builder = builder.with_options(options).with_trust_anchor(Arc::new(anchors));
        let resolver = builder.build().map_err(|error| failed(&error))?;
        Ok(Self { runtime, resolver, deadline })
    }

    /// The texts at `name`, which ends in a dot.
    ///
    /// # Errors
    /// [`LookupError`].
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
        // Whatever led to the texts must be as authentic as they are.
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
