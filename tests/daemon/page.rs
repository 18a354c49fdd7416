//! The protocol of mailstamp-serve(8) is that of the program: kinds, members, limits, and the bytes of the worked
//! example, which are given to both ends. Authors of another client can rely on the page.

use crate::support::programs::{PATIENCE, eventually, program};
use crate::support::{Home, run};
use data_encoding::HEXLOWER;
use mailstamp::engine::prices::{MailboxPrice, PriceChange, PriceProblem, PriceQuestion};
use mailstamp::engine::remote::prices::PriceResponse;
use mailstamp::engine::remote::protocol::{FileSet, JudgeRequest, JudgeResponse, LARGEST, MailboxNames};
use mailstamp::engine::result_header::HeaderContext;
use mailstamp::ipc::connection::Connection;
use mailstamp::ipc::frame::{self, Frame, HEAD_MAX, Kind, Limits, VERSION};
use mailstamp::message::address::Address;
use mailstamp::os::unix_socket;
use mailstamp::policy::action::Action;
use mailstamp::policy::decision::Decision;
use mailstamp::stamp::extract::Place;
use mailstamp::stamp::serial::Serial;
use mailstamp::store::combining::client::ErrorReply;
use mailstamp::time::UnixTime;
use mailstamp::verdict::finding::{Believed, Finding, Verdict};
use mailstamp::verdict::owner::Owner;
use mailstamp::verdict::reason::Reason;
use mailstamp::verdict::spend::{Cap, Redelivery, SpendRequest, SpendResult, Terms};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Child, Command};

const PAGE: &str = include_str!("../../man/mailstamp-serve.8");
const LIMITS: Limits = Limits { head: HEAD_MAX, body: LARGEST };

/// What stands below a heading of the page.
fn section(heading: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("\n.Ss {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    rest.split("\n.S").next().unwrap()
}

/// The rows of the tables below a heading, as their cells.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let lines = section(heading).lines().filter_map(|line| line.strip_prefix(".It "));
    lines.map(|line| line.split(" Ta ").map(|cell| cell.trim_start_matches("Cm ").trim()).collect()).collect()
}

/// The members that a heading describes at its margin.
fn members(heading: &str) -> BTreeSet<String> {
    section(heading).lines().filter_map(|line| line.strip_prefix(".It Ic ")).map(str::to_owned).collect()
}

