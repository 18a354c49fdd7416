//! Backups: a consistent copy of the books while others work, and books put back from one. Signing keys are files of their
//! own that never change, and are copied as files. When codes were mailed is not copied: it matters for a day, and books of
//! before may have no such table.

use super::tables::{self, Step};
use crate::bank::chain::Head;
use redb::{Database, Key, ReadTransaction, ReadableTable, TableDefinition, Value, WriteTransaction};

/// Copies every table into an empty database; answers how far the copy's chain goes.
pub(super) fn copy(from: &ReadTransaction, to: &Database) -> Step<Head> {
    let mut tx = to.begin_write()?;
    tx.set_quick_repair(true);
    table(from, &tx, tables::META)?;
    table(from, &tx, tables::ENTRY)?;
    table(from, &tx, tables::BALANCE)?;
    table(from, &tx, tables::SERIAL)?;
    table(from, &tx, tables::REVOKED)?;
    table(from, &tx, tables::ACCOUNT)?;
    table(from, &tx, tables::NAME)?;
    table(from, &tx, tables::API_KEY)?;
    table(from, &tx, tables::KEYS_OF)?;
    table(from, &tx, tables::OWNER)?;
    table(from, &tx, tables::OWNED)?;
    table(from, &tx, tables::CODE)?;
    table(from, &tx, tables::VOUCHER)?;
    table(from, &tx, tables::DONE)?;
    table(from, &tx, tables::DONE_UNTIL)?;
    table(from, &tx, tables::SPENT)?;
    table(from, &tx, tables::HISTORY)?;
    table(from, &tx, tables::SIGNING)?;
    tx.commit()?;
    tables::head_in(&from.open_table(tables::ENTRY)?)
}

fn table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    definition: TableDefinition<K, V>,
) -> Step<()> {
    let mut table = to.open_table(definition)?;
    for row in from.open_table(definition)?.iter()? {
        let (key, value) = row?;
        table.insert(key.value(), value.value())?;
    }
    Ok(())
}
