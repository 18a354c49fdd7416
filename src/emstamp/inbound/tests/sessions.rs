//! Sessions, from the greeting to the end.

use super::*;
use crate::stamp::token::Purpose;
use proptest::prelude::*;

#[test]
fn a_message_without_a_price_goes_through_as_it_came() {
    let envelope = "EHLO y.example\r\nMAIL FROM:<ann@y.example> BODY=8BITMIME SIZE=50 RET=HDRS ENVID=a\r\n\
                    RCPT TO:<bob@x.example> NOTIFY=NEVER ORCPT=rfc822;bob@x.example\r\n";
    let told = told(&[envelope, "DATA\r\n", BODY, "QUIT\r\n"]);
    assert_eq!(told.codes(), ["250", "250", "250", "354", "250", "221"]);
    told.hears("250 2.0.0 queued as 1\n");
    let (envelope, text) = &told.inner.messages[0];
    let expected = [
        "MAIL FROM:<ann@y.example> BODY=8BITMIME SIZE=50 RET=HDRS ENVID=a",
        "RCPT TO:<bob@x.example> NOTIFY=NEVER ORCPT=rfc822;bob@x.example",
    ];
    assert_eq!(envelope, &expected);
    assert_eq!(text, BODY.strip_suffix(".\r\n").unwrap());
    assert_eq!(told.log, Vec::<String>::new());
    let before = ["EHLO mx.x.example", "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7", "EHLO y.example"];
    assert_eq!(told.inner.taken[..3], before);
}

#[test]
fn a_client_that_cannot_pay_is_told_the_price() {
    let envelope = "HELO y.example\r\nMAIL FROM:<ann@y.example>\r\nRCPT TO:<paid@x.example>\r\nRCPT TO:<bob@x.example>\r\n\
                    RCPT TO:<gone@x.example>\r\n";
    let told = told(&[envelope, "DATA\r\n", BODY, "QUIT\r\n"]);
    told.hears(
        "550-5.7.1 <paid@x.example>: this mailbox asks 3 credits for a message\n550 5.7.1 see https://x.example/mail\n",
    );
    told.hears("550 5.1.1 no such user\n");
    // The inner server had accepted the first.
    assert_eq!(told.inner.messages[0].0, ["MAIL FROM:<ann@y.example>", "RCPT TO:<bob@x.example>"]);
    let mut case = Case::new();
    case.settings.closes_unaware = true;
    let told = case.run(&[envelope, "DATA\r\n"]);
    assert!(told.client.ends_with(
        "421-4.7.1 <paid@x.example>: this mailbox asks 3 credits for a message\n421 4.7.1 see https://x.example/mail\n"
    ));
    // Without the keyword in the reply, the parameter is unknown; so it is where nothing can be paid.
    let mut case = Case::new();
    case.settings.can_be_paid = false;
    let told = case.run(&[AWARE, "EMST a 1 b\r\n"]);
    assert!(!told.client.contains("EMSTAMP") && told.codes()[1..] == ["555", "500"], "{}", told.client);
    let told = self::told(&["HELO y.example\r\nMAIL FROM:<a@y.example> EMSTAMP\r\n"]);
    assert_eq!(told.codes(), ["250", "555"]);
}

#[test]
fn a_client_that_pays_is_served() {
    let envelope =
        format!("{AWARE}RCPT TO:<paid@x.example>\r\nRCPT TO:<bob@x.example>\r\nRCPT TO:<dear@x.example>\r\n");
    let pays = emst("id1", "paid@x.example", 3, RAW) + &emst("id2", "dear@x.example", 6, RAW);
    let told = told(&[&envelope, &pays, "DATA\r\n", BODY, "QUIT\r\n"]);
    told.hears("250-2.1.5 Ok\n250 2.1.5 EMSTAMP price=3 id=id1 end=100 payee=x@agency.example\n");
    told.hears("250 2.1.5 paid\n250 2.1.5 paid\n354");
    assert_eq!(told.log, ["pending id1 id2", "received id1 id2"]);
    let (envelope, text) = &told.inner.messages[0];
    assert_eq!((envelope.len(), envelope[0].as_str()), (4, "MAIL FROM:<ann@y.example>"));
    assert_eq!(text, &format!("Mark: 2 false\r\n{}", BODY.strip_suffix(".\r\n").unwrap()));
    assert!(!told.inner.taken.join("\n").to_ascii_uppercase().contains("EMST"));
}

