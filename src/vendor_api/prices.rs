//! Prices of a vendor: `/v1/prices`.

use crate::accounting::order::Caps;
use serde::{Deserialize, Serialize};

/// Query of the price of a number of credits.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PriceQuery {
    /// Number of credits to price, instead of some usual numbers.
    pub credits: Option<u64>,
}

/// Prices and caps of the vendor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Prices {
    /// Name of the vendor, as in its stamps.
    pub vendor: String,
    /// Price of one credit, or of several.
    #[cfg_attr(test, schemars(regex(pattern = r"^[0-9]+\.[0-9]{2,6} [A-Z]{3}( / [0-9]+)?$")))]
    pub price: String,
    /// Payout for one credit, or for several.
    #[serde(skip_deserializing)]
    #[cfg_attr(test, schemars(regex(pattern = r"^[0-9]+\.[0-9]{2,6} [A-Z]{3}( / [0-9]+)?$")))]
    pub payout: String,
    #[serde(skip_deserializing)]
    pub examples: Vec<PriceExample>,
    /// Lifetime in days of a stamp without a given end.
    #[serde(skip_deserializing)]
    pub days: u32,
    #[serde(skip_deserializing)]
    pub caps: Caps,
}

/// Price of a number of credits.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PriceExample {
    pub credits: u64,
    #[cfg_attr(test, schemars(regex(pattern = r"^[0-9]+\.[0-9]{2,6} [A-Z]{3}$")))]
    pub cost: String,
}