/// Every word that a heading gives as the name of a member.
fn words(heading: &str) -> BTreeSet<String> {
    let lines = section(heading).lines();
    let named = lines.filter_map(|line| line.split_once("Ic ").map(|(_, names)| names));
    named.flat_map(|names| names.split([' ', ',', ';', ':'])).map(str::to_owned).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_kinds_are_those_of_the_page() {
    let rows = rows("Frames");
    let (layout, kinds) = rows.split_at(7);
    assert!(layout[2][1].ends_with(&VERSION.to_string()), "{layout:?}");
    let listed: Vec<(u8, &str)> = kinds[1..].iter().map(|row| (row[0].parse().unwrap(), row[1])).collect();
    let known: Vec<(u8, String)> = Kind::ALL.iter().map(|kind| (*kind as u8, format!("{kind:?}"))).collect();
    assert_eq!(listed, known.iter().map(|(number, name)| (*number, name.as_str())).collect::<Vec<_>>());
}

fn full_question() -> JudgeRequest {
    let some = || Some("x".to_owned());
    let whose = FileSet { config: Some("/c".into()), state: Some("/s".into()), home: Some(("/h".into(), None)) };
    let names = MailboxNames { recipient: some(), user: some(), recipient_variable: some() };
    let (recipient, sender, now) = (some(), some(), Some(UnixTime(1)));
    JudgeRequest {
        file_set: whose,
        names,
        recipient,
        sender,
        now,
        spend: true,
        record: true,
        size: 1,
        whole: true,
        beginning: true,
    }
}

#[test]
fn the_members_are_those_of_the_page() {
    let question = serde_json::to_value(full_question()).unwrap();
    assert_eq!(members("Judge"), keys(&question));
    for inner in ["file_set", "names"] {
        assert!(keys(&question[inner]).is_subset(&words("Judge")), "{inner}");
    }

    let finding = Finding {
        vendor: Some("v.example".into()),
        key_id: Some("k".into()),
        serial: Some(Serial::new("s").unwrap()),
        value: Some(1),
        reason: Some(Reason::Paid),
        ..Finding::of(Place::Header)
    };
    let verdict = Verdict {
        reason: Reason::Paid,
        deciding_stamp: Some(0),
        boundary: Some(Believed { host: "mx.x.example".into(), field: None }),
        findings: vec![finding],
    };
    let decision = Decision { verdict, rule: Some("r".into()), action: Action::Deliver };
    let marks = HeaderContext {
        authserv_id: Some("mx.example".into()),
        trusted_authserv_ids: vec!["mx.example".into()],
        used_log: true,
    };
    let answer: Value = serde_json::from_slice(&JudgeResponse { decision, marks }.to_head().unwrap()).unwrap();
    assert_eq!(members("Verdict"), keys(&answer));
    for inner in [&answer["stamps"][0], &answer["marks"]] {
        assert!(keys(inner).is_subset(&words("Verdict")), "{inner}");
    }

    let spend = SpendRequest {
        vendor: "v.example".into(),
        serial: Serial::new("s").unwrap(),
        expires: None,
        message: [0; 16].into(),
        owner: Owner([1; 8]),
        from: None,
        now: UnixTime(1),
        redelivery: Redelivery::EVER,
        terms: Terms::LookUp,
        late: false,
        purge_until: Some(UnixTime(1)),
        cap: Some(Cap { name: Serial::new("s").unwrap(), until: UnixTime(1), most: 1 }),
    };
    let spend = serde_json::to_value(spend).unwrap();
    assert_eq!(members("Spend"), keys(&spend));
    for inner in ["redelivery", "cap"] {
        assert!(keys(&spend[inner]).is_subset(&words("Spend")), "{inner}");
    }
    assert_eq!((&spend["expires"], &spend["terms"]), (&Value::Null, &json!("look-up")));
    let page = section("Spend").replace("\\(dq", "\"");
    let time = UnixTime(1);
    for spent in [
        SpendResult::Fresh,
        SpendResult::Redelivery { first_seen: time, times: 1 },
        SpendResult::DoubleSpend { first_seen: time },
        SpendResult::TooOften,
        SpendResult::Ended,
        SpendResult::Granted(mailstamp::grant::GrantKind::Return),
        SpendResult::Revoked { since: time },
    ] {
        let shown = serde_json::to_string(&spent).unwrap();
        let shown =
            shown.replace(":1}", ":time}").replace(":1,", ":time,").replace("\"times\":time", "\"times\":number");
        assert!(page.contains(&format!(".Ql {shown}")), "{shown}");
    }
    let question = PriceQuestion { address: Address::parse("a@x.example").ok(), change: Some(PriceChange::Set(5)) };
    let question = serde_json::to_value(question).unwrap();
    assert_eq!(members("Price"), keys(&question));
    assert_eq!((&question["change"], json!(PriceChange::Unset)), (&json!({ "set": 5 }), json!("unset")));
    let price = MailboxPrice { address: "a@x.example".into(), price: 5, default: 0, is_set: true };
    let answer = serde_json::to_value(PriceResponse::Prices(vec![price])).unwrap();
    assert!(keys(&answer["prices"][0]).is_subset(&words("Price")), "{answer}");
    for problem in [PriceProblem::Off, PriceProblem::Foreign, PriceProblem::Question, PriceProblem::System] {
        let refused = serde_json::to_value(PriceResponse::Refused { problem, what: "x".into() }).unwrap();
        let word = refused["refused"]["problem"].as_str().unwrap();
        assert!(section("Price").lines().any(|line| line.starts_with(&format!(".Ql {word}"))), "{word}");
    }

    let trouble = serde_json::to_value(ErrorReply { what: "x".into(), hint: Some("x".into()) }).unwrap();
    assert_eq!(members("Defer"), keys(&trouble));
}

#[test]
fn the_limits_are_those_of_the_page() {
    let rows = rows("Limits");
    let row = |name: &str| rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("no {name}")).clone();
    assert_eq!(row("head")[1..], ["64 KiB", "64 KiB"]);
    assert_eq!((HEAD_MAX, LARGEST), (64 << 10, 8 << 20));
    assert_eq!(row("body")[1..], ["8 MiB", "none"]);
    assert_eq!(mailstamp::store::combining::client::LIMITS, Limits::HEAD_ONLY);
}

/// The two frames of the example, from their hexadecimal digits; the text beside them is that of the bytes.
fn example() -> [Vec<u8>; 2] {
    let blocks: Vec<&str> = section("Example").split("\n.Bd -literal -offset 0n\n").skip(1).collect();
    let frame = |block: &str| {
        let dump = block.split_once("\n.Ed").unwrap().0;
        let digits = dump.lines().map(|line| line[10..58].replace(' ', ""));
        let bytes: Vec<u8> = digits.flat_map(|line| HEXLOWER.decode(line.as_bytes()).unwrap()).collect();
        assert_eq!(dump, hexdump(&bytes));
        bytes
    };
    [frame(blocks[0]), frame(blocks[1])]
}

/// As `hexdump -C` shows it, without the last line, which has the length.
fn hexdump(bytes: &[u8]) -> String {
    let line = |(number, bytes): (usize, &[u8])| {
        let digits = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let (left, right) = bytes.split_at(bytes.len().min(8));
        let shown = |byte: &u8| if (b' '..=b'~').contains(byte) { *byte as char } else { '.' };
        let text: String = bytes.iter().map(shown).collect();
        format!("{:08x}  {:<23}  {:<23}  |{text}|", 16 * number, digits(left), digits(right))
    };
    bytes.chunks(16).enumerate().map(line).collect::<Vec<_>>().join("\n")
}

