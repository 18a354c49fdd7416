//! Errors in plain words: no text of Rust's or serde's parsers, and the file, line or option with each.

use crate::support::{Home, letter};

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
    let run = home.run(["directory", "add", "--from", name, "--yes", "v.example"], b"").exits(69);
    assert_eq!(run.stderr, format!("mailstamp: error: {name}: not UTF-8 text\n"));
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
