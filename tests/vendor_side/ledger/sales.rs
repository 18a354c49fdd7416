//! Buying, paying, taking back: each rule with exact figures.

use super::{NOW, Shop, WAIT, handed, order, orders, refused, texts};
use mailstamp::accounting::event::{KeyState, Terms};
use mailstamp::accounting::order::{Order, OrderError, OwnCaps};
use mailstamp::accounting::redemption::StampProblem;
use mailstamp::directory::publish::Changes;
use mailstamp::ledger::error::LedgerError;
use mailstamp::ledger::handle::Ledger;
use mailstamp::ledger::ops;
use mailstamp::ledger::payment::{Begun, Completion, Due, Paid, Payment, PaymentError, Refund, Vouchers, code_hash};
use mailstamp::ledger::rejection::Rejection;
use mailstamp::ledger::trade::RedeemRequest;
use mailstamp::message::address::Address;
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::PublicKey;
use mailstamp::stamp::token::{Purpose, Token};
use mailstamp::time::UnixTime;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

// BC2: buy 1, 10, 1000; the debit is n times the value exactly. E7: a million cost exactly 1000.00
#[test]
fn stamps_cost_exactly_what_they_are_worth() {
    let shop = Shop::new();
    let account = shop.account("alice", 0);
    let booked = shop.ledger.credit(account.number, 1_000_000, None, "invoice 1", NOW).unwrap();
    assert_eq!(booked.sum.unwrap().to_string(), "1000.00 EUR");
    let mut left = 1_000_000;
    for count in [1, 10, 1_000] {
        let sold = shop.ledger.issue(account.number, &orders(count), None, NOW).unwrap();
        left -= count as u64;
        assert_eq!((sold.sale.credits, sold.sale.balance, sold.stamps.len()), (count as u64, Some(left), count));
    }
    let five = Order { value: 5, ..order("joe@far.example") };
    let sold = shop.ledger.issue(account.number, &[five.clone(), five, order("x@y.example")], None, NOW).unwrap();
    assert_eq!(sold.sale.credits, 11);
    assert_eq!(shop.has(&account), left - 11);
    shop.sound();
}

// BP1a-BP1c, BP2a: the stamp has the requested properties, and a unique identifier
#[test]
fn a_stamp_says_what_was_ordered() {
    let shop = Shop::new();
    let account = shop.account("alice", 100);
    let key = shop.ledger.profile().unwrap().keys[0].key;
    let whole = Order {
        sender: Some(Address::parse("me@near.example").unwrap()),
        not_before: Some(NOW.plus(60)),
        until: Some(NOW.plus(3_600)),
        value: 3,
        ..order("joe@far.example")
    };
    let hidden = Order { hashed: true, ..order("joe@far.example") };
    let sold = shop.ledger.issue(account.number, &[whole, order("joe@far.example"), hidden], None, NOW).unwrap();
    let stamps: Vec<Stamp> = sold.stamps.iter().map(|token| read(token, &key)).collect();
    assert_eq!(stamps[0].sender.as_ref().unwrap().to_string(), "me@near.example");
    assert_eq!((stamps[0].not_before, stamps[0].expires), (Some(NOW.plus(60)), Some(NOW.plus(3_600))));
    assert_eq!((stamps[0].value, stamps[1].value), (3, 1));
    assert_eq!((stamps[1].sender.as_ref(), stamps[1].not_before), (None, None));
    assert_eq!(stamps[1].expires, Some(NOW.plus(30 * 86_400)));
    assert!(stamps[2].audience.names(&Address::parse("joe@far.example").unwrap()));
    assert!(!sold.stamps[2].payload().windows(3).any(|part| part == b"joe"));
    assert_eq!(stamps.iter().map(|stamp| &stamp.serial).collect::<BTreeSet<_>>().len(), 3);
    // The vendor's data hold no address at all (BP2f).
    drop(shop.ledger);
    let file = fs::read(shop.folder.path().join("ledger/ledger.redb")).unwrap();
    for address in [&b"joe@far"[..], b"me@near.example\",\"value", b"far.example"] {
        assert!(!file.windows(address.len()).any(|part| part == address));
    }
}

fn read(token: &Token, key: &PublicKey) -> Stamp {
    assert!(key.verify(token, Purpose::Stamp));
    Stamp::read(token.payload()).unwrap()
}

