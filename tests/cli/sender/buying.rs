//! Buying: one request for many stamps, caps, errors that say what to do, and a wallet that keeps unused stamps.

use super::{add_account, customer, sold, tokens};
use crate::support::shop::Shop;
use crate::support::{faketime, run};
use mailstamp::accounting::event::Event;
use mailstamp::accounting::order::Order;
use mailstamp::ledger::ops;
use mailstamp::os::{clock, clock_record};
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::token::Token;
use mailstamp::time::UnixTime;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::thread;

fn stamp(text: &str) -> Stamp {
    Stamp::read(Token::parse(text).unwrap().payload()).unwrap()
}

// BP1a, BC14
#[test]
fn many_recipients_cost_one_request() {
    let shop = Shop::open(100, &[]);
    let home = customer(&shop, shop.address);
    let bought = home.run(
        [
            "buy",
            "--to",
            "a@y.example",
            "b@y.example",
            "--to",
            "c@z.example",
            "--value",
            "2",
            "--days",
            "3",
            "--out",
            "-",
        ],
        b"",
    );
    let stamps = tokens(&bought.exits(0).text());
    let names: Vec<String> = stamps.iter().map(|it| stamp(it).audience.to_string()).collect();
    assert_eq!(names, ["a@y.example", "b@y.example", "c@z.example"]);
    assert!(stamps.iter().all(|it| stamp(it).value == 2));
    assert_eq!((shop.balance(), sold(&shop)), (94, 3));
    let history = shop
        .ledger()
        .run(ops::History { account: shop.account, before: u64::MAX, most: 10 }, mailstamp::os::clock::now())
        .unwrap();
    assert_eq!(history.iter().filter(|it| matches!(it.event, Event::Issued { .. })).count(), 1, "{history:?}");
    // A stamp that was handed out is used: it does not come out of the wallet.
    assert_eq!(home.run(["wallet", "show"], b"").exits(0).text(), "");
}

// BP2f: neither the vendor nor the stamp learns more than it must
#[test]
fn a_hashed_recipient_is_not_told_to_the_vendor() {
    let shop = Shop::open(10, &[]);
    let home = customer(&shop, shop.address);
    let to = ["buy", "--to", "secret@y.example", "--hashed", "--sender", "joe@shop.example", "--out", "-"];
    let text = home.run(to, b"").exits(0).text();
    let stamp = stamp(text.trim());
    assert!(stamp.audience.to_string().starts_with('~'));
    assert!(stamp.audience.names(&"secret@y.example".parse().unwrap()));
    assert_eq!(stamp.sender.unwrap().to_string(), "joe@shop.example");
    for entry in std::fs::read_dir(shop.folder()).unwrap().filter_map(|it| std::fs::read(it.unwrap().path()).ok()) {
        assert!(!String::from_utf8_lossy(&entry).contains("secret@y.example"));
    }
}

#[test]
fn what_was_bought_for_the_wallet_is_listed_exported_and_dropped() {
    let shop = Shop::open(10, &[]);
    let home = customer(&shop, shop.address);
    home.run(["buy", "--to", "a@y.example", "b@y.example"], b"").exits(0);
    let listed: serde_json::Value =
        serde_json::from_str(&home.run(["wallet", "list", "--json"], b"").exits(0).text()).unwrap();
    let stamps = listed["stamps"].as_array().unwrap();
    assert_eq!(
        (stamps.len(), &stamps[0]["state"], &listed["unanswered"]),
        (2, &"unused".into(), &serde_json::json!([]))
    );
    let all = tokens(&home.run(["wallet", "show"], b"").exits(0).text());
    assert_eq!(all.len(), 2);
    let serial = stamps[0]["serial"].as_str().unwrap();
    assert_eq!(home.run(["wallet", "show", serial], b"").exits(0).text().trim(), all[0]);
    let dropped = home.run(["wallet", "drop", serial], b"").exits(0).text();
    assert_eq!(dropped, format!("dropped: 1 credit for {}\n", stamps[0]["recipient"].as_str().unwrap()));
    home.run(["wallet", "drop", serial], b"").exits(65);
    assert_eq!(home.run(["wallet", "show"], b"").exits(0).text().trim(), all[1]);
}

