//! The interface for programs: it agrees with `openapi.json`, and its use cases work.

use crate::support::http::{self, Answer};
use crate::support::meters::{Meter, head};
use crate::support::programs::eventually;
use crate::support::shop::Shop;
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::{ALICE, Home, letter, run, stamped};
use mailstamp::directory::publish;
use mailstamp::vendor_api::meters::MeterReceipt;
use mailstamp::vendor_api::operation::{Method, Operation};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const IDEMPOTENT: (&str, &str) = ("Idempotency-Key", "k1");

fn document() -> Value {
    serde_json::from_str(mailstamp::server::vendor_http::api::OPENAPI).unwrap()
}

#[test]
fn the_description_lists_the_routes_and_nothing_else() {
    let document = document();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |it| (path.clone(), it.clone())))
        .collect();
    let listed = Operation::ALL.iter().map(|it| (it.path().to_owned(), it.method().as_str().to_ascii_lowercase()));
    assert_eq!(described, listed.collect());

    let shop = Shop::open(10, &["--address-rate", "0"]);
    for operation in Operation::ALL {
        let path = operation.path();
        for method in [Method::Get, Method::Post, Method::Delete] {
            let answer = shop.ask(method.as_str(), &path.replace("{id}", "x").replace("{kid}", "x"), &Value::Null);
            let known = Operation::ALL.iter().any(|it| it.path() == path && it.method() == method);
            assert_eq!(answer.status != 405, known, "{method:?} {path}: {}", answer.text());
        }
    }
    shop.ask("GET", "/v1/nothing", &Value::Null).is(404);
}

/// One real answer after another, each noted for the comparison with the description.
struct Talk {
    shop: Shop,
    /// The idempotency key of the next requests.
    key: &'static str,
    /// The number of events of the bank.
    bank: u64,
    told: Vec<Value>,
    /// Payloads of receipts.
    receipts: Vec<Value>,
}

impl Talk {
    #[track_caller]
    fn say(&mut self, method: &str, path: &str, body: Value, status: u16) -> Answer {
        self.say_with(method, path, &[], body, status)
    }

    /// A request that this meter signs.
    #[track_caller]
    fn sign(&mut self, meter: &Meter, path: &str, body: Value, status: u16) -> Answer {
        let operation = Operation::ALL.iter().find(|it| it.path() == path && it.method() == Method::Post).unwrap();
        let now = mailstamp::os::clock::now();
        let signature = meter.sign_bytes(*operation, body.to_string().as_bytes(), self.key, head(self.bank), now);
        self.say_with("POST", path, &[("Meter-Request", &signature.token)], body, status)
    }

    #[track_caller]
    fn say_with(&mut self, method: &str, path: &str, more: &[(&str, &str)], body: Value, status: u16) -> Answer {
        let route = match path.split('?').next().unwrap() {
            path if path.starts_with("/v1/keys/") => "/v1/keys/{id}",
            path if path.starts_with("/v1/licenses/") => "/v1/licenses/{kid}",
            path => path,
        };
        let fields = [&[("Idempotency-Key", self.key)], more].concat();
        let answer = self.shop.ask_with(method, path, &fields, &body).is(status);
        let text = answer.text();
        let said = serde_json::from_str(&text).unwrap_or(Value::String(text));
        self.told.push(json!({
            "path": route, "method": method.to_ascii_lowercase(), "status": status.to_string(),
            "type": answer.field("content-type"), "body": said, "asked": body,
        }));
        answer
    }
}

