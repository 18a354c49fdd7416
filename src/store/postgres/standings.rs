//! Grants and revocations in PostgreSQL. The status is kept as the JSON text that was read, so that a compare-and-swap
//! compares what was seen.

use super::Postgres;
use super::connection::{Connection, Failure};
use super::rows;
use super::spends::{self, Stood};
use crate::grant::StampStatus;
use crate::stamp::serial::Serial;
use crate::store::decide::{self, StampId};
use crate::store::error::StoreError;
use crate::store::{ExportRecord, GrantStore};
use std::ops::ControlFlow;
use tokio_postgres::types::Type;

impl GrantStore for Postgres {
    fn standing(&self, vendor: &str, serial: &Serial) -> Result<StampStatus, StoreError> {
        let stamp = decide::name(vendor, serial);
        self.read(async |connection| rows::standing_of(text(connection, &stamp).await?.as_deref()))
    }

    fn update_status(
        &self,
        vendor: &str,
        serial: &Serial,
        change: &mut dyn FnMut(&StampStatus) -> StampStatus,
    ) -> Result<StampStatus, StoreError> {
        let stamp = decide::name(vendor, serial);
        self.write(async |connection| {
            rows::in_rounds(connection, async |connection| {
                let old = text(connection, &stamp).await?;
                let before = rows::standing_of(old.as_deref())?;
                let after = change(&before);
                if before == after {
                    return Ok(Some(before));
                }
                let stood = Stood { stamp, vendor, serial: serial.as_str(), old: &old, new: &rows::text_of(&after) };
                Ok(spends::stand(connection, &[stood]).await?.contains(&stamp).then_some(before))
            })
            .await
        })
    }

    fn standings(&self, to: &mut dyn FnMut(String, Serial, StampStatus) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.visit(&[super::export::Table::Standings], &mut |row| match row {
            ExportRecord::Standing { vendor, serial, standing } => to(vendor, serial, *standing),
            _ => ControlFlow::Continue(()),
        })
    }
}

/// Reads the text of a status.
async fn text(connection: &mut Connection, stamp: &StampId) -> Result<Option<String>, Failure> {
    let space = connection.space;
    let text = "select standing from mailstamp.standing where space = $1 and stamp = $2";
    let rows = connection.rows(text, &[(&space, Type::INT4), (&stamp.as_slice(), Type::BYTEA)]).await?;
    rows.first().map(|row| rows::value(row, 0)).transpose()
}
