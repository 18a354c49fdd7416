//! Status of one stamp: the user's grant and revocation, and what follows when the stamp is presented again. Pure.

use super::{Grant, GrantKind};
use crate::message::fingerprint::KnownMessage;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// The user's grant and revocation of one stamp.
/// A revocation outweighs a grant and keeps it, so that `unrevoke` brings the grant back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampStatus {
    /// The grant, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// When it was revoked (seconds since 1970), if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<i64>,
    /// How it was revoked, if not by command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub means: Option<Means>,
    /// Messages that presented the stamp after its revocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusals>,
}

/// How a stamp was revoked, other than by command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// A message that carries it was moved to Junk or Trash. Moving it back undoes this revocation, and no other.
    Moved,
}

/// Messages that presented a revoked stamp.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// How many. The same message several times in a row counts once.
    pub times: u32,
    /// When the last one came (seconds since 1970).
    pub last: i64,
    /// The sender, as the From field says; encoded for printing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The last one.
    pub message: KnownMessage,
}

/// The presentation of a stamp on a message.
#[derive(Clone, Copy, Debug)]
pub struct Presentation<'a> {
    pub now: UnixTime,
    pub message: KnownMessage,
    /// The sender, as the From field says; encoded for printing.
    pub from: Option<&'a str>,
}

/// The consequence of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No grant or revocation matters now.
    Nothing,
    /// The stamp is accepted under a grant.
    Granted(GrantKind),
    /// The stamp was revoked.
    Revoked { since: UnixTime },
}

impl StampStatus {
    /// Returns the status after a message with the stamp was moved to Junk or Trash at `now`.
    /// An existing revocation stays as it is.
    #[must_use]
    pub fn moved_away(&self, now: UnixTime) -> Self {
        match self.revoked {
            Some(_) => self.clone(),
            None => Self { revoked: Some(now.0), means: Some(Means::Moved), ..self.clone() },
        }
    }

    /// Returns the status after that message was moved back at `now`.
    /// A revocation by the move is undone if it is at most `within` seconds old.
    #[must_use]
    pub fn moved_back(&self, now: UnixTime, within: i64) -> Self {
        let in_time = self.revoked.is_some_and(|since| now.since(UnixTime(since)) <= within);
        if self.means == Some(Means::Moved) && in_time {
            return Self { revoked: None, means: None, ..self.clone() };
        }
        self.clone()
    }

    /// Returns the answer to this presentation, and the status after it, where it changes.
    #[must_use]
    pub fn answer(&self, presented: &Presentation<'_>) -> (Answer, Option<Self>) {
        if let Some(since) = self.revoked {
            return (Answer::Revoked { since: UnixTime(since) }, self.refusing(presented));
        }
        let Some(grant) = &self.grant else { return (Answer::Nothing, None) };
        let (covered, after) = grant.covers(presented.now, presented.message, presented.from);
        let after = after.map(|grant| Self { grant: Some(grant), ..self.clone() });
        (if covered { Answer::Granted(grant.kind) } else { Answer::Nothing }, after)
    }

    fn refusing(&self, presented: &Presentation<'_>) -> Option<Self> {
        let before = self.refused.as_ref();
        if before.is_some_and(|before| before.message.recognises(&presented.message)) {
            return None;
        }
        let times = before.map_or(0, |before| before.times).saturating_add(1);
        let from = presented.from.map(str::to_owned);
        let refused = Refusals { times, last: presented.now.0, from, message: presented.message };
        Some(Self { refused: Some(refused), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(100);

    fn presented(message: u8) -> Presentation<'static> {
        Presentation { now: NOW, message: [message; 16].into(), from: Some("eve@y.example") }
    }

    #[test]
    fn a_revocation_outweighs_a_grant_and_counts_who_comes_all_the_same() {
        let granted = StampStatus { grant: Some(Grant::new(GrantKind::Return, NOW)), ..StampStatus::default() };
        let (answer, used) = granted.answer(&presented(1));
        assert_eq!(answer, Answer::Granted(GrantKind::Return));
        assert_eq!(used.unwrap().answer(&presented(1)), (Answer::Granted(GrantKind::Return), None));
        let revoked = StampStatus { revoked: Some(50), ..granted };
        let (answer, after) = revoked.answer(&presented(1));
        assert_eq!(answer, Answer::Revoked { since: UnixTime(50) });
        let after = after.unwrap();
        let refused = after.refused.clone().unwrap();
        assert_eq!((refused.times, refused.last, refused.from.as_deref()), (1, 100, Some("eve@y.example")));
        assert_eq!(after.answer(&presented(1)).1, None, "the same message again is not another");
        assert_eq!(after.answer(&presented(2)).1.unwrap().refused.unwrap().times, 2);
    }

    #[test]
    fn moving_back_in_time_undoes_what_moving_did_and_nothing_else() {
        let granted = StampStatus { grant: Some(Grant::new(GrantKind::Return, NOW)), ..StampStatus::default() };
        let moved = granted.moved_away(UnixTime(50));
        assert_eq!((moved.revoked, moved.means), (Some(50), Some(Means::Moved)));
        assert_eq!(moved.moved_away(UnixTime(60)), moved);
        assert_eq!(moved.moved_back(UnixTime(60), 10), granted);
        assert_eq!(moved.moved_back(UnixTime(61), 10), moved);
        let said = StampStatus { revoked: Some(50), ..granted };
        assert_eq!(said.moved_away(NOW), said);
        assert_eq!(said.moved_back(NOW, 100), said);
    }

    #[test]
    fn nothing_said_is_nothing() {
        assert_eq!(StampStatus::default().answer(&presented(1)), (Answer::Nothing, None));
        let ended = Grant { until: Some(99), ..Grant::new(GrantKind::MultiUse, NOW) };
        let standing = StampStatus { grant: Some(ended), ..StampStatus::default() };
        assert_eq!(standing.answer(&presented(1)), (Answer::Nothing, None));
    }

    #[test]
    fn a_limited_grant_remembers_what_it_was_used_for() {
        let grant = Grant { uses: Some(1), ..Grant::new(GrantKind::MultiUse, NOW) };
        let standing = StampStatus { grant: Some(grant), ..StampStatus::default() };
        let (answer, after) = standing.answer(&presented(1));
        assert_eq!(answer, Answer::Granted(GrantKind::MultiUse));
        let after = after.unwrap();
        assert_eq!(after.answer(&presented(1)), (Answer::Granted(GrantKind::MultiUse), None));
        assert_eq!(after.answer(&presented(2)), (Answer::Nothing, None));
        let text = serde_json::to_string(&after).unwrap();
        assert_eq!(serde_json::from_str::<StampStatus>(&text).unwrap(), after);
    }
}
