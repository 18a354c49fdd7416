//! The numbers of `stats` in all their forms, from logs and states made here.

use crate::support::programs::comes_to_an_end;
use crate::support::{Home, run};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

fn entry(time: &str, class: &str, reason: &str, vendor: Option<&str>) -> Value {
    let mut entry = json!({ "time": time, "class": class, "reason": reason });
    if let Some(vendor) = vendor {
        entry["vendor"] = vendor.into();
        entry["value"] = 2.into();
    }
    entry
}

fn write_log(home: &Home, lines: &[String]) {
    fs::create_dir_all(home.state()).unwrap();
    fs::write(home.state().join("verdicts.jsonl"), lines.join("\n") + "\n").unwrap();
}

/// A name of a vendor in a stamp that must not be able to change the page.
const HOSTILE: &str = "<script src='//evil.example/x.js'>\"&amp;</td></table>";

/// A home with a log of some weeks, grants and a revocation.
fn busy() -> Home {
    let home = Home::new();
    let lines = [
        entry("2026-10-05T10:00:00Z", "first-class", "paid", Some("stamps.example")),
        entry("2026-10-05T10:00:01Z", "first-class", "again", Some("stamps.example")),
        entry("2026-10-06T10:00:00Z", "first-class", "paid", Some("post.example")),
        entry("2026-10-06T10:00:00Z", "unverified", "unknown-vendor", Some(HOSTILE)),
        entry("2026-10-12T23:59:59Z", "revoked", "by-recipient", Some("stamps.example")),
        entry("2026-10-13T00:00:00Z", "unstamped", "no-stamp", None),
        entry("2026-11-01T08:00:00Z", "allowed", "rule", None),
        entry("2026-11-01T09:00:00Z", "first-class", "return", Some("\u{1b}[2J.example")),
    ];
    let mut lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    // A line cut by a crash, one of a later version, one that is no text.
    lines.extend(["{\"time\":\"2026-10".to_owned(), entry("2026-10-06T10:00:00Z", "gold", "shiny", None).to_string()]);
    lines.push("\u{0}\u{0}".to_owned());
    write_log(&home, &lines);
    let standings = [
        json!({ "grant": { "kind": "return", "since": 1_791_201_600 } }),
        json!({ "grant": { "kind": "multi-use", "since": 1_791_201_600 }, "revoked": 1_791_806_400 }),
    ];
    for (serial, standing) in ["a", "b"].iter().zip(standings) {
        let row = json!({ "row": "standing", "vendor": "stamps.example", "serial": serial, "standing": standing });
        home.run(["import"], format!("{row}\n").as_bytes()).exits(0);
    }
    home
}

fn stats(home: &Home, more: &[&str]) -> Value {
    let arguments = ["stats", "--json"].into_iter().chain(more.iter().copied());
    serde_json::from_str(&home.run(arguments, b"").exits(0).text()).unwrap()
}

#[test]
fn the_numbers_are_exact() {
    let home = busy();
    let all = stats(&home, &[]);
    assert_eq!((&all["messages"], &all["by"], &all["unreadable_lines"]), (&json!(8), &json!("day"), &json!(3)));
    assert_eq!(all["classes"]["first-class"], 4);
    assert_eq!(
        all["reasons"],
        json!({ "paid": 2, "again": 1, "return": 1, "rule": 1, "no-stamp": 1, "unknown-vendor": 1, "by-recipient": 1 })
    );
    // What came again was not spent again.
    assert_eq!(all["credits"], 4);
    let grants = json!({
        "given": { "return": 1, "multi-use": 1 }, "revoked": 1, "refused": 1, "in_force": 1, "revocations_in_force": 1
    });
    assert_eq!(all["grants"], grants);
    let periods = all["periods"].as_array().unwrap();
    assert_eq!(periods.len(), 28, "every day from the first to the last");
    assert_eq!(periods[0]["first_class_by_vendor"], json!({ "stamps.example": 2 }));
    assert_eq!(
        (&periods[0]["granted"], &periods[7]["revoked"], &periods[7]["refused"]),
        (&json!(2), &json!(1), &json!(1))
    );

    let weeks = stats(&home, &["--by", "week"]);
    let begins: Vec<&str> =
        weeks["periods"].as_array().unwrap().iter().map(|it| it["begin"].as_str().unwrap()).collect();
    assert_eq!(begins, ["2026-10-05", "2026-10-12", "2026-10-19", "2026-10-26"]);
    let since = stats(&home, &["--by", "month", "--since", "2026-10-13"]);
    assert_eq!((&since["messages"], &since["grants"]["revoked"]), (&json!(3), &json!(0)));
    assert_eq!(since["grants"]["in_force"], 1, "what is in force is in force whenever it was given");
    home.run(["stats", "--since", "yesterday"], b"").exits(64);
}

