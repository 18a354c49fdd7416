//! The units in `rules/`: systemd accepts them, they sandbox as much as possible, and they allow all that the program
//! does.

use crate::support::programs::{maildir, program, recipe};
use crate::support::{ALICE, Home, MAILSTAMP, letter, run, stamped, traced};
use mailstamp::config::Config;
use mailstamp::config::user::User;
use mailstamp::engine::remote::client::{SOCKET, SYSTEM_SOCKET};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// `systemd-analyze` for units of this kind (`--user`, `--system`).
fn analyze(kind: &str, home: &Home, args: &[&str], unit: &Path) -> String {
    let mut command = Command::new(program("systemd-analyze", "systemd"));
    command.arg(kind).args(args).arg(unit).env_clear().env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.path());
    let ran = run(&mut command, b"");
    ran.text() + &ran.stderr
}

/// A unit with the program under test in it, in the folder of the home.
fn unit(home: &Home, name: &str) -> String {
    let text =
        recipe(name, &[]).replace("%h/.cargo/bin/mailstamp", MAILSTAMP).replace("/usr/local/bin/mailstamp", MAILSTAMP);
    fs::write(home.file(name), &text).unwrap();
    text
}

fn setting<'a>(unit: &'a str, key: &str) -> &'a str {
    let mut found = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.next().unwrap_or_else(|| panic!("no {key} in {unit}"))
}

fn has(unit: &str, key: &str) -> bool {
    unit.lines().any(|line| line.starts_with(&format!("{key}=")))
}

/// Returns the exposure of `systemd-analyze security`: from 0, sandboxed, to 10.
fn exposure(kind: &str, home: &Home, name: &str) -> f64 {
    unit(home, name);
    let text = analyze(kind, home, &["security", "--offline=true", "--no-pager"], &home.file(name));
    let level = text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{text}"));
    level.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Every service in `rules/`, with the manager that runs it.
fn services() -> Vec<(&'static str, String)> {
    let names = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")).unwrap();
    let names = names.map(|file| file.unwrap().file_name().into_string().unwrap());
    let kind = |name: &str| if recipe(name, &[]).contains("\nUser=") { "--system" } else { "--user" };
    names.filter(|name| name.ends_with(".service")).map(|name| (kind(&name), name)).collect()
}

const UNITS: [(&str, &str); 2] = [("--user", "mailstamp"), ("--system", "mailstamp-system")];

#[test]
fn systemd_understands_the_units() {
    let home = Home::bare();
    for (kind, name) in UNITS {
        let (socket, service) = (format!("{name}.socket"), format!("{name}.service"));
        unit(&home, &socket);
        let text = unit(&home, &service);
        for file in [&socket, &service] {
            let said = analyze(kind, &home, &["verify", "--man=no"], &home.file(file));
            let complaints: Vec<&str> = said.lines().filter(|line| line.contains(name)).collect();
            assert!(complaints.is_empty(), "{complaints:#?}");
        }
        assert_eq!(setting(&text, "Requires"), socket);
        assert_eq!(setting(&text, "Type"), "notify");
        assert_eq!(setting(&text, "ExecReload"), "/bin/kill -HUP $MAINPID");
        assert!(has(&text, "WatchdogSec"));
        // It would be removed with the service, and the socket in it.
        assert!(!has(&text, "RuntimeDirectory"));
        let words: Vec<&str> = setting(&text, "ExecStart").split(' ').skip(1).collect();
        let help = run(Command::new(MAILSTAMP).args(["serve", "--help"]), b"").exits(0).text();
        assert!(words.contains(&"serve"));
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "{flag}");
        }
    }
}

#[test]
fn the_sockets_are_those_that_the_commands_look_for() {
    let home = Home::bare();
    let user = unit(&home, "mailstamp.socket");
    let listens = setting(&user, "ListenStream").replace("%h", home.path().to_str().unwrap());
    assert_eq!(Path::new(&listens), home.state().join(SOCKET));
    assert_eq!((setting(&user, "SocketMode"), setting(&user, "DirectoryMode")), ("0600", "0700"));
    let system = unit(&home, "mailstamp-system.socket");
    assert_eq!(setting(&system, "ListenStream"), SYSTEM_SOCKET);
    assert_eq!((setting(&system, "SocketMode"), setting(&system, "DirectoryMode")), ("0666", "0755"));
}

