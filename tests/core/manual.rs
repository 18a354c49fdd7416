//! The texts and the program agree: every command and flag, every key with its default, every class, status and reason
//! of the program is in the manual and the other way round; every example in the manual and in README.md runs. Whether
//! the texts are any good is left to their readers.

#![cfg(feature = "directory")]

use crate::support::{Home, MAILSTAMP, Run, letter, run};
use data_encoding::{BASE64, HEXLOWER};
use mailstamp::autoreply::eligibility::Kind;
use mailstamp::autoreply::suppression::SuppressReason;
use mailstamp::autoreply::template::default_text;
use mailstamp::config::Config;
use mailstamp::config::directory_sources;
use mailstamp::config::rules::{self, CONDITION_KEYS, EFFECTS, RULE_KEYS};
use mailstamp::config::user::User;
use mailstamp::directory::document::Document;
use mailstamp::directory::key_directory::Directory;
use mailstamp::message::address::LocalCase;
use mailstamp::policy::action::Action;
use mailstamp::transparency::note::NoteKey;
use mailstamp::verdict::class::Class;
use mailstamp::verdict::reason::Reason;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PAGE: &str = include_str!("../../man/mailstamp.1");
const CONFIG_PAGE: &str = include_str!("../../man/mailstamp.toml.5");
const README: &str = include_str!("../../README.md");
const DIRECTORY_PAGE: &str = include_str!("../../man/mailstamp-directory.5");
const RULES_PAGE: &str = include_str!("../../man/mailstamp-rules.5");
const PAGES: [&str; 19] = [
    "mailstamp.1",
    "mailstamp-sender.1",
    "mailstamp-peer.1",
    "mailstamp.toml.5",
    "mailstamp-rules.5",
    "mailstamp-stamp.5",
    "mailstamp-directory.5",
    "mailstamp-emstamp.5",
    "mailstamp-log.5",
    "mailstamp.7",
    "mailstamp-metrics.7",
    "mailstamp-bank.8",
    "mailstamp-gateway.8",
    "mailstamp-milter.8",
    "mailstamp-sendmail.8",
    "mailstamp-serve.8",
    "mailstamp-store.8",
    "mailstamp-submission.8",
    "mailstamp-vendor.8",
];

/// The pages that describe commands, each with the flags that it describes once for all of them.
fn command_pages() -> Vec<(&'static str, &'static [&'static str])> {
    let mut pages: Vec<(&str, &[&str])> =
        vec![(PAGE, &GLOBAL), (include_str!("../../man/mailstamp-store.8"), &["json", "user"])];
    if cfg!(feature = "sender") {
        pages.push((include_str!("../../man/mailstamp-sender.1"), &[]));
        pages.push((include_str!("../../man/mailstamp-peer.1"), &["json", "user"]));
        pages.push((include_str!("../../man/mailstamp-bank.8"), &[]));
    }
    if cfg!(all(feature = "daemon", feature = "sender")) {
        pages.push((include_str!("../../man/mailstamp-gateway.8"), &[]));
    }
    if cfg!(feature = "vendor") {
        pages.push((include_str!("../../man/mailstamp-vendor.8"), &["ledger"]));
    }
    pages
}

/// Flags that every command has; the last two are clap's.
const GLOBAL: [&str; 4] = ["config", "state", "help", "version"];

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join("man").join(name)).unwrap()
}

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// What stands between the line `begin` and the next line that begins with one of `ends`.
fn section<'a>(page: &'a str, begin: &str, ends: &[&str]) -> &'a str {
    let begin = format!("\n{begin}\n");
    let (_, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{begin:?} is not on the page"));
    let end = ends.iter().filter_map(|end| rest.find(&format!("\n{end}"))).min();
    &rest[..end.unwrap_or(rest.len())]
}

fn help(command: &[&str]) -> String {
    let mut arguments = command.to_vec();
    arguments.push("--help");
    run(Command::new(MAILSTAMP).args(arguments), b"").exits(0).text()
}