// Threat 22: charged once, whatever is sent again
#[test]
fn the_same_request_gives_the_same_stamps_and_is_charged_once() {
    let shop = Shop::new();
    let account = shop.account("alice", 100);
    let wanted = vec![Order { hashed: true, ..order("joe@far.example") }, order("x@y.example")];
    let first = shop.ledger.issue(account.number, &wanted, Some("key 1"), NOW).unwrap();
    assert!(!first.sale.again);
    // Also after the terms changed, the key was rotated, and the day is over.
    shop.ledger
        .run(ops::SetTerms { terms: mailstamp::accounting::event::Terms { days: 7, ..super::terms() } }, NOW)
        .unwrap();
    shop.ledger.rotate("b", NOW).unwrap();
    let again = shop.ledger.issue(account.number, &wanted, Some("key 1"), NOW.plus(86_400)).unwrap();
    assert!(again.sale.again);
    assert_eq!(texts(&again), texts(&first));
    assert_eq!(shop.has(&account), 98);
    let other = refused(shop.ledger.issue(account.number, &wanted[..1], Some("key 1"), NOW));
    assert_eq!(other, Rejection::KeyReused { key: "key 1".into() });
    // Another key, no key, and another account buy anew.
    for key in [Some("key 2"), None, None] {
        assert_ne!(texts(&shop.ledger.issue(account.number, &wanted, key, NOW).unwrap()), texts(&first));
    }
    let bob = shop.account("bob", 10);
    assert!(!shop.ledger.issue(bob.number, &wanted, Some("key 1"), NOW).unwrap().sale.again);
    shop.sound();
}

#[test]
fn a_request_is_answered_again_even_when_its_window_has_ended() {
    let shop = Shop::new();
    let account = shop.account("alice", 10);
    let short = [Order { until: Some(NOW.plus(60)), ..order("joe@far.example") }];
    let first = shop.ledger.issue(account.number, &short, Some("k"), NOW).unwrap();
    let again = shop.ledger.issue(account.number, &short, Some("k"), NOW.plus(3_600)).unwrap();
    assert_eq!(texts(&again), texts(&first));
    let error = refused(shop.ledger.issue(account.number, &short, Some("other"), NOW.plus(3_600)));
    assert_eq!(error, Rejection::Order { error: OrderError::Window { order: 1 } });
    // After 30 days the key is forgotten, with the first sale that comes then.
    let late = NOW.plus(31 * 86_400);
    shop.ledger.issue(account.number, &orders(1), None, late).unwrap();
    let anew = shop.ledger.issue(account.number, &orders(1), Some("k"), late).unwrap();
    assert!(!anew.sale.again);
}

#[test]
fn who_cannot_pay_gets_nothing() {
    let shop = Shop::new();
    let account = shop.account("alice", 10);
    let error = refused(shop.ledger.issue(account.number, &orders(11), None, NOW));
    assert_eq!(error, Rejection::Funds { needed: 11, balance: 10 });
    assert_eq!(error.to_string(), "this costs 11 credits, and there are 10");
    assert_eq!(refused(shop.ledger.issue(99, &orders(1), None, NOW)).code(), "no-account");
    assert_eq!(shop.has(&account), 10);
    assert_eq!(shop.ledger.summary().unwrap().stamps, 0);
}

// BP1c: caps are stated; those of the account go before those of the terms
#[test]
fn caps_are_held_and_stated() {
    let shop = Shop::new();
    let caps = OwnCaps { stamps: Some(5), value: Some(2), days: Some(10), credits_a_day: Some(7) };
    let account = shop.account("alice", 100);
    shop.ledger.run(ops::SetCaps { account: account.number, caps: Some(caps) }, NOW).unwrap();
    let issue = |orders: &[Order], now| shop.ledger.issue(account.number, orders, None, now);
    assert_eq!(refused(issue(&orders(6), NOW)).to_string(), "6 stamps in one request; the cap is 5");
    let dear = Order { value: 3, ..order("joe@far.example") };
    assert_eq!(refused(issue(&[dear], NOW)).to_string(), "order 1: a value of 3 credits; it may be 1 to 2");
    let long = Order { until: Some(NOW.plus(11 * 86_400)), ..order("joe@far.example") };
    assert!(refused(issue(&[long], NOW)).to_string().contains("more than 10 days"));
    let short = |count| vec![Order { until: Some(NOW.plus(86_400)), ..order("joe@far.example") }; count];
    issue(&short(5), NOW).unwrap();
    let error = refused(issue(&short(3), NOW));
    assert_eq!(error, Rejection::Daily { asked: 3, spent: 8, cap: 7 });
    issue(&short(2), NOW).unwrap();
    assert_eq!(shop.ledger.account(account.number, NOW).unwrap().spent_today, 7);
    // The next day is another. A stamp that asks for no end has the longest that the caps allow.
    issue(&short(1), NOW.plus(43_200)).unwrap();
    let sold = issue(&orders(1), NOW.plus(43_200)).unwrap();
    let expires = Stamp::read(sold.stamps[0].payload()).unwrap().expires.unwrap();
    assert_eq!(expires.since(sold.sale.at), 10 * 86_400);
    shop.ledger.run(ops::SetCaps { account: account.number, caps: None }, NOW).unwrap();
    issue(&orders(50), NOW).unwrap();
}