// BP1a, BP1b, BP1c, BC2, E7, E20
#[test]
fn real_answers_are_those_of_the_description() {
    let smtp = SmtpServer::start(Mode::Take);
    let shop = Shop::open(2_000, &["--smtp", &smtp.address()]);
    let mut talk = Talk { shop, key: "k1", bank: 1, told: Vec::new(), receipts: Vec::new() };

    let prices = talk.say("GET", "/v1/prices", Value::Null, 200).json();
    assert_eq!(prices["examples"][3], json!({ "credits": 1_000_000, "cost": "1000.00 EUR" }));
    talk.say("GET", "/v1/prices?credits=5", Value::Null, 200);
    talk.say("GET", "/v1/prices?credits=x", Value::Null, 422);
    talk.say("GET", "/healthz", Value::Null, 200);
    talk.say("GET", "/.well-known/digital-stamp", Value::Null, 200);
    talk.say("GET", "/v1/openapi.json", Value::Null, 200);

    let order = json!({ "recipient": ALICE });
    let bought = talk.say("POST", "/v1/stamps", order.clone(), 200).json();
    assert_eq!((&bought["credits"], &bought["balance"], &bought["again"]), (&json!(1), &json!(1_999), &json!(false)));
    assert_eq!(bought["caps"]["stamps"], 1_000);
    assert_eq!(talk.say("POST", "/v1/stamps", order, 200).json()["again"], true);
    let reused = json!({ "recipient": "other@x.example" });
    assert_eq!(talk.say("POST", "/v1/stamps", reused, 422).json()["problem"], "key-reused");
    assert_eq!(talk.say("POST", "/v1/stamps", json!({ "sender": ALICE }), 400).json()["problem"], "body");
    talk.key = "k0";
    let capped = json!({ "stamps": [{ "recipient": ALICE }, { "recipient": ALICE, "value": 5_000 }] });
    let capped = talk.say("POST", "/v1/stamps", capped, 422).json();
    assert_eq!((&capped["problem"], &capped["order"], &capped["cap"]), (&json!("order"), &json!(2), &json!(1_000)));
    let long = json!({ "recipient": ALICE, "until": "2999-01-01T00:00:00Z" });
    let long = talk.say("POST", "/v1/stamps", long, 422).json();
    assert_eq!((&long["reason"], &long["cap"]), (&json!("long"), &json!(366)), "{long}");

    let account = talk.say("GET", "/v1/account", Value::Null, 200).json();
    assert_eq!((&account["balance"], &account["spent_today"]), (&json!(1_999), &json!(1)));
    talk.say("GET", "/v1/history?most=1", Value::Null, 200);
    talk.say("GET", "/v1/history", Value::Null, 200);

    // The recipient hands in a used stamp, after proving the ownership of the address.
    let stamp = bought["stamps"][0]["stamp"].clone();
    let handed = json!({ "stamps": [{ "stamp": stamp }, { "stamp": "no stamp" }] });
    let early = talk.say("POST", "/v1/deposits", handed.clone(), 200).json();
    assert_eq!((&early["credits"], &early["each"][0]["problem"]), (&json!(0), &json!("not-yours")));
    talk.say("POST", "/v1/addresses", json!({ "address": ALICE }), 202);
    talk.say("POST", "/v1/addresses", json!({ "address": ALICE }), 429);
    let wrong = json!({ "address": ALICE, "code": "AAAA-AAAA" });
    assert_eq!(talk.say("POST", "/v1/addresses/confirm", wrong, 422).json()["problem"], "wrong-code");
    let code = smtp.code();
    let owns = talk.say("POST", "/v1/addresses/confirm", json!({ "address": ALICE, "code": code }), 200).json();
    assert_eq!(owns, json!({ "owns": [ALICE] }));
    let taken = talk.say("POST", "/v1/deposits", handed.clone(), 200).json();
    assert_eq!((&taken["credits"], &taken["balance"]), (&json!(1), &json!(2_000)));
    assert!(taken["receipt"].as_str().unwrap().starts_with("v4.public."));
    assert_eq!(talk.say("POST", "/v1/deposits", handed, 200).json()["each"][0]["problem"], "deposited");
    talk.say("POST", "/v1/deposits", json!({ "stamps": [] }), 422);
    let wrong = talk.say("POST", "/v1/deposits", json!({ "stamps": ["v4.public."] }), 400).text();
    assert!(wrong.contains("an object with a member") && !wrong.contains("DepositedStamp"), "{wrong}");

    let buy = |it: &mut Talk, key: &str| {
        let fields = [("Idempotency-Key", key)];
        let bought = it.shop.ask_with("POST", "/v1/stamps", &fields, &json!({ "recipient": "b@x.example" })).is(200);
        bought.json()["stamps"][0].clone()
    };
    let condemned = buy(&mut talk, "k3");
    let serials = json!({ "serials": [condemned["serial"]] });
    assert_eq!(talk.say("POST", "/v1/revocations", serials, 200).json()["revoked"], 1);
    let foreign = json!({ "serials": ["AAAAAAAAAAAAAAAAAAAAAA"] });
    assert_eq!(talk.say("POST", "/v1/revocations", foreign, 422).json()["reason"], "not-bought");

    let voucher = talk.shop.ledger().make_voucher(7, None, mailstamp::os::clock::now()).unwrap();
    assert_eq!(talk.say("POST", "/v1/vouchers", json!({ "code": voucher.as_str() }), 200).json()["credits"], 7);
    talk.say("POST", "/v1/vouchers", json!({ "code": "nonsense" }), 422);

    let meter = Meter::new(1);
    let licence = json!({ "key": meter.key.public().to_string(), "limit": 50, "days": 7 });
    talk.key = "m1";
    talk.sign(&meter, "/v1/licenses", licence.clone(), 200);
    talk.say("POST", "/v1/licenses", licence.clone(), 403);
    talk.key = "m2";
    talk.sign(&meter, "/v1/licenses", licence, 422);
    let large = json!({ "key": Meter::new(2).key.public().to_string(), "limit": 5_000, "days": 7 });
    talk.sign(&Meter::new(2), "/v1/licenses", large, 402);
    let until = mailstamp::os::clock::now().plus(60);
    let tokens = json!({ "tokens": [meter.pay("joe", "a@x.example", 1, 3, until), "nonsense"] });
    let cleared = talk.sign(&meter, "/v1/clearings", tokens, 200).json();
    // The schema of the payload is that of the receipt.
    let key = talk.shop.ledger().active_signer().unwrap().unwrap().key.public();
    let receipt = MeterReceipt::verify(cleared["receipt"].as_str().unwrap(), &key).unwrap();
    talk.receipts.push(serde_json::to_value(receipt).unwrap());
    talk.key = "m3";
    talk.bank = 5;
    let open = json!({ "open": [{ "payment": "00".repeat(32), "until": until.to_string() }] });
    talk.sign(&meter, "/v1/checkpoints", open, 200);
    talk.key = "m4";
    talk.bank = 4;
    assert_eq!(talk.sign(&meter, "/v1/checkpoints", json!({}), 409).json()["problem"], "bank-behind");
    talk.sign(&meter, "/v1/clearings", json!({ "tokens": [] }), 422);
    talk.say("GET", "/v1/licenses", Value::Null, 200);
    talk.say("DELETE", &format!("/v1/licenses/{}", meter.kid()), Value::Null, 204);
    talk.say("DELETE", "/v1/licenses/nothing", Value::Null, 404);
    talk.say("GET", "/v1/licenses", Value::Null, 200);

    let made = talk.say("POST", "/v1/keys", json!({ "label": "second" }), 201).json();
    talk.say("POST", "/v1/keys", json!({ "label": "" }), 422);
    assert_eq!(talk.say("GET", "/v1/keys", Value::Null, 200).json()["keys"].as_array().unwrap().len(), 2);
    talk.say("DELETE", &format!("/v1/keys/{}", made["id"].as_str().unwrap()), Value::Null, 204);
    talk.say("DELETE", "/v1/keys/nothing", Value::Null, 404);
    let keys = talk.say("GET", "/v1/keys", Value::Null, 200).json()["keys"].as_array().unwrap().clone();
    let last = keys.iter().find(|key| key["revoked"].is_null()).unwrap()["id"].as_str().unwrap().to_owned();
    let refused = talk.say("DELETE", &format!("/v1/keys/{last}"), Value::Null, 409).json();
    assert_eq!(refused["problem"], "last-api-key");
    let known = std::mem::replace(&mut talk.shop.key, made["key"].as_str().unwrap().to_owned());
    for path in ["/v1/account", "/v1/keys", "/v1/history"] {
        talk.say("GET", path, Value::Null, 401);
    }
    talk.shop.key = known;
    talk.shop.audit();

    let said = json!({ "document": document(), "told": talk.told, "receipts": talk.receipts }).to_string();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor_side/service/openapi.py");
    let checked = run(Command::new("/usr/bin/python3").arg(script), said.as_bytes());
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""));
    // Every operation, and most statuses.
    assert_eq!(checked.text().lines().count(), Operation::ALL.len());
}