// Threat 22: 50 processes at once
#[test]
fn a_cap_holds_for_fifty_at_once() {
    let shop = Shop::open(1_000, &["--key-rate", "0", "--connections-each", "1000"]);
    let home = customer(&shop, shop.address);
    home.configure("[used_log]\nwait = \"300s\"\n[sender]\ncredits_per_hour = 20\ncredits_per_recipient = 5");
    let codes: Vec<i32> = thread::scope(|scope| {
        let each: Vec<_> = (0..50)
            .map(|number| {
                let home = &home;
                scope.spawn(move || {
                    let to = format!("r{}@y.example", number % 10);
                    run(home.command().args(["buy", "--to", &to, "--name", &number.to_string()]), b"").code
                })
            })
            .collect();
        each.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 20, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 75).count(), 30, "{codes:?}");
    assert_eq!((shop.balance(), sold(&shop)), (980, 20));
    let told = home.run(["buy", "--to", "new@y.example"], b"").exits(75).stderr;
    assert!(
        told.contains(
            "cap of 20 credits an hour (sender.credits_per_hour), of which 20 are spent; it is free again at"
        )
    );
    let told = home.run(["buy", "--to", "new@y.example", "--value", "6"], b"").stderr;
    assert!(told.contains("credits_per_hour"), "{told}");
    home.configure("[sender]\ncredits_per_recipient = 5");
    let told = home.run(["buy", "--to", "new@y.example", "--value", "6"], b"").exits(77).stderr;
    assert!(told.contains("a day for new@y.example (sender.credits_per_recipient)"), "{told}");
    assert!(told.contains("more than the whole cap"), "{told}");
}

#[test]
fn errors_say_what_to_do() {
    let mut shop = Shop::open(2, &[]);
    let home = customer(&shop, shop.address);
    let told = |arguments: &[&str], code| home.run(arguments.iter().copied(), b"").exits(code).stderr;
    assert!(told(&["buy", "--to", "a@y.example", "--value", "3"], 77).contains("not enough credits"));
    assert!(told(&["buy", "--to", "no-address"], 64).contains("no-address"));
    let refused = told(&["buy", "--to", "a@y.example", "--days", "3000"], 65);
    assert!(refused.contains("the vendor refuses the order: order 1"), "{refused}");
    assert!(told(&["buy", "--to", "a@y.example", "--vendor", "w.example"], 78).contains("no account at w.example"));
    // What was refused counts against no cap, and leaves nothing open.
    home.configure("[sender]\ncredits_per_hour = 2");
    home.run(["buy", "--to", "a@y.example", "--value", "2"], b"").exits(0);
    assert_eq!((shop.balance(), sold(&shop)), (0, 1));
    home.configure("");
    // Away, and there again.
    shop.signal("-KILL");
    shop.ended();
    let to = ["buy", "--to", "b@y.example", "--out", "-"];
    assert!(home.run(to, b"").exits(75).stderr.contains("hint: try again; no purchase is charged twice"));
    assert!(
        home.run(["wallet", "list"], b"").exits(0).text().contains("not answered yet: 1 stamp, 1 credit, from shop")
    );
    shop.restart();
    let ledger = shop.ledger();
    ledger.credit(shop.account, 10, None, "more", mailstamp::os::clock::now()).unwrap();
    let url = format!("http://{}", shop.address);
    home.run(
        ["account", "add", "shop", "--replace", "--offline", "--vendor", "stamps.example", "--url", &url],
        b"wrong",
    )
    .exits(0);
    assert!(home.run(to, b"").exits(78).stderr.contains("the vendor refuses the API key"));
    home.run(["account", "remove", "shop"], b"").exits(0);
    add_account(&home, &shop, shop.address);
    assert_eq!(tokens(&home.run(to, b"").exits(0).text()).len(), 1);
    assert_eq!((shop.balance(), sold(&shop)), (9, 2));
    assert!(!home.run(["wallet", "list"], b"").exits(0).text().contains("not answered yet"));
}

