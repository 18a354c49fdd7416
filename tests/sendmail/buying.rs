//! Stamps that are bought on the way: one request for all recipients, none twice, and none that is wasted.

use crate::account::with_account;
use crate::next::Next;
use crate::support::shop::Shop;
use crate::support::{ALICE, Home};
use mailstamp::bank::event::Event;
use std::collections::BTreeSet;

fn message(id: &str) -> Vec<u8> {
    format!("From: {ALICE}\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <{id}@x.example>\n\nhello\n")
        .into_bytes()
}

fn home_with(shop: &Shop, more: &str) -> (Home, Next) {
    let home = Home::new();
    let next = Next::install(
        &home,
        &format!(
            "addresses = [{ALICE:?}]\n[sender]\ncredits_per_hour = 100000\ncredits_per_day = 100000\ncredits_per_recipient = 100000"
        ),
        more,
    );
    with_account(&home, shop);
    (home, next)
}

fn stamp(copy: &str) -> String {
    crate::support::programs::field(copy.as_bytes(), "Digital-Stamp").unwrap_or_default().replace(' ', "")
}

#[test]
fn a_hundred_recipients_are_one_purchase_and_each_has_his_own() {
    // BP2e.
    let shop = Shop::open(1000, &[]);
    let (home, next) = home_with(&shop, "");
    let to: Vec<String> = (100..200).map(|n| format!("p{n}@y.example")).collect();
    let args: Vec<&str> = ["sendmail", "-i"].into_iter().chain(to.iter().map(String::as_str)).collect();
    let said = home.run(args.iter().copied(), &message("1")).exits(0);
    assert_eq!((said.text().as_str(), said.stderr.as_str()), ("", ""), "no progress but on a terminal");
    let calls = next.calls();
    assert_eq!(calls.iter().map(|call| call.to().to_owned()).collect::<Vec<_>>(), to);
    let stamps: BTreeSet<String> = calls.iter().map(|call| stamp(&call.copy)).collect();
    assert_eq!((stamps.len(), shop.balance()), (100, 900));
    let history = shop.books().history(shop.account, u64::MAX, 10).unwrap();
    let sales = history.iter().filter(|entry| matches!(entry.event, Event::Issued { .. })).count();
    assert_eq!(sales, 1, "{history:?}");
    // What was sent is sent: the next message buys anew.
    home.run(["sendmail", &to[0]], &message("2")).exits(0);
    assert_eq!(shop.balance(), 899);
}

#[test]
fn a_vendor_who_is_away_makes_the_message_wait_and_then_it_goes() {
    let mut shop = Shop::open(10, &[]);
    let (home, next) = home_with(&shop, "none = [\"*@free.example\"]");
    shop.signal("-STOP");
    home.configure(
        &(std::fs::read_to_string(home.config()).unwrap().replace("[sender]\n", "[sender]\ntimeout = \"1s\"\n")),
    );
    let said = home.run(["sendmail", "bob@y.example", "carol@free.example"], &message("1")).exits(75);
    assert!(said.stderr.contains("bob@y.example: not sent yet: no stamp: "), "{}", said.stderr);
    assert_eq!(next.calls().iter().map(|call| call.to().to_owned()).collect::<Vec<_>>(), ["carol@free.example"]);
    shop.signal("-CONT");
    home.run(["sendmail", "-q"], b"").exits(0);
    let calls = next.calls();
    assert_eq!((calls.len(), calls[0].to(), shop.balance()), (1, "bob@y.example", 9));
    assert_ne!(stamp(&calls[0].copy), "");
    shop.signal("-TERM");
    shop.ended();
}

#[test]
fn a_stamp_that_never_can_be_had_stops_the_whole_message() {
    let shop = Shop::open(1, &[]);
    let (home, next) = home_with(&shop, "none = [\"*@free.example\"]");
    let said = home.run(["sendmail", "a@y.example", "b@y.example", "c@free.example"], &message("1")).exits(77);
    assert!(said.stderr.contains("not enough credits"), "{}", said.stderr);
    assert_eq!((next.calls().len(), shop.balance()), (0, 1));
    home.run(["sendmail", "a@y.example", "c@free.example"], &message("1")).exits(0);
    assert_eq!((next.calls().len(), shop.balance()), (2, 0));
}

#[test]
fn a_refused_copy_gives_its_stamp_back() {
    let shop = Shop::open(10, &[]);
    let (home, next) = home_with(&shop, "");
    next.ends("exit 67");
    home.run(["sendmail", "bob@y.example"], &message("1")).exits(67);
    let first = stamp(&next.calls()[0].copy);
    next.ends("exit 0");
    home.run(["sendmail", "bob@y.example"], &message("2")).exits(0);
    assert_eq!((stamp(&next.calls()[0].copy), shop.balance()), (first, 9));
}
