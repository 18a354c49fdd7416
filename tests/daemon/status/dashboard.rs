//! The dashboard, the alerts of Prometheus and the manual know the numbers that there are, and no others.

use super::process::{Process, home_with_directory};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A file of the project.
pub fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The names that stand in a text.
fn named(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text
        .match_indices("mailstamp_")
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| c == '_' || c.is_alphanumeric()))
    {
        let end = text[at..].find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len() - at);
        names.insert(text[at..at + end].to_owned());
    }
    names
}

/// Returns the names of all metrics of a daemon that also has a directory to report.
fn exposed() -> BTreeSet<String> {
    let home = home_with_directory();
    let numbers = Process::begin(&home).measured();
    let of = |name: &str| format!("{name}{{vendor=\"stamps.example\",source=\"https://stamps.example/directory\"}}");
    assert!(numbers[&of("mailstamp_directory_age_seconds")] > 0.0);
    assert_eq!(numbers[&of("mailstamp_directory_ok")], 0.0, "it was not asked for long");
    numbers.keys().map(|name| name.split('{').next().unwrap().to_owned()).collect()
}

/// Every member of this name, wherever it stands.
pub fn members<'a>(value: &'a Value, name: &str, to: &mut Vec<&'a Value>) {
    match value {
        Value::Object(object) => {
            to.extend(object.get(name));
            object.values().for_each(|value| members(value, name, to));
        }
        Value::Array(values) => values.iter().for_each(|value| members(value, name, to)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_numbers_that_there_are() {
    let exposed = exposed();
    let dashboard: Value = serde_json::from_str(&read("rules/grafana-mailstamp.json")).unwrap();
    let mut queries = Vec::new();
    members(&dashboard, "expr", &mut queries);
    assert!(queries.len() >= 10, "{queries:?}");
    for query in &queries {
        let names = named(query.as_str().unwrap());
        assert!(!names.is_empty() && names.is_subset(&exposed), "{query}: {exposed:#?}");
    }
    // One that is imported elsewhere finds its source by the variable.
    let mut sources = Vec::new();
    members(&dashboard, "datasource", &mut sources);
    let variable = |source: &&Value| source["uid"] == "${datasource}";
    assert!(sources.iter().filter(|source| source["type"] == "prometheus").all(variable));
    assert_eq!(dashboard["templating"]["list"][0]["name"], "datasource");
    let panels: Vec<u64> =
        dashboard["panels"].as_array().unwrap().iter().map(|it| it["id"].as_u64().unwrap()).collect();
    assert_eq!(panels.len(), panels.iter().collect::<BTreeSet<_>>().len());

    let alerts = read("rules/prometheus-mailstamp-alerts.yml");
    // `vendor_side::two_hosts` has those of the gateway.
    let of_daemon: BTreeSet<String> = named(&alerts).into_iter().filter(|name| !is_of_gateway(name)).collect();
    assert!(of_daemon.is_subset(&exposed), "{alerts}");
}

fn is_of_gateway(name: &str) -> bool {
    name.starts_with("mailstamp_gateway_")
}

#[test]
fn the_manual_knows_every_number_and_no_other() {
    let page = read("man/mailstamp-metrics.7");
    let (_, table) = page.split_once("\n.Sh METRICS\n").unwrap();
    let (table, _) = table.split_once("\n.Sh ").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix(".It Ic ")).map(|row| row.split(' ').next().unwrap());
    let documented: BTreeSet<String> = rows.map(str::to_owned).collect();
    // A histogram is three, and has one row.
    let parts = ["_bucket", "_sum", "_count"];
    let whole = |name: &String| parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name).to_owned();
    assert_eq!(documented, exposed().iter().map(whole).collect());
    let others: BTreeSet<String> = named(&page).iter().filter(|name| !is_of_gateway(name)).map(whole).collect();
    assert!(others.is_subset(&documented), "{others:?}");
}
