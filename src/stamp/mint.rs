//! How a stamp is made: claims, a serial, and the key of whoever issues it, a vendor or a correspondent. Pure: the random
//! numbers for serial and salt are drawn, and serials kept from coming twice, by the caller.

use super::audience::Audience;
use super::claims::{ClaimError, Stamp};
use super::serial::Serial;
use super::signature::{PublicKey, SecretKey};
use super::wire::{Issuer, Purpose, Token};
use crate::mail::address::Address;
use crate::mail::time::UnixTime;

/// What is asked of the issuer: a stamp without its serial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The recipient, in clear or hashed.
    pub audience: Audience,
    /// The sender, if the stamp is to name him.
    pub sender: Option<Address>,
    /// The time of issue, if the stamp is to name it.
    pub issued: Option<UnixTime>,
    /// The beginning of the window.
    pub not_before: Option<UnixTime>,
    /// The end of the window. Without one, recipients refuse the stamp unless they have said otherwise.
    pub expires: Option<UnixTime>,
    /// Credits.
    pub value: u64,
    /// Usable again and again; meant for stamps with a holder.
    pub many: bool,
    /// The key that has to sign each use.
    pub holder: Option<PublicKey>,
}

/// Why an order cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The window ends before it begins.
    #[error("the window ends before it begins")]
    EmptyWindow,
    /// Nobody could read the stamp: its value or a time is out of range, or it is too long.
    #[error("the stamp would not be readable")]
    Unreadable(#[from] ClaimError),
}

impl Order {
    /// An order of one credit for one use, for this recipient, and until this time.
    #[must_use]
    pub fn new(audience: Audience, expires: UnixTime) -> Self {
        Self {
            audience,
            sender: None,
            issued: None,
            not_before: None,
            expires: Some(expires),
            value: 1,
            many: false,
            holder: None,
        }
    }

    /// The stamp that meets this order under a serial.
    #[must_use]
    pub fn stamp(self, serial: Serial) -> Stamp {
        Stamp {
            serial,
            audience: self.audience,
            sender: self.sender,
            issued: self.issued,
            not_before: self.not_before,
            expires: self.expires,
            value: self.value,
            many: self.many,
            holder: self.holder,
        }
    }
}

/// Signs a stamp.
///
/// # Errors
/// [`MintError`] when the window is empty, or when the claims cannot be read back: nothing is issued that a recipient
/// would call malformed.
pub fn issue(stamp: &Stamp, issuer: &Issuer, key: &SecretKey) -> Result<Token, MintError> {
    if let (Some(begin), Some(end)) = (stamp.not_before, stamp.expires)
        && end < begin
    {
        return Err(MintError::EmptyWindow);
    }
    let payload = stamp.payload();
    Stamp::read(&payload)?;
    Ok(key.sign(&payload, &issuer.footer(), Purpose::Stamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::claims::VALUE_MAX;
    use crate::stamp::wire::TOKEN_MAX;
    use proptest::option;
    use proptest::prelude::*;

    fn issuer() -> Issuer {
        Issuer::new("stamps.example", "2026q4").unwrap()
    }

    fn key() -> SecretKey {
        SecretKey::from_random(&[3; 32])
    }

    fn order() -> Order {
        Order::new(Audience::Plain(Address::parse("joe@example.org").unwrap()), UnixTime(1_795_262_400))
    }

    #[test]
    fn a_plain_stamp_takes_262_characters() {
        let stamp = order().stamp(Serial::from_random([0; 16]));
        let token = issue(&stamp, &issuer(), &key()).unwrap();
        let payload = r#"{"jti":"AAAAAAAAAAAAAAAAAAAAAA","aud":"joe@example.org","exp":"2026-11-21T12:00:00Z"}"#;
        assert_eq!(std::str::from_utf8(token.payload()), Ok(payload));
        assert_eq!(token.issuer(), Ok(issuer()));
        assert_eq!(token.as_str().len(), 262);
    }

    #[test]
    fn what_nobody_could_read_is_not_issued() {
        let issue = |order: Order| issue(&order.stamp(Serial::new("1").unwrap()), &issuer(), &key()).map(drop);
        assert_eq!(issue(order()), Ok(()));
        assert_eq!(issue(Order { not_before: Some(UnixTime(1_795_262_401)), ..order() }), Err(MintError::EmptyWindow));
        assert_eq!(issue(Order { not_before: Some(UnixTime(1_795_262_400)), ..order() }), Ok(()));
        assert_eq!(issue(Order { value: VALUE_MAX, ..order() }), Ok(()));
        for order in [
            Order { value: VALUE_MAX + 1, ..order() },
            Order { expires: Some(UnixTime(i64::MAX)), ..order() },
            Order { issued: Some(UnixTime(-99_999_999_999)), ..order() },
        ] {
            assert!(matches!(issue(order), Err(MintError::Unreadable(_))));
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
