//! Stamps and their checks: form, signature, recipient, and how they are shown.

use crate::support::{ALICE, Home, letter};
use mailstamp::message::address::{Address, Pattern};
use mailstamp::message::parse::Message;
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::issue;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::stamp::token::Issuer;
use mailstamp::time::UnixTime;
use mailstamp::verdict::class::Class;
use mailstamp::verdict::examine::{Step, examine};
use mailstamp::verdict::facts::{Envelope, Facts, KeyDirectory, KeyFact, KeyStatus, Mailbox, Policy, VendorKey};
use mailstamp::verdict::spend::SpendResult;

const NOW: UnixTime = UnixTime(1_796_126_400);

/// One vendor with one key.
struct OneVendor(VendorKey);

impl KeyDirectory for OneVendor {
    fn key(&self, issuer: &Issuer) -> KeyFact {
        match (issuer.vendor(), issuer.key_id()) {
            ("stamps.example", "a") => KeyFact::Known(Box::new(self.0.clone())),
            ("stamps.example", _) => KeyFact::UnknownKey,
            _ => KeyFact::UnknownVendor,
        }
    }

    fn revoked(&self, _: &str, _: &Serial) -> bool {
        false
    }
}

/// The class of a message with this in its stamp field, where every serial is fresh.
fn class_of(stamp: &[u8], key: &SecretKey) -> Class {
    let vendor = VendorKey { key: key.public(), status: KeyStatus::Active, not_before: None, not_after: None };
    let mailboxes = [Mailbox { pattern: Pattern::parse(ALICE).unwrap(), price: 1, owner: None }];
    let facts = Facts { now: NOW, mailboxes: &mailboxes, policy: &Policy::default(), keys: &OneVendor(vendor) };
    let message = [b"Digital-Stamp: ", stamp, b"\nFrom: b@y.example\n\nhello\n"].concat();
    let mut step = examine(&Message::parse(&message), &Envelope::default(), &facts);
    loop {
        match step {
            Step::Done(verdict) => return verdict.class(),
            Step::Spend(claim) => step = claim.settle(SpendResult::Fresh),
        }
    }
}

#[test]
fn no_changed_stamp_is_good() {
    // BC16: every bit of its characters flipped, cut anywhere, another algorithm, another vendor or key.
    let key = SecretKey::from_random(&[1; 32]);
    let audience = Audience::Plain(Address::parse(ALICE).unwrap());
    let stamp = Stamp::new(Serial::new("flip").unwrap(), audience, NOW.plus(86_400));
    let issue = |vendor: &str, kid: &str| {
        issue::issue(&stamp, &Issuer::new(vendor, kid).unwrap(), &key).unwrap().as_str().as_bytes().to_vec()
    };
    let token = issue("stamps.example", "a");
    assert_eq!(class_of(&token, &key), Class::FirstClass);
    for at in 0..token.len() {
        for bit in 0..8 {
            let mut flipped = token.clone();
            flipped[at] ^= 1 << bit;
            let class = class_of(&flipped, &key);
            let refused = matches!(class, Class::Invalid | Class::Unverified | Class::Unstamped);
            assert!(refused, "bit {bit} of character {at}: {class}");
        }
        assert_ne!(class_of(&token[..at], &key), Class::FirstClass, "cut at {at}");
    }
    let text = String::from_utf8(token.clone()).unwrap();
    for (changed, class) in [
        (text.replace("v4.public", "v3.public"), Class::Unverified),
        (text.replace("v4.public", "v4.local"), Class::Unverified),
        (text.replace("v4.public", "none.public"), Class::Invalid),
        (text.replace("v4.public", "V4.public"), Class::Invalid),
        (format!("{text}A"), Class::Invalid),
        (text.replace("v4.public.", "v4.public.."), Class::Invalid),
    ] {
        assert_eq!(class_of(changed.as_bytes(), &key), class, "{changed}");
    }
    assert_eq!(class_of(&issue("other.example", "a"), &key), Class::Unverified);
    assert_eq!(class_of(&issue("stamps.example", "b"), &key), Class::Unverified);
    assert_eq!(class_of(&token, &SecretKey::from_random(&[2; 32])), Class::Invalid);
}

#[test]
fn a_format_of_the_future_cannot_be_judged_and_stands_in_no_ones_way() {
    // BP2b: the method is replaceable; a stamp names its own, and two can stand side by side.
    let home = Home::new();
    let later = format!("Digital-Stamp: v5.public.{}.e30\n", "A".repeat(200));
    let message = [later.into_bytes(), letter("1")].concat();
    home.classify(&message).exits(13).says("unverified unknown-version");
    home.classify(&home.stamped(&message)).exits(0).says("first-class paid");
}

