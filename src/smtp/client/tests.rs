//! Tests of the client: a server's replies in, commands and results out.

use super::*;
use proptest::prelude::*;

const ALL: &str = "250-test\r\n250-PIPELINING\r\n250-SIZE 9\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-STARTTLS\r\n\
                   250 AUTH LOGIN PLAIN\r\n";

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn login() -> Login {
    Login { user: "joe".into(), password: "a word".into() }
}

/// What a client is to send, and how.
struct Order {
    sender: &'static str,
    recipient: &'static str,
    message: &'static str,
    start_tls: bool,
    login: Option<Login>,
}

impl Default for Order {
    fn default() -> Self {
        let (sender, recipient, message) = ("a@x.example", "b@y.example", "A: b\n\n.\n");
        Self { sender, recipient, message, start_tls: false, login: None }
    }
}

impl Order {
    /// What the client sends to a server that says this piece by piece, and the result. Each write is one item; TLS is
    /// one, too.
    fn send(&self, pieces: &[&str]) -> (Vec<String>, Result<bool, ClientError>) {
        let text = Text::of(&mut [self.message.as_bytes()].into_iter());
        let (sender, recipient) = (Address::parse(self.sender).ok(), address(self.recipient));
        let envelope = Envelope { sender: sender.as_ref(), recipient: &recipient, text: &text };
        let mut client = Client::new(envelope, self.start_tls, self.login.as_ref());
        let mut written = Vec::new();
        for piece in pieces {
            client.receive(piece.as_bytes());
            loop {
                let bytes = match client.step() {
                    Ok(Step::Receive) => break,
                    Ok(Step::Done) => return (written, Ok(true)),
                    Ok(Step::Send(bytes)) => bytes,
                    Ok(Step::SendText(bytes)) => bytes.to_vec(),
                    Ok(Step::StartTls) => {
                        written.push("TLS".to_owned());
                        client.protect()
                    }
                    Err(error) => return (written, Err(error)),
                };
                written.push(String::from_utf8(bytes).unwrap());
            }
        }
        (written, Ok(false))
    }
}

const EHLO: &str = "EHLO [127.0.0.1]\r\n";

#[test]
fn a_server_without_extensions_is_told_one_command_at_a_time() {
    let pieces = ["220 x\r\n", "250 x\r\n", "250 a\r\n", "250 b\r\n", "354 c\r\n", "250 d\r\n"];
    let (written, result) = Order::default().send(&pieces);
    let expected =
        [EHLO, "MAIL FROM:<a@x.example>\r\n", "RCPT TO:<b@y.example>\r\n", "DATA\r\n", "A: b\r\n\r\n..\r\n.\r\n"];
    assert_eq!((written, result), (expected.map(str::to_owned).to_vec(), Ok(true)));
}

#[test]
fn the_envelope_and_data_go_together_where_the_server_offers_it() {
    let pieces = ["220 x\r\n", ALL, "250 a\r\n250 b\r\n354 c\r\n", "250 d\r\n"];
    let order = Order { sender: "", recipient: "zoë@y.example", message: "ä", ..Order::default() };
    let (written, result) = order.send(&pieces);
    let envelope = "MAIL FROM:<> SIZE=4 BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<zoë@y.example>\r\nDATA\r\n";
    let expected = [EHLO, envelope, "ä\r\n.\r\n"];
    assert_eq!((written, result), (expected.map(str::to_owned).to_vec(), Ok(true)));
    // The message waits for the last reply, and no refusal before it is forgotten.
    let (written, result) = order.send(&["220 x\r\n", ALL, "250 a\r\n250 b\r\n"]);
    assert_eq!((written.len(), result), (2, Ok(false)));
    for refused in ["250 a\r\n550 no\r\n354 c\r\n", "550 no\r\n503 b\r\n354 c\r\n", "250 a\r\n250 b\r\n550 no\r\n"] {
        let (written, result) = order.send(&["220 x\r\n", ALL, refused]);
        assert_eq!(written.len(), 2, "{refused:?}: {written:?}");
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "answers 550: no");
        assert!(error.is_permanent() && error.is_refusal());
    }
}

