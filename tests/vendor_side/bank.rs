//! Two banks and an agency that runs: a gateway pays, another is paid, and credits are counted on all three sides.

use crate::support::shop::{Shop, VENDOR, cutting};
use crate::support::{Home, Run, follow_clock, run, set_clock};
use data_encoding::BASE64URL_NOPAD;
use mailstamp::accounting::bank::event::Event;
use mailstamp::accounting::hash::Hash;
use mailstamp::accounting::hash_chain::Head;
use mailstamp::accounting::meter::{key_name, payment_hash};
use mailstamp::bank::handle::Bank;
use mailstamp::bank::order::{IncomingToken, PaymentOrder, Reservation, copy_name};
use mailstamp::ledger::model::MeterContact;
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::stamp::token::Purpose;
use mailstamp::time::UnixTime;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A host with a gateway and its bank.
pub(crate) struct Gateway {
    pub home: Home,
    pub bank: Bank,
    pub account: u64,
}

/// What a command printed as JSON.
#[track_caller]
fn told(run: Run) -> Value {
    serde_json::from_str(&run.exits(0).text()).unwrap()
}

impl Gateway {
    fn new(shop: &Shop, at: SocketAddr, account: u64, key: &str) -> Self {
        let home = Home::bare();
        home.configure("addresses = [\"postmaster@x.example\"]");
        let signer = shop.ledger().active_signer().unwrap().unwrap();
        let public = signer.key.public().to_string();
        let keys =
            json!({ "vendor": VENDOR, "keys": [{ "kid": signer.issuer.key_id(), "key": public, "status": "active" }] });
        home.run(["trust", "add", "-"], keys.to_string().as_bytes()).exits(0);
        let url = format!("http://{at}");
        let add = ["account", "add", "shop", "--url", &url, "--vendor", VENDOR, "--offline"];
        home.run(add, format!("{key}\n").as_bytes()).exits(0);
        home.run(["bank", "init", "--agency", VENDOR, "--account", "shop"], b"").exits(0);
        let bank = Bank::new(&home.state(), Duration::from_secs(60));
        Self { home, bank, account }
    }

    pub fn run(&self, command: &str) -> Run {
        let words: Vec<&str> = ["bank"].into_iter().chain(command.split(' ')).collect();
        self.home.run(words, b"")
    }

    #[track_caller]
    pub fn tells(&self, command: &str) -> Value {
        told(self.run(&format!("{command} --json")))
    }

    /// Credits held, licensed, reserved, paid, received.
    pub fn has(&self) -> [u64; 5] {
        let has = self.bank.balance().unwrap();
        [has.held, has.licensed, has.reserved, has.paid, has.received]
    }

    /// Reserves the payment of a message, as the gateway will.
    fn pay(&self, message: u64, credits: u64) -> Reservation {
        let (mailbox, print) = (format!("r{message}@x.example"), Hash::of(&message.to_be_bytes()).0);
        let order = PaymentOrder {
            payment: payment_hash(self.account, &mailbox, &print),
            mailbox,
            fingerprint: BASE64URL_NOPAD.encode(&print),
            id: BASE64URL_NOPAD.encode(&Hash::of(&message.to_le_bytes()).0[..28]),
            credits,
            until: clock::now().plus(3_600),
            peer: format!("payee@{VENDOR}"),
            renew: false,
        };
        let signers = Bank::new(&self.home.state(), Duration::from_secs(60));
        let make = move |license: &mailstamp::accounting::bank::books::License, order: &PaymentOrder| {
            let signer = signers.license_key(&license.kid).map_err(|it| it.to_string())?;
            let claims = json!({
                "jti": order.id, "aud": order.mailbox, "val": order.credits, "msg": order.fingerprint,
                "exp": order.until.to_string(), "payee": order.peer,
            });
            let token = signer.key.sign(claims.to_string().as_bytes(), &signer.issuer.footer(), Purpose::Meter);
            Ok(token.as_str().to_owned())
        };
        self.bank.reserve(vec![order], Arc::new(make), clock::now()).unwrap().remove(0).unwrap()
    }

