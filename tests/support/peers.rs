//! The user's own key, and the stamp that the user gave to Bob. Both are made with the library, from fixed seeds.

use super::Home;
use mailstamp::directory::own_keys::{OwnKeyStatus, OwnKeys, PublicOwnKey, folder};
use mailstamp::message::address::Address;
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::header::fold;
use mailstamp::message::parse::Message;
use mailstamp::peer::announcement::{Announcement, Keys, Link};
use mailstamp::peer::gift::{Recipient, give};
use mailstamp::peer::sealing::{SealSecret, seal as seal_stamp};
use mailstamp::peer::{KEY_FIELD, SEALED_FIELD};
use mailstamp::stamp::extract::without_white_space;
use mailstamp::stamp::holder_proof::Proof;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::time::UnixTime;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_random(&[seed; 32])
}

/// Writes the public half of the address's key into the user's state.
pub fn own_key(home: &Home, address: &str) {
    own_key_in(&home.state(), address);
}

/// The same into this folder of the state.
pub fn own_key_in(state: &Path, address: &str) {
    let folder = folder(state);
    fs::create_dir_all(&folder).unwrap();
    let key = PublicOwnKey { key: secret(7).public(), status: OwnKeyStatus::Active };
    let keys: OwnKeys = [(Address::parse(address).unwrap(), vec![key])].into_iter().collect();
    keys.write(&folder).unwrap();
}

/// `message` with the stamp that the user of `address` gave to Bob, and Bob's proof of this use.
pub fn used(address: &str, message: &[u8]) -> Vec<u8> {
    let now = UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed());
    let (bob, holder) = (Address::parse("bob@y.example").unwrap(), secret(5));
    let to = Recipient { address: &bob, holder: &holder.public(), days: 90 };
    let serial = Serial::from_random([1; 16]);
    let (_, stamp) = give(&Address::parse(address).unwrap(), &secret(7), &to, serial, now).unwrap();
    let of = Fingerprint::of(&Message::parse(message));
    let nonce = Serial::from_random(*of.0.first_chunk().unwrap());
    let proof = Proof::sign(&stamp, &of, &nonce, now, &holder);
    let fields = format!("Digital-Stamp: {}\nDigital-Stamp-Use: {}\n", stamp.as_str(), proof.as_str());
    [fields.as_bytes(), message].concat()
}

/// As [`used`], with Bob's announcement, as long as one can be, and a stamp that Bob sealed to the user. All four fields
/// are folded as a program that sends folds them.
pub fn exchanged(address: &str, message: &[u8]) -> Vec<u8> {
    let (bob, me) = (Address::parse("bob@y.example").unwrap(), Address::parse(address).unwrap());
    let keys = |seed: u8, issued: i64| Keys {
        signing: secret(seed).public(),
        sealing: SealSecret::from_random(&[seed; 32]).public(),
        issued: UnixTime(1_795_262_400 + issued),
    };
    let chain: Vec<Keys> = (1..=5).map(|seed| keys(seed, seed.into())).collect();
    let link = |seed: u8| {
        let at = usize::from(seed);
        Link::sign(&bob, chain[at - 1], &chain[at], &secret(seed))
    };
    let links: Vec<Link> = (1..=4).map(link).collect();
    let announced = Announcement::sign(&bob, &chain[4], &links, None, &secret(5)).unwrap();
    let to = Recipient { address: &me, holder: &secret(7).public(), days: 90 };
    let now = UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed());
    let (_, gift) = give(&bob, &secret(5), &to, Serial::from_random([2; 16]), now).unwrap();
    let seal = SealSecret::from_random(&[7; 32]).public();
    let sealed = seal_stamp(&gift, &bob, &me, &seal, &[8; 32]).unwrap();
    let with_use = String::from_utf8(used(address, message)).unwrap();
    let fields = [(KEY_FIELD, announced.as_str()), (SEALED_FIELD, &sealed)];
    let fields: String = fields.iter().map(|(name, value)| fold(name, value, "\n")).collect();
    let mut lines = with_use.splitn(3, '\n');
    let mut folded = || {
        let (name, value) = lines.next().unwrap().split_once(": ").unwrap();
        fold(name, value, "\n")
    };
    let (stamp, proof) = (folded(), folded());
    [fields, stamp, proof, lines.next().unwrap().to_owned()].concat().into_bytes()
}

/// The names of the four fields.
pub const FIELDS: [&str; 4] = [KEY_FIELD, SEALED_FIELD, "Digital-Stamp", "Digital-Stamp-Use"];

/// Fails unless the four fields of `arrived` are those of `sent`, white space aside.
#[track_caller]
pub fn assert_same_fields(arrived: &[u8], sent: &[u8]) {
    let value = |message: &[u8], name: &str| -> String {
        let message = Message::parse(message);
        let field = message.first(name).unwrap_or_else(|| panic!("{name} is missing"));
        without_white_space(&field.decoded())
    };
    for name in FIELDS {
        assert_eq!(value(arrived, name), value(sent, name), "{name}");
    }
}