#[test]
fn a_vendor_who_sells_to_somebody_else_is_told() {
    let shop = Shop::open(10, &[]);
    let home = customer(&shop, shop.address);
    // It answers everything with the stamp of another.
    let other = home.run(["buy", "--to", "other@y.example", "--out", "-"], b"").exits(0).text();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = serde_json::json!({ "stamps": [{ "stamp": other.trim(), "serial": "x" }] }).to_string();
    thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 65_536]);
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        }
    });
    home.run(["account", "remove", "shop"], b"").exits(0);
    add_account(&home, &shop, address);
    let told = home.run(["buy", "--to", "bob@y.example", "--out", "-"], b"").exits(69);
    assert!(told.stderr.contains("the stamp for bob@y.example: it names another recipient"), "{}", told.stderr);
    assert_eq!(told.text(), "");
    // The credit is gone, and that is said.
    let listed = home.run(["wallet", "list"], b"").exits(0).text();
    assert!(listed.contains("may be lost: 1 stamp, 1 credit, from shop at "), "{listed}");
    assert!(listed.contains("the stamp for bob@y.example: it names another recipient; order "), "{listed}");
    let listed: serde_json::Value =
        serde_json::from_str(&home.run(["wallet", "list", "--json"], b"").exits(0).text()).unwrap();
    assert_eq!(
        (&listed["lost"][0]["stamps"][0]["recipient"], &listed["unanswered"]),
        (&"bob@y.example".into(), &json!([]))
    );
    let doctor = home.run(["doctor"], b"").text();
    assert!(doctor.contains("1 credit may be lost: 1 stamp of purchases did not come (shop, "), "{doctor}");
}

#[test]
fn a_stamp_that_had_ended_when_it_was_ordered_is_no_stamp() {
    let shop = Shop::open(10, &[]);
    let home = customer(&shop, shop.address);
    let order = || vec![Order::new(Audience::parse("bob@y.example").unwrap())];
    let sold_at = |at: UnixTime| shop.ledger().issue(shop.account, &order(), None, at).unwrap().stamps[0].clone();
    let answers = [sold_at(clock::now().plus(-400 * 86_400)), sold_at(clock::now())];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        use std::io::{Read, Write};
        for (stream, token) in listener.incoming().zip(answers) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 65_536]);
            let body = json!({ "stamps": [{ "stamp": token.as_str(), "serial": "x" }] }).to_string();
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        }
    });
    home.run(["account", "remove", "shop"], b"").exits(0);
    add_account(&home, &shop, address);
    let told = home.run(["buy", "--to", "bob@y.example"], b"").exits(69);
    assert!(told.stderr.contains("the stamp for bob@y.example: it ended on "), "{}", told.stderr);
    assert!(home.run(["wallet", "list"], b"").exits(0).text().contains("may be lost: 1 stamp, 1 credit"));
    home.run(["buy", "--to", "bob@y.example"], b"").exits(0);
}

#[test]
fn a_quoted_local_part_keeps_its_quotes() {
    let shop = Shop::open(20, &[]);
    let home = customer(&shop, shop.address);
    for (number, to) in
        ["\"a b\"@y.example", "\"a\\\"b\"@y.example", "\"a\\\\b\"@y.example", "\"a@b\"@y.example"].iter().enumerate()
    {
        for hashed in [false, true] {
            let mut buy = vec!["buy", "--to", to, "--out", "-"];
            buy.extend(hashed.then_some("--hashed"));
            let bought = home.run(buy.iter().copied(), b"").exits(0).text();
            assert!(stamp(bought.trim()).audience.names(&to.parse().unwrap()), "{to} {bought}");
        }
        // From the wallet, too.
        home.run(["buy", "--to", &to.to_uppercase()], b"").exits(0);
        let listed: serde_json::Value =
            serde_json::from_str(&home.run(["wallet", "list", "--json"], b"").exits(0).text()).unwrap();
        let all: Vec<_> = listed["stamps"].as_array().unwrap().iter().map(|it| it["recipient"].clone()).collect();
        assert!(all.len() == number + 1 && all.contains(&json!(to)), "{listed}");
        home.run(["account", "prefer", to, "--value", "1"], b"").exits(0);
        assert!(home.run(["account", "prefer"], b"").exits(0).text().contains(to));
    }
    assert_eq!((shop.balance(), sold(&shop)), (8, 12));
}

#[test]
fn a_name_brings_the_same_stamps_and_none_brings_new_ones() {
    let shop = Shop::open(10, &[]);
    let home = customer(&shop, shop.address);
    let named = || home.run(["buy", "--to", "a@y.example", "--name", "n", "--out", "-"], b"").exits(0).text();
    assert_eq!(named(), named());
    let plain: BTreeSet<String> =
        (0..3).map(|_| home.run(["buy", "--to", "a@y.example", "--out", "-"], b"").exits(0).text()).collect();
    assert_eq!(plain.len(), 3);
    assert_eq!(sold(&shop), 4);
}

