//! Backups: a consistent copy of the ledger while others write, and the restore of one.
//!
//! Signing keys are not included: they are files that never change, and are copied as files. The times of mailed codes
//! are not copied either: they matter for a day, and an older ledger may not have their table.

use super::schema::{self, TxResult};
use crate::accounting::hash_chain::Head;
use redb::{Database, Key, ReadTransaction, ReadableTable, TableDefinition, Value, WriteTransaction};

/// Copies every table into an empty database, and returns the head of the copied chain.
pub(super) fn copy(from: &ReadTransaction, to: &Database) -> TxResult<Head> {
    let mut tx = to.begin_write()?;
    tx.set_quick_repair(true);
    table(from, &tx, schema::META)?;
    table(from, &tx, schema::ENTRY)?;
    table(from, &tx, schema::BALANCE)?;
    table(from, &tx, schema::SERIAL)?;
    table(from, &tx, schema::REVOKED)?;
    table(from, &tx, schema::ACCOUNT)?;
    table(from, &tx, schema::NAME)?;
    table(from, &tx, schema::API_KEY)?;
    table(from, &tx, schema::KEYS_OF)?;
    table(from, &tx, schema::OWNER)?;
    table(from, &tx, schema::OWNED)?;
    table(from, &tx, schema::CODE)?;
    table(from, &tx, schema::VOUCHER)?;
    table(from, &tx, schema::DONE)?;
    table(from, &tx, schema::DONE_UNTIL)?;
    table(from, &tx, schema::SPENT)?;
    table(from, &tx, schema::HISTORY)?;
    table(from, &tx, schema::SIGNING)?;
    table(from, &tx, schema::OUTPUT)?;
    table(from, &tx, schema::LICENSE)?;
    table(from, &tx, schema::LICENSE_NAMED)?;
    table(from, &tx, schema::LICENSES_OF)?;
    table(from, &tx, schema::LICENSE_DUE)?;
    table(from, &tx, schema::PAYMENT)?;
    table(from, &tx, schema::OVER)?;
    table(from, &tx, schema::BANK)?;
    table(from, &tx, schema::LOGGED)?;
    table(from, &tx, schema::LOGGED_BEFORE)?;
    tx.commit()?;
    schema::head_in(&from.open_table(schema::ENTRY)?)
}

fn table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    definition: TableDefinition<K, V>,
) -> TxResult<()> {
    let mut table = to.open_table(definition)?;
    for row in from.open_table(definition)?.iter()? {
        let (key, value) = row?;
        table.insert(key.value(), value.value())?;
    }
    Ok(())
}
