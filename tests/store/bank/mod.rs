//! The bank of a gateway: what it promises holds after every failure of the disk, every kill, every cut of the power, any
//! order of requests and any number of processes, and an audit notices changes of the file.

mod always;
mod faults;
mod powercut;
mod processes;
mod tamper;

use crate::NOW;
use mailstamp::accounting::bank::event::Event;
use mailstamp::accounting::hash::Hash;
use mailstamp::accounting::hash_chain::Head;
use mailstamp::accounting::meter::payment_hash;
use mailstamp::bank::error::{BankError, Refusal};
use mailstamp::bank::handle::Bank;
use mailstamp::bank::order::{IncomingToken, PaymentOrder, Reservation, copy_name};
use mailstamp::emstamp::inbound::Arrival;
use mailstamp::stamp::signing::SecretKey;
use std::sync::Arc;

/// What the bank has at its agency at first.
pub const BOUGHT: u64 = 1_000_000;
/// What its licence may spend.
pub const LIMIT: u64 = 600_000;
const WEEK: i64 = 7 * crate::DAY;

/// Founds a bank with a licence.
pub fn found(bank: &Bank) {
    bank.found("agency.example", "shop", NOW).unwrap();
    bank.book(checkpoint(BOUGHT, 0), NOW).unwrap();
    bank.book(license(1, LIMIT), NOW).unwrap();
}

pub fn checkpoint(balance: u64, before: u64) -> Event {
    Event::Checkpoint { agency: Head::EMPTY, account: 7, balance, before, receipt: Hash::of(b"receipt") }
}

pub fn license(number: u64, credits: u64) -> Event {
    let key = SecretKey::from_random(&[u8::try_from(number).unwrap(); 32]).public();
    Event::Licensed { license: number, kid: format!("m{number}"), key, credits, until: NOW.plus(WEEK) }
}

/// The payment for recipient `recipient` of message `message`: 3 credits.
pub fn order(message: usize, recipient: usize) -> PaymentOrder {
    let (mailbox, fingerprint) = (format!("r{recipient}@x.example"), format!("message {message}"));
    PaymentOrder {
        payment: payment_hash(7, &mailbox, &Hash::of(fingerprint.as_bytes()).0),
        mailbox,
        fingerprint,
        id: format!("id-{message}-{recipient}"),
        credits: 3,
        until: NOW.plus(crate::DAY),
        peer: "far@agency.example".into(),
        renew: false,
    }
}

pub fn orders(message: usize, recipients: usize) -> Vec<PaymentOrder> {
    (0..recipients).map(|recipient| order(message, recipient)).collect()
}

/// Reserves payments, whose tokens name licence, ID, mailbox, message and credits.
pub fn reserve(bank: &Bank, orders: Vec<PaymentOrder>) -> Result<Vec<Result<Reservation, Refusal>>, BankError> {
    let make = |license: &mailstamp::accounting::bank::books::License, order: &PaymentOrder| {
        Ok(format!("{} {} {} {} {}", license.kid, order.id, order.mailbox, order.fingerprint, order.credits))
    };
    bank.reserve(orders, Arc::new(make), NOW)
}

/// The same, all of which are reserved.
#[track_caller]
pub fn reserved(bank: &Bank, orders: Vec<PaymentOrder>) -> Vec<Reservation> {
    reserve(bank, orders).unwrap().into_iter().map(Result::unwrap).collect()
}

/// A token that came with message `message`: 4 credits.
pub fn token(message: usize) -> IncomingToken {
    IncomingToken {
        id: format!("in-{message}"),
        copy: copy_name("alice@x.example", format!("message {message}").as_bytes()),
        peer: "m9".into(),
        credits: 4,
        until: NOW.plus(crate::DAY),
        token: format!("token {message}"),
        max_exposure: u64::MAX,
    }
}

pub fn payments(orders: &[PaymentOrder]) -> Vec<Hash> {
    orders.iter().map(|order| order.payment).collect()
}

#[track_caller]
pub fn sound(bank: &Bank) {
    assert_eq!(bank.audit(None).unwrap().problems, Vec::<String>::new());
}

