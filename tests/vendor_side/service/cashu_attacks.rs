//! What an attacker, a mint and a full disk can do to payments by Cashu.

use super::cashu::{Mint, command, says, stamps, take};
use super::form::{Visitor, area};
use crate::support::http::{self, Answer};
use crate::support::run;
use crate::support::shop::Shop;
use std::env;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;

/// A visitor behind the proxy of the shop, from this address.
struct Behind {
    visitor: Visitor,
    from: String,
}

impl Behind {
    fn new(shop: &Shop, from: &str) -> Self {
        Self { visitor: Visitor::new(shop), from: from.to_owned() }
    }

    fn pay(&self, address: SocketAddr, token: &str) -> Answer {
        let Visitor { cookie, .. } = &self.visitor;
        let body = self.visitor.body(&[("pay", "cashu"), ("ecash", token)]);
        let head = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Cookie", cookie.as_str()),
            ("X-Forwarded-For", self.from.as_str()),
        ];
        http::ask(address, "POST", "/buy", &head, &body).unwrap()
    }
}

#[test]
fn bad_tokens_cost_their_mint_little_and_then_nothing() {
    let mut mint = Mint::lock();
    let shop = mint.shop();
    let good = mint.send(8);
    let (little, forged) = (mint.send(4), mint.forge(&good, None));
    let unknown = mint.forge(&good, Some("00deadbeefdeadbe"));
    mint.asked();

    // Neither what is no token nor what is too little goes to the mint, whose keysets are not even known.
    says(Visitor::new(&shop).pay(&shop, "hello"), 422, "This is not a Cashu token");
    says(Visitor::new(&shop).pay(&shop, &"a".repeat(65_537)), 422, "too large");
    says(Visitor::new(&shop).pay(&shop, &little), 422, "This token is worth 4 sat");
    assert_eq!(mint.asked(), [""; 0]);

    // A forged one costs one request, once the keys are known. A keyset is looked for once a minute.
    says(Visitor::new(&shop).pay(&shop, &forged), 422, "The mint refuses this token");
    assert_eq!(mint.asked().last().unwrap(), "/swap");
    says(Visitor::new(&shop).pay(&shop, &forged), 422, "The mint refuses this token");
    assert_eq!(mint.asked(), ["/swap"]);
    says(Visitor::new(&shop).pay(&shop, &unknown), 422, "does not know the keys");
    assert_eq!(mint.asked(), ["/keysets"]);
    says(Visitor::new(&shop).pay(&shop, &unknown), 422, "does not know the keys");
    assert_eq!(mint.asked(), [""; 0]);
    // No record is left of them.
    let records = || fs::read_dir(shop.folder().join("cashu")).unwrap().flatten().filter(is_record).count();
    assert_eq!(records(), 0);

    // What waits at the mint is not recorded for every order.
    mint.mode("/swap", "refuse 11002");
    says(Visitor::new(&shop).pay(&shop, &forged), 503, "still working on this token");
    assert_eq!(records(), 0);
    mint.well();

    // A payment that began before the limit was reached is completed after it.
    let (begun, token) = (Visitor::new(&shop), mint.send(8));
    mint.mode("/swap", "lost");
    says(begun.pay(&shop, &token), 503, "keep the order code");
    mint.well();
    let last = (0..12).map(|_| Visitor::new(&shop).pay(&shop, "hello")).find(|answer| answer.status == 429).unwrap();
    says(last, 429, "Too many");
    mint.asked();
    says(Visitor::new(&shop).pay(&shop, &good), 429, "Too many wrong tokens");
    assert_eq!(mint.asked(), [""; 0]);
    begun.pay(&shop, &token).is(200);
    assert_eq!((stamps(&shop), mint.took(&good)), (1, false));
    shop.audit();
}

fn is_record(file: &fs::DirEntry) -> bool {
    file.file_name().to_str().is_some_and(|name| name.ends_with(".json"))
}

#[test]
fn a_slow_mint_leaves_places_to_other_networks_and_ways() {
    let mut mint = Mint::lock();
    let url = mint.url();
    let more = ["--cashu-mint", &url, "--cashu-rate", "0.001 EUR", "--address-rate", "0"];
    // Nothing listens at port 1, so a request to this provider fails at once where it gets a place.
    let shop =
        Shop::open(0, &[&more[..], &["--trusted-proxy", "127.0.0.1", "--provider", "http://127.0.0.1:1"]].concat());
    let tokens: Vec<String> = (0..3).map(|_| mint.send(8)).collect();
    let buyers = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|from| Behind::new(&shop, from));
    let other = Behind::new(&shop, "198.51.100.1");
    // The keys are known before.
    says(other.pay(shop.address, &mint.forge(&tokens[0], None)), 422, "The mint refuses");
    let fourth = mint.send(8);
    mint.mode("/swap", "before");
    let address = shop.address;
    thread::scope(|scope| {
        let slow: Vec<_> = (0..2)
            .map(|number| (&buyers[number], &tokens[number]))
            .map(|(buyer, token)| scope.spawn(|| buyer.pay(address, token)))
            .collect();
        mint.holds_many(2);
        says(buyers[2].pay(address, &tokens[2]), 429, "send this form again in some seconds");
        let others = scope.spawn(|| other.pay(address, &fourth));
        mint.holds_many(3);
        says(buyers[2].visitor.post(address, "/pay", &[]).unwrap(), 503, "payment provider does not answer");
        mint.release(true);
        for paid in slow {
            paid.join().unwrap().is(200);
        }
        others.join().unwrap().is(200);
    });
    mint.well();
    buyers[2].pay(address, &tokens[2]).is(200);
    assert_eq!(stamps(&shop), 4);
    shop.audit();
}

