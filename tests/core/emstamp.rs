//! eMstamp's formats: the worked example of mailstamp-emstamp(5), the vectors in `fixtures/emstamp`, and another
//! implementation, in Python, that was written from the page alone (`emstamp_peer.py`). Each reads what the other one
//! makes, and refuses the same lines with the same reply.
//!
//! The vectors are made here: run the tests with `MAILSTAMP_WRITE_FIXTURES=1`.

use crate::support::python::Python;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use mailstamp::accounting::meter::payment_hash;
use mailstamp::emstamp::id::IdKey;
use mailstamp::emstamp::token::{
    Meter, MeterFact, Payee, Payment, Priced, Receiver, examine_payment, from_bytes, to_bytes,
};
use mailstamp::emstamp::wire::{Offer, Pay, Verdict};
use mailstamp::message::address::Address;
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::parse::Message;
use mailstamp::smtp::client::reply::Replies;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::{PublicKey, SecretKey};
use mailstamp::stamp::token::{Issuer, Purpose, Token, pae};
use mailstamp::time::UnixTime;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::Command;

const PAGE: &str = include_str!("../../man/mailstamp-emstamp.5");
/// 2026-12-01T12:00:00Z.
const END: UnixTime = UnixTime(1_796_126_400);
const NOW: UnixTime = UnixTime(END.0 - 43_200);
const PRICE: u64 = 3;
const PAYER: u64 = 7;
const MESSAGE: &str = "From: Ann  <ann@example.net>\nDate: Sat, 21 Nov 2026\n 12:00:00 +0000\nMessage-ID: <1@example.net>\n\
                       Subject: a question\nX-Mailer: none\nTo: joe@example.org\n\nDear Joe,\n\n   are  you there?\n\n\n";

/// The 32 bytes from this one on.
fn bytes_from(first: u8) -> [u8; 32] {
    std::array::from_fn(|at| first + u8::try_from(at).unwrap())
}

fn meter_key() -> SecretKey {
    SecretKey::from_random(&bytes_from(0))
}

fn id_key() -> [IdKey; 1] {
    [IdKey::from_random(&bytes_from(0xc0))]
}

