//! Sums of money and prices per credit, as integers. A sum is a number of millionths of its currency, a price a sum for
//! a number of credits. 1,000,000 credits at a tenth of a cent therefore cost exactly 1000.00.
//!
//! Not here: exchange between currencies.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Millionths of a currency's unit in one unit.
pub const MICROS: i64 = 1_000_000;

/// A currency: three capital letters (ISO 4217).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// A sum of money; negative when it is owed the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Millionths of the currency's unit.
    pub micros: i64,
    pub currency: Currency,
}

/// Price of credits: a sum for a number of credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Price {
    sum: Money,
    credits: u64,
}

/// Malformed sum, price or currency, or one out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("a currency is three capital letters, as EUR")]
    Currency,
    #[error("not a sum of money (write \"12.50 EUR\"; at most six decimals)")]
    Sum,
    #[error("not a price (write \"0.001 EUR\" for one credit, or \"1 EUR / 1000\" for so many)")]
    Price,
    #[error("sum out of range (at most 9,223,372,036,854.775807)")]
    Range,
}

impl Money {
    /// Returns the decimal number, without the currency: `1000.00`, `0.001`.
    #[must_use]
    pub fn amount(&self) -> String {
        let sign = if self.micros < 0 { "-" } else { "" };
        let micros = self.micros.unsigned_abs();
        let (whole, rest) = (micros / MICROS.unsigned_abs(), micros % MICROS.unsigned_abs());
        let decimals = format!("{rest:06}");
        let shown = decimals.trim_end_matches('0').len().max(2);
        format!("{sign}{whole}.{}", decimals.get(..shown).unwrap_or_default())
    }

    /// Parses a sum; rejects a negative one.
    fn read(text: &str) -> Result<Self, MoneyError> {
        let (number, currency) = text.trim().split_once(' ').ok_or(MoneyError::Sum)?;
        let currency = currency.trim().parse()?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 6 {
            return Err(MoneyError::Sum);
        }
        let whole: i64 = whole.parse().map_err(|_| MoneyError::Range)?;
        let decimals: i64 = format!("{decimals:0<6}").parse().map_err(|_| MoneyError::Sum)?;
        let micros = whole.checked_mul(MICROS).and_then(|micros| micros.checked_add(decimals));
        Ok(Self { micros: micros.ok_or(MoneyError::Range)?, currency })
    }
}

impl Price {
    /// Creates a price.
    ///
    /// # Errors
    /// [`MoneyError::Price`] when the sum is negative or the number of credits is 0.
    pub fn new(sum: Money, credits: u64) -> Result<Self, MoneyError> {
        if sum.micros < 0 || credits == 0 { Err(MoneyError::Price) } else { Ok(Self { sum, credits }) }
    }

    /// Returns its currency.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.sum.currency
    }

    /// Returns the price of credits, rounded up to a whole millionth.
    pub fn of(&self, credits: u64) -> Result<Money, MoneyError> {
        self.scaled(credits, u128::div_ceil)
    }

    /// Returns the payout for credits, rounded down to a whole millionth.
    ///
    /// Buying and paying out therefore never makes a profit.
    pub fn payout_of(&self, credits: u64) -> Result<Money, MoneyError> {
        self.scaled(credits, |product, credits| product / credits)
    }

    /// Returns the least number of units at this price each that is worth a sum; `None` in another currency, and for a
    /// price of 0.
    #[must_use]
    pub fn units_for(&self, sum: Money) -> Option<u64> {
        let each = u128::from(self.sum.micros.unsigned_abs());
        if self.currency() != sum.currency || each == 0 || sum.micros < 0 {
            return None;
        }
        let product = u128::from(sum.micros.unsigned_abs()) * u128::from(self.credits);
        u64::try_from(product.div_ceil(each)).ok()
    }

    /// Compares what one credit costs; `None` where the currencies differ.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        let cost = |one: &Self, by: &Self| u128::from(one.sum.micros.unsigned_abs()) * u128::from(by.credits);
        (self.currency() == other.currency()).then(|| cost(self, other).cmp(&cost(other, self)))
    }

    /// Returns the money, and the credits that it buys.
    #[must_use]
    pub fn parts(&self) -> (Money, u64) {
        (self.sum, self.credits)
    }

    fn scaled(&self, credits: u64, divide: fn(u128, u128) -> u128) -> Result<Money, MoneyError> {
        // Both are below 2^64, so the product fits; no price has zero credits.
        let product = u128::from(self.sum.micros.unsigned_abs()) * u128::from(credits);
        let micros = i64::try_from(divide(product, u128::from(self.credits))).map_err(|_| MoneyError::Range)?;
        Ok(Money { micros, currency: self.sum.currency })
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| MoneyError::Currency)?;
        if letters.iter().all(u8::is_ascii_uppercase) { Ok(Self(letters)) } else { Err(MoneyError::Currency) }
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        Self::read(text)
    }
}