/// The subcommands that a help text lists, in one list or in groups.
fn subcommands(help: &str) -> Vec<String> {
    let (before, _) = help.split_once("\nOptions:\n").unwrap();
    let (_, lists) = before.split_once("Usage: ").unwrap();
    let rows = lists.lines().filter_map(|line| line.strip_prefix("  "));
    let named = rows.filter(|row| row.starts_with(|c: char| c.is_ascii_lowercase()));
    named.filter_map(|row| row.split_whitespace().next()).map(str::to_owned).collect()
}

/// The long flags that a help text lists.
fn flags(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start);
    let long = lines.filter_map(|line| {
        let line = if line.as_bytes().get(2) == Some(&b',') { line[3..].trim_start() } else { line };
        line.strip_prefix("--")
    });
    long.filter_map(|rest| rest.split(|c: char| c != '-' && !c.is_ascii_lowercase()).next())
        .map(str::to_owned)
        .collect()
}

/// Every command that does something, as the words after `mailstamp`.
fn commands() -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<Vec<String>> = vec![vec![]];
    while let Some(words) = open.pop() {
        let names: Vec<&str> = words.iter().map(String::as_str).collect();
        let below = subcommands(&help(&names));
        if below.is_empty() {
            found.push(words.join(" "));
        }
        open.extend(below.into_iter().map(|sub| [words.clone(), vec![sub]].concat()));
    }
    found
}

/// The long flags on the lines that `wanted` picks.
fn written(text: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| wanted(line));
    let words = lines.flat_map(|line| line.split("Fl -").skip(1));
    words
        .filter_map(|rest| rest.split(|c: char| c != '-' && !c.is_ascii_lowercase()).next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn commands_and_flags_are_those_of_the_manual() {
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    let pages = command_pages();
    let documented = pages.iter().flat_map(|(page, _)| section(page, ".Sh COMMANDS", &[".Sh "]).lines());
    let headings: BTreeSet<String> = set(documented.filter_map(|line| line.strip_prefix(".Ss ")));
    assert_eq!(headings, set(commands.iter().map(String::as_str)));

    for command in &commands {
        let words: Vec<&str> = command.split(' ').collect();
        let help = help(&words);
        assert!(help.contains("\nExamples:\n"), "{command} --help has no example");
        let heading = format!(".Ss {command}");
        let on_page = |(page, _): &&(&str, _)| page.lines().any(|line| line == heading);
        let (page, everywhere) = pages.iter().find(on_page).unwrap();
        let mut has = flags(&help);
        has.retain(|flag| !GLOBAL.contains(&flag.as_str()) && !everywhere.contains(&flag.as_str()));
        let text = section(page, &heading, &[".Ss ", ".Sh "]);
        assert_eq!(written(text, |line| line.starts_with(".It Fl")), has, "flags of {command}");
        // The synopsis stands before the first paragraph.
        let (synopsis, _) = text.split_once("\n.Pp").unwrap();
        assert_eq!(written(synopsis, |_| true), has, "synopsis of {command}");
    }

    for (page, flags) in &pages {
        let everywhere = section(page, ".Ss Options of every command", &[".Sh "]);
        assert_eq!(written(everywhere, |line| line.starts_with(".It Fl")), set(flags.iter().copied()));
    }
    assert_eq!(flags(&help(&[])), set(GLOBAL));
}

/// The words of a table, each with its exit status.
fn statuses(table: &str) -> Vec<(&str, u8)> {
    let rows = table.lines().filter_map(|line| line.strip_prefix(".It Cm "));
    rows.map(|row| {
        let mut cells = row.split(" Ta ");
        (cells.next().unwrap(), cells.next().unwrap().parse().unwrap())
    })
    .collect()
}

#[test]
fn classes_statuses_and_reasons_are_those_of_the_manual() {
    let classes: Vec<(&str, u8)> = Class::ALL.iter().map(|class| (class.as_str(), class.exit_code())).collect();
    assert_eq!(statuses(section(PAGE, ".Sh EXIT STATUS", &[".Ss "])), classes);

    let actions: Vec<(&str, u8)> = Action::ALL.iter().map(|action| (action.as_str(), action.exit_code())).collect();
    assert_eq!(statuses(section(PAGE, ".Ss Actions", &[".Ss "])), actions);
    let help = help(&["classify"]);
    for (action, code) in actions {
        assert!(help.contains(&format!("{code} {action}")), "classify --help lacks {code} {action}");
    }

    let list = section(PAGE, ".Ss Reasons", &[".Ss ", ".Sh "]);
    let rows = list.lines().filter_map(|line| line.strip_prefix(".It Cm "));
    let rows: Vec<(&str, &str)> = rows.map(|row| row.split_once(" Pq ").unwrap()).collect();
    let reasons: Vec<(&str, &str)> = Reason::ALL.iter().map(|r| (r.as_str(), r.class().as_str())).collect();
    assert_eq!(rows, reasons);

    for class in Class::ALL {
        let row = format!("\n| `{class}` | {} |", class.exit_code());
        assert!(README.contains(&row), "README.md lacks {row:?}");
    }
}

#[test]
fn reasons_for_silence_and_the_words_of_replies_are_those_of_the_manual() {
    let list = section(PAGE, ".Ss reply test", &[".Ss "]);
    let mut lines = list.lines();
    let mut rows = Vec::new();
    while let Some(line) = lines.next() {
        rows.extend(line.strip_prefix(".It Cm ").map(|token| (token, lines.next().unwrap())));
    }
    let whys: Vec<(&str, &str)> = SuppressReason::ALL.iter().map(|why| (why.as_str(), why.sentence())).collect();
    assert_eq!(rows, whys);
    let page = page("mailstamp.7");
    let texts = literal(section(&page, ".Ss Automatic replies", &[".Ss ", ".Sh "]));
    assert_eq!(texts, Kind::ALL.map(|kind| default_text(kind).trim_end().to_owned()));
}

/// Every key of the page with its default.
fn documented_keys() -> Vec<(String, String)> {
    let keys = section(CONFIG_PAGE, ".Sh KEYS", &[".Ss Patterns"]);
    let mut lines = keys.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(key) = line.strip_prefix(".It Ic ") else { continue };
        let default = lines.next().and_then(|line| line.split_once(" , default Ql "));
        let (_, default) = default.unwrap_or_else(|| panic!("{key} has no default"));
        found.push((key.to_owned(), default.replace("\\(dq", "\"")));
    }
    found
}

