//! Outbound half of the gateway, as a process between an unmodified Postfix and a server that asks credits: its bank and
//! the agency are real, and so is each kill.

mod killed;
mod limits;
mod process;
mod tls;
mod wire;

use crate::bank::{Gateway, sides};
use crate::support::emstamp_server::{EmstampServer, Paid};
use crate::support::postfix::Postfix;
use crate::support::programs::{Port, eventually_or};
use crate::support::shop::Shop;
use crate::support::smtp::{self, Protocol};
use mailstamp::bank::order::{IncomingToken, copy_name};
use mailstamp::os::clock;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

/// The account that the far side has at the agency.
const PAYEE: &str = "payee@stamps.example";
const SENDER: &str = "ann@x.example";

/// The gateway's process; killed when this is dropped.
pub(crate) struct Outgoing {
    child: Child,
}

impl Outgoing {
    /// Starts it, and waits until it listens.
    #[track_caller]
    pub(crate) fn start(gateway: &Gateway) -> Self {
        Self::start_as(gateway, gateway.home.command())
    }

    /// As `start`, with this beginning of its command.
    #[track_caller]
    pub(crate) fn start_as(gateway: &Gateway, mut command: Command) -> Self {
        let log = gateway.home.file("gateway-log");
        command.arg("gateway").stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let child = command.spawn().unwrap();
        let said = || fs::read_to_string(&log).unwrap();
        let listens = || ["outbound at ", "inbound at "].iter().any(|it| said().contains(it)).then_some(());
        eventually_or("gateway", listens, said);
        Self { child }
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it was killed by another.
    #[track_caller]
    pub(crate) fn killed(mut self) {
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything: an agency, a payer with a gateway and Postfix before it, and a far side with the bank of the payee.
struct Scene {
    shop: Shop,
    payer: Gateway,
    payee: Gateway,
    far: EmstampServer,
    postfix: Postfix,
    _port: Port,
    outgoing: Option<Outgoing>,
}

impl Scene {
    /// A payer who may spend `limit` credits, and mailboxes with prices. `settings` are lines of `[gateway.outbound]`.
    fn new(limit: u64, prices: &[(&str, u64)], settings: &str) -> Self {
        let far = EmstampServer::start(PAYEE, prices, None);
        let route = format!("\"y.example\" = \"127.0.0.1:{}\"", far.port());
        Self::with(limit, &format!("tls = \"off\"\n{settings}"), far, &route)
    }

    /// With more settings, and these lines of `[gateway.outbound.routes]`.
    fn with(limit: u64, settings: &str, far: EmstampServer, routes: &str) -> Self {
        let (shop, payer, payee) = sides(10_000);
        if limit > 0 {
            payer.tells(&format!("license {limit}"));
        }
        payee.tells("license 0");
        let port = Port::reserve();
        payer.home.configure(&format!(
            "addresses = [\"postmaster@x.example\"]\n[gateway]\nname = \"out.x.example\"\n[gateway.outbound]\n\
             listen = \"inet:127.0.0.1:{}\"\n{settings}\n[gateway.outbound.routes]\n{routes}\n",
            port.number()
        ));
        let transport = format!(
            "default_transport = lmtp:inet:127.0.0.1:{}\nlmtp_destination_recipient_limit = 1000\n",
            port.number()
        );
        let postfix = Postfix::start(&transport);
        let outgoing = Some(Outgoing::start(&payer));
        Self { shop, payer, payee, far, postfix, _port: port, outgoing }
    }

    /// Sends a message with this Message-ID through Postfix.
    fn send(&self, id: &str, recipients: &[&str]) {
        let codes = smtp::send(Protocol::Smtp, self.postfix.port(), SENDER, recipients, &message(id));
        assert_eq!(codes, [250]);
    }

    /// What Postfix said about a recipient, once it said this often that its mail was sent, deferred or bounced.
    #[track_caller]
    fn outcome(&self, recipient: &str, status: &str, times: usize) -> String {
        let (to, status) = (format!("to=<{recipient}>"), format!("status={status}"));
        let lines = || -> Vec<String> {
            let log = fs::read_to_string(self.postfix.file("maillog")).unwrap_or_default();
            log.lines().filter(|line| line.contains(&to) && line.contains(&status)).map(str::to_owned).collect()
        };
        let ask = || lines().get(times - 1).cloned();
        self.postfix.flush_until(&format!("{to} {status}"), ask, || self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.payer.home.file("gateway-log")).unwrap_or_default()
    }

    /// Waits until the far side has stopped answering.
    fn stalled(&self) {
        eventually_or("stall", || (self.far.state().stalled > 0).then_some(()), || self.postfix.log() + &self.log());
    }

    /// Kills the gateway and starts it again; the far side answers again.
    fn kill_and_restart(&mut self) {
        self.outgoing.take().unwrap().kill();
        let mut state = self.far.state();
        (state.stall, state.stalled) = (None, 0);
        drop(state);
        self.outgoing = Some(Outgoing::start(&self.payer));
    }

    /// The payments that the far side took with messages.
    fn paid(&self) -> Vec<Paid> {
        self.far.state().taken.iter().flat_map(|it| it.paid.clone()).collect()
    }

    /// Hands in what the far side took, and compares the books of all three sides.
    #[track_caller]
    fn clear(&self) {
        let paid = self.paid();
        let sum: u64 = paid.iter().map(Paid::credits).sum();
        let tokens = paid.iter().map(|it| IncomingToken {
            id: it.id().to_owned(),
            copy: copy_name(it.mailbox(), it.claims["msg"].as_str().unwrap().as_bytes()),
            peer: "m".into(),
            credits: it.credits(),
            until: clock::now().plus(3_600),
            token: it.token.clone(),
            max_exposure: u64::MAX,
        });
        let tokens: Vec<IncomingToken> = tokens.collect();
        let ids = tokens.iter().map(|it| it.id.clone()).collect();
        self.payee.bank.pending(tokens, clock::now()).unwrap();
        self.payee.bank.receive(ids, clock::now()).unwrap();
        let cleared = self.payee.tells("clear");
        assert_eq!(cleared["refused"], serde_json::json!([]));
        self.payer.tells("clear");
        let ([held, licensed, reserved, settled, _], payee) = (self.payer.has(), self.payee.has());
        assert_eq!(payee[0], sum, "the payee has what was paid");
        assert_eq!(held + licensed + reserved + settled + sum, 10_000, "no credit is lost or made");
        self.payer.sound();
        self.payee.sound();
        self.shop.audit();
    }

    /// Waits until so many credits are paid in the payer's books, which are written after the answer.
    fn settled(&self, credits: u64) {
        eventually_or(
            "settled",
            || (self.payer.has()[3] == credits).then_some(()),
            || format!("{:?}", self.payer.has()),
        );
    }
}

/// A message with this Message-ID.
fn message(id: &str) -> Vec<u8> {
    format!(
        "From: Ann <{SENDER}>\nTo: list@y.example\nDate: Mon, 30 Nov 2026 12:00:00 +0000\nMessage-ID: <{id}@x.example>\n\
         Subject: hello\n\n.a line that begins with a dot\n\nAnn\n"
    )
    .into_bytes()
}
