//! The numbers as one self-contained page: it includes its style and its charts, runs no script and loads nothing.
//! Every chart has a table with the same numbers. Text from outside is escaped.

use super::chart::{Chart, escaped};
use super::count::{By, Figures, Period, leading};
use crate::cli::ui::counts::{OTHERS, grouped, share};
use crate::time::UnixTime;
use crate::verdict::class::Class;
use jiff::civil::Date;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Periods in a chart, the last ones. The tables hold them all.
const SHOWN: usize = 100;
/// Vendors that have a colour of their own.
const COLOURS: usize = 5;
/// Vendors in the table of vendors.
const VENDORS: usize = 50;

/// Counts by the first days of periods.
pub(super) type Periods<P> = BTreeMap<Date, P>;

const STYLE: &str = include_str!("page.css");

/// Returns the page. `more` is HTML for further sections.
#[must_use]
pub fn page(figures: &Figures, more: &str, by: By, since: Option<UnixTime>, now: UnixTime) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Stamped mail</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Stamped mail</h1>\n"
    );
    // Writing into a String cannot fail.
    let _ = writeln!(out, "<p class=\"soft\">{}</p>", escaped(&span(figures, since)));
    cards(&mut out, figures);
    if !figures.periods.is_empty() {
        messages(&mut out, figures, by);
    }
    classes(&mut out, figures);
    if !figures.tally.vendors().is_empty() {
        vendors(&mut out, figures, by);
    }
    grants(&mut out, figures, by);
    out.push_str(more);
    if figures.broken > 0 {
        let _ = writeln!(
            out,
            "<p class=\"soft\">Lines of the verdict log that could not be read: {}</p>",
            grouped(figures.broken)
        );
    }
    let version = env!("CARGO_PKG_VERSION");
    let _ =
        write!(out, "<footer>mailstamp {version}, {now}. Days are those of UTC.</footer>\n</main>\n</body>\n</html>\n");
    out
}

fn span(figures: &Figures, since: Option<UnixTime>) -> String {
    let day = |time: UnixTime| time.to_string().split('T').next().unwrap_or_default().to_owned();
    match (figures.span, since) {
        (Some((first, last)), _) => format!("{} to {}", day(first), day(last)),
        (None, Some(since)) => format!("No message was judged since {since}."),
        (None, None) => "No message was judged yet.".to_owned(),
    }
}

fn cards(out: &mut String, figures: &Figures) {
    let (messages, first_class) = (figures.tally.classes.sum(), figures.tally.classes.of(Class::FirstClass));
    let [_, _, refused] = figures.tally.classes.groups();
    let part = match share(first_class, messages) {
        empty if empty.is_empty() => "first-class".to_owned(),
        part => format!("first-class, {part}"),
    };
    out.push_str("<ul class=\"cards\">\n");
    for (number, what) in [
        (messages, "messages judged"),
        (first_class, part.as_str()),
        (refused, "with a stamp that is no good"),
        (figures.credits, "credits spent on your mail"),
        (figures.grants.in_force, "grants in force"),
    ] {
        let _ = writeln!(out, "<li><b>{}</b><span>{}</span></li>", grouped(number), escaped(what));
    }
    out.push_str("</ul>\n");
}

/// Returns the periods that fit into a chart.
pub(super) fn columns<P>(periods: &Periods<P>, numbers: impl Fn(&P) -> Vec<u64>) -> Vec<(String, Vec<u64>)> {
    let skipped = periods.len().saturating_sub(SHOWN);
    periods.iter().skip(skipped).map(|(begin, period)| (begin.to_string(), numbers(period))).collect()
}

/// Begins a section, whose table of [`details`] has this `id`.
pub(super) fn heading<P>(out: &mut String, id: &str, title: &str, periods: &Periods<P>, by: By) {
    let before = periods.len().saturating_sub(SHOWN);
    let _ = writeln!(out, "<section>\n<h2 id=\"{id}-title\">{title} by {}</h2>", by.as_str());
    if before > 0 {
        let _ = writeln!(out, "<p class=\"soft\">The last {SHOWN}; the table goes back further.</p>");
    }
}

