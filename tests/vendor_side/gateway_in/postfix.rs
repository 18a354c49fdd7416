//! An unmodified Postfix behind the gateway, and unmodified programs in front of it.

use super::{Client, HELP, Sides, message};
use crate::support::postfix::Postfix;
use crate::support::programs::{eventually_or, program};
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::{Run, run};
use std::process::Command;

/// What both kinds of service have: mail goes to the server of the test, and one address alone may relay.
fn inner(target: &SmtpServer) -> String {
    let (host, port) =
        target.address().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
    format!(
        "local_transport = smtp:[{host}]:{port}\nmynetworks = 127.0.0.1/32\nsmtpd_authorized_xclient_hosts = 127.0.0.1\n\
         smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n"
    )
}

const SERVICES: &str = "smtp unix - - n - - smtp\nSUBMISSION inet n - n - - smtpd\n    \
                        -o smtpd_upstream_proxy_protocol=haproxy\n";

/// Sends a message from the address 127.0.0.2.
fn swaks(port: u16, more: &[&str]) -> Run {
    let mut command = Command::new(program("swaks", "swaks"));
    command.args(["--server", "127.0.0.1", "--port", &port.to_string(), "--local-interface", "127.0.0.2"]);
    command.args(["--timeout", "300", "--ehlo", "y.example", "--from", "ann@y.example"]).args(more);
    run(&mut command, b"")
}

// E8, E10, E11: plain clients and a plain Postfix behind; without a price nothing is different
#[test]
fn a_plain_client_is_served_by_the_postfix_behind() {
    let sides = Sides::new();
    let target = SmtpServer::start(Mode::Take);
    let postfix = Postfix::start_with(&inner(&target), SERVICES);
    for (how, port) in [("xclient", postfix.port()), ("proxy", postfix.submission())] {
        let before = target.count();
        let at = format!("127.0.0.1:{port}");
        let gateway = sides.gateway(&at, &format!("client_address = {how:?}\n"));
        let sent = swaks(gateway.port(), &["--to", "alice@x.example", "--header", "Subject: plain", "--pipeline"]);
        assert_eq!(sent.code, 0, "{}{}", sent.text(), sent.stderr);
        let count = || (target.count() == before + 1).then_some(());
        eventually_or(how, count, || postfix.log());
        let (_, text) = target.last();
        assert!(text.contains("Subject: plain"), "{text}");
        // The trace field names the client, and not the gateway.
        assert!(text.contains("[127.0.0.2]") && !text.contains("[127.0.0.1]"), "{how}: {text}");
        // The gateway may relay; its clients may not.
        let relayed = swaks(gateway.port(), &["--to", "eve@elsewhere.example"]);
        assert!(relayed.text().contains("Relay access denied"), "{how}: {}", relayed.text());
        gateway.end();
    }
}

#[test]
fn a_service_without_the_proxy_protocol_gets_no_client() {
    let sides = Sides::new();
    let target = SmtpServer::start(Mode::Take);
    let postfix = Postfix::start_with(&inner(&target), SERVICES);
    let gateway = sides.gateway(&format!("127.0.0.1:{}", postfix.port()), "client_address = \"proxy\"\n");
    let refused = swaks(gateway.port(), &["--to", "eve@elsewhere.example"]);
    assert!(refused.text().contains("421 4.3.5"), "{}", refused.text());
}

// E10: an unmodified Postfix sends to a mailbox with a price: its user is told the price and where to read on
#[test]
fn a_plain_postfix_bounces_with_the_price() {
    let sides = Sides::new();
    let target = SmtpServer::start(Mode::Take);
    let behind = Postfix::start_with(&inner(&target), SERVICES);
    let gateway = sides.gateway(&format!("127.0.0.1:{}", behind.port()), "price = 3\n");
    let relay = format!(
        "mydestination = y.example\nmyhostname = mx.y.example\nmydomain = y.example\nrelayhost = [127.0.0.1]:{}\n\
         default_transport = smtp\nrelay_transport = smtp\nmynetworks = 127.0.0.0/8\n",
        gateway.port()
    );
    let front = Postfix::start_with(&relay, "smtp unix - - n - - smtp\n");
    let sent = swaks(front.port(), &["--to", "alice@x.example"]);
    assert_eq!(sent.code, 0, "{}", sent.text());
    let bounced = || (front.logged("status=bounced") > 0).then_some(());
    eventually_or("a bounce", bounced, || format!("{}\n{}", front.log(), behind.log()));
    assert_eq!(front.logged("this mailbox asks 3 credits for a message"), 1, "{}", front.log());
    assert_eq!(front.logged(HELP), 1, "{}", front.log());
    assert_eq!(target.count(), 0);
}

// E4, E5: a client that pays, with Postfix behind
#[test]
fn a_paid_message_goes_through_the_postfix_behind() {
    let sides = Sides::new();
    let target = SmtpServer::start(Mode::Take);
    let postfix = Postfix::start_with(&inner(&target), SERVICES);
    let seal = sides.payee.home.file("seal.key");
    sides
        .payee
        .home
        .run(["boundary", "keygen", "--host", "mx.x.example", "--out", seal.to_str().unwrap()], b"")
        .exits(0);
    let more = format!("price = 3\nseal = {:?}\n", seal.to_str().unwrap());
    let gateway = sides.gateway(&format!("127.0.0.1:{}", postfix.port()), &more);
    let text = message(1);
    let mut client = Client::connect(&gateway);
    let offers = client.begin(&["alice@x.example", "bob@x.example"]);
    client.says(&sides.payer.pay(&offers[0], "alice@x.example", &text), 250);
    assert!(client.text(&text).starts_with("250 2.0.0 Ok: queued as"));
    assert_eq!(sides.received(), 3);
    eventually_or("the message", || (target.count() == 1).then_some(()), || postfix.log());
    let (envelope, taken) = target.last();
    // Bob was not paid for.
    assert!(envelope.contains("alice@x.example") && !envelope.contains("bob@x.example"), "{envelope}");
    assert!(!taken.contains("v4.public") && !taken.to_ascii_uppercase().contains("EMST "), "{taken}");
    let field = "Digital-Stamp-Class: first-class; reason=paid; vendor=stamps.example;";
    assert!(taken.contains(field) && taken.contains("value=3"), "{taken}");
    let (_, body) = text.split_once("\n\n").unwrap();
    assert!(taken.ends_with(&format!("\n\n{body}")), "{taken}");
    sides.settle(3);
}