#[test]
fn the_vendor_can_be_read_without_any_key() {
    // BP2c: in clear text, and tampering with it makes the verification fail.
    let home = Home::new();
    home.vendor("other.example", "2026q4");
    let stamp = home.issue(ALICE, []);
    let stranger = Home::bare();
    stranger.configure("addresses = [\"alice@x.example\"]");
    let shown = stranger.run(["show", "--no-verify"], stamp.as_bytes()).exits(0).text();
    for row in ["vendor      stamps.example", "key         2026q4", "signature   not checked"] {
        assert!(shown.contains(row), "{shown}");
    }
    let (body, _) = stamp.rsplit_once('.').unwrap();
    for (vendor, kid, verdict) in [
        ("other.example", "2026q4", "invalid forged"),
        ("third.example", "2026q4", "unverified unknown-vendor"),
        ("stamps.example", "2026q5", "unverified unknown-key"),
    ] {
        let footer = Issuer::new(vendor, kid).unwrap().footer();
        let tampered = format!("{body}.{}", data_encoding::BASE64URL_NOPAD.encode(&footer));
        let shown = stranger.run(["show", "--no-verify"], tampered.as_bytes()).exits(0).text();
        assert!(shown.contains(vendor), "{shown}");
        home.classify(&home.affix(&tampered, &letter("1"))).says(verdict);
    }
    let shown = home.run(["show"], stamp.as_bytes()).exits(0).text();
    assert!(shown.contains("signature   holds"), "{shown}");
}

#[test]
fn stamps_of_several_vendors_are_noticed_and_one_is_spent() {
    // BP4a: none, one, three of two vendors.
    let home = Home::new();
    home.vendor("other.example", "a");
    let none = home.run(["show"], &letter("1")).exits(65);
    assert!(none.stderr.contains("no stamp in this message"), "{none:?}");
    let vendors = |message: &[u8]| -> Vec<String> {
        let shown = home.run(["show", "--json"], message).exits(0);
        let json: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        let stamps = json["stamps"].as_array().unwrap().iter();
        stamps.map(|stamp| stamp["vendor"].as_str().unwrap().to_owned()).collect()
    };
    let ours = [home.issue(ALICE, []), home.issue(ALICE, [])];
    let key = home.key("other.example", "a");
    let theirs = home.run(["vendor", "issue", "--to", ALICE, "--key", key.to_str().unwrap()], b"").exits(0).text();
    let one = home.affix(&ours[0], &letter("1"));
    assert_eq!(vendors(&one), ["stamps.example"]);
    let three = home.affix(&ours[1], &home.affix(theirs.trim(), &one));
    assert_eq!(vendors(&three), ["stamps.example", "other.example", "stamps.example"]);
    home.classify(&three).exits(0).says("first-class paid");
    // The one on top was spent; the others are still good.
    home.classify(&home.affix(&ours[1], &letter("2"))).exits(21).says("used used");
    home.classify(&home.affix(theirs.trim(), &letter("3"))).exits(0).says("first-class paid");
    home.classify(&home.affix(&ours[0], &letter("4"))).exits(0).says("first-class paid");
}

#[test]
fn a_stamp_can_be_looked_at() {
    // BP4c, BP1b, BP1c: serial, recipient, and if given sender and window, as text and as JSON.
    let home = Home::new();
    let full = home.issue(
        ALICE,
        ["--from", "bob@y.example", "--serial", "abc", "--value", "3", "--now", "2026-11-21T12:00:00Z"]
            .into_iter()
            .chain(["--not-before", "2026-11-22T00:00:00Z", "--until", "2026-12-24T00:00:00Z"]),
    );
    let shown = home.run(["show"], full.as_bytes()).exits(0).text();
    let rows = [
        "place       given alone",
        "vendor      stamps.example",
        "key         2026q4",
        "signature   holds",
        "serial      abc",
        "recipient   alice@x.example",
        "sender      bob@y.example",
        "issued      2026-11-21T12:00:00Z",
        "valid from  2026-11-22T00:00:00Z",
        "valid until 2026-12-24T00:00:00Z",
        "value       3",
        "use         once",
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), rows);
    let shown = home.run(["show", "--json"], &home.affix(&full, &letter("1"))).exits(0);
    let json: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    let stamp = &json["stamps"][0];
    for (member, value) in [
        ("place", "header"),
        ("vendor", "stamps.example"),
        ("key", "2026q4"),
        ("signature", "holds"),
        ("serial", "abc"),
        ("recipient", ALICE),
        ("sender", "bob@y.example"),
        ("issued", "2026-11-21T12:00:00Z"),
        ("not_before", "2026-11-22T00:00:00Z"),
        ("expires", "2026-12-24T00:00:00Z"),
        ("use", "once"),
    ] {
        assert_eq!(stamp[member], value, "{member}");
    }
    assert_eq!(stamp["value"], 3);
    let plain = home.run(["show"], home.issue(ALICE, []).as_bytes()).exits(0).text();
    assert!(plain.contains("sender      not given") && plain.contains("valid from  not given"), "{plain}");
}

