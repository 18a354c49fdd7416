//! Mail that is paid for: delivered without its token, credited once, whatever is sent again and whatever is killed.

use super::{Client, Gateway, HELP, Host, Sides, eventually_received, message, offer, stuffed};
use crate::support::programs::{eventually, eventually_or};
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::submission::{self, Certificates};
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use std::collections::BTreeSet;
use std::thread;

const PRICED: &str = "client_address = \"none\"\nprice = 3\n";

// E4, E5, E8, E9, E14: offers for each mailbox, a message with its token, credits in the bank, and no token inside
#[test]
fn a_paid_message_is_delivered_and_credited() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    let gateway = sides.gateway(&inner.address(), PRICED);
    let mut client = Client::connect(&gateway);
    let text = message(1);
    let offers = client.begin(&["alice@x.example", "bob@x.example"]);
    assert!(offers.iter().all(|it| it.price == 3 && it.id.len() == 38 && it.payee == "x-example@stamps.example"));
    assert_ne!(offers[0].id, offers[1].id);
    for (offer, to) in offers.iter().zip(["alice@x.example", "bob@x.example"]) {
        assert!(client.says(&sides.payer.pay(offer, to, &text), 250).contains("2.1.5 paid"));
    }
    assert!(client.text(&text).starts_with("250 taken"));
    assert_eq!(sides.received(), 6);
    let (envelope, taken) = inner.last();
    let expected = "MAIL FROM:<ann@y.example>\nRCPT TO:<alice@x.example>\nRCPT TO:<bob@x.example>\n";
    assert_eq!((envelope.as_str(), taken.as_str()), (expected, text.as_str()));
    client.says("QUIT", 221);
    gateway.end();
    sides.settle(6);
}

// Its account has too few credits for the licence that is configured
#[test]
fn a_gateway_without_credits_is_paid_all_the_same() {
    let mut sides = Sides::new();
    let ledger = sides.shop.ledger();
    let account = ops::OpenAccount { name: "poor".into(), contact: "p@x.example".into(), caps: None };
    let number = ledger.run(account, clock::now()).unwrap().number;
    let (key, _) = ledger.add_api_key(number, "gateway", clock::now()).unwrap();
    sides.payee = Host::unlicensed(&sides.shop, key.as_str());
    sides.payee.learn(&sides.shop);
    let inner = SmtpServer::start(Mode::Take);
    let gateway = Gateway::start_with(&sides.payee.home, "license = 100\n", &inner.address(), PRICED);
    let licenses = sides.payee.bank.balance().unwrap().licenses;
    assert_eq!(licenses.iter().map(|it| it.license.limit).collect::<Vec<_>>(), [0]);
    let mut client = Client::connect(&gateway);
    let text = message(1);
    let offers = client.begin(&["alice@x.example"]);
    client.says(&sides.payer.pay(&offers[0], "alice@x.example", &text), 250);
    assert!(client.text(&text).starts_with("250"));
    let log = std::fs::read_to_string(sides.payee.home.file("gateway-log")).unwrap();
    assert!(log.contains("clearing: shop: not enough credits"), "{log}");
    gateway.end();
    sides.settle(3);
}

// Another one signs, and its answer says so: the operator hears it, and there is a new one at once
#[test]
fn a_licence_that_the_agency_revoked_is_replaced_at_once() {
    let sides = Sides::new();
    let (payer, ledger) = (&sides.payer, sides.shop.ledger());
    payer.run("bank license 50 --days 6").exits(0);
    let kid = payer.kid.clone();
    ledger.run(ops::EndLicense { kid: kid.clone(), account: None }, clock::now()).unwrap();
    let inner = SmtpServer::start(Mode::Take);
    let gateway = Gateway::start_with(&payer.home, "license = 4000\n", &inner.address(), PRICED);
    let log = || std::fs::read_to_string(payer.home.file("gateway-log")).unwrap();
    eventually_or("a licence", || log().contains(" for 4000 credits").then_some(()), log);
    assert!(log().contains(&format!("clearing: licence {kid}: the agency revoked or closed it")), "{}", log());
    let live = payer.bank.balance().unwrap().licenses.into_iter().filter(|it| it.license.signs_at(clock::now()));
    assert_eq!(live.map(|it| it.license.limit).collect::<Vec<_>>(), [50, 4_000]);
    gateway.end();
    assert_eq!(payer.bank.audit(None).unwrap().problems, Vec::<String>::new());
    sides.shop.audit();
}

