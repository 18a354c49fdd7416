//! Issuing a stamp from claims, a serial, and the key of its issuer, a vendor or a correspondent. Pure: the caller
//! draws the random numbers for serial and salt, and ensures that no serial comes twice.

use super::claims::{ClaimError, Stamp};
use super::signing::SecretKey;
use super::token::{Issuer, Purpose, Token};

/// A stamp cannot be issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    #[error("the window ends before it begins")]
    EmptyWindow,
    /// The stamp could not be read: its value or a time is out of range, or it is too long.
    #[error("the stamp would not be readable: its value, a time or its length is out of range")]
    Unreadable(#[from] ClaimError),
}

/// Signs a stamp.
///
/// # Errors
/// [`IssueError`] when the window is empty, or when the claims cannot be read back. So no stamp is issued that a
/// recipient would call malformed.
pub fn issue(stamp: &Stamp, issuer: &Issuer, key: &SecretKey) -> Result<Token, IssueError> {
    if let (Some(begin), Some(end)) = (stamp.not_before, stamp.expires)
        && end < begin
    {
        return Err(IssueError::EmptyWindow);
    }
    let payload = stamp.payload();
    Stamp::read(&payload)?;
    Ok(key.sign(&payload, &issuer.footer(), Purpose::Stamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::address::Address;
    use crate::stamp::audience::Audience;
    use crate::stamp::claims::VALUE_MAX;
    use crate::stamp::serial::Serial;
    use crate::stamp::token::TOKEN_MAX;
    use crate::time::UnixTime;
    use proptest::option;
    use proptest::prelude::*;

    fn issuer() -> Issuer {
        Issuer::new("stamps.example", "2026q4").unwrap()
    }

    fn key() -> SecretKey {
        SecretKey::from_random(&[3; 32])
    }

    fn stamp() -> Stamp {
        let audience = Audience::Plain(Address::parse("joe@example.org").unwrap());
        Stamp::new(Serial::from_random([0; 16]), audience, UnixTime(1_795_262_400))
    }

    #[test]
    fn a_plain_stamp_takes_262_characters() {
        let token = issue(&stamp(), &issuer(), &key()).unwrap();
        let payload = r#"{"jti":"AAAAAAAAAAAAAAAAAAAAAA","aud":"joe@example.org","exp":"2026-11-21T12:00:00Z"}"#;
        assert_eq!(std::str::from_utf8(token.payload()), Ok(payload));
        assert_eq!(token.issuer(), Ok(issuer()));
        assert_eq!(token.as_str().len(), 262);
    }

    #[test]
    fn what_nobody_could_read_is_not_issued() {
        let issue = |stamp: Stamp| issue(&stamp, &issuer(), &key()).map(drop);
        assert_eq!(issue(stamp()), Ok(()));
        assert_eq!(issue(Stamp { not_before: Some(UnixTime(1_795_262_401)), ..stamp() }), Err(IssueError::EmptyWindow));
        assert_eq!(issue(Stamp { not_before: Some(UnixTime(1_795_262_400)), ..stamp() }), Ok(()));
        assert_eq!(issue(Stamp { value: VALUE_MAX, ..stamp() }), Ok(()));
        for stamp in [
            Stamp { value: VALUE_MAX + 1, ..stamp() },
            Stamp { expires: Some(UnixTime(i64::MAX)), ..stamp() },
            Stamp { issued: Some(UnixTime(-99_999_999_999)), ..stamp() },
        ] {
            assert!(matches!(issue(stamp), Err(IssueError::Unreadable(_))));
        }
    }

    fn addresses() -> impl Strategy<Value = Address> {
        ("[a-zA-Z0-9 .+\"éß]{1,20}", "[a-z]{1,9}(\\.[a-z]{1,9}){0,2}").prop_filter_map(
            "an address",
            |(local, domain)| {
                let local = local.replace('"', "\\\"");
                Address::parse(&format!("\"{local}\"@{domain}")).ok()
            },
        )
    }

    fn audiences() -> impl Strategy<Value = Audience> {
        (addresses(), option::of(any::<[u8; 16]>())).prop_map(|(address, salt)| match salt {
            Some(salt) => Audience::hashed(&address, salt),
            None => Audience::Plain(address),
        })
    }

    fn times() -> impl Strategy<Value = Option<UnixTime>> {
        option::of((0_i64..200_000_000_000).prop_map(UnixTime))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        // BP2a, BP4c
        #[test]
        fn a_stamp_is_read_as_it_was_issued(
            serial in any::<[u8; 16]>(), audience in audiences(), sender in option::of(addresses()),
            issued in times(), not_before in times(), length in option::of(0_i64..99_999_999),
            value in 0..=VALUE_MAX, many: bool, holder in option::of(any::<[u8; 32]>()),
        ) {
            let stamp = Stamp {
                serial: Serial::from_random(serial),
                audience,
                sender,
                issued,
                not_before,
                expires: length.map(|length| not_before.unwrap_or(UnixTime(0)).plus(length)),
                value,
                many,
                holder: holder.map(|seed| SecretKey::from_random(&seed).public()),
            };
            let token = issue(&stamp, &issuer(), &key()).unwrap();
            prop_assert!(token.as_str().len() < TOKEN_MAX);
            let received = Token::parse(token.as_str()).unwrap();
            prop_assert!(key().public().verify(&received, Purpose::Stamp));
            prop_assert_eq!(received.issuer(), Ok(issuer()));
            prop_assert_eq!(Stamp::read(received.payload()), Ok(stamp));
        }
    }
}