#[test]
fn credits_are_bought_once_for_each_reference() {
    let shop = Shop::new();
    let account = shop.account("alice", 0);
    let first = shop.ledger.credit(account.number, 500, None, "invoice 7", NOW).unwrap();
    let again = shop.ledger.credit(account.number, 500, None, "invoice 7", NOW.plus(99)).unwrap();
    assert_eq!((first.again, again.again, again.entry, again.balance), (false, true, first.entry, 500));
    let other = shop.account("bob", 0);
    assert_eq!(refused(shop.ledger.credit(other.number, 500, None, "invoice 7", NOW)).code(), "key-reused");
    let error = refused(shop.ledger.credit(account.number, 501, None, "invoice 7", NOW));
    assert_eq!(error, Rejection::KeyReused { key: "invoice 7".into() });
    for (credits, reference) in [(0, "a"), (1, ""), (u64::MAX, "b")] {
        assert!(shop.ledger.credit(account.number, credits, None, reference, NOW).is_err(), "{credits} {reference}");
    }
    assert_eq!(shop.has(&account), 500);
    shop.sound();
}

#[test]
fn a_voucher_is_spent_once_and_keeps_what_is_left() {
    let shop = Shop::new();
    let code = shop.ledger.make_voucher(3, None, NOW).unwrap();
    let hash = code_hash(&code).unwrap();
    let due = Due { purchase: "page 1".into(), order: orders(1).remove(0), cost: "0 EUR".parse().unwrap() };
    assert_eq!(Vouchers.begin(&due, None, NOW).unwrap(), Begun::Enter);
    assert_eq!(Vouchers.complete(&due, &code, NOW).unwrap(), Completion::Paid(Paid::Voucher(hash)));
    let wrong = Vouchers.complete(&due, "AAAA", NOW).unwrap_err();
    assert!(matches!(wrong, PaymentError::Ledger(LedgerError::Refused(Rejection::NoVoucher))), "{wrong:?}");
    assert_eq!(Vouchers.refund(&due, &Paid::Voucher(hash)), Refund::NothingTaken);
    let paid = || Paid::Voucher(hash);
    let first = shop.ledger.issue_for(paid(), &orders(1), Some("page 1"), NOW).unwrap();
    assert_eq!((first.stamps.len(), first.sale.balance), (1, Some(2)));
    let again = shop.ledger.issue_for(paid(), &orders(1), Some("page 1"), NOW).unwrap();
    assert_eq!(texts(&again), texts(&first));
    assert_eq!(shop.ledger.run(ops::Voucher { voucher: hash }, NOW).unwrap(), 2);
    let error = refused(shop.ledger.issue_for(paid(), &orders(3), None, NOW));
    assert_eq!(error, Rejection::Funds { needed: 3, balance: 2 });
    let account = shop.account("alice", 0);
    assert_eq!(shop.ledger.take_voucher(account.number, &code.to_lowercase(), NOW).unwrap().credits, 2);
    assert_eq!(refused(shop.ledger.take_voucher(account.number, &code, NOW)), Rejection::NoVoucher);
    assert_eq!(refused(shop.ledger.issue_for(paid(), &orders(1), None, NOW)), Rejection::NoVoucher);
    assert_eq!(refused(shop.ledger.take_voucher(account.number, "AAAA", NOW)), Rejection::NoVoucher);
    assert_eq!(shop.has(&account), 2);
    shop.sound();
}