// BC4, BK1: neither side has a key; BP1b: with a sender and without
#[test]
fn what_is_bought_is_first_class_for_whom_it_names() {
    let (shop, home) = (Shop::open(10, &[]), Home::bare());
    home.configure(&format!("addresses = [\"{ALICE}\"]"));
    let entry = serde_json::to_vec(&shop.ledger().published(mailstamp::os::clock::now()).unwrap()).unwrap();
    home.run(["trust", "add", "-"], &entry).exits(0);
    let order = json!({ "stamps": [
        { "recipient": ALICE },
        { "recipient": ALICE, "hashed": true, "sender": "bob@y.example", "value": 3 },
        { "recipient": "eve@x.example" },
    ] });
    let bought = shop.ask_with("POST", "/v1/stamps", &[IDEMPOTENT], &order).is(200).json();
    let stamp = |at: usize| bought["stamps"][at]["stamp"].as_str().unwrap().to_owned();
    home.classify(&stamped(&stamp(0), &letter("one"))).exits(0).says("first-class paid");
    home.classify(&stamped(&stamp(1), &letter("two"))).exits(0).says("first-class paid");
    home.classify(&stamped(&stamp(2), &letter("three"))).exits(20).says("invalid not-for-me");
    assert!(!stamp(1).contains("alice"));
}

