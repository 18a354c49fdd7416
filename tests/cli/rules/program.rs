//! Rules in the program: when they are read, their effect on each command, and the output of `rules test`.

use crate::support::{Home, letter, traced};
use std::fs;
use std::path::PathBuf;

fn rules_file(home: &Home) -> PathBuf {
    home.config().with_file_name("rules.toml")
}

fn with_rules(text: &str) -> Home {
    let home = Home::new();
    fs::write(rules_file(&home), text).unwrap();
    home
}

const BOB: &str = "[[rule]]\nname = \"bob\"\naction = \"allow\"\nfrom = \"bob@y.example\"\n";

#[test]
fn a_good_stamp_needs_no_rules_however_broken_they_are() {
    let home = with_rules("[[rule]");
    let stamped = home.stamped(&letter("1"));
    home.classify(&stamped).exits(0).says("first-class paid");
    home.classify(&stamped).exits(0).says("first-class again");
    home.classify(&letter("2")).exits(75);
    let (run, calls) = traced(home.command().arg("classify"), "open,openat", &stamped);
    run.exits(0).says("first-class again");
    assert!(!calls.contains("rules.toml") && !calls.contains("allow.list"), "{calls}");
}

#[test]
fn files_and_the_log_are_opened_only_by_a_condition_that_is_reached() {
    let home = with_rules(
        "[[rule]]\nname = \"a\"\naction = \"hold\"\nsubject = \"cheap\"\nfrom_file = \"nowhere\"\ncorrespondent = true\n\
         [[rule]]\nname = \"b\"\naction = \"allow\"\nsubject = \"serious\"\n\
         [[rule]]\nname = \"c\"\naction = \"allow\"\nbody = \"(\"\n",
    );
    let (run, calls) = traced(home.command().arg("classify"), "open,openat", &letter("1"));
    run.exits(10).says("allowed rule");
    assert!(calls.contains("rules.toml") && !calls.contains("nowhere") && !calls.contains("used.redb"), "{calls}");
    assert!(!home.state().join("used.redb").exists());
    // If they are reached, both are errors: the message is deferred, and does not count as one that does not match.
    home.classify(&String::from_utf8(letter("2")).unwrap().replace("serious", "cheap").into_bytes()).exits(75);
    home.classify(&String::from_utf8(letter("2")).unwrap().replace("serious", "other").into_bytes()).exits(75);
}

#[test]
fn whoever_the_user_wrote_to_may_answer_without_a_stamp() {
    let home = with_rules(
        "[[rule]]\nname = \"correspondent\"\naction = \"allow\"\ncorrespondent = true\n\
         [[rule]]\nname = \"reply\"\naction = \"allow\"\nreply_to_mine = true\n",
    );
    home.classify(&letter("1")).exits(11);
    // Only to look makes nothing.
    assert!(!home.state().join("used.redb").exists());
    learn(&home, "bob@y.example", "mine@x.example");
    home.classify(&letter("1")).exits(10).says("allowed rule");
    let from_carol = String::from_utf8(letter("2")).unwrap().replace("bob@", "carol@");
    home.classify(from_carol.as_bytes()).exits(11);
    let reply = format!("References: <x@y.example>\n <mine@x.example>\n{from_carol}");
    home.classify(reply.as_bytes()).exits(10);
    let explained = home.run(["explain"], reply.as_bytes()).exits(0).text();
    assert!(explained.contains("the rule is reply\n"), "{explained}");
    // A used stamp was asked about in the same log, just before.
    let stamp = home.issue(crate::support::ALICE, []);
    home.classify(&home.affix(&stamp, &letter("3"))).exits(0);
    home.classify(&home.affix(&stamp, reply.as_bytes())).exits(10).says("allowed rule");
    home.classify(&home.affix(&stamp, from_carol.as_bytes())).exits(21).says("used used");
}

/// Remembers that the user sent a message.
fn learn(home: &Home, to: &str, message_id: &str) {
    use mailstamp::message::address::Address;
    use mailstamp::store::redb::{Options, Redb};
    use mailstamp::store::{ContactStore, Sent};
    use mailstamp::time::UnixTime;
    let store = Redb::new(home.state().join("used.redb"), Options::default());
    let sent = Sent {
        owner: mailstamp::verdict::owner::Owner::default(),
        recipients: vec![Address::parse(to).unwrap()],
        message_id: Some(message_id.to_owned()),
        time: UnixTime(1_795_262_400),
        now: UnixTime(1_795_262_400),
    };
    store.learn(&[sent]).unwrap();
}

