//! Stamps that `sendmail` buys: one request for all recipients, none twice, and none wasted.

use super::account::{put_account, with_account};
use super::next::Next;
use crate::support::programs::chmod;
use crate::support::shop::{Shop, cutting};
use crate::support::{ALICE, Home};
use mailstamp::accounting::event::Event;
use mailstamp::ledger::ops;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

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

// The answer to the first order stays unreadable; the shop answers the others.
#[test]
fn an_order_that_cannot_be_completed_keeps_no_stamp_from_others() {
    let shop = Shop::open(100, &[]);
    let (home, next) = home_with(&shop, "");
    let real = shop.address;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    put_account(&home, listener.local_addr().unwrap(), &shop.key);
    std::thread::spawn(move || {
        let mut first = None;
        for stream in listener.incoming() {
            let (mut client, mut request) = (stream.unwrap(), Vec::new());
            let mut bytes = [0; 65_536];
            let (id, whole) = loop {
                let read = client.read(&mut bytes).unwrap();
                request.extend_from_slice(&bytes[..read]);
                let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
                let field = |name: &str| Some(text.split_once(name)?.1.split_once('\r')?.0.trim().to_owned());
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = field("content-length:").map_or(0, |it| it.parse().unwrap());
                if !head.is_empty() && body.len() >= length {
                    break (field("idempotency-key:"), request.clone());
                }
            };
            let mut shop = std::net::TcpStream::connect(real).unwrap();
            shop.write_all(&whole).unwrap();
            let read = shop.read(&mut bytes).unwrap();
            if first.get_or_insert_with(|| id.clone()) == &id {
                client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").unwrap();
            } else {
                client.write_all(&bytes[..read]).unwrap();
            }
        }
    });
    let told = home.run(["sendmail", "bob@y.example", "carol@y.example"], &message("1")).exits(75);
    assert!(told.stderr.contains("shop: cannot read the vendor's answer: not JSON at column 1"), "{}", told.stderr);
    assert_eq!((next.calls().len(), shop.balance()), (0, 98));
    for number in 2..4 {
        home.run(["sendmail", "carol@y.example"], &message(&number.to_string())).exits(0);
    }
    assert_eq!((next.calls().len(), shop.balance()), (2, 96));
    let doctor = home.run(["doctor"], b"").text();
    assert!(doctor.contains("2 credits may be lost: 2 stamps of purchases did not come (shop, "), "{doctor}");
}

// A captive portal, a proxy, or a shop with a fault: none of these has refused anything.
#[test]
fn an_answer_that_is_none_of_a_vendors_makes_the_mail_wait() {
    let shop = Shop::open(10, &[]);
    let (home, next) = home_with(&shop, "");
    let pages = [
        ("text/html; charset=utf-8", "<html>Accept our terms</html>", "it is text/html, expected application/json"),
        ("text/plain", r#"{"stamps":["#, "it is text/plain, expected application/json"),
        ("application/json", r#"{"stamps":["v4.public.AAAA"]}"#, "string \"v4.public.AAAA\", expected an object"),
        ("application/json", "{}", "the member \"stamps\" is missing"),
        ("application/json", "", "incomplete JSON"),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    put_account(&home, listener.local_addr().unwrap(), &shop.key);
    std::thread::spawn(move || {
        for (stream, (media_type, body, _)) in listener.incoming().zip(pages) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 65_536]);
            let length = body.len();
            let head = format!("Content-Type: {media_type}\r\nContent-Length: {length}\r\nConnection: close");
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
        }
    });
    for (_, _, what) in pages {
        let run = home.run(["sendmail", "bob@y.example"], &message("1")).exits(75);
        let told = format!("no stamp: shop: cannot read the vendor's answer: {what}");
        assert!(run.stderr.contains(&told), "{told}: {}", run.stderr);
    }
    assert!(home.run(["sendmail", "-bp"], b"").exits(0).text().contains("bob@y.example"));
    // The shop is back, and the order is sent again under its key.
    put_account(&home, shop.address, &shop.key);
    home.run(["sendmail", "-q"], b"").exits(0);
    assert_eq!((next.calls().len(), shop.balance()), (1, 9));
    assert!(!home.run(["wallet", "list"], b"").exits(0).text().contains("may be lost"));
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
    let history = shop
        .ledger()
        .run(ops::History { account: shop.account, before: u64::MAX, most: 10 }, mailstamp::os::clock::now())
        .unwrap();
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
    shop.stop();
    let config = std::fs::read_to_string(home.config()).unwrap();
    home.configure(&config.replace("[sender]\n", "[sender]\ntimeout = \"1s\"\n"));
    let said = home.run(["sendmail", "bob@y.example", "carol@free.example"], &message("1")).exits(75);
    assert!(said.stderr.contains("bob@y.example: not sent yet: no stamp: "), "{}", said.stderr);
    assert_eq!(next.calls().iter().map(|call| call.to().to_owned()).collect::<Vec<_>>(), ["carol@free.example"]);
    shop.signal("-CONT");
    home.configure(&config);
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

/// Answers every request with this status and a page, as proxies do while the vendor's machine is under maintenance.
fn page(status: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 65_536]);
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>");
        }
    });
    address
}