#[test]
fn keys_that_a_mint_changes_are_noticed() {
    let mut mint = Mint::lock();
    let mut shop = mint.shop();
    let token = mint.send(8);
    // Other keys under the same name: nothing is sent to this mint.
    mint.mode("/keys/", "keys");
    mint.asked();
    says(Visitor::new(&shop).pay(&shop, &token), 503, "its keys are not those of their keyset");
    assert!(!mint.asked().contains(&"/swap".to_owned()) && !mint.took(&token));
    assert!(shop.log().contains("its keys are not those of their keyset"), "{}", shop.log());
    mint.well();
    let visitor = Visitor::new(&shop);
    visitor.pay(&shop, &token).is(200);

    // New keys, as a mint makes them from time to time: those of the shop are asked for anew, and so are the buyer's.
    let old = mint.send(8);
    mint.rotate(100);
    Visitor::new(&shop).pay(&shop, &old).is(200);
    let new = mint.send(8);
    Visitor::new(&shop).pay(&shop, &new).is(200);
    // What the mint takes no more, whatever keys are used.
    let token = mint.send(8);
    mint.mode("/swap", "refuse 12002");
    says(Visitor::new(&shop).pay(&shop, &token), 422, "it is of an old keyset");
    mint.well();
    // A payment that was cut off before the keys changed.
    let (visitor, cut) = (Visitor::new(&shop), mint.send(8));
    mint.mode("/swap", "away");
    says(visitor.pay(&shop, &cut), 503, "keep the order code");
    mint.well();
    mint.rotate(100);
    shop.kill_and_restart();
    visitor.pay(&shop, &cut).is(200);
    assert_eq!(stamps(&shop), 4);
    assert!(mint.receive(&take(&shop)).unwrap() > 10);
    shop.audit();
}

/// Set for the part that runs where the small disk is.
const INSIDE: &str = "MAILSTAMP_TEST_SMALL_DISK";

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    if env::var_os(INSIDE).is_some() {
        return fill();
    }
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "--"]).arg(env::current_exe().unwrap());
    inside.args(["service::cashu_attacks::a_full_disk_is_told_and_loses_nothing", "--exact", "--nocapture"]);
    let ran = run(inside.env(INSIDE, "1"), b"");
    assert_eq!(ran.code, 0, "mounting needs root\n{}\n{}", ran.text(), ran.stderr);
}

fn fill() {
    let mut mint = Mint::lock();
    let shop = mint.shop();
    let folder = shop.folder().join("cashu");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs"]).arg(&folder);
    assert!(mount.status().unwrap().success());
    let full = |fill: bool| {
        let filler = folder.join("filler");
        if fill {
            let mut file = fs::File::create(&filler).unwrap();
            while file.write_all(&[0; 4_096]).is_ok() {}
        } else {
            fs::remove_file(filler).unwrap();
        }
    };
    // Before the mint has the token.
    let (visitor, token) = (Visitor::new(&shop), mint.send(8));
    full(true);
    says(visitor.pay(&shop, &token), 503, "The disk of the shop is full. Whatever happened, you lose nothing");
    assert!(!mint.took(&token) && shop.log().contains("No space left"), "{}", shop.log());
    full(false);
    // After it has taken it.
    mint.mode("/swap", "after");
    thread::scope(|scope| {
        let pay = scope.spawn(|| visitor.pay(&shop, &token));
        mint.holds();
        full(true);
        mint.release(true);
        says(pay.join().unwrap(), 503, "The disk of the shop is full. Whatever happened, you lose nothing");
    });
    mint.well();
    assert_eq!((stamps(&shop), mint.took(&token)), (0, true));
    full(false);
    assert_eq!(mint.receive(&area(&visitor.pay(&shop, &token).is(200), "change")), Ok(1));
    shop.audit();
}

// An old payment is its buyer's money. No new one is made there.
#[test]
fn payments_at_a_mint_that_was_removed_are_completed() {
    let mut mint = Mint::lock();
    let mut shop = mint.shop();
    let (visitor, token) = (Visitor::new(&shop), mint.send(8));
    let code = area(&visitor.order(&shop), "code");
    mint.mode("/swap", "lost");
    says(visitor.pay(&shop, &token), 503, "keep the order code");
    mint.well();
    shop.replace(&mint.url(), "http://127.0.0.1:1");
    shop.kill_and_restart();
    let new = mint.send(8);
    says(Visitor::new(&shop).pay(&shop, &new), 422, "accepts tokens of http://127.0.0.1:1 only");
    let bought = visitor.again(&shop, &code).is(200);
    assert_eq!(mint.receive(&area(&bought, "change")), Ok(1));
    assert_eq!(mint.receive(&take(&shop)), Ok(4));
    assert_eq!((stamps(&shop), mint.took(&new)), (1, false));
    shop.audit();
}

#[test]
fn the_operator_asks_about_many_payments_at_once() {
    let mut mint = Mint::lock();
    let shop = mint.shop();
    for number in 0..6 {
        let (visitor, token) = (Visitor::new(&shop), mint.send(8));
        mint.mode("/swap", if number < 3 { "pass" } else { "lost" });
        visitor.pay(&shop, &token);
        mint.well();
    }
    mint.asked();
    let taken = take(&shop);
    let asked = mint.asked();
    let count = |path: &str| asked.iter().filter(|asked| *asked == path).count();
    assert_eq!((count("/checkstate"), count("/restore")), (1, 1), "{asked:?}");
    assert_eq!(mint.receive(&taken), Ok(14));
    let listed = command(&shop, &["--json"]).exits(0).text();
    assert!(listed.contains("\"waiting\":15"), "{listed}");
    shop.audit();
}