#[test]
fn a_name_brings_the_same_stamps_into_the_wallet() {
    let shop = Shop::open(20, &[]);
    let home = customer(&shop, shop.address);
    let named = |more: &[&str], code: i32| {
        let ran = home.run(["buy", "--to", "a@y.example", "--name", "n"].iter().chain(more).copied(), b"");
        let ran = ran.exits(code);
        (ran.text(), ran.stderr)
    };
    let first = named(&[], 0).0;
    assert_eq!([named(&[], 0).0, named(&["--value", "1", "--vendor", "shop"], 0).0], [first.clone(), first.clone()]);
    assert_eq!(sold(&shop), 1);
    for (more, told) in [
        (&["--value", "2"][..], "has a value of 1, not of 2"),
        (&["--days", "3"], "not after 3 days"),
        (&["--vendor", "w.example"], "is of stamps.example, not of w.example"),
        (&["--hashed"], "names its recipient without a hash"),
        (&["--sender", "joe@shop.example"], "does not name joe@shop.example as its sender"),
        (&["--to", "b@y.example", "--value", "2", "--out", "-"], "has a value of 1, not of 2"),
    ] {
        let stderr = named(more, 65).1;
        assert!(stderr.contains("the stamp for a@y.example that was bought with --name \"n\" "), "{stderr}");
        assert!(stderr.contains(told) && stderr.contains("hint: another purchase needs another --name"), "{stderr}");
    }
    assert_eq!((sold(&shop), shop.balance()), (1, 19));
    // A message takes the stamp from the wallet. The name does not hand it out a second time.
    let message = b"From: joe@shop.example\nTo: a@y.example\nMessage-ID: <1@shop.example>\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n\nhello\n";
    let affixed = home.run(["affix", "--buy"], message).exits(0).text();
    assert!(affixed.to_ascii_lowercase().contains("digital-stamp:") && sold(&shop) == 1);
    assert_eq!(named(&[], 0).0, first);
    assert!(named(&["--out", "-"], 65).1.contains("went to a message from the wallet"));
    assert_eq!(home.run(["affix", "--buy"], message).exits(0).text(), affixed);
    assert_eq!(sold(&shop), 1);
    // What is dropped from the wallet is bought anew; what is printed leaves the wallet.
    let listed: serde_json::Value =
        serde_json::from_str(&home.run(["wallet", "list", "--all", "--json"], b"").exits(0).text()).unwrap();
    home.run(["wallet", "drop", listed["stamps"][0]["serial"].as_str().unwrap()], b"").exits(0);
    named(&["--days", "3"], 0);
    let printed = named(&["--days", "3", "--out", "-"], 0).0;
    assert_eq!(
        [named(&["--out", "-"], 0).0, home.run(["wallet", "show"], b"").exits(0).text()],
        [printed, String::new()]
    );
    assert_eq!(sold(&shop), 2);
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn purchases_of_a_clock_that_was_ahead_block_no_cap() {
    let shop = Shop::open(20, &[]);
    let home = customer(&shop, shop.address);
    home.configure("[sender]\ncredits_per_hour = 2");
    let buy = |command: &mut std::process::Command, code: i32| {
        run(command.args(["buy", "--to", "a@y.example"]), b"").exits(code).stderr
    };
    let ahead = || {
        let own = home.command();
        let mut command = faketime("+3650d");
        command.arg(own.get_program()).env_clear().current_dir(home.path());
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    };
    // The time is known here, so the stamps count as bought though the clock says that they have ended.
    assert!(clock_record::observe(&home.state(), clock::now(), |_| None).is_some());
    for code in [0, 0, 75] {
        let told = buy(&mut ahead(), code);
        assert!(code != 0 || told.contains("sold an ended stamp, or the clock is ahead"), "{told}");
    }
    let doctor = home.run(["doctor"], b"").text();
    assert!(doctor.contains("dated after now, ") && doctor.contains(": 2 purchases, the last 203"), "{doctor}");
    for code in [0, 0, 75] {
        buy(&mut home.command(), code);
    }
    assert_eq!(sold(&shop), 4);
}
