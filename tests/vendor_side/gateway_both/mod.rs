//! Both halves of the gateway, between two unmodified Postfix: one host pays the other for its mail, and the network
//! between them fails, or either gateway is killed.
//!
//! - `steps`: either gateway is killed at each step of a payment.
//! - `cost`: round trips and syncs of a payment.
//! - `late`: retries hours and days later, and after a kill before the answer.
//! - `python`: another implementation in place of either gateway.

mod cost;
mod late;
mod python;
mod steps;

use crate::bank::{Gateway, balance, sides};
use crate::gateway_out::Outgoing;
use crate::support::postfix::Postfix;
use crate::support::programs::{Port, eventually_or};
use crate::support::proxy::{Direction, Fault, Proxy};
use crate::support::shop::Shop;
use crate::support::smtp::{self, Protocol};
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::{follow_clock, is_soak};
use mailstamp::os::clock;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const BOXES: [&str; 3] = ["alice@y.example", "bob@y.example", "gone@y.example"];
/// What each mailbox asks.
const PRICE: u64 = 3;

/// Two hosts.
struct Hosts {
    shop: Shop,
    payer: Gateway,
    payee: Gateway,
    front: Postfix,
    /// Where mail ends, behind the second Postfix.
    target: SmtpServer,
    behind: Postfix,
    /// Between the gateways, and between the second one and its Postfix.
    between: Proxy,
    inner: Proxy,
    /// What the payer may spend.
    limit: u64,
    outgoing: Option<Outgoing>,
    incoming: Option<Outgoing>,
    /// What the hosts are made of beside.
    more: More,
    _ports: [Port; 2],
}

/// More of two hosts.
#[derive(Default)]
struct More {
    /// Lines of main.cf of the first Postfix, and of the second.
    front: String,
    behind: String,
    /// Domains of the second host with ways of their own between the gateways.
    ways: Vec<(&'static str, Proxy)>,
    /// The file with the clock that both gateways follow.
    clock: Option<PathBuf>,
}

/// Writes an agency's directory where a gateway finds it, at once.
fn put_directory(side: &Gateway, text: &str) {
    let new = side.home.file("directory.new");
    fs::write(&new, text).unwrap();
    fs::rename(new, side.home.config().with_file_name("vendors").join("directory.json")).unwrap();
}

impl Hosts {
    /// Hosts whose gateways run. The payer may spend so many credits.
    fn new(limit: u64) -> Self {
        let mut hosts = Self::idle(limit);
        hosts.run();
        hosts
    }

    /// Hosts whose gateways do not run yet.
    fn idle(limit: u64) -> Self {
        Self::idle_of(sides(2 * limit), limit, &[], More::default())
    }

