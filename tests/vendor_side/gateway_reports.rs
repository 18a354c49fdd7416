//! Bounces of mail that left by the gateway, between two unmodified Postfix: the report comes back to a mailbox with a
//! price, free and once. Forged ones, and other messages without a sender, do not.

use crate::bank::{Gateway, sides};
use crate::gateway_out::Outgoing;
use crate::support::postfix::Postfix;
use crate::support::programs::{PATIENCE, Port, eventually_or};
use crate::support::shop::Shop;
use crate::support::smtp::{self, Protocol};
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::{follow_clock, set_clock};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

const ANN: &str = "ann@x.example";

/// A host with both halves of a gateway, and a plain one that takes mail and cannot deliver it.
struct Hosts {
    _shop: Shop,
    own: Gateway,
    postfix: Postfix,
    /// Where mail for x.example ends.
    target: SmtpServer,
    far: Postfix,
    ports: [Port; 2],
    gateway: Option<Outgoing>,
}

impl Hosts {
    fn new() -> Self {
        let (shop, own, _) = sides(10_000);
        own.tells("license 0");
        let target = SmtpServer::start(Mode::Take);
        let ports = [Port::reserve(), Port::reserve()];
        let (host, port) = target.address().rsplit_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let client = "smtp unix - - n - - smtp\n";
        let postfix = Postfix::start_with(
            &format!(
                "local_transport = smtp:[{host}]:{port}\ndefault_transport = lmtp:inet:127.0.0.1:{}\n\
                 smtpd_authorized_xclient_hosts = 127.0.0.1\n",
                ports[1].number()
            ),
            client,
        );
        // Another Postfix hands mail on to a server that has no such user, and so finds out late.
        let empty = SmtpServer::start(Mode::Refuse);
        let (host, port) = empty.address().rsplit_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let far = Postfix::start_with(
            &format!(
                "mydestination = y.example\nmyhostname = mx.y.example\nmydomain = y.example\n\
                 local_transport = smtp:[{host}]:{port}\ndefault_transport = smtp:[127.0.0.1]:{}\n",
                ports[0].number()
            ),
            client,
        );
        own.home.configure(&format!(
            "addresses = [\"*@x.example\"]\n[gateway]\nname = \"mx.x.example\"\n[gateway.inbound]\n\
             listen = \"127.0.0.1:{}\"\ninner = \"127.0.0.1:{}\"\nhelp = \"https://x.example/mail\"\nprice = 3\n\
             null_sender = \"reports\"\n[gateway.outbound]\nlisten = \"inet:127.0.0.1:{}\"\ntls = \"off\"\n\
             [gateway.outbound.routes]\n\"y.example\" = \"127.0.0.1:{}\"\n",
            ports[0].number(),
            postfix.port(),
            ports[1].number(),
            far.port()
        ));
        let gateway = Some(Outgoing::start(&own));
        Self { _shop: shop, own, postfix, target, far, ports, gateway }
    }

    /// Ann writes to a mailbox that is not there, and gets this many bounces in all. Returns the last.
    fn bounced(&self, to: &str, count: usize) -> String {
        let text = format!("From: {ANN}\nTo: {to}\nMessage-ID: <{count}@x.example>\nSubject: hello\n\nbody\n");
        assert_eq!(smtp::send(Protocol::Smtp, self.postfix.port(), ANN, &[to], text.as_bytes()), [250]);
        let came = || (self.target.count() == count).then_some(());
        eventually_or("a bounce", came, || format!("{}\n{}\n{}", self.log(), self.postfix.log(), self.far.log()));
        let (envelope, text) = self.target.last();
        assert!(envelope.contains("MAIL FROM:<>") && envelope.contains(&format!("RCPT TO:<{ANN}>")), "{envelope}");
        text
    }

    fn log(&self) -> String {
        fs::read_to_string(self.own.home.file("gateway-log")).unwrap_or_default()
    }

