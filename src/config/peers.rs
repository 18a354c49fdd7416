//! The table `[peers]`: correspondents' own keys. Off unless the user switches it on.

use super::ranges::{DAY, Number, Seconds};
use crate::peer::outgoing::GiveMode;
use crate::verdict::facts::Policy;
use serde::Deserialize;

/// Settings of the exchange of keys and stamps with correspondents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peers {
    /// Whether keys are announced and learned, and stamps given and used.
    pub enabled: bool,
    pub give: GiveMode,
    /// Lifetime of a stamp that the user gives, in days.
    pub days: u32,
    /// Lifetime of a stamp that the user gives to a member of a mailing list, in days.
    pub list_days: u32,
    /// Uses of one stamp in a day, for a correspondent to whom the user has written more than once.
    pub max_uses_per_day: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PeersTable {
    enabled: bool,
    give: GiveMode,
    days: Number<1, 366>,
    list_days: Number<1, 366>,
    max_uses_per_day: Number<1, 255>,
    pub(super) nonce_retention: Seconds<DAY, { 90 * DAY }>,
}

impl Default for PeersTable {
    fn default() -> Self {
        Self {
            enabled: false,
            give: GiveMode::Answered,
            days: Number(90),
            list_days: Number(14),
            max_uses_per_day: Number(50),
            nonce_retention: Seconds(Policy::default().nonce_retention),
        }
    }
}

impl PeersTable {
    pub(super) fn settle(&self) -> Peers {
        Peers {
            enabled: self.enabled,
            give: self.give,
            days: u32::try_from(self.days.0).unwrap_or(u32::MAX),
            list_days: u32::try_from(self.list_days.0).unwrap_or(u32::MAX),
            max_uses_per_day: u8::try_from(self.max_uses_per_day.0).unwrap_or(u8::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::user::User;

    fn parse(table: &str) -> Result<(Peers, i64), String> {
        let config = Config::parse(&format!("[peers]\n{table}"), &User::default());
        config.map(|config| (config.peers, config.policy.nonce_retention)).map_err(|error| error.to_string())
    }

    #[test]
    fn peers_are_off_until_switched_on_and_have_ranges() {
        let off = Peers { enabled: false, give: GiveMode::Answered, days: 90, list_days: 14, max_uses_per_day: 50 };
        assert_eq!(parse(""), Ok((off, 14 * DAY)));
        let table = "enabled = true\ngive = \"ask\"\ndays = 366\nlist_days = 1\nmax_uses_per_day = 1\nnonce_retention = \"90d\"";
        let on = Peers { enabled: true, give: GiveMode::Ask, days: 366, list_days: 1, max_uses_per_day: 1 };
        assert_eq!(parse(table), Ok((on, 90 * DAY)));
        for (table, said) in [
            ("days = 0", "a whole number from 1 to 366"),
            ("days = 367", "a whole number from 1 to 366"),
            ("list_days = 0", "a whole number from 1 to 366"),
            ("list_days = 367", "a whole number from 1 to 366"),
            ("max_uses_per_day = 0", "a whole number from 1 to 255"),
            ("max_uses_per_day = 256", "a whole number from 1 to 255"),
            ("nonce_retention = \"23h\"", "write a duration from \"1d\" to \"90d\""),
            ("nonce_retention = \"91d\"", "write a duration from \"1d\" to \"90d\""),
            ("give = \"never\"", "\"never\" is none of \"answered\", \"ask\""),
            ("list = true", "list"),
        ] {
            let error = parse(table).unwrap_err();
            assert!(error.starts_with("line 2, column ") && error.contains(said), "{error}");
        }
    }
}
