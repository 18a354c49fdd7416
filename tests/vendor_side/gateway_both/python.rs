//! Another implementation, in Python, written from the pages alone (`peer.py`), on either side of the real gateway: it
//! pays, and it is paid.

use crate::bank::{Gateway, balance, sides};
use crate::gateway_out::Outgoing;
use crate::support::Home;
use crate::support::postfix::Postfix;
use crate::support::programs::{Port, eventually_or};
use crate::support::python::Python;
use crate::support::shop::{Shop, VENDOR};
use crate::support::smtp::{self, Protocol};
use crate::support::smtp_server::{Mode, SmtpServer};
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The program in Python, with an account of its own at the agency.
struct Peer {
    python: Python,
    account: u64,
    _home: Home,
}

impl Peer {
    fn new(shop: &Shop, credits: u64) -> Self {
        let (ledger, home) = (shop.ledger(), Home::bare());
        let account = ops::OpenAccount { name: "py".into(), contact: "py@py.example".into(), caps: None };
        let account = ledger.run(account, clock::now()).unwrap().number;
        if credits > 0 {
            ledger.credit(account, credits, None, "py", clock::now()).unwrap();
        }
        let (api, _) = ledger.add_api_key(account, "py", clock::now()).unwrap();
        let key = ledger.active_signer().unwrap().unwrap().key.public().to_string();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor_side/gateway_both/peer.py");
        let mut python = Command::new("/usr/bin/python3");
        // No cache of its modules among the sources.
        python.arg("-B").arg(script).arg(home.path()).args([&format!("http://{}", shop.address), VENDOR]);
        python.args([&key, api.as_str()]).env_clear();
        Self { python: Python::start(&mut python), account, _home: home }
    }

    #[track_caller]
    fn ask(&mut self, request: &Value) -> Value {
        self.python.ask(request)
    }
}

fn message(id: &str) -> String {
    format!(
        "From: ann@x.example\nTo: all@y.example\nDate: Mon, 30 Nov 2026 12:00:00 +0000\nMessage-ID: <{id}@x.example>\n\
         Subject: hello\n\n.dot\nbye\n"
    )
}

/// Writes the agency's signed directory where a gateway finds it.
fn publish(shop: &Shop, side: &Gateway) {
    let directory = shop.ask("GET", "/.well-known/digital-stamp", &Value::Null).is(200).text();
    super::put_directory(side, &directory);
}

// E1, E2, E4, E12, E14: the client in Python pays the real gateway
#[test]
fn a_client_written_from_the_page_pays_the_gateway() {
    let (shop, _, payee) = sides(0);
    payee.tells("license 0");
    publish(&shop, &payee);
    let (inner, port) = (SmtpServer::start(Mode::Partly), Port::reserve());
    payee.home.configure(&format!(
        "addresses = [\"*@y.example\"]\n[gateway]\nname = \"mx.y.example\"\n[gateway.inbound]\n\
         listen = \"127.0.0.1:{}\"\ninner = \"{}\"\nclient_address = \"none\"\nhelp = \"https://y.example/mail\"\n\
         price = 3\nprices = {:?}\nmeter_exposure = 50\n",
        port.number(),
        inner.address(),
        payee.home.file("prices")
    ));
    let config = payee.home.config().display().to_string();
    payee.home.run(["--config", &config, "price", "set", "0", "--address", "bob@y.example"], b"").exits(0);
    let _gateway = Outgoing::start(&payee);
    let mut peer = Peer::new(&shop, 500);
    peer.ask(&json!({ "do": "license", "limit": 100 }));
    let at = format!("127.0.0.1:{}", port.number());
    let send = |peer: &mut Peer, id: &str, signed: &str, to: &[&str]| {
        peer.ask(&json!({
            "do": "send", "at": at, "from": "ann@x.example", "to": to, "message": message(id), "signed": message(signed),
        }))
    };
    // A licence that the gateway's directory does not list yet.
    let early = send(&mut peer, "one", "one", &["alice@y.example"]);
    assert!(early["paid"][0].as_str().unwrap().starts_with("451 4.7.1"), "{early}");
    assert!(early["data"].as_str().unwrap().starts_with("554 5.5.1") && early["answer"].is_null(), "{early}");
    publish(&shop, &payee);
    let boxes = ["alice@y.example", "bob@y.example", "gone@y.example"];
    let paid = send(&mut peer, "one", "one", &boxes);
    // The same line, though the offer is another one.
    assert_eq!(paid["lines"], early["lines"], "{paid}");
    assert_ne!(paid["offers"]["alice@y.example"]["id"], early["offers"]["alice@y.example"]["id"]);
    assert_eq!(paid["offers"]["bob@y.example"], Value::Null, "{paid}");
    assert!(paid["paid"][0].as_str().unwrap().starts_with("250 2.1.5 paid"), "{paid}");
    assert!(paid["answer"].as_str().unwrap().starts_with("250 "), "{paid}");
    let (envelope, text) = inner.last();
    assert!(envelope.contains("alice@") && envelope.contains("bob@") && !envelope.contains("EMST"), "{envelope}");
    assert_eq!(text, message("one"));
    // The client did not hear of it, and sends again.
    let again = send(&mut peer, "one", "one", &boxes[..1]);
    assert!(again["paid"][0].as_str().unwrap().starts_with("250 2.1.5 again"), "{again}");
    assert!(again["answer"].as_str().unwrap().starts_with("250 "), "{again}");
    // A token that names another message.
    let other = send(&mut peer, "two", "three", &boxes[..1]);
    assert!(other["paid"][0].as_str().unwrap().starts_with("250 2.1.5"), "{other}");
    assert!(other["answer"].as_str().unwrap().starts_with("550 5.7.1"), "{other}");
    assert_eq!((inner.count(), payee.has()), (1, [0, 0, 0, 0, 3]));
    assert_eq!(payee.tells("clear")["cleared"], json!({ "count": 1, "credits": 3 }));
    let check = json!({ "do": "check", "mailbox": "Alice@Y.example", "message": message("one") });
    assert_eq!(peer.ask(&check), json!({ "open": ["cleared"], "rest": 97 }));
    assert_eq!((payee.has(), balance(&shop, payee.account)), ([3, 0, 0, 0, 0], 3));
    assert_eq!(balance(&shop, peer.account), 400);
    payee.sound();
    shop.audit();
}