    /// Notes that the message of a token was delivered.
    fn receive(&self, paid: &Reservation) {
        let it = IncomingToken {
            id: paid.id.clone(),
            copy: copy_name(&paid.id, b""),
            peer: "m".into(),
            credits: paid.credits,
            until: paid.until,
            token: paid.token.clone(),
            max_exposure: u64::MAX,
        };
        self.bank.pending(vec![it], clock::now()).unwrap();
        self.bank.receive(vec![paid.id.clone()], clock::now()).unwrap();
    }

    /// Has it ask at another address from now on.
    fn asks_at(&self, url: &str) {
        let path = self.home.state().join("accounts/shop.json");
        let mut kept: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        kept["url"] = json!(url);
        fs::write(&path, kept.to_string()).unwrap();
    }

    #[track_caller]
    pub fn sound(&self) {
        assert_eq!(self.bank.audit(None).unwrap().problems, Vec::<String>::new());
    }
}

/// An agency, a gateway that pays, and one that is paid.
pub(crate) fn sides(credits: u64) -> (Shop, Gateway, Gateway) {
    sides_of(Shop::open(credits, &RATES))
}

/// Arguments of an agency that is asked often.
pub(crate) const RATES: [&str; 4] = ["--key-rate", "0", "--address-rate", "0"];

/// A gateway that pays, and one that is paid, of this agency.
pub(crate) fn sides_of(shop: Shop) -> (Shop, Gateway, Gateway) {
    let (payer, payee) = (Gateway::new(&shop, shop.address, shop.account, &shop.key), payee(&shop, shop.address));
    (shop, payer, payee)
}

fn payee(shop: &Shop, at: SocketAddr) -> Gateway {
    let ledger = shop.ledger();
    let account = ops::OpenAccount { name: "payee".into(), contact: "payee@far.example".into(), caps: None };
    let number = ledger.run(account, clock::now()).unwrap().number;
    let (key, _) = ledger.add_api_key(number, "gateway", clock::now()).unwrap();
    Gateway::new(shop, at, number, key.as_str())
}

pub(crate) fn balance(shop: &Shop, account: u64) -> u64 {
    shop.ledger().account(account, clock::now()).unwrap().balance
}

// E5, E13, E6: what one pays the other gets, once, and can spend
#[test]
fn one_gateway_pays_and_the_other_is_paid() {
    let (shop, payer, payee) = sides(1_000);
    let license = payer.tells("license 600");
    assert_eq!((license["limit"].as_u64(), license["held"].as_u64()), (Some(600), Some(400)));
    payee.tells("license 0");
    let paid: Vec<Reservation> = (0..12).map(|message| payer.pay(message, 5)).collect();
    payer.bank.settle(paid.iter().take(10).map(|it| it.payment).collect(), clock::now()).unwrap();
    // The last two were delivered, and their sender lost the answer; one was lost on the way.
    paid.iter().take(11).for_each(|it| payee.receive(it));
    assert_eq!((payer.has(), payee.has()), ([400, 540, 10, 50, 0], [0, 0, 0, 0, 55]));

    let cleared = payee.tells("clear");
    assert_eq!((&cleared["cleared"], &cleared["held"]), (&json!({ "count": 11, "credits": 55 }), &json!(55)));
    assert_eq!(payee.tells("clear")["cleared"]["count"], 0);
    assert_eq!(balance(&shop, payee.account), 55);
    let checked = payer.tells("clear");
    assert_eq!((&checked["paid"], &checked["open"]), (&json!({ "count": 11, "credits": 55 }), &json!(1)));
    assert_eq!((payer.has(), payee.has()), ([400, 540, 5, 0, 0], [55, 0, 0, 0, 0]));
    // The retry of a message that was paid and cleared gets the same token.
    assert_eq!(payer.pay(3, 7).token, paid[3].token);
    // What was received is spent.
    payee.tells("license 50");
    assert_eq!(payee.has(), [5, 50, 0, 0, 0]);
    payer.sound();
    payee.sound();
    shop.audit();
    assert_eq!(payee.run("clear").exits(0).text(), "held at the agency: 5 credits\n");
}

