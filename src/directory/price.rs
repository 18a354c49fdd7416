//! What a credit costs: an amount of money for a number of credits, so that a thousandth of a cent needs no fraction that
//! a float would round. Amounts are decimal numbers in text, as people and other programs write them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// So much money for so many credits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// The money: digits, at most 12 before the point and 6 after it.
    pub amount: String,
    /// Its currency: three capital letters (ISO 4217).
    pub currency: String,
    /// For how many credits.
    #[serde(default = "one")]
    pub credits: u64,
}

/// The text is not a price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a price (write \"1.00 EUR / 1000\")")]
pub struct PriceError(String);

fn one() -> u64 {
    1
}

impl Price {
    /// The amount in millionths of the currency.
    ///
    /// # Errors
    /// [`PriceError`] for a price that is not of this form.
    pub fn millionths(&self) -> Result<u64, PriceError> {
        let wrong = || PriceError(self.to_string());
        let (whole, part) = self.amount.split_once('.').unwrap_or((&self.amount, "0"));
        let digits = |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let currency = self.currency.len() == 3 && self.currency.bytes().all(|b| b.is_ascii_uppercase());
        if !digits(whole, 12) || !digits(part, 6) || !currency || self.credits == 0 {
            return Err(wrong());
        }
        format!("{whole}{part:0<6}").parse().map_err(|_| wrong())
    }
}

impl FromStr for Price {
    type Err = PriceError;

    /// Reads `1.00 EUR / 1000`, or `0.001 EUR` for one credit.
    fn from_str(text: &str) -> Result<Self, PriceError> {
        let wrong = || PriceError(text.to_owned());
        let (money, credits) = text.split_once('/').unwrap_or((text, "1"));
        let (amount, currency) = money.trim().split_once(' ').ok_or_else(wrong)?;
        let price = Self {
            amount: amount.to_owned(),
            currency: currency.trim().to_owned(),
            credits: credits.trim().parse().map_err(|_| wrong())?,
        };
        price.millionths().map_err(|_| wrong())?;
        Ok(price)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} / {}", self.amount, self.currency, self.credits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_a_cent_is_exact_both_ways() {
        for (text, millionths, credits) in [
            ("1.00 EUR / 1000", 1_000_000, 1000),
            ("0.001 USD", 1_000, 1),
            ("999999999999.999999 JPY/1", 999_999_999_999_999_999, 1),
        ] {
            let price: Price = text.parse().unwrap();
            assert_eq!((price.millionths().unwrap(), price.credits), (millionths, credits), "{text}");
            assert_eq!(price.to_string().parse::<Price>().unwrap(), price);
        }
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for text in [
            "",
            "1",
            "EUR 1",
            "1,00 EUR",
            "-1 EUR",
            "1.0000001 EUR",
            "1. EUR",
            ".5 EUR",
            "1 eur",
            "1 EUR / 0",
            "1 EUR / -1",
        ] {
            assert!(text.parse::<Price>().is_err(), "{text}");
        }
    }
}