#[test]
fn who_is_not_paid_for_is_dropped() {
    let envelope = format!("{AWARE}RCPT TO:<paid@x.example>\r\nRCPT TO:<dear@x.example>\r\n");
    let told = told(&[&envelope, &emst("id2", "dear@x.example", 5, RAW), "DATA\r\n", BODY]);
    let expected = ["MAIL FROM:<ann@y.example>", "RCPT TO:<dear@x.example>"];
    assert_eq!(told.inner.messages[0].0, expected);
    let told = self::told(&[
        &envelope,
        "DATA\r\n",
        "RSET\r\nMAIL FROM:<b@y.example>\r\nRCPT TO:<bob@x.example>\r\n",
        "DATA\r\n",
        BODY,
    ]);
    told.hears("554 5.5.1 no recipient is paid for\n");
    assert_eq!(
        (told.inner.messages.len(), told.codes()[4..].to_vec()),
        (1, vec!["554", "250", "250", "250", "354", "250"])
    );
}

#[test]
fn a_token_has_its_time_and_its_form() {
    let good = emst("id1", "paid@x.example", 3, RAW);
    let to = format!("{AWARE}RCPT TO:<paid@x.example>\r\n");
    for (parts, code) in [
        (vec!["EHLO y.example\r\n", &good], "503"),
        (vec!["EHLO y.example\r\nMAIL FROM:<ann@y.example>\r\nRCPT TO:<bob@x.example>\r\n", &good], "503"),
        (vec![AWARE, &good], "503"),
        (vec![&to, "EMST id1 3\r\n"], "501"),
        (vec![&to, "EMST id1 3 token\r\n"], "550"),
        (vec![&to, "emst id1 0 v4.public.x\r\n"], "501"),
        (vec![&to, &good, &good], "550"),
        (vec![&to, &emst("id1", "dear@x.example", 3, RAW)], "550"),
        (vec![&to, "RSET\r\n", &good], "503"),
    ] {
        let told = told(&parts);
        assert_eq!(told.codes().last(), Some(&code), "{parts:?}\n{}", told.client);
        assert_eq!(told.log, Vec::<String>::new());
    }
    let long = format!("EMST id1 3 {}\r\n", "x".repeat(1_600));
    assert_eq!(told(&[&to, &long]).codes().last(), Some(&"500"));
    let longer = format!("EMST id1 3 {}\r\n", "x".repeat(2_100));
    told(&[&to, &longer]).hears("500 5.5.6 a line is longer than 2048 bytes\n");
}

#[test]
fn lines_that_come_together_are_looked_for_at_once() {
    let to = format!("{AWARE}RCPT TO:<paid@x.example>\r\nRCPT TO:<dear@x.example>\r\nRCPT TO:<bob@x.example>\r\n");
    let pays = emst("id1", "paid@x.example", 3, RAW) + "EMST id1 3\r\n" + &emst("id2", "dear@x.example", 5, RAW);
    let told = told(&[&to, &pays, "DATA\r\n", BODY]);
    assert_eq!(told.codes()[5..], ["250", "501", "250", "354", "250"], "{}", told.client);
    assert_eq!((told.looks, told.log.as_slice()), (1, &["pending id1 id2".to_owned(), "received id1 id2".into()][..]));
    // What comes behind a line that ends the connection has no answer, and what came before has.
    let told = self::told(&[&to, &(emst("id1", "paid@x.example", 3, RAW) + "EMST id2\n" + &pays)]);
    assert_eq!(told.codes()[5..], ["250", "500"], "{}", told.client);
    // One token in two lines pays once.
    let again = emst("id1", "paid@x.example", 3, RAW);
    assert_eq!(self::told(&[&to, &again.repeat(2)]).codes()[5..], ["250", "550"]);
}

#[test]
fn a_token_of_another_message_pays_nothing() {
    let to = format!("{AWARE}RCPT TO:<paid@x.example>\r\n");
    let told = told(&[&to, &emst("id1", "paid@x.example", 3, "From: a@y.example\n\nother\n"), "DATA\r\n", BODY]);
    told.hears("250 2.1.5 paid\n354");
    told.hears("550 5.7.1 a token of this message is for another message\n");
    assert_eq!((told.inner.messages.len(), told.log.len()), (0, 0));
}