// E3, E19, E7: an order is booked once, though it is sent many times
#[test]
fn an_order_is_booked_once_though_it_is_sent_often() {
    let (shop, payer, _) = sides(0);
    let order = payer.tells("buy 1000000");
    assert_eq!((&order["cost"], &order["again"]), (&json!("1000.00 EUR"), &json!(false)));
    let again = payer.tells("buy 1000000");
    assert_eq!((&again["reference"], &again["again"]), (&order["reference"], &json!(true)));
    let words: Vec<&str> = order["booking"].as_str().unwrap().split(' ').skip(1).collect();
    for _ in 0..3 {
        let mut book = payer.home.command();
        book.args(&words).arg("--ledger").arg(shop.folder());
        run(&mut book, b"").exits(0);
    }
    assert_eq!(balance(&shop, payer.account), 1_000_000);
    // The key of a licence signs requests; a licence of nothing will do.
    payer.tells("license 0");
    for _ in 0..3 {
        payer.tells("clear");
        assert_eq!(payer.has(), [1_000_000, 0, 0, 0, 0]);
    }
    assert_ne!(payer.tells("buy 1000000 --new")["reference"], order["reference"]);
    payer.sound();
    shop.audit();
}

// E20
#[test]
fn credits_are_redeemed_once_and_no_more_than_there_are() {
    let (shop, payer, _) = sides(1_000);
    payer.tells("license 600");
    let held = payer.run("redeem 401").exits(77);
    assert!(held.stderr.contains("400 are held"), "{}", held.stderr);
    let order = payer.tells("redeem 300");
    let words: Vec<&str> = order["booking"].as_str().unwrap().split(' ').skip(1).collect();
    for again in [false, true] {
        let mut book = payer.home.command();
        book.args(&words).args(["--json", "--ledger"]).arg(shop.folder());
        let booked = told(run(&mut book, b""));
        assert_eq!((&booked["again"], &booked["balance"]), (&json!(again), &json!(100)));
        assert!(booked["receipt"].as_str().unwrap().starts_with("v4.public."));
    }
    payer.tells("clear");
    assert_eq!(payer.has(), [100, 600, 0, 0, 0]);
    payer.run("redeem 101").exits(77);
    shop.audit();
}

// Answers that are lost, at every length, and repeated requests: each is done once
#[test]
fn an_answer_that_is_lost_is_asked_for_again() {
    let shop = Shop::open(10_000, &["--key-rate", "0", "--address-rate", "0"]);
    // Of three answers two are cut.
    let proxy = cutting(shop.address, |length, count| if count % 3 == 2 { length } else { length * (count % 3) / 2 });
    let payer = Gateway::new(&shop, proxy, shop.account, &shop.key);
    let payee = payee(&shop, proxy);
    payee.tells("license 0");
    let mut limits = 0;
    for round in 0..4 {
        payer.tells("license 100");
        limits += 100;
        let paid = payer.pay(round, 10);
        payer.bank.settle(vec![paid.payment], clock::now()).unwrap();
        payee.receive(&paid);
        payee.tells("clear");
        payer.tells("clear");
    }
    assert_eq!((payer.has(), payee.has()), ([10_000 - limits, limits - 40, 0, 0, 0], [40, 0, 0, 0, 0]));
    assert_eq!((balance(&shop, payer.account), balance(&shop, payee.account)), (10_000 - limits, 40));
    payer.sound();
    payee.sound();
    shop.audit();
}

// The agency is away in the middle: the request is completed by the next command, and is done once
#[test]
fn a_request_that_was_not_answered_is_completed_later() {
    let (shop, payer, payee) = sides(1_000);
    payee.tells("license 0");
    payer.tells("license 100");
    let paid = payer.pay(1, 10);
    payee.receive(&paid);
    [&payer, &payee].into_iter().for_each(|side| side.asks_at("http://127.0.0.1:9"));
    for _ in 0..2 {
        payee.run("clear").exits(75);
        payer.run("license 200").exits(75);
    }
    assert_eq!((payee.has(), payer.has()), ([0, 0, 0, 0, 10], [900, 90, 10, 0, 0]));
    let at = format!("http://{}", shop.address);
    [&payer, &payee].into_iter().for_each(|side| side.asks_at(&at));
    assert_eq!(payee.tells("clear")["cleared"]["count"], 1);
    // Another licence than the one that was asked for: that comes first.
    payer.run("license 300").exits(75);
    assert_eq!(payer.has(), [700, 290, 10, 0, 0]);
    payer.tells("license 300");
    assert_eq!(payer.tells("clear")["paid"]["count"], 1);
    assert_eq!((payer.has(), payee.has()), ([400, 590, 0, 0, 0], [10, 0, 0, 0, 0]));
    shop.audit();
    payer.sound();
    payee.sound();
}

