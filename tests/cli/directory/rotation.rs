//! Key rotation and its effect on stamps that were issued before, for a user that refreshes, one that missed editions,
//! and one that never refreshes.

use super::vendor::{VENDOR, home, keygen, list, publish, refresh, says, source, stamped, version};
use crate::support::{ALICE, Home, run};
use std::fs;

/// A user whose source is the vendor's file.
fn listed() -> Home {
    let home = home();
    publish(&home, &["a"], &[]);
    list(&home, &source(home.file("public/.well-known/digital-stamp").to_str().unwrap(), ""));
    refresh(&home, None).exits(0);
    home
}

#[test]
fn old_stamps_hold_when_their_key_signs_no_more() {
    let home = listed();
    let old = stamped(&home, "a");
    keygen(&home, VENDOR, "b");
    publish(&home, &["b", "a"], &["--verify-only", "a"]);
    refresh(&home, None).exits(0);
    assert_eq!(home.classify(&old).exits(0).text(), "first-class paid\n");
    assert_eq!(says(&home, "b"), "first-class paid");
    let listed = home.run(["trust", "list"], b"").exits(0).text();
    assert!(
        listed.contains("a                 verify-only") && listed.contains("b                 active"),
        "{listed}"
    );
    // From now on the new key alone signs; it is known, although the user did not pin it.
    publish(&home, &["b"], &["--revoke-serial", "s1"]);
    assert!(refresh(&home, None).exits(0).text().ends_with(&format!("version {}\n", version(&home))));
    assert_eq!(home.classify(&old).exits(0).text(), "first-class again\n");
}

#[test]
fn stamps_of_a_stolen_key_do_not_hold() {
    let home = listed();
    keygen(&home, VENDOR, "b");
    publish(&home, &["b", "a"], &[]);
    refresh(&home, None).exits(0);
    let before = stamped(&home, "a");
    assert_eq!(home.classify(&before).exits(0).text(), "first-class paid\n");
    // Since a time that is past; a time to come changes nothing before it.
    publish(&home, &["b"], &["--revoke-key", "a=2099-01-01T00:00:00Z"]);
    refresh(&home, None).exits(0);
    assert_eq!(says(&home, "a"), "first-class paid");
    publish(&home, &["b"], &["--revoke-key", "a=2026-01-01T00:00:00Z"]);
    refresh(&home, None).exits(0);
    assert_eq!(says(&home, "a"), "invalid key-revoked");
    assert_eq!(says(&home, "b"), "first-class paid");
    // The thief publishes too: the stolen key is no longer trusted.
    let thief = Home::bare();
    fs::copy(home.key(VENDOR, "a"), thief.key(VENDOR, "a")).unwrap();
    for _ in 0..6 {
        publish(&thief, &["a"], &[]);
    }
    let served = "public/.well-known/digital-stamp";
    fs::copy(thief.file(served), home.file(served)).unwrap();
    let run = refresh(&home, None).exits(65);
    assert!(run.stderr.contains("was revoked or has ended"), "{}", run.stderr);
    assert_eq!(says(&home, "a"), "invalid key-revoked");
}

#[test]
fn who_was_away_for_two_rotations_still_follows() {
    let home = home();
    publish(&home, &["a"], &[]);
    keygen(&home, VENDOR, "b");
    publish(&home, &["b", "a"], &["--verify-only", "a"]);
    keygen(&home, VENDOR, "c");
    publish(&home, &["c", "b", "a"], &["--verify-only", "b"]);
    list(&home, &source(home.file("public/.well-known/digital-stamp").to_str().unwrap(), ""));
    refresh(&home, None).exits(0);
    for kid in ["a", "b", "c"] {
        assert_eq!(says(&home, kid), "first-class paid", "{kid}");
    }
}