impl FromStr for Price {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (sum, credits) = text.split_once('/').unwrap_or((text, "1"));
        Self::new(sum.parse()?, credits.trim().parse().map_err(|_| MoneyError::Price)?)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&letter| write!(f, "{}", char::from(letter)))
    }
}

/// Formats with two decimals, and with more where needed: `1000.00 EUR`, `0.001 EUR`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount(), self.currency)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sum.fmt(f)?;
        if self.credits == 1 { Ok(()) } else { write!(f, " / {}", self.credits) }
    }
}

text_form!(Currency);

text_form!(Price);

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        text.parse().unwrap()
    }

    // E7, BC2
    #[test]
    fn a_million_stamps_at_a_tenth_of_a_cent_cost_exactly_a_thousand() {
        let tenth = price("0.001 USD");
        assert_eq!(tenth.of(1_000_000).unwrap().to_string(), "1000.00 USD");
        for (credits, cost) in [(0, "0.00 USD"), (1, "0.001 USD"), (10, "0.01 USD"), (1000, "1.00 USD")] {
            assert_eq!(tenth.of(credits).unwrap().to_string(), cost);
        }
        assert_eq!(price("1 USD / 1000").of(1_000_000), tenth.of(1_000_000));
    }

    #[test]
    fn what_does_not_divide_favours_nobody_who_goes_to_and_fro() {
        let third = price("1 EUR / 3");
        assert_eq!(third.of(1).unwrap().micros, 333_334);
        assert_eq!(third.payout_of(1).unwrap().micros, 333_333);
        assert_eq!(third.of(3), third.payout_of(3));
        assert_eq!(third.of(3_000_000).unwrap().to_string(), "1000000.00 EUR");
    }

    #[test]
    fn units_are_worth_the_sum_at_least() {
        let rate = price("6 EUR / 10000");
        for (sum, units) in
            [("0 EUR", 0), ("0.000001 EUR", 1), ("0.0006 EUR", 1), ("0.000601 EUR", 2), ("6 EUR", 10_000)]
        {
            assert_eq!(rate.units_for(sum.parse().unwrap()), Some(units), "{sum}");
        }
        assert_eq!(rate.units_for("1 USD".parse().unwrap()), None);
        assert_eq!(price("0 EUR").units_for("1 EUR".parse().unwrap()), None);
        assert_eq!(price("1 SAT").units_for("21 SAT".parse().unwrap()), Some(21));
    }

    #[test]
    fn sums_and_prices_are_read_as_they_are_shown() {
        for text in ["0.00 EUR", "12.50 EUR", "0.000001 CHF", "9000000000.123456 JPY"] {
            assert_eq!(text.parse::<Money>().unwrap().to_string(), text);
        }
        for text in ["0.001 EUR", "1.00 EUR / 3"] {
            assert_eq!(price(text).to_string(), text);
            assert_eq!(serde_json::from_str::<Price>(&format!("\"{text}\"")).unwrap(), price(text));
        }
        assert_eq!(Money { micros: -1_500_000, currency: "EUR".parse().unwrap() }.to_string(), "-1.50 EUR");
    }

    #[test]
    fn what_is_no_sum_is_refused() {
        for text in ["", "1", "1 eur", "1EUR", "-1 EUR", "1. EUR", ".5 EUR", "1.1234567 EUR", "1,5 EUR", "1 EURO"] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
        assert_eq!("99999999999999 EUR".parse::<Money>(), Err(MoneyError::Range));
        for text in ["1 EUR / 0", "1 EUR /", "1 EUR / x"] {
            assert_eq!(text.parse::<Price>(), Err(MoneyError::Price), "{text}");
        }
        assert_eq!(price("9000000000 EUR").of(u64::MAX), Err(MoneyError::Range));
    }
}
