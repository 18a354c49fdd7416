//! The layers (`ARCHITECTURE.md`), read from the source: imports go only downward, pure modules do no I/O, and a few
//! names stand in one place only. What the compiler can see, clippy sees better (`clippy.toml`); this sees what it
//! cannot. The pages for contributors are compared with the source, too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules by layer, from the lowest. An import within a layer is no better than one upward.
const LAYERS: [&[&str]; 16] = [
    &["time"],
    &["message"],
    &["grant", "stamp"],
    &["accounting", "peer", "transparency", "verdict"],
    &["policy", "vendor_api"],
    &["autoreply", "boundary", "smtp"],
    &["emstamp"],
    &["os"],
    &["database", "ipc"],
    &["config", "log", "mailbox", "net", "store"],
    &["directory"],
    &["context"],
    // The sender does not need the engine.
    &["engine", "ledger", "sender"],
    &["bank"],
    &["server"],
    &["cli"],
];

/// The modules that decide.
const PURE: [&str; 14] = [
    "time",
    "message",
    "grant",
    "stamp",
    "peer",
    "verdict",
    "accounting",
    "policy",
    "vendor_api",
    "autoreply",
    "boundary",
    "smtp",
    "emstamp",
    "transparency",
];

struct Source {
    /// From `src/` or `tests/` on.
    name: String,
    text: String,
}

impl Source {
    /// The lines that are no comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn module(&self) -> Option<&str> {
        let path = self.name.strip_prefix("src/")?;
        let file = path.strip_suffix(".rs").filter(|file| !["lib", "main", "tools"].contains(file));
        path.split_once('/').map_or(file, |(folder, _)| Some(folder))
    }

    /// The places outside comments where `word` stands, not as a part of a longer one.
    fn names(&self, word: &str) -> Vec<String> {
        let inner = |c: char| c.is_alphanumeric() || c == '_';
        let stands = |line: &str| {
            line.match_indices(word)
                .any(|(at, _)| !line[..at].ends_with(inner) && !line[at + word.len()..].starts_with(inner))
        };
        self.code().filter(|(_, line)| stands(line)).map(|(at, line)| format!("{}:{at}: {line}", self.name)).collect()
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.push(Source { name, text: fs::read_to_string(path).unwrap() });
        }
    }
    assert!(!found.is_empty(), "{folder} is empty");
    found
}

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|modules| modules.contains(&module)).unwrap_or_else(|| panic!("{module} has no layer"))
}

/// The modules that a line names: `crate::module`, also in a list `crate::{module, …}`.
fn modules_named(line: &str) -> BTreeSet<&str> {
    let mut modules = BTreeSet::new();
    for (at, path) in line.match_indices("crate::") {
        let rest = &line[at + path.len()..];
        let list = rest.strip_prefix('{').map_or(rest, |list| list.split('}').next().unwrap_or(list));
        let items: Vec<&str> = if list.len() == rest.len() { vec![rest] } else { list.split(',').collect() };
        for item in items {
            let name = item.trim().split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default();
            if !name.is_empty() {
                modules.insert(name);
            }
        }
    }
    modules
}

#[test]
fn arrows_go_only_downward() {
    let mut arrows = 0;
    for source in sources("src") {
        let Some(module) = source.module() else { continue };
        for (at, line) in source.code() {
            for below in modules_named(line).into_iter().filter(|below| *below != module) {
                assert!(layer(below) < layer(module), "{}:{at}: from {module} to {below}: {line}", source.name);
                arrows += 1;
            }
        }
    }
    assert!(arrows > 100, "only {arrows} arrows were seen");
    assert_eq!(
        modules_named("use crate::{message::x, stamp}; crate::directory::y"),
        BTreeSet::from(["directory", "message", "stamp"])
    );
}

/// A file at the root of the checkout.
fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// A row of a table of layers: the layer's number and its module.
fn row(line: &str) -> Option<(usize, &str)> {
    let mut cells = line.strip_prefix("| ")?.split(" | ");
    let layer = cells.next()?.parse().ok()?;
    Some((layer, cells.next()?.strip_prefix('`')?.strip_suffix('`')?))
}

