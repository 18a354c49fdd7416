//! Closed standard streams, and those in the wrong mode. A message is never read from nothing, and a result never
//! written to nothing.

use crate::support::{ALICE, Home, MAILSTAMP, Run, letter, run};
use std::fs::{self, File};
use std::process::{Command, Stdio};

/// Each command: its arguments, and its status when standard input or standard output cannot be used; 0 if the command
/// does not need it.
const COMMANDS: &[(&str, i32, i32)] = &[
    ("classify", 75, 75),
    ("filter", 75, 75),
    ("deliver", 75, 0),
    ("held add", 75, 0),
    ("held list", 0, 74),
    ("held never jaqxtm5i", -1, 74),
    ("held digest", 0, 0),
    ("held digest --print", 0, 74),
    ("held answer", 75, -1),
    ("reply send", 75, 75),
    ("reply test", 74, 74),
    ("explain", 74, 74),
    ("show", 74, 74),
    ("grant", 74, 74),
    ("revoke", 74, 74),
    ("unrevoke", 74, 74),
    ("grants", 0, 74),
    ("scan message", 0, 74),
    ("rules test", 74, 74),
    ("learn-sent", 74, 0),
    ("learn-sent -v", 74, 74),
    ("learn-sent message", 0, 74),
    ("learn-contacts -", 74, 74),
    ("correspondents", 0, 74),
    ("affix --stamp-file stamp", 74, 74),
    ("strip", 74, 74),
    ("strip --results", 75, 75),
    ("buy --to bob@y.example", -1, 74),
    ("wallet list", 0, 74),
    ("account list", 0, 74),
    ("sendmail -t", 75, -1),
    ("bank init --agency a.example --account shop", -1, 74),
    ("bank license 10", -1, 74),
    ("bank buy 10", -1, 74),
    ("bank redeem 10", -1, 74),
    ("bank clear", -1, 74),
    ("bank accept-restored", -1, 74),
    ("bank balance", -1, 74),
    ("bank statement", -1, 74),
    ("bank audit", -1, 74),
    ("price show --config prices.toml", 0, 74),
    ("price set 5 --address a@x.example --config prices.toml", 0, 74),
    ("price unset --address a@x.example --config prices.toml", 0, 74),
    ("peer key show", 0, 74),
    ("peer key new alice@x.example", -1, 74),
    ("peer key revoke AAAAAAAAAAA", -1, 74),
    ("peer list", 0, 74),
    ("peer show bob@y.example", -1, 74),
    ("peer accept bob@y.example", -1, 74),
    ("peer end bob@y.example", -1, 74),
    ("peer drop bob@y.example", -1, 74),
    ("peer give bob@y.example", -1, 74),
    ("peer pin talk@lists.example k4.public.Kay64UG8yvCyLhqU000LxzYeUm0L_hLIl5S8kyKWbdc", -1, 74),
    ("peer unpin talk@lists.example", -1, 74),
    ("peer extract", 74, 74),
    ("thunderbird install", 0, 74),
    ("thunderbird host", 74, -1),
    ("thunderbird remove", 0, 74),
    ("trust add -", 74, 74),
    ("trust check", 0, 74),
    ("trust monitor nowhere", -1, 74),
    ("trust head --json", 0, 74),
    ("directory list", 0, 74),
    ("vendor keygen --vendor a.example --kid k --out key", 0, 74),
    ("boundary keygen --host a.example --out seal.key", 0, 74),
    ("store init", -1, 74),
    ("store status", -1, 74),
    ("store copy --from redb --to postgres", -1, 74),
    ("store accept-restored", -1, 74),
    ("setup --incoming none", 0, 74),
    ("doctor", 0, 74),
    ("config show", 0, 74),
    ("log", 0, 74),
    ("stats", 0, 74),
    ("purge", 0, 74),
    ("export", 0, 74),
    ("import", 74, 74),
    ("completions bash", 0, 74),
];

/// Commands that run on, and `status`, which fails without a daemon.
const NOT_TRIED: [&str; 5] = ["serve", "gateway", "opensmtpd-filter", "watch", "status"];

/// A home with a stamped message and a stamp.
fn home() -> Home {
    let home = Home::new();
    fs::write(home.file("message"), home.stamped(&letter("1"))).unwrap();
    fs::write(home.file("stamp"), home.issue(ALICE, [])).unwrap();
    let gateway = format!(
        "addresses = [\"*@x.example\"]\n[gateway.inbound]\nlisten = \"127.0.0.1:2525\"\ninner = \"127.0.0.1:2526\"\n\
         help = \"https://x.example/mail\"\nprices = {:?}\n",
        home.file("prices")
    );
    fs::write(home.file("prices.toml"), gateway).unwrap();
    home
}

