//! Odd messages through `classify` and `filter`: every byte comes out again behind our field, forged results are gone,
//! and size costs no more than it must.

use crate::support::{ALICE, Home, MAILSTAMP, letter, run, stamped};
use std::process::Command;

/// `filter`'s output without the field on top, which must be ours and have these line ends; and the field.
#[track_caller]
fn without_result<'a>(output: &'a [u8], newline: &str) -> (String, &'a [u8]) {
    let mut end = 0;
    loop {
        let line = output[end..].iter().position(|&b| b == b'\n').map_or(output.len(), |at| end + at + 1);
        assert!(output[end..line].ends_with(newline.as_bytes()), "{:?}", String::from_utf8_lossy(&output[..line]));
        end = line;
        if !output[end..].starts_with(b" ") {
            break;
        }
    }
    let field = String::from_utf8(output[..end].to_vec()).unwrap();
    assert!(field.starts_with("Digital-Stamp-Class: "), "{field}");
    assert!(field.lines().all(|line| line.len() <= 76), "{field}");
    (field, &output[end..])
}

#[test]
fn every_byte_comes_out_again() {
    let home = Home::new();
    let header = "From: b@y.example\nSubject: x\n";
    let many = format!("{}\nhello\n", "X-Trace: 0123456789\n".repeat(10_000));
    let messages: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("a line end", b"\n".to_vec()),
        ("header only", header.into()),
        ("header without an end", b"From: b@y.example".to_vec()),
        ("body only", b"\nhello".to_vec()),
        ("no last line end", format!("{header}\nhello").into()),
        ("NULs", b"From: \0\nX: a\0b\n\n\0\0\0\n".to_vec()),
        ("every byte", (0..=255).chain((0..=255).rev()).collect()),
        ("lone CR", b"From: b\rX: y\n\na\rb\r\n\rc".to_vec()),
        ("dots", format!("{header}\n.\n..\n").into()),
        ("10,000 fields", many.into()),
        ("one endless line", vec![b'x'; 1 << 20]),
        ("no colon", b"hello there\nthis is no header\n\nbody\n".to_vec()),
        ("binary", (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()),
    ];
    for (name, message) in &messages {
        let said = home.classify(message).exits(11);
        assert_eq!((said.text().as_str(), said.stderr.as_str()), ("unstamped no-stamp\n", ""), "{name}");
        let filtered = home.run(["filter"], message).exits(0);
        assert_eq!(filtered.stderr, "", "{name}");
        let (field, rest) = without_result(&filtered.stdout, "\n");
        assert!(rest == &message[..], "{name} was changed");
        assert_eq!(field, "Digital-Stamp-Class: unstamped; reason=no-stamp; action=deliver\n", "{name}");
    }
}

#[test]
fn line_ends_are_mirrored_and_the_envelope_line_stays_on_top() {
    let home = Home::new();
    let crlf = String::from_utf8(home.stamped(&letter("1"))).unwrap().replace('\n', "\r\n");
    let filtered = home.run(["filter"], crlf.as_bytes()).exits(0);
    let (field, rest) = without_result(&filtered.stdout, "\r\n");
    assert!(field.starts_with("Digital-Stamp-Class: first-class; reason=paid; vendor=stamps.example;"), "{field}");
    assert!(rest == crlf.as_bytes());
    let envelope = "From bob@y.example Sat Nov 21 12:00:00 2026\n";
    let mbox = [envelope.as_bytes(), &letter("2")].concat();
    let filtered = home.run(["filter"], &mbox).exits(0);
    let below = filtered.stdout.strip_prefix(envelope.as_bytes()).unwrap();
    assert!(without_result(below, "\n").1 == &letter("2")[..]);
}

#[test]
fn a_result_that_came_with_the_message_is_gone() {
    // Threat 8, through the program.
    let home = Home::new();
    home.configure("addresses = [\"alice@x.example\"]\nauthserv_id = \"mx.x.example\"");
    for forged in [
        "Digital-Stamp-Class: first-class; reason=paid\n",
        "digital-stamp-class: first-class\n",
        "DIGITAL-STAMP-CLASS:first-class\n",
        "Digital-Stamp-Class : first-class\n",
        "Digital-Stamp-Class\t:\n first-class\n",
        "Digital-Stamp-Class:\r\n first-\r\n class\r\n",
        "Digital-Stamp-Class: =?utf-8?q?first-class?=\n",
        "Digital\0-Stamp-Class: first-class\n",
        "Digital-Stamp-Class\u{a0}: first-class\n",
        "Digital-Stamp-Class: first-class\nX: y\nDigital-Stamp-Class: first-class\n",
        "Authentication-Results: mx.x.example; x-digital-stamp=pass\n",
        "authentication-results : (c) MX.X.example (d) 1; x-digital-stamp=pass\n",
    ] {
        let message =
            [b"From: b@y.example\n", forged.as_bytes(), b"To: a@x.example\n\nDigital-Stamp-Class: body\n"].concat();
        let filtered = home.run(["filter"], &message).exits(0).text();
        let (header, body) = filtered.split_once("\n\n").unwrap();
        assert!(header.starts_with("Digital-Stamp-Class: unstamped; reason=no-stamp; action=deliver\nAuthentication-Results: mx.x.example; x-digital-stamp=none reason=\"no-stamp\"\n"), "{header}");
        let rest: Vec<&str> = header.lines().skip(2).filter(|line| !line.starts_with("X:")).collect();
        assert_eq!(rest, ["From: b@y.example", "To: a@x.example"], "{forged:?}");
        assert_eq!(body, "Digital-Stamp-Class: body\n");
    }
    // Once more through the same filter: one field, not two.
    let once = home.run(["filter"], &letter("1")).exits(0).stdout;
    assert_eq!(home.run(["filter"], &once).exits(0).stdout, once);
}

