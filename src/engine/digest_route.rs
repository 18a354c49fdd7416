//! Whether a digest of held mail arrives, or is held itself.

use super::rule_eval::HELD_ALLOW_NAME;
use crate::autoreply::digest::{DigestSettings, compose};
use crate::config::Config;
use crate::config::address_list::{self, HELD_ALLOW};
use crate::config::file::FileError;
use crate::message::address::{Address, LocalCase};
use crate::message::parse::Message;
use crate::policy::action::{Action, Actions};
use crate::policy::condition::Environment;
use crate::policy::context::{Extent, MessageContext};
use crate::policy::decision::{Decision, Effect, Ruling};
use crate::policy::rule_set::Rules;
use crate::time::UnixTime;
use crate::verdict::facts::Envelope;
use crate::verdict::finding::Verdict;
use std::convert::Infallible;
use std::path::Path;

/// Returns the address to which a digest goes: `replies.from`, or the first one of the configuration that is no pattern.
#[must_use]
pub fn digest_address(config: &Config) -> Option<Address> {
    let is_mine = |address: &&Address| config.mailboxes.iter().any(|mailbox| mailbox.pattern.matches(address));
    let first = || config.mailboxes.iter().find_map(|mailbox| mailbox.pattern.exact().cloned());
    config.replies.from.as_ref().filter(is_mine).cloned().or_else(first)
}

/// Returns whether a digest to this address would arrive, and not be held itself: a rule or `allow` lets it through, or
/// the action of its class does. `state` has the senders that were allowed from held mail. Rules that ask for
/// authentication count as not matching, because a message of the own host has none everywhere.
#[must_use]
pub fn digest_arrives(to: &Address, config: &Config, actions: &Actions, rules: &Rules, state: &Path) -> bool {
    let case = config.local_case;
    let reference = format!("<{SAMPLE}>");
    let with = DigestSettings { to, now: UnixTime(0), nonce: [0; 16], reference: &reference, more: 1, refused: 0 };
    let text = compose(&[], &with);
    let message = Message::parse(text.as_bytes());
    let envelope = Envelope { sender: Some(to.to_string()), recipient: Some(to.clone()) };
    let verdict = Verdict::unstamped();
    let letter = MessageContext::new(&message, &envelope, &verdict, &[], Extent::Whole);
    let is_allowed = config.allow.iter().any(|allowed| allowed.pattern.matches(to))
        || address_list::covers(&state.join(HELD_ALLOW), to, case).is_ok_and(|covers| covers);
    let ruling = if is_allowed {
        Some(Ruling { name: HELD_ALLOW_NAME.to_owned(), effect: Effect::Allow })
    } else {
        // Rules that cannot be evaluated defer all mail.
        match rules.ruling(&letter, &SampleEnvironment(case)) {
            Ok(ruling) => ruling,
            Err(_) => return false,
        }
    };
    let decision = Decision::of(verdict.clone(), actions, |_| Ok::<_, Infallible>(ruling));
    decision.is_ok_and(|decision| matches!(decision.action, Action::Deliver | Action::Tag))
}

/// The Message-ID to which a sample digest refers.
const SAMPLE: &str = "digest@localhost";

/// What rules ask about a sample digest: it refers to a message of the user, and its author is the user.
struct SampleEnvironment(LocalCase);

impl Environment for SampleEnvironment {
    type Trouble = FileError;

    fn wrote_to(&self, _: &Address) -> Result<bool, FileError> {
        Ok(false)
    }

    fn sent(&self, message_id: &str) -> Result<bool, FileError> {
        Ok(message_id == SAMPLE)
    }

    fn listed(&self, file: &Path, address: &Address) -> Result<bool, FileError> {
        address_list::covers(file, address, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rules;
    use crate::config::user::User;

    #[test]
    fn a_digest_arrives_by_the_first_rule_that_matches_it() {
        let config =
            |more: &str| Config::parse(&format!("addresses = [\"joe@x.example\"]\n{more}"), &User::default()).unwrap();
        let held = "[actions]\nunstamped = \"hold\"\n";
        let state = tempfile::tempdir().unwrap();
        let arrives = |more: &str, rules: &str| {
            let config = config(more);
            let rules = rules::parse(rules, Path::new("rules.toml"), config.local_case).unwrap();
            let to = digest_address(&config).unwrap();
            digest_arrives(&to, &config, &config.actions, &rules, state.path())
        };
        let rule = |text: &str| format!("[[rule]]\nname = \"{}\"\n{text}\n", text.len());
        let (reply, hold) = ("action = \"allow\"\nreply_to_mine = true", "action = \"hold\"\nalways = true");
        for (rules, result) in [
            (String::new(), false),
            (rule(reply), true),
            // Neither of these says that the user wrote to the user.
            (rule("action = \"allow\"\ncorrespondent = true"), false),
            (rule("action = \"nothing\"\nreply_to_mine = true"), false),
            (rule("action = \"tag\"\nfrom = \"joe@x.example\""), true),
            (rule("action = \"allow\"\nreply_to_mine = true\nfrom = \"bob@x.example\""), false),
            (rule(hold) + &rule(reply), false),
            (rule(reply) + &rule(hold), true),
            (rule("action = \"allow\"\nreply_to_mine = true\nauthenticated = true"), false),
        ] {
            assert_eq!(arrives(held, &rules), result, "{rules}");
        }
        assert!(arrives("", "") && arrives(&format!("allow = [\"*@x.example\"]\n{held}"), ""));
        std::fs::write(state.path().join(HELD_ALLOW), "joe@x.example\n").unwrap();
        assert!(arrives(held, ""));
    }
}