/// Runs the program in a shell, with these redirections.
fn redirected(home: &Home, args: &str, how: &str) -> Run {
    let line = format!("exec \"$0\" {args} {how}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &line, MAILSTAMP]).env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin");
    run(shell.current_dir(home.path()), b"")
}

/// Returns the commands that `--help` lists.
fn listed(home: &Home) -> Vec<String> {
    let help = home.run(["--help"], b"").exits(0).text();
    let (_, list) = help.split_once("Usage:").unwrap();
    let (list, _) = list.split_once("\nOptions:").unwrap();
    let rows = list.lines().filter(|line| line.starts_with("  "));
    rows.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn every_command_is_in_the_table() {
    for name in listed(&Home::bare()) {
        let tried = COMMANDS.iter().any(|(args, ..)| args.split(' ').next() == Some(&name));
        assert!(tried || NOT_TRIED.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn no_command_reads_or_writes_a_stream_that_is_not_open() {
    let home = home();
    let known = listed(&home);
    let refused = |args: &str, how: &str, code: i32, why: &str| {
        let said = redirected(&home, args, how);
        assert_eq!((said.code, said.text().as_str()), (code, ""), "{args} {how}: {}", said.stderr);
        assert!(said.stderr.starts_with(&format!("mailstamp: error: cannot {why}: ")), "{args} {how}: {}", said.stderr);
    };
    for (args, input, output) in COMMANDS.iter().copied() {
        if !known.iter().any(|name| args.split(' ').next() == Some(name)) {
            continue;
        }
        if input > 0 {
            refused(args, "<&-", input, "read standard input");
            refused(args, "0> nothing", input, "read standard input");
        }
        if output > 0 {
            refused(args, "< message >&-", output, "write standard output");
            refused(args, "< message 1< /dev/null", output, "write standard output");
            redirected(&home, args, "< message >&- 2>&-").exits(output);
        }
        if input == 0 {
            redirected(&home, args, "<&-").exits(0);
        }
        if output == 0 {
            redirected(&home, args, "< message >&-").exits(0);
        }
    }
    for args in ["--help", "--version", "classify --help", "help show"] {
        refused(args, ">&-", 74, "write standard output");
    }
}

#[test]
fn nothing_is_spent_or_removed_without_its_output() {
    let home = home();
    redirected(&home, "filter", "< message >&-").exits(75);
    redirected(&home, "classify", "< message 1< /dev/null").exits(75);
    redirected(&home, "classify", "< message").exits(0).says("first-class paid");
    redirected(&home, "held add", "< message").exits(0);
    let id = home.run(["held", "list", "--json"], b"").text();
    let id = id.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let release = format!("held release {id} --to -");
    for how in [">&-", "1< /dev/null", "> /dev/full"] {
        let said = redirected(&home, &release, how).exits(74);
        assert!(said.stderr.contains("cannot write standard output"), "{}", said.stderr);
    }
    // This reader ends without reading, although the pipe has room for the message.
    let piped = |reader: &str| redirected(&home, &release, &format!("| {reader}"));
    let _ = piped("true");
    let _ = piped("exec sleep 0.3 <&-");
    let whole = home.run(["held", "show", &id], b"").exits(0).stdout;
    assert!(whole.ends_with(b"Bob\n"));
    let got = piped("{ sleep 0.3; cat; }").stdout;
    assert!(got.starts_with(b"Digital-Stamp-Class: allowed") && got.ends_with(b"Bob\n"));
    home.run(["held", "show", &id], b"").exits(66);
}

#[test]
fn a_standard_output_that_is_thrown_away_is_no_error() {
    // Python and others open /dev/null for reading and writing, as the runtime of Rust does in place of a closed
    // stream.
    let home = home();
    for (command, code) in [("classify", 0), ("filter", 0), ("doctor", 0), ("export", 0)] {
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let mut child = home.command();
        child.arg(command).stdin(File::open(home.file("message")).unwrap()).stdout(null).stderr(Stdio::null());
        assert_eq!(child.status().unwrap().code(), Some(code), "{command}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_list_silently() {
    let home = home();
    home.run(["classify"], &fs::read(home.file("message")).unwrap()).exits(0);
    for command in ["log", "doctor", "export", "config show", "completions bash", "--help", "show"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = home.command();
        child.args(command.split(' ')).stdin(File::open(home.file("message")).unwrap()).stdout(writer);
        let said = child.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&said.status);
        assert_eq!((signal, said.stderr.len()), (Some(13), 0), "{command}");
    }
}