    /// Sends a message without a sender to the gateway, and returns the reply to it.
    fn says(&self, to: &str, text: &str) -> String {
        let stream = TcpStream::connect(("127.0.0.1", self.ports[0].number())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut output = stream.try_clone().unwrap();
        let mut input = BufReader::new(stream);
        let mut reply = || {
            let mut text = String::new();
            while text.lines().last().is_none_or(|line| line.as_bytes().get(3) == Some(&b'-')) {
                assert!(input.read_line(&mut text).unwrap() > 0, "{text}");
            }
            text
        };
        let to = format!("RCPT TO:<{to}>");
        for line in ["", "EHLO mx.z.example\r\n", "MAIL FROM:<>\r\n", &(to + "\r\n"), "DATA\r\n"] {
            output.write_all(line.as_bytes()).unwrap();
            let reply = reply();
            assert!(reply.starts_with(['2', '3']), "{line}{reply}");
        }
        let text = text.replace('\n', "\r\n").replace("\r\n.", "\r\n..");
        output.write_all(format!("{text}.\r\n").as_bytes()).unwrap();
        reply()
    }
}

/// The ID that a report names.
#[track_caller]
fn id(report: &str) -> &str {
    let id = report.lines().find_map(|line| line.strip_prefix("Original-Envelope-Id: "));
    id.unwrap_or_else(|| panic!("no ID: {report}"))
}

// The bounce of a Postfix that took the message is free for a mailbox that asks credits; what only looks like it is not
#[test]
fn a_bounce_comes_back_free_and_once() {
    let mut hosts = Hosts::new();
    let report = hosts.bounced("gone@y.example", 1);
    let id = id(&report).to_owned();
    assert_eq!(id.len(), 38, "{report}");
    assert!(report.contains("Final-Recipient: rfc822; gone@y.example\n") && report.contains("Action: failed\n"));
    // Only the header came back.
    assert!(report.contains("Subject: hello\n") && !report.contains("\nbody\n"), "{report}");
    let sent = || (hosts.far.logged("status=sent") == 1).then_some(());
    eventually_or("the end of the bounce", sent, || hosts.far.log());

    let refused = |reply: &str, why: &str| {
        let is_told = reply.contains(&format!("550-5.7.1 {why}\r\n")) && reply.contains("https://x.example/mail");
        assert!(is_told && reply.contains("takes no message without a sender but reports"), "{why}: {reply}");
    };
    // As the mail system had it, it has other fields.
    refused(&hosts.says(ANN, &report), "what this report says was reported before");
    let foreign = "this report names no message that the mailbox sent from here";
    let other = if id.starts_with('A') { "B" } else { "A" };
    refused(&hosts.says(ANN, &report.replace(&id, &format!("{other}{}", &id[1..]))), foreign);
    refused(&hosts.says(ANN, &report.replace("Original-Envelope-Id", "X-Envelope-Id")), foreign);
    refused(&hosts.says("ben@x.example", &report), foreign);
    refused(&hosts.says(ANN, "From: a@y.example\nSubject: spam\n\nbuy\n"), "this is no delivery report");
    // A far host that knows the ID can use it five times, also over a restart.
    hosts.gateway.take().unwrap().kill();
    hosts.gateway = Some(Outgoing::start(&hosts.own));
    for number in 2..=5 {
        let forged = report.replace("gone@y.example", &format!("gone{number}@y.example"));
        let reply = hosts.says(ANN, &forged);
        assert!(reply.starts_with("250 "), "{reply}");
        // As after an answer that was lost.
        assert_eq!(hosts.says(ANN, &forged), "250 2.0.0 this report was delivered before\r\n");
    }
    let sixth = report.replace("gone@y.example", "gone6@y.example");
    refused(&hosts.says(ANN, &sixth), "too many reports about the same message came before");
    // An honest one of the next message comes all the same.
    let delivered = || (hosts.target.count() == 5).then_some(());
    eventually_or("the forged ones", delivered, || hosts.postfix.log());
    assert_ne!(self::id(&hosts.bounced("gone@y.example", 6)), id);
    assert_eq!(hosts.own.has(), [10_000, 0, 0, 0, 0]);
    hosts.own.sound();
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn a_bounce_of_a_message_that_is_long_gone_is_refused() {
    let mut hosts = Hosts::new();
    drop(hosts.gateway.take());
    let clock = hosts.own.home.file("clock");
    set_clock(&clock, "+0");
    let mut command = hosts.own.home.command();
    follow_clock(&mut command, &clock);
    hosts.gateway = Some(Outgoing::start_as(&hosts.own, command));
    let report = hosts.bounced("gone@y.example", 1);
    let late = |name: &str| report.replace("gone@y.example", &format!("{name}@y.example"));
    set_clock(&clock, "+29d");
    let reply = hosts.says(ANN, &late("a"));
    assert!(reply.starts_with("250 "), "{reply}");
    set_clock(&clock, "+31d");
    let reply = hosts.says(ANN, &late("b"));
    assert!(reply.contains("550-5.7.1 this report is about a message of more than 30 days ago\r\n"), "{reply}");
    // The keys are forgotten.
    set_clock(&clock, "+60d");
    let reply = hosts.says(ANN, &late("c"));
    assert!(reply.contains("this report names no message that the mailbox sent from here"), "{reply}");
}
