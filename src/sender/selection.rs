//! Selection of a stamp's kind and of the account that buys it. Pure.
//!
//! In this order: the caller's request, the user's configuration, the recipient's known preference, the lowest price.

use super::error::SupplyError;
use super::stamp_request::StampRequest;
use crate::accounting::money::Price;
use crate::config::sender::SenderSettings;
use serde::{Deserialize, Serialize};

/// Data of an account for the selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub account: String,
    /// Name of the vendor.
    pub vendor: String,
    /// Price of a credit when the account was added.
    pub price: Option<Price>,
}

/// Known preference of a recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientPreference {
    /// Vendors that the recipient trusts; empty if unknown.
    pub vendors: Vec<String>,
    /// Credits that the recipient requires.
    pub value: Option<u64>,
}

/// Kind of a stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampSpec {
    /// Vendors or accounts, the best first; any, if empty.
    pub vendors: Vec<String>,
    /// Minimum value in credits.
    pub value: u64,
    /// Lifetime in days; the vendor's default, if `None`.
    pub days: Option<u32>,
    /// Whether it contains only a salted hash of the recipient.
    pub hashed: bool,
}

impl StampSpec {
    /// Returns the kind of stamp for this request.
    #[must_use]
    pub fn of(want: &StampRequest, settings: &SenderSettings, learned: Option<&RecipientPreference>) -> Self {
        let preferred = settings
            .prefer
            .iter()
            .find(|preference| preference.recipients.iter().any(|pattern| pattern.matches(&want.recipient)));
        let configured = preferred.map(|it| it.vendors.as_slice()).filter(|vendors| !vendors.is_empty());
        let vendors = match (&want.vendor, configured, learned) {
            (Some(vendor), ..) => vec![vendor.clone()],
            (None, Some(vendors), _) => vendors.to_vec(),
            (None, None, Some(learned)) => learned.vendors.clone(),
            (None, None, None) => Vec::new(),
        };
        let value = want.value.or(preferred.and_then(|it| it.value)).or(learned.and_then(|it| it.value));
        Self {
            vendors,
            value: value.unwrap_or(settings.value).max(1),
            days: want.days.or(settings.days),
            hashed: want.hashed.unwrap_or(settings.hashed),
        }
    }

    /// Returns whether a stamp of this vendor fits.
    #[must_use]
    pub fn accepts(&self, vendor: &str, offers: &[Offer]) -> bool {
        let by_account = |name: &String| offers.iter().any(|offer| offer.account == *name && offer.vendor == vendor);
        self.vendors.is_empty() || self.vendors.iter().any(|name| name == vendor || by_account(name))
    }

    /// Returns the account that buys it.
    pub fn account<'a>(&self, settings: &SenderSettings, offers: &'a [Offer]) -> Result<&'a Offer, SupplyError> {
        let named = |name: &String| offers.iter().find(|offer| offer.account == *name || offer.vendor == *name);
        if offers.is_empty() {
            return Err(SupplyError::NoAccount("there is no account at any vendor".to_owned()));
        }
        if !self.vendors.is_empty() {
            let wanted = self.vendors.join(", ");
            let absent = || SupplyError::NoAccount(format!("there is no account at {wanted}"));
            // The user's own choice among several accounts at one vendor comes first.
            let usual = settings.account.as_ref().and_then(named).filter(|it| self.accepts(&it.vendor, offers));
            return usual.or_else(|| self.vendors.iter().find_map(named)).ok_or_else(absent);
        }
        if let Some(name) = &settings.account {
            return named(name)
                .ok_or_else(|| SupplyError::NoAccount(format!("sender.account: there is no account {name:?}")));
        }
        let cheapest = offers.iter().filter(|offer| offer.price.is_some()).min_by(|a, b| cheaper(a, b));
        cheapest.or(offers.first()).ok_or_else(|| SupplyError::NoAccount("there is no account".to_owned()))
    }
}

/// Orders accounts by the price of a credit; by name where the currencies differ, since amounts of two are not
/// compared.
fn cheaper(a: &Offer, b: &Offer) -> std::cmp::Ordering {
    let order = a.price.as_ref().zip(b.price.as_ref()).and_then(|(one, other)| one.compare(other));
    order.unwrap_or(std::cmp::Ordering::Equal).then_with(|| a.account.cmp(&b.account))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::user::User;
    use crate::message::address::Address;
    use crate::sender::stamp_request::ReservationKey;

    fn offer(account: &str, vendor: &str, price: &str) -> Offer {
        Offer { account: account.to_owned(), vendor: vendor.to_owned(), price: price.parse().ok() }
    }

    fn offers() -> [Offer; 3] {
        [
            offer("dear", "a.example", "0.01 EUR"),
            offer("fair", "b.example", "1.00 EUR / 1000"),
            offer("other", "c.example", "0.002 EUR"),
        ]
    }

    fn settings(text: &str) -> SenderSettings {
        Config::parse(text, &User::default()).unwrap().sender
    }

    fn want(recipient: &str) -> StampRequest {
        StampRequest::new(ReservationKey::from_text("k"), Address::parse(recipient).unwrap())
    }

    fn chosen(
        want: &StampRequest,
        settings: &SenderSettings,
        learned: Option<&RecipientPreference>,
    ) -> Result<(String, u64), String> {
        let kind = StampSpec::of(want, settings, learned);
        let offer = kind.account(settings, &offers()).map(|offer| (offer.account.clone(), kind.value));
        offer.map_err(|error| error.to_string())
    }

    #[test]
    fn the_cheapest_is_chosen_unless_something_is_preferred() {
        let plain = settings("");
        assert_eq!(chosen(&want("x@y.example"), &plain, None), Ok(("fair".into(), 1)));
        let usual = settings("[sender]\naccount = \"other\"\nvalue = 3");
        assert_eq!(chosen(&want("x@y.example"), &usual, None), Ok(("other".into(), 3)));
        let learned = RecipientPreference { vendors: vec!["z.example".into(), "a.example".into()], value: Some(7) };
        assert_eq!(chosen(&want("x@y.example"), &usual, Some(&learned)), Ok(("dear".into(), 7)));
        let configured =
            settings("[[sender.prefer]]\nrecipients = [\"*@y.example\"]\nvendors = [\"c.example\"]\nvalue = 2");
        assert_eq!(chosen(&want("x@y.example"), &configured, Some(&learned)), Ok(("other".into(), 2)));
        assert_eq!(chosen(&want("x@w.example"), &configured, Some(&learned)), Ok(("dear".into(), 7)));
        let asked = StampRequest { vendor: Some("b.example".into()), value: Some(9), ..want("x@y.example") };
        assert_eq!(chosen(&asked, &configured, Some(&learned)), Ok(("fair".into(), 9)));
    }

    #[test]
    fn what_no_account_has_is_said() {
        let learned = RecipientPreference { vendors: vec!["z.example".into()], value: None };
        let told = chosen(&want("x@y.example"), &settings(""), Some(&learned)).unwrap_err();
        assert_eq!(told, "there is no account at z.example");
        assert!(chosen(&want("x@y.example"), &settings("[sender]\naccount = \"no\""), None).is_err());
        let kind = StampSpec::of(&want("x@y.example"), &settings(""), None);
        assert_eq!(kind.account(&settings(""), &[]).unwrap_err().to_string(), "there is no account at any vendor");
    }
}