/// The members of a private struct of the configuration, read from its source.
fn members(name: &str) -> Vec<String> {
    let source_of = |path: &Path| fs::read_to_string(path).unwrap();
    let files = fs::read_dir(Path::new(ROOT).join("src/config")).unwrap().map(|entry| entry.unwrap().path());
    let source: String = files.map(|file| source_of(&file)).collect();
    let source = source + &source_of(&Path::new(ROOT).join("src/policy/action.rs"));
    let source = source.replace("pub(super) ", "").replace("\npub struct", "\nstruct");
    let (_, rest) = source.split_once(&format!("\nstruct {name} {{\n")).unwrap_or_else(|| panic!("no struct {name}"));
    let (body, _) = rest.split_once("\n}").unwrap();
    let names = body.lines().filter_map(|line| line.trim().split_once(": "));
    names.map(|(member, _)| member.to_owned()).collect()
}

#[test]
fn the_help_names_every_page() {
    let help = help(&[]);
    let pages = fs::read_dir(Path::new(ROOT).join("man")).unwrap();
    let mut pages: Vec<String> = pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    pages.sort();
    assert_eq!(pages, BTreeSet::from(PAGES).into_iter().collect::<Vec<_>>());
    for page in pages {
        let (name, section) = page.rsplit_once('.').unwrap();
        assert!(help.contains(&format!("{name}({section})")), "{page}\n{help}");
    }
}

