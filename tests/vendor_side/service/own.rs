//! A vendor for one recipient: `vendor init --for-me`, and its pages, by hand and with a real browser.

use super::browser::{Browser, OWN};
use super::form::{self, area, attribute};
use crate::support::http::{self, Answer};
use crate::support::programs::{PATIENCE, eventually};
use crate::support::shop::Shop;
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::{ALICE, Home, letter, run, stamped};
use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE64URL_NOPAD;
use mailstamp::accounting::event::Terms;
use mailstamp::accounting::work::WorkTerms;
use mailstamp::ledger::handle::Ledger;
use mailstamp::ledger::ops;
use mailstamp::ledger::trade::RedeemRequest;
use mailstamp::os::clock;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::token::Token;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// A shop for [`ALICE`] alone.
pub(super) fn own_shop(work: WorkTerms, more: &[&str]) -> Shop {
    let shop = Shop::open(100, &[&["--address-rate", "0"], more].concat());
    let ledger = shop.ledger();
    ledger.run(ops::SetRecipient { recipient: ALICE.into() }, clock::now()).unwrap();
    set_work(&shop, work);
    shop
}

pub(super) fn set_work(shop: &Shop, work: WorkTerms) {
    let ledger = shop.ledger();
    let terms = Terms { work: Some(work), ..ledger.profile().unwrap().terms };
    ledger.run(ops::SetTerms { terms }, clock::now()).unwrap();
}

/// Enough for a test, and little work. An hour gets two of each.
pub(super) const FEW: WorkTerms = WorkTerms { rounds: 1, per_day: 48, codes_per_day: 48 };

/// A visitor with a form of the first page.
pub(super) struct Visitor(form::Visitor);

impl Visitor {
    pub(super) fn new(shop: &Shop) -> Self {
        let answer = http::ask(shop.address, "GET", "/?recipient=other@y.example&value=0", &[], b"").unwrap().is(200);
        let page = answer.text();
        assert!(page.contains(&format!("Get a stamp to write to {ALICE}")) && !page.contains("other@y"), "{page}");
        Self(form::Visitor::of(&answer))
    }

    fn post(&self, shop: &Shop, path: &str, fields: &[(&str, &str)]) -> Answer {
        let form::Visitor { token, purchase, .. } = &self.0;
        let own = [("token", token.as_str()), ("purchase", purchase), ("recipient", "other@y.example")];
        self.0.send(shop.address, path, &[&own, fields].concat()).unwrap()
    }

    /// The result of the work that the shop asks for.
    pub(super) fn work(&self, shop: &Shop) -> String {
        let answer = self.post(shop, "/work", &[]).is(200);
        let policy = answer.field("content-security-policy").unwrap().to_owned();
        assert!(policy.contains("script-src 'self' 'wasm-unsafe-eval'"), "{policy}");
        let page = answer.text();
        let number = |name: &str| attribute(&page, &format!("data-{name}=\"")).parse::<u32>().unwrap();
        let [rounds, memory, passes, bytes, bits] = ["rounds", "memory", "passes", "bytes", "bits"].map(number);
        let nonce = attribute(&page, "data-nonce=\"");
        let salt = BASE64URL_NOPAD.decode(nonce.as_bytes()).unwrap();
        let params = Params::new(memory, passes, 1, Some(bytes as usize)).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let each: Vec<u8> = (0..rounds)
            .flat_map(|round| {
                let mut result = vec![0; bytes as usize];
                argon2.hash_password_into(format!("{nonce}.{round}").as_bytes(), &salt[..16], &mut result).unwrap();
                result
            })
            .collect();
        let results = BASE64URL_NOPAD.encode(&each);
        let mut proofs = (0..).map(|counter| format!("{nonce}.{counter}.{results}"));
        let zeros = |text: &String| {
            Sha256::digest(text).iter().fold((0, true), |(sum, all), byte| {
                (sum + if all { byte.leading_zeros() } else { 0 }, all && *byte == 0)
            })
        };
        proofs.find(|text| zeros(text).0 >= bits).unwrap()
    }

    pub(super) fn take(&self, shop: &Shop, proof: &str) -> Answer {
        self.post(shop, "/buy", &[("pay", "work"), ("proof", proof)])
    }
}

