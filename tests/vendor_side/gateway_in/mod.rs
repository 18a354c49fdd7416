//! The mail gateway as a process: an agency, the bank of the gateway, a mail system behind it, and clients that can pay
//! or cannot.

mod paid;
mod postfix;
mod refused;

use crate::support::programs::{PATIENCE, eventually, eventually_or};
use crate::support::shop::{Shop, VENDOR};
use crate::support::{Home, Run};
use data_encoding::BASE64URL_NOPAD;
use mailstamp::bank::handle::Bank;
use mailstamp::ledger::ops;
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::parse::Message;
use mailstamp::os::clock;
use mailstamp::stamp::token::Purpose;
use mailstamp::time::UnixTime;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

/// The help text of every gateway here.
const HELP: &str = "https://x.example/mail";

/// A host with an account at the agency and a bank.
struct Host {
    home: Home,
    bank: Bank,
    /// The licence, once there is one.
    kid: String,
}

impl Host {
    /// A host of this account, with a licence for so many credits.
    fn new(shop: &Shop, key: &str, limit: u64) -> Self {
        let host = Self::unlicensed(shop, key);
        host.run(&format!("bank license {limit}")).exits(0);
        let kid = host.bank.balance().unwrap().licenses[0].license.kid.clone();
        Self { kid, ..host }
    }

    /// A host of this account, whose bank never asked the agency.
    fn unlicensed(shop: &Shop, key: &str) -> Self {
        let home = Home::bare();
        home.configure("addresses = [\"*@x.example\"]");
        let host = Self { bank: Bank::new(&home.state(), Duration::from_secs(60)), home, kid: String::new() };
        host.trust(shop);
        let url = format!("http://{}", shop.address);
        let add = ["account", "add", "shop", "--url", &url, "--vendor", VENDOR, "--offline"];
        host.home.run(add, format!("{key}\n").as_bytes()).exits(0);
        host.home.run(["bank", "init", "--agency", VENDOR, "--account", "shop"], b"").exits(0);
        host
    }

    fn run(&self, command: &str) -> Run {
        self.home.run(command.split(' '), b"")
    }

    /// Trusts the agency's keys.
    fn trust(&self, shop: &Shop) {
        let entry = serde_json::to_vec(&shop.ledger().published(clock::now()).unwrap()).unwrap();
        self.home.run(["trust", "add", "-"], &entry).exits(0);
    }

    /// The file of the agency's signed directory.
    fn directory(&self) -> PathBuf {
        self.home.config().with_file_name("vendors").join("directory.json")
    }

    /// Learns what the agency's signed directory says.
    fn learn(&self, shop: &Shop) {
        let text = shop.ask("GET", "/.well-known/digital-stamp", &Value::Null).is(200).text();
        // At once: a gateway may read it.
        let new = self.home.file("directory.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.directory()).unwrap();
    }

    /// The line EMST that pays an offer for a message, as a client makes it from the page.
    fn pay(&self, offer: &Offer, mailbox: &str, message: &str) -> String {
        self.pay_with(offer, mailbox, message, offer.price, &offer.payee)
    }

    fn pay_with(&self, offer: &Offer, mailbox: &str, message: &str, credits: u64, payee: &str) -> String {
        let signer = self.bank.license_key(&self.kid).unwrap();
        let print = Fingerprint::of(&Message::parse(message.as_bytes()));
        let claims = json!({
            "jti": offer.id, "aud": mailbox, "val": credits, "msg": BASE64URL_NOPAD.encode(&print.0),
            "exp": UnixTime(offer.end).to_string(), "payee": payee,
        });
        let token = signer.key.sign(claims.to_string().as_bytes(), &signer.issuer.footer(), Purpose::Meter);
        format!("EMST {} {credits} {}", offer.id, token.as_str())
    }
}

/// An agency, a host that is paid, and one that pays.
struct Sides {
    shop: Shop,
    payee: Host,
    payer: Host,
}

impl Sides {
    fn new() -> Self {
        let shop = Shop::open(10_000, &["--key-rate", "0", "--address-rate", "0"]);
        let ledger = shop.ledger();
        let account = ops::OpenAccount { name: "x-example".into(), contact: "x@x.example".into(), caps: None };
        let number = ledger.run(account, clock::now()).unwrap().number;
        let (key, _) = ledger.add_api_key(number, "gateway", clock::now()).unwrap();
        let payee = Host::new(&shop, key.as_str(), 0);
        let payer = Host::new(&shop, &shop.key, 5_000);
        payee.learn(&shop);
        Self { shop, payee, payer }
    }

    /// Starts the gateway in front of this mail system, with more lines of its table.
    fn gateway(&self, inner: &str, more: &str) -> Gateway {
        Gateway::start(&self.payee.home, inner, more)
    }