#[test]
fn an_id_is_used_once_and_known_again() {
    let to = format!("{AWARE}RCPT TO:<paid@x.example>\r\n");
    let pay = emst("id1", "paid@x.example", 3, RAW);
    let other = BODY.replace("hello", "another");
    let other_pay = emst("id1", "paid@x.example", 3, &RAW.replace("hello", "another"));
    let mail = to.strip_prefix("EHLO y.example\r\n").unwrap();
    let told = told(&[&to, &pay, "DATA\r\n", BODY, mail, &pay, "DATA\r\n", BODY, mail, &other_pay, "DATA\r\n", &other]);
    told.hears("250 2.1.5 again: this message was paid before\n354");
    told.hears("250 2.0.0 this message was paid and delivered before\n");
    told.hears("550 5.7.1 the ID was used for another message\n554");
    assert_eq!(told.inner.messages.len(), 1);
    assert_eq!(told.log, ["pending id1", "received id1", "pending id1"]);
    // With a free recipient, the copy goes to that one alone.
    let both = format!("{mail}RCPT TO:<bob@x.example>\r\n");
    let told = self::told(&[&to, &pay, "DATA\r\n", BODY, &both, &pay, "DATA\r\n", BODY]);
    assert_eq!(told.inner.messages[1].0, ["MAIL FROM:<ann@y.example>", "RCPT TO:<bob@x.example>"]);
    assert!(!told.inner.messages[1].1.contains("Mark"));
}

#[test]
fn a_copy_of_a_message_on_its_way_waits() {
    let to = format!("{AWARE}RCPT TO:<paid@x.example>\r\n");
    let books = Books { is_on_its_way: true, ..Books::default() };
    let told = Case { books, ..Case::new() }.run(&[&to, &emst("id1", "paid@x.example", 3, RAW), "DATA\r\n", BODY]);
    told.hears("451 4.3.0 this message is on its way on another connection, try again later\n");
    assert_eq!((told.inner.messages.len(), told.log.len()), (0, 0));
    // One without a price is none of the books' business.
    let books = Books { is_on_its_way: true, ..Books::default() };
    let told = Case { books, ..Case::new() }.run(&[&to.replace("paid@", "bob@"), "DATA\r\n", BODY]);
    assert_eq!(told.inner.messages.len(), 1);
}

#[test]
fn recipients_before_a_malformed_line_are_answered() {
    let told =
        told(&[&format!("{AWARE}RCPT TO:<bob@x.example>\r\nRCPT TO:<dan@x.example>\nRCPT TO:<x@x.example>\r\n")]);
    told.hears("250 2.1.5 Ok\n500 5.5.2 a line does not end with CRLF\n");
}

#[test]
fn what_the_inner_server_refuses_is_not_paid() {
    let to = format!("{AWARE}RCPT TO:<paid@x.example>\r\n");
    let pay = emst("id1", "paid@x.example", 3, RAW);
    for (answer, code) in [("451 4.3.0 later", "451"), ("550 5.7.1 spam", "550")] {
        let mut case = Case::new();
        case.inner.answer = answer;
        let told = case.run(&[&to, &pay, "DATA\r\n", BODY]);
        assert_eq!(told.codes().last(), Some(&code));
        assert_eq!(told.log, ["pending id1", "refused id1"]);
    }
    for (ends_at, log, last) in [
        (".", vec!["pending id1"], "451 4.4.2 the mail system behind this host was lost, try again later\n"),
        ("DATA", vec!["pending id1", "refused id1"], "try again later\n"),
        ("RCPT", vec![], "421 4.3.2 the mail system behind this host does not answer, try again later\n"),
    ] {
        let mut case = Case::new();
        case.inner.ends_at = Some(ends_at);
        let told = case.run(&[&to, &pay, "DATA\r\n", BODY]);
        assert!(told.client.ends_with(last), "{ends_at}: {}", told.client);
        assert_eq!(told.log, log);
    }
}

#[test]
fn what_a_licence_may_owe_is_bounded() {
    let to = format!("{AWARE}RCPT TO:<paid@x.example>\r\nRCPT TO:<dear@x.example>\r\n");
    let pays = emst("id1", "paid@x.example", 3, RAW) + &emst("id2", "dear@x.example", 5, RAW);
    let case = |exposure, is_full, is_away| {
        let books = Books { exposure, is_full, is_away, ..Books::default() };
        Case { books, ..Case::new() }.run(&[&to, &pays, "DATA\r\n", BODY])
    };
    assert_eq!(case(2, false, false).codes()[4..], ["250", "250", "354", "250"]);
    // Ten are allowed, and those of one message count together.
    let told = case(3, false, false);
    assert_eq!(told.codes()[4..], ["250", "451", "354", "250"]);
    assert_eq!(told.inner.messages[0].0.len(), 2);
    let told = case(0, true, false);
    told.hears("451 4.7.1 this licence has too much that is not cleared yet\n");
    assert_eq!(told.inner.messages.len(), 0);
    let told = case(0, false, true);
    told.hears("451 4.3.0 the prices or the books of this gateway cannot be read, try again later\n");
    assert_eq!(told.inner.messages.len(), 0);
}

