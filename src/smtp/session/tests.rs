//! Tests of the session: bytes in, codes and messages out.

use super::*;
use crate::smtp::input::LINE_MAX;
use proptest::prelude::*;

const LARGEST: usize = 1_000;

/// What a server does with these bytes, in pieces: the codes of its replies, and the messages that it took.
fn converse(pieces: &[&[u8]]) -> (Vec<u16>, Vec<Message>) {
    converse_on(Channel::Plain, pieces)
}

fn converse_on(channel: Channel, pieces: &[&[u8]]) -> (Vec<u16>, Vec<Message>) {
    let mut session = Session::new("test", LARGEST, channel);
    let (mut codes, mut messages) = (Vec::new(), Vec::new());
    for piece in pieces {
        session.receive(piece);
        loop {
            let mut step = session.step();
            if let Step::Login(login) = step {
                step = session.log_in(login.user == "joe" && login.password == "word");
            }
            match step {
                Step::Receive => break,
                Step::Reply(reply) => codes.push(reply.code),
                Step::StartTls(reply) => {
                    codes.push(reply.code);
                    session.protect();
                }
                Step::Close(reply) => {
                    codes.push(reply.code);
                    return (codes, messages);
                }
                Step::Submit(message) => messages.push(message),
                Step::Login(_) => unreachable!("answered above"),
            }
        }
    }
    (codes, messages)
}

fn lines(lines: &[&str]) -> (Vec<u16>, Vec<Message>) {
    lines_on(Channel::Plain, lines)
}

fn lines_on(channel: Channel, lines: &[&str]) -> (Vec<u16>, Vec<Message>) {
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\r\n")).collect();
    converse_on(channel, &lines.iter().map(String::as_bytes).collect::<Vec<_>>())
}

fn login() -> String {
    format!("AUTH PLAIN {}", BASE64.encode(b"\0joe\0word"))
}

/// The codes of these commands, after a login.
fn logged_in(more: &[&str]) -> (Vec<u16>, Vec<Message>) {
    let login = login();
    let (mut codes, messages) = lines(&[&["EHLO x", &login], more].concat());
    assert_eq!(codes.drain(..2).collect::<Vec<_>>(), [250, 235]);
    (codes, messages)
}

#[test]
fn a_message_is_taken_after_a_login() {
    let message =
        ["MAIL FROM:<a@x.example>", "RCPT TO:<b@y.example>", "RCPT TO:<b@Y.example>", "DATA", "A: b", "", "..", "."];
    let (codes, messages) = logged_in(&[&message[..], &message[..], &["QUIT"]].concat());
    assert_eq!(codes, [250, 250, 250, 354, 250, 250, 250, 354, 221]);
    let address = |text| Address::parse(text).unwrap();
    let expected = Message {
        sender: Some(address("a@x.example")),
        recipients: vec![address("b@y.example")],
        raw: b"A: b\n\n.\n".to_vec(),
    };
    assert_eq!(messages, [expected.clone(), expected]);
    assert_eq!(lines(&["EHLO x", "MAIL FROM:<a@x.example>", "RCPT TO:<b@y.example>", "DATA"]).0, [250, 530, 503, 503]);
}

#[test]
fn a_login_has_two_forms_and_three_tries() {
    let encoded = |text: &str| BASE64.encode(text.as_bytes());
    let (user, word, wrong) = (encoded("joe"), encoded("word"), encoded("wrong"));
    for (tries, codes) in [
        (vec!["AUTH LOGIN", &user, &word, "AUTH LOGIN"], vec![334, 334, 235, 503]),
        (vec![&format!("auth login {user}"), &word], vec![334, 235]),
        (vec!["AUTH PLAIN", &encoded("joe\0joe\0word")], vec![334, 235]),
        (vec!["AUTH PLAIN", &encoded("eve\0joe\0word")], vec![334, 501]),
        (vec!["AUTH PLAIN", &encoded("joe\0word")], vec![334, 501]),
        (vec!["AUTH PLAIN =", "AUTH PLAIN ?", "AUTH LOGIN", "*", "AUTH CRAM-MD5"], vec![501, 501, 334, 501, 504]),
        (
            vec!["AUTH LOGIN", &user, &wrong, "AUTH LOGIN", &user, &wrong, "AUTH LOGIN", &user, &wrong, "NOOP"],
            vec![334, 334, 535, 334, 334, 535, 334, 334, 535],
        ),
    ] {
        let said = lines(&[&["EHLO x"], &tries[..]].concat()).0;
        assert_eq!(said[1..], codes, "{tries:?}");
    }
    assert_eq!(lines(&["HELO x", &login()]).0, [250, 503]);
    let debug = format!("{:?}", Login { user: "joe".into(), password: "s3cret".into() });
    assert!(!debug.contains("s3cret"));
}

#[test]
fn what_comes_too_early_or_too_often_ends_the_connection() {
    let login = login();
    // The text of a message behind a DATA that may be refused.
    let early = b"EHLO x\r\nMAIL FROM:<>\r\nDATA\r\nMAIL FROM:<>\r\n";
    assert_eq!(converse(&[early]).0, [250, 530, 503]);
    let early = format!("EHLO x\r\n{login}\r\nNOOP\r\n");
    assert_eq!(converse(&[early.as_bytes()]).0, [250, 503]);
    assert_eq!(lines(&["EHLO x", "POST / HTTP/1.1", "MAIL FROM:<>"]).0, [250, 221]);
    assert_eq!(converse(&[b"EHLO x\nNOOP\r\n"]).0, [500]);
    assert_eq!(converse(&[&b"x".repeat(LINE_MAX)]).0, [500]);
    let many = lines(&["XYZZY"; 50]).0;
    assert_eq!((many.len(), many.last()), (20, Some(&421)));
    let many = lines(&["NOOP"; 150]).0;
    assert_eq!((many.len(), many.last()), (101, Some(&421)));
    assert_eq!(lines(&["STARTTLS", "EXPN x", "HELP", "VRFY a"]).0, [502, 502, 214, 252]);
}