#[test]
fn every_module_has_a_layer_and_a_row_on_the_map() {
    let modules: BTreeSet<String> =
        sources("src").iter().filter_map(|source| source.module().map(str::to_owned)).collect();
    assert_eq!(modules, LAYERS.iter().copied().flatten().map(|module| (*module).to_owned()).collect());
    let (library, map) = (page("src/lib.rs"), page("ARCHITECTURE.md"));
    for module in &modules {
        assert!(library.contains(&format!("\npub mod {module};\n")), "{module} is no module of the library");
    }
    // Both tables, from the highest layer down; the second has the pure modules.
    let layers = LAYERS.iter().enumerate().rev();
    let layers: Vec<(usize, &str)> =
        layers.flat_map(|(below, modules)| modules.iter().map(move |module| (below + 1, *module))).collect();
    assert_eq!(map.lines().filter_map(row).collect::<Vec<_>>(), layers);
    let (_, pure) = map.split_once("\n### Pure modules\n").unwrap();
    let pure: BTreeSet<&str> = pure.lines().filter_map(row).map(|(_, module)| module).collect();
    assert_eq!(pure, BTreeSet::from(PURE));
}

/// Every file of the checkout by its path, without what is built, what Git keeps, and what Git ignores.
fn files_of_the_checkout() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open = vec![root.to_owned()];
    let mut found = BTreeSet::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let built = path.join("CACHEDIR.TAG").exists();
            if !built && !path.ends_with(".git") {
                open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else {
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

/// What a page sets in code, each once: the words of `code` and of fenced blocks, and where its links lead.
fn words_in_code(page: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    // Fences have three backticks, so the odd parts between backticks are code either way.
    for code in page.replace("```", "`").split('`').skip(1).step_by(2) {
        words.extend(code.split_whitespace().map(str::to_owned));
    }
    for (at, opens) in page.match_indices("](") {
        words.extend(page[at + opens.len()..].split(')').next().map(str::to_owned));
    }
    words
}

#[test]
fn what_the_pages_for_contributors_name_exists() {
    let files = files_of_the_checkout();
    let tests: String = sources("tests").into_iter().chain(sources("src")).map(|source| source.text).collect();
    // The page about the log's files names those of the store.
    let roots = ["", "src/", "src/store/"];
    let exists = |path: &str| {
        let folder = format!("{}/", path.trim_end_matches('/'));
        roots.iter().map(|root| format!("{root}{path}")).any(|file| files.contains(&file))
            || roots.iter().any(|root| files.iter().any(|file| file.starts_with(&format!("{root}{folder}"))))
    };
    let elsewhere = |word: &str| word.starts_with(['/', '~', '-', '$', '.']) || word.contains(['<', '=', ':', '*']);
    let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let mut checked = 0;
    for (file, test) in words_in_code(&page("docs/log-format.md")).iter().filter_map(|word| word.split_once("::")) {
        if ["Error", "Redb", "Session"].iter().any(|kind| file.ends_with(kind)) {
            continue;
        }
        let text = ["tests/store", "tests/daemon"].map(|folder| format!("{folder}/{file}.rs"));
        let text = text.iter().find(|path| files.contains(*path)).map(|path| page(path)).unwrap_or_default();
        assert!(text.contains(&format!("fn {test}(")), "docs/log-format.md names {file}::{test}");
        checked += 1;
    }
    for name in ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "docs/log-format.md"] {
        for word in words_in_code(&page(name)).iter().filter(|word| !elsewhere(word)) {
            if word.contains('/') {
                assert!(exists(word), "{name} names {word}, which is not here");
            } else if [".rs", ".md", ".toml", ".yml"].iter().any(|ending| word.ends_with(ending)) {
                let here = files.iter().any(|file| file.rsplit('/').next() == Some(word));
                assert!(here, "{name} names {word}, and no file is called so");
            } else if is_word(word) && word.matches('_').count() > 2 {
                assert!(tests.contains(&format!("fn {word}(")), "{name} names {word}, and no function is called so");
            } else {
                continue;
            }
            checked += 1;
        }
    }
    assert!(checked > 120, "only {checked} names were seen");
}

#[test]
fn what_decides_does_not_touch_the_world() {
    let world = [
        "std::fs",
        "std::io",
        "std::env",
        "std::process",
        "std::thread",
        "std::os",
        "SystemTime",
        "Instant",
        "TcpStream",
        "UdpSocket",
        "ToSocketAddrs",
        "UnixDatagram",
        "UnixStream",
        "getrandom",
        "rustix",
        "println",
        "eprintln",
        "print",
        "eprint",
        "dbg",
        "async",
        "unsafe",
    ];
    for source in sources("src") {
        let Some(module) = source.module().filter(|module| PURE.contains(module)) else { continue };
        for word in world {
            assert_eq!(source.names(word), Vec::<String>::new(), "{module} decides, and names {word}");
        }
    }
    for module in PURE {
        let file = format!("src/{module}/mod.rs");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = page(if root.join(&file).exists() { &file } else { "src/time.rs" });
        let denied = "#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]";
        assert!(text.contains(denied), "{module}/mod.rs does not deny what clippy.toml lists");
    }
}

#[test]
fn some_names_stand_in_one_place_only() {
    for (word, places) in [
        ("ed25519_dalek", &["src/stamp/signing.rs"][..]),
        ("hpke", &["src/peer/sealing.rs"]),
        ("hmac", &["src/autoreply/held_word.rs", "src/emstamp/id.rs", "src/ledger/payment/cashu/blind.rs"]),
        ("k256", &["src/ledger/payment/cashu/blind.rs"]),
        ("SystemTime", &["src/os/clock.rs"]),
        // Locks, safe opens and replacing of files: each mechanism once.
        ("flock", &["src/os/"]),
        ("NOFOLLOW", &["src/os/"]),
        ("renameat", &["src/os/"]),
        ("fs::rename", &["src/os/"]),
        // The word alone is a setting of PostgreSQL, too.
        ("fs::fsync", &["src/os/"]),
        // Servers: one of Unix sockets, one of HTTP. The combining leader is a filter of a few milliseconds: it serves
        // its followers on the one thread that it has.
        ("accept()", &["src/ipc/server.rs", "src/server/http/", "src/store/combining/leader.rs"]),
        ("incoming()", &[]),
        ("accept_with", &[]),
        // The network: what asks, and what answers.
        ("ureq", &["src/net/https.rs", "src/net/http_client.rs", "src/net/proxy.rs", "src/net/redirect.rs"]),
        (
            "rustls",
            &[
                "src/net/failure.rs",
                "src/net/https.rs",
                "src/net/smtp/",
                "src/os/tls.rs",
                "src/server/smtp_connection.rs",
                "src/server/tls.rs",
                "src/store/postgres/tls.rs",
                "src/store/postgres/trouble.rs",
            ],
        ),
        ("tokio_postgres", &["src/store/postgres/"]),
        ("hickory_resolver", &["src/net/dns.rs"]),
        (
            "tokio",
            &[
                "src/net/dns.rs",
                "src/server/http/metrics_endpoint.rs",
                "src/server/http/listener.rs",
                "src/server/vendor_http/mod.rs",
                "src/server/vendor_http/listener.rs",
                "src/server/vendor_http/tls.rs",
                "src/store/postgres/",
            ],
        ),
        ("axum", &["src/server/http/metrics_endpoint.rs", "src/server/http/listener.rs", "src/server/vendor_http/"]),
        (
            "async",
            &[
                "src/net/dns.rs",
                "src/server/http/metrics_endpoint.rs",
                "src/server/http/listener.rs",
                "src/server/vendor_http/",
                "src/store/postgres/",
            ],
        ),
        // Many stores exist, and one file chooses the one that a user gets.
        ("store::redb", &["src/context/used_log.rs", "src/store/"]),
        // Slow beyond measure for hostile messages; single fields are parsed instead.
        ("parse_mail", &[]),
        ("get_value", &[]),
        ("get_first_value", &[]),
    ] {
        let elsewhere = |source: &&Source| !places.iter().any(|place| source.name.starts_with(place));
        for source in sources("src").iter().filter(elsewhere) {
            assert_eq!(source.names(word), Vec::<String>::new(), "{word} belongs to {places:?}");
        }
    }
}

#[test]
fn files_say_what_they_are_for_and_stay_small() {
    let vague = ["utils", "util", "helpers", "helper", "common", "misc", "manager"];
    for source in sources("src").into_iter().chain(sources("tests")) {
        assert!(source.text.starts_with("//! "), "{} does not open with its purpose", source.name);
        let lines = source.text.lines().count();
        let most = if source.name.starts_with("src/") { 600 } else { 800 };
        assert!(lines <= most, "{} has {lines} lines", source.name);
        let path = source.name.trim_end_matches(".rs");
        assert!(!path.split('/').any(|part| vague.contains(&part)), "{} has a name that says nothing", source.name);
    }
}
