//! Seal of a boundary: an Ed25519 signature over a result, its recipients, and the message that goes on
//! (mailstamp-milter(8), "The seal"). A host behind the boundary believes the result in place of spending the stamp
//! once more.
//!
//! - A seal names only recipients who stand in To or Cc. All copies have the same header, so any other name, or a
//!   result that depends on another recipient, would tell readers of Bcc.
//! - White space does not count, since mail systems fold a field as they like. Every other character is signed.
//! - The fingerprint is that of the message with its long lines broken, which is what arrives behind Postfix.

use crate::message::address::{Address, LocalCase, addresses_up_to};
use crate::message::fingerprint::Fingerprint;
use crate::message::header::{Field, slice};
use crate::message::parse::Message;
use crate::message::result_headers::CLASS_FIELD;
use crate::stamp::serial::Serial;
use crate::stamp::signing::{PublicKey, SecretKey};
use crate::stamp::token::Purpose;
use crate::time::UnixTime;
use crate::verdict::reason::Reason;
use data_encoding::BASE64URL_NOPAD;
use memchr::memmem;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};

/// Most recipients that the fields of one message name.
pub const NAMED: usize = 20;
/// Most fields of a message that are looked at.
const FIELDS: usize = 32;
/// Longest field, in bytes.
const VALUE: usize = 16 * 1024;
/// Fields and addresses in which recipients are looked for.
const ADDRESSED: usize = 16;
const ADDRESSES: usize = 10_000;
/// Seconds for which a seal is good. A message may wait in a queue, or be held, before it goes on.
pub const LIFETIME: i64 = 30 * 24 * 60 * 60;

/// Sealed result, as a field says it. Nothing of it is known to be true before [`Seal::holds`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    pub host: String,
    pub reason: Reason,
    pub vendor: Option<String>,
    pub key_id: Option<String>,
    pub serial: Option<Serial>,
    pub value: Option<u64>,
    /// Whether the boundary keeps no used log.
    pub is_unspent: bool,
    /// For whom it counts.
    pub recipients: Vec<Address>,
    pub time: UnixTime,
    /// What is signed, beside the fingerprint.
    text: String,
    signature: [u8; 64],
}

impl Seal {
    /// Parses the value of a class field; `None` if it has no seal, or another form than [`write()`] gives it.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let all = without_blanks(slice(value, 0, VALUE + 1)).filter(|_| value.len() <= VALUE)?;
        let (text, seal) = all.rsplit_once(";seal=")?;
        let signature = BASE64URL_NOPAD.decode(seal.as_bytes()).ok()?.try_into().ok()?;
        let (class, parameters) = text.split_once(';')?;
        let mut known = BTreeMap::new();
        for parameter in parameters.split(';') {
            let (name, value) = parameter.split_once('=')?;
            if known.insert(name, value).is_some() {
                return None;
            }
        }
        let of = |name: &str| known.get(name).copied();
        let reason = of("reason").and_then(|word| Reason::ALL.iter().find(|reason| reason.as_str() == word))?;
        let recipients = of("for")?.split(',').map(|text| Address::parse(text).ok()).collect::<Option<Vec<_>>>()?;
        (class == reason.class().as_str() && recipients.len() <= NAMED).then_some(())?;
        Some(Self {
            host: of("host")?.to_owned(),
            reason: *reason,
            vendor: of("vendor").map(str::to_owned),
            key_id: of("key").map(str::to_owned),
            serial: of("serial").map(Serial::new).transpose().ok()?,
            value: of("value").map(str::parse).transpose().ok()?,
            is_unspent: of("reuse").is_some(),
            recipients,
            time: UnixTime(of("t")?.parse().ok()?),
            signature,
            text: text.to_owned(),
        })
    }

    /// Returns whether `key` sealed it for the message of this fingerprint ([`Fingerprint::of_broken`]).
    #[must_use]
    pub fn holds(&self, key: &PublicKey, message: &Fingerprint) -> bool {
        key.verify_parts(self.text.as_bytes(), &message.0, &self.signature, Purpose::Seal)
    }

    /// Returns whether the time is within its life, give or take `skew` seconds.
    #[must_use]
    pub fn is_current(&self, now: UnixTime, skew: i64) -> bool {
        (-skew..=LIFETIME.saturating_add(skew)).contains(&now.since(self.time))
    }

    /// Returns the end of its life.
    #[must_use]
    pub fn end(&self) -> UnixTime {
        self.time.plus(LIFETIME)
    }

    /// Returns the name under which a used log counts how often it was believed for this recipient: as the serial of a
    /// stamp that the boundary issued. No vendor has a name with `#` in front.
    #[must_use]
    pub fn count(&self, recipient: &Address) -> (String, Option<Serial>) {
        let hash = Sha256::new().chain_update(self.signature).chain_update(recipient.canonical()).finalize();
        (format!("#{}", self.host), Serial::new(BASE64URL_NOPAD.encode(&hash)).ok())
    }
}

