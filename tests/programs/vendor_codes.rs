//! A vendor's codes through a real Postfix, under the restrictions of `rules/mailstamp-vendor.service` that matter
//! here: no new privileges, so that no setgid program gets its group; and no capability, so that root is no help
//! either.

use crate::support::postfix::{Postfix, User};
use crate::support::programs::{eventually_or, program, stand_in};
use crate::support::shop::Shop;
use crate::support::{MAILSTAMP, run};
use serde_json::json;
use std::fs;
use std::process::Command;

/// The mail in the Maildir of a user.
fn mail(user: &User) -> Option<String> {
    let file = fs::read_dir(user.file("Maildir/new")).ok()?.flatten().next()?;
    fs::read_to_string(file.path()).ok()
}

#[test]
fn a_code_is_mailed_by_a_service_without_new_privileges() {
    let postfix = Postfix::start("home_mailbox = Maildir/\n");
    let user = User::add();
    run(Command::new("chown").arg(format!("{}:nogroup", user.name())).arg(user.file("")), b"").exits(0);
    let folder = tempfile::tempdir().unwrap();
    let restricted = folder.path().join("mailstamp");
    let setpriv = program("setpriv", "util-linux");
    let options = "--no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all";
    stand_in(&restricted, &format!("#!/bin/sh\nexec {} {options} {MAILSTAMP} \"$@\"\n", setpriv.display()));

    let smtp = format!("127.0.0.1:{}", postfix.port());
    let shop = Shop::of(&restricted, 0, &["--smtp", &smtp]);
    let status = fs::read_to_string(format!("/proc/{}/status", shop.pid())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");

    let address = format!("{}@x.example", user.name());
    shop.ask("POST", "/v1/addresses", &json!({ "address": address })).is(202);
    let mailed = eventually_or("the code", || mail(&user), || postfix.log());
    assert!(mailed.starts_with("Return-Path: <>\n"), "{mailed}");
    assert_eq!(mailed.matches("\nMessage-ID: <").count(), 1, "{mailed}");
    let code = mailed.lines().find_map(|line| line.strip_prefix("    ")).unwrap();
    let owns = shop.ask("POST", "/v1/addresses/confirm", &json!({ "address": address, "code": code })).is(200).json();
    assert_eq!(owns, json!({ "owns": [address] }));
}
