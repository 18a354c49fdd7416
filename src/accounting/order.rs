//! Orders for stamps, and the caps within which a vendor sells. An order is for one stamp for one recipient (BP1a),
//! with an optional sender, window and value (BP1b, BP1c). The ledger checks whether the buyer can pay.

use super::serial_derivation::Draw;
use crate::message::address::{Address, AddressError};
use crate::stamp::audience::{Audience, AudienceError};
use crate::stamp::claims::{Stamp, VALUE_MAX};
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

const DAY: i64 = 24 * 60 * 60;

/// An order for one stamp. Only the recipient is required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "OrderText", into = "OrderText")]
pub struct Order {
    /// Recipient of the stamp.
    pub recipient: Audience,
    /// Whether the stamp contains only a salted hash of the recipient.
    pub hashed: bool,
    /// Sender, if the stamp names one.
    pub sender: Option<Address>,
    /// Start of its validity.
    pub not_before: Option<UnixTime>,
    /// End of its validity; by the vendor's terms, if absent.
    pub until: Option<UnixTime>,
    /// Its value in credits, which is its price.
    pub value: u64,
}

/// Caps of a vendor's sales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Caps {
    /// Most stamps in one request.
    pub stamps: u32,
    /// The largest value of one stamp, in credits.
    pub value: u64,
    /// The longest window, in days, and the furthest in the future that it may begin.
    pub days: u32,
    /// Credits that one account may spend on stamps in one day (UTC).
    pub credits_a_day: u64,
}

/// Caps of one account; those of the terms apply where none is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnCaps {
    /// [`Caps::stamps`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stamps: Option<u32>,
    /// [`Caps::value`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// [`Caps::days`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// [`Caps::credits_a_day`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credits_a_day: Option<u64>,
}

/// Error of an order. `order` counts from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "problem", rename_all = "kebab-case")]
pub enum OrderError {
    /// No order.
    #[error("no stamp was ordered")]
    None,
    /// More stamps in one request than the cap.
    #[error("{asked} stamps in one request; the cap is {cap}")]
    TooMany {
        /// Requested stamps.
        asked: u64,
        cap: u32,
    },
    /// A value of zero, or above the cap.
    #[error("order {order}: a value of {asked} credits; it may be 1 to {cap}")]
    Value {
        /// Position of the order.
        order: u64,
        asked: u64,
        cap: u64,
    },
    /// The window ends before it begins, or has ended.
    #[error("order {order}: the window ends before it begins, or has ended")]
    Window {
        /// Position of the order.
        order: u64,
    },
    /// The window is longer, or begins later, than the cap.
    #[error(
        "order {order}: the window ends more than {cap} days after its beginning, or begins later than in {cap} days"
    )]
    Long {
        /// Position of the order.
        order: u64,
        /// The cap, in days.
        cap: u32,
    },
    /// The stamp would be too long, or unreadable.
    #[error("order {order}: the stamp would be unreadable; its addresses may be too long")]
    Unreadable {
        /// Position of the order.
        order: u64,
    },
    /// The number of credits is out of range.
    #[error("credits out of range (at most 9,223,372,036,854,775,807)")]
    Range,
}

/// An order's JSON is malformed.
#[derive(Debug, thiserror::Error)]
pub enum OrderTextError {
    /// The recipient.
    #[error("recipient: {0}")]
    Recipient(AudienceError),
    /// The sender.
    #[error("sender: {0}")]
    Sender(AddressError),
    /// A time.
    #[error("{0}: not an RFC 3339 time")]
    Time(&'static str),
}

impl Order {
    /// Creates an order for a stamp of one credit that names its recipient openly.
    #[must_use]
    pub fn new(recipient: Audience) -> Self {
        Self { recipient, hashed: false, sender: None, not_before: None, until: None, value: 1 }
    }

    /// Builds the stamp of this order.
    #[must_use]
    pub fn stamp(&self, draw: &Draw, index: u32, now: UnixTime, usual_days: u32) -> Stamp {
        let audience = match &self.recipient {
            Audience::Plain(address) if self.hashed => Audience::hashed(address, draw.salt(index)),
            other => other.clone(),
        };
        Stamp {
            sender: self.sender.clone(),
            issued: Some(now),
            not_before: self.not_before,
            value: self.value,
            ..Stamp::new(draw.serial(index), audience, self.end(now, usual_days))
        }
    }

    fn begin(&self, now: UnixTime) -> UnixTime {
        self.not_before.unwrap_or(now)
    }

