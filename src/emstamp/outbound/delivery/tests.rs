//! Tests of the connection to a server: its replies in, commands and answers out.

use super::*;
use crate::stamp::signing::SecretKey;
use crate::stamp::token::Purpose;
use proptest::prelude::*;

const ALL: &str =
    "250-mx\r\n250-PIPELINING\r\n250-SIZE 9\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 EMSTAMP 1\r\n";
const EHLO: &str = "EHLO out.x.example\r\n";

fn offer(price: u64, id: &str) -> String {
    format!("250-2.1.5 ok\r\n250 2.1.5 EMSTAMP price={price} id={id} end=1796126400 payee=y@agency.example\r\n")
}

fn pay(id: &str, credits: u64) -> Pay {
    let token = SecretKey::from_random(&[1; 32]).sign(b"{}", b"{}", Purpose::Meter);
    Pay { id: Serial::new(id).unwrap(), credits, token }
}

fn line(id: &str, credits: u64) -> String {
    pay(id, credits).line().unwrap() + "\r\n"
}

/// A message, and what the gateway decides about offers.
struct Order {
    sender: &'static str,
    recipients: Vec<String>,
    parameters: &'static str,
    /// The ID by which a report is known.
    id: Option<&'static str>,
    message: &'static str,
    start_tls: bool,
    /// The ID of an earlier token, which is shown first.
    earlier: Option<&'static str>,
    /// The most credits that are paid.
    most: u64,
}

impl Default for Order {
    fn default() -> Self {
        let recipients = ["b@y.example", "c@y.example"].map(str::to_owned).to_vec();
        let (sender, parameters, message) = ("a@x.example", "", "A: b\n\n.\n");
        Self { sender, recipients, parameters, id: None, message, start_tls: false, earlier: None, most: 10 }
    }
}

#[derive(Debug, PartialEq)]
struct Sent {
    /// Each write is one item; TLS is one, too.
    written: Vec<String>,
    questions: Vec<Question>,
    error: Option<ClientError>,
    is_undecided: bool,
    is_over: bool,
    /// The code and status of each recipient, and what was paid.
    each: Vec<(String, Option<u64>)>,
}

impl Order {
    fn send<T: AsRef<[u8]>>(&self, pieces: &[T]) -> Sent {
        let text = Text::of(&mut [self.message.as_bytes()].into_iter());
        let sender = Address::parse(self.sender).ok();
        let addresses: Vec<Address> = self.recipients.iter().map(|it| Address::parse(it).unwrap()).collect();
        let parameters = MailParameters::parse(self.parameters).unwrap();
        let notifications = if self.parameters.is_empty() { "" } else { " NOTIFY=NEVER" };
        let envelope = Envelope {
            name: "out.x.example",
            host: "mx",
            sender: sender.as_ref(),
            parameters: &parameters,
            id: self.id.map(|id| Serial::new(id).unwrap()),
            is_utf8_header: false,
            recipients: addresses.iter().map(|address| Recipient { address, notifications }).collect(),
            text: &text,
        };
        let mut delivery = Delivery::new(envelope, self.start_tls);
        let (mut written, mut questions, mut error) = (Vec::new(), Vec::new(), None);
        'pieces: for piece in std::iter::once(&b""[..]).chain(pieces.iter().map(AsRef::as_ref)) {
            delivery.receive(piece);
            loop {
                match delivery.step() {
                    Ok(Step::Receive) => break,
                    Ok(Step::Done) if delivery.is_over() => break 'pieces,
                    Ok(Step::Done) => {
                        let asked = delivery.questions();
                        delivery.decide(asked.iter().map(|it| (it.recipient, self.choose(it))).collect());
                        questions.extend(asked);
                    }
                    Ok(Step::Send(bytes)) => written.push(String::from_utf8(bytes).unwrap()),
                    Ok(Step::SendText(bytes)) => written.push(String::from_utf8(bytes.to_vec()).unwrap()),
                    Ok(Step::StartTls) => {
                        written.push("TLS".to_owned());
                        written.push(String::from_utf8(delivery.protect()).unwrap());
                    }
                    Err(found) => {
                        error = Some(found);
                        break 'pieces;
                    }
                }
            }
        }
        let (is_undecided, is_over) = (delivery.is_undecided(), delivery.is_over());
        delivery.fail(&Answer::own(451, "4.4.2", "lost"));
        let each = delivery.outcome().into_iter().map(|(it, paid)| (format!("{} {}", it.code, it.enhanced), paid));
        Sent { written, questions, error, is_undecided, is_over, each: each.collect() }
    }

    fn choose(&self, question: &Question) -> Choice {
        if question.offer.price > self.most {
            return Choice::Leave(Answer::own(550, "5.7.1", "too much"));
        }
        let id = self.earlier.filter(|_| !question.renews).unwrap_or(question.offer.id.as_str());
        Choice::Pay(pay(id, question.offer.price))
    }

    /// What the server says to the end of the message, with these replies to RCPT and EMST.
    fn after(&self, recipients: &str, paid: &[&str]) -> Sent {
        let envelope = format!("250 2.1.0 ok\r\n{recipients}");
        let begin = ["220 x\r\n", ALL, &envelope];
        let end = ["354 go\r\n", "250 2.0.0 taken\r\n"];
        self.send(&begin.iter().chain(paid).chain(&end).collect::<Vec<_>>())
    }
}