#[test]
fn the_page_is_whole_needs_nothing_and_has_the_same_numbers() {
    let home = busy();
    let numbers = stats(&home, &[]);
    assert_eq!(home.run(["stats", "--html", "stats.html"], b"").exits(0).text(), "");
    let page = fs::read(home.file("stats.html")).unwrap();
    let seen = parsed(&page);
    assert_eq!(seen["charts"], 3);
    let tables = &seen["tables"];
    let number = |cell: &Value| cell.as_str().unwrap().replace(',', "").parse::<u64>().unwrap();
    let body = |id: &str| -> Vec<Vec<Value>> {
        let rows = tables[id].as_array().unwrap_or_else(|| panic!("no table {id}"));
        rows.iter().map(|row| row.as_array().unwrap().clone()).collect()
    };
    let classes = body("classes");
    assert_eq!(classes.len(), 9);
    for row in &classes[1..] {
        assert_eq!(numbers["classes"][row[0].as_str().unwrap()], number(&row[1]));
    }
    let reasons = body("reasons");
    assert_eq!(reasons.len() - 1, numbers["reasons"].as_object().unwrap().len());
    for row in &reasons[1..] {
        assert_eq!(numbers["reasons"][row[0].as_str().unwrap().split(':').next().unwrap()], number(&row[1]));
    }
    let vendors = body("vendors");
    assert_eq!(
        vendors[1..].iter().map(|row| row[0].as_str().unwrap()).collect::<Vec<_>>(),
        ["stamps.example", "\\x1b[2J.example", "post.example", HOSTILE]
    );
    for (row, vendor) in vendors[1..].iter().zip(numbers["vendors"].as_array().unwrap()) {
        assert_eq!(row[0], vendor["vendor"]);
        assert_eq!(
            number(&row[1]),
            vendor["classes"].as_object().unwrap().values().map(|it| it.as_u64().unwrap()).sum::<u64>()
        );
    }
    let (periods, grants) = (body("periods"), body("grant-periods"));
    let expected = numbers["periods"].as_array().unwrap();
    assert_eq!((periods.len() - 1, grants.len() - 1), (expected.len(), expected.len()));
    for ((row, granted), period) in periods[1..].iter().zip(&grants[1..]).zip(expected.iter().rev()) {
        assert_eq!((&row[0], &granted[0]), (&period["begin"], &period["begin"]));
        for (cell, name) in row.iter().zip(periods[0].iter()).skip(1) {
            assert_eq!(period["classes"][name.as_str().unwrap()], number(cell));
        }
        for (cell, name) in granted[1..].iter().zip(["granted", "revoked", "refused"]) {
            assert_eq!(period[name], number(cell));
        }
    }
    let grants: Vec<u64> = body("grants").iter().map(|row| number(&row[1])).collect();
    assert_eq!(grants, [1, 1, 1, 1, 1, 1]);
    let by_vendor: u64 = body("vendor-periods")[1..].iter().flat_map(|row| row[1..].iter().map(number)).sum();
    assert_eq!(by_vendor, 4);
}

/// The page through a parser of HTML that is not ours.
fn parsed(page: &[u8]) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/scan_stats/page.py");
    let read = run(Command::new("python3").arg(script), page).exits(0);
    serde_json::from_str(&read.text()).unwrap()
}

#[test]
fn the_terminal_sees_tables_bars_and_nothing_that_moves_its_cursor() {
    let home = busy();
    let text = home.run(["stats", "--by", "week"], b"").exits(0).text();
    assert!(!text.contains('\u{1b}') && text.contains("\\x1b[2J.example"), "{text}");
    assert!(text.starts_with("2026-10-05T10:00:00Z to 2026-11-01T09:00:00Z\n"), "{text}");
    assert!(text.contains("\nfirst-class                         4  50.0 %\n"), "{text}");
    assert!(text.contains("\n2026-10-26  2  ███"), "{text}");
    assert!(text.contains("\n2026-10-19  0\n"), "{text}");
    assert!(text.ends_with("lines of the verdict log that could not be read: 3\n"), "{text}");
    let ascii = home.run(["stats", "--ascii", "--by", "week"], b"").exits(0).text();
    assert!(ascii.is_ascii() && ascii.contains("\n2026-10-26  2  ###"), "{ascii}");
    let bars = text.lines().filter(|line| line.contains('█') || line.contains('▒'));
    assert!(bars.map(|line| line.chars().count()).all(|width| width <= 80));
}

#[test]
fn nothing_judged_is_no_error_and_leaves_no_trace() {
    let home = Home::new();
    let text = home.run(["stats"], b"").exits(0).text();
    assert!(text.starts_with("no message was judged yet\n"), "{text}");
    let numbers = stats(&home, &[]);
    assert_eq!((&numbers["messages"], &numbers["periods"]), (&json!(0), &json!([])));
    let page = home.run(["stats", "--html", "-"], b"").exits(0).stdout;
    assert_eq!(parsed(&page)["charts"], 0);
    assert!(!home.state().exists());
    home.run(["stats", "--html", "no/such/folder.html"], b"").exits(73);
    home.run(["stats", "--html", "x", "--json"], b"").exits(64);
}

#[test]
fn a_long_log_is_counted_whole() {
    let home = Home::new();
    let begin = 1_700_000_000_i64;
    let time = |number: i64| mailstamp::time::UnixTime(begin + number * 600).to_string();
    let lines: Vec<String> = (0..100_000)
        .map(|number| {
            let vendor = format!("v{}.example", number % 5000);
            entry(&time(number), "first-class", "paid", Some(&vendor)).to_string()
        })
        .collect();
    write_log(&home, &lines);
    let numbers = comes_to_an_end("numbers", || stats(&home, &[]));
    assert_eq!((&numbers["messages"], &numbers["credits"]), (&json!(100_000), &json!(200_000)));
    assert_eq!(numbers["by"], "month");
    assert_eq!(numbers["vendors"].as_array().unwrap().len(), 1001);
    let page = comes_to_an_end("page", || home.run(["stats", "--by", "day", "--html", "-"], b"").exits(0).stdout);
    assert_eq!(parsed(&page)["tables"]["periods"].as_array().unwrap().len(), 1 + 696);
}