// E16: more than the price is taken, and counts
#[test]
fn more_than_the_price_counts_and_less_does_not() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    let gateway = sides.gateway(&inner.address(), PRICED);
    let mut client = Client::connect(&gateway);
    let text = message(1);
    let offers = client.begin(&["alice@x.example"]);
    let pay = |credits| sides.payer.pay_with(&offers[0], "alice@x.example", &text, credits, &offers[0].payee);
    assert!(client.says(&pay(2), 550).contains("2 credits, and the mailbox asks 3"));
    client.says(&pay(5), 250);
    assert!(client.text(&text).starts_with("250"));
    sides.settle(5);
}

// E16, E17, E18: the price of a mailbox's holder, else the administrator's
#[test]
fn each_mailbox_has_a_price_of_its_own() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    let prices = sides.payee.home.file("prices");
    let more = format!("{PRICED}prices = {:?}\n", prices.to_str().unwrap());
    let gateway = sides.gateway(&inner.address(), &more);
    let config = sides.payee.home.config().display().to_string();
    for (mailbox, price) in [("one@x.example", "1"), ("nine@x.example", "9"), ("free@x.example", "0")] {
        sides.payee.run(&format!("--config {config} price set {price} --address {mailbox}")).exits(0);
    }
    let mut client = Client::connect(&gateway);
    client.says("MAIL FROM:<ann@y.example> EMSTAMP", 250);
    for (mailbox, price) in [
        ("one@x.example", Some(1)),
        ("Nine@X.example", Some(9)),
        ("nine+tag@x.example", Some(9)),
        ("alice@x.example", Some(3)),
        ("free@x.example", None),
    ] {
        let reply = client.says(&format!("RCPT TO:<{mailbox}>"), 250);
        assert_eq!(reply.contains("EMSTAMP").then(|| offer(&reply).price), price, "{mailbox}: {reply}");
    }
    sides.payee.run(&format!("--config {config} price unset --address nine@x.example")).exits(0);
    assert_eq!(offer(&client.says("RCPT TO:<nine+other@x.example>", 250)).price, 3);
}

// E15: the same line again, on the same connection and on others
#[test]
fn a_message_that_is_sent_again_is_paid_and_delivered_once() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    let gateway = sides.gateway(&inner.address(), PRICED);
    let text = message(1);
    let mut client = Client::connect(&gateway);
    let first = client.begin(&["alice@x.example"]).remove(0);
    let pay = sides.payer.pay(&first, "alice@x.example", &text);
    client.says(&pay, 250);
    assert!(client.text(&text).starts_with("250"));
    for _ in 0..3 {
        client.begin(&["alice@x.example"]);
        assert!(client.says(&pay, 250).contains("again"));
        assert!(client.text(&text).contains("paid and delivered before"));
        client = Client::connect(&gateway);
    }
    // Another ID for the same message is paid once, too.
    let second = client.begin(&["alice@x.example"]).remove(0);
    client.says(&sides.payer.pay(&second, "alice@x.example", &text), 250);
    assert!(client.text(&text).contains("paid and delivered before"));
    // The ID is good for no other message, and no other mailbox.
    client.begin(&["alice@x.example", "bob@x.example"]);
    assert!(client.says(&sides.payer.pay(&first, "alice@x.example", &message(2)), 550).contains("another message"));
    assert!(client.says(&sides.payer.pay(&first, "bob@x.example", &text), 550).contains("another message"));
    assert_eq!((inner.count(), sides.received()), (1, 3));
    sides.settle(3);
}

// E15: one ID for two messages, at once
#[test]
fn an_id_on_two_connections_at_once_pays_one_message() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    let gateway = sides.gateway(&inner.address(), PRICED);
    for round in 0..5 {
        let offer = Client::connect(&gateway).begin(&["alice@x.example"]).remove(0);
        let replies: Vec<String> = thread::scope(|scope| {
            let send = |number: u32| {
                let (text, mut client) = (message(number), Client::connect(&gateway));
                client.begin(&["alice@x.example"]);
                client.write(format!("{}\r\n", sides.payer.pay(&offer, "alice@x.example", &text)).as_bytes());
                let paid = client.reply();
                if paid.starts_with("250") { client.text(&text) } else { paid }
            };
            let both = [2 * round, 2 * round + 1].map(|number| scope.spawn(move || send(number)));
            both.map(|it| it.join().unwrap()).into()
        });
        let codes: BTreeSet<&str> = replies.iter().map(|reply| &reply[..3]).collect();
        assert_eq!(codes, BTreeSet::from(["250", "550"]), "{replies:?}");
    }
    assert_eq!((inner.count(), sides.received()), (5, 15));
    sides.settle(15);
}