#[test]
fn the_rules_to_start_from_are_of_use_without_any_vendor() {
    let home = with_rules(&crate::support::programs::recipe("rules.toml", &[]));
    home.configure("addresses = [\"alice@x.example\"]\ntrusted_authserv_ids = [\"mx.x.example\"]");
    fs::remove_dir_all(home.config().with_file_name("vendors")).unwrap();
    assert!(home.run(["config", "check"], b"").exits(0).text().contains("rules: 4"));
    learn(&home, "bob@y.example", "mine@x.example");
    let stranger = String::from_utf8(letter("1")).unwrap().replace("bob@", "eve@");
    let with = |fields: &str, letter: &str| format!("{fields}{letter}").into_bytes();
    let bob = String::from_utf8(letter("2")).unwrap();
    let forged = "Authentication-Results: mx.x.example; dmarc=fail header.from=y.example\n";
    for (message, rule) in [
        (with("", &stranger), None),
        (with("", &bob), Some("correspondent")),
        (with(forged, &bob), Some("forged-sender")),
        (with("In-Reply-To: <mine@x.example>\n", &stranger), Some("reply-to-mine")),
        (with("List-Id: <talk.lists.example>\n", &stranger), Some("lists")),
        (with("List-Id: <talk.other.example>\n", &stranger), None),
    ] {
        let said = home.run(["classify", "--json"], &message).text();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["rule"].as_str(), rule);
        let class = if rule.is_none_or(|rule| rule == "forged-sender") { "unstamped" } else { "allowed" };
        assert_eq!((&said["class"], &said["action"]), (&class.into(), &"deliver".into()));
    }
    // The rules in comments, without their signs.
    let all: String = crate::support::programs::recipe("rules.toml", &[])
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned() + "\n")
        .collect();
    fs::write(rules_file(&home), all).unwrap();
    fs::write(rules_file(&home).with_file_name("friends"), "eve@y.example\n").unwrap();
    assert!(home.run(["config", "check"], b"").exits(0).text().contains("rules: 8"));
    home.classify(stranger.as_bytes()).exits(10);
}

#[test]
fn what_a_rule_gives_is_told_everywhere() {
    let home = with_rules(
        "[[rule]]\nname = \"no; pills\"\naction = \"discard\"\nbody = \"pills\"\n\
         [[rule]]\nname = \"bob\"\naction = \"allow\"\nfrom = \"bob@y.example\"\n",
    );
    let pills = String::from_utf8(letter("1")).unwrap().replace("Dear Alice", "cheap pills");
    let field = home.run(["filter"], pills.as_bytes()).exits(0).text();
    assert!(
        field.starts_with("Digital-Stamp-Class: unstamped; reason=no-stamp; rule=no\\x3b pills;\n action=discard\n"),
        "{field}"
    );
    let json = home.run(["classify", "--json"], pills.as_bytes()).exits(11).text();
    assert!(json.contains("\"rule\":\"no; pills\"") && json.contains("\"action\":\"discard\""), "{json}");
    let field = home.run(["filter"], &letter("2")).exits(0).text();
    assert!(field.starts_with("Digital-Stamp-Class: allowed; reason=rule; rule=bob; action=deliver\n"), "{field}");
    home.run(["classify", "--action"], pills.as_bytes()).exits(33).says("discard unstamped no-stamp");

    // The whole of a message is not needed.
    home.configure("addresses = [\"alice@x.example\"]\nmax_message_size = 1024");
    home.classify(&[letter("3"), vec![b'x'; 1024]].concat()).exits(10);

    let folder = home.file("old");
    fs::create_dir_all(folder.join("new")).unwrap();
    fs::create_dir_all(folder.join("cur")).unwrap();
    fs::write(folder.join("new/1"), pills).unwrap();
    fs::write(folder.join("new/2"), letter("2")).unwrap();
    home.configure("addresses = [\"alice@x.example\"]");
    let scanned = home.run(["scan", "--json", folder.to_str().unwrap()], b"").exits(0).text();
    assert!(scanned.contains("\"rule\":\"no; pills\"") && scanned.contains("\"rule\":\"bob\""), "{scanned}");
}

#[test]
fn allow_is_asked_first_and_the_senders_of_released_mail_next() {
    let home = with_rules(&BOB.replace("allow", "discard"));
    let rule = || {
        let json = home.run(["explain", "--json"], &letter("1")).exits(0).text();
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["rule"].as_str().unwrap().to_owned()
    };
    assert_eq!(rule(), "bob");
    fs::create_dir_all(home.state()).unwrap();
    fs::write(home.state().join("allow.list"), "carol@y.example\nBob@y.example # 2026-11-21\n").unwrap();
    assert_eq!(rule(), "held-allow");
    home.configure("addresses = [\"alice@x.example\"]\nallow = [\"*@y.example\"]");
    assert_eq!(rule(), "*@y.example");
    // One that may not be read is no empty one.
    home.configure("addresses = [\"alice@x.example\"]");
    crate::support::programs::chmod(&home.state().join("allow.list"), 0o666);
    home.classify(&letter("1")).exits(75);
}