// Threats 22, 34
#[test]
fn keys_that_open_nothing_are_all_answered_alike() {
    let shop = Shop::open(10, &["--address-rate", "0"]);
    let made = shop.ask("POST", "/v1/keys", &json!({ "label": "gone" })).is(201).json();
    shop.ask("DELETE", &format!("/v1/keys/{}", made["id"].as_str().unwrap()), &Value::Null).is(204);
    let ask = |key: Option<&str>| {
        let value = format!("Bearer {}", key.unwrap_or_default());
        let fields = [("Authorization", value.as_str())];
        let fields = if key.is_some() { &fields[..] } else { &[] };
        let mut answer = http::ask(shop.address, "GET", "/v1/account", fields, b"").unwrap().is(401);
        answer.fields.retain(|(name, _)| name != "date");
        answer
    };
    let unknown = format!("msk_{}", "A".repeat(43));
    let first = ask(Some(&unknown));
    assert_eq!(first.field("www-authenticate"), Some("Bearer"));
    for key in [Some(made["key"].as_str().unwrap()), Some("nonsense"), Some(""), None] {
        let other = ask(key);
        assert_eq!((&other.fields, other.text()), (&first.fields, first.text()), "{key:?}");
    }
}

#[test]
fn what_is_not_understood_is_refused_as_a_problem() {
    let shop = Shop::open(10, &[]);
    let bearer = format!("Bearer {}", shop.key);
    let json_type = ("Content-Type", "application/json");
    let key = ("Authorization", bearer.as_str());
    let large = vec![b' '; 1024 * 1024 + 1];
    for (fields, body, status, word) in [
        (&[key, json_type][..], &b"{\"recipient\":\"a@b.example\"}"[..], 400, "idempotency-key"),
        (&[key, json_type, ("Idempotency-Key", "")], b"{\"recipient\":\"a@b.example\"}", 400, "idempotency-key"),
        (&[key, json_type, IDEMPOTENT, IDEMPOTENT], b"{\"recipient\":\"a@b.example\"}", 400, "idempotency-key"),
        (&[key, IDEMPOTENT, ("Content-Type", "text/plain")], b"{}", 415, "media-type"),
        (&[key, IDEMPOTENT, json_type], b"{", 400, "body"),
        (&[key, IDEMPOTENT, json_type], b"[]", 400, "body"),
        (&[key, IDEMPOTENT, json_type], &large, 413, "too-large"),
    ] {
        let answer = http::ask(shop.address, "POST", "/v1/stamps", fields, body).unwrap().is(status);
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["problem"], word);
        assert_eq!(answer.json()["type"], format!("/problems#{word}"));
    }
    assert_eq!(shop.balance(), 10);
    // The messages name no internals of the program.
    for (path, body) in [
        ("/v1/deposits", json!({ "stamps": ["v4.public.x"] })),
        ("/v1/revocations", json!("x")),
        ("/v1/stamps", json!({ "stamps": ["x"] })),
        ("/v1/keys", json!("x")),
        ("/v1/addresses", json!("x")),
        ("/v1/addresses/confirm", json!("x")),
        ("/v1/vouchers", json!("x")),
    ] {
        let answer = shop.ask_with("POST", path, &[IDEMPOTENT], &body).is(400).json();
        let said = answer["detail"].as_str().unwrap();
        assert!(said.contains("object with") && !said.contains("struct"), "{path}: {said}");
    }
    for (path, body, expected) in [
        ("/v1/vouchers", json!({ "code": "x", "co`de": 1 }), "unknown member \"co`de\"; the members are \"code\""),
        (
            "/v1/addresses/confirm",
            json!({ "addres": "x" }),
            "unknown member \"addres\"; the members are \"address\", \"code\"",
        ),
        ("/v1/addresses/confirm", json!({ "address": "x" }), "the member \"code\" is missing"),
    ] {
        let answer = shop.ask_with("POST", path, &[IDEMPOTENT], &body).is(400).json();
        assert_eq!(answer["detail"], expected);
    }
    let order = json!({ "stamps": [{ "recipient": ALICE, "vaule": 1 }] });
    let answer = shop.ask_with("POST", "/v1/stamps", &[IDEMPOTENT], &order).is(400).json();
    let said = answer["detail"].as_str().unwrap();
    assert!(said.starts_with("order 1: unknown member \"vaule\"; the members are "), "{said}");
    let answer = shop.ask("DELETE", "/v1/keys/%ff", &Value::Null).is(404);
    assert_eq!(answer.json()["problem"], "not-found");
}