fn each(codes: &[(&str, Option<u64>)]) -> Vec<(String, Option<u64>)> {
    codes.iter().map(|(code, paid)| ((*code).to_owned(), *paid)).collect()
}

const TAKEN: (&str, Option<u64>) = ("250 2.0.0", None);
const LOST: (&str, Option<u64>) = ("451 4.4.2", None);
const TEXT: &str = "A: b\r\n\r\n..\r\n.\r\n";
const ENVELOPE: &str = "MAIL FROM:<a@x.example> SIZE=11 EMSTAMP\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<c@y.example>\r\n";

#[test]
fn each_priced_recipient_is_paid_before_data() {
    let recipients = offer(3, "one") + &offer(5, "two");
    let sent = Order::default().after(&recipients, &["250 2.1.5 paid\r\n250 2.1.5 paid\r\n"]);
    let pays = line("one", 3) + &line("two", 5);
    assert_eq!(sent.written, [EHLO, ENVELOPE, pays.as_str(), "DATA\r\n", TEXT]);
    assert_eq!(sent.each, each(&[("250 2.0.0", Some(3)), ("250 2.0.0", Some(5))]));
    assert_eq!(sent.questions.iter().map(|it| it.renews).collect::<Vec<_>>(), [false, false]);
    // A free one needs no payment, and a refused one gets none.
    let sent = Order::default().after("250 2.1.5 ok\r\n550 5.1.1 who\r\n", &[]);
    assert_eq!(sent.written, [EHLO, ENVELOPE, "DATA\r\n", TEXT]);
    assert_eq!(sent.each, each(&[TAKEN, ("550 5.1.1", None)]));
    assert_eq!(sent.questions, []);
}

#[test]
fn a_message_has_an_id_for_reports_where_they_are_offered() {
    let dsn = ["220 x\r\n", "250-x\r\n250 DSN\r\n"];
    for (parameters, expected) in [
        ("", "MAIL FROM:<a@x.example> RET=HDRS ENVID=our\r\n"),
        (" RET=FULL", "MAIL FROM:<a@x.example> RET=FULL ENVID=our\r\n"),
        (" ENVID=e", "MAIL FROM:<a@x.example> ENVID=e\r\n"),
    ] {
        let order = Order { parameters, id: Some("our"), ..Order::default() };
        assert_eq!(order.send(&dsn).written[1], expected);
        assert_eq!(order.send(&["220 x\r\n", "250 x\r\n"]).written[1], "MAIL FROM:<a@x.example>\r\n");
    }
}

