//! Errors in plain words: no text of Rust's or serde's parsers, and the file, line or option with each.

use crate::support::{Home, Run, letter};

/// Words of Rust's and serde's parsers.
const PARSERS: [&str; 8] = [
    "invalid digit",
    "target type",
    "invalid socket",
    "invalid IP",
    "at line",
    "expected value",
    "valid UTF-8",
    "os error",
];

#[test]
fn a_wrong_option_is_reported_in_plain_words() {
    let home = Home::new();
    for (args, told) in [
        ("log -n x", "'x' for '--count <COUNT>': not a whole number from 0 on"),
        ("log -n 99999999999999999999999", "the number is too large"),
        ("vendor issue --key k --to a@x.example --days x", "'--days <DAYS>': not a whole number"),
        ("vendor publish --days 0", "0 is not in 1..=65535"),
        ("explain message", "tip: the message is standard input: write '<' before a file"),
        ("classify message", "tip: the message is standard input: write '<' before a file"),
    ] {
        let status = if args.starts_with("classify") { 75 } else { 64 };
        let run = home.run(args.split(' '), b"").exits(status);
        assert!(run.stderr.contains(told), "{args}: {}", run.stderr);
        assert!(!PARSERS.iter().any(|word| run.stderr.contains(word)), "{args}: {}", run.stderr);
    }
}

#[cfg(feature = "vendor")]
#[test]
fn a_wrong_option_of_a_vendor_is_reported_in_plain_words() {
    let home = Home::bare();
    for (args, told) in [
        ("vendor voucher abc", "'abc' for '[CREDITS]': not a whole number from 0 on"),
        ("vendor voucher 5 --count 0", "0 is not in 1.."),
        ("vendor serve --listen x", "not an address and a port, as in 127.0.0.1:8025"),
        ("vendor serve --trusted-proxy x", "not an IP address, as in 127.0.0.1"),
        ("vendor serve --connections 0", "write a number from 1 to 100000"),
        ("vendor serve --connections-each 0", "write a number from 1 to 100000"),
    ] {
        let run = home.run(args.split(' '), b"").exits(64);
        assert!(run.stderr.contains(told), "{args}: {}", run.stderr);
        assert!(!PARSERS.iter().any(|word| run.stderr.contains(word)), "{args}: {}", run.stderr);
    }
}

#[test]
fn a_wrong_file_is_reported_in_plain_words() {
    let home = Home::new();
    let file = home.file("wrong");
    let name = file.to_str().unwrap();
    let out = home.file("out");
    let out = out.to_str().unwrap();
    for content in ["", "{", "hello", "[]", "{}", "\u{0}"] {
        std::fs::write(&file, content).unwrap();
        let runs = [
            home.run(["trust", "add", name], b"").exits(65),
            home.run(["trust", "add", "-"], content.as_bytes()).exits(65),
            home.run(["vendor", "issue", "--key", name, "--to", "a@x.example"], b"").exits(65),
            home.run(["vendor", "document", "--key", name], b"").exits(65),
            home.run(["vendor", "publish", "--out", out, "--key", name], b"").exits(65),
        ];
        for (run, subject) in runs.iter().zip([name, "standard input", name, name, name]) {
            assert!(run.stderr.starts_with(&format!("mailstamp: error: {subject}: not a ")), "{}", run.stderr);
            assert!(!PARSERS.iter().any(|word| run.stderr.contains(word)), "{}", run.stderr);
        }
        if !content.is_empty() {
            let run = home.run(["import"], content.as_bytes()).exits(65);
            assert!(
                run.stderr.starts_with("mailstamp: error: line 1: not a line that export wrote: "),
                "{}",
                run.stderr
            );
            assert!(!PARSERS.iter().any(|word| run.stderr.contains(word)), "{}", run.stderr);
        }
    }
    // The bytes 0xff are no text at all.
    let run = home.run(["trust", "add", "-"], b"\xff").exits(65);
    assert!(!PARSERS.iter().any(|word| run.stderr.contains(word)), "{}", run.stderr);
}

