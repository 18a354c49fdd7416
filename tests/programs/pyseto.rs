//! Stamps issued and checked, and sealed and opened, by independent libraries in another language: PyPI's pyseto and
//! pyhpke. Any PASETO library must be enough to be a vendor, and any HPKE library to give a correspondent a stamp.
//!
//! Needs `python3` with `venv` and `pip`, and fails without them. `MAILSTAMP_TEST_VENV` may name a virtual environment
//! that has both installed already; else one is made in a temporary folder, which takes some seconds and the network.

use mailstamp::message::address::Address;
use mailstamp::peer::gift::{Recipient, give};
use mailstamp::peer::sealing::{SealSecret, open, seal};
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::issue;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::{PublicKey, SecretKey};
use mailstamp::stamp::token::{Issuer, Purpose, Token};
use mailstamp::time::UnixTime;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const LIBRARIES: [&str; 2] = ["pyseto==1.10.0", "pyhpke==0.6.5"];

/// Issues a stamp with a key of its own and one with the key handed in, and checks the token handed in.
const SCRIPT: &str = r#"
import json, sys
import pyseto
from pyseto import Key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

given = json.load(sys.stdin)
claims = {
    "jti": "from-python-1",
    "aud": "Joe@Example.org",
    "sub": "ann@example.net",
    "iat": "2026-11-21T12:00:00+00:00",
    "exp": "2026-11-22T12:00:00+00:00",
    "val": 3,
}
footer = {"kid": "2026q4", "iss": "stamps.example"}

own = Ed25519PrivateKey.generate()
pem = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
public_pem = own.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
secret = Key.new(version=4, purpose="public", key=pem)
public = Key.new(version=4, purpose="public", key=public_pem)

def stamp(key):
    return pyseto.encode(key, payload=claims, footer=footer, implicit_assertion=b"digital-stamp").decode()

def holds(assertion, token):
    try:
        return pyseto.decode(Key.from_paserk(given["public"]), token, implicit_assertion=assertion)
    except pyseto.VerifyError:
        return None

read = holds(b"digital-stamp", given["token"])
json.dump({
    "own_secret": secret.to_paserk(),
    "own_public": public.to_paserk(),
    "own_stamp": stamp(secret),
    "stamp": stamp(Key.from_paserk(given["secret"])),
    "payload": read.payload.decode(),
    "footer": read.footer.decode(),
    "cross_purpose": holds(b"digital-stamp-use", given["token"]) is not None,
    "other": holds(b"digital-stamp", given["other"]) is not None,
}, sys.stdout)
"#;

