//! Delivered messages: each in the folder of its class, byte for byte as it came, under a unique name.

use super::{maildir_of, only, seen};
use crate::support::programs::{Sample, contents, expected, field, one_of_each, program};
use crate::support::{ALICE, Home, letter, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn each_class_goes_into_its_folder() {
    let home = Home::new();
    for Sample { class, message } in one_of_each(&home) {
        let said = home.run(["deliver"], &message).exits(0);
        assert_eq!((said.text().as_str(), said.stderr.as_str()), ("", ""), "{class}");
    }
    let wanted = expected(&[
        ("", &["allowed", "first-class", "invalid", "junk", "underpaid", "unstamped", "unverified", "used"]),
        (".Junk", &["revoked"]),
    ]);
    assert_eq!(contents(&maildir_of(&home)), wanted);
    // Maildir++, for us alone.
    for folder in ["", ".Junk"] {
        let folder = maildir_of(&home).join(folder);
        for part in ["", "cur", "new", "tmp"] {
            assert_eq!(fs::metadata(folder.join(part)).unwrap().permissions().mode() & 0o7777, 0o700);
        }
        assert_eq!(fs::read_dir(folder.join("tmp")).unwrap().count(), 0);
    }
    assert!(
        maildir_of(&home).join(".Junk/maildirfolder").exists() && !maildir_of(&home).join("maildirfolder").exists()
    );
    // Told when it was done, with the folder.
    let log = home.run(["log", "--json"], b"").exits(0).text();
    assert_eq!(log.matches("\"folder\":\"Junk\"").count(), 1, "{log}");
    assert_eq!(log.matches("\"folder\":\"INBOX\"").count(), 8, "{log}");
}

/// Gives unstamped mail a folder of its own.
fn aside(home: &Home) {
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[deliver.folders]\nunstamped = \"Unstamped\""));
}

#[test]
fn another_program_reads_what_was_delivered() {
    let home = Home::new();
    aside(&home);
    for id in ["1", "2"] {
        home.run(["deliver"], &letter(id)).exits(0);
    }
    let script = "import mailbox, sys\nbox = mailbox.Maildir(sys.argv[1], create=False)\nprint(box.list_folders())\n\
                  for m in box.get_folder('Unstamped'): print(m['Message-ID'], m['Digital-Stamp-Class'].split(';')[0])";
    let mut python = Command::new(program("python3", "python3"));
    let said = run(python.args(["-c", script]).arg(maildir_of(&home)), b"").exits(0).text();
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["<1@y.example> unstamped", "<2@y.example> unstamped", "['Unstamped']"]);
}

#[test]
fn a_file_has_a_name_that_tells_its_size_and_a_mode_that_shuts_others_out() {
    let home = Home::new();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" deliver", crate::support::MAILSTAMP]).env("HOME", home.path());
    run(&mut command, &letter("1")).exits(0);
    let folder = maildir_of(&home);
    let (name, bytes) = seen(&folder).remove(0);
    let (unique, size) = name.split_once(",S=").unwrap();
    assert_eq!(size.parse(), Ok(bytes.len()));
    assert!(!unique.contains([':', '/', ',']) && unique.split('.').count() >= 3, "{name}");
    let mode = fs::metadata(folder.join("new").join(&name)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn nothing_but_our_field_and_the_envelope_line_is_different() {
    // Promise 1.
    let home = Home::new();
    let envelope = b"From bob@y.example Sat Nov 21 12:00:00 2026\n";
    let crlf = String::from_utf8(letter("1")).unwrap().replace('\n', "\r\n").into_bytes();
    let cases: Vec<(&[u8], Vec<u8>)> = vec![
        (b"", letter("1")),
        (b"", Vec::new()),
        (b"", b"\n".to_vec()),
        (b"", b"no header, no end".to_vec()),
        (b"", b"Subject: x\n\nno final newline".to_vec()),
        (b"", b"Subject: x".to_vec()),
        (b"", crlf.clone()),
        (b"", b"Subject: \0\xff\n\n\0\r\r\n\xfe\0".to_vec()),
        (b"", b"Subject: x\n\nFrom me\n>From you\n.\n..\n".to_vec()),
        (b"", [b"X: ".to_vec(), vec![b'x'; 300_000], b"\n\nend".to_vec()].concat()),
        (envelope, letter("1")),
        (envelope, crlf),
        (envelope, Vec::new()),
        (envelope, b"Subject: x\n\nFrom me\n".to_vec()),
        (b"From a b\n>From alice c\n", letter("1")),
    ];
    for (number, (envelope, message)) in cases.iter().enumerate() {
        let target = home.file(&format!("M{number}"));
        let target = target.to_str().unwrap();
        home.run(["deliver", "--maildir", target], &[envelope, &message[..]].concat()).exits(0);
        let delivered = only(&home.file(target));
        let field = delivered.strip_suffix(&message[..]).unwrap_or_else(|| panic!("case {number}: {delivered:?}"));
        let field = String::from_utf8(field.to_vec()).unwrap();
        let end = if message.contains(&b'\r') && number != 7 { "\r\n" } else { "\n" };
        assert_eq!(field, format!("Digital-Stamp-Class: unstamped; reason=no-stamp; action=deliver{end}"), "{number}");
    }
}

#[test]
fn the_fields_are_those_of_filter() {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\nauthserv_id = \"mx.x.example\""));
    let forged = "Digital-Stamp-Class: first-class\nAuthentication-Results: mx.x.example; spf=pass\n";
    let message = [forged.as_bytes(), &home.stamped(&letter("1"))].concat();
    let filtered = home.run(["filter", "--dry-run"], &message).exits(0).stdout;
    home.run(["deliver"], &message).exits(0);
    assert_eq!(only(&maildir_of(&home)), filtered);
    assert_eq!(String::from_utf8_lossy(&filtered).matches("Authentication-Results:").count(), 1);
}