#[test]
fn configuration_keys_are_those_of_the_manual() {
    let mut known = BTreeSet::new();
    for (table, prefix) in [
        ("File", ""),
        ("StampsTable", "stamps."),
        ("UsedLogTable", "used_log."),
        ("LogsTable", "logs."),
        ("PeersTable", "peers."),
        ("SentTable", "sent."),
        ("WatchTable", "watch."),
        ("ServeTable", "serve."),
        ("BoundaryTable", "boundary."),
        ("StoreTable", "store."),
        ("SubmissionTable", "submission."),
        ("GatewayTable", "gateway."),
        ("InboundTable", "gateway.inbound."),
        ("OutboundTable", "gateway.outbound."),
        ("RepliesTable", "replies."),
        ("DeliverTable", "deliver."),
        ("HeldTable", "held."),
        ("SenderTable", "sender."),
        ("SendmailTable", "sendmail."),
        ("SmtpTable", "sendmail.smtp."),
    ] {
        known.extend(members(table).into_iter().map(|member| format!("{prefix}{member}")));
    }
    // These have the names of the classes.
    for (table, prefix) in [("Actions", "actions."), ("Folders", "deliver.folders.")] {
        known.extend(members(table).into_iter().map(|member| format!("{prefix}{}", member.replace('_', "-"))));
    }
    for table in ["actions", "deliver", "deliver.folders", "held"] {
        assert!(known.remove(table), "{table}");
    }
    // The tables themselves.
    for table in [
        "stamps",
        "logs",
        "used_log",
        "peers",
        "watch",
        "serve",
        "sent",
        "replies",
        "sendmail",
        "sendmail.smtp",
        "sender",
        "boundary",
        "store",
        "submission",
        "gateway",
        "gateway.inbound",
        "gateway.outbound",
    ] {
        assert!(known.remove(table), "{table}");
    }
    // These are refused, with a hint.
    for refused in ["store.password", "store.url"] {
        assert!(known.remove(refused), "{refused}");
    }
    let documented: BTreeSet<String> = documented_keys().into_iter().map(|(key, _)| key).collect();
    assert_eq!(documented, known);
    assert_eq!(members("PricedAddress"), ["address", "price", "owner"]);
    assert_eq!(members("PreferenceTable"), ["recipients", "vendors", "value"]);
    assert!(CONFIG_PAGE.contains(r#"{ address = \(dqpattern\(dq, price = 5, owner = \(dqname\(dq }"#));

    let shown = Home::new().run(["config", "show", "--json"], b"").exits(0).text();
    let shown: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&shown).unwrap();
    for key in shown.keys().filter(|key| !matches!(key.as_str(), "schema" | "config")) {
        assert!(documented.contains(key), "config show prints {key}, and the manual does not know it");
    }
}

#[test]
fn documented_defaults_are_those_of_the_program() {
    let lines = documented_keys().into_iter().filter(|(_, default)| default != "none");
    let (milter, others): (Vec<_>, Vec<_>) = lines.partition(|(key, _)| key.starts_with("boundary."));
    let (submission, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|(key, _)| key.starts_with("submission."));
    let (gateway, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|(key, _)| key.starts_with("gateway."));
    let (store, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|(key, _)| key.starts_with("store.") && key != "store.kind");
    let written = |keys: Vec<(String, String)>| -> String {
        keys.into_iter().map(|(key, default)| format!("{key} = {default}\n")).collect()
    };
    let parse = |text: &str| format!("{:?}", Config::parse(text, &User::default()).unwrap());
    let others = written(others);
    assert_eq!(parse(&others), parse(""), "{others}");
    // This table has two keys without a default, and needs addresses.
    let needed =
        "boundary.listen = \"unix:/m\"\nboundary.held_address = \"held@x.example\"\naddresses = [\"*@x.example\"]\n";
    assert_eq!(parse(&(written(milter) + needed)), parse(needed));
    let needed = needed_beside("submission.");
    assert_eq!(parse(&(written(submission) + needed)), parse(needed));
    let needed = needed_beside("gateway.inbound.").to_owned() + needed_beside("gateway.outbound.");
    assert_eq!(parse(&(written(gateway) + &needed)), parse(&needed));
    if cfg!(feature = "postgres") {
        let needed = needed_beside("store.");
        assert_eq!(parse(&(written(store) + needed)), parse(needed));
    }
}

/// The keys that the table of this key cannot do without, on lines of their own.
fn needed_beside(key: &str) -> &'static str {
    if key.starts_with("submission.") {
        "\nsubmission.listen = \"127.0.0.1:1\"\nsubmission.user = \"a\"\nsubmission.password_file = \"/p\"\n"
    } else if key.starts_with("gateway.inbound.") || matches!(key, "gateway.clear" | "gateway.license") {
        "\ngateway.inbound.listen = \"[::]:25\"\ngateway.inbound.inner = \"127.0.0.1:1\"\ngateway.inbound.help = \"a\"\n"
    } else if key.starts_with("gateway.outbound.") {
        "\ngateway.outbound.listen = \"unix:/s\"\ngateway.outbound.routes = { \"y.example\" = \"mx.y.example:25\" }\n"
    } else if key.starts_with("store.") {
        "\nstore.kind = \"postgres\"\nstore.hosts = [\"/run/postgresql\"]\n"
    } else {
        ""
    }
}

