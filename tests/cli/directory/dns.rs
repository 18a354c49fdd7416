//! Keys in TXT records, with and without DNSSEC.

use super::name_server::{NameServer, Signing, Zones};
use super::vendor::{VENDOR, home, keygen, list, publish, refresh, says, source, version};
use crate::support::Home;
use std::fs;

/// A vendor with a trusted key `a` and a new one `b`, whose keys are in DNS.
struct Served {
    home: Home,
    zones: Zones,
    anchor: String,
    _server: NameServer,
}

/// The lines that the vendor published.
fn lines(home: &Home) -> String {
    fs::read_to_string(home.file(&format!("public/{VENDOR}.zone"))).unwrap()
}

fn served(signing: Signing) -> Served {
    let home = home();
    keygen(&home, VENDOR, "b");
    publish(&home, &["a", "b"], &[]);
    let mut zones = Zones::new(&home.file("dns"));
    let anchor = zones.add(VENDOR, &lines(&home), signing);
    let server = zones.start();
    Served { home, zones, anchor, _server: server }
}

impl Served {
    /// Lists DNS as the source, with this anchor.
    fn list(&self, anchor: &str, more: &str) {
        let path = self.home.file("anchor");
        fs::write(&path, anchor).unwrap();
        let resolver = format!(
            "resolver = \"{}\"\ntrust_anchor = \"{}\"\ntimeout = \"60s\"\n",
            self.zones.address(),
            path.display()
        );
        list(&self.home, &(resolver + &source("dns", more)));
    }
}

/// A signed root that says: the vendor's zone is not signed.
fn unsigned_below_a_signed_root() -> Served {
    let home = home();
    keygen(&home, VENDOR, "b");
    publish(&home, &["a", "b"], &[]);
    let mut zones = Zones::new(&home.file("dns"));
    let anchor = zones.add(".", &format!("{VENDOR}. 3600 IN NS ns.invalid.\n"), Signing::Nsec);
    zones.add(VENDOR, &lines(&home), Signing::None);
    let server = zones.start();
    Served { home, zones, anchor, _server: server }
}

#[test]
fn keys_under_dnssec_are_taken_if_the_source_may_vouch() {
    for signing in [Signing::Nsec, Signing::Nsec3] {
        let served = served(signing);
        let home = &served.home;
        // Without that they confirm, and no more: nothing in DNS is signed by a key of the vendor.
        served.list(&served.anchor, "");
        let run = refresh(home, None).exits(0);
        assert_eq!(run.text(), format!("{VENDOR}  dns  version {}\n", version(home)), "{}", run.stderr);
        assert_eq!(says(home, "a"), "first-class paid");
        assert_eq!(says(home, "b"), "unverified unknown-key");
        served.list(&served.anchor, "new_keys = \"channel\"");
        refresh(home, None).exits(0);
        assert_eq!(says(home, "b"), "first-class paid", "{signing:?}");
    }
}

#[test]
fn a_known_key_that_dns_does_not_list_is_no_contradiction() {
    for signing in [Signing::Nsec, Signing::Nsec3] {
        let served = served(signing);
        // The user pinned another key of the vendor, so it is asked for, and proved not to be there.
        served.home.vendor(VENDOR, "c");
        served.list(&served.anchor, "");
        let run = refresh(&served.home, None);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{signing:?}");
        assert_eq!(says(&served.home, "c"), "first-class paid");
    }
}

#[test]
fn without_dnssec_dns_gives_no_key_and_still_takes_away() {
    let served = unsigned_below_a_signed_root();
    let home = &served.home;
    // `channel` is not enough when the channel is not authenticated.
    served.list(&served.anchor, "new_keys = \"channel\"");
    let run = refresh(home, None).exits(0);
    assert_eq!(run.text(), format!("{VENDOR}  dns  version {}, not authenticated\n", version(home)));
    assert_eq!(says(home, "a"), "first-class paid");
    assert_eq!(says(home, "b"), "unverified unknown-key");
    let listed = home.run(["directory", "list"], b"").exits(0).text();
    assert!(listed.contains("gives no keys and only takes away"), "{listed}");
    // The user can accept it all the same.
    served.list(&served.anchor, "accept_weak = true");
    refresh(home, None).exits(0);
    assert_eq!(says(home, "b"), "first-class paid");
}

