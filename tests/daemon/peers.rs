//! What a message teaches of its sender's keys where the daemon judges: from a whole message, and from a header alone.

use crate::support::peers::{exchanged, own_key};
use crate::support::programs::without_fields;
use crate::support::resident::Resident;
use crate::support::{ALICE, Home, letter};
use serde_json::Value;
use std::fs;

/// What is known of Bob: the state of the key, and the stamps that were not opened.
fn known(home: &Home) -> (Value, Value) {
    let shown = home.run(["peer", "show", "--json", "bob@y.example"], b"").exits(0).text();
    let mut shown: Value = serde_json::from_str(&shown).unwrap();
    (shown["keys"][0]["state"].take(), shown["sealed"].take())
}

#[test]
fn the_daemon_learns_as_the_commands_do() {
    let home = Home::new();
    home.configure(&format!(
        "addresses = [{ALICE:?}]\ntrusted_authserv_ids = [\"mx.example\"]\n[peers]\nenabled = true"
    ));
    let rule = "[[rule]]\nname = \"signed\"\naction = \"allow\"\nauthenticated = true\n";
    fs::write(home.file(".config/mailstamp/rules.toml"), rule).unwrap();
    own_key(&home, ALICE);
    let server = "Authentication-Results: mx.example; dkim=pass header.d=y.example\n";
    let arrives = |id: &str| String::from_utf8([server.as_bytes(), &exchanged(ALICE, &letter(id))].concat()).unwrap();
    let bare = without_fields(&arrives("1"), &["Digital-Stamp", "Digital-Stamp-Use"]);
    let _daemon = Resident::of(&home);
    home.run(["classify", "--dry-run"], bare.as_bytes()).exits(10).says("allowed rule");
    home.run(["peer", "show", "bob@y.example"], b"").exits(65);
    home.classify(bare.as_bytes()).exits(10).says("allowed rule");
    assert_eq!(known(&home), ("new".into(), 1.into()));
    home.classify(arrives("2").as_bytes()).exits(0).says("first-class peer");
    assert_eq!(known(&home).0, "known");
}
