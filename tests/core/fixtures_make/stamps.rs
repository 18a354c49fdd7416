//! Parts of the fixtures: keys from fixed seeds (they are public; never use them elsewhere), stamps, vendors'
//! documents, messages.

use data_encoding::{BASE64, HEXLOWER};
use mailstamp::message::address::Address;
use mailstamp::message::fingerprint::{Fingerprint, KnownMessage};
use mailstamp::message::parse::Message;
use mailstamp::stamp::affix::affix;
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::extract::Place;
use mailstamp::stamp::holder_proof::Proof;
use mailstamp::stamp::issue;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::stamp::token::{Issuer, Purpose, Token};
use mailstamp::time::UnixTime;
use mailstamp::verdict::owner::Owner;

/// 2026-12-01T12:00:00Z: when most fixtures are judged.
pub const NOW: UnixTime = UnixTime(1_796_126_400);
pub const MINUTE: i64 = 60;
pub const DAY: i64 = 24 * 60 * MINUTE;
/// When most stamps end: noon, twenty days later.
pub const END: UnixTime = UnixTime(NOW.0 + 20 * DAY);

/// A configuration with which a message may come again twenty times.
pub const TWENTY: &str = "addresses = [\"alice@x.example\"]\n[used_log]\nmax_redeliveries = 20";

/// The seeds of the keys, one for each use.
pub const VENDOR: u8 = 1;
pub const OTHER_VENDOR: u8 = 2;
pub const NEW_KEY: u8 = 3;
pub const STRANGER: u8 = 4;
pub const HOLDER: u8 = 5;
pub const BOUNDARY: u8 = 6;
pub const OWN: u8 = 7;
pub const OLD_OWN: u8 = 8;

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_random(&[seed; 32])
}

pub fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A stamp for the user, issued ten days ago, until [`END`].
pub fn stamp(serial: &str) -> Stamp {
    Stamp {
        serial: Serial::new(serial).unwrap(),
        audience: Audience::Plain(address("alice@x.example")),
        sender: None,
        issued: Some(NOW.plus(-10 * DAY)),
        not_before: None,
        expires: Some(END),
        value: 1,
        many: false,
        holder: None,
    }
}

pub fn stamp_for(serial: &str, recipient: &str) -> Stamp {
    Stamp { audience: Audience::Plain(address(recipient)), ..stamp(serial) }
}

/// Signed by the user's vendor.
pub fn issue(stamp: &Stamp) -> String {
    issue_as("stamps.example", "2026q4", VENDOR, stamp)
}

pub fn issue_as(vendor: &str, kid: &str, seed: u8, stamp: &Stamp) -> String {
    let issuer = Issuer::new(vendor, kid).unwrap();
    issue::issue(stamp, &issuer, &key(seed)).unwrap().as_str().to_owned()
}

/// Signed by the user's vendor, whatever it says.
pub fn sign(payload: &str, footer: &str) -> String {
    key(VENDOR).sign(payload.as_bytes(), footer.as_bytes(), Purpose::Stamp).as_str().to_owned()
}