#[test]
fn the_digest_may_call_a_sendmail_with_a_group_of_its_own() {
    // systemd.exec(5), NoNewPrivileges: what implies it where the manager is a user's own.
    const IMPLY: [&str; 20] = [
        "DynamicUser",
        "LockPersonality",
        "MemoryDenyWriteExecute",
        "NoNewPrivileges",
        "PrivateDevices",
        "PrivateUsers",
        "ProtectClock",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "ProtectSystem",
        "RestrictAddressFamilies",
        "RestrictFileSystems",
        "RestrictNamespaces",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "SystemCallArchitectures",
        "SystemCallFilter",
        "SystemCallLog",
    ];
    let home = Home::bare();
    let service = unit(&home, "held-digest.service");
    assert_eq!(IMPLY.iter().find(|key| has(&service, key)), None);
    let words: Vec<&str> = setting(&service, "ExecStart").split(' ').collect();
    assert_eq!(words, [MAILSTAMP, "held", "digest"]);
    let timer = unit(&home, "held-digest.timer");
    assert_eq!((setting(&timer, "Persistent"), setting(&timer, "WantedBy")), ("true", "timers.target"));
    for file in ["held-digest.service", "held-digest.timer"] {
        let said = analyze("--user", &home, &["verify", "--man=no"], &home.file(file));
        assert!(!said.contains("held-digest"), "{said}");
    }
    let when = setting(&timer, "OnCalendar");
    let analyzed = run(Command::new(program("systemd-analyze", "systemd")).args(["calendar", when]), b"").exits(0);
    assert!(analyzed.text().contains("Next elapse"), "{}", analyzed.text());
}

#[test]
fn the_services_are_shut_in() {
    let home = Home::bare();
    let services = services();
    assert!(services.len() >= 5, "{services:?}");
    for (_, name) in UNITS {
        unit(&home, &format!("{name}.socket"));
    }
    for (kind, name) in &services {
        // The digest calls the sendmail of the mail system.
        let level = exposure(kind, &home, name);
        assert!(level < 2.0 || name == "held-digest.service", "{name}: {level}");
        let said = analyze(kind, &home, &["verify", "--man=no"], &home.file(name));
        let complaints: Vec<&str> = said.lines().filter(|line| line.contains(name.as_str())).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
    // A user's own systemd has no other way to all of that. In the system's, every client would be the user nobody.
    assert!(has(&unit(&home, "mailstamp.service"), "PrivateUsers"));
    assert!(!has(&unit(&home, "mailstamp-system.service"), "PrivateUsers"));
}

/// What the system's unit configures for a mailbox.
fn configured(mailbox: &str) -> Config {
    let text = recipe("mailstamp-system.service", &[]);
    let (_, rest) = text.split_once("#   addresses = ").unwrap();
    let example = format!("#   addresses = {}", rest.split_once("\n#\n").unwrap().0);
    let config = example.lines().map(|line| line.trim_start_matches("#   ")).collect::<Vec<_>>().join("\n");
    Config::parse(&config, &User::named(mailbox).unwrap()).unwrap()
}

/// systemd makes the users and folders of the recipes. Shop and mail filter share none, and no mailbox has the folder
/// of anything else.
#[test]
fn users_and_folders_are_apart() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let made = |name: &str, recipe: &str, options: &[&str]| {
        let mut command = Command::new(program(name, "systemd"));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules").join(recipe);
        command.arg(format!("--root={}", root.path().display())).args(options).arg(file);
        run(command.env_clear(), b"").exits(0);
    };
    made("systemd-sysusers", "mailstamp-sysusers.conf", &[]);
    made("systemd-tmpfiles", "mailstamp-tmpfiles.conf", &["--create"]);
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let number = |name: &str| -> u32 {
        let line =
            passwd.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or_else(|| panic!("{passwd}"));
        line.split(':').nth(2).unwrap().parse().unwrap()
    };
    let (daemon, shop) = (number("mailstamp"), number("mailstamp-vendor"));
    assert_ne!(daemon, shop);
    for (folder, owner, mode) in [
        ("etc/mailstamp", 0, 0o755),
        ("var/lib/mailstamp", daemon, 0o700),
        ("var/lib/mailstamp/mailboxes", daemon, 0o700),
        ("var/lib/mailstamp/directories", daemon, 0o700),
        ("var/lib/mailstamp/gateway", daemon, 0o700),
        ("var/lib/mailstamp-vendor", shop, 0o700),
    ] {
        let found = fs::metadata(root.path().join(folder)).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (owner, mode), "{folder}");
    }
    for (kind, name) in services() {
        let text = recipe(&name, &[]);
        if kind == "--system" {
            let shop = name.contains("vendor");
            assert_eq!(setting(&text, "User"), if shop { "mailstamp-vendor" } else { "mailstamp" }, "{name}");
            let folders = setting(&text, "StateDirectory").split(' ');
            assert!(folders.clone().all(|folder| folder.starts_with("mailstamp-vendor") == shop), "{name}");
            for folder in folders {
                assert!(root.path().join("var/lib").join(folder).is_dir(), "{name}: {folder}");
            }
        }
    }
    let taken = [
        "/var/lib/mailstamp/directories",
        "/var/lib/mailstamp/gateway",
        "/var/lib/mailstamp/mailboxes",
        "/var/lib/mailstamp-vendor",
    ];
    for mailbox in ["vendor", "directories", "gateway", "mailboxes", "mailstamp-vendor"] {
        let state = configured(mailbox).state.unwrap();
        assert!(taken.iter().all(|folder| !Path::new(folder).starts_with(&state) && state != Path::new(folder)));
        assert_eq!(state.parent(), Some(Path::new("/var/lib/mailstamp/mailboxes")));
    }
}