// E5: what is not delivered is not paid, and the token is good for the same message later
#[test]
fn a_message_that_is_refused_inside_costs_nothing() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Partly);
    let gateway = sides.gateway(&inner.address(), PRICED);
    let text = message(1);
    let mut client = Client::connect(&gateway);
    client.says("MAIL FROM:<ann@y.example> EMSTAMP", 250);
    let unknown = client.says("RCPT TO:<gone@x.example>", 550);
    assert!(unknown.contains("no such user") && !unknown.contains("price"), "{unknown}");
    client.says("RCPT TO:<busy@x.example>", 451);
    client.says("DATA", 554);
    client.says("RSET", 250);
    // The connection inside ends at DATA, after the token was noted.
    let offers = client.begin(&["alice@x.example"]);
    let pay = sides.payer.pay(&offers[0], "alice@x.example", &text);
    client.says(&pay, 250);
    client.says("DATA", 354);
    inner.set(Mode::SilentAfterMessage);
    drop(client);
    assert_eq!((inner.count(), sides.received()), (0, 0));
    inner.set(Mode::Take);
    let mut client = Client::connect(&gateway);
    client.begin(&["alice@x.example"]);
    client.says(&pay, 250);
    assert!(client.text(&text).starts_with("250"));
    sides.settle(3);
}

// E5, E13, E14: kill -9 while the mail system has the message and has not answered
#[test]
fn a_gateway_that_is_killed_counts_a_message_once() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::SilentAfterMessage);
    let gateway = sides.gateway(&inner.address(), PRICED);
    let text = message(1);
    let mut client = Client::connect(&gateway);
    let offer = client.begin(&["alice@x.example"]).remove(0);
    let pay = sides.payer.pay(&offer, "alice@x.example", &text);
    client.says(&pay, 250);
    client.says("DATA", 354);
    client.write(&stuffed(&text));
    eventually("the message inside", || (inner.held() == 1).then_some(()));
    gateway.kill();
    assert_eq!(client.reply(), "");
    assert_eq!(sides.received(), 0);
    // Another process has the same keys and books: the old token is good, and a new offer is not needed.
    inner.set(Mode::Take);
    let gateway = sides.gateway(&inner.address(), PRICED);
    let mut client = Client::connect(&gateway);
    client.begin(&["alice@x.example"]);
    assert!(client.says(&pay, 250).contains("again"));
    assert!(client.text(&text).starts_with("250"));
    assert_eq!((inner.count(), sides.received()), (1, 3));
    // The client does not hear of it, and sends again.
    client.begin(&["alice@x.example"]);
    client.says(&pay, 250);
    assert!(client.text(&text).contains("paid and delivered before"));
    assert_eq!((inner.count(), sides.received()), (1, 3));
    sides.settle(3);
}

// E15: the same message on two connections at once
#[test]
fn a_copy_that_comes_while_the_message_is_on_its_way_is_not_delivered() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::SilentAfterMessage);
    let gateway = sides.gateway(&inner.address(), PRICED);
    let text = message(1);
    let mut first = Client::connect(&gateway);
    let offer = first.begin(&["alice@x.example"]).remove(0);
    let pay = sides.payer.pay(&offer, "alice@x.example", &text);
    first.says(&pay, 250);
    first.says("DATA", 354);
    first.write(&stuffed(&text));
    eventually("the message inside", || (inner.held() == 1).then_some(()));
    inner.set(Mode::Take);
    let mut second = Client::connect(&gateway);
    let another = second.begin(&["alice@x.example"]).remove(0);
    for pay in [&pay, &sides.payer.pay(&another, "alice@x.example", &text)] {
        second.says("RSET", 250);
        second.begin(&["alice@x.example"]);
        second.says(pay, 250);
        assert!(second.text(&text).starts_with("451 4.3.0 this message is on its way"));
    }
    assert_eq!((inner.count(), sides.received()), (0, 0));
    // Another message to the same mailbox is delivered meanwhile.
    let offer = second.begin(&["alice@x.example"]).remove(0);
    second.says(&sides.payer.pay(&offer, "alice@x.example", &message(2)), 250);
    assert!(second.text(&message(2)).starts_with("250"));
    assert_eq!((inner.count(), sides.received()), (1, 3));
}

