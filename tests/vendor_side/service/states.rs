//! Pages in states that a visitor alone does not bring about: payments that fail, what is sold out, errors; and the
//! page of `stats`. The states that visitors see every day are in `page.rs` and `own.rs`.

use super::browser::{Browser, RARE};
use super::cashu::{Mint, cap};
use super::form;
use super::own::{self, FEW, own_shop, set_work};
use super::provider::{Adapter, KEY};
use crate::support::programs::eventually;
use crate::support::shop::Shop;
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::{ALICE, Home};
use mailstamp::accounting::work::WorkTerms;
use mailstamp::verdict::class::Class;
use mailstamp::verdict::reason::Reason;
use serde_json::json;
use std::fs;

fn origin(shop: &Shop) -> String {
    format!("http://{}", shop.address)
}

/// From the form to the ways to pay.
fn order(browser: &mut Browser) {
    browser.goto(&format!("/?recipient={ALICE}&value=5"));
    browser.press("form.card button.primary");
}

fn pay_by_token(browser: &mut Browser, token: &str) {
    browser.fill("#ecash", token);
    browser.press("form:has(#ecash) button");
}

#[test]
fn rare_states_of_pages_keep_the_rules_too() {
    let mut browser = Browser::start("");
    let origins = [payments(&mut browser), given(&mut browser), "file://".to_owned()];
    stats(&mut browser);
    browser.end(RARE, &origins);
}

/// A shop whose mint and provider of payments fail in every way. Returns its origin.
fn payments(browser: &mut Browser) -> String {
    let (mut mint, adapter) = (Mint::lock(), Adapter::start());
    let shop = adapter.shop_with(
        KEY,
        &[
            &["--cashu-mint", &mint.url, "--cashu-rate", "0.001 EUR"][..],
            &["--seller", "Joe, 1 Road, Town", "--voucher-url", "https://vouchers.example/"],
        ]
        .concat(),
    );
    browser.visit(&origin(&shop));
    browser.goto("/");
    browser.look("form-seller");

    order(browser);
    browser.look("pay-ways");
    pay_by_token(browser, "hello");
    assert!(browser.look("pay-wrong-token").contains("This is not a Cashu token"));
    pay_by_token(browser, &mint.send(20));
    assert!(browser.look("bought-change").contains("Your change"));
    // The mint has the token, and the answer is lost; then the stamp may not be sold any more.
    order(browser);
    let token = mint.send(20);
    mint.mode("/swap", "lost");
    pay_by_token(browser, &token);
    assert!(browser.look("pay-mint-away").contains("The mint does not answer"));
    mint.well();
    cap(&shop, 1);
    browser.press("form:has(#ecash) button");
    assert!(browser.look("refund").contains("The payment was refunded"));
    cap(&shop, 1_000);

    order(browser);
    browser.press("form[action='/pay'] button");
    browser.look("provider");
    let link = browser.value("document.querySelector('#link').href");
    browser.press("form[action='/buy'] button");
    assert!(browser.look("provider-unpaid").contains("has not arrived yet"));
    adapter.pay(link.as_str().unwrap());
    browser.value("document.querySelector('form[action=\"/buy\"]').action = '/pay'");
    browser.press("form.card button");
    assert!(browser.look("provider-paid").contains("nothing more to ask"));
    cap(&shop, 1);
    browser.press("form[action='/buy'] button");
    assert!(browser.look("trouble-refunded").contains("The payment was refunded"));
    cap(&shop, 1_000);

    order(browser);
    drop(adapter);
    browser.press("form[action='/pay'] button");
    browser.look("trouble-503");
    order(browser);
    browser.value("document.querySelectorAll('[name=token]').forEach(it => { it.value = 'x'; })");
    browser.press("form.card button");
    browser.look("trouble-403");
    browser.goto("/stamp");
    // With the other fields it is more than one MiB.
    browser.value("document.querySelector('#code').value = 'a'.repeat(1024 * 1024)");
    browser.press("form.card button");
    browser.look("trouble-413");
    let visitor = form::Visitor::new(&shop);
    eventually("a refusal", || {
        browser.goto("/stamp");
        browser.fill("#code", "AAAA");
        while visitor.post(shop.address, "/stamp", &[("code", "AAAA")]).unwrap().status != 429 {}
        browser.press("form.card button");
        // One more try is allowed every six seconds.
        browser.text().contains("Too many requests").then_some(())
    });
    browser.look("trouble-429");
    shop.audit();
    origin(&shop)
}

/// A vendor for one recipient, where nothing is left, the mail server refuses, or the mailbox asks a price.
fn given(browser: &mut Browser) -> String {
    let smtp = SmtpServer::start(Mode::Refuse);
    let shop = own_shop(FEW, &["--smtp", &smtp.address()]);
    browser.visit(&origin(&shop));
    let ways = |browser: &mut Browser| {
        browser.goto("/");
        browser.press("form.card button");
    };
    ways(browser);
    browser.fill("#mail", "joe@z.example");
    browser.enter();
    browser.look("ways-no-mail");
    // Results that came while others were looked at are sent again.
    browser.goto("/");
    browser.value(
        "const proof = document.querySelector('[name=token]').cloneNode(); proof.name = 'proof'; \
         document.querySelector('form.card').append(proof)",
    );
    browser.press("form.card button");
    assert!(browser.look("ways-worked").contains("Send it again"));

    smtp.set(Mode::Take);
    ways(browser);
    browser.fill("#mail", "joe@z.example");
    browser.enter();
    let visitor = own::Visitor::new(&shop);
    visitor.take(&shop, &visitor.work(&shop)).is(200);
    // One network gets a tenth, which is one.
    set_work(&shop, WorkTerms { per_day: 10, codes_per_day: 10, ..FEW });
    ways(browser);
    assert_eq!(browser.look("ways-sold-out").matches("Sold out for now").count(), 2);

    let config = shop.path().join(".config/mailstamp/config.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, format!("addresses = [{{ address = \"{ALICE}\", price = 5 }}]")).unwrap();
    browser.goto("/");
    browser.look("inbox-priced");
    browser.press("form.card button");
    assert!(browser.look("ways-priced").contains("asks for stamps of at least 5 credits"));
    shop.audit();
    origin(&shop)
}

/// The page of `stats`, with mail of every class and without any.
fn stats(browser: &mut Browser) {
    let home = Home::new();
    browser.visit(&format!("file://{}", home.path().display()));
    home.run(["stats", "--html", "stats.html"], b"").exits(0);
    browser.goto("/stats.html");
    browser.look("stats-empty");
    let lines = Class::ALL.iter().enumerate().map(|(at, class)| {
        let (time, vendor) = (format!("2026-10-{:02}T10:00:00Z", at + 5), format!("vendor{at}.example"));
        let reason = Reason::ALL.iter().find(|reason| reason.class() == *class).unwrap().as_str();
        json!({ "time": time, "class": class.as_str(), "reason": reason, "vendor": vendor, "value": 2 }).to_string()
            + "\n"
    });
    fs::create_dir_all(home.state()).unwrap();
    fs::write(home.state().join("verdicts.jsonl"), lines.collect::<String>()).unwrap();
    let standing = json!({ "grant": { "kind": "return", "since": 1_791_201_600 } });
    let row = json!({ "row": "standing", "vendor": "vendor0.example", "serial": "a", "standing": standing });
    home.run(["import"], row.to_string().as_bytes()).exits(0);
    home.run(["stats", "--html", "stats.html"], b"").exits(0);
    browser.goto("/stats.html");
    browser.unfold();
    assert!(!browser.look("stats").contains("could not be read"));
}
