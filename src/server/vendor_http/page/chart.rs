//! Chart of an account: stamps bought and handed in on each day as bars, the balance as a line above.
//!
//! The SVG uses classes only, since the content security policy allows no inline style. The table beside it has the
//! same numbers.

use crate::ledger::model::Day;
use std::fmt::Write;

/// Number of days in the chart.
pub const DAYS: i64 = 30;
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 180.0;
/// Height below the bars for the line at zero.
const FOOT: f64 = 4.0;

/// Returns the first day in the chart.
#[must_use]
pub fn first(today: i64) -> i64 {
    today - DAYS + 1
}

/// Returns each day up to `today` of an account with the balance `now`.
///
/// A day without an entry has the balance of the day before.
#[must_use]
pub fn days(known: &[Day], today: i64, now: u64) -> Vec<Day> {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    // Without an entry on any of them the balance never changed.
    let mut balance = known.first().map_or(now, |day| day.before);
    (first(today)..=today)
        .map(|number| match known.iter().find(|day| day.day == number) {
            Some(day) => {
                balance = day.balance;
                *day
            }
            None => Day { day: number, balance, ..Day::default() },
        })
        .collect()
}

/// Formats a day as `2026-12-24`.
#[must_use]
pub fn date(day: &i64) -> String {
    let time = crate::time::UnixTime(day.saturating_mul(86_400)).to_string();
    time.split('T').next().unwrap_or_default().to_owned()
}

/// Draws the chart, without the `svg` element around it.
#[must_use]
pub fn drawing(days: &[Day]) -> String {
    let most = days.iter().map(|day| day.bought.max(day.deposited)).max().unwrap_or(0).max(1) as f64;
    let highest = days.iter().map(|day| day.balance).max().unwrap_or(0).max(1) as f64;
    let step = WIDTH / days.len().max(1) as f64;
    let room = HEIGHT - FOOT;
    let mut out = String::new();
    for line in [0.0, 0.5, 1.0] {
        let y = room * line + FOOT / 2.0;
        // Writing into a String cannot fail.
        let _ = write!(out, "<line class=\"grid\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
    }
    for (at, day) in days.iter().enumerate() {
        let x = step * at as f64;
        let mut bar = |class: &str, count: u64, offset: f64| {
            if count > 0 {
                let height = (room * count as f64 / most).max(2.0);
                let _ = write!(
                    out,
                    "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
                    x + step * offset,
                    HEIGHT - FOOT / 2.0 - height,
                    step * 0.36
                );
            }
        };
        bar("bought", day.bought, 0.12);
        bar("deposited", day.deposited, 0.52);
    }
    let points: Vec<String> = days
        .iter()
        .enumerate()
        .map(|(at, day)| {
            let y = FOOT / 2.0 + room * (1.0 - day.balance.max(0) as f64 / highest);
            format!("{:.1},{y:.1}", step * (at as f64 + 0.5))
        })
        .collect();
    let _ = write!(out, "<polyline class=\"balance\" points=\"{}\"/>", points.join(" "));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_without_an_entry_keep_the_balance() {
        let known = [Day { day: 98, bought: 5, deposited: 0, before: 50, balance: 45 }];
        let shown = days(&known, 100, 45);
        assert_eq!(shown.len(), 30);
        assert_eq!((shown[0].day, shown[0].balance), (71, 50));
        assert_eq!((shown[27].bought, shown[27].balance), (5, 45));
        assert_eq!((shown[29].day, shown[29].bought, shown[29].balance), (100, 0, 45));
        assert!(days(&[], 100, 7).iter().all(|day| day.balance == 7));
    }

    #[test]
    fn a_chart_holds_numbers_only_and_stays_inside() {
        let known = [Day { day: 100, bought: u64::MAX, deposited: 1, before: 0, balance: i64::MAX }];
        let drawing = drawing(&days(&known, 100, 1));
        assert!(!drawing.contains("NaN") && !drawing.contains("inf") && !drawing.contains("style"), "{drawing}");
        assert_eq!(drawing.matches("<rect").count(), 2);
        let heights = drawing.split("height=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        assert!(heights.map(|height| height.parse::<f64>().unwrap()).all(|height| height <= HEIGHT));
        assert_eq!(date(&20_000), "2024-10-04");
    }
}
