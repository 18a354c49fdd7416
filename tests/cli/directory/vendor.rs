//! A vendor that publishes, and a user that lists its source: the start of all these tests.

use crate::support::{ALICE, Home, Run, letter, run};
use std::fs;
use std::path::PathBuf;

/// The vendor of these tests.
pub const VENDOR: &str = "stamps.example";

/// A home whose user trusts [`VENDOR`] with the key `a`, and in which the vendor publishes.
pub fn home() -> Home {
    let home = Home::bare();
    home.configure(&format!("addresses = [\"{ALICE}\"]"));
    home.vendor(VENDOR, "a");
    home
}

/// Makes a new key of a vendor, without publishing it.
pub fn keygen(home: &Home, vendor: &str, kid: &str) -> PathBuf {
    let key = home.key(vendor, kid);
    home.run(["vendor", "keygen", "--vendor", vendor, "--kid", kid, "--out", key.to_str().unwrap()], b"").exits(0);
    key
}

/// The vendor publishes into the folder `public`, signing with these keys.
pub fn publish(home: &Home, kids: &[&str], more: &[&str]) {
    publish_as(home, VENDOR, "public", kids, more);
}

/// As [`publish`], of any vendor and into any folder.
pub fn publish_as(home: &Home, vendor: &str, folder: &str, kids: &[&str], more: &[&str]) {
    let mut command = home.command();
    command.args(["vendor", "publish", "--out", folder]).args(more);
    for kid in kids {
        command.arg("--key").arg(home.key(vendor, kid));
    }
    run(&mut command, b"").exits(0);
}

/// The version of the edition in the folder `public`.
pub fn version(home: &Home) -> u64 {
    let text = fs::read_to_string(home.file("public/.well-known/digital-stamp")).unwrap();
    mailstamp::directory::publish::read(&text).unwrap().content.version
}

/// The user's list of sources.
pub fn list(home: &Home, text: &str) {
    fs::write(home.file(".config/mailstamp/vendors/sources.toml"), text).unwrap();
}

/// One entry of it for [`VENDOR`].
pub fn source(from: &str, more: &str) -> String {
    format!("[[source]]\npublisher = \"{VENDOR}\"\nfrom = \"{from}\"\n{more}\n")
}

/// `directory refresh`, with these certificates.
pub fn refresh(home: &Home, authority: Option<PathBuf>) -> Run {
    let mut command = home.command();
    command.args(["directory", "refresh"]);
    if let Some(file) = authority {
        command.env("SSL_CERT_FILE", file);
    }
    run(&mut command, b"")
}

/// A stamp for [`ALICE`] under one of the vendor's keys, on a message of its own.
pub fn stamped(home: &Home, kid: &str) -> Vec<u8> {
    stamped_as(home, VENDOR, kid, &[])
}

/// As [`stamped`], of any vendor, with more arguments of `vendor issue`.
pub fn stamped_as(home: &Home, vendor: &str, kid: &str, more: &[&str]) -> Vec<u8> {
    let mut command = home.command();
    command.args(["vendor", "issue", "--to", ALICE, "--key"]).arg(home.key(vendor, kid)).args(more);
    let stamp = run(&mut command, b"").exits(0).text();
    home.affix(stamp.trim(), &letter(&format!("under-{kid}")))
}

/// Returns the dry-run verdict on a message under this key; nothing is spent.
pub fn says(home: &Home, kid: &str) -> String {
    verdict(home, &stamped(home, kid))
}

/// Returns the dry-run verdict on a message.
pub fn verdict(home: &Home, message: &[u8]) -> String {
    home.run(["classify", "--dry-run", "--exit-zero"], message).exits(0).text().trim_end().to_owned()
}