fn claims(stamp: &str) -> Stamp {
    Stamp::read(Token::parse(stamp).unwrap().payload()).unwrap()
}

/// A home whose user is the recipient, asks this price, and trusts the shop.
fn recipient(shop: &Shop, price: u64) -> Home {
    let home = Home::bare();
    home.configure(&format!("addresses = [{{ address = \"{ALICE}\", price = {price} }}]"));
    let entry = shop.ledger().published(clock::now()).unwrap();
    home.run(["trust", "add", "-"], &serde_json::to_vec(&entry).unwrap()).exits(0);
    home
}

#[test]
fn work_gets_one_stamp_of_no_value_for_the_recipient() {
    let mut shop = own_shop(FEW, &[]);
    let visitor = Visitor::new(&shop);
    let ways = visitor.post(&shop, "/order", &[]).is(200).text();
    assert!(ways.contains("Let your browser work") && ways.contains("Or have a code mailed"), "{ways}");
    let proof = visitor.work(&shop);
    let page = visitor.take(&shop, &proof).is(200);
    let stamp = area(&page, "stamp");
    let read = claims(&stamp);
    assert_eq!((read.value, read.audience.to_string().as_str()), (0, ALICE));
    assert!(!page.text().contains("It cost"), "{}", page.text());

    // Sent again, also after a restart, and by its order code: the same stamp.
    let again = |shop: &Shop| area(&visitor.take(shop, &proof).is(200), "stamp");
    assert_eq!(again(&shop), stamp);
    shop.kill_and_restart();
    assert_eq!(again(&shop), stamp);
    let code = area(&page, "code");
    assert_eq!(area(&visitor.post(&shop, "/stamp", &[("code", &code)]).is(200), "stamp"), stamp);
    // The same work for another purchase, and a second try, get nothing.
    let other = Visitor::new(&shop);
    let refused = other.take(&shop, &proof).is(422).text();
    assert!(refused.contains("Please try once more"), "{refused}");
    let wrong = other.work(&shop).replace('.', ".0");
    assert!(other.take(&shop, &wrong).is(422).text().contains("The proof of work is wrong"));
    assert_eq!(shop.ledger().summary().unwrap().stamps, 1);

    // It is accepted where the mailbox asks nothing, and nowhere else.
    let message = stamped(&stamp, &letter("1"));
    recipient(&shop, 0).classify(&message).says("first-class paid");
    recipient(&shop, 1).classify(&message).says("underpaid below-price");
    // It is never taken back.
    let ledger = shop.ledger();
    ledger.own(shop.account, ALICE, clock::now()).unwrap();
    let given = [RedeemRequest { stamp, address: None }];
    let outcome = ledger.deposit(shop.account, &given, clock::now()).unwrap();
    assert_eq!(outcome.each[0].unwrap_err().to_string(), "it has no value");
    assert!(outcome.booked.is_none() && shop.balance() == 100);
    shop.audit();
    let log = shop.log();
    assert!(!log.contains(&proof) && !log.contains("v4.public"), "{log}");
}

/// Waits for the next hour where this one soon ends, since a cap counts by the hours of the clock.
fn until_an_hour_lasts(seconds: i64) {
    let left = 3_600 - clock::now().0.rem_euclid(3_600);
    if left < seconds {
        thread::sleep(Duration::from_secs(left.cast_unsigned()));
    }
}

#[test]
fn beyond_the_cap_the_page_says_sold_out_for_now() {
    until_an_hour_lasts(90);
    let shop = own_shop(WorkTerms { per_day: 24, ..FEW }, &[]);
    let (one, two) = (Visitor::new(&shop), Visitor::new(&shop));
    let (first, second) = (one.work(&shop), two.work(&shop));
    one.take(&shop, &first).is(200);
    let refused = two.take(&shop, &second).is(429);
    assert!(refused.text().contains("Sold out for now"), "{}", refused.text());
    let ways = two.post(&shop, "/work", &[]).is(200).text();
    assert!(ways.contains("Sold out for now") && !ways.contains("data-nonce"), "{ways}");
    // One network gets a tenth of a day's cap.
    set_work(&shop, WorkTerms { per_day: 10, ..FEW });
    assert!(two.post(&shop, "/order", &[]).is(200).text().contains("Sold out for now"));
    set_work(&shop, WorkTerms { per_day: 240, ..FEW });
    let later = Visitor::new(&shop);
    let proof = later.work(&shop);
    later.take(&shop, &proof).is(200);
    assert_eq!(shop.ledger().summary().unwrap().stamps, 2);
    shop.audit();
}