// A clearing was not answered, and the licence that would sign it again has ended: a new one signs it
#[test]
fn a_clearing_without_a_licence_in_force_waits_for_the_next_one() {
    let (shop, payer, payee) = sides(1_000);
    payee.tells("license 0");
    payer.tells("license 100");
    payee.receive(&payer.pay(1, 10));
    let (away, there) = ("http://127.0.0.1:9", format!("http://{}", shop.address));
    payee.asks_at(away);
    payee.run("clear").exits(75);
    payee.bank.book(Event::LicenseEnded { license: 1 }, clock::now()).unwrap();
    payee.asks_at(&there);
    let none = payee.run("clear").exits(78);
    assert!(none.stderr.contains("run mailstamp bank license 0"), "{}", none.stderr);
    // More than the account has, which the agency refuses; then a request whose answer is lost.
    assert!(payee.run("license 5000").stderr.contains("credits"));
    payee.asks_at(away);
    payee.run("license 0").exits(75);
    payee.run("clear").exits(75);
    payee.asks_at(&there);
    payee.tells("license 0");
    assert_eq!(payee.has(), [0, 0, 0, 0, 10]);
    assert_eq!(payee.tells("clear")["cleared"]["count"], 1);
    assert_eq!(payee.has(), [10, 0, 0, 0, 0]);
    payee.sound();
    shop.audit();
}

// The agency revoked the licence that would sign it again; the bank cannot know that before
#[test]
fn a_clearing_whose_licence_was_revoked_goes_on_with_the_next() {
    let (shop, payer, payee) = sides(1_000);
    let kid = payee.tells("license 0")["kid"].as_str().unwrap().to_owned();
    payer.tells("license 100");
    payee.receive(&payer.pay(1, 10));
    payee.asks_at("http://127.0.0.1:9");
    payee.run("clear").exits(75);
    payee.asks_at(&format!("http://{}", shop.address));
    let mut revoke = payee.home.command();
    revoke.args(["vendor", "meters", "--revoke", &kid, "--ledger"]).arg(shop.folder());
    run(&mut revoke, b"").exits(0);
    for _ in 0..2 {
        let dead = payee.run("clear").exits(78).stderr;
        let told = dead.contains(&kid) && dead.contains("revoked or closed") && !dead.contains("reached");
        assert!(told && dead.contains("run mailstamp bank license 0"), "{dead}");
    }
    // More than the account has, which the agency refuses: the clearing is still there.
    payee.run("license 5000").exits(77);
    payee.run("clear").exits(78);
    payee.tells("license 0");
    assert_eq!(payee.has(), [0, 0, 0, 0, 10]);
    assert_eq!(payee.tells("clear")["cleared"]["count"], 1);
    // Of two licences the one that is left signs, though the other one lasts longer.
    let kid = payee.tells("license 5")["kid"].as_str().unwrap().to_owned();
    payee.tells("license 1 --days 1");
    let mut revoke = payee.home.command();
    revoke.args(["vendor", "meters", "--revoke", &kid, "--ledger"]).arg(shop.folder());
    run(&mut revoke, b"").exits(0);
    payee.receive(&payer.pay(2, 7));
    assert_eq!(payee.tells("clear")["cleared"]["count"], 1);
    let live = |it: &mailstamp::bank::statement::LicenseBalance| it.license.signs_at(clock::now());
    assert!(payee.bank.balance().unwrap().licenses.iter().filter(|it| live(it)).all(|it| it.license.kid != kid));
    payee.sound();
    shop.audit();
}

