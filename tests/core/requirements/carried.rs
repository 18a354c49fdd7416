//! How a stamped message travels: nothing but the stamp is added, and no host on the way needs to know of it. Nothing
//! that a spammer could forge on the way matters.

use crate::support::{ALICE, Home, Run, letter, run, traced};
use std::path::Path;
use std::process::Command;

/// An attachment, a header in UTF-8, and text in two forms.
fn with_attachment() -> Vec<u8> {
    "From: Bj\u{f6}rn <bob@y.example>\nTo: alice@x.example\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <a@y.example>\n\
     Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=_b\"\n\n\
     preamble\n--=_b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n\
     gr=C3=BC=C3=9Fe\n--=_b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\
     Content-Disposition: attachment; filename=x.bin\n\nAAECAwQFBgcICQ==\n--=_b--\nepilogue\n"
        .as_bytes()
        .to_vec()
}

#[test]
fn an_address_from_a_web_page_is_all_that_a_stranger_needs() {
    // BC3: nothing secret in the address, no tagged address anywhere.
    let page = "<p>Write to <a href=\"mailto:alice@x.example\">Alice</a>, not before ten.</p>";
    let address = page.split("mailto:").nth(1).unwrap().split('"').next().unwrap();
    let home = Home::new();
    let stamped = home.affix(&home.issue(address, []), &letter("1"));
    home.classify(&stamped).exits(0).says("first-class paid");
}

/// The files below `folder` that a traced program opened.
fn opened(trace: &str, folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let lines = trace.lines().filter(|line| line.contains("open") && !line.contains(" = -1 "));
    let paths = lines.filter_map(|line| line.split('"').nth(1)).filter_map(|path| path.strip_prefix(folder));
    paths.map(|path| path.trim_start_matches('/').to_owned()).collect()
}

#[test]
fn neither_sender_nor_recipient_has_a_key() {
    // BC4: the sender opens no file of their own. The recipient opens only the configuration, the vendors' public
    // documents and the state. The vendors' secrets are in a home of their own. BK1: one vendor is enough, and two are
    // no different.
    let vendor = Home::new();
    vendor.vendor("other.example", "a");
    let key = vendor.key("other.example", "a");
    let other = vendor.run(["vendor", "issue", "--to", ALICE, "--key", key.to_str().unwrap()], b"").exits(0).text();
    let stamps = [vendor.issue(ALICE, []), other.trim().to_owned()];
    let documents = ["stamps.example.json", "other.example.json"]
        .map(|name| std::fs::read(vendor.config().with_file_name("vendors").join(name)).unwrap());
    for count in 1..=2 {
        keyless(&stamps[..count], &documents[..count]);
    }
}

/// The sender affixes each stamp and the recipient, who trusts the vendors of these documents, judges it.
fn keyless(stamps: &[String], documents: &[Vec<u8>]) {
    let recipient = Home::bare();
    recipient.configure("addresses = [\"alice@x.example\"]");
    for document in documents {
        recipient.run(["trust", "add", "-"], document).exits(0);
        assert!(!String::from_utf8_lossy(document).contains("k4.secret."));
    }
    let own = [
        "config.toml",
        "stamps.example.json",
        "other.example.json",
        "vendors",
        "verdicts.jsonl",
        "mailstamp",
        "state",
        ".local",
    ];
    let ours = |name: &str| name.starts_with("used.redb") || name.trim_start_matches('.').starts_with("clock");
    for (number, stamp) in stamps.iter().enumerate() {
        let sender = Home::bare();
        let message = letter(&number.to_string());
        let (affixed, trace) = traced(sender.command().args(["affix", "--stamp", stamp]), "open,openat", &message);
        assert_eq!(opened(&trace, sender.path()), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(sender.path()).unwrap().count(), 0);
        let (judged, trace) = traced(recipient.command().arg("classify"), "open,openat", &affixed.exits(0).stdout);
        judged.exits(0).says("first-class paid");
        for path in opened(&trace, recipient.path()) {
            let name = path.rsplit('/').next().unwrap();
            assert!(path.is_empty() || own.contains(&name) || ours(name), "{path} was opened");
            assert!(!path.ends_with(".key"), "{path}");
        }
    }
}