#[test]
fn a_mailed_code_gets_one_stamp_a_day_for_an_address() {
    let smtp = SmtpServer::start(Mode::Take);
    let shop = own_shop(WorkTerms { codes_per_day: 96, ..FEW }, &["--smtp", &smtp.address()]);
    let visitor = Visitor::new(&shop);
    let ask = |visitor: &Visitor, mail: &str| visitor.post(&shop, "/code", &[("mail", mail)]);
    let page = ask(&visitor, "J.oe+x@sub.z.example").is(200).text();
    assert!(page.contains("A code is on its way to J.oe+x@sub.z.example"), "{page}");
    let (to, text) = smtp.last();
    assert!(to.contains("RCPT TO:<J.oe+x@sub.z.example>") && text.contains(ALICE), "{to} {text}");
    let code = text.split_whitespace().find(|word| word.len() == 14 && word.matches('-').count() == 2).unwrap();
    let enter = |visitor: &Visitor, code: &str| {
        visitor.post(&shop, "/buy", &[("pay", "code"), ("mail", "J.oe+x@sub.z.example"), ("mailed", code)])
    };
    assert!(enter(&visitor, "AAAA-AAAA-AAAA").is(422).text().contains("Not the code that was mailed"));
    // The code is for one purchase.
    assert!(enter(&Visitor::new(&shop), code).is(422).text().contains("Not the code"));
    let stamp = area(&enter(&visitor, &code.to_lowercase()).is(200), "stamp");
    assert_eq!(claims(&stamp).value, 0);
    assert_eq!(area(&enter(&visitor, code).is(200), "stamp"), stamp);
    // The same mailbox under other names.
    let count = smtp.count();
    for same in ["joe@z.example", "JOE+y@z.example", "j.o.e@other.z.example"] {
        let refused = ask(&Visitor::new(&shop), same).is(429).text();
        assert!(refused.contains("A code was mailed to this address"), "{same}: {refused}");
    }
    for wrong in ["", "joe", "joe@localhost", "joe@[127.0.0.1]", "z.example"] {
        ask(&Visitor::new(&shop), wrong).is(422);
    }
    assert_eq!(smtp.count(), count);
    // A code that could not be mailed does not count.
    smtp.set(Mode::Refuse);
    ask(&Visitor::new(&shop), "dora@w.example").is(503);
    smtp.set(Mode::Take);
    ask(&Visitor::new(&shop), "dora@w.example").is(200);
    // Half of a cap at most goes to one domain, and an hour gets its part.
    set_work(&shop, WorkTerms { codes_per_day: 2, ..FEW });
    assert!(ask(&Visitor::new(&shop), "carl@v.example").is(429).text().contains("Sold out for now"));
    assert_eq!(shop.ledger().summary().unwrap().stamps, 1);
    shop.audit();
}