/// Returns the sealed fields of a message, from the top, each with the offset of its field. Only as many are read as
/// any boundary writes.
pub fn sealed_fields(message: &Message<'_>) -> impl Iterator<Item = (usize, Seal)> {
    let fields = class_fields(message).take(FIELDS);
    fields.filter_map(|field| Some((field.start(), Seal::parse(field.value())?)))
}

/// Returns whether a host could believe something that the header says: it then needs the whole message.
#[must_use]
pub fn may_be_sealed(message: &Message<'_>) -> bool {
    // A fold may stand anywhere.
    class_fields(message).any(|field| memmem::find(&bare(field.value()), b";seal=").is_some())
}

fn class_fields<'a>(message: &Message<'a>) -> impl Iterator<Item = Field<'a>> {
    message.fields().filter(|field| field.name_is(CLASS_FIELD))
}

/// Returns the value of a sealed field: `result`, its parameters without a seal, for the message of this fingerprint.
#[must_use]
pub fn write(
    result: &str,
    host: &str,
    recipients: &[String],
    time: UnixTime,
    message: &Fingerprint,
    key: &SecretKey,
) -> String {
    let text = format!("{result}; host={host}; for={}; t={}", recipients.join(", "), time.0);
    let signed = without_blanks(text.as_bytes()).unwrap_or_default();
    let signature = *key.sign(signed.as_bytes(), &message.0, Purpose::Seal).signature();
    format!("{text}; seal={}", BASE64URL_NOPAD.encode(&signature))
}

/// The recipients who stand in To or Cc of a message, and whom every reader knows.
#[derive(Debug)]
pub struct Visible {
    case: LocalCase,
    spelled: HashSet<String>,
}

impl Visible {
    /// Reads To and Cc.
    #[must_use]
    pub fn of(message: &Message<'_>, case: LocalCase) -> Self {
        let fields = message.fields().filter(|field| field.name_is("To") || field.name_is("Cc"));
        let all = fields.take(ADDRESSED).flat_map(|field| addresses_up_to(&field.unfolded(), ADDRESSES));
        Self { case, spelled: all.map(|address| spelled(&address, case)).collect() }
    }

    /// Adds an address that every reader of this copy knows, since it goes to that one alone.
    pub fn add(&mut self, address: &Address) {
        self.spelled.insert(spelled(address, self.case));
    }

    /// Returns whether the address stands there.
    #[must_use]
    pub fn has(&self, address: &Address) -> bool {
        self.spelled.contains(&spelled(address, self.case))
    }

    /// Returns the name of an address in a seal: its canonical form. `None` if it does not stand there, if it needs
    /// quotes or has letters beyond ASCII, or if it would be another person's.
    #[must_use]
    pub fn name(&self, address: &Address) -> Option<String> {
        let (text, name) = (address.to_string(), address.canonical());
        let is_same = match self.case {
            LocalCase::Fold => text.eq_ignore_ascii_case(&name),
            LocalCase::Keep => text == name,
        };
        (is_same && name.is_ascii() && self.has(address)).then_some(name)
    }
}

fn spelled(address: &Address, case: LocalCase) -> String {
    match case {
        LocalCase::Fold => address.canonical(),
        LocalCase::Keep => address.to_string(),
    }
}

