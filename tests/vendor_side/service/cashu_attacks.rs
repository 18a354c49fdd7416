//! What an attacker, a mint and a full disk can do to payments by Cashu.

use super::cashu::{Mint, cap, command, says, stamps, take};
use super::form::{Visitor, area};
use crate::support::http::{self, Answer};
use crate::support::shop::Shop;
use crate::support::{is_soak, run};
use serde_json::Value;
use std::collections::hash_map::RandomState;
use std::env;
use std::fs;
use std::hash::BuildHasher;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

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
        self.try_pay(address, token).unwrap()
    }

    fn try_pay(&self, address: SocketAddr, token: &str) -> io::Result<Answer> {
        let Visitor { cookie, .. } = &self.visitor;
        let body = self.visitor.body(&[("pay", "cashu"), ("ecash", token)]);
        let head = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Cookie", cookie.as_str()),
            ("X-Forwarded-For", self.from.as_str()),
        ];
        http::ask(address, "POST", "/buy", &head, &body)
    }

    /// Pays as often as it takes: the stamp with its change, or a refund.
    fn pay_until(&self, address: &Mutex<SocketAddr>, token: &str) -> Answer {
        let began = Instant::now();
        loop {
            let at = *address.lock().unwrap();
            match self.try_pay(at, token) {
                Ok(answer) if [200, 409].contains(&answer.status) => return answer,
                other => assert!(began.elapsed() < Duration::from_secs(300), "{other:?}"),
            }
            thread::sleep(Duration::from_millis(20));
        }
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
    // Nothing listens at port 1, so a request to this provider fails at once where it gets a place.
    let shop = mint.shop_with(&["--trusted-proxy", "127.0.0.1", "--provider", "http://127.0.0.1:1"]);
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

// tests/soak kills it 60 times.
#[test]
fn many_buyers_lose_nothing_to_a_shop_that_is_killed() {
    const EACH: usize = 3;
    let kills = if is_soak() { 60 } else { 3 };
    let mut mint = Mint::lock();
    let mut shop = mint.shop_with(&["--trusted-proxy", "127.0.0.1"]);
    let before = mint.sums();
    let buyers: Vec<(Behind, String)> = (0..kills * EACH)
        .map(|number| (Behind::new(&shop, &format!("10.{}.{}.1", number / 256, number % 256)), mint.send(9)))
        .collect();
    let (address, next, back) = (Mutex::new(shop.address), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let (sold, refunded, random) = (AtomicUsize::new(0), AtomicUsize::new(0), RandomState::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((buyer, token)) = buyers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let answer = buyer.pay_until(&address, token);
                    let (count, id, sum) = match answer.status {
                        200 => (&sold, "change", "3 sat"),
                        _ => (&refunded, "refund", "8 sat"),
                    };
                    assert!(answer.text().contains(sum), "{}", answer.text());
                    count.fetch_add(1, Ordering::Relaxed);
                    back.lock().unwrap().push(area(&answer, id));
                }
            });
        }
        for kill in 0..kills {
            thread::sleep(Duration::from_micros(random.hash_one(kill) % 200_000));
            shop.kill_and_restart();
            *address.lock().unwrap() = shop.address;
            // From time to time what is paid cannot be sold.
            cap(&shop, if kill % 5 == 2 { 1 } else { 1_000 });
        }
        eprintln!("{} of {} paid while it was killed", next.load(Ordering::Relaxed).min(buyers.len()), buyers.len());
        cap(&shop, 1_000);
    });
    let [sold, refunded] = [sold, refunded].map(AtomicUsize::into_inner);
    assert_eq!((sold + refunded, stamps(&shop)), (buyers.len(), sold as u64));
    for token in back.into_inner().unwrap() {
        mint.receive(&token).unwrap();
    }
    let mut taken_out = 0;
    loop {
        let taken = command(&shop, &["--take", "--json"]).exits(0).text();
        let Ok(taken) = serde_json::from_str::<Value>(&taken) else { break };
        mint.receive(taken["token"].as_str().unwrap()).unwrap();
        taken_out += taken["amount"].as_u64().unwrap();
    }
    assert_eq!(taken_out, 5 * sold as u64);
    // All that the mint has signed is in the wallet; the rest of what it had is the mint's fees.
    let after = mint.sums();
    eprintln!("{kills} kills, {sold} stamps, {refunded} refunds; wallet, mint, fees: {before:?}, then {after:?}");
    assert_eq!(after[1] - after[0], before[1] - before[0]);
    shop.audit();
}
