//! `mailstamp stats`: counts mail by class, vendor, grant and time. It prints tables and a plot on the terminal, JSON,
//! or a page. `count` computes the numbers; `plot` and `page` show them.

mod chart;
mod count;
#[cfg(feature = "sender")]
mod credits;
mod page;
mod plot;

use crate::cli::ui::exit_status::{self, Failure};
use crate::cli::ui::output;
use crate::cli::ui::since::Since;
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::log::verdict_log::VerdictLog;
use crate::time::UnixTime;
use count::{By, Counting, Figures};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Show how much mail of each class came, from which vendors, and what you granted and revoked.
///
/// Messages are counted from the verdict log, which holds the last fifty thousand or so. Days are those of UTC.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp stats\n  \
    mailstamp stats --since 30d --by week\n  \
    mailstamp stats --html stats.html\n  \
    mailstamp stats --json | jq .classes")]
pub struct Args {
    /// Count only from this time on: a time, a day (2026-11-21), or a number of days back (30d)
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Combine the counts by day, week or month [default: what fits]
    #[arg(long, value_enum, value_name = "PERIOD")]
    by: Option<By>,
    /// Draw with ASCII only
    #[arg(long)]
    ascii: bool,
    /// Print the numbers as a JSON object
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Write a page with charts to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The user whose state is meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    let since = args.since.map(|since| since.from(context.now));
    let mut counting = Counting::new(since, context.now);
    let log = VerdictLog::new(context.places.user_state()?);
    let broken = log
        .each(&mut |entry| counting.entry(&entry))
        .map_err(|error| Failure::new(exit_status::IO, format!("cannot read the verdict log: {error}")))?;
    context.used_log()?.standings(&mut |_, _, standing| {
        counting.standing(&standing);
        ControlFlow::Continue(())
    })?;
    let (figures, by) = counting.finish(args.by, broken);
    #[cfg(feature = "sender")]
    let credits = credits::Credits::read(&context, since)?.map(|credits| credits.finish(by));
    if args.json {
        let value = to_json(&figures, by, since);
        #[cfg(feature = "sender")]
        let value = credits::with_json(value, credits.as_ref());
        output::line(&value.to_string()).map_err(|error| Failure::output(exit_status::IO, &error))?;
        return Ok(0);
    }
    if let Some(path) = &args.html {
        let more = String::new();
        #[cfg(feature = "sender")]
        let more = credits.map(|credits| credits.html(by)).unwrap_or(more);
        return write_page(path, &page::page(&figures, &more, by, since, context.now));
    }
    let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
    let text = plot::all(&figures, by, plot::Look { width, ascii: args.ascii });
    #[cfg(feature = "sender")]
    let text = credits.map(|credits| credits.text()).into_iter().fold(text, |text, more| text + "\n" + &more);
    print(&figures, since, &text).map_err(|error| Failure::output(exit_status::IO, &error))?;
    Ok(0)
}

fn print(figures: &Figures, since: Option<UnixTime>, text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    match (figures.span, since) {
        (Some((first, last)), _) => writeln!(out, "{} to {}\n", first, last)?,
        (None, Some(since)) => writeln!(out, "no message was judged since {since}\n")?,
        (None, None) => writeln!(out, "no message was judged yet\n")?,
    }
    write!(out, "{text}")?;
    if figures.broken > 0 {
        writeln!(out, "\nlines of the verdict log that could not be read: {}", figures.broken)?;
    }
    out.flush()
}

fn write_page(path: &Path, page: &str) -> Result<u8, Failure> {
    let written = if path == Path::new("-") {
        let mut stdout = io::stdout().lock();
        stdout.write_all(page.as_bytes()).and_then(|()| stdout.flush())
    } else {
        fs::write(path, page)
    };
    let failed = |error| Failure::new(exit_status::CANNOT_CREATE, format!("cannot write {}: {error}", path.display()));
    written.map_err(failed)?;
    Ok(0)
}

fn to_json(figures: &Figures, by: By, since: Option<UnixTime>) -> Value {
    let grants = &figures.grants;
    let mut value = figures.tally.json();
    let period = |(begin, period): (&jiff::civil::Date, &count::Period)| {
        json!({
            "begin": begin.to_string(),
            "messages": period.classes.sum(),
            "classes": period.classes.json(),
            "first_class_by_vendor": period.vendors,
            "granted": period.given,
            "revoked": period.revoked,
            "refused": period.refused,
        })
    };
    value["schema"] = output::SCHEMA.into();
    value["since"] = since.map(|since| since.to_string()).into();
    value["first"] = figures.span.map(|(first, _)| first.to_string()).into();
    value["last"] = figures.span.map(|(_, last)| last.to_string()).into();
    value["credits"] = figures.credits.into();
    value["by"] = by.as_str().into();
    value["periods"] = figures.periods.iter().map(period).collect::<Vec<_>>().into();
    value["grants"] = json!({
        "given": { "return": grants.given_return, "multi-use": grants.given_multi_use },
        "revoked": grants.revoked,
        "refused": grants.refused,
        "in_force": grants.in_force,
        "revocations_in_force": grants.standing_revocations,
    });
    value["unreadable_lines"] = figures.broken.into();
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_time_a_day_or_days_back() {
        let now = UnixTime(1_795_262_400);
        let from = |text: &str| text.parse::<Since>().map(|since| since.from(now));
        assert_eq!(from("2026-11-21"), Ok(UnixTime(1_795_219_200)));
        assert_eq!(from("2026-11-21T12:00:00Z"), Ok(now));
        assert_eq!(from("5"), Ok(UnixTime(5)));
        assert_eq!(from("2d"), Ok(UnixTime(now.0 - 172_800)));
        for text in ["", "d", "-1d", "9999999d", "yesterday", "2026-02-30"] {
            assert!(from(text).is_err(), "{text}");
        }
    }
}