/// Returns the text without white space; `None` unless the rest is printable ASCII.
fn without_blanks(value: &[u8]) -> Option<String> {
    String::from_utf8(bare(value)).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn bare(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::fold;
    use proptest::prelude::*;

    const RESULT: &str =
        "first-class; reason=paid; vendor=stamps.example; key=2026q4; serial=abc; value=3; action=deliver";
    const MESSAGE: &str = "From: bob@y.example\nTo: alice@x.example\nSubject: s\n\ntext\n";

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_random(&[byte; 32])
    }

    fn fingerprint(raw: &str) -> Fingerprint {
        Fingerprint::of_broken(&Message::parse(raw.as_bytes()))
    }

    fn sealed(result: &str, recipients: &[&str]) -> String {
        let recipients: Vec<String> = recipients.iter().map(|it| (*it).to_owned()).collect();
        write(result, "mx.x.example", &recipients, UnixTime(1_000_000), &fingerprint(MESSAGE), &key(1))
    }

    fn holds(value: &[u8], raw: &str) -> Option<Seal> {
        Seal::parse(value).filter(|seal| seal.holds(&key(1).public(), &fingerprint(raw)))
    }

    #[test]
    fn a_seal_comes_back_as_it_was_written() {
        let value = sealed(RESULT, &["alice@x.example", "bob@x.example"]);
        let seal = holds(value.as_bytes(), MESSAGE).unwrap();
        let all = (seal.host.as_str(), seal.reason, seal.vendor.as_deref(), seal.key_id.as_deref(), seal.value);
        assert_eq!(all, ("mx.x.example", Reason::Paid, Some("stamps.example"), Some("2026q4"), Some(3)));
        assert_eq!((seal.serial.as_ref().map(Serial::as_str), seal.time), (Some("abc"), UnixTime(1_000_000)));
        let names: Vec<String> = seal.recipients.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["alice@x.example", "bob@x.example"]);
        // Another message, another key, another purpose.
        assert_eq!(holds(value.as_bytes(), &MESSAGE.replace("text", "tex t")), None);
        assert!(!seal.holds(&key(2).public(), &fingerprint(MESSAGE)));
        let other = key(1).sign(seal.text.as_bytes(), &fingerprint(MESSAGE).0, Purpose::Stamp);
        let (text, _) = value.rsplit_once('=').unwrap();
        let other = format!("{text}={}", BASE64URL_NOPAD.encode(other.signature()));
        assert!(Seal::parse(other.as_bytes()).is_some() && holds(other.as_bytes(), MESSAGE).is_none());
    }

    #[test]
    fn other_forms_are_no_seals() {
        let good = sealed(RESULT, &["alice@x.example"]);
        for (from, to) in [
            ("first-class", "underpaid"),
            ("first-class; ", ""),
            ("reason=paid", "reason=new"),
            ("reason=paid", "reason=paid; reason=paid"),
            ("alice@x.example", ""),
            ("alice@x.example", "alice"),
            ("t=1000000", "t=x"),
            ("; t=1000000", ""),
            ("host=mx.x.example; ", ""),
            ("value=3", "value=-3"),
            ("serial=abc", "serial=a.c"),
            ("seal=", "seal=="),
            ("seal=", "seal=A"),
            ("seal=", "SEAL="),
            ("action=deliver", "action"),
            ("vendor", "v\u{e4}ndor"),
        ] {
            let value = good.replace(from, to);
            assert_eq!(Seal::parse(value.as_bytes()), None, "{value}");
            assert_ne!(value, good);
        }
        for cut in 0..good.len() {
            assert_eq!(Seal::parse(&good.as_bytes()[..cut]), None, "{cut}");
        }
        assert_eq!(Seal::parse(format!("{good}; x=y").as_bytes()), None);
        assert!(Seal::parse(format!("{}{good}", " ".repeat(VALUE)).as_bytes()).is_none());
        let many = ["alice@x.example"; NAMED + 1];
        assert!(Seal::parse(sealed(RESULT, &many[1..]).as_bytes()).is_some());
        assert!(Seal::parse(sealed(RESULT, &many).as_bytes()).is_none());
    }

    #[test]
    fn folding_and_broken_lines_keep_a_seal() {
        let names: Vec<String> = (0..NAMED).map(|at| format!("{}{at}@x.example", "n".repeat(60))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let result = RESULT.replace("paid;", &format!("paid; rule={};", "long name ".repeat(20)));
        let value = sealed(&result, &names);
        let field = fold(CLASS_FIELD, &value, "\r\n");
        assert!(field.lines().all(|line| line.len() <= 76));
        for field in [
            field,
            format!("digital-stamp-class:{value}\r\n"),
            format!("{CLASS_FIELD}: {}\n", value.replace(' ', "\n\t")),
        ] {
            let raw = format!("Received: by x\r\n{field}{MESSAGE}");
            let message = Message::parse(raw.as_bytes());
            assert!(may_be_sealed(&message));
            let [(start, seal)] = &sealed_fields(&message).collect::<Vec<_>>()[..] else { panic!("{raw}") };
            assert_eq!(*start, 16);
            assert!(seal.holds(&key(1).public(), &Fingerprint::of_broken(&message)));
        }
        let line = |text: &str| format!("{MESSAGE}{text}\n");
        let (long, broken) =
            (line(&"x".repeat(2_000)), line(&format!("{}\n {}\n {}", "x".repeat(998), "x".repeat(997), "x".repeat(5))));
        assert_eq!(fingerprint(&long), fingerprint(&broken));
    }

    #[test]
    fn a_seal_is_seen_wherever_it_is_folded() {
        for length in 1..=76 {
            let value =
                sealed(&RESULT.replace("action=deliver", &format!("rule={}", "r".repeat(length))), &["a@x.example"]);
            let raw = fold(CLASS_FIELD, &value, "\n") + MESSAGE;
            let message = Message::parse(raw.as_bytes());
            assert!(may_be_sealed(&message) && sealed_fields(&message).count() == 1, "{raw}");
        }
        for raw in ["Digital-Stamp-Class: first-class; reason=paid; action=deliver\n\n", "Subject: ;seal=\n\n", ""] {
            assert!(!may_be_sealed(&Message::parse(raw.as_bytes())), "{raw}");
        }
    }

    #[test]
    fn a_seal_has_a_life() {
        let seal = Seal::parse(sealed(RESULT, &["alice@x.example"]).as_bytes()).unwrap();
        let current = |after: i64| seal.is_current(UnixTime(1_000_000 + after), 300);
        assert!(current(-300) && current(0) && current(LIFETIME + 300));
        assert!(!current(-301) && !current(LIFETIME + 301) && !current(i64::MIN / 2));
        let far = Seal { time: UnixTime(i64::MIN), ..seal.clone() };
        assert!(!far.is_current(UnixTime(i64::MAX), 300));
        let of = |address: &str| seal.count(&Address::parse(address).unwrap());
        assert_eq!(of("Alice@X.example"), of("alice@x.example"));
        assert_ne!(of("alice@x.example").1, of("bob@x.example").1);
        assert!(of("alice@x.example").1.is_some());
    }

    #[test]
    fn only_to_and_cc_are_visible() {
        let raw = "To: Alice <Alice@X.example>, \"a b\"@x.example,\n g: bob@x.example;\ncC: j\u{fc}@x.example\n\
                   Bcc: carol@x.example\nReply-To: carol@x.example\nTo: dora@x.example\n\n";
        let message = Message::parse(raw.as_bytes());
        let name = |case, text: &str| Visible::of(&message, case).name(&Address::parse(text).unwrap());
        for (text, fold, keep) in [
            ("alice@x.example", Some("alice@x.example"), None),
            ("Alice@x.example", Some("alice@x.example"), None),
            ("bob@x.example", Some("bob@x.example"), Some("bob@x.example")),
            ("dora@x.example", Some("dora@x.example"), Some("dora@x.example")),
            ("carol@x.example", None, None),
            ("\"a b\"@x.example", None, None),
            ("j\u{fc}@x.example", None, None),
        ] {
            assert_eq!(name(LocalCase::Fold, text).as_deref(), fold, "{text}");
            assert_eq!(name(LocalCase::Keep, text).as_deref(), keep, "{text}");
        }
        let visible = Visible::of(&message, LocalCase::Fold);
        assert!(["\"a b\"@x.example", "j\u{fc}@x.example"].iter().all(|it| visible.has(&Address::parse(it).unwrap())));
    }

    proptest! {
        /// Any change of any byte but white space makes it another text, or none.
        #[test]
        fn no_changed_byte_is_believed(at in any::<proptest::sample::Index>(), byte: u8) {
            let value = fold("X", &sealed(RESULT, &["alice@x.example", "bob@x.example"]), "\r\n").into_bytes();
            let mut changed = value.clone();
            let at = at.index(changed.len() - 2 - 2) + 2;
            changed[at] = byte;
            let text = |value: &[u8]| without_blanks(value);
            let is_same = text(&changed) == text(&value);
            prop_assert_eq!(holds(&changed[2..], MESSAGE).is_some(), is_same);
        }

        #[test]
        fn what_was_sealed_is_read(serial in "[A-Za-z0-9_-]{1,64}", rule in "[ -:<-\\[\\]-~]{0,30}", value: u64, time in 0_i64..1 << 40) {
            let result = format!("underpaid; reason=below-price; rule={rule}; serial={serial}; value={value}; action=hold");
            let names = ["a@x.example".to_owned()];
            let field = write(&result, "mx.x.example", &names, UnixTime(time), &fingerprint(MESSAGE), &key(1));
            let seal = holds(field.as_bytes(), MESSAGE).unwrap();
            let read = seal.serial.as_ref().map(Serial::as_str);
            prop_assert_eq!((read, seal.value, seal.time.0), (Some(&*serial), Some(value), time));
        }

        #[test]
        fn any_bytes_are_read_without_panic(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(holds(&value, MESSAGE).is_none());
        }
    }
}