#[test]
fn a_client_that_is_gone_after_the_dot_is_served_once() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    let gateway = sides.gateway(&inner.address(), PRICED);
    let text = message(1);
    let mut client = Client::connect(&gateway);
    let offer = client.begin(&["alice@x.example"]).remove(0);
    let pay = sides.payer.pay(&offer, "alice@x.example", &text);
    client.says(&pay, 250);
    client.says("DATA", 354);
    client.write(&stuffed(&text));
    drop(client);
    eventually_received(&sides, 3);
    let mut client = Client::connect(&gateway);
    client.begin(&["alice@x.example"]);
    client.says(&pay, 250);
    assert!(client.text(&text).contains("paid and delivered before"));
    assert_eq!(inner.count(), 1);
    sides.settle(3);
}

// E8: the extension is offered anew under TLS, which the gateway has and not the mail system behind
#[test]
fn a_client_pays_under_tls() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    let certificates = Certificates::make(&sides.payee.home);
    let (chain, key) = (certificates.file("chain.pem"), certificates.file("key.pem"));
    let gateway = sides.gateway(&inner.address(), &format!("{PRICED}certificate = {chain:?}\nkey = {key:?}\n"));
    let mut client = submission::Client::starttls(gateway.address, &certificates.file("ca.pem"));
    let hello = client.say("EHLO y.example", 250);
    assert!(hello.contains("EMSTAMP 1") && !hello.contains("STARTTLS"), "{hello}");
    let text = message(1);
    client.say("MAIL FROM:<ann@y.example> EMSTAMP", 250);
    let offer = offer(&client.say("RCPT TO:<alice@x.example>", 250));
    client.say(&sides.payer.pay(&offer, "alice@x.example", &text), 250);
    client.say("DATA", 354);
    assert!(client.finish(&text).starts_with("250 taken"));
    assert_eq!(inner.last().1, text);
    client.say("QUIT", 221);
    sides.settle(3);
}

// Nothing is written before the message, and one message goes in
#[test]
fn many_recipients_are_paid_at_once() {
    let sides = Sides::new();
    let inner = SmtpServer::start(Mode::Take);
    let gateway = sides.gateway(&inner.address(), &PRICED.replace('3', "1"));
    let text = message(1);
    let mut client = Client::connect(&gateway);
    let boxes: Vec<String> = (0..40).map(|number| format!("r{number}@x.example")).collect();
    let offers = client.begin(&boxes.iter().map(String::as_str).collect::<Vec<_>>());
    let before = sides.payee.bank.balance().unwrap().head.number;
    let pays = offers.iter().zip(&boxes).map(|(offer, to)| sides.payer.pay(offer, to, &text) + "\r\n");
    client.write(pays.collect::<String>().as_bytes());
    for _ in &boxes {
        assert!(client.reply().starts_with("250 2.1.5 paid"));
    }
    assert_eq!(sides.payee.bank.balance().unwrap().head.number, before, "nothing is written before the message");
    assert!(client.text(&text).starts_with("250"));
    assert_eq!((inner.count(), inner.last().0.lines().count()), (1, 41));
    sides.settle(40);
}

#[test]
fn a_gateway_that_cannot_be_paid_asks_nothing() {
    let sides = Sides::new();
    let other = crate::support::Home::bare();
    let inner = SmtpServer::start(Mode::Take);
    let table = |price: u64| {
        format!(
            "addresses = [\"*@x.example\"]\n[gateway.inbound]\nlisten = \"127.0.0.1:0\"\ninner = \"{}\"\n\
             help = \"{HELP}\"\nprice = {price}\n",
            inner.address()
        )
    };
    other.configure(&table(3));
    let run = other.run(["gateway"], b"").exits(78);
    assert!(run.stderr.contains("there is no bank to be paid into"), "{}", run.stderr);
    let gateway = super::Gateway::start(&other, &inner.address(), "client_address = \"none\"\n");
    let codes = crate::support::smtp::send(
        crate::support::smtp::Protocol::Smtp,
        gateway.port(),
        "ann@y.example",
        &["alice@x.example"],
        message(1).as_bytes(),
    );
    assert_eq!((codes, inner.count()), (vec![250], 1));
    drop(sides);
}