// The agency does not list a licence any more, as after a restore from a backup: the next one pays
#[test]
fn a_licence_that_the_agency_lost_is_closed_and_the_next_pays() {
    let (mut shop, payer, payee) = sides(1_000);
    payee.tells("license 0");
    shop.signal("-TERM");
    shop.ended();
    let backup = shop.path().join("backup");
    copy_folder(&shop.folder(), &backup);
    shop.restart();
    let at = |shop: &Shop| format!("http://{}", shop.address);
    payer.asks_at(&at(&shop));
    // The first to end pays, so this one would go on paying.
    let lost = payer.tells("license 600 --days 6")["kid"].as_str().unwrap().to_owned();
    let queued = payer.pay(1, 10);
    let idle = payer.tells("license 300 --days 5")["kid"].as_str().unwrap().to_owned();
    assert_eq!(payer.has(), [100, 890, 10, 0, 0]);

    shop.signal("-TERM");
    shop.ended();
    fs::remove_dir_all(shop.folder()).unwrap();
    copy_folder(&backup, &shop.folder());
    shop.restart();
    payer.asks_at(&at(&shop));
    let next = payer.run("license 500 --json").exits(0);
    let kid: Value = serde_json::from_str(&next.text()).unwrap();
    let told = |kid: &str| format!("licence {kid}: the agency revoked or closed it; its key signs no more");
    assert!([&lost, &idle].iter().all(|kid| next.stderr.contains(&told(kid))), "{}", next.stderr);
    // The credits of the message in the queue are still reserved: the agency was not asked yet whether it was paid.
    assert_eq!(payer.has(), [500, 500 + 590, 10, 0, 0]);
    let signer = |message| {
        let token = payer.pay(message, 7).token;
        mailstamp::stamp::token::Token::parse(&token).unwrap().issuer().unwrap().key_id().to_owned()
    };
    assert_eq!([signer(2), signer(3)], [kid["kid"].as_str().unwrap(); 2]);
    assert_eq!(payer.pay(1, 10).token, queued.token);
    let again = payer.run("clear --json").exits(0);
    assert_eq!((again.stderr.as_str(), payer.tells("clear")["ended"].clone()), ("", json!([])));
    payer.sound();
    shop.audit();
}

// An answer that was lost, and is repeated after a new licence: it does not list that one, and does not close it
#[test]
fn an_old_answer_that_is_repeated_closes_no_new_licence() {
    let (shop, payer, payee) = sides(1_000);
    let first = payee.tells("license 0")["kid"].as_str().unwrap().to_owned();
    payer.tells("license 100");
    payee.receive(&payer.pay(1, 10));
    // The agency books the clearing, and its answer is lost.
    let lost = cutting(shop.address, |_, _| 0);
    payee.asks_at(&format!("http://{lost}"));
    payee.run("clear").exits(75);
    assert_eq!(balance(&shop, payee.account), 10);
    payee.asks_at(&format!("http://{}", shop.address));
    let mut revoke = payee.home.command();
    revoke.args(["vendor", "meters", "--revoke", &first, "--ledger"]).arg(shop.folder());
    run(&mut revoke, b"").exits(0);
    let next = payee.run("license 6 --json").exits(0);
    assert!(next.stderr.contains(&format!("licence {first}: the agency revoked or closed it")), "{}", next.stderr);
    let cleared = payee.tells("clear");
    assert_eq!((&cleared["cleared"]["count"], &cleared["ended"]), (&json!(1), &json!([])));
    assert_eq!(payee.has(), [4, 6, 0, 0, 0]);
    let live = payee.bank.balance().unwrap().licenses.into_iter().filter(|it| it.license.signs_at(clock::now()));
    assert_eq!(live.map(|it| it.license.limit).collect::<Vec<_>>(), [6]);
    // No old balance was booked on the way: nothing was bought, and nothing was paid out.
    let mut bought = Vec::new();
    payee
        .bank
        .statement(None, &mut |line| {
            bought.push(line.bought);
            true
        })
        .unwrap();
    assert_eq!(bought.into_iter().filter(|it| *it != 0).collect::<Vec<_>>(), [10, -10]);
    payee.sound();
    shop.audit();
}