/// Every key of the page that takes a number or a duration: whether it is a duration, and its range.
fn documented_ranges() -> Vec<(String, bool, String, String)> {
    let mut lines = section(CONFIG_PAGE, ".Sh KEYS", &[".Ss Patterns"]).lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(key) = line.strip_prefix(".It Ic ") else { continue };
        let words: Vec<&str> = lines.next().unwrap().split(' ').skip(1).collect();
        match words[..] {
            ["integer", "from", low, "to", high, ",", ..] => found.push((key, false, low, high)),
            ["duration", "from", low, "to", high, ",", ..] => found.push((key, true, low, high)),
            [kind, ..] => assert!(!matches!(kind, "integer" | "duration"), "{key} has no range"),
            [] => panic!("{key} has no type"),
        }
    }
    found.into_iter().map(|(key, long, low, high)| (key.into(), long, low.into(), high.into())).collect()
}

/// As many witnesses as `logs.minimum` can demand.
fn witnesses() -> String {
    let witness = |seed| {
        let log = NoteKey::from_random("w", &[seed; 32]).unwrap().verifier().to_string();
        let mut key = BASE64.decode(log.splitn(3, '+').nth(2).unwrap().as_bytes()).unwrap();
        key[0] = 4;
        let id = Sha256::digest([b"w\n".as_slice(), &key].concat());
        format!("w+{}+{}", HEXLOWER.encode(&id[..4]), BASE64.encode(&key))
    };
    format!("\nlogs.witnesses = {:?}\n", (1..=16).map(witness).collect::<Vec<_>>())
}

#[test]
fn ranges_of_numbers_are_those_of_the_manual() {
    let ranges = documented_ranges();
    assert!(ranges.len() > 20, "{ranges:?}");
    for (key, is_duration, low, high) in ranges {
        let number = |text: &str| -> i64 {
            let (digits, unit) = text.split_at(text.len() - usize::from(is_duration));
            let each = match unit {
                "m" => 60,
                "h" => 3_600,
                "d" => 86_400,
                _ => 1,
            };
            digits.parse::<i64>().unwrap() * each
        };
        let (kind, low_said, high_said) = match is_duration {
            true => ("a duration", format!("{low:?}"), format!("{high:?}")),
            false => ("a whole number", low.clone(), high.clone()),
        };
        for (value, fits) in
            [(number(&low), true), (number(&high), true), (number(&low) - 1, false), (number(&high) + 1, false)]
        {
            if is_duration && value < 0 {
                continue;
            }
            let value = if is_duration { format!("\"{value}s\"") } else { value.to_string() };
            // The port needs a host, and a server what it listens on.
            let beside = if key == "logs.minimum" { witnesses() } else { needed_beside(&key).to_owned() };
            let text = format!("sendmail.smtp.host = \"mx.x.example\"\n{key} = {value}{beside}");
            let said = Config::parse(&text, &User::default()).map_err(|error| error.to_string());
            // The values are checked before.
            if key.starts_with("store.") && !cfg!(feature = "postgres") && fits {
                assert!(said.unwrap_err().contains("built without the feature \"postgres\""), "{text}");
                continue;
            }
            if fits {
                assert_eq!(said.map(drop), Ok(()), "{text}");
                continue;
            }
            let column = key.len() + 4;
            let error = format!("line 2, column {column}: write {kind} from {low_said} to {high_said}; {value} is not");
            assert_eq!(said.map(drop), Err(error), "{text}");
        }
    }
}