#[test]
fn filter_leaves_results_that_rules_go_by() {
    let home = with_rules(&format!("{BOB}authenticated = true\n"));
    let both = "trusted_authserv_ids = [\"mx.x.example\"]\nauthserv_id = \"mx.x.example\"";
    home.configure(&format!("addresses = [\"alice@x.example\"]\n{both}"));
    let genuine = "Authentication-Results: mx.x.example; dkim=pass header.d=y.example\n\
        Received: from y.example by mx.x.example; Tue, 1 Dec 2026 11:00:00 +0000\n";
    let forged = "Authentication-Results: mx.x.example; dmarc=fail header.from=y.example\n";
    let rest = String::from_utf8(letter("1")).unwrap();
    let once = home.run(["filter"], format!("{genuine}{forged}{rest}").as_bytes()).exits(0).text();
    assert!(once.starts_with("Digital-Stamp-Class: allowed; reason=rule; rule=bob;"), "{once}");
    assert!(once.ends_with(&format!("\n{genuine}{rest}")), "{once}");
    // Judged again, also after another hop, the class is the same, and only our own fields are new.
    assert_eq!(home.run(["filter"], once.as_bytes()).exits(0).text(), once);
    home.classify(format!("Received: by inner.x.example\n{once}").as_bytes()).exits(10);
    assert_eq!(home.run(["strip", "--results"], once.as_bytes()).exits(0).text(), format!("{genuine}{rest}"));
    // Microsoft 365 writes no name.
    let nameless = genuine.replace("mx.x.example; dkim", "spf=none (sender IP is 192.0.2.1); dkim");
    let message = format!("{nameless}{rest}");
    home.classify(message.as_bytes()).exits(11);
    home.configure("addresses = [\"alice@x.example\"]\ntrusted_authserv_ids = [\"-\"]\nauthserv_id = \"mx.x.example\"");
    let once = home.run(["filter"], message.as_bytes()).exits(0).text();
    assert!(once.ends_with(&format!("\n{message}")), "{once}");
    home.classify(once.as_bytes()).exits(10);
}

#[test]
fn only_trusted_hosts_say_who_is_genuine() {
    let home = with_rules(&format!("{BOB}authenticated = true\n"));
    let genuine =
        [b"Authentication-Results: mx.x.example; dkim=pass header.d=y.example\n".as_slice(), &letter("1")].concat();
    home.classify(&genuine).exits(11);
    home.configure("addresses = [\"alice@x.example\"]\ntrusted_authserv_ids = [\"mx.x.example\"]");
    home.classify(&genuine).exits(10);
    home.classify(&letter("1")).exits(11);
}

#[test]
fn rules_test_says_which_rule_matches_and_why() {
    let home = with_rules(
        "[[rule]]\nname = \"list\"\naction = \"allow\"\nlist_id = \"*.y.example\"\n\n\
         [[rule]]\nname = \"bob\"\naction = \"hold\"\nbody = [\n  \"letter\",\n  \"x\",\n]\nfrom = \"bob@y.example\"\n\
         unless = { subject = \"urgent\", to = \"x@y.example\" }\n\n\
         [[rule]]\nname = \"never\"\naction = \"discard\"\nalways = true\n",
    );
    let stamp = home.issue(crate::support::ALICE, []);
    let message = [b"Return-Path: <b@y.example>\n".as_slice(), &letter("1")].concat();
    let said = home.run(["rules", "test"], &message).exits(0).text();
    assert_eq!(
        said,
        "from: bob@y.example\nenvelope sender: b@y.example\nby its stamps: unstamped (no-stamp)\n\
         rule list, line 1: does not match\n  no        list_id = \"*.y.example\"\n\
         rule bob, line 6: matches\n  yes       from = \"bob@y.example\"\n  yes       body = [ \"letter\", \"x\", ]\n\
         \x20 no        unless to = \"x@y.example\"\n  not asked unless subject = \"urgent\"\n\
         unstamped: the rule is bob\nthe action is hold\n"
    );
    let json = home.run(["rules", "test", "--json", "--sender", "z@y.example"], &message).exits(0).text();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["rule"], &json["action"], &json["sender"]),
        (&"bob".into(), &"hold".into(), &"z@y.example".into())
    );
    assert_eq!(json["asked"][1]["conditions"][2]["answer"], "no");
    assert_eq!((&json["asked"][1]["conditions"][3]["answer"], &json["count"]), (&serde_json::Value::Null, &3.into()));
    assert_eq!(json["asked"].as_array().unwrap().len(), 2);

    // A stamp is neither needed nor spent.
    let stamped = home.affix(&stamp, &letter("2"));
    let said = home.run(["rules", "test"], &stamped).exits(0).text();
    assert!(said.ends_with("first-class: no rule is asked about first-class mail\nthe action is deliver\n"), "{said}");
    home.classify(&stamped).exits(0).says("first-class paid");
    assert!(
        !home.state().join("verdicts.jsonl").exists()
            || home.run(["log", "--json"], b"").exits(0).text().lines().count() == 1
    );

    // Threat 26: what a stranger wrote stays on its line.
    let nasty = b"From: \"\x1b[2J\" <\"a\xc2\x9b\"@y.example>\nReturn-Path: <\"\x1b\"@y.example>\n\nx";
    let said = home.run(["rules", "test"], nasty).exits(0);
    assert!(said.stdout.iter().all(|b| *b == b'\n' || (b' '..=b'~').contains(b)), "{said:?}");
}
