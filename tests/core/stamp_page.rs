//! The worked example of mailstamp-stamp(5) is true: every value on the page is computed again from the others. Authors
//! of another implementation can rely on it.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use mailstamp::message::address::Address;
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::parse::Message;
use mailstamp::message::post;
use mailstamp::peer::announcement::Announcement;
use mailstamp::peer::gift::{Recipient, give};
use mailstamp::peer::sealing::{SealSecret, open, seal};
use mailstamp::stamp::armor::armour;
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::holder_proof::Proof;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::{PublicKey, SecretKey};
use mailstamp::stamp::token::{Purpose, Token, pae};
use mailstamp::time::UnixTime;
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("../../man/mailstamp-stamp.5");

/// The value of this name, without the white space that breaks it.
fn value(name: &str) -> String {
    let begin = format!(".It Li {name}\n.Bd -literal -compact\n");
    let (_, rest) = PAGE.split_once(&begin).unwrap_or_else(|| panic!("{name} is not on the page"));
    rest.split_once(".Ed\n").unwrap().0.split_whitespace().collect()
}

/// The value of this name, which stands there in hexadecimal.
fn bytes(name: &str) -> Vec<u8> {
    HEXLOWER.decode(value(name).as_bytes()).unwrap()
}

/// The literal block after the line that begins so.
fn block(before: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(before).unwrap_or_else(|| panic!("{before:?} is not on the page"));
    let (_, rest) = rest.split_once(".Bd -literal").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split_once(".Ed\n").unwrap().0
}

fn vendor() -> SecretKey {
    SecretKey::from_random(&bytes("seed").try_into().unwrap())
}

/// The 32 bytes from this one on.
fn bytes_from(first: u8) -> [u8; 32] {
    std::array::from_fn(|at| first + u8::try_from(at).unwrap())
}

fn holder() -> SecretKey {
    SecretKey::from_random(&bytes_from(0x20))
}

fn message() -> &'static str {
    block("This message, with its empty lines")
}

#[test]
fn the_keys_follow_from_the_seed() {
    assert_eq!(vendor().public().to_bytes().to_vec(), bytes("public"));
    assert_eq!(vendor().public().to_string(), value("key"));
    assert_eq!(*vendor().to_paserk(), value("secret"));
    assert_eq!(value("key"), format!("k4.public.{}", BASE64URL_NOPAD.encode(&bytes("public"))));
    assert_eq!(holder().public().to_string(), value("holder"));
}

#[test]
fn the_hashed_recipient_follows_from_salt_and_address() {
    let joe = Address::parse("Joe@Example.ORG").unwrap();
    assert_eq!(joe.canonical(), value("canonical"));
    let hash = Sha256::digest([bytes("salt"), value("canonical").into_bytes()].concat());
    let salt = BASE64URL_NOPAD.encode(&bytes("salt"));
    assert_eq!(value("aud"), format!("~{salt}.{}", BASE64URL_NOPAD.encode(&hash)));
    assert!(Audience::parse(&value("aud")).unwrap().names(&joe));
}

#[test]
fn the_token_follows_from_payload_footer_and_key() {
    let (payload, footer) = (value("stamp-payload"), value("stamp-footer"));
    let encoded = pae(&[b"v4.public.", payload.as_bytes(), footer.as_bytes(), b"digital-stamp"]);
    assert_eq!(encoded, bytes("stamp-pae"));
    let signature: [u8; 64] = bytes("stamp-signature").try_into().unwrap();
    assert!(vendor().public().verify_message(&encoded, &signature));
    let body = BASE64URL_NOPAD.encode(&[payload.as_bytes(), &signature].concat());
    let token = format!("v4.public.{body}.{}", BASE64URL_NOPAD.encode(footer.as_bytes()));
    assert_eq!(token, value("stamp-token"));
    assert_eq!(vendor().sign(payload.as_bytes(), footer.as_bytes(), Purpose::Stamp).as_str(), token);

    let stamp = Stamp::read(payload.as_bytes()).unwrap();
    assert_eq!(stamp.payload(), payload.as_bytes());
    assert_eq!((stamp.value, stamp.audience.to_string()), (3, value("aud")));
    assert_eq!(Token::parse(&token).unwrap().issuer().unwrap().footer(), footer.as_bytes());
}

#[test]
fn the_places_carry_the_token() {
    let field = block("In a header, folded:");
    assert_eq!(mailstamp::message::header::fold("Digital-Stamp", &value("stamp-token"), "\n"), field);
    assert_eq!(armour(&value("stamp-token"), "\n"), block("In a body:"));
}

#[test]
fn the_fingerprint_is_that_of_the_lines_shown() {
    let hashed = block("is hashed as these lines").replace('\n', "\r\n");
    let fingerprint = HEXLOWER.encode(&Sha256::digest(hashed));
    assert_eq!(fingerprint, value("fp"));
    assert_eq!(Fingerprint::of(&Message::parse(message().as_bytes())).to_string(), fingerprint);
}