#[test]
fn the_password_goes_by_plain_or_by_login() {
    let order = || Order { login: Some(login()), ..Order::default() };
    let (written, _) = order().send(&["220 x\r\n", ALL, "235 in\r\n"]);
    assert_eq!(written[1], format!("AUTH PLAIN {}\r\n", BASE64.encode(b"\0joe\0a word")));
    assert!(written[2].starts_with("MAIL "));
    for offer in ["AUTH LOGIN", "auth=login", "AUTH CRAM-MD5 LOGIN"] {
        let offer = format!("250-x\r\n250 {offer}\r\n");
        let (written, _) = order().send(&["220 x\r\n", &offer, "334 VXNlcg==\r\n", "334 x\r\n", "235 in\r\n"]);
        let expected = ["AUTH LOGIN\r\n", "am9l\r\n", "YSB3b3Jk\r\n", "MAIL FROM:<a@x.example>\r\n"];
        assert_eq!(written[1..], expected);
    }
    // The first line has the server's name.
    let (_, result) = order().send(&["220 x\r\n", "250-AUTH PLAIN\r\n250 AUTH X\r\n"]);
    assert_eq!(result, Err(ClientError::NoLogin));
    for reply in ["535 5.7.8 who are you\r\n", "504 what\r\n", "334 \r\n"] {
        let error = order().send(&["220 x\r\n", ALL, reply]).1.unwrap_err();
        assert!(!error.is_permanent(), "{error}");
    }
}

#[test]
fn starttls_comes_first_and_nothing_from_before_it_counts() {
    let order = || Order { start_tls: true, login: Some(login()), ..Order::default() };
    let (written, _) = order().send(&["220 x\r\n", ALL, "220 go\r\n", "250 x\r\n"]);
    assert_eq!(written, [EHLO, "STARTTLS\r\n", "TLS", EHLO]);
    let (_, result) = order().send(&["220 x\r\n", ALL, "220 go\r\n", "250-x\r\n250 SIZE\r\n"]);
    assert_eq!(result, Err(ClientError::NoLogin));
    assert_eq!(order().send(&["220 x\r\n", "250-x\r\n250 AUTH PLAIN\r\n"]).1, Err(ClientError::NoStartTls));
    for injected in ["220 go\r\n250 x\r\n", "220 go\r\n2", "220 go\r\n\r\n"] {
        let (written, result) = order().send(&["220 x\r\n", ALL, injected]);
        assert_eq!((written.len(), result), (2, Err(ClientError::Injected)), "{injected:?}");
    }
    let error = order().send(&["220 x\r\n", ALL, "554 no\r\n"]).1.unwrap_err();
    assert!(!error.is_permanent() && !error.is_refusal());
}

#[test]
fn only_a_word_on_the_message_is_final() {
    let to_text = |reply: &str| {
        let pieces = ["220 x\r\n", ALL, "250 a\r\n250 b\r\n354 c\r\n", reply];
        Order::default().send(&pieces).1.unwrap_err()
    };
    for (reply, permanent, refusal) in [
        ("554 5.7.1 spam\r\n", true, true),
        ("530 5.7.0 log in\r\n", false, true),
        ("451 later\r\n", false, true),
        ("354 more\r\n", false, false),
        ("hello\r\n", false, false),
    ] {
        let error = to_text(reply);
        assert_eq!((error.is_permanent(), error.is_refusal()), (permanent, refusal), "{error}");
    }
    let (_, result) = Order::default().send(&["554 go away\r\n"]);
    assert!(!result.unwrap_err().is_permanent(), "it is about the connection");
    let bare = ["220 x\r\n", "250 x\r\n"];
    let message = Order { message: "ä", ..Order::default() };
    assert_eq!(message.send(&bare).1, Err(ClientError::No8BitMime));
    let utf8 = Order { recipient: "zoë@y.example", ..Order::default() };
    assert_eq!(utf8.send(&bare).1, Err(ClientError::NoSmtpUtf8));
    assert!(ClientError::No8BitMime.is_permanent() && !ClientError::No8BitMime.is_refusal());
}

const PIECE: &str = "(220|250|354|235|334|550|5)?(-| )?(x|SIZE|AUTH PLAIN|PIPELINING|STARTTLS)?\r?\n?";

proptest! {
    #[test]
    fn no_answer_breaks_a_client(pieces in prop::collection::vec(PIECE, 0..20), start_tls: bool) {
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let (written, _) = Order { start_tls, login: Some(login()), ..Order::default() }.send(&pieces);
        let open = written.iter().take_while(|it| start_tls && *it != "TLS");
        prop_assert!(open.into_iter().all(|it| it.starts_with("EHLO ") || it == "STARTTLS\r\n"));
    }
}
