//! A provider of payments, through an adapter that runs as a service of its own.

use super::form::{Visitor, area, attribute};
use crate::support::http::{self, Answer};
use crate::support::shop::Shop;
use mailstamp::accounting::event::Terms;
use mailstamp::accounting::order::Caps;
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

pub(super) const KEY: &str = "key-of-the-adapter";

/// An adapter that runs.
pub(super) struct Adapter {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Adapter {
    pub(super) fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor_side/service/adapter.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).arg(KEY).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], line.trim().parse().unwrap()));
        Self { child, address, folder: tempfile::tempdir().unwrap() }
    }

    /// A shop with this adapter, which it gets this key for.
    fn shop(&self, key: &str) -> Shop {
        self.shop_with(key, &[])
    }

    /// The same with more arguments.
    pub(super) fn shop_with(&self, key: &str, others: &[&str]) -> Shop {
        let file = self.folder.path().join("key");
        fs::write(&file, format!("{key}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let url = format!("http://{}", self.address);
        let file = file.to_str().unwrap();
        let more = ["--provider", &url, "--provider-name", "Coins", "--provider-key", file, "--address-rate", "0"];
        Shop::open(0, &[&more, others].concat())
    }

    /// Opens the payment page, as a buyer does, who has then paid.
    pub(super) fn pay(&self, link: &str) {
        let path = link.strip_prefix(&format!("http://{}", self.address)).unwrap_or_else(|| panic!("{link}"));
        http::ask(self.address, "GET", path, &[], b"").unwrap().is(200);
    }

    fn state(&self, link: &str) -> String {
        let path = format!("/payments/{}", link.rsplit('/').next().unwrap());
        let key = format!("Bearer {KEY}");
        let answer = http::ask(self.address, "GET", &path, &[("Authorization", &key)], b"").unwrap().is(200);
        answer.json()["state"].as_str().unwrap().to_owned()
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Visitor {
    fn begin(&self, shop: &Shop) -> (String, String) {
        let page = self.post(shop.address, "/pay", &[]).unwrap().is(200);
        (attribute(&page.text(), "id=\"link\" href=\""), area(&page, "code"))
    }

    fn paid(&self, shop: &Shop) -> Answer {
        self.post(shop.address, "/buy", &[("pay", "provider")]).unwrap()
    }
}

#[test]
fn a_payment_elsewhere_buys_one_stamp() {
    let adapter = Adapter::start();
    let mut shop = adapter.shop(KEY);
    let visitor = Visitor::new(&shop);
    let page = visitor.post(shop.address, "/order", &[]).unwrap().is(200).text();
    assert!(page.contains("Pay with Coins"), "{page}");
    let none = visitor.paid(&shop).is(402).text();
    assert!(none.contains("No payment was begun"), "{none}");
    let (link, code) = visitor.begin(&shop);
    assert_eq!(visitor.begin(&shop), (link.clone(), code.clone()), "the same form begins the same payment");
    assert!(visitor.paid(&shop).is(402).text().contains("has not arrived yet"));
    adapter.pay(&link);
    let page = visitor.post(shop.address, "/pay", &[]).unwrap().is(200).text();
    assert!(page.contains("Coins has nothing more to ask") && !page.contains("id=\"link\""), "{page}");
    let stamp = area(&visitor.paid(&shop).is(200), "stamp");
    shop.kill_and_restart();
    assert_eq!(area(&visitor.paid(&shop).is(200), "stamp"), stamp);
    // The order code shows the sale again. There is no voucher with a rest.
    let again = |visitor: &Visitor, code: &str| visitor.post(shop.address, "/stamp", &[("code", code)]).unwrap();
    let page = again(&visitor, &code).is(200);
    assert!(page.text().contains("It cost 5 credits. Reloading"), "{}", page.text());
    assert_eq!(area(&page, "stamp"), stamp);

    // A buyer who left before the payment arrived comes back with the order code.
    let other = Visitor::new(&shop);
    let (link, code) = other.begin(&shop);
    again(&visitor, &code).is(422);
    adapter.pay(&link);
    let late = area(&again(&visitor, &code).is(200), "stamp");
    assert_eq!(area(&other.paid(&shop).is(200), "stamp"), late);
    assert_ne!(late, stamp);
    let summary = shop.ledger().summary().unwrap();
    assert_eq!(summary.stamps, 2);
    // The sum is booked: ten credits at a tenth of a cent.
    let money: Vec<i64> = summary.balances.iter().map(|balance| balance.amount).collect();
    assert!(money.contains(&10_000), "{summary:?}");
    shop.audit();
    assert!(!shop.log().contains(KEY));
}

#[test]
fn what_cannot_be_sold_is_refunded_once() {
    let adapter = Adapter::start();
    let shop = adapter.shop(KEY);
    let visitor = Visitor::new(&shop);
    let (link, code) = visitor.begin(&shop);
    adapter.pay(&link);
    let set = |value: u64| {
        let terms = shop.ledger().profile().unwrap().terms;
        let terms = Terms { caps: Caps { value, ..terms.caps }, ..terms };
        shop.ledger().run(ops::SetTerms { terms }, clock::now()).unwrap();
    };
    set(1);
    let page = visitor.paid(&shop);
    assert!(page.text().contains("The payment was refunded"), "{}", page.text());
    assert_eq!((page.status, adapter.state(&link).as_str()), (409, "refunded"));
    set(1_000);
    let refused = visitor.paid(&shop).is(402).text();
    assert!(refused.contains("This payment was refunded"), "{refused}");
    visitor.post(shop.address, "/stamp", &[("code", &code)]).unwrap().is(422);

    // The price rose after the payment began.
    let visitor = Visitor::new(&shop);
    let (link, _) = visitor.begin(&shop);
    adapter.pay(&link);
    let terms = shop.ledger().profile().unwrap().terms;
    let terms = Terms { price: "1 EUR".parse().unwrap(), ..terms };
    shop.ledger().run(ops::SetTerms { terms }, clock::now()).unwrap();
    let page = visitor.paid(&shop).is(409).text();
    assert!(page.contains("The payment was refunded") && page.contains("and this costs 5.00 EUR"), "{page}");
    assert_eq!(adapter.state(&link), "refunded");
    assert_eq!(shop.ledger().summary().unwrap().stamps, 0);
    shop.audit();
}

// One order, one payment: the provider may have its money, so nothing else pays for it meanwhile.
#[test]
fn an_order_is_not_charged_by_a_voucher_and_a_provider() {
    let mut adapter = Adapter::start();
    let mut shop = adapter.shop(KEY);
    let voucher = shop.ledger().make_voucher(50, None, clock::now()).unwrap().as_str().to_owned();
    let pay = |visitor: &Visitor, shop: &Shop| {
        visitor.post(shop.address, "/buy", &[("pay", "voucher"), ("voucher", &voucher)]).unwrap()
    };
    let stamps = |shop: &Shop| shop.ledger().summary().unwrap().stamps;
    let visitor = Visitor::new(&shop);
    let (link, _) = visitor.begin(&shop);
    adapter.pay(&link);
    let refused = pay(&visitor, &shop).is(422).text();
    assert!(refused.contains("A payment with Coins was made for this order, and nothing was charged now"), "{refused}");
    assert_eq!(stamps(&shop), 0);
    let stamp = area(&visitor.paid(&shop).is(200), "stamp");
    assert_eq!(area(&pay(&visitor, &shop).is(200), "stamp"), stamp);
    assert_eq!((stamps(&shop), adapter.state(&link).as_str()), (1, "paid"));

    // The money arrives after the sale, or the shop has forgotten that the buyer went there: it is given back.
    for restart in [false, true] {
        let visitor = Visitor::new(&shop);
        let (link, _) = visitor.begin(&shop);
        if restart {
            adapter.pay(&link);
            shop.kill_and_restart();
        }
        let stamp = area(&pay(&visitor, &shop).is(200), "stamp");
        if !restart {
            adapter.pay(&link);
        }
        for _ in 0..2 {
            assert_eq!(area(&visitor.paid(&shop).is(200), "stamp"), stamp);
            assert_eq!(adapter.state(&link), "refunded");
        }
    }
    // Without its adapter, only an order that was begun there waits for it.
    let (begun, other) = (Visitor::new(&shop), Visitor::new(&shop));
    begun.begin(&shop);
    adapter.child.kill().unwrap();
    adapter.child.wait().unwrap();
    let refused = pay(&begun, &shop).is(422).text();
    assert!(refused.contains("payment provider does not answer"), "{refused}");
    pay(&other, &shop).is(200);
    assert_eq!(stamps(&shop), 4);
    shop.audit();
}

#[test]
fn without_its_adapter_a_shop_loses_no_payment() {
    let adapter = Adapter::start();
    let shop = adapter.shop("another-key");
    let refused = Visitor::new(&shop).post(shop.address, "/pay", &[]).unwrap().is(503).text();
    assert!(refused.contains("payment provider does not answer"), "{refused}");
    let log = shop.log();
    assert!(log.contains("status 401") && !log.contains("another-key"), "{log}");

    let mut second = Adapter::start();
    let shop = second.shop(KEY);
    let (sold, open) = (Visitor::new(&shop), Visitor::new(&shop));
    let ((link, _), _) = (sold.begin(&shop), open.begin(&shop));
    second.pay(&link);
    let stamp = area(&sold.paid(&shop).is(200), "stamp");
    second.child.kill().unwrap();
    second.child.wait().unwrap();
    assert_eq!(area(&sold.paid(&shop).is(200), "stamp"), stamp);
    open.paid(&shop).is(503);
    shop.audit();
}

#[test]
fn after_kill_9_every_payment_bought_one_stamp() {
    let adapter = Adapter::start();
    let mut shop = adapter.shop(KEY);
    for round in 0..6_u64 {
        let visitor = Visitor::new(&shop);
        let (link, _) = visitor.begin(&shop);
        adapter.pay(&link);
        let address = shop.address;
        thread::scope(|scope| {
            // The answer is lost with the shop, or comes before.
            scope.spawn(|| drop(visitor.post(address, "/buy", &[("pay", "provider")])));
            thread::sleep(Duration::from_millis(3 * round));
            shop.kill_and_restart();
        });
        let stamp = area(&visitor.paid(&shop).is(200), "stamp");
        assert_eq!(area(&visitor.paid(&shop).is(200), "stamp"), stamp);
        assert_eq!(shop.ledger().summary().unwrap().stamps, round + 1);
    }
    shop.audit();
}