#[test]
fn what_was_fetched_rests_on_the_pin_and_goes_with_it() {
    let home = listed();
    keygen(&home, VENDOR, "b");
    publish(&home, &["b", "a"], &[]);
    refresh(&home, None).exits(0);
    assert_eq!(says(&home, "b"), "first-class paid");
    // The vendor begins anew, and the user replaces the document by hand.
    let fresh = Home::bare();
    keygen(&fresh, VENDOR, "n");
    publish(&fresh, &["n"], &[]);
    let document = fs::read(fresh.file(&format!("public/{VENDOR}.json"))).unwrap();
    home.run(["trust", "add", "--replace", "-"], &document).exits(0);
    for kid in ["a", "b"] {
        assert_eq!(says(&home, kid), "unverified unknown-key", "{kid}");
    }
    // The vendor's versions begin anew, too.
    fs::copy(fresh.file("public/.well-known/digital-stamp"), home.file("public/.well-known/digital-stamp")).unwrap();
    assert!(refresh(&home, None).exits(0).text().ends_with(&format!("version {}\n", version(&fresh))));
    fs::remove_file(home.file(&format!(".config/mailstamp/vendors/{VENDOR}.json"))).unwrap();
    assert_eq!(says(&home, "a"), "unverified unknown-vendor");
    let run = refresh(&home, None).exits(69);
    assert!(run.stderr.contains("you do not trust stamps.example"), "{}", run.stderr);
}

#[test]
fn what_is_published_can_be_trusted_and_read_by_the_first_version() {
    let home = home();
    publish(
        &home,
        &["a"],
        &["--price", "1.00 EUR / 1000", "--buy", "https://stamps.example/", "--key-until", "a=2099-01-01T00:00:00Z"],
    );
    let document = home.file(&format!("public/{VENDOR}.json"));
    assert_eq!(fs::read(&document).unwrap(), fs::read(home.file("public/.well-known/digital-stamp")).unwrap());
    let other = Home::bare();
    other.configure(&format!("addresses = [\"{ALICE}\"]"));
    other.run(["trust", "add", document.to_str().unwrap()], b"").exits(0);
    let pinned = fs::read_to_string(other.file(&format!(".config/mailstamp/vendors/{VENDOR}.json"))).unwrap();
    let pinned: serde_json::Value = serde_json::from_str(&pinned).unwrap();
    assert_eq!(pinned["prices"][0], serde_json::json!({ "amount": "1.00", "currency": "EUR", "credits": 1000 }));
    assert_eq!(pinned["keys"][0]["not_after"], "2099-01-01T00:00:00Z");
    assert_eq!(other.classify(&stamped(&home, "a")).exits(0).text(), "first-class paid\n");
    // Version 0.1 knew one member of the file, and one string in it.
    let file: serde_json::Value = serde_json::from_slice(&fs::read(&document).unwrap()).unwrap();
    assert!(file["directory"].as_str().unwrap().starts_with("v4.public."), "{file}");
    let mut command = home.command();
    command
        .args(["vendor", "publish", "--out", "public", "--revoke-key", "nobody", "--key"])
        .arg(home.key(VENDOR, "a"));
    run(&mut command, b"").exits(65);
}

#[test]
fn what_is_published_at_the_same_time_comes_one_after_the_other() {
    let home = home();
    publish(&home, &["a"], &[]);
    let before = version(&home);
    let serials: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
    std::thread::scope(|scope| {
        for serial in &serials {
            scope.spawn(|| publish(&home, &["a"], &["--revoke-serial", serial]));
        }
    });
    let text = fs::read_to_string(home.file("public/.well-known/digital-stamp")).unwrap();
    let last = mailstamp::directory::publish::read(&text).unwrap().content;
    assert!(last.version >= before + 8, "{} after {before}", last.version);
    assert_eq!(last.vendors[0].revoked.iter().collect::<Vec<_>>(), serials.iter().collect::<Vec<_>>());
    publish(&home, &["a"], &["--ended-serial", "s3"]);
    let text = fs::read_to_string(home.file("public/.well-known/digital-stamp")).unwrap();
    assert_eq!(mailstamp::directory::publish::read(&text).unwrap().content.vendors[0].revoked.len(), 7);
}
