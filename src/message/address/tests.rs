//! Tests of the canonical form.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn parse(text: &str) -> Address {
    Address::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

// BP4d: a stamp names an address in any of its spellings.
#[test]
fn every_spelling_of_a_mailbox_is_one_address() {
    for (canonical, spellings) in [
        (
            "joe@example.org",
            &["joe@example.org", "JOE@Example.ORG", "joe@example.org.", "\"joe\"@example.org", "\"j\\oe\"@example.org"]
                [..],
        ),
        ("joe+tag@example.org", &["Joe+Tag@example.org", "\"joe+tag\"@example.org"]),
        ("joe.b@example.org", &["\"joe\".b@example.org", "joe.\"b\"@example.org", "\"joe.b\"@example.org"]),
        ("joe..b@example.org", &["joe..b@example.org", "\"joe..b\"@example.org"]),
        ("joe b@example.org", &["\"joe b\"@example.org", "\"joe\\ b\"@example.org"]),
        ("joe@b@example.org", &["\"joe@b\"@example.org"]),
        (
            "info@xn--bcher-kva.example",
            &[
                "info@bücher.example",
                "info@BÜCHER.example",
                "info@bu\u{308}cher.example",
                "info@XN--BCHER-KVA.example",
                "info@bücher。example",
                "info@ｂücher.example",
            ],
        ),
        ("info@xn--strae-oqa.example", &["info@straße.example"]),
        ("jos\u{e9}@example.org", &["jos\u{e9}@example.org", "jose\u{301}@example.org", "JOS\u{e9}@example.org"]),
        ("k@example.org", &["\u{212a}@example.org"]),
        ("joe@[192.0.2.1]", &["joe@[192.0.2.1]"]),
        ("joe@[IPv6:2001:db8::1]", &["joe@[ipv6:2001:DB8:0:0::1]", "joe@[IPv6:2001:db8::1]"]),
        ("joe@localhost", &["joe@localhost"]),
        ("joe@my_host.example", &["joe@MY_HOST.example"]),
    ] {
        let set: HashSet<Address> = spellings.iter().map(|text| parse(text)).collect();
        assert_eq!(set.len(), 1, "{canonical}");
        for spelling in spellings {
            assert_eq!(parse(spelling).canonical(), canonical, "{spelling}");
        }
    }
}

#[test]
fn different_mailboxes_stay_different() {
    let all = [
        "joe@example.org",
        "joe+x@example.org",
        "j.oe@example.org",
        "joe@example.com",
        "joe@sub.example.org",
        "\"joe \"@example.org",
        "jo\u{ea}@example.org",
        "JO\u{ca}@example.org",
        "\u{458}oe@example.org",
        "joe@ex\u{e4}mple.org",
        "joe@strasse.example",
        "joe@straße.example",
        "joe@[192.0.2.1]",
    ];
    assert_eq!(all.iter().map(|text| parse(text)).collect::<HashSet<_>>().len(), all.len());
}

#[test]
fn the_case_of_the_local_part_is_kept_and_can_count() {
    let (upper, lower) = (parse("Joe@Example.org"), parse("joe@example.org"));
    assert_eq!(upper, lower);
    assert!(!upper.same(&lower, LocalCase::Keep));
    assert!(upper.same(&parse("Joe@example.org"), LocalCase::Keep));
    assert_eq!(upper.to_string(), "Joe@example.org");
    assert_eq!((upper.local(), upper.domain()), ("Joe", "example.org"));
}