#[test]
fn keys_and_actions_of_rules_are_those_of_the_manual() {
    let keys = |begin: &str| {
        let text = section(RULES_PAGE, begin, &[".Sh "]);
        set(text.lines().filter_map(|line| line.strip_prefix(".It Ic ")))
    };
    assert_eq!(keys(".Sh RULES"), set(RULE_KEYS));
    assert_eq!(keys(".Sh CONDITIONS"), set(CONDITION_KEYS));
    let actions = section(RULES_PAGE, ".It Ic action", &[".It Ic "]);
    let actions = set(actions.lines().filter_map(|line| line.strip_prefix(".It Cm ")));
    assert_eq!(actions, set(["allow", "nothing"].into_iter().chain(Action::ALL.iter().map(|action| action.as_str()))));
    assert_eq!(actions, set(EFFECTS.iter().map(|(word, _)| *word)));
}

#[test]
fn documented_rules_can_be_read() {
    let home = Home::new();
    let path = home.config().with_file_name("rules.toml");
    let mut count = 0;
    for example in literal(RULES_PAGE) {
        let rules = rules::parse(&example, &path, LocalCase::Fold).unwrap_or_else(|error| panic!("{example}\n{error}"));
        rules.check().unwrap_or_else(|error| panic!("{example}\n{error}"));
        count += rules.iter().len();
    }
    assert_eq!(count, 9);
}

/// The literal blocks of a page, or of a part of it.
fn literal(text: &str) -> Vec<String> {
    let blocks = text.split("\n.Bd -literal").skip(1);
    let inner = blocks.filter_map(|rest| rest.split_once('\n')?.1.split_once("\n.Ed").map(|(block, _)| block));
    inner.map(|block| block.replace("\\e", "\\")).collect()
}

#[test]
fn documented_configurations_and_documents_can_be_read() {
    let user = User::named("alice@x.example").unwrap();
    let examples = literal(section(CONFIG_PAGE, ".Sh EXAMPLES", &[".Sh "]));
    assert_eq!(examples.len(), 3);
    for example in examples {
        let config = Config::parse(&example, &user).unwrap_or_else(|error| panic!("{example}\n{error}"));
        assert!(!config.mailboxes.is_empty());
    }
    let documents = literal(section(DIRECTORY_PAGE, ".Sh DOCUMENTS", &[".Sh "]));
    assert_eq!(documents.len(), 2);
    for document in documents {
        match serde_json::from_str(&document).unwrap_or_else(|error| panic!("{document}\n{error}")) {
            Document::Pinned(entry) => {
                entry.check().unwrap();
                Directory::default().pin(&entry).unwrap();
            }
            Document::Signed { directory, .. } => assert!(directory.starts_with("v4.public.")),
        }
    }
    let sources = literal(section(DIRECTORY_PAGE, ".Sh SOURCES", &[".Sh "])).remove(0);
    assert_eq!(directory_sources::parse(&sources, Path::new("sources.toml")).unwrap().list.len(), 2);
    let source = fs::read_to_string(Path::new(ROOT).join("src/config/directory_sources.rs")).unwrap();
    for table in ["SourcesFile", "SourceTable"] {
        let (_, rest) = source.split_once(&format!("\nstruct {table} {{\n")).unwrap();
        let (body, _) = rest.split_once("\n}").unwrap();
        for (key, _) in body.lines().filter_map(|line| line.trim().split_once(": ")).filter(|(key, _)| *key != "source")
        {
            assert!(DIRECTORY_PAGE.contains(&format!("\n.It Ic {key}\n")), "the manual does not know {key}");
        }
    }
}

#[test]
fn a_vendor_publishes_as_the_manual_says() {
    let home = example_home();
    let key = home.file("key.json");
    let key = key.to_str().unwrap();
    home.run(["vendor", "keygen", "--vendor", "stamps.example", "--kid", "2026q4", "--out", key], b"").exits(0);
    let block = literal(section(DIRECTORY_PAGE, ".Sh EXAMPLES", &[".Sh "])).remove(0).replace("\\\n", "");
    let steps: Vec<&str> = block.split("$ ").filter(|step| !step.is_empty()).collect();
    assert_eq!(steps.len(), 2);
    for (step, same) in steps.iter().zip([2, 4]) {
        let (line, output) = step.split_once('\n').unwrap();
        let run = shell(&home, home.path(), line).exits(0);
        // Version and date in the first are others every time.
        let words = |text: &str| -> Vec<String> {
            text.replace("\\&", "").split_whitespace().take(same).map(str::to_owned).collect()
        };
        assert_eq!(words(&run.text()), words(output), "{line}");
    }
}