#[cfg(feature = "directory")]
#[test]
fn the_file_of_a_source_is_named_once() {
    let home = Home::new();
    let file = home.file("directory");
    std::fs::write(&file, b"\xff").unwrap();
    let name = file.to_str().unwrap();
    let add = || home.run(["directory", "add", "--from", name, "--yes", "v.example"], b"");
    assert_eq!(add().exits(65).stderr, format!("mailstamp: error: {name}: not UTF-8 text\n"));
    for junk in ["", "hello", "<html>", "{}", "{\"directory\":\"v4.public.x\"}"] {
        std::fs::write(&file, junk).unwrap();
        let run = add().exits(65);
        assert!(run.stderr.contains(name) && !PARSERS.iter().any(|word| run.stderr.contains(word)), "{}", run.stderr);
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(add().exits(69).stderr, format!("mailstamp: error: {name}: No such file or directory\n"));
}

/// Words of the libraries that open connections.
#[cfg(feature = "sender")]
const CONNECTIONS: [&str; 9] = [
    "lookup address",
    "Connection error",
    "network error",
    "io: ",
    "io error",
    "timeout: ",
    "rustls",
    "UnknownIssuer",
    "os error",
];

/// Every command that opens a connection says which host failed and why.
#[cfg(all(feature = "sender", feature = "vendor"))]
#[test]
fn a_failed_connection_names_the_host_in_plain_words() {
    // No name server is asked about a label of 64 characters, and no program listens at a socket that is only bound.
    let nowhere = format!("{}.example", "x".repeat(64));
    let port = crate::support::http::RefusingPort::open();
    let silent = port.address;
    let home = Home::new();
    let told = |args: &[&str], stdin: &str, status, why: &str| {
        let run = home.run(args.iter().copied(), stdin.as_bytes()).exits(status);
        assert!(run.stderr.contains(why), "{args:?}: {}", run.stderr);
        assert!(!CONNECTIONS.iter().any(|word| run.stderr.contains(word)), "{args:?}: {}", run.stderr);
    };
    for (host, why) in [
        (nowhere.clone(), format!("no address found for {nowhere}; check the name and the network")),
        (format!("{silent}"), format!("{silent} refuses the connection")),
    ] {
        let from = format!("https://{host}/x");
        told(&["directory", "add", "--from", &from, "--yes", "v.example"], "", 69, &why);
        told(
            &["account", "add", "new", "--url", &format!("https://{host}"), "--vendor", "v.example"],
            "msk_x\n",
            75,
            &why,
        );
        let offline = ["--vendor", "v.example", "--offline", "--replace"];
        let url = format!("https://{host}");
        home.run(["account", "add", "a", "--url", &url].into_iter().chain(offline), b"msk_x\n").exits(0);
        told(&["account", "show", "a"], "", 75, &why);
        told(&["buy", "--to", "b@y.example"], "", 75, &why);
    }
    let file = home.config().with_file_name("vendors").join("sources.toml");
    std::fs::write(&file, format!("resolver = \"{silent}\"\ntimeout = \"2s\"\n")).unwrap();
    let why = format!("the name server {silent} ");
    told(&["directory", "add", "--from", "dns", "--yes", "v.example"], "", 69, &why);

    let letter = "From: alice@x.example\nSubject: s\n\nx\n";
    for (host, port) in [(nowhere.as_str(), 25), ("127.0.0.1", silent.port())] {
        let tls = if host == "127.0.0.1" { "off" } else { "starttls" };
        home.configure(&format!(
            "addresses = [\"alice@x.example\"]\n[sendmail]\nnone = [\"*@y.example\"]\n[sendmail.smtp]\n\
             host = \"{host}\"\nport = {port}\ntls = \"{tls}\""
        ));
        let why = if tls == "off" { "127.0.0.1 refuses the connection" } else { "no address found for xxx" };
        told(&["sendmail", "b@y.example"], letter, 75, &format!("b@y.example: not sent yet: {why}"));
    }
    let ca = home.file("ca.pem");
    std::fs::write(&ca, "not a certificate").unwrap();
    home.configure(&format!("[sendmail.smtp]\nhost = \"mx.x.example\"\nca_file = {ca:?}"));
    told(&["sendmail", "b@y.example"], letter, 78, &format!("{}: not certificates in PEM form", ca.display()));

    home.run(["vendor", "init", "--vendor", "v.example", "--kid", "k", "--price", "1 EUR"], b"").exits(0);
    home.run(["vendor", "account", "add", "joe", "--contact", "j"], b"").exits(0);
    for (host, why) in [
        (format!("{nowhere}:25"), format!("no address found for {nowhere}:25")),
        (silent.to_string(), format!("{silent} refuses the connection")),
    ] {
        let own = ["vendor", "account", "own", "joe", "j@y.example", "--mail", "--smtp", &host];
        told(&own, "", 75, &format!("mail server {host}: a code was not accepted: {why}"));
    }
}

#[cfg(feature = "vendor")]
#[test]
fn a_file_that_is_no_backup_is_reported_in_plain_words() {
    let home = Home::new();
    home.run(["vendor", "init", "--vendor", "v.example", "--kid", "k", "--price", "1 EUR"], b"").exits(0);
    home.run(["vendor", "account", "add", "joe", "--contact", "j"], b"").exits(0);
    let (backup, wrong, log) = (home.file("backup"), home.file("wrong"), home.state().join("used.redb"));
    home.run(["vendor", "backup", backup.to_str().unwrap()], b"").exits(0);
    home.classify(&home.stamped(&letter("1"))).exits(0);
    let (sound, log) = (std::fs::read(backup).unwrap(), std::fs::read(log).unwrap());
    let other = home.file("other");
    drop(redb::Database::create(&other).unwrap());
    let other = std::fs::read(other).unwrap();
    let restore = || {
        let into = home.file("restored");
        let run = home.run(["vendor", "restore", wrong.to_str().unwrap(), "--ledger", into.to_str().unwrap()], b"");
        assert!(!into.join("ledger.redb").exists());
        run
    };
    for (content, why) in [
        (b"".to_vec(), "it is "),
        (b"hello".to_vec(), "it is "),
        (vec![b'x'; 100_000], "it is not a database"),
        (log, ""),
        (other, "it is a database of another kind"),
        (sound[..sound.len() / 2].to_vec(), ""),
        (sound[..5_000].to_vec(), ""),
        ([&sound[..8_192], &vec![0xaa; sound.len() - 8_192]].concat(), ""),
    ] {
        std::fs::write(&wrong, &content).unwrap();
        let run = restore().exits(65);
        let told =
            format!("mailstamp: error: {}: damaged, or not a backup of a vendor's ledger: {why}", wrong.display());
        assert!(run.stderr.starts_with(&told) && run.stderr.lines().count() == 1, "{}", run.stderr);
        for word in ["Table", "redb", "magic", "Invalid", "DB corrupted", "panicked", "restore it"] {
            assert!(!run.stderr.contains(word), "{}", run.stderr);
        }
    }
    std::fs::remove_file(&wrong).unwrap();
    restore().exits(66);
}

#[test]
fn a_login_without_a_domain_is_no_address() {
    let home = Home::new();
    home.configure("addresses = [\"%u\"]");
    let run = home.run(["config", "check", "--user", "joe"], b"").exits(78);
    let told = "column 14: addresses = \"%u\": the user \"joe\" has no domain: write %n@your.example";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    home.run(["config", "check", "--user", "joe@x.example"], b"").exits(0);
}

#[test]
fn explain_asks_for_a_holder_only_where_there_is_one() {
    let home = Home::new();
    let told = home.run(["explain"], &home.stamped(&letter("1"))).exits(0).text();
    assert!(told.contains("is that key in force?") && !told.contains("holder"), "{told}");
}

#[cfg(feature = "sender")]
#[test]
fn the_waiting_messages_are_sent_alone() {
    let home = Home::new();
    for args in ["--resume a@x.example", "-q -t", "-q -bp", "--resume --drop name", "-q --return"] {
        let run = home.run(format!("sendmail {args}").split(' '), b"").exits(64);
        assert!(run.stderr.contains("sends the waiting messages, and takes no message or recipient"), "{}", run.stderr);
    }
}

/// Runs a command on a database with each of its first pages damaged in turn. What it says is one error, and in words of
/// this program.
fn with_each_page_damaged(file: &std::path::Path, status: i32, run: &dyn Fn() -> Run) {
    let sound = std::fs::read(file).unwrap();
    let mut said = 0;
    for page in 1..(sound.len() / 4_096).min(12) {
        let mut damaged = sound.clone();
        damaged[page * 4_096..][..4_096].fill(0xaa);
        std::fs::write(file, damaged).unwrap();
        let run = run();
        assert!(!run.stderr.contains("panicked"), "{page}: {}", run.stderr);
        assert!(run.stderr.matches("mailstamp: error: ").count() <= 1, "{page}: {}", run.stderr);
        if run.stderr.contains("database is corrupt") {
            said += 1;
            assert_eq!(run.code, status, "{}", run.stderr);
        }
    }
    assert!(said > 0);
    std::fs::write(file, sound).unwrap();
}

// The database panics on some damaged files, and Rust's words for it were printed beside ours.
#[test]
fn a_damaged_database_is_one_sentence() {
    let home = Home::new();
    let message = home.stamped(&letter("1"));
    home.classify(&message).exits(0);
    with_each_page_damaged(&home.state().join("used.redb"), 75, &|| home.classify(&message));
    #[cfg(feature = "vendor")]
    {
        let ledger = home.file("ledger");
        let place = ledger.to_str().unwrap();
        let vendor =
            |args: &str| home.run(["vendor"].into_iter().chain(args.split(' ')).chain(["--ledger", place]), b"");
        let init = ["vendor", "init", "--vendor", "v.example", "--kid", "k", "--price", "1 EUR", "--ledger", place];
        home.run(init, b"").exits(0);
        vendor("account add joe --contact j").exits(0);
        for args in ["account list", "audit", "account add ann --contact a"] {
            with_each_page_damaged(&ledger.join("ledger.redb"), 65, &|| vendor(args));
        }
    }
}

#[test]
fn explain_claims_nothing_of_settings_that_changed_since() {
    let home = Home::new();
    let message = home.stamped(&letter("1"));
    home.classify(&message).exits(0).says("first-class paid");
    home.configure("addresses = [\"carol@x.example\"]");
    let told = home.run(["explain"], &message).exits(0).text();
    assert!(told.contains("address, window and price counted then"), "{told}");
    for question in ["one of your addresses", "window open", "mailbox asks"] {
        assert!(!told.contains(question), "{told}");
    }
}