#[test]
fn no_word_is_sent_that_was_not_offered() {
    let plain =
        ["220 x\r\n", "250 EMSTAMP 1\r\n", "250 a\r\n", &offer(3, "one"), "250 b\r\n", "354 go\r\n", "250 taken\r\n"];
    let order = Order { parameters: " RET=HDRS ENVID=e", ..Order::default() };
    let sent = order.send(&plain);
    let expected = [
        EHLO,
        "MAIL FROM:<a@x.example>\r\n",
        "RCPT TO:<b@y.example>\r\n",
        "RCPT TO:<c@y.example>\r\n",
        "DATA\r\n",
        TEXT,
    ];
    assert_eq!((sent.written, sent.questions.len()), (expected.map(str::to_owned).to_vec(), 0));
    assert_eq!(sent.each, each(&[TAKEN, TAKEN]));
    // Another version is not this one.
    let sent = order.send(&["220 x\r\n", "250-x\r\n250-EMSTAMP 2\r\n250 DSN\r\n"]);
    assert_eq!(sent.written[1], "MAIL FROM:<a@x.example> RET=HDRS ENVID=e\r\n");
    let sent = order.send(&["220 x\r\n", "250-x\r\n250-emstamp 2 1\r\n250 DSN\r\n", "250 ok\r\n"]);
    assert_eq!(sent.written[1], "MAIL FROM:<a@x.example> RET=HDRS ENVID=e EMSTAMP\r\n");
    assert_eq!(sent.written[2], "RCPT TO:<b@y.example> NOTIFY=NEVER\r\n");
    // What was offered before TLS counts no longer.
    let tls = "250-x\r\n250-EMSTAMP 1\r\n250 STARTTLS\r\n";
    let order = Order { start_tls: true, sender: "", ..Order::default() };
    let sent = order.send(&["220 x\r\n", tls, "220 go\r\n", "250 x\r\n"]);
    assert_eq!(sent.written, [EHLO, "STARTTLS\r\n", "TLS", EHLO, "MAIL FROM:<>\r\n"]);
}

#[test]
fn tls_comes_first_or_nothing() {
    let order = Order { start_tls: true, ..Order::default() };
    let sent = order.send(&["220 x\r\n", ALL]);
    assert_eq!((sent.written.len(), sent.error), (1, Some(ClientError::NoStartTls)));
    let offers = ALL.replace("DSN", "STARTTLS");
    for injected in ["220 go\r\n250 x\r\n", "220 go\r\n2"] {
        let sent = order.send(&["220 x\r\n", &offers, injected]);
        assert_eq!((sent.written.len(), sent.error), (2, Some(ClientError::Injected)));
    }
    for (reply, at) in [("554 no\r\n", 0), ("421 no\r\n", 1), ("454 no\r\n", 2), ("502 no\r\n", 1)] {
        let replies = ["220 x\r\n", &offers, "220 go\r\n"];
        let sent = order.send(&replies.iter().take(at).copied().chain([reply]).collect::<Vec<_>>());
        assert!(matches!(sent.error, Some(ClientError::Session(_))), "{sent:?}");
        assert_eq!(sent.each, each(&[LOST, LOST]));
    }
}

// E12: an ID that the server does not want is replaced once
#[test]
fn a_refused_id_is_replaced_by_the_newest_once() {
    let (renew, paid) = ("550 5.7.15 take a new one\r\n", "250 2.1.5 paid\r\n");
    let order = || Order { earlier: Some("old"), recipients: vec!["b@y.example".into()], ..Order::default() };
    let sent = order().after(&offer(3, "new"), &[renew, paid]);
    assert_eq!(sent.written[2..], [line("old", 3), line("new", 3), "DATA\r\n".into(), TEXT.into()]);
    assert_eq!(sent.questions.iter().map(|it| it.renews).collect::<Vec<_>>(), [false, true]);
    assert_eq!(sent.each, each(&[("250 2.0.0", Some(3))]));
    // Refused again, it waits.
    let sent = order().after(&offer(3, "new"), &[renew, renew]);
    assert_eq!((sent.written.len(), sent.each), (4, each(&[("451 4.7.1", None)])));
    // So does the newest when it is shown first.
    let fresh = Order { earlier: None, ..order() };
    let sent = fresh.after(&offer(3, "new"), &[renew]);
    assert_eq!((sent.written.len(), sent.each), (3, each(&[("451 4.7.1", None)])));
    // A higher price of the newest is the caller's to refuse.
    let sent = Order { most: 2, ..order() }.after(&offer(3, "new"), &[]);
    assert_eq!((sent.written.len(), sent.each), (2, each(&[("550 5.7.1", None)])));
    // The same token is shown again, where the server wants that.
    let sent = order().after(&offer(3, "new"), &["250 2.1.5 again\r\n"]);
    assert_eq!(sent.written[2..], [line("old", 3), "DATA\r\n".into(), TEXT.into()]);
}