#[test]
fn a_password_from_elsewhere_needs_tls_and_tls_begins_anew() {
    let login = login();
    let remote = Channel::Offered { is_local: false };
    let local = Channel::Offered { is_local: true };
    let before = ["EHLO x", &login, "MAIL FROM:<>", "STARTTLS", &login, "MAIL FROM:<>"];
    let after = ["STARTTLS", "EHLO x", "STARTTLS", &login, "STARTTLS", "MAIL FROM:<>"];
    let (codes, _) = lines_on(remote, &[&before[..], &after[1..]].concat());
    assert_eq!(codes, [250, 538, 530, 220, 503, 503, 250, 502, 235, 502, 250]);
    // A client on this host may go without; once it has a login or a message, it is too late.
    assert_eq!(lines_on(local, &["EHLO x", &login, "STARTTLS", "NOOP"]).0, [250, 235, 503, 250]);
    assert_eq!(lines_on(local, &after).0, [220, 250, 502, 235, 502, 250]);
    // Commands in the same segment, which an attacker put there, are no part of the protected session.
    for injected in ["RSET\r\n", "EHLO evil\r\nMAIL FROM:<eve@x.example>\r\n", "\r\n", "N", "\x16\x03\x01"] {
        let segment = format!("EHLO x\r\nSTARTTLS\r\n{injected}");
        assert_eq!(converse_on(remote, &[segment.as_bytes(), b"EHLO x\r\n"]).0, [250, 503], "{injected:?}");
    }
    let offers = |channel| {
        let mut session = Session::new("test", LARGEST, channel);
        session.receive(b"EHLO x\r\n");
        let Step::Reply(reply) = session.step() else { panic!("no reply") };
        let offers = |word: &str| reply.lines.iter().any(|line| line.starts_with(word));
        (offers("STARTTLS"), offers("AUTH"))
    };
    assert_eq!(
        [Channel::Plain, local, remote, Channel::Protected].map(offers),
        [(false, true), (true, true), (true, false), (false, true)]
    );
}

#[test]
fn limits_and_errors_leave_the_next_message_alone() {
    let good = ["MAIL FROM:<>", "RCPT TO:<b@y.example>", "DATA", "ok", "."];
    let long = "x".repeat(LARGEST);
    for (bad, codes) in [
        (vec!["MAIL FROM:<> SIZE=1001"], vec![552]),
        (vec!["MAIL FROM:<>", "RCPT TO:<b@y.example>", "DATA", &long, "."], vec![250, 250, 354, 552]),
        (vec!["MAIL FROM:<>", "RCPT TO:<b@y.example>", "DATA", "a\n.", "."], vec![250, 250, 354, 550]),
        (vec!["MAIL FROM:<>", "RCPT TO:<b@y.example>", "DATA", "a\0", "."], vec![250, 250, 354, 550]),
        (vec!["MAIL FROM:<>", "DATA", "MAIL FROM:<>", "RSET"], vec![250, 554, 503, 250]),
        (vec!["MAIL FROM:<>", "RCPT TO:<zoë@y.example>", "EHLO x"], vec![250, 553, 250]),
        (vec!["MAIL FROM:<zoë@y.example>"], vec![553]),
        (vec!["MAIL FROM:<zoë@y.example> SMTPUTF8", "RCPT TO:<zoë@y.example>", "RSET"], vec![250, 250, 250]),
    ] {
        let (said, messages) = logged_in(&[&bad[..], &good[..]].concat());
        assert_eq!(said, [&codes[..], &[250, 250, 354]].concat(), "{bad:?}");
        assert_eq!(messages.len(), 1, "{bad:?}");
    }
    let recipients: Vec<String> = (0..=RECIPIENTS_MAX).map(|n| format!("RCPT TO:<p{n}@y.example>")).collect();
    let all: Vec<&str> = std::iter::once("MAIL FROM:<>").chain(recipients.iter().map(String::as_str)).collect();
    assert_eq!(logged_in(&all).0.last(), Some(&452));
}

proptest! {
    /// However the bytes are cut, and whatever they are: the same replies and messages, and no message has another
    /// line end than LF.
    #[test]
    fn a_session_goes_on_or_ends(words in prop::collection::vec(prop::sample::select(vec![
        "EHLO x\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<b@y.example>\r\n", "DATA\r\n", "RSET\r\n", "a", ".", "\r", "\n",
        "\r\n", ".\r\n", "\0", "QUIT\r\n", "AUTH LOGIN\r\n", "*\r\n",
    ]), 0..40)) {
        let login = login() + "\r\n";
        let mut pieces: Vec<&[u8]> = vec![b"EHLO x\r\n", login.as_bytes()];
        pieces.extend(words.iter().map(|word| word.as_bytes()));
        let (codes, messages) = converse(&pieces);
        let bytes: Vec<&[u8]> = pieces.iter().flat_map(|piece| piece.chunks(1)).collect();
        prop_assert_eq!((codes, messages.clone()), converse(&bytes));
        prop_assert!(messages.iter().all(|it| !it.raw.contains(&b'\r') && !it.raw.contains(&0)));
    }
}
