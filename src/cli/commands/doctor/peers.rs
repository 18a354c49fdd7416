//! The exchange with correspondents: the user's keys, and what it needs of the mail system.

use super::{Finding, dkim};
use crate::config::Config;
use crate::config::paths::Paths;
use crate::directory::own_keys::OwnKeys;
use crate::peer::issuer;
use crate::sender::peer_keys::{Identity, PeerKeys};
use crate::verdict::facts::KeyFact;
use std::path::Path;

/// Checks the exchange, if it is switched on or there are keys.
pub(super) fn peers(config: &Config, places: &Paths) -> Vec<Finding> {
    let what = "peers";
    let Ok(state) = places.state() else { return Vec::new() };
    let keys = PeerKeys::new(state, config.wait);
    let enabled = config.peers.enabled;
    let mut findings = vec![match keys.list() {
        Err(error) => Finding::error(what, format!("{error}; neither keys nor stamps are exchanged")),
        Ok(keys) if keys.is_empty() && enabled => {
            Finding::warning(what, "no address of yours has a key, so none is announced; mailstamp peer key new")
        }
        Ok(keys) if keys.is_empty() => return Vec::new(),
        Ok(keys) if !enabled => {
            Finding::warning(what, format!("keys: {}, which are not used: peers.enabled is false", keys.len()))
        }
        Ok(keys) => {
            let foreign = keys.iter().find(|own| !config.mailboxes.iter().any(|it| it.pattern.matches(&own.address)));
            match foreign {
                Some(own) => Finding::warning(
                    what,
                    format!("{} has a key, and is none of your addresses, so it is not used", own.address),
                ),
                None if !are_published(&keys, state) => Finding::error(
                    what,
                    "peer/own.json lacks a key of yours, so stamps that it signed are not known; write it anew: \
                     mailstamp peer export FILE, then mailstamp peer import FILE",
                ),
                None => Finding::ok(what, format!("keys are exchanged, for addresses: {}", keys.len())),
            }
        }
    }];
    if enabled && config.trusted_authserv_ids.is_empty() {
        findings.push(Finding::warning(
            what,
            "no key of a correspondent is learned: trusted_authserv_ids names no host that verifies DKIM signatures",
        ));
    }
    if enabled {
        findings.extend(dkim::uncovered(Path::new("/")).into_iter().map(|text| Finding::warning(what, text)));
    }
    findings
}

/// Whether judging knows each key.
fn are_published(keys: &[Identity], state: &Path) -> bool {
    let public = OwnKeys::read(state).unwrap_or_default();
    let mut issuers = keys.iter().flat_map(|own| own.holders().into_iter().map(|key| issuer(&own.address, &key)));
    issuers.all(|issuer| issuer.is_some_and(|issuer| matches!(public.key(&issuer), KeyFact::Known(_))))
}