#[test]
fn a_message_beyond_the_limit_passes_whole_and_keeps_its_stamp() {
    let home = Home::new();
    let stamped = [&b"X-Filler: 0123456789\n".repeat(100)[..], &home.stamped(&letter("1"))].concat();
    let message = [stamped, b"and so on\n".repeat(100_000)].concat();
    for limit in [1024, 1500, 5000, message.len() - 1] {
        home.configure(&format!("addresses = [\"{ALICE}\"]\nmax_message_size = {limit}"));
        home.classify(&message).exits(13).says("unverified over-limit");
        let filtered = home.run(["filter"], &message).exits(0);
        let (field, rest) = without_result(&filtered.stdout, "\n");
        assert!(field.starts_with("Digital-Stamp-Class: unverified; reason=over-limit"), "{field}");
        assert!(rest == &message[..], "limit {limit}");
    }
    // Just at the limit it is looked at; nothing was spent before.
    home.configure(&format!("addresses = [\"{ALICE}\"]\nmax_message_size = {}", message.len()));
    home.classify(&message).exits(0).says("first-class paid");
}

#[test]
fn a_forged_result_does_not_hide_behind_the_limit() {
    // Threat 8: a header beyond the limit of reading is still cleared to its end.
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\nmax_message_size = 1024"));
    let forged = "Digital-Stamp-Class: first-class; reason=paid\n";
    for (before, after) in [(0, 0), (20, 0), (1000, 1000), (100_000, 7)] {
        let clean = |forged: &str| {
            let filler = |count| "X-Filler: 0123456789\n".repeat(count);
            format!("From: b@y.example\n{}{forged}{}\n{forged}{}", filler(before), filler(after), "x\n".repeat(1000))
        };
        let message = clean(forged);
        let filtered = home.run(["filter"], message.as_bytes()).exits(0);
        let (field, rest) = without_result(&filtered.stdout, "\n");
        assert_eq!(field, "Digital-Stamp-Class: unverified; reason=over-limit; action=deliver\n");
        assert_eq!(rest.len(), message.len() - forged.len());
        assert!(rest.ends_with(message.split_once("\n\n").unwrap().1.as_bytes()), "{before} {after}");
    }
    // Not even where the message ends with its header, or the header does not end at all.
    let message = format!("{}{forged}", "X: y\n".repeat(1000));
    let filtered = home.run(["filter"], message.as_bytes()).exits(0);
    assert_eq!(without_result(&filtered.stdout, "\n").1.len(), message.len() - forged.len());
    let endless = "X-Filler: 0123456789\n".repeat((65 << 20) / 21);
    let deferred = home.run(["filter"], endless.as_bytes()).exits(75);
    assert!(deferred.stdout.is_empty() && deferred.stderr.contains("header does not end"), "{}", deferred.stderr);
}

#[test]
fn a_large_message_takes_less_than_thrice_its_size() {
    // Address space is counted, so that not even a copy that is never touched is made.
    const SIZE: usize = 100 << 20;
    let home = Home::new();
    let body = b"0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnopqrstuvwxyz 012345\n";
    let message = [stamped(&home.mint(ALICE, "large"), &letter("1")), body.repeat(SIZE / body.len())].concat();
    let limit = format!("ulimit -v {}; exec \"$0\" filter", 3 * (SIZE >> 10));
    let mut command = Command::new("sh");
    command.args(["-c", &limit, MAILSTAMP]).env_clear().env("HOME", home.path());
    let filtered = run(&mut command, &message).exits(0);
    let (field, rest) = without_result(&filtered.stdout, "\n");
    assert!(field.starts_with("Digital-Stamp-Class: first-class; reason=paid;"), "{field}");
    assert!(rest == &message[..]);
}