// E1, E2, E4, E5, E13, E15: the real gateway pays the server in Python, which hands the tokens in
#[test]
fn a_server_written_from_the_page_is_paid_by_the_gateway() {
    let (shop, payer, _) = sides(1_000);
    payer.tells("license 500");
    let mut peer = Peer::new(&shop, 0);
    assert_eq!(peer.ask(&json!({ "do": "license", "limit": 0 }))["payee"], format!("py@{VENDOR}"));
    let prices = json!({ "alice@y.example": 3, "bob@y.example": 5, "dear@y.example": 50 });
    let port = peer.ask(&json!({ "do": "listen", "prices": prices }))["port"].as_u64().unwrap();
    let listen = Port::reserve();
    payer.home.configure(&format!(
        "addresses = [\"postmaster@x.example\"]\n[gateway]\nname = \"out.x.example\"\n[gateway.outbound]\n\
         listen = \"inet:127.0.0.1:{}\"\ntls = \"off\"\n[gateway.outbound.routes]\n\"y.example\" = \"127.0.0.1:{port}\"\n",
        listen.number()
    ));
    let transport = format!("default_transport = lmtp:inet:127.0.0.1:{}\n", listen.number());
    let (postfix, _gateway) = (Postfix::start(&transport), Outgoing::start(&payer));
    let log = || fs::read_to_string(payer.home.file("gateway-log")).unwrap_or_default();
    let send = |id: &str, to: &[&str]| {
        let codes = smtp::send(Protocol::Smtp, postfix.port(), "ann@x.example", to, message(id).as_bytes());
        assert_eq!(codes, [250]);
    };
    let done = |status: &str, times: usize| {
        let done = || (postfix.logged(&format!("status={status}")) >= times).then_some(());
        postfix.flush_until(status, done, log);
    };
    let boxes = ["alice@y.example", "bob@y.example", "free@y.example", "gone@y.example", "dear@y.example"];
    send("one", &boxes);
    done("sent", 3);
    done("bounced", 2);
    let told = peer.ask(&json!({ "do": "told", "drop": 1 }));
    let [first] = &told["messages"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!(first["to"], json!(["alice@y.example", "bob@y.example", "free@y.example"]));
    assert!(first["text"].as_str().unwrap().ends_with(&message("one")), "{first}");
    // The reply to a message that was taken is lost: the same line again, and the copy is forgotten.
    send("two", &boxes[..1]);
    done("sent", 4);
    let told = peer.ask(&json!({ "do": "told", "forget": 1 }));
    assert_eq!((told["messages"].as_array().unwrap().len(), &told["copies"]), (2, &json!(1)), "{told}");
    let shown = |told: &Value| -> Vec<Value> {
        let lines = told["lines"].as_array().unwrap().iter();
        lines.filter(|line| line.as_str().unwrap().starts_with("EMST ")).cloned().collect()
    };
    let lines = shown(&told);
    assert!(lines.len() == 4 && lines[2] == lines[3], "{lines:?}");
    // An ID is forgotten: a new one later, in place of it.
    send("three", &boxes[..1]);
    done("sent", 5);
    let told = peer.ask(&json!({ "do": "told" }));
    let lines = shown(&told).split_off(4);
    assert!(lines.len() >= 2 && lines[0] != *lines.last().unwrap(), "{lines:?}");
    assert_eq!(told["messages"].as_array().unwrap().len(), 3);

    let cleared = peer.ask(&json!({ "do": "clear" }));
    let mut each: Vec<u64> =
        cleared["each"].as_array().unwrap().iter().map(|it| it["credits"].as_u64().unwrap()).collect();
    // Postfix sorts recipients.
    each.sort_unstable();
    assert_eq!((each, &cleared["balance"]), (vec![3, 3, 3, 5], &json!(14)));
    // What is handed in again is not paid again.
    let again = peer.ask(&json!({ "do": "clear" }));
    assert!(again["each"].as_array().unwrap().iter().all(|it| it["problem"] == "cleared-before"), "{again}");
    let settled = || (payer.has()[2] == 0).then_some(());
    eventually_or("settlement", settled, log);
    payer.tells("clear");
    assert_eq!((payer.has(), balance(&shop, peer.account)), ([500, 486, 0, 0, 0], 14));
    payer.sound();
    shop.audit();
}