fn frame_of(bytes: &[u8]) -> Frame {
    let mut buffer = bytes.to_vec();
    let frame = frame::take(&mut buffer, LIMITS).unwrap().unwrap();
    assert!(buffer.is_empty());
    frame
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    [frame::begin(frame.kind, &frame.head, frame.body.len()).unwrap(), frame.body.clone()].concat()
}

/// The question of the example, as it would be asked in this home.
fn asked_in(home: &Home) -> Frame {
    let frame = frame_of(&example()[0]);
    let mut question: JudgeRequest = serde_json::from_slice(&frame.head).unwrap();
    assert_eq!(
        question.file_set.home,
        Some(("/home/you/.config/mailstamp".into(), Some("/home/you/.local/state/mailstamp".into())))
    );
    question.file_set.home = Some((home.file(".config/mailstamp"), Some(home.state())));
    Frame { head: serde_json::to_vec(&question).unwrap(), ..frame }
}

/// The message of the example, with a body, which a message without a stamp need not show.
const MESSAGE: &[u8] = b"From: bob@y.example\nTo: you@your.example\nSubject: lunch?\n\nAt noon?\n";

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_example_is_what_the_program_asks() {
    let home = Home::new();
    std::fs::create_dir_all(home.state()).unwrap();
    let listener = unix_socket::listen(&home.state().join("socket"), 0o600).unwrap();
    let expected = bytes_of(&asked_in(&home));
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| home.classify(MESSAGE));
        let mut channel = Connection::new(listener.accept().unwrap().0);
        let asked = channel.receive(LIMITS, PATIENCE, PATIENCE).unwrap().unwrap();
        let answer = frame_of(&example()[1]);
        channel.send(answer.kind, &answer.head, &[], PATIENCE).unwrap();
        asker.join().unwrap().exits(11).says("unstamped no-stamp");
        assert_eq!(bytes_of(&asked), expected, "\n{}", hexdump(&bytes_of(&asked)));
    });
}

#[test]
fn the_example_is_what_the_program_answers() {
    let home = Home::new();
    let _served = Served(home.command().arg("serve").stderr(std::process::Stdio::null()).spawn().unwrap());
    let socket = home.state().join("socket");
    let mut channel = Connection::new(eventually("the socket", || unix_socket::connect(&socket).ok()));
    let question = asked_in(&home);
    channel.send(question.kind, &question.head, &question.body, PATIENCE).unwrap();
    let answer = bytes_of(&channel.receive(LIMITS, PATIENCE, PATIENCE).unwrap().unwrap());
    assert_eq!(answer, example()[1], "\n{}", hexdump(&answer));

    // By a program that shares nothing with this one.
    let script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n\
                  s.sendall(bytes.fromhex(sys.argv[2])); print(s.recv(int(sys.argv[3]), socket.MSG_WAITALL).hex(), end='')";
    let mut python = Command::new(program("python3", "python3"));
    python.args(["-c", script]).arg(&socket).arg(HEXLOWER.encode(&bytes_of(&question)));
    python.arg(example()[1].len().to_string());
    assert_eq!(run(&mut python, b"").exits(0).text(), HEXLOWER.encode(&example()[1]));
}

/// What the page says of questions that are none, at both sockets.
#[test]
fn what_is_no_question_is_answered_as_the_page_says() {
    let home = Home::new();
    let _served = Served(home.command().arg("serve").stderr(std::process::Stdio::null()).spawn().unwrap());
    let process = home.state().join("socket");
    eventually("the socket", || unix_socket::connect(&process).ok());
    let answer = |socket: &str, bytes: &[u8]| {
        use std::io::Write;
        let mut stream = unix_socket::connect(&home.state().join(socket)).unwrap();
        stream.write_all(bytes).unwrap();
        Connection::new(stream).receive(LIMITS, PATIENCE, PATIENCE).unwrap().map(|frame| (frame.kind, frame.head))
    };
    let question = |kind| frame::begin(kind, b"{}", 0).unwrap();
    let refused = Some((Kind::UnknownRequest, b"{}".to_vec()));
    let yourself = Some((Kind::NotHere, b"{}".to_vec()));
    assert_eq!(answer("socket", &question(Kind::Judge)), yourself, "members are missing");
    for kind in [Kind::Spend, Kind::Acquire, Kind::StatusReply] {
        assert_eq!(answer("socket", &question(kind)), refused, "{kind:?}");
    }
    for kind in [Kind::Spend, Kind::Judge, Kind::Status, Kind::Price] {
        assert_eq!(answer("used.redb.socket", &question(kind)), refused, "{kind:?}");
    }
    assert_eq!(answer("used.redb.socket", &question(Kind::Acquire)), Some((Kind::Acquired, b"{}".to_vec())));
    let good = question(Kind::Status);
    for socket in ["socket", "used.redb.socket"] {
        for (at, byte) in [(0, b'G'), (2, VERSION + 1), (3, 99), (4, 0x7f)] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            assert_eq!(answer(socket, &bytes), None, "{socket} {at}");
        }
        assert_eq!(answer(socket, &[&good[..], b"M"].concat()), None, "{socket}: a byte before the answer");
    }
}