/// A stamp of the user's vendor whose payload has this many bytes.
pub fn sized_claims(bytes: usize) -> String {
    let text = format!(r#"{{"jti":"sized","aud":"alice@x.example","exp":"{END}","a":""}}"#);
    sign(&text.replace("\"\"}", &format!("\"{}\"}}", "x".repeat(bytes - text.len()))), FOOTER)
}

/// An armoured stamp with this many bytes between the markers.
pub fn far_apart(token: &str, bytes: usize) -> String {
    use mailstamp::stamp::armor::{BEGIN, END};
    format!("{BEGIN}\n{token}{}\n{END}\n", "\n".repeat(bytes - token.len() - 2))
}

pub const FOOTER: &str = r#"{"iss":"stamps.example","kid":"2026q4"}"#;

/// A plain stamp of the user's vendor.
pub fn token(serial: &str) -> String {
    issue(&stamp(serial))
}

/// What a vendor publishes: each key with its name, further members (from a comma on) for key and vendor.
pub fn pinned(vendor: &str, keys: &[(&str, &str)], more: &str) -> String {
    pinned_keys(vendor, &keys.iter().map(|(kid, more)| (*kid, VENDOR, *more)).collect::<Vec<_>>(), more)
}

pub fn pinned_keys(vendor: &str, keys: &[(&str, u8, &str)], more: &str) -> String {
    let keys: Vec<String> = keys
        .iter()
        .map(|(kid, seed, more)| format!("{{\"kid\":\"{kid}\",\"key\":\"{}\"{more}}}", key(*seed).public()))
        .collect();
    format!("{{\"vendor\":\"{vendor}\",\"keys\":[{}]{more}}}", keys.join(","))
}

/// A directory signed by the user's vendor, stale from `expires` on.
pub fn directory(expires: UnixTime, entries: &str) -> String {
    let issued = expires.plus(-30 * DAY);
    let payload =
        format!("{{\"version\":1,\"issued\":\"{issued}\",\"expires\":\"{expires}\",\"vendors\":[{entries}]}}");
    let token = key(VENDOR).sign(payload.as_bytes(), FOOTER.as_bytes(), Purpose::Directory);
    format!("{{\"directory\":\"{}\"}}", token.as_str())
}

/// A plain letter.
pub fn letter(id: &str) -> String {
    format!("{}\nDear Alice,\n\nthis is letter {id}.\n\nBob\n", header(id, ""))
}

/// The header of a letter, with more fields (each with its line end), without the empty line.
pub fn header(id: &str, more: &str) -> String {
    format!(
        "From: Bob <bob@y.example>\nTo: Alice <alice@x.example>\nDate: Tue, 01 Dec 2026 11:58:00 +0000\n\
         Message-ID: <{id}@y.example>\nSubject: a serious matter\n{more}"
    )
}

/// The letter with a stamp in its header.
pub fn with(token: &str, letter: &str) -> Vec<u8> {
    at(Place::Header, token, letter)
}

pub fn at(place: Place, token: &str, letter: &str) -> Vec<u8> {
    affix(&Message::parse(letter.as_bytes()), place, token).unwrap().to_vec()
}

/// The letter with the stamp of a holder, and the holder's proof for it.
pub fn with_proof(token: &str, letter: &str, nonce: u8, signed: UnixTime, holder: u8) -> Vec<u8> {
    let message = Message::parse(letter.as_bytes());
    proven(token, letter, &Fingerprint::of(&message), nonce, signed, holder)
}

/// The letter with a proof that was made for a message of this fingerprint.
pub fn proven(token: &str, letter: &str, of: &Fingerprint, nonce: u8, signed: UnixTime, holder: u8) -> Vec<u8> {
    let stamp = Token::parse(token).unwrap();
    let used = Proof::sign(&stamp, of, &Serial::from_random([nonce; 16]), signed, &key(holder));
    let field = mailstamp::message::header::fold("Digital-Stamp-Use", used.as_str(), "\n");
    with(token, &format!("{field}{letter}"))
}

/// Base64 with lines of 76 columns.
pub fn base64(text: &[u8]) -> String {
    let text = BASE64.encode(text);
    let lines: Vec<&str> = text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("{}\n", lines.join("\n"))
}

/// The row of a stamp of the user's vendor that was spent on a message.
pub fn used_row(serial: &str, message: &str, spent: UnixTime, times: u8) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in ["stamps.example", serial] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let name = HEXLOWER.encode(&hash.finalize()[..16]);
    let fingerprint = String::from(KnownMessage::of(&Message::parse(message.as_bytes())));
    format!(
        "{{\"row\":\"used\",\"hour\":{},\"stamp\":\"{name}\",\"fingerprint\":\"{fingerprint}\",\"first_seen\":{},\
         \"times\":{times}}}",
        END.0 / 3600,
        spent.0
    )
}

/// The row of a spent stamp, as that of an owner who is an address.
pub fn owned(row: &str, address: &str) -> String {
    let owner = String::from(Owner::of_address(address));
    row.replace("\"first_seen\"", &format!("\"owner\":\"{owner}\",\"first_seen\""))
}

/// The row of what the user said about a stamp: `standing` is JSON.
pub fn standing_row(serial: &str, standing: &str) -> String {
    format!("{{\"row\":\"standing\",\"vendor\":\"stamps.example\",\"serial\":\"{serial}\",\"standing\":{standing}}}")
}