#[test]
fn a_stamp_must_name_one_of_the_users_addresses() {
    // BP4d: aliases, tags, wildcards, case, IDN; a stranger's stamp has a reason of its own.
    let home = Home::new();
    home.configure(
        "addresses = [\"alice@x.example\", \"alice+*@x.example\", \"info@b\u{fc}cher.example\", \"*@alias.example\", \
         '/^a[.]smith@z[.]example$/', '\"alice smith\"@x.example']",
    );
    for (recipient, mine) in [
        ("alice@x.example", true),
        ("Alice@X.EXAMPLE", true),
        ("alice@x.example.", true),
        ("\"alice\"@x.example", true),
        ("alice+shop@x.example", true),
        ("ALICE+a+b@x.example", true),
        ("\"Alice Smith\"@x.example", true),
        ("info@b\u{fc}cher.example", true),
        ("INFO@xn--bcher-kva.example", true),
        ("info@B\u{dc}CHER.example", true),
        ("anyone@alias.example", true),
        ("a.smith@z.example", true),
        ("alicia@x.example", false),
        ("alice-shop@x.example", false),
        ("alice@y.example", false),
        ("alice@mail.x.example", false),
        ("alice@x.example.org", false),
        ("info@bucher.example", false),
        ("anyone@sub.alias.example", false),
        ("xa.smith@z.example", false),
        ("a-smith@z.example", false),
        ("\u{430}lice@x.example", false),
    ] {
        let stamped = home.affix(&home.issue(recipient, []), &letter("1"));
        let judged = home.run(["classify", "--dry-run"], &stamped);
        let verdict = if mine { "first-class paid" } else { "invalid not-for-me" };
        assert_eq!(judged.text().trim_end(), verdict, "{recipient}");
    }
}

#[test]
fn one_stamp_serves_one_recipient() {
    // BP4e: one message to two people with a stamp for one of them; and the two as two addresses of one user.
    let message = {
        let text = String::from_utf8(letter("1")).unwrap();
        text.replace("To: Alice <alice@x.example>", "To: alice@x.example, carol@x.example").into_bytes()
    };
    let alice = Home::new();
    let stamped = alice.affix(&alice.issue(ALICE, []), &message);
    let carol = Home::bare();
    carol.configure("addresses = [\"carol@x.example\"]");
    let document = std::fs::read(alice.config().with_file_name("vendors").join("stamps.example.json")).unwrap();
    carol.run(["trust", "add", "-"], &document).exits(0);
    alice.classify(&stamped).exits(0).says("first-class paid");
    carol.classify(&stamped).exits(20).says("invalid not-for-me");
    let both = Home::new();
    both.configure("addresses = [\"alice@x.example\", \"carol@x.example\"]");
    let stamped = both.affix(&both.issue(ALICE, []), &message);
    both.run(["classify", "--recipient", "carol@x.example"], &stamped).exits(20).says("invalid not-for-me");
    both.run(["classify", "--recipient", ALICE], &stamped).exits(0).says("first-class paid");
}

#[test]
fn the_help_names_every_class_with_its_status() {
    // BX2: a documented set of classes, each with one code and one word; the fixtures of each are counted elsewhere.
    let help = Home::new().run(["classify", "--help"], b"").exits(0).text();
    let mut codes = Vec::new();
    for class in Class::ALL {
        let entry = format!("{} {class}", class.exit_code());
        assert!(help.contains(&entry), "{entry} is not in:\n{help}");
        assert!(!codes.contains(&class.exit_code()));
        codes.push(class.exit_code());
    }
    assert!(help.contains("75 try again"));
}
