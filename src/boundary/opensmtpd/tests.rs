//! Tests of the filter protocol of OpenSMTPD.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const LARGEST: usize = 200;
const MEMORY: usize = 2_000;

fn filter() -> Filter {
    Filter::new(LARGEST, MEMORY)
}

/// The lines of an envelope for session `id`.
fn envelope(version: u32, id: u64, recipients: &[&str]) -> Vec<String> {
    let report = |event: &str| format!("report|0.{version}|1.2|smtp-in|{event}|{id:016x}|0a0b0c0d");
    let mut lines = vec![report("tx-begin"), report("tx-mail") + "|ok|bob@y.example"];
    lines.extend(recipients.iter().map(|to| report("tx-rcpt") + "|ok|" + to));
    lines
}

fn data(version: u32, id: u64, line: &str) -> String {
    format!("filter|0.{version}|1.2|smtp-in|data-line|{id:016x}|00000000000000ff|{line}")
}

fn commit(id: u64) -> String {
    format!("filter|0.7|1.2|smtp-in|commit|{id:016x}|00000000000000ff|")
}

/// Hands in these lines, and returns the messages to judge and what was answered.
fn send(filter: &mut Filter, lines: impl IntoIterator<Item = String>) -> (Vec<Work>, String) {
    let mut out = Vec::new();
    let works = lines.into_iter().filter_map(|line| filter.receive(line.as_bytes(), &mut out).unwrap()).collect();
    (works, String::from_utf8(out).unwrap())
}

/// What a session gets back, without its name.
fn back(answered: &str, id: u64) -> String {
    let prefix = format!("filter-dataline|{id:016x}|00000000000000ff|");
    let result = format!("filter-result|{id:016x}|00000000000000ff|");
    let lines = answered.lines().filter_map(|line| line.strip_prefix(&prefix).or(line.strip_prefix(&result)));
    lines.map(|line| line.to_owned() + "\n").collect()
}

fn finish(filter: &mut Filter, work: &Work, outcome: Outcome) -> String {
    let mut out = Vec::new();
    filter.finish(work, outcome, &mut out);
    String::from_utf8(out).unwrap()
}

/// As it was kept.
fn unchanged(work: &Work) -> Outcome {
    Outcome::Deliver(work.message.raw.clone())
}

#[test]
fn a_filter_registers_after_the_configuration() {
    let config = ["config|smtpd-version|6.8.0p2", "config|subsystem|smtp-in", "config|admd|x|y", "config|ready"];
    let (_, told) = send(&mut filter(), config.map(str::to_owned));
    assert_eq!(told, REGISTER);
}

#[test]
fn sessions_are_mixed_and_dots_are_not_doubled() {
    let mut filter = filter();
    let mut lines = envelope(6, 1, &["alice@x.example", "alice@x.example", "a|b@x.example"]);
    lines.extend(envelope(6, 2, &["carol@x.example"]));
    for line in ["Subject: a|b", "", "..", ".text", "..end"] {
        lines.extend([data(6, 1, line), data(6, 2, &line.to_uppercase())]);
    }
    lines.extend([data(6, 2, "."), data(6, 1, ".")]);
    let (works, told) = send(&mut filter, lines);
    let [two, one] = &works[..] else { panic!("{works:?}") };
    assert_eq!(told, "");
    assert_eq!(one.message.raw, b"Subject: a|b\n\n.\ntext\n.end\n");
    assert_eq!(two.message.raw, b"SUBJECT: A|B\n\n.\nTEXT\n.END\n");
    let given: Vec<_> = one.message.recipients.iter().map(|it| it.given.as_slice()).collect();
    assert_eq!(given, [&b"alice@x.example"[..], b"a|b@x.example"]);
    assert_eq!((&one.message.sender[..], &one.message.login), (&b"bob@y.example"[..], &None));
    let told = finish(&mut filter, one, Outcome::Deliver(b"New: 1\nSubject: a\n\n.\n.x\n".to_vec()));
    assert_eq!(back(&told, 1), "New: 1\nSubject: a\n\n..\n..x\n.\n");
    let told = finish(&mut filter, two, Outcome::Refuse("550 no".to_owned()));
    assert_eq!(back(&told, 2), ".\n");
    let (_, told) = send(&mut filter, [commit(2), commit(1), commit(3)]);
    assert_eq!((back(&told, 1), back(&told, 2)), ("proceed\n".to_owned(), "reject|550 no\n".to_owned()));
    assert_eq!(back(&told, 3), format!("reject|{UNKNOWN}\n"));
    assert_eq!(filter.used, 0);
}

