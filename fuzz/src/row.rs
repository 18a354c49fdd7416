//! Rows of a store as `export` writes them, one JSON object a line. What is read is written and read the same; the same
//! rows once more change nothing; and what a store gave away, an empty one takes in whole.

use mailstamp::store::memory::Memory;
use mailstamp::store::{ExportRecord, Store};
use std::ops::ControlFlow;

/// Checks one input.
pub fn run(input: &[u8]) {
    let lines = input.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let rows: Vec<ExportRecord> = lines.collect();
    for row in &rows {
        let written = serde_json::to_vec(row).expect("a row");
        assert_eq!(serde_json::from_slice::<ExportRecord>(&written).ok().as_ref(), Some(row));
    }
    let store = Memory::new();
    if store.import(&mut rows.iter().cloned()).is_err() {
        return;
    }
    let all = exported(&store);
    let again = store.import(&mut rows.into_iter()).expect("rows that were taken in");
    assert_eq!((again.taken, exported(&store)), (0, all.clone()));

    let copy = Memory::new();
    let taken = copy.import(&mut all.iter().cloned()).expect("rows that were exported");
    assert_eq!(exported(&copy), all);
    assert_eq!(taken.taken + taken.known, all.len() as u64);
}

fn exported(store: &Memory) -> Vec<ExportRecord> {
    let mut rows = Vec::new();
    let mut to = |row| {
        rows.push(row);
        ControlFlow::Continue(())
    };
    store.export(&mut to).expect("a store in memory");
    rows
}