#[test]
fn a_mail_program_that_knows_no_stamps_sees_one_more_field_and_nothing_else() {
    // BC6a: the same text and attachments, one header field more. BC6b: the text stays clear. BP3a: an ordinary message
    // for a strict parser.
    let home = Home::new();
    for (name, message) in [("plain", letter("1")), ("attachment", with_attachment())] {
        let stamped = home.stamped(&message);
        std::fs::write(home.file("original"), &message).unwrap();
        std::fs::write(home.file("stamped"), &stamped).unwrap();
        let said =
            run(Command::new("python3").args(["-c", COMPARE, "original", "stamped"]).current_dir(home.path()), b"");
        assert_eq!((said.text().trim_end(), said.stderr.as_str()), ("same", ""), "{name}");
    }
    let stamped = String::from_utf8(home.stamped(&letter("1"))).unwrap();
    assert!(stamped.contains("this is letter 1.") && stamped.lines().all(|line| line.len() <= 78));
}

const COMPARE: &str = r#"
import email, email.policy, sys
original, stamped = (open(name, "rb").read() for name in sys.argv[1:])
strict = email.policy.default.clone(raise_on_defect=True)
for policy in (email.policy.compat32, strict):
    a, b = (email.message_from_bytes(text, policy=policy) for text in (original, stamped))
    fields = [(k, str(v)) for k, v in b.items()]
    added = [field for field in fields if field[0] == "Digital-Stamp"]
    assert len(added) == 1, added
    fields.remove(added[0])
    assert fields == [(k, str(v)) for k, v in a.items()]
    parts = [[(p.get_content_type(), p.get_filename(), p.get_payload(decode=True)) for p in m.walk()] for m in (a, b)]
    assert parts[0] == parts[1]
assert stamped.endswith(original)
print("same")
"#;

/// `message` with `lines` on top of its header.
fn under(lines: &str, message: &[u8]) -> Vec<u8> {
    [lines.as_bytes(), message].concat()
}

#[test]
fn nothing_depends_on_where_a_message_claims_to_come_from() {
    // BC7, for a good stamp, a forged one, and none.
    let home = Home::new();
    let good = home.stamped(&letter("1"));
    let forged = {
        let text = String::from_utf8(good.clone()).unwrap();
        text.replacen("v4.public.eyJ", "v4.public.eyK", 1).into_bytes()
    };
    let replaced = |message: &[u8], from: &str| {
        String::from_utf8(message.to_vec()).unwrap().replace("From: Bob <bob@y.example>", from).into_bytes()
    };
    for (message, verdict) in
        [(good, "first-class paid"), (forged, "invalid forged"), (letter("1"), "unstamped no-stamp")]
    {
        let judge = |message: &[u8], more: &[&str]| {
            home.run(["classify", "--dry-run"].iter().copied().chain(more.iter().copied()), message).says(verdict);
        };
        judge(&message, &[]);
        for from in ["From: Alice <alice@x.example>", "From: <>", "X-From: absent", "From: a@b, c@d", "From: \"x\" <x"]
        {
            judge(&replaced(&message, from), &[]);
        }
        for more in [
            "Sender: alice@x.example\n",
            "Reply-To: eve@z.example\n",
            "Return-Path: <stamps@stamps.example>\n",
            "Received: from localhost (localhost [127.0.0.1]) by x.example; Mon, 1 Jan 2001 00:00:00 +0000\n",
            "Authentication-Results: x.example; dkim=pass header.d=y.example; x-digital-stamp=pass\n",
            "Digital-Stamp-Class: first-class; reason=paid\n",
        ] {
            judge(&under(more, &message), &[]);
        }
        for sender in ["", "<>", "alice@x.example", "eve@z.example", "-f@z.example"] {
            judge(&message, &["--sender", sender]);
        }
    }
}

