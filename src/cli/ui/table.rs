//! Text tables with aligned columns, the first flush left, numbers flush right. Includes the tables that `scan` and
//! `stats` share.

use super::counts::{Tally, grouped, share};
use super::output;
use crate::verdict::class::Class;

/// Table under construction.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    left: usize,
}

impl Table {
    /// Returns a table with this head, whose first `left` columns are flush left.
    #[must_use]
    pub fn new(head: &[&str], left: usize) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()], left }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Returns the lines of the table. A cell may be wider than its column; no text is cut.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                if column < self.left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// Returns the table of classes and reasons.
#[must_use]
pub fn classes(tally: &Tally) -> String {
    let whole = tally.classes.sum();
    let mut table = Table::new(&["class", "reason", "messages", "share"], 2);
    let mut styles = vec![None];
    for (class, count) in tally.classes.each() {
        table.row([class.to_string(), String::new(), grouped(count), share(count, whole)]);
        styles.push(Some(output::style(class)));
        for (reason, count) in tally.reasons().filter(|(reason, _)| reason.class() == class) {
            table.row([String::new(), reason.to_string(), grouped(count), share(count, whole)]);
            styles.push(None);
        }
    }
    let lines = table.lines().into_iter().zip(styles).map(|(line, style)| match style {
        Some(style) => {
            let (word, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
            format!("{style}{word}{style:#}{rest}\n")
        }
        None => format!("{line}\n"),
    });
    lines.collect()
}

/// Limit on the vendors in a table.
const VENDORS: usize = 20;

/// Returns the table of vendors with the classes of the messages that carry their stamps, forged ones included.
#[must_use]
pub fn vendors(tally: &Tally) -> String {
    let vendors = tally.vendors();
    // An empty column is left out.
    let kinds: Vec<Class> =
        Class::ALL.into_iter().filter(|class| vendors.iter().any(|(_, counts)| counts.of(*class) > 0)).collect();
    let mut head = vec!["vendor", "messages"];
    head.extend(kinds.iter().map(|class| class.as_str()));
    let mut table = Table::new(&head, 1);
    for (name, counts) in vendors.iter().take(VENDORS) {
        let mut cells = vec![(*name).to_owned(), grouped(counts.sum())];
        cells.extend(kinds.iter().map(|class| grouped(counts.of(*class))));
        table.row(cells);
    }
    let mut text: String = table.lines().into_iter().map(|line| line + "\n").collect();
    if let Some(more) = vendors.len().checked_sub(VENDORS).filter(|more| *more > 0) {
        text.push_str(&format!("and {} more\n", grouped(more as u64)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::reason::Reason;

    #[test]
    fn columns_stand_under_each_other() {
        let mut table = Table::new(&["name", "n"], 1);
        table.row(["ä".to_owned(), "1,000".to_owned()]);
        table.row(["longer".to_owned(), "7".to_owned()]);
        assert_eq!(table.lines(), ["name        n", "ä       1,000", "longer      7"]);
    }

    #[test]
    fn every_class_has_a_row_and_every_reason_that_occurred() {
        let mut tally = Tally::default();
        tally.add(Reason::Paid, Some("v.example"));
        tally.add(Reason::Used, Some("v.example"));
        tally.add(Reason::NoStamp, None);
        let text = anstream::adapter::strip_str(&classes(&tally)).to_string();
        assert_eq!(text.lines().count(), 1 + Class::ALL.len() + 3);
        assert!(
            text.contains("\nfirst-class                   1  33.3 %\n             paid             1  33.3 %\n"),
            "{text}"
        );
        assert_eq!(vendors(&tally), "vendor     messages  first-class  used\nv.example         2            1     1\n");
    }
}