#[test]
fn the_use_is_proven_for_stamp_and_message() {
    let standing = Token::parse(&value("standing-token")).unwrap();
    assert_eq!(standing.payload(), value("standing-payload").as_bytes());
    assert!(vendor().public().verify(&standing, Purpose::Stamp));
    assert_eq!(Stamp::read(standing.payload()).unwrap().holder, Some(PublicKey::parse(&value("holder")).unwrap()));

    let payload = value("use-payload");
    let encoded = pae(&[b"v4.public.", payload.as_bytes(), b"", b"digital-stamp-use"]);
    assert_eq!(encoded, bytes("use-pae"));
    let signature: [u8; 64] = bytes("use-signature").try_into().unwrap();
    assert!(holder().public().verify_message(&encoded, &signature));
    let body = BASE64URL_NOPAD.encode(&[payload.as_bytes(), &signature].concat());
    assert_eq!(format!("v4.public.{body}"), value("use-token"));

    let used = Token::parse(&value("use-token")).unwrap();
    let fingerprint = Fingerprint::of(&Message::parse(message().as_bytes()));
    let proof = Proof::verify(&used, &standing, &fingerprint, &holder().public()).unwrap();
    assert_eq!(proof.stamp.to_vec(), Sha256::digest(value("standing-token")).to_vec());
    assert_eq!(BASE64URL_NOPAD.encode(&proof.message.0), BASE64URL_NOPAD.encode(&bytes("fp")));
    assert_eq!(proof.issued, UnixTime::from_rfc3339("2026-11-21T12:00:30Z").unwrap());
}

#[test]
fn the_announcement_and_the_sealed_stamp_are_those_of_the_keys() {
    let (ann, joe) = (Address::parse("ann@example.net").unwrap(), Address::parse("joe@example.org").unwrap());
    let (secret, earlier) = (SealSecret::from_random(&bytes_from(0x60)), SecretKey::from_random(&bytes_from(0xa0)));
    let giver = SecretKey::from_random(&bytes_from(0x40));
    assert_eq!(secret.public().to_string(), value("seal"));
    assert_eq!(earlier.public().to_string(), value("earlier"));
    assert_eq!(giver.public().to_string(), value("giver"));

    let read = Announcement::parse(&value("key-token")).unwrap();
    assert_eq!(Token::parse(&value("key-token")).unwrap().payload(), value("key-payload").as_bytes());
    assert_eq!((&read.address, read.keys.signing, read.keys.sealing), (&ann, holder().public(), secret.public()));
    let steps: Vec<_> = read.steps.iter().map(|step| (step.from, step.to)).collect();
    assert_eq!(steps, [(earlier.public(), holder().public())]);

    let at = UnixTime::from_rfc3339("2026-11-21T12:00:00Z").unwrap();
    let recipient = Recipient { address: &ann, holder: &holder().public(), days: 90 };
    let (_, stamp) = give(&joe, &giver, &recipient, Serial::new("given-1").unwrap(), at).unwrap();
    assert_eq!(stamp.as_str(), value("own-token"));
    assert_eq!(stamp.payload(), value("own-payload").as_bytes());
    assert_eq!(stamp.footer(), value("own-footer").as_bytes());
    assert_eq!(open(&value("sealed"), &joe, &ann, &secret).unwrap(), stamp);
    assert_eq!(seal(&stamp, &joe, &ann, &secret.public(), &bytes_from(0x80)).unwrap(), value("sealed"));
}

#[test]
fn the_use_of_a_lists_stamp_is_proven_for_the_post() {
    let (list, ann) = (Address::parse("talk@lists.example").unwrap(), Address::parse("ann@example.net").unwrap());
    let key = SecretKey::from_random(&bytes_from(0xc0));
    assert_eq!(key.public().to_string(), value("list-key"));
    let at = |text: &str| UnixTime::from_rfc3339(text).unwrap();
    let member = Recipient { address: &ann, holder: &holder().public(), days: 14 };
    let serial = Serial::new("member-1").unwrap();
    let (_, stamp) = give(&list, &key, &member, serial, at("2026-11-21T12:00:00Z")).unwrap();
    assert_eq!(stamp.payload(), value("list-payload").as_bytes());
    assert_eq!(stamp.footer(), value("list-footer").as_bytes());
    assert_eq!(stamp.as_str(), value("list-token"));

    let lines = block("so uses the stamp on these lines").replace('\n', "\r\n");
    assert_eq!(HEXLOWER.encode(&Sha256::digest(lines)), value("post-hash"));
    let sent = message().replace("Subject: ", "Subject: [talk] ") + "-- \nthe list talk\n";
    for text in [message(), &sent] {
        let hash = post::hash(&Message::parse(text.as_bytes())).unwrap();
        assert_eq!(hash.to_string(), value("post-hash"));
        let used = Token::parse(&value("list-use-token")).unwrap();
        assert_eq!(used.payload(), value("list-use-payload").as_bytes());
        let proof = Proof::verify_post(&used, &stamp, &hash, &holder().public()).unwrap();
        let nonce = Serial::new("post-1").unwrap();
        assert_eq!((&proof.nonce, proof.issued), (&nonce, at("2026-11-21T12:00:30Z")));
        assert!(Proof::verify(&used, &stamp, &hash, &holder().public()).is_err());
        assert_eq!(Proof::sign_post(&stamp, &hash, &nonce, proof.issued, &holder()), used);
    }
}