#[test]
fn the_null_sender_pays_nothing() {
    let to = "EHLO y.example\r\nMAIL FROM:<> EMSTAMP\r\nRCPT TO:<paid@x.example>\r\n";
    let told = told(&[to, "DATA\r\n", BODY]);
    assert_eq!((told.codes(), told.inner.messages.len()), (vec!["250", "250", "250", "354", "250"], 1));
    assert!(!told.client.contains("price="));
    let mut case = Case::new();
    case.settings.null_sender = NullSender::Refuse;
    let told = case.run(&[to, "DATA\r\n"]);
    told.hears("550 5.7.1 <paid@x.example>: this mailbox takes no message without a sender\n554");
}

#[test]
fn a_recipient_twice_is_paid_once() {
    let to = format!("{AWARE}RCPT TO:<paid@x.example>\r\nRCPT TO:<PAID@x.example>\r\n");
    let again = "RCPT TO:<paid@X.example>\r\n";
    let told = told(&[&to, &emst("id2", "paid@x.example", 3, RAW), again, "DATA\r\n", BODY]);
    assert_eq!(told.codes(), ["250", "250", "250", "250", "250", "250", "354", "250"]);
    assert_eq!(told.inner.messages[0].0, ["MAIL FROM:<ann@y.example>", "RCPT TO:<paid@x.example>"]);
    assert_eq!(told.log, ["pending id2", "received id2"]);
}

#[test]
fn a_price_that_cannot_be_told_defers() {
    let told = told(&[AWARE, "RCPT TO:<away@x.example>\r\nRCPT TO:<bob@x.example>\r\n", "DATA\r\n", BODY]);
    assert_eq!(told.codes()[2..], ["451", "250", "354", "250"]);
    assert_eq!(told.inner.messages[0].0.len(), 2);
}

#[test]
fn an_inner_server_is_told_who_connects_or_has_no_client() {
    let plain = |introduction, offers: &[&'static str]| {
        let inner = Inner { offers: offers.to_vec(), ..Inner::new() };
        Case { introduction, inner, ..Case::new() }.run(&["EHLO y.example\r\n"])
    };
    let xclient = || Introduction::Xclient("ADDR=192.0.2.7".into());
    assert!(plain(xclient(), &["PIPELINING"]).client.starts_with("421 4.3.5 "));
    assert!(plain(xclient(), &["XCLIENT ADDR"]).client.starts_with("220 mx.x.example ESMTP\n250-"));
    assert!(plain(Introduction::None, &[]).client.starts_with("220 "));
    // Here the line of the protocol is taken for a command, and its 500 for the reply to EHLO.
    let proxy = plain(Introduction::Proxy("PROXY TCP4 192.0.2.7 192.0.2.1 9 25".into()), &[]);
    assert!(proxy.client.starts_with("421 4.3.5 "), "{}", proxy.client);
}

#[test]
fn starttls_begins_anew_and_nothing_from_before_it_counts() {
    let told = told(&["EHLO a\r\n", "STARTTLS\r\n", "EHLO a\r\nSTARTTLS\r\n"]);
    assert_eq!(told.client.matches("250-STARTTLS\n").count(), 1);
    assert_eq!(told.codes(), ["250", "220", "250", "502"]);
    let told = self::told(&["EHLO a\r\n", "STARTTLS\r\nMAIL FROM:<a@y.example>\r\n"]);
    assert!(told.client.ends_with("503 5.5.0 wait for the reply before you send more\n"));
    assert!(!told.inner.taken.join("\n").contains("MAIL"));
    let told = self::told(&["EHLO a\r\nMAIL FROM:<a@y.example>\r\n", "STARTTLS\r\n"]);
    assert_eq!(told.codes(), ["250", "250", "503"]);
}

