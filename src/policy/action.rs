//! Actions: their words, their exit statuses, and the default action of each class.

use crate::verdict::class::Class;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Action for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Put it into the mailbox.
    Deliver,
    /// Put it into the mailbox, marked (the boundary's word for mail that the host behind it is to sort).
    Tag,
    /// Hold it, and tell the sender how to get a stamp, if automatic replies are switched on.
    Challenge,
    /// Hold it until the user looks.
    Hold,
    /// Drop it, with a line in the verdict log.
    Discard,
    /// Refuse it while the sending host still waits (at the boundary; elsewhere it is held).
    Reject,
}

impl Action {
    /// Every action, in the order of the manual.
    pub const ALL: [Self; 6] = [Self::Deliver, Self::Tag, Self::Challenge, Self::Hold, Self::Discard, Self::Reject];

    /// Returns the stable word for the action.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Tag => "tag",
            Self::Challenge => "challenge",
            Self::Hold => "hold",
            Self::Discard => "discard",
            Self::Reject => "reject",
        }
    }

    /// Returns the exit status of `classify --action`. As with the classes, it has no other meaning to a mail system.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Deliver => 0,
            Self::Tag => 30,
            Self::Challenge => 31,
            Self::Hold => 32,
            Self::Discard => 33,
            Self::Reject => 34,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Action of each class. The default for every class is to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Actions {
    #[serde(deserialize_with = "kept")]
    first_class: Action,
    #[serde(deserialize_with = "kept")]
    allowed: Action,
    unstamped: Action,
    underpaid: Action,
    unverified: Action,
    invalid: Action,
    used: Action,
    revoked: Action,
}

impl Actions {
    /// Returns the action for a class.
    #[must_use]
    pub fn of(&self, class: Class) -> Action {
        match class {
            Class::FirstClass => self.first_class,
            Class::Allowed => self.allowed,
            Class::Unstamped => self.unstamped,
            Class::Underpaid => self.underpaid,
            Class::Unverified => self.unverified,
            Class::Invalid => self.invalid,
            Class::Used => self.used,
            Class::Revoked => self.revoked,
        }
    }
}

impl Default for Actions {
    fn default() -> Self {
        let deliver = Action::Deliver;
        Self {
            first_class: deliver,
            allowed: deliver,
            unstamped: deliver,
            underpaid: deliver,
            unverified: deliver,
            invalid: deliver,
            used: deliver,
            revoked: deliver,
        }
    }
}

/// Refuses `discard` and `reject` for a whole class of mail that a good stamp or a rule lets through. Such a setting
/// could only be a mistake: the stamp is spent, and its message does not arrive.
fn kept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Action, D::Error> {
    match Action::deserialize(deserializer)? {
        action @ (Action::Discard | Action::Reject) => {
            let text = format!("mail that was let through gets no \"{action}\" (\"hold\" keeps it aside)");
            Err(D::Error::custom(text))
        }
        action => Ok(action),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_statuses_are_alike_and_none_is_taken() {
        let mut statuses: BTreeSet<u8> = Action::ALL.iter().map(|action| action.exit_code()).collect();
        assert_eq!(statuses.len(), Action::ALL.len());
        // Only the best class shares its status, that of success.
        statuses.extend(Class::ALL.iter().map(|class| class.exit_code()).filter(|code| *code != 0));
        assert_eq!(statuses.len(), Action::ALL.len() + Class::ALL.len() - 1);
        assert!(statuses.iter().all(|code| !matches!(code, 1 | 2 | 64..=78 | 99..)));
    }

    #[test]
    fn everything_is_delivered_unless_the_user_says_otherwise() {
        for class in Class::ALL {
            assert_eq!(Actions::default().of(class), Action::Deliver, "{class}");
        }
        let chosen: Actions = toml::from_str("unstamped = \"hold\"\nfirst-class = \"tag\"").unwrap();
        assert_eq!(chosen.of(Class::Unstamped), Action::Hold);
        assert_eq!(chosen.of(Class::FirstClass), Action::Tag);
        assert_eq!(chosen.of(Class::Revoked), Action::Deliver);
    }

    #[test]
    fn words_in_the_configuration_are_the_words_that_are_shown() {
        for (class, action) in Class::ALL.iter().flat_map(|class| Action::ALL.map(|action| (*class, action))) {
            let chosen = toml::from_str::<Actions>(&format!("{class} = \"{action}\""));
            let is_lost = matches!(action, Action::Discard | Action::Reject);
            if is_lost && matches!(class, Class::FirstClass | Class::Allowed) {
                let refused = chosen.unwrap_err().to_string();
                assert!(refused.contains("line 1, column") && refused.contains("that was let through"), "{refused}");
            } else {
                assert_eq!(chosen.unwrap().of(class), action);
            }
        }
    }
}