#[test]
fn reports_are_read_in_each_version() {
    for (version, auth, rcpt, login) in [
        (5, "u|pass", "alice@x.example|ok", Some("u")),
        (6, "u|pass", "ok|alice@x.example", Some("u")),
        (7, "pass|u|v", "ok|alice@x.example", Some("u|v")),
        (7, "fail|x|pass", "ok|alice@x.example", None),
        (6, "pass|fail", "ok|alice@x.example", None),
        (6, "pass|u|error", "ok|alice@x.example", None),
        (12, "pass|u", "ok|alice@x.example", Some("u")),
    ] {
        let report = |event: &str, rest: &str| format!("report|0.{version}|1|smtp-in|{event}|01|{rest}");
        let refused = if version == 5 { "bob@x.example|permfail" } else { "permfail|bob@x.example" };
        let (works, _) = send(
            &mut filter(),
            [
                report("link-auth", auth),
                report("tx-begin", "0a"),
                report("tx-rcpt", &format!("0a|{refused}")),
                report("tx-rcpt", &format!("0a|{rcpt}")),
                data(version, 1, "."),
            ],
        );
        let message = &works[0].message;
        assert_eq!(message.login.as_deref(), login.map(str::as_bytes), "{version} {auth}");
        assert_eq!((message.recipients.len(), &message.recipients[0].given[..]), (1, &b"alice@x.example"[..]));
    }
}

#[test]
fn another_protocol_ends_the_filter() {
    let receive = |line: &str| filter().receive(line.as_bytes(), &mut Vec::new()).unwrap_err().to_string();
    for (line, said) in [
        ("report|0.4|1|smtp-in|tx-begin|01|0a", "filter protocol 0.4, expected 0.5 or later"),
        ("report|1.0|1|smtp-in|tx-begin|01|0a", "filter protocol 1.0"),
        ("filter|0.7|1|smtp-in|data-line|01|xyz|line", "malformed line: filter|0.7"),
        ("filter|0.7|1|smtp-in|helo|01|02|line", "malformed line"),
        ("report|0.7|1|smtp-in|tx-begin|-1|0a", "malformed line"),
        ("", "malformed line"),
        ("nonsense", "malformed line: nonsense"),
    ] {
        assert!(receive(line).contains(said), "{line}: {}", receive(line));
    }
}

#[test]
fn the_rest_of_a_long_message_is_passed_through() {
    for judged_after in 0..4 {
        for outcome in [None, Some(Outcome::Refuse("451 later".to_owned()))] {
            let mut filter = filter();
            send(&mut filter, envelope(7, 1, &["alice@x.example"]));
            let (works, _) = send(&mut filter, ["A: b", "", &"x".repeat(100)].map(|line| data(7, 1, line)));
            assert!(works.is_empty());
            let (works, _) = send(&mut filter, [data(7, 1, &"y".repeat(100))]);
            let [work] = &works[..] else { panic!() };
            assert!(work.message.is_cut && work.message.raw.ends_with(b"xxx\n"));
            let mut told = String::new();
            for (at, line) in ["..", ".z|.", "."].into_iter().enumerate() {
                if judged_after == at {
                    told += &finish(&mut filter, work, outcome.clone().unwrap_or(unchanged(work)));
                }
                told += &send(&mut filter, [data(7, 1, line)]).1;
            }
            if judged_after == 3 {
                told += &finish(&mut filter, work, outcome.clone().unwrap_or(unchanged(work)));
            }
            told += &send(&mut filter, [commit(1)]).1;
            let all = format!("A: b\n\n{}\n{}\n..\nz|.\n.\nproceed\n", "x".repeat(100), "y".repeat(100));
            let wanted = if outcome.is_some() { ".\nreject|451 later\n" } else { &all };
            assert_eq!(back(&told, 1), wanted, "{judged_after}");
            assert_eq!(filter.used, 0);
        }
    }
}

