//! Tests of meter tokens: what pays, what is refused and why, and the two forms of a token.

use super::*;
use crate::accounting::meter::ID_TTL_MAX;
use proptest::prelude::*;

const NOW: UnixTime = UnixTime(1_796_126_400);
const END: UnixTime = UnixTime(NOW.0 + ID_TTL_MAX);
const PRICE: u64 = 3;

fn key() -> SecretKey {
    SecretKey::from_random(&[1; 32])
}

fn id_keys() -> [IdKey; 2] {
    [2, 3].map(|byte| IdKey::from_random(&[byte; 32]))
}

fn license() -> Issuer {
    Issuer::new("agency.example", "m7").unwrap()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn alice() -> Address {
    address("alice@x.example")
}

fn id_of(mailbox: &Address, price: u64, end: UnixTime) -> Serial {
    id_keys()[1].issue([9; 8], end, mailbox, price).unwrap()
}

fn payment() -> Payment {
    Payment {
        id: id_of(&alice(), PRICE, END),
        mailbox: alice(),
        credits: PRICE,
        message: Fingerprint([5; 32]),
        expires: END,
        payee: "x-example@agency.example".parse().unwrap(),
    }
}

fn listed() -> MeterFact {
    MeterFact::Known(Box::new(Meter { key: key().public(), limit: 1_000, not_after: NOW.plus(3_600) }))
}

/// Examines the payment as the line that carries it says, for alice and bob, who ask 3 and 5.
fn examined(token: &Token, id: &Serial, credits: u64, meter: MeterFact) -> Result<(usize, Payment), PaymentError> {
    let (alice, bob) = (alice(), address("bob@x.example"));
    let recipients = [Priced { mailbox: &bob, price: 5 }, Priced { mailbox: &alice, price: PRICE }];
    let payee = payment().payee;
    let receiver = Receiver { payee: &payee, id_keys: &id_keys(), recipients: &recipients, now: NOW };
    examine_payment((id, credits, token), &receiver, |issuer| {
        assert_eq!(*issuer, token.issuer().unwrap());
        meter
    })
}

fn paid(payment: &Payment) -> Result<(usize, Payment), PaymentError> {
    examined(&payment.sign(&license(), &key()).unwrap(), &payment.id, payment.credits, listed())
}

#[test]
fn a_payment_pays_its_recipient() {
    assert_eq!(paid(&payment()), Ok((1, payment())));
    let more = Payment { credits: 7, mailbox: address("ALICE@x.example"), ..payment() };
    assert_eq!(paid(&more), Ok((1, more)));
    let bob = address("bob@x.example");
    let other = Payment { id: id_of(&bob, 5, END), mailbox: bob, credits: 5, ..payment() };
    assert_eq!(paid(&other), Ok((0, other)));
}

#[test]
fn what_does_not_fit_is_refused() {
    let of = |change: fn(Payment) -> Payment| paid(&change(payment())).map(|(at, _)| at);
    assert_eq!(of(|it| Payment { credits: 2, ..it }), Err(PaymentError::TooFew { given: 2, price: 3 }));
    assert_eq!(of(|it| Payment { credits: 1_001, ..it }), Err(PaymentError::OverLimit { given: 1_001, limit: 1_000 }));
    assert_eq!(of(|it| Payment { credits: 1_000, ..it }), Ok(1));
    assert_eq!(of(|it| Payment { mailbox: address("carol@x.example"), ..it }), Err(PaymentError::Mailbox));
    assert_eq!(of(|it| Payment { mailbox: address("bob@x.example"), ..it }), Err(PaymentError::Id(IdError::Foreign)));
    assert_eq!(of(|it| Payment { expires: END.plus(1), ..it }), Err(PaymentError::End));
    assert_eq!(of(|it| Payment { payee: "y@agency.example".parse().unwrap(), ..it }), Err(PaymentError::Payee));
    let ended = id_of(&alice(), PRICE, NOW.plus(-1));
    let ended = Payment { id: ended, expires: NOW.plus(-1), ..payment() };
    assert_eq!(paid(&ended), Err(PaymentError::Id(IdError::Ended)));
    // The price was another one when the ID was given out.
    let dearer = Payment { id: id_of(&alice(), PRICE - 1, END), ..payment() };
    assert_eq!(paid(&dearer), Err(PaymentError::Id(IdError::Foreign)));
}

#[test]
fn line_and_token_say_the_same() {
    let token = payment().sign(&license(), &key()).unwrap();
    let other = id_of(&alice(), PRICE, END.plus(-1));
    assert_eq!(examined(&token, &other, PRICE, listed()), Err(PaymentError::Line));
    assert_eq!(examined(&token, &payment().id, PRICE + 1, listed()), Err(PaymentError::Line));
}

#[test]
fn only_the_licensed_meter_of_the_agency_pays() {
    let token = payment().sign(&license(), &key()).unwrap();
    let with = |meter| examined(&token, &payment().id, PRICE, meter).map(drop);
    let meter = |seed: u8, after: i64| {
        let key = SecretKey::from_random(&[seed; 32]).public();
        MeterFact::Known(Box::new(Meter { key, limit: PRICE, not_after: NOW.plus(after) }))
    };
    assert_eq!(with(meter(1, 0)), Ok(()));
    assert_eq!(with(meter(1, LICENSE_MAX)), Ok(()));
    assert_eq!(with(meter(2, 0)), Err(PaymentError::Signature));
    assert_eq!(with(meter(1, -1)), Err(PaymentError::LicenseEnded));
    assert_eq!(with(meter(1, LICENSE_MAX + 1)), Err(PaymentError::Directory));
    for (fact, error) in [
        (MeterFact::UnknownAgency, PaymentError::Agency("agency.example".into())),
        (MeterFact::Unlisted, PaymentError::Unlisted),
        (MeterFact::Conflict, PaymentError::Directory),
        (MeterFact::Stale, PaymentError::Directory),
    ] {
        assert_eq!(with(fact), Err(error));
    }
    // The agency does not list a licence that has ended: a retry would wait for ever.
    let old = Payment { id: id_of(&alice(), PRICE, NOW.plus(-1)), expires: NOW.plus(-1), ..payment() };
    let token = old.sign(&license(), &key()).unwrap();
    let ended = Err(PaymentError::Id(IdError::Ended));
    assert_eq!(examined(&token, &old.id, PRICE, MeterFact::Unlisted), ended);
    // Another agency's licence pays nothing into an account of this one.
    let elsewhere = Issuer::new("other.example", "m7").unwrap();
    let token = payment().sign(&elsewhere, &key()).unwrap();
    assert_eq!(examined(&token, &payment().id, PRICE, listed()), Err(PaymentError::Payee));
}

#[test]
fn a_token_for_another_purpose_is_no_payment() {
    let good = payment().sign(&license(), &key()).unwrap();
    for purpose in Purpose::ALL {
        let token = key().sign(good.payload(), good.footer(), purpose);
        let expected = if purpose == Purpose::Meter { Ok(()) } else { Err(PaymentError::Signature) };
        assert_eq!(examined(&token, &payment().id, PRICE, listed()).map(drop), expected, "{purpose:?}");
    }
    let bare = key().sign(good.payload(), b"", Purpose::Meter);
    assert!(matches!(examined(&bare, &payment().id, PRICE, listed()), Err(PaymentError::Token(_))));
}

#[test]
fn a_signed_payload_still_has_to_be_readable() {
    let good = String::from_utf8(payment().payload()).unwrap();
    assert_eq!(Payment::read(good.as_bytes()), Ok(payment()));
    for (from, to) in [
        ("\"val\":3", "\"val\":0"),
        ("\"val\":3", "\"val\":9007199254740992"),
        ("\"val\":3", "\"val\":\"3\""),
        ("\"val\":3,", ""),
        ("alice@x.example", "alice"),
        ("alice@x.example", "~AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("BQUF", "BQU"),
        ("x-example@", "X-Example@"),
        ("x-example@agency", "x-example@agency@"),
        ("x-example@agency.example", "agency.example"),
        ("\"exp\":\"2026", "\"exp\":\"26"),
        ("\"jti\":\"", "\"jti\":\"."),
        ("{", "{\"crit\":[\"new\"],"),
        ("{", "{\"val\":3,"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert!(Payment::read(bad.as_bytes()).is_err(), "{bad}");
    }
    for name in ["jti", "aud", "val", "msg", "exp", "payee"] {
        let bad = good.replacen(&format!("\"{name}\""), &format!("\"{name}2\""), 1);
        assert_eq!(Payment::read(bad.as_bytes()), Err(ClaimError::Missing(name)));
    }
    let more = good.replacen('{', "{\"new\":1,\"crit\":[\"val\",\"payee\"],", 1);
    assert_eq!(Payment::read(more.as_bytes()), Ok(payment()));
}

#[test]
fn what_could_not_be_read_is_not_signed() {
    let of = |payment: Payment| payment.sign(&license(), &key()).map(drop);
    assert_eq!(of(payment()), Ok(()));
    assert!(of(Payment { credits: 0, ..payment() }).is_err());
    assert!(of(Payment { credits: 1 << 53, ..payment() }).is_err());
    assert!(of(Payment { expires: UnixTime(-99_999_999_999), ..payment() }).is_err());
}

#[test]
fn a_payee_is_an_account_at_an_agency() {
    let payee: Payee = "a.b_c-1@agency.example".parse().unwrap();
    assert_eq!((payee.account(), payee.agency()), ("a.b_c-1", "agency.example"));
    assert_eq!(payee.to_string(), "a.b_c-1@agency.example");
    let long = format!("{}@agency.example", "a".repeat(65));
    for bad in ["", "@", "a", "a@", "@agency.example", "A@agency.example", "a b@agency.example", "a@B.example", &long] {
        assert_eq!(bad.parse::<Payee>(), Err(PayeeError), "{bad}");
    }
    for bad in ["a@b@c.example", "a@[192.0.2.1]", "a@agency.example.", "a@ b"] {
        assert_eq!(bad.parse::<Payee>(), Err(PayeeError), "{bad}");
    }
}

#[test]
fn the_binary_form_is_as_strict_as_the_text() {
    let token = payment().sign(&license(), &key()).unwrap();
    let bytes = to_bytes(&token).unwrap();
    assert_eq!(bytes.len(), 3 + token.payload().len() + 64 + token.footer().len());
    assert_eq!(from_bytes(&bytes), Ok(token.clone()));
    // A cut footer is another token, and no longer names its issuer.
    let whole = 3 + token.payload().len() + 64;
    for cut in 0..bytes.len() {
        let found = from_bytes(&bytes[..cut]);
        assert_eq!(found.is_ok(), cut >= whole, "{cut}");
        assert!(found.is_err() || found.unwrap().issuer().is_err());
    }
    assert_eq!(from_bytes(&[&[3], &bytes[1..]].concat()), Err(TokenError::UnknownVersion));
    assert!(from_bytes(&[4, 0, 63].iter().copied().chain([0; 63]).collect::<Vec<u8>>()).is_err());
    assert!(from_bytes(&[&[4, 8, 65][..], &[b' '; 2113]].concat()).is_err());
    let long = key().sign(&[b' '; PAYLOAD_MAX + 1], b"", Purpose::Meter);
    assert_eq!(to_bytes(&long), Err(TokenError::TooLong));
}

fn payments() -> impl Strategy<Value = Payment> {
    let names = ("[a-zA-Z0-9 .\"]{1,20}", "[a-z0-9._-]{1,64}");
    ("[A-Za-z0-9_-]{1,64}", names, 1..1_u64 << 53, any::<[u8; 32]>(), 0_i64..200_000_000_000).prop_filter_map(
        "an address",
        |(id, (local, account), credits, message, end)| {
            let local = local.replace('"', "\\\"");
            Some(Payment {
                id: Serial::new(id).unwrap(),
                mailbox: Address::parse(&format!("\"{local}\"@x.example")).ok()?,
                credits,
                message: Fingerprint(message),
                expires: UnixTime(end),
                payee: Payee::new(&account, "agency.example").unwrap(),
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_payment_is_read_as_it_was_signed(payment in payments()) {
        let token = payment.sign(&license(), &key()).unwrap();
        let received = Token::parse(token.as_str()).unwrap();
        prop_assert!(key().public().verify(&received, Purpose::Meter));
        prop_assert_eq!(received.issuer(), Ok(license()));
        prop_assert_eq!(from_bytes(&to_bytes(&received).unwrap()), Ok(token));
        prop_assert_eq!(Payment::read(received.payload()), Ok(payment));
    }

    #[test]
    fn any_altered_character_of_a_token_is_noticed(at: prop::sample::Index, letter in "[A-Za-z0-9_.-]") {
        let token = payment().sign(&license(), &key()).unwrap();
        let mut text = token.as_str().to_owned();
        let at = at.index(text.len());
        text.replace_range(at..=at, &letter);
        let is_paid = Token::parse(&text).is_ok_and(|other| {
            // The footer may then name another licence, which has another key or none.
            let fact = if other.issuer() == Ok(license()) { listed() } else { MeterFact::Unlisted };
            let payee = payment().payee;
            let alice = alice();
            let recipients = [Priced { mailbox: &alice, price: PRICE }];
            let receiver = Receiver { payee: &payee, id_keys: &id_keys(), recipients: &recipients, now: NOW };
            examine_payment((&payment().id, PRICE, &other), &receiver, |_| fact).is_ok()
        });
        prop_assert_eq!(is_paid, text == token.as_str());
    }

    #[test]
    fn bytes_that_are_a_token_are_its_only_form(mut bytes in prop::collection::vec(any::<u8>(), 0..200), length in 60_u16..90) {
        if let Some(head) = bytes.first_chunk_mut() {
            let [high, low] = length.to_be_bytes();
            *head = [4, high, low];
        }
        if let Ok(token) = from_bytes(&bytes) {
            prop_assert_eq!(to_bytes(&token), Ok(bytes));
        }
    }
}