#[test]
fn pages_are_clean_and_refer_to_pages_that_exist() {
    for name in PAGES {
        let text = page(name);
        let references = text.lines().filter_map(|line| line.strip_prefix(".Xr mailstamp"));
        for reference in references {
            let mut words = reference.split(' ');
            let file = format!("mailstamp{}.{}", words.next().unwrap(), words.next().unwrap());
            assert!(PAGES.contains(&file.as_str()), "{name} refers to {file}");
        }
        assert!(text.lines().all(|line| line.len() <= 80), "{name} has a line of more than 80 columns");
        // Whether a machine has the pages of other programs says nothing about ours.
        let lint =
            run(Command::new("mandoc").args(["-T", "lint", "-W", "style"]).arg(format!("{ROOT}/man/{name}")), b"");
        let complaints = lint.text();
        let ours: Vec<&str> = complaints.lines().filter(|line| !line.contains("referenced manual not found")).collect();
        assert!(ours.is_empty(), "{ours:#?}");
    }
}

/// The words of a page as a formatter prints them, without the lines that stand above and below each page.
fn printed(command: &mut Command, name: &str) -> Vec<String> {
    let text = run(command.arg(format!("{ROOT}/man/{name}")), b"").text();
    // Bold is printed over itself.
    let mut plain = String::new();
    for c in text.chars() {
        if c == '\u{8}' {
            plain.pop();
        } else {
            plain.push(c);
        }
    }
    let lines: Vec<&str> = plain.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let inner = lines[1..lines.len() - 1].join("\n");
    // Words that were broken are put together.
    let whole = inner.replace("\u{2010}\n", "").replace("-\n", "-").replace('\u{2013}', "\u{2014}");
    whole.split_whitespace().map(str::to_owned).collect()
}

// On Debian man(1) uses groff, which reads some macros in another way than mandoc.
#[test]
fn both_formatters_print_the_same_words() {
    for name in PAGES {
        let mandoc = printed(Command::new("mandoc").args(["-T", "utf8"]), name);
        let groff = printed(Command::new("groff").args(["-mdoc", "-T", "utf8"]).env("GROFF_NO_SGR", "1"), name);
        let same = mandoc.iter().zip(&groff).take_while(|(one, other)| one == other).count();
        let around = |words: &[String]| words[same.saturating_sub(5)..(same + 5).min(words.len())].join(" ");
        assert_eq!(around(&mandoc), around(&groff), "{name}");
    }
}

/// A home in which the examples run: messages, a stamp, and the program on the path.
fn example_home() -> Home {
    let home = Home::new();
    home.configure("addresses = [\"you@your.example\"]");
    let stamp = home.issue("you@your.example", []);
    fs::write(home.file("message"), home.affix(&stamp, &letter("example"))).unwrap();
    let sent = "From: you@your.example\nTo: a@far.example\nMessage-ID: <1@your.example>\n\nHello\n";
    fs::write(home.file("sent"), sent).unwrap();
    let vendors = home.file(".config/mailstamp/vendors");
    fs::copy(vendors.join("stamps.example.json"), home.file("stamps.example.json")).unwrap();
    fs::remove_dir_all(vendors).unwrap();
    home
}

/// Runs a line as a person at a shell would.
fn shell(home: &Home, folder: &Path, line: &str) -> Run {
    let path = format!("{}:/usr/bin:/bin", Path::new(MAILSTAMP).parent().unwrap().display());
    let mut command = Command::new("bash");
    command.args(["-c", line]).env_clear().env("HOME", home.path()).env("PATH", path).current_dir(folder);
    run(&mut command, b"")
}

#[track_caller]
fn did_its_work(line: &str, run: &Run) {
    let classes: Vec<i32> = Class::ALL.iter().map(|class| class.exit_code().into()).collect();
    assert!(classes.contains(&run.code), "{line}\nended with {}: {}{}", run.code, run.text(), run.stderr);
}

