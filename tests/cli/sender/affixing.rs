//! `affix --buy`: a stamp in one command, and no other byte changed.

use super::{customer, sold};
use crate::support::shop::Shop;
use crate::support::{ALICE, Home, letter};

/// Returns the text before the message: the field.
fn field<'a>(stamped: &'a [u8], message: &[u8]) -> &'a str {
    std::str::from_utf8(stamped.strip_suffix(message).expect("the message ends as it came")).unwrap()
}

// BC14, BC6a, BP2e
#[test]
fn a_message_gets_a_stamp_from_the_wallet_or_the_vendor_and_is_first_class() {
    let shop = Shop::open(10, &[]);
    let home = customer(&shop, shop.address);
    let alice = Home::new();
    let document = shop.ledger().published(mailstamp::os::clock::now()).unwrap();
    let document = serde_json::to_vec(&document).unwrap();
    alice.run(["trust", "add", "--replace", "-"], &document).exits(0);
    home.run(["buy", "--to", ALICE], b"").exits(0);
    let first = home.run(["affix", "--buy"], &letter("1")).exits(0).stdout;
    assert_eq!(sold(&shop), 1, "from the wallet");
    let second = home.run(["affix", "--buy", "--to", ALICE], &letter("2")).exits(0).stdout;
    assert_eq!(sold(&shop), 2, "bought");
    for (stamped, id) in [(&first, "1"), (&second, "2")] {
        assert!(field(stamped, &letter(id)).starts_with("Digital-Stamp: v4.public."));
        alice.classify(stamped).exits(0).says("first-class paid");
    }
    // The same message again has the same stamp; nothing is bought.
    assert_eq!(home.run(["affix", "--buy"], &letter("1")).exits(0).stdout, first);
    assert_eq!((shop.balance(), sold(&shop)), (8, 2));
}

#[test]
fn messages_without_an_id_are_different_messages() {
    let shop = Shop::open(10, &[]);
    let home = customer(&shop, shop.address);
    let message = b"To: bob@y.example\n\nthe disk is full\n";
    let one = home.run(["affix", "--buy"], message).exits(0).stdout;
    let two = home.run(["affix", "--buy"], message).exits(0).stdout;
    assert_ne!(one, two);
    assert_eq!(sold(&shop), 2);
    // A mail system that adds these would make another message of it.
    for message in [one, two] {
        let text = String::from_utf8(message).unwrap();
        let count = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!((count("Date: "), count("Message-ID: <"), count("To: ")), (1, 1, 1), "{text}");
    }
}

#[test]
fn signed_parts_and_signed_headers_stay_as_they_are() {
    let shop = Shop::open(10, &[]);
    let home = customer(&shop, shop.address);
    let signed = b"DKIM-Signature: v=1; a=rsa-sha256; d=y.example; s=x; h=from:to:subject; bh=; b=\r\n\
        From: bob@y.example\r\nTo: alice@x.example\r\nMessage-ID: <s@y.example>\r\nSubject: x\r\n\
        Date: Sat, 21 Nov 2026 12:00:00 +0000\r\n\
        Content-Type: multipart/signed; boundary=b; protocol=\"application/pgp-signature\"\r\n\r\n\
        --b\r\n\r\ntext \r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n";
    // No place in a signed body: said before anything is paid.
    home.run(["affix", "--buy", "--place", "body"], signed).exits(65);
    assert_eq!(sold(&shop), 0);
    let stamped = home.run(["affix", "--buy", "--return"], signed).exits(0).stdout;
    let field = field(&stamped, signed);
    assert!(field.starts_with("Digital-Stamp: v4.public.") && field.ends_with("; reuse=return\r\n"), "{field:?}");
    assert!(field.lines().all(|line| line.len() <= 76));
    assert!(home.run(["grants"], b"").exits(0).text().contains("stamps.example"));
}

#[test]
fn a_recipient_has_to_be_one() {
    let shop = Shop::open(10, &[]);
    let home = customer(&shop, shop.address);
    let told = home.run(["affix", "--buy"], b"To: a@y.example, b@y.example\n\nx\n").exits(65).stderr;
    assert!(told.contains("To and Cc name several recipients"), "{told}");
    home.run(["affix", "--buy"], b"Subject: x\n\nx\n").exits(65);
    home.run(["affix", "--buy"], b"To: a@y.example\nCc: A@Y.example\nMessage-ID: <1@x>\n\nx\n").exits(0);
    assert_eq!(sold(&shop), 1);
}