    /// Hosts of these sides, whose gateways do not run yet, with more domains of the second one.
    fn idle_of(
        (shop, payer, payee): (Shop, Gateway, Gateway),
        limit: u64,
        domains: &[&'static str],
        mut more: More,
    ) -> Self {
        payer.tells(&format!("license {limit}"));
        payee.tells("license 0");
        let entry = serde_json::to_vec(&shop.ledger().published(clock::now()).unwrap()).unwrap();
        payee.home.run(["trust", "add", "--replace", "-"], &entry).exits(0);
        let target = SmtpServer::start(Mode::Take);
        let (host, port) = target.address().rsplit_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let behind = Postfix::start_with(
            &format!(
                "mydestination = y.example {}\nmyhostname = mx.y.example\nmydomain = y.example\n\
                 local_transport = smtp:[{host}]:{port}\nmynetworks = 127.0.0.1/32\n\
                 smtpd_authorized_xclient_hosts = 127.0.0.1\n\
                 smtpd_recipient_restrictions = check_recipient_access inline:{{gone@y.example=REJECT}}, permit\n{}",
                domains.join(" "),
                more.behind
            ),
            "smtp unix - - n - - smtp\n",
        );
        let ports = [Port::reserve(), Port::reserve()];
        let inner = Proxy::new(behind.port());
        payee.home.configure(&format!(
            "addresses = [\"*@y.example\"]\n[gateway]\nname = \"mx.y.example\"\n[gateway.inbound]\n\
             listen = \"127.0.0.1:{}\"\ninner = \"127.0.0.1:{}\"\nhelp = \"https://y.example/mail\"\nprice = {PRICE}\n\
             meter_exposure = {limit}\nprices = {:?}\n",
            ports[0].number(),
            inner.port(),
            payee.home.file("prices")
        ));
        let between = Proxy::new(ports[0].number());
        more.ways = domains.iter().map(|domain| (*domain, Proxy::new(ports[0].number()))).collect();
        let ways = [("y.example", &between)].into_iter().chain(more.ways.iter().map(|(domain, way)| (*domain, way)));
        let routes: String =
            ways.map(|(domain, way)| format!("\"{domain}\" = \"127.0.0.1:{}\"\n", way.port())).collect();
        payer.home.configure(&format!(
            "addresses = [\"postmaster@x.example\"]\n[gateway]\nname = \"out.x.example\"\n[gateway.outbound]\n\
             listen = \"inet:127.0.0.1:{}\"\ntls = \"off\"\nmax_message = 1000\nmax_day = {limit}\n\
             [gateway.outbound.routes]\n{routes}",
            ports[1].number()
        ));
        let front = Postfix::start(&format!(
            "default_transport = lmtp:inet:127.0.0.1:{}\nlmtp_destination_recipient_limit = 1000\n\
             initial_destination_concurrency = 20\n{}",
            ports[1].number(),
            more.front
        ));
        let (outgoing, incoming, _ports) = (None, None, ports);
        let hosts =
            Self { shop, payer, payee, front, target, behind, between, inner, limit, outgoing, incoming, more, _ports };
        hosts.learn();
        hosts
    }

    /// Tells the payee what the agency's directory says now.
    fn learn(&self) {
        let directory = self.shop.ask("GET", "/.well-known/digital-stamp", &Value::Null).is(200).text();
        put_directory(&self.payee, &directory);
    }

    /// Starts both gateways.
    fn run(&mut self) {
        self.incoming = Some(Outgoing::start_as(&self.payee, self.command(&self.payee)));
        self.outgoing = Some(Outgoing::start_as(&self.payer, self.command(&self.payer)));
    }

    /// The program with the home of a side, and with the clock of its gateway.
    fn command(&self, side: &Gateway) -> Command {
        let mut command = side.home.command();
        self.more.clock.iter().for_each(|clock| follow_clock(&mut command, clock));
        command
    }

    /// Kills the gateway that pays, and starts it again.
    fn restart_outgoing(&mut self) {
        self.outgoing.take().unwrap().kill();
        self.outgoing = Some(Outgoing::start(&self.payer));
    }

    /// Kills the gateway that is paid, and starts it again.
    fn restart_incoming(&mut self) {
        self.incoming.take().unwrap().kill();
        self.incoming = Some(Outgoing::start(&self.payee));
    }

    fn send(&self, id: &str, recipients: &[&str]) {
        let text = format!(
            "From: ann@x.example\nTo: all@y.example\nDate: Mon, 30 Nov 2026 12:00:00 +0000\n\
             Message-ID: <{id}@x.example>\nSubject: hello\n\n.dot\nbye\n"
        );
        let codes = smtp::send(Protocol::Smtp, self.front.port(), "ann@x.example", recipients, text.as_bytes());
        assert_eq!(codes, [250]);
    }

    /// Waits until the first Postfix was told this often that mail was taken, or refused.
    #[track_caller]
    fn done(&self, status: &str, times: usize) {
        let done = || (self.front.logged(&format!("status={status}")) >= times).then_some(());
        self.front.flush_until(status, done, || self.logs());
    }

    fn logs(&self) -> String {
        let log = |side: &Gateway| fs::read_to_string(side.home.file("gateway-log")).unwrap_or_default();
        format!("out: {}\nin: {}\n{}", log(&self.payer), log(&self.payee), self.behind.log())
    }

    /// How often a message arrived.
    fn arrived(&self, id: &str) -> usize {
        self.target.taken().iter().filter(|(_, text)| text.contains(&format!("<{id}@x.example>"))).count()
    }

    /// How often each message arrived, by its ID.
    fn copies(&self) -> HashMap<String, usize> {
        let mut copies = HashMap::new();
        for (_, text) in self.target.taken() {
            let id = text.split_once("\nMessage-ID: <").unwrap().1.split_once('@').unwrap().0;
            *copies.entry(id.to_owned()).or_default() += 1;
        }
        copies
    }

    /// The credits of both sides at the agency, those of licences among them.
    fn agency_has(&self) -> [u64; 2] {
        let licensed = u64::try_from(self.shop.ledger().summary().unwrap().licensed).unwrap();
        [balance(&self.shop, self.payer.account) + licensed, balance(&self.shop, self.payee.account)]
    }

    /// Clears what was paid, and compares the books of all three sides.
    #[track_caller]
    fn clear(&self, credits: u64) {
        // The gateways clear by themselves meanwhile.
        let received = || (self.payee.has()[0] + self.payee.has()[4] == credits).then_some(());
        eventually_or("received", received, || format!("{:?} {}", self.payee.has(), self.logs()));
        let cleared = self.payee.tells("clear");
        assert_eq!(cleared["refused"], serde_json::json!([]));
        self.payer.tells("clear");
        let limit = self.limit;
        assert_eq!((self.payer.has(), self.payee.has()), ([limit, limit - credits, 0, 0, 0], [credits, 0, 0, 0, 0]));
        self.payer.sound();
        self.payee.sound();
        self.shop.audit();
    }
}

// E1, E4, E5, E12: from Postfix to Postfix, paid once, and the unknown mailbox is not charged
#[test]
fn mail_from_postfix_to_postfix_is_paid() {
    let hosts = Hosts::new(5_000);
    hosts.send("one", &BOXES);
    hosts.done("sent", 2);
    hosts.done("bounced", 1);
    assert_eq!(hosts.front.logged("paid 3 credits"), 2);
    assert_eq!(hosts.front.logged("Recipient address rejected"), 1, "{}", hosts.front.log());
    eventually_or("arrived", || (hosts.target.count() > 0).then_some(()), || hosts.logs());
    let (envelope, text) = hosts.target.last();
    assert!(envelope.contains("alice@y.example") && !envelope.contains("gone@"), "{envelope}");
    assert!(text.ends_with("\n\n.dot\nbye\n") && !text.contains("v4.public"), "{text}");
    hosts.clear(2 * PRICE);
}

// E13: the connection is cut after any byte of either direction, or held there while a gateway is killed
#[test]
fn a_fault_between_the_gateways_costs_nothing_and_loses_nothing() {
    let mut hosts = Hosts::new(5_000);
    hosts.send("whole", &BOXES[..2]);
    hosts.done("sent", 2);
    let lengths = [Direction::ToServer, Direction::ToClient].map(|it| (it, hosts.between.passed(it).len()));
    let parts = if is_soak() { 40 } else { 5 };
    let mut messages = 1;
    for (direction, length) in lengths {
        for part in 0..parts {
            let id = format!("{direction:?}{part}");
            let after = length * part / parts + 1;
            // Which fault, and who is killed meanwhile.
            let kind = part % 3;
            hosts.between.plan(direction, after, if kind == 0 { Fault::Cut } else { Fault::Hold });
            hosts.send(&id, &BOXES[..2]);
            let broken = || hosts.between.is_broken().then_some(());
            eventually_or("a fault", broken, || hosts.logs());
            match kind {
                0 => {}
                1 => hosts.restart_outgoing(),
                _ => hosts.restart_incoming(),
            }
            hosts.between.fail(Fault::Cut);
            hosts.between.mend();
            messages += 1;
            hosts.done("sent", 2 * messages);
            let arrived = || (hosts.arrived(&id) > 0).then_some(());
            eventually_or("arrived", arrived, || hosts.logs());
            // A copy is possible only where the incoming gateway dies after its Postfix took the message.
            assert!(hosts.arrived(&id) <= if kind == 2 { 2 } else { 1 }, "{id}");
        }
    }
    hosts.clear(2 * PRICE * messages as u64);
}
