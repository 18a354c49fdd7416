//! One fingerprint, one letter: messages that a used log takes for the same one show the same parts and text in mutt
//! and in Python's `email`. Mutations of honest messages aim at what programs read differently: the end of the header,
//! folds, blanks, line ends, separators of mbox.

use crate::support::Home;
use crate::support::numbers::Numbers;
use crate::support::programs::{eventually, install, program};
use crate::support::screen::Screen;
use mailstamp::message::fingerprint::KnownMessage;
use mailstamp::message::parse::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// Mutations tried of each message.
const TRIES: u64 = 4_000;
/// Messages of one fingerprint that the readers are shown, of each message.
const SHOWN: usize = 60;

fn bases() -> [String; 3] {
    let header = "From: Bob <bob@y.example>\nTo: Alice <alice@x.example>\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n\
        Message-ID: <1@y.example>\nSubject: a serious\n matter\nMIME-Version: 1.0\n";
    let part = |kind: &str, text: &str| format!("--b c\nContent-Type: {kind}; charset=utf-8\n\n{text}\n");
    [
        format!("{header}Content-Type: text/plain; charset=utf-8\n\nDear Alice,\n\nthis is it. \n\nBob\n"),
        format!(
            "{header}Content-Type: multipart/mixed;\n boundary=\"b c\"\n\n{}{}--b c--\n",
            part("text/plain", "the first part"),
            part("text/plain", "the second part")
        ),
        format!(
            "X-Mailer: none\n{header}Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\nD=C3=A9ar =\nAlice\n"
        ),
    ]
}

const LINES: &[&str] = &[
    "X-A: b",
    "X-A : b",
    "X-A: b\rSubject: another",
    "X-A: b\r",
    "X-A:\n \n b",
    "X-A: b\n\tboundary=other",
    "no colon",
    " continued",
    "\tcontinued: x",
    ": no name",
    ">From a@b Sat Nov 21 12:00:00 2026",
    "From a@b Sat Nov 21 12:00:00 2026",
    "From hello",
    "Content-Length: 3",
    "Content-Type: text/html",
    "Received: from x\n by y; Sat, 21 Nov 2026 12:00:00 +0000",
    "X-\u{e9}: b",
    "X-A: \0b",
    "\u{b}",
    "\u{c}",
    "Status: RO",
    "Lines: 5",
    "Digital-Stamp-Class: used",
    "To: another@x.example",
    "Resent-From: eve@y.example",
];

/// Changes a message in one to three places.
fn mutated(base: &str, numbers: &mut Numbers) -> String {
    let mut text = base.to_owned();
    for _ in 0..=numbers.below(3) {
        let header_end = text.find("\n\n").map_or(text.len(), |at| at + 1);
        let starts: Vec<usize> = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .filter(|at| *at <= header_end)
            .collect();
        let start = starts[numbers.below(starts.len())];
        let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        match numbers.below(9) {
            0..=2 => text.insert_str(start, &format!("{}\n", numbers.of(LINES))),
            3 => {
                let at = (start..=end)
                    .find(|at| *at >= start + numbers.below(end - start + 1) && text.is_char_boundary(*at));
                text.insert_str(at.unwrap_or(end), numbers.of(&[" ", "\t", "\r", "\0", "\n ", "\n"]));
            }
            4 => text.insert_str(end, numbers.of(&[" ", "\t ", "\n  ", "\n \t"])),
            5 => text = text.replace("\r\n", "\n").replace('\n', "\r\n"),
            6 => text.push_str(numbers.of(&["\n", "\n\n\n", "\r\n", " \n", "\t\n\n", ".\n"])),
            7 => {
                let line = numbers.of(&[
                    "From a@b Sat Nov 21 12:00:00 2026\n",
                    "From 17@xxx Sat Nov 21 12:00:00 +0000 2026\n",
                    "From a@b sat NOV 21 12:00:00 MET DST 2026\n",
                    "From buy now Sat Nov 21 12:00:00 2026\n",
                    "From - anything\n",
                    "From a@b Sat Nov 21 12:00:00 2026\n>From c Sat Nov 21 12:00:00 2026\n",
                ]);
                text.insert_str(0, line);
            }
            _ if start < end => {
                let upper = text[start..=start].to_uppercase();
                text.replace_range(start..=start, &upper);
            }
            _ => {}
        }
    }
    text
}

/// Each message with others of the same fingerprint.
fn families() -> Vec<Vec<String>> {
    let mut families = Vec::new();
    for (number, base) in bases().into_iter().enumerate() {
        let mut numbers = Numbers(number as u64);
        let mut by_fingerprint: BTreeMap<[u8; 16], BTreeSet<String>> = BTreeMap::new();
        for _ in 0..TRIES {
            let text = mutated(&base, &mut numbers);
            let known = KnownMessage::of(&Message::parse(text.as_bytes()));
            by_fingerprint.entry(known.whole).or_default().insert(text);
        }
        families.extend(by_fingerprint.into_values().filter(|family| family.len() > 1).map(|family| {
            let step = family.len().div_ceil(SHOWN);
            family.into_iter().step_by(step).collect::<Vec<_>>()
        }));
    }
    let members: usize = families.iter().map(Vec::len).sum();
    assert!(families.len() > 60 && members > 500, "{} families, {members} messages", families.len());
    families
}

