//! The exchange with correspondents: the user's keys, and what it needs of the mail system.

use super::{Finding, dkim};
use crate::config::Config;
use crate::config::paths::Paths;
use crate::directory::own_keys::OwnKeys;
use crate::directory::pinned_lists::PinnedLists;
use crate::peer::issuer;
use crate::sender::peer_keys::{Identity, PeerKeyError, PeerKeys};
use crate::verdict::facts::{KeyFact, only_owner};
use std::path::Path;

/// Checks the exchange, if it is switched on or there are keys, and the mailing lists.
pub(super) fn peers(config: &Config, places: &Paths) -> Vec<Finding> {
    let Ok(state) = places.state() else { return Vec::new() };
    let all = PeerKeys::new(state, config.wait).list();
    let (lists, personal) = match all {
        Ok(keys) => {
            let (lists, personal) = keys.into_iter().partition(|own| own.is_list);
            (lists, Ok(personal))
        }
        Err(error) => (Vec::new(), Err(error)),
    };
    let has_own = personal.as_ref().is_ok_and(|keys| !keys.is_empty());
    let mut findings = exchange(config, state, personal);
    findings.extend(mailing_lists(config, state, &lists, has_own));
    findings
}

/// Checks the lists that the user runs or pinned. `has_key` says whether an address of the user's has a key.
fn mailing_lists(config: &Config, state: &Path, own: &[Identity], has_key: bool) -> Vec<Finding> {
    let what = "lists";
    let pinned = match PinnedLists::read(state) {
        Ok(pinned) => pinned,
        Err(error) => return vec![Finding::error(what, format!("{error}; mail with an address's stamp is deferred"))],
    };
    let mut findings = Vec::new();
    if !own.is_empty() && !are_published(own, state) {
        findings.push(Finding::error(
            what,
            "peer/own.json lacks the key of a list that you run, so its stamps are not known; write it anew: mailstamp \
             peer export FILE, then mailstamp peer import FILE",
        ));
    }
    let personal = OwnKeys::read(state).unwrap_or_default();
    for (list, _) in pinned.lists().filter(|(list, _)| personal.is_personal(list)) {
        let text = format!("{list} is pinned and has a key of yours, so it is no list; mailstamp peer unpin {list}");
        findings.push(Finding::warning(what, text));
    }
    let count = pinned.lists().count();
    if count + own.len() == 0 {
        return findings;
    }
    if count > 0 && !(config.peers.enabled && has_key) {
        findings.push(Finding::ok(
            what,
            format!(
                "posts with a list's stamp are accepted, pinned: {count}; you get none for yours, which needs peers.enabled \
                 and a key (mailstamp peer key new)"
            ),
        ));
    }
    if only_owner(&config.mailboxes).is_none() && !config.mailboxes.is_empty() {
        findings.push(Finding::warning(
            what,
            "your addresses have several owners, and a list's stamp names none of them: deliver with --recipient",
        ));
    }
    if findings.is_empty() {
        let text = format!("stamps of lists are accepted, pinned: {count}, run by you: {}", own.len());
        findings.push(Finding::ok(what, text));
    }
    findings
}

fn exchange(config: &Config, state: &Path, keys: Result<Vec<Identity>, PeerKeyError>) -> Vec<Finding> {
    let what = "peers";
    let enabled = config.peers.enabled;
    let mut findings = vec![match keys {
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
