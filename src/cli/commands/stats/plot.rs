//! The numbers for a terminal: tables, and a bar for each period that shows how much mail was let through, left open or
//! refused. The three differ by their sign as well as by their colour.

use super::count::{By, Figures, Period, leading};
use crate::cli::ui::counts::{Counts, OTHERS, grouped};
use crate::cli::ui::table::{self, Table};
use crate::verdict::class::Class;
use anstyle::{AnsiColor, Style};
use jiff::civil::Date;
use std::fmt::Write;

/// Options for drawing.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Columns of the terminal.
    pub width: usize,
    /// Only ASCII.
    pub ascii: bool,
}

/// Periods that are shown, the last ones.
pub const SHOWN: usize = 40;
/// Vendors that have a column of their own.
const VENDORS: usize = 4;

const GROUPS: [(&str, char, char, AnsiColor); 3] = [
    ("let through (first-class, allowed)", '█', '#', AnsiColor::Green),
    ("open (unstamped, underpaid, unverified)", '▒', '=', AnsiColor::Yellow),
    ("refused (invalid, used, revoked)", '░', '.', AnsiColor::Red),
];

/// Formats everything. The output stream removes the colours where it is not a terminal.
#[must_use]
pub fn all(figures: &Figures, by: By, look: Look) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write!(text, "{}", table::classes(&figures.tally));
    if !figures.tally.vendors().is_empty() {
        let _ = write!(text, "\n{}", table::vendors(&figures.tally));
    }
    let _ = write!(text, "\n{}", grants(figures));
    if !figures.periods.is_empty() {
        let _ = write!(text, "\n{}", over_time(figures, by));
        let _ = write!(text, "\n{}", vendors_over_time(figures, by));
        let _ = write!(text, "\n{}", bars(figures, look));
    }
    text
}

fn grants(figures: &Figures) -> String {
    let grants = &figures.grants;
    let mut table = Table::new(&["grants and revocations", ""], 1);
    for (what, count) in [
        ("return grants given", grants.given_return),
        ("multi-use grants given", grants.given_multi_use),
        ("stamps revoked", grants.revoked),
        ("messages refused with them", grants.refused),
        ("grants in force now", grants.in_force),
        ("revocations in force now", grants.standing_revocations),
        ("credits spent on your mail", figures.credits),
    ] {
        table.row([what.to_owned(), grouped(count)]);
    }
    joined(&table)
}

fn shown(figures: &Figures) -> impl Iterator<Item = (&Date, &Period)> {
    figures.periods.iter().skip(figures.periods.len().saturating_sub(SHOWN))
}

fn over_time(figures: &Figures, by: By) -> String {
    let kinds: Vec<Class> = Class::ALL.into_iter().filter(|class| figures.tally.classes.of(*class) > 0).collect();
    let mut head = vec![by.as_str(), "messages"];
    head.extend(kinds.iter().map(|class| class.as_str()));
    head.extend(["granted", "revocations", "refusals"]);
    let mut table = Table::new(&head, 1);
    for (begin, period) in shown(figures) {
        let mut cells = vec![begin.to_string(), grouped(period.classes.sum())];
        cells.extend(kinds.iter().map(|class| grouped(period.classes.of(*class))));
        cells.extend([period.given, period.revoked, period.refused].map(grouped));
        table.row(cells);
    }
    let mut text = joined(&table);
    let before = figures.periods.len().saturating_sub(SHOWN);
    if before > 0 {
        let _ = writeln!(text, "the last {SHOWN}; {} before are not shown", grouped(before as u64));
    }
    text
}

fn vendors_over_time(figures: &Figures, by: By) -> String {
    let (names, counts) = leading(figures, VENDORS);
    if names.is_empty() {
        return String::new();
    }
    let heading = format!("first-class by {}", by.as_str());
    let mut head = vec![heading.as_str()];
    head.extend(names.iter().map(String::as_str));
    head.push(OTHERS);
    let mut table = Table::new(&head, 1);
    for (begin, period) in shown(figures) {
        let mut cells = vec![begin.to_string()];
        cells.extend(counts(period).into_iter().map(grouped));
        table.row(cells);
    }
    joined(&table)
}

fn joined(table: &Table) -> String {
    table.lines().into_iter().map(|line| line + "\n").collect()
}

fn bars(figures: &Figures, look: Look) -> String {
    let most = shown(figures).map(|(_, period)| period.classes.sum()).max().unwrap_or_default();
    let number = grouped(most).len();
    // The day, two blanks on either side of the number, and the bar.
    let room = look.width.saturating_sub("2026-11-21".len() + number + 4).clamp(10, 200);
    let mut text = String::new();
    for (begin, period) in shown(figures) {
        let mut line = format!("{begin}  {:>number$}  ", grouped(period.classes.sum()));
        for (cells, (_, sign, ascii, colour)) in cells(&period.classes, most, room).into_iter().zip(GROUPS) {
            if cells > 0 {
                let style = Style::new().fg_color(Some(colour.into()));
                let sign = if look.ascii { ascii } else { sign };
                let _ = write!(line, "{style}{}{style:#}", sign.to_string().repeat(cells));
            }
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for (name, sign, ascii, colour) in GROUPS {
        let style = Style::new().fg_color(Some(colour.into()));
        let sign = if look.ascii { ascii } else { sign };
        let _ = writeln!(text, "{style}{sign}{style:#} {name}");
    }
    text
}

/// Returns the cells of each group, so that `most` messages fill `room`. A group that occurred has at least one cell,
/// while there is space. The whole is never longer than `room`.
fn cells(counts: &Counts, most: u64, room: usize) -> [usize; 3] {
    let groups = counts.groups();
    let mut cells = groups.map(|count| {
        let cells = u128::from(count) * room as u128 / u128::from(most.max(1));
        usize::try_from(cells).unwrap_or(room).max(usize::from(count > 0))
    });
    while cells.iter().sum::<usize>() > room {
        if let Some(longest) = cells.iter_mut().max() {
            *longest -= 1;
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(through: u64, open: u64, refused: u64) -> Counts {
        let mut counts = Counts::default();
        for (class, times) in [(Class::FirstClass, through), (Class::Unstamped, open), (Class::Used, refused)] {
            (0..times).for_each(|_| counts.add(class));
        }
        counts
    }

    #[test]
    fn bars_are_to_scale_and_show_what_is_rare() {
        assert_eq!(cells(&counts(50, 25, 25), 100, 20), [10, 5, 5]);
        assert_eq!(cells(&counts(25, 0, 0), 100, 20), [5, 0, 0]);
        assert_eq!(cells(&counts(998, 1, 1), 1000, 20), [18, 1, 1]);
        assert_eq!(cells(&counts(0, 0, 0), 0, 20), [0, 0, 0]);
    }

    proptest! {
        #[test]
        fn no_bar_is_too_long(a in 0_u64..500, b in 0_u64..500, c in 0_u64..500, more in 0_u64..500, room in 10_usize..200) {
            let counts = counts(a, b, c);
            let cells = cells(&counts, counts.sum() + more, room);
            prop_assert!(cells.iter().sum::<usize>() <= room);
            for (cells, count) in cells.into_iter().zip(counts.groups()) {
                prop_assert_eq!(cells > 0, count > 0);
            }
        }
    }
}