/// The configuration in the unit's comment is one, and serves.
#[test]
fn the_configuration_of_the_system_unit_is_one() {
    let config = configured("alice");
    assert_eq!(config.state.as_deref(), Some(Path::new("/var/lib/mailstamp/mailboxes/alice")));
    assert_eq!((config.serve.refresh, config.serve.watch), (None, false));
}

/// The system calls of a group, as this systemd knows it.
fn calls(group: &str) -> BTreeSet<String> {
    let listed =
        run(Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", group]), b"").exits(0).text();
    let words = listed.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).skip(1);
    words.flat_map(|word| if word.starts_with('@') { calls(word) } else { BTreeSet::from([word.to_owned()]) }).collect()
}

/// All that it does, from its beginning to its end, passes the filter of its unit.
#[test]
fn the_filters_let_through_what_it_does() {
    let home = Home::new();
    for folder in ["cur", "new", "tmp"] {
        fs::create_dir_all(home.file("Maildir").join(folder)).unwrap();
    }
    let watched = home.file("Maildir").display().to_string();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[watch]\nmaildir = \"{watched}\"\n[serve]\npurge = \"1s\""));
    let serve = format!(
        "exec 3< <(exec {MAILSTAMP} serve 2>&1); pid=$!; read -r line <&3; for n in 1 2 3; do \
         {MAILSTAMP} classify < $n; done; {MAILSTAMP} purge; sleep 1.2; \
         for try in $(seq 3000); do grep -q indexed .local/state/mailstamp/watch.jsonl && break; \
         sleep 0.1; done; kill -HUP $pid; read -r line <&3; \
         kill $pid; cat <&3 >&2"
    );
    for number in 1..=3 {
        let id = number.to_string();
        fs::write(home.file(&id), stamped(&home.mint(ALICE, &id), &letter(&id))).unwrap();
    }
    let mut shell = Command::new("bash");
    shell.args(["-c", &serve]).env_clear().env("HOME", home.path()).current_dir(home.path());
    shell.env("PATH", "/usr/bin:/bin");
    let (ran, notes) = traced(&mut shell, "all", b"");
    assert_eq!(ran.text().matches("first-class paid").count(), 3, "{} {}", ran.text(), ran.stderr);
    assert!(maildir(&home.file("Maildir")).is_empty());

    // Of the process that served, and its threads.
    let begun = |line: &&str| line.contains("execve(") && line.contains("\"serve\"");
    let first = notes.lines().find(begun).unwrap().split(' ').next().unwrap().to_owned();
    let mut threads = BTreeSet::from([first]);
    let mut used = BTreeSet::new();
    // Twice: what a new thread does may stand before the line that names it.
    for line in notes.lines().chain(notes.lines()) {
        let (number, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        if !threads.contains(number) {
            continue;
        }
        let resumed = call.strip_prefix("<... ").and_then(|rest| rest.split_once(' '));
        let name = resumed.map_or_else(|| call.split('(').next().unwrap(), |(name, _)| name);
        if name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
            used.insert(name.to_owned());
        }
        if name.starts_with("clone")
            && let Some((_, thread)) = call.rsplit_once(" = ")
        {
            threads.insert(thread.split(' ').next().unwrap().to_owned());
        }
    }
    assert!(used.len() > 30 && used.contains("inotify_add_watch") && used.contains("fdatasync"), "{used:?}");

    for name in ["mailstamp.service", "mailstamp-system.service"] {
        let text = unit(&home, name);
        let filters: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
        assert_eq!(filters, ["@system-service", "~@privileged @resources"]);
    }
    let refused: BTreeSet<String> = calls("@privileged").union(&calls("@resources")).cloned().collect();
    let allowed = calls("@system-service");
    let stopped: Vec<&String> =
        used.iter().filter(|call| !allowed.contains(*call) || refused.contains(*call)).collect();
    assert!(stopped.is_empty(), "{stopped:?}");
}
