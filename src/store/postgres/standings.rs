//! Grants and revocations in PostgreSQL. The status is kept as the JSON text that was read, so that a compare-and-swap
//! compares what was seen.

use super::Postgres;
use super::connection::Parameter;
use super::rows;
use super::spends::{self, Stood};
use crate::grant::StampStatus;
use crate::stamp::serial::Serial;
use crate::store::decide;
use crate::store::error::StoreError;
use crate::store::{ExportRecord, GrantStore};
use std::ops::ControlFlow;
use std::time::Instant;
use tokio_postgres::types::Type;

/// How often a status that others change meanwhile is read again.
const ROUNDS: usize = 20;

const READ: &str = "select standing from mailstamp.standing where space = $1 and stamp = $2";

impl GrantStore for Postgres {
    fn standing(&self, vendor: &str, serial: &Serial) -> Result<StampStatus, StoreError> {
        let stamp = decide::name(vendor, serial);
        self.read(async |connection| {
            let space = connection.space;
            let key: [Parameter; 2] = [(&space, Type::INT4), (&stamp.as_slice(), Type::BYTEA)];
            let rows = connection.rows(READ, &key).await?;
            let known = rows.first().map(|row| serde_json::from_str(row.get(0)));
            Ok(known.transpose().map_err(|_| rows::damaged(connection))?.unwrap_or_default())
        })
    }

    fn update_status(
        &self,
        vendor: &str,
        serial: &Serial,
        change: &mut dyn FnMut(&StampStatus) -> StampStatus,
    ) -> Result<StampStatus, StoreError> {
        let stamp = decide::name(vendor, serial);
        let began = Instant::now();
        self.write(async |connection| {
            let space = connection.space;
            for _ in 0..ROUNDS {
                let key: [Parameter; 2] = [(&space, Type::INT4), (&stamp.as_slice(), Type::BYTEA)];
                let rows = connection.rows(READ, &key).await?;
                let old: Option<String> = rows.first().map(|row| row.get(0));
                let before = match &old {
                    Some(text) => serde_json::from_str(text).map_err(|_| rows::damaged(connection))?,
                    None => StampStatus::default(),
                };
                let after = change(&before);
                let new = rows::text_of(&after);
                if before == after {
                    return Ok(before);
                }
                let stood = Stood { stamp, vendor, serial: serial.as_str(), old: &old, new: &new };
                if spends::stand(connection, &[stood]).await?.contains(&stamp) {
                    return Ok(before);
                }
            }
            Err(rows::busy(connection, began.elapsed()).into())
        })
    }

    fn standings(&self, to: &mut dyn FnMut(String, Serial, StampStatus) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.visit(&[super::export::Table::Standings], &mut |row| match row {
            ExportRecord::Standing { vendor, serial, standing } => to(vendor, serial, *standing),
            _ => ControlFlow::Continue(()),
        })
    }
}