#[test]
fn money_paid_elsewhere_buys_its_stamps_once() {
    let shop = Shop::new();
    let paid = |cost: &str| Paid::Elsewhere { reference: "cards:77".into(), cost: cost.parse().unwrap() };
    for less in ["0.001999 EUR", "0 EUR", "2 USD"] {
        let error = refused(shop.ledger.issue_for(paid(less), &orders(2), None, NOW));
        let price = "0.002 EUR".parse().unwrap();
        assert_eq!(error, Rejection::PaidOtherwise { paid: less.parse().unwrap(), price });
    }
    let first = shop.ledger.issue_for(paid("0.002 EUR"), &orders(2), None, NOW).unwrap();
    let again = shop.ledger.issue_for(paid("0.002 EUR"), &orders(2), Some("another key"), NOW).unwrap();
    assert_eq!(texts(&again), texts(&first));
    let other = vec![order("other@far.example"); 2];
    assert_eq!(refused(shop.ledger.issue_for(paid("0.002 EUR"), &other, None, NOW)).code(), "key-reused");
    // A price that has risen since is no reason to ask for more.
    let terms = shop.ledger.profile().unwrap().terms;
    let terms = Terms { price: "0.01 EUR".parse().unwrap(), ..terms };
    shop.ledger.run(ops::SetTerms { terms }, NOW).unwrap();
    let again = shop.ledger.issue_for(paid("0.002 EUR"), &orders(2), None, NOW).unwrap();
    assert_eq!(texts(&again), texts(&first));
    shop.sound();
}

#[test]
fn used_stamps_come_back_once_and_only_from_who_owns_the_address() {
    let shop = Shop::new();
    let (alice, joe) = (shop.account("alice", 100), shop.account("joe", 0));
    let five = Order { value: 5, ..order("Joe@far.example") };
    let hashed = Order { hashed: true, ..order("joe@far.example") };
    let other = order("else@far.example");
    let sold = shop.ledger.issue(alice.number, &[five, hashed.clone(), other, hashed], None, NOW).unwrap();
    let stamps = handed(&texts(&sold));
    let deposit = |stamps: &[RedeemRequest]| shop.ledger.deposit(joe.number, stamps, NOW).unwrap();
    assert!(deposit(&stamps).each.iter().all(|each| *each == Err(StampProblem::NotYours)));
    shop.ledger.own(joe.number, "JOE@far.example", NOW).unwrap();
    let twice = [stamps[0].clone(), stamps[0].clone(), stamps[1].clone(), stamps[2].clone()];
    let taken = deposit(&twice);
    assert_eq!(taken.each, [Ok(5), Err(StampProblem::Duplicate), Ok(1), Err(StampProblem::NotYours)]);
    let booked = taken.booked.unwrap();
    assert_eq!((booked.credits, booked.balance), (6, 6));
    let key = shop.ledger.profile().unwrap().keys[0].key;
    let receipt = taken.receipt.unwrap();
    assert!(key.verify(&receipt, Purpose::Receipt) && !key.verify(&receipt, Purpose::Stamp));
    assert!(std::str::from_utf8(receipt.payload()).unwrap().contains("\"credits\":6"));
    let again = deposit(&stamps[..2]);
    assert_eq!(again.each, [Err(StampProblem::Deposited), Err(StampProblem::Deposited)]);
    assert!(again.booked.is_none() && again.receipt.is_none());
    // A whole domain: of a hashed stamp the address has to be said.
    shop.ledger.own(joe.number, "far.example", NOW).unwrap();
    assert_eq!(deposit(&stamps[2..3]).each, [Ok(1)]);
    shop.ledger.run(ops::Disown { account: joe.number, subject: "joe@far.example".into() }, NOW).unwrap();
    assert_eq!(deposit(&stamps[3..]).each, [Err(StampProblem::NotYours)]);
    let address = Some(Address::parse("joe@far.example").unwrap());
    assert_eq!(deposit(&[RedeemRequest { address, ..stamps[3].clone() }]).each, [Ok(1)]);
    assert_eq!((shop.has(&joe), shop.has(&alice)), (8, 92));
    shop.sound();
}