#[test]
fn the_directory_is_that_of_the_ledger_until_another_is_published() {
    let shop = Shop::open(10, &[]);
    // The public log is published at the start, and named in the directory then.
    let answer = eventually("a directory with the log", || {
        let answer = shop.ask("GET", "/.well-known/digital-stamp", &Value::Null).is(200);
        publish::read(&answer.text()).unwrap().content.vendors[0].log.is_some().then_some(answer)
    });
    let tag = answer.field("etag").unwrap().to_owned();
    let ask = |known: &str| {
        shop.ask_with("GET", "/.well-known/digital-stamp", &[("If-None-Match", known)], &Value::Null).status
    };
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", W/{tag}"), "*".to_owned()] {
        assert_eq!(ask(&known), 304, "{known}");
    }
    assert_eq!(ask("\"other\", W/\"another\""), 200);
    let home = Home::bare();
    home.configure(&format!("addresses = [\"{ALICE}\"]"));
    let entry = serde_json::to_vec(&shop.ledger().published(mailstamp::os::clock::now()).unwrap()).unwrap();
    home.run(["trust", "add", "-"], &entry).exits(0);
    fs::write(home.file(".config/mailstamp/vendors/signed.json"), &answer.body).unwrap();
    let listed = home.run(["trust", "list"], b"").exits(0).text();
    assert!(!listed.contains("ignored: ") && listed.contains("2026q4"), "{listed}");

    let public = shop.folder().join("public/.well-known");
    fs::create_dir_all(&public).unwrap();
    fs::write(public.join("digital-stamp"), "{\"directory\":\"published\"}").unwrap();
    let published = shop.ask("GET", "/.well-known/digital-stamp", &Value::Null).is(200);
    assert_eq!(published.text(), "{\"directory\":\"published\"}");
}