/// All that the bank has, wherever it is.
pub fn total(bank: &Bank) -> u64 {
    let has = bank.balance().unwrap();
    has.held + has.licensed + has.reserved + has.paid + has.received
}

#[test]
fn a_bank_is_created_once_and_begins_with_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bank = Bank::new(folder.path(), std::time::Duration::from_secs(60));
    assert!(matches!(bank.balance(), Err(BankError::Absent { .. })));
    assert!(matches!(reserve(&bank, orders(1, 1)), Err(BankError::Absent { .. })));
    bank.found("agency.example", "shop", NOW).unwrap();
    assert!(matches!(bank.found("agency.example", "shop", NOW), Err(BankError::Exists { .. })));
    assert_eq!(total(&bank), 0);
    assert_eq!(reserve(&bank, orders(1, 1)).unwrap(), [Err(Refusal::NoLicense)]);
    sound(&bank);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(bank.path()).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o600);
    // A lost file is no empty bank.
    std::fs::remove_file(bank.path()).unwrap();
    assert!(matches!(bank.balance(), Err(BankError::Missing { .. })));
    assert!(matches!(bank.found("agency.example", "shop", NOW), Err(BankError::Missing { .. })));
}

#[test]
fn a_day_has_a_limit_that_retries_do_not_use_up() {
    let disk = crate::disk::Disk::default();
    let bank = disk.bank(crate::disk::Plan::Work).unwrap();
    found(&bank);
    let day = |days: i64| NOW.plus(days * crate::DAY);
    let reserve = |message, recipients, at| {
        let until = |it: PaymentOrder| PaymentOrder { until: day(6), ..it };
        let orders = orders(message, recipients).into_iter().map(until).collect();
        let each = bank.reserve_within(orders, Arc::new(|_, _| Ok("token".into())), 10, at).unwrap();
        each.into_iter().map(|it| it.map(|it| it.again)).collect::<Vec<_>>()
    };
    // Three credits each.
    let full = |left| Err(Refusal::Day { wanted: 3, left });
    assert_eq!(reserve(1, 4, NOW), [Ok(false), Ok(false), Ok(false), full(1)]);
    assert_eq!(reserve(1, 4, NOW), [Ok(true), Ok(true), Ok(true), full(1)]);
    assert_eq!(reserve(2, 1, NOW), [full(1)]);
    assert_eq!(reserve(1, 4, day(1)), [Ok(true), Ok(true), Ok(true), Ok(false)]);
    assert_eq!(reserve(2, 3, day(1)), [Ok(false), Ok(false), full(1)]);
    // A new ID costs what it asks more.
    let renewed = |credits| PaymentOrder { id: "new".into(), until: day(6), renew: true, credits, ..order(1, 0) };
    let renew = |credits| bank.reserve_within(vec![renewed(credits)], Arc::new(|_, _| Ok("b".into())), 10, day(1));
    assert_eq!(renew(5).unwrap(), [Err(Refusal::Day { wanted: 2, left: 1 })]);
    assert!(renew(4).unwrap()[0].is_ok());
    let known = bank.payments(&[order(9, 9).payment, order(1, 0).payment]).unwrap();
    assert_eq!(known.iter().map(|it| it.as_ref().map(|it| it.credits)).collect::<Vec<_>>(), [None, Some(4)]);
    sound(&bank);
}