#[test]
fn every_reply_to_a_payment_has_its_answer() {
    for (reply, answer) in [
        ("250 2.1.5 paid", "250 2.0.0"),
        ("550 5.7.15 no", "451 4.7.1"),
        ("550 5.7.1 bad token", "550 5.7.1"),
        ("550 no", "550 5.0.0"),
        ("500 5.5.2 too long", "500 5.5.2"),
        ("501 5.5.4 form", "501 5.5.4"),
        ("503 5.5.1 misplaced", "503 5.5.1"),
        ("451 4.7.1 exposure", "451 4.7.1"),
        ("421 4.3.2 closing", "451 4.7.1"),
        ("452 what", "451 4.7.1"),
        ("251 what", "451 4.7.1"),
        ("354 what", "451 4.7.1"),
        ("599 what", "599 5.0.0"),
    ] {
        let recipients = offer(3, "one") + "250 2.1.5 free\r\n";
        let sent = Order::default().after(&recipients, &[&format!("{reply}\r\n")]);
        let paid = (answer == "250 2.0.0").then_some(3);
        assert_eq!(sent.each, each(&[(answer, paid), TAKEN]), "{reply}");
        assert_eq!(sent.written[2..], [line("one", 3), "DATA\r\n".into(), TEXT.into()]);
        // Without another recipient there is no DATA.
        let alone = Order { recipients: vec!["b@y.example".into()], ..Order::default() };
        let sent = alone.after(&offer(3, "one"), &[&format!("{reply}\r\n")]);
        assert_eq!((sent.written.len(), sent.is_over), (if paid.is_some() { 5 } else { 3 }, true), "{reply}");
    }
}

#[test]
fn a_malformed_offer_is_a_temporary_failure_of_its_recipient() {
    for wrong in ["price=0 id=a", "price=3", "price=3 id=a end=1 payee=Y@agency.example"] {
        let sent = Order::default().after(&format!("250 2.1.5 EMSTAMP {wrong}\r\n250 2.1.5 ok\r\n"), &[]);
        assert_eq!(sent.each, each(&[("451 4.5.0", None), TAKEN]), "{wrong}");
    }
}

#[test]
fn a_refusal_of_the_whole_message_is_that_of_each_recipient() {
    let order = Order::default();
    for (replies, answer) in [
        (vec!["550 5.1.8 bad sender\r\n503 a\r\n503 b\r\n"], "550 5.1.8"),
        (vec!["452 4.3.1 full\r\n250 a\r\n250 b\r\n"], "452 4.3.1"),
        (vec!["250 a\r\n250 a\r\n250 b\r\n", "451 4.3.0 later\r\n"], "451 4.3.0"),
        (vec!["250 a\r\n250 a\r\n250 b\r\n", "250 what\r\n"], "250 2.0.0"),
        (vec!["250 a\r\n250 a\r\n250 b\r\n", "354 go\r\n", "550 5.7.1 spam\r\n"], "550 5.7.1"),
        (vec!["250 a\r\n250 a\r\n250 b\r\n", "354 go\r\n", "354 more\r\n"], "451 4.0.0"),
    ] {
        let begin = ["220 x\r\n", ALL];
        let sent = order.send(&begin.iter().chain(&replies).collect::<Vec<_>>());
        // A positive reply to DATA that is not 354 is no success.
        let answer = if answer == "250 2.0.0" { "451 4.0.0" } else { answer };
        assert_eq!(sent.each, each(&[(answer, None), (answer, None)]), "{replies:?}");
        assert!(sent.is_over && !sent.is_undecided);
    }
}

#[test]
fn after_the_dot_a_lost_connection_decides_nothing() {
    let begin = ["220 x\r\n", ALL, "250 a\r\n250 a\r\n550 5.1.1 b\r\n", "354 go\r\n"];
    let sent = Order::default().send(&begin);
    assert!(sent.is_undecided && !sent.is_over);
    assert_eq!(sent.each, each(&[LOST, ("550 5.1.1", None)]));
}