#[test]
fn an_address_has_one_owner() {
    let shop = Shop::new();
    let (joe, eve) = (shop.account("joe", 0), shop.account("eve", 0));
    shop.ledger.own(joe.number, "x@far.example", NOW).unwrap();
    shop.ledger.own(eve.number, "x@FAR.example", NOW).unwrap();
    assert_eq!(shop.ledger.account(joe.number, NOW).unwrap().owns, Vec::<String>::new());
    assert_eq!(shop.ledger.account(eve.number, NOW).unwrap().owns, ["x@far.example"]);
    shop.ledger.run(ops::Disown { account: joe.number, subject: "x@far.example".into() }, NOW).unwrap();
    assert_eq!(shop.ledger.account(eve.number, NOW).unwrap().owns, ["x@far.example"]);
}

// Threat 21: only what this ledger sold is worth anything
#[test]
fn what_the_ledger_did_not_sell_is_not_credited() {
    let shop = Shop::new();
    let joe = shop.account("joe", 10);
    shop.ledger.own(joe.number, "far.example", NOW).unwrap();
    let signer = mailstamp::directory::signing_key::SigningKey::read(&shop.path().join("keys/key-a.json")).unwrap();
    let mint = |serial: Serial, value| {
        let audience = Audience::parse("joe@far.example").unwrap();
        let stamp = Stamp { value, ..Stamp::new(serial, audience, NOW.plus(99)) };
        mailstamp::stamp::issue::issue(&stamp, &signer.issuer, &signer.key).unwrap().as_str().to_owned()
    };
    let sold = shop.ledger.issue(joe.number, &orders(1), None, NOW).unwrap();
    let own = Stamp::read(sold.stamps[0].payload()).unwrap().serial;
    let mut forged = sold.stamps[0].as_str().to_owned();
    forged.insert(20, if forged.as_bytes()[20] == b'A' { 'B' } else { 'A' });
    forged.remove(21);
    let other = Shop::new();
    let elsewhere = other.account("joe", 1);
    let elsewhere = texts(&other.ledger.issue(elsewhere.number, &orders(1), None, NOW).unwrap()).remove(0);
    let stamps = [
        mint(Serial::from_random([7; 16]), 1),
        mint(Serial::new("beside-the-ledger").unwrap(), 1),
        mint(own, 900),
        forged,
        elsewhere,
        "nothing".into(),
    ];
    let each = shop.ledger.deposit(joe.number, &handed(&stamps), NOW).unwrap().each;
    use StampProblem::{Forged, Malformed, NotIssued};
    assert_eq!(each[..3], [Err(NotIssued), Err(NotIssued), Err(NotIssued)]);
    assert!(matches!(each[3], Err(Forged | Malformed | StampProblem::OtherVendor)), "{:?}", each[3]);
    assert_eq!(each[4..], [Err(Forged), Err(Malformed)]);
    assert_eq!(shop.has(&joe), 9);
    shop.sound();
}