fn license(name: &str) -> Issuer {
    Issuer::new("agency.example", name).unwrap()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn payee() -> Payee {
    "example-org@agency.example".parse().unwrap()
}

fn offer_of(mailbox: &Address, price: u64, end: UnixTime) -> Offer {
    let nonce = std::array::from_fn(|at| 0xa0 + u8::try_from(at).unwrap());
    Offer { price, id: id_key()[0].issue(nonce, end, mailbox, price).unwrap(), end, payee: payee() }
}

fn joe() -> Address {
    address("Joe@Example.ORG")
}

fn payment() -> Payment {
    let offer = offer_of(&joe(), PRICE, END);
    let message = Fingerprint::of(&Message::parse(MESSAGE.as_bytes()));
    Payment { id: offer.id, mailbox: joe(), credits: PRICE, message, expires: END, payee: payee() }
}

/// What one reply line of the offer is on the wire.
fn last_line(offer: &Offer) -> String {
    let mut out = Vec::new();
    offer.reply("ok").write(&mut out);
    String::from_utf8(out).unwrap().lines().last().unwrap().to_owned()
}

fn read_line(line: &str) -> Result<Option<Offer>, ()> {
    let mut replies = Replies::default();
    replies.receive(format!("250-2.1.5 ok\r\n{line}\r\n").as_bytes());
    Offer::of_reply(&replies.next_reply().map_err(drop)?.ok_or(())?).map_err(drop)
}

/// The meters that the receiver knows: for the program, and for the one in Python.
fn meters() -> Vec<(&'static str, PublicKey, u64, UnixTime)> {
    let key = meter_key().public();
    vec![
        ("m7", key, 1_000, NOW.plus(3_600)),
        ("last", key, 1_000, NOW),
        ("ended", key, 1_000, NOW.plus(-1)),
        ("far", key, 1_000, NOW.plus(8 * 86_400 + 1)),
        ("other", SecretKey::from_random(&bytes_from(0x40)).public(), 1_000, NOW.plus(3_600)),
    ]
}

/// The receiver of these mailboxes and prices, as Python takes it.
fn server(recipients: &[(Address, u64)]) -> Value {
    let licenses = meters().into_iter().map(|(name, key, limit, not_after)| {
        (name.to_owned(), json!({ "key": key.to_string(), "limit": limit, "not_after": not_after.0 }))
    });
    let recipients = recipients.iter().map(|(mailbox, price)| (mailbox.to_string(), json!(price)));
    json!({
        "now": NOW.0,
        "payee": payee().to_string(),
        "id_key": HEXLOWER.encode(&bytes_from(0xc0)),
        "agencies": { "agency.example": Value::Object(licenses.collect()), "second.example": {} },
        "recipients": Value::Object(recipients.collect()),
    })
}

fn known(issuer: &Issuer) -> MeterFact {
    let of = meters().into_iter().find(|(name, ..)| *name == issuer.key_id());
    match (issuer.vendor(), of) {
        ("agency.example", Some((_, key, limit, not_after))) => {
            MeterFact::Known(Box::new(Meter { key, limit, not_after }))
        }
        ("agency.example" | "second.example", _) => MeterFact::Unlisted,
        _ => MeterFact::UnknownAgency,
    }
}

/// The reply to a line, and the payment if it is accepted.
fn examined(line: &str, recipients: &[(Address, u64)]) -> (String, Option<Payment>) {
    let payee = payee();
    let priced: Vec<Priced<'_>> = recipients.iter().map(|(mailbox, price)| Priced { mailbox, price: *price }).collect();
    let receiver = Receiver { payee: &payee, id_keys: &id_key(), recipients: &priced, now: NOW };
    let found = Pay::parse(line).map_err(Verdict::Line).and_then(|pay| {
        examine_payment((&pay.id, pay.credits, &pay.token), &receiver, known).map_err(Verdict::Refused)
    });
    let (verdict, payment) = match found {
        Ok((_, payment)) => (Verdict::Paid, Some(payment)),
        Err(verdict) => (verdict, None),
    };
    let reply = verdict.reply();
    (format!("{} {}", reply.code, reply.enhanced), payment)
}

fn recipients() -> Vec<(Address, u64)> {
    vec![(joe(), PRICE), (address("bob@example.org"), 5)]
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A file of vectors, as it is in the checkout; written first, if that is asked for.
fn file(name: &str, made: &Value) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/emstamp").join(name);
    if std::env::var_os("MAILSTAMP_WRITE_FIXTURES").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, pretty(made)).unwrap();
    }
    serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap()
}

/// Everything on the page, from the few values that are given.
fn vectors() -> Value {
    let offer = offer_of(&joe(), PRICE, END);
    let payment = payment();
    let token = payment.sign(&license("m7"), &meter_key()).unwrap();
    let [payload, footer] = [token.payload(), token.footer()];
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let id = BASE64URL_NOPAD.decode(offer.id.as_str().as_bytes()).unwrap();
    let id_text = [b"emstamp-id\0", &id[..12], joe().canonical().as_bytes(), b"\0", &PRICE.to_be_bytes()[..]].concat();
    let pay = Pay { id: offer.id.clone(), credits: PRICE, token: token.clone() };
    json!({
        "id-key": HEXLOWER.encode(&bytes_from(0xc0)),
        "nonce": HEXLOWER.encode(&id[..8]),
        "end": END.0.to_string(),
        "mailbox": joe().to_string(),
        "canonical": joe().canonical(),
        "price": PRICE.to_string(),
        "id-text": HEXLOWER.encode(&id_text),
        "id": offer.id.as_str(),
        "offer": last_line(&offer),
        "meter-seed": HEXLOWER.encode(&bytes_from(0)),
        "meter-key": meter_key().public().to_string(),
        "message": HEXLOWER.encode(&payment.message.0),
        "payload": text(payload),
        "footer": text(footer),
        "pae": HEXLOWER.encode(&pae(&[b"v4.public.", payload, footer, b"digital-stamp-meter"])),
        "signature": HEXLOWER.encode(token.signature()),
        "token": token.as_str(),
        "binary": HEXLOWER.encode(&to_bytes(&token).unwrap()),
        "line": pay.line().unwrap(),
        "payer": PAYER.to_string(),
        "payment": payment_hash(PAYER, &joe().canonical(), &payment.message.0).to_string(),
    })
}