#[test]
fn nothing_is_given_where_the_mailbox_asks_a_price() {
    let shop = own_shop(FEW, &[]);
    let visitor = Visitor::new(&shop);
    let proof = visitor.work(&shop);
    let config = shop.path().join(".config/mailstamp/config.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, format!("addresses = [{{ address = \"{ALICE}\", price = 5 }}]")).unwrap();
    for (path, fields) in [
        ("/order", vec![]),
        ("/work", vec![]),
        ("/code", vec![("mail", "joe@z.example")]),
        ("/buy", vec![("pay", "work"), ("proof", &proof)]),
    ] {
        let page = visitor.post(&shop, path, &fields).is(200).text();
        assert!(page.contains("asks for stamps of at least 5 credits") && !page.contains("action=\"/work\""), "{page}");
    }
    assert_eq!(shop.ledger().summary().unwrap().stamps, 0);
    // A voucher pays the price, and for no other recipient.
    let voucher = shop.ledger().make_voucher(9, None, clock::now()).unwrap();
    let paid = visitor.post(&shop, "/buy", &[("pay", "voucher"), ("voucher", &voucher), ("value", "1")]).is(200);
    let read = claims(&area(&paid, "stamp"));
    assert_eq!((read.value, read.audience.to_string().as_str()), (5, ALICE));
    let refused =
        shop.ask_with("POST", "/v1/stamps", &[("Idempotency-Key", "1")], &json!({"recipient": "b@y.example"}));
    assert_eq!(refused.is(422).json()["problem"], "other-recipient");
    // Once the price is gone, work counts again, without a restart.
    fs::write(&config, format!("addresses = [{{ address = \"{ALICE}\", price = 0 }}]")).unwrap();
    let next = Visitor::new(&shop);
    let proof = next.work(&shop);
    next.take(&shop, &proof).is(200);
    // And where the address is the user's no more, nothing is given.
    fs::write(&config, "addresses = [{ address = \"bob@x.example\", price = 0 }]").unwrap();
    let page = Visitor::new(&shop).post(&shop, "/order", &[]).is(200).text();
    assert!(page.contains("voucher") && !page.contains("action=\"/work\""), "{page}");
    shop.audit();
}

#[test]
fn an_ordinary_shop_has_no_such_pages() {
    let shop = Shop::open(1, &[]);
    let form = http::ask(shop.address, "GET", "/", &[], b"").unwrap().is(200);
    let visitor = Visitor(form::Visitor { purchase: "p".into(), ..form::Visitor::of(&form) });
    visitor.post(&shop, "/work", &[]).is(404);
    visitor.post(&shop, "/code", &[("mail", "joe@z.example")]).is(404);
    visitor.post(&shop, "/buy", &[("pay", "work"), ("proof", "a.b.c")]).is(422);
    let mut terms = Command::new(crate::support::MAILSTAMP);
    terms.args(["vendor", "terms", "--work", "2", "--ledger"]).arg(shop.folder());
    let refused = run(&mut terms, b"").exits(64);
    assert!(refused.stderr.contains("only by a vendor for one recipient"), "{}", refused.stderr);
}

#[test]
fn a_vendor_for_me_is_made_and_trusted_in_one_command() {
    let home = Home::bare();
    let init = ["vendor", "init", "--for-me", ALICE, "--buy", "https://Alice.example/"];
    // Nothing is written before all is known to fit.
    for wrong in [
        &["vendor", "init", "--for-me", ALICE][..],
        &["vendor", "init", "--for-me", "alice", "--buy", "https://alice.example"],
        &["vendor", "init", "--for-me", "*@x.example", "--buy", "https://alice.example"],
        &["vendor", "init", "--for-me", ALICE, "--buy", "http://127.0.0.1:8025"],
        &["vendor", "init", "--for-me", ALICE, "--buy", "https://alice.example/shop"],
        &["vendor", "init", "--price", "1 EUR"],
    ] {
        let refused = home.run(wrong.iter().copied(), b"");
        assert!(matches!(refused.code, 64 | 65), "{wrong:?}: {refused:?}");
        assert!(!home.state().join("vendor").exists());
    }
    let made = home.run(init, b"").exits(0);
    assert!(made.text().contains("get a stamp: https://alice.example/\n"), "{}", made.text());
    assert!(made.stderr.contains("addresses = [{ address = \"alice@x.example\", price = 0 }]"), "{}", made.stderr);
    // A second run changes nothing, and finishes what a killed one left.
    let document = home.file(".config/mailstamp/vendors/alice.example.json");
    let before = fs::read(&document).unwrap();
    home.run(init, b"").exits(0);
    assert_eq!(fs::read(&document).unwrap(), before);
    fs::remove_file(&document).unwrap();
    home.run(init, b"").exits(0);
    assert_eq!(fs::read(&document).unwrap(), before);
    home.configure(&format!("addresses = [\"{ALICE}\"]"));
    let priced = home.run(init, b"").exits(0);
    assert!(priced.stderr.contains("while the address asks 1"), "{}", priced.stderr);
    let other = ["vendor", "init", "--for-me", "bob@x.example", "--buy", "https://alice.example"];
    home.run(other, b"").exits(73);
    let terms = home.run(["vendor", "terms"], b"").exits(0).text();
    assert!(terms.contains("for alice@x.example only\nwork: 16 rounds for a stamp, at most 240 stamps"), "{terms}");
    // A host in letters, too.
    let other = Home::bare();
    let letters = ["vendor", "init", "--for-me", ALICE, "--buy", "https://B\u{fc}cher.example"];
    let made = other.run(letters, b"").exits(0).text();
    assert!(made.contains("get a stamp: https://xn--bcher-kva.example/\n"), "{made}");
    assert!(other.file(".config/mailstamp/vendors/xn--bcher-kva.example.json").exists());
    let set = home.run(["vendor", "terms", "--work", "4", "--max-worked", "10", "--max-codes", "0"], b"").exits(0);
    assert!(set.text().contains("work: 4 rounds for a stamp, at most 10 stamps and 0 mailed codes"), "{}", set.text());
    home.run(["vendor", "terms", "--work", "off"], b"").exits(0);
    home.run(["vendor", "terms", "--max-codes", "1"], b"").exits(64);
    assert!(home.run(["trust", "list"], b"").exits(0).text().contains("alice.example"));
    // Automatic replies link to the page.
    home.configure(&format!("addresses = [{{ address = \"{ALICE}\", price = 0 }}]"));
    assert!(String::from_utf8(before).unwrap().contains("\"buy\": \"https://alice.example/\""));
    // The chain, which never forgets, has no address.
    let ledger = Ledger::open(&home.state().join("vendor"), PATIENCE).unwrap();
    let entries = ledger.run(ops::Entries { after: 0, most: 100 }, clock::now()).unwrap();
    assert!(!serde_json::to_string(&entries).unwrap().contains(ALICE));
    drop(ledger);
    home.run(["vendor", "audit"], b"").exits(0);
}

// The whole way with a real browser: its WebAssembly agrees with the crate.
#[test]
fn a_browser_works_for_a_stamp() {
    let smtp = SmtpServer::start(Mode::Take);
    let shop = own_shop(WorkTerms { rounds: 2, ..FEW }, &["--smtp", &smtp.address()]);
    let origin = format!("http://{}", shop.address);
    let mut browser = Browser::start(&origin);
    browser.scripts(true);
    browser.goto("/");
    browser.look("inbox");
    browser.value("document.querySelector('form.card').noValidate = true");
    browser.fill("#sender", "joe@");
    browser.enter();
    browser.look("inbox-faults");
    browser.fill("#sender", "joe@z.example");
    browser.enter();
    browser.look("ways");
    browser.press("form[action='/work'] button.primary");
    // The page that works sends its form by itself, once.
    eventually("a stamp", || (browser.value("document.querySelector('#stamp') !== null") == json!(true)).then_some(()));
    browser.look("bought-given");
    let stamp = browser.field("#stamp");
    assert_eq!(claims(&stamp).value, 0);
    assert_eq!(browser.value("document.querySelectorAll('[data-copy] + button').length"), json!(3));
    let link = browser.value("document.querySelector('#mailto').href").as_str().unwrap().to_owned();
    assert!(link.starts_with("mailto:alice@x.example?body=-----BEGIN%20DIGITAL%20STAMP"), "{link}");
    // The page that the link opens has the stamp in its text, which is enough.
    let body = browser.value("decodeURIComponent(document.querySelector('#mailto').href.split('body=')[1])");
    let message = format!("From: joe@z.example\nTo: {ALICE}\nSubject: Hello\n\n{}Hello\n", body.as_str().unwrap());
    recipient(&shop, 0).classify(message.as_bytes()).says("first-class paid");

    browser.scripts(false);
    browser.goto("/");
    browser.press("form.card button.primary");
    browser.press("form[action='/work'] button.primary");
    assert!(browser.look("work").contains("This needs JavaScript"));
    browser.back();
    browser.fill("#mail", "joe@z.example");
    browser.enter();
    browser.look("ways-mailed");
    browser.fill("#mailed", "AAAA-AAAA-AAAA");
    browser.enter();
    assert!(browser.look("ways-wrong-code").contains("Not the code that was mailed"));
    browser.finds_faults();
    browser.end(OWN, &[origin]);
    shop.audit();
}