#[test]
fn any_content_can_be_stamped_and_unstamped_again() {
    // BC8, BP3b: put on and taken off in each place that takes a stamp, byte for byte.
    let home = Home::new();
    let stamp = home.issue(ALICE, []);
    let header = "From: b@y.example\nSubject: x\n";
    let binary: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let mime = |kind: &str, body: &str| format!("{header}MIME-Version: 1.0\n{kind}\n\n{body}").into_bytes();
    let messages: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("empty body", format!("{header}\n").into()),
        ("no body", header.into()),
        ("body only", b"\nhello\n".to_vec()),
        ("no last line end", format!("{header}\nhello").into()),
        ("8bit", [format!("{header}\n").as_bytes(), "gr\u{fc}\u{df}e\n".as_bytes(), &[0xff, 0xfe, b'\n']].concat()),
        ("binary", [format!("{header}Content-Transfer-Encoding: binary\n\n").as_bytes(), &binary].concat()),
        ("998 characters", format!("{header}\n{}\n", "x".repeat(998)).into()),
        ("one long line", format!("{header}\n{}\n", "x".repeat(100_000)).into()),
        ("lone dots", format!("{header}\n.\n..\n.\n").into()),
        ("From lines", format!("From b Sat Nov 21 12:00:00 2026\n{header}\nFrom here\n>From there\n").into()),
        ("CRLF", format!("{header}\nhello\n\nthere\n").replace('\n', "\r\n").into()),
        ("mixed line ends", format!("{}\nhello\r\nthere\n", header.replace('\n', "\r\n")).into()),
        ("lone CR", format!("{header}\nhello\rthere\n\r").into()),
        ("NUL", b"From: b\0@y.example\nSubject: \0\n\nhel\0lo\n".to_vec()),
        ("UTF-8 header", "From: Bj\u{f6}rn <b@y.example>\nSubject: gr\u{fc}\u{df}e\n\nhello\n".into()),
        ("signed", mime("Content-Type: multipart/signed; boundary=b", "--b\n\nhello\n--b\n\nsig\n--b--\n")),
        ("flowed", mime("Content-Type: text/plain; format=flowed", "hello \nthere\n> quoted\n")),
        ("multipart", with_attachment()),
        ("base64", mime("Content-Transfer-Encoding: base64", "aGVsbG8K\n")),
        ("a stamp of one's own", [format!("{header}\n").as_bytes(), b"-----BEGIN DIGITAL STAMP-----\n"].concat()),
        ("20 MB", [format!("{header}\n").into_bytes(), b"0123456789abcde\n".repeat(20 << 16)].concat()),
    ];
    let mut taken = [0; 3];
    for (name, message) in &messages {
        for (count, place) in taken.iter_mut().zip(["header", "body", "subject"]) {
            let with = home.run(["affix", "--stamp", &stamp, "--place", place], message);
            if place != "header" && with.code == 65 {
                assert!(with.stdout.is_empty() && with.stderr.contains("--place header"), "{name}: {with:?}");
                continue;
            }
            *count += 1;
            let without = home.run(["strip"], &with.exits(0).stdout).exits(0);
            // A Date and a Message-ID that were missing stay.
            let original: Vec<&[u8]> = message.split_inclusive(|byte| *byte == b'\n').collect();
            let added = |line: &&[u8]| {
                (line.starts_with(b"Date: ") || line.starts_with(b"Message-ID: <")) && !original.contains(line)
            };
            let lines = without.stdout.split_inclusive(|byte| *byte == b'\n');
            let came_back: Vec<u8> = lines.filter(|line| !added(line)).flatten().copied().collect();
            assert!(came_back == *message, "{name} in the {place} did not come back");
            assert_eq!(without.stderr, "", "{name} in the {place}");
        }
    }
    assert_eq!(taken[0], messages.len());
    assert!(taken[1] >= 12 && taken[2] >= 12, "{taken:?}");
}

