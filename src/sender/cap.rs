//! How much may be spent: caps over an hour, a day, and a day for one recipient. Pure: what was spent before and what time
//! it is are handed in. A purchase counts from the moment it is journalled until it is known to have been refused, so a lost
//! answer counts.

use crate::mail::time::UnixTime;

/// Caps in credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// In any 60 minutes.
    pub hour: u64,
    /// In any 24 hours.
    pub day: u64,
    /// In any 24 hours for one recipient.
    pub recipient: u64,
}

/// Which cap was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// [`Caps::hour`].
    Hour,
    /// [`Caps::day`].
    Day,
    /// [`Caps::recipient`].
    Recipient,
}

/// A purchase would go beyond a cap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct Capped {
    /// Which cap.
    pub which: Which,
    /// Its credits.
    pub cap: u64,
    /// What was spent within its time.
    pub spent: u64,
    /// What is asked for now.
    pub asked: u64,
    /// For whom, if it is the recipient's cap.
    pub recipient: Option<String>,
    /// When as much will be free again; `None` if it is more than the whole cap.
    pub free: Option<UnixTime>,
}

impl Capped {
    fn sentence(&self) -> String {
        let Self { cap, spent, asked, .. } = self;
        let whose = match (&self.which, &self.recipient) {
            (Which::Hour, _) => "an hour (sender.credits_per_hour)".to_owned(),
            (Which::Day, _) => "a day (sender.credits_per_day)".to_owned(),
            (Which::Recipient, Some(recipient)) => format!("a day for {recipient} (sender.credits_per_recipient)"),
            (Which::Recipient, None) => "a day for one recipient (sender.credits_per_recipient)".to_owned(),
        };
        let when = match self.free {
            Some(free) => format!("it is free again at {free}"),
            None => "it is never free for so many".to_owned(),
        };
        format!("{asked} credits more are beyond your cap of {cap} credits {whose}, of which {spent} are spent; {when}")
    }
}