#[test]
fn garbage_is_refused() {
    use AddressError::{Domain, Local, NoAt};
    for (text, error) in [
        ("", NoAt),
        ("joe", NoAt),
        ("joe at example.org", NoAt),
        ("@example.org", Local),
        ("\"\"@example.org", Local),
        ("joe@", Domain),
        ("joe@.", Domain),
        ("joe@example..org", Domain),
        ("joe@example.org..", Domain),
        ("joe@.example.org", Domain),
        ("joe@-example.org", Domain),
        ("joe@example-.org", Domain),
        ("joe@exam ple.org", Domain),
        ("joe@example.org ", Domain),
        (" joe@example.org", Local),
        ("<joe@example.org>", Local),
        ("Joe <joe@example.org>", Local),
        ("joe@example.org,a@b.c", Local),
        ("a@b@c.d", Local),
        ("@a.b,@c.d:e@f.g", Local),
        ("@a.b:e@f.g", Local),
        ("joe(x)@example.org", Local),
        ("a b@example.org", Local),
        ("\"joe@example.org", Local),
        ("\"joe\"x@example.org", Local),
        ("x\"joe\"@example.org", Local),
        ("\"joe\"\"x\"@example.org", Local),
        ("\"joe\\\"@example.org", Local),
        ("joe@[192.0.2.256]", Domain),
        ("joe@[2001:db8::1]", Domain),
        ("joe@[x-tag:abc]", Domain),
        ("joe@[", Domain),
        ("joe@exa%mple.org", Domain),
        ("joe@example.org/x", Domain),
        ("a\u{37e}b@example.org", Local),
        ("joe@\u{2488}com", Domain),
    ] {
        assert_eq!(Address::parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn characters_that_deceive_the_reader_are_refused() {
    for c in [
        '\0',
        '\t',
        '\n',
        '\r',
        '\u{1b}',
        '\u{7f}',
        '\u{85}',
        '\u{a0}',
        '\u{ad}',
        '\u{61c}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{2028}',
        '\u{202a}',
        '\u{202e}',
        '\u{2060}',
        '\u{2066}',
        '\u{2069}',
        '\u{3000}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{feff}',
        '\u{ff20}',
        '\u{fffd}',
        '\u{e0041}',
    ] {
        for text in [format!("a{c}b@example.org"), format!("\"a{c}b\"@example.org"), format!("a@exa{c}mple.org")] {
            assert_eq!(Address::parse(&text), Err(AddressError::Character(c)), "{text:?}");
        }
    }
}

#[test]
fn lengths_are_capped() {
    let local = |n: usize| Address::parse(&format!("{}@example.org", "a".repeat(n)));
    assert!(local(255).is_ok());
    assert_eq!(local(256), Err(AddressError::TooLong));
    let label = "a".repeat(63);
    assert!(Address::parse(&format!("a@{label}.{label}.{label}.{}", "a".repeat(61))).is_ok());
    assert_eq!(Address::parse(&format!("a@{label}.{label}.{label}.{}", "a".repeat(62))), Err(AddressError::TooLong));
    assert_eq!(Address::parse(&format!("a@a{label}")), Err(AddressError::Domain));
    assert_eq!(Address::parse(&format!("a@{}", "ü".repeat(2000))), Err(AddressError::TooLong));
}

#[test]
fn display_is_safe_in_a_header_field() {
    for (text, shown) in [
        ("\"joe b\"@Example.org", "\"joe b\"@example.org"),
        ("\"a\\\"b\\\\c\"@example.org", "\"a\\\"b\\\\c\"@example.org"),
        ("\"<a>,b\"@example.org", "\"<a>,b\"@example.org"),
        ("joe.@example.org", "\"joe.\"@example.org"),
        ("jos\u{e9}@bücher.example", "jos\u{e9}@xn--bcher-kva.example"),
    ] {
        assert_eq!(parse(text).to_string(), shown);
    }
}

proptest! {
    #[test]
    fn any_text_can_be_read(text in "\\PC{0,60}|[a-z@.\"\\\\ü\u{301}]{0,20}") {
        if let Ok(address) = Address::parse(&text) {
            let shown = address.to_string();
            let again = Address::parse(&shown).unwrap();
            prop_assert!(again.same(&address, LocalCase::Keep));
            prop_assert_eq!(again.to_string(), shown);
        }
    }
}