#[test]
fn each_place_is_found_and_cleared() {
    // BP3b
    let home = Home::new();
    for (place, id) in [("header", "1"), ("body", "2"), ("subject", "3")] {
        let stamp = home.issue(ALICE, []);
        let with = home.run(["affix", "--place", place, "--stamp", &stamp], &letter(id)).exits(0).stdout;
        let shown = home.run(["show"], &with).exits(0).text();
        assert!(shown.lines().any(|line| line.starts_with("place ") && line.ends_with(place)), "{shown}");
        home.classify(&with).exits(0).says("first-class paid");
        let without = home.run(["strip"], &with).exits(0).stdout;
        assert_eq!(without, letter(id), "{place}");
        home.classify(&without).exits(11).says("unstamped no-stamp");
    }
}

#[test]
fn result_fields_that_a_sender_wrote_can_be_removed_alone() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\nauthserv_id = \"mx.x.example\""));
    let stamped = home.stamped(&letter("1"));
    let forged = b"digital-stamp-class : first-class\nno colon\nDigital-Stamp-Class: first-class; reason=paid\n\
          Authentication-Results: mx.x.example; x-digital-stamp=pass\n";
    let cleaned = home.run(["strip", "--results"], &[forged.as_slice(), &stamped].concat()).exits(0).stdout;
    assert_eq!(cleaned, [b"no colon\n".as_slice(), &stamped].concat());
    // The header alone is enough.
    assert_eq!(home.run(["strip", "--results"], b"A: b\nDigital-Stamp-Class: c\n\n").exits(0).text(), "A: b\n\n");
    // A message waits behind it, so every failure is 75.
    home.configure("no = such key");
    assert_eq!(home.run(["strip", "--results"], &stamped).exits(75).text(), "");
    home.run(["strip", "--results", "--no-such-option"], &stamped).exits(75);
}

#[test]
fn a_stamp_certifies_no_content() {
    // BC18: neither header nor body is restricted, hidden or certified; what is altered on the way keeps its class.
    let home = Home::new();
    let stamped = String::from_utf8(home.stamped(&letter("1"))).unwrap();
    for altered in [
        stamped.replace("Dear Alice", "Dear Madam"),
        stamped.replace("a serious matter", "[list] a serious matter"),
        format!("{stamped}_______________\na footer of the list\n"),
        stamped.replace('\n', "\r\n"),
    ] {
        home.run(["classify", "--dry-run"], altered.as_bytes()).exits(0).says("first-class paid");
    }
    home.classify(stamped.replace("Dear Alice", "Dear Madam").as_bytes()).exits(0).says("first-class paid");
}

#[test]
fn no_agent_of_ours_and_no_network_stands_between_sender_and_recipient() {
    // BX1, BC5: judging asks no host; what relays do to a message on its way does not matter.
    let home = Home::new();
    let stamped = String::from_utf8(home.stamped(&letter("1"))).unwrap();
    let relayed = format!("Return-Path: <bob@y.example>\nReceived: from y.example\n\tby mx.x.example\n{stamped}")
        .replace('\n', "\r\n");
    let (judged, trace): (Run, String) = traced(home.command().arg("classify"), "network", relayed.as_bytes());
    judged.exits(0).says("first-class paid");
    // It looks for a daemon of the user's own, and for no other process.
    let state = home.state();
    let own = |call: &&str| call.contains("AF_UNIX") && call.contains(state.to_str().unwrap());
    assert!(!trace.contains("AF_INET"), "{trace}");
    assert!(trace.lines().filter(|call| call.contains("connect(")).all(|call| own(&call)), "{trace}");
}