fn copy_folder(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

// E21: an older copy is noticed at the next contact, and not by itself
#[test]
fn an_older_copy_is_noticed_at_the_next_contact() {
    let (shop, payer, payee) = sides(1_000);
    payer.tells("license 600");
    payee.tells("license 0");
    let old = fs::read(payer.bank.path()).unwrap();
    let lost = payer.pay(1, 50);
    payee.receive(&lost);
    payee.tells("clear");
    payer.tells("clear");
    assert_eq!(payer.has(), [400, 550, 0, 0, 0]);
    fs::write(payer.bank.path(), old).unwrap();
    payer.run("audit").exits(0);
    for _ in 0..2 {
        let behind = payer.run("clear").exits(65);
        assert!(behind.stderr.contains("older copy") && behind.stderr.contains("accept-restored"), "{}", behind.stderr);
    }
    payer.run("license 10").exits(65);
    // It may grow beyond what the agency has seen, and is noticed at the first contact before that.
    payer.run("accept-restored --json");
    let has = payer.bank.balance().unwrap();
    assert!(has.licenses.iter().all(|it| it.license.state != mailstamp::accounting::bank::books::LicenseState::Live));
    payer.run("clear").exits(78);
    // The agency cleared what the copy does not know.
    payer.run("license 100").exits(65);
    let cleared = payer.run("clear");
    assert!(cleared.code == 65 && cleared.stderr.contains("cleared more"), "{cleared:?}");
    assert_eq!(payer.bank.balance().unwrap().held, 300);
    payer.sound();
    shop.audit();
}

// E21: no key of a licence in force is left, as after the loss of the disk: the new key accepts for the bank
#[test]
fn a_restored_bank_without_any_key_is_accepted_with_a_new_licence() {
    let (shop, payer, payee) = sides(1_000);
    let before = payer.tells("license 600");
    payee.tells("license 0");
    let (old, keys) = (fs::read(payer.bank.path()).unwrap(), payer.home.state().join("bank/keys"));
    payee.receive(&payer.pay(1, 50));
    payee.tells("clear");
    payer.tells("clear");
    fs::write(payer.bank.path(), old).unwrap();
    fs::remove_dir_all(&keys).unwrap();
    // The copy is behind, and no key can say so.
    let refused = payer.run("license 10").exits(65);
    assert!(refused.stderr.contains("run mailstamp bank accept-restored"), "{}", refused.stderr);
    // The answer is lost at first.
    payer.asks_at(&format!("http://{}", cutting(shop.address, |length, count| if count == 0 { length } else { 0 })));
    payer.run("accept-restored").exits(75);
    payer.asks_at(&format!("http://{}", shop.address));
    let accepted = payer.run("accept-restored --json").exits(65);
    assert!(accepted.stderr.contains("cleared more than this bank paid"), "{}", accepted.stderr);
    let licenses = payer.bank.balance().unwrap().licenses;
    let live: Vec<_> = licenses.iter().filter(|it| it.license.signs_at(clock::now())).collect();
    assert_eq!(live.iter().map(|it| it.license.limit).collect::<Vec<_>>(), [0]);
    assert!(licenses.iter().any(|it| before["kid"] == it.license.kid));
    // From there it goes on.
    payer.run("license 100 --json");
    assert!(!payer.run("clear").stderr.contains("older copy"));
    assert_eq!(payer.bank.balance().unwrap().held, 300);
    assert!(payer.pay(2, 60).credits == 60);
    payer.sound();
    shop.audit();
}

// A request for a licence in the copy: it may have been answered, and its key may have signed
#[test]
fn a_licence_that_a_restored_copy_asked_for_is_not_used() {
    let (shop, payer, _) = sides(1_000);
    payer.tells("license 10");
    payer.asks_at("http://127.0.0.1:9");
    payer.run("license 100").exits(75);
    let old = fs::read(payer.bank.path()).unwrap();
    payer.asks_at(&format!("http://{}", shop.address));
    payer.tells("license 100");
    payer.pay(1, 90);
    payer.tells("clear");
    fs::write(payer.bank.path(), old).unwrap();
    payer.tells("accept-restored");
    payer.tells("license 200");
    let licenses = payer.bank.balance().unwrap().licenses;
    let live = licenses.iter().filter(|it| it.license.signs_at(clock::now()));
    assert_eq!(live.map(|it| it.license.limit).collect::<Vec<_>>(), [200]);
    payer.sound();
    shop.audit();
}

// What the agency refuses is said in its words, with a status that says whether waiting helps
#[test]
fn a_refusal_of_the_agency_is_no_failure_to_reach_it() {
    let (shop, payer, _) = sides(1_000);
    let refused = |command: &str, code: i32, words: &str| {
        let run = payer.run(command).exits(code);
        assert!(run.stderr.contains(words) && !run.stderr.contains("reached"), "{}", run.stderr);
    };
    let meters = |limit: &str| {
        let mut terms = payer.home.command();
        terms.args(["vendor", "terms", "--meters", limit, "--ledger"]).arg(shop.folder());
        run(&mut terms, b"").exits(0);
    };
    refused("license 1001", 77, "not enough credits");
    meters("50");
    refused("license 51", 77, "refuses the request: a licence has a limit of at most 50 credits");
    payer.tells("license 1");
    for number in 1..16 {
        let key = SecretKey::from_random(&[number; 32]).public();
        let bank = Head { number: 1, hash: Hash([0; 32]) };
        let (kid, idempotency, body) = (key_name(&key), number.to_string(), Hash([number; 32]));
        let contact = MeterContact { account: payer.account, kid, idempotency, body, bank };
        let license = ops::License { contact, key, limit: 1, days: 1, accept_restored: true };
        shop.ledger().run(license, clock::now()).unwrap();
    }
    refused("license 1", 75, "cannot do this now: 16 licences are live, the most allowed for one account");
    meters("off");
    refused("license 0", 77, "refuses the request: this vendor licenses no meters");
    // Nothing of it is left: the licences work.
    assert_eq!(payer.tells("clear")["held"], 1_000 - 16);
    payer.sound();
    shop.audit();
}

// The request is signed with the time, which the agency compares
#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn clocks_that_differ_too_far_are_named() {
    let (shop, payer, _) = sides(1_000);
    payer.tells("license 10");
    let clock = payer.home.state().join("clock");
    for command in ["clear", "license 20"] {
        set_clock(&clock, "+10m");
        let mut ahead = payer.home.command();
        follow_clock(&mut ahead, &clock);
        let told = run(ahead.arg("bank").args(command.split(' ')), b"").exits(75).stderr;
        let words = ["at stamps.example: the clocks are more than 5 minutes apart", "hint: set the clock"];
        assert!(words.iter().all(|words| told.contains(words)) && !told.contains("reached"), "{told}");
    }
    // The request that was refused for the clock is completed with the right one.
    payer.tells("license 20");
    assert_eq!(payer.has(), [970, 30, 0, 0, 0]);
    payer.sound();
    shop.audit();
}