/// A line with this payload, signed by the meter as this licence.
fn line(id: &Serial, credits: &str, payload: &str, (agency, license): (&str, &str)) -> String {
    let footer = format!(r#"{{"iss":"{agency}","kid":"{license}"}}"#);
    let token = meter_key().sign(payload.as_bytes(), footer.as_bytes(), Purpose::Meter);
    format!("EMST {id} {credits} {}", token.as_str())
}

/// Lines with what is wrong with them. What their replies are is found by the program.
fn lines() -> Vec<(&'static str, String)> {
    const OURS: (&str, &str) = ("agency.example", "m7");
    let id = payment().id;
    let token = payment().sign(&license("m7"), &meter_key()).unwrap();
    let payload = String::from_utf8(token.payload().to_vec()).unwrap();
    let good = line(&id, "3", &payload, OURS);
    let with = |from: &str, to: &str| {
        assert!(payload.contains(from), "{from}");
        line(&id, "3", &payload.replacen(from, to, 1), OURS)
    };
    let of = |name: &str| line(&id, "3", &payload, ("agency.example", name));
    let valued =
        |credits: &str| line(&id, credits, &payload.replacen("\"val\":3", &format!("\"val\":{credits}"), 1), OURS);
    let with_id = |mailbox: &str, price: u64, end: UnixTime| {
        let id = offer_of(&address(mailbox), price, end).id;
        let payment = Payment { id: id.clone(), expires: end, ..payment() };
        let token = payment.sign(&license("m7"), &meter_key()).unwrap();
        line(&id, "3", std::str::from_utf8(token.payload()).unwrap(), OURS)
    };
    let (body, _) = good.rsplit_once('.').unwrap();
    let stamp = meter_key().sign(payload.as_bytes(), token.footer(), Purpose::Stamp);
    vec![
        ("good", good.clone()),
        ("verb in lower case", good.replacen("EMST", "emst", 1)),
        ("more than the price", valued("7")),
        ("the limit", valued("1000")),
        ("the last second of the licence", of("last")),
        ("mailbox in another spelling", with("Joe@example.org", "\\\"jo\\\\e\\\"@EXAMPLE.org.")),
        ("end with an offset", with("2026-12-01T12:00:00Z", "2026-12-01T13:00:00.9+01:00")),
        ("an unknown claim", with("{", "{\"new\":1.5,")),
        ("a known critical claim", with("{", "{\"crit\":[\"val\"],")),
        ("one credit too few", valued("2")),
        ("over the limit", valued("1001")),
        ("another number in the line", line(&id, "4", &payload, OURS)),
        ("another ID in the line", good.replacen(id.as_str(), "AAAA", 1)),
        ("no value", with("\"val\":3,", "")),
        ("value as text", with("\"val\":3", "\"val\":\"3\"")),
        ("value with a point", with("\"val\":3", "\"val\":3.0")),
        ("two values", with("\"val\":3", "\"val\":3,\"val\":3")),
        ("an unknown critical claim", with("{", "{\"crit\":[\"new\"],")),
        ("critical is no list", with("{", "{\"crit\":\"val\",")),
        ("another payee", with("example-org@", "example-net@")),
        ("payee of another agency", with("org@agency", "org@second")),
        ("no recipient", with("Joe@", "Jane@")),
        ("another recipient's mailbox", with("Joe@", "Bob@")),
        ("mailbox without a domain", with("Joe@example.org", "Joe")),
        ("one second too late", with("12:00:00Z", "12:00:01Z")),
        ("end without an offset", with("12:00:00Z", "12:00:00")),
        ("fingerprint too short", with("\"msg\":\"O2b3", "\"msg\":\"O2b")),
        ("list as payload", line(&id, "3", "[1]", OURS)),
        ("ID of another mailbox", with_id("bob@example.org", PRICE, END)),
        ("ID at another price", with_id("joe@example.org", PRICE + 1, END)),
        ("the last second of the ID", with_id("joe@example.org", PRICE, NOW)),
        ("ID that has ended", with_id("joe@example.org", PRICE, NOW.plus(-1))),
        ("ID of no server", line(&Serial::new("abc").unwrap(), "3", &payload.replacen(id.as_str(), "abc", 1), OURS)),
        ("licence that has ended", of("ended")),
        ("licence too far ahead", of("far")),
        ("licence that is not listed", of("new")),
        ("another meter's licence", of("other")),
        ("agency without this licence", line(&id, "3", &payload, ("second.example", "m7"))),
        ("agency that is not accepted", line(&id, "3", &payload, ("third.example", "m7"))),
        ("a stamp", format!("EMST {id} 3 {}", stamp.as_str())),
        ("no footer", body.to_owned()),
        ("empty footer", format!("{body}.")),
        ("footer without a licence", format!("{body}.{}", BASE64URL_NOPAD.encode(b"{\"iss\":\"agency.example\"}"))),
        ("another version", good.replacen("v4.public", "v3.public", 1)),
        ("a padded token", format!("{good}=")),
        ("a cut token", good[..good.len() - 1].to_owned()),
        ("another payload", good.replacen("eyJqdGki", "eyJqdGkj", 1)),
        ("no token", format!("EMST {id} 3")),
        ("two blanks", good.replacen(" 3 ", "  3 ", 1)),
        ("blank at the end", format!("{good} ")),
        ("leading zero", good.replacen(" 3 ", " 03 ", 1)),
        ("no credits", good.replacen(" 3 ", " 0 ", 1)),
        ("too many credits", good.replacen(" 3 ", " 9007199254740992 ", 1)),
        ("an ID with a dot", good.replacen(id.as_str(), "a.b", 1)),
        (
            "a line of 1537 bytes",
            format!("EMST {id} 3 v4.public.{}", "A".repeat(1537 - 2 - 8 - 10 - id.as_str().len())),
        ),
        (
            "a line of 1536 bytes",
            format!("EMST {id} 3 v4.public.{}", "A".repeat(1536 - 2 - 8 - 10 - id.as_str().len())),
        ),
    ]
}

/// Last lines of replies to RCPT that are offers, are none, or are broken.
fn offers() -> Vec<String> {
    let good = last_line(&offer_of(&joe(), PRICE, END));
    let mut lines =
        vec![good.clone(), "250 2.1.5 ok".into(), "250 2.1.5 EMSTAMP".into(), "250 2.1.5 EMSTAMPS a".into()];
    for (from, to) in [
        ("price=3", "price=9007199254740991"),
        ("end=1796126400", "end=0"),
        ("id=", "id=-"),
        ("example-org@", "0@"),
        ("price=3", "price=9007199254740992"),
        ("price=3", "price=0"),
        ("price=3", "price=03"),
        ("price=3", "price="),
        ("price=3", "Price=3"),
        ("price=3 ", ""),
        ("end=1796126400", "end=-1"),
        ("end=1796126400", "end=9223372036854775808"),
        ("id=", "id=="),
        ("example-org@", "Example@"),
        ("example-org@", ""),
        ("@agency.example", "@Agency.example"),
        ("@agency.example", "@agency.example."),
        ("@agency.example", "@agency.example x=1"),
        ("@agency.example", "@agency.example "),
        (" end", "  end"),
        ("EMSTAMP", "emstamp"),
        ("2.1.5", "2.1.0"),
    ] {
        assert!(good.contains(from), "{from}");
        lines.push(good.replacen(from, to, 1));
    }
    lines
}

fn shown(offer: &Result<Option<Offer>, ()>) -> Value {
    match offer {
        Ok(None) => Value::Null,
        Ok(Some(it)) => {
            json!({ "price": it.price, "id": it.id.as_str(), "end": it.end.0, "payee": it.payee.to_string() })
        }
        Err(()) => json!({ "broken": true }),
    }
}

fn examples() -> Value {
    let lines = lines().into_iter().map(|(what, line)| {
        let (reply, payment) = examined(&line, &recipients());
        let message = payment.map(|payment| HEXLOWER.encode(&payment.message.0));
        json!({ "what": what, "line": line, "reply": reply, "message": message })
    });
    let offers = offers().into_iter().map(|line| json!({ "line": line, "offer": shown(&read_line(&line)) }));
    json!({
        "server": server(&recipients()),
        "lines": lines.collect::<Vec<_>>(),
        "offers": offers.collect::<Vec<_>>(),
    })
}

/// The other implementation.
fn peer() -> Python {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/core/emstamp_peer.py");
    Python::start(Command::new("python3").arg(script))
}

/// The value of this name on the page, without the white space that breaks it, and with the blanks of one that has any.
fn on_page(name: &str, has_blanks: bool) -> String {
    let begin = format!(".It Li {name}\n.Bd -literal -compact\n");
    let (_, rest) = PAGE.split_once(&begin).unwrap_or_else(|| panic!("{name} is not on the page"));
    let block = rest.split_once(".Ed\n").unwrap().0;
    if has_blanks { block.replace('\n', "") } else { block.split_whitespace().collect() }
}

#[test]
fn the_page_and_the_vectors_are_true() {
    let made = vectors();
    assert_eq!(file("vectors.json", &made), made);
    for (name, value) in made.as_object().unwrap() {
        let value = value.as_str().unwrap();
        assert_eq!(on_page(name, value.contains(' ')), value, "{name}");
    }
}

#[test]
fn the_example_lines_have_these_replies() {
    let made = examples();
    assert_eq!(file("examples.json", &made), made);
    let replies: Vec<&str> = made["lines"].as_array().unwrap().iter().map(|it| it["reply"].as_str().unwrap()).collect();
    for reply in ["250 2.1.5", "550 5.7.1", "550 5.7.15", "451 4.7.1", "500 5.5.2", "501 5.5.4"] {
        assert!(replies.contains(&reply), "{reply}");
    }
    let accepted = replies.iter().filter(|reply| reply.starts_with("250")).count();
    assert_eq!((accepted, replies[..9].iter().all(|reply| *reply == "250 2.1.5")), (10, true));
}

#[test]
fn an_implementation_of_the_page_alone_agrees() {
    let mut peer = peer();
    let all = examples();
    for example in all["lines"].as_array().unwrap() {
        let said = peer.ask(&json!({ "do": "examine", "line": example["line"], "server": all["server"] }));
        assert_eq!((&said["reply"], &said["message"]), (&example["reply"], &example["message"]), "{}", example["what"]);
    }
    for example in all["offers"].as_array().unwrap() {
        let said = peer.ask(&json!({ "do": "read offer", "line": example["line"] }));
        assert_eq!(said, example["offer"], "{}", example["line"]);
    }
    let vectors = vectors();
    let given = json!({
        "do": "offer", "id_key": vectors["id-key"], "nonce": vectors["nonce"], "end": END.0, "mailbox": "Joe@example.org",
        "price": PRICE, "payee": payee().to_string(),
    });
    let made = peer.ask(&given);
    assert_eq!((&made["line"], &made["id_text"]), (&vectors["offer"], &vectors["id-text"]));
    let given = json!({
        "do": "pay", "line": vectors["offer"], "message": MESSAGE, "seed": vectors["meter-seed"], "credits": PRICE,
        "mailbox": "Joe@example.org", "license": { "iss": "agency.example", "kid": "m7" }, "payer": PAYER,
    });
    let made = peer.ask(&given);
    for (name, value) in made.as_object().unwrap() {
        let name = if name == "key" { "meter-key" } else { name };
        assert_eq!(value, &vectors[name], "{name}");
    }
}

#[test]
fn either_side_pays_the_other() {
    let peer = RefCell::new(peer());
    let ask = |request: &Value| peer.borrow_mut().ask(request);
    let inputs = (
        ("[a-zA-Z0-9 .+\"]{1,12}", "[a-z]{1,9}(\\.[a-z]{1,9}){0,2}"),
        (1..1_000_u64, 0..5_u64),
        any::<[u8; 8]>(),
        any::<[u8; 32]>(),
        (NOW.0..=u32::MAX.into()).prop_map(UnixTime),
    );
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&inputs, |((local, domain), (price, more), nonce, message, end)| {
        let mailbox = Address::parse(&format!("\"{}\"@{domain}", local.replace('"', "\\\""))).unwrap();
        let (recipients, credits) = ([(mailbox.clone(), price)], (price + more).min(1_000));
        // Its offer, paid here.
        let given = json!({
            "do": "offer", "id_key": HEXLOWER.encode(&bytes_from(0xc0)), "nonce": HEXLOWER.encode(&nonce), "end": end.0,
            "mailbox": mailbox.to_string(), "price": price, "payee": payee().to_string(),
        });
        let line = ask(&given)["line"].as_str().unwrap().to_owned();
        let offer = read_line(&line).unwrap().unwrap();
        prop_assert_eq!(&offer.id, &id_key()[0].issue(nonce, end, &mailbox, price).unwrap());
        prop_assert_eq!(last_line(&offer), &line[..]);
        let payment = Payment {
            id: offer.id.clone(),
            mailbox: mailbox.clone(),
            credits,
            message: Fingerprint(message),
            expires: offer.end,
            payee: offer.payee,
        };
        let token = payment.sign(&license("m7"), &meter_key()).unwrap();
        let pay = Pay { id: offer.id, credits, token }.line().unwrap();
        let said = ask(&json!({ "do": "examine", "line": pay, "server": server(&recipients) }));
        let expected = json!({
            "reply": "250 2.1.5", "mailbox": mailbox.canonical(), "credits": credits, "message": HEXLOWER.encode(&message),
        });
        prop_assert_eq!(said, expected);
        // Its payment, examined here, in both forms.
        let given = json!({
            "do": "pay", "line": line, "message": HEXLOWER.encode(&message), "seed": HEXLOWER.encode(&bytes_from(0)),
            "credits": credits, "mailbox": mailbox.to_string(), "license": { "iss": "agency.example", "kid": "m7" },
            "payer": PAYER,
        });
        let made = ask(&given);
        prop_assert_eq!(examined(made["line"].as_str().unwrap(), &recipients), ("250 2.1.5".to_owned(), Some(payment.clone())));
        prop_assert_eq!(&made["payment"], &payment_hash(PAYER, &mailbox.canonical(), &payment.message.0).to_string());
        let binary = HEXLOWER.decode(made["binary"].as_str().unwrap().as_bytes()).unwrap();
        let token = Token::parse(made["token"].as_str().unwrap()).unwrap();
        prop_assert_eq!(from_bytes(&binary), Ok(token.clone()));
        let back = ask(&json!({ "do": "from binary", "binary": HEXLOWER.encode(&to_bytes(&token).unwrap()) }));
        prop_assert_eq!(&back["token"], token.as_str());
        // An altered line is refused alike.
        let mut other = pay.into_bytes();
        let at = usize::from(nonce[0]) * 3 % other.len();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        let (reply, found) = examined(&other, &recipients);
        let said = ask(&json!({ "do": "examine", "line": other, "server": server(&recipients) }));
        prop_assert_eq!(said["reply"].as_str(), Some(&reply[..]), "{}", other);
        prop_assert_eq!(found, None);
        Ok(())
    });
    outcome.unwrap();
}

/// The binary form holds exactly the bytes that the text encodes.
#[test]
fn cut_bytes_are_no_token_on_either_side() {
    let mut peer = peer();
    let token = payment().sign(&license("m7"), &meter_key()).unwrap();
    let bytes = to_bytes(&token).unwrap();
    for cut in (0..bytes.len()).step_by(7) {
        let ours = from_bytes(&bytes[..cut]).ok().map(|token| token.as_str().to_owned());
        let theirs = peer.ask(&json!({ "do": "from binary", "binary": HEXLOWER.encode(&bytes[..cut]) }));
        assert_eq!(theirs["token"].as_str(), ours.as_deref(), "{cut}");
    }
} // E2: a token has a binary form, with its credits
