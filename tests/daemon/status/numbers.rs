//! Metrics after messages of several kinds: each number is exact.

use super::process::{Process, home};
use crate::support::programs::eventually;
use crate::support::{ALICE, Home, letter, run, stamped};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

fn status(home: &Home) -> Value {
    serde_json::from_slice(&home.run(["status", "--json"], b"").exits(0).stdout).unwrap()
}

#[test]
fn what_was_judged_is_what_is_counted() {
    let home = home("");
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let hour = began.as_secs() / 3_600;
    let replies = format!("{{\"row\":\"replies\",\"hour\":{},\"count\":3}}\n", hour - 2);
    home.run(["import"], replies.as_bytes()).exits(0);
    let process = Process::begin(&home);
    let mint = |serial: &str| home.mint(ALICE, serial);

    for id in ["1", "2", "3"] {
        home.classify(&letter(id)).exits(11);
    }
    home.classify(&stamped(&mint("a"), &letter("4"))).exits(0).says("first-class paid");
    home.classify(&stamped(&mint("b"), &letter("5"))).exits(0).says("first-class paid");
    home.classify(&stamped(&mint("a"), &letter("4"))).exits(0).says("first-class again");
    home.run(["filter"], &stamped(&mint("a"), &letter("6"))).exits(0);
    home.classify(&stamped(&home.mint("carol@x.example", "c"), &letter("7"))).exits(20).says("invalid not-for-me");
    home.classify(&stamped("v4.public.AAAA", &letter("8"))).exits(20).says("invalid malformed");
    // It waits, and is counted as what it is when it comes again.
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), "prize = 1").unwrap();
    home.classify(&letter("9")).exits(75);
    fs::write(home.config(), config).unwrap();
    home.classify(&letter("9")).exits(11);
    // A command that names its configuration judges locally, and only the log answers.
    let named = ["--config", home.config().to_str().unwrap(), "classify"].map(str::to_owned);
    for (stamp, id, code) in [("d", "10", 0), ("d", "10", 0), ("d", "11", 21)] {
        run(home.command().args(&named), &stamped(&mint(stamp), &letter(id))).exits(code);
    }

    // Rows are in the tables soon, and what is found is asked for at most once a second.
    let settled = |told: &Value| told["log"]["waiting"] == 0 && told["connections"] == 1;
    let told = eventually("rows in the tables", || Some(status(&home)).filter(settled));
    assert_eq!(told["schema"], 1);
    assert_eq!(told["pid"], process.pid());
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told["same_files"], true);
    assert_eq!(told["connections"], 1);
    assert_eq!((&told["messages"], &told["deferred"], &told["replies"]), (&json!(10), &json!(1), &json!(3)));
    let classes = json!({
        "first-class": 3, "allowed": 0, "unstamped": 4, "underpaid": 0, "unverified": 0, "invalid": 2, "used": 1,
        "revoked": 0
    });
    assert_eq!(told["classes"], classes);
    let reasons = json!({ "paid": 2, "again": 1, "no-stamp": 4, "not-for-me": 1, "malformed": 1, "used": 1 });
    assert_eq!(told["reasons"], reasons);
    let answers = json!({ "fresh": 1, "redelivery": 1, "double-spend": 1, "other-owner": 0, "too-often": 0, "ended": 0,
        "granted": 0, "revoked": 0, "deferred": 0 });
    assert_eq!(told["log_answers"], answers);
    assert_eq!((&told["log"]["answers"], &told["log"]["serials"]), (&json!(true), &json!(3)));
    let bytes = 512 * fs::metadata(home.state().join("used.redb")).unwrap().blocks();
    assert_eq!(told["log"]["bytes"], bytes);
    let (median, p99) = (told["latency"]["median"].as_f64().unwrap(), told["latency"]["p99"].as_f64().unwrap());
    assert!(0.0 < median && median <= p99 && p99.is_finite(), "{told}");

    let text = home.run(["status"], b"").exits(0).text();
    for line in [
        &format!(", version {}, process {}\n", env!("CARGO_PKG_VERSION"), process.pid()),
        "\nmessages     10 judged, 1 deferred\n",
        &format!("\nlog          3 serials in {} bytes\n", grouped(bytes)),
        "\nothers       answered by the log: 1 double-spend, 1 fresh, 1 redelivery\n",
        "\nreplies      3 in 24 hours\n",
        "\nfirst-class                     3  30.0 %\n             paid               2  20.0 %\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }

    // Until the process has noticed that the last client is gone, it counts its connection.
    let numbers =
        eventually("no connection", || Some(process.measured()).filter(|it| it["mailstamp_connections"] == 0.0));
    let number = |name: &str| *numbers.get(name).unwrap_or_else(|| panic!("{name}: {numbers:#?}"));
    let messages = numbers.iter().filter(|(name, _)| name.starts_with("mailstamp_messages_total{"));
    assert_eq!(messages.clone().map(|(_, count)| count).sum::<f64>(), 10.0);
    assert_eq!(messages.count(), mailstamp::verdict::reason::Reason::ALL.len());
    for (class, reason, count) in [
        ("first-class", "paid", 2.0),
        ("first-class", "again", 1.0),
        ("unstamped", "no-stamp", 4.0),
        ("invalid", "not-for-me", 1.0),
        ("invalid", "malformed", 1.0),
        ("used", "used", 1.0),
        ("revoked", "by-vendor", 0.0),
    ] {
        assert_eq!(number(&format!("mailstamp_messages_total{{class=\"{class}\",reason=\"{reason}\"}}")), count);
    }
    for (name, count) in [
        ("mailstamp_messages_deferred_total", 1.0),
        ("mailstamp_judgement_seconds_count", 11.0),
        ("mailstamp_judgement_seconds_bucket{le=\"+Inf\"}", 11.0),
        ("mailstamp_connections", 0.0),
        ("mailstamp_log_answers_total{answer=\"double-spend\"}", 1.0),
        ("mailstamp_log_up", 1.0),
        ("mailstamp_log_serials", 3.0),
        ("mailstamp_log_journal_rows", 0.0),
        ("mailstamp_log_size_bytes", bytes as f64),
        ("mailstamp_replies_last_day", 3.0),
        (&format!("mailstamp_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert_eq!(number(name), count, "{name}");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    // In whole seconds.
    let since = number("mailstamp_start_time_seconds");
    assert!((began.as_secs() as f64..=now).contains(&since), "{began:?} {since} {now}");
    assert!(number("mailstamp_judgement_seconds_sum") > 0.0);
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let (thousands, rest) = digits.split_at(digits.len() - 3);
    format!("{thousands},{rest}")
}

/// Debian's client library has a strict parser of OpenMetrics.
#[test]
fn the_numbers_are_what_a_parser_of_openmetrics_understands() {
    let process = Process::begin(&home(""));
    let answer = process.get("/metrics").is(200);
    assert_eq!(answer.field("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let parse = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        for family in parse(sys.stdin.read()): print(family.name, family.type, family.unit)";
    // Debian's own Python, the one that python3-prometheus-client is for.
    let families = run(Command::new("/usr/bin/python3").args(["-c", parse]), &answer.body).exits(0).text();
    let families: Vec<&str> = families.lines().collect();
    for family in [
        "mailstamp_messages counter ",
        "mailstamp_judgement_seconds histogram seconds",
        "mailstamp_log_size_bytes gauge bytes",
        "mailstamp_build_info gauge ",
    ] {
        assert!(families.contains(&family), "{family}: {families:?}");
    }
}

/// The table `[serve]` counts also where the rest differs from user to user.
#[test]
fn many_users_have_one_place_for_their_numbers() {
    let home = Home::new();
    let state = home.file("mail");
    fs::create_dir(&state).unwrap();
    home.configure(&format!(
        "addresses = [\"%u\"]\nstate = \"{}/%d/%n\"\n[serve]\nmetrics = \"127.0.0.1:0\"",
        state.display()
    ));
    let process = Process::begin_as(home.command().env("USER", "postmaster@x.example"));
    for (user, serial) in [("alice@x.example", "1"), ("bob@x.example", "2")] {
        let message = stamped(&home.mint(user, serial), &letter("1"));
        run(home.command().arg("classify").env("USER", user), &message).exits(0);
    }
    assert_eq!(process.numbers()["mailstamp_messages_total{class=\"first-class\",reason=\"paid\"}"], 2.0);
    assert_eq!(process.healthy().text(), "ok\n");
}