#[test]
fn characters_that_the_server_does_not_take_are_refused() {
    let bare = ["220 x\r\n", "250 x\r\n"];
    let sent = Order { message: "ä", ..Order::default() }.send(&bare);
    assert_eq!((sent.written.len(), sent.each), (1, each(&[("554 5.6.3", None); 2])));
    let sent = Order { sender: "zoë@x.example", ..Order::default() }.send(&bare);
    assert_eq!(sent.each, each(&[("554 5.6.7", None); 2]));
    let recipients = ["zoë@y.example", "c@y.example"].map(str::to_owned).to_vec();
    let order = Order { recipients, ..Order::default() };
    let plain = ["220 x\r\n", "250 x\r\n", "250 a\r\n", "250 b\r\n", "354 go\r\n", "250 taken\r\n"];
    assert_eq!(order.send(&plain).each, each(&[("550 5.6.7", None), TAKEN]));
    let sent = order.send(&["220 x\r\n", ALL]);
    let envelope = "MAIL FROM:<a@x.example> SIZE=11 SMTPUTF8 EMSTAMP\r\nRCPT TO:<zoë@y.example>\r\n";
    assert!(sent.written[1].starts_with(envelope), "{:?}", sent.written);
}

#[test]
fn a_thousand_recipients_go_in_groups() {
    let recipients: Vec<String> = (0..1_000).map(|number| format!("r{number}@y.example")).collect();
    let order = Order { recipients, ..Order::default() };
    let mut pieces: Vec<String> = vec!["220 x\r\n".into(), ALL.into(), "250 ok\r\n".into()];
    pieces.extend((0..1_000).map(|number| offer(1, &format!("id{number}"))));
    pieces.extend(vec!["250 2.1.5 paid\r\n".to_owned(); 1_000]);
    pieces.extend(["354 go\r\n".into(), "250 taken\r\n".into()]);
    let sent = order.send(&pieces);
    assert!(sent.each.iter().all(|it| *it == ("250 2.0.0".to_owned(), Some(1))));
    let groups = sent.written.iter().map(|it| it.matches("\r\n").count());
    assert!(groups.clone().all(|count| count <= WINDOW));
    assert!(groups.count() < 45, "{}", sent.written.len());
}

const PIECE: &str = "(220|250|354|550|450|5)?(-| )?(5\\.7\\.15|2\\.1\\.5 EMSTAMP price=3 id=a end=9 payee=a@b\\.example\
                     |x|SIZE|PIPELINING|STARTTLS|EMSTAMP 1|EMSTAMP 2)?\r?\n?";

proptest! {
    #[test]
    fn no_reply_breaks_a_connection(pieces in prop::collection::vec(PIECE, 0..30), start_tls: bool) {
        let order = Order { start_tls, earlier: Some("old"), ..Order::default() };
        let sent = order.send(&pieces);
        let open = sent.written.iter().take_while(|it| start_tls && *it != "TLS");
        prop_assert!(open.into_iter().all(|it| it.starts_with("EHLO ") || it == "STARTTLS\r\n"));
        let said = pieces.concat();
        let at = |text: &str| sent.written.iter().position(|it| it.contains(text));
        if !said.contains("EMSTAMP 1") {
            prop_assert!(at(" EMSTAMP\r\n").is_none() && at("EMST ").is_none());
        }
        prop_assert!(at("EMST ").is_none() || at(" EMSTAMP\r\n") < at("EMST "));
        prop_assert!(at(TEXT).is_none() || said.contains("354") && at("DATA\r\n") < at(TEXT));
        prop_assert!(!sent.each.iter().any(|(code, _)| code.starts_with("250")) || at(TEXT).is_some());
        prop_assert!(sent.written.iter().filter(|it| it.starts_with("EMST")).count() <= 2);
    }

    #[test]
    fn pieces_are_read_as_the_whole(
        pieces in prop::collection::vec(PIECE, 0..30), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let order = Order { earlier: Some("old"), ..Order::default() };
        let good = ["220 x\r\n", ALL, "250 ok\r\n", &offer(3, "one"), &offer(3, "two"), "550 5.7.15 a\r\n", "250 b\r\n"];
        for input in [pieces.concat(), good.concat() + &pieces.concat()] {
            let whole = order.send(&[&input]);
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            places.sort_unstable();
            let (mut parts, mut begin) = (Vec::new(), 0);
            for place in places {
                parts.push(&input.as_bytes()[begin..place]);
                begin = place;
            }
            parts.push(&input.as_bytes()[begin..]);
            prop_assert_eq!(order.send(&parts), whole);
        }
    }
}
