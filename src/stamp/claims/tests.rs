//! Tests of the claims.

use super::*;
use crate::stamp::signing::SecretKey;
use proptest::prelude::*;

const LEAST: &str = r#""jti":"s1","aud":"joe@example.org""#;

fn read(members: &str) -> Result<Stamp, ClaimError> {
    Stamp::read(format!("{{{members}}}").as_bytes())
}

fn with(member: &str) -> Result<Stamp, ClaimError> {
    read(&format!("{LEAST},{member}"))
}

// BP4c: the serial, B's address, and optionally A's address and the window.
#[test]
fn every_claim_is_read() {
    let key = SecretKey::from_random(&[1; 32]).public();
    let stamp = with(&format!(
        r#""sub":"Ann@example.net","iat":"2026-11-21T12:00:00Z","nbf":"2026-11-21T13:00:00+01:00",
           "exp":"2026-11-22T12:00:00.75-00:00","val":9007199254740991,"use":"many","cnf":"{key}","iss":"x","more":[{{}}]"#
    ));
    let noon = UnixTime(1_795_262_400);
    assert_eq!(
        stamp,
        Ok(Stamp {
            serial: Serial::new("s1").unwrap(),
            audience: Audience::Plain(Address::parse("joe@example.org").unwrap()),
            sender: Some(Address::parse("ann@example.net").unwrap()),
            issued: Some(noon),
            not_before: Some(noon),
            expires: Some(noon.plus(86_400)),
            value: VALUE_MAX,
            many: true,
            holder: Some(key),
        })
    );
}

#[test]
fn absent_claims_have_their_defaults() {
    let stamp = read(LEAST).unwrap();
    assert_eq!((stamp.value, stamp.many), (1, false));
    assert_eq!((stamp.sender, stamp.holder), (None, None));
    assert_eq!((stamp.issued, stamp.not_before, stamp.expires), (None, None, None));
    assert!(!with(r#""use":"once""#).unwrap().many);
    assert_eq!(with(r#""val":0"#).unwrap().value, 0);
}

#[test]
fn what_has_to_be_there_is_missed() {
    assert_eq!(read(r#""aud":"a@b.c""#), Err(ClaimError::Missing("jti")));
    assert_eq!(read(r#""jti":"1""#), Err(ClaimError::Missing("aud")));
}

#[test]
fn claims_of_another_form_are_refused() {
    for (claim, values) in [
        ("sub", &["1", "null", "\"joe\"", "[\"a@b.c\"]", "\"~AAAA.AAAA\"", "\"a\\n@b.c\""][..]),
        (
            "exp",
            &[
                "1795262400",
                "\"1795262400\"",
                "\"2026-11-21\"",
                "\"2026-11-21T12:00:00\"",
                "\"2026-11-21 12:00:00Z\"",
                "\"2026-11-21T12:00Z\"",
                "\"20261121T120000Z\"",
                "\"2026-11-21T12:00:00Z[UTC]\"",
                "\"2026-13-21T12:00:00Z\"",
                "\"2026-11-21T24:00:00Z\"",
                "\"2026-11-21T12:00:00,5Z\"",
                "\"2026-11-21T12:00:00.Z\"",
                "\"+002026-11-21T12:00:00Z\"",
                "\"2026-11-21T12:00:00+0100\"",
                "\"2026-11-21T12:00:00+01:00:00\"",
                "\"\"",
                "null",
                "\"\u{661}026-11-21T12:00:00Z\"",
            ],
        ),
        ("nbf", &["0", "\"now\""]),
        ("iat", &["true"]),
        (
            "val",
            &["-1", "-0", "1.0", "1e3", "\"1\"", "null", "9007199254740992", "18446744073709551616", "1e400", "[1]"],
        ),
        ("use", &["\"twice\"", "\"MANY\"", "true", "null"]),
        ("cnf", &["\"k4.public.AAAA\"", "{}", "\"k4.public.AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""]),
        ("crit", &["\"exp\"", "[1]", "null", "{}"]),
    ] {
        for value in values {
            let error = with(&format!("\"{claim}\":{value}")).unwrap_err();
            // A number beyond every float is not even JSON.
            let hopeless = *value == "1e400" && matches!(error, ClaimError::Json(_));
            assert!(
                hopeless || matches!(error, ClaimError::Wrong { claim: named, .. } if named == claim),
                "{claim} {value}: {error}"
            );
        }
    }
    for least in [
        r#""jti":"","aud":"a@b.c""#,
        r#""jti":1,"aud":"a@b.c""#,
        r#""jti":"a b","aud":"a@b.c""#,
        r#""jti":"1","aud":"joe""#,
        r#""jti":"1","aud":["a@b.c"]"#,
        r#""jti":"1","aud":"~x.y""#,
    ] {
        assert!(matches!(read(least), Err(ClaimError::Wrong { .. })), "{least}");
    }
}

// Threat 2
#[test]
fn repeated_names_are_refused_wherever_they_stand() {
    for twice in [r#""jti":"s2""#, r#""\u006ati":"s1""#, r#""x":{"y":1,"y":1}"#, r#""x":[[{"y":1,"y":1}]]"#] {
        assert!(matches!(with(twice), Err(ClaimError::Json(JsonError::Duplicate(_)))), "{twice}");
    }
}

#[test]
fn critical_claims_have_to_be_known() {
    assert!(with(r#""crit":["exp","val"],"val":2"#).is_ok());
    assert!(with(r#""crit":[]"#).is_ok());
    assert_eq!(with(r#""crit":["exp","geo"]"#), Err(ClaimError::Critical("geo".into())));
    let shown = with(r#""crit":["a\u001b[2J\u202eb"]"#).unwrap_err().to_string();
    assert!(shown.chars().all(|c| matches!(c, ' '..='~')), "{shown}");
}

#[test]
fn size_and_depth_are_bounded() {
    let padded = |n: usize| Stamp::read(format!("{{{LEAST}}}{}", " ".repeat(n - LEAST.len() - 2)).as_bytes());
    assert!(padded(2048).is_ok());
    assert_eq!(padded(2049), Err(ClaimError::TooLong));
    let deep = format!("\"x\":{}{}", "[".repeat(900), "]".repeat(900));
    assert_eq!(with(&deep), Err(ClaimError::Json(JsonError::NotAnObject)));
    assert!(Stamp::read(b"").is_err());
    assert!(Stamp::read(b"{} {}").is_err());
}

#[test]
fn a_payload_says_no_more_than_it_has_to() {
    let text = String::from_utf8(read(LEAST).unwrap().payload()).unwrap();
    assert_eq!(text, format!("{{{LEAST}}}"));
}

proptest! {
    #[test]
    fn any_bytes_can_be_read(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Stamp::read(&payload);
    }

    #[test]
    fn any_members_can_be_read(members in "(\"(jti|aud|exp|val|crit|x)\":(\"[a-z@.]{0,5}\"|[0-9.eE-]{1,4}|\\[\\]|null),?){0,6}") {
        let _ = read(&members);
    }
}
