//! Meters over HTTP: a gateway in Python, written from the manual, goes through the whole cycle; and requests that come
//! at once.

use crate::support::http::{self, Answer};
use crate::support::meters::{Meter, head};
use crate::support::run;
use crate::support::shop::{Shop, VENDOR};
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use mailstamp::vendor_api::meters::{ClearingResult, HEADER, MeterReceipt};
use mailstamp::vendor_api::operation::Operation;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::thread;

/// A shop whose first account pays, and the API key of a second one that is paid.
fn shop() -> (Shop, String) {
    let shop = Shop::open(2_000, &["--address-rate", "0"]);
    let ledger = shop.ledger();
    let account = ops::OpenAccount { name: "payee".into(), contact: "payee@far.example".into(), caps: None };
    let number = ledger.run(account, clock::now()).unwrap().number;
    let (key, _) = ledger.add_api_key(number, "gateway", clock::now()).unwrap();
    (shop, key.as_str().to_owned())
}

// E19, E20, E22
#[test]
fn a_gateway_written_from_the_manual_pays_and_is_paid() {
    let (shop, payee) = shop();
    let agency = shop.ledger().active_signer().unwrap().unwrap().key.public().to_string();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor_side/service/meters.py");
    let url = format!("http://{}", shop.address);
    let mut python = Command::new("/usr/bin/python3");
    python.arg(script).args([&url, VENDOR, &agency, &shop.key, &payee]).env_clear();
    let ran = run(&mut python, b"");
    assert_eq!((ran.code, ran.text().as_str()), (0, "whole\n"), "{}\n{}", ran.stderr, shop.log());
    let report = shop.audit();
    // Bought less paid out: all of it is in the two accounts and the licence.
    let summary = shop.ledger().summary().unwrap();
    assert_eq!((shop.balance(), summary.licensed, summary.cleared), (1_000, 982, 6));
    assert_eq!(shop.log(), "", "{report:?}");
}

fn post(shop: &Shop, api: &str, meter: &Meter, path: &str, key: &str, body: &Value) -> Answer {
    let operation = Operation::ALL.iter().find(|it| it.path() == path && it.method().as_str() == "POST").unwrap();
    let body = body.to_string().into_bytes();
    let signature = meter.sign_bytes(*operation, &body, key, head(1), clock::now());
    let authorization = format!("Bearer {api}");
    let fields = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", key),
        (HEADER, signature.token.as_str()),
    ];
    http::ask(shop.address, "POST", path, &fields, &body).unwrap()
}

