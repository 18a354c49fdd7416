//! Tokens that are not accepted, and clients that cannot pay.

use super::{Client, HELP, Sides, message};
use crate::support::smtp_server::{Mode, SmtpServer};
use data_encoding::HEXLOWER;
use mailstamp::emstamp::id::IdKey;
use mailstamp::message::address::Address;
use mailstamp::os::clock;
use serde_json::Value;
use std::fs;

const PRICED: &str = "client_address = \"none\"\nprice = 3\n";

// E12, E14, E15: another server's ID, another mailbox, message or payee, an end that is over, a licence that is not known
#[test]
fn no_other_token_pays() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    let gateway = sides.gateway(&inner.address(), PRICED);
    let text = message(1);
    let mut client = Client::connect(&gateway);
    let offers = client.begin(&["alice@x.example", "bob@x.example"]);
    let to = "alice@x.example";
    let key = fs::read_to_string(sides.payee.home.state().join("bank/id-keys.json")).unwrap();
    let key: Value = serde_json::from_str(&key).unwrap();
    let key = HEXLOWER.decode(key["keys"][0]["key"].as_str().unwrap().as_bytes()).unwrap();
    let issue = |key: [u8; 32], end: i64| {
        let id =
            IdKey::from_random(&key).issue([9; 8], clock::now().plus(end), &Address::parse(to).unwrap(), 3).unwrap();
        super::Offer { id: id.to_string(), end: clock::now().plus(end).0, ..offers[0].clone() }
    };
    let ended = issue(key.clone().try_into().unwrap(), -5);
    let foreign = issue([7; 32], 3_600);
    for (pay, code, said) in [
        (sides.payer.pay(&offers[1], to, &text), 550, "5.7.15 not an ID of this server"),
        (sides.payer.pay(&foreign, to, &text), 550, "5.7.15 not an ID of this server"),
        (sides.payer.pay(&ended, to, &text), 550, "5.7.15 the ID has ended"),
        (sides.payer.pay(&offers[0], "carol@x.example", &text), 550, "5.7.1 "),
        (
            sides.payer.pay_with(&offers[0], to, &text, 3, "other@stamps.example"),
            550,
            "5.7.1 the token is for another payee",
        ),
        (sides.payer.pay_with(&offers[0], to, &text, 3, "x-example@other.example"), 550, "5.7.1 "),
        (sides.payer.pay(&super::Offer { end: offers[0].end - 1, ..offers[0].clone() }, to, &text), 550, "5.7.1 "),
        (sides.payer.pay(&offers[0], to, &text).replace("v4.public.ey", "v4.public.eX"), 550, "5.7.1 "),
        ("EMST x".to_owned(), 501, "5.5.4"),
    ] {
        let reply = client.says(&pay, code);
        assert!(reply.contains(said), "{said}: {reply}");
    }
    client.says("DATA", 554);
    client.says("RSET", 250);
    // A token of another message is found out after the dot.
    let offers = client.begin(&[to]);
    client.says(&sides.payer.pay(&offers[0], to, &message(2)), 250);
    assert!(client.text(&text).starts_with("550 5.7.1 a token of this message is for another message"));
    assert_eq!((inner.count(), sides.received()), (0, 0));
    // That ID was never used.
    client.begin(&[to]);
    client.says(&sides.payer.pay(&offers[0], to, &text), 250);
    assert!(client.text(&text).starts_with("250"));
    sides.settle(3);
}

// A directory that does not list the licence yet is no refusal
#[test]
fn a_licence_that_is_not_listed_waits() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    let gateway = sides.gateway(&inner.address(), PRICED);
    fs::remove_file(sides.payee.directory()).unwrap();
    let text = message(1);
    let mut client = Client::connect(&gateway);
    let offers = client.begin(&["alice@x.example"]);
    let pay = sides.payer.pay(&offers[0], "alice@x.example", &text);
    assert!(client.says(&pay, 451).contains("4.7.1"));
    sides.payee.learn(&sides.shop);
    client.says(&pay, 250);
    assert!(client.text(&text).starts_with("250"));
    sides.settle(3);
}

// What one licence owes is bounded until the agency has cleared it
#[test]
fn exposure_is_bounded_and_freed_by_clearing() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    let gateway = sides.gateway(&inner.address(), &format!("{PRICED}meter_exposure = 7\n"));
    let mut client = Client::connect(&gateway);
    let mut pay = |number: u32, code: u16| {
        let text = message(number);
        let offers = client.begin(&["alice@x.example"]);
        client.says(&sides.payer.pay(&offers[0], "alice@x.example", &text), code);
        if code == 250 {
            assert!(client.text(&text).starts_with("250"));
        } else {
            client.says("RSET", 250);
        }
    };
    // The gateway clears by itself 5 seconds after its start, if the agency answers.
    sides.shop.stop();
    pay(1, 250);
    pay(2, 250);
    pay(3, 451);
    sides.shop.signal("-CONT");
    sides.payee.run("bank clear").exits(0);
    pay(3, 250);
    sides.settle(9);
}

// E10, E11: a client without the extension is told the price, or served as ever
#[test]
fn a_client_that_cannot_pay_is_refused_or_served() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    for (more, code) in [("", 550), ("close_unaware = true\n", 421)] {
        let gateway = sides.gateway(&inner.address(), &format!("{PRICED}{more}"));
        let mut client = Client::connect(&gateway);
        client.says("MAIL FROM:<ann@y.example>", 250);
        let reply = client.says("RCPT TO:<alice@x.example>", code);
        assert!(reply.contains("<alice@x.example>: this mailbox asks 3 credits for a message"), "{reply}");
        assert!(reply.ends_with(&format!("see {HELP}\r\n")), "{reply}");
        if code == 421 {
            assert_eq!(client.reply(), "");
        } else {
            client.says("DATA", 554);
        }
    }
    assert_eq!(inner.count(), 0);
    // Bounces are free, unless they are refused.
    for (more, codes) in [("", [250, 354]), ("null_sender = \"refuse\"\n", [550, 554])] {
        let gateway = sides.gateway(&inner.address(), &format!("{PRICED}{more}"));
        let mut client = Client::connect(&gateway);
        client.says("MAIL FROM:<> EMSTAMP", 250);
        client.says("RCPT TO:<alice@x.example>", codes[0]);
        client.says("DATA", codes[1]);
    }
    sides.settle(0);
}

// E11: with no mail system behind, or one that is not told who connects, clients come again
#[test]
fn without_a_mail_system_behind_clients_are_deferred() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    let connect = |gateway: &super::Gateway| {
        let (code, told) = crate::support::smtp::hand_over(gateway.port(), &["alice@x.example"], b"a: b\n\nc\n");
        assert_eq!(code, 421, "{told}");
        told
    };
    // It offers no XCLIENT.
    let gateway = sides.gateway(&inner.address(), "");
    assert!(connect(&gateway).contains("is not told who connects"));
    let port = crate::support::programs::Port::reserve();
    let gateway = sides.gateway(&format!("127.0.0.1:{}", port.number()), "client_address = \"none\"\n");
    assert!(connect(&gateway).contains("does not answer"));
    assert_eq!(inner.count(), 0);
}
