//! Addresses with a quoted local part (RFC 5321 section 4.1.2): sales, proofs, deposits, and a vendor for one recipient.

use super::form::{self, area};
use super::own::{FEW, set_work};
use crate::support::http;
use crate::support::shop::Shop;
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::{Home, letter, stamped};
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use serde_json::{Value, json};

/// Each with the form in which it is kept.
const QUOTED: [(&str, &str); 3] = [
    ("\"A b\"@Y.example", "\"a b\"@y.example"),
    ("\"a\\\"b\"@y.example", "\"a\\\"b\"@y.example"),
    ("\"a@b\\\\c\"@y.example", "\"a@b\\\\c\"@y.example"),
];

#[test]
fn a_quoted_address_is_sold_to_proved_and_paid() {
    let smtp = SmtpServer::start(Mode::Take);
    let shop = Shop::open(100, &["--smtp", &smtp.address()]);
    let ask = |path: &str, body: &Value| shop.ask_with("POST", path, &[("Idempotency-Key", &body.to_string())], body);
    for (address, kept) in QUOTED {
        let sold = ask("/v1/stamps", &json!({ "recipient": address })).is(200).json();
        let handed = json!({ "stamps": [{ "stamp": sold["stamps"][0]["stamp"] }] });
        assert_eq!(shop.ask("POST", "/v1/deposits", &handed).is(200).json()["each"][0]["problem"], "not-yours");
        shop.ask("POST", "/v1/addresses", &json!({ "address": address })).is(202);
        assert!(smtp.last().0.contains(&format!("RCPT TO:<{kept}>")), "{}", smtp.last().0);
        let answer = json!({ "address": kept, "code": smtp.code() });
        let owns = shop.ask("POST", "/v1/addresses/confirm", &answer).is(200).json();
        assert!(owns["owns"].as_array().unwrap().contains(&json!(kept)), "{owns}");
        assert_eq!(shop.ask("POST", "/v1/deposits", &handed).is(200).json()["credits"], 1, "{address}");
        // A hidden recipient, whose address the account owns.
        let hidden = json!({ "recipient": address, "hashed": true });
        let sold = ask("/v1/stamps", &hidden).is(200).json();
        let handed = json!({ "stamps": [{ "stamp": sold["stamps"][0]["stamp"] }] });
        assert_eq!(shop.ask("POST", "/v1/deposits", &handed).is(200).json()["credits"], 1, "{address}");
        shop.ledger().run(ops::Disown { account: shop.account, subject: address.to_owned() }, clock::now()).unwrap();
    }
    assert_eq!(shop.balance(), 100);
    shop.audit();
}

#[test]
fn a_vendor_for_a_quoted_address_gives_stamps() {
    let smtp = SmtpServer::start(Mode::Take);
    let (address, _) = QUOTED[0];
    let home = Home::bare();
    let init = ["vendor", "init", "--for-me", address, "--buy", "https://a.example", "--ledger", "own"];
    let made = home.run(init, b"").exits(0);
    let entry = r#"{ address = "\"A b\"@y.example", price = 0 }"#;
    assert!(made.stderr.contains(entry), "{}", made.stderr);
    home.configure(&format!("addresses = [{entry}]"));
    assert_eq!(home.run(init, b"").exits(0).stderr, "");
    home.run(["vendor", "audit", "--ledger", "own"], b"").exits(0);

    let shop = Shop::open(100, &["--address-rate", "0", "--smtp", &smtp.address()]);
    shop.ledger().run(ops::SetRecipient { recipient: address.to_owned() }, clock::now()).unwrap();
    set_work(&shop, FEW);
    let page = http::ask(shop.address, "GET", "/", &[], b"").unwrap().is(200);
    let visitor = form::Visitor::of(&page);
    let post = |path: &str, fields: &[(&str, &str)]| {
        let own = [("token", visitor.token.as_str()), ("purchase", visitor.purchase.as_str())];
        visitor.send(shop.address, path, &[&own, fields].concat()).unwrap()
    };
    // The code goes to a quoted address as well.
    let mail = QUOTED[1].0;
    post("/code", &[("mail", mail)]).is(200);
    let (_, text) = smtp.last();
    let code = text.split_whitespace().find(|word| word.len() == 14 && word.matches('-').count() == 2).unwrap();
    let stamp = area(&post("/buy", &[("pay", "code"), ("mail", mail), ("mailed", code)]).is(200), "stamp");
    let mail = "\"x y\"@z.example";
    post("/code", &[("mail", mail)]).is(200);
    let (_, text) = smtp.last();
    let code = text.split_whitespace().find(|word| word.len() == 14 && word.matches('-').count() == 2).unwrap();
    let spaced = code.replace('-', " ");
    area(&post("/buy", &[("pay", "code"), ("mail", mail), ("mailed", &spaced)]).is(200), "stamp");
    let entry = shop.ledger().published(clock::now()).unwrap();
    home.run(["trust", "add", "-"], &serde_json::to_vec(&entry).unwrap()).exits(0);
    home.classify(&stamped(&stamp, &letter("1"))).says("first-class paid");
    shop.audit();
}