// E13: the sender's half
#[test]
fn a_payment_gets_the_same_token_whatever_happened() {
    let disk = crate::disk::Disk::default();
    let bank = disk.bank(crate::disk::Plan::Work).unwrap();
    found(&bank);
    let first = reserved(&bank, orders(1, 3));
    assert!(first.iter().all(|it| !it.again));
    // Another ID and another price at the retry: the token stays.
    let again = |id: &str| PaymentOrder { id: id.into(), credits: 5, ..order(1, 0) };
    let second = reserved(&bank, vec![again("other"), order(1, 1), order(1, 2)]);
    assert!(second.iter().all(|it| it.again));
    assert!(first.iter().zip(&second).all(|(one, two)| (&one.token, &one.id) == (&two.token, &two.id)));
    // The receiver wanted none of the old ID.
    let renewed = reserved(&bank, vec![PaymentOrder { renew: true, ..again("new") }]).remove(0);
    assert_eq!((renewed.id.as_str(), renewed.credits, renewed.again), ("new", 5, false));
    assert_eq!(bank.balance().unwrap().reserved, 5 + 3 + 3);
    assert_eq!(bank.settle(payments(&orders(1, 3)), NOW).unwrap(), 3);
    assert_eq!(bank.settle(payments(&orders(1, 3)), NOW).unwrap(), 0);
    let settled = reserved(&bank, vec![PaymentOrder { renew: true, ..again("newer") }]).remove(0);
    assert_eq!((settled.token, settled.id.as_str()), (renewed.token, "new"));
    assert_eq!((bank.balance().unwrap().reserved, bank.balance().unwrap().paid, total(&bank)), (0, 11, BOUGHT));
    let unknown = bank.settle(payments(&orders(2, 1)), NOW).unwrap_err();
    assert_eq!(unknown.refusal(), Some(&Refusal::NotReserved));
    sound(&bank);
}

#[test]
fn licences_are_chosen_by_credits_and_end() {
    let disk = crate::disk::Disk::default();
    let bank = disk.bank(crate::disk::Plan::Work).unwrap();
    found(&bank);
    bank.book(license(2, 4), NOW).unwrap();
    let Event::Licensed { key, .. } = license(3, 0) else { unreachable!() };
    let soon = Event::Licensed { license: 3, kid: "m3".into(), key, credits: 50, until: NOW.plus(60) };
    bank.book(soon, NOW).unwrap();
    let asked = |credits, message| vec![PaymentOrder { credits, ..order(message, 0) }];
    // The third ends before the ID, the second has too few.
    assert!(reserved(&bank, asked(10, 1))[0].token.starts_with("m1 "));
    let most = reserve(&bank, asked(LIMIT, 2)).unwrap().remove(0);
    assert_eq!(most, Err(Refusal::Funds { wanted: LIMIT, has: LIMIT - 10 }));
    bank.book(Event::LicenseEnded { license: 1 }, NOW).unwrap();
    assert!(reserved(&bank, asked(4, 3))[0].token.starts_with("m2 "));
    assert!(reserved(&bank, asked(4, 4))[0].token.starts_with("m3 "));
    let ended = vec![PaymentOrder { until: NOW, ..order(5, 0) }];
    assert!(matches!(reserve(&bank, ended).unwrap()[..], [Err(Refusal::Ended { .. })]));
    sound(&bank);
}

// E15, E5: the receiver's half
#[test]
fn a_token_counts_once_for_one_message() {
    let disk = crate::disk::Disk::default();
    let bank = disk.bank(crate::disk::Plan::Work).unwrap();
    found(&bank);
    let pend = |token: IncomingToken| bank.pending(vec![token], NOW).unwrap()[0];
    let another = IncomingToken { copy: copy_name("alice@x.example", b"another"), ..token(1) };
    assert_eq!(pend(token(1)), Arrival::Fresh);
    assert_eq!(pend(token(1)), Arrival::Again);
    assert_eq!(pend(another.clone()), Arrival::Double);
    // The inner server refused it, then took it.
    let ended = |before| bank.pending_before(before).unwrap();
    assert_eq!((ended(NOW), ended(NOW.plus(WEEK)).contains(&"in-1".to_owned())), (Vec::new(), true));
    assert_eq!(pend(token(7)), Arrival::Fresh);
    // Each once, in any order.
    let twice = ["in-1", "in-7", "in-1"].map(str::to_owned).to_vec();
    assert_eq!(bank.drop_pending(twice, NOW).unwrap(), 2);
    assert!(!ended(NOW.plus(WEEK)).contains(&"in-1".to_owned()), "it is pending no more");
    assert_eq!(bank.exposure("m9").unwrap(), 0);
    assert_eq!(pend(another.clone()), Arrival::Double);
    assert_eq!(pend(token(1)), Arrival::Fresh);
    assert_eq!(bank.receive(vec!["in-1".into()], NOW).unwrap(), 1);
    assert_eq!(bank.receive(vec!["in-1".into()], NOW).unwrap(), 0);
    assert_eq!((pend(token(1)), pend(another)), (Arrival::Received, Arrival::Double));
    assert!(bank.drop_pending(vec!["in-1".into()], NOW).unwrap_err().refusal().is_some());
    // The same message under a new ID: paid before.
    assert_eq!(pend(IncomingToken { id: "new".into(), ..token(1) }), Arrival::Received);
    // A new ID while the message is being handed on takes the place of the old one.
    assert_eq!(pend(token(2)), Arrival::Fresh);
    assert_eq!(pend(IncomingToken { id: "new".into(), ..token(2) }), Arrival::Fresh);
    assert!(bank.receive(vec!["in-2".into()], NOW).unwrap_err().refusal().is_some());
    assert_eq!(bank.receive(vec!["new".into()], NOW).unwrap(), 1);
    assert_eq!((bank.balance().unwrap().received, bank.exposure("m9").unwrap()), (8, 8));
    let full = IncomingToken { max_exposure: 11, ..token(3) };
    assert_eq!(pend(full.clone()), Arrival::Full);
    assert_eq!(pend(IncomingToken { max_exposure: 12, ..full }), Arrival::Fresh);
    assert_eq!(bank.uncleared(1).unwrap().len(), 1);
    assert_eq!(
        bank.uncleared(9).unwrap(),
        [("in-1".to_owned(), "token 1".to_owned()), ("new".to_owned(), "token 2".to_owned())]
    );
    sound(&bank);
}