#[test]
fn numbers_are_told_on_a_listener_of_their_own() {
    let shop = Shop::open(10, &[]);
    shop.ask_with("POST", "/v1/stamps", &[IDEMPOTENT], &json!({ "recipient": ALICE })).is(200);
    shop.ask("GET", "/metrics", &Value::Null).is(404);
    let numbers = http::ask(shop.metrics, "GET", "/metrics", &[], b"").unwrap().is(200).text();
    for line in [
        "mailstamp_vendor_sold_stamps_total 1",
        "mailstamp_vendor_ledger_stamps 1",
        "mailstamp_vendor_ledger_accounts 1",
        "mailstamp_vendor_requests_total{route=\"/v1/stamps\",method=\"POST\",status=\"200\"} 1",
        "mailstamp_vendor_ledger_balance{account=\"outstanding\",unit=\"credits\"} 1",
    ] {
        assert!(numbers.lines().any(|it| it == line), "{line}\n{numbers}");
    }
    assert!(!numbers.contains(ALICE) && !numbers.contains("127.0.0.1"));
    http::ask(shop.metrics, "GET", "/v1/account", &[], b"").unwrap().is(404);
}

// BP2f: an intermediary buys for a sender; nothing about that sender is written down anywhere
#[test]
fn nothing_of_a_sender_is_kept_when_another_buys_for_him() {
    let shop = Shop::open(10, &[]);
    let fields = [IDEMPOTENT, ("X-Forwarded-For", "203.0.113.77"), ("User-Agent", "sender-secret-agent")];
    let bought = shop.ask_with("POST", "/v1/stamps", &fields, &json!({ "recipient": ALICE, "hashed": true })).is(200);
    let stamp = bought.json()["stamps"][0]["stamp"].as_str().unwrap().to_owned();
    let shown = Home::bare().run(["show", "--no-verify"], &stamped(&stamp, &letter("x"))).text();
    assert!(shown.contains("not given"), "{shown}");
    // A stamp that could not be bought leaves nothing either.
    let fields = [("Idempotency-Key", "k2"), fields[1], fields[2]];
    shop.ask_with("POST", "/v1/stamps", &fields, &json!({ "recipient": ALICE, "sender": "secret-sender@" })).is(400);
    shop.signal("-TERM");
    let mut shop = shop;
    assert_eq!(shop.ended(), Some(0));
    let mut open = vec![shop.path().to_owned()];
    let mut files = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.is_file() {
            files += 1;
            let bytes = fs::read(&path).unwrap();
            for secret in ["127.0.0.1", "203.0.113.77", "secret-", "y.example", ALICE] {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{} holds {secret}", path.display());
            }
        }
    }
    assert!(files >= 3, "only {files} files were read");
}

// Readers disagree about which of two equal names counts.
#[test]
fn a_body_that_names_a_member_twice_is_refused() {
    let shop = Shop::open(100, &[]);
    let authorization = format!("Bearer {}", shop.key);
    let fields =
        [("Authorization", authorization.as_str()), ("Content-Type", "application/json"), ("Idempotency-Key", "twice")];
    let ask = |path: &str, body: &str| http::ask(shop.address, "POST", path, &fields, body.as_bytes()).unwrap();
    for (path, body, name) in [
        ("/v1/stamps", r#"{"recipient":"a@x.example","recipient":"b@x.example"}"#, "recipient"),
        ("/v1/stamps", r#"{"recipient":"a@x.example","value":1,"val\u0075e":5}"#, "value"),
        ("/v1/stamps", r#"{"stamps":[{"recipient":"a@x.example"}],"stamps":[]}"#, "stamps"),
        ("/v1/stamps", r#"{"stamps":[{"recipient":"a@x.example","value":1,"value":2}]}"#, "value"),
        ("/v1/deposits", r#"{"stamps":[{"stamp":"a","stamp":"b"}]}"#, "stamp"),
        ("/v1/revocations", r#"{"serials":[],"serials":["AAAAAAAAAAAAAAAAAAAAAA"]}"#, "serials"),
        ("/v1/vouchers", r#"{"code":"a","code":"b"}"#, "code"),
        ("/v1/addresses", r#"{"address":"a@x.example","address":"b@x.example"}"#, "address"),
    ] {
        let problem = ask(path, body).is(400).json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(problem["problem"] == "body" && detail.contains("twice") && detail.contains(name), "{problem}");
    }
    assert_eq!((shop.balance(), shop.ledger().summary().unwrap().stamps), (100, 0));
}