#[test]
fn what_cannot_be_judged_is_refused_at_its_end() {
    let long = "x".repeat(LARGEST);
    let refused = |before: Vec<String>, lines: &[&str]| {
        let mut filter = filter();
        send(&mut filter, before);
        let (works, told) = send(&mut filter, lines.iter().map(|line| data(7, 1, line)).chain([commit(1)]));
        assert_eq!((works, filter.used), (vec![], filter.sessions.get(&1).map_or(0, |it| it.size)));
        back(&told, 1)
    };
    let header = refused(envelope(7, 1, &["alice@x.example"]), &["A: b", &long, "."]);
    assert_eq!(header, format!(".\nreject|{}\n", Refusal::HeaderTooLarge.reply()));
    assert_eq!(refused(envelope(7, 1, &[]), &["A: b", "."]), format!(".\nreject|{UNKNOWN}\n"));
    assert_eq!(refused(vec![], &["A: b", "."]), format!(".\nreject|{UNKNOWN}\n"));
    let memory = refused(envelope(7, 1, &[&"a".repeat(MEMORY)]), &["A: b", "."]);
    assert_eq!(memory, format!(".\nreject|{}\n", Refusal::NoMemory.reply()));
    // The end came before the memory was used up, or the other way round.
    let mut filter = filter();
    send(&mut filter, envelope(7, 1, &["alice@x.example"]));
    let lines = ["A: b", "", &long].map(|line| data(7, 1, line));
    let (works, _) = send(&mut filter, lines);
    let (_, told) = send(&mut filter, (0..20).map(|_| data(7, 1, &long)).chain([data(7, 1, "."), commit(1)]));
    assert_eq!(back(&told, 1), format!(".\nreject|{}\n", Refusal::NoMemory.reply()));
    assert_eq!(finish(&mut filter, &works[0], unchanged(&works[0])), "");
}

#[test]
fn nothing_is_sent_to_a_session_that_is_gone() {
    let gone = |id: u64| format!("report|0.7|1|smtp-in|link-disconnect|{id:016x}");
    for next in [vec![gone(1)], vec![gone(1), data(7, 1, "A: b")], envelope(7, 1, &["carol@x.example"])] {
        let mut filter = filter();
        send(&mut filter, envelope(7, 1, &["alice@x.example"]));
        let (works, _) = send(&mut filter, [data(7, 1, "A: b"), data(7, 1, ".")]);
        // What waits to be judged is counted all the same.
        let waiting = filter.used;
        assert_eq!(send(&mut filter, next).1, "");
        assert!(waiting >= 5 && filter.used >= waiting);
        assert_eq!(finish(&mut filter, &works[0], unchanged(&works[0])), "");
        send(&mut filter, [gone(1)]);
        assert_eq!(filter.used, 0);
    }
}