#[test]
fn commands_that_are_wrong_or_without_end_are_refused() {
    for (line, code) in [
        ("MAIL FROM:<a@y.example> AUTH=<>", "555"),
        ("MAIL FROM:<a@y.example> BODY=BINARYMIME", "501"),
        ("MAIL FROM:<a@y.example> SIZE=10001", "552"),
        ("MAIL FROM:a@y.example", "501"),
        ("MAIL FROM:<a\0@y.example>", "501"),
        ("RCPT TO:<bob@x.example>", "503"),
        ("DATA", "503"),
        ("AUTH PLAIN", "502"),
        ("BDAT 5 LAST", "502"),
        ("XCLIENT ADDR=127.0.0.1", "500"),
        ("XFORWARD ADDR=127.0.0.1", "500"),
        ("VRFY bob", "252"),
        ("NOOP", "250"),
        ("HELP", "214"),
        ("GET / HTTP/1.1", "221"),
    ] {
        let told = told(&["EHLO y.example\r\n", &format!("{line}\r\n")]);
        assert_eq!(told.codes().last(), Some(&code), "{line}: {}", told.client);
        assert_eq!(told.inner.taken.len(), 3, "{line}");
    }
    for line in ["RCPT TO:<a b@x.example>", "RCPT TO:<bob>", "RCPT TO:<bob@x.example> FOO=1"] {
        let told = told(&["EHLO y.example\r\nMAIL FROM:<a@y.example>\r\n", &format!("{line}\r\n")]);
        assert!(["553", "555"].contains(told.codes().last().unwrap()), "{line}");
    }
    let told = told(&["EHLO y.example\r\nMAIL FROM:<>\r\nRCPT TO:<Postmaster>\r\n", "DATA\r\n", BODY]);
    assert_eq!(told.inner.messages[0].0[1], "RCPT TO:<Postmaster>");
    assert!(self::told(&[&"X\r\n".repeat(30)]).client.ends_with("421 4.7.0 too many errors\n"));
    assert!(self::told(&[&"NOOP\r\n".repeat(200)]).client.ends_with("421 4.7.0 too many commands without a message\n"));
    self::told(&["EHLO a\nMAIL\r\n"]).hears("500 5.5.2 a line does not end with CRLF\n");
    let many = "RCPT TO:<bob@x.example>\r\n".repeat(1_001);
    let told = self::told(&["EHLO a\r\nMAIL FROM:<a@y.example>\r\n", &many]);
    assert_eq!((told.codes()[1_001], told.codes()[1_002]), ("250", "452"));
    // Unknown recipients are no errors of the protocol.
    let many = "RCPT TO:<gone@x.example>\r\n".repeat(60);
    let told = self::told(&["EHLO a\r\nMAIL FROM:<a@y.example>\r\n", &many, "NOOP\r\n"]);
    assert_eq!((told.codes().len(), told.codes().last()), (63, Some(&"250")));
}

// E11: no spelling of the end of a text makes two messages of one
#[test]
fn smuggled_ends_are_refused_or_part_of_one_message() {
    let smuggled = "MAIL FROM:<eve@y.example>\r\nRCPT TO:<bob@x.example>\r\nDATA\r\nFrom: eve@y.example\r\n\r\nx\r\n";
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r.\r",
        "\r\n.\n",
        "\r\n.\r",
        "\r.\r\n",
        "\r\n.\r\r\n",
        "\n.\r",
        "\r.\n",
        "\0\r\n.\n",
        "\r\n\0.\r\n",
        "\r\n.\0\r\n",
        "\r\r\n.\r\r\n",
        "\n\n.\n\n",
        "\r\n.\r\x0c\n",
        "\r\n.\n\r",
        "\r\n. \r\n",
        "\r\n\t.\r\n",
        "\r\n.\u{85}\r\n",
        "\u{2028}.\u{2028}",
        "\r\n..\r\n",
        "\r\n.\x0b\r\n",
    ] {
        let text = format!("From: ann@y.example\r\n\r\na{end}{smuggled}.\r\n");
        let to = "EHLO y.example\r\nMAIL FROM:<ann@y.example>\r\nRCPT TO:<bob@x.example>\r\n";
        let told = told(&[to, "DATA\r\n", &text, "QUIT\r\n"]);
        assert_eq!(told.codes().len(), 6, "{end:?}: {}", told.client);
        let has_bare = text.replace("\r\n", "").contains(['\r', '\n', '\0']);
        if has_bare {
            told.hears("550 5.6.11 the message ");
            assert_eq!(told.inner.messages.len(), 0, "{end:?}");
        } else {
            let expected = text.strip_suffix(".\r\n").unwrap().replace("\r\n.\u{85}", "\r\n\u{85}");
            let expected = expected.replace("\r\n. \r\n", "\r\n \r\n").replace("\r\n.\x0b\r\n", "\r\n\x0b\r\n");
            assert_eq!(told.inner.messages.len(), 1, "{end:?}");
            assert_eq!(told.inner.messages[0].1, expected, "{end:?}");
        }
        assert!(told.inner.taken.iter().filter(|line| line.starts_with("MAIL")).count() == 1, "{end:?}");
    }
}