const PYTHON: &str = r#"
import email, email.header, json, sys
def shown(text):
    return " ".join(str(email.header.make_header(email.header.decode_header(text))).split())
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        message = email.message_from_bytes(file.read())
    names = ("from", "sender", "reply-to", "to", "cc", "date", "message-id", "subject")
    view = [[name, [shown(str(value)) for value in message.get_all(name, [])]] for name in names]
    for part in message.walk():
        # Blanks at the end of a value do not count, and Python compares them.
        encoding = part.get("content-transfer-encoding")
        if encoding is not None:
            part.replace_header("content-transfer-encoding", str(encoding).strip(" \t"))
        body = None if part.is_multipart() else part.get_payload(decode=True)
        text = body and body.replace(b"\r\n", b"\n").decode("latin-1").rstrip("\n")
        view.append([" ".join(part.get_content_type().split()), str(part.get_content_charset()), str(part.get_filename()), text])
    print(json.dumps(view))
"#;

/// A message as mutt shows it, without the white space at the ends of values and of the message.
fn without_ends(shown: &str) -> String {
    let (header, body) = shown.split_once("\n\n").unwrap_or((shown, ""));
    let value = |line: &str| match line.split_once(':') {
        Some((name, value)) => format!("{name}: {}", value.trim()),
        None => line.trim_end().to_owned(),
    };
    let lines: Vec<String> = header.lines().map(value).collect();
    format!("{}\n\n{}", lines.join("\n"), body.trim_end())
}

#[test]
fn messages_of_one_fingerprint_are_one_letter_in_mutt_and_in_python() {
    let home = Home::bare();
    for folder in ["mail/new", "mail/cur", "mail/tmp", "out"] {
        fs::create_dir_all(home.file(folder)).unwrap();
    }
    let families = families();
    let mut files = Vec::new();
    for (family, members) in families.iter().enumerate() {
        for text in members {
            let number = files.len();
            let path = home.file("mail/cur").join(format!("{number:05}.x:2,S"));
            fs::write(&path, text).unwrap();
            files.push((family, path));
        }
    }

    // The order of mutt is that of the inodes.
    files.sort_by_key(|(_, path)| fs::metadata(path).unwrap().ino());

    let paths = files.iter().map(|(_, path)| path);
    let python = Command::new(program("python3", "python3")).arg("-c").arg(PYTHON).args(paths).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let python: Vec<String> = String::from_utf8(python.stdout).unwrap().lines().map(str::to_owned).collect();

    // mutt pipes each message, decoded and with the fields that it shows, into a file of its own. It gives no name to
    // the program, so the messages are told apart by their order.
    let keep = home.file("keep");
    fs::write(&keep, "#!/bin/sh\ncount=$(cat count 2>/dev/null || echo 0)\ncat >out/$count.part && mv out/$count.part out/$count && echo $((count + 1)) >count\n")
        .unwrap();
    fs::write(
        home.file("muttrc"),
        "set folder=mail sort=mailbox-order pipe_decode=yes pipe_split=yes wait_key=no tmpdir=. charset=utf-8 quit=yes\n\
         ignore *\nunignore from: to: cc: reply-to: sender: date: subject:\n\
         macro index Z \"<tag-pattern>~A<enter><tag-prefix><pipe-message>sh ./keep<enter>\"\n",
    )
    .unwrap();
    let bin = install(home.path());
    let screen = Screen::open(&home, &bin, &format!("{} -n -R -F muttrc -f mail", program("mutt", "mutt").display()));
    screen.press_at("q:Quit", "Z");
    let done = || (fs::read_dir(home.file("out")).unwrap().count() == files.len()).then_some(());
    eventually("every message piped by mutt", done);
    let mutt = |number: usize| fs::read_to_string(home.file("out").join(number.to_string())).unwrap_or_default();

    let mut differ = Vec::new();
    let mut seen: BTreeMap<usize, (String, String, usize)> = BTreeMap::new();
    for (number, (family, path)) in files.iter().enumerate() {
        let text = fs::read_to_string(path).unwrap_or_default();
        let in_mutt = without_ends(&mutt(number));
        let (first_python, first_mutt, first) =
            seen.entry(*family).or_insert_with(|| (python[number].clone(), in_mutt.clone(), number));
        let other = || fs::read_to_string(&files[*first].1).unwrap_or_default();
        if *first_python != python[number] {
            differ.push(format!("Python: {:?}\n{text:?}\n{first_python}\n{}", other(), python[number]));
        }
        if *first_mutt != in_mutt {
            differ.push(format!("mutt: {:?}\n{text:?}\n{first_mutt:?}\n{in_mutt:?}", other()));
        }
    }
    assert!(differ.is_empty(), "{} are two letters:\n{}", differ.len(), differ[..differ.len().min(5)].join("\n\n"));
}