#[test]
fn lines_are_broken_only_where_they_would_be_cut() {
    let back = |breaks_lines: bool, text: &str| {
        let mut out = Vec::new();
        Back { session: 1, token: 2, breaks_lines }.line(text.as_bytes(), &mut out);
        let prefix = format!("filter-dataline|{:016x}|{:016x}|", 1, 2);
        let out = String::from_utf8(out).unwrap();
        out.lines().map(|line| line.strip_prefix(&prefix).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (whole, dotted) = ("x".repeat(1_997), format!(".{}", "x".repeat(1_996)));
    assert_eq!(back(true, &whole), std::slice::from_ref(&whole));
    let long = "x".repeat(3_000);
    assert_eq!(back(false, &long), std::slice::from_ref(&long));
    let pieces = [long[..998].to_owned(), format!(" {}", &long[..997]), format!(" {}", &long[..997])];
    assert_eq!(back(true, &long), [&pieces[..], &[" xxxxxxxx".to_owned()]].concat());
    assert_eq!(back(true, &dotted)[0], format!("..{}", "x".repeat(997)));
    assert_eq!(back(false, &dotted), [format!(".{dotted}")]);
}

proptest! {
    /// Each session gets back its own lines, however they are mixed and whenever they are judged.
    #[test]
    fn every_session_gets_its_own_lines(
        order in prop::collection::vec((1_u64..4, "[.a|: ]{0,60}", any::<bool>()), 0..60),
    ) {
        let mut filter = Filter::new(LARGEST, 1 << 20);
        let (mut sent, mut told, mut waiting): (BTreeMap<u64, String>, String, Vec<Work>) = Default::default();
        (1..4).for_each(|id| drop(send(&mut filter, envelope(7, id, &["alice@x.example"]))));
        let stuffed = |text: &str| if text.starts_with('.') { format!(".{text}") } else { text.to_owned() };
        // With an empty line, no header is too large.
        let lines = (1..4).map(|id| (id, String::new(), false));
        let lines = lines.chain(order.iter().map(|(id, text, judges)| (*id, stuffed(text), *judges)));
        for (id, line, judges) in lines.chain((1..4).map(|id| (id, ".".to_owned(), false))) {
            *sent.entry(id).or_default() += &format!("{line}\n");
            let (works, answer) = send(&mut filter, [data(7, id, &line)]);
            told += &answer;
            waiting.extend(works);
            while judges && let Some(work) = waiting.pop() {
                told += &finish(&mut filter, &work, unchanged(&work));
            }
        }
        waiting.iter().for_each(|work| told += &finish(&mut filter, work, unchanged(work)));
        for (id, sent) in sent {
            prop_assert_eq!(back(&told, id), sent);
        }
        prop_assert_eq!(filter.used, 0);
    }

    /// Random lines: no panic, memory within the limit, one end for each end, one answer to each commit.
    #[test]
    fn random_lines_are_answered(
        lines in prop::collection::vec((0_u64..3, 0..12_u8, 0..300_usize, any::<bool>()), 0..100),
    ) {
        let mut filter = filter();
        let (mut waiting, mut told, mut ends, mut commits) = (Vec::new(), String::new(), 0, 0);
        for (id, what, length, judges) in lines {
            let text = ".a|: ".chars().cycle().skip(length % 5).take(length).collect::<String>();
            let line = match what {
                0 => envelope(6, id, &["alice@x.example"]).join("\n"),
                1 => format!("report|0.6|1|smtp-in|tx-rcpt|{id:016x}|0a|ok|{text}"),
                2 => format!("report|0.6|1|smtp-in|tx-{}|{id:016x}|0a", if judges { "reset" } else { "begin" }),
                3 => format!("report|0.6|1|smtp-in|link-disconnect|{id:016x}"),
                4 => data(6, id, ""),
                5 => data(6, id, "."),
                6 => commit(id),
                _ => data(6, id, &text),
            };
            commits += usize::from(what == 6);
            ends += usize::from(line.ends_with("|."));
            let (works, answer) = send(&mut filter, line.split('\n').map(str::to_owned));
            told += &answer;
            waiting.extend(works);
            prop_assert!(filter.used <= MEMORY, "{}", filter.used);
            while judges && let Some(work) = waiting.pop() {
                let outcome = if text.len() % 2 == 0 { unchanged(&work) } else { Outcome::Refuse(text.clone()) };
                told += &finish(&mut filter, &work, outcome);
            }
        }
        waiting.iter().for_each(|work| told += &finish(&mut filter, work, unchanged(work)));
        let count = |is: &dyn Fn(&str) -> bool| told.lines().filter(|line| is(line)).count();
        prop_assert_eq!(count(&|line| line.starts_with("filter-result|")), commits);
        prop_assert!(count(&|line| line.starts_with("filter-dataline|") && line.len() == 51 && line.ends_with("|.")) <= ends);
        (0..3).for_each(|id| filter.report(id, b"link-disconnect", b"", 6));
        prop_assert_eq!(filter.used, 0);
    }
}