/// Runs a command to its end. If it fails, the test fails with its output.
fn run(command: &mut Command) {
    let shown = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert!(output.status.success(), "{shown}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Opens the sealed text handed in, and seals what was in it with a key of its own choice.
const SEALING: &str = r#"
import base64, json, sys
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

given = json.load(sys.stdin)
suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
info = "digital-stamp-seal\nbob@y.example\nann@example.net".encode()

def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

sealed = decoded(given["sealed"])
secret = suite.kem.deserialize_private_key(decoded(given["secret"]))
stamp = suite.create_recipient_context(sealed[:32], secret, info=info).open(sealed[32:])
to = suite.kem.deserialize_public_key(decoded(given["public"]))
enc, sender = suite.create_sender_context(to, info=info)
json.dump({
    "stamp": stamp.decode(),
    "sealed": base64.urlsafe_b64encode(enc + sender.seal(stamp)).rstrip(b"=").decode(),
}, sys.stdout)
"#;

/// The interpreter of a virtual environment with both libraries in it.
fn python(folder: &Path) -> PathBuf {
    let venv = match std::env::var_os("MAILSTAMP_TEST_VENV").filter(|folder| !folder.is_empty()) {
        Some(ready) => PathBuf::from(ready),
        None => {
            run(Command::new("python3").args(["-m", "venv"]).arg(folder));
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            run(Command::new(folder.join("bin/python")).args(pip).args(LIBRARIES));
            folder.to_owned()
        }
    };
    venv.join("bin/python")
}

fn ask(python: &Path, script: &str, given: &Value) -> Value {
    let mut child = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", python.display()));
    child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the script's claims are to us.
fn check_issued(text: &str, key: &PublicKey) {
    let token = Token::parse(text).unwrap();
    assert_eq!(token.issuer(), Ok(Issuer::new("stamps.example", "2026q4").unwrap()));
    assert!(key.verify(&token, Purpose::Stamp));
    assert!(!key.verify(&token, Purpose::Use));
    let stamp = Stamp::read(token.payload()).unwrap();
    assert_eq!(stamp.serial.as_str(), "from-python-1");
    assert!(stamp.audience.names(&Address::parse("joe@example.org").unwrap()));
    assert_eq!(stamp.sender, Some(Address::parse("ann@example.net").unwrap()));
    assert_eq!(stamp.issued, Some(UnixTime(1_795_262_400)));
    assert_eq!(stamp.expires, Some(UnixTime(1_795_348_800)));
    assert_eq!(stamp.value, 3);
}

// BC16, BP2a: a vendor needs no software of ours.
#[test]
fn stamps_pass_between_this_program_and_pyseto() {
    let folder = tempfile::tempdir().unwrap();
    let secret = SecretKey::from_random(&[8; 32]);
    let issuer = Issuer::new("stamps.example", "2026q4").unwrap();
    let audience = Audience::hashed(&Address::parse("joe@example.org").unwrap(), [1; 16]);
    let stamp = Stamp::new(Serial::from_random([4; 16]), audience, UnixTime(1_795_348_800));
    let ours = issue::issue(&stamp, &issuer, &secret).unwrap();
    let other = issue::issue(&stamp, &issuer, &SecretKey::from_random(&[9; 32])).unwrap();

    let answer = ask(
        &python(folder.path()),
        SCRIPT,
        &json!({
            "secret": *secret.to_paserk(),
            "public": secret.public().to_string(),
            "token": ours.as_str(),
            "other": other.as_str(),
        }),
    );
    let text = |name: &str| answer[name].as_str().unwrap();

    // Ours, there.
    assert_eq!(text("payload").as_bytes(), ours.payload());
    assert_eq!(text("footer").as_bytes(), ours.footer());
    assert_eq!(answer["cross_purpose"], false);
    assert_eq!(answer["other"], false);

    // Theirs, here: under a key that we made, and under one that they made and wrote.
    check_issued(text("stamp"), &secret.public());
    let theirs = PublicKey::parse(text("own_public")).unwrap();
    check_issued(text("own_stamp"), &theirs);
    assert_eq!(SecretKey::parse(text("own_secret")).unwrap().public(), theirs);
}

// BK3, BK4: what is sealed to A's key, A alone opens, with any HPKE library.
#[test]
fn stamps_are_sealed_and_opened_by_this_program_and_pyhpke() {
    let folder = tempfile::tempdir().unwrap();
    let (bob, ann) = (Address::parse("bob@y.example").unwrap(), Address::parse("ann@example.net").unwrap());
    let (holder, secret) = (SecretKey::from_random(&[5; 32]).public(), SealSecret::from_random(&[6; 32]));
    let recipient = Recipient { address: &ann, holder: &holder, days: 90 };
    let serial = Serial::from_random([1; 16]);
    let (_, stamp) =
        give(&bob, &SecretKey::from_random(&[7; 32]), &recipient, serial, UnixTime(1_795_262_400)).unwrap();
    let answer = ask(
        &python(folder.path()),
        SEALING,
        &json!({
            "secret": *secret.to_text(),
            "public": secret.public().to_string(),
            "sealed": seal(&stamp, &bob, &ann, &secret.public(), &[8; 32]).unwrap(),
        }),
    );
    let text = |name: &str| answer[name].as_str().unwrap();
    assert_eq!(text("stamp"), stamp.as_str());
    assert_eq!(open(text("sealed"), &bob, &ann, &secret).unwrap(), stamp);
    assert!(open(text("sealed"), &bob, &ann, &SealSecret::from_random(&[9; 32])).is_err());
}