#[test]
fn a_revoked_stamp_is_published_until_no_recipient_can_accept_it() {
    let shop = Shop::new();
    let alice = shop.account("alice", 10);
    let sold = shop.ledger.issue(alice.number, &orders(1), None, NOW).unwrap();
    let serial = Stamp::read(sold.stamps[0].payload()).unwrap().serial;
    shop.ledger.run(ops::Revoke { serials: vec![serial.clone()], customer: true }, NOW).unwrap();
    assert_eq!(shop.ledger.run(ops::RevokedSerials {}, NOW).unwrap(), std::slice::from_ref(&serial));
    assert_eq!(
        shop.ledger.published(mailstamp::os::clock::now()).unwrap().revoked.into_iter().collect::<Vec<_>>(),
        [serial.to_string()]
    );
    // Its buyer may have used it, so nothing is paid back.
    assert_eq!(shop.has(&alice), 9);
    // 30 days, and 30 more for mail that comes late.
    let published = |days: i64| {
        let at = NOW.plus(days * 86_400);
        let edition = shop.ledger.edition(None, &Changes::default(), at, at.plus(1)).unwrap();
        edition.content.vendors[0].revoked.iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(published(60), [serial.to_string()]);
    assert_eq!(published(61), Vec::<String>::new());
    shop.sound();
}

#[test]
fn the_owner_of_the_address_deposits_before_that_of_the_domain() {
    let shop = Shop::new();
    let alice = shop.account("alice", 10);
    let (joe, company) = (shop.account("joe", 0), shop.account("company", 0));
    shop.ledger.own(company.number, "far.example", NOW).unwrap();
    let sold = shop.ledger.issue(alice.number, &orders(2), None, NOW).unwrap();
    let stamps = handed(&texts(&sold));
    let deposit = |account: &mailstamp::ledger::model::Account, at: usize| {
        shop.ledger.deposit(account.number, &stamps[at..=at], NOW).unwrap().each[0]
    };
    assert_eq!(deposit(&company, 0), Ok(1));
    let named = Stamp::read(sold.stamps[1].payload()).unwrap().audience.to_string();
    shop.ledger.own(joe.number, &named, NOW).unwrap();
    assert_eq!(deposit(&company, 1), Err(StampProblem::NotYours));
    assert_eq!(deposit(&joe, 1), Ok(1));
    shop.sound();
}

#[test]
fn what_is_revoked_is_worth_nothing_and_published() {
    let shop = Shop::new();
    let (alice, joe) = (shop.account("alice", 10), shop.account("joe", 0));
    shop.ledger.own(joe.number, "far.example", NOW).unwrap();
    let sold = shop.ledger.issue(alice.number, &orders(3), None, NOW).unwrap();
    let serials: Vec<Serial> = sold.stamps.iter().map(|it| Stamp::read(it.payload()).unwrap().serial).collect();
    shop.ledger.deposit(joe.number, &handed(&texts(&sold)[2..]), NOW).unwrap();
    let unknown = Serial::new("made-by-hand").unwrap();
    let condemned = [serials[0].clone(), unknown.clone(), serials[0].clone()];
    assert_eq!(shop.ledger.run(ops::Revoke { serials: condemned.to_vec(), customer: false }, NOW).unwrap(), 2);
    assert_eq!(shop.ledger.run(ops::Revoke { serials: condemned.to_vec(), customer: false }, NOW).unwrap(), 0);
    let each = shop.ledger.deposit(joe.number, &handed(&texts(&sold)), NOW).unwrap().each;
    assert_eq!(each, [Err(StampProblem::Revoked), Ok(1), Err(StampProblem::Deposited)]);
    let revoked: BTreeSet<Serial> = shop.ledger.run(ops::RevokedSerials {}, NOW).unwrap().into_iter().collect();
    assert_eq!(revoked, BTreeSet::from([serials[0].clone(), unknown]));
    shop.sound();
    // A whole account.
    let more = shop.ledger.issue(alice.number, &orders(2), None, NOW).unwrap();
    assert_eq!(shop.ledger.run(ops::CloseAccount { account: alice.number, revoke: true }, NOW).unwrap(), 2);
    assert_eq!(shop.ledger.run(ops::RevokedSerials {}, NOW).unwrap().len(), 4);
    let each = shop.ledger.deposit(joe.number, &handed(&texts(&more)), NOW).unwrap().each;
    assert_eq!(each, [Err(StampProblem::Revoked), Err(StampProblem::Revoked)]);
    assert_eq!(refused(shop.ledger.issue(alice.number, &orders(1), None, NOW)).code(), "account-closed");
    shop.sound();
}

// E20: redeem lowers the balance, is signed, not twice, not more than held
#[test]
fn credits_are_paid_out_once_and_no_more_than_there_are() {
    let shop = Shop::new();
    let account = shop.account("alice", 2_500);
    let (booked, receipt) = shop.ledger.pay_out(account.number, 2_000, "bank 1", NOW).unwrap();
    assert_eq!((booked.sum.unwrap().to_string(), booked.balance), ("2.00 EUR".into(), 500));
    assert!(shop.ledger.profile().unwrap().keys[0].key.verify(&receipt, Purpose::Receipt));
    let (again, _) = shop.ledger.pay_out(account.number, 2_000, "bank 1", NOW).unwrap();
    assert_eq!((again.again, again.balance, again.entry), (true, 500, booked.entry));
    let error = refused(shop.ledger.pay_out(account.number, 501, "bank 2", NOW));
    assert_eq!(error, Rejection::Funds { needed: 501, balance: 500 });
    shop.ledger.run(ops::CloseAccount { account: account.number, revoke: false }, NOW).unwrap();
    assert_eq!(shop.ledger.pay_out(account.number, 500, "bank 3", NOW).unwrap().0.balance, 0);
    shop.sound();
}

#[test]
fn revoked_api_keys_do_not_count_against_the_limit() {
    let shop = Shop::new();
    let alice = shop.account("alice", 0).number;
    let add = |number: usize| shop.ledger.add_api_key(alice, &format!("key {number}"), NOW.plus(number as i64));
    for number in 0..150 {
        let (_, key) = add(number).unwrap();
        let revoke = ops::RevokeApiKey { account: alice, id: key.id, even_last: true };
        shop.ledger.run(revoke, NOW.plus(number as i64)).unwrap();
    }
    // The newest 100 are still listed, and the last one revoked.
    let listed = shop.ledger.run(ops::ApiKeys { account: alice }, NOW).unwrap();
    assert_eq!((listed.len(), listed[0].label.as_str()), (101, "key 49"));
    (0..1_000).for_each(|number| drop(add(number).unwrap()));
    assert!(refused(add(1_000)).to_string().contains("1,000 keys"));
    shop.sound();
}

#[test]
fn an_api_key_opens_its_account_until_it_is_revoked() {
    let shop = Shop::new();
    let (alice, bob) = (shop.account("alice", 0), shop.account("bob", 0));
    let (text, key) = shop.ledger.add_api_key(alice.number, "laptop", NOW).unwrap();
    shop.ledger.add_api_key(bob.number, "laptop", NOW).unwrap();
    assert_eq!(shop.ledger.authenticate(&text, NOW).unwrap().name, "alice");
    for wrong in ["", "msk_", &text[1..], &text.replace("msk_", "msk-"), &format!("{}x", *text)] {
        assert_eq!(refused(shop.ledger.authenticate(wrong, NOW)), Rejection::NoApiKey);
    }
    let revoke = |account: &mailstamp::ledger::model::Account, even_last| {
        let id = key.id.clone();
        shop.ledger.run(ops::RevokeApiKey { account: account.number, id, even_last }, NOW)
    };
    assert_eq!(refused(revoke(&bob, true)), Rejection::NoApiKey);
    // Its owner could make no other.
    assert_eq!(refused(revoke(&alice, false)), Rejection::LastApiKey);
    assert_eq!(shop.ledger.authenticate(&text, NOW).unwrap().name, "alice");
    revoke(&alice, true).unwrap();
    revoke(&alice, false).unwrap();
    assert_eq!(refused(shop.ledger.authenticate(&text, NOW)), Rejection::NoApiKey);
    let kept = shop.ledger.run(ops::ApiKeys { account: alice.number }, NOW).unwrap();
    assert_eq!((kept.len(), kept[0].revoked, kept[0].label.as_str()), (1, Some(NOW), "laptop"));
    let (text, _) = shop.ledger.add_api_key(alice.number, "next", NOW).unwrap();
    shop.ledger.run(ops::CloseAccount { account: alice.number, revoke: false }, NOW).unwrap();
    assert_eq!(refused(shop.ledger.authenticate(&text, NOW)), Rejection::NoApiKey);
    // The file holds no key and no voucher in clear.
    let code = shop.ledger.make_voucher(1, None, NOW).unwrap();
    drop(shop.ledger);
    let file = fs::read(shop.folder.path().join("ledger/ledger.redb")).unwrap();
    for secret in [&text[4..], &code.replace('-', "")] {
        assert!(!file.windows(secret.len()).any(|part| part == secret.as_bytes()));
    }
}

#[test]
fn keys_are_rotated_and_a_revoked_key_stays_so() {
    let shop = Shop::new();
    let account = shop.account("alice", 10);
    let old = shop.ledger.issue(account.number, &orders(1), None, NOW).unwrap();
    shop.ledger.rotate("b", NOW).unwrap();
    assert_eq!(refused(shop.ledger.rotate("a", NOW)).code(), "signing-key");
    let new = shop.ledger.issue(account.number, &orders(1), None, NOW).unwrap();
    assert_eq!(new.stamps[0].issuer().unwrap().key_id(), "b");
    let status = || -> Vec<String> {
        let keys = shop.ledger.published(mailstamp::os::clock::now()).unwrap().keys;
        keys.iter().map(|key| format!("{} {}", key.kid, serde_json::to_value(key.status).unwrap())).collect()
    };
    assert_eq!(status(), ["a \"verify-only\"", "b \"active\""]);
    shop.ledger.own(account.number, "far.example", NOW).unwrap();
    assert_eq!(shop.ledger.deposit(account.number, &handed(&texts(&old)), NOW).unwrap().each, [Ok(1)]);
    shop.ledger.set_key_state("a", KeyState::Revoked { since: Some(UnixTime(5)) }, NOW).unwrap();
    assert_eq!(status(), ["a \"revoked\"", "b \"active\""]);
    let each = shop.ledger.deposit(account.number, &handed(&texts(&old)), NOW).unwrap().each;
    assert_eq!(each, [Err(StampProblem::KeyRevoked)]);
    assert_eq!(refused(shop.ledger.set_key_state("a", KeyState::VerifyOnly, NOW)).code(), "signing-key");
    assert_eq!(refused(shop.ledger.set_key_state("c", KeyState::VerifyOnly, NOW)).code(), "signing-key");
    // Without a key nothing is sold, and nothing is charged.
    shop.ledger.set_key_state("b", KeyState::Revoked { since: None }, NOW).unwrap();
    let before = shop.has(&account);
    assert_eq!(refused(shop.ledger.issue(account.number, &orders(1), None, NOW)).code(), "signing-key");
    assert_eq!(shop.has(&account), before);
    shop.sound();
}

#[test]
fn names_and_contacts_have_a_form() {
    let shop = Shop::new();
    shop.account("alice", 0);
    assert_eq!(
        refused(shop.ledger.run(ops::OpenAccount { name: "alice".into(), contact: "x".into(), caps: None }, NOW))
            .code(),
        "account-exists"
    );
    for (name, contact) in [("", "x"), ("A", "x"), ("12", "x"), ("a b", "x"), ("a", ""), ("a", "x\ny")] {
        assert_eq!(
            refused(
                shop.ledger
                    .run(ops::OpenAccount { name: name.to_owned(), contact: contact.to_owned(), caps: None }, NOW)
            )
            .code(),
            "form",
            "{name:?} {contact:?}"
        );
    }
    assert_eq!(refused(shop.ledger.run(ops::AccountNamed { name: "bob".into() }, NOW)).code(), "no-account");
    assert_eq!(shop.ledger.run(ops::Accounts { after: 0, most: 10 }, NOW).unwrap().len(), 1);
}

#[test]
fn the_page_can_show_history_and_days() {
    let shop = Shop::new();
    let account = shop.account("alice", 100);
    shop.account("bob", 100);
    shop.ledger.own(account.number, "far.example", NOW).unwrap();
    let next = NOW.plus(86_400);
    let sold = shop.ledger.issue(account.number, &orders(10), None, NOW).unwrap();
    shop.ledger.issue(account.number, &orders(5), None, next).unwrap();
    shop.ledger.deposit(account.number, &handed(&texts(&sold)[..3]), next).unwrap();
    let days = shop.ledger.run(ops::Days { account: account.number, from: 0 }, NOW).unwrap();
    let day = NOW.0.div_euclid(86_400);
    let rows: Vec<_> = days.iter().map(|it| (it.day - day, it.bought, it.deposited, it.before, it.balance)).collect();
    assert_eq!(rows, [(0, 10, 0, 0, 90), (1, 5, 3, 90, 88)]);
    let history = shop.ledger.run(ops::History { account: account.number, before: u64::MAX, most: 3 }, NOW).unwrap();
    assert_eq!(history.len(), 3);
    assert!(history.windows(2).all(|two| two[0].number > two[1].number));
    let older =
        shop.ledger.run(ops::History { account: account.number, before: history[2].number, most: 10 }, NOW).unwrap();
    assert_eq!(older.len(), 3);
    let last = shop.ledger.run(ops::Days { account: account.number, from: day + 1 }, NOW).unwrap();
    assert_eq!(last.iter().map(|it| (it.before, it.balance)).collect::<Vec<_>>(), [(90, 88)]);
}

#[test]
fn the_folder_is_for_its_owner_alone() {
    let shop = Shop::new();
    for name in ["ledger.redb", "ledger.lock", "keys/key-a.json"] {
        let mode = fs::metadata(shop.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(shop.path()).unwrap().permissions().mode() & 0o777, 0o700);
    let path = shop.path();
    drop(shop.ledger);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Ledger::open(&path, WAIT).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}
