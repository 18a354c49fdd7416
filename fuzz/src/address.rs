//! Addresses, lists of them and patterns: an address that was read can be written into a field and read again as the
//! same one, its canonical form is stable, nothing in it ends a line, and a pattern that is an address matches that
//! one.

use mailstamp::message::address::{
    Address, DOMAIN_MAX, LOCAL_MAX, LocalCase, Pattern, addresses, canonical_domain, entries,
};
use mailstamp::stamp::audience::Audience;

fn check(address: &Address) {
    let written = address.to_string();
    assert!(!written.chars().any(char::is_control), "{written:?}");
    let again = Address::parse(&written).expect("an address that was written");
    assert!(again.same(address, LocalCase::Keep), "{written:?}");
    assert_eq!(again.canonical(), address.canonical());
    assert!(address.local().len() <= LOCAL_MAX && address.domain().len() <= DOMAIN_MAX);
    assert_eq!(canonical_domain(address.domain()).as_deref(), Ok(address.domain()));
    // As a program finds it in a field.
    let listed = addresses(format!("Joe <{written}>, {written}").as_bytes());
    assert!(listed.len() == 2 && listed.iter().all(|other| other == address), "{written:?}");
    for case in [LocalCase::Fold, LocalCase::Keep] {
        // A star is a wildcard, and slashes make a regular expression.
        if let Ok(pattern) = Pattern::parse_with(&written, case)
            && pattern.exact().is_some()
        {
            assert!(pattern.matches(address), "{written:?}");
        }
    }
    let hashed = Audience::hashed(address, [7; 16]);
    assert_eq!(Audience::parse(&hashed.to_string()).as_ref(), Ok(&hashed));
    assert!(hashed.names(address) && hashed.names(&again));
    // No address begins with the sign of a hashed one.
    assert_eq!(Audience::parse(&written), Ok(Audience::Plain(address.clone())));
}

/// Checks one input.
pub fn run(input: &[u8]) {
    let found = addresses(input);
    assert!(found.len() <= 100);
    found.iter().for_each(check);
    let entries = entries(input, 1000);
    assert!(entries.iter().filter_map(|entry| entry.as_ref().ok()).take(100).eq(&found));

    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(address) = Address::parse(text) {
        check(&address);
    }
    if let Ok(domain) = canonical_domain(text) {
        assert_eq!(canonical_domain(&domain), Ok(domain));
    }
    if let Ok(pattern) = Pattern::parse(text) {
        let alice = Address::parse("alice+tag@x.example").expect("an address");
        assert_eq!(pattern.matches(&alice), Pattern::parse(pattern.as_str()).is_ok_and(|again| again.matches(&alice)));
    }
    if let Ok(audience) = Audience::parse(text) {
        assert_eq!(Audience::parse(&audience.to_string()), Ok(audience));
    }
}
