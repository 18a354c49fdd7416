//! Rows of the wallet's tables: stamps, reservation keys and journalled purchases. All are JSON, since a wallet is
//! small and should be readable with common tools.

use super::Purchase;
use crate::message::address::Address;
use crate::sender::stamp_request::{ReservationKey, WalletStamp, WalletState};
use crate::stamp::serial::Serial;
use crate::stamp::token::Token;
use crate::store::SessionError;
use crate::time::UnixTime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A stamp. Times are seconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StampRow {
    pub stamp: String,
    pub vendor: String,
    pub serial: String,
    pub recipient: String,
    pub value: u64,
    pub sender: Option<String>,
    pub hashed: bool,
    pub not_before: Option<i64>,
    pub expires: Option<i64>,
    pub bought: i64,
    pub state: StateRow,
    /// Key of the named purchase that brought it, if it is free for other keys since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
}

/// State of a stamp.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StateRow {
    Unused,
    Reserved { key: String, at: i64 },
    Used { key: String, at: i64 },
}

/// Target of a reservation key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeyRow {
    Stamp {
        vendor: String,
        serial: String,
    },
    /// Journalled purchase that will deliver the stamp.
    Purchase {
        at: u64,
        id: String,
    },
}

/// A purchase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PurchaseRow {
    /// Idempotency key.
    pub id: String,
    pub at: i64,
    pub account: String,
    pub vendor: String,
    /// Exact bytes of the request: the vendor rejects the same key with another body.
    pub body: String,
    pub orders: Vec<OrderRow>,
    pub state: PurchaseState,
    /// What is wrong with the vendor's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// One stamp of a purchase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OrderRow {
    pub key: String,
    pub recipient: String,
    pub value: u64,
    pub sender: Option<String>,
    pub hashed: bool,
    /// Whether another request than the one that ordered it waits for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// Whether something else came than was ordered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub faulty: bool,
}

/// State of a purchase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PurchaseState {
    /// The request may have been sent; no answer has come.
    Open,
    /// The stamps are in the wallet.
    Arrived,
    /// The vendor refused, and nothing was charged.
    Refused,
    /// The result is unknown, and it is too late to ask.
    Lost,
    /// The vendor answered, and not all of it is what was ordered. The rest is in the wallet.
    Faulty,
}

pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SessionError> {
    serde_json::from_slice(bytes).map_err(|error| SessionError::damaged(&error))
}

pub(super) fn written<T: Serialize>(row: &T) -> Result<Vec<u8>, SessionError> {
    serde_json::to_vec(row).map_err(|error| SessionError::damaged(&error))
}

impl PurchaseRow {
    pub(super) fn shown(self) -> Purchase {
        let open = self.state == PurchaseState::Open;
        let is_lost = |order: &OrderRow| match self.state {
            PurchaseState::Open => self.fault.is_some(),
            PurchaseState::Arrived | PurchaseState::Refused => false,
            PurchaseState::Lost => true,
            PurchaseState::Faulty => order.faulty,
        };
        let stamps = |orders: &mut dyn Iterator<Item = &OrderRow>| -> Vec<(String, u64)> {
            orders.map(|order| (order.recipient.clone(), order.value)).collect()
        };
        let lost = stamps(&mut self.orders.iter().filter(|order| is_lost(order)));
        let unanswered =
            || (self.state == PurchaseState::Lost).then(|| "the vendor did not answer in 6 days".to_owned());
        Purchase {
            stamps: stamps(&mut self.orders.iter()),
            at: UnixTime(self.at),
            open,
            lost,
            fault: self.fault.clone().or_else(unanswered),
            id: self.id,
            account: self.account,
        }
    }
}

impl StampRow {
    pub(super) fn expired(&self, now: UnixTime) -> bool {
        self.expires.is_some_and(|end| end <= now.0)
    }

    pub(super) fn held(self) -> Result<WalletStamp, SessionError> {
        let damaged = |what: &str| SessionError::damaged(&format!("a stamp in it has no {what}"));
        let key = |key: String| ReservationKey::from_text(&key);
        Ok(WalletStamp {
            token: Token::parse(&self.stamp).map_err(|_| damaged("token"))?,
            vendor: self.vendor,
            serial: Serial::new(self.serial).map_err(|_| damaged("serial"))?,
            recipient: Address::parse(&self.recipient).map_err(|_| damaged("recipient"))?,
            value: self.value,
            not_before: self.not_before.map(UnixTime),
            expires: self.expires.map(UnixTime),
            bought: UnixTime(self.bought),
            state: match self.state {
                StateRow::Unused => WalletState::Unused,
                StateRow::Reserved { key: text, at } => WalletState::Reserved { key: key(text), at: UnixTime(at) },
                StateRow::Used { key: text, at } => WalletState::Used { key: key(text), at: UnixTime(at) },
            },
        })
    }
}