#[test]
fn a_large_message_and_one_beyond_the_limit_arrive_whole() {
    let home = Home::new();
    let large = [letter("1"), vec![b'x'; 100 * 1024 * 1024]].concat();
    home.run(["deliver"], &large).exits(0);
    assert!(only(&maildir_of(&home)).ends_with(&large));
    home.configure(&format!("addresses = [\"{ALICE}\"]\nmax_message_size = 1024"));
    let target = home.file("other");
    home.run(["deliver", "--maildir", target.to_str().unwrap()], &large[..5_000_000]).exits(0);
    let delivered = only(&target);
    assert!(delivered.ends_with(&large[..5_000_000]));
    assert!(field(&delivered, "Digital-Stamp-Class").unwrap().starts_with("unverified; reason=over-limit;"));
}

#[test]
fn a_stamped_message_is_first_class_once_and_used_on_another() {
    let home = Home::new();
    let stamp = home.issue(ALICE, []);
    for id in ["1", "1", "2"] {
        home.run(["deliver"], &home.affix(&stamp, &letter(id))).exits(0);
    }
    let messages = seen(&maildir_of(&home));
    let fields = messages.iter().map(|(_, bytes)| field(bytes, "Digital-Stamp-Class").unwrap());
    let mut reasons: Vec<String> = fields.map(|field| field.split(';').nth(1).unwrap().trim().to_owned()).collect();
    reasons.sort();
    assert_eq!(reasons, ["reason=again", "reason=paid", "reason=used"]);
}

#[test]
fn folders_maildir_and_user_are_those_of_configuration_and_caller() {
    let home = Home::new();
    let mail = home.file("mail");
    fs::create_dir_all(mail.join("x.example")).unwrap();
    fs::create_dir(home.file("state")).unwrap();
    home.configure(&format!(
        "addresses = [\"%u\"]\nstate = \"{0}/state/%n\"\n[deliver]\nmaildir = \"{0}/mail/%d/%n\"\n[deliver.folders]\n\
         first-class = \"Paid/now\"\nused = \"Paid/now\"",
        home.path().display()
    ));
    let mut command = home.command();
    command.arg("deliver").env("RECIPIENT", ALICE).env("SENDER", "bob+bounce@y.example");
    run(&mut command, &letter("1")).exits(0);
    home.run(["deliver", "--recipient", ALICE, "--sender", ""], &home.affix(&home.issue(ALICE, []), &letter("2")))
        .exits(0);
    let wanted = expected(&[("", &["1"]), (".Paid.now", &["2"])]);
    assert_eq!(contents(&mail.join("x.example/alice")), wanted);
    let log = home.run(["log", "--json", "--user", ALICE], b"").exits(0).text();
    assert!(log.contains("\"sender\":\"bob+bounce@y.example\"") && log.contains("\"sender\":\"\""), "{log}");
    // No user, or one that would lead elsewhere: nothing is delivered anywhere.
    for recipient in ["", "../evil@x.example", "a/b@x.example"] {
        let mut command = home.command();
        command.arg("deliver").env("RECIPIENT", recipient);
        run(&mut command, &letter("3")).exits(75);
    }
    assert_eq!(fs::read_dir(mail.join("x.example")).unwrap().count(), 1);
}

#[test]
fn an_action_of_the_class_is_obeyed() {
    // BC9.1, BX3.
    let home = Home::new();
    let actions = "unstamped = \"discard\"\nunderpaid = \"tag\"\nused = \"hold\"\ninvalid = \"reject\"\nunverified = \"challenge\"";
    let samples = one_of_each(&home);
    let config = fs::read_to_string(home.config()).unwrap();
    home.configure(&format!("{config}\n[actions]\n{actions}\n[deliver.folders]\nunderpaid = \"Low\""));
    for Sample { message, .. } in samples {
        home.run(["deliver"], &message).exits(0);
    }
    let wanted = expected(&[("", &["allowed", "first-class"]), (".Junk", &["revoked"]), (".Low", &["underpaid"])]);
    assert_eq!(contents(&maildir_of(&home)), wanted);
    let held = home.run(["held", "list", "--json"], b"").exits(0).text();
    let held: serde_json::Value = serde_json::from_str(&held).unwrap();
    let ids = held["messages"].as_array().unwrap().iter().map(|message| message["message_id"].as_str().unwrap());
    assert_eq!(ids.collect::<Vec<_>>(), ["<unverified@y.example>", "<invalid@y.example>", "<used@y.example>"]);
    // Of what was discarded there is a line each, and nothing else.
    let log = home.run(["log", "--json"], b"").exits(0).text();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("\"action\":\"discard\"")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for (line, id) in lines.iter().zip(["unstamped", "junk"]) {
        assert!(line.contains(&format!("\"message_id\":\"<{id}@y.example>\"")), "{line}");
    }
    let tagged = only(&maildir_of(&home).join(".Low"));
    assert!(field(&tagged, "Digital-Stamp-Class").unwrap().ends_with("; action=tag"));
}
