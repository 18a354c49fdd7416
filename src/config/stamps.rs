//! The tables `[stamps]` and `[used_log]`: which stamps are accepted, and how often.

use super::peers::PeersTable;
use super::ranges::{DAY, HOUR, Number, Seconds};
use crate::verdict::facts::Policy;
use crate::verdict::spend::Redelivery;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StampsTable {
    skew: Seconds<0, DAY>,
    max_window: Seconds<DAY>,
    allow_no_expiry: bool,
    expiry_grace: Seconds,
    pub(super) defer_stale: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UsedLogTable {
    pub(super) enabled: bool,
    pub(super) wait: Seconds<1, HOUR>,
    redelivery_window: Seconds,
    max_redeliveries: Number<0, 255>,
}

/// Below the shortest timeout among the callers: Sieve's 10 s, after which Dovecot's delivery process panics.
const WAIT: i64 = 7;

impl Default for StampsTable {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            skew: Seconds(policy.skew),
            max_window: Seconds(policy.max_window),
            allow_no_expiry: policy.allow_no_expiry,
            expiry_grace: Seconds(policy.expiry_grace),
            defer_stale: false,
        }
    }
}

impl Default for UsedLogTable {
    fn default() -> Self {
        let Redelivery { within, times } = Policy::default().redelivery;
        Self {
            enabled: true,
            wait: Seconds(WAIT),
            redelivery_window: Seconds(within),
            max_redeliveries: Number(times.into()),
        }
    }
}

/// Returns the policy that the tables describe.
pub(super) fn policy(stamps: &StampsTable, used_log: &UsedLogTable, peers: &PeersTable) -> Policy {
    Policy {
        skew: stamps.skew.0,
        max_window: stamps.max_window.0,
        allow_no_expiry: stamps.allow_no_expiry,
        expiry_grace: stamps.expiry_grace.0,
        redelivery: Redelivery {
            within: used_log.redelivery_window.0,
            times: u8::try_from(used_log.max_redeliveries.0).unwrap_or(u8::MAX),
        },
        nonce_retention: peers.nonce_retention.0,
    }
}