#[test]
fn what_waits_stays_until_the_user_has_mended_what_is_wrong_or_drops_it() {
    // Promise 1.
    let shop = Shop::open(1, &[]);
    let (home, next) = home_with(&shop, "");
    put_account(&home, page("403 Forbidden"), &shop.key);
    for id in ["1", "2"] {
        home.run(["sendmail", "bob@y.example"], &message(id)).exits(75);
    }
    let still_waits = |why: &str| {
        let said = home.run(["sendmail", "-q"], b"").exits(75);
        assert!(said.stderr.contains(why), "{}", said.stderr);
        assert_eq!(home.run(["sendmail", "-bp"], b"").exits(0).text().matches("bob@y.example").count(), 2);
    };
    still_waits("it answers with status 403");
    put_account(&home, shop.address, "msk_wrong");
    still_waits("the vendor refuses the API key");
    let file = home.state().join("accounts/shop.json");
    chmod(&file, 0o644);
    still_waits("others may read it");
    fs::remove_file(&file).unwrap();
    still_waits("account");
    with_account(&home, &shop);
    // Credits for one are there: the other one is not lost for that.
    let said = home.run(["sendmail", "-q"], b"").exits(75);
    assert!(said.stderr.contains("not enough credits"), "{}", said.stderr);
    assert_eq!(next.calls().len(), 1);
    let listed = home.run(["sendmail", "-bp"], b"").exits(0).text();
    let (name, rest) = listed.split_once("  ").unwrap();
    assert_eq!(rest, "Sat, 21 Nov 2026 12:00:00 +0000  \n    bob@y.example\n");
    home.run(["sendmail", "--drop", name], b"").exits(0);
    home.run(["sendmail", "--drop", name], b"").exits(65);
    assert_eq!(home.run(["sendmail", "-bp"], b"").exits(0).text(), "");
    home.run(["sendmail", "-q"], b"").exits(0);
    assert_eq!((next.calls().len(), shop.balance()), (0, 0));
}

#[test]
fn who_has_not_got_his_copy_yet_still_gets_it_when_others_have() {
    let shop = Shop::open(10, &[]);
    let (home, next) = home_with(&shop, "none = [\"*@free.example\"]");
    put_account(&home, page("503 Service Unavailable"), &shop.key);
    let send = || home.run(["sendmail", "bob@y.example", "carol@free.example"], &message("1"));
    send().exits(75);
    put_account(&home, shop.address, "msk_wrong");
    assert!(send().exits(75).stderr.contains("refuses the API key"));
    assert_eq!(next.calls().iter().map(|call| call.to().to_owned()).collect::<Vec<_>>(), ["carol@free.example"]);
    with_account(&home, &shop);
    send().exits(0);
    assert_eq!(next.calls().iter().map(|call| call.to().to_owned()).collect::<Vec<_>>(), ["bob@y.example"]);
}

#[test]
fn what_its_reader_takes_for_another_letter_has_another_stamp() {
    let shop = Shop::open(10, &[]);
    let (home, next) = home_with(&shop, "");
    let sent = |message: &[u8]| {
        home.run(["sendmail", "-i", "bob@y.example"], message).exits(0);
        stamp(&next.calls()[0].copy)
    };
    let plain = b"Subject: disk full\n\nsee to it\n";
    let later = String::from_utf8(message("1")).unwrap().replace("12:00:00", "12:05:00");
    let stamps = [sent(plain), sent(plain), sent(&message("1")), sent(later.as_bytes())];
    assert_eq!(stamps.iter().collect::<BTreeSet<_>>().len(), 4, "{stamps:?}");
    assert_eq!((sent(&message("1")), shop.balance()), (stamps[2].clone(), 6), "one is the first again");
    // What was never handed over keeps its stamp, whatever Date comes with it the second time.
    next.ends("exit 75");
    let late = String::from_utf8(message("2")).unwrap().replace("12:00:00", "12:05:00");
    for letter in [message("2"), late.into_bytes()] {
        home.run(["sendmail", "-i", "bob@y.example"], &letter).exits(75);
    }
    let calls = next.calls();
    assert_eq!(calls[0], calls[1]);
    assert_eq!(shop.balance(), 5);
}

#[test]
fn what_was_paid_and_never_arrived_is_not_bought_again() {
    // Threat 22.
    let shop = Shop::open(10, &[]);
    for more in ["", "when_away = \"plain\""] {
        let (home, next) = home_with(&shop, more);
        let before = shop.balance();
        let lost = cutting(shop.address, |_, _| 0);
        let send = |id: &str, to: &str| home.run(["sendmail", "-i", to], &message(id)).code;
        put_account(&home, lost, &shop.key);
        for (id, to) in [("1", "bob@y.example"), ("2", "carol@y.example")] {
            assert_eq!(send(id, to), if more.is_empty() { 75 } else { 0 });
            // The caller repeats the call at a bad time, and is refused; or drops the message.
            if more.is_empty() {
                fs::remove_file(home.state().join("accounts/shop.json")).unwrap();
                assert_eq!(send(id, to), 78);
                put_account(&home, lost, &shop.key);
            }
        }
        next.calls();
        put_account(&home, shop.address, &shop.key);
        assert_eq!(send("3", "bob@y.example"), 0);
        assert_ne!(stamp(&next.calls()[0].copy), "");
        assert_eq!(shop.balance(), before - 2);
        // And a stamp that no message needs any more goes into the wallet.
        home.run(["sendmail", "-q"], b"").exits(0);
        let listed = home.run(["wallet", "list"], b"").exits(0).text();
        assert!(listed.contains("carol@y.example") && !listed.contains("not answered yet"), "{listed}");
        assert_eq!(shop.balance(), before - 2);
    }
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
