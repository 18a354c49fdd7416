//! From fields in obsolete and odd syntax (RFC 5322 section 4.4), and the two parsers of Python: an author whom
//! mailstamp takes for authenticated is one whom the others read too, and they read no further one.

use crate::support::is_soak;
use crate::support::numbers::Numbers;
use crate::support::programs::program;
use mailstamp::message::address::Address;
use mailstamp::message::auth_results::{is_authenticated, outcomes};
use mailstamp::message::parse::Message;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

/// Fields tried, and how many by `tests/soak`.
const TRIES: [usize; 2] = [5_000, 200_000];
/// The seed of the fields, which a failure names.
const SEED: u64 = 20_261_129;

const WORDS: &[&str] = &[
    "Bob",
    "bob",
    "\"Bob, B.\"",
    "\"bob@z.example\"",
    "=?utf-8?q?bob=40z.example?=",
    "=?utf-8?q?=3Cbob=40z.example=3E=2C?=",
    "(bob)",
    "(a (b) <bob@z.example>)",
    "(\\))",
    "\"a\\\"b\"",
    "J. Doe",
    "\"\"",
    "bob@y.example",
    "@",
    ",",
    ";",
    ":",
    "<",
    ">",
    "\"",
    "\\",
    "(",
    ")",
    " ",
    "\n ",
    "\t",
    "..",
    "[",
    "]",
    "\u{fc}",
    "bob@",
    "@z.example",
    "friends:",
    "<>",
    "b\u{e9}",
];
const LOCALS: &[&str] = &[
    "bob",
    "bob . b",
    "\"bob\"",
    "\"bob b\"",
    "\"bob\" . \"b\"",
    "bob (home)",
    "(home) bob",
    "bob.",
    ".bob",
    "b..b",
    "bob\n ",
    "\"bob@z.example\"",
    "\"a,b\"",
    "\"<b>\"",
    "bob b",
    "b(c)b",
    "\"b\\\"b\"",
    "bo\\b",
    "",
];
const DOMAINS: &[&str] = &[
    "y.example",
    "y . example",
    "(at)y.example",
    "y.example (c)",
    "\n y.example",
    "y.example.",
    "Y.EXAMPLE",
    "y..example",
    "[192.0.2.1]",
    "[192.0.2.1",
    "y .\t example",
    "y.example@z.example",
    "y.example z.example",
    "",
    "b\u{fc}cher.example",
    "y(.)example",
    "y.example,z.example",
];

fn addr_spec(numbers: &mut Numbers) -> String {
    format!("{}{}{}", numbers.of(LOCALS), numbers.of(&["@", "@", "@", "@", " @ ", "@@", ""]), numbers.of(DOMAINS))
}

fn entry(numbers: &mut Numbers) -> String {
    let name = numbers.of(WORDS);
    let address = match numbers.below(3) {
        0 => "bob@y.example".to_owned(),
        _ => addr_spec(numbers),
    };
    match numbers.below(9) {
        0..=1 => address,
        2..=4 => format!("{name} <{address}>"),
        5 => format!("{name} <@z.example{}:{address}>", numbers.of(&["", ",@x.example", " , @x.example", ",,", ",x"])),
        6 => format!("{name}: {address}, {};", numbers.of(&["", "ann@z.example", "<ann@z.example>"])),
        7 => format!("{name} < {address} > {}", numbers.of(&["", "(c)", "x", "<ann@z.example>"])),
        _ => format!("{name}{address}{}", numbers.of(WORDS)),
    }
}

/// The value of a From field.
fn value(numbers: &mut Numbers) -> String {
    let count = numbers.below(3) + 1;
    let entries: Vec<String> = (0..count).map(|_| entry(numbers)).collect();
    let mut value = entries.join(numbers.of(&[",", ", ", ", ", ",,", ";", " ", ",\n "]));
    for _ in 0..numbers.below(3) {
        let mut at = numbers.below(value.len() + 1);
        while !value.is_char_boundary(at) {
            at -= 1;
        }
        value.insert_str(at, numbers.of(WORDS));
    }
    value
}

const PYTHON: &str = r#"
import email, email.policy, email.utils, json, sys
# Strict parsing, the default where there is it, gives what the other gives, or nothing.
options = {"strict": False} if getattr(email.utils, "supports_strict_parsing", False) else {}
for line in sys.stdin:
    raw = json.loads(line)
    # It reads no folds.
    values = ["".join(value.splitlines()) for value in email.message_from_string(raw).get_all("from", [])]
    plain = email.utils.getaddresses(values, **options)
    plain = [address for _, address in plain if "@" in address]
    try:
        strict = email.message_from_string(raw, policy=email.policy.default)["from"].addresses
        strict = [address.addr_spec for address in strict if address.domain]
    except Exception:
        strict = None
    print(json.dumps([plain, strict]))
"#;

#[test]
fn an_authenticated_author_is_the_one_whom_python_reads() {
    let mut numbers = Numbers(SEED);
    let tries = TRIES[usize::from(is_soak())];
    let results = "Authentication-Results: mx.x.example; dkim=pass header.d=example.org; dkim=pass header.d=y.example;\n \
                   dkim=pass header.d=z.example; dkim=pass header.d=x.example; dkim=pass header.d=xn--bcher-kva.example\n";
    let messages: Vec<String> =
        (0..tries).map(|_| format!("{results}From: {}\nSubject: x\n\nhello\n", value(&mut numbers))).collect();
    let mut python = Command::new(program("python3", "python3"))
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = messages.iter().map(|text| serde_json::to_string(text).unwrap() + "\n").collect();
    let mut stdin = python.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let read: Vec<[Option<Vec<String>>; 2]> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read.len(), messages.len());

    let set = |found: &Option<Vec<String>>| -> BTreeSet<String> {
        found
            .iter()
            .flatten()
            .map(|text| {
                Address::parse(&text.replace(['\r', '\n'], "")).map_or_else(|_| format!("?{text}"), |it| it.canonical())
            })
            .collect()
    };
    let (mut differ, mut authenticated, mut odd) = (Vec::new(), 0, 0);
    for (text, python) in messages.iter().zip(&read) {
        let message = Message::parse(text.as_bytes());
        let ours: BTreeSet<String> = message.authors().iter().map(Address::canonical).collect();
        let [plain, strict] = [set(&python[0]), set(&python[1])];
        if is_authenticated(&message, &outcomes(&message, &["mx.x.example".to_owned()])) {
            authenticated += 1;
            let is_read = ours.iter().all(|it| plain.contains(it) || strict.contains(it));
            let is_all = plain.is_subset(&ours) && strict.is_subset(&ours);
            if !is_read || !is_all {
                differ
                    .push(format!("{text:?}\n  here {ours:?}\n  getaddresses {plain:?}\n  headerregistry {strict:?}"));
            }
        } else {
            odd += usize::from(!plain.is_empty());
        }
    }
    assert!(authenticated > tries / 30 && odd > tries / 30, "{authenticated} authenticated, {odd} not");
    let shown = differ[..differ.len().min(25)].join("\n");
    assert!(differ.is_empty(), "seed {SEED}: {} of {tries} fields differ:\n{shown}", differ.len());
}
