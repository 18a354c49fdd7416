//! Accounts: the API key is asked for, kept, and never shown.

use super::{customer, sold};
use crate::support::shop::Shop;
use crate::support::{Home, run, traced_with};
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

#[test]
fn an_account_is_added_shown_listed_and_removed() {
    let shop = Shop::open(40, &[]);
    let home = Home::bare();
    let url = format!("http://{}/", shop.address);
    let key = format!("{}\n", shop.key);
    let added = home.run(["account", "add", "main", "--url", &url], key.as_bytes()).exits(0);
    assert_eq!(added.text(), "main: 40 credits at stamps.example\n");
    home.run(["account", "add", "main", "--url", &url], key.as_bytes()).exits(65);
    home.run(["account", "add", "main", "--replace"], key.as_bytes()).exits(0);
    let other = ["account", "add", "b", "--url", &url, "--vendor", "other.example"];
    assert!(home.run(other, key.as_bytes()).exits(65).stderr.contains("is the service of \"stamps.example\""));
    let shown: serde_json::Value =
        serde_json::from_str(&home.run(["account", "show", "--json"], b"").exits(0).text()).unwrap();
    assert_eq!((&shown["balance"], &shown["vendor"]), (&40.into(), &"stamps.example".into()));
    assert_eq!(shown["own_caps"]["credits_per_day"], 500);
    let listed = home.run(["account", "list"], b"").exits(0).text();
    assert!(listed.contains("main     stamps.example") && listed.contains("0.001 EUR"), "{listed}");
    home.run(["account", "remove", "main"], b"").exits(0);
    home.run(["account", "remove", "main"], b"").exits(65);
    assert_eq!(home.run(["account", "list", "--json"], b"").exits(0).text(), "{\"accounts\":[],\"schema\":1}\n");
}

// Threat 33
#[test]
fn files_are_the_users_alone_and_looser_ones_are_refused() {
    let shop = Shop::open(10, &[]);
    let home = customer(&shop, shop.address);
    home.run(["buy", "--to", "bob@y.example"], b"").exits(0);
    let mut seen = Vec::new();
    for folder in [home.state(), home.state().join("accounts")] {
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&folder), 0o700, "{folder:?}");
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                assert_eq!(mode(&path), 0o600, "{path:?}");
                seen.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    seen.sort();
    seen.retain(|name| !name.starts_with("buying-"));
    assert_eq!(seen, ["clock", "shop.json", "wallet.redb", "wallet.redb.lock"]);
    let path = home.state().join("accounts/shop.json");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let told = home.run(["buy", "--to", "bob@y.example"], b"").exits(78).stderr;
    assert!(told.contains("shop.json: others may read it; chmod 600 would close it"), "{told}");
    assert_eq!(sold(&shop), 1);
}

// Threats 22 and 33
#[test]
fn the_key_stands_in_no_argument_and_in_no_text() {
    let shop = Shop::open(10, &[]);
    let home = customer(&shop, shop.address);
    let key_file = home.file("key");
    fs::write(&key_file, &shop.key).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o644)).unwrap();
    let add = ["account", "add", "two", "--url", &format!("http://{}", shop.address), "--key-file", "key"];
    assert!(home.run(add, b"").exits(66).stderr.contains("others may read it"));
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    home.run(add, b"").exits(0);
    assert!(!home.run(["account", "add", "--help"], b"").text().contains("--key "));
    // Whatever it does, and whatever goes wrong, it sends the key to the vendor only.
    let wrong = ["account", "add", "shop", "--replace"];
    home.run(wrong, b"not-the-key\n").exits(78);
    for arguments in [
        &["account", "show", "shop"][..],
        &["account", "list", "--json"],
        &["buy", "--to", "bob@y.example"],
        &["buy", "--to", "bob@y.example", "--value", "5000"],
        &["config", "show"],
    ] {
        let mut command = home.command();
        command.args(arguments);
        let (run, trace) = traced_with(&mut command, &["-s", "65536", "-e", "trace=execve,write"], b"");
        assert!(trace.contains("execve(") && !trace.contains(&shop.key), "{arguments:?}: {trace}");
        assert!(!run.text().contains(&shop.key) && !run.stderr.contains(&shop.key), "{run:?}");
    }
    assert!(!shop.log().contains(&shop.key));
}

#[test]
fn no_request_to_this_host_goes_to_a_proxy() {
    let shop = Shop::open(10, &[]);
    let home = customer(&shop, shop.address);
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let mut command = home.command();
        command.env(name, &address).env("REQUEST_METHOD", "GET").args(["account", "show", "shop"]);
        run(&mut command, b"").exits(0);
        assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "{name}: a connection came");
    }
}

#[test]
fn what_a_challenge_asks_is_remembered_for_its_sender() {
    let shop = Shop::open(100, &[]);
    let home = customer(&shop, shop.address);
    let challenge = |vendor: &str| {
        format!(
            "Subject: x\n\n1. Get a stamp of at least 3 credits for the recipient\n\n       bob@y.example\n\n   \
             from one of these vendors:\n\n  * {vendor}: https://x/\n\n2. Copy\n"
        )
    };
    let said = home.run(["account", "prefer", "--from-challenge"], challenge("other.example").as_bytes()).exits(0);
    assert_eq!(said.text(), "bob@y.example: 3 credits, of other.example\n");
    let told = home.run(["buy", "--to", "bob@y.example"], b"").exits(78).stderr;
    assert!(told.contains("there is no account at other.example"), "{told}");
    home.run(["account", "prefer", "--from-challenge"], challenge("stamps.example").as_bytes()).exits(0);
    home.run(["buy", "--to", "bob@y.example"], b"").exits(0);
    assert_eq!(shop.balance(), 97);
    home.run(["account", "prefer", "bob@y.example", "--forget"], b"").exits(0);
    home.run(["buy", "--to", "bob@y.example"], b"").exits(0);
    assert_eq!(shop.balance(), 96);
}