// E22: an answer of another agency, or with another key, is not believed
#[test]
fn an_answer_that_the_agency_did_not_sign_is_not_booked() {
    let (_shop, payer, _) = sides(1_000);
    let other = Shop::open(1_000, &[]);
    let path = payer.home.state().join("accounts/shop.json");
    let mut kept: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    (kept["url"], kept["key"]) = (json!(format!("http://{}", other.address)), json!(other.key));
    fs::write(&path, kept.to_string()).unwrap();
    // Another agency of the same name, whose key the user does not trust.
    let answer = payer.run("license 100").exits(69);
    assert!(answer.stderr.contains("signature is invalid"), "{}", answer.stderr);
    assert_eq!(payer.has(), [0; 5]);
    fs::remove_dir_all(payer.home.file(".config/mailstamp/vendors")).unwrap();
    payer.run("license 100").exits(78);
    assert_eq!(payer.has(), [0; 5]);
    payer.sound();
}

/// The time of the program under test cannot be set here, so the agency's books are not aged: this only looks at where a
/// key is kept.
#[test]
fn keys_of_licences_are_their_owners_alone() {
    let (_shop, payer, _) = sides(10);
    let kid = payer.tells("license 1")["kid"].as_str().unwrap().to_owned();
    let file = payer.home.state().join("bank/keys").join(format!("{kid}.json"));
    let mode =
        |path: &Path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o7777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    let until = payer.bank.balance().unwrap().licenses[0].license.until;
    assert!((6 * 86_400..=7 * 86_400).contains(&until.since(clock::now())));
    assert_ne!(until, UnixTime(0));
}