/// Writes a collapsed table of periods, latest first. A keyboard can scroll it.
pub(super) fn details<P>(
    out: &mut String,
    id: &str,
    head: &[String],
    periods: &Periods<P>,
    numbers: impl Fn(&P) -> Vec<String>,
) {
    let _ = write!(
        out,
        "<details>\n<summary>The numbers as a table</summary>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" \
         aria-labelledby=\"{id}-title\"><table id=\"{id}\">\n<thead><tr>"
    );
    for cell in head {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(cell));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (begin, period) in periods.iter().rev() {
        let _ = write!(out, "<tr><th scope=\"row\">{begin}</th>");
        for number in numbers(period) {
            let _ = write!(out, "<td>{number}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n</details>\n</section>\n");
}

fn messages(out: &mut String, figures: &Figures, by: By) {
    let kinds: Vec<Class> = Class::ALL.into_iter().filter(|class| figures.tally.classes.of(*class) > 0).collect();
    let numbers = |period: &Period| kinds.iter().map(|class| period.classes.of(*class)).collect::<Vec<_>>();
    heading(out, "periods", "Messages", &figures.periods, by);
    let chart = Chart {
        id: "messages",
        title: "Messages by class over time",
        description: format!(
            "{} messages, {} of them first-class. The table below holds the numbers.",
            grouped(figures.tally.classes.sum()),
            grouped(figures.tally.classes.of(Class::FirstClass))
        ),
        series: kinds.iter().map(|class| (class.to_string(), class.to_string())).collect(),
        columns: columns(&figures.periods, numbers),
        stacked: true,
    };
    out.push_str(&chart.html());
    let mut head = vec![by.as_str().to_owned()];
    head.extend(Class::ALL.iter().map(Class::to_string));
    details(out, "periods", &head, &figures.periods, |period| {
        period.classes.each().map(|(_, count)| grouped(count)).collect()
    });
}

fn classes(out: &mut String, figures: &Figures) {
    let counts = &figures.tally.classes;
    let most = counts.each().map(|(_, count)| count).max().unwrap_or_default();
    out.push_str(
        "<section>\n<h2>Classes</h2>\n<table id=\"classes\">\n<thead><tr><th scope=\"col\">class</th>\
         <th scope=\"col\">messages</th><th scope=\"col\">share</th><td></td></tr></thead>\n<tbody>\n",
    );
    for (class, count) in counts.each() {
        let bar = track(&[(class.as_str(), count)], most);
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{class}</th><td>{}</td><td>{}</td><td class=\"bar\">{bar}</td></tr>",
            grouped(count),
            share(count, counts.sum())
        );
    }
    out.push_str("</tbody>\n</table>\n");
    if counts.sum() > 0 {
        out.push_str(
            "<details>\n<summary>Why they have their class</summary>\n<div class=\"wide\" tabindex=\"0\" \
             role=\"region\" aria-label=\"Why they have their class\"><table id=\"reasons\">\n\
             <thead><tr><th scope=\"col\">reason</th><th scope=\"col\">messages</th></tr></thead>\n<tbody>\n",
        );
        for (reason, count) in figures.tally.reasons() {
            let _ = writeln!(
                out,
                "<tr><th scope=\"row\" data-reason=\"{reason}\">{}</th><td>{}</td></tr>",
                escaped(&format!("{reason}: {}", reason.sentence())),
                grouped(count)
            );
        }
        out.push_str("</tbody>\n</table></div>\n</details>\n");
    }
    out.push_str("</section>\n");
}

fn vendors(out: &mut String, figures: &Figures, by: By) {
    let (names, counts) = leading(figures, COLOURS);
    let vendors = figures.tally.vendors();
    let most = vendors.iter().map(|(_, counts)| counts.sum()).max().unwrap_or_default();
    out.push_str(
        "<section>\n<h2>Vendors</h2>\n<p class=\"soft\">By the vendor that a stamp names, forged stamps among them.</p>\n\
         <table id=\"vendors\">\n<thead><tr><th scope=\"col\">vendor</th><th scope=\"col\">messages</th>\
         <th scope=\"col\">first-class</th><td></td></tr></thead>\n<tbody>\n",
    );
    for (name, counts) in vendors.iter().take(VENDORS) {
        let parts: Vec<(&str, u64)> = Class::ALL.iter().map(|class| (class.as_str(), counts.of(*class))).collect();
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"bar\">{}</td></tr>",
            escaped(name),
            grouped(counts.sum()),
            grouped(counts.of(Class::FirstClass)),
            track(&parts, most)
        );
    }
    out.push_str("</tbody>\n</table>\n");
    if let Some(more) = vendors.len().checked_sub(VENDORS).filter(|more| *more > 0) {
        let _ = writeln!(out, "<p class=\"soft\">and {} more</p>", grouped(more as u64));
    }
    out.push_str("</section>\n");
    if names.is_empty() {
        return;
    }
    let mut series: Vec<(String, String)> =
        names.iter().enumerate().map(|(at, name)| (name.clone(), format!("v{at}"))).collect();
    let rest = figures.periods.values().any(|period| counts(period).last().is_some_and(|rest| *rest > 0));
    if rest {
        series.push((OTHERS.to_owned(), "rest".to_owned()));
    }
    heading(out, "vendor-periods", "First-class mail of each vendor", &figures.periods, by);
    let chart = Chart {
        id: "first-class",
        title: "First-class messages by vendor over time",
        description: format!("The vendors with the most: {}. The table below holds the numbers.", names.join(", ")),
        series,
        columns: columns(&figures.periods, &counts),
        stacked: true,
    };
    out.push_str(&chart.html());
    let mut head = vec![by.as_str().to_owned()];
    head.extend(names);
    head.push(OTHERS.to_owned());
    details(out, "vendor-periods", &head, &figures.periods, |period| shown(&counts(period)));
}