#[test]
fn another_key_in_unsigned_dns_is_a_conflict() {
    let mut served = unsigned_below_a_signed_root();
    let thief = Home::bare();
    keygen(&thief, VENDOR, "a");
    publish(&thief, &["a"], &[]);
    drop(served._server);
    served.zones = Zones::new(&served.home.file("dns2"));
    let anchor = served.zones.add(".", &format!("{VENDOR}. 3600 IN NS ns.invalid.\n"), Signing::Nsec);
    served.zones.add(VENDOR, &lines(&thief), Signing::None);
    served._server = served.zones.start();
    served.list(&anchor, "");
    let run = refresh(&served.home, None).exits(65);
    assert_eq!(run.stderr, format!("mailstamp: alarm: {VENDOR}: your sources disagree about key a\n"));
    assert_eq!(says(&served.home, "a"), "unverified key-conflict");
}

#[test]
fn bogus_and_expired_signatures_and_a_wrong_anchor_give_nothing_and_alarm() {
    // Expired.
    let expired = served(Signing::Expired);
    expired.list(&expired.anchor, "accept_weak = true");
    let run = refresh(&expired.home, None).exits(65);
    assert!(run.stderr.contains("the signatures of DNSSEC at _stamp.stamps.example. do not hold"), "{}", run.stderr);
    assert_eq!(says(&expired.home, "b"), "unverified unknown-key");
    assert_eq!(says(&expired.home, "a"), "first-class paid");

    // Signed with another key.
    let good = served(Signing::Nsec);
    good.list(&expired.anchor, "accept_weak = true");
    let run = refresh(&good.home, None).exits(65);
    assert!(run.stderr.contains("do not hold"), "{}", run.stderr);

    // Changed after it was signed; and with its signatures taken off on the way.
    let signed = fs::read_to_string(good.zones.file(VENDOR)).unwrap();
    let changed = signed.replace("s=active", "s=revoked");
    assert_ne!(changed, signed);
    let stripped: String =
        signed.lines().filter(|line| !line.contains("RRSIG")).map(|line| format!("{line}\n")).collect();
    for (name, text) in [("changed", changed), ("stripped", stripped)] {
        let mut zones = Zones::new(&good.home.file(name));
        zones.add(VENDOR, "", Signing::None);
        fs::write(zones.file(VENDOR), text).unwrap();
        let _server = zones.start();
        let path = good.home.file("anchor");
        fs::write(&path, &good.anchor).unwrap();
        let resolver = format!("resolver = \"{}\"\ntrust_anchor = \"{}\"\n", zones.address(), path.display());
        list(&good.home, &(resolver + &source("dns", "accept_weak = true")));
        let run = refresh(&good.home, None).exits(65);
        assert!(run.stderr.contains("do not hold"), "{name}: {}", run.stderr);
        assert_eq!(says(&good.home, "b"), "unverified unknown-key", "{name}");
        assert_eq!(says(&good.home, "a"), "first-class paid", "{name}");
    }
}

#[test]
fn a_name_server_that_is_away_changes_nothing() {
    let served = served(Signing::Nsec);
    served.list(&served.anchor, "new_keys = \"channel\"");
    refresh(&served.home, None).exits(0);
    drop(served._server);
    let run = refresh(&served.home, None).exits(69);
    assert!(run.stderr.starts_with("mailstamp: warning: "), "{}", run.stderr);
    assert_eq!(says(&served.home, "b"), "first-class paid");
}
