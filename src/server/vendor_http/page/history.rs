//! History row of an account: an entry of the ledger, its stamps, and the credits it added or removed.

use crate::accounting::event::{Event, sum};
use crate::accounting::hash_chain::Entry;
use crate::vendor_api::account::HistoryEvent;

/// A line of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// The entry's number.
    pub entry: u64,
    /// Time of the entry, to the minute.
    pub at: String,
    pub event: HistoryEvent,
    /// Description for people.
    pub text: String,
    pub stamps: u64,
    /// Credits added; negative when removed.
    pub credits: i64,
}

impl HistoryRow {
    /// Converts an entry.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        let came = |credits: u64| i64::try_from(credits).unwrap_or(i64::MAX);
        let count = |serials: &[_]| serials.len() as u64;
        let (event, text, stamps, credits) = match &entry.event {
            Event::Issued { values, .. } => {
                let stamps = values.iter().map(|(_, times)| u64::from(*times)).sum();
                (HistoryEvent::Bought, "Stamps bought".to_owned(), stamps, -came(sum(values)))
            }
            Event::Credited { credits, cost, .. } => {
                (HistoryEvent::Credited, format!("Credits for {cost}"), 0, came(*credits))
            }
            Event::VoucherTaken { credits, .. } => (HistoryEvent::Voucher, "Voucher".to_owned(), 0, came(*credits)),
            Event::Deposited { serials, credits, .. } => {
                (HistoryEvent::Deposited, "Received stamps handed in".to_owned(), count(serials), came(*credits))
            }
            Event::PaidOut { credits, sum, .. } => {
                (HistoryEvent::PaidOut, format!("Paid out: {sum}"), 0, -came(*credits))
            }
            Event::Licensed { limit, .. } => {
                (HistoryEvent::Licensed, "Credits licensed to a meter".to_owned(), 0, -came(*limit))
            }
            Event::LicenseEnded { .. } => (HistoryEvent::LicenseEnded, "Licence revoked".to_owned(), 0, 0),
            Event::LicenseClosed { credits, .. } => {
                (HistoryEvent::LicenseClosed, "Rest of a licence".to_owned(), 0, came(*credits))
            }
            Event::Cleared { each, .. } => {
                let credits = each.iter().fold(0, |sum: u64, (_, credits, _)| sum.saturating_add(*credits));
                (HistoryEvent::Cleared, "Payments to your mailboxes".to_owned(), each.len() as u64, came(credits))
            }
            Event::BankRestored { .. } => (HistoryEvent::BankRestored, "Bank restored from a copy".to_owned(), 0, 0),
            Event::Opened { .. } => (HistoryEvent::Opened, "Account opened".to_owned(), 0, 0),
            Event::Closed { .. } => (HistoryEvent::Closed, "Account closed".to_owned(), 0, 0),
            Event::KeyMade { .. } => (HistoryEvent::KeyMade, "API key made".to_owned(), 0, 0),
            Event::KeyRevoked { .. } => (HistoryEvent::KeyRevoked, "API key revoked".to_owned(), 0, 0),
            Event::Owned { .. } => (HistoryEvent::Owned, "Address added".to_owned(), 0, 0),
            Event::Disowned { .. } => (HistoryEvent::Disowned, "Address removed".to_owned(), 0, 0),
            Event::Contact { .. } | Event::Caps { .. } => {
                (HistoryEvent::Changed, "Changed by the vendor".to_owned(), 0, 0)
            }
            _ => (HistoryEvent::Other, "Other".to_owned(), 0, 0),
        };
        let at = entry.at.to_string();
        let at = at.get(..16).unwrap_or(&at).replace('T', " ");
        Self { entry: entry.number, at, event, text, stamps, credits }
    }

    /// Formats the credits with their sign.
    #[must_use]
    pub fn signed(&self) -> String {
        match self.credits {
            0 => String::new(),
            credits if credits > 0 => format!("+{credits}"),
            credits => format!("\u{2212}{}", credits.unsigned_abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::event::Buyer;
    use crate::time::UnixTime;

    #[test]
    fn what_was_bought_goes_and_what_was_handed_in_comes() {
        let line = |event| HistoryRow::of(&Entry { number: 7, at: UnixTime(1_795_600_000), event });
        let (buyer, values) = (Buyer::Account(1), vec![(1, 10), (5, 1)]);
        let issued = Event::Issued { buyer, seed: [0; 32], values, kid: "a".into(), until: None };
        let bought = line(issued);
        assert_eq!((bought.event, bought.stamps, bought.credits), (HistoryEvent::Bought, 11, -15));
        assert_eq!((bought.at.as_str(), bought.signed().as_str()), ("2026-11-25 09:46", "\u{2212}15"));
        let deposited = line(Event::Deposited { account: 1, serials: Vec::new(), credits: 3 });
        assert_eq!((deposited.event, deposited.signed().as_str()), (HistoryEvent::Deposited, "+3"));
        assert_eq!(line(Event::Restored).event, HistoryEvent::Other);
    }
}
