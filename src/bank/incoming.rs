//! What a gateway that is paid asks of the bank before a message comes.

use super::error::BankError;
use super::handle::Bank;
use super::{request, schema};
use crate::accounting::bank::books::{Incoming, IncomingState};
use crate::emstamp::token::Payee;
use crate::store::SessionError;
use crate::time::UnixTime;
use redb::ReadableTable as _;

impl Bank {
    /// Returns what is known of the tokens with these IDs that came before, in the same order.
    pub fn incoming(&self, ids: &[&str]) -> Result<Vec<Option<Incoming>>, BankError> {
        self.read(|tx| {
            let rows = tx.open_table(schema::INCOMING)?;
            let row = |id: &&str| rows.get(*id)?.map(|row| schema::from_json(row.value())).transpose();
            ids.iter().map(row).collect()
        })
    }

    /// Lists the IDs of pending tokens that ended before a time: their message was never shown again.
    pub fn pending_before(&self, before: UnixTime) -> Result<Vec<String>, BankError> {
        self.read(|tx| {
            let mut found = Vec::new();
            for row in tx.open_table(schema::INCOMING)?.iter()? {
                let (id, row) = row?;
                let row: Incoming = schema::from_json(row.value())?;
                if row.state == IncomingState::Pending && row.until < before {
                    found.push(id.value().to_owned());
                }
            }
            Ok(found)
        })
    }

    /// Returns the account that others pay, as the agency names it; `None` before the first answer of the agency.
    pub fn payee(&self) -> Result<Option<Payee>, BankError> {
        self.read(|tx| {
            let Some(row) = tx.open_table(schema::STATE)?.get("receipt")? else { return Ok(None) };
            let receipt = request::receipt_of(row.value())?;
            let unpayable = "the receipt of the agency names an account that no token can pay";
            Payee::new(&receipt.name, &receipt.vendor).map(Some).map_err(|_| SessionError::damaged(&unpayable))
        })
    }
}