    /// The credits that the gateway was paid and has not cleared.
    fn received(&self) -> u64 {
        self.payee.bank.balance().unwrap().received
    }

    /// Ends as every test does: the tokens are cleared, and all books are sound.
    fn settle(&self, credits: u64) {
        self.payee.run("bank clear").exits(0);
        let has = self.payee.bank.balance().unwrap();
        assert_eq!((has.held, has.received), (credits, 0));
        assert_eq!(self.payee.bank.audit(None).unwrap().problems, Vec::<String>::new());
        self.shop.audit();
    }
}

/// The gateway; killed when this is dropped.
struct Gateway {
    child: Child,
    address: SocketAddr,
}

impl Gateway {
    /// Starts the gateway of a home, and waits until it listens.
    #[track_caller]
    fn start(home: &Home, inner: &str, more: &str) -> Self {
        Self::start_with(home, "", inner, more)
    }

    /// The same with more lines of the table above.
    #[track_caller]
    fn start_with(home: &Home, above: &str, inner: &str, more: &str) -> Self {
        let table = format!(
            "addresses = [\"*@x.example\"]\n[gateway]\nname = \"mx.x.example\"\n{above}[gateway.inbound]\n\
             listen = \"127.0.0.1:0\"\ninner = \"{inner}\"\nhelp = \"{HELP}\"\n{more}"
        );
        home.configure(&table);
        let log = home.file("gateway-log");
        let mut command = home.command();
        command.arg("gateway").stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let child = command.spawn().unwrap();
        let said = || fs::read_to_string(&log).unwrap();
        let address = || said().split_once("inbound at ")?.1.split_once('\n')?.0.parse().ok();
        let address = eventually_or("the gateway", address, said);
        Self { child, address }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    /// Kills it, and waits until it is gone.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    #[track_caller]
    fn end(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An offer in the reply to RCPT.
#[derive(Clone, Debug)]
struct Offer {
    price: u64,
    id: String,
    end: i64,
    payee: String,
}

/// A connection of a client.
struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects, and says EHLO.
    fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self(BufReader::new(stream));
        assert!(client.reply().starts_with("220 "));
        let hello = client.says("EHLO y.example", 250);
        assert!(hello.contains("EMSTAMP 1"), "{hello}");
        client
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The next reply, with its lines; empty at the end of the connection.
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            if self.0.read_line(&mut reply).unwrap_or(0) == 0 {
                return String::new();
            }
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
        }
    }

    /// Says a line, and returns the reply, which has this code.
    #[track_caller]
    fn says(&mut self, line: &str, code: u16) -> String {
        self.write(format!("{line}\r\n").as_bytes());
        let reply = self.reply();
        assert!(reply.starts_with(&code.to_string()), "{line}\n{reply}");
        reply
    }

    /// Begins a message, and returns the offers for these recipients.
    #[track_caller]
    fn begin(&mut self, recipients: &[&str]) -> Vec<Offer> {
        self.says("MAIL FROM:<ann@y.example> EMSTAMP", 250);
        recipients.iter().map(|to| offer(&self.says(&format!("RCPT TO:<{to}>"), 250))).collect()
    }

    /// Sends the text of a message, and returns the reply.
    #[track_caller]
    fn text(&mut self, message: &str) -> String {
        self.says("DATA", 354);
        self.write(&stuffed(message));
        self.reply()
    }
}

/// The offer in a reply.
#[track_caller]
fn offer(reply: &str) -> Offer {
    let line = reply.lines().last().unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let value = |at: usize, name: &str| words[at].strip_prefix(name).unwrap_or_else(|| panic!("{line}")).to_owned();
    assert_eq!(words[..3], ["250", "2.1.5", "EMSTAMP"]);
    Offer {
        price: value(3, "price=").parse().unwrap(),
        id: value(4, "id="),
        end: value(5, "end=").parse().unwrap(),
        payee: value(6, "payee="),
    }
}

/// A message as it is sent: with CRLF, a dot more where a line begins with one, and the dot that ends it.
fn stuffed(message: &str) -> Vec<u8> {
    format!("{}.\r\n", message.replace('\n', "\r\n").replace("\r\n.", "\r\n..")).into_bytes()
}

/// A message with this number.
fn message(number: u32) -> String {
    format!("From: ann@y.example\nTo: alice@x.example\nMessage-ID: <{number}@y.example>\nSubject: hello\n\n.dot\nbye\n")
}

/// Waits until the gateway has this in its books.
#[track_caller]
fn eventually_received(sides: &Sides, credits: u64) {
    eventually("the credits", || (sides.received() == credits).then_some(()));
}