    /// Returns the end of the window of a stamp that is sold now.
    #[must_use]
    pub fn end(&self, now: UnixTime, usual_days: u32) -> UnixTime {
        self.until.unwrap_or_else(|| self.begin(now).plus(i64::from(usual_days) * DAY))
    }
}

/// Longest window that a vendor sells, in days. Recipients accept 400 days unless they configure less.
pub const DAYS_MAX: u32 = 366;

/// Default lifetime in days of a stamp without a given end.
pub const DAYS_USUAL: u32 = 90;

impl Default for Caps {
    /// Returns 1,000 stamps, 1,000 credits each, [`DAYS_MAX`], and a million credits a day.
    fn default() -> Self {
        Self { stamps: 1_000, value: 1_000, days: DAYS_MAX, credits_a_day: 1_000_000 }
    }
}

impl OwnCaps {
    /// Returns these where they are given, and `caps` elsewhere.
    #[must_use]
    pub fn over(self, caps: Caps) -> Caps {
        Caps {
            stamps: self.stamps.unwrap_or(caps.stamps),
            value: self.value.unwrap_or(caps.value),
            days: self.days.unwrap_or(caps.days),
            credits_a_day: self.credits_a_day.unwrap_or(caps.credits_a_day),
        }
    }

    /// Returns these where they are given, and `other` elsewhere.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            stamps: self.stamps.or(other.stamps),
            value: self.value.or(other.value),
            days: self.days.or(other.days),
            credits_a_day: self.credits_a_day.or(other.credits_a_day),
        }
    }
}

impl Caps {
    /// Checks orders against the caps and returns their total price in credits.
    ///
    /// Does not check the credits that the account spent today.
    ///
    /// # Errors
    /// [`OrderError`] names the order and the cap.
    pub fn check(&self, orders: &[Order], now: UnixTime, usual_days: u32) -> Result<u64, OrderError> {
        let asked = orders.len() as u64;
        if asked == 0 {
            return Err(OrderError::None);
        }
        if asked > u64::from(self.stamps) {
            return Err(OrderError::TooMany { asked, cap: self.stamps });
        }
        let mut credits = 0_u64;
        for (order, wanted) in (1..).zip(orders) {
            self.check_one(wanted, order, now, usual_days)?;
            credits = credits.checked_add(wanted.value).ok_or(OrderError::Range)?;
        }
        if i64::try_from(credits).is_err() { Err(OrderError::Range) } else { Ok(credits) }
    }

    /// Checks the order for a stamp without value against the caps: one stamp, of value 0.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_given(&self, orders: &[Order], now: UnixTime, usual_days: u32) -> Result<u64, OrderError> {
        let worth = Self { stamps: 1, ..*self };
        let priced: Vec<Order> = orders.iter().map(|order| Order { value: 1, ..order.clone() }).collect();
        worth.check(&priced, now, usual_days)?;
        match orders.iter().find(|order| order.value != 0) {
            Some(order) => Err(OrderError::Value { order: 1, asked: order.value, cap: 0 }),
            None => Ok(0),
        }
    }

    fn check_one(&self, wanted: &Order, order: u64, now: UnixTime, usual_days: u32) -> Result<(), OrderError> {
        let cap = self.value.min(VALUE_MAX);
        if wanted.value == 0 || wanted.value > cap {
            return Err(OrderError::Value { order, asked: wanted.value, cap });
        }
        let (begin, end) = (wanted.begin(now), wanted.end(now, usual_days));
        if end < begin || end < now {
            return Err(OrderError::Window { order });
        }
        let cap = self.days.min(DAYS_MAX);
        let longest = i64::from(cap) * DAY;
        if end.since(begin.max(now)) > longest || begin.since(now) > longest {
            return Err(OrderError::Long { order, cap });
        }
        // Only a stamp that can be signed and read is charged.
        let stamp = wanted.stamp(&Draw::new(now, [0; 32]), 0, now, usual_days);
        Stamp::read(&stamp.payload()).map(drop).map_err(|_| OrderError::Unreadable { order })
    }
}

/// An order as JSON, in the form of the vendor's API:
/// `{"recipient":"joe@x.example","hashed":true,"sender":"me@y.example","until":"2026-12-24T12:00:00Z","value":5}`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an order, which is an object with a recipient")]
struct OrderText {
    /// An address, or `~salt.hash`, which hides the address from the vendor.
    recipient: String,
    /// Whether the stamp contains only a salted hash of the recipient.
    #[serde(default)]
    hashed: bool,
    /// Address of the sender, if the stamp names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender: Option<String>,
    /// Start of its validity; the purchase, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    not_before: Option<String>,
    /// End of its validity; by the vendor's terms, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    until: Option<String>,
    /// Its value in credits, which is its price.
    #[serde(default = "one")]
    #[cfg_attr(test, schemars(range(min = 1)))]
    value: u64,
}

fn one() -> u64 {
    1
}

impl TryFrom<OrderText> for Order {
    type Error = OrderTextError;

    fn try_from(text: OrderText) -> Result<Self, OrderTextError> {
        let time = |name, text: Option<String>| {
            text.map(|text| UnixTime::from_rfc3339(&text)).transpose().map_err(|_| OrderTextError::Time(name))
        };
        Ok(Self {
            recipient: Audience::parse(&text.recipient).map_err(OrderTextError::Recipient)?,
            hashed: text.hashed,
            sender: text.sender.as_deref().map(Address::parse).transpose().map_err(OrderTextError::Sender)?,
            not_before: time("not_before", text.not_before)?,
            until: time("until", text.until)?,
            value: text.value,
        })
    }
}