fn grants(out: &mut String, figures: &Figures, by: By) {
    let grants = &figures.grants;
    out.push_str("<section>\n<h2>Grants and revocations</h2>\n<table id=\"grants\">\n<tbody>\n");
    for (what, count) in [
        ("return grants given", grants.given_return),
        ("multi-use grants given", grants.given_multi_use),
        ("stamps revoked", grants.revoked),
        ("messages refused because of it", grants.refused),
        ("grants in force now", grants.in_force),
        ("revocations in force now", grants.standing_revocations),
    ] {
        let _ = writeln!(out, "<tr><th scope=\"row\">{what}</th><td>{}</td></tr>", grouped(count));
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
    if grants.given_return + grants.given_multi_use + grants.revoked + grants.refused == 0 || figures.periods.is_empty()
    {
        return;
    }
    let numbers = |period: &Period| vec![period.given, period.revoked, period.refused];
    let names = ["granted", "revoked", "refused"];
    let colours = ["first-class", "revoked", "underpaid"];
    heading(out, "grant-periods", "Grants and revocations", &figures.periods, by);
    let chart = Chart {
        id: "standings",
        title: "Grants and revocations over time",
        description: format!(
            "{} stamps granted, {} revoked, {} messages refused. The table below holds the numbers.",
            grouped(grants.given_return + grants.given_multi_use),
            grouped(grants.revoked),
            grouped(grants.refused)
        ),
        series: names.iter().zip(colours).map(|(name, class)| ((*name).to_owned(), class.to_owned())).collect(),
        columns: columns(&figures.periods, numbers),
        stacked: false,
    };
    out.push_str(&chart.html());
    let mut head = vec![by.as_str().to_owned()];
    head.extend(names.map(str::to_owned));
    details(out, "grant-periods", &head, &figures.periods, |period| shown(&numbers(period)));
}

fn shown(numbers: &[u64]) -> Vec<String> {
    numbers.iter().copied().map(grouped).collect()
}

/// Returns a bar of parts, whose full width is `most`. The number stands beside it.
fn track(parts: &[(&str, u64)], most: u64) -> String {
    let mut bar = "<div class=\"track\" aria-hidden=\"true\">".to_owned();
    for (class, count) in parts.iter().filter(|(_, count)| *count > 0) {
        let width = *count as f64 * 100.0 / most.max(1) as f64;
        let _ = write!(bar, "<i class=\"{class}\" style=\"width:{width:.2}%\"></i>");
    }
    bar + "</div>"
}