#[test]
fn a_message_too_large_or_without_memory_is_refused() {
    let to = "EHLO y.example\r\nMAIL FROM:<ann@y.example>\r\nRCPT TO:<bob@x.example>\r\n";
    let large = format!("{}.\r\n", "0123456789abcdef\r\n".repeat(1_000));
    let told = told(&[to, "DATA\r\n", &large, "QUIT\r\n"]);
    assert_eq!(told.codes()[3..], ["354", "552", "221"]);
    let told = Case { free: false, ..Case::new() }.run(&[to, "DATA\r\n", BODY, "QUIT\r\n"]);
    assert_eq!(told.codes()[3..], ["354", "452", "221"]);
    assert_eq!(told.inner.messages.len(), 0);
    let told = self::told(&[to, &format!("DATA\r\n{BODY}")]);
    assert!(told.client.ends_with("503 5.5.0 wait for the reply before you send more\n"));
}

const LINES: [&str; 15] = [
    "EHLO y.example",
    "HELO y.example",
    "MAIL FROM:<ann@y.example> EMSTAMP",
    "MAIL FROM:<ann@y.example>",
    "MAIL FROM:<>",
    "RCPT TO:<bob@x.example>",
    "RCPT TO:<paid@x.example>",
    "RCPT TO:<PAID@x.example>",
    "RCPT TO:<gone@x.example>",
    "RCPT TO:<away@x.example>",
    "RSET",
    "NOOP",
    "EMST id1 3 x",
    "XYZZY",
    "rcpt x",
];

const PIECES: [&[u8]; 16] = [
    b"EHLO a\r\n",
    b"MAIL FROM:<a@y.example> EMSTAMP\r\n",
    b"RCPT TO:<paid@x.example>\r\n",
    b"DATA\r\n",
    b".\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"x",
    b"EMST id1 3 v4.public.x\r\n",
    b"STARTTLS\r\n",
    b"\xff\xfe\r\n",
    b"QUIT\r\n",
    b"RSET\r\n",
    b"RCPT TO:<bob@x.example>\r\n",
    b"MAIL FROM:<>\r\n",
];

proptest! {
    #[test]
    fn pieces_are_as_good_as_the_whole(
        lines in prop::collection::vec(prop::sample::select(&LINES[..]), 0..30),
        pieces in prop::collection::vec(1_usize..90, 1..9),
    ) {
        let text: String = lines.iter().flat_map(|line| [line, "\r\n"]).collect();
        let whole = told(&[&text, "DATA\r\n", BODY, "QUIT\r\n"]);
        let cut = Case { pieces, ..Case::new() }.run(&[&text, "DATA\r\n", BODY, "QUIT\r\n"]);
        prop_assert_eq!(&whole.client, &cut.client);
        prop_assert_eq!(&whole.inner.taken, &cut.inner.taken);
        prop_assert_eq!(&whole.inner.messages, &cut.inner.messages);
    }

    #[test]
    fn no_client_breaks_a_session(
        bytes in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40),
        null_sender in prop::sample::select(&[NullSender::Reports, NullSender::Refuse][..]),
    ) {
        let parts: Vec<Vec<u8>> = bytes.iter().map(|it| it.to_vec()).collect();
        let mut case = Case::new();
        case.settings.null_sender = null_sender;
        let said = b"220 inner\r\n".to_vec();
        let mut ends = Ends { parts, pieces: vec![], at: 0, sent: vec![], inner: case.inner, said, free: true };
        let _ = Session::new(&case.settings, &mut ends, &case.books).run(&case.introduction);
        prop_assert!(ends.inner.taken.iter().all(|line| !line.to_ascii_uppercase().contains("EMST")));
        prop_assert!(ends.inner.messages.iter().all(|it| !it.0.iter().any(|line| line.contains("paid@"))));
    }
}

/// A purpose that no key signs by mistake.
#[test]
fn tokens_of_these_tests_are_those_of_meters() {
    let line = emst("id1", "paid@x.example", 3, RAW);
    let pay = Pay::parse(line.trim_end()).unwrap();
    assert!(SecretKey::from_random(&[1; 32]).public().verify(&pay.token, Purpose::Meter));
}