impl From<Order> for OrderText {
    fn from(order: Order) -> Self {
        Self {
            recipient: order.recipient.to_string(),
            hashed: order.hashed,
            sender: order.sender.map(|sender| sender.to_string()),
            not_before: order.not_before.map(|time| time.to_string()),
            until: order.until.map(|time| time.to_string()),
            value: order.value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_795_262_400);

    fn order() -> Order {
        Order::new(Audience::parse("joe@x.example").unwrap())
    }

    fn check(order: Order) -> Result<u64, OrderError> {
        Caps::default().check(&[order], NOW, 30)
    }

    // BP1a, BP1b, BP1c
    #[test]
    fn an_order_names_its_recipient_and_the_rest_is_optional() {
        let least: Order = serde_json::from_str(r#"{"recipient":"joe@x.example"}"#).unwrap();
        assert_eq!(least, order());
        assert!(serde_json::from_str::<Order>("{}").unwrap_err().to_string().contains("recipient"));
        let whole = r#"{"recipient":"joe@x.example","hashed":true,"sender":"me@y.example","not_before":"2026-11-22T00:00:00Z","until":"2026-12-01T00:00:00Z","value":5}"#;
        let order: Order = serde_json::from_str(whole).unwrap();
        assert_eq!(serde_json::to_string(&order).unwrap(), whole);
        let stamp = order.stamp(&Draw::new(NOW, [1; 32]), 0, NOW, 30);
        assert!(stamp.audience.names(&Address::parse("joe@x.example").unwrap()));
        assert!(matches!(stamp.audience, Audience::Hashed { .. }));
        assert_eq!((stamp.value, stamp.issued), (5, Some(NOW)));
        for wrong in
            [r#"{"recipient":"joe"}"#, r#"{"recipient":"j@x.y","until":"soon"}"#, r#"{"recipient":"j@x.y","x":1}"#]
        {
            assert!(serde_json::from_str::<Order>(wrong).is_err(), "{wrong}");
        }
    }

    // BP1c: caps are stated
    #[test]
    fn every_cap_is_met_exactly_and_says_so_beyond() {
        let day = |days: i64| Some(NOW.plus(days * DAY));
        assert_eq!(check(order()), Ok(1));
        assert_eq!(check(Order { value: 1_000, ..order() }), Ok(1_000));
        for value in [0, 1_001] {
            let error = OrderError::Value { order: 1, asked: value, cap: 1_000 };
            assert_eq!(check(Order { value, ..order() }), Err(error));
        }
        assert_eq!(check(Order { until: day(366), ..order() }), Ok(1));
        assert_eq!(check(Order { until: day(367), ..order() }), Err(OrderError::Long { order: 1, cap: 366 }));
        let own = Caps { days: 400, ..Caps::default() };
        let long = Order { until: day(367), ..order() };
        assert_eq!(own.check(&[long], NOW, 90), Err(OrderError::Long { order: 1, cap: 366 }));
        assert_eq!(check(Order { not_before: day(367), ..order() }), Err(OrderError::Long { order: 1, cap: 366 }));
        assert_eq!(check(Order { until: day(-1), ..order() }), Err(OrderError::Window { order: 1 }));
        let crossed = Order { not_before: day(3), until: day(2), ..order() };
        assert_eq!(check(crossed), Err(OrderError::Window { order: 1 }));
        let caps = Caps { stamps: 2, ..Caps::default() };
        assert_eq!(caps.check(&[], NOW, 30), Err(OrderError::None));
        assert_eq!(caps.check(&vec![order(); 2], NOW, 30), Ok(2));
        let error = caps.check(&vec![order(); 3], NOW, 30).unwrap_err();
        assert_eq!(error.to_string(), "3 stamps in one request; the cap is 2");
    }

    #[test]
    fn own_caps_stand_over_others_and_all_four_may_be_given() {
        let four = r#"{"stamps":1,"value":2,"days":3,"credits_a_day":4}"#;
        let own: OwnCaps = serde_json::from_str(four).unwrap();
        assert_eq!(own.over(Caps::default()), Caps { stamps: 1, value: 2, days: 3, credits_a_day: 4 });
        let one = OwnCaps { days: Some(7), ..OwnCaps::default() };
        assert_eq!(serde_json::to_string(&one).unwrap(), r#"{"days":7}"#);
        assert_eq!(one.over(Caps::default()), Caps { days: 7, ..Caps::default() });
        assert_eq!(one.or(own), OwnCaps { days: Some(7), ..own });
    }

    #[test]
    fn what_nobody_could_read_is_not_sold() {
        let long = format!("{}@x.example", "a".repeat(250));
        let address = || Address::parse(&long).unwrap();
        assert_eq!(check(Order { sender: Some(address()), ..order() }), Ok(1));
        let late = Order { until: Some(UnixTime(i64::MAX)), ..order() };
        let caps = Caps { days: u32::MAX, ..Caps::default() };
        assert!(caps.check(&[late], NOW, 30).is_err());
    }
}