// Threat 22, E15: also from two connections at once
#[test]
fn of_eight_connections_that_clear_one_payment_one_is_paid() {
    let (mut shop, api) = shop();
    let (payer, payee) = (Meter::new(1), Meter::new(2));
    let licence = |meter: &Meter, limit| json!({ "key": meter.key.public().to_string(), "limit": limit, "days": 1 });
    post(&shop, &shop.key, &payer, "/v1/licenses", "l", &licence(&payer, 100)).is(200);
    post(&shop, &api, &payee, "/v1/licenses", "l", &licence(&payee, 0)).is(200);
    let agency = shop.ledger().active_signer().unwrap().unwrap().key.public();
    let until = clock::now().plus(3_600);
    for message in 0..5 {
        let each: Vec<ClearingResult> = thread::scope(|scope| {
            let clear = |number: usize| {
                let tokens = json!({ "tokens": [payer.pay("payee", "joe@far.example", message, 7, until)] });
                let key = format!("{message} {number}");
                let answer = post(&shop, &api, &payee, "/v1/clearings", &key, &tokens).is(200).json();
                MeterReceipt::verify(answer["receipt"].as_str().unwrap(), &agency).unwrap().each.remove(0)
            };
            let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || clear(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let paid = each.iter().filter(|it| **it == ClearingResult::Cleared { credits: 7 }).count();
        assert_eq!(paid, 1, "{each:?}");
    }
    // A storm of one request, and a service that was killed: the same answer.
    let tokens = json!({ "tokens": [payer.pay("payee", "joe@far.example", 99, 7, until)] });
    let clear = |shop: &Shop| post(shop, &api, &payee, "/v1/clearings", "storm", &tokens).is(200).text();
    let answers: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| clear(&shop))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    shop.kill_and_restart();
    assert!(answers.iter().all(|it| *it == clear(&shop)), "{answers:?}");
    assert_eq!(shop.ledger().summary().unwrap().licensed, 100 - 6 * 7);
    shop.audit();
}

// Layout: the operator sees it
#[test]
fn the_operator_sees_licences_and_claims_beyond_them() {
    let (shop, api) = shop();
    let (payer, payee) = (Meter::new(1), Meter::new(2));
    let licence = |meter: &Meter, limit| json!({ "key": meter.key.public().to_string(), "limit": limit, "days": 1 });
    let command = |arguments: &[&str]| {
        let mut command = Command::new(crate::support::MAILSTAMP);
        command
            .args(["vendor"])
            .args(arguments)
            .arg("--ledger")
            .arg(shop.folder())
            .env_clear()
            .env("HOME", shop.path());
        run(&mut command, b"")
    };
    assert_eq!(command(&["meters"]).exits(0).text(), "no licences\n");
    post(&shop, &shop.key, &payer, "/v1/licenses", "l", &licence(&payer, 10)).is(200);
    post(&shop, &api, &payee, "/v1/licenses", "l", &licence(&payee, 0)).is(200);
    let pay = |message, credits| payer.pay("payee", "joe@far.example", message, credits, clock::now().plus(60));
    let tokens = json!({ "tokens": [pay(1, 7), pay(2, 4)] });
    post(&shop, &api, &payee, "/v1/clearings", "c", &tokens).is(200);
    let text = command(&["meters"]).exits(0).text();
    let line = text.lines().find(|line| line.starts_with(payer.kid())).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[1..6], ["joe", "10", "3", "7", "4"], "{text}");
    let json: Vec<Value> = command(&["meters", "--json"])
        .exits(0)
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((&json[0]["rest"], &json[0]["over_limit"]), (&json!(3), &json!(4)));
    assert_eq!((json.len(), &json[1]["bank"]), (2, &json!(head(1).to_string())));
    command(&["meters", "--revoke", payer.kid()]).exits(0);
    command(&["meters", "--revoke", "m0"]).exits(65);
    assert!(command(&["meters"]).exits(0).text().contains("revoked"));
    let status = command(&["status"]).exits(0).text();
    let line = status.lines().find(|line| line.starts_with("licensed to meters")).unwrap();
    assert!(line.ends_with(" 3 credits"), "{status}");
    let terms = command(&["terms", "--meters", "50"]).exits(0).text();
    assert!(terms.contains("meters: at most 50 credits a licence"), "{terms}");
    let too_much = post(&shop, &shop.key, &Meter::new(3), "/v1/licenses", "m", &licence(&Meter::new(3), 51)).is(422);
    assert_eq!(too_much.json()["problem"], "license-limit");
    assert!(command(&["terms", "--meters", "off"]).exits(0).text().contains("meters: off"));
    let off = post(&shop, &shop.key, &Meter::new(3), "/v1/licenses", "o", &licence(&Meter::new(3), 1)).is(403);
    assert_eq!(off.json()["problem"], "meters-off");
    command(&["terms", "--meters", "many"]).exits(64);
    let numbers = http::ask(shop.metrics, "GET", "/metrics", &[], b"").unwrap().is(200).text();
    for line in [
        "mailstamp_vendor_ledger_licenses 2",
        "mailstamp_vendor_ledger_licensed_credits 3",
        "mailstamp_vendor_ledger_cleared_payments 1",
        "mailstamp_vendor_ledger_over_limit_payments 1",
    ] {
        assert!(numbers.lines().any(|it| it == line), "{line}\n{numbers}");
    }
    shop.audit();
}