#[test]
fn examples_of_the_manual_run_and_say_what_they_say_there() {
    let home = example_home();
    // The page begins with an unstamped message.
    fs::write(home.file("message"), letter("plain")).unwrap();
    let mut count = 0;
    for block in command_pages().iter().flat_map(|(page, _)| literal(section(page, ".Sh EXAMPLES", &[".Sh "]))) {
        for step in format!("\n{block}").split("\n$ ").skip(1) {
            let lines = step.replace("\\\n", "");
            let (line, output) = lines.split_once('\n').unwrap_or((&lines, ""));
            let run = shell(&home, home.path(), line);
            did_its_work(line, &run);
            if !output.trim().is_empty() {
                assert_eq!(run.text().trim_end(), output.trim_end(), "{line}");
            }
            count += 1;
        }
    }
    assert!(count >= 15, "only {count} examples were found");
    assert_eq!(fs::read(home.file("plain")).unwrap(), letter("plain"));
}

/// The code blocks for a shell in README.md, each as its lines.
fn readme_blocks() -> Vec<Vec<&'static str>> {
    let blocks = README.split("\n```sh\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0);
    blocks.map(|block| block.lines().collect()).collect()
}

/// A home as on the first day.
fn fresh_home() -> Home {
    let home = Home::new();
    fs::remove_dir_all(home.file(".config")).unwrap();
    home
}

/// A line of the README without the build: what cargo would build is what this test was built with.
fn built(line: &str) -> String {
    line.replace("cargo run --quiet --no-default-features --", "mailstamp")
}

#[test]
fn commands_of_the_readme_run_in_order_in_one_fresh_home() {
    // This command runs the tests; these install, into cargo's folder and the system's. tests/programs/debian.rs builds and
    // installs the packages.
    let left_out = ["tests/run", "cargo install ", "sudo install ", "packaging/debian-package "];
    let home = fresh_home();
    let mut count = 0;
    for line in readme_blocks().into_iter().flatten() {
        if left_out.iter().any(|command| line.starts_with(command)) {
            continue;
        }
        did_its_work(line, &shell(&home, Path::new(ROOT), &built(line)));
        count += 1;
    }
    assert!(count >= 25, "only {count} commands were found");
    assert!(home.file(".local/share/man/man5/mailstamp-stamp.5").exists());
    let log = shell(&home, home.path(), "mailstamp log").exits(0).text();
    for verdict in ["first-class  paid", "first-class  again", "unstamped    no-stamp"] {
        assert!(log.contains(verdict), "{log}");
    }
}

#[test]
fn recipes_are_those_that_the_texts_name() {
    let entries = fs::read_dir(Path::new(ROOT).join("rules")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let recipes: BTreeSet<String> = names.filter(|name| !name.starts_with('.')).collect();
    for (text, content) in [("mailstamp(7)", page("mailstamp.7")), ("README.md", README.to_owned())] {
        let named = content.split("rules/").skip(1).map(|rest| {
            let end = rest.find(|c: char| c != '-' && c != '.' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            rest[..end].to_owned()
        });
        let named: BTreeSet<String> = named.filter(|name| !name.is_empty()).collect();
        assert_eq!(named, recipes, "{text}");
    }
}

#[test]
fn the_readme_begins_with_four_lines_that_use_the_program() {
    let first = readme_blocks().remove(0);
    assert_eq!(first.len(), 4);
    assert!(first.iter().all(|line| line.starts_with("mailstamp ")));
}

#[test]
fn the_quick_start_works_in_a_fresh_home() {
    let start = readme_blocks().into_iter().flatten().find(|line| line.starts_with("cargo run")).unwrap();
    let line = built(start);
    assert_ne!(line, start);
    let (home, root) = (fresh_home(), Path::new(ROOT));
    shell(&home, root, &line).exits(0).says("first-class paid");
    shell(&home, root, &line).exits(0).says("first-class again");
    // Years later it is still the same.
    let later = line.replace("classify", "classify --now 2035-01-01T00:00:00Z");
    shell(&home, root, &later).exits(0).says("first-class again");
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(["completions", shell], b"").exits(0);
        let path = home.file(shell);
        fs::write(&path, &script.stdout).unwrap();
        for command in subcommands(&help(&[])) {
            assert!(script.text().contains(&command), "{shell}: {command}");
        }
        match Command::new(shell).arg("-n").arg(&path).env("HOME", home.path()).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(_) if shell != "bash" => eprintln!("{shell} is not installed"),
            Err(error) => panic!("{shell}: {error}"),
        }
    }
}