// E6: a net receiver never buys: what was cleared is licensed
#[test]
fn cleared_credits_can_be_spent() {
    let disk = crate::disk::Disk::default();
    let bank = disk.bank(crate::disk::Plan::Work).unwrap();
    bank.found("agency.example", "shop", NOW).unwrap();
    for message in 0..10 {
        bank.pending(vec![token(message)], NOW).unwrap();
        bank.receive(vec![format!("in-{message}")], NOW).unwrap();
    }
    let ids: Vec<String> = bank.uncleared(100).unwrap().into_iter().map(|(id, _)| id).collect();
    let taken = ids.iter().map(|id| (id.clone(), 4)).collect();
    assert!(matches!(bank.book(license(1, 20), NOW), Err(BankError::Damaged { .. })), "nothing is held yet");
    bank.book(Event::Sent { request: "r".into(), ids }, NOW).unwrap();
    bank.book(Event::Collected { request: "r".into(), taken, refused: Vec::new() }, NOW).unwrap();
    bank.book(checkpoint(40, 40), NOW).unwrap();
    bank.book(license(1, 20), NOW).unwrap();
    assert_eq!(reserved(&bank, orders(1, 5)).len(), 5);
    assert_eq!((total(&bank), bank.exposure("m9").unwrap()), (40, 0));
    sound(&bank);
}

// A clock in 1970 or 2040 loses nothing: the first signs on, the second refuses and keeps all
#[test]
fn a_wrong_clock_loses_no_credit() {
    let disk = crate::disk::Disk::default();
    let bank = disk.bank(crate::disk::Plan::Work).unwrap();
    found(&bank);
    let make = Arc::new(|_: &mailstamp::accounting::bank::books::License, order: &PaymentOrder| Ok(order.id.clone()));
    for (message, at) in [(1, 0), (2, -5), (3, 2_208_988_800), (4, i64::MAX), (5, NOW.0)] {
        let now = mailstamp::time::UnixTime(at);
        let asked = bank.reserve(orders(message, 2), make.clone(), now).unwrap();
        let is_late = at > NOW.0;
        assert!(asked.iter().all(|it| it.is_err() == is_late), "{at}: {asked:?}");
        bank.pending(vec![token(message)], now).unwrap();
        bank.receive(vec![format!("in-{message}")], now).unwrap();
    }
    let has = bank.balance().unwrap();
    assert_eq!((has.reserved, has.received, total(&bank)), (18, 20, BOUGHT + 20));
    let mut lines = 0;
    bank.statement(None, &mut |_| {
        lines += 1;
        true
    })
    .unwrap();
    assert_eq!(lines, 2 + 6 + 5);
    sound(&bank);
}
